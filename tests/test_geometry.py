"""Load -> refine -> save -> reload, voxel for voxel, for every storage order, dimension and file type."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from napari_refit import Refit, RefitParams, load, save
from napari_refit.registry import SEGMENTERS, register_segmenter

ORIENTATIONS = [(order, flips) for order in permutations(range(3)) for flips in product((1, -1), repeat=3)]
OBLIQUE = np.array([[0.96, -0.2, 0.19], [0.22, 0.97, -0.1], [-0.16, 0.14, 0.97]])
SPACING = (0.7, 1.1, 3.2)


@pytest.fixture(autouse=True)
def voxels():
    """A segmenter that makes every voxel a cluster, so that the mask is known exactly."""
    register_segmenter(
        "voxels",
        lambda image, params: np.arange(image[..., :1].size if image.ndim == 3 else image.size).reshape(
            image.shape[:2]
        ),
    )
    yield
    SEGMENTERS.unregister("voxels")


def affine_of(order, flips):
    affine = np.eye(4)
    for axis in range(3):
        affine[:3, axis] = OBLIQUE[:, order[axis]] * flips[axis] * SPACING[axis]
    affine[:3, 3] = (11.5, -30.25, 4.75)
    return affine


def refined(path, response):
    refit = Refit(
        load(path),
        response=response,
        params=RefitParams(segmenter="voxels", threshold=0.5, coverage=1.0, spread=0.0, tolerance=0.0),
    )
    return refit.volume().mask


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
@pytest.mark.parametrize("extra", [(), (2,)], ids=["3-D", "4-D"])
def test_nifti_keeps_every_voxel_in_its_place(tmp_path, order, flips, extra):
    rng = np.random.default_rng(ORIENTATIONS.index((order, flips)))
    truth = (rng.random((5, 6, 4, *extra)) > 0.6).astype(np.uint8)
    image = nibabel.Nifti1Image(rng.integers(0, 900, truth.shape).astype(np.int16), affine_of(order, flips))
    source = tmp_path / "scan.nii.gz"
    nibabel.save(image, source)
    mask = refined(source, truth.astype(np.float32))
    assert np.array_equal(mask, truth)
    save(tmp_path / "refined.nii.gz", mask, like=source)
    again = nibabel.load(tmp_path / "refined.nii.gz")
    assert np.array_equal(np.asarray(again.dataobj), truth)
    assert again.get_data_dtype() == np.uint8
    written = nibabel.load(source)
    assert np.array_equal(again.affine, written.affine)
    assert again.header.get_zooms()[:3] == written.header.get_zooms()[:3]
    reloaded = load(tmp_path / "refined.nii.gz")
    assert np.array_equal(reloaded.data, truth)
    assert np.array_equal(reloaded.affine, load(source).affine)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[::7])
def test_other_volumes_keep_every_voxel_in_its_place(tmp_path, suffix, order, flips):
    rng = np.random.default_rng(7)
    truth = (rng.random((5, 6, 4)) > 0.6).astype(np.uint8)
    # ITK stores rotations only.
    rotation, _ = np.linalg.qr(affine_of(order, flips)[:3, :3])
    affine = np.eye(4)
    affine[:3, :3] = rotation * SPACING
    nibabel.save(nibabel.Nifti1Image(truth.astype(np.int16) * 100, affine), tmp_path / "scan.nii")
    save(tmp_path / f"scan{suffix}", np.asarray(load(tmp_path / "scan.nii").data), like=tmp_path / "scan.nii")
    source = load(tmp_path / f"scan{suffix}")
    np.testing.assert_allclose(source.affine, affine, atol=1e-6)
    mask = refined(tmp_path / f"scan{suffix}", truth.astype(np.float32))
    save(tmp_path / f"refined{suffix}", mask, like=source)
    again = load(tmp_path / f"refined{suffix}")
    assert np.array_equal(again.data, truth)
    # NRRD stores direction times spacing: the last bit may differ.
    np.testing.assert_allclose(again.affine, source.affine, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_a_picture_keeps_every_pixel_in_its_place(tmp_path, suffix):
    rng = np.random.default_rng(7)
    truth = (rng.random((20, 26)) > 0.6).astype(np.uint8)
    save(tmp_path / f"image{suffix}", rng.integers(0, 255, (20, 26)).astype(np.uint8))
    mask = refined(tmp_path / f"image{suffix}", truth.astype(np.float32))
    save(tmp_path / f"refined{suffix}", mask, like=tmp_path / f"image{suffix}")
    assert np.array_equal(load(tmp_path / f"refined{suffix}").data, truth)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[::5])
def test_the_stages_see_what_napari_shows(tmp_path, order, flips):
    """The planes that a file's slices become are the planes of the layer that our reader makes of it."""
    from napari_refit._reader import read_layers

    rng = np.random.default_rng(3)
    nibabel.save(
        nibabel.Nifti1Image(rng.integers(0, 900, (7, 6, 4)).astype(np.int16), affine_of(order, flips)),
        tmp_path / "scan.nii.gz",
    )
    ((data, _, _),) = read_layers(str(tmp_path / "scan.nii.gz"))
    from_file = Refit(load(tmp_path / "scan.nii.gz"))
    from_layer = Refit(np.asarray(data))
    for shown in range(3):
        axis = from_file.grid.order[shown]
        one = from_file.displayed_plane({axis: 2})
        assert np.array_equal(one.image, from_layer.slice(2, axis=shown).image)
        assert np.array_equal(one.clusters, from_layer.slice(2, axis=shown).clusters)
