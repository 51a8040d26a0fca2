"""BoundaryFit as the paper tells it, pixel by pixel: slow, and easy to check by eye."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

Pixel = tuple[int, ...]


def flooded_mask(response: np.ndarray, clusters: np.ndarray, threshold: float) -> np.ndarray:
    """Flood from every negative pixel inside the closed cluster it lies in; what stays dry is the mask."""
    dry = np.ones(clusters.shape, bool)
    for seed in map(tuple, np.argwhere(response < threshold)):
        if dry[seed]:
            for pixel in flood(
                clusters.shape, seed, lambda pixel, seed=seed: clusters[pixel] == clusters[seed]
            ):
                dry[pixel] = False
    return dry


def flooded_mask_by_colour(
    response: np.ndarray, colours: np.ndarray, threshold: float, tolerance: int
) -> np.ndarray:
    """Flood from every negative pixel over pixels whose colour differs from the seed's by at most ``tolerance``.

    ``colours`` holds integers, with channels on an extra last axis; every channel has to be that close.
    """
    shape = response.shape
    dry = np.ones(shape, bool)
    done: dict[tuple[int, ...], np.ndarray] = {}
    for seed in map(tuple, np.argwhere(response < threshold)):
        colour = colours[seed]
        wet = done.setdefault(tuple(colour), np.zeros(shape, bool))
        if wet[seed]:
            continue  # a seed of the very same colour has been here: this flood would cover the same pixels
        for pixel in flood(
            shape, seed, lambda pixel, colour=colour: abs(colours[pixel] - colour).max() <= tolerance
        ):
            wet[pixel] = True
            dry[pixel] = False
    return dry


def flood(shape: tuple[int, ...], seed: Pixel, passable: Callable[[Pixel], bool]) -> Iterator[Pixel]:
    """Every pixel that can be reached from the seed over faces of passable pixels."""
    seen, waiting = {seed}, [seed]
    while waiting:
        pixel = waiting.pop()
        yield pixel
        for axis in range(len(shape)):
            for step in (-1, 1):
                place = pixel[axis] + step
                if 0 <= place < shape[axis]:
                    neighbour = (*pixel[:axis], place, *pixel[axis + 1 :])
                    if neighbour not in seen and passable(neighbour):
                        seen.add(neighbour)
                        waiting.append(neighbour)
