from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from napari_refit import __version__
from napari_refit.errors import Cancelled, WriteError
from napari_refit.study.pictures import draw_case, picks
from napari_refit.study.reporting import write_report
from napari_refit.study.results import MethodInfo, Panel, Row, StudyResults, read_rows
from napari_refit.study.statistics import analyse

MakeStudy = Callable[..., StudyResults]
MakeRows = Callable[..., list[Row]]
EVIL = "<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)> $x^2$ $ \\frac{ {{ 7*7 }} | `a` [b](c)"
ADDRESSES = ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "background")


class Page(HTMLParser):
    """What a browser would make of a page: elements, their attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "br", "img", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def panel(case: str, axis: int | None, index: int | None) -> Panel:
    draw = np.random.default_rng(abs(hash((axis, index))) % 1000)
    truth = np.zeros((40, 60), np.uint8)
    truth[10:25, 20:45] = 1
    masks = {name: np.roll(truth, shift, 1) for name, shift in (("gradcam", 6), ("refit", 2), ("seam", 9))}
    return Panel(draw.random((40, 60)), truth, masks, {"gradcam": draw.random((1, 40, 60))})


def checked(source: str) -> Page:
    """A page, after a look at whether it needs anything from elsewhere or would run anything."""
    page = Page(source)
    assert page.open == []
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    }
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ADDRESSES:
            if name in attributes:
                assert attributes[name].startswith(("data:image/", "#")), (tag, name, attributes[name][:80])
        assert "url(" not in attributes.get("style", "").replace("url(#", "")
    styles = "".join(re.findall(r"<style>.*?</style>", source, re.DOTALL))
    assert "@import" not in styles
    assert "url(" not in styles
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', source))
    assert used <= set(ids)
    return page


@pytest.fixture
def rows(make_rows: MakeRows) -> list[Row]:
    return make_rows(methods=("blank", "gradcam", "best-threshold", "refit", "seam"))


def test_all_four_files(tmp_path: Path, make_study: MakeStudy, rows: list[Row]) -> None:
    told: list[tuple[int, int, str]] = []
    written = write_report(
        tmp_path / "new" / "folder", make_study(rows), panel, lambda *item: told.append(item)
    )
    assert list(written) == ["results.csv", "summary.json", "summary.md", "report.html"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(written)
    assert repr(read_rows(written["results.csv"])) == repr(rows)
    assert told
    assert told[-1][0] == told[-1][1] == len(told)
    page = checked(written["report.html"].read_text(encoding="utf-8"))
    assert page.count("svg") == 3
    assert page.count("img") == len(told)


def test_the_same_results_give_the_same_files(tmp_path: Path, make_study: MakeStudy, rows: list[Row]) -> None:
    one, two = (write_report(tmp_path / name, make_study(rows), panel) for name in ("a", "b"))
    assert {key: path.read_bytes() for key, path in one.items()} == {
        key: path.read_bytes() for key, path in two.items()
    }


def test_no_name_is_taken_for_markup(tmp_path: Path, make_study: MakeStudy, rows: list[Row]) -> None:
    rows = [replace(row, case=f"{row.case}{EVIL}", class_name=EVIL, dataset=EVIL) for row in rows]
    methods = tuple(
        MethodInfo(key, f"{key} {EVIL}", EVIL, {EVIL: {EVIL: EVIL}}, {EVIL: EVIL}, {EVIL: 0.5}, (EVIL,))
        for key in ("gradcam", "refit", "best-threshold")
    )
    study = make_study(
        rows, methods=methods, title=EVIL, licence=EVIL, citation=(EVIL,), url="javascript:alert(3)", notes=(EVIL,),
        left_out={EVIL: 3}, split={EVIL: 1}, counts={EVIL: 2}, versions={EVIL: EVIL}, machine={EVIL: EVIL},
    )  # fmt: skip

    def broken(case: str, axis: int | None, index: int | None) -> Panel:
        if index == 0:
            raise ValueError(EVIL)
        return panel(case, axis, index)

    written = write_report(tmp_path, study, broken)
    page = checked(written["report.html"].read_text(encoding="utf-8"))
    assert page.text.count("<script>alert(1)</script>") > 20
    assert "No picture: <script>" in page.text
    assert "49" not in re.findall(r"\\frac{ (\S+)", page.text)
    summary = written["summary.md"].read_text(encoding="utf-8")
    assert "<script" not in summary
    assert "[b](c)" not in re.sub(r"\\.", "", summary)


def test_tables_in_markdown_are_whole(tmp_path: Path, make_study: MakeStudy, rows: list[Row]) -> None:
    rows = [replace(row, class_name="a|b\nc") for row in rows]
    lines = (write_report(tmp_path, make_study(rows))["summary.md"]).read_text(encoding="utf-8").splitlines()
    tables = 0
    for k, line in enumerate(lines):
        if re.fullmatch(r"\|(---\|)+", line):
            tables += 1
            width = line.count("---")
            at = k - 1
            while at < len(lines) and lines[at].startswith("|"):
                assert len(re.findall(r"(?<!\\)\|", lines[at])) == width + 1, lines[at]
                at += 1
            first = lines[k + 1].split("|")[1].strip()
            assert first == "Blank" or "against Blank" in lines[k - 3]
    assert tables == 6


def test_the_summary_says_everything(tmp_path: Path, make_study: MakeStudy, rows: list[Row]) -> None:
    study = make_study(rows, left_out={"pseudo-label empty": 4}, versions={"torch": "2"}, machine={"cpu": "x"},
                       seconds={"training": 2.5}, split={"folds": 3})  # fmt: skip
    written = write_report(tmp_path, study)
    facts = json.loads(written["summary.json"].read_text(encoding="utf-8"))
    found = analyse(rows, [method.key for method in study.methods])
    assert facts["program"]["version"] == __version__
    assert facts["methods"][0]["settings"] == {"fit": {"threshold": 0.25}}
    assert facts["methods"][0]["checksums"] == {"fold 1": "sha256:1"}
    assert (facts["left_out"], facts["split"]) == ({"pseudo-label empty": 4}, {"folds": 3})
    for told, summary in zip(facts["summaries"], found.summaries, strict=True):
        assert told["method"] == summary.method
        for key, item in summary.figures.items():
            wanted = None if math.isnan(item.value) else item.value
            assert told["figures"][key]["value"] == wanted
            assert told["figures"][key]["n"] == item.n
    assert facts["comparisons"][2]["p_sign_flip_holm"] == found.comparisons[2].p_sign_flip_holm
    text = written["summary.md"].read_text(encoding="utf-8")
    page = checked(written["report.html"].read_text(encoding="utf-8"))
    mean = found.of("refit").figures["dice_mean"]
    for words in (
        f"{mean.value:.3f} ({mean.low:.3f}–{mean.high:.3f})", "pseudo-label empty: 4", "CC BY 4.0", "A set (2020)",
        "2000 draws", "sha256:1", "false alarms", "HD95 median, px", "paper's convention", "fit.threshold",
    ):  # fmt: skip
        assert words in text, words
        assert words in page.text, words
    assert "Image by image" in page.text
    assert "higher: " in page.text


def test_settings_of_any_kind_cost_nothing(tmp_path: Path, make_study: MakeStudy, rows: list[Row]) -> None:
    odd = {
        "array": np.arange(3),
        "path": Path("x"),
        "nan": math.nan,
        "set": {1, 2},
        "object": object,
        3: None,
    }
    written = write_report(tmp_path, make_study(rows, methods=(MethodInfo("refit", "ReFit", "", odd),)))
    facts = json.loads(written["summary.json"].read_text(encoding="utf-8"))
    assert facts["methods"][0]["settings"]["array"] == [0, 1, 2]
    assert facts["methods"][0]["settings"]["nan"] is None


def test_no_rows(tmp_path: Path, make_study: MakeStudy) -> None:
    written = write_report(tmp_path, make_study([]), panel)
    assert "no image was evaluated" in checked(written["report.html"].read_text(encoding="utf-8")).text
    assert "no image was evaluated" in written["summary.md"].read_text(encoding="utf-8")
    assert json.loads(written["summary.json"].read_text(encoding="utf-8"))["summaries"] == []


def test_one_patient_is_told_that_there_is_no_interval(
    tmp_path: Path, make_study: MakeStudy, make_rows: MakeRows
) -> None:
    written = write_report(tmp_path, make_study(make_rows(n_patients=1)), panel)
    for name in ("report.html", "summary.md"):
        text = written[name].read_text(encoding="utf-8")
        assert "one patient only: no interval" in text
        assert "percentile interval of a bootstrap" not in text


def test_few_patients_are_warned_of(tmp_path: Path, make_study: MakeStudy, make_rows: MakeRows) -> None:
    few, enough = (
        write_report(tmp_path / str(n), make_study(make_rows(n_patients=n)))["summary.md"].read_text()
        for n in (4, 12)
    )
    assert "With only 4 patients" in few
    assert "With only" not in enough


def test_several_classes_have_a_table_each(
    tmp_path: Path, make_study: MakeStudy, make_rows: MakeRows
) -> None:
    written = write_report(tmp_path, make_study(make_rows(n_classes=3)), panel)
    text = written["summary.md"].read_text(encoding="utf-8")
    for name in ("mean over classes", "class 1", "class 2", "class 3"):
        assert f"## {name}\n" in text
        assert f"## {name}: against Gradcam\n" in text
    assert checked(written["report.html"].read_text(encoding="utf-8")).count("details") >= 3


def test_without_a_licence_for_it_no_picture_goes_unwarned(
    tmp_path: Path, make_study: MakeStudy, rows: list[Row]
) -> None:
    study = make_study(rows, licence="Evaluation only, do not share")
    with_pictures = write_report(tmp_path / "a", study, panel)["report.html"].read_text(encoding="utf-8")
    without = write_report(tmp_path / "b", study)["report.html"].read_text(encoding="utf-8")
    assert "do not pass this page on" in with_pictures
    assert "Evaluation only, do not share" in without
    assert "do not pass this page on" not in without


def test_a_broken_picture_is_named_and_a_cancelled_job_stops(
    tmp_path: Path, make_study: MakeStudy, rows: list[Row]
) -> None:
    def gone(case: str, axis: int | None, index: int | None) -> Panel:
        raise OSError("the file is gone")

    page = checked(write_report(tmp_path, make_study(rows), gone)["report.html"].read_text(encoding="utf-8"))
    assert page.count("img") == 0
    assert "No picture: the file is gone" in page.text

    def stop(case: str, axis: int | None, index: int | None) -> Panel:
        raise Cancelled

    with pytest.raises(Cancelled):
        write_report(tmp_path, make_study(rows), stop)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path, make_study: MakeStudy) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file"):
        write_report(tmp_path / "file", make_study([]))


def test_worst_best_gains_losses_and_false_alarms(make_row: Callable[..., Row]) -> None:
    rows = []
    for k in range(8):
        rows += [make_row("refit", f"p{k}", 0, k + 1, 10, 10), make_row("gradcam", f"p{k}", 0, 5, 10, 10)]
    rows += [make_row("refit", "p0", 1, 2, 10, 10), make_row("gradcam", "p0", 1, 2, 10, 10)]
    rows += [make_row("refit", "p1", 1, 0, 20, 0), make_row("refit", "p2", 1, 0, 30, 0)]
    found = {
        pick.title: [place[::2] for place in pick.places] for pick in picks(analyse(rows), "refit", "gradcam")
    }
    assert found == {
        "Worst": [
            ("p0", 0),
            ("p1", 0),
            ("p2", 0),
            ("p3", 0),
        ],  # ("p0", 1) ties with p1, but p0 is there already
        "Best": [("p7", 0), ("p6", 0), ("p5", 0), ("p4", 0)],
        "Largest gain": [("p7", 0), ("p6", 0), ("p5", 0)],
        "Largest loss": [("p0", 0), ("p1", 0), ("p2", 0), ("p3", 0)],
        "False alarms": [("p2", 1), ("p1", 1)],
    }


def decoded(address: str) -> np.ndarray:
    import base64
    import io

    from PIL import Image

    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1]))).convert("RGB")
    ).astype(int)


@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (5,)])
def test_a_picture_has_outlines_where_they_belong(channels: tuple[int, ...]) -> None:
    truth, mask = np.zeros((2, 50, 50), np.uint8)
    truth[10:40, 10:40], mask[15:45, 15:45] = 1, 1
    shown = Panel(np.full((50, 50, *channels), 0.5), truth, {"refit": mask, "gradcam": truth * 0})
    picture = decoded(draw_case(shown, "refit", "gradcam"))
    assert picture.shape == (230, 4 * 230 + 3 * 4, 3)
    tiles = [picture[:, k * 234 : k * 234 + 230] for k in range(4)]
    assert np.ptp(tiles[0].mean(axis=2)) < 6
    red, blue = tiles[1][46, 50:180, 0].mean(), tiles[1][46, 50:180, 2].mean()
    assert red - blue > 60, "the truth's upper edge is yellow"
    red, blue = tiles[3][206, 80:200, 0].mean(), tiles[3][206, 80:200, 2].mean()
    assert blue - red > 60, "the refined mask's lower edge is cyan"
    assert abs(tiles[1][206, 80:200] - 127).max() < 12


def test_a_mask_of_another_size_is_named() -> None:
    shown = Panel(np.zeros((5, 5)), np.zeros((5, 5), int), {"refit": np.zeros((4, 5), int)})
    with pytest.raises(ValueError, match=r"refined mask is \(4, 5\), the image \(5, 5\)"):
        draw_case(shown, "refit", "gradcam")


def test_a_large_study_stays_small(tmp_path: Path, make_study: MakeStudy, make_rows: MakeRows) -> None:
    rows = make_rows(n_patients=60, n_images=25)

    def noise(case: str, axis: int | None, index: int | None) -> Panel:
        draw = np.random.default_rng(0)
        return Panel(
            draw.random((300, 300, 3)), np.ones((300, 300), int), {}, {"gradcam": draw.random((300, 300))}
        )

    page = write_report(tmp_path, make_study(rows), noise)["report.html"]
    assert page.stat().st_size < 5_000_000
    checked(page.read_text(encoding="utf-8"))
