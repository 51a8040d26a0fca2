"""report.html of a batch: one file that needs no network, with every case in it and what failed first."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from napari_refit import __version__
from napari_refit.batch.report_figures import (
    CAM,
    REFINED,
    charts,
    class_table,
    gain_table,
    gather,
    glossary,
    metric_table,
    score,
    shown_number,
)
from napari_refit.errors import ReadError, brief
from napari_refit.io._atomic import atomic_path
from napari_refit.pages import CITATIONS, data_address, environment, hex_colour
from napari_refit.study.tables import flat
from napari_refit.tiles import CAM as CAM_COLOUR
from napari_refit.tiles import REFINED as REFINED_COLOUR
from napari_refit.tiles import TRUTH as TRUTH_COLOUR

if TYPE_CHECKING:
    from napari_refit.batch.record import Record

REPORT = "report.html"
STATES = ("failed", "cancelled", "done", "skipped")
"""In the order of the page; done and skipped are one kind there, in the order of the cases."""
MOST_PICTURES = 16_500_000
"""Bytes of all pictures in a page, as text: it stays below 20 MB with a thousand cases."""
_MOST_FILE = 1_000_000
_KINDS = {"WEBP": "webp", "JPEG": "jpeg", "PNG": "png"}


@dataclass(frozen=True)
class Column:
    """A column of the table of cases; ``kind`` is how it sorts: "text" or "number"."""

    title: str
    kind: str = "number"


@dataclass(frozen=True)
class Picture:
    """A picture within the page: its ``data:`` address and its size in pixels."""

    address: str
    width: int
    height: int


@dataclass
class Line:
    """A case, as the page shows it.

    Attributes
    ----------
    number : int
        From 1: the place in the page.
    name, state, error, image, review : str
    rank : int
        Order of the states.
    figures : list of (str, str)
        What each column sorts by (empty: nothing), and what it shows.
    messages : tuple of str
    facts : list of (str, str)
        Files and checksums.
    tiles : str
        What its picture shows.
    picture : str
        A ``data:`` address; empty if there is none.
    width, height : int
        Of the picture.
    fault : str
        Why there is no picture.
    """

    number: int
    name: str
    state: str
    rank: int
    error: str
    image: str
    review: str
    figures: list[tuple[str, str]]
    messages: tuple[str, ...]
    facts: list[tuple[str, str]]
    tiles: str
    picture: str = ""
    width: int = 0
    height: int = 0
    fault: str = ""


def write_report(out: Path, records: Sequence[Record], about: Mapping[str, Any]) -> Path:
    """Write ``report.html``, whole or not at all.

    Parameters
    ----------
    out : Path
        Folder of the results. Pictures are read from it, and the review's states, where there are any.
    records : sequence of Record
    about : mapping
        What made the results: settings, checksums, versions, nested as one likes; each mapping gets a table of its
        own. ``title`` names the page, ``stopped`` says why the run stopped before its end, ``classes`` is the value
        in the masks of each class's name.

    Returns
    -------
    Path
        ``out / "report.html"``.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    out = Path(out)
    page = report_html(out, records, about)
    target = out / REPORT
    with atomic_path(target) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    return target


def report_html(out: Path, records: Sequence[Record], about: Mapping[str, Any]) -> str:
    """The page (arguments as in `write_report`).

    Returns
    -------
    str
        HTML that loads nothing from elsewhere, and in which no name, error or setting is taken for markup.
    """
    # A rerun that finds a case done says "skipped"; its place in the page is the same.
    ordered = sorted(records, key=lambda record: min(_rank(record.state), STATES.index("done")))
    scores = gather(ordered)
    reviews = _reviews(out, ordered)
    common = _common_checksums(ordered)
    has_truth = bool(scores.cases)
    lines = [
        _line(number, record, has_truth, reviews.get(record.name, ""), common)
        for number, record in enumerate(ordered, start=1)
    ]
    notes = _put_pictures(out, ordered, lines)
    script = _asset("report.js")
    columns = [Column("#"), Column("case", "text"), Column("state")]
    columns += [Column("review", "text")] if reviews else []
    columns += [Column(title) for title in (*(_SCORED if has_truth else ()), *_ALWAYS)]
    return (
        environment()
        .from_string(_asset("report.html.jinja"))
        .render(
            title=about.get("title") or out.absolute().name,
            version=__version__,
            policy=_policy(script),
            # Written here, and charts made here of numbers and of text that matplotlib escapes.
            script=Markup(script),
            charts=[(title, Markup(chart)) for title, chart in charts(scores, ordered)],
            counts=[(state, sum(line.state == state for line in lines)) for state in STATES],
            stopped=about.get("stopped", ""),
            failures=[line for line in lines if line.state == "failed"],
            metrics=metric_table(scores) if has_truth else None,
            gains=gain_table(scores) if has_truth else None,
            classes=class_table(scores, _class_names(about)) if has_truth else None,
            glossary=glossary(scores),
            pictures=any(line.picture for line in lines),
            colours={
                name: hex_colour(colour)
                for name, colour in (
                    ("truth", TRUTH_COLOUR),
                    ("cam", CAM_COLOUR),
                    ("refined", REFINED_COLOUR),
                )
            },
            notes=notes,
            cases=lines,
            columns=columns,
            reviewed=_counted(line.review for line in lines) if reviews else [],
            sections=_sections(about, common),
            citations=CITATIONS,
        )
    )


_SHOWN_ELSEWHERE = ("title", "stopped", "counts", "cases", "failures", "metrics")
_SCORED = ("DSC refined", "DSC CAM", "gain", "HD95, mm", "surface DSC")
_ALWAYS = ("empty slices", "seconds")


def _asset(name: str) -> str:
    return files("napari_refit.batch").joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """What a browser is told to allow: this one script, styles, pictures that are in the page; nothing else."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _rank(state: str) -> int:
    return STATES.index(state) if state in STATES else len(STATES)


def _line(number: int, record: Record, has_truth: bool, review: str, common: Mapping[str, str]) -> Line:
    figures = []
    if has_truth:
        refined, cam = score(record, REFINED, "dice"), score(record, CAM, "dice")
        for value, key, signed in (
            (refined, "dice", False),
            (cam, "dice", False),
            (refined - cam, "dice", True),
            (score(record, REFINED, "hd95"), "hd95", False),
            (score(record, REFINED, "surface_dice"), "surface_dice", False),
        ):
            figures.append((_sortable(value), shown_number(value, key, signed=signed)))
    finished = record.state in ("done", "skipped")
    empty = f"{record.n_empty} of {record.n_slices}" if finished else shown_number(float("nan"))
    figures.append((str(record.n_empty) if finished else "", empty))
    seconds = record.seconds if finished else float("nan")
    figures.append((_sortable(seconds), f"{seconds:.1f}" if finished else shown_number(seconds)))
    own = {key: text for key, text in record.checksums.items() if key not in common}
    return Line(
        number=number,
        name=record.name,
        state=record.state,
        rank=_rank(record.state),
        error=record.error,
        image=record.image,
        review=review,
        figures=figures,
        messages=record.messages,
        facts=[
            ("image", record.image),
            ("result", record.output),
            *((f"checksum, {key}", own[key]) for key in own),
        ],
        tiles="image, truth, response map, refined mask"
        if record.metrics
        else "image, response map, refined mask",
    )


def _sortable(value: float) -> str:
    return "" if value != value else repr(float(value))


def _put_pictures(out: Path, records: Sequence[Record], lines: Sequence[Line]) -> list[str]:
    """Give each line its picture while there is room, those of low scores first; what to say about the others."""
    wanted = [k for k, record in enumerate(records) if record.thumbnail]
    # A figure that is not a number compares with nothing.
    dice = [score(record, REFINED, "dice") for record in records]
    wanted.sort(key=lambda k: (dice[k] != dice[k], dice[k] if dice[k] == dice[k] else 0.0, k))
    room, left_out = MOST_PICTURES, 0
    for k in wanted:
        try:
            picture = _picture(out, records[k].thumbnail)
        except ReadError as error:
            lines[k].fault = f"No picture: {brief(error)}"
            continue
        if len(picture.address) > room:
            lines[k].fault = f"The picture is in {records[k].thumbnail}."
            left_out += 1
            continue
        room -= len(picture.address)
        lines[k].picture, lines[k].width, lines[k].height = picture.address, picture.width, picture.height
    if not left_out:
        return []
    return [
        f"To keep this page light, {left_out} of {len(wanted)} pictures are not in it but beside it. Shown are those "
        "of the lowest DSC."
    ]


def _picture(out: Path, name: str) -> Picture:
    """Read a picture of the folder.

    Raises
    ------
    ReadError
        If it is not there, or no picture.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(os.path.normpath(out / name))
    if not path.is_relative_to(os.path.normpath(out)):
        raise ReadError(path, "does not lie in the folder of the results")
    try:
        if path.stat().st_size > _MOST_FILE:
            raise ReadError(path, "is too large for a thumbnail")
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=list(_KINDS)) as found:
            return Picture(data_address(_KINDS[str(found.format)], content), *found.size)
    except ReadError:
        raise
    except UnidentifiedImageError:
        raise ReadError(path, "is no picture") from None
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReadError(path, f"cannot be read: {brief(reason)}") from None


def _reviews(out: Path, records: Sequence[Record]) -> dict[str, str]:
    """State of each case that can be reviewed; empty where no review was begun, or its table cannot be read."""
    from napari_refit.batch.review import REVIEW, Review

    if not (out / REVIEW).exists():
        return {}
    try:
        review = Review(out, records)
    except ReadError:
        return {}
    return {record.name: review.state(record.name) for record in review.records}


def _counted(states: Any) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for state in states:
        if state:
            found[state] = found.get(state, 0) + 1
    return list(found.items())


def _common_checksums(records: Sequence[Record]) -> dict[str, str]:
    """Those that all cases share, such as the model's."""
    known = [record.checksums for record in records if record.checksums]
    if not known:
        return {}
    return {
        key: text
        for key, text in known[0].items()
        if key in ("model", "parameters") and all(other.get(key) == text for other in known)
    }


def _class_names(about: Mapping[str, Any]) -> dict[str, str]:
    classes = about.get("classes")
    return (
        {str(number): str(name) for name, number in classes.items()} if isinstance(classes, Mapping) else {}
    )


def _sections(
    about: Mapping[str, Any], common: Mapping[str, str]
) -> list[tuple[str, list[tuple[str, str]], bool]]:
    """Title, lines, and whether it is long: single facts first, then each mapping."""
    single = {
        key: value
        for key, value in about.items()
        if not isinstance(value, Mapping) and key not in _SHOWN_ELSEWHERE
    }
    run = [*flat(single), *((f"checksum, {key}", text) for key, text in common.items())]
    if not any(name == "version" for name, _ in run):
        run.append(("napari-refit", __version__))
    found = [("Run", run, False)]
    for key, value in about.items():
        if isinstance(value, Mapping) and value and key not in _SHOWN_ELSEWHERE:
            lines = list(flat(value))
            found.append((str(key).replace("_", " ").capitalize(), lines, len(lines) > 12))
    return found
