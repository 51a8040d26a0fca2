"""Clusters, edge maps and simplified images: how one becomes the other, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.uss.checks import finite, label_map, numbered, real_array


def edge_map(clusters: Any) -> NDArray[np.bool_]:
    """Mark where one cluster ends and the next begins.

    The edges between clusters have no thickness. To be shown, each is drawn one pixel wide, on the pixel
    before it: a pixel is marked if its successor along any axis (the one below, the one to the right, the one
    on the next slice) belongs to another cluster.

    Parameters
    ----------
    clusters : array_like of int, (H, W) or (D, H, W)

    Returns
    -------
    ndarray of bool
        Of the same shape.

    Raises
    ------
    TypeError
        If ``clusters`` does not hold whole numbers.
    ValueError
        If it is empty or neither 2-D nor 3-D.

    Examples
    --------
    >>> import numpy as np
    >>> edge_map(np.array([[1, 1, 2, 2], [1, 1, 2, 2]])).astype(int)
    array([[0, 1, 0, 0],
           [0, 1, 0, 0]])
    """
    labels = label_map(clusters, "clusters")
    edges = np.zeros(labels.shape, dtype=bool)
    for axis in range(labels.ndim):
        before, after = _neighbours(labels.ndim, axis)
        edges[before] |= labels[before] != labels[after]
    return edges


def _neighbours(ndim: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    before, after = [slice(None)] * ndim, [slice(None)] * ndim
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    return tuple(before), tuple(after)


def connected_clusters(labels: Any) -> NDArray[np.int32]:
    """Make each connected region of one label a cluster of its own.

    Pixels that share a side (2-D: four neighbours, 3-D: six) are connected; 0 and negative numbers are labels
    like any other.

    Parameters
    ----------
    labels : array_like of int, (H, W) or (D, H, W)

    Returns
    -------
    ndarray of int32
        Clusters 1..n without gaps, in the order of their first pixels.

    Raises
    ------
    TypeError
        If ``labels`` does not hold whole numbers.
    ValueError
        If it is empty or neither 2-D nor 3-D.

    Examples
    --------
    >>> import numpy as np
    >>> connected_clusters(np.array([[0, 7, 0], [0, 7, 7]]))
    array([[1, 2, 3],
           [1, 2, 2]], dtype=int32)
    """
    from skimage.measure import label

    compact, _ = numbered(label_map(labels, "labels"))
    regions, count = label(compact, background=-1, connectivity=1, return_num=True)
    # scikit-image numbers regions of a volume in another order than those of a plane.
    flat = regions.ravel()
    first = np.zeros(count + 1, dtype=np.int64)
    first[flat[::-1]] = np.arange(flat.size)[::-1]
    ranks = np.zeros(count + 1, dtype=np.int32)
    ranks[1 + np.argsort(first[1:])] = np.arange(1, count + 1)
    return ranks[regions]


def clusters_from_edges(edges: Any, *, spacing: Sequence[float] | None = None) -> NDArray[np.int32]:
    """Turn an edge map that comes from elsewhere (painted, Canny, another program) into clusters.

    Regions closed by edges (and by the border of the image) are clusters: the connected components, over four
    neighbours in 2-D and six in 3-D, of the pixels without an edge. Every edge pixel then joins the cluster
    nearest to it, so that no pixel is lost. Where that would tear a piece off its cluster, the piece joins
    the cluster that is fewest steps away from it instead.

    Parameters
    ----------
    edges : array_like, (H, W) or (D, H, W)
        Nonzero on edges, of any real dtype; NaN is no edge.
    spacing : sequence of float, optional
        Distance between pixels along each axis; by default the same along all.

    Returns
    -------
    ndarray of int32
        Clusters 1..n, each connected. One cluster where all pixels are edges, or none is.

    Raises
    ------
    TypeError
        If ``edges`` does not hold real numbers.
    ValueError
        If it is empty or neither 2-D nor 3-D, or ``spacing`` does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> clusters_from_edges(np.array([[0, 0, 1, 0], [0, 0, 1, 0]]))
    array([[1, 1, 1, 2],
           [1, 1, 1, 2]], dtype=int32)
    """
    from scipy import ndimage

    drawn = real_array(edges, "edges")
    if drawn.ndim not in (2, 3):
        raise ValueError(f"edges must be 2-D or 3-D, got shape {drawn.shape}")
    sampling = _checked_spacing(spacing, drawn.ndim)
    edge = (drawn != 0) & ~np.isnan(drawn)
    if edge.all():
        return np.ones(edge.shape, dtype=np.int32)
    components, _ = ndimage.label(~edge)
    nearest = ndimage.distance_transform_edt(
        edge, sampling=sampling, return_distances=False, return_indices=True
    )
    regions = connected_clusters(components[tuple(nearest)])
    attached = np.zeros(int(regions.max()) + 1, dtype=bool)
    attached[regions[~edge]] = True
    torn = ~attached[regions]
    clusters = components[tuple(nearest)]
    if torn.any():
        nearest = ndimage.distance_transform_cdt(
            torn, metric="taxicab", return_distances=False, return_indices=True
        )
        clusters = clusters[tuple(nearest)]
    return clusters.astype(np.int32)


def _checked_spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...] | None:
    if spacing is None:
        return None
    sampling = tuple(float(step) for step in spacing)
    if len(sampling) != ndim or not all(np.isfinite(step) and step > 0 for step in sampling):
        raise ValueError(f"spacing must be {ndim} positive numbers, got {spacing!r}")
    return sampling


def simplify(image: Any, clusters: Any) -> NDArray[np.float32]:
    """Give every pixel the mean colour of its cluster.

    Parameters
    ----------
    image : array_like, (H, W[, C]) or (D, H, W[, C])
        Of any real dtype and range; its shape is that of ``clusters``, optionally with channels behind. NaN
        and infinities count as 0.
    clusters : array_like of int, (H, W) or (D, H, W)

    Returns
    -------
    ndarray of float32
        Of the image's shape.

    Raises
    ------
    TypeError
        If ``image`` does not hold real numbers, or ``clusters`` does not hold whole ones.
    ValueError
        If they are empty or their shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> simplify([[0.0, 0.5, 1.0]], [[1, 1, 2]])
    array([[0.25, 0.25, 1.  ]], dtype=float32)
    """
    labels = label_map(clusters, "clusters")
    values = real_array(image, "image")
    if values.shape[: labels.ndim] != labels.shape or values.ndim > labels.ndim + 1:
        raise ValueError(f"image of shape {values.shape} does not fit clusters of shape {labels.shape}")
    compact, count = numbered(labels)
    flat = compact.ravel()
    channels = finite(values).reshape(flat.size, -1)
    sizes = np.bincount(flat, minlength=count)
    simplified = np.empty(channels.shape, dtype=np.float32)
    with np.errstate(over="ignore"):
        for channel in range(channels.shape[1]):
            sums = np.bincount(flat, weights=channels[:, channel], minlength=count)
            simplified[:, channel] = (sums / sizes)[flat]
    return simplified.reshape(values.shape)
