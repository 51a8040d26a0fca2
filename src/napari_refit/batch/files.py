"""The folder that a batch writes to: one batch at a time, no leftovers, and never another folder by mistake."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from napari_refit.errors import WriteError, brief

TEMPORARY = re.compile(r"\.refit-[0-9a-f]{12}(\..*)?")
"""What `napari_refit.io._atomic` calls files that are not whole yet."""


@dataclass(frozen=True)
class OutputFolder:
    """A folder that must stay the one it was: a lost network disk leaves an empty folder of the same name.

    Attributes
    ----------
    path : Path
    identity : tuple of int or None
        Device and number; None where another machine looks at it.
    """

    path: Path
    identity: tuple[int, int] | None = None

    @classmethod
    def make(cls, path: Path) -> OutputFolder:
        """Make the folder, or take the one that is there.

        Raises
        ------
        WriteError
            If it cannot be made or written to.
        """
        path = Path(path).absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
            found = path.stat()
        except OSError as error:
            raise WriteError(
                path, f"cannot make the folder ({brief(error.strerror or str(error))})"
            ) from None
        if not os.access(path, os.W_OK):
            raise WriteError(path, "writing here is not permitted; choose another folder")
        return cls(path, (found.st_dev, found.st_ino))

    def elsewhere(self) -> OutputFolder:
        """The same as other machines see it."""
        return OutputFolder(self.path)

    def check(self) -> None:
        """Check that the folder is still there.

        Raises
        ------
        WriteError
            If it is gone, or another one lies in its place.
        """
        with suppress(OSError):
            found = self.path.stat()
            if self.identity in (None, (found.st_dev, found.st_ino)):
                return
        raise WriteError(self.path, "the output folder is gone; bring it back and start again")

    def make_parent(self, target: Path) -> None:
        """Make the folder of a file within.

        Raises
        ------
        WriteError
            If it cannot be made, or the output folder is gone.
        """
        self.check()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot make the folder ({brief(error.strerror or str(error))})"
            raise WriteError(target.parent, reason, error.errno) from None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other batches out while the block runs; the system lets go when the process ends, however it ends.

        Raises
        ------
        WriteError
            If another batch is writing there.
        """
        handle = _locked(self.path)
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def remove_leftovers(self) -> int:
        """Remove what a broken run left unfinished; the number of files."""
        removed = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                if TEMPORARY.fullmatch(name):
                    with suppress(OSError):
                        os.unlink(os.path.join(folder, name))
                        removed += 1
        return removed


def _locked(path: Path) -> int | None:
    try:
        import fcntl
    except ImportError:  # Windows cannot lock folders
        return None
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise WriteError(
            path, "another batch is writing here; wait for it, or choose another folder"
        ) from None
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    return handle
