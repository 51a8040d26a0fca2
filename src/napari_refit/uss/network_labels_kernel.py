"""Compiled loops of the USS network's training: labels from responses, their vote, and the slope of the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from napari_refit.uss.network_pixels_kernel import (
    CONSTANT,
    FACTOR,
    TABLE,
    VECTOR,
    add_product,
    add_through,
    new_table,
)
from napari_refit.uss.network_product_kernel import PANEL

ZERO, ONE = np.float32(0), np.float32(1)
# 2 ** -127 is written with the bits of 0.
LOG2_E, LEAST_POWER, BIAS, MANTISSA = 1.4426950408889634, -127.0, 127, 23
# Of so large a number, as of any near it, single precision keeps no digit after the point.
NO_FRACTION = 1.5 * 2**23
# Of 2 ** x for x from -0.5 to 0.5, to the last digit of single precision.
SERIES = (1.0, 0.6931472, 0.24022651, 0.05550411, 0.009618129, 0.0013333558, 0.00015403530)
# What no response comes near.
NONE, NO_RESPONSE = np.empty((3, 0), np.float32), np.float32(-1e38)


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


def softmax(context: Any, values: Any, into: Any, table: Any, n_panels: Any) -> Any:
    """Fill in the shares of ``exp(values * factor + constant)`` of one pixel.

    Whole powers of two by writing the exponent's bits, the rest by a series.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, bits = ir.IntType(64), ir.VectorType(ir.IntType(32), PANEL)

        def at(position: int, panel: Any, row: int, rows: int) -> Any:
            array = context.make_array(signature.args[position])(context, builder, arguments[position])
            first = builder.add(builder.mul(panel, number(rows * PANEL)), number(row * PANEL))
            return builder.bitcast(builder.gep(array.data, [first]), VECTOR.as_pointer())

        def load(position: int, panel: Any, row: int = 0, rows: int = 1) -> Any:
            loaded = builder.load(at(position, panel, row, rows))
            loaded.align = 4
            return loaded

        def store(vector: Any, panel: Any) -> None:
            builder.store(vector, at(1, panel, 0, 1)).align = 4

        def constant(value: float) -> Any:
            return ir.Constant(VECTOR, [value] * PANEL)

        def larger(first: Any, second: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", first, second), first, second)

        def everywhere(combine: Any, vector: Any) -> Any:
            """Combine all lanes, in every lane: with the one half a panel away, a quarter, ..."""
            for away in (8, 4, 2, 1):
                lanes = ir.Constant(bits, [lane ^ away for lane in range(PANEL)])
                vector = combine(vector, builder.shuffle_vector(vector, vector, lanes))
            return vector

        highest = cgutils.alloca_once_value(builder, constant(-3e38))  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, arguments[3]) as loop:
            factor, rest = (load(2, loop.index, row, TABLE) for row in (FACTOR, CONSTANT))
            response = add_product(builder, load(0, loop.index), factor, rest)
            store(response, loop.index)
            builder.store(larger(response, builder.load(highest)), highest)
        most = everywhere(larger, builder.load(highest))
        total = cgutils.alloca_once_value(builder, constant(0.0))  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, arguments[3]) as loop:
            power = builder.fmul(builder.fsub(load(1, loop.index), most), constant(LOG2_E))
            power = larger(power, constant(LEAST_POWER))
            whole = builder.fsub(builder.fadd(power, constant(NO_FRACTION)), constant(NO_FRACTION))
            x = builder.fsub(power, whole)
            share = constant(SERIES[-1])
            for coefficient in SERIES[-2::-1]:
                share = add_product(builder, share, x, constant(coefficient))
            exponent = builder.add(builder.fptosi(whole, bits), ir.Constant(bits, [BIAS] * PANEL))
            scale = builder.bitcast(builder.shl(exponent, ir.Constant(bits, [MANTISSA] * PANEL)), VECTOR)
            share = builder.fmul(share, scale)
            store(share, loop.index)
            builder.store(builder.fadd(builder.load(total), share), total)
        part = builder.fdiv(constant(1.0), everywhere(builder.fadd, builder.load(total)))
        with cgutils.for_range(builder, arguments[3]) as loop:
            store(builder.fmul(load(1, loop.index), part), loop.index)
        return context.get_dummy_value()

    return types.void(values, into, table, types.int64), generate


_softmax: Callable[..., None] = intrinsic(softmax)


@njit(nogil=True, cache=True)
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

    Channels are a multiple of `napari_refit.uss.network_product_kernel.PANEL`.
    """
    height, width, channels = values.shape
    n_labels, n_parts = len(factor), len(sums)
    rough = down != ZERO or across != ZERO
    padded_factor, padded_constant = np.zeros(channels, np.float32), np.full(channels, NO_RESPONSE)
    padded_factor[:n_labels], padded_constant[:n_labels] = factor, constant
    table = new_table(channels, padded_factor, padded_constant, NONE)
    # The slope counts everywhere.
    everywhere = new_table(channels, ZERO * padded_factor, ONE + ZERO * padded_factor, NONE)
    for part in range(start, stop):
        sums[part] = 0
        for line in range(part * height // n_parts, (part + 1) * height // n_parts):
            for column in range(width):
                given, into = values[line, column], slope[line, column]
                _softmax(given, into, table, channels // PANEL)
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
            add_through(values[line], slope[line], everywhere, sums[part])


@njit(nogil=True, cache=True, fastmath=True)
def _smooth(own: Any, other: Any, factor: Any, weight: Any, into: Any) -> None:
    for channel in range(len(factor)):
        difference = (own[channel] - other[channel]) * factor[channel]
        pulled = weight if difference > ZERO else ZERO
        pulled = -weight if difference < ZERO else pulled
        into[channel] += pulled


def warm_up() -> None:
    """Compile every loop for single precision, or load it from numba's cache."""
    values, channel = np.zeros((1, 2, PANEL), np.float32), np.zeros(PANEL, np.float32)
    labels, zero = np.zeros((1, 2), np.int32), np.float32(0)
    find_labels(0, 1, values, channel, channel, labels)
    vote(labels, np.zeros((1, 2), np.int64), np.zeros((1, PANEL), np.int32))
    pull(0, 1, values, channel, channel, labels, zero, zero, values.copy(), np.zeros((1, 2, PANEL)))
