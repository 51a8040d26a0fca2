from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from napari_refit.errors import WriteError
from napari_refit.io.phantom import DEMO_SEED, FIELD_OF_VIEW, Phantom, phantom, phantom_file

SMALL = (64, 64, 32)


@pytest.fixture(scope="module")
def demo() -> Phantom:
    return phantom()


def test_the_sample_volume_has_the_promised_size(demo: Phantom) -> None:
    assert demo.image.shape == demo.truth.shape == (192, 192, 64)
    assert demo.image.dtype == np.int16
    assert demo.truth.dtype == np.uint8
    assert set(np.unique(demo.truth)) == {0, 1}
    assert demo.spacing == (1.0, 1.0, 2.5)
    assert demo.seed == DEMO_SEED


def test_affine_is_oblique_without_shear_and_keeps_the_spacing(demo: Phantom) -> None:
    columns = demo.affine[:3, :3]
    np.testing.assert_allclose(np.linalg.norm(columns, axis=0), demo.spacing)
    turn = columns / demo.spacing
    np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    assert np.sort(np.abs(turn), axis=0)[1].min() > 0.02
    assert tuple(nibabel.aff2axcodes(demo.affine)) == ("L", "P", "S")
    centre = demo.affine @ [*((np.array(demo.image.shape) - 1) / 2), 1]
    assert np.abs(centre[:3]).max() <= 10


def test_same_seed_same_volume_and_another_seed_another() -> None:
    first, again, other = phantom(5, SMALL), phantom(5, SMALL), phantom(6, SMALL)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.truth, again.truth)
    np.testing.assert_array_equal(first.affine, again.affine)
    assert (first.image != other.image).mean() > 0.5
    assert not np.array_equal(first.affine, other.affine)


@pytest.mark.parametrize("seed", [DEMO_SEED, *range(40, 48)])
def test_lesions_are_in_some_slices_only(seed: int) -> None:
    made = phantom(seed, (64, 64, 64))
    share = (made.truth.max(axis=(0, 1)) > 0).mean()
    assert 0.05 < share < 0.75
    assert 0.0003 < made.truth.mean() < 0.05


def test_one_to_three_lesions_are_drawn_and_any_number_can_be_asked_for() -> None:
    assert phantom(3, SMALL, lesions=0).truth.max() == 0
    volumes = [int(phantom(3, SMALL, lesions=count).truth.sum()) for count in (1, 2, 4)]
    assert volumes == sorted(set(volumes))
    blobs = [ndimage.label(phantom(seed, SMALL, lesions=1).truth, np.ones((3, 3, 3)))[0] for seed in range(6)]
    main_part = [np.bincount(blob.ravel())[1:].max() / (blob > 0).sum() for blob in blobs]
    assert np.median(main_part) > 0.9


def test_the_head_does_not_depend_on_its_lesions() -> None:
    healthy, ill = phantom(3, SMALL, lesions=0), phantom(3, SMALL, lesions=2)
    far = ndimage.binary_dilation(ill.truth, iterations=4) == 0
    np.testing.assert_array_equal(healthy.image[far], ill.image[far])
    inside = ill.truth == 1
    assert ill.image[inside].mean() > 1.2 * healthy.image[inside].mean()


def test_lesions_are_not_balls(demo: Phantom) -> None:
    blob, count = ndimage.label(demo.truth)
    sizes = np.bincount(blob.ravel())[1:]
    largest = blob == sizes.argmax() + 1
    assert count >= 1
    radius_of_ball = (3 * largest.sum() * np.prod(demo.spacing) / (4 * np.pi)) ** (1 / 3)
    positions = np.argwhere(largest) * demo.spacing
    spread = np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert spread > 1.02 * radius_of_ball * np.sqrt(3 / 5)


def test_tissues_and_noise_look_like_a_scan(demo: Phantom) -> None:
    corner = demo.image[:12, :12].astype(float)
    white = np.percentile(demo.image[:, :, 20:44], 50)
    assert corner.mean() > 0
    # Rician noise without signal is Rayleigh: mean / deviation = 1.91.
    assert corner.mean() / corner.std() == pytest.approx(1.91, abs=0.1)
    assert corner.mean() < 0.2 * white


def test_healthy_slices_hold_spots_as_bright_as_lesions() -> None:
    spotted = 0
    for seed in range(20, 26):
        made = phantom(seed, (96, 96, 32))
        level = np.percentile(made.image[made.truth == 1], 25)
        inner = made.image[30:66, 25:70, 8:26] > level
        healthy = made.truth[:, :, 8:26].max(axis=(0, 1)) == 0
        spotted += int((inner & healthy).sum() > 5)
    assert spotted >= 3


def test_a_coarser_shape_shows_the_same_head() -> None:
    fine, coarse = phantom(9, (64, 64, 48)), phantom(9, (32, 32, 24))
    binned = fine.image.reshape(32, 2, 32, 2, 24, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(binned.ravel(), coarse.image.ravel())[0, 1] > 0.95
    assert np.prod(coarse.image.shape) * np.prod(coarse.spacing) == pytest.approx(np.prod(FIELD_OF_VIEW))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "-1"),
        ({"shape": (4, 64, 64)}, "shape"),
        ({"shape": (64, 64)}, "shape"),
        ({"lesions": 9}, "9"),
        ({"lesions": -1}, "-1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        phantom(**arguments)


def test_files_hold_the_same_voxels_at_the_same_place(tmp_path: Path) -> None:
    image_path, truth_path = phantom_file(tmp_path / "new folder", seed=4, shape=(24, 20, 16))
    made = phantom(4, (24, 20, 16))
    for path, array in ((image_path, made.image), (truth_path, made.truth)):
        read = nibabel.load(path)
        np.testing.assert_array_equal(np.asanyarray(read.dataobj), array)
        assert read.get_data_dtype() == array.dtype
        np.testing.assert_allclose(read.affine, made.affine, atol=1e-5)
        assert read.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(read.header.get_zooms(), made.spacing, rtol=1e-6)
    assert [path.name for path in (image_path, truth_path)] == ["phantom-4.nii.gz", "phantom-4-truth.nii.gz"]
    assert len(list(image_path.parent.iterdir())) == 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file"):
        phantom_file(tmp_path / "file" / "below", shape=(16, 16, 16))


def test_sample_data_are_an_image_and_labels_in_display_order(demo: Phantom) -> None:
    from napari_refit._sample_data import phantom as sample

    (image, image_keywords, image_type), (labels, label_keywords, label_type) = sample()
    assert (image_type, label_type) == ("image", "labels")
    np.testing.assert_array_equal(image, demo.image.transpose(2, 1, 0))
    np.testing.assert_array_equal(labels, demo.truth.transpose(2, 1, 0))
    assert "phantom" in image_keywords["name"]
    assert "phantom" in label_keywords["name"]
    np.testing.assert_array_equal(image_keywords["affine"], label_keywords["affine"])
    # Shown straightened about its centre; what is saved of it lies where the scanner had it.
    middle = (np.array(image.shape) - 1) / 2
    world = image_keywords["affine"] @ [*middle, 1]
    np.testing.assert_allclose(world[:3][::-1], (demo.affine @ [*middle[::-1], 1])[:3])
    np.testing.assert_allclose(np.abs(np.diag(image_keywords["affine"])[:3])[::-1], demo.spacing)
    for keywords in (image_keywords, label_keywords):
        np.testing.assert_array_equal(keywords["metadata"]["refit"]["volume"].affine, demo.affine)


def test_making_a_phantom_loads_no_torch() -> None:
    code = (
        "import sys; from napari_refit.io.phantom import phantom; import napari_refit._sample_data;"
        "phantom(0, (16, 16, 16)); assert 'torch' not in sys.modules and 'napari' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
