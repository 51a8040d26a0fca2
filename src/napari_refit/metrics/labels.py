"""Checking and counting labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Pairs of labels below this are counted by a table; any one below the other limit is renumbered by a table
# look-up, larger or negative ones by a search.
PAIR_TABLE_SIZE = 256
TABLE_SIZE = 65536


def checked_pair(mask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of whole numbers, or a ValueError (TypeError) that says what is wrong."""
    mask, truth = np.asarray(mask), np.asarray(truth)
    if mask.shape != truth.shape:
        raise ValueError(f"mask {mask.shape} and truth {truth.shape} differ in shape")
    if mask.size == 0:
        raise ValueError(f"mask and truth are empty, of shape {mask.shape}")
    return _whole(mask, "mask"), _whole(truth, "truth")


def _whole(labels: np.ndarray, name: str) -> np.ndarray:
    if labels.dtype.kind in "ib":
        return labels
    if labels.dtype.kind == "u":
        return labels if labels.dtype.itemsize < 8 else labels.astype(np.int64)
    if labels.dtype.kind != "f":
        raise TypeError(f"{name} must be whole numbers, got {labels.dtype}")
    whole = np.isfinite(labels) & (np.floor(labels) == labels)
    if not whole.all():
        raise ValueError(f"{name} must be whole numbers, got {labels[~whole][0]!r}")
    return labels.astype(np.int64)


def checked_classes(classes: Iterable[int]) -> tuple[int, ...]:
    """Class numbers sorted, each once, or a ValueError."""
    numbers = tuple(sorted({int(number) for number in classes}))
    if not numbers or numbers[0] < 1:
        raise ValueError(f"classes must be numbers from 1 up (background is always counted), got {numbers}")
    return numbers


def foreground(
    mask: np.ndarray, truth: np.ndarray, class_number: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Where a class is (by default anything above 0), in the mask and in the truth."""
    mask, truth = checked_pair(mask, truth)
    if class_number is None:
        return mask > 0, truth > 0
    return mask == class_number, truth == class_number


def confusion(
    mask: np.ndarray, truth: np.ndarray, classes: tuple[int, ...] | None
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Pixel counts (mask, truth) over background and classes, and the class numbers."""
    n_labels = int(max(mask.max(), truth.max())) + 1
    if n_labels <= PAIR_TABLE_SIZE and min(mask.min(), truth.min()) >= 0:
        return _confusion_of_pairs(_pair_counts(mask, truth, n_labels), classes)
    if classes is None:
        present = {int(number) for labels in (mask, truth) for number in _labels(labels)}
        classes = tuple(sorted(number for number in present if number > 0))
    size = len(classes) + 1
    codes = _renumber(mask, classes) * size + _renumber(truth, classes)
    return np.bincount(codes.ravel(), minlength=size * size).reshape(size, size), classes


def _pair_counts(mask: np.ndarray, truth: np.ndarray, n_labels: int) -> np.ndarray:
    """Pixels with each label in the mask (rows) and each in the truth (columns)."""
    codes = mask.astype(np.uint16)
    codes *= np.uint16(n_labels)
    codes += truth.astype(np.uint16, copy=False)
    return np.bincount(codes.ravel(), minlength=n_labels**2).reshape(n_labels, n_labels)


def _confusion_of_pairs(
    pairs: np.ndarray, classes: tuple[int, ...] | None
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Keep the classes of a table over all labels; the others join the background."""
    if classes is None:
        present = np.flatnonzero(pairs.any(axis=0) | pairs.any(axis=1)).tolist()
        classes = tuple(number for number in present if number > 0)
    places = np.zeros(len(pairs), np.intp)
    for place, number in enumerate(classes, start=1):
        if number < len(pairs):
            places[number] = place
    table = np.zeros((len(classes) + 1, len(classes) + 1), pairs.dtype)
    rows, columns = np.nonzero(pairs)
    np.add.at(table, (places[rows], places[columns]), pairs[rows, columns])
    return table, classes


def _labels(labels: np.ndarray) -> np.ndarray:
    if labels.min() >= 0 and labels.max() < TABLE_SIZE:
        return np.flatnonzero(np.bincount(labels.ravel()))
    return np.unique(labels)


def _renumber(labels: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """Place of each label in ``classes``, counted from 1; 0 for any other."""
    if labels.min() >= 0 and max(int(labels.max()), *classes, 0) < TABLE_SIZE:
        table = np.zeros(max(int(labels.max()), *classes, 0) + 1, np.intp)
        table[list(classes)] = np.arange(1, len(classes) + 1)
        return table[labels.astype(np.uint16)]
    known = np.array((0, *classes))
    place = np.minimum(np.searchsorted(known, labels), len(classes))
    return np.where(known[place] == labels, place, 0)
