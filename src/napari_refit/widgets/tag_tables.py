"""Tags of layers as tables: how a file names what a layer shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from napari_refit.learn.tag_files import TableRow, path_in_table, read_tags, write_tags
from napari_refit.learn.tags import Slot, Tag
from napari_refit.planes import PlaneIndex
from napari_refit.widgets.planes import grid_shape
from napari_refit.widgets.saving import source_path


def save_table(
    path: Path, tags: Iterable[tuple[Slot, Tag]], others: Sequence[TableRow] = (), *, overwrite: bool = False
) -> str:
    """Write tags of layers, and rows of images that are not open; returns what to tell the user.

    Raises
    ------
    ValueError, WriteError
        As `write_tags`.
    """
    rows, loose, patients = [], [], {}
    for (layer, index), tag in tags:
        if tag.labels is None:
            continue
        source = source_path(layer)
        if source is None and layer.name not in loose:
            loose.append(layer.name)
        image = layer.name if source is None else path_in_table(source, path)
        rows.append(TableRow(image, _in_file(layer, index), tag.labels, tag.patient))
        patients.setdefault(layer.name, set()).add(tag.patient)
    several = [name for name, found in patients.items() if len(found) > 1]
    write_tags(path, [*rows, *others], overwrite=overwrite)
    text = f"Saved {len(rows)} tags to {path}."
    if others:
        text += f" Rows of images that are not open stay in it: {len(others)}."
    if loose:
        text += f" Only this dock can use the rows of {', '.join(loose)}, which has no file."
    if several:
        text += f" Only this dock can use those of {', '.join(several)}: elsewhere an image has one patient."
    return text


def load_table(path: Path, layers: Sequence[Any]) -> tuple[dict[Slot, Tag], list[TableRow]]:
    """Read the tags of these layers, and the rows of other images.

    Raises
    ------
    ReadError
        If it is no table of tags.
    ValueError
        If it is of none of these layers, or names a slice that a layer does not have.
    """
    by_name = {layer.name: layer for layer in layers}
    by_path = {source.resolve(): layer for layer in layers if (source := source_path(layer))}
    found: dict[Slot, Tag] = {}
    others = []
    for row in read_tags(path):
        layer = by_path.get((path.parent / row.image).resolve()) or by_name.get(row.image)
        if layer is None:
            others.append(row)
            continue
        index = _in_layer(layer, row.index)
        if index is None:
            place = ", ".join(f"index {at} of axis {axis}" for axis, at in row.index) or "no slice"
            raise ValueError(
                f"{path}: {row.image} is given {place}, which {layer.name!r} of shape {grid_shape(layer)} "
                "does not have; correct the row"
            )
        found[layer, index] = Tag(row.labels, row.patient)
    if not found:
        names = ", ".join(list(dict.fromkeys(row.image for row in others))[:3])
        raise ValueError(f"{path} names no image that is open here ({names}); open its images first")
    return found, others


def _file_order(layer: Any) -> tuple[int, ...]:
    """For each axis of a layer its axis in the file."""
    known = layer.metadata.get("refit")
    order = known.get("permutation") if isinstance(known, dict) else None
    return tuple(range(layer.ndim)) if order is None else tuple(order)[: layer.ndim]


def _in_file(layer: Any, index: PlaneIndex) -> PlaneIndex:
    order = _file_order(layer)
    return tuple((order[axis], at) for axis, at in index)


def _in_layer(layer: Any, index: PlaneIndex) -> PlaneIndex | None:
    """The plane of a layer that a table names; None if there is none."""
    order, shape = _file_order(layer), grid_shape(layer)
    if len(index) != layer.ndim - 2 or any(axis not in order for axis, _ in index):
        return None
    found = tuple(sorted((order.index(axis), at) for axis, at in index))
    return found if all(at < shape[axis] for axis, at in found) else None
