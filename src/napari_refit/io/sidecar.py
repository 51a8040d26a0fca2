"""The report that lies beside a labels file: what made it, and from what."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.errors import ReadError, brief
from napari_refit.io._atomic import atomic_path
from napari_refit.io.formats import split_name

_VOXELS = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file\s*:)\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_LONGEST_HEADER = 1 << 20


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """Return where the report of a labels file lies.

    Examples
    --------
    >>> sidecar_path("out/refined.nii.gz").name
    'refined.refit.json'
    """
    return Path(path).with_name(split_name(path)[0] + ".refit.json")


def write_sidecar(path: str | os.PathLike[str], report: Mapping[str, Any]) -> Path:
    """Write a report beside a labels file, whole or not at all.

    Parameters
    ----------
    path : path-like
        The labels file.
    report : mapping
        Anything made of mappings, sequences, numbers (NumPy's too), text, paths and None. NaN and infinity,
        which JSON lacks, become null.

    Returns
    -------
    Path
        ``<name>.refit.json``.

    Raises
    ------
    WriteError
        If it cannot be written.
    TypeError
        If the report holds something else.
    """
    target = sidecar_path(path)
    text = json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def file_checksum(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, or of a folder's files and their names.

    A header whose voxels lie in another file (``.mhd``, ``.nhdr``) counts with that file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    str
        ``"sha256:"`` and 64 hexadecimal digits.

    Raises
    ------
    ReadError
        If it cannot be read.
    """
    path = Path(path)
    digest = hashlib.sha256()
    try:
        if not path.exists() and "#" in path.name:
            path = Path(str(path).rpartition("#")[0])
        if not path.is_dir():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256")
            voxels = _voxels_of(path)
            if voxels is not None:
                with voxels.open("rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
            return f"sha256:{found.hexdigest()}"
        for file_path in sorted(entry for entry in path.iterdir() if entry.is_file()):
            with file_path.open("rb") as file:
                digest.update(file_path.name.encode("utf-8", "surrogateescape") + b"\0")
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except FileNotFoundError:
        raise ReadError(path, "there is no such file; check the path") from None
    except OSError as error:
        raise ReadError(path, f"cannot be read: {brief(error.strerror or str(error))}") from None
    return f"sha256:{digest.hexdigest()}"


def _voxels_of(path: Path) -> Path | None:
    """The file that a detached header names, if it is there."""
    if split_name(path)[1] not in (".mhd", ".nhdr"):
        return None
    match = _VOXELS.search(path.read_bytes()[:_LONGEST_HEADER])
    if match is None:
        return None
    named = path.parent / os.fsdecode(match[1])
    return named if named.is_file() else None


def plain(value: Any) -> Any:
    """Return the same value in what JSON can say: NaN and infinity become null, NumPy's numbers plain ones.

    Examples
    --------
    >>> plain({"dice": float("nan"), "n": np.int64(3), "names": ("a",)})
    {'dice': None, 'n': 3, 'names': ['a']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
