"""The images that a search judges parameters on: drawn with a seed, as evenly from all patients as can be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_refit.errors import Cancelled, ReadError
from napari_refit.pipeline import Refit
from napari_refit.recipe import RefitParams
from napari_refit.results import slice_name
from napari_refit.tune.settings import TuneParams

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool]
Item = TypeVar("Item")
NO_IMAGE = "no image to tune on"


@dataclass(frozen=True, eq=False)
class TuneImage:
    """One image, or one slice of a volume.

    Attributes
    ----------
    name : str
        Unique among the images of a search: the case, and the slice if there are several.
    patient : str
        Whom it is of.
    refit : Refit
        The pipeline on the image or volume, with its classifier or response maps. Slices of a volume share one.
    positions : mapping of int to int
        As `Refit.plane` takes them; empty for a 2-D image.
    truth : ndarray of int, (H, W), or None
        The reference mask as the slice is displayed (see ``numbers``).
    case : str
        Name of the image or volume; ``name`` when left out.
    dataset : str
        Name of the dataset that the case is of, if it is of one whose cases have names of their own.
    checksums : tuple of str
        SHA-256 of its image files, as ``sha256:...``.
    numbers : mapping of int to int
        Class numbers of the pipeline's masks, and what each is in the reference mask; empty: the same, and any
        foreground is the class where the pipeline has only one.
    adapt : callable, optional
        Makes of parameters those that suit this image, whose grey values are scaled already.
    """

    name: str
    patient: str
    refit: Refit = field(repr=False)
    positions: Mapping[int, int] = field(default_factory=dict)
    truth: NDArray[Any] | None = field(default=None, repr=False)
    case: str = ""
    dataset: str = ""
    checksums: tuple[str, ...] = ()
    numbers: Mapping[int, int] = field(default_factory=dict, repr=False)
    adapt: Callable[[RefitParams], RefitParams] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "case", self.case or self.name)


def drawn(items: Sequence[Item], patients: Sequence[Hashable], most: int, seed: int) -> list[Item]:
    """Draw some, as evenly from all patients as can be, in an order of which every beginning is as even.

    Parameters
    ----------
    items : sequence
    patients : sequence
        Whom each is of.
    most : int
        At most so many.
    seed : int

    Returns
    -------
    list
        The same seed, the same items in the same order.

    Examples
    --------
    >>> [name[0] for name in drawn(["a1", "a2", "a3", "b1"], "aaab", 3, seed=0)].count("a")
    2
    """
    chance = np.random.default_rng([seed, 7])
    order = chance.permutation(len(items))
    by_patient: dict[Hashable, list[int]] = {}
    for place in order:
        by_patient.setdefault(patients[place], []).append(int(place))
    rounds = zip_longest(*by_patient.values())
    chosen = [place for each in rounds for place in each if place is not None][:most]
    return [items[place] for place in chosen]


def images_of_volume(
    refit: Refit,
    truth: Any = None,
    params: TuneParams | None = None,
    *,
    name: str = "image",
    patient: str = "",
    positions: Iterable[Mapping[int, int]] | None = None,
    path: Path | None = None,
) -> list[TuneImage]:
    """Slices of one image or volume.

    Parameters
    ----------
    refit : Refit
        With a classifier or response maps; its parameters are neither used nor changed.
    truth : array-like of int, optional
        Reference mask on the image's grid. Any foreground counts as the class where the pipeline has only one.
    params : TuneParams, optional
        How many are drawn, and with which seed.
    name, patient : str
    positions : iterable of mapping, optional
        The slices to draw from; all along `Refit.slice_axis` when left out.
    path : Path, optional
        The image's file, for its checksum.

    Raises
    ------
    ValueError
        If the truth is on another grid, or there is no slice to draw.
    ReadError
        If the file cannot be read.
    """
    from napari_refit.io.sidecar import file_checksum

    params = params or TuneParams()
    if truth is not None and tuple(truth.shape) != refit.shape:
        raise ValueError(
            f"{name}: the reference mask has shape {tuple(truth.shape)}, the image {refit.shape}"
        )
    places = planes_of(refit) if positions is None else [dict(each) for each in positions]
    masks = {k: truth_plane(refit, truth, each) for k, each in enumerate(places)} if truth is not None else {}
    kept = [k for k in range(len(places)) if not params.with_object or not masks or masks[k].any()]
    if not kept:
        raise ValueError(f"{name}: no slice to tune on{' shows the object' if masks else ''}")
    checksums = () if path is None else (file_checksum(path),)
    chosen = drawn(kept, [0] * len(kept), params.images, params.seed)
    return [
        TuneImage(
            f"{name} {slice_name(places[k])}".strip(),
            patient or name,
            refit,
            places[k],
            masks.get(k),
            case=name,
            checksums=checksums,
        )
        for k in chosen
    ]


def planes_of(refit: Refit) -> list[dict[int, int]]:
    """Positions of every slice along the axis of whole-volume runs; one empty mapping for a 2-D image."""
    if refit.n_axes == 2:
        return [{}]
    grid = refit.grid
    return [grid.positions(index) for index in grid.planes.stack(grid.order.index(refit.slice_axis()))]


def truth_plane(refit: Refit, truth: Any, positions: Mapping[int, int]) -> NDArray[Any]:
    """A slice of a reference mask on the image's grid, as it is displayed."""
    if refit.n_axes == 2:
        return np.asarray(refit.grid.displayed(truth))
    return refit.grid.displayed_cut(truth, positions)


def images_of_files(
    paths: Sequence[Path],
    truths: Mapping[Path, Path] | None = None,
    params: TuneParams | None = None,
    *,
    model: Any = None,
    base: RefitParams | None = None,
    responses: Mapping[Path, Path] | None = None,
    device: str | None = None,
    modalities: Sequence[int] = (),
    progress: Progress | None = None,
    cancelled: Cancel | None = None,
) -> list[TuneImage]:
    """Images or slices of files, each file a patient of its own.

    Parameters
    ----------
    paths : sequence of Path
        Images, volumes, DICOM folders.
    truths : mapping of Path to Path, optional
        Reference mask of an image. If there are any, images without one are left out.
    params : TuneParams, optional
        How many are drawn, and with which seed.
    model : object, optional
        What `Refit` takes; loaded once, whatever it is.
    base : RefitParams, optional
        Along which axis volumes are cut.
    responses : mapping of Path to Path, optional
        Response maps of an image, instead of a model.
    device, modalities
        As of `Refit`.
    progress, cancelled : callable, optional
        Told of each file; True stops.

    Raises
    ------
    ReadError
        If a file cannot be read, or a mask lies on another grid.
    ValueError
        If there is nothing to tune on.
    """
    from napari_refit.io.read import load
    from napari_refit.io.sidecar import file_checksum
    from napari_refit.refining import same_grid

    params, base = params or TuneParams(), base or RefitParams()
    truths, responses = truths or {}, responses or {}
    # Not more files than images are wanted: which ones is drawn before any is read.
    wanted = [path for path in paths if not truths or path in truths]
    order = drawn(wanted, wanted, len(wanted), params.seed)
    model = _loaded(model, device)
    found: list[list[TuneImage]] = []
    for done, path in enumerate(order):
        step(progress, cancelled, done, len(order), "reading images")
        if len(found) >= params.images:
            break
        volume = load(path)
        refit = Refit(volume, model, base, device=device, modalities=modalities)
        if path in responses:
            refit.use_response(same_grid(responses[path], volume, "response map", True), str(responses[path]))
        truth = same_grid(truths[path], volume, "ground truth") if path in truths else None
        name = _short(path, paths)
        places = planes_of(refit)
        masks = [None if truth is None else truth_plane(refit, truth, each) for each in places]
        checksums = (file_checksum(path),)
        slices = [
            TuneImage(
                f"{name} {slice_name(place)}".strip(),
                name,
                refit,
                place,
                mask,
                case=name,
                checksums=checksums,
            )
            for place, mask in zip(places, masks, strict=True)
            if mask is None or not params.with_object or mask.any()
        ]
        if slices:
            found.append(slices)
    return drawn_images(found, params, NO_IMAGE + (" shows the object" if truths else ""))


def images_of_folder(
    folder: Path,
    masks: Path | None = None,
    params: TuneParams | None = None,
    **options: Any,
) -> list[TuneImage]:
    """Images of a folder, with the reference masks of another that have the same names.

    Parameters
    ----------
    folder : Path
    masks : Path, optional
        Holds for an image ``a.png`` the mask ``a.*``, ``a_mask.*``, ``a_seg.*`` or ``a_label.*``.
    params : TuneParams, optional
    **options
        As of `images_of_files`.

    Raises
    ------
    ReadError
        If there is no image, or no mask of any.
    """
    paths = image_files(folder)
    truths = matching_masks(paths, masks) if masks is not None else {}
    return images_of_files([path for path in paths if path not in truths.values()], truths, params, **options)


def image_files(folder: Path) -> list[Path]:
    """The images and volumes of a folder, in natural order.

    Raises
    ------
    ReadError
        If there are none.
    """
    from napari_refit.io.datasets.listing import Listing

    listing = Listing.read(folder)
    found = list(listing.images(listing.root))
    if not found:
        raise ReadError(folder, "holds no image that can be read")
    return found


def matching_masks(paths: Sequence[Path], masks: Path) -> dict[Path, Path]:
    """The mask of each image that has one, by name.

    Raises
    ------
    ReadError
        If no image has one.
    """
    from napari_refit.io.formats import split_name

    by_name = {split_name(path)[0].casefold(): path for path in image_files(masks)}
    found = {}
    for path in paths:
        stem = split_name(path)[0].casefold()
        for end in ("", "_mask", "_seg", "_label", "_labels", "_gt"):
            mask = by_name.get(stem + end)
            if mask is not None and mask != path:
                found[path] = mask
                break
    if not found:
        example = f", such as {split_name(paths[0])[0]}_mask{split_name(paths[0])[1]}" if paths else ""
        raise ReadError(masks, f"holds no mask with the name of an image{example}")
    return found


def drawn_images(found: Sequence[Sequence[TuneImage]], params: TuneParams, nothing: str) -> list[TuneImage]:
    """As many of the images of each case as are wanted; a ValueError that says ``nothing`` if there is none."""
    every = [image for images in found for image in images]
    if not every:
        raise ValueError(nothing)
    return drawn(every, [image.patient for image in every], params.images, params.seed)


def _loaded(model: Any, device: str | None) -> Any:
    if model is None:
        return None
    from napari_refit.cam.classifier import load_classifier

    return load_classifier(model, device=device)


def _short(path: Path, paths: Sequence[Path]) -> str:
    """A file's name; with its folders where another file has the same."""
    alike = [other for other in paths if other.name == path.name]
    return path.name if len(alike) < 2 else path.as_posix()


def step(progress: Progress | None, cancelled: Cancel | None, done: int, total: int, text: str) -> None:
    """Report progress, and stop if asked to (`Cancelled`)."""
    if cancelled is not None and cancelled():
        raise Cancelled("stopped")
    if progress is not None:
        progress(done, total, text)
