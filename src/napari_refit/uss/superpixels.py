"""Segmenters without learning, in units that mean the same on every slice, grey or colour.

Each takes a plane whose values are [0, 1] on the scale of its whole volume, (H, W) or (H, W, C), of any real
dtype; NaN and infinities count as 0. Each returns int32 clusters 1..n, every one connected over four
neighbours, and raises TypeError where the plane does not hold real numbers and ValueError where it is empty,
has another number of axes, or has its channels first.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop
from napari_refit.devices import on_processor
from napari_refit.memo import Memo, forgetful
from napari_refit.params import FelzenszwalbParams, QuickshiftParams, SlicParams, WatershedParams
from napari_refit.uss.checks import plane_channels
from napari_refit.uss.colour import lab_planes
from napari_refit.uss.edges import connected_clusters
from napari_refit.uss.quickshift import QuickshiftTree, quickshift_tree
from napari_refit.uss.slic import nearest_seeds
from napari_refit.uss.slic_pieces import merge_stray
from napari_refit.uss.slic_rounds import cut_tiles
from napari_refit.uss.slic_seeds import grid_seeds
from napari_refit.uss.smoothing import smooth


def perceptual_planes(image: Any) -> NDArray[np.float32]:
    """Return a plane, channel after channel, on the scale on which its colours are compared.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        In [0, 1].

    Returns
    -------
    ndarray of float32, (C, H, W)
        Three channels are converted to Lab; any other number is multiplied by 100, the range of L.

    Examples
    --------
    >>> import numpy as np
    >>> perceptual_planes(np.full((1, 1), 0.5)).item()
    50.0
    >>> perceptual_planes(np.ones((1, 1, 3))).round(2)[0].item()
    100.0
    """
    planes = np.ascontiguousarray(np.moveaxis(plane_channels(image), -1, 0), dtype=np.float32)
    return lab_planes(planes) if len(planes) == 3 else planes * np.float32(100)


def slic_segmenter(
    image: Any,
    params: SlicParams,
    *,
    device: Any = None,
    memo: Memo = forgetful,
    cancelled: Stop | None = None,
) -> NDArray[np.int32]:
    """Cluster a plane by SLIC.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        In [0, 1] (see the module).
    params : SlicParams
        ``compactness`` is in units of the grey range 0..100, whatever part of it the plane uses.
    device : None, str or torch.device
        As in `napari_refit.slic`.
    memo : Memo
        Keeps the colours and what is smoothed.
    cancelled : callable, optional
        Asked now and then.

    Returns
    -------
    ndarray of int32, (H, W)

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> import numpy as np
    >>> ramp = np.linspace(0, 1, 64).reshape(8, 8)
    >>> slic_segmenter(ramp, SlicParams(n_segments=4, sigma=0)).max().item()
    4
    """

    def smoothed() -> NDArray[np.float32]:
        planes = memo(("channels",), lambda: perceptual_planes(image))
        return smooth(planes[:, np.newaxis], (0, params.sigma, params.sigma), cancelled=cancelled)

    if on_processor(device):
        prepared = memo(("tiles", params.sigma), lambda: cut_tiles(smoothed(), cancelled=cancelled))
    else:
        prepared = memo(("smooth", params.sigma), smoothed)
    seeds = grid_seeds(prepared.shape[-3:], params.n_segments)
    numbers = nearest_seeds(
        prepared,
        seeds,
        compactness=params.compactness,
        rounds=params.max_num_iter,
        adaptive=params.slic_zero,
        device=device,
        cancelled=cancelled,
    )
    # The sizes that `slic` lets pieces have by default; without a mask, all of them are connected.
    size = numbers.size / len(seeds.places)
    return merge_stray(numbers, int(0.5 * size), int(3 * size), 1, dtype=np.int32, cancelled=cancelled)[0]


def quickshift_segmenter(
    image: Any,
    params: QuickshiftParams,
    *,
    device: Any = None,
    memo: Memo = forgetful,
    cancelled: Stop | None = None,
) -> NDArray[np.int32]:
    """Cluster a plane by Quickshift.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        In [0, 1] (see the module).
    params : QuickshiftParams
        ``ratio`` weighs the grey range 0..100 (or Lab) against pixels.
    device : None, str or torch.device
        As in `napari_refit.quickshift`.
    memo : Memo
        Keeps the links, which ``max_dist`` only cuts.
    cancelled : callable, optional
        Asked now and then.

    Returns
    -------
    ndarray of int32, (H, W)

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.
    ValueError
        Also if the kernel size is below 1 pixel.

    Examples
    --------
    >>> import numpy as np
    >>> halves = np.repeat([0.2, 0.8], 4)[None].repeat(6, axis=0)
    >>> quickshift_segmenter(halves, QuickshiftParams())[0]
    array([1, 1, 1, 1, 2, 2, 2, 2], dtype=int32)
    """

    def link() -> QuickshiftTree:
        channels = plane_channels(image)
        colour = channels.shape[2] == 3
        return quickshift_tree(
            channels if colour else channels * 100,
            ratio=params.ratio,
            kernel_size=params.kernel_size,
            sigma=params.sigma,
            convert2lab=colour,
            rng=params.seed,
            device=device,
            cancelled=cancelled,
        )

    place = "processor" if on_processor(device) else str(device)
    key = "tree", params.kernel_size, params.ratio, params.sigma, params.seed, place
    tree: QuickshiftTree = memo(key, link)
    return connected_clusters(tree.cut(params.max_dist))


def felzenszwalb_segmenter(image: Any, params: FelzenszwalbParams) -> NDArray[np.int32]:
    """Cluster a plane by the graph-based method of Felzenszwalb and Huttenlocher.

    Two colours differ by the root mean square over their channels, so that grey means the same as RGB.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        In [0, 1] (see the module).
    params : FelzenszwalbParams
        ``scale`` is in units of the grey range 0..255, as in the publication. A piece that hangs on to its
        cluster by a corner only is a cluster of its own; ``min_size`` holds for it too.

    Returns
    -------
    ndarray of int32, (H, W)

    References
    ----------
    P. Felzenszwalb and D. Huttenlocher, Efficient graph-based image segmentation, IJCV 59(2), 2004.

    Examples
    --------
    >>> import numpy as np
    >>> halves = np.repeat([0.2, 0.8], 4)[None].repeat(6, axis=0)
    >>> felzenszwalb_segmenter(halves, FelzenszwalbParams(sigma=0))[0]
    array([1, 1, 1, 1, 2, 2, 2, 2], dtype=int32)
    """
    from skimage.segmentation import felzenszwalb

    channels = plane_channels(image)
    with warnings.catch_warnings():
        # More than three channels are wanted here, and told about.
        warnings.simplefilter("ignore", RuntimeWarning)
        labels = felzenszwalb(
            channels / np.sqrt(channels.shape[2]),
            scale=params.scale,
            sigma=params.sigma,
            min_size=params.min_size,
        )
    return merge_small(connected_clusters(labels), channels, params.min_size)


def merge_small(
    clusters: NDArray[np.int32], channels: NDArray[np.float64], min_size: int
) -> NDArray[np.int32]:
    """Merge clusters that are too small into the neighbour whose mean colour is nearest.

    Parameters
    ----------
    clusters : ndarray of int32, (H, W)
        Numbered 1..n, each connected.
    channels : ndarray of float64, (H, W, C)
    min_size : int
        In pixels.

    Returns
    -------
    ndarray of int32, (H, W)
        Clusters 1..n of at least ``min_size`` pixels each, or a single one.

    Examples
    --------
    >>> import numpy as np
    >>> row = np.array([[0.0, 0.0, 0.4, 1.0, 1.0]])
    >>> merge_small(np.array([[1, 1, 2, 3, 3]], np.int32), row[..., None], 2)
    array([[1, 1, 1, 2, 2]], dtype=int32)
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers = clusters.ravel().astype(np.int64) - 1
    colours = channels.reshape(numbers.size, -1)
    while True:
        sizes = np.bincount(numbers)
        count = len(sizes)
        if count == 1 or sizes.min() >= min_size:
            return connected_clusters(numbers.reshape(clusters.shape))
        sums = [np.bincount(numbers, weights=colour) for colour in colours.T]
        means = np.stack(sums, axis=1) / sizes[:, np.newaxis]
        plane = numbers.reshape(clusters.shape)
        sides = [(plane[:-1], plane[1:]), (plane[:, :-1], plane[:, 1:])]
        first, second = (np.concatenate([side[i].ravel() for side in sides]) for i in (0, 1))
        source, target = np.concatenate([first, second]), np.concatenate([second, first])
        wanted = (source != target) & (sizes[source] < min_size)
        source, target = source[wanted], target[wanted]
        distance = np.square(means[source] - means[target]).sum(axis=1)
        order = np.lexsort((target, distance, source))
        merging, chosen = np.unique(source[order], return_index=True)
        links = coo_array((np.ones(len(merging)), (merging, target[order][chosen])), shape=(count, count))
        numbers = connected_components(links, directed=False)[1][numbers].astype(np.int64)


def watershed_segmenter(image: Any, params: WatershedParams) -> NDArray[np.int32]:
    """Cluster a plane by the compact watershed of its gradient.

    The gradient is the Sobel magnitude of the smoothed plane, root mean square over the channels.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        In [0, 1] (see the module).
    params : WatershedParams
        ``compactness`` is the gradient that weighs as much as one pixel of distance from the seed.

    Returns
    -------
    ndarray of int32, (H, W)

    References
    ----------
    P. Neubert and P. Protzel, Compact watershed and preemptive SLIC, ICPR 2014.

    Examples
    --------
    >>> import numpy as np
    >>> watershed_segmenter(np.zeros((8, 8)), WatershedParams(markers=4, compactness=1)).max().item()
    4
    """
    from scipy.ndimage import gaussian_filter
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    channels = plane_channels(image)
    smooth = gaussian_filter(channels, sigma=(params.sigma, params.sigma, 0))
    squares = [sobel(smooth[..., channel]) ** 2 for channel in range(channels.shape[2])]
    gradient = np.sqrt(np.mean(squares, axis=0))
    return connected_clusters(watershed(gradient, markers=params.markers, compactness=params.compactness))
