"""Which images a batch works on: those of a folder, a pattern, a CSV file or a BIDS dataset."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from napari_refit.errors import ReadError
from napari_refit.io.formats import DICOM, READABLE, split_name
from napari_refit.io.sidecar import sidecar_path

Layout = Literal["auto", "files", "csv", "bids"]


@dataclass(frozen=True)
class Case:
    """One image to refine.

    Attributes
    ----------
    name : str
        Unique; the path below the input's folder without suffix, "/" between the parts.
    image, output : Path
        What to read, and where the refined labels go; their sidecar lies beside them.
    truth, response : Path or None
        A reference mask to score against; a response map instead of the classifier.
    classes : tuple of str
        Target classes, instead of those of the parameters.
    """

    name: str
    image: Path
    output: Path
    truth: Path | None = None
    response: Path | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file; it is left out, or will fail.

    Attributes
    ----------
    case : str
        Name of the case, or what comes nearest to one.
    path : Path
    text : str
        What is wrong and what to do, in one line.
    """

    case: str
    path: Path
    text: str

    def __str__(self) -> str:
        path = str(self.path)
        return self.text if path in self.text else f"{path}: {self.text}"


@dataclass(frozen=True)
class Found:
    """An image that a reader found, before its output is known."""

    image: Path
    root: Path
    truth: Path | None = None
    response: Path | None = None
    classes: tuple[str, ...] = ()
    below: PurePosixPath | None = None
    """Where the labels go below the output folder, where the layout says so."""


def find_cases(
    inputs: Sequence[str | Path], out: Path, *, layout: Layout = "auto"
) -> tuple[list[Case], list[Problem]]:
    """Find the images to refine and where their results go.

    Parameters
    ----------
    inputs : sequence of path or str
        Files, folders (searched with all within), patterns such as ``"scans/**/*.nii.gz"``, CSV files with the column
        ``image`` and, where wanted, ``truth``, ``response`` and ``class`` (paths count from the table's folder), or
        BIDS datasets.
    out : Path
        Folder of the results; the inputs' tree is mirrored there. What lies in it is no input, nor is a result that
        lies elsewhere.
    layout : {"auto", "files", "csv", "bids"}
        How the inputs are read; auto: each by what it is.

    Returns
    -------
    cases : list of Case
        In the order of the inputs, within a folder by name.
    problems : list of Problem
        What was asked for and cannot be: inputs that are not there, folders without images, two images that would
        write the same file.

    Raises
    ------
    ReadError
        If a table cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "a").mkdir()
    ...     _ = (Path(folder) / "a" / "scan.nii.gz").write_bytes(b"")
    ...     cases, problems = find_cases([folder], Path("results"))
    >>> cases[0].name, cases[0].output.as_posix(), problems
    ('a/scan', 'results/a/scan_refined.nii.gz', [])
    """
    from napari_refit.batch import bids, table

    out = Path(out)
    found: list[Found] = []
    problems: list[Problem] = []
    for given in inputs:
        path = Path(given)
        if layout == "csv" or (layout == "auto" and path.suffix.lower() == ".csv" and not path.is_dir()):
            new = table.read_cases(path)
        elif layout == "bids" or (layout == "auto" and bids.is_dataset(path)):
            new = [item for one in _expanded(path) for item in bids.read_cases(one)]
        else:
            new = _files(path, out)
        problems += [item for item in new if isinstance(item, Problem)]
        found += [item for item in new if isinstance(item, Found)]
    cases, clashes = _with_outputs(found, out)
    return cases, problems + clashes


def _with_outputs(found: Sequence[Found], out: Path) -> tuple[list[Case], list[Problem]]:
    from napari_refit.refining import output_path

    common = _common([item.root for item in found])
    cases: dict[str, Case] = {}
    outputs: dict[Path, Case] = {}
    problems: list[Problem] = []
    for item in found:
        inside = _below(item.image, common)
        folder, base = inside.parent, split_name(item.image)[0] if not item.image.is_dir() else inside.name
        name = (folder / base).as_posix()
        target = out / item.below if item.below else output_path(item.image, out / folder)
        case = Case(name, item.image, target, item.truth, item.response, item.classes)
        before = cases.get(name) or outputs.get(sidecar_path(target))
        if before == case:
            continue
        if before is not None:
            other = f"{before.image} gives a result of the same name"
            if before.image == item.image:
                other = "it is named before with another truth, response or class"
            problems.append(
                Problem(name, item.image, f"{other}; rename one, or refine it in a run of its own")
            )
            continue
        cases[name] = outputs[sidecar_path(target)] = case
    return list(cases.values()), problems


def _common(roots: Sequence[Path]) -> Path:
    """The folder that all inputs lie in: what is below it is mirrored."""
    folders = [os.path.abspath(root) for root in roots] or [os.path.abspath(".")]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # different drives
        return Path(folders[0])


def _below(path: Path, root: Path) -> PurePosixPath:
    whole = Path(os.path.abspath(path))
    if whole == root:
        return PurePosixPath(whole.name)
    return PurePosixPath(
        (whole.relative_to(root) if whole.is_relative_to(root) else Path(whole.name)).as_posix()
    )


def _files(path: Path, out: Path) -> list[Found | Problem]:
    try:
        there, is_folder = os.path.lexists(path), path.is_dir()
    except ValueError:  # a null byte
        there = is_folder = False
    if is_folder:
        if _is_dicom_series(path):
            return [Found(path, path.absolute().parent)]
        images: list[Found | Problem] = [Found(image, path) for image in images_below(path, out)]
        kinds = f"{' '.join(READABLE)}, DICOM folders"
        return images or [Problem(path.name, path, f"holds no image that can be read ({kinds})")]
    if not there and glob.has_magic(str(path)):
        return _pattern(path, out)
    # One that is not there is a case as well: its line in the report says so.
    return [Found(path, path.absolute().parent)]


def _pattern(path: Path, out: Path) -> list[Found | Problem]:
    fixed = Path(*_before_magic(path.parts))
    skipped = out.absolute()
    found: list[Found | Problem] = []
    for match in sorted(glob.glob(str(path), recursive=True)):
        image = Path(match)
        if image.absolute().is_relative_to(skipped):
            continue
        if image.is_dir():
            if _is_dicom_series(image):
                found.append(Found(image, fixed))
            elif path.name != "**":
                found += [Found(each, fixed) for each in images_below(image, out)]
        elif _is_image(image):
            found.append(Found(image, fixed))
    return found or [Problem(path.name, path, "matches no image; check the pattern")]


def _expanded(path: Path) -> list[Path]:
    """What a pattern matches; a path that is none, or is there, stands for itself."""
    if not os.path.lexists(path) and glob.has_magic(str(path)):
        return [Path(match) for match in sorted(glob.glob(str(path), recursive=True))] or [path]
    return [path]


def _before_magic(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def images_below(folder: Path, out: Path) -> Iterator[Path]:
    """Every image in a folder and those within it, by name; what is hidden, a result or below ``out`` is left out."""
    skipped = out.absolute()
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        path = Path(folder) / entry.name
        if entry.name.startswith(".") or path.absolute() == skipped:
            continue
        if entry.is_dir():
            if _is_dicom_series(path):
                yield path
            else:
                yield from images_below(path, out)
        elif _is_image(path):
            yield path


def _is_image(path: Path) -> bool:
    extension = split_name(path)[1]
    if path.name.startswith(".") or extension not in READABLE or extension in DICOM:
        return False
    return not sidecar_path(path).exists()


def _is_dicom_series(folder: Path) -> bool:
    """Whether a folder holds slices: it is one image."""
    try:
        return any(
            entry.name.lower().endswith(DICOM) and not entry.name.startswith(".") and entry.is_file()
            for entry in os.scandir(folder)
        )
    except OSError as error:
        raise ReadError(folder, f"cannot be looked into ({error.strerror})") from None
