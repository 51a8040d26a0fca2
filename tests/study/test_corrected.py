"""What corrections come to: figures held against plain means, the file, the tables."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from napari_refit.io.sidecar import plain
from napari_refit.study.corrected import (
    Clicked,
    Corrected,
    Round,
    as_corrected,
    correction_dict,
    correction_tables,
    summarise,
    write_corrected,
)
from napari_refit.study.reporting import write_report


def corrected(
    patient: str = "p1",
    dice: tuple[float, ...] = (0.4, 0.6, 0.8),
    counts: tuple[int, int] = (4, 2),
    reached: tuple[bool, bool] = (True, True),
    in_truth: int = 10,
    marked: tuple[int, ...] = (10, 10, 10),
    method: str = "refit",
) -> Corrected:
    rounds = tuple(Round(2, marked[k], dice[k], 0.1) for k in range(1, len(dice)))
    clicks = {
        user: Clicked(count, 0.95, there, 0.97)
        for user, count, there in zip(("clusters", "levels"), counts, reached, strict=True)
    }
    return Corrected(
        "set", 1, method, patient, patient, None, None, in_truth, marked[0], dice[0],
        0.7 if in_truth else math.nan, rounds, clicks if in_truth else {},
    )  # fmt: skip


def test_figures_are_means_and_medians_over_images_with_an_object() -> None:
    draw = np.random.default_rng(0)
    table = draw.random((9, 3))
    counts = draw.integers(1, 20, 9)
    rows = [
        corrected(f"p{k % 4}", tuple(line), (int(count), 1))
        for k, (line, count) in enumerate(zip(table.tolist(), counts, strict=True))
    ]
    rows.append(corrected("p0", (0.0, math.nan, math.nan), in_truth=0, marked=(7, 0, 0)))
    rows.append(corrected("p9", (math.nan, math.nan, math.nan), in_truth=0, marked=(0, 0, 0)))
    (found,) = summarise(rows)
    assert [item.value for item in found.dice] == pytest.approx(table.mean(0))
    assert [item.value for item in found.medians] == pytest.approx(np.median(table, axis=0))
    assert [item.value for item in found.gains] == pytest.approx((table[:, 1:] - table[:, :1]).mean(0))
    assert found.clicks["clusters"].median.value == np.median(counts)
    assert found.strokes == (2.0, 2.0)
    assert found.map_bound.value == pytest.approx(0.7)
    assert found.bound is not None
    assert found.bound.value == pytest.approx(0.97)
    assert (found.n_images, found.n_patients, found.n_without) == (9, 4, 2)
    assert found.false_alarms == (1, 0, 0)
    for item in (*found.dice, *found.gains, found.clicks["clusters"].median):
        assert item.low <= item.value <= item.high


@pytest.mark.parametrize(("n_reached", "median"), [(5, 3.0), (3, 3.0), (2, math.inf), (0, math.inf)])
def test_images_that_never_get_there_count_as_infinitely_many_clicks(n_reached: int, median: float) -> None:
    rows = [corrected(f"p{k}", counts=(3, 1), reached=(k < n_reached, True)) for k in range(5)]
    (found,) = summarise(rows)
    assert found.clicks["clusters"].median.value == median
    assert found.clicks["clusters"].reached.value == n_reached / 5
    assert found.clicks["levels"].median.value == 1


def test_without_rows_there_is_nothing_to_say() -> None:
    assert summarise([]) == []
    assert correction_dict([], 0.9) is None
    assert correction_tables([], {}, 0.9) == []


def test_the_file_holds_every_round_and_user(tmp_path: Path) -> None:
    empty = corrected("p2", (math.nan,) * 3, in_truth=0, marked=(0, 0, 0))
    path = write_corrected(tmp_path / "corrections.csv", [corrected(), empty])
    with path.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["dice_round_2"]) == 0.8
    assert first["count_clusters"] == "4"
    assert first["reached_levels"] == "True"
    assert second["dice"] == "nan"
    assert second["count_clusters"] == ""


def test_rows_come_back_from_json() -> None:
    row = corrected("p1", (0.4, math.nan, 0.8))
    kept = json.loads(json.dumps(plain({
        "axis": None, "index": None, "in_truth": 10, "in_mask": 10, "dice": row.dice, "map_bound": 0.7,
        "rounds": [vars(each) for each in row.rounds],
        "clicks": {user: vars(each) for user, each in row.clicks.items()},
    })))  # fmt: skip
    again = as_corrected(kept, dataset="set", fold=1, method="refit", case="p1", patient="p1")
    assert math.isnan(again.rounds[0].dice)
    assert again.rounds[1] == row.rounds[1]
    assert again.clicks == row.clicks


def test_the_report_shows_them(tmp_path: Path, make_rows, make_study) -> None:
    rows = make_rows()
    results = make_study(rows, corrected=[corrected(f"p{k}", reached=(k > 3, True)) for k in range(6)])
    files = write_report(tmp_path / "with", results)
    summary = json.loads(files["summary.json"].read_text(encoding="utf-8"))["corrections"]
    assert summary["wanted"] == 0.9
    assert summary["summaries"][0]["dice"][2]["value"] == pytest.approx(0.8)
    # More than half never get there: no number.
    assert summary["summaries"][0]["clicks"]["clusters"]["median"]["value"] is None
    page = files["report.html"].read_text(encoding="utf-8")
    assert "Corrected by a simulated user" in page
    text = files["summary.md"].read_text(encoding="utf-8")
    assert "Clicks to a Dice of 0.9" in text
    assert "∞" in text
    assert files["corrections.csv"].exists()
    plain_files = write_report(tmp_path / "without", make_study(rows))
    assert "corrections.csv" not in plain_files
    assert "simulated user" not in plain_files["report.html"].read_text(encoding="utf-8")
    assert json.loads(plain_files["summary.json"].read_text(encoding="utf-8"))["corrections"] is None
