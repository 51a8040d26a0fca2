"""Arrays that stay in their file: planes are read and written one by one, and memory holds no more than a block."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.errors import ReadError, WriteError, brief

BLOCK_BYTES = 64 << 20
_READ_BYTES = 8 << 20
_SEEK_BYTES = 32 << 10


class FileArray:
    """An array in a file, as values of one type one after the other.

    Whole planes are read and written: each index is a whole number or ``:``. Transposing and taking a part give
    views of the same file.

    Parameters
    ----------
    path : Path
    shape : sequence of int
    stored : numpy.dtype
        As it is in the file.
    offset : int
        Bytes before the first value.
    order : sequence of int, optional
        The axes in the order in which they lie in the file, the slowest first; by default as they come.
    scale : (slope, intercept), optional
        What stored values are multiplied by, and what is added to them.
    dtype : numpy.dtype, optional
        Of what is read; the stored one in this machine's byte order when left out.
    block_bytes : int
        What is read ahead at most where a plane's values are strewn over the file.
    writable : bool
        Whether planes may be written.

    Raises
    ------
    ReadError
        When a plane is read, if the file cannot be or ends too soon.
    WriteError
        When a plane is written, if it cannot be.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     array = FileArray.make(Path(folder) / "labels.raw", (2, 3, 4), np.dtype(np.uint8))
    ...     array[1] = np.arange(12).reshape(3, 4)
    ...     array.transpose([2, 1, 0])[3].tolist()
    [[0, 3], [0, 7], [0, 11]]
    """

    def __init__(
        self,
        path: Path,
        shape: Sequence[int],
        stored: np.dtype,
        *,
        offset: int = 0,
        order: Sequence[int] | None = None,
        scale: tuple[float, float] | None = None,
        dtype: np.dtype | None = None,
        block_bytes: int = BLOCK_BYTES,
        writable: bool = False,
    ) -> None:
        order = tuple(range(len(shape)) if order is None else order)
        disk = tuple(int(shape[axis]) for axis in order)
        self._file = _File(Path(path), disk, np.dtype(stored), offset, scale, dtype, block_bytes, writable)
        self._axes = tuple(order.index(axis) for axis in range(len(shape)))
        self._fixed: dict[int, int] = {}

    @classmethod
    def make(
        cls, path: Path, shape: Sequence[int], dtype: np.dtype, order: Sequence[int] | None = None
    ) -> FileArray:
        """A new file full of zeros."""
        try:
            with path.open("wb") as file:
                file.truncate(math.prod(shape) * np.dtype(dtype).itemsize)
        except OSError as error:
            raise WriteError(path, brief(error.strerror or str(error)), error.errno) from None
        return cls(path, shape, dtype, order=order, writable=True)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(self._file.shape[axis] for axis in self._axes)

    @property
    def dtype(self) -> np.dtype:
        """Of what is read."""
        return self._file.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._axes)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def transpose(self, axes: Sequence[int]) -> FileArray:
        """A view with the axes in another order."""
        return self._view(tuple(self._axes[axis] for axis in axes), self._fixed)

    def part(self, position: int) -> FileArray:
        """A view of one position on the first axis, not read yet."""
        first, *rest = self._axes
        return self._view(tuple(rest), {**self._fixed, first: range(self.shape[0])[position]})

    def _view(self, axes: tuple[int, ...], fixed: dict[int, int]) -> FileArray:
        view = object.__new__(FileArray)
        view._file, view._axes, view._fixed = self._file, axes, fixed
        return view

    def _asked(self, key: Any) -> tuple[dict[int, int], tuple[int, ...]]:
        """Positions on axes of the file, and the axes that are left over, as they are shown."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in [each for each in keys if each is Ellipsis]:
            at = next(k for k, each in enumerate(keys) if each is Ellipsis)
            fill = (slice(None),) * (self.ndim - len(keys) + 1)
            keys = (*keys[:at], *fill, *keys[at + 1 :])
        if len(keys) > self.ndim:
            raise IndexError(f"{len(keys)} indices for {self.ndim} axes")
        fixed, left = dict(self._fixed), []
        for k, axis in enumerate(self._axes):
            each = keys[k] if k < len(keys) else slice(None)
            if isinstance(each, int | np.integer):
                fixed[axis] = range(self.shape[k])[int(each)]
            elif each == slice(None):
                left.append(axis)
            else:
                raise IndexError(f"an array in a file is read in whole planes, got {each!r}")
        return fixed, tuple(left)

    def __getitem__(self, key: Any) -> np.ndarray:
        fixed, left = self._asked(key)
        found = self._file.read(fixed)
        return found.transpose([sorted(left).index(axis) for axis in left])

    def __setitem__(self, key: Any, values: Any) -> None:
        fixed, left = self._asked(key)
        shown = np.broadcast_to(np.asarray(values), tuple(self._file.shape[axis] for axis in left))
        self._file.write(fixed, shown.transpose(np.argsort(left)) if left else shown)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype=dtype)

    def slabs(self) -> Iterator[np.ndarray]:
        """All values once, in the order of the file, some megabytes at a time; what is fixed is left out."""
        free = [axis for axis in range(len(self._file.shape)) if axis not in self._fixed]
        lengths = [self._file.shape[axis] for axis in free]
        n_cut = next(
            k
            for k in range(len(free) + 1)
            if math.prod(lengths[k:]) * self.dtype.itemsize <= _READ_BYTES or k == len(free) - 1
        )
        for at in product(*(range(length) for length in lengths[:n_cut])):
            yield self._file.read({**self._fixed, **dict(zip(free[:n_cut], at, strict=True))})

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()


class _File:
    """The file of a `FileArray` and its views; axes are counted as they lie in it."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        stored: np.dtype,
        offset: int,
        scale: tuple[float, float] | None,
        dtype: np.dtype | None,
        block_bytes: int,
        writable: bool,
    ) -> None:
        self.writable = writable
        self.path, self.shape, self.stored, self.offset = path, shape, stored, offset
        self.scale, self.block_bytes = scale, block_bytes
        self.dtype = stored.newbyteorder("=") if dtype is None else dtype
        self._steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        self._block: tuple[Any, np.ndarray] | None = None
        self._handle: Any = None
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle, self._block = None, None

    def read(self, fixed: dict[int, int]) -> np.ndarray:
        """The values at some positions, over the other axes."""
        with self._lock:
            lead, start = self._leading(fixed)
            later = sorted(axis for axis in fixed if axis >= lead)
            if not later:
                return self._converted(self._values(start, self.shape[lead:]))
            axis = later[0]
            block, first = self._block_of(lead, start, axis, fixed[axis])
            rest = tuple(fixed.get(other, slice(None)) for other in range(axis + 1, len(self.shape)))
            index = (*(slice(None),) * (axis - lead), fixed[axis] - first, *rest)
            return self._converted(np.array(block[index]))

    def _leading(self, fixed: dict[int, int]) -> tuple[int, int]:
        """How many of the slowest axes are fixed, and the first value there."""
        lead = next((axis for axis in range(len(self.shape)) if axis not in fixed), len(self.shape))
        return lead, sum(fixed[axis] * self._steps[axis] for axis in range(lead))

    def _block_of(self, lead: int, start: int, axis: int, position: int) -> tuple[np.ndarray, int]:
        """Several positions on an axis at once, as they cost hardly more than one: those, and the first."""
        n_outer = math.prod(self.shape[lead:axis])
        one = n_outer * self._steps[axis] * self.stored.itemsize
        count = min(self.shape[axis], max(1, self.block_bytes // one))
        first = position // count * count
        last = min(first + count, self.shape[axis])
        key = (lead, start, axis, first)
        if self._block is None or self._block[0] != key:
            self._block = None
            self._block = (key, self._gathered(lead, start, axis, first, last))
        return self._block[1], first

    def _gathered(self, lead: int, start: int, axis: int, first: int, last: int) -> np.ndarray:
        inner, length = self._steps[axis], self.shape[axis]
        n_outer = math.prod(self.shape[lead:axis])
        found = np.empty((n_outer, last - first, inner), self.stored)
        row = length * inner
        if (last - first) * inner * self.stored.itemsize >= _SEEK_BYTES:
            for k in range(n_outer):
                found[k] = self._values(start + k * row + first * inner, (last - first, inner))
        else:
            rows = max(1, _READ_BYTES // (row * self.stored.itemsize))
            for k in range(0, n_outer, rows):
                n = min(rows, n_outer - k)
                found[k : k + n] = self._values(start + k * row, (n, length, inner))[:, first:last]
        return found.reshape((*self.shape[lead:axis], last - first, *self.shape[axis + 1 :]))

    def _values(self, start: int, shape: tuple[int, ...]) -> np.ndarray:
        found = np.empty(shape, self.stored)
        target = found.reshape(-1).view(np.uint8).data
        n_read = 0
        try:
            file = self._opened()
            file.seek(self.offset + start * self.stored.itemsize)
            while n_read < len(target) and (count := file.readinto(target[n_read:])):
                n_read += count
        except OSError as error:
            raise ReadError(self.path, f"cannot be read: {brief(error.strerror or str(error))}") from None
        if n_read < len(target):
            raise ReadError(self.path, "is truncated: voxels are missing; copy it again")
        return found

    def _converted(self, values: np.ndarray) -> np.ndarray:
        if self.scale is None:
            return values.astype(self.dtype, copy=False)
        slope, intercept = self.scale
        return (values.astype(np.float64) * slope + intercept).astype(self.dtype)

    def write(self, fixed: dict[int, int], values: np.ndarray) -> None:
        """Write values at some positions, over the other axes."""
        with self._lock:
            self._block = None
            left = [axis for axis in range(len(self.shape)) if axis not in fixed]
            # The axes at the end of which nothing is fixed lie in one piece.
            tail = max((axis + 1 for axis in fixed), default=0)
            outer = [axis for axis in left if axis < tail]
            try:
                file = self._opened()
                for at in product(*(range(self.shape[axis]) for axis in outer)):
                    place = {**fixed, **dict(zip(outer, at, strict=True))}
                    start = sum(position * self._steps[axis] for axis, position in place.items())
                    file.seek(self.offset + start * self.stored.itemsize)
                    piece = np.ascontiguousarray(values[at], self.stored).reshape(-1)
                    _write_all(file, piece.view(np.uint8).data)
            except OSError as error:
                reason = brief(error.strerror or str(error))
                raise WriteError(self.path, reason, error.errno) from None

    def _opened(self) -> Any:
        if self._handle is None:
            self._handle = self.path.open("r+b" if self.writable else "rb", buffering=0)
        return self._handle

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


def _write_all(file: Any, data: memoryview) -> None:
    done = 0
    while done < len(data):
        done += file.write(data[done:])
