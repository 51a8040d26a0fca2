"""Where the checkpoint goes: suggested, typed or chosen, and never over a file unasked."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMessageBox, QPushButton, QWidget

from napari_refit.learn.places import SUFFIX, in_the_way, unfinished
from napari_refit.widgets.saving import may_replace


class OutputRow(QWidget):
    """The checkpoint's path.

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._named = False
        self.line = QLineEdit()
        self.line.setPlaceholderText("where the checkpoint goes")
        self.line.setAccessibleName("Checkpoint")
        self.line.setMinimumWidth(60)
        self.browse = QPushButton("Browse…")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.line, 1)
        row.addWidget(self.browse)
        self.line.textEdited.connect(self._on_typed)
        self.browse.clicked.connect(self._on_browse)

    @property
    def path(self) -> Path | None:
        """What is chosen, None for nothing."""
        text = self.line.text().strip()
        return Path(text).expanduser().absolute() if text else None

    @property
    def unfinished(self) -> bool:
        """Whether a training of this checkpoint was stopped and can go on."""
        return self.path is not None and unfinished(self.path)

    def set_path(self, path: str | Path) -> None:
        """Write there, whatever is suggested later."""
        self._named = True
        self._show(str(path))

    def suggest(self, wanted: Path) -> None:
        """Suggest a name that is free or of a training that was stopped, until the user gives one."""
        if self._named:
            return
        names = [wanted, *(wanted.with_name(f"{wanted.stem}-{k}{SUFFIX}") for k in range(2, 1000))]
        self._show(str(next((path for path in names if unfinished(path) or not in_the_way(path, 1)), wanted)))

    def checked(self) -> Path:
        """The path, if a checkpoint can be written there.

        Raises
        ------
        ValueError
            With what is wrong.
        """
        path = self.path
        if path is None:
            raise ValueError("Say where the checkpoint goes: choose a file under Checkpoint.")
        if path.suffix.lower() != SUFFIX:
            raise ValueError(f"{path.name}: a checkpoint's name must end in {SUFFIX}.")
        if not path.parent.is_dir():
            raise ValueError(f"{path.parent}: there is no such folder; create it or choose another.")
        return path

    def may_begin(self, path: Path, folds: int) -> tuple[bool, bool]:
        """Whether a training may begin, and whether it may replace files; asks where some are there."""
        taken = in_the_way(path, folds)
        if unfinished(path):
            agreed = self._may_begin_anew(path)
            return agreed, agreed
        if taken:
            agreed = may_replace(self, taken[0])
            return agreed, agreed
        return True, False

    def _show(self, text: str) -> None:
        if text != self.line.text():
            self.line.setText(text)
        self.line.setToolTip(text)
        self.changed.emit()

    def _may_begin_anew(self, path: Path) -> bool:
        answer = QMessageBox.question(
            self,
            "Begin anew?",
            f"A training of {path.name} was stopped and can be resumed.\nThrow it away and begin anew?",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        return answer == QMessageBox.StandardButton.Yes

    def _on_typed(self) -> None:
        self._named = bool(self.line.text().strip())
        self.line.setToolTip(self.line.text())
        self.changed.emit()

    def _on_browse(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Checkpoint",
            self.line.text(),
            f"Checkpoints (*{SUFFIX})",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            self.set_path(name if name.lower().endswith(SUFFIX) else f"{name}{SUFFIX}")
