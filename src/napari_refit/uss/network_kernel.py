"""Compiled loops of the USS network's training: its convolutions, forward and back, with what goes along with them.

Images are (height, width, channels), channels side by side and padded with zeros (`padded`); what a 3 x 3
convolution reads has a frame of zeros besides, one pixel wide. Lines are cut into parts, whatever the number of
threads, and sums over pixels are kept per part: no thread waits for another within a pass, and the results do not
depend on how many there are.

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
from numba.extending import intrinsic
from numpy.typing import NDArray

LANES = 8
# A panel is two vectors wide; six rows of two vectors are what sixteen registers hold.
PANEL = 2 * LANES
ROWS, INPUTS = 6, 4
# So many pixels stay in the first, and in the second, cache.
NEAR, CHUNK = 64, 240
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

    Arrays are addressed by elements: ``a[a_first + row * a_row + step * a_step]``,
    ``b[b_first + step * b_step + column]``, ``c[c_first + row * c_row + column]``.
    """
    number, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
    undefined, zero = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0.0] * LANES)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    cells = [(row, half) for row in range(rows) for half in range(PANEL // LANES)]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a_first, a_row, a_step, _, b_first, b_step, _, c_first, c_row, steps = arguments

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
            vector_at(7, c_first, builder.mul(c_row, number(row)), number(half * LANES))
            for row, half in cells
        ]
        starts = [zero if fresh else load(place) for place in places]
        sums = [cgutils.alloca_once_value(builder, start) for start in starts]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, steps) as loop:
            along_a, along_b = builder.mul(loop.index, a_step), builder.mul(loop.index, b_step)
            halves = [
                load(vector_at(4, b_first, along_b, number(half * LANES))) for half in range(PANEL // LANES)
            ]
            spread = []
            for row in range(rows):
                factor = builder.load(at(0, a_first, builder.mul(a_row, number(row)), along_a))
                first = builder.insert_element(undefined, factor, ir.IntType(32)(0))
                spread.append(builder.shuffle_vector(first, undefined, everywhere))
            for total, (row, half) in zip(sums, cells, strict=True):
                product = builder.fmul(spread[row], halves[half], flags=("contract",))
                builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        for total, place in zip(sums, places, strict=True):
            builder.store(builder.load(total), place).align = 4
        return context.get_dummy_value()

    def multiply(
        context: Any,
        a: Any,
        a_first: Any,
        a_row: Any,
        a_step: Any,
        b: Any,
        b_first: Any,
        b_step: Any,
        c: Any,
        c_first: Any,
        c_row: Any,
        steps: Any,
    ) -> Any:
        whole = types.int64
        return types.void(a, whole, whole, whole, b, whole, whole, c, whole, whole, whole), generate

    made: Callable[..., None] = intrinsic(multiply)
    return made


_six_rows, _six_rows_more, _one_row_more = _block(ROWS, True), _block(ROWS, False), _block(1, False)
_four_inputs_more = _block(INPUTS, False)


@njit(nogil=True, cache=True)
def _multiply(
    given: Any, span: int, height: int, line: int, left: int, length: int, weight: Any, result: Any
) -> None:
    """Convolve ``length`` pixels of a line with ``span`` x ``span`` windows; ``weight`` is in panels."""
    channels, outputs = given.shape[2], result.shape[2]
    steps, stride = span * channels, given.shape[1] * channels
    border, frame = (given.shape[0] - height) // 2, (result.shape[0] - height) // 2
    first = (line + border - span // 2) * stride + (left + border - span // 2) * channels
    into = ((line + frame) * result.shape[1] + left + frame) * outputs
    rows = ROWS if length >= ROWS else 1
    for panel in range(outputs // PANEL):
        pixel = 0
        while pixel < length:
            # The last block overlaps the one before it.
            pixel = min(pixel, length - rows)
            c = into + pixel * outputs + panel * PANEL
            for row in range(span):
                a = first + pixel * channels + row * stride
                b = (panel * span + row) * steps * PANEL
                if rows == 1:
                    if row == 0:
                        result.ravel()[c : c + PANEL] = ZERO
                    _one_row_more(given, a, channels, 1, weight, b, PANEL, result, c, outputs, steps)
                elif row == 0:
                    _six_rows(given, a, channels, 1, weight, b, PANEL, result, c, outputs, steps)
                else:
                    _six_rows_more(given, a, channels, 1, weight, b, PANEL, result, c, outputs, steps)
            pixel += rows


@njit(nogil=True, cache=True)
def _add_weight_slope(
    given: Any, slope: Any, height: int, line: int, left: int, length: int, weight_slope: Any
) -> None:
    """Add what ``length`` pixels of a line have to say about the weight (inputs, outputs) of `_multiply`."""
    channels, outputs = given.shape[2], slope.shape[2]
    border, frame = (given.shape[0] - height) // 2, (slope.shape[0] - height) // 2
    span = 1 + 2 * border
    stride = given.shape[1] * channels
    for near in range(left, left + length, NEAR):
        n = min(NEAR, left + length - near)
        begin = ((line + frame) * slope.shape[1] + near + frame) * outputs
        for row in range(span):
            first = (line + row) * stride + near * channels
            for panel in range(0, outputs, PANEL):
                for k in range(0, span * channels, INPUTS):
                    into = (row * span * channels + k) * outputs + panel
                    a, b = first + k, begin + panel
                    _four_inputs_more(
                        given, a, 1, channels, slope, b, outputs, weight_slope, into, outputs, n
                    )


@njit(nogil=True, cache=True)
def _lines(part: int, n_parts: int, height: int) -> tuple[int, int]:
    return part * height // n_parts, (part + 1) * height // n_parts


@njit(nogil=True, cache=True, fastmath=True)
def rectify(start: int, stop: int, values: Any, factor: Any, constant: Any, result: Any) -> None:
    """Fill in lines ``start:stop`` of ``max(values * factor + constant, 0)``.

    Parameters
    ----------
    start, stop : int
    values : ndarray of float32, (height, width, channels)
    factor, constant : ndarray of float32, (channels,)
    result : ndarray of float32
        With or without a frame.
    """
    for line in range(start, stop):
        _rectify(values, factor, constant, line, 0, values.shape[1], result)


@njit(nogil=True, cache=True, fastmath=True)
def _rectify(values: Any, factor: Any, constant: Any, line: int, left: int, length: int, result: Any) -> None:
    frame = (result.shape[0] - values.shape[0]) // 2
    for column in range(left, left + length):
        for channel in range(values.shape[2]):
            value = values[line, column, channel] * factor[channel] + constant[channel]
            result[line + frame, column + frame, channel] = max(value, ZERO)


@njit(nogil=True, cache=True, fastmath=True)
def convolve(
    start: int,
    stop: int,
    raw: Any,
    factor: Any,
    constant: Any,
    given: Any,
    weight: Any,
    result: Any,
    sums: Any,
) -> None:
    """Convolve the parts ``start:stop``: framed input with 3 x 3 windows, other input pixel by pixel.

    Parameters
    ----------
    start, stop : int
    raw, factor, constant : ndarray of float32
        Unless ``raw`` is empty, ``given`` is filled in from them first, as by `rectify`.
    given : ndarray of float32
    weight : ndarray of float32
        See `panels`.
    result : ndarray of float32, (height, width, outputs)
    sums : ndarray of float64, (n_parts, 2, outputs)
        Filled in: the sums of the result and of its squares.
    """
    height, width, outputs = result.shape
    span = 1 + given.shape[0] - height
    total, square = np.empty(outputs, np.float32), np.empty(outputs, np.float32)
    for part in range(start, stop):
        sums[part] = 0
        first, last = _lines(part, len(sums), height)
        for line in range(first, last):
            for left in range(0, width, CHUNK):
                length = min(CHUNK, width - left)
                if raw.size:
                    _rectify(raw, factor, constant, line, left, length, given)
                _multiply(given, span, height, line, left, length, weight, result)
                total[:] = ZERO
                square[:] = ZERO
                for column in range(left, left + length):
                    for channel in range(outputs):
                        value = result[line, column, channel]
                        total[channel] += value
                        square[channel] += value * value
                _add_to(sums[part], total, square)


@njit(nogil=True, cache=True)
def _add_to(sums: Any, first: Any, second: Any) -> None:
    for channel in range(len(first)):
        sums[0, channel] += first[channel]
        sums[1, channel] += second[channel]


@njit(nogil=True, cache=True, fastmath=True)
def turn(
    start: int, stop: int, slope: Any, values: Any, factor: Any, constant: Any, coefficients: Any
) -> None:
    """Turn the slope of rectified values, in lines ``start:stop``, into that of the values, in place.

    Parameters
    ----------
    start, stop : int
    slope : ndarray of float32
        With or without a frame. What the rectifier holds back counts as 0.
    values : ndarray of float32, (height, width, channels)
    factor, constant : ndarray of float32, (channels,)
        As in `rectify`; a huge constant for values that were not rectified.
    coefficients : ndarray of float32, (3, channels)
        What the slope, the values and 1 are multiplied by.
    """
    for line in range(start, stop):
        _turn(slope, values, factor, constant, coefficients, line, 0, values.shape[1])


@njit(nogil=True, cache=True, fastmath=True)
def _turn(
    slope: Any, values: Any, factor: Any, constant: Any, coefficients: Any, line: int, left: int, length: int
) -> None:
    frame = (slope.shape[0] - values.shape[0]) // 2
    by_slope, by_value, rest = coefficients[0], coefficients[1], coefficients[2]
    for column in range(left, left + length):
        for channel in range(values.shape[2]):
            value = values[line, column, channel]
            through = slope[line + frame, column + frame, channel]
            if value * factor[channel] + constant[channel] <= ZERO:
                through = ZERO
            turned = through * by_slope[channel] + value * by_value[channel] + rest[channel]
            slope[line + frame, column + frame, channel] = turned


@njit(nogil=True, cache=True, fastmath=True)
def descend(
    start: int,
    stop: int,
    slope: Any,
    values: Any,
    factor: Any,
    constant: Any,
    coefficients: Any,
    given: Any,
    weight_slopes: Any,
    weight: Any,
    before: Any,
    factor_before: Any,
    constant_before: Any,
    result: Any,
    sums: Any,
) -> None:
    """Go back through a convolution in the parts ``start:stop``, from its results to what it was given.

    Parameters
    ----------
    start, stop : int
    slope, values, factor, constant, coefficients : ndarray of float32
        Of the results. Unless ``coefficients`` is empty, the slope is turned first, as by `turn`.
    given : ndarray of float32
        What was convolved.
    weight_slopes : ndarray of float32, (n_parts, inputs, outputs)
        Filled in: each part's share of the weight's slope.
    weight : ndarray of float32
        The weight to go back by, in panels; empty where nothing lies before this convolution.
    before, factor_before, constant_before : ndarray of float32
        What ``given`` was made of, as in `rectify`.
    result : ndarray of float32
        Filled in: the slope of ``given``, with or without a frame.
    sums : ndarray of float64, (n_parts, 2, inputs)
        Filled in: the sums of that slope where the rectifier lets it through, and of its products with ``before``.
    """
    height, width, _ = values.shape
    span, frame = 1 + given.shape[0] - height, (result.shape[0] - height) // 2
    inputs = before.shape[2]
    total, product = np.empty(inputs, np.float32), np.empty(inputs, np.float32)
    for part in range(start, stop):
        weight_slopes[part] = 0
        sums[part] = 0
        first, last = _lines(part, len(sums), height)
        for line in range(first, last):
            for left in range(0, width, CHUNK):
                length = min(CHUNK, width - left)
                if coefficients.size:
                    _turn(slope, values, factor, constant, coefficients, line, left, length)
                _add_weight_slope(given, slope, height, line, left, length, weight_slopes[part])
                if not weight.size:
                    continue
                _multiply(slope, span, height, line, left, length, weight, result)
                total[:] = ZERO
                product[:] = ZERO
                for column in range(left, left + length):
                    for channel in range(inputs):
                        value = before[line, column, channel]
                        passes = value * factor_before[channel] + constant_before[channel] > ZERO
                        through = result[line + frame, column + frame, channel] if passes else ZERO
                        total[channel] += through
                        product[channel] += through * value
                _add_to(sums[part], total, product)


def warm_up() -> None:
    """Compile every loop for single precision, or load it from numba's cache."""
    image, framed = np.zeros((1, 6, PANEL), np.float32), np.zeros((3, 8, PANEL), np.float32)
    channel, sums = np.zeros(PANEL, np.float32), np.zeros((1, 2, PANEL))
    weight, coefficients = np.zeros((9 * PANEL, PANEL), np.float32), np.zeros((3, PANEL), np.float32)
    rectify(0, 1, image, channel, channel, framed)
    convolve(0, 1, image, channel, channel, image, panels(weight[:PANEL]), image, sums)
    turn(0, 1, framed, image, channel, channel, coefficients)
    line = (channel, channel)
    descend(
        *(
            0,
            1,
            framed,
            image,
            *line,
            coefficients,
            framed,
            weight[None],
            panels(weight),
            image,
            *line,
            image,
            sums,
        )
    )
