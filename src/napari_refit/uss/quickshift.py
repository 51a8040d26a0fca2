"""Quickshift: clusters by mode seeking."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from napari_refit.devices import check_device
from napari_refit.uss.checks import real_array

Tree = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


@overload
def quickshift(
    image: Any,
    ratio: float = ...,
    kernel_size: float = ...,
    max_dist: float = ...,
    return_tree: Literal[False] = ...,
    sigma: float = ...,
    convert2lab: bool = ...,
    rng: Any = ...,
    *,
    channel_axis: int = ...,
    device: Any = ...,
) -> NDArray[np.int64]: ...
@overload
def quickshift(
    image: Any,
    ratio: float = ...,
    kernel_size: float = ...,
    max_dist: float = ...,
    return_tree: bool = ...,
    sigma: float = ...,
    convert2lab: bool = ...,
    rng: Any = ...,
    *,
    channel_axis: int = ...,
    device: Any = ...,
) -> NDArray[np.int64] | Tree: ...
def quickshift(
    image: Any,
    ratio: float = 1.0,
    kernel_size: float = 5,
    max_dist: float = 10,
    return_tree: bool = False,
    sigma: float = 0,
    convert2lab: bool = True,
    rng: Any = 42,
    *,
    channel_axis: int = -1,
    device: Any = None,
) -> NDArray[np.int64] | Tree:
    """Link every pixel to the nearest one of higher density, and cut the long links (Quickshift).

    The signature, the meaning of every argument and the result are those of
    `skimage.segmentation.quickshift`.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        Of any real dtype. The values are not rescaled; integers become [0, 1] by the range of their dtype.
    ratio : float
        Weight of colour against position, 0 to 1.
    kernel_size : float
        Width of the density estimate in pixels; at least 1.
    max_dist : float
        Links longer than this are cut.
    return_tree : bool
        Whether to return the links and their lengths too.
    sigma : float
        Standard deviation of the Gaussian smoothing beforehand, in pixels.
    convert2lab : bool
        Whether to compare colours in Lab; needs three channels, so say False for a grey image.
    rng : int or numpy.random.Generator
        Breaks ties.
    channel_axis : int
        Axis of the channels.
    device : None, str or torch.device
        Where it is wanted to run. Checked, but the computation runs on the processor.

    Returns
    -------
    ndarray of int, (H, W)
        Cluster numbers from 0. With ``return_tree`` a tuple of it, the parent of every pixel, and the
        distance to it.

    Raises
    ------
    TypeError
        If ``image`` does not hold real numbers, or ``device`` is no device.
    ValueError
        If ``image`` is empty, not 2-D, or not RGB where Lab is wanted; ``kernel_size`` is below 1; or the
        device is unknown.

    References
    ----------
    A. Vedaldi and S. Soatto, Quick shift and kernel methods for mode seeking, ECCV 2008.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.repeat([0.0, 100.0], 4)[None].repeat(4, axis=0)
    >>> labels = quickshift(image, kernel_size=2, max_dist=8, convert2lab=False)
    >>> len(np.unique(labels)), set(labels[:, :4].flat) & set(labels[:, 4:].flat)
    (2, set())
    """
    check_device(device)
    values = real_array(image, "image")
    if not kernel_size >= 1:
        raise ValueError(f"kernel_size must be at least 1, got {kernel_size!r}")
    from skimage import segmentation

    result: NDArray[np.int64] | Tree = segmentation.quickshift(
        values,
        ratio=ratio,
        kernel_size=kernel_size,
        max_dist=max_dist,
        return_tree=return_tree,
        sigma=sigma,
        convert2lab=convert2lab,
        rng=rng,
        channel_axis=channel_axis,
    )
    return result
