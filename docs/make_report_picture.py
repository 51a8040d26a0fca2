"""Make the picture of a batch's report: part of ``make pictures``.

Phantoms are refined for real, one of the files is cut short, and the report is opened in Chromium.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from PIL import Image
from PyQt6.QtCore import QEventLoop, QTimer, QUrl
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication

from napari_refit.batch.cases import find_cases
from napari_refit.batch.run import Recipe, run_batch
from napari_refit.demo import sample_classifier
from napari_refit.io.phantom import phantom_file
from napari_refit.recipe import RefitParams

SEEDS = range(1, 9)
SHAPE = (128, 128, 24)
WINDOW = (1240, 900)
PATIENCE = 60_000


def batch(folder: Path) -> Path:
    """Refine phantoms, and give the report."""
    table = ["image,truth"]
    for seed in SEEDS:
        image, truth = phantom_file(folder / "scans", seed, SHAPE)
        table.append(f"scans/{image.name},scans/{truth.name}")
    broken = folder / "scans" / f"phantom-{SEEDS[2]}.nii.gz"
    broken.write_bytes(broken.read_bytes()[:20_000])
    (folder / "cases.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    out = folder / "refined"
    cases, problems = find_cases([folder / "cases.csv"], out)
    for problem in problems:
        print(problem.text, file=sys.stderr)
    run_batch(cases, Recipe(RefitParams.preset("phantom"), str(sample_classifier())), out)
    return out / "report.html"


def photograph(view: QWebEngineView, script: str, name: str) -> None:
    """Run a script in the page, wait a moment, and save what the window shows."""
    loop = QEventLoop()
    view.page().runJavaScript(script)
    QTimer.singleShot(2000, loop.quit)
    loop.exec()
    path = Path(__file__).parent / "img" / f"{name}.png"
    view.grab().save(str(path))
    with Image.open(path) as picture:
        picture.convert("RGB").save(path, optimize=True)
    print(f"docs/img/{path.name}: {view.width()} x {view.height()}")


def main() -> None:
    """Take the picture."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Chromium refuses to run as root in a sandbox.
        os.environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        report = batch(Path(folder))
        application = QApplication(sys.argv[:1])
        view = QWebEngineView()
        view.resize(*WINDOW)
        view.show()
        loop = QEventLoop()
        view.page().loadFinished.connect(loop.quit)
        view.page().load(QUrl.fromLocalFile(str(report)))
        QTimer.singleShot(PATIENCE, loop.quit)
        loop.exec()
        show = "document.getElementById('controls').scrollIntoView({behavior: 'instant'})"
        photograph(
            view, f"document.querySelectorAll('#cases thead button')[3].click(); {show}", "batch-report"
        )
        application.processEvents()
    sys.stdout.flush()
    # Python frees Chromium's parts in an order that it does not bear.
    os._exit(0)


if __name__ == "__main__":
    main()
