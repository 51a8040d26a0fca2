"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_refit.errors import WriteError, brief
from napari_refit.io.formats import split_name

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or save elsewhere",
    errno.EDQUOT: "the disk quota is used up; free some space or save elsewhere",
    errno.EFBIG: "the file is larger than is allowed here; save elsewhere",
    errno.EROFS: "the disk is read-only; save elsewhere",
    errno.EACCES: "writing here is not permitted; choose another folder",
    errno.EPERM: "writing here is not permitted; choose another folder",
    errno.ENOENT: "the folder does not exist; create it or choose another",
    errno.ENOTDIR: "the folder does not exist; create it or choose another",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary file beside ``path`` that takes its place when the block ends well.

    Parameters
    ----------
    path : Path
        The file to write.
    overwrite : bool
        Whether an existing file may be replaced.

    Yields
    ------
    Path
        An empty file in the same folder and with the same extension.

    Raises
    ------
    WriteError
        If anything fails; the temporary file is gone then and an existing file untouched.
    """
    temporary: Path | None = None
    try:
        target = Path(os.path.realpath(path))
        _check_target(path, target, overwrite)
        name = target.with_name(f".refit-{secrets.token_hex(6)}{split_name(target)[1]}")
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = name
        yield temporary
        _flush(temporary)
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        _check_target(path, target, overwrite)
        os.replace(temporary, target)
        temporary = None
        flush_folder(target.parent)
    except WriteError as error:
        raise WriteError(path, error.reason, error.errno) from None
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, brief(error.strerror or str(error)))
        raise WriteError(path, reason, error.errno) from error
    except MemoryError:
        raise
    except Exception as error:  # the libraries' own kinds
        raise WriteError(path, f"could not be written: {brief(error)}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _check_target(path: Path, target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise WriteError(path, "is a folder; give a file name")
    if target.exists():
        if not overwrite:
            raise WriteError(path, "exists already; choose another name or allow overwriting")
        if not os.access(target, os.W_OK):
            raise WriteError(path, "is read-only; choose another name")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make renames and removals in a folder last."""
    # Windows cannot open folders; there the rename is all that can be had.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
