"""A row with a path that is typed, chosen or dropped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMenu, QPushButton, QWidget

FOLDER = "folder"


class PathRow(QWidget):
    """A line, and a button that looks for a folder or a file.

    Parameters
    ----------
    title : str
        What the path is; for the dialogs and screen readers.
    placeholder : str
        Shown while the line is empty.
    choices : mapping
        What the button offers: text to `FOLDER`, or to the filter of a file dialog. With a single one there is no
        menu.
    saves : bool
        Whether the file is one to be written: it need not be there, and nothing is asked about one that is.

    Signals
    -------
    changed()
        Another path: after Enter, when the line is left, or by the button.
    """

    changed = Signal()

    def __init__(
        self,
        title: str,
        placeholder: str,
        choices: Mapping[str, str],
        *,
        saves: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._title, self._saves = title, saves
        self._known = ""
        self.line = QLineEdit()
        self.line.setPlaceholderText(placeholder)
        self.line.setAccessibleName(title)
        self.line.setMinimumWidth(60)
        self.line.setAcceptDrops(False)
        self.setAcceptDrops(True)
        self.browse = QPushButton("Browse…" if len(choices) == 1 else "Browse")
        self.browse.setAccessibleName(f"{title}: browse")
        if len(choices) == 1:
            (kind,) = choices.values()
            self.browse.clicked.connect(lambda: self._on_browse(kind))
        else:
            menu = QMenu(self.browse)
            for text, kind in choices.items():
                menu.addAction(text).triggered.connect(lambda _=False, kind=kind: self._on_browse(kind))
            self.browse.setMenu(menu)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.line, 1)
        row.addWidget(self.browse)
        self.line.editingFinished.connect(self._on_typed)

    @property
    def text(self) -> str:
        """What is in the line, without spaces around it."""
        return self.line.text().strip()

    @property
    def path(self) -> Path | None:
        """The same as a path, None for nothing."""
        return Path(self.text).expanduser().absolute() if self.text else None

    def set_text(self, text: str) -> None:
        """Put another path there, as if it had been typed."""
        self.line.setText(text)
        self._on_typed()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files and folders."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Take the first file or folder."""
        path = next(url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile())
        event.acceptProposedAction()
        self.set_text(path)

    def _on_typed(self) -> None:
        self.line.setToolTip(self.text)
        if self.text != self._known:
            self._known = self.text
            self.changed.emit()

    def _on_browse(self, kind: str) -> None:
        start = self.text
        if kind == FOLDER:
            name = QFileDialog.getExistingDirectory(self, self._title, start)
        elif self._saves:
            name, _ = QFileDialog.getSaveFileName(
                self, self._title, start, kind, options=QFileDialog.Option.DontConfirmOverwrite
            )
        else:
            name, _ = QFileDialog.getOpenFileName(self, self._title, start, kind)
        if name:
            self.set_text(name)
