from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_refit.errors import ReadError, WriteError
from napari_refit.study.results import Row, read_rows, write_rows

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
reals = st.floats(allow_nan=True, allow_infinity=True)
optional = st.none() | st.integers(0, 10**6)


@st.composite
def any_row(draw: st.DrawFn) -> Row:
    in_mask, in_truth, rest = (draw(st.integers(0, 10**12)) for _ in range(3))
    both = draw(st.integers(0, min(in_mask, in_truth)))
    return Row(
        dataset=draw(texts),
        fold=draw(st.integers(1, 9)),
        method=draw(texts),
        case=draw(texts),
        patient=draw(texts),
        level=draw(st.sampled_from(["image", "case"])),
        axis=draw(optional),
        index=draw(optional),
        class_number=draw(st.integers(1, 255)),
        class_name=draw(texts),
        both=both,
        in_mask=in_mask,
        in_truth=in_truth,
        both_background=draw(st.integers(0, rest)),
        pixels=in_mask + in_truth - both + rest,
        dice=draw(reals),
        iou=draw(reals),
        hd95=draw(reals),
        surface_dice=draw(reals),
        unit=draw(st.sampled_from(["mm", "px"])),
        seconds=draw(reals),
    )


def values(row: Row) -> list[object]:
    """With what tells 0.0 from -0.0, True from 1 and NaN from NaN: the exact text of each value."""
    return [(type(getattr(row, item.name)), repr(getattr(row, item.name))) for item in fields(row)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(any_row(), max_size=5))
def test_what_is_written_is_read_back_exactly(tmp_path: Path, rows: list[Row]) -> None:
    path = write_rows(tmp_path / "results.csv", rows)
    assert list(map(values, read_rows(path))) == list(map(values, rows))


@pytest.mark.parametrize(
    "name", ["a\rb", "a\r\nb", '"', ",", "\ufeffx", "Röntgen 乳", "x\udcff", " ", "=1+1"]
)
def test_odd_names_survive(tmp_path: Path, make_row: Callable[..., Row], name: str) -> None:
    row = make_row(case=name, class_name=name, dataset=name)
    assert values(read_rows(write_rows(tmp_path / "r.csv", [row]))[0]) == values(row)


def test_the_file_is_plain_csv_with_a_header(tmp_path: Path, make_row: Callable[..., Row]) -> None:
    path = write_rows(tmp_path / "r.csv", [make_row(hd95=math.inf, index=None, seconds=math.nan)])
    with path.open(encoding="utf-8", newline="") as file:
        (record,) = csv.DictReader(file)
    assert list(record) == [item.name for item in fields(Row)]
    assert (record["hd95"], record["axis"], record["index"], record["seconds"]) == ("inf", "", "", "nan")


def test_columns_in_another_order_and_further_ones_are_fine(
    tmp_path: Path, make_row: Callable[..., Row]
) -> None:
    row = make_row()
    path = write_rows(tmp_path / "r.csv", [row])
    with path.open(encoding="utf-8", newline="") as file:
        (record,) = csv.DictReader(file)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ["comment", *reversed(record)])
        writer.writeheader()
        writer.writerow(record | {"comment": "mine"})
    assert values(read_rows(path)[0]) == values(row)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("hd95", "hd_95", 1), "no column hd95"),
        (
            lambda text: text.replace(",5,10,10,", ",five,10,10,"),
            r"line 2: both must be a whole number, got 'five'",
        ),
        (lambda text: text.replace(",5,10,10,", ",11,10,10,"), "line 2: both = 11"),
        (lambda text: text.replace(",image,", ",picture,"), "line 2: level must be one of image, case"),
        (lambda text: text.rsplit(",", 2)[0] + "\r\n", "line 2 ends before column unit"),
        (lambda text: "", "no column dataset"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(
    tmp_path: Path, make_row: Callable[..., Row], change: Callable[[str], str], told: str
) -> None:
    path = write_rows(tmp_path / "r.csv", [make_row()])
    text = path.read_bytes().decode()
    assert change(text) != text
    path.write_bytes(change(text).encode())
    with pytest.raises(ReadError, match=told) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"none\.csv"):
        read_rows(tmp_path / "none.csv")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, make_row: Callable[..., Row]) -> None:
    path = write_rows(tmp_path / "r.csv", [make_row()])
    before = path.read_bytes()

    def broken():  # type: ignore[no-untyped-def]
        yield make_row(case="new")
        raise RuntimeError("halfway")

    with pytest.raises(WriteError, match="halfway"):
        write_rows(path, broken())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["r.csv"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"both": 11}, "both = 11"),
        ({"both": -1}, "both = -1"),
        ({"both_background": 86}, "both_background = 86"),
        ({"level": "slice"}, "level"),
        ({"unit": "cm"}, "unit"),
        ({"fold": 0}, "fold"),
        ({"class_number": 0}, "class_number"),
    ],
)
def test_impossible_rows_are_refused(make_row: Callable[..., Row], change: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(make_row(), **change)
