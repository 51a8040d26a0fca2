"""Clusters, edge maps and simplified images: how one becomes the other, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import cut, n_threads, run_bands
from napari_refit.uss.checks import comparable, label_map, loopable, numbered, real_array

# With less to do, a second thread on a busy machine starts later than the first one ends.
PIXELS_PER_BAND = 1 << 18


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
    from napari_refit.uss.edges_kernel import mark_edges

    labels = label_map(clusters, "clusters")
    lines, height = _as_lines(labels)
    edges = np.empty(labels.shape, dtype=bool)
    marks = edges.view(np.uint8).reshape(lines.shape)
    run_bands(mark_edges, len(lines), lines, height, marks, n_bands=_n_bands(lines.size))
    return edges


def _as_lines(labels: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The lines of all slices below one another, and how many make a slice; equal labels stay equal."""
    return comparable(labels).reshape(-1, labels.shape[-1]), labels.shape[-2]


def _n_bands(n_pixels: int) -> int:
    """Small images are done before a second thread has begun."""
    return max(1, min(n_threads(), n_pixels // PIXELS_PER_BAND))


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

    Notes
    -----
    On labels of 64 x 256 x 256 voxels this loop takes 0.5 to 0.8 of the time of cc3d (which would also bring the
    LGPL) and 0.2 to 0.5 of scikit-image's; scipy has to label one value at a time. The loops of this module
    stay on the processor: labels come and go as numpy arrays, which are passed over only once or twice.

    Examples
    --------
    >>> import numpy as np
    >>> connected_clusters(np.array([[0, 7, 0], [0, 7, 7]]))
    array([[1, 2, 3],
           [1, 2, 2]], dtype=int32)
    """
    from napari_refit.uss import edges_kernel

    lines, height = _as_lines(label_map(labels, "labels"))
    regions = np.empty(lines.shape, dtype=np.int32)
    parents = np.empty(lines.size, dtype=np.int32)
    n_bands = _n_bands(lines.size)
    ends = run_bands(edges_kernel.join_lines, len(lines), lines, height, regions, parents, n_bands=n_bands)
    starts = [start for start, _ in cut(len(lines), n_bands)]
    edges_kernel.join_bands(np.array(starts), np.array(ends), lines, height, regions, parents)
    run_bands(edges_kernel.look_up, len(lines), regions, parents, n_bands=n_bands)
    return regions.reshape(np.shape(labels))


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
    from napari_refit.uss import edges_kernel

    labels = label_map(clusters, "clusters")
    values = real_array(image, "image")
    if values.shape[: labels.ndim] != labels.shape or values.ndim > labels.ndim + 1:
        raise ValueError(f"image of shape {values.shape} does not fit clusters of shape {labels.shape}")
    flat = _table_places(labels)
    colours = _as_floats(values).reshape(flat.size, -1)
    n_places = int(flat.max()) + 1
    # How sums are rounded must not depend on the number of threads; tables for each band must stay small.
    n_bands = max(1, min(flat.size // PIXELS_PER_BAND, flat.size // (4 * n_places)))
    bands = run_bands(edges_kernel.add_up, flat.size, flat, colours, n_places, n_bands=n_bands)
    sums = np.sum([sums for sums, _ in bands], axis=0)
    sizes = np.sum([sizes for _, sizes in bands], axis=0)
    with np.errstate(over="ignore"):
        means = (sums / np.maximum(sizes, 1)[:, np.newaxis]).astype(np.float32)
    simplified = np.empty(colours.shape, dtype=np.float32)
    run_bands(
        edges_kernel.spread_colours, flat.size, flat, means, simplified, n_bands=_n_bands(simplified.size)
    )
    return simplified.reshape(values.shape)


def _table_places(labels: NDArray[Any]) -> NDArray[Any]:
    """The labels themselves where a table can be indexed by them, else renumbered; flat."""
    if labels.min() >= 0 and int(labels.max()) < 4 * labels.size:
        return comparable(labels).ravel()
    return numbered(labels)[0].ravel()


def _as_floats(values: NDArray[Any]) -> NDArray[Any]:
    """The values as float32 where that holds them exactly, else as float64; not copied when they are."""
    narrow = values.dtype.itemsize <= 2 or values.dtype == np.float32
    with np.errstate(over="ignore"):
        return loopable(values, np.float32 if narrow else np.float64)
