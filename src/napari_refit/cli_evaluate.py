"""``napari-refit evaluate``: methods on a dataset; with ``--check`` a look at the dataset before any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_refit.cli_evaluate_tables import print_report, print_results
from napari_refit.cli_shared import (
    Device,
    Json,
    UsageFault,
    WorkFailed,
    complain,
    first_line,
    print_json,
    progress,
    read_params,
    say,
)
from napari_refit.errors import Cancelled, ReadError

if TYPE_CHECKING:
    from napari_refit.study.run import Study
    from napari_refit.study.settings import StudySettings
    from napari_refit.tune.note import Note

DEFAULT_METHODS = "gradcam,refit"


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset, or its table of image-level labels.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only look for what is wrong with the dataset.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for stages and report; left out: evaluation-NAME.")
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Any of gradcam, refit, appearance, seam, cmer, fsss, fsss-cam, fsss-truth, separated by commas; "
            "blank and the best threshold are always there."
        ),
    ] = DEFAULT_METHODS,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="Also ReFit with this preset (paper: the dataset's own) or file of parameters, and if --methods names "
            "fsss-NAME, fsss on its masks; repeatable."
        ),
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Dataset by name; left out: recognised.")] = None,
    images: Annotated[str | None, typer.Option(help="Pattern, e.g. {patient}/{case}_t2.nii.gz.")] = None,
    masks: Annotated[str | None, typer.Option(help="Pattern, e.g. {patient}/{case}_seg.nii.gz.")] = None,
    preparation: Annotated[str, typer.Option(help="Named preparation, such as paper.")] = "default",
    folds: Annotated[
        int | None, typer.Option(help="So many folds over patients; left out: the dataset's default split.")
    ] = None,
    split: Annotated[Path | None, typer.Option(help="Split (JSON) to use, or to look at.")] = None,
    only_fold: Annotated[int, typer.Option(help="Work on this fold alone, from 1; 0: on all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the split and of all trainings.")] = 0,
    evaluate_: Annotated[
        str, typer.Option("--evaluate", help="Test only images with these labels, such as benign.")
    ] = "",
    gate: Annotated[
        str, typer.Option(help="preset: as the classifier predicts; label: by the image-level label.")
    ] = "preset",
    train_: Annotated[
        list[str] | None,
        typer.Option(
            "--train", help="A training parameter, key=value, or of one learner, seam:key=value; repeatable."
        ),
    ] = None,
    fsss_: Annotated[
        list[str] | None,
        typer.Option("--fsss", help="A parameter of fsss's training, key=value; repeatable."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A classifier for all folds, instead of training them.")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of a .pt or .pth --model.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many cases per fold, for a trial; 0: all.")] = 0,
    groups: Annotated[
        Path | None, typer.Option(help="With --check: write groups of near duplicates to this CSV.")
    ] = None,
    correct: Annotated[
        str,
        typer.Option(
            help="Also let a simulated user, who knows the reference masks, correct those of these methods: "
            "any of refit, appearance, refit-NAME, separated by commas."
        ),
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="With --correct: so many rounds of scribbles.")] = 2,
    clicks: Annotated[
        int, typer.Option(min=0, help="With --correct: at most so many clicks on clusters per image.")
    ] = 100,
    allow_tuned: Annotated[
        bool,
        typer.Option(
            "--allow-tuned",
            help="Also test presets on images that they were tuned on; the report then says so.",
        ),
    ] = False,
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
    """Compare methods on a dataset: train, choose thresholds, make masks, score, report.

    What is there already is used again, and what was stopped goes on. Thresholds are chosen on training and validation
    images; test images' masks are opened by the scores alone.
    """
    from napari_refit.io.datasets.registry import find_dataset
    from napari_refit.io.datasets.splits import Split

    try:
        found = find_dataset(dataset, layout, images=images, masks=masks).prepared(preparation)
        chosen = None if split is None else Split.load(split)
    except (ReadError, ValueError) as error:
        raise UsageFault(str(error)) from error
    if check:
        _check(found, chosen, groups, as_json)
        return
    from napari_refit.io.datasets import SplitParams
    from napari_refit.study.settings import UserSettings

    if folds is not None and split is not None:
        raise UsageFault("give either --folds or --split")
    try:
        settings = _settings(
            found.declaration.name, methods, preset or [], train_ or [], fsss_ or [], gate, seed
        )
        declared = found.default_split.model_dump() | {"seed": seed}
        wanted = chosen or SplitParams(
            **declared | ({} if folds is None else {"method": "folds", "folds": folds})
        )
    except ValueError as error:
        raise UsageFault(first_line(error)) from error
    corrected = tuple(part.strip() for part in correct.split(",") if part.strip())
    try:
        user = UserSettings(methods=corrected, rounds=rounds, clicks=clicks)
        settings = settings.with_changes(user=user)
    except ValueError as error:
        raise UsageFault(f"--correct {correct}: {error}") from error
    settings = settings.with_changes(
        preparation=preparation,
        evaluate=tuple(part.strip() for part in evaluate_.split(",") if part.strip()),
        limit=limit,
        only_fold=only_fold,
        model=model,
        arch=arch,
        device=device,
    )
    folder = out or Path(f"evaluation-{found.declaration.name}")
    run_study(
        found,
        settings,
        wanted,
        folder,
        fresh=fresh,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        tuned=tuned_notes(preset or []),
        allow_tuned=allow_tuned,
    )


def run_study(
    dataset: Any,
    settings: StudySettings,
    split: Any,
    out: Path,
    *,
    fresh: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    tuned: Mapping[str, Note] | None = None,
    allow_tuned: bool = False,
    after: Any = None,
) -> None:
    """Check the dataset, run a study, write and print its report.

    Parameters
    ----------
    dataset, settings, split, out
        As of `napari_refit.study.run.Study`.
    fresh, force, dry_run, as_json : bool
    tuned : mapping of str to Note, optional
        What presets were tuned on; if on cases that are tested, the study is not begun.
    allow_tuned : bool
        It is begun, and its report says so.
    after : callable, optional
        Given the study and its results when the report is written; returns what is added to the JSON.
    """
    from napari_refit.study.job import Stopped, check_before, finish

    try:
        with progress(quiet=as_json) as shown:
            try:
                study = check_before(
                    dataset, settings, split, out, fresh=fresh, force=force, progress=shown, say=say
                )
            except ValueError as error:
                raise UsageFault(str(error)) from error
            if dry_run:
                _print_plan(study.plan(), as_json)
                return
            if tuned:
                _check_tuned(study, tuned, allow_tuned)
            results = study.run()
            files = finish(study, results, shown)
    except (KeyboardInterrupt, Cancelled):
        complain("stopped; the same command goes on from here")
        raise WorkFailed from None
    except Stopped as error:
        for line in error.lines:
            complain(line)
        raise WorkFailed from None
    extra = after(study, results) if after is not None else {}
    if as_json:
        import json

        summary = json.loads(files["summary.json"].read_text(encoding="utf-8"))
        shown_files = {name: str(path) for name, path in files.items()}
        print_json(
            {
                **summary,
                "files": shown_files,
                "pieces": study.counts(),
                "failed": study.failed,
                "broken": study.broken,
                **extra,
            }
        )
    else:
        if after is None:
            print_results(results)
        counts = study.counts()
        print(f"{counts['made']} pieces made, {counts['reused']} reused, in {results.seconds['all']:.0f} s")
        print(f"See {files['report.html']}")
    reasons: dict[str, list[str]] = {}
    for key, why in study.failed.items():
        reasons.setdefault(why, []).append(key)
    for why, keys in reasons.items():
        complain(f"{', '.join(keys)} could not be run: {why}")
    if study.failed:
        raise WorkFailed


def _settings(
    name: str, methods: str, presets: list[str], train: list[str], fsss: list[str], gate: str, seed: int
) -> StudySettings:
    from napari_refit.cli_shared import assigned
    from napari_refit.learn.settings import TrainingParams
    from napari_refit.study.methods import choose_methods
    from napari_refit.study.settings import GATES, StudySettings

    if gate not in GATES:
        raise UsageFault(f"--gate {gate}: there are: {', '.join(GATES)}")
    keys = [part.strip() for part in methods.split(",") if part.strip()]
    common, training_of = by_learner(assigned(train))
    training = TrainingParams().with_texts({"seed": str(seed), **common})
    for learner, differing in training_of.items():
        training.with_texts({"learner": learner, **differing})
    return StudySettings(
        methods=choose_methods(keys, named_presets(name, presets)),
        training=training,
        training_of=training_of,
        fsss=assigned(fsss),
        gate=gate,  # type: ignore[arg-type]
    )


def by_learner(pairs: dict[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Parameters of all trainings, and those of one learner, whose keys begin with its name and a colon.

    Examples
    --------
    >>> by_learner({"epochs": "8", "seam:epochs": "5"})
    ({'epochs': '8'}, {'seam': {'epochs': '5'}})
    """
    common: dict[str, str] = {}
    special: dict[str, dict[str, str]] = {}
    for key, value in pairs.items():
        learner, colon, name = key.partition(":")
        if colon:
            special.setdefault(learner, {})[name] = value
        else:
            common[key] = value
    return common, special


def named_presets(dataset: str, names: list[str]) -> dict[str, Any]:
    """Presets by the name of their method: of the program, ``paper`` (the dataset's own), or files of parameters.

    Raises
    ------
    ValueError, ReadError
        If there is none of a name, or a file holds no parameters.
    """
    from napari_refit.recipe import RefitParams
    from napari_refit.study.protocols import PAPER, PAPER_PRESETS

    found = {}
    for name in names:
        if name.endswith(".json"):
            found[Path(name).stem] = read_params(Path(name))
        elif name == PAPER:
            if dataset not in PAPER_PRESETS:
                raise ValueError(f"the paper has no preset for {dataset}; 'napari-refit presets' lists all")
            found[PAPER] = RefitParams.preset(PAPER_PRESETS[dataset])
        else:
            found[name] = RefitParams.preset(name)
    return found


def tuned_notes(names: list[str]) -> dict[str, Note]:
    """What those presets that are files were tuned on, by the name of the preset.

    Raises
    ------
    ReadError
        If a file's note is damaged.
    """
    from napari_refit.tune.note import read_note

    files = {Path(name).stem: Path(name) for name in names if name.endswith(".json")}
    notes = {name: read_note(path) for name, path in files.items()}
    return {name: note for name, note in notes.items() if note is not None}


def _check_tuned(study: Study, notes: Mapping[str, Note], allowed: bool) -> None:
    from napari_refit.study.tuned import admission, refusal, tuned_cases

    found = tuned_cases(study, notes)
    if found and not allowed:
        raise UsageFault(refusal(study, found))
    study.settings = study.settings.with_changes(notes=(*study.settings.notes, *admission(study, found)))


def _print_plan(plan: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"plan": plan})
        return
    for item in plan:
        steps = "; ".join(f"{step} {there} of {count}" for step, (there, count) in item["steps"].items())
        print(f"fold {item['fold']}, {item['method']}: {item['error'] or steps}")


def _check(dataset: Any, split: Any, groups: Path | None, as_json: bool) -> None:
    from napari_refit.io.datasets.check import check_dataset
    from napari_refit.io.datasets.groups import write_groups

    with progress(quiet=as_json) as shown:
        report = check_dataset(dataset, split, progress=shown)
    if groups is not None:
        write_groups(groups, report.groups)
    if as_json:
        print_json(report.as_dict())
    else:
        print_report(report)
    if report.count("error"):
        raise WorkFailed
