"""Checks that come before anything is allocated."""

from __future__ import annotations

import gzip
import inspect
import os
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

from napari_refit.errors import ReadError, brief

# No stream of these kinds expands by more (zlib's technical notes; LZW's longest string over its code).
DEFLATE_LIMIT = 1032
LZW_LIMIT = 2600


class ReadWarning(UserWarning):
    """Something about a file that was read is unusual; the text names the file."""


def warn(text: str) -> None:
    """Warn in the name of the first caller outside this package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("napari_refit.io"):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, ReadWarning, stacklevel=level)


def human(n_bytes: int) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> human(1536), human(10**12)
    ('1.5 KiB', '931.3 GiB')
    """
    size = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def require_file(path: Path) -> int:
    """Return the size of a file in bytes; `ReadError` if there is none, it is no file, or it is empty."""
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise ReadError(path, "there is no such file; check the path") from None
    except IsADirectoryError:
        raise ReadError(path, "is a folder, not a file; give the file inside it") from None
    except UnicodeEncodeError:
        raise ReadError(path.name.encode("ascii", "replace").decode(), "has an unusable name") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ReadError(path, f"cannot be opened: {brief(str(reason))}") from None
    if size == 0:
        raise ReadError(path, "is empty; export or download it again")
    return size


def check_shape(path: Path, shape: tuple[int, ...]) -> None:
    """Raise `ReadError` unless there are at least two axes and none is empty."""
    if len(shape) < 2:
        raise ReadError(path, f"has {len(shape)} axes (shape {shape}); an image needs at least two")
    if any(length < 1 for length in shape):
        raise ReadError(path, f"an axis has no voxels (shape {shape}); export it again")


def memory_limit() -> int:
    """Return the bytes of memory that this machine (or this container) has."""
    import psutil

    limit = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):
        limit = min(limit, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return limit


def check_memory(path: Path, n_bytes: int) -> None:
    """Raise `ReadError` if an array of so many bytes cannot fit into this machine."""
    limit = memory_limit()
    if n_bytes > limit:
        raise ReadError(
            path,
            f"its header promises {human(n_bytes)} of voxels and this machine has {human(limit)} of memory; "
            "the header is damaged, or the volume must be cropped first",
        )


def check_stored(path: Path, promised: int, stored: int, expansion: int = 1) -> None:
    """Raise `ReadError` if ``stored`` bytes, expanded at most so often, cannot hold the ``promised`` bytes."""
    if promised <= stored * expansion:
        return
    if expansion > 1:
        what = f"no {human(stored)} of compressed data can hold"
    else:
        what = f"the file holds only {human(stored)} of"
    raise ReadError(
        path, f"is truncated or its header is damaged: {what} the {human(promised)} that its header promises"
    )


def check_gzip_complete(path: Path, promised: int, skip: int = 0) -> None:
    """Raise `ReadError` if a gzip stream is cut short or holds fewer bytes than promised.

    The length at the end of the stream answers for nearly every intact file; only if it differs is the
    stream run through, without keeping it.

    Parameters
    ----------
    path : Path
        The file.
    promised : int
        Bytes that the stream must hold.
    skip : int
        Bytes of the file before the stream.
    """
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        if int.from_bytes(file.read(4), "little") == promised % 2**32:
            return
        file.seek(skip)
        found = 0
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                while found < promised and (block := stream.read(1 << 20)):
                    found += len(block)
        except (OSError, EOFError, zlib.error) as error:
            raise ReadError(path, f"is damaged: {brief(error)}; copy or download it again") from None
    if found < promised:
        raise ReadError(
            path,
            f"is truncated: {human(promised)} are promised, {human(found)} are there; copy or download it again",
        )
