"""The charts of report.html, as SVG that takes the page's colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_refit.study.bootstrap import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Stand-ins that are replaced by the page's colours: matplotlib knows no CSS.
_INK, _MUTED = "#010203", "#040506"
HIGHER, LOWER = "#2f7ed8", "#e07b00"
# More points than this per panel are drawn as a picture within the SVG.
MOST_POINTS = 1500
_SHOWN_POINTS = 400


def scatter_svg(
    panels: Sequence[tuple[str, Floats, Floats]], against: str, name: str = "scatter", per: str = "image"
) -> str:
    """Dice of methods against that of one, a point per image and a panel per method.

    Parameters
    ----------
    panels : sequence of (title, of the other, of the method)
        Paired values.
    against : str
        Title of the other.
    name : str
        Unique in the page.
    per : str
        What a point is.

    Returns
    -------
    str
        ``<svg ...>``; empty without panels.
    """
    if not panels:
        return ""
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = _figure(3.1 * columns, 3.25 * lines)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, (title, others, values) in zip(axes, panels, strict=False):
        higher, lower = values > others, values < others
        axis.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, zorder=1)
        many = len(values) > MOST_POINTS
        for part, colour in ((~higher & ~lower, _MUTED), (lower, LOWER), (higher, HIGHER)):
            axis.scatter(
                others[part],
                values[part],
                s=9,
                color=colour,
                alpha=0.25 if many else 0.55,
                linewidths=0,
                rasterized=many,
                zorder=2,
            )
        axis.set_title(_short(title), fontsize=10, parse_math=False)
        for place, text, colour, align in (
            ((0.03, 0.96), f"higher: {higher.sum()}", HIGHER, "left"),
            ((0.97, 0.04), f"lower: {lower.sum()}", LOWER, "right"),
        ):
            axis.text(
                *place,
                text,
                color=colour,
                ha=align,
                va="top" if align == "left" else "bottom",
                transform=axis.transAxes,
                fontsize=9,
            )
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel(f"DSC per {per}, {_short(against)}", fontsize=10, color=_INK, parse_math=False)
    figure.supylabel(f"DSC per {per}", fontsize=10, color=_INK)
    return _svg(figure, name)


def distribution_svg(
    methods: Sequence[tuple[str, Floats]],
    name: str = "distribution",
    label: str = "DSC per image",
    within: tuple[float, float] | None = (0.0, 1.0),
) -> str:
    """Values by method: 5, 25, 50, 75 and 95 %, the mean, and the values themselves (a fixed selection of many).

    Parameters
    ----------
    methods : sequence of (title, values)
        From top to bottom; those that are not finite are left out.
    name : str
        Unique in the page.
    label : str
        Of the values' axis.
    within : (float, float), optional
        What that axis shows; None: whatever there is.

    Returns
    -------
    str
        ``<svg ...>``; empty without methods.
    """
    if not methods:
        return ""
    figure = _figure(9, 0.42 * len(methods) + 0.9)
    axis = figure.subplots()
    draw = np.random.default_rng(0)
    for level, (_, values) in enumerate(methods):
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        shown = values if len(values) <= _SHOWN_POINTS else draw.choice(values, _SHOWN_POINTS, replace=False)
        axis.scatter(
            shown,
            level + draw.uniform(-0.3, 0.3, len(shown)),
            s=5,
            color=HIGHER,
            alpha=0.3,
            linewidths=0,
            zorder=1,
        )
        low, first, middle, third, high = np.percentile(values, [5, 25, 50, 75, 95])
        axis.hlines([level, level], [low, third], [first, high], color=_INK, linewidth=1.0, zorder=2)
        axis.barh(
            [level], [third - first], 0.6, first, facecolor="none", edgecolor=_INK, linewidth=1.0, zorder=2
        )
        axis.vlines([middle], level - 0.3, level + 0.3, color=_INK, linewidth=2.2, zorder=3)
        axis.plot([values.mean()], [level], marker="D", color=LOWER, markersize=5, zorder=4)
    axis.set_yticks(range(len(methods)), [_short(title) for title, _ in methods], parse_math=False)
    axis.set(ylim=(len(methods) - 0.4, -0.6), xlabel=label)
    if within is not None:
        margin = 0.02 * (within[1] - within[0])
        axis.set_xlim(within[0] - margin, within[1] + margin)
    axis.grid(axis="x", color=_MUTED, linewidth=0.4, alpha=0.5)
    return _svg(figure, name)


def _short(title: str, most: int = 32) -> str:
    return title if len(title) <= most else title[: most - 1] + "…"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Figure, name: str) -> str:
    import matplotlib as mpl

    for axis in figure.axes:
        _ink(axis)
    buffer = io.StringIO()
    # Text stays text, so that it can be read, searched, and drawn in the page's font.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "napari-refit"}), warnings.catch_warnings():
        # A letter that matplotlib's own font lacks is still drawn by the browser.
        warnings.filterwarnings("ignore", message="Glyph")
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        # Axes of equal aspect leave the constrained layout room on the wrong side: titles would be cut off.
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            dpi=150,
            metadata=metadata,
            bbox_inches="tight",
            pad_inches=0.05,
        )
    return _inline(buffer.getvalue(), name)


def _ink(axis: Any) -> None:
    axis.tick_params(colors=_INK, labelsize=9)
    for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
        text.set_color(_INK)
    for side, spine in axis.spines.items():
        spine.set_color(_MUTED)
        spine.set_visible(side in ("left", "bottom"))


def _inline(text: str, name: str) -> str:
    """An SVG document as an element of a page: no prolog, no metadata, no fixed size, ids of its own."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', _opening, text, count=1)
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', text))
    text = re.sub(
        r' id="([\w.-]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text
    )
    text = re.sub(r"(url\(|href=\")#([\w-]+)", rf"\1#{name}-\2", text)
    text = re.sub(r"font: ([\w.]+)px [^;\"]+", r"font-size: \1px", text)
    return text.replace(_INK, "currentColor").replace(_MUTED, "var(--muted)").strip()


def _opening(found: re.Match[str]) -> str:
    # Text as large as the page's, and no larger.
    width = round(_PIXELS_PER_POINT * float(found[1].split()[2]))
    return f'<svg {_XMLNS} {_ROLE} viewBox="{found[1]}" style="width: 100%; max-width: {width}px">'


_PIXELS_PER_POINT = 1.5
_XMLNS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_ROLE = 'role="img"'
