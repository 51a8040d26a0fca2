"""The review's decisions, and the table that keeps them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_refit.batch.record import RECORDS, Record
from napari_refit.batch.review import Review
from napari_refit.batch.review_table import (
    COLUMNS,
    REVIEW_STATES,
    Entry,
    guarded,
    read_review,
    unguarded,
    write_review,
)
from napari_refit.errors import ReadError, WriteError
from napari_refit.io.sidecar import file_checksum

NAMES = ("a", "b/c", "=1+1", "ü 日本", "failed")
FORMULA = "=+-@\t\r\n＝＋－＠"


def write_records(out: Path, names: tuple[str, ...] = NAMES) -> None:
    lines = [
        Record(
            name, f"/scans/{name}.png", f"{k}_refined.png", "failed" if name == "failed" else "done"
        ).to_json()
        for k, name in enumerate(names)
    ]
    (out / RECORDS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_records(tmp_path)
    for k in range(len(NAMES)):
        (tmp_path / f"{k}_refined.png").write_bytes(b"labels %d" % k)
    return tmp_path


def as_a_spreadsheet_reads_it(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def test_decisions_are_saved_at_once(out: Path) -> None:
    when = datetime(2026, 11, 28, 12, 58, 11, 500, tzinfo=timezone(timedelta(hours=3)))
    review = Review(out, now=lambda: when)
    assert [record.name for record in review.records] == list(NAMES[:-1])
    assert not review.path.exists()
    review.set("b/c", "rejected", note='edge, too "wide"\nsee slice 3')
    head, *rows = as_a_spreadsheet_reads_it(out / "review.csv")
    assert head == ["case", "state", "note", "time", "labels"]
    expected = file_checksum(out / "1_refined.png")
    assert rows == [["b/c", "rejected", 'edge, too "wide"\nsee slice 3', "2026-11-28T09:58:11Z", expected]]
    again = Review(out)
    assert (again.state("b/c"), again.note("b/c")) == ("rejected", 'edge, too "wide"\nsee slice 3')
    assert again.state("a") == "open"
    assert again.note("a") == ""
    assert again.counts == {"open": 3, "accepted": 0, "rejected": 1, "fixed": 0}
    assert [path.name for path in out.iterdir() if path.name.startswith(".refit")] == []


def test_rows_stand_in_the_order_of_the_batch(out: Path) -> None:
    review = Review(out)
    for name in reversed(NAMES[:-1]):
        review.set(name, "accepted")
    assert [row[0] for row in as_a_spreadsheet_reads_it(out / "review.csv")[1:]] == [
        "a",
        "b/c",
        "'=1+1",
        "ü 日本",
    ]


def test_the_next_open_case_goes_round(out: Path) -> None:
    review = Review(out)
    assert review.next_open() == "a"
    assert review.next_open("a") == "b/c"
    assert review.next_open("ü 日本") == "a"
    for name in NAMES[:3]:
        review.set(name, "accepted")
    assert review.next_open() == review.next_open("a") == review.next_open("ü 日本") == "ü 日本"
    review.set("ü 日本", "fixed")
    assert review.next_open() is None
    review.set("a", "open", note="again")
    assert review.next_open("b/c") == "a"
    assert Review(out).note("a") == "again"


def test_other_labels_are_open_again_and_keep_their_note(out: Path) -> None:
    review = Review(out)
    review.set("a", "accepted", note="fine")
    review.set("b/c", "rejected")
    labels = out / "0_refined.png"
    before = labels.stat()
    (out / "new").write_bytes(b"labels!0")
    os.utime(out / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(out / "new", labels)
    assert labels.stat().st_mtime_ns == before.st_mtime_ns, (
        "as a batch that runs on would do it, at its worst"
    )
    assert labels.stat().st_size == before.st_size
    for one in (review, Review(out)):
        assert one.state("a") == "open"
        assert one.changed("a")
        assert one.note("a") == "fine"
        assert one.state("b/c") == "rejected"
        assert not one.changed("b/c")
        assert one.next_open() == "a"
    review.set("a", "fixed")
    assert Review(out).state("a") == "fixed"
    labels.unlink()
    assert Review(out).state("a") == "open"


def test_the_same_labels_made_again_stay_decided(out: Path) -> None:
    review = Review(out)
    review.set("a", "accepted")
    content = (out / "0_refined.png").read_bytes()
    (out / "new").write_bytes(content)
    os.replace(out / "new", out / "0_refined.png")
    assert review.state("a") == Review(out).state("a") == "accepted"


def test_nothing_is_decided_on_labels_that_were_not_seen(out: Path) -> None:
    review = Review(out)
    seen = review.checksum("a")
    (out / "0_refined.png").write_bytes(b"others")
    with pytest.raises(ValueError, match="labels of a are not those that were looked at"):
        review.set("a", "accepted", seen=seen)
    assert review.state("a") == "open"
    assert not review.path.exists()
    review.set("a", "accepted", seen=review.checksum("a"))
    assert review.state("a") == "accepted"


def test_a_batch_that_runs_on_brings_new_cases(out: Path) -> None:
    write_records(out, NAMES[:2])
    review = Review(out)
    review.set("a", "accepted")
    write_records(out)
    assert [record.name for record in review.records] == ["a", "b/c"]
    review.reload()
    assert [record.name for record in review.records] == list(NAMES[:-1])
    assert review.state("a") == "accepted"
    write_records(out, NAMES[1:2])
    review.reload()
    review.set("b/c", "accepted")
    assert set(read_review(review.path)[0]) == {"a", "b/c"}, "a case that is gone keeps its row"


def test_two_reviewers_keep_each_others_rows(out: Path) -> None:
    one, two = Review(out), Review(out)
    one.set("a", "accepted")
    two.set("b/c", "rejected", "by the other")
    assert one.state("b/c") == "open"
    one.set("ü 日本", "fixed")
    assert one.state("b/c") == "rejected"
    assert {name: entry.state for name, entry in read_review(out / "review.csv")[0].items()} == {
        "a": "accepted", "b/c": "rejected", "ü 日本": "fixed",
    }  # fmt: skip


def test_columns_of_others_are_kept(out: Path) -> None:
    text = "Reviewer,State,case,score\nAnn,Accepted,a,=3\nBob,,b/c,\n"
    (out / "review.csv").write_text(text, encoding="utf-8")
    review = Review(out)
    assert review.state("a") == "accepted", "without a checksum it cannot be doubted"
    assert review.state("b/c") == "open"
    review.set("b/c", "fixed")
    head, *rows = as_a_spreadsheet_reads_it(out / "review.csv")
    assert head == ["Reviewer", "state", "case", "score", "note", "time", "labels"]
    assert [row[:4] for row in rows] == [["Ann", "accepted", "a", "'=3"], ["Bob", "fixed", "b/c", ""]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_spreadsheets_save_is_read(tmp_path: Path, separator: str, mark: bytes, end: str) -> None:
    lines = [
        ("case", "state", "note", "time", "labels"),
        ("ü/1", "REJECTED ", f'"a{separator} ""b"""', "28.11.2026", ""),
    ]
    text = end.join(separator.join(line) for line in lines) + end + separator * 4 + end
    (tmp_path / "review.csv").write_bytes(mark + text.encode())
    entries, columns = read_review(tmp_path / "review.csv")
    assert entries == {"ü/1": Entry("ü/1", "rejected", f'a{separator} "b"', "28.11.2026", "")}
    assert columns == COLUMNS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"case,state\na,acepted\n",
            "line 2: state must be one of open, accepted, rejected, fixed, got 'acepted'",
        ),
        (b"case,note\na,b\n", "line 1: there is no column state"),
        (b"case,state\na,open\n\nb,fixed\na,fixed\n", "line 5: 'a' is in line 2 already"),
        (b'case,state,note\n"a\nb",open,"x\ny"\nc,shut,\n', "line 5: state must be"),
        (b"case,state\n,open\n", "line 2 names no case"),
        (b"case,state\na,open,x\n", "line 2 has more cells than there are columns"),
        (b"case,state,state\na,open,x\n", "line 1: there are two columns 'state'"),
        ("case,state,note\na,open,für\n".encode("cp1252"), "line 2: note is no UTF-8 text"),
        ("case,state\nfür,open\n".encode("cp1252"), "line 2: case is no UTF-8 text"),
        (b'case,state\n"a,open\n', "line 2 is no line of a CSV file"),
        (b"\x89PNG\r\n\x1a\n\x00", "line 1: there is no column case and state"),
    ],
)
def test_an_error_names_file_and_line_and_the_file_stays(out: Path, content: bytes, said: str) -> None:
    path = out / "review.csv"
    review = Review(out)
    path.write_bytes(content)
    with pytest.raises(ReadError, match=re.escape(f"{path}: {said}")):
        Review(out)
    with pytest.raises(ReadError):
        review.set("a", "accepted")
    assert review.state("a") == "open"
    assert path.read_bytes() == content


def test_unknown_cases_and_states_are_named(out: Path) -> None:
    review = Review(out)
    with pytest.raises(ValueError, match=r"no case 'b/d' with a result in .*; did you mean 'b/c'\?"):
        review.set("b/d", "accepted")
    with pytest.raises(ValueError, match="no case 'failed'"):
        review.state("failed")
    with pytest.raises(ValueError, match="state must be one of open, accepted, rejected, fixed, got 'good'"):
        review.set("a", "good")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no valid text"):
        review.set("a", "accepted", note="\ud800")
    (out / "0_refined.png").unlink()
    with pytest.raises(ReadError, match=r"0_refined\.png: cannot be read"):
        review.set("a", "accepted")
    assert not review.path.exists()


def test_what_cannot_be_saved_is_not_decided(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    review = Review(out)
    review.set("a", "accepted")
    before = review.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WriteError, match="disk is full"):
        review.set("a", "rejected")
    assert review.state("a") == "accepted"
    assert review.path.read_bytes() == before
    assert sorted(path.suffix for path in out.iterdir() if path.name.startswith(".refit")) == []


def test_names_that_are_no_text_come_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "x.png").write_bytes(b"x")
    records = [Record(name, "x", "x.png", "done")]
    Review(tmp_path, records).set(name, "accepted")
    assert Review(tmp_path, records).state(name) == "accepted"
    assert b"caf\xe9" in (tmp_path / "review.csv").read_bytes()


LETTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(st.one_of(st.sampled_from([*FORMULA, "'", ";", ",", '"', "1", " "]), LETTERS), max_size=25)


@given(TEXT)
@example("'=1")
@example("\n\n=")
@example("a;'+1")
def test_no_cell_begins_as_a_formula_and_each_comes_back(text: str) -> None:
    safe = guarded(text)
    assert unguarded(safe) == text
    for part in re.split("[;\t\r\n]", safe):
        assert not part.startswith(tuple("=+-@＝＋－＠"))
    assert not safe.startswith(tuple(FORMULA))
    if not any(letter in text for letter in FORMULA):
        assert safe == text


ENTRIES = st.builds(
    Entry,
    case=TEXT.filter(bool),
    state=st.sampled_from(REVIEW_STATES),
    note=TEXT,
    time=st.sampled_from(["", "2026-11-28T09:58:11Z"]),
    labels=st.sampled_from(["", "sha256:00"]),
    more=st.fixed_dictionaries({"reviewer": TEXT, "=x": TEXT}),
)


@given(st.lists(ENTRIES, max_size=6, unique_by=lambda entry: entry.case))
@settings(deadline=None, max_examples=60)
def test_a_table_comes_back_as_it_was(entries: list[Entry]) -> None:
    columns = ("reviewer", *COLUMNS, "=x")
    with tempfile.TemporaryDirectory() as folder:
        path = write_review(Path(folder) / "review.csv", entries, columns)
        found, order = read_review(path)
        cells = as_a_spreadsheet_reads_it(path)
    assert list(found.values()) == entries
    assert order == columns
    assert not [cell for row in cells for cell in row if cell.startswith(tuple(FORMULA))]


def test_times_are_utc(out: Path) -> None:
    review = Review(out)
    review.set("a", "accepted")
    time = datetime.strptime(as_a_spreadsheet_reads_it(review.path)[1][3], "%Y-%m-%dT%H:%M:%SZ").replace(
        tzinfo=UTC
    )
    assert abs((datetime.now(UTC) - time).total_seconds()) < 120


def test_damaged_records_are_named(out: Path) -> None:
    lines = (out / RECORDS).read_text(encoding="utf-8").splitlines()
    (out / RECORDS).write_text("\n".join([lines[0], "{", *lines[1:]]) + "\n", encoding="utf-8")
    with pytest.raises(ReadError, match=r"records\.jsonl: line 2"):
        Review(out)
    assert json.loads(lines[0])["name"] == "a"


def test_many_cases_are_looked_up_quickly(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are read once, not at each look."""
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return file_checksum(path)

    monkeypatch.setattr("napari_refit.batch.review.file_checksum", counting)
    review = Review(out)
    for name in NAMES[:-1]:
        review.set(name, "accepted")
    for _ in range(3):
        assert review.counts["accepted"] == 4
        assert review.next_open() is None
    assert len(read) == 4
