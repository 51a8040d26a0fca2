"""The documentation's examples run, its commands exist, its tables are complete, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from napari_refit.io.datasets import DATASETS
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.settings import TrainingParams
from napari_refit.params import declarations
from napari_refit.recipe import RefitParams, group_models
from napari_refit.registry import FITS, SEGMENTERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def commands() -> list[list[str]]:
    """Every napari-refit command of the pages and the README, split into words."""
    found = []
    for page in [*PAGES, ROOT / "README.md"]:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                starts = [n for n, word in enumerate(words) if word.endswith("napari-refit")]
                if starts and words[starts[0] + 1 :]:
                    found.append(words[starts[0] + 1 :])
    return found


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_parameters", DOCS / "gen_parameters.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: str(page.relative_to(DOCS))
)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registered = {registry: set(registry.names) for registry in (SEGMENTERS, FITS)}
    namespace: dict[str, Any] = {"__name__": "example"}
    try:
        for number, block in enumerate(blocks(page, "python"), start=1):
            exec(compile(block, f"{page.name}, example {number}", "exec"), namespace)
    finally:
        left = {registry: set(registry.names) - before for registry, before in registered.items()}
        for registry, names in left.items():
            for name in names:
                registry.unregister(name)
    assert not any(left.values()), "an example leaves an entry registered"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_documented_options_exist(words: list[str]) -> None:
    import typer

    from napari_refit import cli

    root: Any = typer.main.get_command(cli.app)
    assert words[0] in root.commands, words[0]
    known = {option for param in root.commands[words[0]].params for option in param.opts}
    assert {word for word in words[1:] if word.startswith("--")} <= known


def test_every_parameter_is_in_the_table(generator: ModuleType) -> None:
    text = generator.parameters()
    keys = [f"{group}.{item.name}" for group, model in group_models().items() for item in declarations(model)]
    assert keys
    assert [key for key in keys if f"| `{key}` |" not in text] == []


def test_every_training_parameter_is_in_its_table(generator: ModuleType) -> None:
    text = generator.training_parameters()
    assert [item.name for item in declarations(TrainingParams) if f"| `{item.name}` |" not in text] == []


def test_every_parameter_of_a_segmentation_networks_training_is_in_its_table(generator: ModuleType) -> None:
    text = generator.fsss_parameters()
    assert [item.name for item in declarations(FsssParams) if f"| `{item.name}` |" not in text] == []


def test_every_preset_is_in_the_reference(generator: ModuleType) -> None:
    text = generator.presets()
    assert [name for name in RefitParams.presets() if f"### `{name}`" not in text] == []


def test_every_dataset_is_in_the_how_to_with_licence_and_citation(generator: ModuleType) -> None:
    text = generator.datasets()
    for declaration in DATASETS.values():
        assert f"### {declaration.title} {{ #{declaration.name} }}" in text
        assert declaration.licence in text
        assert all(cited.rstrip(".") in text for cited in declaration.citation)
        assert all(f"`{name}`: " in text for name in declaration.preparations)


def test_every_command_is_in_the_reference(generator: ModuleType) -> None:
    text = generator.command_line()
    for command in ("demo", "open", "refine", "train", "evaluate", "reproduce", "presets", "info"):
        assert f"## `napari-refit {command}`" in text
    assert "--preset" in text


def test_markers_are_all_known(generator: ModuleType) -> None:
    used = {
        name for page in PAGES for name in re.findall(r"<!-- generated: (.+?) -->", page.read_text("utf-8"))
    }
    assert used == set(generator.GENERATED)


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if not link.startswith(("http", "#"))]
    assert [link for link in local if not (page.parent / link).exists()] == []
