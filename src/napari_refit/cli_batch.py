"""``napari-refit batch``: its options are made from the declarations of `napari_refit.batch.settings`."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_refit.batch.settings import BatchParams
from napari_refit.cli_shared import (
    Arch,
    Device,
    Json,
    Model,
    UsageFault,
    WorkFailed,
    chosen_modalities,
    chosen_params,
    complain,
    parameter,
    print_json,
    printable,
)
from napari_refit.declare import Declaration, declarations

if TYPE_CHECKING:
    from napari_refit.batch.cases import Problem
    from napari_refit.batch.checking import Expected
    from napari_refit.batch.record import Record
    from napari_refit.batch.run import BatchResult

ACTIONS = {
    "refine": "would be refined",
    "again": "would be made again",
    "skip": "would be skipped",
    "keep": "would be kept",
    "fail": "would fail",
}


def batch(
    inputs: list[str],
    out: Path,
    model: str | None = None,
    arch: str | None = None,
    modalities: str = "",
    preset: str | None = None,
    params: Path | None = None,
    set_: list[str] | None = None,
    device: str | None = None,
    dry_run: bool = False,
    as_json: bool = False,
    **options: Any,
) -> None:
    """Refine many images, on this machine or a Dask cluster, and write a report.

    The input is files, folders, quoted patterns such as "scans/**/*.nii.gz", CSV files with the column image and, where
    wanted, truth, response and class (paths relative to the table), or a BIDS dataset. A file that fails costs one
    line of the report. The same command goes on where a stopped or broken run stood.
    """
    from napari_refit.batch.cases import find_cases
    from napari_refit.batch.one import Recipe
    from napari_refit.batch.run import run_batch

    settings = _settings(options)
    recipe = Recipe(
        chosen_params(preset, params, set_ or []), model, arch, device, chosen_modalities(modalities)
    )
    cases, problems = find_cases(inputs, out, layout=settings.layout)
    if not cases:
        for problem in problems:
            complain(printable(str(problem)))
        if not problems:
            complain("there is nothing to refine")
        raise WorkFailed
    if recipe.model is None and all(case.response is None for case in cases):
        raise UsageFault("give a classifier (--model), or a CSV file with a column response")
    if dry_run:
        _dry_run(cases, problems, recipe, out, settings, as_json)
        return
    with _shown(len(cases) + len(problems)) as shown, _stoppable() as finishing:
        result = run_batch(
            cases,
            recipe,
            out,
            settings,
            progress=shown.progress,
            on_record=shown.record,
            finishing=finishing,
            problems=problems,
            notice=shown.notice,
        )
    _tell(result, out, as_json)


def _settings(options: dict[str, Any]) -> BatchParams:
    from pydantic import ValidationError

    try:
        return BatchParams(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        message = str(first["msg"]).removeprefix("Value error, ")
        raise UsageFault(f"--{name} {first['input']}: {message[:1].lower()}{message[1:]}") from error


def _tell(result: BatchResult, out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from napari_refit.batch.record import counts

    found = counts(result.records)
    report = out / "report.html"
    if as_json:
        content = {
            "out": str(out),
            "report": str(report) if report.exists() else None,
            "stopped": result.stopped,
            "counts": dict(found),
            "results": [asdict(record) for record in result.records],
        }
        print_json(content)
    else:
        skipped = f", {found['skipped']} skipped (done before)" if found["skipped"] else ""
        cancelled = f", {found['cancelled']} given up" if found["cancelled"] else ""
        print(printable(f"{out}: {found['done']} done{skipped}, {found['failed']} failed{cancelled}"))
        if report.exists():
            print(printable(f"See {report}"))
    if result.stopped and result.is_whole:
        print(f"napari-refit: {result.stopped}", file=sys.stderr)
    elif result.stopped:
        complain(printable(result.stopped))
    if found["failed"] or found["cancelled"] or not result.is_whole:
        raise WorkFailed


class _Shown:
    """Progress for people: a bar where there is a terminal, else a line per case; on stderr."""

    def __init__(self, total: int, bar: Any = None) -> None:
        self._total, self._bar, self._done = total, bar, 0
        self._task = None if bar is None else bar.add_task("starting", total=total)

    def progress(self, done: int, total: int, text: str) -> None:
        if self._bar is not None:
            from rich.markup import escape

            self._bar.update(self._task, completed=done, total=total, description=escape(printable(text)))

    def record(self, record: Record) -> None:
        self._done += 1
        if record.state == "failed":
            self._print(f"napari-refit: error: {record.name}: {record.error}")
        elif self._bar is None:
            self._print(f"{self._done}/{self._total} {record.name}: {_became(record)}")

    def notice(self, text: str) -> None:
        self._print(f"napari-refit: {text}")

    def _print(self, text: str) -> None:
        text = printable(text)
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _became(record: Record) -> str:
    if record.state == "skipped":
        kept = [text for text in record.messages if "--overwrite" in text]
        return f"skipped, {kept[0]}" if kept else "skipped, done before with the same inputs and parameters"
    dice = record.metrics.get("refined", {}).get("dice")
    score = "" if dice is None else f", DSC {dice:.3f}"
    return f"{record.state}, {record.seconds:.1f} s{score}"


@contextlib.contextmanager
def _shown(total: int) -> Iterator[_Shown]:
    if not sys.stderr.isatty():
        yield _Shown(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Shown(total, bar)


@contextlib.contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    from napari_refit.batch.stopping import finishing_on_signals

    def notice() -> None:
        text = "napari-refit: stopping after the files at hand; press Ctrl-C again to stop at once"
        print(text, file=sys.stderr, flush=True)

    with finishing_on_signals(notice) as finishing:
        yield finishing


def _dry_run(
    cases: Sequence[Any],
    problems: Sequence[Problem],
    recipe: Any,
    out: Path,
    settings: BatchParams,
    as_json: bool,
) -> None:
    from napari_refit.batch.checking import check_cases
    from napari_refit.batch.files import OutputFolder
    from napari_refit.batch.run import file_checksum_of

    checksum = file_checksum_of(recipe.model)
    with _shown(len(cases)) as shown:
        expected = check_cases(
            cases,
            recipe,
            OutputFolder(out.absolute()),
            settings,
            model_checksum=checksum,
            progress=shown.progress,
        )
    wrong = len(problems) + sum(item.action == "fail" for item in expected)
    if as_json:
        print_json(
            {
                "out": str(out),
                "cases": [_as_dict(item) for item in expected],
                "problems": [
                    {"case": item.case, "path": str(item.path), "text": item.text} for item in problems
                ],
                "counts": {action: sum(item.action == action for item in expected) for action in ACTIONS},
            }
        )
    else:
        for item in expected:
            reason = f" ({item.text})" if item.text else ""
            where = f" -> {item.case.output}" if item.action in ("refine", "again") else ""
            print(printable(f"{item.case.name}: {ACTIONS[item.action]}{where}{reason}"))
        for problem in problems:
            print(printable(f"{problem.case}: would fail ({problem})"))
        parts = [
            f"{sum(item.action == action for item in expected)} {text}"
            for action, text in ACTIONS.items()
            if action != "fail" and any(item.action == action for item in expected)
        ]
        print(", ".join([*parts, f"{wrong} would fail" if wrong else "nothing is wrong"]))
    if wrong:
        raise WorkFailed


def _as_dict(item: Expected) -> dict[str, Any]:
    case = item.case
    return {
        "name": case.name,
        "image": str(case.image),
        "output": str(case.output),
        "truth": None if case.truth is None else str(case.truth),
        "response": None if case.response is None else str(case.response),
        "classes": case.classes,
        "action": item.action,
        "text": item.text,
    }


def _parameters() -> list[inspect.Parameter]:
    """The command's options: its own, and those that are declared."""

    inputs = typer.Argument(help="Files, folders, quoted patterns, CSV files or a BIDS dataset.")
    modalities = typer.Option(
        help="For a classifier of several modalities: their positions in the image, from 0, as 0,1."
    )
    return [
        parameter("inputs", Annotated[list[str], inputs]),
        parameter("out", Annotated[Path, typer.Option(help="Folder for the results; it mirrors the input.")]),
        parameter("model", Model, None),
        parameter("arch", Arch, None),
        parameter("modalities", Annotated[str, modalities], ""),
        parameter(
            "preset", Annotated[str | None, typer.Option(help="Named parameters; see 'presets'.")], None
        ),
        parameter("params", Annotated[Path | None, typer.Option(help="Parameters as JSON.")], None),
        parameter(
            "set_",
            Annotated[list[str] | None, typer.Option("--set", help="One parameter, key=value; repeatable.")],
            None,
        ),
        parameter("device", Device, None),
        *(parameter(item.name, _option(item), None) for item in declarations(BatchParams)),
        parameter(
            "dry_run",
            Annotated[
                bool, typer.Option("--dry-run", help="Only list what would be done, and what is wrong.")
            ],
            False,
        ),
        parameter("as_json", Json, False),
    ]


def _option(item: Declaration) -> Any:
    name = item.name.replace("_", "-")
    if item.kind == "bool":
        flag = f"--{name}/--no-{name}" if item.default else f"--{name}"
        return Annotated[bool | None, typer.Option(flag, help=item.help)]
    span = f"{item.low:g} to {item.high:g}; " if item.low is not None and item.high is not None else ""
    choices = f"{', '.join(item.choices)}; " if item.choices else ""
    default = f"default {item.default}" if item.default != "" else ""
    about = f"{span}{choices}{default}".removesuffix("; ")
    kind = {"int": int, "float": float}.get(item.kind, str)
    text = f"{item.help} ({about})" if about else item.help
    return Annotated[kind | None, typer.Option(f"--{name}", help=text)]


batch.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined]
batch.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters()}
