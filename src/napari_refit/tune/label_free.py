"""How well a mask explains its image, without a reference mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def explained(
    mask: NDArray[np.bool_], simplified: NDArray[np.floating[Any]], response: NDArray[Any]
) -> float:
    """Contrast along a mask's boundary, times how far the mask and the response map agree.

    Let *S* be the simplified image, *r* the response map, *M* the mask, and ∂M the pairs of touching pixels of which
    one is inside and one outside.

    ``Q = mean over ∂M of |S_p − S_q| / (max S − min S)  ·  2 Σ_M r / (|M| + Σ r)``

    Parameters
    ----------
    mask : ndarray of bool, (H, W)
    simplified : ndarray of float, (H, W) or (H, W, C)
        Mean colour per cluster. Of several channels the mean difference counts.
    response : ndarray of float, (H, W)
        In [0, 1].

    Returns
    -------
    float
        In [0, 1]; 0 for a mask that is empty or everything.
    """
    if not mask.any() or mask.all():
        return 0.0
    total = np.zeros(1)
    count = 0
    for axis in (0, 1):
        inside = np.moveaxis(mask, axis, 0)
        values = np.moveaxis(simplified, axis, 0)
        across = inside[1:] != inside[:-1]
        apart = np.abs(values[1:][across].astype(np.float64) - values[:-1][across])
        total = total + apart.sum(axis=0)
        count += int(np.count_nonzero(across))
    span = float(simplified.max() - simplified.min())
    contrast = float(total.mean()) / count / span if span > 0 else 0.0
    weights = response.astype(np.float64)
    support = 2 * weights[mask].sum() / (np.count_nonzero(mask) + weights.sum())
    return contrast * float(support)
