"""Look at a dataset before any work: is everything there, readable, on one grid, labelled as said, and only once?"""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.errors import Cancelled
from napari_refit.io._guard import ReadWarning
from napari_refit.io.datasets.case import Case
from napari_refit.io.datasets.check_case import CaseFacts, check_case
from napari_refit.io.datasets.dataset import Dataset
from napari_refit.io.datasets.findings import SEVERITIES, Finding, Severity, ranked
from napari_refit.io.datasets.groups import ALIKE, alike_pairs, components
from napari_refit.io.datasets.listing import counted, shortened
from napari_refit.io.datasets.splits import Split, make_split, tied_cases


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes
    ----------
    dataset, title, root : str
        Which dataset.
    n_cases, n_slices : int
    labels : dict of str to int
        How many cases have which image-level label by their folder.
    positives : dict of str to int
        In how many slices or images each class is there, by the masks that can be used.
    findings : tuple of Finding
        The worst first.
    groups : dict of str to str
        Case to group: what is tied already, and near duplicates that were found.
    seconds : float
    """

    dataset: str
    title: str
    root: str
    n_cases: int
    n_slices: int
    labels: dict[str, int]
    positives: dict[str, int]
    findings: tuple[Finding, ...]
    groups: dict[str, str] = field(repr=False)
    seconds: float = 0.0

    def count(self, severity: str) -> int:
        """How many findings are of that severity."""
        return sum(item.severity == severity for item in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The same in what JSON can say."""
        return {
            "dataset": self.dataset,
            "title": self.title,
            "root": self.root,
            "n_cases": self.n_cases,
            "n_slices": self.n_slices,
            "labels": self.labels,
            "positives": self.positives,
            **{f"n_{severity}s": self.count(severity) for severity in SEVERITIES},
            "findings": [item.as_dict() for item in self.findings],
            "seconds": round(self.seconds, 3),
        }


def check_dataset(
    dataset: Dataset,
    split: Split | None = None,
    *,
    alike: float = ALIKE,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Report:
    """Read every file of a dataset and say what is wrong with it.

    Parameters
    ----------
    dataset : Dataset
        Its preparation is looked at too: does the crop fit, are the modalities there?
    split : Split, optional
        Duplicates are looked for across it, and whether it suits the dataset; the dataset's default split when
        left out.
    alike : float
        Pictures whose 32 x 32 thumbnails correlate by more than this are near duplicates.
    progress, cancelled : callable, optional
        ``progress(done, total, text)``; ``cancelled() -> bool``.

    Returns
    -------
    Report

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.
    """
    started = time.perf_counter()
    cases = dataset.cases
    facts: dict[str, CaseFacts] = {}
    # One recorder for all threads: the list of warnings is shared by the whole process.
    with warnings.catch_warnings(record=True) as heard, ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("always")
        try:
            for case, found in zip(
                cases, pool.map(lambda case: check_case(dataset, case), cases), strict=True
            ):
                if cancelled is not None and cancelled():
                    raise Cancelled
                facts[case.name] = found
                if progress is not None:
                    progress(len(facts), len(cases), f"checking {case.name}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for warning in heard:
        if not issubclass(warning.category, ReadWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    findings = [*dataset.findings, *(item for found in facts.values() for item in found.findings)]
    findings += _heard(heard, cases)
    findings += _unlabelled(dataset)
    chosen, problems = _split(dataset, split)
    findings += problems
    alikes = _alike(cases, facts, chosen, alike)
    findings += alikes.findings
    positives = [found.positives for found in facts.values() if found.positives is not None]
    sums = np.sum(positives, axis=0, dtype=int) if positives else np.zeros(len(dataset.class_names), int)
    return Report(
        dataset=dataset.declaration.name,
        title=dataset.declaration.title,
        root=str(dataset.root),
        n_cases=len(cases),
        n_slices=sum(found.n_slices for found in facts.values()),
        labels=dict(sorted(Counter(case.label for case in cases if case.label is not None).items())),
        positives=dict(zip(dataset.class_names, map(int, sums), strict=True)),
        findings=ranked(findings),
        groups=alikes.groups,
        seconds=time.perf_counter() - started,
    )


def _heard(heard: list[warnings.WarningMessage], cases: tuple[Case, ...]) -> list[Finding]:
    """What reading warned of, each once."""
    owners = {
        str(path): case.name for case in cases for files in case.images.values() for path in files.paths
    }
    owners |= {str(path): case.name for case in cases if case.truth for path in case.truth.paths}
    found = {}
    for warning in heard:
        if issubclass(warning.category, ReadWarning):
            path, _, text = str(warning.message).partition(": ")
            files = (Path(path),) if path in owners else ()
            message = text if files else str(warning.message)
            found[str(warning.message)] = Finding(
                "warning", "geometry", message, "look at it in napari", owners.get(path, ""), files
            )
    return list(found.values())


def _unlabelled(dataset: Dataset) -> list[Finding]:
    found = []
    masks = sum(case.truth is not None for case in dataset.cases)
    if not masks:
        message = "there are no masks: it can be trained on if it has image-level labels, not evaluated"
        found.append(Finding("note", "no masks", message))
    left_out = dataset.unlabelled
    if left_out and masks:
        message = (
            f"{counted(len(left_out), 'case')} with neither mask nor label left out: {shortened(left_out)}"
        )
        found.append(Finding("note", "no label", message))
    return found


def _split(dataset: Dataset, split: Split | None) -> tuple[Split | None, list[Finding]]:
    if split is not None:
        return split, split_findings(split, dataset.cases)
    try:
        return make_split(dataset.cases, dataset.default_split), []
    except ValueError as error:
        return None, [Finding("note", "split", str(error))]


def split_findings(split: Split, cases: tuple[Case, ...]) -> list[Finding]:
    """What is wrong with a split of these cases: patients or groups on two sides, cases that are missing."""
    findings = []
    names = {case.name for case in cases}
    tied = tied_cases(cases)
    for number, fold in enumerate(split.folds, start=1):
        sides = fold.sides
        unknown = sorted(sides.keys() - names)
        if unknown:
            message = f"fold {number} names {counted(len(unknown), 'case')} not in the dataset: {shortened(unknown)}"
            findings.append(Finding("error", "split", message, "make the split again"))
        left_out = [case.name for case in cases if case.name not in sides]
        if left_out:
            message = f"fold {number} leaves out {counted(len(left_out), 'case')}: {shortened(left_out)}"
            findings.append(Finding("warning", "split", message, "make the split again"))
        for part in tied:
            if len({sides[name] for name in part if name in sides}) > 1:
                message = f"fold {number} has one patient or group on two sides: {shortened(part)}"
                findings.append(Finding("error", "split", message, "make the split again", part[0]))
    tested = Counter(name for fold in split.folds for name in fold.test)
    twice = sorted(name for name, count in tested.items() if count > 1)
    if twice:
        message = f"{counted(len(twice), 'case')} tested in two folds: {shortened(twice)}"
        findings.append(Finding("error", "split", message, "make the split again"))
    return findings


@dataclass(frozen=True)
class _Alikes:
    findings: list[Finding]
    groups: dict[str, str]


def _alike(
    cases: tuple[Case, ...], facts: dict[str, CaseFacts], split: Split | None, threshold: float
) -> _Alikes:
    """Duplicates and near duplicates, within the dataset and across the split."""
    by_name = {case.name: case for case in cases}
    findings = []
    same = _same_pixels(facts)
    for first, others in same.items():
        for other in others:
            files = tuple(next(iter(by_name[name].images.values())).paths[0] for name in (first, other))
            across = _across(split, (first, other))
            labels = {by_name[name].label for name in (first, other)}
            message = f"{first} and {other} hold the same pixels"
            if across:
                message += f", {across}"
            if len(labels) > 1:
                message += f", and are labelled {' and '.join(sorted(map(str, labels)))}"
            severity: Severity = "error" if across or len(labels) > 1 else "warning"
            findings.append(Finding(severity, "duplicate", message, "keep one of them", first, files))
    tied = {name: number for number, part in enumerate(tied_cases(cases)) for name in part}
    thumbnails = {name: found.thumbnail for name, found in facts.items() if found.thumbnail is not None}
    pairs = alike_pairs(thumbnails, threshold)
    parts = [tuple(map(str, part)) for part in components(pairs, thumbnails) if len(part) > 1]
    n_kept = 0
    for part in parts:
        labels = {by_name[name].label for name in part}
        if len(labels) > 1:
            message = (
                f"{shortened(part)} look alike and are labelled {' and '.join(sorted(map(str, labels)))}"
            )
            advice = "look at them: one of the labels may be wrong"
            findings.append(Finding("warning", "contradiction", message, advice, part[0]))
        if len({tied[name] for name in part}) == 1:
            n_kept += 1
            continue
        across = _across(split, part)
        message = f"{shortened(part)} look alike (correlation above {threshold:g})"
        message += f", {across}" if across else ""
        advice = "put them in one group, so that no split parts them"
        findings.append(Finding("error" if across else "warning", "near duplicate", message, advice, part[0]))
    if n_kept:
        n_pictures = sum(len(part) for part in parts if len({tied[name] for name in part}) == 1)
        message = (
            f"{n_pictures} pictures look alike in {counted(n_kept, 'group')}, which splits keep together"
        )
        findings.append(Finding("note", "near duplicate", message))
    ties = [(part[0], name) for part in (*parts, *tied_cases(cases)) for name in part[1:]]
    ties += [(first, other) for first, others in same.items() for other in others]
    joined = [part for part in components(ties, by_name) if len(part) > 1]
    groups = {str(name): str(number) for number, part in enumerate(joined, start=1) for name in part}
    return _Alikes(findings, groups)


def _same_pixels(facts: dict[str, CaseFacts]) -> dict[str, list[str]]:
    """For the first of cases that share a modality's pixels: the others."""
    first: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for name, of_case in facts.items():
        for checksum in of_case.checksums.values():
            owner = first.setdefault(checksum, name)
            if owner != name and name not in found.get(owner, ()):
                found.setdefault(owner, []).append(name)
    return found


def _across(split: Split | None, names: tuple[str, ...]) -> str:
    """In which folds the cases are on two sides, in words; empty if in none."""
    parted = []
    for number, fold in enumerate(split.folds if split is not None else (), start=1):
        sides = fold.sides
        if len({sides[name] for name in names if name in sides}) > 1:
            parted.append(str(number))
    return f"on two sides of the split (fold {shortened(parted)})" if parted else ""
