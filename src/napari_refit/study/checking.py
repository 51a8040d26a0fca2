"""A look at a dataset before a study, kept as long as its files stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_refit.errors import ReadError
from napari_refit.io.datasets import Dataset, Split, SplitParams
from napari_refit.io.datasets.check import check_dataset
from napari_refit.recipe import digest
from napari_refit.study.settings import Listener
from napari_refit.study.store import Store, make_key

_ABOUT_SEVERAL = ("duplicate", "near duplicate", "split")


@dataclass(frozen=True)
class Look:
    """What a look at a dataset found, as far as a study is concerned.

    Attributes
    ----------
    errors : tuple of str
        One line each.
    unusable : dict of str to str
        Cases that errors are about, and what is wrong.
    without_mask : tuple of str
        Cases that cannot be tested.
    groups : dict of str to str
        Case to group: what is tied already, and near duplicates that were found.
    """

    errors: tuple[str, ...]
    unusable: Mapping[str, str] = field(default_factory=dict)
    without_mask: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)


def look_at(dataset: Dataset, split: Split | None, store: Store, listener: Listener | None = None) -> Look:
    """Check a dataset (see `napari_refit.io.datasets.check.check_dataset`), unless that was done before.

    Parameters
    ----------
    dataset : Dataset
        Prepared.
    split : Split, optional
        A split to check along; without one, none is made.
    store : Store
    listener : Listener, optional

    Returns
    -------
    Look
    """
    listener = listener or Listener()
    files = [
        [str(path) for item in case.images.values() for path in item.paths]
        + [str(path) for path in (case.truth.paths if case.truth else ())]
        for case in dataset.cases
    ]
    stamps = [_stamp(store, paths) for paths in files]
    groups = [(case.name, case.patient, case.group, case.label) for case in dataset.cases]
    findings = [item.as_dict() for item in dataset.findings]
    key = make_key("check", stamps, groups, digest(dataset.preparation), split, findings)
    path = store.path("check", suffix=".json")
    content: dict[str, Any] | None = store.load_json(path, key)
    if content is None:
        chosen = split or Split(dataset.declaration.name, SplitParams(), ())
        report = check_dataset(dataset, chosen, progress=listener.progress, cancelled=listener.cancelled)
        found = [item for item in report.findings if item.severity == "error"]
        content = {
            "errors": [
                {
                    "kind": item.kind,
                    "case": item.case,
                    "text": f"{item.where}: {item.message}" if item.where else item.message,
                }
                for item in found
            ],
            "groups": report.groups,
        }
        store.save_json(path, key, content)
    names = {case.name for case in dataset.cases}
    unusable = {
        item["case"]: item["text"]
        for item in content["errors"]
        if item["case"] in names and item["kind"] not in _ABOUT_SEVERAL
    }
    return Look(
        tuple(item["text"] for item in content["errors"]),
        unusable,
        tuple(case.name for case in dataset.cases if case.truth is None),
        content["groups"],
    )


def _stamp(store: Store, paths: list[str]) -> list[str]:
    found = []
    for path in paths:
        try:
            found.append(store.checksum(Path(path)))
        except ReadError as error:
            found.append(str(error))
    return found
