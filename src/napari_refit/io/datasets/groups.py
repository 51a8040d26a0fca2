"""Near duplicates: which pictures look alike, and groups of cases that must stay together."""

from __future__ import annotations

import csv
import os
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path

import numpy as np

from napari_refit.errors import ReadError, brief
from napari_refit.io._atomic import atomic_path

THUMBNAIL = 32
ALIKE = 0.95
_BLOCK = 2048


def read_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a table with the columns group and case.

    Returns
    -------
    dict of str to str
        Case to group.

    Raises
    ------
    ReadError
        If it is no such table, or a case is in two groups.
    """
    path = Path(path)
    groups: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(path, f"cannot be read as a table: {brief(error)}") from None
    for number, row in enumerate(rows, start=2):
        case, group = row.get("case"), row.get("group")
        if not case or not group:
            raise ReadError(path, f"line {number} lacks a group or a case; the columns are group, case")
        if groups.setdefault(case, group) != group:
            raise ReadError(path, f"line {number}: {case} is in the groups {groups[case]} and {group}")
    return groups


def write_groups(path: str | os.PathLike[str], groups: Mapping[str, str]) -> None:
    """Write a table that `read_groups` reads.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    with atomic_path(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["group", "case"])
        writer.writerows([group, case] for case, group in groups.items())


def tied(members: Iterable[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    """Names that must stay together: those of one patient or one group, and what these tie in turn.

    Parameters
    ----------
    members : iterable of (name, patient, group)
        A name may come several times, such as a case for each of its slices.

    Examples
    --------
    >>> tied([("a", "p1", "g1"), ("b", "p2", "g2"), ("c", "p1", "g3"), ("d", "p3", "g3")])
    [('a', 'c', 'd'), ('b',)]
    """
    ties = []
    for name, patient, group in members:
        ties += [(("case", name), ("patient", patient)), (("case", name), ("group", group))]
    items = dict.fromkeys(item for tie in ties for item in tie)
    found = [
        tuple(str(name) for kind, name in part if kind == "case")  # type: ignore[misc,has-type]
        for part in components(ties, items)
    ]
    return [part for part in found if part]


def components(pairs: Iterable[tuple[Hashable, Hashable]], items: Iterable[Hashable]) -> list[list[Hashable]]:
    """Items that pairs tie together, directly or through others; in the order of the items.

    Examples
    --------
    >>> components([("a", "c"), ("c", "d")], "abcd")
    [['a', 'c', 'd'], ['b']]
    """
    parent = {item: item for item in items}

    def root(item: Hashable) -> Hashable:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    order = {item: place for place, item in enumerate(parent)}
    for first, second in pairs:
        low, high = sorted((root(first), root(second)), key=order.__getitem__)
        parent[high] = low
    found: dict[Hashable, list[Hashable]] = {}
    for item in parent:
        found.setdefault(root(item), []).append(item)
    return list(found.values())


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """A picture at 32 x 32 pixels, resized by Pillow's bilinear filter.

    Parameters
    ----------
    picture : array, shape (H, W) or (H, W, C)
        Colours are averaged.

    Returns
    -------
    float32 array, shape (32, 32)

    Examples
    --------
    >>> float(thumbnail(np.full((64, 96, 3), 7, np.uint8)).mean())
    7.0
    """
    from PIL import Image

    grey = picture.astype(np.float32)
    grey = grey if grey.ndim == 2 else grey.mean(axis=-1)
    small = Image.fromarray(grey).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    return np.asarray(small)


def alike_pairs(
    thumbnails: Mapping[str, np.ndarray], threshold: float = ALIKE
) -> dict[tuple[str, str], float]:
    """Pairs of pictures whose thumbnails correlate by more than a threshold.

    Parameters
    ----------
    thumbnails : mapping of str to array
        From `thumbnail`.
    threshold : float
        Pearson's correlation.

    Returns
    -------
    dict of (str, str) to float
        The correlation. A picture without contrast is like no other.

    Examples
    --------
    >>> ramp = np.add.outer(np.arange(32.0), np.arange(32.0))
    >>> list(alike_pairs({"a": ramp, "b": 3 * ramp + 7, "c": ramp[::-1], "flat": 0 * ramp}))
    [('a', 'b')]
    """
    names = list(thumbnails)
    if not names:
        return {}
    rows = np.array([thumbnails[name].ravel() for name in names], np.float32)
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-6)
    pairs = {}
    for start in range(0, len(names), _BLOCK):
        likeness = rows[start : start + _BLOCK] @ rows[start:].T
        for i, j in np.argwhere(np.triu(likeness > threshold, k=1)):
            pairs[names[start + i], names[start + j]] = float(likeness[i, j])
    return pairs
