"""Images and their image-level labels: what a training is given, and the readers that make it from files.

Nothing here can hold a mask: a sample is an image, a label, a patient and a name.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_refit.errors import ReadError
from napari_refit.intensity import measure_range, normalise
from napari_refit.io.formats import DICOM, ITK, NIFTI, NUMPY, PICTURES, TIFF, split_name
from napari_refit.io.read import check_usable, load
from napari_refit.params import IntensityParams

FLAT = (*PICTURES, *TIFF, *NUMPY, *NIFTI, *ITK, *DICOM)
SEPARATOR = ";"
DEFAULT = "default"
# Masks lie beside the images in several public sets; they are never read.
_MASK = re.compile(r"[_\- ](mask|seg|segmentation|label|labels)([_\- ]?\d+)?$", re.IGNORECASE)
_COLUMNS = ("image", "label", "patient")


class Samples(Protocol):
    """What a training is given.

    Attributes
    ----------
    labels : ndarray of int64, shape (N,) or (N, K)
        The number of each image's class; or, where an image may show any number of classes, 0 or 1 for each.
    patients, names : sequence of str
        For each image: whom it shows, so that nobody is on both sides of a split; what to call it.
    classes : tuple of str
        The K names.
    """

    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def patients(self) -> Sequence[str]: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def image(self, index: int, /) -> NDArray[np.float32]:
        """One image of shape (H, W) or (H, W, C), in [0, 1]."""
        ...


class ArraySamples:
    """Images that are in memory.

    Parameters
    ----------
    images : sequence of array
        Each (H, W) or (H, W, C), in [0, 1].
    labels : array-like of int
        (N,) class numbers or (N, K) zeros and ones.
    classes : sequence of str
        One name per class.
    patients, names : sequence of str, optional
        By default each image is its own patient, and they are numbered.

    Raises
    ------
    ValueError
        If the parts do not belong together; the message names the image.

    Examples
    --------
    >>> samples = ArraySamples(np.zeros((4, 8, 8), np.float32), [0, 1, 0, 1], ["normal", "lesion"])
    >>> len(samples), samples.image(0).shape, samples.names[0]
    (4, (8, 8), 'image 0')
    """

    def __init__(
        self,
        images: Sequence[NDArray[Any]] | NDArray[Any],
        labels: Any,
        classes: Sequence[str],
        patients: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self._images = images
        self.labels: NDArray[np.int64] = np.asarray(labels, dtype=np.int64)
        self.classes = tuple(str(name) for name in classes)
        self.names: Sequence[str] = [
            str(name) for name in names or [f"image {index}" for index in range(len(images))]
        ]
        self.patients: Sequence[str] = self.names if patients is None else [str(name) for name in patients]
        check_samples(self)

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image, as it was given."""
        return np.asarray(self._images[index], dtype=np.float32)


class FileSamples:
    """Images that are read from files when they are asked for.

    Parameters
    ----------
    paths : sequence of Path
    labels, classes, patients, names
        As of `Samples`.
    intensity : IntensityParams, optional
        How grey values become [0, 1]: on each image by itself, as when it is refined.
    source : str
        Where the list came from, for reports.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Any,
        classes: Sequence[str],
        patients: Sequence[str],
        names: Sequence[str],
        intensity: IntensityParams | None = None,
        source: str = "",
    ) -> None:
        self.paths = list(paths)
        self.labels: NDArray[np.int64] = np.asarray(labels, dtype=np.int64)
        self.classes = tuple(classes)
        self.patients: Sequence[str] = list(patients)
        self.names: Sequence[str] = list(names)
        self.intensity = intensity or IntensityParams()
        self.source = source
        check_samples(self)

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image in [0, 1], colour channels last; what is not finite becomes 0, as when it is refined.

        Raises
        ------
        ReadError
            If the file cannot be read, holds no finite value or more than one plane.
        """
        path = self.paths[index]
        volume = load(path)
        volume = volume.ordered("zyxc" if set(volume.axes) <= set("zyxc") else "".join(volume.axes))
        planes = [k for k, name in enumerate(volume.axes) if name not in ("y", "x", "c")]
        if any(volume.shape[k] != 1 for k in planes) or not {"y", "x"} <= set(volume.axes):
            raise ReadError(
                path, f"is no single image (shape {volume.shape}): save its slices as images of their own"
            )
        check_usable(volume)
        plane = np.squeeze(volume.data, tuple(planes))
        if plane.ndim == 3 and plane.shape[2] == 4:
            plane = plane[..., :3]
        return normalise(plane, measure_range(plane, self.intensity), self.intensity)


class Subset:
    """Some of the samples, in a given order.

    Parameters
    ----------
    samples : Samples
    indices : sequence of int
    """

    def __init__(self, samples: Samples, indices: Sequence[int] | NDArray[np.int64]) -> None:
        self._samples = samples
        self.indices: NDArray[np.int64] = np.asarray(indices, dtype=np.int64)
        self.labels: NDArray[np.int64] = samples.labels[self.indices]
        self.classes = samples.classes
        self.patients: Sequence[str] = [samples.patients[index] for index in self.indices]
        self.names: Sequence[str] = [samples.names[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image of the samples behind this."""
        return self._samples.image(int(self.indices[index]))


def check_samples(samples: Samples) -> None:
    """Check that labels, patients, names and classes belong together.

    Raises
    ------
    ValueError
        With what is wrong, and of which image.
    """
    count, labels, classes = len(samples), samples.labels, samples.classes
    if count == 0:
        raise ValueError("there are no images to train on")
    if len(classes) < 1 or len(set(classes)) != len(classes):
        raise ValueError(f"class names must be unique, at least one: {', '.join(classes) or 'none'}")
    if labels.shape not in ((count,), (count, len(classes))):
        raise ValueError(
            f"labels must have shape ({count},) or ({count}, {len(classes)}) for {count} images "
            f"of {len(classes)} classes, got {labels.shape}"
        )
    for what, values in (("patients", samples.patients), ("names", samples.names)):
        if len(values) != count:
            raise ValueError(f"{what} must be {count}, one per image, got {len(values)}")
    repeated = [name for name, times in Counter(samples.names).items() if times > 1]
    if repeated:
        raise ValueError(f"{repeated[0]}: is in the list {Counter(samples.names)[repeated[0]]} times")
    highest = len(classes) if labels.ndim == 1 else 2
    wrong = np.flatnonzero(((labels < 0) | (labels >= highest)).reshape(count, -1).any(1))
    if len(wrong):
        raise ValueError(
            f"{samples.names[wrong[0]]}: label {labels[wrong[0]].tolist()} is not "
            f"{'one of ' + str(highest) + ' classes' if labels.ndim == 1 else '0 or 1'}"
        )


def presence(samples: Samples) -> NDArray[np.int64]:
    """Which class each image shows: (N, K) zeros and ones, whatever form the labels have."""
    if samples.labels.ndim == 2:
        return samples.labels
    return np.eye(len(samples.classes), dtype=np.int64)[samples.labels]


def list_checksum(samples: Samples) -> str:
    """``"sha256:..."`` of names, labels, patients and classes, in their order.

    Examples
    --------
    >>> a, b = (ArraySamples(np.zeros((2, 4, 4)), labels, ["x", "y"]) for labels in ([0, 1], [1, 0]))
    >>> list_checksum(a) == list_checksum(b), list_checksum(a)[:7]
    (False, 'sha256:')
    """
    digest = hashlib.sha256(repr(samples.classes).encode())
    for name, patient, label in zip(samples.names, samples.patients, samples.labels.tolist(), strict=True):
        digest.update(f"{name!r} {patient!r} {label}\n".encode("utf-8", "surrogatepass"))
    return f"sha256:{digest.hexdigest()}"


def open_samples(
    path: str | Path, intensity: IntensityParams | None = None, preparation: str = DEFAULT
) -> Samples:
    """Open whatever a training can be given by name; the one place where a new kind of source is plugged in.

    Parameters
    ----------
    path : path-like
        A ``.csv`` file (see `read_csv`), a folder with one sub-folder per class (see `read_folder`), or a dataset that
        `napari_refit.io.datasets` recognises (see `napari_refit.learn.datasets`).
    intensity : IntensityParams, optional
    preparation : str
        Of a dataset: one of its named preparations.

    Raises
    ------
    ReadError
        If it is nothing of these, or something in it is wrong.
    ValueError
        If there is no such preparation.
    """
    from napari_refit.learn.datasets import dataset_samples, recognised

    path = Path(path)
    if not path.exists():
        raise ReadError(path, "there is no such file or folder; give a dataset, a folder or a .csv file")
    dataset = recognised(path)
    if dataset is not None:
        return dataset_samples(dataset.prepared(preparation), intensity)
    if preparation != DEFAULT:
        raise ValueError(f"{path} is no known dataset: it has no preparation {preparation!r}")
    if path.is_dir():
        return read_folder(path, intensity)
    if path.suffix.lower() != ".csv":
        raise ReadError(path, "is neither a .csv file nor a folder; give a dataset, a folder or a .csv file")
    return read_csv(path, intensity)


def read_csv(path: Path, intensity: IntensityParams | None = None) -> FileSamples:
    """Read a list of images: columns ``image`` and ``label``, and ``patient`` where several are of one.

    Paths are relative to the file. Several labels of one image are separated by ``;``; then an image may show any
    number of classes, and an empty label is one of none.

    Raises
    ------
    ReadError
        With the row and the column that is wrong, or the image that is missing.
    """
    rows = _rows(path)
    labels = [[part.strip() for part in row["label"].split(SEPARATOR) if part.strip()] for row in rows]
    is_several = any(SEPARATOR in row["label"] for row in rows)
    for number, (row, found) in enumerate(zip(rows, labels, strict=True), start=2):
        if not found and not is_several:
            raise ReadError(
                path, f"row {number} ({row['image']}) has no label; name a class, such as background"
            )
    classes = sorted({name for found in labels for name in found})
    paths = [path.parent / row["image"] for row in rows]
    missing = [number for number, image in enumerate(paths, start=2) if not image.exists()]
    if missing:
        raise ReadError(path, f"row {missing[0]}: there is no image {paths[missing[0] - 2]}")
    names = [row["image"] for row in rows]
    values: Any = (
        [[int(name in found) for name in classes] for found in labels]
        if is_several
        else [classes.index(found[0]) for found in labels]
    )
    return _named(
        path,
        lambda: FileSamples(
            paths,
            values,
            classes,
            [row.get("patient") or row["image"] for row in rows],
            names,
            intensity,
            path.name,
        ),
    )


def read_folder(path: Path, intensity: IntensityParams | None = None) -> FileSamples:
    """Read a folder with one sub-folder per class: ``class/image.png`` or ``class/patient/image.png``.

    Files that are called masks (``*_mask.png``, ``*_seg.nii.gz``) are passed over.

    Raises
    ------
    ReadError
        If there are not at least two classes with images.
    """
    images: list[Path] = []
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        images += sorted(
            file
            for file in folder.rglob("*")
            if file.is_file()
            and split_name(file)[1] in FLAT
            and not file.name.startswith(".")
            and not _MASK.search(split_name(file)[0])
        )
    parts = [image.relative_to(path).parts for image in images]
    classes = sorted({part[0] for part in parts})
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise ReadError(
            path, f"must hold one sub-folder of images per class, at least two classes; there is {found}"
        )
    return FileSamples(
        images,
        [classes.index(part[0]) for part in parts],
        classes,
        # Folders of one name under two classes are one patient.
        [part[1] if len(part) > 2 else "/".join(part) for part in parts],
        ["/".join(part) for part in parts],
        intensity,
        path.name,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            head = [str(name).strip() for name in reader.fieldnames or []]
            reader.fieldnames = head
            unknown = [name for name in head if name not in _COLUMNS]
            missing = [name for name in _COLUMNS[:2] if name not in head]
            if unknown or missing:
                wrong = f"unknown column {unknown[0]!r}" if unknown else f"no column {missing[0]!r}"
                raise ReadError(path, f"{wrong}; the columns are image, label and, if you like, patient")
            rows = []
            for number, row in enumerate(reader, start=2):
                if None in row or any(value is None for value in row.values()):
                    raise ReadError(path, f"row {number} does not have {len(head)} values")
                rows.append({key: value.strip() for key, value in row.items()})
    except ReadError:
        raise
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(path, f"cannot be read as a table ({error}); save it as CSV in UTF-8") from None
    if not rows:
        raise ReadError(path, "holds no images, only column names" if head else "is empty")
    return rows


def _named(path: Path, make: Callable[[], FileSamples]) -> FileSamples:
    try:
        return make()
    except ValueError as error:
        raise ReadError(path, str(error)) from None
