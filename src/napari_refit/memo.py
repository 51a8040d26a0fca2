"""How a stage keeps what it has prepared: intermediate results that outlive a slider's move."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol


class Memo(Protocol):
    """Looks up what was prepared under a key, or prepares and keeps it.

    The pipeline hands a stage a memo that belongs to its input (one plane, one intensity range) and to the
    stage's name; the key therefore names just the parameters that what is kept depends on. Values are arrays, or
    tuples and dataclasses of arrays; they are shared, so nobody may write to them.
    """

    def __call__(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what is kept under ``key``, or what ``compute()`` returns."""


def forgetful(key: Hashable, compute: Callable[[], Any]) -> Any:
    """A memo that keeps nothing.

    Examples
    --------
    >>> forgetful("key", lambda: 3)
    3
    """
    del key
    return compute()
