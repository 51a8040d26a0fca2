"""Make docs/benchmarks.md from what `make bench` measured: ``python docs/gen_benchmarks.py RESULTS.json [PAGE]``.

The page ends with the hand-written docs/_benchmark_notes.md.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
NOTES = DOCS / "_benchmark_notes.md"
# Seconds per way below which a run was only a try-out.
SERIOUS = 1.0
# "Linear within 15 %".
SLACK = 0.15
OURS = "napari-refit"
ORDER = (
    "Quickshift",
    "SLIC",
    "Response maps",
    "BoundaryFit",
    "USS network",
    "Pipeline",
    "Graphics card",
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


def machine_section(results: dict[str, Any]) -> str:
    """What was measured on."""
    info, about = results["machine_info"], results.get("about", {})
    vectors = f" with {', '.join(info['vectors'])}" if info["vectors"] else ""
    caches = ", ".join(f"{level} {size}" for level, size in info["caches"].items())
    versions = dict(info["versions"])
    threads = info["threads"]
    rows = [
        ["processor", f"{info['processor']}{vectors}, {info['cores']} cores"],
        ["caches of a core", caches or "unknown"],
        ["memory", f"{info['memory_gib']} GiB"],
        ["graphics card", info["accelerator"] or "none"],
        ["threads", f"{threads['kernels']} (compiled loops), {threads['torch']} (torch)"],
        ["system", f"{info['system']}, Python {info['python']}"],
        ["versions", ", ".join(f"{name} {number}" for name, number in versions.items())],
    ]
    if "opencv" in about:
        opencv = about["opencv"]
        rows.append(["OpenCV contrib", f"{opencv['version']}, {opencv['threads']} threads"])
    renderers = {bench["extra_info"]["renderer"] for bench in live(results)}
    rows += [["window drawn by", name] for name in sorted(renderers)]
    return "## Measured on\n\n" + table(["", f"{results['datetime'][:10]}"], rows)


def figures_section(results: dict[str, Any]) -> str:
    """Every figure that was set, reached or not."""
    rows = [
        [
            pair.what,
            with_name(duration(fastest(pair.ours)), name_of(pair.ours)),
            pair.peer["extra_info"]["way"] if pair.peer else "",
            duration(fastest(pair.peer)) if pair.peer else "",
            compared(pair),
            to_reach(pair),
            verdict(pair.reached),
        ]
        for pair in pairs(results["benchmarks"])
        if pair.reached is not None
    ]
    head = ["what", "ours", "compared with", "its time", "ours is", "to reach", "reached"]
    body = table(head, rows)
    return f"## Figures to reach\n\n{body}" if body else ""


def with_name(text: str, name: str) -> str:
    """A cell's text, followed by which way it is."""
    return f"{text} ({name})" if name else text


def stage_sections(results: dict[str, Any]) -> Iterator[str]:
    """Everything that was measured against peers, stage by stage."""
    found = list(pairs(results["benchmarks"]))
    for stage in dict.fromkeys(pair.stage for pair in found):
        rows = [
            [
                pair.what,
                timed(pair.ours, name_of(pair.ours)),
                pair.peer["extra_info"]["way"] if pair.peer else "",
                timed(pair.peer) if pair.peer else "",
                compared(pair),
                answers(pair),
            ]
            for pair in found
            if pair.stage == stage
        ]
        yield f"## {stage}\n\n" + table(["what", "ours", "peer", "its time", "ours is", "the answers"], rows)


def scaling_section(results: dict[str, Any]) -> str:
    """Time per pixel against that of the smallest picture, and the slope of time over pixels, both logarithmic."""
    kernels: dict[str, dict[int, float]] = {}
    for bench in results["benchmarks"]:
        if bench["extra_info"]["stage"] == "scaling":
            kernels.setdefault(bench["group"], {})[bench["extra_info"]["side"]] = fastest(bench)
    kernels = {name: seconds for name, seconds in kernels.items() if len(seconds) > 1}
    if not kernels:
        return ""
    sides = sorted({side for seconds in kernels.values() for side in seconds})
    rows = [scaling_row(name, seconds, sides) for name, seconds in kernels.items()]
    head = ["kernel", f"ns per pixel at {sides[0]}", *(f"at {side}" for side in sides[1:]), "slope", "linear"]
    text = (
        f"Time per pixel at each side, against that at {sides[0]}; the slope of log time over log pixels. Linear: "
        f"a pixel never costs more than {SLACK:.0%} above what it costs at {sides[0]}. Below 1, the fixed cost of a "
        "call is spread over more pixels."
    )
    return f"## Cost against pixels\n\n{text}\n\n{table(head, rows)}"


def scaling_row(name: str, seconds: dict[int, float], sides: Sequence[int]) -> list[str]:
    """One kernel."""
    first = min(seconds)
    per_pixel = {side: each / side**2 for side, each in seconds.items()}
    relative = {side: each / per_pixel[first] for side, each in per_pixel.items()}
    cells = [f"{relative[side]:.2f}" if side in relative else "" for side in sides[1:]]
    linear = max(relative.values()) <= 1 + SLACK
    return [name, digits(per_pixel[first] * 1e9), *cells, f"{slope(seconds):.2f}", verdict(linear)]


def slope(seconds: dict[int, float]) -> float:
    """Least-squares slope of log time over log pixels.

    Examples
    --------
    >>> round(slope({256: 1.0, 512: 4.0, 1024: 16.0}), 9)
    1.0
    """
    x = [2 * math.log(side) for side in seconds]
    y = [math.log(each) for each in seconds.values()]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - x_mean) ** 2 for a in x)


def live(results: dict[str, Any]) -> list[Bench]:
    """What was measured in a real window."""
    return [bench for bench in results["benchmarks"] if bench["extra_info"]["stage"] == "live"]


def live_section(results: dict[str, Any]) -> str:
    """From a slider's move to the labels layer's event, and how long the window's thread is away meanwhile."""
    found = live(results)
    if not found:
        return ""
    moved = [bench for bench in found if "median_ms" in bench["extra_info"]]
    head = ["slider", "in", "median", "95 %", "worst", "sharp, median", "to reach", "reached"]
    parts = [
        "## Live",
        "From a slider's move to the labels layer's event; where a coarse answer comes first, the sharp one is "
        "given beside it.",
        table(head, (latency_row(bench) for bench in moved)),
    ]
    for bench in found:
        info = bench["extra_info"]
        if "per_second" in info:
            parts.append(
                f"{bench['group']}: 60 moves a second, {digits(info['per_second'])} labels events a second, the last "
                f"one {digits(info['last_ms'])} ms after the last move."
            )
    head = [
        "meanwhile",
        "longest, without painting",
        "longest painting",
        "unchanged window",
        "to reach",
        "reached",
    ]
    parts += [
        "The longest stay of the window's thread in one event while this was measured, and how long it takes to paint "
        "the same window when nothing has changed (median, longest).",
        table(head, (stay_row(bench) for bench in found)),
    ]
    return "\n\n".join(parts)


def latency_row(bench: Bench) -> list[str]:
    """One slider."""
    info = bench["extra_info"]
    limits = {"median_ms": "median", "p95_ms": "95 %"}
    wanted = {key: info["reach"][key] for key in limits if key in info.get("reach", {})}
    reached = all(info[key] <= limit for key, limit in wanted.items()) if wanted else None
    keys = ("median_ms", "p95_ms", "worst_ms", "sharp_median_ms")
    return [
        bench["group"],
        info["scene"],
        *(f"{digits(info[key])} ms" for key in keys),
        ", ".join(f"{limits[key]} ≤ {digits(limit)} ms" for key, limit in wanted.items()),
        verdict(reached),
    ]


def stay_row(bench: Bench) -> list[str]:
    """The window's thread during one run."""
    info = bench["extra_info"]
    stays, redraw = info["stays"], info["redraw"]
    limit = info.get("reach", {}).get("work_ms")
    return [
        bench["group"],
        f"{digits(stays['work'])} ms",
        f"{digits(stays['drawing'])} ms",
        f"{digits(redraw['median'])} ms, {digits(redraw['longest'])} ms",
        "" if limit is None else f"≤ {digits(limit)} ms without painting",
        verdict(None if limit is None else stays["work"] <= limit),
    ]


def missing_section(results: dict[str, Any]) -> str:
    """What could not be measured here, and why."""
    rows = [[row["what"], row["way"], row["reason"]] for row in results.get("not_measured", [])]
    return f"## Not measured here\n\n{table(['what', 'way', 'why'], rows)}" if rows else ""


INTRODUCTION = """\
# Benchmarks

Every stage beside programs that do the same, on the same pictures, in the same run: the photographs that come with
scikit-image, and the sample volume. `make bench` measures it all again on your machine in about ten minutes and writes
this page; nothing on it is typed by hand but the notes at the end."""

HASTY = """\
!!! warning
    This was a try-out: each way had {budget:g} s only. `make bench` takes its time."""


def page(results: dict[str, Any], notes: str) -> str:
    """The whole page."""
    budget = max((bench["options"]["max_time"] for bench in results["benchmarks"]), default=SERIOUS)
    sections: list[Callable[[dict[str, Any]], str]] = [figures_section, live_section, scaling_section]
    parts = [
        INTRODUCTION,
        HASTY.format(budget=budget) if budget < SERIOUS else "",
        machine_section(results),
        *(make(results) for make in sections),
        *stage_sections(results),
        missing_section(results),
        notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the page."""
    results = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    target = Path(arguments[1]) if len(arguments) > 1 else DOCS / "benchmarks.md"
    target.write_text(page(results, NOTES.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {target.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
