"""Studies of small volumes whose response maps come from files, so that no classifier is needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from napari_refit.batch.cases import find_cases
from napari_refit.batch.run import BatchResult, Recipe, run_batch
from napari_refit.batch.settings import BatchParams
from napari_refit.recipe import RefitParams

PARAMS = RefitParams(n_segments=16, sigma=0)
SHORT = (
    "test_run.py",
    "test_many_files.py",
    "test_streamed.py",
    "test_cluster.py",
    "test_cli_batch.py",
    "test_cases.py",
)


@pytest.fixture(autouse=True)
def _own_environment():
    """A Dask cluster that a test starts by itself sets variables in this process, for later tests too."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


class Study:
    """A folder of images, a table that names them, and what is run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = ["image,truth,response"]
        self.table = folder / "study.csv"

    def add(self, name: str, *, truth: bool = True, seed: int = 0) -> Path:
        """Add a volume (3, 20, 24) with a bright block, a response map and a truth; write the table."""
        rng = np.random.default_rng([seed, *name.encode()])
        inside = np.zeros((3, 20, 24), np.uint8)
        top, left = rng.integers(2, 8, 2)
        inside[:, top : top + 9, left : left + 10] = 1
        image = self.folder / f"{name}.npy"
        image.parent.mkdir(parents=True, exist_ok=True)
        np.save(image, (inside * 300.0 + rng.normal(0, 20, inside.shape)).astype(np.int16))
        files = {
            "truth": inside,
            "response": (inside * 180 + rng.integers(0, 40, inside.shape)).astype(np.uint8),
        }
        for part, values in files.items():
            target = self.folder.parent / part / f"{name}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, values)
        self.row(f"{name}.npy", f"../truth/{name}.npy" if truth else "", f"../response/{name}.npy")
        return image

    def row(self, *cells: str) -> None:
        """Add a line to the table."""
        self.rows.append(",".join('"' + cell.replace('"', '""') + '"' if cell else "" for cell in cells))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.table.write_text("\n".join(self.rows) + "\n", encoding="utf-8")

    def run(self, out: Path, params: RefitParams = PARAMS, **settings: object) -> BatchResult:
        """Run the batch; settings that `run_batch` takes go there, others into `BatchParams`."""
        own = {"progress", "cancelled", "on_record", "finishing", "notice"}
        keywords = {name: settings.pop(name) for name in own & set(settings)}
        cases, problems = find_cases([self.table], out)
        return run_batch(cases, Recipe(params), out, BatchParams(**settings), problems=problems, **keywords)

    @staticmethod
    def states(result: BatchResult) -> dict[str, str]:
        """State of each case."""
        return {record.name: record.state for record in result.records}

    @staticmethod
    def outputs(out: Path) -> dict[str, bytes]:
        """Every file of a batch but those that hold dates and seconds."""
        varying = ("records.jsonl", "summary.json", "report.html")
        return {
            path.relative_to(out).as_posix(): path.read_bytes()
            for path in sorted(out.rglob("*"))
            if path.is_file() and path.name not in varying
        }


@pytest.fixture(autouse=True)
def _no_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a report takes longer than the batches of these tests; those that read one ask for ``report_page``."""
    if "report_page" not in request.fixturenames and request.path.name in SHORT:
        monkeypatch.setattr("napari_refit.batch.report.write_report", lambda out, records, about: out)


@pytest.fixture
def report_page() -> str:
    """Name of the report, for a test that has it drawn."""
    return "report.html"


@pytest.fixture(scope="session")
def make_study() -> type[Study]:
    """Makes studies for fixtures that live longer than a test."""
    return Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """An empty study."""
    return Study(tmp_path / "images")


@pytest.fixture
def small_study(study: Study) -> Study:
    """Four volumes in two folders."""
    for name in ("a/one", "a/two", "b/one", "b/two"):
        study.add(name)
    return study
