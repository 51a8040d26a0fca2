"""Checks of the arrays that the stages of this folder are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def real_array(array: Any, name: str) -> NDArray[Any]:
    """Return ``array`` as a numpy array of a real dtype.

    Parameters
    ----------
    array : array_like
    name : str
        What to call it in an error.

    Returns
    -------
    ndarray
        Of a boolean, integer or floating dtype; not copied when it is one already.

    Raises
    ------
    TypeError
        If it is complex, text, or holds Python objects.
    ValueError
        If it has no elements.
    """
    checked = np.asarray(array)
    if checked.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {checked.dtype}")
    if checked.size == 0:
        raise ValueError(f"{name} is empty: shape {checked.shape}")
    return checked


def finite(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return a float64 copy in which NaN and infinities are 0.

    Parameters
    ----------
    array : ndarray
        Of a real dtype.

    Returns
    -------
    ndarray of float64

    Examples
    --------
    >>> finite(np.array([1, np.nan, np.inf], np.float32))
    array([1., 0., 0.])
    """
    with np.errstate(over="ignore"):
        copy = array.astype(np.float64)
    copy[~np.isfinite(copy)] = 0
    return copy


def plane_channels(image: Any) -> NDArray[np.float64]:
    """Return a plane with its channels last.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        Of any real dtype; the values are taken as they are.

    Returns
    -------
    ndarray of float64, (H, W, C)
        A copy; ``C`` is 1 for grey. NaN and infinities are 0.

    Raises
    ------
    TypeError
        If the dtype is not real.
    ValueError
        If it has no pixels, another number of axes, or its channels come first.

    Examples
    --------
    >>> plane_channels(np.zeros((4, 5))).shape
    (4, 5, 1)
    """
    checked = real_array(image, "image")
    if checked.ndim not in (2, 3):
        raise ValueError(f"image must be (H, W) or (H, W, C), got shape {checked.shape}")
    if checked.ndim == 3 and checked.shape[0] <= 4 < checked.shape[2]:
        raise ValueError(
            f"channels must come last, got shape {checked.shape}: use numpy.moveaxis(image, 0, -1)"
        )
    return finite(checked if checked.ndim == 3 else checked[..., np.newaxis])


def label_map(labels: Any, name: str) -> NDArray[Any]:
    """Return a 2-D or 3-D array of whole numbers.

    Parameters
    ----------
    labels : array_like, (H, W) or (D, H, W)
        Booleans or integers.
    name : str
        What to call it in an error.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError
        If it does not hold booleans or integers.
    ValueError
        If it is empty or neither 2-D nor 3-D.
    """
    checked = real_array(labels, name)
    if checked.dtype.kind == "f":
        raise TypeError(
            f"{name} must hold whole numbers, got dtype {checked.dtype}: convert it with astype(int)"
        )
    if checked.ndim not in (2, 3):
        raise ValueError(f"{name} must be 2-D or 3-D, got shape {checked.shape}")
    return checked


def comparable(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels as the compiled loops take them; equal ones stay equal, different ones different.

    Parameters
    ----------
    labels : ndarray
        Booleans or integers.

    Returns
    -------
    ndarray of int32 or int64
        As `loopable` returns it. Labels from 0 up keep their values where int64 holds them.

    Examples
    --------
    >>> comparable(np.array([True, False]))
    array([1, 0], dtype=int32)
    """
    bits = 8 * labels.dtype.itemsize
    if bits < 32:
        return loopable(labels, np.int32)
    if labels.dtype.kind == "u":
        return loopable(labels, f"uint{bits}").view(f"int{bits}")
    return loopable(labels, f"int{bits}")


def loopable(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return an array that needs no compiled variant of its own: contiguous, native, and marked writeable.

    Parameters
    ----------
    array : ndarray
    dtype : dtype_like

    Returns
    -------
    ndarray
        Not copied when it is all that; nobody may write to it nonetheless.
    """
    contiguous: NDArray[Any] = np.require(array, dtype=dtype, requirements="C")
    return contiguous if contiguous.flags.writeable else np.asarray(_MarkedWriteable(contiguous))


class _MarkedWriteable:
    """The same memory by another name: numba compiles loops anew for arrays that are marked read-only."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._kept = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def numbered(labels: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """Renumber labels as 0, 1, ... in the order of their values.

    Parameters
    ----------
    labels : ndarray
        Booleans or integers.

    Returns
    -------
    ndarray of int64
        Of the same shape.
    int
        How many labels there are.

    Examples
    --------
    >>> numbered(np.array([[7, -2], [7, 9]]))
    (array([[1, 0],
           [1, 2]]), 3)
    """
    if int(labels.min()) >= 0 and int(labels.max()) < 4 * labels.size:
        from napari_refit.uss.edges_kernel import mark_present

        places = comparable(labels)
        present = np.zeros(int(labels.max()) + 1, dtype=np.int64)
        mark_present(places.ravel(), present)
        ranks = np.cumsum(present)
        return (ranks - 1)[places], int(ranks[-1])
    values, inverse = np.unique(labels, return_inverse=True)
    return inverse.reshape(labels.shape).astype(np.int64), len(values)
