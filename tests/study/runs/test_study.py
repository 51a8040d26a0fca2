"""Studies from end to end, on made pictures and volumes."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_refit.errors import Cancelled
from napari_refit.io.datasets import SplitParams, find_dataset
from napari_refit.learn.settings import TrainingParams
from napari_refit.recipe import RefitParams
from napari_refit.study import run as run_module
from napari_refit.study.describing import panel_of
from napari_refit.study.methods import choose_methods
from napari_refit.study.results import Row
from napari_refit.study.run import Study
from napari_refit.study.settings import Listener, StudySettings

METHODS = ["gradcam", "refit"]
SPLIT = SplitParams(folds=2, validation_fraction=0.25)


def study_of(root: Path, out: Path, quick: dict, preparation: str = "benign-normal", **options) -> Study:
    dataset = find_dataset(root).prepared(preparation)
    listener = options.pop("listener", None)
    methods = choose_methods(options.pop("methods", METHODS), options.pop("presets", None))
    settings = StudySettings(
        methods=methods,
        preparation=preparation,
        training=TrainingParams().with_texts(quick),
        device="cpu",
        **{name: value for name, value in options.items() if name not in ("fresh", "split")},
    )
    split = options.get("split", SPLIT)
    return Study(dataset, settings, out, split, fresh=options.get("fresh", False), listener=listener)


def timeless(rows: list[Row]) -> list[tuple]:
    """Rows without the seconds, NaN being equal to NaN."""
    return [
        tuple("nan" if value != value else value for name, value in vars(row).items() if name != "seconds")
        for row in rows
    ]


def contents(folder: Path, *parts: str) -> dict[str, bytes]:
    """Everything below some folders, arrays by their bytes."""
    found = {}
    for part in parts:
        for path in sorted((folder / part).rglob("*")):
            name = str(path.relative_to(folder))
            if path.suffix == ".npz":
                with np.load(path) as content:
                    for key in content.files:
                        if key not in ("facts", "seconds"):
                            found[f"{name}:{key}"] = content[key].tobytes()
    return found


@pytest.fixture(scope="session")
def busi_study(busi_root: Path, quick: dict, tmp_path_factory: pytest.TempPathFactory):
    """A finished study of pictures, and its results."""
    study = study_of(busi_root, tmp_path_factory.mktemp("study") / "out", quick)
    return study, study.run()


def test_each_image_is_tested_once_by_every_method(busi_study) -> None:
    study, results = busi_study
    counts = Counter((row.method, row.place) for row in results.rows)
    assert set(counts.values()) == {1}
    cases = {case.name for case in study.dataset.cases}
    for method in ("blank", "gradcam", "best-threshold", "refit", "refit-tuned"):
        assert {place[0] for key, place in counts if key == method} == cases
    folds = {row.case: row.fold for row in results.rows}
    for pieces in study.pieces:
        assert not set(pieces.tested) & set(pieces.chosen_on)
        assert all(folds[name] == pieces.number for name in pieces.tested)
    assert [method.key for method in results.methods] == [
        "blank",
        "gradcam",
        "best-threshold",
        "refit",
        "refit-tuned",
    ]
    assert results.counts["tested cases"] == len(cases)


def test_scores_are_those_of_the_masks(busi_study) -> None:
    from napari_refit import metrics

    study, results = busi_study
    for row in results.rows[::7]:
        truth = study.fold_of[row.case].truth(row.case)
        mask = np.zeros_like(truth)
        if row.method != "blank":
            method = next(m for m in study.settings.methods if m.key == row.method)
            kept = study.fold_of[row.case].kept_mask(method, row.case)
            mask = kept.arrays["mask"]
        wanted = metrics.evaluate(mask, truth, spacing=(1, 1), classes=[1])
        for name in ("dice", "iou", "hd95", "surface_dice"):
            assert getattr(row, name) == wanted[f"{name}_1"] or math.isnan(wanted[f"{name}_1"])
        assert row.unit == "px"


def test_masks_are_those_that_refine_makes(busi_study) -> None:
    from napari_refit.pipeline import Refit

    study, _ = busi_study
    refit = next(m for m in study.settings.methods if m.key == "refit")
    gradcam = next(m for m in study.settings.methods if m.key == "gradcam")
    marked = 0
    for name, pieces in study.fold_of.items():
        if not name.endswith("(3)") and not name.endswith("(4)"):
            continue
        image = next(iter(study.dataset.case(name).images.values())).paths[0]
        checkpoint = pieces.training("classifier").checkpoint
        result = Refit(image, checkpoint, RefitParams(), device="cpu").slice(0)
        assert np.array_equal(pieces.kept_mask(refit, name).arrays["mask"], result.mask)
        assert np.array_equal(pieces.kept_mask(gradcam, name).arrays["mask"], result.cam_mask)
        marked += int(result.mask.any())
    assert marked


def test_the_tuned_threshold_is_at_least_as_good_on_what_it_was_chosen_on(busi_study) -> None:
    _study, results = busi_study
    tuned = {method.key: method.threshold for method in results.methods}
    assert tuned["best-threshold"]["chosen on"] == "training and validation images"
    assert 0 < tuned["refit-tuned"]["fold 1"] <= 1
    assert tuned["gradcam"] == {
        "chosen on": "nothing: fixed",
        "all folds": RefitParams().fit_params.threshold,
    }


def test_the_auroc_of_the_test_images_is_that_of_the_classifier(busi_study) -> None:
    from napari_refit.cam.classifier import load_classifier
    from napari_refit.cam.response import compute_responses
    from napari_refit.io.datasets import Slice

    study, results = busi_study
    pieces = study.pieces[0]
    classifier = load_classifier(pieces.training("classifier").checkpoint)
    positive, negative = [], []
    for name in pieces.tested:
        image = study.dataset.read_slice(Slice(name))
        low, high = np.percentile(image, (0.5, 99.5))
        plane = ((image - low) / (high - low)).clip(0, 1).astype(np.float32)
        logits = compute_responses(classifier, plane[None], classifier.foreground).logits[0]
        (positive if name.startswith("benign") else negative).append(logits[1] - logits[0])
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    (note,) = (n for n in results.methods[1].notes if n.startswith("fold 1"))
    assert note == f"fold 1: image-level AUROC on the test images {np.mean(pairs):.3f}"


def test_a_second_run_works_nothing_out_and_says_the_same(busi_study, busi_root, quick) -> None:
    study, results = busi_study
    again = study_of(busi_root, study.out, quick)
    for item in again.plan():
        assert item["error"] is None
        assert all(there == count for there, count in item["steps"].values()), item
    found = again.run()
    assert again.counts()["made"] == 0
    assert again.counts()["reused"] == study.counts()["made"]
    assert list(map(repr, found.rows)) == list(map(repr, results.rows))


def test_response_maps_serve_all_methods_and_later_presets(busi_study, busi_root, quick, tmp_path) -> None:
    study, _ = busi_study
    out = tmp_path / "out"
    shutil.copytree(study.out, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "stages" / "responses").rglob("*.npz")}
    assert len(before) == len(study.dataset.cases)
    more = study_of(busi_root, out, quick, presets={"bolder": RefitParams(threshold=0.4)})
    more.run()
    after = {path: path.stat().st_mtime_ns for path in (out / "stages" / "responses").rglob("*.npz")}
    assert after == before
    made = {
        step: tally.made for run in more._runs.values() for step, tally in run.tallies.items() if tally.made
    }
    assert set(made) == {"masks of refit-bolder", "scores of refit-bolder"}


def test_a_changed_image_is_worked_on_again_and_no_other(busi_study, busi_root, quick, tmp_path) -> None:
    study, _ = busi_study
    root, out = tmp_path / "Dataset_BUSI_with_GT", tmp_path / "out"
    shutil.copytree(busi_root, root)
    shutil.copytree(study.out, out)
    name = study.pieces[0].tested[0]
    path = next(root.rglob(f"{name}.png"))
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    plan = study_of(root, out, quick).plan()
    first = {item["method"]: item["steps"] for item in plan if item["fold"] == 1}
    second = {item["method"]: item["steps"] for item in plan if item["fold"] == 2}
    count = len(study.pieces[0].tested)
    assert first["gradcam"]["masks"] == (count - 1, count)
    # In the other fold it is trained on.
    assert second["gradcam"]["training"] == (0, 1)


def test_nothing_is_chosen_on_test_images(busi_study, busi_root, quick, tmp_path) -> None:
    """With other reference masks of the test images, all but the scores is bit for bit the same."""
    study, _results = busi_study
    root = tmp_path / "Dataset_BUSI_with_GT"
    shutil.copytree(busi_root, root)
    draw = np.random.default_rng(0)
    for name in study.pieces[0].tested:
        mask = next(root.rglob(f"{name}_mask.png"))
        shape = np.asarray(Image.open(mask)).shape
        poisoned = draw.random(shape) < 0.5 if name.startswith("benign") else np.zeros(shape, bool)
        Image.fromarray(poisoned).save(mask)
    other = study_of(root, tmp_path / "out", quick, only_fold=1)
    other.run()
    pieces, own = study.pieces[0], other.pieces[0]
    assert pieces.parts == own.parts
    checkpoints = [p.training("classifier").checkpoint.read_bytes() for p in (pieces, own)]
    tensors = [_tensors(found) for found in checkpoints]
    assert tensors[0] == tensors[1]
    for method in study.settings.methods:
        if method.tuned:
            assert pieces.threshold(method) == own.threshold(method)
        for name in pieces.tested if method.kind != "blank" else ():
            one, two = (p.kept_mask(method, name).arrays["mask"] for p in (pieces, own))
            assert np.array_equal(one, two)
    pair = [contents(s.out / "stages", "tables") for s in (study, other)]
    assert pair[1]
    assert all(pair[0][name] == content for name, content in pair[1].items())
    scores = [
        {row.case: row.dice for row in s.results().rows if row.method == "refit" and row.fold == 1}
        for s in (study, other)
    ]
    assert scores[0] != scores[1]


def _tensors(checkpoint: bytes) -> bytes:
    """A checkpoint's numbers without its description, which holds the seconds."""
    length = int.from_bytes(checkpoint[:8], "little")
    return checkpoint[8 + length :]


def test_masks_of_test_images_are_not_even_opened_before_the_scores(
    busi_root, quick, tmp_path, monkeypatch
) -> None:
    from napari_refit.io.datasets import reading

    study = study_of(busi_root, tmp_path / "out", quick, only_fold=1)
    tested = set(study.pieces[0].tested)
    opened: list[str] = []
    read = reading.mask_volume
    monkeypatch.setattr(reading, "mask_volume", lambda path: (opened.append(path.name), read(path))[1])
    run = run_module.FoldRun(study.pieces[0], study.settings.methods, Listener())
    run.prepare()
    run.choose()
    run.mask()
    names = {name.removesuffix(".png").rpartition("_mask")[0] for name in opened}
    assert names
    assert not names & tested
    run.score()
    names = {name.removesuffix(".png").rpartition("_mask")[0] for name in opened}
    assert tested <= names


def test_volumes_are_scored_by_slice_and_as_a_whole(lgg_root, quick, tmp_path) -> None:
    study = study_of(lgg_root, tmp_path / "out", quick, "default", methods=["gradcam", "refit"])
    results = study.run()
    assert not study.failed
    for method in ("blank", "gradcam", "best-threshold", "refit", "refit-tuned"):
        rows = [row for row in results.rows if row.method == method]
        assert len([row for row in rows if row.level == "image"]) == 6 * 8
        assert len([row for row in rows if row.level == "case"]) == 6
    whole = {row.case: row for row in results.rows if row.level == "case" and row.method == "refit"}
    for case, row in whole.items():
        slices = [r for r in results.rows if r.case == case and r.level == "image" and r.method == "refit"]
        assert [r.index for r in slices] == list(range(8))
        assert row.both == sum(r.both for r in slices)
        assert row.pixels == sum(r.pixels for r in slices)
    panel = panel_of(study, results.rows[0].case, 2, 4)
    assert panel.image.shape == panel.truth.shape == (64, 64)
    assert panel.truth.any()
    assert set(panel.masks) == {"gradcam", "best-threshold", "refit", "refit-tuned"}
    assert panel.responses["gradcam"].shape == (1, 64, 64)


def test_the_gate_goes_by_the_classifier_or_by_the_label(busi_study, busi_root, quick, tmp_path) -> None:
    study, _ = busi_study
    out = tmp_path / "out"
    shutil.copytree(study.out, out)
    gated = study_of(busi_root, out, quick, gate="label")
    results = gated.run()
    gradcam = next(m for m in gated.settings.methods if m.key == "gradcam")
    for name, pieces in gated.fold_of.items():
        # What the label does not name is never marked, what it names always, for a response map reaches 1.
        assert pieces.kept_mask(gradcam, name).arrays["mask"].any() == name.startswith("benign")
    assert any("label was taken as known" in note for note in results.notes)
    assert results.methods[1].settings["gate"] == "image-level label"


def test_only_some_labels_are_evaluated(busi_study, busi_root, quick) -> None:
    study, _ = busi_study
    results = study_of(busi_root, study.out, quick, evaluate=("benign",)).run()
    assert {row.case.split()[0] for row in results.rows} == {"benign"}
    with pytest.raises(ValueError, match="no test case is labelled cyst; the labels are: benign, normal"):
        study_of(busi_root, study.out, quick, evaluate=("cyst",))


def test_folds_by_several_sessions(busi_study, busi_root, quick, tmp_path) -> None:
    _study, results = busi_study
    out = tmp_path / "out"
    first = study_of(busi_root, out, quick, only_fold=1).run()
    assert {row.fold for row in first.rows} == {1}
    assert any("these are not done, and not in the tables: 2" in note for note in first.notes)
    second = study_of(busi_root, out, quick, only_fold=2).run()
    assert timeless(second.rows) == timeless(results.rows)


def test_a_study_that_is_stopped_anywhere_goes_on(busi_study, busi_root, quick, tmp_path) -> None:
    _study, results = busi_study
    out = tmp_path / "out"
    for steps in (1, 12, 30, 50, 80):
        asked = iter(range(10**9))

        def cancelled(limit: int = steps, asked=asked) -> bool:
            return next(asked) >= limit

        with pytest.raises(Cancelled):
            study_of(busi_root, out, quick, listener=Listener(cancelled=cancelled)).run()
    final = study_of(busi_root, out, quick)
    assert timeless(final.run().rows) == timeless(results.rows)
    assert final.counts()["reused"] > 20


KILLED = """
import os, signal, sys
from pathlib import Path
from napari_refit.io.datasets import SplitParams, find_dataset
from napari_refit.learn.settings import TrainingParams
from napari_refit.study.methods import choose_methods
from napari_refit.study.run import Study
from napari_refit.study.settings import Listener, StudySettings

left = int(sys.argv[3])
def say(text):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
settings = StudySettings(
    methods=choose_methods(["gradcam", "refit"]),
    preparation="benign-normal",
    training=TrainingParams().with_texts(eval(sys.argv[4])),
    device="cpu",
)
dataset = find_dataset(sys.argv[1]).prepared("benign-normal")
split = SplitParams(folds=2, validation_fraction=0.25)
Study(dataset, settings, Path(sys.argv[2]), split, listener=Listener(say=say)).run()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_study_that_is_killed_goes_on(busi_study, busi_root, quick, tmp_path) -> None:
    _, results = busi_study
    out = tmp_path / "out"
    # In the middle of the training, after its second epoch.
    arguments = [str(busi_root), str(out), "1", repr(quick)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    assert list((out / "stages" / "training" / "classifier-fold1").glob("*.training.pt"))
    lines: list[str] = []
    final = study_of(busi_root, out, quick, listener=Listener(say=lines.append))
    found = final.run()
    assert not final.failed, lines
    assert timeless(found.rows) == timeless(results.rows)
    epochs = [line for line in lines if line.startswith("classifier-fold1: epoch")]
    assert [line.split()[2] for line in epochs] == ["3"]


def test_a_damaged_case_costs_a_line_not_the_run(busi_study, busi_root, quick, tmp_path) -> None:
    study, _ = busi_study
    root = tmp_path / "Dataset_BUSI_with_GT"
    shutil.copytree(busi_root, root)
    name = study.pieces[0].tested[1]
    path = next(root.rglob(f"{name}.png"))
    path.write_bytes(path.read_bytes()[:200])
    lines: list[str] = []
    hurt = study_of(root, tmp_path / "out", quick, only_fold=1, listener=Listener(say=lines.append))
    results = hurt.run()
    assert list(hurt.broken) == [name]
    assert {row.case for row in results.rows} == set(study.pieces[0].tested) - {name}
    assert any(name in note for note in results.notes)
    assert len([line for line in lines if "is left out" in line]) == 1
    assert not hurt.failed


def test_a_method_that_cannot_be_run_does_not_stop_the_others(busi_root, quick, tmp_path) -> None:
    quick = {**quick, "background": "no such class"}
    study = study_of(busi_root, tmp_path / "out", quick, only_fold=1)
    results = study.run()
    assert set(study.failed) == {"gradcam", "best-threshold", "refit", "refit-tuned"}
    assert "no such class" in study.failed["refit"]
    assert {row.method for row in results.rows} == {"blank"}


def test_a_classifier_from_outside_serves_all_folds(busi_study, busi_root, quick, tmp_path) -> None:
    study, _ = busi_study
    checkpoint = study.pieces[0].training("classifier").checkpoint
    outside = study_of(busi_root, tmp_path / "out", quick, model=str(checkpoint), methods=["gradcam"])
    results = outside.run()
    assert not outside.failed
    assert not (tmp_path / "out" / "stages" / "training").exists()
    assert any("may have seen the test images" in note for note in results.notes)
    gradcam = next(m for m in outside.settings.methods if m.key == "gradcam")
    for name in study.pieces[0].tested:
        one, two = (s.pieces[0].kept_mask(gradcam, name).arrays["mask"] for s in (study, outside))
        assert np.array_equal(one, two)


def test_fresh_takes_nothing_that_was_there(busi_study, busi_root, quick, tmp_path) -> None:
    study, results = busi_study
    out = tmp_path / "out"
    shutil.copytree(study.out, out)
    again = study_of(busi_root, out, quick, fresh=True, only_fold=1)
    again.run()
    assert again.counts()["reused"] == 0
    assert timeless([row for row in again.results().rows if row.fold == 1]) == timeless(
        [row for row in results.rows if row.fold == 1]
    )
