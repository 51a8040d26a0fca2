"""A slider moves, the mask follows: the dock in a real window, measured by `benchmarks.live_window`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
STAGE = "live"
WAY = "napari-refit"
SECONDS = 400
QUICK_MOVES, MOVES = 8, 40

# Scene and slider of benchmarks/live_window.py, and what is to be reached in milliseconds.
SLIDERS: dict[str, tuple[str, str, dict[str, float]]] = {
    "threshold, photograph": ("picture", "threshold", {"median_ms": 25, "p95_ms": 50}),
    "SLIC compactness, CAM cached": ("classified", "SLIC compactness", {"median_ms": 80}),
    "SLIC clusters, CAM cached": ("classified", "SLIC clusters", {"median_ms": 80}),
    "stroke of a hint, photograph": ("picture", "stroke", {"median_ms": 100}),
    "threshold, stack with a truth": ("stack", "threshold", {"median_ms": 25, "p95_ms": 50}),
    "SLIC compactness, stack with a truth": ("stack", "SLIC compactness", {"median_ms": 80}),
}
DRAGGED = "threshold, photograph, dragged"
BLOCK = {"work_ms": 16}


@pytest.fixture(scope="session")
def live(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any] | str:
    """What the window's process measured, or why there is none."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (scripts/with_display.sh brings one)"
    out = tmp_path_factory.mktemp("live") / "live.json"
    quick = float(pytestconfig.getoption("benchmark_max_time")) < 0.5
    command = [sys.executable, "-m", "benchmarks.live_window", str(out), str(QUICK_MOVES if quick else MOVES)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=SECONDS)
    return json.loads(out.read_text(encoding="utf-8"))


def scene_and_run(live: dict[str, Any], scene: str, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = live["scenes"][scene]
    window = {"scene": found["title"], "redraw": found["redraw"], "renderer": live["renderer"]}
    return window, found["runs"][run]


@pytest.mark.parametrize("what", SLIDERS)
def test_slider(benchmark: Any, races: Any, live: dict[str, Any] | str, what: str) -> None:
    if isinstance(live, str):
        races.not_measured(what, WAY, STAGE, live)
    scene, run, reach = SLIDERS[what]
    window, measured = scene_and_run(live, scene, run)
    # Where the mask stays as it is, there is nothing to draw and no event.
    assert len(measured["first"]) > measured["silent"]
    about = {
        "stage": STAGE,
        "way": WAY,
        "ours": True,
        **window,
        **summary("", measured["first"]),
        **summary("sharp_", measured["sharp"]),
        "silent": measured["silent"],
        "stages_ms": measured["stages"],
        "stays": measured["stays"],
        "reach": {**reach, **BLOCK},
    }
    races.report(benchmark, what, measured["first"], about)


def test_drag(benchmark: Any, races: Any, live: dict[str, Any] | str) -> None:
    if isinstance(live, str):
        races.not_measured(DRAGGED, WAY, STAGE, live)
    window, measured = scene_and_run(live, "picture", "threshold, dragged")
    about = {
        "stage": STAGE,
        "way": WAY,
        "ours": True,
        **window,
        "per_second": measured["per_second"],
        "last_ms": measured["last"] * 1e3,
        "stays": measured["stays"],
        "reach": BLOCK,
    }
    races.report(benchmark, DRAGGED, [1 / max(measured["per_second"], 1e-3)], about)


def summary(prefix: str, seconds: list[float]) -> dict[str, float]:
    milliseconds = np.array(seconds) * 1e3
    return {
        f"{prefix}median_ms": float(np.median(milliseconds)),
        f"{prefix}p95_ms": float(np.percentile(milliseconds, 95)),
        f"{prefix}worst_ms": float(milliseconds.max()),
    }
