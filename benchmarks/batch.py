"""What a batch costs, what it gains from workers, and what it keeps when it is killed.

Run ``python -m benchmarks.batch kill|throughput|overhead [options]``.

``kill`` makes a study of small volumes with response maps, refines it once unbroken, then again and again with kill -9
at a random moment, and once more to the end each time; outputs must be the same, byte for byte, and nothing may be left
over. ``throughput`` refines a folder with one worker and with several. ``overhead`` compares a batch with the bare
pipeline (read, refine, write) in the same process, in turns, and prints medians.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np

from napari_refit.batch.cases import Case, find_cases
from napari_refit.batch.one import Recipe, forget_model
from napari_refit.batch.record import RECORDS
from napari_refit.batch.run import SUMMARY, run_batch
from napari_refit.batch.settings import BatchParams
from napari_refit.recipe import RefitParams

VARYING = (RECORDS, SUMMARY, "report.html")
"""What holds dates and seconds."""


def make_study(folder: Path, n_files: int, seed: int = 0) -> Path:
    """Small volumes with a bright ball each, their response maps and truths; the table that names them."""
    rng = np.random.default_rng(seed)
    rows = ["image,truth,response"]
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in (24, 20, 3)), indexing="ij"))
    for k in range(n_files):
        centre = np.array([rng.uniform(8, 16), rng.uniform(7, 13), 1.0])[:, None, None, None]
        inside = (((grid - centre) ** 2).sum(axis=0) < 25).astype(np.uint8)
        image = (inside * 400.0 + rng.normal(0, 30, inside.shape)).astype(np.int16)
        response = np.clip(inside * 200.0 + rng.normal(20, 10, inside.shape), 0, 255).astype(np.uint8)
        for part, values in (("image", image), ("truth", inside), ("response", response)):
            path = folder / f"site{k % 3}" / f"{part}{k:02d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            with gzip.GzipFile(path, "wb", mtime=0) as file:
                nibabel.Nifti1Image(values, np.diag([0.8, 0.8, 3.0, 1.0])).to_stream(file)
        rows.append(",".join(f"site{k % 3}/{part}{k:02d}.nii.gz" for part in ("image", "truth", "response")))
    table = folder / "study.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def outputs(out: Path) -> dict[str, bytes]:
    """Every file of a finished batch but those that hold dates and seconds."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in VARYING
    }


def refine(table: Path, out: Path) -> None:
    """Refine a study in this process."""
    cases, problems = find_cases([table], out)
    params = RefitParams(n_segments=40, sigma=0)
    result = run_batch(cases, Recipe(params), out, BatchParams(memory="16 GB"), problems=problems)
    assert not result.stopped, result.stopped


def _in_a_child(action: Callable[[], None], kill_after: float | None = None) -> tuple[int, float]:
    """Run something in a process of its own, perhaps not to its end: its status and seconds."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return status, time.perf_counter() - start


def kill(arguments: argparse.Namespace) -> dict[str, object]:
    """Kill batches at random moments."""
    # Threads do not survive a fork.
    os.environ["REFIT_THREADS"] = "1"
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = make_study(folder / "study", arguments.files)
        # The first run compiles and imports, so that moments are spread over the work.
        refine(table, folder / "warm")
        began = time.time()
        status, whole = _in_a_child(lambda: refine(table, folder / "unbroken"))
        assert status == 0
        sidecars = (folder / "unbroken").rglob("*.refit.json")
        # The report takes longer than these small volumes do: most moments are to fall into their work.
        work = max(path.stat().st_mtime for path in sidecars) - began
        expected = outputs(folder / "unbroken")
        n_labels = sum(path.endswith(".nii.gz") for path in expected)
        done, partial, different = [], 0, []
        for k in range(arguments.kills):
            out = folder / f"killed{k}"
            moment = chance.uniform(0.0, whole if k % 5 == 4 else work)
            status, _ = _in_a_child(lambda out=out: refine(table, out), moment)
            done.append(sum(path.endswith(".refit.json") for path in outputs(out)))
            partial += any(Path(path).name.startswith(".refit-") for path in outputs(out))
            assert os.WIFSIGNALED(status) or done[-1] == n_labels
            status, _ = _in_a_child(lambda out=out: refine(table, out))
            assert status == 0
            found = outputs(out)
            if found != expected:
                names = {path for path in {*found, *expected} if found.get(path) != expected.get(path)}
                different.append(sorted(names)[:5])
    return {
        "files": arguments.files,
        "kills": arguments.kills,
        "unbroken_seconds": round(whole, 2),
        "of_which_before_the_report": round(work, 2),
        "results": n_labels,
        "compared_files": len(expected),
        "done_when_killed": done,
        "killed_within_a_file": partial,
        "different": different,
    }


def _cases(arguments: argparse.Namespace, out: Path) -> list[Case]:
    cases, problems = find_cases([arguments.images], out)
    assert not problems, problems
    return cases[: arguments.limit or None]


def throughput(arguments: argparse.Namespace) -> dict[str, object]:
    """The same files with one worker and with several, in turns."""
    seconds: dict[int, list[float]] = {1: [], arguments.workers: []}
    inside: dict[int, list[float]] = {1: [], arguments.workers: []}
    recipe = Recipe(RefitParams.preset(arguments.preset), str(arguments.model))
    with tempfile.TemporaryDirectory() as name:
        for turn in range(arguments.turns):
            for workers in seconds:
                out = Path(name) / f"{turn}-{workers}"
                cases = _cases(arguments, out)
                times: list[float] = []
                start = time.perf_counter()
                result = run_batch(
                    cases,
                    recipe,
                    out,
                    BatchParams(workers=workers),
                    on_record=lambda record, times=times: times.append(time.perf_counter()),
                )
                seconds[workers].append(time.perf_counter() - start)
                # From the first result to the last: without the start of processes.
                inside[workers].append((times[-1] - times[0]) / (len(times) - 1))
                assert all(record.state == "done" for record in result.records), result.records
                forget_model()
    one, several = (statistics.median(seconds[workers]) for workers in seconds)
    steady_one, steady_several = (statistics.median(inside[workers]) for workers in inside)
    return {
        "cases": len(cases),
        "workers": arguments.workers,
        "seconds": {str(workers): [round(value, 1) for value in found] for workers, found in seconds.items()},
        "times_faster": round(one / several, 2),
        "seconds_per_case": {"1": round(steady_one, 3), str(arguments.workers): round(steady_several, 3)},
        "times_faster_once_started": round(steady_one / steady_several, 2),
    }


def overhead(arguments: argparse.Namespace) -> dict[str, object]:
    """A batch and the bare pipeline, in turns."""
    from napari_refit.batch.one import model_of
    from napari_refit.io.read import load
    from napari_refit.io.write import save
    from napari_refit.pipeline import Refit

    params = RefitParams.preset(arguments.preset)
    recipe = Recipe(params, str(arguments.model))
    found: dict[str, list[float]] = {"bare": [], "batch": [], "batch without pictures": []}
    with tempfile.TemporaryDirectory() as name:
        cases = _cases(arguments, Path(name))
        model = model_of(recipe)
        recipe = Recipe(params, model)
        for turn in range(-1, arguments.turns):
            start = time.perf_counter()
            for case in cases:
                volume = load(case.image)
                result = Refit(volume, model, params).volume()
                target = Path(name) / "bare" / case.output.name
                target.parent.mkdir(exist_ok=True)
                save(target, result.mask, like=volume, labels=True)
            bare = time.perf_counter() - start
            spent = []
            for thumbnails in (True, False):
                start = time.perf_counter()
                out = Path(name) / f"{turn}-{thumbnails}"
                moved = _cases(arguments, out)
                run_batch(moved, recipe, out, BatchParams(thumbnails=thumbnails))
                spent.append(time.perf_counter() - start)
            # The first turn compiles and fills the disk's cache.
            if turn >= 0:
                for row, value in zip(found, (bare, *spent), strict=True):
                    found[row].append(value)
    shares = {
        row: statistics.median(value / bare - 1 for value, bare in zip(values, found["bare"], strict=True))
        for row, values in found.items()
        if row != "bare"
    }
    return {
        "cases": len(cases),
        "seconds": {row: [round(value, 2) for value in values] for row, values in found.items()},
        "overhead_percent": {row: round(100 * share, 1) for row, share in shares.items()},
    }


def main() -> int:
    """Run one of them and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    killing = commands.add_parser("kill")
    killing.add_argument("--files", type=int, default=40)
    killing.add_argument("--kills", type=int, default=20)
    killing.add_argument("--seed", type=int, default=0)
    for name in ("throughput", "overhead"):
        timed = commands.add_parser(name)
        timed.add_argument("images", help="a folder of volumes")
        timed.add_argument("--model", type=Path, required=True, help="a checkpoint")
        timed.add_argument("--preset", default="default")
        timed.add_argument("--limit", type=int, default=0, help="so many of them; 0: all")
        timed.add_argument("--turns", type=int, default=3)
        timed.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    figures = {"kill": kill, "throughput": throughput, "overhead": overhead}[arguments.command](arguments)
    print(json.dumps(figures, indent=2))
    return 1 if figures.get("different") else 0


if __name__ == "__main__":
    sys.exit(main())
