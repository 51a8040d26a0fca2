"""Parameters that were tuned on images that a study tests: they are found out, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_refit.io.datasets.listing import counted
from napari_refit.study.run import Study
from napari_refit.tune.note import Note

ALLOW = "--allow-tuned"
_SHOWN = 3


def tuned_cases(study: Study, notes: Mapping[str, Note]) -> dict[str, list[str]]:
    """Cases that a study would test and that presets were tuned on, by preset; nothing for one without any.

    A case is known by its dataset and name, and by the checksums of its image files.

    Parameters
    ----------
    study : Study
    notes : mapping of str to Note
        By preset.

    Raises
    ------
    ReadError
        If an image cannot be read.
    """
    wanted = study.settings.only_fold
    tested = [name for pieces in study.pieces if wanted in (0, pieces.number) for name in pieces.tested]
    found = {
        preset: [name for name in tested if note.knows(*_facts(study, name))]
        for preset, note in notes.items()
    }
    study.store.keep_checksums()
    return {preset: names for preset, names in found.items() if names}


def refusal(study: Study, found: Mapping[str, list[str]]) -> str:
    """Why a study is not begun, and what can be done."""
    preset, names = next(iter(found.items()))
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    free = [pieces.number for pieces in study.pieces if pieces.tested and not set(names) & set(pieces.tested)]
    other = f"--only-fold {free[0]} tests none of them; " if free and not study.settings.only_fold else ""
    return (
        f"{preset} was tuned on {counted(len(names), 'case')} that would be tested ({shown}), so its figures would be "
        f"no test; {other}{ALLOW} reports them all the same, and says so"
    )


def admission(study: Study, found: Mapping[str, list[str]]) -> tuple[str, ...]:
    """What a report says of such presets, a sentence for each."""
    wanted = study.settings.only_fold
    tested = sum(len(pieces.tested) for pieces in study.pieces if wanted in (0, pieces.number))
    return tuple(
        f"{preset} was tuned on {len(names)} of the {counted(tested, 'tested case')} ({ALLOW}): its figures are those "
        "of no test."
        for preset, names in found.items()
    )


def _facts(study: Study, name: str) -> tuple[str, str, list[str]]:
    dataset = study.dataset
    paths: set[Any] = {path for item in dataset.case(name).images.values() for path in item.paths}
    return dataset.declaration.name, name, [study.store.checksum(path) for path in sorted(paths)]
