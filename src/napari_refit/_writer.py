"""napari's door for saving one layer: on the grid of the file that it came from."""

from __future__ import annotations

from typing import Any

import numpy as np


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer; called by napari with the layer's array and keywords."""
    return [_write(path, data, meta, labels=True)]


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write an Image layer; called by napari with the layer's array and keywords."""
    return [_write(path, data, meta, labels=False)]


def _write(path: str, data: Any, meta: dict[str, Any], *, labels: bool) -> str:
    from napari_refit.io.write import save

    array = np.asarray(data[0] if meta.get("multiscale") or isinstance(data, (list, tuple)) else data)
    grid = source_grid(array, meta)
    if grid is None:
        like = _layer_volume(array, meta)
    else:
        array, like = grid
    return str(save(path, array, like, labels=labels))


def source_grid(array: np.ndarray, meta: dict[str, Any]) -> tuple[np.ndarray, Any] | None:
    """Return a layer's array in the order of the file it came from, and that file's volume.

    Parameters
    ----------
    array : array
        As the layer holds it.
    meta : dict
        The layer's keywords, of which ``metadata["refit"]`` counts.

    Returns
    -------
    tuple or None
        None if the layer does not say where it came from, or no longer has that grid.
    """
    from napari_refit.io.display import to_file_order

    known = (meta.get("metadata") or {}).get("refit") or {}
    volume = known.get("volume")
    if volume is None or "permutation" not in known:
        return None
    try:
        array = to_file_order(array, volume.axes, tuple(known["permutation"]))
    except ValueError:
        return None
    return (array, volume) if array.shape in (volume.shape, volume.spatial_shape) else None


def _layer_volume(array: np.ndarray, meta: dict[str, Any]) -> Any:
    """Return a layer without a source as a z, y, x volume placed by the layer's own transforms.

    Where those came from a volume that is shown straightened, its tilt is put back.
    """
    from napari_refit.io.display import to_true_world
    from napari_refit.io.volume import Volume

    n = array.ndim - bool(meta.get("rgb"))
    if n > 5:
        raise ValueError(f"a layer of {n} axes cannot be saved; save a part of it")
    axes = (*("u", "t", "z", "y", "x")[5 - n :], *(("c",) if meta.get("rgb") else ()))
    n_spatial = min(n, 3)
    world = _data_to_world(n, meta)
    back = to_true_world((meta.get("metadata") or {}).get("refit"), n, meta.get("affine"))
    world = (world if back is None else back @ world)[n - n_spatial :, n - n_spatial :]
    affine = np.eye(4)
    affine[3 - n_spatial : 3, 3 - n_spatial : 3] = world[:n_spatial, :n_spatial]
    affine[3 - n_spatial : 3, 3] = world[:n_spatial, -1]
    # Rows z, y, x become x, y, z; columns stay in the order of the array's spatial axes.
    affine = np.vstack([affine[:3][::-1], affine[3:]])
    affine = affine[:, [*range(3 - n_spatial, 3), *range(3 - n_spatial), 3]]
    return Volume.from_array(array, axes, affine)


def _data_to_world(n: int, meta: dict[str, Any]) -> np.ndarray:
    """Return the matrix from array indices to world millimetres that a layer's keywords describe."""
    from napari.utils.transforms import Affine

    inner = Affine(
        scale=meta.get("scale", np.ones(n)),
        translate=meta.get("translate", np.zeros(n)),
        rotate=meta.get("rotate"),
        shear=meta.get("shear"),
        ndim=n,
    ).affine_matrix
    outer = np.asarray(meta["affine"]) if meta.get("affine") is not None else np.eye(n + 1)
    world = outer @ inner
    world[:n] *= np.array([_millimetres(unit) for unit in meta.get("units") or ("pixel",) * n])[:, None]
    return world


def _millimetres(unit: Any) -> float:
    import pint

    try:
        return float((1 * pint.get_application_registry().Unit(str(unit))).to("mm").magnitude)
    except (pint.errors.DimensionalityError, pint.errors.UndefinedUnitError):
        return 1.0
