"""What is told of a training while it runs and when it is done: time left, curves so far, scores in a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_refit.io.sidecar import sidecar_path
from napari_refit.learn.places import MOST_FOLDS, fold_path, state_path
from napari_refit.learn.samples import Samples, presence

CURVES = ("loss", "accuracy", "auroc")
PARTS = ("training", "validation")


class TimeLeft:
    """How long a training will take, by the pace of its steps so far.

    Parameters
    ----------
    folds : int
        Trainings of one length each.

    Examples
    --------
    >>> left = TimeLeft()
    >>> left.note(0, 100, 0.0)
    >>> left.note(50, 100, 10.0)
    >>> left.seconds
    10.0
    """

    def __init__(self, folds: int = 1) -> None:
        self._folds = folds
        self._fold = 1
        self._begin: tuple[int, float] | None = None
        self._latest: tuple[int, int, float] | None = None

    def begin(self, fold: int) -> None:
        """Another fold begins, counted from 1."""
        self._fold, self._begin = fold, None

    def note(self, done: int, total: int, now: float) -> None:
        """So many steps of this fold are done at this time, in seconds."""
        if self._begin is None or done < self._begin[0]:
            self._begin = (done, now)
        self._latest = (done, total, now)

    @property
    def seconds(self) -> float | None:
        """Seconds left, None before there is a pace."""
        if self._begin is None or self._latest is None:
            return None
        done, total, now = self._latest
        steps = done - self._begin[0]
        if steps < 1:
            return None
        return (now - self._begin[1]) / steps * (total - done + total * (self._folds - self._fold))


def duration(seconds: float) -> str:
    """A time as a person says it.

    Examples
    --------
    >>> duration(4.2), duration(75), duration(4000)
    ('5 s', '2 min', '1 h 7 min')
    """
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = math.ceil(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass
class Curves:
    """Loss, accuracy and AUROC by epoch, of every fold.

    Attributes
    ----------
    rows : dict of int to list of dict
        Of each fold (0 where there are none), the rows that a training reports, in the order of epochs.
    """

    rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, fold: int, row: dict[str, Any]) -> None:
        """Take a finished epoch; one that is there already is replaced, and those after it go."""
        epoch = int(row["epoch"])
        self.rows[fold] = [*(old for old in self.rows.get(fold, []) if old["epoch"] < epoch), row]

    def line(self, fold: int, part: str, what: str) -> tuple[list[int], list[float]]:
        """Epochs and values of one curve; what is not known is NaN."""
        rows = self.rows.get(fold, [])
        values = [row[part][what] for row in rows]
        return [int(row["epoch"]) for row in rows], [
            math.nan if value is None else float(value) for value in values
        ]

    def best(self, fold: int) -> int | None:
        """The last epoch that was better than all before."""
        return max((int(row["epoch"]) for row in self.rows.get(fold, []) if row["best"]), default=None)

    @property
    def epochs(self) -> int:
        """Of the longest fold."""
        return max((len(rows) for rows in self.rows.values()), default=0)


def so_far(out: Path) -> Curves:
    """What an unfinished training of ``out`` went through, as far as it can be read."""
    from napari_refit.errors import ReadError
    from napari_refit.learn.state import read_state

    curves = Curves()
    for fold in range(MOST_FOLDS + 1):
        path = fold_path(out, fold) if fold else out
        try:
            if state_path(path).exists():
                history = read_state(state_path(path)).history
            else:
                history = (
                    json.loads(sidecar_path(path).read_text(encoding="utf-8"))["history"] if fold else []
                )
        except (ReadError, OSError, ValueError, KeyError, TypeError):
            continue
        for row in history:
            curves.add(fold, row)
    return curves


def scores_line(found: Mapping[str, Any]) -> str:
    """The scores of one part of a report.

    Examples
    --------
    >>> part = {"auroc": 0.91, "auroc_95": [0.8, 0.97], "accuracy": 0.85, "images": 40, "patients": 8}
    >>> scores_line(part | {"calibration": {"ece": 0.06, "brier": 0.1}})
    'AUROC 0.910 (95 %: 0.800 to 0.970), accuracy 0.850, calibration error 0.060, Brier 0.100; 40 images of 8 patients'
    """
    if found["auroc"] is None or math.isnan(found["auroc"]):
        area = "– (it takes images with and without a class)"
    else:
        low, high = found["auroc_95"]
        known = None not in (low, high) and not (math.isnan(low) or math.isnan(high))
        area = f"{found['auroc']:.3f}" + (f" (95 %: {low:.3f} to {high:.3f})" if known else "")
    return (
        f"AUROC {area}, accuracy {found['accuracy']:.3f}, calibration error {found['calibration']['ece']:.3f}, "
        f"Brier {found['calibration']['brier']:.3f}; {found['images']} images of {found['patients']} patients"
    )


def summary(report: Mapping[str, Any]) -> list[str]:
    """What came out of a training, a line each: how long, and the scores on images it was not trained on.

    Parameters
    ----------
    report : mapping
        Of `napari_refit.learn.files.train_to_file`.
    """
    if "folds" in report:
        lines = [f"{len(report['folds'])} folds done."]
    else:
        lines = [
            f"Best epoch {report['best_epoch']} of {report['epochs']}, in {duration(report['seconds'])}."
        ]
    titles = {"test": "Test", "validation": "Validation"}
    found = [f"{title}: {scores_line(report[part])}." for part, title in titles.items() if report.get(part)]
    return lines + (found or ["No image was kept for validation, so there is no score."])


def overview(samples: Samples) -> tuple[str, str]:
    """What there is to train on, and what a user should know before; the second is empty where all is well.

    Parameters
    ----------
    samples : Samples

    Examples
    --------
    >>> import numpy as np
    >>> from napari_refit.learn.samples import ArraySamples
    >>> images = np.zeros((4, 8, 8), np.float32)
    >>> overview(ArraySamples(images, [0, 1, 0, 1], ["background", "lesion"], ["a", "a", "b", "b"]))
    ('4 images of 2 patients: 2 background, 2 lesion.', '')
    """
    shown = presence(samples)
    counts = dict(zip(samples.classes, shown.sum(0).tolist(), strict=True))
    patients = len(set(samples.patients))
    text = (
        f"{len(samples)} {'image' if len(samples) == 1 else 'images'} of {patients} "
        f"{'patient' if patients == 1 else 'patients'}: "
        f"{', '.join(f'{count} {name}' for name, count in counts.items())}."
    )
    if any(count in (0, len(samples)) for count in counts.values()) and samples.labels.ndim == 1:
        return (
            text,
            "There is nothing to tell apart yet: it takes images with a class, and images without it.",
        )
    if patients == 1:
        return text, (
            "All are of one patient, so none can be kept for validation: there will be no score. Name patients, or "
            "add images of others."
        )
    lonely = [
        name
        for name, column in zip(samples.classes, shown.T, strict=True)
        if len({samples.patients[index] for index in column.nonzero()[0]}) == 1
    ]
    if lonely:
        return (
            text,
            f"Only one patient shows {lonely[0]}: it is trained on, and cannot be checked on another.",
        )
    return text, ""
