"""Benchmarks: what a test measures is a race between this program and its peers, in the same run.

Each test hands one way's seconds to pytest-benchmark: a group is one task, an entry of it one way to do it. What
docs/gen_benchmarks.py makes its tables from is in the entries' ``extra_info``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# Read when napari's settings are first imported: an empty path keeps them in memory.
os.environ["NAPARI_CONFIG"] = ""

from benchmarks import machine  # noqa: E402
from benchmarks.opencv_peer import OpenCv, OpenCvError  # noqa: E402
from benchmarks.race import Lap, Replay, Unavailable, is_ours, replayed_clock, run_race  # noqa: E402

NOT_MEASURED: pytest.StashKey[list[dict[str, str]]] = pytest.StashKey()
ABOUT: pytest.StashKey[dict[str, Any]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOT_MEASURED] = []
    config.stash[ABOUT] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=replayed_clock))


class Races:
    """The fixture behind every benchmark; see `measure`."""

    def __init__(self, request: pytest.FixtureRequest, done: dict[str, dict[str, Lap]]) -> None:
        self._request, self._done = request, done

    def measure(
        self,
        benchmark: Any,
        what: str,
        way: str,
        ways: Callable[[], Mapping[str, Callable[[], Any] | Unavailable]],
        *,
        stage: str,
        reach: Mapping[str, Mapping[str, float]] | None = None,
        warm_up: Callable[[], Any] | None = None,
        **extra: Any,
    ) -> Lap:
        """Report one way of a race, which is run when the first of its ways is asked for.

        Parameters
        ----------
        benchmark : fixture
        what, way : str
            The task, and which way of doing it; parameters of the test by these names, so that a selection of
            tests measures those ways only.
        ways : callable
            Returns the ways by name.
        stage : str
            Heading of the table that the row goes into.
        reach : mapping, optional
            For a way's name what is to be reached: ``{"faster": 25}`` for a peer whose time ours shall be 25 times
            shorter than, ``{"within": 1.15}`` for one whose time ours may exceed by so much, and for ours
            ``{"milliseconds": 15}``.
        warm_up : callable, optional
            As in `benchmarks.race.run_race`.
        **extra
            Goes into ``extra_info``.

        Returns
        -------
        Lap
        """
        if what not in self._done:
            wanted = self._selected(what)
            chosen = {name: run for name, run in ways().items() if name in wanted}
            config = self._request.config
            self._done[what] = run_race(
                chosen,
                budget=float(config.getoption("benchmark_max_time")),
                least=int(config.getoption("benchmark_min_rounds")),
                warm_up=warm_up,
            )
        lap = self._done[what][way]
        about = {"stage": stage, "way": way, "ours": is_ours(way), **extra}
        if lap.unavailable:
            missing = {"what": what, "reason": lap.unavailable, **about}
            self._request.config.stash[NOT_MEASURED].append(missing)
            pytest.skip(lap.unavailable)
        if reach and way in reach:
            about["reach"] = dict(reach[way])
        # Work in a process of its own does not show here.
        if lap.cores > 0.1:
            about["cores"] = round(lap.cores, 1)
        self.report(benchmark, what, lap.seconds, about)
        return lap

    def report(self, benchmark: Any, what: str, seconds: Sequence[float], about: Mapping[str, Any]) -> None:
        """Hand seconds that were measured elsewhere to pytest-benchmark."""
        benchmark.group = what
        benchmark.extra_info.update(about)
        replay = Replay(seconds)
        benchmark.pedantic(replay, setup=replay.rewind, rounds=len(seconds))

    def result(self, what: str, way: str) -> Any:
        """What a way of a race returned last, None where it was not run."""
        lap = self._done.get(what, {}).get(way)
        return None if lap is None else lap.result

    def not_measured(self, what: str, way: str, stage: str, reason: str) -> None:
        """Skip the test, and have the page say why."""
        row = {"what": what, "way": way, "stage": stage, "reason": reason}
        self._request.config.stash[NOT_MEASURED].append(row)
        pytest.skip(reason)

    def note(self, key: str, value: Any) -> None:
        """Put something about the whole run into the file."""
        self._request.config.stash[ABOUT][key] = value

    def _selected(self, what: str) -> set[str]:
        chosen = (getattr(item, "callspec", None) for item in self._request.session.items)
        return {spec.params["way"] for spec in chosen if spec is not None and spec.params.get("what") == what}


@pytest.fixture(scope="session")
def _done() -> dict[str, dict[str, Lap]]:
    return {}


@pytest.fixture
def races(request: pytest.FixtureRequest, _done: dict[str, dict[str, Lap]]) -> Races:
    """Measures ways in turns and reports them one by one."""
    return Races(request, _done)


@pytest.fixture(scope="session")
def opencv() -> Iterator[OpenCv | Unavailable]:
    """OpenCV contrib in a process of its own, or why there is none."""
    try:
        server = OpenCv()
    except OpenCvError as error:
        yield Unavailable(str(error))
        return
    yield server
    server.close()


@pytest.fixture(scope="session")
def flood_oracle() -> ModuleType:
    """The paper's flood, pixel by pixel."""
    return _module("tests/fit/flood_oracle.py")


@pytest.fixture(scope="session")
def agreement() -> Callable[[Any, Any], float]:
    """Fraction of the pixels on which two label maps agree up to renumbering."""
    return _module("tests/uss/agreement.py").agreement


def _module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    """In place of pytest-benchmark's own facts, which name the host."""
    return machine.describe()


def pytest_benchmark_generate_commit_info() -> dict[str, Any]:
    """Nothing that names a folder or a branch."""
    return {}


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add what the tables need beside the times."""
    output_json["not_measured"] = config.stash[NOT_MEASURED]
    output_json["about"] = config.stash[ABOUT]
    for bench in output_json["benchmarks"]:
        bench["stats"].pop("data", None)


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Print each of our ways beside its peers: the fastest call of each, measured in this very run."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, dict[str, float]] = {}
    for bench in session.benchmarks if session else ():
        if not bench.has_error and bench.stats:
            groups.setdefault(bench.group, {})[bench.extra_info["way"]] = bench.stats.min
    if not groups:
        return
    terminalreporter.section("the fastest call of each way")
    for what, fastest in groups.items():
        for way, ours in fastest.items():
            if not is_ours(way):
                continue
            peers = [f"{name} / {theirs / ours:.3g}" for name, theirs in fastest.items() if not is_ours(name)]
            terminalreporter.line(
                f"{what}: {way} {ours * 1e3:.4g} ms{''.join(f' = {peer}' for peer in peers)}"
            )
