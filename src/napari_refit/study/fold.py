"""One fold of a study, step by step. What goes wrong with one case or one method does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari_refit.errors import ReadError, WriteError
from napari_refit.study.correcting import Corrections
from napari_refit.study.methods import Method
from napari_refit.study.opened import Opened
from napari_refit.study.pieces import OUTSIDE, Pieces
from napari_refit.study.settings import Listener
from napari_refit.study.training import Stage

WORK_ERRORS = (
    OSError,
    ValueError,
    ImportError,
    MemoryError,
    RuntimeError,
    ArithmeticError,
)
ENOUGH = 3
"""A method that fails on so many cases before it has worked on any is given up."""


@dataclass
class Tally:
    """How many pieces of a step were there already, and how many were made."""

    reused: int = 0
    made: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        made = [f"{self.made} made in {self.seconds:.1f} s"] if self.made else []
        return ", ".join([*made, *([f"{self.reused} reused"] if self.reused or not made else [])])


class FoldRun:
    """The work of one fold.

    Parameters
    ----------
    pieces : Pieces
    methods : sequence of Method
    listener : Listener

    Attributes
    ----------
    failed : dict of str to str
        Methods that could not be run, and why.
    broken : dict of str to str
        Cases that are left out for all methods, and why.
    tallies : dict of str to Tally
        By step.
    """

    def __init__(self, pieces: Pieces, methods: Sequence[Method], listener: Listener) -> None:
        self.pieces, self.methods, self.listener = pieces, methods, listener
        self.corrections = Corrections(pieces)
        self.failed: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.tallies: dict[str, Tally] = {}
        self._worked: set[str] = set()
        self._trouble: dict[str, dict[str, str]] = {}

    def run(self) -> None:
        """Do whatever is not there yet.

        Raises
        ------
        Cancelled
            If asked to stop. Everything that is done is kept.
        """
        self.prepare()
        self.choose()
        self.mask()
        self.score()
        self.correct()

    def prepare(self) -> None:
        """Train what is lacking: first what response maps come from, then what is trained on their masks."""
        for learner in dict.fromkeys(method.learner for method in self.methods if method.learner):
            needed = [method for method in self.methods if method.learner == learner]
            self._train(needed, partial(self._learn, learner))
        for method in self._working():
            if method.kind == "fsss":
                self._train([method], partial(self._learn_fsss, method))

    def _learn(self, learner: str) -> None:
        if self.pieces.source(learner) != OUTSIDE:
            self._ensure(self.pieces.training(learner))
        # Loaded here, so that a file that does not fit is not blamed on a case.
        _ = self.pieces.responder(learner).classifier

    def _learn_fsss(self, method: Method) -> None:
        self._ensure(self.pieces.fsss_training(method))
        _ = self.pieces.network(method)

    def _ensure(self, stage: Stage) -> None:
        start, tally = time.perf_counter(), Tally()
        self.tallies[f"training of {stage.name}"] = tally
        if stage.there():
            tally.reused += 1
        else:
            stage.run(self.listener)
            tally.made += 1
            tally.seconds += time.perf_counter() - start
        self._tell(f"training of {stage.name}: {tally}")

    def _train(self, needed: Sequence[Method], train: Callable[[], None]) -> None:
        try:
            train()
        except WriteError:
            raise
        except WORK_ERRORS as error:
            for method in needed:
                self._fail(method, error)

    def choose(self) -> None:
        """Choose thresholds on the training and validation cases."""
        tuned, pieces = [method for method in self._working() if method.tuned], self.pieces
        if not tuned:
            return
        self._each(
            "thresholds",
            pieces.chosen_on,
            tuned,
            pieces.has_table,
            pieces.table,
            lambda name: Opened(pieces.learning, name),
        )
        for method in self._working(tuned):
            try:
                found = pieces.threshold(method, frozenset(self.broken))
            except WORK_ERRORS as error:
                self._fail(method, error)
                continue
            self._tell(
                f"{method.key}: threshold {found['threshold']:.2f}, mean Dice {found['dice']:.3f} on "
                f"{found['images']} training and validation images"
            )

    def mask(self) -> None:
        """Make the masks of the test cases; their reference masks cannot be seen from here."""
        pieces = self.pieces
        methods = [method for method in self._working() if method.kind != "blank"]
        self._each(
            "masks",
            pieces.tested,
            methods,
            pieces.has_mask,
            pieces.mask,
            lambda name: Opened(pieces.testing, name),
        )

    def score(self) -> None:
        """Hold the masks against the reference masks."""
        pieces = self.pieces
        self._each(
            "scores",
            pieces.tested,
            self._working(),
            pieces.has_score,
            pieces.score,
            lambda name: Opened(pieces.testing, name),
        )

    def correct(self) -> None:
        """Let the simulated user correct the masks; they are all there by now, and stay as they are."""
        pieces = self.pieces
        self._each(
            "corrections",
            pieces.tested,
            self._working(pieces.settings.corrected),
            self.corrections.has,
            self.corrections.make,
            lambda name: Opened(pieces.testing, name),
        )

    def _each(
        self,
        step: str,
        names: Sequence[str],
        methods: Sequence[Method],
        has: Callable[[Method, str], bool],
        make: Callable[[Method, Opened], None],
        opened: Callable[[str], Opened],
    ) -> None:
        """Do a step for every case and, so that each case is read once, every method within."""
        tallies = {
            method.key: self.tallies.setdefault(f"{step} of {method.key}", Tally()) for method in methods
        }
        self._worked.clear()
        for done, name in enumerate(names):
            self.listener.step(done, len(names), f"fold {self.pieces.number}: {step}, {name}")
            if name in self.broken:
                continue
            case = opened(name)
            for method in self._working(methods):
                start = time.perf_counter()
                try:
                    if has(method, name):
                        tallies[method.key].reused += 1
                    else:
                        make(method, case)
                        tallies[method.key].made += 1
                        tallies[method.key].seconds += time.perf_counter() - start
                    self._worked.add(method.key)
                except WriteError:
                    # A full disk is nobody's fault, and would be everybody's.
                    raise
                except WORK_ERRORS as error:
                    self._stumble(method, name, error, len(names))
                    if name in self.broken:
                        break
        for key, found in self._trouble.items():
            if key not in self.failed:
                for name, why in found.items():
                    self._break(name, f"{key}: {why}")
        self._trouble.clear()
        whole = Tally()
        for tally in tallies.values():
            whole.reused, whole.made = whole.reused + tally.reused, whole.made + tally.made
            whole.seconds += tally.seconds
        if tallies:
            self._tell(f"{step}: {whole}")

    def _working(self, methods: Iterable[Method] | None = None) -> list[Method]:
        return [m for m in (self.methods if methods is None else methods) if m.key not in self.failed]

    def _stumble(self, method: Method, name: str, error: Exception, count: int) -> None:
        """Is it the case that is at fault, or the method?"""
        if isinstance(error, ReadError):
            self._break(name, reason(error))
            return
        found = self._trouble.setdefault(method.key, {})
        found[name] = reason(error)
        if method.key not in self._worked and len(found) >= min(ENOUGH, count):
            self._fail(method, error)

    def _fail(self, method: Method, error: Exception) -> None:
        self.failed[method.key] = reason(error)
        self._tell(f"{method.key} cannot be run: {reason(error)}")

    def _break(self, name: str, why: str) -> None:
        self.broken[name] = why
        self._tell(f"{name} is left out: {why}")

    def _tell(self, text: str) -> None:
        self.listener.tell(f"fold {self.pieces.number}: {text}")


def progress_of(pieces: Pieces, method: Method) -> dict[str, tuple[int, int]]:
    """How many pieces of each step are there, of how many. Nothing is worked out."""
    found: dict[str, tuple[int, int]] = {}
    ready = True
    if method.kind == "fsss" or (method.learner and pieces.source(method.learner) != OUTSIDE):
        ready = pieces.is_ready(method)
        found["training"] = (int(ready), 1)
    if method.tuned:
        there = _count(pieces.has_table, method, pieces.chosen_on) if ready else 0
        found["thresholds"], ready = (there, len(pieces.chosen_on)), there == len(pieces.chosen_on)
    count = len(pieces.tested)
    if method.kind != "blank":
        found["masks"] = (_count(pieces.has_mask, method, pieces.tested) if ready else 0, count)
    found["scores"] = (_count(pieces.has_score, method, pieces.tested) if ready else 0, count)
    if method in pieces.settings.corrected:
        found["corrections"] = (_count(Corrections(pieces).has, method, pieces.tested) if ready else 0, count)
    return found


def _count(has: Callable[[Method, str], bool], method: Method, names: Sequence[str]) -> int:
    there = 0
    for name in names:
        try:
            there += has(method, name)
        except WORK_ERRORS:
            continue
    return there


def reason(error: BaseException) -> str:
    """What went wrong, in one line.

    Examples
    --------
    >>> reason(KeyError("x"))
    'x'
    """
    text: Any = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__
