from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from napari_refit.cli import main
from napari_refit.errors import ReadError
from napari_refit.io.datasets import find_dataset, make_split
from napari_refit.recipe import RefitParams
from napari_refit.study.cases import fitting_params, only, read_stack, read_truth_stack, without_truth
from napari_refit.study.methods import METHODS, choose_methods
from napari_refit.study.run import Study, usable_split
from napari_refit.study.settings import StudySettings
from napari_refit.study.store import Store, make_key


def test_a_stack_is_the_datasets_own_slices(lgg_root: Path, busi_root: Path) -> None:
    for root, preparation in ((lgg_root, "default"), (lgg_root, "paper"), (busi_root, "paper")):
        dataset = find_dataset(root).prepared(preparation)
        case = dataset.cases[1]
        stack, truth = read_stack(dataset, case), read_truth_stack(dataset, case)
        planes = dataset.slices(case)
        assert stack.shape == truth.shape
        assert [stack.place(k) for k in range(stack.n_planes)] == [(p.axis, p.index) for p in planes]
        for number, plane in enumerate(planes):
            one = stack.values if stack.axis is None else stack.values[number]
            assert np.array_equal(one, dataset.read_slice(plane))
            assert np.array_equal(
                truth if stack.axis is None else truth[number], dataset.read_truth_slice(plane)
            )


def test_spacing_follows_the_display_and_the_resizing(tmp_path: Path) -> None:
    import nibabel

    root = tmp_path / "scans"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    affine = np.diag([1.0, 2.0, 5.0, 1.0])
    for folder, values in (("images", np.ones((8, 6, 4), np.int16)), ("masks", np.ones((8, 6, 4), np.uint8))):
        nibabel.save(nibabel.Nifti1Image(values, affine), root / folder / "a.nii.gz")
    found = find_dataset(root, "folder", images="images/{case}.nii.gz", masks="masks/{case}.nii.gz")
    stack = read_stack(found, found.cases[0])
    assert stack.shape == (4, 6, 8)
    assert stack.spacing == (5.0, 2.0, 1.0)
    resized = found.prepared(found.preparation.model_copy(update={"size": 12}))
    assert read_stack(resized, found.cases[0]).spacing == pytest.approx((5.0, 1.0, 8 / 12))


def test_views_hide_what_a_stage_must_not_see(busi_root: Path) -> None:
    dataset = find_dataset(busi_root).prepared("benign-normal")
    names = [case.name for case in dataset.cases]
    learning, testing = only(dataset, names[:5]), without_truth(dataset, names[5:])
    with pytest.raises(KeyError, match="there is no case"):
        learning.case(names[5])
    assert [case.name for case in testing.cases] == names[5:]
    for case in testing.cases:
        assert case.truth is None
        assert case.label is None
        with pytest.raises(ReadError, match="has no mask"):
            testing.read_truth(testing.case(case.name))
        with pytest.raises(ReadError, match="has no mask"):
            testing.present(testing.case(case.name))
    assert testing.class_names == dataset.class_names


def test_scaled_planes_are_not_scaled_again(lgg_root: Path) -> None:
    dataset = find_dataset(lgg_root).prepared("paper")
    params = fitting_params(RefitParams.preset("paper-brats"), dataset.preparation)
    assert (params.intensity.mode, params.intensity.floor) == ("window", 0.8)
    assert fitting_params(RefitParams(), find_dataset(lgg_root).preparation) == RefitParams()


def test_what_is_kept_is_used_for_the_same_key_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "stages")
    path = store.path("masks", "refit", "site/7: a*b")
    assert path.parent.parent.parent == tmp_path / "stages"
    store.save(path, "key 1", {"mask": np.eye(3)}, {"seconds": 2.0})
    kept = Store(tmp_path / "stages").load(path, "key 1")
    assert kept is not None
    assert kept.facts["seconds"] == 2.0
    assert np.array_equal(kept.arrays["mask"], np.eye(3))
    assert store.load(path, "key 2") is None
    fresh = Store(tmp_path / "stages", fresh=True)
    assert not fresh.has(path, "key 1")
    fresh.save(path, "key 1", {"mask": np.ones(2)})
    assert fresh.has(path, "key 1")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04rubbish", b"\x00" * 400])
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    store = Store(tmp_path)
    for path in (store.path("a"), store.path("a", suffix=".json")):
        path.write_bytes(damage)
        assert not store.has(path, "key")
    whole = store.path("b")
    store.save(whole, "key", {"mask": np.zeros((50, 50))})
    whole.write_bytes(whole.read_bytes()[:-60])
    assert store.load(whole, "key") is None


def test_a_changed_file_has_another_checksum(tmp_path: Path) -> None:
    store, file = Store(tmp_path / "stages"), tmp_path / "a.png"
    file.write_bytes(b"one")
    first = store.checksum(file)
    store.keep_checksums()
    again = Store(tmp_path / "stages")
    assert again.checksum(file) == first
    file.write_bytes(b"two, longer")
    os.utime(file, ns=(1, 1))
    assert again.checksum(file) != first
    assert make_key(1, "a") != make_key(1, "b")


def test_methods_bring_along_what_they_are_compared_with() -> None:
    assert [m.key for m in choose_methods([])] == ["blank", "best-threshold"]
    paper = RefitParams.preset("paper-brats")
    chosen = choose_methods(["refit", "gradcam"], {"paper": paper})
    assert [m.key for m in chosen] == [
        "blank",
        "gradcam",
        "best-threshold",
        "refit",
        "refit-tuned",
        "refit-paper",
    ]
    assert chosen[-1].params == paper
    with pytest.raises(ValueError, match="unknown method 'grad-cam'; did you mean gradcam"):
        choose_methods(["grad-cam"])
    with pytest.raises(ValueError, match="must not be called 'tuned'"):
        choose_methods([], {"tuned": paper})
    assert {"seam", "cmer", "fsss", "fsss-cam", "fsss-truth"} <= set(METHODS)


def test_a_split_that_does_not_suit_is_refused(busi_root: Path) -> None:
    dataset = find_dataset(busi_root).prepared("benign-normal")
    split = make_split(dataset.cases, dataset.default_split)
    assert usable_split(dataset, split).folds == split.folds
    other = only(dataset, [case.name for case in dataset.cases[1:]])
    with pytest.raises(ValueError, match="has a case"):
        usable_split(other, split)
    twice = type(split)(split.dataset, split.params, split.folds * 2)
    with pytest.raises(ValueError, match="twice"):
        usable_split(dataset, twice)
    fold = split.folds[0]
    tied = dataset.with_groups({fold.train[0]: "g", fold.test[0]: "g"})
    with pytest.raises(ValueError, match="different sides"):
        usable_split(tied, split)


def test_a_learner_is_trained_anew_only_if_something_of_its_own_changed(
    busi_root: Path, tmp_path: Path
) -> None:
    dataset = find_dataset(busi_root).prepared("benign-normal")

    def keys(**changes: dict[str, dict[str, str]]) -> dict[str, str]:
        settings = StudySettings(
            methods=choose_methods(["gradcam", "seam"]), preparation="benign-normal", **changes
        )
        pieces = Study(dataset, settings, tmp_path / "study").pieces[0]
        return {learner: pieces.training(learner).key() for learner in ("classifier", "seam")}

    before = keys()
    after = keys(training_of={"seam": {"seam.scale": "0.5", "epochs": "3"}})
    assert before["classifier"] == after["classifier"]
    assert before["seam"] != after["seam"]


def test_parameters_of_one_learner_are_told_by_a_colon(
    busi_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["evaluate", str(busi_root), "--out", str(tmp_path / "out"), "--train", "seam:epoch=3"]
    assert main(wrong) == 2
    assert "unknown training parameter 'epoch'" in capsys.readouterr().err
