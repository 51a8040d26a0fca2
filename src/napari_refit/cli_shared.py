"""What the commands of the command line share: common options, errors, progress, output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_refit.errors import WriteError
from napari_refit.errors import one_line as one_line

Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps; left out: the fastest there is.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


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


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, f"cannot make the folder ({error.strerror})") from error


def naming(error: BaseException, path: Path) -> str:
    text = one_line(error)
    return text if str(path) in text else f"{path}: {text}"


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
