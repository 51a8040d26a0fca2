"""Importing the package must stay cheap: no torch, no Qt, no napari until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "pytorch_grad_cam", "qtpy", "PyQt5", "PyQt6", "PySide6", "napari", "vispy")
STAGES = ("napari_refit.uss", "napari_refit.cam", "napari_refit.fit", "napari_refit.metrics")
JOBS = ("napari_refit.io", "napari_refit.pipeline", "napari_refit.recipe")


def loaded_after(statement: str) -> tuple[set[str], float]:
    """Top-level modules in memory after a statement in a fresh interpreter, and its seconds."""
    program = (
        "import sys, time; start = time.perf_counter()\n"
        f"{statement}\n"
        "print(time.perf_counter() - start, *{name.partition('.')[0] for name in sys.modules})"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    seconds, *modules = answer.stdout.split()
    return set(modules), float(seconds)


def test_package_import_loads_nothing_heavy() -> None:
    modules, seconds = loaded_after("import napari_refit")
    print(f"import napari_refit: {seconds:.3f} s")
    assert modules.isdisjoint(HEAVY), modules & set(HEAVY)


@pytest.mark.parametrize("module", STAGES + JOBS)
def test_stages_and_jobs_load_no_window(module: str) -> None:
    modules, _ = loaded_after(f"import {module}")
    assert modules.isdisjoint({"qtpy", "PyQt5", "PyQt6", "PySide6", "napari", "vispy"})


@pytest.mark.parametrize(
    "statement",
    [
        "import napari_refit.recipe",
        "import napari_refit.cli",
        "import napari_refit.widgets.train_dock",
        "import napari_refit.learn.tags, napari_refit.learn.tagged, napari_refit.learn.telling",
    ],
)
def test_parameters_command_line_and_docks_load_no_torch(statement: str) -> None:
    modules, seconds = loaded_after(statement)
    print(f"{statement}: {seconds:.3f} s")
    assert "torch" not in modules


def test_every_public_name_is_there_without_a_window() -> None:
    modules, _ = loaded_after("import napari_refit as refit\nfor name in refit.__all__: getattr(refit, name)")
    assert modules.isdisjoint({"qtpy", "PyQt5", "PyQt6", "PySide6", "napari", "vispy"})
