"""Made datasets in public layouts: bright blobs on noise, in pictures and in volumes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE = 64
QUICK = {
    "architecture": "phantom-cnn",
    "weights": "none",
    "input_size": "64",
    "epochs": "3",
    "batch_size": "8",
}


def blob(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """An ellipse somewhere."""
    rows, columns = np.indices(shape)
    centre = draw.uniform(0.3, 0.7, 2) * shape
    radii = draw.uniform(0.12, 0.22, 2) * shape
    return ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 <= 1


def picture(draw: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Grey values with texture, brighter where the mask is."""
    texture = gaussian_filter(draw.normal(0, 1, mask.shape), 2) * 60
    return (70 + texture + 110 * gaussian_filter(mask.astype(float), 1)).clip(0, 255).astype(np.uint8)


def make_busi(root: Path, benign: int = 14, normal: int = 10) -> Path:
    """A set in BUSI's layout; the pictures differ in size."""
    draw = np.random.default_rng(7)
    for folder, count in (("benign", benign), ("normal", normal)):
        (root / folder).mkdir(parents=True)
        for number in range(1, count + 1):
            shape = (SIDE, SIDE + 8 * (number % 3))
            mask = blob(draw, shape) if folder == "benign" else np.zeros(shape, bool)
            stem = root / folder / f"{folder} ({number})"
            Image.fromarray(picture(draw, mask)).convert("RGB").save(f"{stem}.png")
            Image.fromarray(mask).save(f"{stem}_mask.png")
    return root


def make_lgg(root: Path, patients: int = 6, depth: int = 8) -> Path:
    """A set in TCGA-LGG's layout as volumes of three channels; the middle slices show something."""
    root.mkdir(parents=True)
    affine = np.diag([-1.0, -1, 1, 1])
    for number in range(patients):
        draw = np.random.default_rng([3, number])
        mask = np.zeros((depth, SIDE, SIDE), bool)
        mask[3:6] = blob(draw, (SIDE, SIDE))
        image = np.stack([np.stack([picture(draw, plane) for plane in mask]) for _ in range(3)], axis=-1)
        name = f"TCGA_CS_{4900 + number}_19960909"
        nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0, 3), affine), root / f"{name}.nii.gz")
        truth = mask.transpose(2, 1, 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(truth, affine), root / f"{name}_seg.nii.gz")
    return root


@pytest.fixture(scope="session")
def busi_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_busi(tmp_path_factory.mktemp("made") / "Dataset_BUSI_with_GT")


@pytest.fixture(scope="session")
def lgg_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lgg(tmp_path_factory.mktemp("made") / "lgg")


@pytest.fixture(scope="session")
def quick() -> dict[str, str]:
    """Parameters of a training that takes a second."""
    return dict(QUICK)


@pytest.fixture(scope="session")
def busi_maker():
    return make_busi
