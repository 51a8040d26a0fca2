"""A first answer at half resolution: parameters, planes and results, one step down and up again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from napari_refit.params import declarations
from napari_refit.responses import PlaneResponse
from napari_refit.results import SliceResult

FACTOR = 2
LEAST_SIDE = 64
Group = TypeVar("Group", bound=BaseModel)


def worth_coarsening(shape: tuple[int, ...]) -> bool:
    """Whether a plane of this shape is large enough for half of its resolution to show anything."""
    return min(shape[:2]) >= LEAST_SIDE


def coarser(group: Group) -> Group:
    """The same parameters for a plane of half the resolution: lengths and areas in pixels shrink.

    Examples
    --------
    >>> from napari_refit.params import SlicParams
    >>> half = coarser(SlicParams(n_segments=200, sigma=3.0))
    >>> half.n_segments, half.sigma
    (200, 1.5)
    """
    changes: dict[str, Any] = {}
    for declared in declarations(type(group)):
        if declared.pixel_power:
            value = getattr(group, declared.name) / FACTOR**declared.pixel_power
            if declared.low is not None:
                value = max(value, declared.low)
            changes[declared.name] = round(value) if declared.kind == "int" else value
    return group.model_copy(update=changes)


def halved(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Mean of every 2 x 2 pixels; an odd last row or column stands for itself.

    Parameters
    ----------
    plane : ndarray, (H, W) or (H, W, C)

    Returns
    -------
    ndarray of float32, (ceil(H / 2), ceil(W / 2)[, C])

    Examples
    --------
    >>> halved(np.array([[0, 2, 5], [4, 6, 7]]))
    array([[3., 6.]], dtype=float32)
    """
    rows, columns = plane.shape[:2]
    odd = [(0, rows % FACTOR), (0, columns % FACTOR)] + [(0, 0)] * (plane.ndim - 2)
    even = np.pad(plane, odd, mode="edge") if rows % FACTOR or columns % FACTOR else plane
    quarter = np.float32(1 / FACTOR**2)
    total = even[::2, ::2].astype(np.float32) + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return np.asarray(total * quarter, dtype=np.float32)


def halved_response(response: PlaneResponse) -> PlaneResponse:
    """Response maps at half the resolution."""
    return replace(
        response,
        maps=np.stack([halved(each) for each in response.maps]),
        evidence=np.stack([halved(each) for each in response.evidence]),
    )


def enlarged(result: SliceResult, image: NDArray[np.float32]) -> SliceResult:
    """A half-resolution result on the grid of the full plane ``image``, marked as coarse."""

    def grown(array: Any, first: int = 0) -> Any:
        if array is None:
            return None
        large = array.repeat(FACTOR, axis=first).repeat(FACTOR, axis=first + 1)
        where = (slice(None),) * first + (slice(image.shape[0]), slice(image.shape[1]))
        return np.ascontiguousarray(large[where])

    return replace(
        result,
        image=image,
        clusters=grown(result.clusters),
        edges=grown(result.edges),
        simplified=grown(result.simplified),
        response=grown(result.response, 1),
        fitted=grown(result.fitted, 1),
        mask=grown(result.mask),
        cam_mask=grown(result.cam_mask),
        evidence=grown(result.evidence, 1),
        coarse=True,
    )
