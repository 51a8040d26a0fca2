"""What the benchmarks' page is made of: our ways beside their peers, and how a table says it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "napari-refit"
CARD = "Graphics card"
ORDER = (
    "Quickshift",
    "SLIC",
    "Response maps",
    "BoundaryFit",
    "Graph cut",
    "Other fits",
    "USS network",
    "Volumes",
    "Pipeline",
    CARD,
)

Bench = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """One of our ways beside a peer, or alone."""

    what: str
    stage: str
    ours: Bench
    peer: Bench | None

    @property
    def ratio(self) -> float:
        """How many of our fastest calls the peer's fastest call lasts; NaN without a peer."""
        return math.nan if self.peer is None else fastest(self.peer) / fastest(self.ours)

    @property
    def ratio_of_medians(self) -> float:
        """The same of the medians."""
        return math.nan if self.peer is None else median(self.peer) / median(self.ours)

    @property
    def reach(self) -> dict[str, float]:
        """What is to be reached: against the peer, or in milliseconds."""
        return (self.peer or self.ours)["extra_info"].get("reach", {})

    @property
    def reached(self) -> bool | None:
        """Whether it was; None where nothing was set."""
        if "faster" in self.reach:
            return self.ratio >= self.reach["faster"]
        if "within" in self.reach:
            return 1 / self.ratio <= self.reach["within"]
        if "milliseconds" in self.reach:
            return fastest(self.ours) * 1e3 <= self.reach["milliseconds"]
        return None


def fastest(bench: Bench) -> float:
    """Seconds of the fastest call."""
    return bench["stats"]["min"]


def median(bench: Bench) -> float:
    """Seconds of the median call."""
    return bench["stats"]["median"]


def pairs(benchmarks: Iterable[Bench]) -> Iterator[Pair]:
    """Every one of our ways beside every peer of its task; alone where it has none, or a figure of its own."""

    def place(bench: Bench) -> int:
        stage = bench["extra_info"]["stage"]
        return ORDER.index(stage) if stage in ORDER else len(ORDER)

    tasks: dict[str, list[Bench]] = {}
    for bench in sorted(benchmarks, key=place):
        if bench["extra_info"]["stage"] not in ("scaling", "live"):
            tasks.setdefault(bench["group"], []).append(bench)
    for what, ways in tasks.items():
        peers = [bench for bench in ways if not bench["extra_info"]["ours"]]
        for ours in (bench for bench in ways if bench["extra_info"]["ours"]):
            stage = ours["extra_info"]["stage"]
            if not peers or "reach" in ours["extra_info"]:
                yield Pair(what, stage, ours, None)
            for peer in peers:
                yield Pair(what, stage, ours, peer)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty without rows."""
    lines = [list(row) for row in rows]
    if not lines:
        return ""
    all_lines = [list(head), ["---"] * len(head), *lines]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in all_lines
    )


def duration(seconds: float) -> str:
    """Seconds with three digits in a unit that suits them.

    Examples
    --------
    >>> duration(0.0000321), duration(0.0123), duration(4.0), duration(123.4)
    ('32.1 µs', '12.3 ms', '4 s', '123 s')
    """
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            return f"{digits(seconds * factor)} {unit}"
    raise AssertionError


def digits(value: float) -> str:
    """Three digits, without an exponent.

    Examples
    --------
    >>> digits(1234.5), digits(56.78), digits(0.9), digits(1.0)
    ('1234', '56.8', '0.9', '1')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def verdict(reached: bool | None) -> str:
    """How a table says it."""
    return "" if reached is None else "yes" if reached else "**no**"


def compared(pair: Pair) -> str:
    """The ratio as the figure to reach is put: times faster, or times as long as a bare minimum."""
    if pair.peer is None:
        return ""
    one, other = pair.ratio, pair.ratio_of_medians
    if "within" in pair.reach:
        return f"{1 / one:.2f} times its time ({1 / other:.2f})"
    if one < 1:
        return f"{digits(1 / one)} times slower ({digits(1 / other)})"
    return f"{digits(one)} times faster ({digits(other)})"


def to_reach(pair: Pair) -> str:
    """The figure to reach in words."""
    reach = pair.reach
    if "faster" in reach:
        return f"≥ {digits(reach['faster'])} times faster"
    if "within" in reach:
        return f"≤ {reach['within']:g} times its time"
    return f"≤ {digits(reach['milliseconds'])} ms" if "milliseconds" in reach else ""


def answers(pair: Pair) -> str:
    """How the two answers compare, where that was measured."""
    if pair.peer is None:
        return ""
    info = pair.peer["extra_info"]
    if "agreement" in info:
        # Rounded down: only equal maps may read 100 %.
        return f"agree on {math.floor(info['agreement'] * 1e4) / 1e2:g} %"
    if "clusters" in info and "clusters" in pair.ours["extra_info"]:
        return f"{pair.ours['extra_info']['clusters']} and {info['clusters']} clusters"
    return ""


def name_of(bench: Bench) -> str:
    """Which of our ways, where a task has several."""
    return bench["extra_info"]["way"].removeprefix(OURS).lstrip(": ")


def timed(bench: Bench, note: str = "") -> str:
    """The fastest call and how many cores it kept busy."""
    notes = [note] if note else []
    if "cores" in bench["extra_info"]:
        notes.append(f"{bench['extra_info']['cores']:.1f} cores")
    return duration(fastest(bench)) + (f" ({', '.join(notes)})" if notes else "")


def with_name(text: str, name: str) -> str:
    """A cell's text, followed by which way it is."""
    return f"{text} ({name})" if name else text
