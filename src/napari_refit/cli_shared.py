"""What the commands of the command line share: common options, errors, progress, output."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_refit.errors import Cancelled, ReadError, WriteError
from napari_refit.errors import naming as naming
from napari_refit.errors import one_line as one_line

if TYPE_CHECKING:
    from napari_refit.recipe import RefitParams

Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps; left out: the fastest there is.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

Model = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint (.safetensors, .pt, .pth) or a torchvision name such as resnet34:imagenet."
    ),
]
Arch = Annotated[str | None, typer.Option(help="Architecture of a .pt or .pth checkpoint.")]


class WorkFailed(Exception):
    """Work failed for a reason that is already printed."""


class UsageFault(Exception):
    """Options that do not fit together."""


def assigned(assignments: Sequence[str]) -> dict[str, str]:
    """The pairs of ``--set key=value``."""
    pairs = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageFault(f"--set {assignment}: write key=value")
        pairs[key.strip()] = value.strip()
    return pairs


def read_params(path: Path) -> RefitParams:
    """Parameters of the pipeline from a JSON file.

    Raises
    ------
    ReadError
        If it cannot be read.
    ValueError
        If it holds something else.
    """
    from napari_refit.recipe import RefitParams

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(
            path, f"cannot read the parameters ({getattr(error, 'strerror', None) or error})"
        ) from error
    return RefitParams.model_validate_json(text)


def chosen_params(preset: str | None, file: Path | None, assignments: Sequence[str]) -> RefitParams:
    """The parameters that ``--preset``, ``--params`` and ``--set`` ask for."""
    from pydantic import ValidationError

    from napari_refit.recipe import RefitParams, reason

    if preset is not None and file is not None:
        raise UsageFault("give either --preset or --params")
    try:
        chosen = read_params(file) if file is not None else RefitParams.preset(preset or "default")
        return chosen.with_texts(assigned(assignments))
    except ValidationError as error:
        raise UsageFault(f"{f'{file}: ' if file else ''}{reason(error)}") from error
    except ValueError as error:
        raise UsageFault(str(error)) from error


def chosen_modalities(text: str) -> tuple[int, ...]:
    """The positions of ``--modalities``."""
    from napari_refit.modalities import parse_modalities

    try:
        return parse_modalities(text)
    except ValueError as error:
        raise UsageFault(str(error)) from error


def check_given_once(options: Iterable[str], assignments: Mapping[str, str]) -> None:
    """Complain of a parameter that is given as an option and by ``--set``."""
    for name in options:
        if name in assignments:
            raise UsageFault(f"{name} is given as an option and by --set; give it once")


def check_checkpoint_name(out: Path) -> None:
    if out.suffix.lower() != ".safetensors":
        raise UsageFault(f"--out {out}: a checkpoint's name must end in .safetensors")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, f"cannot make the folder ({error.strerror})") from error


def parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """An option or argument of a command whose signature is put together."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def first_line(error: ValueError) -> str:
    """What is wrong with a value; of several that are wrong, with the first."""
    from pydantic import ValidationError

    from napari_refit.recipe import reason

    return reason(error) if isinstance(error, ValidationError) else str(error)


def say(text: str) -> None:
    """Tell the user at once, apart from what is printed for programs."""
    print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """A text that changes nothing on a terminal but what it says: control characters of file names are escaped.

    Examples
    --------
    >>> print(printable("scan\\x1b[31m.nii"))
    scan\\x1b[31m.nii
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def complain(message: str) -> None:
    print(f"napari-refit: error: {' '.join(message.split())}", file=sys.stderr)


def print_json(content: Any) -> None:
    from napari_refit.io.sidecar import plain

    print(json.dumps(plain(content), ensure_ascii=False))


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A progress bar on stderr where there is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        yield show


@contextlib.contextmanager
def training_progress(quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """As `progress`; where a training is stopped, how to go on is said."""
    try:
        with progress(quiet) as shown:
            yield shown
    except (KeyboardInterrupt, Cancelled):
        complain("stopped; the same command with --resume goes on after the last whole epoch")
        raise WorkFailed from None


def epoch_teller(
    epochs: int, figures: Mapping[str, str], folds: int = 1
) -> Callable[[int, dict[str, Any]], None]:
    """Say each epoch on a line of stderr.

    Parameters
    ----------
    epochs, folds : int
        At most so many.
    figures : mapping of str to str
        Of an epoch's row, what is told, and how it is called.
    """

    def say(fold: int, row: dict[str, Any]) -> None:
        parts = [
            f"{part} {', '.join(f'{title} {row[part][name]:.3f}' for name, title in figures.items())}"
            for part in ("training", "validation")
        ]
        where = f"fold {fold} of {folds}, " if fold else ""
        best = " (best so far)" if row["best"] else ""
        print(
            f"{where}epoch {row['epoch']} of {epochs}: {'; '.join(parts)}; {row['seconds']:.1f} s{best}",
            file=sys.stderr,
            flush=True,
        )

    return say


def print_training(out: Path, what: str, report: Mapping[str, Any]) -> None:
    """Say which network was trained, for how long."""
    print(
        f"{out}: {what}, best epoch {report['best_epoch']} of {report['epochs']}, {report['seconds']:.0f} s"
    )
