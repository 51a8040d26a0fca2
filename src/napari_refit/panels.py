"""A picture of a refined volume: image, truth, CAM, edges and refined mask of a few slices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.results import SliceResult


def choose_slices(mask: NDArray[Any], truth: NDArray[Any] | None, axis: int, count: int = 4) -> list[int]:
    """Slices worth showing: spread over those with truth, else with a mask, else over the volume.

    Examples
    --------
    >>> mask = np.zeros((5, 4, 4)); mask[2:4] = 1
    >>> choose_slices(mask, None, axis=0, count=2)
    [2, 3]
    """
    others = tuple(other for other in range(mask.ndim) if other != axis)
    area = np.count_nonzero(mask if truth is None else truth, axis=others)
    if not area.any():
        area = np.count_nonzero(mask, axis=others)
    candidates = np.flatnonzero(area) if area.any() else np.arange(mask.shape[axis])
    picks = np.linspace(0, len(candidates) - 1, min(count, len(candidates))).round().astype(int)
    return [int(candidates[pick]) for pick in picks]


def draw_panels(
    path: str | os.PathLike[str],
    results: Sequence[SliceResult],
    titles: Sequence[str],
    truths: Sequence[NDArray[Any] | None],
    caption: str = "",
) -> Path:
    """Draw one row per slice and write a PNG.

    Parameters
    ----------
    path : path-like
        Where to; replaced if there.
    results : sequence of SliceResult
        As displayed: rows down, columns right.
    titles : sequence of str
        One per slice.
    truths : sequence of ndarray or None
        Reference masks of the same slices.
    caption : str
        A line below everything.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from napari_refit.io._atomic import atomic_path

    columns = ["image", "truth", "response map (CAM)", "edges", "CAM alone", "refined"]
    if all(truth is None for truth in truths):
        columns.remove("truth")
    figure = Figure(figsize=(2.3 * len(columns), 2.45 * len(results) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(results), len(columns), squeeze=False)
    for row, (result, title, truth) in enumerate(zip(results, titles, truths, strict=True)):
        for column, axis in zip(columns, axes[row], strict=True):
            _draw_cell(axis, column, result, truth)
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title(column, fontsize=10)
        axes[row][0].set_ylabel(title, fontsize=9)
    if caption:
        figure.supxlabel(caption, fontsize=9)
    target = Path(path)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return target


def _draw_cell(axis: Any, column: str, result: SliceResult, truth: NDArray[Any] | None) -> None:
    axis.imshow(result.image, cmap="gray", vmin=0, vmax=1)
    if column.startswith("response") and result.response is not None:
        axis.imshow(result.response.max(axis=0), cmap="inferno", vmin=0, vmax=1, alpha=0.6)
    elif column == "edges":
        axis.imshow(_transparent(result.edges, (0.0, 0.9, 1.0), 0.8))
    elif column == "truth" and truth is not None:
        axis.imshow(_transparent(truth != 0, (0.2, 0.9, 0.3), 0.55))
    elif column in ("CAM alone", "refined"):
        mask = result.cam_mask if column == "CAM alone" else result.mask
        axis.imshow(_transparent(mask != 0, (1.0, 0.35, 0.2), 0.55))
        if truth is not None and (truth != 0).any():
            axis.contour(truth != 0, levels=[0.5], colors=["lime"], linewidths=0.7)


def _transparent(where: NDArray[np.bool_], colour: tuple[float, float, float], alpha: float) -> NDArray[Any]:
    picture = np.zeros((*where.shape, 4), np.float32)
    picture[where] = (*colour, alpha)
    return picture
