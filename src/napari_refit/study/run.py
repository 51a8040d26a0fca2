"""A study from beginning to end: split, folds, results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_refit.io.datasets import Dataset, Split, SplitParams, make_split
from napari_refit.io.datasets.listing import counted
from napari_refit.io.datasets.splits import SIDES, Fold, tied_cases
from napari_refit.study.cases import only
from napari_refit.study.corrected import Corrected, as_corrected
from napari_refit.study.correcting import Corrections
from napari_refit.study.describing import describe_methods, machine, versions
from napari_refit.study.fold import WORK_ERRORS, FoldRun, progress_of, reason
from napari_refit.study.methods import Method
from napari_refit.study.pieces import Pieces
from napari_refit.study.results import Row, StudyResults
from napari_refit.study.scoring import TOLERANCE
from napari_refit.study.settings import Listener, StudySettings
from napari_refit.study.store import Store, make_key

STAGES = "stages"
SPLIT_FILE = "split.json"


class Study:
    """Methods on a dataset, each image tested once.

    Parameters
    ----------
    dataset : Dataset
        Prepared.
    settings : StudySettings
    out : Path
        The study's folder: stages are kept there and used again.
    split : Split or SplitParams, optional
        The dataset's default split when left out.
    fresh : bool
        Take nothing that was there before.
    listener : Listener, optional

    Raises
    ------
    ValueError
        If the split does not suit the dataset.

    Attributes
    ----------
    failed : dict of str to str
        After `run`: methods that could not be run, and why.
    broken : dict of str to str
        After `run`: cases that were left out, and why.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: StudySettings,
        out: Path,
        split: Split | SplitParams | None = None,
        *,
        fresh: bool = False,
        listener: Listener | None = None,
    ) -> None:
        kept = [case.name for case in dataset.cases if case.name not in settings.left_out]
        self.dataset = only(dataset, kept) if settings.left_out else dataset
        self.settings, self.out, self.listener = settings, out, listener or Listener()
        self.store = Store(out / STAGES, fresh)
        self.split = usable_split(self.dataset, split, settings.left_out)
        if not 0 <= settings.only_fold <= len(self.split.folds):
            raise ValueError(f"there is no fold {settings.only_fold}, the split has {len(self.split.folds)}")
        self.pieces = [
            Pieces(self.dataset, parts, number, settings, self.store)
            for number, parts in enumerate(self.split.folds, start=1)
        ]
        if not any(pieces.tested for pieces in self.pieces):
            known = sorted({case.label for case in self.dataset.cases if case.label is not None})
            wanted, there = " or ".join(settings.evaluate), ", ".join(known) or "none"
            raise ValueError(f"no test case is labelled {wanted}; the labels are: {there}")
        self.failed: dict[str, str] = {}
        self.broken: dict[str, str] = dict(settings.left_out)
        self.seconds: dict[str, float] = {}
        self._runs: dict[int, FoldRun] = {}
        self.fold_of = {name: pieces for pieces in self.pieces for name in pieces.tested}
        self._first_of = {name: part[0] for part in tied_cases(self.dataset.cases) for name in part}

    def plan(self) -> list[dict[str, Any]]:
        """What is there and what is lacking, by fold and method. Nothing is worked out.

        Returns
        -------
        list of dict
            ``fold``, ``method``, ``steps`` (name of the step to how many pieces are there, of how many), and ``error``:
            why it cannot be run, else None.
        """
        found = []
        for pieces in self._wanted():
            for method in self.settings.methods:
                item: dict[str, Any] = {
                    "fold": pieces.number,
                    "method": method.key,
                    "steps": {},
                    "error": None,
                }
                try:
                    item["steps"] = progress_of(pieces, method)
                except WORK_ERRORS as error:
                    item["error"] = reason(error)
                found.append(item)
        self.store.keep_checksums()
        return found

    def run(self) -> StudyResults:
        """Do what is lacking and put the results together.

        Raises
        ------
        Cancelled
            If asked to stop; what is done is kept, and the next run goes on from there.
        WriteError
            If a file cannot be written.
        """
        started = time.perf_counter()
        self.out.mkdir(parents=True, exist_ok=True)
        self.split.save(self.out / SPLIT_FILE)
        try:
            for pieces in self._wanted():
                run = FoldRun(pieces, self.settings.methods, self.listener)
                self._runs[pieces.number] = run
                run.run()
                self.failed.update(run.failed)
                self.broken.update(run.broken)
                for step, tally in run.tallies.items():
                    name = f"fold {pieces.number}: {step}"
                    self.seconds[name] = round(tally.seconds, 3)
        finally:
            self.store.keep_checksums()
        self.seconds["all"] = round(time.perf_counter() - started, 3)
        return self.results()

    def counts(self) -> dict[str, int]:
        """How many pieces were used again and how many were made, over all steps of `run`."""
        tallies = [tally for run in self._runs.values() for tally in run.tallies.values()]
        return {
            "reused": sum(tally.reused for tally in tallies),
            "made": sum(tally.made for tally in tallies),
        }

    def results(self) -> StudyResults:
        """The results of every fold that is done."""
        rows: list[Row] = []
        missing: list[int] = []
        for pieces in self.pieces:
            found = self._rows(pieces)
            if found is None:
                missing.append(pieces.number)
            rows += found or []
        declaration = self.dataset.declaration
        corrected, uncorrected = self._corrected(missing)
        there = {row.method for row in rows}
        tested = {row.place for row in rows if row.level == "image"}
        notes = [*self._notes(missing), *uncorrected]
        return StudyResults(
            dataset=declaration.name,
            title=declaration.title,
            rows=rows,
            methods=describe_methods(self, [m for m in self.settings.methods if m.key in there]),
            root=self.dataset.root.name,
            preparation=self.settings.preparation,
            counts={
                "cases": len(self.dataset.cases),
                "patients": len(tied_cases(self.dataset.cases)),
                "tested cases": len({row.case for row in rows}),
                "tested images": len(tested),
                "classes": ", ".join(self.dataset.class_names),
            },
            licence=declaration.licence,
            citation=declaration.citation,
            url=declaration.url,
            split=self._split_facts(),
            left_out=self._left_out(),
            versions=versions(),
            machine=machine(self.settings.device),
            seconds=self.seconds,
            notes=tuple(notes),
            tolerance=TOLERANCE,
            corrected=corrected,
            wanted=self.settings.user.wanted,
        )

    def _wanted(self) -> list[Pieces]:
        only_fold = self.settings.only_fold
        return [p for p in self.pieces if p.tested and only_fold in (0, p.number)]

    def _rows(self, pieces: Pieces) -> list[Row] | None:
        """The rows of a fold; None if it is not done."""
        run = self._runs.get(pieces.number)
        if not pieces.tested:
            return []
        failed, broken = (run.failed, run.broken) if run is not None else ({}, {})
        rows: list[Row] = []
        for method in self.settings.methods:
            if method.key in failed:
                continue
            for name in pieces.tested:
                if name in broken:
                    continue
                try:
                    found = pieces.scores(method, name)
                except (OSError, ValueError):
                    found = None
                if found is None:
                    return None
                about = self._about(pieces, method, name)
                rows += [Row(**about, **row) for row in found]
        return rows

    def _corrected(self, missing: Sequence[int]) -> tuple[list[Corrected], list[str]]:
        """What corrections came to, of every fold that is done, and what is to be said of those not there."""
        rows: list[Corrected] = []
        notes = []
        for method in self.settings.corrected:
            lacking = 0
            for pieces in self.pieces:
                if pieces.number in missing or method.key in self.failed:
                    continue
                for name in pieces.tested:
                    if name in self.broken:
                        continue
                    try:
                        found = Corrections(pieces).rows(method, name)
                    except (OSError, ValueError):
                        found = None
                    lacking += found is None
                    about = self._about(pieces, method, name)
                    rows += [as_corrected(row, **about) for row in found or ()]
            if lacking:
                notes.append(
                    f"{counted(lacking, 'case')} of {method.key} not corrected yet, and not in those tables."
                )
        return rows, notes

    def _about(self, pieces: Pieces, method: Method, name: str) -> dict[str, Any]:
        """Whose row it is."""
        return {
            "dataset": self.dataset.declaration.name,
            "fold": pieces.number,
            "method": method.key,
            "case": name,
            "patient": self.dataset.case(self._first_of[name]).patient,
        }

    def _left_out(self) -> dict[str, int]:
        found = Counter[str]()
        if self.broken:
            found["cases, for what is in the notes"] = len(self.broken)
        for pieces in self.pieces:
            for method in self.settings.methods:
                if method.kind == "fsss" and method.key not in self.failed and pieces.number in self._runs:
                    content = pieces.fsss_training(method).content()
                    for why, count in (content.get("left_out") or {}).items():
                        found[f"training images of {method.key}: {why}"] += count
        return dict(found)

    def _notes(self, missing: list[int]) -> list[str]:
        settings, notes = self.settings, [*self.settings.notes]
        if settings.gate == "label":
            notes.append(
                "The image-level label was taken as known at test time: what it does not name is not marked."
            )
        if settings.model is not None:
            notes.append(
                f"The classifier came from outside ({Path(settings.model).name}): it may have seen the test images."
            )
        if settings.evaluate:
            notes.append(f"Only images labelled {', '.join(settings.evaluate)} were tested.")
        if settings.limit:
            notes.append(f"A trial on at most {settings.limit} cases per fold.")
        if missing:
            folds = ", ".join(map(str, missing))
            notes.append(
                f"Of {len(self.split.folds)} folds these are not done, and not in the tables: {folds}."
            )
        for name, why in self.broken.items():
            notes.append(f"Left out: {name}: {why}")
        notes += [f"{key} could not be run: {why}" for key, why in self.failed.items()]
        return notes

    def _split_facts(self) -> dict[str, Any]:
        params, patients = self.split.params, tied_cases(self.dataset.cases)
        side = {name: number for number, part in enumerate(patients) for name in part}
        facts: dict[str, Any] = {
            "folds": len(self.split.folds),
            **params.model_dump(mode="json", include={"method", "seed", "validation_fraction"}),
            "key": make_key([(fold.train, fold.validation, fold.test) for fold in self.split.folds]),
        }
        for number, fold in enumerate(self.split.folds, start=1):
            facts[f"patients in fold {number}"] = {
                part: len({side[name] for name in getattr(fold, part)}) for part in SIDES
            }
        return facts


def usable_split(
    dataset: Dataset, split: Split | SplitParams | None, left_out: Mapping[str, str] | None = None
) -> Split:
    """A split of a dataset's cases in which every case is tested once at most.

    Parameters
    ----------
    dataset : Dataset
    split : Split or SplitParams, optional
        The dataset's default split when left out. Its cases must all be there, but for those left out.
    left_out : mapping of str to str, optional
        Cases that are not used.

    Raises
    ------
    ValueError
        With the case that is unknown, tested twice, or has its patient on two sides.
    """
    if not isinstance(split, Split):
        name = dataset.declaration.name
        return make_split(dataset.cases, split or dataset.default_split, dataset=name)
    left_out = left_out or {}
    folds = [
        Fold(*(tuple(n for n in getattr(fold, side) if n not in left_out) for side in SIDES))
        for fold in split.folds
    ]
    known = {case.name for case in dataset.cases}
    named = [name for fold in folds for name in fold.sides]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise ValueError(f"the split has a case {unknown[0]!r}, which {dataset.root} has not")
    twice = [
        name for name, count in Counter(name for fold in folds for name in fold.test).items() if count > 1
    ]
    if twice:
        raise ValueError(f"the split tests {twice[0]!r} twice; each image is to be tested once")
    for number, fold in enumerate(folds, start=1):
        sides = fold.sides
        for part in tied_cases(dataset.cases):
            found = {sides[name] for name in part if name in sides}
            if len(found) > 1:
                both = ", ".join(name for name in part if name in sides)
                raise ValueError(
                    f"fold {number} has {both} on different sides; they are of one patient or one group"
                )
    return Split(split.dataset, split.params, tuple(folds))
