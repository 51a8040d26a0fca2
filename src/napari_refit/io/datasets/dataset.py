"""A dataset that was found on disk: its cases, their images and reference masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from napari_refit.errors import ReadError
from napari_refit.io.datasets import reading
from napari_refit.io.datasets.case import Case, ImageFiles, Slice
from napari_refit.io.datasets.declaration import ALL, ClassRule, Declaration
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.labels import ImageLabels
from napari_refit.io.datasets.listing import shortened
from napari_refit.io.datasets.preparation import Preparation, SplitParams
from napari_refit.io.volume import Volume, grid_difference


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset that was found on disk; no pixel has been read.

    Attributes
    ----------
    declaration : Declaration
        What is known of it wherever it lies.
    root : Path
    every_case : tuple of Case
        All that the folder holds; ``cases`` are those that the preparation includes.
    classes : tuple of ClassRule
        As the masks tell them apart, before any merging.
    modalities : tuple of str
    preparations : mapping of str to Preparation
        By name.
    preparation : Preparation
        The one in force: every method below follows it.
    labels : ImageLabels or None
        Where the layout gives labels by a table.
    findings : tuple of Finding
        What is missing or fits nowhere.
    """

    declaration: Declaration
    root: Path
    every_case: tuple[Case, ...]
    classes: tuple[ClassRule, ...]
    modalities: tuple[str, ...]
    preparations: Mapping[str, Preparation]
    preparation: Preparation = field(default_factory=Preparation)
    labels: ImageLabels | None = None
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The cases that the preparation includes, in natural order."""
        include = self.preparation.include
        return tuple(case for case in self.every_case if not include or case.label in include)

    def case(self, name: str) -> Case:
        """A case by its name.

        Raises
        ------
        KeyError
            If there is none.
        """
        if name not in self._by_name:
            raise KeyError(f"{self.root}: there is no case {name!r}; there are {shortened(self._by_name)}")
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Case]:
        return {case.name: case for case in self.cases}

    def prepared(self, preparation: str | Preparation) -> Dataset:
        """This dataset with another preparation.

        Parameters
        ----------
        preparation : str or Preparation
            A name from ``preparations``, such as ``"paper"``, or parameters of your own.

        Raises
        ------
        ValueError
            If the name, a class, a modality or a folder's label is unknown.
        """
        if isinstance(preparation, str):
            if preparation not in self.preparations:
                known = ", ".join(self.preparations)
                raise ValueError(
                    f"{self.declaration.name} has no preparation {preparation!r}; there are: {known}"
                )
            preparation = self.preparations[preparation]
        labels = {case.label for case in self.every_case} - {None}
        unknown = [name for name in preparation.include if name not in labels]
        if unknown:
            there = ", ".join(sorted(map(str, labels))) or "none"
            raise ValueError(f"{self.root}: no case is labelled {unknown[0]!r}; the labels are: {there}")
        lacking = [name for name in preparation.modalities if name not in self.modalities]
        if lacking:
            there = ", ".join(self.modalities)
            raise ValueError(f"{self.root}: there is no modality {lacking[0]!r}; there are: {there}")
        prepared = replace(self, preparation=preparation)
        _ = prepared.class_names
        return prepared

    def with_groups(self, groups: Mapping[str, str]) -> Dataset:
        """This dataset with groups that must stay together, by the names of cases; others keep theirs."""
        cases = (replace(case, group=groups.get(case.name, case.group)) for case in self.every_case)
        return replace(self, every_case=tuple(cases))

    @property
    def default_split(self) -> SplitParams:
        """How it is split unless you say otherwise."""
        return self.declaration.split

    @property
    def chosen_modalities(self) -> tuple[str, ...]:
        """The modalities that are read: the preparation's, else the usual ones."""
        usual = tuple(name for name in self.declaration.default_modalities if name in self.modalities)
        return self.preparation.modalities or usual or self.modalities

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes after merging; class number k + 1 in a truth is the k-th of these."""
        return tuple(name for name, _ in self._merged())

    @property
    def merged_labels(self) -> tuple[tuple[int, ...], ...]:
        """For each of ``class_names``, which of ``classes`` it merges, by number from 0 on."""
        return tuple(places for _, places in self._merged())

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Names of the cases that have neither masks nor an image-level label."""
        known = set() if self.labels is None else set(self.labels.cases)
        return tuple(
            case.name
            for case in self.cases
            if case.truth is None and case.label is None and case.name not in known
        )

    def images_of(self, case: Case, modalities: Iterable[str] | None = None) -> tuple[ImageFiles, ...]:
        """The files of the modalities that are read.

        Raises
        ------
        ReadError
            If the case lacks one.
        """
        files = []
        for name in self.chosen_modalities if modalities is None else modalities:
            if name not in case.images:
                there = ", ".join(case.images) or "none"
                raise ReadError(self.root, f"{case.name} has no {name}; its modalities are: {there}")
            files.append(case.images[name])
        return tuple(files)

    def read_image(self, case: Case, modality: str | None = None) -> Volume:
        """Open a case's image, with its geometry; voxels are read when ``.data`` is first used.

        Parameters
        ----------
        case : Case
        modality : str, optional
            One of ``modalities``; the chosen ones, as channels of the last axis (``"c"``) if several, when left out.

        Returns
        -------
        Volume
            Cropped as the preparation says, with the affine moved along; grey values are the file's.

        Raises
        ------
        ReadError
            If a file is missing or damaged, or the grids of modalities differ.
        """
        files = self.images_of(case, None if modality is None else [modality])
        return reading.prepared_volume(files, self.preparation, case.name)

    def read_truth(self, case: Case) -> Volume:
        """Read a case's reference mask on the grid of `read_image`.

        Returns
        -------
        Volume
            uint8: 0 background, k + 1 the k-th of ``class_names``.

        Raises
        ------
        ReadError
            If there is none, it is damaged, lies on another grid than the image, or holds values that no class has.
        """
        mask = self._mask(case)
        numbers = self._numbers(case, mask)
        truth = np.zeros(numbers.shape, np.uint8)
        for number, places in enumerate(self.merged_labels, start=1):
            truth[np.isin(numbers, [place + 1 for place in places])] = number
        volume = Volume.from_array(truth, mask.axes, mask.affine, mask.spacing, path=mask.path)
        return reading.cropped(volume, self.preparation.crop, case.name)

    def slice_axis(self, case: Case) -> int | None:
        """The axis along which a case is cut into slices; None for a picture. Reads headers only."""
        return reading.slice_axis(self._header(case), self.preparation)

    def slices(self, case: Case) -> tuple[Slice, ...]:
        """The planes of a case within the crop, in order; one for a picture. Reads headers only."""
        header = self._header(case)
        axis = reading.slice_axis(header, self.preparation)
        if axis is None:
            return (Slice(case.name),)
        start = reading.offset(self.preparation, axis)
        return tuple(Slice(case.name, axis, start + k) for k in range(header.spatial_shape[axis]))

    def read_slice(self, plane: Slice) -> np.ndarray:
        """The grey values of a plane as it is displayed, ``(H, W)`` or ``(H, W, C)``.

        Scaled and resized as the preparation says. Every call opens the file: to go through many, see `TrainingSet`.
        """
        number = len(self.chosen_modalities)
        volume = reading.scaled_image(self.read_image(self.case(plane.case)), self.preparation, number)
        return reading.plane_of(volume, plane.axis, self._position(plane), self.preparation, number)

    def read_truth_slice(self, plane: Slice) -> np.ndarray:
        """The reference mask of a plane, ``(H, W)`` uint8 class numbers, on the grid of `read_slice`."""
        truth = self.read_truth(self.case(plane.case))
        values = reading.raw_plane(truth, plane.axis, self._position(plane))
        return reading.resized(values, self.preparation.size, labels=True)

    def present(self, case: Case) -> np.ndarray:
        """Which classes a case's masks hold, slice by slice: bool, ``(slices, classes)``."""
        mask = reading.cropped(self._mask(case), self.preparation.crop, case.name)
        numbers = self._numbers(case, mask)
        axis = self.slice_axis(case)
        planes = numbers[None] if axis is None else np.moveaxis(numbers, axis, 0)
        planes = planes.reshape(len(planes), -1)
        there = np.stack([(planes == number + 1).any(axis=1) for number in range(len(self.classes))], axis=1)
        return np.stack([there[:, list(places)].any(axis=1) for places in self.merged_labels], axis=1)

    def labelled_classes(self, case: Case) -> np.ndarray:
        """Which classes a case's image-level label means: bool, one per class."""
        names = [rule.name for rule in self.classes]
        return np.array([case.label in [names[place] for place in places] for places in self.merged_labels])

    def _header(self, case: Case) -> Volume:
        return self.read_image(case, self._guide(case))

    def _guide(self, case: Case) -> str:
        """The modality whose grid is the case's: the first of those that are read, else of those that are there."""
        return next((name for name in self.chosen_modalities if name in case.images), next(iter(case.images)))

    def _position(self, plane: Slice) -> int | None:
        if plane.axis is None or plane.index is None:
            return plane.index
        return plane.index - reading.offset(self.preparation, plane.axis)

    def _mask(self, case: Case) -> Volume:
        if case.truth is None:
            raise ReadError(self.root, f"{case.name} has no mask; it cannot be evaluated")
        mask = reading.read_mask(case.truth)
        image = reading.open_images([case.images[self._guide(case)]])[0]
        difference = grid_difference(image, mask)
        if difference is not None:
            raise ReadError(case.truth.paths[0], f"does not lie on the image's grid: {difference}")
        return mask

    def _numbers(self, case: Case, mask: Volume) -> np.ndarray:
        """A mask's values as the numbers of ``classes``, from 1 on."""
        values = mask.data
        if self.declaration.class_from_label:
            return np.where(values != 0, self._label_number(case, values), 0)
        numbers = np.zeros(values.shape, np.uint8)
        rest = values != 0
        for number, rule in enumerate(self.classes, start=1):
            # A class without values of its own, declared last, is whatever the others leave.
            matches = np.isin(values, rule.values) if rule.values else rest
            numbers[matches] = number
            rest = rest & ~matches
        if rest.any():
            strange = shortened(str(value) for value in np.unique(values[rest]))
            expected = ", ".join(str(value) for rule in self.classes for value in rule.values)
            path = mask.path or self.root
            raise ReadError(
                path, f"holds the values {strange}; the masks of {self.declaration.title} hold 0, {expected}"
            )
        return numbers

    def _label_number(self, case: Case, values: np.ndarray) -> int:
        names = [rule.name for rule in self.classes]
        if case.label is None:
            return 1
        if case.label in names:
            return names.index(case.label) + 1
        if (values != 0).any():
            path = case.truth.paths[0] if case.truth else self.root
            raise ReadError(
                path, f"marks something in an image labelled {case.label!r}; empty it or move the image"
            )
        return 0

    def _merged(self) -> list[tuple[str, tuple[int, ...]]]:
        names = [rule.name for rule in self.classes]
        merged = []
        for text in self.preparation.classes or names:
            name, equals, parts = (part.strip() for part in text.partition("="))
            if equals:
                wanted = [part.strip() for part in parts.split("+")]
            else:
                wanted = list(self.declaration.merged.get(name, [name])) if name not in names else [name]
            if wanted == [ALL]:
                wanted = names
            unknown = [part for part in wanted if part not in names]
            if unknown:
                known = ", ".join([*names, *self.declaration.merged])
                raise ValueError(
                    f"{self.root}: there is no class {unknown[0]!r}; there are: {known}, or NAME=A+B"
                )
            merged.append((name, tuple(names.index(part) for part in wanted)))
        return merged
