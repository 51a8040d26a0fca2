"""A search as a file that other processes may join, and that a killed one leaves whole."""

from __future__ import annotations

import json
import os
import socket
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_refit.bands import check
from napari_refit.errors import ReadError, WriteError, brief
from napari_refit.tune.trials import Trial

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

EXTRA = 'pip install "napari-refit[tune]"'
NAME = "napari-refit tune"
ABOUT = "about"
VALUES = "values"
WORKER = "worker"
LOOKED_AT = "images"
DATABASES = (".db", ".sqlite", ".sqlite3")
JOURNALS = (".journal", ".log")
PATIENCE = 600.0
"""Seconds after which a trial of another machine counts as lost, if it also took ten times longer than others."""
SIGNING = 10.0
"""Seconds after which a trial that nobody signed counts as lost."""
_TRIES = 20


class ExtraMissing(RuntimeError):
    """A package that only some commands need is not installed; the message says how to get it."""


def load_optuna() -> Any:
    """The package that searches.

    Raises
    ------
    ExtraMissing
        If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ExtraMissing(f"a search for parameters needs optuna: {EXTRA}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def check_name(path: Path) -> None:
    """Refuse a name that does not say what kind of file it is.

    Raises
    ------
    ValueError
    """
    if path.suffix.lower() not in (*DATABASES, *JOURNALS):
        kinds = f"{', '.join(DATABASES)} (SQLite) or {', '.join(JOURNALS)} (journal)"
        raise ValueError(f"{path}: the name of a study ends in {kinds}")
    if "?" in path.name:
        raise ValueError(f"{path}: the name of a study must not hold a question mark")


def open_study(path: Path | None, *, make: bool = True) -> optuna.Study:
    """Open a study, or begin one.

    Parameters
    ----------
    path : Path or None
        None: in memory.
    make : bool
        Whether to begin it where it is not there.

    Raises
    ------
    ExtraMissing
        If optuna is not installed.
    ReadError
        If it is not there, or is no study.
    WriteError
        If it cannot be made.
    ValueError
        If the name says no kind of file.
    """
    optuna = load_optuna()
    if path is None:
        return optuna.create_study(direction="maximize", study_name=NAME)
    check_name(path)
    if not path.exists() and not make:
        raise ReadError(path, "there is no such study")
    if path.is_dir():
        raise ReadError(path, "is a folder; a study is a file")
    there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _opened(optuna, path, make)
    except OSError as error:
        kind = ReadError if there else WriteError
        raise kind(path, f"cannot be opened: {brief(error.strerror or str(error))}") from error
    except Exception as error:
        raise ReadError(path, f"is no study that can be opened: {brief(error)}") from error


def _opened(optuna: Any, path: Path, make: bool) -> optuna.Study:
    for tries in range(_TRIES):
        try:
            storage = _storage(optuna, path)
            if make:
                return optuna.create_study(
                    storage=storage, study_name=NAME, direction="maximize", load_if_exists=True
                )
            return optuna.load_study(storage=storage, study_name=NAME)
        except Exception:
            # Two processes that begin a study at the same moment get into each other's way once.
            if not make or tries + 1 == _TRIES or not _looks_new(path):
                raise
            time.sleep(0.1)
    raise AssertionError


def _looks_new(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return True
    return time.time() - found.st_mtime < 10


def _storage(optuna: Any, path: Path) -> Any:
    if path.suffix.lower() in DATABASES:
        return optuna.storages.RDBStorage(
            f"sqlite:///{path.absolute().as_posix()}", engine_kwargs={"connect_args": {"timeout": 60}}
        )
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    lock = JournalFileOpenLock(str(path)) if os.name == "nt" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def settle_about(study: optuna.Study, path: Path | None, about: Mapping[str, Any]) -> bool:
    """Write down what a study is about; one that is there already must be about the same.

    Returns
    -------
    bool
        Whether it is new.

    Raises
    ------
    ValueError
        If it is about something else; the message says what.
    """
    known = study.user_attrs.get(ABOUT)
    if known is None:
        study.set_user_attr(ABOUT, json.loads(json.dumps(about)))
        return True
    wanted = json.loads(json.dumps(about))
    for key, name in (
        ("objective", "the objective"),
        ("space", "the ranges"),
        ("base", "the other parameters"),
        ("images", "the images"),
        ("source", "the classifier"),
    ):
        if known.get(key) != wanted.get(key):
            shown = f": {known.get(key)} there" if key == "objective" else ""
            raise ValueError(
                f"{path}: {name} differ from those of this study{shown}; go on with the same, or begin another study"
            )
    return False


def worker() -> str:
    """This process, told apart from any other that has or had its number."""
    import psutil

    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.2f}"


def give_up_lost(study: optuna.Study) -> int:
    """Put back what processes were at that are gone; how many trials that were."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state.is_finished() and trial.duration is not None]
    longest = max((trial.duration.total_seconds() for trial in finished if trial.duration), default=0.0)
    lost = [
        trial
        for trial in trials
        if trial.state == TrialState.RUNNING and _is_lost(trial, max(PATIENCE, 10 * longest))
    ]
    return sum(put_back(study, trial.number) for trial in lost)


def settle_lost(study: optuna.Study, cancelled: Callable[[], bool] | None = None) -> int:
    """As `give_up_lost`, once each trial that has just been begun is signed or counts as lost.

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.
    """
    count = give_up_lost(study)
    while any(map(_is_unsigned, study.get_trials(deepcopy=False))):
        check(cancelled)
        time.sleep(0.1)
        count += give_up_lost(study)
    return count


def put_back(study: optuna.Study, number: int) -> bool:
    """Give a trial up, and have what it tried be tried again; whether it was still there to be given up."""
    from optuna.trial import TrialState

    trial = study.get_trials(deepcopy=False)[number]
    if trial.state != TrialState.RUNNING:
        return False
    values = dict(trial.params)
    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, RuntimeError):
        # Another process was quicker.
        return False
    # Of one that was lost while it was being drawn there are only some.
    if values.keys() == {each["key"] for each in study.user_attrs[ABOUT]["space"]}:
        study.enqueue_trial(values)
    return True


def _is_unsigned(trial: FrozenTrial) -> bool:
    from optuna.trial import TrialState

    return trial.state == TrialState.RUNNING and WORKER not in trial.user_attrs


def _is_lost(trial: FrozenTrial, patience: float) -> bool:
    import psutil

    host, _, rest = str(trial.user_attrs.get(WORKER, "")).partition(" ")
    pid, _, created = rest.partition(" ")
    if host == socket.gethostname() and pid.isdigit():
        try:
            return f"{psutil.Process(int(pid)).create_time():.2f}" != created
        except psutil.Error:
            return True
    begun = trial.datetime_start
    # Who begins a trial signs it at once.
    patience = patience if host else SIGNING
    return begun is None or time.time() - begun.timestamp() > patience


def as_trial(found: FrozenTrial) -> Trial:
    """A trial as the rest of the program knows it."""
    from optuna.trial import TrialState

    states: dict[Any, Any] = {
        TrialState.COMPLETE: "done",
        TrialState.PRUNED: "pruned",
        TrialState.RUNNING: "running",
    }
    duration = found.duration
    return Trial(
        number=found.number,
        values=found.user_attrs.get(VALUES, dict(found.params)),
        score=found.value if found.state == TrialState.COMPLETE else None,
        state=states.get(found.state, "failed"),
        seconds=duration.total_seconds() if duration is not None else 0.0,
        n_images=int(found.user_attrs.get(LOOKED_AT, 0)),
        error=str(found.user_attrs.get("error", "")),
    )


def trials_of(study: optuna.Study) -> list[Trial]:
    """Every trial that was begun, but for those that were given up."""
    from optuna.trial import TrialState

    from napari_refit.tune.samplers import counts

    return [
        as_trial(trial)
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.WAITING and counts(trial)
    ]


def read_trials(path: Path) -> list[Trial]:
    """The trials of a study, those that are running included.

    Raises
    ------
    ReadError
        If it is not there, or is no study.
    """
    return trials_of(open_study(path, make=False))


def read_about(path: Path) -> dict[str, Any]:
    """What a study is about: objective, space, base parameters, images.

    Raises
    ------
    ReadError
        If it is not there, or is no study.
    """
    return dict(open_study(path, make=False).user_attrs.get(ABOUT, {}))


def importances(study: Path | optuna.Study) -> dict[str, float]:
    """How much of what tells good trials from poor ones is due to each parameter: from 0 to 1, 1 in all.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023). Empty while there are fewer than four finished trials.
    """
    optuna = load_optuna()
    found = open_study(study, make=False) if isinstance(study, Path) else study
    done = [trial for trial in found.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if len(done) < 4 or len({trial.value for trial in done}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(found)
    return {str(key): float(value) for key, value in shares.items()}
