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
    number : int, optional
        The system's number of the error (``errno``).
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, number: int | None = None) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path = os.fspath(path)
        self.reason = reason
        self.errno = number


class Cancelled(Exception):
    """Raised inside a job when its ``cancelled()`` callback answers True."""


def one_line(error: BaseException | str) -> str:
    """What an error says, on one line; its kind where it says nothing.

    Examples
    --------
    >>> one_line(ValueError("no image\\n  in this folder")), one_line(KeyError())
    ('no image in this folder', 'KeyError')
    """
    return " ".join(str(error).split()) or type(error).__name__


def naming(error: BaseException | str, path: object) -> str:
    """As `one_line`, with the file that it is about, unless that is in it.

    Examples
    --------
    >>> naming("is empty", "a.nii"), naming("a.nii: is empty", "a.nii")
    ('a.nii: is empty', 'a.nii: is empty')
    """
    text = one_line(error)
    return text if str(path) in text else f"{path}: {text}"


def brief(error: BaseException | str) -> str:
    """As `one_line`, at most 200 characters: for what other libraries say inside an error of ours.

    Examples
    --------
    >>> len(brief("a long story " * 40))
    200
    """
    text = one_line(error)
    return text if len(text) <= 200 else text[:199] + "…"
