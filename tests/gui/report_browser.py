"""Open a report in Chromium as a reader would, and say what was to be seen: ``report_browser.py REPORT FOLDER [dark]``.

A program of its own: Qt wants WebEngine loaded before there is an application, and a test session has one already.
Prints JSON; leaves pictures of the window and ``print.pdf`` in FOLDER, or with ``dark`` only ``dark.png``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QEventLoop, QPoint, Qt, QTimer, QUrl
from PyQt6.QtPdf import QPdfDocument
from PyQt6.QtTest import QTest
from PyQt6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile, QWebEngineUrlRequestInterceptor
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication

PATIENCE = 30.0
NAMES = (
    "Array.from(document.querySelectorAll('#cases tbody:not([hidden]) .name'), (cell) => cell.textContent)"
)
SHOWN = (
    "Array.from(document.querySelectorAll('#cases img')).filter((picture) => picture.naturalWidth > 0).length"
)
COLUMN = (
    "Array.from(document.querySelectorAll('#cases tbody'), (body) => body.rows[0].cells[{}].dataset.value)"
)
SORTS = "Array.from(document.querySelectorAll('#cases thead th'), (head) => head.getAttribute('aria-sort'))"


class Requests(QWebEngineUrlRequestInterceptor):
    """Every address that the page asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def interceptRequest(self, info: Any) -> None:
        self.found.append(info.requestUrl().toString()[:200])


class Page(QWebEnginePage):
    """Keeps what scripts say and what dialogs they open."""

    def __init__(self, profile: QWebEngineProfile) -> None:
        super().__init__(profile)
        self.said: list[str] = []

    def javaScriptConsoleMessage(self, level: Any, text: str, line: int, source: str) -> None:
        self.said.append(f"line {line}: {text}")

    def javaScriptAlert(self, origin: QUrl, text: str) -> None:
        self.said.append(f"alert: {text}")


class Browser:
    """A window with one page."""

    def __init__(self) -> None:
        self.requests = Requests()
        self.profile = QWebEngineProfile()
        self.profile.setUrlRequestInterceptor(self.requests)
        self.page = Page(self.profile)
        self.view = QWebEngineView()
        self.view.setPage(self.page)
        self.view.resize(1400, 1000)
        self.view.show()

    def wait(self, start: Callable[[Callable[[Any], None]], None]) -> Any:
        """Start something, and wait for what it hands back."""
        loop, found = QEventLoop(), []

        def take(value: Any) -> None:
            found.append(value)
            loop.quit()

        QTimer.singleShot(int(PATIENCE * 1000), loop.quit)
        start(take)
        if not found:
            loop.exec()
        if not found:
            raise TimeoutError(f"the browser did not answer within {PATIENCE:.0f} s")
        return found[0]

    def open(self, path: Path) -> bool:
        self.wait(
            lambda take: (self.page.loadFinished.connect(take), self.page.load(QUrl.fromLocalFile(str(path))))
        )
        return bool(self.run("true"))

    def run(self, code: str) -> Any:
        return json.loads(
            self.wait(lambda take: self.page.runJavaScript(f"JSON.stringify({code})", take)) or "null"
        )

    def until(self, code: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.run(code):
            if time.monotonic() > end:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {code}")
            QTest.qWait(50)

    def click(self, element: str) -> None:
        """Press the mouse in the middle of an element."""
        self.run(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}}) ?? null")
        QTest.qWait(80)
        place = self.run(
            f"(({{left, top, width, height}}) => [left + width / 2, top + height / 2])({element}"
            ".getBoundingClientRect())"
        )
        point = QPoint(*(round(x) for x in place))
        QTest.mouseClick(self.view.focusProxy(), Qt.MouseButton.LeftButton, pos=point)
        QTest.qWait(80)

    def press(self, key: Qt.Key) -> None:
        QTest.keyClick(self.view.focusProxy(), key)
        QTest.qWait(80)

    def write(self, text: str) -> None:
        QTest.keyClicks(self.view.focusProxy(), text)
        QTest.qWait(80)

    def photograph(self, path: Path) -> None:
        QTest.qWait(250)
        self.view.grab().save(str(path))

    def print(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.wait(
            lambda take: (
                self.page.pdfPrintingFinished.connect(lambda *_: take(True)),
                self.page.printToPdf(str(path)),
            )
        )


def button(column: int) -> str:
    return f"document.querySelectorAll('#cases thead button')[{column}]"


def look(browser: Browser, report: Path, folder: Path) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    browser.open(report)
    browser.until("document.readyState === 'complete'")
    QTest.qWait(300)
    seen["names"] = browser.run(NAMES)
    seen["heads"] = browser.run(
        "Array.from(document.querySelectorAll('#cases thead th'), (th) => th.textContent)"
    )
    seen["places"] = browser.run("document.querySelectorAll('.picture').length")
    seen["shown_first"] = browser.run(SHOWN)
    browser.photograph(folder / "light.png")
    browser.run("document.querySelector('.picture').scrollIntoView({behavior: 'instant'}) ?? null")
    browser.until(f"{SHOWN} > {seen['shown_first']}")
    seen["shown_at_table"] = browser.run(SHOWN)
    browser.run("window.scrollTo({top: document.body.scrollHeight, behavior: 'instant'}) ?? null")
    browser.until(f"{SHOWN} > {seen['shown_at_table']}")
    seen["shown_below"] = browser.run(SHOWN)

    score = seen["heads"].index("DSC refined")
    browser.click(button(score))
    seen["ascending"], seen["sorts"] = browser.run(COLUMN.format(score)), [browser.run(SORTS)[score]]
    browser.click(button(score))
    seen["descending"] = browser.run(COLUMN.format(score))
    seen["sorts"].append(browser.run(SORTS)[score])
    # On to the next column by keys alone.
    browser.press(Qt.Key.Key_Tab)
    browser.press(Qt.Key.Key_Return)
    seen["by_keys"] = browser.run(COLUMN.format(score + 1))
    seen["sorts"].append(browser.run(SORTS)[score + 1])
    seen["sorts_at_once"] = sum(each is not None for each in browser.run(SORTS))
    browser.photograph(folder / "sorted.png")
    browser.click(button(1))
    seen["by_name"] = browser.run(NAMES)
    browser.click(button(0))
    seen["back"] = browser.run(NAMES)

    browser.click("document.getElementById('search')")
    browser.write("scan_1")
    seen["found"], seen["count"] = (
        browser.run(NAMES),
        browser.run("document.getElementById('count').textContent"),
    )
    browser.run("(document.getElementById('search').select(), null)")
    browser.press(Qt.Key.Key_Delete)
    browser.click("document.querySelector('select[name=state]')")
    browser.write("f")
    browser.press(Qt.Key.Key_Return)
    seen["failed"] = browser.run(NAMES)
    browser.photograph(folder / "failed.png")
    browser.run(
        "(document.querySelector('select[name=state]').value = '', "
        "document.querySelector('select[name=state]').dispatchEvent(new Event('change')))"
    )
    seen["all_again"] = browser.run(NAMES)

    seen["ran"] = browser.run("window.ran ?? null")
    seen["elements"] = browser.run(
        "Array.from(new Set(Array.from(document.querySelectorAll('#cases *, #failures *'), (one) => one.localName)))"
    )
    seen["handlers"] = browser.run(
        "Array.from(document.querySelectorAll('*')).filter((one) => one.getAttributeNames()"
        ".some((name) => name.startsWith('on'))).length"
    )
    browser.print(folder / "print.pdf")
    document = QPdfDocument(None)
    document.load(str(folder / "print.pdf"))
    seen["pages"] = document.pageCount()
    seen["printed"] = "\n".join(document.getAllText(k).text() for k in range(document.pageCount()))
    for k in range(min(document.pageCount(), 4)):
        size = document.pagePointSize(k).toSize() * 1.5
        document.render(k, size).save(str(folder / f"print-{k}.png"))
    seen["shown_printed"] = browser.run(SHOWN)
    seen["requests"], seen["said"] = browser.requests.found, browser.page.said
    return seen


def look_in_the_dark(browser: Browser, report: Path, folder: Path) -> dict[str, Any]:
    browser.open(report)
    browser.run("document.getElementById('controls').scrollIntoView({behavior: 'instant'}) ?? null")
    browser.until(f"{SHOWN} > 0")
    browser.photograph(folder / "dark.png")
    page, ink = (f"getComputedStyle(document.body).{name}" for name in ("backgroundColor", "color"))
    return {"page": browser.run(page), "ink": browser.run(ink), "said": browser.page.said}


def main() -> None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Chromium refuses to run as root in a sandbox.
        os.environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"
    dark = sys.argv[3:] == ["dark"]
    if dark:
        # 0: as on a dark desktop. Qt passes nothing on of a desktop that has no theme.
        os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--blink-settings=preferredColorScheme=0"
    application = QApplication(sys.argv[:1])
    browser = Browser()
    seen = (look_in_the_dark if dark else look)(browser, Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
    print(json.dumps(seen))
    browser.view.close()
    browser.view.deleteLater()
    browser.page.deleteLater()
    application.processEvents()
    # Taking Chromium down in the order that Python frees things can crash; all is said.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
