"""Compiled products of the USS network's training: convolutions, and what they say about their weights.

A weight is an array (inputs, outputs); the inputs of a 3 x 3 convolution are the window's rows, in them its columns,
in them the channels. `panels` brings it into the order in which products read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

# Lines are used in panels: what is summed up for so many channels of a few pixels stays in registers.
PANEL = 16
# Of the processor that loops are compiled for; numba's cache tells such processors apart.
AVX_512 = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2].split(",")
# How many numbers a register holds, and how many rows of a panel the registers do: 32 of them, or 16.
LANES, ROWS, INPUTS = (16, 12, 12) if AVX_512 else (8, 6, 4)
# Every number of inputs is a multiple; so must be INPUTS.
FEW = 4
# So many pixels stay in the first cache.
NEAR = 64
ZERO = np.float32(0)


def padded(channels: int, multiple: int = PANEL) -> int:
    """The next multiple, as ``padded(20)`` is 32."""
    return -(-channels // multiple) * multiple


def panels(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a weight (inputs, outputs) into the order (outputs / `PANEL`, inputs, `PANEL`)."""
    inputs, outputs = weight.shape
    return np.ascontiguousarray(weight.reshape(inputs, outputs // PANEL, PANEL).transpose(1, 0, 2))


def _block(rows: int, fresh: bool) -> Callable[..., None]:
    """Make the innermost product: ``rows`` rows of ``c``, `PANEL` wide, gain ``a @ b``, or become it if ``fresh``.

    Arrays are addressed by elements: ``a[a_first + row * a_row + turn * a_turn + step * a_step]``,
    ``b[b_first + (turn * steps + step) * b_step + column]``, ``c[c_first + row * c_row + column]``.
    """
    number, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
    undefined, zero = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0.0] * LANES)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    columns = range(0, PANEL, LANES)
    cells = [(row, column) for row in range(rows) for column in columns]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a_first, a_row, a_turn, a_step, _, b_first, b_step, _, c_first, c_row, turns, steps = arguments

        def at(position: int, *offsets: Any) -> Any:
            array = context.make_array(signature.args[position])(context, builder, arguments[position])
            pointer = array.data
            for offset in offsets:
                pointer = builder.gep(pointer, [offset])
            return pointer

        def vector_at(position: int, *offsets: Any) -> Any:
            return builder.bitcast(at(position, *offsets), vector.as_pointer())

        def load(pointer: Any) -> Any:
            loaded = builder.load(pointer)
            loaded.align = 4
            return loaded

        places = [
            vector_at(8, c_first, builder.mul(c_row, number(row)), number(column)) for row, column in cells
        ]
        starts = [zero if fresh else load(place) for place in places]
        sums = [cgutils.alloca_once_value(builder, start) for start in starts]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, turns) as turn:
            before = builder.mul(turn.index, steps)
            with cgutils.for_range(builder, steps) as step:
                along_a = builder.add(builder.mul(turn.index, a_turn), builder.mul(step.index, a_step))
                along_b = builder.mul(builder.add(before, step.index), b_step)
                across = [load(vector_at(5, b_first, along_b, number(column))) for column in columns]
                spread = []
                for row in range(rows):
                    factor = builder.load(at(0, a_first, builder.mul(a_row, number(row)), along_a))
                    first = builder.insert_element(undefined, factor, ir.IntType(32)(0))
                    spread.append(builder.shuffle_vector(first, undefined, everywhere))
                for total, (row, column) in zip(sums, cells, strict=True):
                    product = builder.fmul(spread[row], across[column // LANES], flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        for total, place in zip(sums, places, strict=True):
            builder.store(builder.load(total), place).align = 4
        return context.get_dummy_value()

    def multiply(
        context: Any,
        a: Any,
        a_first: Any,
        a_row: Any,
        a_turn: Any,
        a_step: Any,
        b: Any,
        b_first: Any,
        b_step: Any,
        c: Any,
        c_first: Any,
        c_row: Any,
        turns: Any,
        steps: Any,
    ) -> Any:
        whole = types.int64
        places = (whole, whole, whole, whole), (whole, whole), (whole, whole, whole, whole)
        return types.void(a, *places[0], b, *places[1], c, *places[2]), generate

    made: Callable[..., None] = intrinsic(multiply)
    return made


_rows, _one_row = _block(ROWS, True), _block(1, True)
_inputs_more, _few_inputs_more = _block(INPUTS, False), _block(FEW, False)


@njit(nogil=True, cache=True)
def multiply(
    given: Any, top: int, left: int, span: int, weight: Any, result: Any, line: int, column: int, length: int
) -> None:
    """Fill in ``length`` pixels of a line of a convolution with ``span`` x ``span`` windows.

    The first window begins at line ``top`` and column ``left`` of what is given; its pixel of the result lies at
    ``line`` and ``column``. The weight is in panels.
    """
    channels, outputs = given.shape[2], result.shape[2]
    steps, stride = span * channels, given.shape[1] * channels
    first = top * stride + left * channels
    into = (line * result.shape[1] + column) * outputs
    for panel in range(outputs // PANEL):
        b = panel * span * steps * PANEL
        pixel = 0
        while pixel < length:
            if length < ROWS:
                a, c = first + pixel * channels, into + pixel * outputs + panel * PANEL
                _one_row(given, a, channels, stride, 1, weight, b, PANEL, result, c, outputs, span, steps)
                pixel += 1
            else:
                # The last block overlaps the one before it.
                pixel = min(pixel, length - ROWS)
                a, c = first + pixel * channels, into + pixel * outputs + panel * PANEL
                _rows(given, a, channels, stride, 1, weight, b, PANEL, result, c, outputs, span, steps)
                pixel += ROWS


@njit(nogil=True, cache=True)
def add_weight_slope(
    given: Any,
    top: int,
    left: int,
    span: int,
    slope: Any,
    line: int,
    column: int,
    length: int,
    weight_slope: Any,
) -> None:
    """Add what ``length`` pixels of a line have to say about the weight (inputs, outputs) of `multiply`."""
    channels, outputs = given.shape[2], slope.shape[2]
    steps, stride = span * channels, given.shape[1] * channels
    for near in range(0, length, NEAR):
        n = min(NEAR, length - near)
        begin = (line * slope.shape[1] + column + near) * outputs
        for row in range(span):
            first = (top + row) * stride + (left + near) * channels
            for panel in range(0, outputs, PANEL):
                b = begin + panel
                step = 0
                while step < steps:
                    a, c = first + step, (row * steps + step) * outputs + panel
                    if step + INPUTS <= steps:
                        _inputs_more(
                            given, a, 1, 0, channels, slope, b, outputs, weight_slope, c, outputs, 1, n
                        )
                        step += INPUTS
                    else:
                        _few_inputs_more(
                            given, a, 1, 0, channels, slope, b, outputs, weight_slope, c, outputs, 1, n
                        )
                        step += FEW


def warm_up() -> None:
    """Compile every loop for single precision, or load it from numba's cache."""
    image, weight = np.zeros((1, 2, PANEL), np.float32), np.zeros((PANEL, PANEL), np.float32)
    multiply(image, 0, 0, 1, panels(weight), image.copy(), 0, 0, 2)
    add_weight_slope(image, 0, 0, 1, image, 0, 0, 2, weight)
