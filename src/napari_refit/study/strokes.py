"""Strokes that are drawn by rule where a mask is wrong: the hints of a simulated user."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_refit.fit.hints import BACKGROUND_HINT

NARROWEST, PART = 3, 200
"""A brush is at least so many pixels wide; its reach to either side is this part of the picture's longer side."""
INSIDE = 0.5
"""A stroke begins and ends where the region is deeper than this share of how deep it gets under the stroke."""

Region = NDArray[np.bool_]


def brush_width(shape: tuple[int, ...]) -> int:
    """How wide a brush is, in pixels: about a hundredth of the picture, as people do not paint with single pixels.

    Examples
    --------
    >>> brush_width((50, 40)), brush_width((256, 256)), brush_width((473, 563))
    (3, 3, 5)
    """
    return max(NARROWEST, 2 * (max(shape) // PART) + 1)


def largest_region(wrong: Region, width: int = NARROWEST) -> Region | None:
    """The largest connected region that has room for the brush.

    Parameters
    ----------
    wrong : ndarray of bool, (H, W)
    width : int
        Of the brush, odd, in pixels. Rims that are nowhere so wide are no place for a stroke.

    Returns
    -------
    ndarray of bool, (H, W), or None
        Pixels touch across an edge. Of regions as large the one that begins in the highest row, then furthest to
        the left. None where there is no such region.

    Examples
    --------
    >>> wrong = np.array([[1, 0, 1, 1], [0, 0, 1, 1]], bool)
    >>> largest_region(wrong, width=1).astype(int).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    >>> largest_region(wrong) is None
    True
    """
    from scipy.ndimage import binary_erosion, label

    numbers, count = label(wrong)
    roomy = np.unique(numbers[binary_erosion(wrong, np.ones((width, width)))])
    if not count or not roomy.size:
        return None
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    found: Region = numbers == roomy[sizes[roomy].argmax()]
    return found


def centre_line(region: Region) -> NDArray[np.int64]:
    """The line through the middle of a region: the longest way along its skeleton, without its shallow ends.

    Parameters
    ----------
    region : ndarray of bool, (H, W)
        Connected, not empty.

    Returns
    -------
    ndarray of int64, (n, 2)
        Rows and columns from one end to the other; neighbours touch across an edge or a corner. Where a skeleton has
        loops, it is the longest of the shortest ways from one end. The same for the same region.

    Examples
    --------
    >>> region = np.zeros((7, 13), bool)
    >>> region[2:5, 1:12] = True
    >>> centre_line(region).tolist()
    [[3, 9], [3, 8], [3, 7], [3, 6], [3, 5], [3, 4], [3, 3], [3, 2]]
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import skeletonize

    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    skeleton = skeletonize(region)
    if not skeleton.any():
        # Thinning may leave nothing of a small square.
        skeleton[np.unravel_index(depth.argmax(), depth.shape)] = True
    line = _longest_way(np.argwhere(skeleton))
    under = depth[tuple(line.T)]
    deep = np.flatnonzero(under > INSIDE * under.max())
    return line[deep[0] : deep[-1] + 1]


def stroke(region: Region, width: int = NARROWEST) -> Region:
    """The centre line drawn with a brush, which does not leave the region.

    Examples
    --------
    >>> region = np.ones((3, 9), bool)
    >>> stroke(region).astype(int).tolist()[0]
    [1, 1, 1, 1, 1, 1, 1, 1, 0]
    """
    from scipy.ndimage import binary_dilation

    drawn = np.zeros(region.shape, bool)
    drawn[tuple(centre_line(region).T)] = True
    return np.asarray(binary_dilation(drawn, np.ones((width, width))) & region)


def draw_strokes(
    mask: NDArray[np.integer],
    truth: NDArray[np.integer],
    hints: NDArray[np.integer],
    width: int | None = None,
) -> int:
    """What a user paints who sees where a mask is wrong: at most one stroke on either side.

    The object's goes where most is missing: along the centre line of the largest connected region that belongs to a
    class and is not marked so. The background's goes where most is too much: along that of the largest connected
    region that is marked and belongs to no class. Where one side has nothing wrong that the brush has room in, and no
    hint yet, it gets a stroke on what is right, so that the fit knows of both: the object along the centre line of the
    largest region that is marked as it should be, the background around the object at a distance of two brushes.
    Where neither side has anything wrong, nothing is painted.

    Parameters
    ----------
    mask, truth : ndarray of int, (H, W)
        Class numbers, 0 is background.
    hints : ndarray of int, (H, W)
        Those painted so far; the new ones are painted over them.
    width : int, optional
        Of the brush, in pixels; `brush_width` when left out.

    Returns
    -------
    int
        How many strokes were painted.

    Examples
    --------
    >>> mask, truth = np.zeros((5, 12), int), np.zeros((5, 12), int)
    >>> truth[1:4, :6], mask[1:4, 4:] = 1, 1
    >>> hints = np.zeros((5, 12), np.uint8)
    >>> draw_strokes(mask, truth, hints), hints[2].tolist()
    (2, [1, 1, 1, 0, 0, 0, 255, 255, 255, 255, 255, 0])
    """
    width = brush_width(mask.shape) if width is None else width
    missing = _largest_of_classes(truth, mask != truth, width)
    much = largest_region((mask > 0) & (truth == 0), width)
    if missing is None and much is None:
        return 0
    lines: list[tuple[Region | None, int]] = []
    if missing is None and not ((hints > 0) & (hints != BACKGROUND_HINT)).any():
        missing = _largest_of_classes(truth, mask == truth, 1)
    if missing is not None:
        lines.append((stroke(missing[0], width), missing[1]))
    if much is not None:
        lines.append((stroke(much, width), BACKGROUND_HINT))
    elif not (hints == BACKGROUND_HINT).any():
        lines.append((_around(truth > 0, width), BACKGROUND_HINT))
    count = 0
    for line, value in lines:
        if line is not None:
            hints[line] = value
            count += 1
    return count


def _largest_of_classes(truth: NDArray[np.integer], among: Region, width: int) -> tuple[Region, int] | None:
    """The largest region of any class, of these pixels, and its class number; of classes with as much the first."""
    found: tuple[Region, int] | None = None
    for number in np.unique(truth[truth > 0]).tolist():
        region = largest_region((truth == number) & among, width)
        if region is not None and (found is None or region.sum() > found[0].sum()):
            found = region, number
    return found


def _around(shown: Region, width: int) -> Region | None:
    """The longest line around the objects at a distance of two brushes; None where there is no room for one."""
    from scipy.ndimage import distance_transform_edt

    if not shown.any():
        return None
    return largest_region(np.abs(distance_transform_edt(~shown) - 2 * width) <= width / 2, 1)


def _longest_way(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The longest of the shortest ways between pixels that touch: exact on trees."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import cKDTree

    pairs = cKDTree(pixels).query_pairs(1.5, output_type="ndarray")
    steps = np.linalg.norm(pixels[pairs[:, 0]] - pixels[pairs[:, 1]], axis=1)
    count = len(pixels)
    graph = coo_array((steps, (pairs[:, 0], pairs[:, 1])), (count, count)).tocsr()
    first = _farthest(dijkstra(graph, directed=False, indices=0))
    away, before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    at = _farthest(away)
    way = [at]
    while at != first:
        at = int(before[at])
        way.append(at)
    return pixels[sorted((way, way[::-1]))[0]]


def _farthest(away: NDArray[np.float64]) -> int:
    # Sums of roots differ in the last digit with the way; of those as far the first counts.
    reached = np.where(np.isfinite(away), away, -1.0)
    return int(np.flatnonzero(reached >= reached.max() - 1e-9)[0])
