"""``napari-refit train --learner fsss``: a segmentation network from pseudo-labels, or from reference masks."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_refit.cli_shared import (
    UsageFault,
    assigned,
    check_checkpoint_name,
    check_given_once,
    epoch_teller,
    print_json,
    print_training,
    read_params,
    training_progress,
)
from napari_refit.errors import ReadError
from napari_refit.params import IntensityParams
from napari_refit.recipe import RefitParams

if TYPE_CHECKING:
    from napari_refit.io.datasets import Dataset
    from napari_refit.learn.fsss.params import FsssParams
    from napari_refit.learn.fsss.pseudo import PseudoLabels

FSSS = "fsss"
LABELS = ("refit", "truth", "cam")
OPTIONS: dict[str, Any] = {
    "labels": Annotated[
        str | None,
        typer.Option(
            help="Of --learner fsss: train on refit (refined masks of a classifier's response maps), cam (the response "
            "maps alone) or truth (reference masks, the upper bound). (default refit)"
        ),
    ],
    "model": Annotated[
        str | None,
        typer.Option(help="Of --learner fsss: the classifier that refit and cam labels come from."),
    ],
    "preset": Annotated[
        str | None,
        typer.Option(
            help="Of --learner fsss: how its labels are made: parameters of the pipeline by name (see 'presets'), "
            "or a .json file."
        ),
    ],
    "rounds": Annotated[
        int | None,
        typer.Option(
            help="Of --learner fsss: how often to label and train; from the second round on, labels are fitted to the "
            "response of the network before. (1 to 9; default 1)"
        ),
    ],
    "images": Annotated[
        str | None,
        typer.Option(help="Of --learner fsss: pattern of images, e.g. {patient}/{case}_t2.nii.gz."),
    ],
    "masks": Annotated[
        str | None,
        typer.Option(help="Of --learner fsss: pattern of masks, e.g. {patient}/{case}_seg.nii.gz."),
    ],
}
"""What ``train`` offers for this learner alone."""

_PREFIX = "fsss."
_NAMES = {"architecture": "network"}
_TOLD = {"loss": "loss", "dice": "Dice"}


def train_fsss(
    source: Path,
    out: Path,
    set_: list[str] | None = None,
    preparation: str | None = None,
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    as_json: bool = False,
    **options: Any,
) -> None:
    """Train a segmentation network; the options are those of ``train``."""
    own = {name: options.pop(name, None) for name in OPTIONS}
    labels = own["labels"] or LABELS[0]
    _check(labels, own, out)
    options["rounds"] = own.pop("rounds")
    params, given, pipeline, intensity = _parameters(options, set_ or [], own["preset"], labels)

    from napari_refit.learn.files import Callbacks, check_target, resumed_params
    from napari_refit.learn.fsss.starting import start_network

    if resume:
        params = resumed_params(out, params, given)
    if labels == "truth" and params.rounds > 1:
        raise UsageFault(
            f"--rounds {params.rounds} is for --labels refit and cam: reference masks stay the same"
        )
    check_target(out, 1, rounds=params.rounds, resume=resume, overwrite=overwrite)
    try:
        # Shows at once what is missing; pseudo-labels take a while.
        start_network(params, 2, 1)
        dataset = _dataset(source, own, preparation)
    except (ValueError, ModuleNotFoundError) as error:
        raise UsageFault(str(error)) from error
    kept = out.with_name(f"{out.stem}.pseudo-labels")
    with training_progress(quiet=as_json) as shown:
        report = _trained(
            dataset,
            labels,
            own["model"],
            pipeline,
            params,
            intensity,
            out,
            kept,
            device=device,
            resume=resume,
            overwrite=overwrite,
            callbacks=Callbacks(shown, on_epoch=epoch_teller(params.epochs, _TOLD)),
        )
    if params.rounds == 1:
        shutil.rmtree(kept, ignore_errors=True)
    if as_json:
        print_json(report)
    else:
        _print_report(out, report)


def _check(labels: str, own: dict[str, Any], out: Path) -> None:
    if labels not in LABELS:
        raise UsageFault(f"--labels {labels}: take {', '.join(LABELS)}")
    if labels == "truth":
        for name in ("model", "preset"):
            if own[name] is not None:
                raise UsageFault(
                    f"--{name} is for --labels refit and cam; --labels truth uses reference masks"
                )
    elif own["model"] is None:
        raise UsageFault(f"--labels {labels} needs --model, the classifier that the pseudo-labels come from")
    check_checkpoint_name(out)


def _parameters(
    options: dict[str, Any], set_: list[str], preset: str | None, labels: str
) -> tuple[FsssParams, list[str], RefitParams, IntensityParams]:
    """Of the network, with the names that were said; of the pipeline; and how the network's images are scaled."""
    from pydantic import ValidationError

    from napari_refit.learn.fsss.params import FsssParams
    from napari_refit.recipe import reason

    said = {_NAMES.get(name, name): value for name, value in options.items() if value is not None}
    foreign = [name for name in said if name not in FsssParams.model_fields]
    if foreign:
        raise UsageFault(f"--{foreign[0].replace('_', '-')} is not for --learner fsss")
    pairs = assigned(set_)
    network = {key.removeprefix(_PREFIX): pairs.pop(key) for key in list(pairs) if key.startswith(_PREFIX)}
    check_given_once(said, network)
    if labels == "truth":
        foreign = [key for key in pairs if not key.startswith("intensity.")]
        if foreign:
            raise UsageFault(
                f"--set {foreign[0]}: with --labels truth there are fsss.NAME and intensity.NAME"
            )
    try:
        params = FsssParams().with_texts({**said, **network})
        pipeline = _pipeline(preset)
        scaling = {key: text for key, text in pairs.items() if key.startswith("intensity.")}
        # A preset's range is for its pipeline: the network is used with the default one.
        intensity = RefitParams().with_texts(scaling).intensity
        return params, [*said, *network], pipeline.with_texts(pairs), intensity
    except ValidationError as error:
        raise UsageFault(f"--preset {preset}: {reason(error)}") from error
    except ValueError as error:
        raise UsageFault(str(error)) from error


def _pipeline(preset: str | None) -> RefitParams:
    if preset is None:
        return RefitParams()
    return read_params(Path(preset)) if preset.endswith(".json") else RefitParams.preset(preset)


def _dataset(source: Path, own: dict[str, Any], preparation: str | None) -> Dataset:
    from napari_refit.io.datasets import find_dataset

    if not source.exists():
        raise ReadError(source, "there is no such file or folder; give a dataset, a folder or a .csv file")
    found = find_dataset(source, images=own["images"], masks=own["masks"])
    return found.prepared(preparation or "default")


def _trained(
    dataset: Dataset,
    labels: str,
    model: str | None,
    pipeline: RefitParams,
    params: FsssParams,
    intensity: IntensityParams,
    out: Path,
    kept: Path,
    **how: Any,
) -> dict[str, Any]:
    """Make the labels, train, and write the checkpoints; the report."""
    from napari_refit.io.datasets import image_labels, training_set
    from napari_refit.learn.fsss.files import train_fsss_to_file
    from napari_refit.learn.fsss.pixels import DatasetPixels
    from napari_refit.learn.fsss.rounds import train_on_pseudo_labels

    if labels == "truth":
        return train_fsss_to_file(DatasetPixels(dataset, intensity), params, out, **how)
    training = training_set(dataset, image_labels(dataset))

    def tell(number: int, found: PseudoLabels) -> None:
        which = f"round {number} of {params.rounds}: " if params.rounds > 1 else ""
        made = labels if number == 1 else LABELS[0]
        print(
            f"{which}{made} labels: {len(found.samples)} of {len(training)} images used{_left_out(found.counts)}",
            file=sys.stderr,
            flush=True,
        )

    return train_on_pseudo_labels(
        training,
        model,
        out,
        pipeline,
        params,
        labels,  # type: ignore[arg-type]
        intensity=intensity,
        source=f"{dataset.declaration.name}: {dataset.root.name}",
        cache=kept,
        tell=tell,
        **how,
    )


def _left_out(counts: dict[str, int]) -> str:
    parts = [f"{count} ({reason})" for reason, count in counts.items() if count]
    return f"; left out: {', '.join(parts)}" if parts else ""


def _print_report(out: Path, report: dict[str, Any]) -> None:
    data = report["data"]
    print_training(out, report["parameters"]["network"], report)
    labelling = data["labels"]
    print(
        f"  {labelling['labels']} labels of {data['images']} images{_left_out(labelling.get('left_out', {}))}"
    )
    rounds = report.get("rounds", [])
    if len(rounds) > 1:
        for row in rounds:
            dice = row["validation_dice"]
            print(
                f"  round {row['round']}: {row['checkpoint']}, {row['images']} images"
                f"{_left_out(row['labels'].get('left_out', {}))}"
                f"{'' if dice is None else f'; Dice {dice:.3f} against its labels'}"
            )
    for part in ("validation", "test"):
        found = report.get(part)
        if found and found["dice"] is not None:
            print(
                f"  {part:<10} Dice {found['dice']:.3f} (pooled {found['pooled_dice']:.3f}) against these labels, "
                f"{found['images']} images, {found['empty_in_both']} of them empty in both"
            )
