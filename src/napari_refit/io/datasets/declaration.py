"""What is known of a dataset before any file of it is seen: one declaration per dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_refit.io.datasets.case import Case
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.preparation import Preparation, SplitParams

if TYPE_CHECKING:
    from napari_refit.io.datasets.labels import ImageLabels
    from napari_refit.io.datasets.listing import Listing

ALL = "*"
NEGATIVE = ("normal", "negative", "background", "healthy", "none", "0")
"""Image-level labels that mean that no class is there."""


@dataclass(frozen=True)
class ClassRule:
    """A class and what says in a mask that it is there.

    Attributes
    ----------
    name : str
    values : tuple of int
        The mask values that mean it; empty: every value but 0.
    help : str
    """

    name: str
    values: tuple[int, ...] = ()
    help: str = ""


@dataclass(frozen=True)
class Contents:
    """What a dataset's folder holds; no pixel is read for it.

    Attributes
    ----------
    cases : tuple of Case
    classes, modalities : tuple
        Where these depend on the copy; empty: the declaration's.
    preparations : mapping of str to Preparation
        Where these depend on the copy; they replace the declaration's of the same name.
    labels : ImageLabels or None
        Image-level labels that the layout gives for slices or by a table.
    findings : tuple of Finding
        Missing pairs and files that fit nowhere.
    root : Path or None
        Where it lies, if not where one looked.
    """

    cases: tuple[Case, ...]
    classes: tuple[ClassRule, ...] = ()
    modalities: tuple[str, ...] = ()
    preparations: Mapping[str, Preparation] = field(default_factory=dict)
    labels: ImageLabels | None = None
    findings: tuple[Finding, ...] = ()
    root: Path | None = None


@dataclass(frozen=True)
class Declaration:
    """All there is to know of a dataset, in one place.

    Attributes
    ----------
    name, title : str
        The key on the command line and in files; what people call it.
    layout : str
        The files as one downloads them, for people.
    recognised : str
        What its folder is recognised by, for the message that nothing was.
    scan : callable
        ``scan(listing) -> Contents or None``: None if the layout is another one. It reads names and small text
        files, no image.
    index : str
        Name (with ``*``) of a file that stands for the whole dataset; empty: there is none.
    is_general : bool
        Whether the layout is one that many sets share; it is tried when no other fits.
    classes : tuple of ClassRule
        Empty where each copy says it.
    merged : mapping of str to tuple of str
        Mergers that people use by name; ``("*",)`` merges all classes.
    mask_values : str
        What the values in the masks mean, for people.
    class_from_label : bool
        Whether a mask says where and the case's label says what.
    modalities, default_modalities : tuple of str
        All, and the usual ones (empty: all).
    patients, groups : str
        How a case's patient is known, and what else must stay on one side of a split.
    has_millimetres : bool
        Whether spacing is known well enough to report distances in mm.
    preparations : mapping of str to Preparation
        By name; ``"default"`` is always there.
    split : SplitParams
        The default split.
    paper_split : SplitParams or None
        The split of the ReFit paper, where it used this dataset.
    licence : str
        As published.
    citation : tuple of str
    url : str
        Where it is published.
    """

    name: str
    title: str
    layout: str
    recognised: str
    scan: Callable[[Listing], Contents | None] = field(repr=False)
    index: str = ""
    is_general: bool = False
    classes: tuple[ClassRule, ...] = ()
    merged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mask_values: str = ""
    class_from_label: bool = False
    modalities: tuple[str, ...] = ()
    default_modalities: tuple[str, ...] = ()
    patients: str = "Every case counts as a patient of its own."
    groups: str = ""
    has_millimetres: bool = True
    preparations: Mapping[str, Preparation] = field(default_factory=dict)
    split: SplitParams = field(default_factory=SplitParams)
    paper_split: SplitParams | None = None
    licence: str = "As its owner says."
    citation: tuple[str, ...] = ()
    url: str = ""

    def __post_init__(self) -> None:
        if not self.name.replace("-", "_").isidentifier():
            raise ValueError(f"dataset name {self.name!r} must be letters, digits and hyphens")
        object.__setattr__(self, "preparations", {"default": Preparation(), **self.preparations})


def is_negative(label: str) -> bool:
    """Whether an image-level label means that no class is there.

    Examples
    --------
    >>> is_negative("Normal"), is_negative("benign")
    (True, False)
    """
    return label.strip().lower() in NEGATIVE
