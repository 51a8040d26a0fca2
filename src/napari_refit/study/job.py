"""A study as a command runs it: look at the dataset first, then the work, then the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from napari_refit.io.datasets import Dataset, Split, SplitParams
from napari_refit.io.datasets.listing import counted
from napari_refit.study.checking import look_at
from napari_refit.study.describing import panel_of
from napari_refit.study.reporting import write_report
from napari_refit.study.results import StudyResults
from napari_refit.study.run import STAGES, Study
from napari_refit.study.settings import Listener, StudySettings
from napari_refit.study.store import Store

Progress = Callable[[int, int, str], None]
_SHOWN = 5


class Stopped(Exception):
    """A study was not begun, for what is in ``lines``."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self.lines = lines


def check_before(
    dataset: Dataset,
    settings: StudySettings,
    split: Split | SplitParams | None,
    out: Path,
    *,
    fresh: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    say: Callable[[str], None] | None = None,
) -> Study:
    """Look at a dataset and make a study of it.

    Near duplicates that the look finds are tied before the cases are split, unless the split is given.

    Parameters
    ----------
    dataset, settings, split, out, fresh
        As of `Study`.
    force : bool
        Leave out the cases that have errors, instead of stopping.
    progress, cancelled, say : callable, optional
        As of `Listener`.

    Raises
    ------
    Stopped
        If the dataset has errors.
    ValueError
        As `Study`.
    Cancelled
        If ``cancelled()`` answered True.
    """
    listener = Listener(progress, cancelled, say)
    store = Store(out / STAGES)
    look = look_at(dataset, split if isinstance(split, Split) else None, store, listener)
    store.keep_checksums()
    if look.errors and not force:
        more = len(look.errors) - _SHOWN
        lines = list(look.errors[:_SHOWN])
        lines += (
            [f"and {more} more; 'napari-refit evaluate {dataset.root} --check' lists them"]
            if more > 0
            else []
        )
        hint = "mend what is wrong, or leave these cases out (--force)"
        raise Stopped(
            [*lines, f"{dataset.root}: {counted(len(look.errors), 'error')} in the dataset; {hint}"]
        )
    for line in look.errors:
        listener.tell(f"error in the dataset: {line}")
    if not isinstance(split, Split):
        dataset = dataset.with_groups({name: f"alike {group}" for name, group in look.groups.items()})
    left_out = dict(look.unusable) | dict.fromkeys(look.without_mask, "it has no mask to be tested with")
    settings = settings.with_changes(left_out={**settings.left_out, **left_out})
    return Study(dataset, settings, out, split, fresh=fresh, listener=listener)


def finish(study: Study, results: StudyResults, progress: Progress | None = None) -> dict[str, Path]:
    """Write the report of a study.

    Returns
    -------
    dict of str to Path
        See `napari_refit.study.reporting.write_report`.

    Raises
    ------
    WriteError
        If a file cannot be written.
    """
    return write_report(study.out, results, partial(panel_of, study), progress)
