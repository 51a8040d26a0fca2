"""What the user does to masks by hand: hints, and clusters toggled by the mouse."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.levels import Levels
from napari_refit.widgets.cluster_tool import ClusterTool
from napari_refit.widgets.hinting import Hinting
from napari_refit.widgets.workbench import PlaneDone


class Hand(QObject):
    """The tools of one dock, of which one at most is in the hand.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    hints : Hinting
    clusters : ClusterTool

    Signals
    -------
    hinted()
        There are other hints on the open image.
    said(str)
        For the status line.
    """

    hinted = Signal()
    said = Signal(str)

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self.hints = Hinting(session.viewer, self)
        self.clusters = ClusterTool(session, self)
        self.hints.changed.connect(self.hinted)
        self.hints.tool_changed.connect(self._on_brush)
        self.clusters.said.connect(self.said)
        self.clusters.clicked.connect(self.hints.note_click)

    def open(self, image: Any) -> None:
        """Another image is open."""
        self.clusters.put_down()
        # Those of another image may be of a plane of the same index.
        self.clusters.show(None)
        self.hints.open(image)

    def toggle_clusters(self, number: int) -> None:
        """Take the tool that toggles clusters of this class, or put it down."""
        self.hints.put_down()
        self.clusters.number = number
        self.clusters.take()

    def put_down(self) -> None:
        """Nothing is in the hand any more."""
        self.hints.put_down()
        self.clusters.put_down()

    def show(self, done: PlaneDone) -> None:
        """A plane was refined."""
        self.clusters.show(
            Levels(done.index, done.result.clusters, done.result.simplified, done.result.image)
        )

    def close(self) -> None:
        """Let go of the viewer; the user's layers stay."""
        self.clusters.close()
        self.hints.close()

    def _on_brush(self) -> None:
        if self.hints.tool is not None:
            self.clusters.put_down()
