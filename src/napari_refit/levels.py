"""The clusters of a plane at several levels, from small pieces of them to two regions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check
from napari_refit.planes import PlaneIndex

FINER = (4, 12)
"""Into about how many pieces a cluster is cut on the levels below 0."""


class Levels:
    """Clusters (level 0), ever fewer regions that they merge into, and pieces that they are cut into.

    Each level above 0 has half as many regions as the one below; those below 0 are of `FINER`.

    Parameters
    ----------
    index : tuple of (axis, position)
        The plane.
    clusters : ndarray of int32, (H, W)
        Numbered 1..n.
    simplified : ndarray of float32, (H, W) or (H, W, C)
        Mean colour per cluster.
    image : ndarray of float32, (H, W) or (H, W, C), optional
        Without it there are no levels below 0.
    """

    def __init__(
        self,
        index: PlaneIndex,
        clusters: NDArray[np.int32],
        simplified: NDArray[np.float32],
        image: NDArray[np.float32] | None = None,
    ) -> None:
        self.index, self._image = index, image
        self._clusters, self._simplified = clusters, simplified
        self._tree: Any = None
        self._cuts: dict[int, NDArray[np.int64]] = {0: clusters.astype(np.int64)}

    @property
    def ready(self) -> bool:
        """Whether there are more levels than 0."""
        return self._tree is not None

    @property
    def highest(self) -> int:
        """The highest level, which has two regions or as few as there can be."""
        return max(0, math.ceil(math.log2(max(2, self._tree.n_leaves) / 2))) if self.ready else 0

    @property
    def lowest(self) -> int:
        """The lowest level, 0 or below."""
        return min(self._cuts)

    def make(self, cancelled: Callable[[], bool] | None = None) -> None:
        """Merge and cut the clusters; takes a moment.

        Raises
        ------
        Cancelled
            If ``cancelled()`` answered True.
        """
        from napari_refit.fit.flood import cluster_graph
        from napari_refit.fit.region_tree import region_tree
        from napari_refit.fit.strokes import cut_finer
        from napari_refit.uss.edges import connected_clusters

        # Of supervoxels a plane shows some numbers only.
        clusters = connected_clusters(self._clusters)
        count = int(clusters.max())
        graph = cluster_graph(self._simplified, clusters, count)
        sizes = np.bincount(clusters.ravel(), minlength=count + 1)[1:]
        tree = region_tree(graph, sizes, cancelled)
        finer: dict[int, NDArray[np.int64]] = {}
        if self._image is not None:
            for level, fineness in enumerate(FINER, start=1):
                check(cancelled)
                finer[-level] = cut_finer(clusters, self._image, fineness).astype(np.int64)
        self._clusters, self._tree = clusters, tree
        self._cuts.update(finer)

    def regions(self, level: int) -> NDArray[np.int64]:
        """The regions of a level, (H, W); the highest or lowest there is where ``level`` is beyond it."""
        level = min(max(level, self.lowest), self.highest)
        if level not in self._cuts:
            numbers = self._tree.cut(max(2, math.ceil(self._tree.n_leaves / 2**level)))
            self._cuts[level] = numbers[self._clusters - 1]
        return self._cuts[level]
