"""The help panel: what each section of the dock does, every parameter, every shortcut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from importlib.metadata import PackageNotFoundError, metadata

from pydantic import BaseModel
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QDialog, QTextBrowser, QVBoxLayout, QWidget

from napari_refit import params
from napari_refit.registry import FITS, SEGMENTERS
from napari_refit.widgets.form_controls import shown
from napari_refit.widgets.shortcuts import SHORTCUTS
from napari_refit.widgets.style import Colors, colors, theme_changed

HOME = "https://napari-refit.github.io/napari-refit"
SECTIONS = (
    (
        "Data",
        "Choose an image layer: 2-D, 3-D in any displayed axis, colour, or with time. A Labels layer on the same grid "
        "can be the ground truth; it is used for scores only. Grey values are scaled once per volume, so a slider "
        "means the same on every slice.",
    ),
    (
        "Classifier",
        "A network that was trained to say whether a slice shows something, or a response map that you already have as "
        "a layer. The bars show what it believes about the open slice. Where it predicts a target class negative, the "
        "gate “positive” keeps the slice empty.",
    ),
    (
        "USS",
        "Unsupervised segmentation cuts the slice into clusters of similar grey values. Their borders are the edges. "
        "More clusters follow finer outlines; fewer hold more of an object in one piece.",
    ),
    (
        "CAM",
        "The class activation map: which parts of the slice speak for the class. It is the response map.",
    ),
    (
        "Fit",
        "BoundaryFit: a cluster stays if enough of it lies where the response map reaches the threshold; all others "
        "turn background. With a spread, clusters of like colour that touch even out their responses first. With a "
        "tolerance, the background also floods across the border of two clusters of nearly the same colour. Graph cut "
        "by appearance: the outline follows edges, and clusters go with what they look like. Best regions of a "
        "tree: clusters merge into ever larger regions, and those are taken that respond most for what their outline "
        "costs. Mean of several partitions: the slice is cut into clusters in several ways, and what responds in most "
        "of them stays. Finish: which pieces of the mask stay, and whether holes are filled.",
    ),
    (
        "Refined labels",
        "The result, an ordinary Labels layer: paint, fill and erase in it. A slice that you edit is locked: live "
        "updates leave it alone until you unlock or reset it. “Refine volume” writes all other slices.",
    ),
    (
        "By hand",
        "Where the mask is wrong, take a brush and paint a short stroke: object, or background. The clusters under it "
        "follow at once, the rest as far as the fit learns from hints. Hints are a Labels layer of their own: undo, "
        "redo and erase work as usual, and a class that you hint at passes the gate. “Toggle clusters” edits the "
        "refined labels themselves, a cluster at a time; the wheel makes the clusters coarser or finer. “Propagate” "
        "carries locked and painted slices, and hints, to the slices beside them, until the object ends; locked slices "
        "stay. The list under it names the slices most in need of a look; a click goes there.",
    ),
    (
        "Scores",
        "With a ground truth, the CAM alone at the same threshold is compared with the refined labels. Green is a "
        "gain, red a loss. Click in the plot to go to a slice.",
    ),
)


def documentation_url() -> str:
    """Return the address of the documentation, as the package's metadata give it."""
    try:
        urls = metadata("napari-refit").get_all("Project-URL") or []
    except PackageNotFoundError:
        return HOME
    found = [url.split(",", 1)[1].strip() for url in urls if url.lower().startswith("documentation")]
    return found[0] if found else HOME


def help_html(palette: Colors) -> str:
    """Return the whole help as HTML."""
    parts = [documentation_link(palette)]
    parts.append("<h3>Keyboard shortcuts</h3>")
    parts.append(
        f'<p style="color:{palette.muted}">They work while the image or the layer list has the focus.</p>'
    )
    parts.append(shortcut_table((shortcut.shown, shortcut.help) for shortcut in SHORTCUTS))
    groups: dict[str, list[tuple[str, type[BaseModel]]]] = {
        "Data": [("", params.IntensityParams)],
        "USS": [(entry.title, entry.params) for entry in SEGMENTERS],
        "CAM": [("", params.CamParams)],
        "Fit": [*((entry.title, entry.params) for entry in FITS), ("Finish", params.FinishParams)],
        "By hand": [("Strokes", params.HintParams), ("Propagation", params.PropagationParams)],
    }
    for title, text in SECTIONS:
        parts.append(f"<h3>{escape(title)}</h3><p>{escape(text)}</p>")
        for name, group in groups.get(title, []):
            parts.append(f"<h4>{escape(name)}</h4>" if name else "")
            parts.append(parameter_list(group, palette))
    return "".join(parts)


def documentation_link(palette: Colors) -> str:
    """A link to the documentation."""
    return f'<p><a href="{documentation_url()}" style="color:{palette.refined}">Documentation</a></p>'


def shortcut_table(rows: Iterable[tuple[str, str]]) -> str:
    """Keys and what they do."""
    lines = "".join(
        f"<tr><td style='white-space:nowrap'><b>{escape(keys)}</b></td><td>{escape(text)}</td></tr>"
        for keys, text in rows
    )
    return f"<table cellspacing='0' cellpadding='3'>{lines}</table>"


def parameter_list(group: type[BaseModel], palette: Colors) -> str:
    """Every parameter of a group, with its help and its bounds."""
    rows = []
    for item in params.declarations(group):
        facts = f"{shown(item.low)} to {shown(item.high)} {item.unit}" if item.high is not None else item.unit
        rows.append(
            f"<li><b>{escape(item.title)}</b>: {escape(item.help)} "
            f'<span style="color:{palette.muted}">{escape(facts.strip())}</span></li>'
        )
    return f"<ul style='margin-left:-20px'>{''.join(rows)}</ul>" if rows else ""


class HelpPanel(QDialog):
    """A window beside napari that stays open while one works; Escape closes it.

    Parameters
    ----------
    title : str
    html : callable
        The help in the colours of a theme.
    """

    def __init__(
        self,
        parent: QWidget | None = None,
        title: str = "ReFit help",
        html: Callable[[Colors], str] = help_html,
    ) -> None:
        super().__init__(parent)
        self._html = html
        self.setWindowTitle(title)
        self.setModal(False)
        self.resize(460, 620)
        self.browser = QTextBrowser()
        self.browser.setOpenExternalLinks(True)
        self.browser.setAccessibleName(title)
        self.browser.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextBrowserInteraction | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.browser)
        self._fill()

    def toggle(self) -> None:
        """Show the panel in front, or hide it."""
        if self.isVisible():
            self.hide()
            return
        self.show()
        self.raise_()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if theme_changed(event) and hasattr(self, "browser"):
            self._fill()

    def _fill(self) -> None:
        place = self.browser.verticalScrollBar().value()
        self.browser.setHtml(self._html(colors(self)))
        self.browser.verticalScrollBar().setValue(place)
