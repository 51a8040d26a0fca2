"""The benchmarks' page, made from a small file of results."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS))
    yield _generator()
    sys.path.remove(str(DOCS))


@pytest.fixture(autouse=True)
def kept_card(generator: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No figures of a graphics card are kept, unless a test keeps some."""
    monkeypatch.setattr(generator, "KEPT_CARD", tmp_path / "card.json")
    return generator.KEPT_CARD


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_benchmarks", DOCS / "gen_benchmarks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def bench(what: str, way: str, seconds: float, stage: str = "SLIC", **extra: Any) -> dict[str, Any]:
    info = {"stage": stage, "way": way, "ours": way.startswith("napari-refit"), **extra}
    stats = {"min": seconds, "median": seconds * 1.5, "rounds": 3}
    return {"group": what, "extra_info": info, "stats": stats, "options": {"max_time": 2.0}}


def results(*benchmarks: dict[str, Any], **more: Any) -> dict[str, Any]:
    machine = {
        "processor": "Some Processor",
        "vectors": ["AVX2"],
        "cores": 2,
        "caches": {"L2": "512K"},
        "memory_gib": 8.0,
        "accelerator": None,
        "threads": {"kernels": 2, "torch": 2},
        "system": "Linux",
        "python": "3.11",
        "versions": {"numba": "1.0"},
    }
    return {
        "machine_info": machine,
        "datetime": "2026-01-02T03:04:05",
        "benchmarks": list(benchmarks),
        "not_measured": [],
        "about": {},
        **more,
    }


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of a section's first table, without its head."""
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_ratios_and_figures(generator: ModuleType) -> None:
    page = generator.page(
        results(
            bench("SLIC, small", "napari-refit", 0.010, cores=1.9),
            bench("SLIC, small", "scikit-image", 0.070, reach={"faster": 6}, agreement=0.99999),
            bench("SLIC, small", "OpenCV", 0.020, reach={"faster": 3}),
            bench("maps", "napari-refit", 0.110, "CAM"),
            bench("maps", "torch: forward", 0.100, "CAM", reach={"within": 1.15}),
            bench("fit", "napari-refit: all of it", 0.016, "Fit", reach={"milliseconds": 15}),
        ),
        "## Notes",
    )
    figures = rows(page, "Figures to reach")
    assert [row[2] for row in figures] == ["scikit-image", "OpenCV", "torch: forward", ""]
    assert [row[4] for row in figures] == [
        "7 times faster (7)",
        "2 times faster (2)",
        "1.10 times its time (1.10)",
        "",
    ]
    assert [row[-1] for row in figures] == ["yes", "**no**", "yes", "**no**"]
    assert figures[3][1] == "16 ms (all of it)"
    everything = rows(page, "SLIC")
    assert everything[0][1] == "10 ms (1.9 cores)"
    assert everything[0][-1] == "agree on 99.99 %"
    assert "Some Processor with AVX2, 2 cores" in page
    assert page.endswith("## Notes\n")
    assert "try-out" not in page


def test_cost_against_pixels(generator: ModuleType) -> None:
    def kernel(name: str, times: list[float]) -> list[dict[str, Any]]:
        sides = [256, 512, 1024]
        return [
            bench(name, f"napari-refit, {side}", each, "scaling", side=side)
            for side, each in zip(sides, times, strict=True)
        ]

    page = generator.page(
        results(*kernel("even", [1e-3, 4e-3, 16e-3]), *kernel("steep", [1e-3, 5e-3, 25e-3])), ""
    )
    even, steep = rows(page, "Cost against pixels")
    assert even == ["even", "15.3", "1.00", "1.00", "1.00", "yes"]
    assert steep[2:] == ["1.25", "1.56", "1.16", "**no**"]
    assert "## Figures to reach" not in page


def test_live(generator: ModuleType) -> None:
    about = {
        "scene": "a slice",
        "redraw": {"median": 30.0, "longest": 45.5},
        "renderer": "software",
        "stays": {"event": 50.0, "work": 12.25, "drawing": 50.0},
    }
    latency = {"median_ms": 20.0, "p95_ms": 60.0, "worst_ms": 70.0, "sharp_median_ms": 90.0}
    page = generator.page(
        results(
            bench(
                "threshold",
                "napari-refit",
                0.02,
                "live",
                reach={"median_ms": 25, "p95_ms": 50, "work_ms": 16},
                **about,
                **latency,
            ),
            bench("dragged", "napari-refit", 0.05, "live", per_second=20.0, last_ms=31.0, **about),
        ),
        "",
    )
    latencies, stays = page.split("meanwhile")
    assert "median ≤ 25 ms, 95 % ≤ 50 ms | **no** |" in latencies
    assert "20 labels events a second, the last one 31 ms after" in " ".join(latencies.split())
    assert "| threshold | 12.2 ms | 50 ms | 30 ms, 45.5 ms | ≤ 16 ms without painting | yes |" in stays
    assert "| window drawn by | software |" in page


def test_what_is_missing_is_said(generator: ModuleType) -> None:
    missing = [{"what": "SLIC", "way": "OpenCV", "stage": "SLIC", "reason": "no network"}]
    page = generator.page(results(not_measured=missing), "")
    assert rows(page, "Not measured here") == [["SLIC", "OpenCV", "no network"]]


def test_figures_of_a_graphics_card_are_kept_and_shown_elsewhere(
    generator: ModuleType, kept_card: Path, tmp_path: Path
) -> None:
    there = results(
        bench("SLIC, CUDA", "napari-refit on CUDA", 0.01, "Graphics card"),
        bench("SLIC, CUDA", "napari-refit on the processor", 0.1, "Graphics card"),
        bench("SLIC, CUDA", "scikit-image", 0.8, "Graphics card", reach={"faster": 60}, agreement=0.9999),
        bench("SLIC", "napari-refit", 0.02),
    )
    there["machine_info"]["accelerator"] = "Some Card"
    there["machine_info"]["versions"] = {"torch": "2", "scikit-image": "0.26"}
    source, target = tmp_path / "results.json", tmp_path / "page.md"
    source.write_text(json.dumps(there), encoding="utf-8")
    assert generator.main(["--keep-card", str(source)]) == 0
    assert [kept["group"] for kept in json.loads(kept_card.read_text())["benchmarks"]] == ["SLIC, CUDA"] * 3
    missing = [{"what": "SLIC, CUDA", "way": "scikit-image", "stage": "Graphics card", "reason": "no card"}]
    here = results(bench("SLIC", "napari-refit", 0.5), not_measured=missing)
    source.write_text(json.dumps(here), encoding="utf-8")
    assert generator.main([str(source), str(target)]) == 0
    page = target.read_text(encoding="utf-8")
    row, processor = rows(page, "Graphics card")
    assert row[:5] == ["SLIC, CUDA", "10 ms (on CUDA)", "scikit-image", "800 ms", "80 times faster (80)"]
    assert row[5:] == ["agree on 99.99 %", "≥ 60 times faster", "yes"]
    assert processor[4:] == ["8 times faster (8)", "agree on 99.99 %", "", ""]
    assert "one Some Card" in page
    assert "Not measured here" not in page
    assert [cells[1] for cells in rows(page, "SLIC")] == ["500 ms"]


def test_a_hasty_run_is_marked(generator: ModuleType, tmp_path: Path) -> None:
    hasty = bench("SLIC", "napari-refit", 0.1)
    hasty["options"]["max_time"] = 0.2
    source, target = tmp_path / "results.json", tmp_path / "page.md"
    source.write_text(json.dumps(results(hasty)), encoding="utf-8")
    assert generator.main([str(source), str(target)]) == 0
    assert "each way had 0.2 s only" in target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21e-5, "32.1 µs"), (0.0123, "12.3 ms"), (4.0, "4 s"), (123.4, "123 s")]
)
def test_durations(generator: ModuleType, seconds: float, text: str) -> None:
    assert generator.duration(seconds) == text
