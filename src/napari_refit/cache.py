"""A cache of stage results that never holds more than its byte budget."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, is_dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.memo import Memo

MOST_PREPARED = 8


@dataclass(frozen=True)
class _Prepared:
    """What a stage has prepared for one input, the latest last."""

    scope: Hashable
    values: dict[Hashable, Any] = field(default_factory=dict)


class StageCache:
    """Least recently used results are dropped first; safe to use from several threads.

    Parameters
    ----------
    budget : int
        Bytes of array data to hold at most. A result larger than the budget is not kept.

    Examples
    --------
    >>> cache = StageCache(budget=100)
    >>> cache.put("a", np.zeros(80, np.uint8)); cache.put("b", np.zeros(80, np.uint8))
    >>> cache.get("a") is None, cache.n_bytes
    (True, 80)
    """

    def __init__(self, budget: int) -> None:
        if budget < 0:
            raise ValueError(f"cache budget must be 0 or more bytes, got {budget}")
        self.budget = budget
        self.n_bytes = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Any:
        """The result of that key, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a result, dropping others where the budget asks for it."""
        size = array_bytes(value)
        with self._lock:
            if key in self._entries:
                self.n_bytes -= self._entries.pop(key)[1]
            if size > self.budget:
                return
            self._entries[key] = (value, size)
            self.n_bytes += size
            while self.n_bytes > self.budget:
                _, (_, dropped) = self._entries.popitem(last=False)
                self.n_bytes -= dropped

    def memo(self, place: Hashable, scope: Hashable) -> Memo:
        """A memo for a stage at work on one input.

        Parameters
        ----------
        place : hashable
            Names the stage and the plane. What is kept there belongs to one scope at a time.
        scope : hashable
            Everything that what is prepared depends on, but for the stage's own parameters.
        """

        def recall(key: Hashable, compute: Callable[[], Any]) -> Any:
            values = self._prepared(place, scope)
            if key in values:
                # The latest used is dropped last.
                values[key] = values.pop(key)
                return values[key]
            found = compute()
            # Read again: what was computed may have kept something here itself.
            values = {**self._prepared(place, scope), key: found}
            for oldest in list(values)[:-MOST_PREPARED]:
                del values[oldest]
            self.put(place, _Prepared(scope, values))
            return found

        return recall

    def _prepared(self, place: Hashable, scope: Hashable) -> dict[Hashable, Any]:
        kept = self.get(place)
        return kept.values if kept is not None and kept.scope == scope else {}

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self.n_bytes = 0


def array_bytes(value: Any) -> int:
    """Bytes of the arrays that a result holds (dataclasses, tuples, lists and dicts are looked into)."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, dict):
        return sum(array_bytes(item) for item in value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return sum(array_bytes(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple | list):
        return sum(array_bytes(item) for item in value)
    return 0


def content(values: NDArray[Any] | None) -> bytes:
    """A short name of an array's content, for cache keys."""
    if values is None:
        return b""
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).digest()
