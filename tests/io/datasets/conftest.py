"""Small copies of the public layouts, written with other libraries than those that read them where there are any."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1.5, 0, 40], [0, 0, 2.0, -20], [0, 0, 0, 1]])


def save_nifti(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def save_picture(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path)
    return path


def noise(seed, shape, dtype=np.uint8):
    """Grey values that are unlike those of any other seed at every scale."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (4, 4))
    plane = np.kron(coarse, np.ones((shape[0] // 4, shape[1] // 4), int)) + rng.integers(0, 50, shape[:2])
    return (plane if len(shape) == 2 else np.repeat(plane[..., None], shape[2], axis=2)).astype(dtype)


@pytest.fixture
def busi(tmp_path):
    """Five pictures in three folders; benign (2) has two masks, one RGBA as in the published set."""
    root = tmp_path / "Dataset_BUSI_with_GT"
    for seed, (folder, number) in enumerate(
        [("benign", 1), ("benign", 2), ("benign", 10), ("malignant", 1), ("normal", 1)]
    ):
        stem = root / folder / f"{folder} ({number})"
        save_picture(stem.with_name(f"{stem.name}.png"), noise(seed, (40, 48, 3)))
        mask = np.zeros((40, 48), bool)
        if folder != "normal":
            mask[5:15, 10 + number : 30] = True
        save_picture(stem.with_name(f"{stem.name}_mask.png"), mask)
    second = np.zeros((40, 48, 4), np.uint8)
    second[..., 3] = 255
    second[30:35, 2:8, :3] = 255
    save_picture(root / "benign" / "benign (2)_mask_1.png", second)
    return root


BRATS_NAMES = {
    2020: ("BraTS20_Training_{:03}", "_", ("flair", "t1", "t1ce", "t2"), ".nii", 4),
    2021: ("BraTS2021_{:05}", "_", ("flair", "t1", "t1ce", "t2"), ".nii.gz", 4),
    2023: ("BraTS-GLI-{:05}-000", "-", ("t2f", "t1n", "t1c", "t2w"), ".nii.gz", 3),
}


@pytest.fixture
def make_brats(tmp_path):
    def make(year, numbers=(1, 2, 3), shape=(12, 10, 8)):
        pattern, joint, modalities, extension, enhancing = BRATS_NAMES[year]
        root = tmp_path / f"brats{year}"
        for number in numbers:
            name = pattern.format(number)
            rng = np.random.default_rng([year, number])
            for place, modality in enumerate(modalities):
                image = rng.integers(1, 900, shape).astype(np.int16) + 1000 * place
                save_nifti(root / name / f"{name}{joint}{modality}{extension}", image)
            truth = np.zeros(shape, np.uint8)
            truth[2:8, 2:8, 3:6] = 2
            truth[3:6, 3:6, 4] = 1
            truth[4, 4, 4] = enhancing
            save_nifti(root / name / f"{name}{joint}seg{extension}", truth)
        return root

    return make


@pytest.fixture
def make_decathlon(tmp_path):
    def make(task, modalities, labels, n_cases=8, shape=(10, 9, 5), n_test=1):
        root = tmp_path / task
        training = []
        for number in range(n_cases):
            name = f"{task.split('_')[1].lower()}_{number:02}.nii.gz"
            rng = np.random.default_rng(number)
            full = shape if len(modalities) == 1 else (*shape, len(modalities))
            save_nifti(root / "imagesTr" / name, rng.normal(100, 20, full).astype(np.float32))
            mask = np.zeros(shape, np.uint8)
            for value in range(1, len(labels)):
                mask[2:5, value : value + 2, 1:4] = value
            save_nifti(root / "labelsTr" / name, mask)
            training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
        index = {
            "name": task,
            "modality": {str(k): name for k, name in enumerate(modalities)},
            "labels": {str(k): name for k, name in enumerate(labels)},
            "training": training,
            "test": [f"./imagesTs/{k}.nii.gz" for k in range(n_test)],
        }
        (root / "dataset.json").write_text(json.dumps(index))
        return root

    return make


LGG_PATIENTS = ("TCGA_CS_4941_19960909", "TCGA_CS_4941_19970101", "TCGA_DU_5849_19950405")


@pytest.fixture
def lgg_volumes():
    """Grey values ``(slice, row, column, channel)`` and masks of three examinations of two patients."""
    volumes = {}
    for seed, name in enumerate(LGG_PATIENTS):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (11 + seed, 16, 14, 3)).astype(np.uint8)
        mask = np.zeros(image.shape[:3], np.uint8)
        mask[3:6, 4:9, 2:7] = 1
        volumes[name] = image, mask
    return volumes


@pytest.fixture
def lgg_slices(tmp_path, lgg_volumes):
    root = tmp_path / "kaggle_3m"
    for name, (image, mask) in lgg_volumes.items():
        (root / name).mkdir(parents=True)
        for number in range(len(image)):
            tifffile.imwrite(root / name / f"{name}_{number + 1}.tif", image[number])
            tifffile.imwrite(root / name / f"{name}_{number + 1}_mask.tif", mask[number] * np.uint8(255))
    (root / "data.csv").write_text("Patient,Cluster\n")
    return root


@pytest.fixture
def lgg_nifti(tmp_path, lgg_volumes):
    root = tmp_path / "lgg"
    for name, (image, mask) in lgg_volumes.items():
        affine = np.diag([-1.0, -1, 1, 1])
        save_nifti(root / f"{name}.nii.gz", image.transpose(2, 1, 0, 3), affine)
        save_nifti(root / f"{name}_seg.nii.gz", mask.transpose(2, 1, 0), affine)
    return root


@pytest.fixture
def prostate158(tmp_path):
    root = tmp_path / "prostate158"
    for number in ("020", "021"):
        folder = root / "train" / number
        save_nifti(
            folder / "t2.nii.gz",
            np.random.default_rng(int(number)).normal(9, 2, (9, 8, 4)).astype(np.float32),
        )
        anatomy = np.zeros((9, 8, 4), np.uint8)
        anatomy[2:5, 2:5, 1:3], anatomy[5:7, 2:5, 1:3] = 1, 2
        save_nifti(folder / "t2_anatomy_reader1.nii.gz", anatomy)
        save_nifti(folder / "t2_anatomy_reader2.nii.gz", anatomy * 0)
        tumour = np.zeros((9, 8, 4), np.float32)
        tumour[3:6, 3, 2] = 3
        save_nifti(folder / "t2_tumor_reader1.nii.gz", tumour)
    return root
