"""``napari-refit reproduce``: the paper's experiments, and our table beside the printed one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_refit.cli_evaluate import run_study
from napari_refit.cli_shared import Device, Json, UsageFault, assigned
from napari_refit.errors import ReadError


def reproduce(
    experiment: Annotated[str, typer.Argument(help="busi, brats or decathlon.")],
    root: Annotated[
        Path, typer.Option(help="The dataset's folder; for brats TCGA-LGG will do, for decathlon any task.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for stages and report; left out: reproduction-NAME.")
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Beside the paper's preset, as of evaluate.")
    ] = "gradcam,refit",
    arch: Annotated[str | None, typer.Option(help="Architecture instead of the paper's.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights to start from instead of the paper's: imagenet, none, FILE.")
    ] = None,
    train_: Annotated[
        list[str] | None, typer.Option("--train", help="Another training parameter, key=value; repeatable.")
    ] = None,
    only_fold: Annotated[int, typer.Option(help="Work on this fold alone, from 1; 0: on all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the split and of all trainings.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many cases per fold, for a trial; 0: all.")] = 0,
    device: Device = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make everything anew.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Leave out cases with errors instead of stopping.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is there and what is lacking.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rerun one of the paper's experiments: its preparation, split, classifier and preset.

    Prints our figures beside the printed ones, and in what the run differs from the paper's.
    """
    from napari_refit.io.datasets.registry import find_dataset
    from napari_refit.study.reproducing import beside_printed, plan_reproduction

    try:
        keys = [part.strip() for part in methods.split(",") if part.strip()]
        plan = plan_reproduction(
            experiment,
            find_dataset(root),
            methods=keys,
            arch=arch,
            weights=weights,
            training=assigned(train_ or []),
            seed=seed,
        )
    except (ReadError, ValueError) as error:
        raise UsageFault(str(error)) from error
    trial = [f"A trial on at most {limit} cases per fold."] if limit else []
    differences = [*trial, *plan.deviations]
    settings = plan.settings.with_changes(
        limit=limit, only_fold=only_fold, device=device, notes=tuple(differences)
    )
    split = plan.protocol.split.model_copy(update={"seed": seed})

    def after(study: Any, results: Any) -> dict[str, Any]:
        del study
        table = beside_printed(plan, results)
        if not as_json:
            _print(plan.protocol.title, table, differences)
        return {"experiment": experiment, "beside_printed": table, "differences": differences}

    run_study(
        plan.dataset,
        settings,
        split,
        out or Path(f"reproduction-{experiment}"),
        fresh=fresh,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        after=after,
    )


def _print(title: str, table: list[dict[str, Any]], differences: list[str]) -> None:
    print(f"{title}, in %")
    head = ("", "paper DSC / mIoU", "ours DSC / mIoU", "ours, Dice of the foreground (95 %)")
    lines = [head, *(_cells(row) for row in table)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(
        "DSC as the paper has it: 2 mIoU / (1 + mIoU), pooled over all images, with the background as a class."
    )
    print("In what this differs from the paper:" if differences else "Nothing differs from the paper.")
    for difference in differences:
        print(f"  {difference}")


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    ours = "–" if row["dsc"] is None else f"{row['dsc']:.1f} / {row['miou']:.1f}"
    printed = "–" if row["printed_dsc"] is None else f"{row['printed_dsc']:.1f} / {row['printed_miou']:.1f}"
    dice = ""
    if row["dice"] is not None:
        low, high = row["dice_95"]
        dice = f"{row['dice']:.1f} ({low:.1f} to {high:.1f})"
    return row["row"], printed, ours, dice
