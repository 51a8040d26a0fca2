"""The reader and the writer that napari calls."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK
from napari.components import ViewerModel
from napari.layers import Image, Labels

import napari_refit as refit
from napari_refit._reader import get_reader, layer_of, layers_of
from napari_refit._writer import source_grid, write_image, write_labels
from napari_refit.io.display import display_order, is_rgb, napari_geometry, to_file_order
from napari_refit.io.volume import Volume

BLOCK = np.arange(60).reshape(3, 4, 5).astype(np.int16)
LABELS = (BLOCK % 3).astype(np.uint8)


def test_reader_takes_medical_files_only(tmp_path, nifti):
    assert get_reader("a.nii.gz")
    assert get_reader(["a.NRRD"])
    assert get_reader("a.png") is None
    assert get_reader(["a.nii", "b.nii"]) is None
    assert get_reader(str(tmp_path)) is None
    (tmp_path / "slice").write_bytes(bytes(128) + b"DICM")
    assert get_reader(str(tmp_path))
    with pytest.raises(refit.ReadError, match="no such file"):
        get_reader("a.nii")("a.nii")


@pytest.mark.parametrize(
    ("name", "array", "kind"),
    [
        ("scan.nii.gz", LABELS, "image"),
        ("case_seg.nii.gz", LABELS, "labels"),
        ("Truth.nii.gz", LABELS, "labels"),
        ("refined_1.nii.gz", LABELS.astype(np.int16), "labels"),
        ("mask.nii.gz", LABELS.astype(np.float32), "labels"),
        ("mask.nii.gz", LABELS + np.float32(0.5), "image"),
        ("mask.nii.gz", LABELS - np.float32(1), "image"),
        ("segment.nii.gz", np.arange(343, dtype=np.int16).reshape(7, 7, 7), "image"),
    ],
)
def test_what_looks_like_labels_becomes_labels(nifti, name, array, kind):
    path = nifti(array, name=name)
    ((data, keywords, found),) = get_reader(str(path))(str(path))
    assert found == kind
    assert keywords["name"] == name.removesuffix(".nii.gz")
    layer = (Labels if kind == "labels" else Image)(data, **keywords)
    np.testing.assert_array_equal(layer.data, array.T)
    if kind == "labels":
        layer.fill((0, 0, 0), 2)
        assert layer.data[0, 0, 0] == 2
        assert refit.load(path).data[0, 0, 0] == array[0, 0, 0]


def test_the_folder_may_say_labels(nifti):
    path = nifti(LABELS)
    folder = path.parent / "labelsTr"
    folder.mkdir()
    path = path.rename(folder / "hippocampus_001.nii.gz")
    assert get_reader(str(path))(str(path))[0][2] == "labels"


def test_the_header_may_say_labels(nifti):
    def edit(header):
        header["intent_code"] = 1002

    path = nifti(BLOCK, edit=edit)
    assert get_reader(str(path))(str(path))[0][2] == "labels"


def test_labels_can_be_demanded_of_any_format(nifti, tmp_path):
    path = nifti(LABELS, name="plain.nii.gz")
    ((data, keywords, kind),) = layers_of(path, labels=True)
    assert kind == "labels"
    np.testing.assert_array_equal(Labels(data, **keywords).data, LABELS.T)
    assert layers_of(nifti(LABELS, name="mask.nii.gz"), labels=False)[0][2] == "image"
    colour = np.zeros((6, 7, 4), np.uint8)
    colour[2, 3] = 255, 0, 0, 255
    refit.save(tmp_path / "mask.png", colour)
    ((data, keywords, _),) = layers_of(tmp_path / "mask.png", labels=True)
    np.testing.assert_array_equal(Labels(data, **keywords).data, colour[..., 0])
    with pytest.raises(refit.ReadError, match="whole numbers"):
        layers_of(nifti(LABELS + np.float32(0.5), name="plain.nii.gz"), labels=True)


def test_colour_and_channels(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (5, 4, 3, 3)).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colour, isVector=True), str(tmp_path / "a.mha"))
    data, keywords, _ = layer_of(refit.load(tmp_path / "a.mha"))
    layer = Image(data, **keywords)
    assert (layer.rgb, layer.ndim, layer.data.shape) == (True, 3, (5, 4, 3, 3))
    refined = Labels(colour[..., 0], metadata=layer.metadata)
    write_labels(str(tmp_path / "b.mha"), *refined.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(refit.load(tmp_path / "b.mha").data, colour[..., 0].T)
    write_image(str(tmp_path / "c.mha"), *layer.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(refit.load(tmp_path / "c.mha").data, colour.transpose(2, 1, 0, 3))

    vectors = colour.astype(np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(vectors, isVector=True), str(tmp_path / "a.mha"))
    data, keywords, _ = layer_of(refit.load(tmp_path / "a.mha"))
    layer = Image(data, **keywords)
    assert (layer.rgb, layer.data.shape) == (False, (3, 5, 4, 3))
    write_image(str(tmp_path / "d.mha"), *layer.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(refit.load(tmp_path / "d.mha").data, vectors.transpose(2, 1, 0, 3))


@pytest.mark.parametrize("fill", [np.nan, 3.0])
def test_nan_only_and_constant_volumes_open(nifti, fill):
    array = np.full((3, 4, 5), fill, np.float32)
    array[0, 0, 0] = np.nan
    data, keywords, _ = layer_of(refit.load(nifti(array)))
    assert np.isfinite(Image(data, **keywords).contrast_limits).all()


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_writers_keep_the_grid_when_the_source_is_gone(nifti, tilted, tmp_path, extension):
    path = nifti(BLOCK, tilted)
    data, keywords, _ = layer_of(refit.load(path))
    labels = Labels(data % 3, metadata=keywords["metadata"])
    path.unlink()
    write_labels(str(tmp_path / f"out{extension}"), *labels.as_layer_data_tuple()[:2])
    volume = refit.load(tmp_path / f"out{extension}")
    np.testing.assert_array_equal(volume.data, LABELS)
    np.testing.assert_allclose(volume.affine, tilted, atol=1e-5)


def test_a_cropped_layer_falls_back_to_its_own_affine(nifti, tmp_path):
    data, keywords, _ = layer_of(refit.load(nifti(BLOCK, np.diag([1, 2, 3, 1]))))
    place = {key: value for key, value in keywords.items() if key not in ("rgb", "contrast_limits")}
    cropped = Labels((data % 3)[1:], **place, translate=(1, 0, 0))
    assert source_grid(cropped.data, keywords) is None
    write_labels(str(tmp_path / "a.nii"), *cropped.as_layer_data_tuple()[:2])
    saved = nibabel.load(tmp_path / "a.nii")
    assert saved.shape == (3, 4, 4)
    np.testing.assert_allclose(saved.affine @ [0, 0, 0, 1], [0, 0, 3, 1])


def test_layers_that_came_from_elsewhere(tmp_path):
    write_labels(str(tmp_path / "a.nii.gz"), LABELS, {})
    saved = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(saved.dataobj), LABELS.T)
    np.testing.assert_array_equal(saved.affine, np.eye(4))
    assert saved.header.get_intent()[0] == "label"
    for shape in [(4, 5), (2, 3, 4, 5)]:
        layer = Image(np.arange(np.prod(shape)).reshape(shape).astype(np.float32), scale=[2] * len(shape))
        write_image(str(tmp_path / "b.nrrd"), *layer.as_layer_data_tuple()[:2])
        volume = refit.load(tmp_path / "b.nrrd")
        np.testing.assert_array_equal(volume.data, layer.data.T)
        assert volume.spacing == (2.0,) * min(3, len(shape))
    layer = Labels(LABELS, units="um")
    write_labels(str(tmp_path / "c.mha"), *layer.as_layer_data_tuple()[:2])
    np.testing.assert_allclose(refit.load(tmp_path / "c.mha").spacing, [0.001] * 3)
    with pytest.raises(ValueError, match="6 axes"):
        write_labels(str(tmp_path / "d.nii"), np.zeros((1,) * 6, np.uint8), {})
    for extension in (".npy", ".tif"):
        write_labels(str(tmp_path / f"f{extension}"), LABELS, {})
        np.testing.assert_array_equal(refit.load(tmp_path / f"f{extension}").data, LABELS)
    pyramid = [BLOCK, BLOCK[::2, ::2, ::2]]
    write_image(str(tmp_path / "e.nii"), pyramid, {"multiscale": True})
    np.testing.assert_array_equal(refit.load(tmp_path / "e.nii").data, BLOCK.T)


def test_planes_lie_in_the_world_axes_that_they_span():
    sagittal = np.eye(4)[:, [1, 2, 0, 3]] * [2, 3, 1, 1]
    volume = Volume.from_array(BLOCK[0], ("x", "y"), sagittal)
    assert display_order(volume) == (1, 0)
    geometry = napari_geometry(volume)
    assert geometry["axis_labels"] == ("z", "y")
    np.testing.assert_array_equal(geometry["affine"], np.diag([3, 2, 1]))
    tilted = np.eye(4)
    tilted[2, 0] = 1
    geometry = napari_geometry(Volume.from_array(BLOCK[0], ("x", "y"), tilted))
    np.testing.assert_allclose(geometry["affine"], np.diag([1, np.sqrt(2), 1]))


def test_geometry_without_an_affine():
    volume = Volume.from_array(np.zeros((2, 5, 6, 3), np.uint8), "zyxc", spacing=(3, 2, 1))
    assert is_rgb(volume)
    assert display_order(volume) == (0, 1, 2, 3)
    geometry = napari_geometry(volume)
    np.testing.assert_array_equal(geometry["affine"], np.diag([3, 2, 1, 1]))
    assert geometry["units"] == ("mm", "mm", "mm")
    geometry = napari_geometry(Volume.from_array(BLOCK, "zyx"))
    assert geometry["units"] == ("pixel",) * 3
    assert display_order(Volume.from_array(np.zeros((2, 3, 4, 5)), "zcyx")) == (0, 2, 3, 1)
    with pytest.raises(ValueError, match="does not have the axes"):
        to_file_order(np.zeros((2, 2)), ("x", "y", "z"), (2, 1, 0))


@pytest.mark.filterwarnings("error:Non-orthogonal slicing")
def test_layers_in_one_viewer_lie_on_each_other(nifti, tilted, tmp_path):
    viewer = ViewerModel()
    image = nifti(np.stack([BLOCK, BLOCK], -1), tilted, name="scan.nii.gz")
    truth = nifti(LABELS, tilted, name="truth.nii.gz")
    for path in (image, truth):
        data, keywords, kind = get_reader(str(path))(str(path))[0]
        viewer.add_layer((Labels if kind == "labels" else Image)(data, **keywords))
    viewer.add_image(np.zeros((5, 5)), name="plain")
    scan, labels = viewer.layers["scan"], viewer.layers["truth"]
    np.testing.assert_allclose(scan.data_to_world((1, 2, 1, 1))[1:], labels.data_to_world((2, 1, 1)))
