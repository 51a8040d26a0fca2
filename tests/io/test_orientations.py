"""Load, save and reload on the source grid, for every orientation, against nibabel and SimpleITK."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels

import napari_refit as refit
from napari_refit._reader import get_reader, layer_of
from napari_refit._writer import source_grid, write_labels
from napari_refit.io.display import display_order, napari_geometry, to_true_world

GEOMETRY = (
    "sform_code",
    "qform_code",
    "srow_x",
    "srow_y",
    "srow_z",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "pixdim",
    "xyzt_units",
)


def numbered(shape, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def labels_for(shape):
    return (numbered(shape, np.int64) * 7 % 5).astype(np.uint8)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (3, 4, 5, 2)], ids=["2-D", "3-D", "4-D"])
def test_nifti_comes_back_on_its_grid(nifti, affine, shape, tmp_path):
    path = nifti(numbered(shape), affine, sform=2, qform=1)
    volume = refit.load(path)
    source = nibabel.load(path)
    np.testing.assert_array_equal(volume.data, np.asanyarray(source.dataobj))
    assert volume.dtype == np.int16
    assert volume.axes == ("x", "y", "z", "t")[: len(shape)]
    np.testing.assert_array_equal(volume.affine, source.affine)
    np.testing.assert_allclose(volume.spacing, (0.7, 1.3, 3.1)[: len(shape)], rtol=1e-6)

    labels = labels_for(volume.spatial_shape)
    refit.save(tmp_path / "refined.nii.gz", labels, like=volume)
    saved = nibabel.load(tmp_path / "refined.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(saved.dataobj), labels)
    assert saved.get_data_dtype() == np.uint8
    for key in GEOMETRY:
        np.testing.assert_array_equal(saved.header[key], source.header[key], err_msg=key)
    again = refit.load(tmp_path / "refined.nii.gz")
    np.testing.assert_array_equal(again.data, labels)
    np.testing.assert_array_equal(again.affine, volume.affine)


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_itk_formats_come_back_on_their_grid(affine, extension, tmp_path):
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    array = numbered((3, 4, 5))
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    path = tmp_path / f"scan{extension}"
    SimpleITK.WriteImage(image, str(path))

    volume = refit.load(path)
    assert volume.axes == ("x", "y", "z")
    np.testing.assert_array_equal(volume.data, array)
    for index in [(0, 0, 0), (2, 1, 4)]:
        point = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], point, atol=1e-9)

    refit.save(tmp_path / f"refined{extension}", labels_for((3, 4, 5)), like=path)
    before, after = (
        SimpleITK.ReadImage(str(tmp_path / f"{name}{extension}")) for name in ("scan", "refined")
    )
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(after).T, labels_for((3, 4, 5)))
    for what in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(after, what)(), getattr(before, what)(), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_other_formats_keep_the_position(nifti, affine, extension, tmp_path):
    volume = refit.load(nifti(numbered((3, 4, 5)), affine))
    refit.save(tmp_path / f"a{extension}", labels_for((3, 4, 5)), like=volume)
    there = refit.load(tmp_path / f"a{extension}")
    np.testing.assert_allclose(there.affine, volume.affine, atol=1e-5)
    np.testing.assert_array_equal(there.data, labels_for((3, 4, 5)))
    refit.save(tmp_path / "b.nii.gz", there.data, like=there)
    back = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-5)
    np.testing.assert_allclose(back.get_qform(), volume.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asanyarray(back.dataobj), labels_for((3, 4, 5)))


def is_straight(affine):
    return np.count_nonzero(affine[:3, :3]) == 3


def moved(matrix, point):
    return (matrix @ [*point, 1])[:-1]


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 2)], ids=["3-D", "4-D"])
def test_napari_shows_voxels_where_nibabel_puts_them(nifti, affine, shape):
    path = nifti(numbered(shape), affine)
    ((data, keywords, kind),) = get_reader(str(path))(str(path))
    assert kind == "image"
    layer = Image(data, **keywords)
    source = nibabel.load(path)
    order = keywords["metadata"]["refit"]["permutation"]
    back = to_true_world(keywords["metadata"]["refit"], layer.ndim)
    centre = np.array([(shape[i] - 1) / 2 for i in order])
    expected = (source.affine @ [1, 1.5, 2, 1])[:3][::-1]
    np.testing.assert_allclose(layer.data_to_world(centre)[-3:], expected, atol=1e-4)
    for index in [(0,) * len(shape), tuple(length - 1 for length in shape), (2, 1, 3, 1)[: len(shape)]]:
        shown = tuple(index[i] for i in order)
        assert layer.data[shown] == np.asanyarray(source.dataobj)[index]
        expected = (source.affine @ [*index[:3], 1])[:3][::-1]
        np.testing.assert_allclose(moved(back, layer.data_to_world(shown))[-3:], expected, atol=1e-4)
        if is_straight(affine):
            np.testing.assert_allclose(layer.data_to_world(shown)[-3:], expected, atol=1e-4)


def test_each_axis_is_shown_along_the_world_axis_nearest_to_it(nifti, affine):
    volume = refit.load(nifti(numbered((3, 4, 5)), affine))
    columns = affine[:3, :3][::-1][:, list(display_order(volume))]
    matrix = np.abs(columns)
    assert (matrix / matrix.sum(axis=0)).argmax(axis=0).tolist() == [0, 1, 2]
    shown = napari_geometry(volume)["affine"][:3, :3]
    # Straightened or not: the same way along each axis, as far from voxel to voxel.
    np.testing.assert_array_equal(np.sign(np.diag(shown)), np.sign(np.diag(columns)))
    np.testing.assert_allclose(shown, np.diag(np.diag(shown)), atol=1e-6)
    np.testing.assert_allclose(np.abs(np.diag(shown)), np.linalg.norm(columns, axis=0), rtol=1e-6)


def test_a_turn_as_small_as_rounding_changes_nothing():
    matrix = np.diag([1.0, 2.0, 3.0, 1.0])
    matrix[0, 1] = matrix[2, 0] = 1e-6
    volume = refit.Volume.from_array(numbered((3, 4, 5)), ("x", "y", "z"), matrix)
    shown = napari_geometry(volume)["affine"]
    np.testing.assert_array_equal(shown[:3, :3], matrix[:3, :3][::-1, ::-1])


def test_new_labels_of_tilts_that_cannot_be_told_apart_are_warned_of():
    volumes = []
    for angle in (0.1, 0.2):
        turned = np.eye(4)
        turned[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turned[:3, 3] = -turned[:3, :3] @ [6.5, 6.5, 6.5] + [0.125, 0.25, 0.5]
        volumes.append(refit.Volume.from_array(numbered((14, 14, 14)), ("x", "y", "z"), turned))
    shown = [napari_geometry(volume)["affine"] for volume in volumes]
    np.testing.assert_allclose(*shown, atol=1e-12)
    with pytest.warns(UserWarning, match="different tilt"):
        assert to_true_world(None, 3, shown[0]) is None
    for volume, place in zip(volumes, shown, strict=True):
        known = {"volume": volume, "permutation": (2, 1, 0)}
        true = moved(to_true_world(known, 3, place) @ place, (3, 2, 1))
        np.testing.assert_allclose(true[::-1], moved(volume.affine, (1, 2, 3)), atol=1e-9)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (3, 4, 5, 2)], ids=["2-D", "3-D", "4-D"])
def test_labels_painted_in_napari_are_saved_in_file_order(nifti, affine, shape, tmp_path):
    path = nifti(numbered(shape), affine, qform=0)
    data, keywords, _ = layer_of(refit.load(path))
    image = Image(data, **keywords)
    labels = Labels(
        np.zeros(image.data.shape[-min(3, len(shape)) :], np.uint8), metadata=image.metadata, name="refined"
    )
    marked = tuple(length - 1 for length in shape[:3])
    order = [i for i in keywords["metadata"]["refit"]["permutation"] if i < 3]
    labels.data_setitem(tuple(np.array([marked[i]]) for i in order), 3)
    written = write_labels(str(tmp_path / "refined.nii.gz"), *labels.as_layer_data_tuple()[:2])
    assert written == [str(tmp_path / "refined.nii.gz")]
    saved, source = nibabel.load(written[0]), nibabel.load(path)
    expected = np.zeros(shape[:3], np.uint8)
    expected[marked] = 3
    np.testing.assert_array_equal(np.asanyarray(saved.dataobj), expected)
    for key in GEOMETRY:
        np.testing.assert_array_equal(saved.header[key], source.header[key], err_msg=key)


def test_layers_that_take_a_place_over_are_saved_where_its_file_lies(nifti, affine, tmp_path):
    path = nifti(labels_for((3, 4, 5)), affine, name="truth.nii.gz")
    data, keywords, kind = layer_of(refit.load(path))
    assert kind == "labels"
    layer = Labels(data, affine=keywords["affine"], scale=(2, 1, 1), translate=(0, 3, 0), units="mm")
    write_labels(str(tmp_path / "saved.nii.gz"), *layer.as_layer_data_tuple()[:2])
    saved = nibabel.load(tmp_path / "saved.nii.gz")
    for index in [(0, 0, 0), (1, 2, 1)]:
        assert np.asanyarray(saved.dataobj)[index[::-1]] == layer.data[index]
        inner = np.array(index) * (2, 1, 1) + (0, 3, 0)
        order = keywords["metadata"]["refit"]["permutation"]
        expected = moved(nibabel.load(path).affine, [inner[order.index(i)] for i in range(3)])
        np.testing.assert_allclose(moved(saved.affine, index[::-1]), expected, atol=1e-4)
        if is_straight(affine):
            np.testing.assert_allclose(expected[::-1], layer.data_to_world(index), atol=1e-4)


def test_a_cropped_layer_of_a_volume_is_saved_where_its_file_lies(nifti, affine, tmp_path):
    path = nifti(labels_for((3, 4, 5)), affine, name="truth.nii.gz")
    data, keywords, _ = layer_of(refit.load(path))
    cropped = Labels(data[1:, 1:], **keywords, translate=(1, 1, 0))
    write_labels(str(tmp_path / "saved.nii.gz"), *cropped.as_layer_data_tuple()[:2])
    saved, source = nibabel.load(tmp_path / "saved.nii.gz"), nibabel.load(path)
    order = keywords["metadata"]["refit"]["permutation"]
    for index in [(0, 0, 0), (1, 1, 2)]:
        there = (index[0] + 1, index[1] + 1, index[2])
        file_index = tuple(there[order.index(i)] for i in range(3))
        assert np.asanyarray(saved.dataobj)[index[::-1]] == np.asanyarray(source.dataobj)[file_index]
        expected = moved(source.affine, file_index)
        np.testing.assert_allclose(moved(saved.affine, index[::-1]), expected, atol=1e-4)


matrices = st.lists(st.floats(-1, 1), min_size=9, max_size=9).map(lambda v: np.array(v).reshape(3, 3))


@settings(max_examples=60, deadline=None)
@given(matrix=matrices, shape=st.tuples(*[st.integers(1, 4)] * 3), extra=st.integers(0, 3))
def test_display_order_and_back_is_the_identity(matrix, shape, extra):
    affine = np.eye(4)
    affine[:3, :3] = matrix + 2 * np.eye(3)
    shape = (*shape, extra) if extra else shape
    axes = ("x", "y", "z", "t")[: len(shape)]
    volume = refit.Volume.from_array(numbered(shape, np.int32), axes, affine)
    data, keywords, _ = layer_of(volume)
    assert sorted(display_order(volume)) == list(range(len(shape)))
    array, like = source_grid(data, keywords)
    np.testing.assert_array_equal(array, volume.data)
    assert like is volume
    index = np.array([length - 1 for length in data.shape] + [1])
    back = to_true_world(keywords["metadata"]["refit"], len(shape))
    world = back @ keywords["affine"] @ index
    file_index = [shape[i] - 1 for i in range(3)]
    np.testing.assert_allclose(world[-4:-1], (affine @ [*file_index, 1])[:3][::-1], atol=1e-9)
