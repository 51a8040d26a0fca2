"""Tagged planes of open images as something to train on, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.errors import Cancelled
from napari_refit.intensity import IntensityRange, measure_range, normalise
from napari_refit.learn.datasets import numbered
from napari_refit.learn.samples import check_samples
from napari_refit.learn.tags import Tag
from napari_refit.params import IntensityParams
from napari_refit.planes import PlaneIndex, Planes


@dataclass(frozen=True, eq=False)
class OpenImage:
    """An image whose planes can be trained on.

    Attributes
    ----------
    name : str
    planes : Planes
        The array, which may be lazy (dask, zarr).
    """

    name: str
    planes: Planes


class TaggedSamples:
    """Planes of open images with the classes they show; untagged planes are left out.

    Classes that no plane shows are left out. Where no plane shows several, each has the number of its class, and those
    that show none are of a class called background; else each has 0 or 1 for every class.

    Parameters
    ----------
    images : sequence of OpenImage
    tags : sequence of (int, PlaneIndex, Tag)
        Number of the image, plane, and what it shows.
    classes : sequence of str
    intensity : IntensityParams, optional
        How grey values become [0, 1]: measured on the whole image, as when it is refined.

    Raises
    ------
    ValueError
        If nothing is tagged.

    Examples
    --------
    >>> scan = OpenImage("scan", Planes(np.arange(48.0).reshape(3, 4, 4)))
    >>> tags = [(0, ((0, 0),), Tag(("lesion",), "ann")), (0, ((0, 1),), Tag(())), (0, ((0, 2),), Tag())]
    >>> samples = TaggedSamples([scan], tags, ["lesion", "cyst"])
    >>> samples.classes, samples.labels.tolist(), list(samples.patients), samples.image(1).shape
    (('background', 'lesion'), [1, 0], ['ann', 'scan'], (4, 4))
    """

    def __init__(
        self,
        images: Sequence[OpenImage],
        tags: Sequence[tuple[int, PlaneIndex, Tag]],
        classes: Sequence[str],
        intensity: IntensityParams | None = None,
    ) -> None:
        self._images = list(images)
        kept = [(number, index, tag) for number, index, tag in tags if tag.labels is not None]
        if not kept:
            raise ValueError("nothing is tagged yet: say which slices show what, and which show nothing")
        self._places = [(number, index) for number, index, _ in kept]
        matrix = np.array([[name in (tag.labels or ()) for name in classes] for *_, tag in kept], np.int64)
        self.labels, self.classes = numbered(matrix.reshape(len(kept), len(classes)), classes)
        self.patients: Sequence[str] = [tag.patient or self._images[number].name for number, _, tag in kept]
        self.names: Sequence[str] = [
            plane_name(self._images[number].name, index) for number, index in self._places
        ]
        self.intensity = intensity or IntensityParams()
        self.source = ", ".join(dict.fromkeys(self._images[number].name for number, _ in self._places))
        self._ranges: dict[int, IntensityRange] = {}
        check_samples(self)

    def __len__(self) -> int:
        return len(self._places)

    def image(self, index: int) -> NDArray[np.float32]:
        """One plane, (H, W) or (H, W, C), in [0, 1].

        Raises
        ------
        TypeError
            If its values are no real numbers.
        """
        number, plane = self._places[index]
        planes = self._images[number].planes
        values = planes.read(plane)
        if self.intensity.scope == "slice":
            return normalise(values, measure_range(values, self.intensity), self.intensity)
        if number not in self._ranges:
            self._ranges[number] = measure_range(planes.array, self.intensity)
        return normalise(values, self._ranges[number], self.intensity)


def plane_name(image: str, index: PlaneIndex) -> str:
    """What a plane is called.

    Examples
    --------
    >>> plane_name("scan", ((0, 7),)), plane_name("film", ((0, 2), (1, 7))), plane_name("picture", ())
    ('scan, slice 7', 'film, slice 2/7', 'picture')
    """
    return f"{image}, slice {'/'.join(str(at) for _, at in index)}" if index else image


def every_plane(shape: Sequence[int], cut: Sequence[int]) -> Iterator[PlaneIndex]:
    """Every plane of an array of this shape that is cut along these axes, in order.

    Examples
    --------
    >>> list(every_plane((2, 4, 4), [0]))
    [((0, 0),), ((0, 1),)]
    """
    for positions in product(*(range(shape[axis]) for axis in cut)):
        yield tuple(zip(cut, positions, strict=True))


def values_by_plane(
    labels: Any,
    cut: Sequence[int],
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[PlaneIndex, tuple[int, ...]]:
    """Which labels each plane holds; 0 is background and left out.

    Parameters
    ----------
    labels : array-like of int
        May be lazy; it is read plane by plane.
    cut : sequence of int
        The axes that are cut, in ascending order.
    progress, cancelled : callable, optional

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.
    ValueError
        If a label is negative; the plane is named.

    Examples
    --------
    >>> values_by_plane(np.array([[[0, 2], [1, 2]], [[0, 0], [0, 0]]]), [0])
    {((0, 0),): (1, 2), ((0, 1),): ()}
    """
    planes = Planes(labels)
    everything = list(every_plane(planes.shape, cut))
    found: dict[PlaneIndex, tuple[int, ...]] = {}
    for number, index in enumerate(everything):
        if cancelled is not None and cancelled():
            raise Cancelled("stopped while reading the labels")
        if progress is not None:
            progress(number, len(everything), "reading the labels")
        values = np.unique(planes.read(index))
        if values[0] < 0:
            raise ValueError(f"{plane_name('labels', index)} holds {values[0]}: labels are 0 or more")
        found[index] = tuple(int(value) for value in values if value)
    return found


def tags_of_values(
    values: Mapping[PlaneIndex, Sequence[int]], names: Mapping[int, str]
) -> dict[PlaneIndex, Tag]:
    """What planes show, by the labels in them; labels without a name do not count.

    Examples
    --------
    >>> tags_of_values({((0, 0),): (1, 2), ((0, 1),): ()}, {2: "lesion"})
    {((0, 0),): Tag(labels=('lesion',), patient=''), ((0, 1),): Tag(labels=(), patient='')}
    """
    return {
        index: Tag(tuple(dict.fromkeys(names[value] for value in present if value in names)))
        for index, present in values.items()
    }
