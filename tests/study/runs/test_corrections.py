"""A study whose masks a simulated user corrects, from end to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from napari_refit.cli import main
from napari_refit.io.datasets import SplitParams, find_dataset
from napari_refit.learn.settings import TrainingParams
from napari_refit.pipeline import Refit
from napari_refit.study.cases import read_stack
from napari_refit.study.corrected import summarise
from napari_refit.study.correcting import Corrections, plane_dice
from napari_refit.study.methods import choose_methods
from napari_refit.study.run import Study
from napari_refit.study.settings import Listener, StudySettings, UserSettings
from napari_refit.study.strokes import draw_strokes

KEYS = ("appearance", "refit")


def study_of(root: Path, out: Path, quick: dict, preparation: str = "benign-normal", **options) -> Study:
    settings = StudySettings(
        methods=choose_methods(KEYS),
        preparation=preparation,
        training=TrainingParams().with_texts(quick),
        device="cpu",
        limit=2 if preparation == "default" else 5,
        only_fold=1,
        user=options.pop("user", UserSettings(KEYS, rounds=2, clicks=30)),
    )
    dataset = find_dataset(root).prepared(preparation)
    split = SplitParams(folds=2, validation_fraction=0.25)
    return Study(dataset, settings, out, split, **options)


@pytest.fixture(scope="module", params=["busi", "lgg"])
def finished(request: pytest.FixtureRequest, quick: dict, tmp_path_factory: pytest.TempPathFactory):
    """A finished study, of pictures and of volumes."""
    root = request.getfixturevalue(f"{request.param}_root")
    out = tmp_path_factory.mktemp("corrected") / "out"
    preparation = "benign-normal" if request.param == "busi" else "default"

    def again(**options) -> Study:
        return study_of(root, out, quick, preparation, **options)

    study = again()
    return study, study.run(), again


def test_every_tested_image_is_corrected_once_by_each_method(finished) -> None:
    study, results, _ = finished
    images = {row.place for row in results.rows if row.level == "image"}
    for key in KEYS:
        mine = [row for row in results.corrected if row.method == key]
        assert {(row.case, row.axis, row.index) for row in mine} == images
        assert len(mine) == len(images)
    scored = {(row.method, row.place): row for row in results.rows if row.level == "image"}
    for row in results.corrected:
        automatic = scored[row.method, (row.case, row.axis, row.index)]
        assert row.dice == pytest.approx(automatic.dice, nan_ok=True)
        assert (row.in_truth, row.in_mask) == (automatic.in_truth, automatic.in_mask)
        assert row.patient == automatic.patient
        assert bool(row.clicks) == (row.in_truth > 0) == (row.map_bound == row.map_bound)
    assert study.failed == {}


def test_corrections_are_what_the_dock_makes_of_the_same_strokes(finished) -> None:
    """Held against a pipeline of its own, fed with strokes drawn anew."""
    study, results, _ = finished
    (pieces,) = (each for each in study.pieces if each.number == 1)
    corrections = Corrections(pieces)
    checked = 0
    for method in study.settings.corrected:
        for name in pieces.tested[:2]:
            kept = corrections.arrays(method, name)
            truth = pieces.truth(name)
            mask = pieces.kept_mask(method, name).arrays["mask"]
            stack = read_stack(pieces.testing, pieces.testing.case(name))
            refit = Refit(
                stack.values,
                pieces.responder("classifier").classifier,
                pieces.params_of(method),
                rgb=stack.rgb,
                spacing=stack.spacing,
                device="cpu",
            )
            hints = np.zeros(stack.shape, np.uint8)
            refit.use_hints(hints)
            for k in range(2):
                whole = stack.axis is not None
                for planes in zip(mask, truth, hints, strict=True) if whole else [(mask, truth, hints)]:
                    draw_strokes(*planes)
                assert np.array_equal(kept["hints"][k].reshape(hints.shape), hints)
                mask = refit.volume(axis=0).mask if whole else refit.slice(0).mask
                after = kept["masks"][k].reshape(mask.shape)
                # Planes without a stroke keep their mask; they are refined to the same one.
                assert np.array_equal(after, mask)
                rows = [row for row in results.corrected if (row.method, row.case) == (method.key, name)]
                shown = mask if whole else mask[None]
                true = truth if whole else truth[None]
                for number, row in enumerate(rows):
                    assert row.rounds[k].dice == pytest.approx(
                        plane_dice(shown[number], true[number]), nan_ok=True
                    )
                    checked += row.rounds[k].strokes
    assert checked


def test_corrections_gain_and_leave_the_automatic_masks_alone(finished) -> None:
    study, results, _ = finished
    for found in summarise(results.corrected):
        assert found.dice[-1].value > found.dice[0].value
        assert found.bound.value > 0.7
    (pieces,) = (each for each in study.pieces if each.number == 1)
    method = study.settings.corrected[0]
    for name in pieces.tested:
        rows = [row for row in results.corrected if (row.method, row.case) == (method.key, name)]
        mask = pieces.kept_mask(method, name).arrays["mask"]
        assert sum(row.in_mask for row in rows) == np.count_nonzero(mask)


def test_the_map_at_its_best_is_no_worse_than_at_any_threshold(finished) -> None:
    study, results, _ = finished
    (pieces,) = (each for each in study.pieces if each.number == 1)
    gradcam = next(method for method in study.settings.methods if method.key == "best-threshold")
    for name in pieces.tested[:3]:
        maps = pieces.kept_response(gradcam, name).maps[:, 0]
        truth = pieces.truth(name).reshape(maps.shape)
        rows = [row for row in results.corrected if (row.method, row.case) == ("refit", name)]
        for plane, true, row in zip(maps, truth, rows, strict=True):
            if true.any():
                tried = [plane_dice(plane >= k / 20 - 1e-12, true) for k in range(1, 20)]
                assert row.map_bound == pytest.approx(max(tried), abs=0.02)


def test_what_is_there_is_used_again_and_other_rules_make_it_anew(finished) -> None:
    _, results, again = finished
    second = again()
    assert [timeless(row) for row in second.run().corrected] == [timeless(row) for row in results.corrected]
    assert second.counts()["made"] == 0
    plan = {item["method"]: item["steps"] for item in second.plan()}
    there, count = plan["appearance"]["corrections"]
    assert there == count > 0
    assert "corrections" not in plan["best-threshold"]
    fewer = again(user=UserSettings(("appearance",), rounds=1, clicks=0))
    plan = {item["method"]: item["steps"] for item in fewer.plan()}
    assert plan["appearance"]["corrections"] == (0, count)
    assert "corrections" not in plan["refit"]
    # Looked at before it is run: none of it is there, and the report says so.
    planned = fewer.results()
    assert planned.corrected == []
    assert any("of appearance not corrected yet" in note for note in planned.notes)
    once = fewer.run()
    assert not any("not corrected yet" in note for note in once.notes)
    assert {len(row.rounds) for row in once.corrected} == {1}
    assert not any(row.clicks for row in once.corrected)
    first = {
        (row.case, row.index): row.rounds[0].dice for row in results.corrected if row.method == "appearance"
    }
    for row in once.corrected:
        assert row.rounds[0].dice == pytest.approx(first[row.case, row.index], nan_ok=True)


def test_a_stopped_run_goes_on_where_it_was(
    busi_root: Path, quick: dict, tmp_path: Path, monkeypatch
) -> None:
    """Cancelled in the middle of the corrections: what is done is kept, and what comes out is the same."""
    from napari_refit.errors import Cancelled

    done = []

    def stop_late() -> bool:
        return len(done) >= 3

    make = Corrections.make

    def counted(self, method, opened) -> None:
        make(self, method, opened)
        done.append(opened.name)

    monkeypatch.setattr(Corrections, "make", counted)
    study = study_of(busi_root, tmp_path / "out", quick, listener=Listener(cancelled=stop_late))
    with pytest.raises(Cancelled):
        study.run()
    monkeypatch.undo()
    after = study_of(busi_root, tmp_path / "out", quick)
    rows = after.run().corrected
    # Two methods a case: the third correction is the second case's first.
    assert after.counts()["reused"] >= 4
    fresh = study_of(busi_root, tmp_path / "other", quick).run().corrected
    assert [timeless(row) for row in rows] == [timeless(row) for row in fresh]


def timeless(row) -> tuple:
    rounds = tuple((each.strokes, each.in_mask, str(each.dice)) for each in row.rounds)
    return (row.method, row.case, row.index, str(row.dice), rounds, tuple(sorted(row.clicks.items())))


def test_the_command_line_corrects_and_says_what_came_out(busi_root, quick, tmp_path, capsys) -> None:
    flags = [part for key, value in quick.items() for part in ("--train", f"{key}={value}")]
    out = tmp_path / "out"
    common = [
        "evaluate",
        str(busi_root),
        "--out",
        str(out),
        "--preparation",
        "benign-normal",
        "--device",
        "cpu",
    ]
    common += [*flags, "--limit", "3", "--methods", "gradcam,appearance"]
    assert main([*common, "--correct", "refit"]) == 2
    assert "'refit' has no masks that a user could correct" in capsys.readouterr().err
    assert main([*common, "--correct", "appearance", "--clicks", "20"]) == 0
    printed = capsys.readouterr().out
    assert "ReFit by appearance, corrected by a simulated user" in printed
    assert "2 rounds of scribbles" in printed
    with (out / "corrections.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"appearance"}
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["corrections"]["summaries"][0]["method"] == "appearance"
