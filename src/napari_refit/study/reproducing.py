"""The paper's experiments rerun: a study's settings from a protocol, and our table beside the printed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_refit.io.datasets import Dataset
from napari_refit.learn.settings import TrainingParams
from napari_refit.recipe import RefitParams
from napari_refit.study.methods import choose_methods
from napari_refit.study.protocols import PAPER, PROTOCOLS, Protocol, deviations
from napari_refit.study.results import StudyResults
from napari_refit.study.settings import StudySettings
from napari_refit.study.statistics import analyse

NO_TASK_PREPARATION = "merged"


@dataclass(frozen=True)
class Plan:
    """A protocol on the dataset that is there.

    Attributes
    ----------
    protocol : Protocol
    dataset : Dataset
        Prepared as the paper did.
    settings : StudySettings
    deviations : tuple of str
        In what it is not the paper's.
    """

    protocol: Protocol
    dataset: Dataset
    settings: StudySettings
    deviations: tuple[str, ...]


def plan_reproduction(
    name: str,
    dataset: Dataset,
    *,
    methods: Sequence[str] = ("gradcam", "refit"),
    arch: str | None = None,
    weights: str | None = None,
    training: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Plan:
    """Settings of one of the paper's experiments.

    Parameters
    ----------
    name : str
        One of `PROTOCOLS`.
    dataset : Dataset
        As it was found: the paper's, or what may stand in for it.
    methods : sequence of str
        Beside the preset of the paper.
    arch, weights : str, optional
        Instead of the paper's.
    training : mapping of str to str, optional
        Other parameters of the training, as texts.
    seed : int

    Raises
    ------
    ValueError
        If the experiment is unknown, the dataset does not belong to it, or a parameter is wrong.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown experiment {name!r}; there are: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    found = dataset.declaration.name
    if found != protocol.dataset and found not in protocol.stand_ins:
        known = " or ".join([protocol.dataset, *protocol.stand_ins])
        raise ValueError(f"{dataset.root}: is {dataset.declaration.title}; {name} wants {known}")
    prepared = dataset.prepared(PAPER if PAPER in dataset.preparations else _general(dataset))
    architecture, start = arch or protocol.architectures[0], weights or protocol.weights
    changes = dict(training or {})
    if changes and not protocol.training:
        raise ValueError(f"the classifier of {name} is not trained: {next(iter(changes))} changes nothing")
    params = TrainingParams().with_texts(
        {
            **protocol.training,
            **changes,
            "architecture": architecture,
            "weights": start,
            "seed": seed,
        }
    )
    settings = StudySettings(
        methods=choose_methods(list(methods), {PAPER: RefitParams.preset(protocol.preset)}),
        preparation=PAPER if PAPER in dataset.preparations else _general(dataset),
        training=params,
        model=None if protocol.training else f"{architecture}:{start}",
    )
    asked = {key: getattr(params, key) for key in changes}
    return Plan(
        protocol, prepared, settings, tuple(deviations(protocol, prepared, architecture, start, asked))
    )


def _general(dataset: Dataset) -> str:
    return NO_TASK_PREPARATION if NO_TASK_PREPARATION in dataset.preparations else "default"


def beside_printed(plan: Plan, results: StudyResults, resamples: int = 1000) -> list[dict[str, Any]]:
    """Our figures beside the paper's, in percent.

    Returns
    -------
    list of dict
        ``row``, ``printed_dsc``, ``printed_miou`` (None where nothing is printed), ``dsc`` and ``miou`` (pooled, in the
        paper's convention), ``dice`` (of the foreground, mean over images), ``dice_95``; None where it was not run.
    """
    statistics = analyse(results.rows, [method.key for method in results.methods], resamples=resamples)
    titles = {method.key: method.title for method in results.methods}
    rows, shown = [], set()
    for printed in plan.protocol.printed:
        note = f" ({printed.note})" if printed.note else ""
        row = {"row": f"{printed.title}{note}", "printed_dsc": printed.dsc, "printed_miou": printed.miou}
        rows.append({**row, **_figures(statistics, printed.method if printed.method in titles else "")})
        shown.add(printed.method)
    for key, title in titles.items():
        if key not in shown:
            row = {"row": title, "printed_dsc": None, "printed_miou": None}
            rows.append({**row, **_figures(statistics, key)})
    return rows


def _figures(statistics: Any, key: str) -> dict[str, Any]:
    if not key:
        return {"method": None, "dsc": None, "miou": None, "dice": None, "dice_95": None}
    figures = statistics.of(key).figures
    dice = figures["dice_mean"]
    return {
        "method": key,
        "dsc": 100 * figures["paper_dsc"].value,
        "miou": 100 * figures["miou_pooled"].value,
        "dice": 100 * dice.value,
        "dice_95": (100 * dice.low, 100 * dice.high),
    }
