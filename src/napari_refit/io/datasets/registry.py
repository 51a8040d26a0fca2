"""The datasets that are known: a new one is one file and one line here, or one call from outside."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

from napari_refit.errors import ReadError
from napari_refit.io.datasets import folder
from napari_refit.io.datasets.brats import BRATS
from napari_refit.io.datasets.busi import BUSI
from napari_refit.io.datasets.dataset import Dataset
from napari_refit.io.datasets.decathlon import DECATHLON
from napari_refit.io.datasets.declaration import Contents, Declaration
from napari_refit.io.datasets.lgg import LGG
from napari_refit.io.datasets.listing import Listing
from napari_refit.io.datasets.prostate158 import PROSTATE158
from napari_refit.io.datasets.table import TABLE

# In the order in which they are tried: the general ones last.
DATASETS: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (BUSI, BRATS, LGG, DECATHLON, PROSTATE158, TABLE, folder.FOLDER)
}


def register_dataset(declaration: Declaration) -> None:
    """Add a dataset, or replace the one of that name; it is tried before the general layouts.

    Raises
    ------
    TypeError
        If it is no `Declaration`.
    """
    if not isinstance(declaration, Declaration):
        raise TypeError(f"a Declaration is needed, got {declaration!r}")
    known = {name: other for name, other in DATASETS.items() if name != declaration.name}
    DATASETS.clear()
    DATASETS.update({declaration.name: declaration, **known})


def find_dataset(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    images: str | None = None,
    masks: str | None = None,
) -> Dataset:
    """Recognise the dataset at a path. Names and small text files are read, no image.

    Parameters
    ----------
    path : path-like
        The dataset's folder, the one above it, or its table.
    name : str, optional
        One of `DATASETS`; recognised by the layout when left out.
    images, masks : str, optional
        Patterns of a folder's own layout, such as ``"{patient}/{case}_t2.nii.gz"`` (see `folder.scan_patterns`).

    Returns
    -------
    Dataset
        With its default preparation; `Dataset.prepared` gives others.

    Raises
    ------
    ReadError
        If nothing is there or no layout fits; the message says what was looked for and what was found.
    ValueError
        If the name is unknown, or a pattern makes no sense.
    """
    if name is not None and name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; there are: {', '.join(DATASETS)}")
    if masks is not None and images is None:
        raise ValueError("a pattern of masks needs a pattern of images")
    if images is not None and name not in (None, folder.FOLDER.name):
        raise ValueError(f"patterns are for the layout 'folder', not for {name!r}")
    path = Path(path)
    listing = Listing.read(path)
    if images is not None:
        return _dataset(folder.FOLDER, listing, folder.scan_patterns(listing, images, masks))
    special = [declaration for declaration in DATASETS.values() if not declaration.is_general]
    general = [declaration for declaration in DATASETS.values() if declaration.is_general]
    rounds = (
        [[DATASETS[name]]] if name is not None else [special, *([declaration] for declaration in general)]
    )
    for declarations in rounds:
        usable = [item for item in declarations if listing.file is None or _is_index(listing.file, item)]
        scanned = [(declaration, declaration.scan(listing)) for declaration in usable]
        found = [(declaration, contents) for declaration, contents in scanned if contents and contents.cases]
        if len(found) > 1:
            names = ", ".join(declaration.name for declaration, _ in found)
            raise ReadError(path, f"holds several datasets ({names}); give the folder of one, or name one")
        if found:
            return _dataset(found[0][0], listing, found[0][1])
    looked = "; ".join(f"{item.name}: {item.recognised}" for declarations in rounds for item in declarations)
    there = "a file" if listing.file is not None else listing.summary()
    raise ReadError(path, f"no known dataset. Looked for {looked}. Found {there}.")


def _is_index(file: Path, declaration: Declaration) -> bool:
    return bool(declaration.index) and fnmatch(file.name.lower(), declaration.index)


def _dataset(declaration: Declaration, listing: Listing, contents: Contents) -> Dataset:
    preparations = {**declaration.preparations, **contents.preparations}
    dataset = Dataset(
        declaration=declaration,
        root=contents.root or listing.root,
        every_case=contents.cases,
        classes=contents.classes or declaration.classes,
        modalities=contents.modalities or declaration.modalities,
        preparations=preparations,
        labels=contents.labels,
        findings=contents.findings,
    )
    return dataset.prepared("default")
