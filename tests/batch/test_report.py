"""report.html, read back by a parser of its own and held against the records."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit.batch import report
from napari_refit.batch.record import Record
from napari_refit.batch.report import report_html, write_report
from napari_refit.batch.review import Review
from napari_refit.errors import WriteError
from napari_refit.pages import visible
from napari_refit.study.bootstrap import draw_weights, mean_estimate
from napari_refit.tiles import compressed

EVIL = "<script>alert(1)</script>\"'&amp;<!--<img src=x onerror=alert(2)></noscript>]]> {{ 7*7 }} $x^2$ $ \\frac{"
NASTY = (
    "<img src=x onerror=alert(1)>.nii.gz",
    '"></script><script>alert(1)</script>',
    "</noscript><script>alert(1)</script>",
    "<!--<script>",
    "scan\u202egnp.exe",
    "two\nlines",
    "a\x00b",
    "\udcff.png",
    "{{ 7*7 }}",
)
VOID = ("meta", "br", "img", "link", "input")


@pytest.fixture(autouse=True)
def without_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what takes time."""
    if "with_charts" not in request.fixturenames:
        monkeypatch.setattr(report, "charts", lambda *_: [])


@pytest.fixture
def with_charts() -> None:
    """Asks for them."""


class Page(HTMLParser):
    """What a browser without scripts makes of a page: elements, and tables as cells of text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, first: str) -> list[list[str]]:
        """The table whose head begins like that."""
        return next(rows for rows in self.tables if rows and rows[0][0] == first)

    @property
    def cases(self) -> list[list[str]]:
        """The first row of each case."""
        head, *rows = self.table("#")
        return [row for row in rows if len(row) == len(head)]

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def figures(dice: float, hd95: float | None = 2.5) -> dict[str, Any]:
    iou = dice / (2 - dice)
    return {
        "dice_1": dice, "iou_1": iou, "hd95_1": hd95, "surface_dice_1": dice / 2, "dice": dice, "iou": iou,
        "hd95": hd95, "surface_dice": dice / 2, "mean_iou": (1 + iou) / 2, "paper_dsc": 0.8, "n_empty": 0.0,
    }  # fmt: skip


def record(name: str, refined: float | None = 0.75, cam: float = 0.5, **more: Any) -> Record:
    metrics = {} if refined is None else {
        "blank": figures(0.0, None), "cam": figures(cam), "cam_best_threshold": figures(cam + 0.05),
        "refined": figures(refined),
    }  # fmt: skip
    known = {"seconds": 1.25, "metrics": metrics, "n_slices": 8, "n_empty": 3} | more
    return Record(
        name, f"/scans/{name}.nii.gz", f"{name}_refined.nii.gz", known.pop("state", "done"), **known
    )


@pytest.fixture
def records() -> list[Record]:
    draw = np.random.default_rng(0)
    found = [record(f"case {k}", *draw.uniform(0.2, 0.95, 2)) for k in range(12)]
    found[3] = record("broken", None, state="failed", error="/scans/broken.nii.gz: is truncated", n_slices=0)
    found[5] = replace(found[5], state="skipped", messages=("slice 3: nothing is predicted",))
    found[8] = record("stopped", None, state="cancelled")
    return found


@pytest.fixture
def with_pictures(tmp_path: Path) -> Callable[[list[Record]], list[Record]]:
    def add(records: list[Record]) -> list[Record]:
        _, content = compressed(np.full((30, 120, 3), 90, np.uint8))
        (tmp_path / "thumbnails").mkdir(exist_ok=True)
        found = []
        for k, each in enumerate(records):
            name = f"thumbnails/{k}.webp"
            (tmp_path / name).write_bytes(content)
            found.append(replace(each, thumbnail=name))
        return found

    return add


def checked(source: str) -> Page:
    """A page, after a look at whether it would run or load anything."""
    page = Page(source)
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "base", "form"}
    assert len(page.of("script")) == 1
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:image/", "#")), (tag, attributes)
        assert "url(" not in attributes.get("style", "").replace("url(#", "")
    styles = "".join(re.findall(r"<style>.*?</style>", source, re.DOTALL))
    assert "@import" not in styles
    assert "url(" not in styles
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    return page


def test_the_table_says_what_the_records_say(tmp_path: Path, records: list[Record]) -> None:
    page = checked(write_report(tmp_path, records, {}).read_text(encoding="utf-8"))
    by_name = {each.name: each for each in records}
    assert len(page.cases) == len(records)
    for row in page.cases:
        each = by_name[row[1]]
        assert row[2] == each.state
        if each.metrics:
            refined, cam = each.metrics["refined"]["dice"], each.metrics["cam"]["dice"]
            assert row[3:6] == [f"{refined:.3f}", f"{cam:.3f}", f"{refined - cam:+.3f}".replace("-", "−")]
            assert row[6:8] == ["2.5", f"{refined / 2:.3f}"]
            assert row[8:] == ["3 of 8", "1.2"]
        else:
            assert set(row[3:]) == {"–"}
    assert [row[0] for row in page.cases] == [str(k) for k in range(1, 13)]


def test_what_failed_comes_first_with_its_reason(tmp_path: Path, records: list[Record]) -> None:
    source = report_html(tmp_path, records, {})
    page = checked(source)
    assert [row[1] for row in page.cases[:3]] == ["broken", "stopped", "case 0"]
    assert page.table("case")[1:] == [
        ["broken", "/scans/broken.nii.gz: is truncated", "/scans/broken.nii.gz"]
    ]
    assert source.index("What failed") < source.index("Figures") < source.index('id="cases"')
    assert page.text.index("is truncated") < page.text.index("case 0")
    assert "slice 3: nothing is predicted" in page.text


def test_figures_have_the_intervals_of_a_bootstrap_over_cases(tmp_path: Path, records: list[Record]) -> None:
    table = checked(report_html(tmp_path, records, {})).table("mask")
    assert [row[0] for row in table[1:]] == ["Blank mask", "CAM", "CAM at its best threshold", "Refined"]
    by_name = sorted(records, key=lambda each: each.name)
    dice = np.array([each.metrics["refined"]["dice"] for each in by_name if each.metrics])
    drawn = np.random.default_rng([0, 1]).integers(len(dice), size=(2000, len(dice)))
    low, high = np.percentile([dice[row].mean() for row in drawn], [2.5, 97.5])
    assert table[-1][1] == f"{dice.mean():.3f} ({low:.3f}–{high:.3f})"
    own = mean_estimate(draw_weights(len(dice)), dice, np.arange(len(dice)))
    assert (own.value, own.low, own.high) == pytest.approx((dice.mean(), low, high), abs=1e-12)
    assert table[-1][-1] == str(len(dice))
    assert table[1][4] == "–", "a blank mask has no outline"
    again = [replace(each, state="skipped") if each.state == "done" else each for each in records[::-1]]
    assert checked(report_html(tmp_path, again, {})).table("mask") == table


def test_gains_are_paired(tmp_path: Path) -> None:
    cases = [record("a", 0.7, 0.5), record("b", 0.4, 0.6), record("c", 0.55, 0.5), record("d", 0.5, 0.5)]
    table = checked(report_html(tmp_path, cases, {})).table("comparison")
    assert table[1][0] == "Refined against CAM"
    assert table[1][1].startswith("+0.013 (")
    assert table[1][2:] == ["2 / 1 / 1", "4"]
    assert table[2][2] == "1 / 1 / 2"


def test_a_figure_that_is_missing_is_left_out_of_its_mean_and_sorts_last(tmp_path: Path) -> None:
    odd = record("odd", 0.0)
    odd.metrics["refined"].update(dice=None, hd95=None)
    page = checked(report_html(tmp_path, [odd, record("a", 0.6), record("b", 0.8)], {}))
    assert page.table("mask")[-1][1].startswith("0.700")
    assert page.table("mask")[-1][-1] == "2"
    row = page.cases[0]
    assert row[3] == row[5] == row[6] == "–"
    values = [attributes.get("data-value") for attributes in page.of("td") if "data-value" in attributes]
    assert values[2] == ""


def test_classes_have_their_names(tmp_path: Path) -> None:
    def with_two(each: Record) -> Record:
        return replace(each, metrics={row: {**found, "dice_2": 0.25} for row, found in each.metrics.items()})

    cases = [with_two(record("a", 0.5)), with_two(record("b", 0.7))]
    table = checked(report_html(tmp_path, cases, {"classes": {"left": 1, "right": 2}})).table("DSC")
    assert table[0] == ["DSC", "left", "right"]
    assert table[-1] == ["Refined", "0.600 (0.500–0.700)", "0.250 (0.250–0.250)"]


def test_charts_show_all_cases(tmp_path: Path, records: list[Record], with_charts: None) -> None:
    page = checked(report_html(tmp_path, records, {}))
    assert len(page.of("svg")) == 3
    gains = [
        each.metrics["refined"]["dice"] - each.metrics["cam"]["dice"] for each in records if each.metrics
    ]
    higher, lower = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    assert higher > 0
    assert lower > 0
    assert f"higher: {higher}" in page.text
    assert f"lower: {lower}" in page.text
    assert "DSC per case" in page.text


def test_without_a_truth_there_are_no_figures(tmp_path: Path, with_charts: None) -> None:
    page = checked(report_html(tmp_path, [record("a", None), record("b", None)], {}))
    assert page.table("#")[0] == ["#", "case", "state", "empty slices", "seconds"]
    assert "No case has a reference mask" in page.text
    assert len(page.of("svg")) == 1


def test_one_case_and_none(tmp_path: Path) -> None:
    page = checked(report_html(tmp_path, [record("a")], {}))
    assert "(" not in page.table("mask")[-1][1]
    assert "Only one case was scored" in page.text
    assert "There is no case." in checked(report_html(tmp_path, [], {})).text


def test_settings_checksums_and_versions_are_there(tmp_path: Path) -> None:
    sums = {"image": "sha256:1", "model": "sha256:2", "parameters": "sha256:3"}
    cases = [record("a", checksums=sums), record("b", checksums={**sums, "image": "sha256:9"})]
    about = {
        "version": "1.2.3",
        "device": "cpu",
        "parameters": {"slic": {"n_segments": 300}},
        "stopped": "disk full.",
    }
    page = checked(report_html(tmp_path, cases, about))
    facts = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert facts["checksum, model"] == "sha256:2"
    assert facts["slic.n_segments"] == "300"
    assert facts["version"] == "1.2.3"
    assert "sha256:9" in page.text
    assert page.text.count("sha256:2") == 1
    assert "stopped before its end: disk full. The same" in page.text


def test_pictures_are_there_without_scripts(
    tmp_path: Path, records: list[Record], with_pictures: Any
) -> None:
    page = checked(report_html(tmp_path, with_pictures(records), {}))
    pictures = page.of("img")
    assert len(pictures) == len(records)
    content = base64.b64decode(pictures[0]["src"].removeprefix("data:image/webp;base64,"))
    assert content == (tmp_path / "thumbnails" / "3.webp").read_bytes()
    places = [attributes for attributes in page.of("div") if attributes.get("class") == "picture"]
    assert places[0]["style"] == "width: 120px; aspect-ratio: 120 / 30"
    assert "hidden" in next(attributes for attributes in page.of("div") if attributes.get("id") == "controls")


def test_a_picture_that_cannot_be_shown_costs_only_itself(tmp_path: Path, with_pictures: Any) -> None:
    cases = with_pictures([record(name) for name in "abcde"])
    (tmp_path / "thumbnails" / "0.webp").unlink()
    (tmp_path / "thumbnails" / "1.webp").write_bytes(b"<svg onload=alert(1)>")
    (tmp_path / "thumbnails" / "2.webp").write_bytes(b"RIFF" + bytes(2_000_000))
    outside = tmp_path.parent / "outside.webp"
    outside.write_bytes((tmp_path / "thumbnails" / "4.webp").read_bytes())
    cases[3] = replace(cases[3], thumbnail="../outside.webp")
    page = checked(report_html(tmp_path, cases, {}))
    assert len(page.of("img")) == 1
    assert page.text.count("No picture: ") == 4
    assert "0.webp: cannot be read: No such file" in page.text
    assert "1.webp: is no picture" in page.text
    assert "2.webp: is too large" in page.text
    assert "outside.webp: does not lie in the folder" in page.text


def test_a_thousand_cases_make_less_than_20_mb(tmp_path: Path) -> None:
    _, content = compressed(np.zeros((176, 716, 3), np.uint8))
    (tmp_path / "t.webp").write_bytes(content + bytes(12_000 - len(content)))
    sums = dict.fromkeys(("image", "truth", "response", "labels"), "sha256:" + "0" * 64)
    draw = np.random.default_rng(0)
    cases = [
        record(
            f"sub-{k:04d}/ses-1/anat/sub-{k:04d}_T1w",
            *draw.uniform(0.2, 0.9, 2),
            thumbnail="t.webp",
            checksums=sums,
        )
        for k in range(1000)
    ]
    path = write_report(tmp_path, cases, {})
    assert path.stat().st_size < 20_000_000
    assert path.read_text(encoding="utf-8").count("<noscript><img") == 1000


def test_where_there_are_too_many_pictures_the_worst_are_shown(
    tmp_path: Path, with_pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = with_pictures(
        [record("good", 0.9), record("bad", 0.1), record("fair", 0.5), record("no truth", None)]
    )
    content = (tmp_path / "thumbnails" / "0.webp").read_bytes()
    monkeypatch.setattr(report, "MOST_PICTURES", 2 * (len(base64.b64encode(content)) + 30))
    page = checked(report_html(tmp_path, cases, {}))
    assert [each["alt"].partition(":")[0] for each in page.of("img")] == ["bad", "fair"]
    assert "2 of 4 pictures are not in it" in page.text
    assert "The picture is in thumbnails/0.webp." in page.text


def test_the_review_is_shown_where_one_was_begun(tmp_path: Path) -> None:
    cases = [record("a"), record("b"), record("c", None, state="failed")]
    for each in cases:
        (tmp_path / each.output).write_bytes(b"labels")
    assert "review" not in checked(report_html(tmp_path, cases, {})).table("#")[0]
    Review(tmp_path, cases).set("b", "rejected")
    page = checked(report_html(tmp_path, cases, {}))
    assert page.table("#")[0][3] == "review"
    assert [row[3] for row in page.cases] == ["", "open", "rejected"]
    (tmp_path / "review.csv").write_text("no table", encoding="utf-8")
    assert "review" not in checked(report_html(tmp_path, cases, {})).table("#")[0]


def test_only_its_own_script_may_run(tmp_path: Path, records: list[Record]) -> None:
    page = checked(write_report(tmp_path, records, {}).read_bytes().decode("utf-8"))
    policy = next(
        each["content"] for each in page.of("meta") if "content" in each and "default-src" in each["content"]
    )
    digest = base64.b64encode(hashlib.sha256("".join(page.scripts).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_no_name_is_taken_for_markup(tmp_path: Path, with_pictures: Any, with_charts: None) -> None:
    cases = with_pictures(
        [
            record(
                f"{evil}{k}",
                state=state,
                error=evil,
                messages=(evil,),
                checksums={evil: evil},
                thumbnail=f"{evil}.webp",
            )
            for evil in (EVIL, *NASTY)
            for k, state in enumerate(("done", "failed"))
        ]
    )
    cases = [replace(each, metrics={**each.metrics, EVIL: figures(0.5)}) for each in cases]
    cases[0] = replace(cases[0], thumbnail=f"{EVIL}.webp")
    about: dict[str, Any] = {"title": EVIL, "stopped": EVIL, "classes": {EVIL: 1}}
    about |= {evil: {evil: [evil]} for evil in NASTY} | {f"{evil} too": evil for evil in NASTY}
    page = checked(write_report(tmp_path, cases, about).read_text(encoding="utf-8"))
    plain = [record("plain", state="failed", error="x", messages=("x",)), record("b"), record("c")]
    usual = checked(report_html(tmp_path, with_pictures(plain), {"stopped": "x"}))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in usual.elements}
    assert sorted(row[1] for row in page.cases) == sorted(visible(each.name) for each in cases)
    reasons = [row[1] for row in page.table("case")[1:]]
    assert reasons == [visible(evil) for evil in (EVIL, *NASTY)]
    assert page.table("mask")[-1][0] == EVIL
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", page.text)
    assert "{{ 7*7 }}" in page.text


@given(st.text(st.characters(), max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_stays_text(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cases = [record(text, None, state="failed", error=text, messages=(text,))]
        page = checked(report_html(Path(folder), cases, {"title": "batch", "note": text}))
    assert page.cases[0][1] == visible(text)
    assert page.table("case")[1][:2] == [visible(text), visible(text)]
    assert ["note", visible(text)] in [row for table in page.tables for row in table]


def test_what_is_hidden_is_written_out() -> None:
    assert visible("a\tb\r\u2028\u200b\udc80\u2067") == "a\\tb\\r\\u2028\\u200b\\udc80\\u2067"
    assert visible("سلام\u200cدنیا été 日本 👩\u200d🔬") == "سلام\u200cدنیا été 日本 👩\u200d🔬"


def test_the_same_records_give_the_same_page(
    tmp_path: Path, records: list[Record], with_pictures: Any
) -> None:
    records = with_pictures(records)
    first = write_report(tmp_path, records, {"a": 1}).read_bytes()
    assert write_report(tmp_path, records, {"a": 1}).read_bytes() == first


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(WriteError, match=r"report\.html: is a folder"):
        write_report(tmp_path, [record("a")], {})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_numbers_in_data_value_are_those_of_the_records(tmp_path: Path, records: list[Record]) -> None:
    source = report_html(tmp_path, records, {})
    for each in records:
        if each.metrics:
            body = source[source.index(f">{each.name}</th>") :]
            values = re.findall(r'data-value="([^"]*)"', body)[1:4]
            refined, cam = each.metrics["refined"]["dice"], each.metrics["cam"]["dice"]
            assert [float(value) for value in values] == [refined, cam, refined - cam]
            assert not any(math.isnan(float(value)) for value in values)
