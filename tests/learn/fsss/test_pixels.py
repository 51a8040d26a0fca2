"""Datasets with their masks, for the upper bound; and label maps that follow their images."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from napari_refit.errors import ReadError
from napari_refit.io.datasets import Preparation, find_dataset
from napari_refit.learn.augment import augment, augment_together
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.pixels import ArrayPixels, DatasetPixels
from napari_refit.learn.fsss.store import LabelStore
from napari_refit.learn.fsss.training import train_fsss
from napari_refit.learn.settings import TrainingParams


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for patient in range(3):
        name = f"TCGA_CS_{4940 + patient}_20000101"
        image = draw.integers(0, 255, (20, 24, 12, 3)).astype(np.uint8)
        truth = np.zeros((20, 24, 12), np.uint8)
        truth[3:9, 4 + patient : 12, 2:5] = 1
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth, np.eye(4)), tmp_path / f"{name}_seg.nii.gz")
    return tmp_path


@pytest.mark.parametrize("preparation", [Preparation(), Preparation(size=32), Preparation(crop="2:,:,1:8")])
def test_slices_with_their_masks(volumes: Path, preparation: Preparation) -> None:
    dataset = find_dataset(volumes).prepared(preparation)
    samples = DatasetPixels(dataset)
    planes = [plane for case in dataset.cases for plane in dataset.slices(case)]
    assert samples.classes == ("tumour",)
    assert len(samples) == len(planes)
    assert len(set(samples.patients)) == 3
    shown = 0
    for k, plane in enumerate(planes):
        label = samples.label_map(k)
        assert label.dtype == np.uint8
        assert label.shape == samples.image(k).shape[:2]
        np.testing.assert_array_equal(label, dataset.read_truth_slice(plane))
        shown += label.any()
    assert shown == 9
    some = DatasetPixels(dataset, cases=[dataset.cases[1].name])
    assert set(some.patients) == {samples.patients[len(planes) // 3]}


def test_classes_that_no_image_shows_are_left_out_and_numbers_follow(tmp_path: Path) -> None:
    for kind, number in [("malignant", 1), ("malignant", 2), ("normal", 1)]:
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), 9, np.uint8)).save(folder / f"{kind} ({number}).png")
        if kind != "normal":
            Image.fromarray(np.eye(20, 24) > 0).save(folder / f"{kind} ({number})_mask.png")
    samples = DatasetPixels(find_dataset(tmp_path))
    assert samples.classes == ("malignant",)
    by_name = dict(zip(samples.names, map(samples.label_map, range(3)), strict=True))
    np.testing.assert_array_equal(by_name["malignant (1)"], np.eye(20, 24))
    # Without a mask: nothing to mark in an image that shows nothing, a fault in another.
    assert not by_name["normal (1)"].any()
    (tmp_path / "malignant" / "malignant (2)_mask.png").unlink()
    samples = DatasetPixels(find_dataset(tmp_path))
    with pytest.raises(ReadError, match=r"malignant \(2\) has no mask"):
        samples.label_map(list(samples.names).index("malignant (2)"))


def test_label_maps_are_resized_by_the_nearest_pixel_and_read_again_where_memory_ends() -> None:
    draw = np.random.default_rng(0)
    maps = [draw.integers(0, 3, shape).astype(np.uint8) for shape in ((32, 32), (50, 21), (16, 64))]
    samples = ArrayPixels([np.zeros(m.shape) for m in maps], maps, ["a", "b"])
    stores = [LabelStore(samples, 32, limit) for limit in (0, 1100, 1 << 20)]
    batches = [store.batch([0, 1, 2]) for store in stores]
    assert torch.equal(batches[0], batches[1])
    assert torch.equal(batches[0], batches[2])
    assert len({store.checksum for store in stores}) == 1
    for resized, original in zip(batches[0].numpy(), maps, strict=True):
        rows, columns = (
            np.floor((np.arange(32) + 0.5) * length / 32).astype(int) for length in original.shape
        )
        np.testing.assert_array_equal(resized, original[np.ix_(rows, columns)])
    assert stores[0].presence.tolist() == [[1, 1]] * 3


@given(st.integers(0, 2**31), st.floats(0, 180), st.floats(0, 0.3), st.floats(0, 0.5))
@settings(max_examples=25, deadline=None)
def test_the_label_map_moves_as_the_image_does(
    seed: int, rotation: float, shift: float, scaling: float
) -> None:
    draw = np.random.default_rng(seed)
    labels = ndimage.gaussian_filter(draw.normal(size=(2, 48, 40)), (0, 4, 4)) > 0.02
    params = TrainingParams(
        flip_horizontal=0.5,
        flip_vertical=0.5,
        rotation=rotation,
        translation=shift,
        scaling=scaling,
        brightness=0,
        contrast=0,
        gamma=0,
        noise=0,
        blur=0,
    )
    pictures = torch.from_numpy(labels).float()[:, None]
    chances = [torch.Generator().manual_seed(seed) for _ in range(2)]
    images, moved = augment_together(pictures, torch.from_numpy(labels).byte(), params, chances[0])
    assert torch.equal(images, augment(pictures, params, chances[1]))
    for image, label in zip(images[:, 0].numpy() > 0.5, moved.numpy() > 0, strict=True):
        # Interpolated and nearest values may differ at the border of a region, nowhere else.
        border = ndimage.binary_dilation(label, iterations=2) & ~ndimage.binary_erosion(
            label, iterations=2, border_value=1
        )
        assert (image == label)[~border].all()


def test_intensities_change_without_the_labels() -> None:
    params = TrainingParams(flip_horizontal=1, rotation=0, translation=0, scaling=0, noise=0.1, gamma=0.5)
    labels = torch.arange(12).reshape(1, 3, 4).byte()
    images, moved = augment_together(torch.full((1, 1, 3, 4), 0.5), labels, params, torch.Generator())
    assert torch.equal(moved, labels.flip(2))
    assert not torch.equal(images, torch.full((1, 1, 3, 4), 0.5))


def test_real_ultrasound(shared_data: Path) -> None:
    dataset = find_dataset(shared_data / "busi").prepared(
        Preparation(include=("benign", "normal"), classes=("benign",))
    )
    benign = [case.name for case in dataset.cases if case.label == "benign"][:7]
    normal = [case.name for case in dataset.cases if case.label == "normal"][:3]
    samples = DatasetPixels(dataset, cases=[*benign, *normal])
    assert len(samples) == 10
    for k, name in enumerate(samples.names):
        masks = sorted((shared_data / "busi" / name.split()[0]).glob(f"{name}_mask*.png"))
        values = np.any([np.asarray(Image.open(mask).convert("L")) > 0 for mask in masks], axis=0)
        np.testing.assert_array_equal(samples.label_map(k) > 0, values)
    params = FsssParams(weights="none", input_size=64, epochs=1, threads=1)
    report = train_fsss(samples, params, device="cpu").report
    assert report["history"][0]["training"]["loss"] < 3
    assert (
        report["data"]["training"]["by_class"]["benign"] + report["data"]["validation"]["by_class"]["benign"]
        == 7
    )
