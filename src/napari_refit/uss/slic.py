"""SLIC superpixels and supervoxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.devices import check_device
from napari_refit.uss.checks import real_array


def slic(
    image: Any,
    n_segments: int = 100,
    compactness: float = 10.0,
    max_num_iter: int = 10,
    sigma: float | Sequence[float] = 0,
    spacing: Sequence[float] | None = None,
    convert2lab: bool | None = None,
    enforce_connectivity: bool = True,
    min_size_factor: float = 0.5,
    max_size_factor: float = 3,
    slic_zero: bool = False,
    start_label: int = 1,
    mask: Any = None,
    *,
    channel_axis: int | None = -1,
    device: Any = None,
) -> NDArray[np.int64]:
    """Cut an image into clusters of near pixels of like colour (SLIC).

    The signature, the meaning of every argument and the result are those of `skimage.segmentation.slic`.

    Parameters
    ----------
    image : array_like, (H, W[, C]) or (D, H, W[, C])
        Of any real dtype. It is rescaled to [0, 1] by its own range first.
    n_segments : int
        About how many clusters; at least 1.
    compactness : float
        Weight of nearness against likeness of colour; above 0.
    max_num_iter : int
        Rounds of k-means.
    sigma : float or sequence of float
        Standard deviation of the Gaussian smoothing beforehand: pixels, or the unit of ``spacing``.
    spacing : sequence of float, optional
        Distance between pixels along each spatial axis.
    convert2lab : bool, optional
        Whether to compare colours in Lab; by default done for three channels.
    enforce_connectivity : bool
        Whether to merge stray pieces into their neighbours.
    min_size_factor, max_size_factor : float
        Smallest and largest piece then, as a fraction of the mean cluster.
    slic_zero : bool
        Whether each cluster adapts its compactness (SLICO).
    start_label : {0, 1}
        Number of the first cluster.
    mask : array_like of bool, optional
        Only pixels where it is True are clustered; the others get 0 (-1 when ``start_label`` is 0).
    channel_axis : int or None
        Axis of the channels; None for a grey image.
    device : None, str or torch.device
        Where it is wanted to run. Checked, but the computation runs on the processor.

    Returns
    -------
    ndarray of int
        Cluster numbers, in the spatial shape of ``image``.

    Raises
    ------
    TypeError
        If ``image`` does not hold real numbers, or ``device`` is no device.
    ValueError
        If ``image`` is empty or holds NaN outside the mask, a number is out of range, the mask is empty, or
        the device is unknown.

    References
    ----------
    R. Achanta et al., SLIC superpixels compared to state-of-the-art superpixel methods, TPAMI 34(11), 2012.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.repeat([0.0, 1.0], 8)[None].repeat(8, axis=0)
    >>> np.unique(slic(image, n_segments=2, channel_axis=None)[:, 8:])
    array([2])
    """
    check_device(device)
    values = real_array(image, "image")
    if not n_segments >= 1:
        raise ValueError(f"n_segments must be at least 1, got {n_segments!r}")
    if not compactness > 0:
        raise ValueError(f"compactness must be above 0, got {compactness!r}")
    if mask is not None and not np.any(mask):
        raise ValueError("mask has no pixel that is True")
    from skimage import segmentation

    labels: NDArray[np.int64] = segmentation.slic(
        values,
        n_segments=n_segments,
        compactness=compactness,
        max_num_iter=max_num_iter,
        sigma=sigma,
        spacing=spacing,
        convert2lab=convert2lab,
        enforce_connectivity=enforce_connectivity,
        min_size_factor=min_size_factor,
        max_size_factor=max_size_factor,
        slic_zero=slic_zero,
        start_label=start_label,
        mask=mask,
        channel_axis=channel_axis,
    )
    return labels
