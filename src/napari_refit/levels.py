"""The clusters of a plane at several levels, from the clusters themselves to two regions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.planes import PlaneIndex


class Levels:
    """Clusters, and ever fewer regions that they merge into; each level has half as many as the one below.

    Parameters
    ----------
    index : tuple of (axis, position)
        The plane.
    clusters : ndarray of int32, (H, W)
        Numbered 1..n.
    simplified : ndarray of float32, (H, W) or (H, W, C)
        Mean colour per cluster.
    """

    def __init__(
        self, index: PlaneIndex, clusters: NDArray[np.int32], simplified: NDArray[np.float32]
    ) -> None:
        self.index = index
        self._clusters, self._simplified = clusters, simplified
        self._tree: Any = None
        self._cuts: dict[int, NDArray[np.int64]] = {0: clusters.astype(np.int64)}

    @property
    def ready(self) -> bool:
        """Whether there is more than the lowest level."""
        return self._tree is not None

    @property
    def highest(self) -> int:
        """The highest level, which has two regions or as few as there can be."""
        return max(0, math.ceil(math.log2(max(2, self._tree.n_leaves) / 2))) if self.ready else 0

    def make(self, cancelled: Callable[[], bool] | None = None) -> None:
        """Merge the clusters; takes a moment.

        Raises
        ------
        Cancelled
            If ``cancelled()`` answered True.
        """
        from napari_refit.fit.flood import cluster_graph
        from napari_refit.fit.region_tree import region_tree
        from napari_refit.uss.edges import connected_clusters

        # Of supervoxels a plane shows some numbers only.
        clusters = connected_clusters(self._clusters)
        count = int(clusters.max())
        graph = cluster_graph(self._simplified, clusters, count)
        sizes = np.bincount(clusters.ravel(), minlength=count + 1)[1:]
        self._clusters = clusters
        self._tree = region_tree(graph, sizes, cancelled)

    def regions(self, level: int) -> NDArray[np.int64]:
        """The regions of a level, (H, W); the highest there is where ``level`` is above it."""
        level = min(level, self.highest)
        if level not in self._cuts:
            numbers = self._tree.cut(max(2, math.ceil(self._tree.n_leaves / 2**level)))
            self._cuts[level] = numbers[self._clusters - 1]
        return self._cuts[level]
