"""The names of a folder's files, read once for all layouts to look at."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_refit.errors import ReadError, brief
from napari_refit.io.formats import READABLE, split_name

DEPTH = 4
MOST_FOLDERS = 20_000


@dataclass(frozen=True)
class Listing:
    """Names of files and folders below a folder.

    Attributes
    ----------
    root : Path
        The folder.
    file : Path or None
        The file that was asked for, where it was one; ``root`` is its folder then.
    folders : dict of Path to tuple of str
        Each folder, parents first, and the names of its files in natural order.
    """

    root: Path
    file: Path | None
    folders: dict[Path, tuple[str, ...]]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Listing:
        """List a folder four levels deep; hidden files and folders are left out.

        Raises
        ------
        ReadError
            If it is not there, cannot be read, or holds more folders than any dataset.
        """
        path = Path(os.path.abspath(path))
        if not path.exists():
            raise ReadError(path, "there is no such file or folder; check the path")
        file = None if path.is_dir() else path
        root = path if file is None else path.parent
        folders: dict[Path, tuple[str, ...]] = {}
        waiting = [(root, 0)]
        while waiting:
            folder, depth = waiting.pop(0)
            try:
                entries = [
                    entry for entry in os.scandir(folder) if not entry.name.startswith((".", "__MACOSX"))
                ]
            except OSError as error:
                raise ReadError(folder, f"cannot be listed: {brief(error.strerror or str(error))}") from None
            folders[folder] = tuple(sorted((entry.name for entry in entries if entry.is_file()), key=natural))
            if depth < DEPTH and (file is None or depth == 0):
                below = sorted((entry.name for entry in entries if entry.is_dir()), key=natural)
                waiting += [(folder / name, depth + 1) for name in below]
            if len(folders) + len(waiting) > MOST_FOLDERS:
                raise ReadError(
                    path, f"holds more than {MOST_FOLDERS} folders; give the dataset's own folder"
                )
        return cls(root, file, folders)

    def below(self, folder: Path) -> tuple[Path, ...]:
        """The folders right below a folder."""
        return tuple(other for other in self.folders if other.parent == folder and other != folder)

    def images(self, folder: Path) -> tuple[Path, ...]:
        """A folder's files of a readable format, DICOM left out."""
        return tuple(folder / name for name in self.folders.get(folder, ()) if is_image(name))

    def matches(self, pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
        """Every file whose name matches wholly."""
        for folder, names in self.folders.items():
            for name in names:
                match = pattern.fullmatch(name)
                if match is not None:
                    yield folder / name, match

    def summary(self) -> str:
        """What lies in the folder, in a few words."""
        names = self.folders[self.root]
        kinds: dict[str, int] = {}
        for name in names:
            kind = split_name(name)[1] or "no extension"
            kinds[kind] = kinds.get(kind, 0) + 1
        parts = []
        below = [folder.name for folder in self.below(self.root)]
        if below:
            parts.append(f"{counted(len(below), 'folder')} ({shortened(below)})")
        if names:
            parts.append(
                f"{counted(len(names), 'file')} ({shortened(f'{n} {kind}' for kind, n in kinds.items())})"
            )
        return " and ".join(parts) or "nothing"


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key that counts numbers as numbers.

    Examples
    --------
    >>> sorted(["a10", "a9", "B1"], key=natural)
    ['a9', 'a10', 'B1']
    """
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def is_image(name: str) -> bool:
    """Whether a file's name is that of a readable image (DICOM left out)."""
    extension = split_name(name)[1]
    return extension in READABLE and extension != ".dcm"


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    Examples
    --------
    >>> counted(1, "case"), counted(2, "case")
    ('1 case', '2 cases')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shortened(names: Iterable[str], most: int = 4) -> str:
    """A few names, and how many more there are.

    Examples
    --------
    >>> shortened("abcdef", 2)
    'a, b and 4 more'
    """
    names = list(names)
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
