"""What the user asks a dock for by a button, a menu or a key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog

from napari_refit.errors import one_line
from napari_refit.fit.hints import BACKGROUND_HINT
from napari_refit.recipe import RefitParams
from napari_refit.widgets import saving, shortcuts
from napari_refit.widgets.compare import CompareView
from napari_refit.widgets.help_panel import HelpPanel
from napari_refit.widgets.hinting import ERASE
from napari_refit.widgets.live import LiveLoop
from napari_refit.widgets.watching import Connections

NOTHING_YET = "There are no refined labels yet."
THRESHOLD_STEP = 0.01


class Commands(QObject):
    """Saving, loading, comparing, help, and the keyboard shortcuts.

    Parameters
    ----------
    dock : ReFitDock

    Attributes
    ----------
    scores : dict
        The last metrics by "slice" and "volume", for the report beside saved labels.
    by_shortcut : dict
        Shortcut name to function.

    Signals
    -------
    said(str), failed(str)
        For the status line.
    """

    said = Signal(str)
    failed = Signal(str)

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self._dock = dock
        self._session = dock.session
        self._compare = CompareView(dock.viewer)
        self._help: HelpPanel | None = None
        self._saver = LiveLoop(self)
        self._saver.stage.connect(self.said)
        self._saver.finished.connect(self._on_saved)
        self._saver.failed.connect(self.failed)
        self.scores: dict[str, Any] = {}
        self.by_shortcut = self._by_shortcut()
        shortcuts.bind(dock.viewer, self.by_shortcut)
        self._of_viewer = Connections(self)
        self._of_viewer.add(partial(shortcuts.unbind, dock.viewer, self.by_shortcut))

    @property
    def comparing(self) -> bool:
        """Whether the Compare view is on."""
        return self._compare.on

    @property
    def saving(self) -> bool:
        """Whether labels are being written."""
        return self._saver.busy

    def close(self) -> None:
        """Let go of the viewer."""
        self.leave_compare()
        self._of_viewer.release()
        self._saver.close()
        if self._help is not None:
            self._help.close()

    def toggle_compare(self) -> None:
        """Show ground truth, CAM, edges and refined labels side by side, or go back."""
        outputs = self._session.outputs
        if self._compare.on:
            self._compare.leave()
        elif outputs is None or outputs["labels"] is None:
            self.failed.emit(NOTHING_YET)
        else:
            truth = self._session.scores.truth
            cells = [truth, *(outputs[role] for role in ("response", "edges", "labels"))]
            self._compare.enter(self._session.image, [layer for layer in cells if layer is not None])
        self._dock.toolbar.compare.setChecked(self._compare.on)

    def leave_compare(self) -> None:
        """Go back from the Compare view, where it is on."""
        if self._compare.on:
            self._compare.leave()
            self._dock.toolbar.compare.setChecked(False)

    def save_labels(self) -> None:
        """Ask where the refined labels go, and write them beside the window."""
        try:
            if self._session.outputs is None:
                raise ValueError(NOTHING_YET)
            path = saving.ask_labels_path(self._dock, self._session.image)
            if path is not None:
                self._saver.request(saving.labels_job(self._session, path, dict(self.scores)), exclusive=True)
        except (ValueError, OSError) as error:
            self.failed.emit(one_line(error))

    def save_parameters(self) -> None:
        """Ask where the parameters go, and write them."""
        name, _ = QFileDialog.getSaveFileName(self._dock, "Save parameters", "refit.json", "JSON (*.json)")
        if name:
            self._try(lambda: saving.save_parameters(Path(name), self._dock.sections.params), f"Saved {name}")

    def load_parameters(self) -> None:
        """Ask for a file of parameters, and use them."""
        name, _ = QFileDialog.getOpenFileName(self._dock, "Load parameters", "", "JSON (*.json)")
        if name:
            self._try(lambda: self._dock.set_params(saving.load_parameters(Path(name))), f"Loaded {name}")

    def _try(self, action: Callable[[], Any], done: str) -> None:
        try:
            action()
        except (ValueError, OSError) as error:
            self.failed.emit(one_line(error))
        else:
            self.failed.emit("")
            self.said.emit(done)

    def use_preset(self, name: str) -> None:
        """Use a preset's parameters; the target classes stay."""
        params = RefitParams.preset(name)
        classes = self._dock.sections.params.cam.classes
        self._dock.set_params(params.replace(cam=params.cam.model_copy(update={"classes": classes})))
        self.said.emit(f"Preset {name}.")

    def copy_command(self) -> None:
        """Copy a command line that does the same."""
        text = saving.copy_command_line(self._session)
        self.said.emit(f"Copied: {text}")

    def show_help(self) -> None:
        """Show or hide the help panel."""
        if self._help is None:
            self._help = HelpPanel(self._dock)
        self._help.toggle()

    def _by_shortcut(self) -> dict[str, Callable[[], Any]]:
        session = self._session
        return {
            "toggle_compare": self.toggle_compare,
            "toggle_live": self._dock.toolbar.live.toggle,
            "raise_threshold": partial(self._step_threshold, 1),
            "lower_threshold": partial(self._step_threshold, -1),
            "refine_volume": session.refine_volume,
            "cancel": session.cancel,
            "toggle_lock": self._toggle_lock,
            "reset_slice": session.reset_slice,
            "save_labels": self.save_labels,
            "hint_object": lambda: session.hand.hints.take(self._dock.hints.number),
            "hint_background": partial(session.hand.hints.take, BACKGROUND_HINT),
            "hint_erase": partial(session.hand.hints.take, ERASE),
            "toggle_clusters": self._dock.hints.clusters_clicked.emit,
            "propagate": session.errands.propagate,
            "next_doubt": self._go_to_doubt,
            "next_loss": partial(self._go_to_loss, 1),
            "previous_loss": partial(self._go_to_loss, -1),
            "toggle_response": partial(self._toggle_layer, "response"),
            "toggle_edges": partial(self._toggle_layer, "edges"),
            "toggle_simplified": partial(self._toggle_layer, "simplified"),
            "toggle_refined": partial(self._toggle_layer, "labels"),
            "toggle_truth": partial(self._toggle_layer, "truth"),
            "show_help": self.show_help,
        }

    def _step_threshold(self, step: int) -> None:
        group = self._dock.sections.params.fit
        params = self._dock.sections.params.fit_params
        if hasattr(params, "threshold"):
            value = float(np.clip(round(params.threshold + step * THRESHOLD_STEP, 4), 0.0, 1.0))
            self._dock.set_params(self._dock.sections.params.replace(**{f"{group}.threshold": value}))

    def _toggle_lock(self) -> None:
        self._session.set_locked(not self._session.locked)

    def _toggle_layer(self, role: str) -> None:
        outputs = self._session.outputs
        layer = self._session.scores.truth if role == "truth" else None if outputs is None else outputs[role]
        if layer is not None:
            layer.visible = not layer.visible

    def _go_to_loss(self, step: int) -> None:
        position = self._dock.plot.neighbour(step, self._dock.plot.losses())
        if position is not None:
            self._session.go_to_slice(position)

    def _go_to_doubt(self) -> None:
        plane = self._session.plane
        position = None if plane is None else self._session.doubts.next_after(plane.position)
        if position is not None:
            self._session.go_to_slice(position)

    def _on_saved(self, path: object) -> None:
        self.failed.emit("")
        self.said.emit(f"Saved {path}")
