"""Benchmarks: one group is one task, one entry of it a way to do it; ratios to the peer are printed at the end."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "2")

PEER = "peer"


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Print each way's median beside that of its group's peer, measured in this very run."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for bench in session.benchmarks if session else ():
        if not bench.has_error and bench.stats is not None:
            groups[bench.group or bench.name][bench.extra_info.get("way", bench.name)] = bench.stats.median
    if not groups:
        return
    terminalreporter.section("ratio of medians: napari-refit to its peer")
    for group, medians in groups.items():
        peers = {way: median for way, median in medians.items() if way.startswith(PEER)}
        for way, median in medians.items():
            if way in peers:
                continue
            against = ", ".join(f"{median / theirs:.3g}x of {peer}" for peer, theirs in peers.items())
            terminalreporter.line(f"{group}: {way} {median * 1e3:.4g} ms{f' = {against}' if against else ''}")
