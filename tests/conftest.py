"""What all tests share: the evaluation data, settings of their own, and no silent skip of a window test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Read by napari when its settings are first imported: an empty path keeps them in memory.
os.environ["NAPARI_CONFIG"] = ""

ROOT = Path(__file__).parents[1]
WINDOW_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy", "qtbot", "qapp"}


def _window_required() -> bool:
    return os.environ.get("REFIT_REQUIRE_GUI") == "1" or os.environ.get("CI", "").lower() in {"1", "true"}


def _in_gui_folder(path: Path) -> bool:
    return (ROOT / "tests" / "gui") in path.parents


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and _window_required():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: a window test was skipped ({reason}); here all of them must run"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _in_gui_folder(item.path) or WINDOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("gui")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if item.get_closest_marker("gui"):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    if _in_gui_folder(collector.path):
        _fail_if_skipped(report)
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The evaluation data beside the checkout; a test that wants it is skipped where there is none."""
    folder = Path(os.environ.get("REFIT_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no evaluation data at {folder} (REFIT_SHARED_DATA names another place)")
    return folder
