"""The page of results, made from folders of studies."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from napari_refit.study.corrected import Clicked, Corrected, Round
from napari_refit.study.reporting import write_report
from napari_refit.study.results import Row, StudyResults

DOCS = Path(__file__).parents[2] / "docs"
MakeRow = Callable[..., Row]
MakeStudy = Callable[..., StudyResults]


@pytest.fixture
def generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_results", DOCS / "gen_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "KEPT", tmp_path / "kept.json")
    return module


@pytest.fixture
def studies(tmp_path: Path, make_row: MakeRow, make_study: MakeStudy) -> Path:
    """Two studies: in one ReFit and FSSS win on every image, in the other ReFit loses and there is no FSSS."""
    hits = {"blank": 0, "gradcam": 3, "best-threshold": 5, "refit": 7, "refit-tuned": 5, "fsss": 9}
    rows = [
        make_row(method, f"p{k}", 0, both, both + k % 2 if both else 0, 10)
        for k in range(8)
        for method, both in hits.items()
    ]
    write_report(tmp_path / "studies" / "busi", make_study(rows))
    hits = {"blank": 0, "gradcam": 3, "best-threshold": 5, "refit": 4, "refit-tuned": 5}
    rows = [make_row(method, f"p{k}", 0, both, both, 10) for k in range(8) for method, both in hits.items()]
    write_report(tmp_path / "studies" / "hippocampus", make_study(rows, notes=("A note.",)))
    return tmp_path / "studies"


def test_claims_are_held_against_the_figures(generator: ModuleType, studies: Path, tmp_path: Path) -> None:
    generator.main([str(studies), str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    lines = page.splitlines()
    beats = next(line for line in lines if line.startswith("| ReFit's default preset beats"))
    assert beats.count("**yes**: +0.1") == 1
    assert beats.count("**no**: −0.0") == 1
    tuned = next(line for line in lines if "threshold chosen likewise" in line)
    assert tuned.count("undecided: +0.000 (+0.000 to +0.000)") == 2
    fsss = next(line for line in lines if line.startswith("| FSSS on ReFit's labels beats"))
    assert "**yes**: +0.1" in fsss
    assert "not run" in fsss
    assert "A note." in page
    assert [line for line in lines if line.startswith("| Blank |")]


def test_the_page_can_be_made_again_without_the_data(
    generator: ModuleType, studies: Path, tmp_path: Path
) -> None:
    generator.main([str(studies), str(tmp_path / "page.md")])
    generator.main(["--kept", str(tmp_path / "again.md")])
    assert (tmp_path / "again.md").read_bytes() == (tmp_path / "page.md").read_bytes()
    kept = json.loads(generator.KEPT.read_text(encoding="utf-8"))
    assert set(kept) == {"busi", "hippocampus"}
    assert "rows" not in kept["busi"]


def test_corrections_are_held_against_what_was_to_be_reached(
    generator: ModuleType, studies: Path, tmp_path: Path, make_row: MakeRow, make_study: MakeStudy
) -> None:
    """In one study two rounds get there and clicks on clusters do not; the other two are as they were."""
    corrected = [
        Corrected(
            "lgg", 1, method, f"p{k}", f"p{k}", None, None, 9, 9, 0.5, 0.6,
            (Round(2, 9, 0.7, 0.1), Round(1, 9, 0.9 + k / 100, 0.1)),
            {"clusters": Clicked(20, 0.8, k < 2, 0.9), "levels": Clicked(3, 0.9, True, 0.9)},
        )
        for method in ("refit", "appearance")
        for k in range(6)
    ]  # fmt: skip
    rows = [make_row(method, f"p{k}", 0, 5, 9, 10) for method in ("gradcam", "appearance") for k in range(6)]
    write_report(studies / "lgg", make_study(rows, corrected=corrected))
    generator.main([str(studies), str(tmp_path / "page.md")])
    lines = (tmp_path / "page.md").read_text(encoding="utf-8").splitlines()
    one, two, clusters, levels = lines[lines.index("## What a correction brings") + 6 :][:4]
    assert one.count("**no**: 0.700 (0.700–0.700), from 0.500") == 1
    assert "**yes**: 0.925 (0.9" in two
    assert "(Appearance)" in two
    assert "**no**: ∞ (" in clusters
    assert "33 % of the images get there" in clusters
    assert "**yes**: 3 (3–3); 100 %" in levels
    assert len([line for line in lines if "| 1.0 |" in line or "2.0 + 1.0" in line]) == 2
    generator.main(["--kept", str(tmp_path / "again.md")])
    assert (tmp_path / "again.md").read_bytes() == (tmp_path / "page.md").read_bytes()


def test_kept_figures_of_before_there_were_corrections(
    generator: ModuleType, studies: Path, tmp_path: Path
) -> None:
    generator.main([str(studies), str(tmp_path / "page.md")])
    assert "What a correction brings" not in (tmp_path / "page.md").read_text(encoding="utf-8")
    kept = json.loads(generator.KEPT.read_text(encoding="utf-8"))
    for study in kept.values():
        del study["corrections"]
    generator.KEPT.write_text(json.dumps(kept), encoding="utf-8")
    generator.main(["--kept", str(tmp_path / "again.md")])
    assert (tmp_path / "again.md").read_bytes() == (tmp_path / "page.md").read_bytes()


def test_a_folder_without_studies_is_named(generator: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no study in it"):
        generator.main([str(tmp_path)])
