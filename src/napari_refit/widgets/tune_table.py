"""The table of trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_refit.widgets.form_controls import shown
from napari_refit.widgets.sorted_table import Column, SortedTable

HEIGHT = 180
NUMBER_WIDTH, SCORE_WIDTH, VALUE_WIDTH = 40, 62, 78
WORDS = {"pruned": "stopped", "failed": "failed", "running": "running"}
TIPS = {
    "done": "judged on all images",
    "pruned": "stopped early: it was below the median of those before it",
    "failed": "failed",
    "running": "running",
}


class TrialTable(SortedTable):
    """Trials with their scores and values; a double click applies one.

    Parameters
    ----------
    title_of : callable
        The title of a key.
    """

    def __init__(self, title_of: Callable[[str], str], parent: QWidget | None = None) -> None:
        self._title_of = title_of
        super().__init__(_columns((), title_of), "Trials", HEIGHT, parent)
        self.setToolTip("Double-click a trial, or press Enter, to use its parameters in the ReFit dock.")

    def set_trials(self, trials: list[Any]) -> None:
        """Show these trials."""
        keys = dict.fromkeys(key for trial in trials for key in trial.values)
        self.set_columns(_columns(tuple(keys), self._title_of))
        self.records.set_records((trial.number, trial) for trial in trials)

    def add(self, trial: Any) -> None:
        """Show one more, or another state of one."""
        if not set(trial.values) <= {column.key for column in self.records.columns[2:]}:
            self.set_trials([*self.records.records, trial])
        else:
            self.records.put(trial.number, trial)


class _ValueColumn(Column):
    """A parameter's values."""

    @property
    def key(self) -> str:
        return self.tip


def _columns(keys: tuple[str, ...], title_of: Callable[[str], str]) -> list[Column]:
    found = [
        Column(
            "Trial",
            lambda trial: trial.number,
            lambda trial: str(trial.number),
            is_number=True,
            width=NUMBER_WIDTH,
        ),
        Column(
            "Score",
            lambda trial: trial.score,
            lambda trial: WORDS.get(trial.state, "") if trial.score is None else f"{trial.score:.4f}",
            tip="Over all images; the higher, the better.",
            role=lambda trial: {"failed": "loss", "done": ""}.get(trial.state, "muted"),
            cell_tip=_about,
            is_number=True,
            width=SCORE_WIDTH,
        ),
    ]
    found += [
        _ValueColumn(
            title_of(key),
            lambda trial, key=key: trial.values.get(key),
            lambda trial, key=key: shown(trial.values.get(key)),
            tip=key,
            is_number=True,
            width=VALUE_WIDTH,
        )
        for key in keys
    ]
    return found


def _about(trial: Any) -> str:
    parts = [TIPS.get(trial.state, trial.state)]
    if trial.error:
        parts.append(trial.error)
    if trial.n_images and trial.state == "pruned":
        parts.append(f"after {trial.n_images} images")
    parts.append(f"{trial.seconds:.1f} s")
    return f"Trial {trial.number}: {', '.join(parts)}."
