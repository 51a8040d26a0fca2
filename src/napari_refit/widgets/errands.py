"""Long jobs of a dock on a whole volume, one at a time: refine it, propagate through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_refit.widgets.planes import stack_expression
from napari_refit.widgets.workbench import (
    Order,
    PropagationDone,
    VolumeDone,
    ends_text,
    propagation_summary,
    summary,
)

NO_RESPONSE = "Choose a classifier or a response map first."
NO_SLICES = "A single image has no slices beside it."
NOTHING_ACCEPTED = "Lock a slice whose mask is right, or paint hints; then propagate."
REFINING = "Refining the volume… slice {done} of {total}"
PROPAGATING = "Propagating… {done} slices so far"
STOPPED = "Cancelled; the slices that were done stay."
UNTOUCHED = "Cancelled; nothing was changed."


class Errands(QObject):
    """What the user asks for of the whole volume.

    Parameters
    ----------
    session : Session
    request : callable
        ``request(job, exclusive=True)`` of the session's loop.

    Signals
    -------
    progress(int, int), busy(bool)
    said(str)
        For the status line.
    """

    progress = Signal(int, int)
    busy = Signal(bool)
    said = Signal(str)

    def __init__(self, session: Any, request: Callable[..., None], bench: Any) -> None:
        super().__init__(session)
        self._session, self._request, self._bench = session, request, bench
        self._doing, self._when_cancelled = "", ""
        self.running = False

    def refine(self) -> None:
        """Refine every slice along the open slice axis; locked slices stay."""
        order, plane = self._order(), self._session.plane
        if order is not None:
            axis = None if plane is None else plane.slice_axis
            self._start(self._bench.volume(order, axis), REFINING, STOPPED)

    def propagate(self) -> None:
        """Carry accepted slices and hints on to their neighbours; locked slices stay."""
        session = self._session
        order, plane, outputs = self._order(), session.plane, session.outputs
        if order is None or plane is None:
            return
        if plane.slice_axis is None:
            session.error.emit(NO_SLICES)
            return
        labels = None if outputs is None else outputs["labels"]
        accepted = [] if labels is None else outputs.locks.along(plane)
        hints = None if order.hints is None else np.asarray(order.hints)
        hinted = hints is not None and bool(hints[stack_expression(plane, hints.ndim)].any())
        if labels is None or not (accepted or hinted):
            session.error.emit(NOTHING_ACCEPTED)
            return
        session.hand.hints.note_click()
        self._start(self._bench.propagate(order, labels.data, accepted, plane), PROPAGATING, UNTOUCHED)

    def on_progress(self, done: int, total: int) -> None:
        """The job is so far."""
        self.progress.emit(done, total)
        self.said.emit(self._doing.format(done=done, total=total))

    def finish(self, done: object) -> None:
        """The job is over: its result goes into the layers."""
        session = self._session
        if isinstance(done, VolumeDone):
            session.layers.take_volume(done)
            self.end(summary(done))
        if not isinstance(done, PropagationDone):
            return
        mine = session.layers.take_propagation(done)
        if mine and done.n_slices:
            # So that Ctrl+Z is an undo of what was just written.
            session.hand.put_down()
            session.viewer.layers.selection.active = session.outputs["labels"]
        session.message.emit(ends_text(done) if mine else "")
        self.end(propagation_summary(done))

    def end(self, text: str | None = None) -> None:
        """Nothing runs any more; None: it was cancelled."""
        if self.running:
            self.running = False
            self.busy.emit(False)
            self.said.emit(self._when_cancelled if text is None else text)

    def _order(self) -> Order | None:
        session = self._session
        if session.image is None or self.running:
            return None
        order: Order = session.order()
        if order.model is None and order.response is None:
            session.error.emit(NO_RESPONSE)
            return None
        return order

    def _start(self, job: Callable[..., Any], doing: str, when_cancelled: str) -> None:
        self._session.layers.drop_coarse()
        self.running, self._doing, self._when_cancelled = True, doing, when_cancelled
        self._session.error.emit("")
        self.busy.emit(True)
        self._request(job, exclusive=True)
