"""What a study has worked out already: files that know what they were made from, each whole or not there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.io._atomic import atomic_path
from napari_refit.io.datasets import Case
from napari_refit.io.sidecar import file_checksum, plain
from napari_refit.recipe import digest

FORMAT = "napari-refit study 1"
"""Part of every key: what older programs kept in another way is made anew."""
_CHECKSUMS = "checksums.json"
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file of arrays may raise."""


@dataclass(frozen=True)
class Kept:
    """Arrays of one case, and what else is to be known of them."""

    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]


class Store:
    """The folder of a study's stages.

    A file is used again only if it was made from the same inputs and parameters: its key says so.

    Parameters
    ----------
    folder : Path
        Made when something is first written.
    fresh : bool
        Take nothing that was there before.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder = folder
        self.fresh = fresh
        self._made: set[Path] = set()
        self._checksums: dict[str, tuple[int, int, str]] | None = None
        self._new_checksums = False

    def path(self, *parts: str, suffix: str = ".npz") -> Path:
        """Where something lies; parts may hold any characters."""
        *folders, name = (file_name(part) for part in parts)
        return self.folder.joinpath(*folders, name + suffix)

    def has(self, path: Path, key: str) -> bool:
        """Whether what lies there was made from the same."""
        if self.fresh and path not in self._made:
            return False
        if path.suffix == ".json":
            return _json_key(path) == key
        try:
            with np.load(path, allow_pickle=False) as content:
                return bool(json.loads(str(content["facts"]))["key"] == key)
        except DAMAGED:
            return False

    def load(self, path: Path, key: str) -> Kept | None:
        """Arrays and facts, or None if they are not there, damaged, or were made from something else."""
        if not self.has(path, key):
            return None
        try:
            with np.load(path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files if name != "facts"}
                return Kept(arrays, json.loads(str(content["facts"])))
        except DAMAGED:
            return None

    def save(
        self,
        path: Path,
        key: str,
        arrays: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any] | None = None,
        *,
        compressed: bool = False,
    ) -> Kept:
        """Write arrays and facts.

        Raises
        ------
        WriteError
            If that is not possible.
        """
        facts = {**plain(facts or {}), "key": key}
        path.parent.mkdir(parents=True, exist_ok=True)
        write = np.savez_compressed if compressed else np.savez
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            write(file, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
        self._made.add(path)
        return Kept(arrays, facts)

    def load_json(self, path: Path, key: str) -> Any:
        """The content of a JSON file that `save_json` wrote under this key, or None."""
        if not self.has(path, key):
            return None
        return json.loads(path.read_text(encoding="utf-8"))["content"]

    def save_json(self, path: Path, key: str, content: Any, about: Mapping[str, Any] | None = None) -> None:
        """Write what JSON can say (NaN and infinity too), with what one may want to know of it.

        Raises
        ------
        WriteError
            If that is not possible.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {"key": key, **plain(about or {}), "content": content}, indent=1, ensure_ascii=False
        )
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        self._made.add(path)

    def forget(self, path: Path) -> None:
        """Remove a file or a folder of the stages."""
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def checksum(self, path: Path) -> str:
        """SHA-256 of a file; computed once as long as its size and time of change stay.

        Raises
        ------
        ReadError
            If it cannot be read.
        """
        known = self._known_checksums()
        try:
            found = path.stat()
            size, changed = found.st_size, found.st_mtime_ns
        except OSError:
            size, changed = -1, -1
        kept = known.get(str(path))
        if kept is not None and tuple(kept[:2]) == (size, changed):
            return kept[2]
        checksum = file_checksum(path)
        known[str(path)] = (size, changed, checksum)
        self._new_checksums = True
        return checksum

    def keep_checksums(self) -> None:
        """Write them down for the next time."""
        if not self._new_checksums or self._checksums is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.folder / _CHECKSUMS) as temporary:
            temporary.write_text(json.dumps(self._checksums), encoding="utf-8")
        self._new_checksums = False

    def _known_checksums(self) -> dict[str, tuple[int, int, str]]:
        if self._checksums is None:
            self._checksums = {}
            # A damaged or missing list costs time, nothing else.
            with suppress(OSError, ValueError):
                found = json.loads((self.folder / _CHECKSUMS).read_text(encoding="utf-8"))
                self._checksums = {
                    str(name): (int(item[0]), int(item[1]), str(item[2])) for name, item in found.items()
                }
        return self._checksums

    def images_key(self, case: Case, modalities: Iterable[str]) -> str:
        """What the grey values of a case are made from."""
        files = [case.images[name] for name in modalities if name in case.images]
        return make_key(
            "images", [(item.channel, [self.checksum(path) for path in item.paths]) for item in files]
        )

    def truth_key(self, case: Case) -> str:
        """What the reference mask of a case is made from."""
        if case.truth is None:
            return make_key("no truth", case.label)
        paths = [self.checksum(path) for path in case.truth.paths]
        return make_key("truth", case.truth.join, paths, case.label)


def make_key(*parts: object) -> str:
    """A short name of everything that something is made from.

    Examples
    --------
    >>> make_key("a", 1) == make_key("a", 1), make_key("a", 1) == make_key("a", 2)
    (True, False)
    """
    return digest(FORMAT, *parts)


def file_name(text: str) -> str:
    """A text as the name of a file; what file systems do not take is replaced, and texts stay distinct.

    Examples
    --------
    >>> file_name("benign (1)")
    'benign (1)'
    >>> file_name("site/7") != file_name("site_7")
    True
    """
    safe = re.sub(r"[^\w\-. ()+]", "_", text).strip(". ") or "_"
    if safe != text or len(safe) > 120:
        safe = f"{safe[:100]}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    return safe


def _json_key(path: Path) -> str | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["key"]) if isinstance(content, dict) and "content" in content else None
    except (OSError, ValueError, KeyError):
        return None
