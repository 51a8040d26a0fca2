"""What works through the cases: this process, or Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from napari_refit.batch.cases import Case
from napari_refit.batch.memory import share_of
from napari_refit.batch.one import Outcome, Work, run_case
from napari_refit.batch.settings import BatchParams


class Stop(Protocol):
    """Whether to go on."""

    def finishing(self) -> bool:
        """No further case is to be begun."""

    def cancelled(self) -> bool:
        """The cases at hand are to be given up as well."""


class Engine(Protocol):
    """Works through cases in its own order."""

    def outcomes(
        self, cases: Sequence[Case], stop: Stop, tell: Callable[[str], None]
    ) -> Iterator[tuple[Case, Outcome]]:
        """What became of each case that was begun, as soon as it is known.

        Parameters
        ----------
        cases : sequence of Case
        stop : Stop
            Asked often.
        tell : callable
            Given what is being done.
        """


def engine_of(params: BatchParams, work: Work, notice: Callable[[str], None]) -> Engine:
    """The engine that the settings ask for.

    Parameters
    ----------
    params : BatchParams
    work : Work
    notice : callable
        Told where it cannot be had and another one does its work.

    Raises
    ------
    ValueError
        If a scheduler is asked for and Dask is not installed.
    """
    if params.workers > 1 or params.scheduler:
        from napari_refit.batch.cluster import EXTRA, DaskEngine, is_installed

        if is_installed():
            return DaskEngine(params, work)
        if params.scheduler:
            raise ValueError(f"--scheduler needs Dask's scheduler, which is not installed: {EXTRA}")
        notice(f"--workers {params.workers} needs Dask's scheduler: {EXTRA}; going on with one worker")
        work = replace(work, memory=share_of(params.model_copy(update={"workers": 1})))
    return HereEngine(work)


class HereEngine:
    """One case after the other in this process."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def outcomes(
        self, cases: Sequence[Case], stop: Stop, tell: Callable[[str], None]
    ) -> Iterator[tuple[Case, Outcome]]:
        """What became of each case."""
        for case in cases:
            if stop.finishing():
                return

            def progress(done: int, total: int, text: str, name: str = case.name) -> None:
                tell(f"{name}: {text} {done}/{total}")

            tell(case.name)
            yield case, run_case(case, self.work, progress=progress, cancelled=stop.cancelled)
