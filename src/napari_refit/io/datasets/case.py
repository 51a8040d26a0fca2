"""A dataset's cases: which files are its images, which are its masks, and who it is of.

The two kinds of files have types of their own, so that what training is given (`ImageFiles`) has no place for a
mask (`MaskFiles`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ImageFiles:
    """Where the grey values of one modality are.

    Attributes
    ----------
    paths : tuple of Path
        One file, or the slices of a volume in their order.
    channel : int or None
        Which channel of the file (its last axis that is not spatial); None: the whole file.
    """

    paths: tuple[Path, ...]
    channel: int | None = None


@dataclass(frozen=True)
class MaskFiles:
    """Where the reference masks of a case are.

    Attributes
    ----------
    paths : tuple of Path
    join : {"union", "stack"}
        union: masks of the same grid, the highest value wins. stack: the slices of a volume in their order.
    """

    paths: tuple[Path, ...]
    join: Literal["union", "stack"] = "union"


@dataclass(frozen=True)
class Case:
    """One image or volume of a dataset.

    Attributes
    ----------
    name : str
        Unique within the dataset.
    images : mapping of str to ImageFiles
        Modality to files; a modality may be missing.
    truth : MaskFiles or None
        The reference masks.
    patient : str
        Whom it is of; the case's own name where the dataset does not tell.
    group : str
        What must stay on one side of a split besides (near duplicates); the patient where there is nothing else.
    label : str or None
        The image-level label that the layout gives (a folder's name).
    """

    name: str
    images: Mapping[str, ImageFiles] = field(hash=False)
    truth: MaskFiles | None = None
    patient: str = ""
    group: str = ""
    label: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "patient", self.patient or self.name)
        object.__setattr__(self, "group", self.group or self.patient)


@dataclass(frozen=True, order=True)
class Slice:
    """A plane of a case.

    Attributes
    ----------
    case : str
        The case's name.
    axis : int or None
        Which of the image's spatial axes, in the order of the file, is cut; None for a picture.
    index : int or None
        Position on that axis, counted in the file (a crop does not change it); None for a picture.
    """

    case: str
    axis: int | None = None
    index: int | None = None

    def __str__(self) -> str:
        return self.case if self.axis is None else f"{self.case}, slice {self.index} of axis {self.axis}"
