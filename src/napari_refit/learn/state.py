"""Where a training stands, in a file: written after every epoch, whole or not at all, read without pickled objects.

Random states need no room in it: those of an epoch follow from the run's seed and the epoch's number.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from napari_refit.declare import Parameters
from napari_refit.errors import ReadError
from napari_refit.io._atomic import atomic_path

FORMAT = 1
# These change how quickly a training runs, not what comes out; the threads that were taken are compared as such.
_FREE = ("cache", "threads")


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A training after some epochs.

    Attributes
    ----------
    parameters : dict
        Of `TrainingParams`, or of whatever else was trained by.
    data : dict of str to str
        Checksums of the image list, the resized images and the split.
    machine : dict
        What weights depend on besides: device, threads, precision, torch.
    epoch : int
        How many are done.
    history : list of dict
        One per epoch.
    seconds : float
    network, best, optimiser, scaler : dict
        State dicts; ``best`` is the network's after its best epoch.
    """

    parameters: dict[str, Any]
    data: dict[str, str]
    machine: dict[str, Any]
    epoch: int
    history: list[dict[str, Any]]
    seconds: float
    network: dict[str, Any]
    best: dict[str, Any]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]


def save_state(path: Path, state: TrainingState) -> None:
    """Write a state; the one that was there before is replaced only once the new one is complete.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    content = {field.name: getattr(state, field.name) for field in fields(state)}
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, **content}, temporary)


def read_state(path: Path) -> TrainingState:
    """Read a state.

    Raises
    ------
    ReadError
        If it is missing, damaged, or no training's state.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ReadError(path, "there is no training to go on with; leave out resume to start one") from None
    except OSError as error:
        raise ReadError(path, f"could not be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise ReadError(path, "is no state of a training: it holds pickled objects, or is damaged") from error
    except Exception as error:
        # torch raises RuntimeError, EOFError, KeyError and others for damaged archives.
        raise ReadError(path, "is truncated or damaged; start the training anew") from error
    names = {field.name for field in fields(TrainingState)}
    if not isinstance(content, Mapping) or content.get("format") != FORMAT or not names <= set(content):
        raise ReadError(path, "is no state of a training of this version; start the training anew")
    return TrainingState(**{name: content[name] for name in names})


def check_fits(
    path: Path, state: TrainingState, params: Parameters, data: dict[str, str], machine: dict[str, Any]
) -> None:
    """Check that going on gives what an unbroken training would give.

    Raises
    ------
    ReadError
        With what is different.
    """
    wanted = {name: value for name, value in params.model_dump().items() if name not in _FREE}
    pairs = [("parameter ", state.parameters, wanted), ("", state.data, data), ("", state.machine, machine)]
    for what, before, now in pairs:
        for name in now:
            if before.get(name) != now[name]:
                raise ReadError(
                    path,
                    f"was made with another {what}{name} ({before.get(name)}, now {now[name]}): "
                    "go on with the same, or start anew",
                )
