"""What the USS network starts from, the same on every device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDE, NARROW = 64, 32


def initial_weights(channels: int, max_labels: int, seed: int) -> list[NDArray[np.float32]]:
    """The weights of the four convolutions, uniform within the square root of 1 / inputs, as torch's start.

    Parameters
    ----------
    channels : int
        Of the image.
    max_labels : int
        Channels of the response.
    seed : int
        From 0 to 2 ** 32 - 1; numpy's own random state is neither read nor changed.

    Returns
    -------
    list of ndarray of float32, (outputs, inputs, size, size)

    Examples
    --------
    >>> [weight.shape for weight in initial_weights(1, 20, seed=43)]
    [(64, 1, 3, 3), (32, 64, 1, 1), (64, 32, 3, 3), (20, 64, 1, 1)]
    """
    generator = np.random.RandomState(seed)
    shapes = (
        (WIDE, channels, 3, 3),
        (NARROW, WIDE, 1, 1),
        (WIDE, NARROW, 3, 3),
        (max_labels, WIDE, 1, 1),
    )
    weights = []
    for shape in shapes:
        bound = float(np.prod(shape[1:])) ** -0.5
        # The same bits make the same weights in torch.
        bits = generator.randint(0, 2**32, size=shape, dtype=np.uint32) & np.uint32(2**24 - 1)
        weights.append((bits * (2 * bound / 2**24) - bound).astype(np.float32))
    return weights
