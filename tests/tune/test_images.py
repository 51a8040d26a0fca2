"""Which images are drawn: by seed, evenly from patients, with their masks, and never those that are tested."""

from __future__ import annotations

from collections import Counter

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import made_picture
from PIL import Image

from napari_refit.errors import ReadError
from napari_refit.io.datasets import find_dataset
from napari_refit.io.datasets.splits import make_split
from napari_refit.io.sidecar import file_checksum
from napari_refit.pipeline import Refit
from napari_refit.tune.dataset_images import class_table, images_of_dataset, tunable
from napari_refit.tune.images import (
    drawn,
    images_of_files,
    images_of_folder,
    images_of_volume,
    truth_plane,
)
from napari_refit.tune.settings import TuneParams


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 9))
def test_drawn_evenly_from_patients(patients, most, seed):
    items = list(range(len(patients)))
    found = drawn(items, patients, most, seed)
    assert found == drawn(items, patients, most, seed)
    assert len(found) == len(set(found)) == min(most, len(items))
    there = Counter(patients)
    for end in range(1, len(found) + 1):
        taken = Counter(patients[k] for k in found[:end])
        most_taken = max(taken.values())
        # Whoever has fewer than another has no more to give.
        assert all(taken[p] >= min(there[p], most_taken - 1) for p in there)
    assert found[:3] == drawn(items, patients, min(most, 3), seed)


def volume():
    truth = np.zeros((6, 20, 24), np.uint8)
    truth[2:5, 4:14, 6:16] = 1
    image = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape)
    return Refit(image, response=truth.astype(np.float32)), truth


def test_slices_of_a_volume():
    refit, truth = volume()
    found = images_of_volume(refit, truth, TuneParams(images=10), name="scan")
    assert sorted(image.positions[0] for image in found) == [2, 3, 4]
    assert {image.case for image in found} == {"scan"}
    for image in found:
        np.testing.assert_array_equal(image.truth, truth[image.positions[0]])
        assert image.name == f"scan 0:{image.positions[0]}"
    every = TuneParams(images=10, with_object=False)
    assert len(images_of_volume(refit, truth, every)) == len(images_of_volume(refit, None)) == 6
    assert len(images_of_volume(refit, None, TuneParams(images=2))) == 2
    (only,) = images_of_volume(refit, truth, positions=[{0: 3}])
    assert only.positions == {0: 3}
    with pytest.raises(ValueError, match="no slice to tune on shows the object"):
        images_of_volume(refit, np.zeros_like(truth))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2\)"):
        images_of_volume(refit, np.zeros((2, 2)))


def test_masks_of_files_lie_as_the_slices_are_displayed(tmp_path):
    _, truth = volume()
    in_file = truth.transpose(2, 1, 0)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    for name, data in (("scan", in_file * 100), ("scan_seg", in_file)):
        nibabel.save(nibabel.Nifti1Image(data.astype(np.uint8), affine), tmp_path / f"{name}.nii.gz")
    path = tmp_path / "scan.nii.gz"
    found = images_of_files(
        [path], {path: tmp_path / "scan_seg.nii.gz"}, responses={path: tmp_path / "scan_seg.nii.gz"}
    )
    assert len(found) == 3
    for image in found:
        shown = image.refit.displayed_plane(image.positions)
        np.testing.assert_array_equal(image.truth > 0, shown.response[0] > 0)
        assert image.checksums == (file_checksum(path),)
        np.testing.assert_array_equal(image.truth, truth_plane(image.refit, in_file, image.positions))


@pytest.fixture
def folder(tmp_path):
    """Pictures, and masks of all but the last."""
    for place in ("pictures", "masks"):
        (tmp_path / place).mkdir()
    for number in range(5):
        image, truth, _ = made_picture(number)
        grey = ((image - image.min()) * 120).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / "pictures" / f"p{number}.png")
        if number < 4:
            Image.fromarray(truth * 255).save(tmp_path / "masks" / f"P{number}_mask.png")
    return tmp_path


def test_a_folder_with_masks_of_the_same_names(folder):
    found = images_of_folder(folder / "pictures", folder / "masks", TuneParams(seed=1))
    assert sorted(image.name for image in found) == [f"p{number}.png" for number in range(4)]
    for image in found:
        np.testing.assert_array_equal(image.truth > 0, made_picture(int(image.name[1]))[1] > 0)
    assert len(images_of_folder(folder / "pictures")) == 5
    few = images_of_folder(folder / "pictures", folder / "masks", TuneParams(images=2, seed=1))
    again = images_of_folder(folder / "pictures", folder / "masks", TuneParams(images=2, seed=1))
    assert [image.name for image in few] == [image.name for image in again]
    assert len(few) == 2


def test_folders_that_do_not_fit(folder):
    with pytest.raises(ReadError, match="holds no image"):
        images_of_folder(folder)
    (folder / "other").mkdir()
    (folder / "masks" / "P0_mask.png").rename(folder / "other" / "q.png")
    with pytest.raises(ReadError, match=r"no mask with the name of an image, such as p0_mask\.png"):
        images_of_folder(folder / "pictures", folder / "other")
    (folder / "pictures" / "p9.png").write_bytes(b"no picture")
    with pytest.raises(ReadError, match=r"p9\.png"):
        images_of_folder(folder / "pictures")


def busi(root, benign=8, normal=4):
    for label, count in (("benign", benign), ("normal", normal)):
        (root / label).mkdir(parents=True)
        for number in range(1, count + 1):
            image, truth, _ = made_picture(100 * (label == "normal") + number)
            grey = ((image - image.min()) * 120).clip(0, 255).astype(np.uint8)
            mask = truth if label == "benign" else np.zeros_like(truth)
            Image.fromarray(grey).convert("RGB").save(root / label / f"{label} ({number}).png")
            Image.fromarray(mask.astype(bool)).save(root / label / f"{label} ({number})_mask.png")
    return root


@pytest.fixture(scope="module")
def busi_root(tmp_path_factory):
    return busi(tmp_path_factory.mktemp("made") / "Dataset_BUSI_with_GT")


@pytest.fixture(scope="module")
def classifier():
    from napari_refit.cam.classifier import load_classifier
    from napari_refit.demo import sample_classifier

    return load_classifier(sample_classifier())


def test_a_dataset_never_gives_what_is_tested(busi_root, classifier, tmp_path):
    from napari_refit.study.job import check_before
    from napari_refit.study.settings import StudySettings

    dataset = find_dataset(busi_root).prepared("benign-normal")
    found = images_of_dataset(dataset, classifier)
    study = check_before(dataset, StudySettings(), None, tmp_path / "out")
    fold = study.split.folds[0]
    names = {image.case for image in found}
    # The very split of evaluate.
    assert names == {name for name in (*fold.train, *fold.validation) if name.startswith("benign")}
    assert not names & set(fold.test)
    assert {image.dataset for image in found} == {"busi"}
    for image in found:
        path = busi_root / "benign" / f"{image.case}.png"
        assert image.checksums == (file_checksum(path),)
        assert image.truth.any()
    everything = images_of_dataset(dataset, classifier, TuneParams(with_object=False), with_truth=False)
    assert {image.case for image in everything} == {*fold.train, *fold.validation}
    assert all(image.truth is None for image in everything)


def test_cases_of_any_folder_are_not_known_by_name(folder, classifier):
    (folder / "pictures").rename(folder / "images")
    (folder / "images" / "p4.png").unlink()
    with pytest.raises(ValueError, match="no case can be tuned on"):
        images_of_dataset(find_dataset(folder), classifier)
    for number in range(4):
        (folder / "masks" / f"P{number}_mask.png").rename(folder / "masks" / f"p{number}_mask.png")
    found = images_of_dataset(find_dataset(folder), classifier)
    assert found
    assert {image.dataset for image in found} == {""}
    assert all(image.checksums for image in found)


def test_a_split_of_ones_own(busi_root, classifier):
    dataset = find_dataset(busi_root).prepared("benign-normal")
    split = make_split(
        dataset.cases, dataset.default_split.model_copy(update={"method": "folds", "folds": 2})
    )
    for number in (1, 2):
        fold = split.folds[number - 1]
        seen = tunable(dataset, split, number)
        assert {case.name for case in seen.cases} == {*fold.train, *fold.validation}
        with pytest.raises(KeyError):
            seen.case(fold.test[0])
    with pytest.raises(ValueError, match="there is no fold 3, the split has 2"):
        images_of_dataset(dataset, classifier, split=split, fold=3)


def test_classes_are_matched_by_name():
    class Network:
        name, classes, foreground = "net", ("background", "Posterior", "other", "anterior"), (1, 2, 3)

        def class_number(self, index):
            return index * 10

    assert class_table(Network(), ("anterior", "posterior")) == {10: 2, 30: 1}
    assert class_table(Network(), ("lesion",)) == {10: 1, 20: 1, 30: 1}
    with pytest.raises(ValueError, match=r"net knows .*, the dataset a, b: classes need the same names"):
        class_table(Network(), ("a", "b"))
