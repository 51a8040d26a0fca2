"""The report of a batch in a real browser: what a reader does, and that nothing else happens."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_refit.batch.record import Record
from napari_refit.batch.report import write_report
from napari_refit.batch.review import Review
from napari_refit.tiles import compressed

# Where windows are required, as in `make test`, a test of this folder that is skipped has failed.
pytestmark = pytest.mark.skipif(
    find_spec("PyQt6") is None or find_spec("PyQt6.QtWebEngineCore") is None,
    reason="no Chromium: pip install PyQt6-WebEngine",
)
DRIVER = Path(__file__).with_name("report_browser.py")
RUN = "window.ran=1"
NASTY = (
    f"<img src=x onerror={RUN}>.nii.gz",
    f'"></script><script>{RUN}</script>',
    f"</noscript><script>{RUN}</script>",
    f'"><img src=https://example.org/x.png onerror="{RUN}">',
    "<!--<script>",
    "scan\u202egnp.exe",
    "two\nlines",
)


def made(folder: Path, *, count: int = 40) -> list[Record]:
    """Cases with pictures, some of them failed, some of them nasty."""
    draw = np.random.default_rng(0)
    (folder / "thumbnails").mkdir(parents=True)
    records = []
    for k in range(count):
        name = NASTY[k] if k < len(NASTY) else f"sub-{k:02d}/scan_{k}"
        if k in (1, 6, 20):
            error = f"{name}: is truncated; copy it again"
            records.append(Record(name, f"/in/{name}", f"{k}.nii.gz", "failed", error=error))
            continue
        picture = draw.integers(60, 90, (150, 716, 3)).astype(np.uint8)
        (folder / "thumbnails" / f"{k}.webp").write_bytes(compressed(picture, 30)[1])
        refined, cam = draw.uniform(0.2, 0.95, 2)
        metrics = {
            row: dict.fromkeys(("dice", "iou", "hd95", "surface_dice", "mean_iou", "paper_dsc"), value)
            for row, value in (("cam", cam), ("refined", refined))
        }
        records.append(
            Record(
                name,
                f"/in/{name}",
                f"{k}.nii.gz",
                "done",
                seconds=float(k),
                metrics=metrics,
                n_slices=9,
                messages=(f"{NASTY[k % len(NASTY)]}",),
                thumbnail=f"thumbnails/{k}.webp",
                checksums={"image": "sha256:0"},
            )
        )
    return records


def looked_at(report: Path, folder: Path, *more: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, DRIVER, report, folder, *more],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("batch")
    records = made(folder)
    about = {"stopped": NASTY[0], "note": NASTY[1], NASTY[2]: {NASTY[3]: NASTY[4]}}
    return looked_at(write_report(folder, records, about), folder) | {"folder": folder, "records": records}


def scores(records: list[Record], row: str) -> list[float]:
    return [each.metrics[row]["dice"] for each in records if each.metrics]


def floats(values: list[str]) -> list[float]:
    return [float(value) for value in values if value]


def test_failures_are_first(seen: dict[str, Any]) -> None:
    assert seen["names"][:3] == [NASTY[1], "two\\nlines", "sub-20/scan_20"]
    assert len(seen["names"]) == 40


def test_pictures_come_when_they_are_scrolled_to(seen: dict[str, Any]) -> None:
    assert seen["places"] == 37
    assert seen["shown_first"] < 5
    assert seen["shown_first"] < seen["shown_at_table"] < seen["shown_below"] < 30


def test_a_click_sorts_and_another_turns_round(seen: dict[str, Any]) -> None:
    expected = sorted(scores(seen["records"], "refined"))
    assert floats(seen["ascending"]) == pytest.approx(expected)
    assert floats(seen["descending"]) == pytest.approx(expected[::-1])
    assert seen["ascending"][-3:] == seen["descending"][-3:] == ["", "", ""], (
        "those without a figure stand last"
    )


def test_keys_sort(seen: dict[str, Any]) -> None:
    assert floats(seen["by_keys"]) == pytest.approx(sorted(scores(seen["records"], "cam")))
    assert seen["sorts"] == ["ascending", "descending", "ascending"]
    assert seen["sorts_at_once"] == 1


def test_names_sort_as_people_count_and_the_first_order_comes_back(seen: dict[str, Any]) -> None:
    plain = [name for name in seen["by_name"] if name.startswith("sub-")]
    assert plain == [f"sub-{k:02d}/scan_{k}" for k in range(7, 40)]
    assert seen["back"] == seen["names"] == seen["all_again"]


def test_text_and_state_filter(seen: dict[str, Any]) -> None:
    assert seen["found"] == [f"sub-{k}/scan_{k}" for k in range(10, 20)]
    assert seen["count"] == "10 of 40 cases"
    assert seen["failed"] == seen["names"][:3]


def test_nothing_is_loaded_and_nothing_runs(seen: dict[str, Any]) -> None:
    assert [address.partition(":")[0] for address in seen["requests"]] == ["file"]
    assert seen["requests"][0].endswith("report.html")
    assert seen["said"] == []
    assert seen["ran"] is None
    assert seen["handlers"] == 0
    assert not {"script", "iframe", "object", "svg"} & set(seen["elements"])


def test_it_prints_with_all_pictures_and_a_head_on_each_page(seen: dict[str, Any]) -> None:
    assert seen["shown_printed"] == 37
    assert 6 <= seen["pages"] <= 25
    # The first pages hold the figures, the last one the settings.
    printed = " ".join(seen["printed"].split())
    assert printed.count("DSC refined DSC CAM gain") >= seen["pages"] - 5
    assert "sub-39/scan_39" in printed
    assert "Find" not in printed
    assert (seen["folder"] / "print.pdf").stat().st_size > 200_000


def test_a_dark_desktop_has_a_dark_page(seen: dict[str, Any]) -> None:
    found = looked_at(seen["folder"] / "report.html", seen["folder"], "dark")
    page, ink = (sum(map(int, found[name][4:-1].split(", "))) for name in ("page", "ink"))
    assert page < 100
    assert ink > 600


def test_a_page_of_one_case_with_a_review(tmp_path: Path) -> None:
    (record,) = made(tmp_path, count=1)
    record = replace(record, metrics={})
    (tmp_path / record.output).write_bytes(b"labels")
    Review(tmp_path, [record]).set(record.name, "accepted")
    found = looked_at(write_report(tmp_path, [record], {}), tmp_path, "dark")
    assert found["said"] == []
