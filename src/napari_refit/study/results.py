"""What a study measured: one row per method, class and image, and the facts that go with them; as a CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_refit.errors import ReadError, brief
from napari_refit.io._atomic import atomic_path

if TYPE_CHECKING:
    from napari_refit.study.corrected import Corrected

LEVELS = ("image", "case")
UNITS = ("mm", "px")
BLANK = "blank"
BEST_THRESHOLD = "best-threshold"


@dataclass(frozen=True)
class Row:
    """One method on one class of one image, or of one whole case.

    Attributes
    ----------
    dataset : str
        The dataset's name.
    fold : int
        From 1: the fold in whose test part the image is.
    method : str
        The method's key.
    case : str
        The case's name.
    patient : str
        What is tied: all cases of one patient, or of one group of near duplicates. Never divided by a split.
    level : str
        ``"image"``: one picture or slice. ``"case"``: a whole volume in 3-D.
    axis, index : int or None
        Which slice; None for a picture that has no slices, and for a whole case.
    class_number : int
        From 1.
    class_name : str
    both, in_mask, in_truth : int
        Pixels of the class in both, in the mask and in the truth.
    both_background : int
        Pixels that are background (none of the classes) in the mask and in the truth: the same in the rows of all
        classes of an image. With several classes it does not follow from the other counts.
    pixels : int
        All pixels of the image.
    dice, iou : float
        NaN if the class is in neither.
    hd95 : float
        In ``unit``; infinite if only one of the two has the class, NaN if neither or if it was not measured.
    surface_dice : float
        NaN as ``hd95``; 0 if only one of the two has the class.
    unit : str
        Of ``hd95``: ``"mm"`` or ``"px"``.
    seconds : float
        That the method took for the image; NaN if it is not known.

    Raises
    ------
    ValueError
        If a value is none of the above.
    """

    dataset: str
    fold: int
    method: str
    case: str
    patient: str
    level: str
    axis: int | None
    index: int | None
    class_number: int
    class_name: str
    both: int
    in_mask: int
    in_truth: int
    both_background: int
    pixels: int
    dice: float
    iou: float
    hd95: float
    surface_dice: float
    unit: str
    seconds: float

    def __post_init__(self) -> None:
        for name, known in (("level", LEVELS), ("unit", UNITS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.fold < 1 or self.class_number < 1:
            raise ValueError(
                f"fold and class_number count from 1, got {self.fold!r} and {self.class_number!r}"
            )
        if not 0 <= self.both <= min(self.in_mask, self.in_truth):
            raise ValueError(
                f"both = {self.both!r} must be from 0 to the smaller of in_mask = {self.in_mask!r} and "
                f"in_truth = {self.in_truth!r}"
            )
        union = self.in_mask + self.in_truth - self.both
        if not 0 <= self.both_background <= self.pixels - union:
            raise ValueError(
                f"both_background = {self.both_background!r} does not fit {self.pixels!r} pixels of which {union!r} "
                "are of the class in the mask or the truth"
            )

    @property
    def place(self) -> tuple[str, int | None, int | None]:
        """Case, axis and index: what one image is known by."""
        return self.case, self.axis, self.index


@dataclass(frozen=True)
class MethodInfo:
    """A method as it was run.

    Attributes
    ----------
    key, title, about : str
        Key in the rows; name in tables; a sentence on what it does and what it was trained on.
    settings : dict
        All parameters, nested as one likes.
    checksums : dict of str to str
        Of its checkpoints and other files, by name.
    threshold : dict
        The thresholds used and what they were chosen on, e.g. ``{"chosen on": "training and validation images",
        "fold 1": 0.41}``. Empty: it has none.
    notes : tuple of str
        What a reader should know.
    """

    key: str
    title: str
    about: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    threshold: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Panel:
    """What there is to see of one image.

    Attributes
    ----------
    image : ndarray of float, (H, W) or (H, W, C)
        In [0, 1], as displayed.
    truth : ndarray of whole numbers, (H, W)
        Class numbers, 0 is background.
    masks : dict of str to ndarray, (H, W)
        Class numbers, by method.
    responses : dict of str to ndarray of float, (H, W) or (n, H, W)
        Response maps in [0, 1], by method; those of several classes one after the other.
    """

    image: NDArray[Any]
    truth: NDArray[Any]
    masks: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    responses: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass
class StudyResults:
    """All that a report is made of.

    Attributes
    ----------
    dataset, title : str
        The dataset's name and title.
    root : str
        Name of its folder (no path).
    preparation : str
        Name of the preparation.
    counts : dict
        Facts such as how many patients, cases and images there are, by name.
    licence : str
        As published.
    citation : tuple of str
        Of the dataset.
    url : str
        Where the dataset is published.
    split : dict
        Facts on the split: folds, seed, how it was made, checksum, patients per part.
    methods : tuple of MethodInfo
        In the order of the tables; blank comes first there in any case.
    rows : list of Row
    left_out : dict of str to int
        What was left out and how often, e.g. images whose pseudo-label is empty.
    versions, machine, seconds : dict
        Of programs; of the computer; per step of the work.
    notes : tuple of str
        What a reader should know of the whole.
    tolerance : float
        Of surface Dice, in the rows' unit.
    baseline : str
        Key of the method that others are compared with first.
    corrected : list of Corrected
        What a simulated user's corrections came to; empty where nobody corrected.
    wanted : float
        Foreground Dice at which that user stops clicking.
    """

    dataset: str
    title: str
    rows: list[Row]
    methods: tuple[MethodInfo, ...]
    root: str = ""
    preparation: str = "default"
    counts: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    citation: tuple[str, ...] = ()
    url: str = ""
    split: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tolerance: float = 1.0
    baseline: str = "gradcam"
    corrected: list[Corrected] = field(default_factory=list)
    wanted: float = 0.9


COLUMNS = tuple(item.name for item in fields(Row))
_WHOLE = ("fold", "class_number", "both", "in_mask", "in_truth", "both_background", "pixels")
_WHOLE_OR_NONE = ("axis", "index")
_REAL = ("dice", "iou", "hd95", "surface_dice", "seconds")


def write_rows(path: str | os.PathLike[str], rows: Iterable[Row]) -> Path:
    """Write rows as a CSV file with a header, whole or not at all.

    Parameters
    ----------
    path : path-like
        Replaced if there.
    rows : iterable of Row
        `read_rows` gives back the very same values: NaN is written as ``nan``, infinity as ``inf``, None as an
        empty field, numbers with all their digits, text in UTF-8.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    target = Path(path)
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([_text(name, getattr(row, name)) for name in COLUMNS] for row in rows)
    return target


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Read rows that `write_rows` wrote; the columns may stand in any order and others beside them.

    Raises
    ------
    ReadError
        If the file cannot be read, lacks a column, or a value is not what its column holds; the message names the
        line.
    """
    source = Path(path)
    try:
        # "-sig": spreadsheet programs put a mark before the header.
        with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise ReadError(source, f"has no column {', '.join(missing)}: it holds no results of a study")
            return [_row(source, reader.line_num, record) for record in reader]
    except csv.Error as error:
        raise ReadError(source, f"is no CSV file: {brief(error)}") from None
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(source, f"cannot be read: {brief(error.strerror or str(error))}") from None


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _REAL:
        return repr(float(value))
    return str(int(value)) if name in _WHOLE or name in _WHOLE_OR_NONE else str(value)


def _row(source: Path, line: int, record: Mapping[str, str | None]) -> Row:
    values: dict[str, Any] = {}
    for name in COLUMNS:
        text = record[name]
        if text is None:
            raise ReadError(source, f"line {line} ends before column {name}")
        try:
            if name in _REAL:
                values[name] = float(text)
            elif name in _WHOLE:
                values[name] = int(text)
            elif name in _WHOLE_OR_NONE:
                values[name] = int(text) if text else None
            else:
                values[name] = text
        except ValueError:
            wanted = "a number" if name in _REAL else "a whole number"
            raise ReadError(source, f"line {line}: {name} must be {wanted}, got {text!r}") from None
    try:
        return Row(**values)
    except ValueError as error:
        raise ReadError(source, f"line {line}: {error}") from None
