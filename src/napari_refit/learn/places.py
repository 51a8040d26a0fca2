"""Which files a training leaves, and whether one was stopped; known without torch."""

from __future__ import annotations

from pathlib import Path

from napari_refit.io.sidecar import sidecar_path

SUFFIX = ".safetensors"
MOST_FOLDS = 20
MOST_ROUNDS = 9


def state_path(out: Path) -> Path:
    """Where the state of an unfinished training of a checkpoint lies.

    Examples
    --------
    >>> state_path(Path("out/lesions.safetensors")).name
    'lesions.training.pt'
    """
    return out.with_name(f"{out.stem}.training.pt")


def fold_path(out: Path, fold: int) -> Path:
    """The checkpoint of one fold, counted from 1.

    Examples
    --------
    >>> fold_path(Path("lesions.safetensors"), 2).name
    'lesions-fold2.safetensors'
    """
    return out.with_name(f"{out.stem}-fold{fold}{out.suffix}")


def round_path(out: Path, number: int) -> Path:
    """The checkpoint of a round before the last, counted from 1; the last one's is ``out``.

    Examples
    --------
    >>> round_path(Path("lesions.safetensors"), 1).name
    'lesions-round1.safetensors'
    """
    return out.with_name(f"{out.stem}-round{number}{out.suffix}")


def round_paths(out: Path, rounds: int) -> list[Path]:
    """The checkpoints of all rounds."""
    return [*(round_path(out, number) for number in range(1, rounds)), out]


def state_paths(out: Path) -> list[Path]:
    """Every place where the state of a training of ``out`` may lie, with and without folds or rounds."""
    folds = (fold_path(out, k) for k in range(1, MOST_FOLDS + 1))
    return [state_path(path) for path in (*round_paths(out, MOST_ROUNDS), *folds)]


def first_parts(out: Path) -> list[Path]:
    """Checkpoints of a first fold or round that are there."""
    return [path for path in (fold_path(out, 1), round_path(out, 1)) if path.exists()]


def unfinished(out: Path) -> bool:
    """Whether a training of ``out`` was stopped and can go on: in an epoch, or between two folds or rounds."""
    if any(path.exists() for path in state_paths(out)):
        return True
    return bool(first_parts(out)) and not sidecar_path(out).exists()


def in_the_way(out: Path, folds: int) -> list[Path]:
    """Checkpoints that a new training of ``out`` would replace."""
    files = [out] if folds == 1 else [fold_path(out, fold) for fold in range(1, folds + 1)]
    return [path for path in files if path.exists()]
