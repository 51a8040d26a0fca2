"""Make docs/benchmarks.md from what `make bench` measured: ``python docs/gen_benchmarks.py RESULTS.json [PAGE]``.

The page ends with the hand-written docs/_benchmark_notes.md. Few machines have a graphics card: what one that has
measured is kept in docs/_benchmark_card.json (``python docs/gen_benchmarks.py --keep-card RESULTS.json``) and
shown where the run at hand has none.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark_tables import (
    CARD,
    Bench,
    answers,
    compared,
    digits,
    duration,
    fastest,
    name_of,
    pairs,
    table,
    timed,
    to_reach,
    verdict,
    with_name,
)

DOCS = Path(__file__).parent
NOTES = DOCS / "_benchmark_notes.md"
KEPT_CARD = DOCS / "_benchmark_card.json"
# Of our ways these have figures to reach; the processor's stands beside them to be compared with.
ON_CARD = {"on CUDA"}
# Seconds per way below which a run was only a try-out.
SERIOUS = 1.0
# "Linear within 15 %".
SLACK = 0.15


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
        if pair.reached is not None and pair.stage != CARD
    ]
    head = ["what", "ours", "compared with", "its time", "ours is", "to reach", "reached"]
    body = table(head, rows)
    return f"## Figures to reach\n\n{body}" if body else ""


def stage_sections(results: dict[str, Any]) -> Iterator[str]:
    """Everything that was measured against peers, stage by stage."""
    found = [pair for pair in pairs(results["benchmarks"]) if pair.stage != CARD]
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


def card_section(results: dict[str, Any]) -> str:
    """What a graphics card does: of this run, else of the one that is kept."""
    measured = on_card(results)
    if not measured["benchmarks"] and KEPT_CARD.exists():
        measured = json.loads(KEPT_CARD.read_text(encoding="utf-8"))
    if not measured["benchmarks"]:
        return ""
    info = measured["machine_info"]
    versions = ", ".join(f"{name} {info['versions'][name]}" for name in ("torch", "scikit-image"))
    where = (
        f"Measured on {measured['datetime'][:10]} on one {info['accelerator']}; peers without a use for it ran on that "
        f"machine's processor ({info['processor']}, {info['cores']} cores). {versions}."
    )
    rows = [
        [
            pair.what,
            with_name(duration(fastest(pair.ours)), name_of(pair.ours)),
            pair.peer["extra_info"]["way"] if pair.peer else "",
            duration(fastest(pair.peer)) if pair.peer else "",
            compared(pair),
            answers(pair),
            *((to_reach(pair), verdict(pair.reached)) if name_of(pair.ours) in ON_CARD else ("", "")),
        ]
        for pair in pairs(measured["benchmarks"])
    ]
    head = ["what", "ours", "compared with", "its time", "ours is", "the answers", "to reach", "reached"]
    return f"## {CARD}\n\n{where}\n\n{table(head, rows)}"


def on_card(results: dict[str, Any]) -> dict[str, Any]:
    """The part of a run that was measured on a graphics card."""
    benchmarks = [bench for bench in results["benchmarks"] if bench["extra_info"]["stage"] == CARD]
    return {
        "machine_info": results["machine_info"],
        "datetime": results["datetime"],
        "benchmarks": benchmarks,
    }


def missing_section(results: dict[str, Any]) -> str:
    """What could not be measured here, and why."""
    missing = results.get("not_measured", [])
    if KEPT_CARD.exists():
        missing = [row for row in missing if row.get("stage") != CARD]
    rows = [[row["what"], row["way"], row["reason"]] for row in missing]
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
        card_section(results),
        missing_section(results),
        notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or keep what was measured on a graphics card."""
    if arguments[0] == "--keep-card":
        kept = on_card(json.loads(Path(arguments[1]).read_text(encoding="utf-8")))
        KEPT_CARD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {KEPT_CARD.name}")
        return 0
    results = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    target = Path(arguments[1]) if len(arguments) > 1 else DOCS / "benchmarks.md"
    target.write_text(page(results, NOTES.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {target.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
