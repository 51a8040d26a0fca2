"""sRGB to Lab, compiled: powers from the bits of float32, so that eight pixels are converted at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

f4 = np.float32
i4 = np.int32
FAST = {"contract", "nsz"}
# Adding it and taking it away again rounds to a whole number.
ROUND = f4(12582912)
# Linear sRGB to XYZ, each row divided by the white point of D65, 2 degrees.
XR, XG, XB = f4(0.412453 / 0.95047), f4(0.357580 / 0.95047), f4(0.180423 / 0.95047)
YR, YG, YB = f4(0.212671), f4(0.715160), f4(0.072169)
ZR, ZG, ZB = f4(0.019334 / 1.08883), f4(0.119193 / 1.08883), f4(0.950227 / 1.08883)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _power(value: Any, exponent: Any) -> Any:
    """``value ** exponent`` of a positive number and an exponent within -1 and 1, to 3e-7 of it."""
    bits = f4(value).view(i4)
    # The mantissa is taken from sqrt(1/2) to sqrt(2), where the series of its logarithm is short.
    whole = i4(i4(bits - i4(0x3F3504F3)) >> i4(23))
    mantissa = i4(bits - i4(whole << i4(23))).view(f4)
    t = (mantissa - f4(1)) / (mantissa + f4(1))
    t2 = t * t
    series = f4(0.577078016) + t2 * (f4(0.412198583) + t2 * f4(0.320598898))
    series = t * (f4(2.88539008) + t2 * (f4(0.961796694) + t2 * series))
    scaled = f4(whole) * exponent
    near = (scaled + series * exponent + ROUND) - ROUND
    rest = (scaled - near) + series * exponent
    power = f4(0.00133335581) + rest * (f4(0.000154035304) + rest * f4(0.0000152527338))
    power = f4(0.0555041087) + rest * (f4(0.00961812911) + rest * power)
    power = f4(1) + rest * (f4(0.693147181) + rest * (f4(0.240226507) + rest * power))
    return power * i4(i4(i4(near) + i4(127)) << i4(23)).view(f4)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _linear(value: Any) -> Any:
    base = (value + f4(0.055)) * f4(1 / 1.055)
    curved = base * base * _power(base, f4(0.4))
    return curved if value > f4(0.04045) else value * f4(1 / 12.92)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _root(value: Any) -> Any:
    root = _power(value, f4(1 / 3))
    return root if value > f4(0.008856) else f4(7.787) * value + f4(16 / 116)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def lab(first: int, last: int, planes: Any) -> None:
    """Convert pixels ``first`` to ``last`` of ``planes``, float32 (3, n), in their place."""
    a, b, c = planes[0, first:last], planes[1, first:last], planes[2, first:last]
    for i in range(a.size):
        red, green, blue = _linear(a[i]), _linear(b[i]), _linear(c[i])
        x = _root(XR * red + XG * green + XB * blue)
        y = _root(YR * red + YG * green + YB * blue)
        z = _root(ZR * red + ZG * green + ZB * blue)
        a[i] = f4(116) * y - f4(16)
        b[i] = f4(500) * (x - y)
        c[i] = f4(200) * (y - z)


def warm_up() -> None:
    """Compile the loop, or load it from numba's cache."""
    lab(0, 1, np.zeros((3, 1), np.float32))
