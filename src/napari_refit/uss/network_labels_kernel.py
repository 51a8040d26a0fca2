"""Compiled loops of the USS network's training: labels from responses, their vote, and the slope of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E, LEAST_POWER = np.float32(1.4426950408889634), np.float32(-126)
BIAS, MANTISSA = np.int32(127), np.int32(23)
# Of 2 ** x for x from -0.5 to 0.5, to the last digit of single precision.
C1, C2, C3 = np.float32(0.6931472), np.float32(0.24022651), np.float32(0.05550411)
C4, C5, C6 = np.float32(0.009618129), np.float32(0.0013333558), np.float32(0.00015403530)


@njit(nogil=True, cache=True)
def find_labels(start: int, stop: int, values: Any, factor: Any, constant: Any, labels: Any) -> None:
    """Fill in each pixel's channel with the highest ``values * factor + constant``, the first of several.

    Parameters
    ----------
    start, stop : int
        Lines.
    values : ndarray of float32, (height, width, channels)
    factor, constant : ndarray of float32, (n_labels,)
        Further channels do not count.
    labels : ndarray of int32, (height, width)
    """
    row = np.empty(len(factor), np.float32)
    for line in range(start, stop):
        for column in range(values.shape[1]):
            for channel in range(len(factor)):
                row[channel] = values[line, column, channel] * factor[channel] + constant[channel]
            best, highest = 0, row[0]
            for channel in range(1, len(factor)):
                if row[channel] > highest:
                    best, highest = channel, row[channel]
            labels[line, column] = best


@njit(nogil=True, cache=True)
def vote(labels: Any, superpixels: Any, votes: Any) -> int:
    """Give every superpixel the label that most of its pixels have, the lowest of several; count those left.

    Parameters
    ----------
    labels : ndarray of int32, (height, width)
        Changed in place.
    superpixels : ndarray of int64, (height, width)
        In [0, n_superpixels); empty: every pixel keeps its own.
    votes : ndarray of int32, (n_superpixels, n_labels)
        Scratch memory.

    Returns
    -------
    int
        How many different labels there are.
    """
    left = np.zeros(votes.shape[1], np.bool_)
    height, width = labels.shape
    if not superpixels.size:
        for line in range(height):
            for column in range(width):
                left[labels[line, column]] = True
        return np.sum(left)
    votes[:] = 0
    for line in range(height):
        for column in range(width):
            votes[superpixels[line, column], labels[line, column]] += 1
    winners = np.empty(len(votes), np.int32)
    for superpixel in range(len(votes)):
        winner = np.argmax(votes[superpixel])
        winners[superpixel] = winner
        left[winner] |= votes[superpixel, winner] > 0
    for line in range(height):
        for column in range(width):
            labels[line, column] = winners[superpixels[line, column]]
    return np.sum(left)


@njit(nogil=True, cache=True, fastmath=True)
def pull(
    start: int,
    stop: int,
    values: Any,
    factor: Any,
    constant: Any,
    target: Any,
    down: Any,
    across: Any,
    slope: Any,
    sums: Any,
) -> None:
    """Fill in the slope of the loss in the parts ``start:stop``, times the number of pixels.

    Parameters
    ----------
    start, stop : int
    values : ndarray of float32, (height, width, channels)
    factor, constant : ndarray of float32, (n_labels,)
        The responses are ``values * factor + constant``; further channels are none.
    target : ndarray of int32, (height, width)
        The loss is the cross-entropy between responses and target ...
    down, across : float32
        ... and so much times the absolute differences between the responses of neighbours.
    slope : ndarray of float32, (height, width, channels)
        Filled in for the responses; 0 in further channels.
    sums : ndarray of float64, (n_parts, 2, channels)
        Filled in: the sums of the slope and of its products with the values.
    """
    height, width, channels = values.shape
    n_labels, n_parts = len(factor), len(sums)
    rough = down != ZERO or across != ZERO
    powers, exponents = np.empty(n_labels, np.float32), np.empty(n_labels, np.int32)
    scales = exponents.view(np.float32)
    total, product = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for part in range(start, stop):
        sums[part] = 0
        for line in range(part * height // n_parts, (part + 1) * height // n_parts):
            total[:] = ZERO
            product[:] = ZERO
            for column in range(width):
                given, into = values[line, column], slope[line, column]
                _softmax(given, factor, constant, powers, exponents, scales, into)
                into[target[line, column]] -= ONE
                if rough:
                    if line > 0:
                        _smooth(given, values[line - 1, column], factor, down, into)
                    if line < height - 1:
                        _smooth(given, values[line + 1, column], factor, down, into)
                    if column > 0:
                        _smooth(given, values[line, column - 1], factor, across, into)
                    if column < width - 1:
                        _smooth(given, values[line, column + 1], factor, across, into)
                for channel in range(channels):
                    total[channel] += into[channel]
                    product[channel] += into[channel] * given[channel]
            for channel in range(channels):
                sums[part, 0, channel] += total[channel]
                sums[part, 1, channel] += product[channel]


@njit(nogil=True, cache=True, fastmath=True)
def _softmax(
    values: Any, factor: Any, constant: Any, powers: Any, exponents: Any, scales: Any, into: Any
) -> None:
    """Whole powers of two by writing the exponent's bits, which ``scales`` sees as numbers, the rest by a series."""
    n_labels = len(factor)
    highest = np.float32(-3e38)
    for channel in range(n_labels):
        powers[channel] = values[channel] * factor[channel] + constant[channel]
        highest = max(highest, powers[channel])
    for channel in range(n_labels):
        power = max((powers[channel] - highest) * LOG2_E, LEAST_POWER)
        whole = np.rint(power)
        exponents[channel] = (np.int32(whole) + BIAS) << MANTISSA
        x = power - whole
        powers[channel] = ONE + x * (C1 + x * (C2 + x * (C3 + x * (C4 + x * (C5 + x * C6)))))
    total = ZERO
    for channel in range(n_labels):
        powers[channel] *= scales[channel]
        total += powers[channel]
    share = ONE / total
    for channel in range(n_labels):
        into[channel] = powers[channel] * share
    into[n_labels:] = ZERO


@njit(nogil=True, cache=True, fastmath=True)
def _smooth(own: Any, other: Any, factor: Any, weight: Any, into: Any) -> None:
    for channel in range(len(factor)):
        difference = (own[channel] - other[channel]) * factor[channel]
        pulled = weight if difference > ZERO else ZERO
        pulled = -weight if difference < ZERO else pulled
        into[channel] += pulled


def warm_up() -> None:
    """Compile every loop for single precision, or load it from numba's cache."""
    values, channel = np.zeros((1, 2, 4), np.float32), np.zeros(4, np.float32)
    labels, zero = np.zeros((1, 2), np.int32), np.float32(0)
    find_labels(0, 1, values, channel, channel, labels)
    vote(labels, np.zeros((1, 2), np.int64), np.zeros((1, 4), np.int32))
    pull(0, 1, values, channel, channel, labels, zero, zero, values.copy(), np.zeros((1, 2, 4)))
