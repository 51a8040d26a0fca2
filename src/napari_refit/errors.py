"""Errors that users see."""

from __future__ import annotations

import os


class ReadError(OSError):
    """A file could not be read.

    Parameters
    ----------
    path : path-like
        The file.
    reason : str
        What is wrong with it and what to do.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path = os.fspath(path)
        self.reason = reason


class WriteError(OSError):
    """A file could not be written; whatever was there before is untouched.

    Parameters
    ----------
    path : path-like
        The file.
    reason : str
        What is wrong and what to do.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path = os.fspath(path)
        self.reason = reason


class Cancelled(Exception):
    """Raised inside a job when its ``cancelled()`` callback answers True."""
