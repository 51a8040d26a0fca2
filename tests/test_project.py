"""The house rules, held against the source: metadata, which floor imports what, how long a file may be."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "napari_refit"
STAGES = ("uss", "cam", "fit", "metrics")
COMMON = (
    "__init__.py",
    "params.py",
    "cam_params.py",
    "fit_params.py",
    "declare.py",
    "registry.py",
    "errors.py",
    "bands.py",
    "devices.py",
    "memo.py",
)
FACES = (
    "widgets",
    "cli.py",
    "cli_batch.py",
    "cli_evaluate.py",
    "cli_evaluate_tables.py",
    "cli_fsss.py",
    "cli_reproduce.py",
    "cli_shared.py",
    "cli_train.py",
    "cli_tune.py",
    "__main__.py",
    "_reader.py",
    "_writer.py",
    "_sample_data.py",
)
WINDOW = {"qtpy", "PyQt5", "PyQt6", "PySide6", "napari", "magicgui", "superqt", "vispy"}
LONGEST = 400


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def lines(section: str, option: str) -> list[str]:
    return [line.strip() for line in setup_cfg()[section][option].splitlines() if line.strip()]


def requirement_name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()


def sources(*parts: str) -> list[Path]:
    found: list[Path] = []
    for part in parts:
        path = PACKAGE / part
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []
    return found


JOBS = sorted(
    {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    - {*STAGES, *COMMON, *FACES, "__pycache__", "data"}
)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, inside functions too, as (line, absolute dotted name)."""
    package = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level]) + "." if node.level else ""
            stem = f"{base}{node.module or ''}".rstrip(".")
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def test_metadata() -> None:
    metadata = setup_cfg()["metadata"]
    assert metadata["license_expression"] == "BSD-3-Clause"
    assert "Framework :: napari" in lines("metadata", "classifiers")
    urls = dict(line.split(" = ") for line in lines("metadata", "project_urls"))
    assert {"Bug Tracker", "Documentation", "Source Code", "User Support"} <= set(urls)
    assert all(url.startswith("https://") for url in urls.values())
    assert setup_cfg()["options"]["python_requires"] == ">=3.11"


def test_base_dependencies_name_no_qt() -> None:
    names = {requirement_name(line) for line in lines("options", "install_requires")}
    assert names.isdisjoint({"pyqt5", "pyqt6", "pyside2", "pyside6"})
    assert "napari[all]" not in " ".join(lines("options", "install_requires"))
    assert any(line.startswith("napari[all]") for line in lines("options.extras_require", "all"))


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_torch_has_only_a_lower_bound(name: str) -> None:
    (requirement,) = (line for line in lines("options", "install_requires") if requirement_name(line) == name)
    assert re.fullmatch(rf"{name}>=[\d.]+", requirement)


def test_constraints_pin_each_package_once_and_nothing_else() -> None:
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins), pins
    names = [requirement_name(line) for line in pins]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "path", sources(*STAGES, *COMMON, *JOBS), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_stages_and_jobs_know_no_window(path: Path) -> None:
    upward = [(line, name) for line, name in imported(path) if name.partition(".")[0] in WINDOW]
    upward += [(line, name) for line, name in imported(path) if name.startswith("napari_refit.widgets")]
    assert not upward


@pytest.mark.parametrize("path", sources(*STAGES), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_stages_know_no_job(path: Path) -> None:
    jobs = tuple(f"napari_refit.{job.removesuffix('.py')}." for job in JOBS)
    upward = [(line, name) for line, name in imported(path) if f"{name}.".startswith(jobs)]
    assert not upward


def test_no_file_grows_past_its_reader() -> None:
    counts = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources(".")
    }
    assert counts
    assert not {name: count for name, count in counts.items() if count > LONGEST}


def test_tools_read_the_same_python() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tools["ruff"]["target-version"] == "py311"
    assert tools["mypy"]["python_version"] == "3.11"
    assert tools["mypy"]["strict"] is True


def test_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures if not picture.startswith("https://"))
