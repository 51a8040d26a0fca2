"""What the USS network does pixel by pixel, 16 channels at a time: rectifiers, normalisation, and sums over pixels.

Written out in vectors: loops over a few channels would cost more for their beginning and end than for what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from napari_refit.uss.network_product_kernel import PANEL

VECTOR = ir.VectorType(ir.FloatType(), PANEL)
NOTHING = ir.Constant(VECTOR, [0.0] * PANEL)
CONTRACT = ("contract",)
# So many pixels after each other: memory is read ahead where it is read nearly in order.
AT_ONCE = 8
ZERO = np.float32(0)
# Rows of a table: the rectifier's factor and constant, what slope, value and 1 are multiplied by, and two sums.
FACTOR, CONSTANT, BY_SLOPE, BY_VALUE, REST, SUMS, TABLE = 0, 1, 2, 3, 4, 5, 7


def add_product(builder: Any, first: Any, second: Any, more: Any) -> Any:
    return builder.fadd(builder.fmul(first, second, flags=CONTRACT), more, flags=CONTRACT)


def _rectified(builder: Any, known: list[Any], values: Any) -> tuple[Any, Any]:
    """The line through the values, and where it is above zero."""
    line = add_product(builder, values, known[FACTOR], known[CONSTANT])
    return line, builder.fcmp_ordered(">", line, NOTHING)


def _rectify(builder: Any, known: list[Any], values: Any, _: Any) -> tuple[Any, ...]:
    line, above = _rectified(builder, known, values)
    return (builder.select(above, line, NOTHING),)


def _turn(builder: Any, known: list[Any], values: Any, slope: Any) -> tuple[Any, ...]:
    _, above = _rectified(builder, known, values)
    rest = add_product(builder, values, known[BY_VALUE], known[REST])
    return (add_product(builder, builder.select(above, slope, NOTHING), known[BY_SLOPE], rest),)


def _squares(builder: Any, known: list[Any], values: Any, _: Any) -> tuple[Any, ...]:
    return values, values


def _through(builder: Any, known: list[Any], values: Any, slope: Any) -> tuple[Any, ...]:
    _, above = _rectified(builder, known, values)
    return builder.select(above, slope, NOTHING), values


def _pixels(n_known: int, arithmetic: Callable[..., tuple[Any, ...]]) -> Callable[..., None]:
    """Make a loop over ``n`` pixels, ``stride`` numbers apart, of a panel of channels that starts at ``begin``.

    What ``arithmetic`` makes of ``values`` and ``others`` is written to ``into``; or, where these are two things, the
    first and its products with the second are added to two rows of the table.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, begin, _, _, _, panel, stride, n = arguments
        number = ir.IntType(64)

        def at(position: int, offset: Any) -> Any:
            array = context.make_array(signature.args[position])(context, builder, arguments[position])
            return builder.bitcast(builder.gep(array.data, [offset]), VECTOR.as_pointer())

        def load(position: int, offset: Any) -> Any:
            loaded = builder.load(at(position, offset))
            loaded.align = 4
            return loaded

        def store(vector: Any, position: int, offset: Any) -> None:
            builder.store(vector, at(position, offset)).align = 4

        top = builder.mul(panel, number(TABLE * PANEL))
        rows = [builder.add(top, number(row * PANEL)) for row in range(TABLE)]
        known = [load(4, row) for row in rows[:n_known]]
        sums = [cgutils.alloca_once_value(builder, load(4, row)) for row in rows[SUMS:]]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, n) as pixel:
            along = builder.add(begin, builder.mul(pixel.index, stride))
            first, *second = arithmetic(builder, known, load(0, along), load(2, along))
            if second:
                terms = builder.load(sums[0]), builder.load(sums[1])
                builder.store(builder.fadd(terms[0], first), sums[0])
                builder.store(add_product(builder, first, second[0], terms[1]), sums[1])
            else:
                store(first, 3, along)
        for total, row in zip(sums, rows[SUMS:], strict=True):
            store(builder.load(total), 4, row)
        return context.get_dummy_value()

    def loop(
        context: Any,
        values: Any,
        begin: Any,
        others: Any,
        into: Any,
        table: Any,
        panel: Any,
        stride: Any,
        n: Any,
    ) -> Any:
        whole = types.int64
        return types.void(values, whole, others, into, table, whole, whole, whole), generate

    made: Callable[..., None] = intrinsic(loop)
    return made


_rectify_panel, _turn_panel = _pixels(2, _rectify), _pixels(5, _turn)
_sum_squares, _sum_through = _pixels(0, _squares), _pixels(2, _through)


@njit(nogil=True, cache=True)
def new_table(channels: int, factor: Any, constant: Any, coefficients: Any) -> Any:
    """What is known of channels, panel by panel; arrays without channels are left out."""
    table = np.zeros((channels // PANEL, TABLE, PANEL), np.float32)
    for channel in range(channels):
        panel, lane = channel // PANEL, channel % PANEL
        if factor.size:
            table[panel, FACTOR, lane], table[panel, CONSTANT, lane] = factor[channel], constant[channel]
        if coefficients.size:
            table[panel, BY_SLOPE : REST + 1, lane] = coefficients[:, channel]
    return table


@njit(nogil=True, cache=True)
def rectify(values: Any, table: Any, into: Any) -> None:
    """Make ``max(values * factor + constant, 0)`` of pixels (n, channels)."""
    n, channels = values.shape
    own, made = values.ravel(), into.ravel()
    for first in range(0, n, AT_ONCE):
        for panel in range(channels // PANEL):
            begin, stop = first * channels + panel * PANEL, min(n - first, AT_ONCE)
            _rectify_panel(own, begin, own, made, table, panel, channels, stop)


@njit(nogil=True, cache=True)
def turn(values: Any, slope: Any, table: Any, into: Any) -> None:
    """Make of the slope of rectified values, pixels (n, channels), that of the values before normalisation."""
    n, channels = values.shape
    own, other, made = values.ravel(), slope.ravel(), into.ravel()
    for first in range(0, n, AT_ONCE):
        for panel in range(channels // PANEL):
            begin, stop = first * channels + panel * PANEL, min(n - first, AT_ONCE)
            _turn_panel(own, begin, other, made, table, panel, channels, stop)


@njit(nogil=True, cache=True)
def add_squares(values: Any, table: Any, sums: Any) -> None:
    """Add the sums of pixels (n, channels), and of their squares, to ``sums`` (2, channels)."""
    n, channels = values.shape
    own = values.ravel()
    table[:, SUMS:] = ZERO
    for first in range(0, n, AT_ONCE):
        for panel in range(channels // PANEL):
            begin, stop = first * channels + panel * PANEL, min(n - first, AT_ONCE)
            _sum_squares(own, begin, own, own, table, panel, channels, stop)
    _add_to(sums, table)


@njit(nogil=True, cache=True)
def add_through(values: Any, slope: Any, table: Any, sums: Any) -> None:
    """Add the sums of the slope that the rectifier lets through, and of its products with the values."""
    n, channels = values.shape
    own, other = values.ravel(), slope.ravel()
    table[:, SUMS:] = ZERO
    for first in range(0, n, AT_ONCE):
        for panel in range(channels // PANEL):
            begin, stop = first * channels + panel * PANEL, min(n - first, AT_ONCE)
            _sum_through(own, begin, other, own, table, panel, channels, stop)
    _add_to(sums, table)


@njit(nogil=True, cache=True)
def _add_to(sums: Any, table: Any) -> None:
    for panel in range(len(table)):
        for lane in range(PANEL):
            sums[0, panel * PANEL + lane] += table[panel, SUMS, lane]
            sums[1, panel * PANEL + lane] += table[panel, SUMS + 1, lane]


def warm_up() -> None:
    """Compile every loop for single precision, or load it from numba's cache."""
    values, channel, sums = (
        np.zeros((2, PANEL), np.float32),
        np.zeros(PANEL, np.float32),
        np.zeros((2, PANEL)),
    )
    table = new_table(PANEL, channel, channel, np.zeros((3, PANEL), np.float32))
    rectify(values, table, values.copy())
    turn(values, values, table, values.copy())
    add_squares(values, table, sums)
    add_through(values, values, table, sums)
