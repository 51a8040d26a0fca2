"""What tuned parameters were tuned on: a note in their file, and the files that a search leaves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_refit.errors import ReadError, brief
from napari_refit.io._atomic import atomic_path
from napari_refit.io.sidecar import plain
from napari_refit.recipe import NOTE, RefitParams
from napari_refit.tune.space import as_text
from napari_refit.tune.trials import TuneResult, best_of

COLUMNS = ("number", "state", "score", "images", "seconds", "error")


@dataclass(frozen=True)
class Note:
    """What parameters were tuned on.

    Attributes
    ----------
    cases : frozenset of (str, str)
        Dataset and case; the dataset is empty for images that are of none.
    checksums : frozenset of str
        Of their image files.
    objective : str
    score : float or None
    """

    cases: frozenset[tuple[str, str]]
    checksums: frozenset[str]
    objective: str = ""
    score: float | None = None

    def knows(self, dataset: str, case: str, checksums: Iterable[str]) -> bool:
        """Whether an image is one of those that were tuned on.

        Examples
        --------
        >>> note = Note(frozenset({("busi", "benign (1)")}), frozenset({"sha256:00"}))
        >>> note.knows("busi", "benign (1)", ()), note.knows("lgg", "benign (1)", ())
        (True, False)
        >>> note.knows("", "a copy", ["sha256:00"])
        True
        """
        of_dataset = bool(dataset) and (dataset, case) in self.cases
        return of_dataset or not self.checksums.isdisjoint(checksums)


def note_content(result: TuneResult) -> dict[str, Any]:
    """The note of a search's best parameters."""
    best, start = result.best, score_at_start(result)
    about = {key: value for key, value in result.about.items() if key not in ("base", "program")}
    finished = [trial for trial in result.trials if trial.state != "running"]
    return {
        **about,
        "versions": _versions(),
        "score": None if best is None else best.score,
        "score_at_start": start,
        "trial": None if best is None else best.number,
        "trials": len(finished),
        "changed": {} if best is None else best.values,
        "importances": result.importances,
        "stage_runs": {
            stage: {"run": run, "saved": saved} for stage, (run, saved) in result.stage_runs.items()
        },
    }


def write_params(path: Path, params: RefitParams, note: Mapping[str, Any] | None = None) -> None:
    """Write parameters as ``--params`` takes them, with a note.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    content = {**params.model_dump(mode="json"), **({} if note is None else {NOTE: note})}
    text = json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_note(path: Path) -> Note | None:
    """What the parameters in a file were tuned on; None if it does not say.

    Raises
    ------
    ReadError
        If it cannot be read, or its note is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(path, f"cannot be read as parameters: {brief(error)}") from None
    found = content.get(NOTE) if isinstance(content, dict) else None
    if found is None:
        return None
    try:
        images = found["images"]
        return Note(
            frozenset((str(image["dataset"]), str(image["case"])) for image in images),
            frozenset(str(checksum) for image in images for checksum in image["checksums"]),
            str(found.get("objective", "")),
            found.get("score"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ReadError(path, f"its note of what it was tuned on is damaged: {brief(error)}") from None


def result_paths(study: Path) -> dict[str, Path]:
    """Where the files of a study's results lie: ``best`` and ``trials``.

    Examples
    --------
    >>> result_paths(Path("out/busi.db"))["best"].name
    'busi.best.json'
    """
    return {
        "best": study.with_name(f"{study.stem}.best.json"),
        "trials": study.with_name(f"{study.stem}.trials.csv"),
    }


def write_results(study: Path, result: TuneResult) -> dict[str, Path]:
    """Write the best parameters and a table of the trials beside a study.

    Returns
    -------
    dict of str to Path
        ``trials``, and if any trial was finished ``best``.

    Raises
    ------
    WriteError
        If a file cannot be written.
    """
    paths = result_paths(study)
    with atomic_path(paths["trials"]) as temporary:
        temporary.write_text(trials_table(result), encoding="utf-8", newline="")
    if result.best is None:
        return {"trials": paths["trials"]}
    write_params(paths["best"], result.params, note_content(result))
    return paths


def trials_table(result: TuneResult) -> str:
    """The trials as CSV, one line each."""
    keys = [each["key"] for each in result.about.get("space", [])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *keys])
    for trial in result.trials:
        score = "" if trial.score is None else repr(trial.score)
        own = [trial.number, trial.state, score, trial.n_images, f"{trial.seconds:.3f}", trial.error]
        writer.writerow([*own, *(as_text(trial.values.get(key, "")) for key in keys)])
    return text.getvalue()


def score_at_start(result: TuneResult) -> float | None:
    """The score of what the search began with, if that was tried."""
    base = result.about.get("base", {})
    same = [
        trial
        for trial in result.trials
        if trial.values and all(_at(base, key) == value for key, value in trial.values.items())
    ]
    found = best_of(same)
    return None if found is None else found.score


def _at(base: Mapping[str, Any], key: str) -> Any:
    found: Any = base
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _versions() -> dict[str, str]:
    from napari_refit.study.describing import versions

    return dict(versions())
