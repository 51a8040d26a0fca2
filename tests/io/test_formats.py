"""What each format says of type, axes and position, against the library that wrote it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import imageio.v3 as iio
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import tifffile
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

import napari_refit as refit
from napari_refit.io.formats import split_name
from napari_refit.io.read import ReadWarning
from napari_refit.io.volume import Volume, grid_difference

COUNT = np.arange(60).reshape(3, 4, 5)


def test_reading_imports_no_library_before_use():
    code = (
        "import sys, napari_refit.io.read, napari_refit.io.write, napari_refit.io.display, napari_refit.io.sidecar;"
        "print([m for m in ('nibabel','SimpleITK','tifffile','imageio','torch','napari','qtpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_data_are_read_once_when_asked_for_and_frozen(nifti):
    path = nifti(COUNT.astype(np.int16))
    volume = refit.load(path)
    assert not volume.source.loaded
    assert (volume.shape, volume.dtype, volume.size, volume.ndim) == ((3, 4, 5), np.int16, 60, 3)
    assert volume.data is volume.data
    assert volume.source.loaded
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0] = 1
    with pytest.raises(AttributeError):
        volume.path = path
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0] = 1
    assert not volume.unloaded().source.loaded
    assert copy.deepcopy(volume) is volume
    travelled = pickle.loads(pickle.dumps(volume))
    assert not travelled.source.loaded
    np.testing.assert_array_equal(travelled.data, volume.data)


@pytest.mark.parametrize("stored", ["i2", ">i2", "u1", "i4", ">f4", "f8"])
@pytest.mark.parametrize("scaling", [None, (1, 0), (2.5, -7), (0, 3), (np.nan, 0)])
def test_nifti_scaling(nifti, stored, scaling):
    def edit(header):
        if scaling is not None:
            header["scl_slope"], header["scl_inter"] = scaling

    path = nifti(COUNT.astype(stored), edit=edit)
    volume = refit.load(path)
    expected = np.asanyarray(nibabel.load(path).dataobj)
    np.testing.assert_allclose(volume.data, expected, rtol=1e-7)
    scaled = scaling == (2.5, -7)
    kind = np.dtype(stored).newbyteorder("=")
    assert volume.dtype == volume.data.dtype == (np.float32 if scaled and kind.kind != "f" else kind)


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
def test_nifti_units_become_millimetres(nifti, tilted, code, factor):
    def edit(header):
        header["xyzt_units"] = code

    volume = refit.load(nifti(COUNT.astype(np.int16), tilted, edit=edit))
    np.testing.assert_allclose(volume.affine[:3], tilted[:3] * factor, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(volume.spacing, np.array([0.7, 1.3, 3.1]) * factor, rtol=1e-5)


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (2, 3), (0, 0)])
def test_nifti_chooses_its_affine_as_nibabel_does(nifti, tilted, sform, qform):
    path = nifti(COUNT.astype(np.int16), tilted, sform=sform, qform=qform)
    np.testing.assert_array_equal(refit.load(path).affine, nibabel.load(path).affine)


def test_nifti_2_and_more_axes(tmp_path):
    array = np.arange(120, dtype=np.int16).reshape(3, 4, 5, 1, 2)
    nibabel.save(nibabel.Nifti2Image(array, np.diag([2, 3, 4, 1])), tmp_path / "a.nii.gz")
    volume = refit.load(tmp_path / "a.nii.gz")
    assert volume.axes == ("x", "y", "z", "t", "c")
    assert volume.spatial_shape == (3, 4, 5)
    np.testing.assert_array_equal(volume.data, array)
    again = refit.load(refit.save(tmp_path / "b.nii", volume.data, like=volume))
    np.testing.assert_array_equal(again.data, array)
    assert again.axes == volume.axes


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_itk_time_series_channels_and_planes(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    array = np.arange(120, dtype=np.int16).reshape(2, 5, 4, 3)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=False), str(path))
    volume = refit.load(path)
    assert volume.axes == ("x", "y", "z", "t")
    np.testing.assert_array_equal(volume.data, array.T)
    labels = (array[0].T % 3).astype(np.uint8)
    again = refit.load(refit.save(tmp_path / f"b{extension}", labels, like=volume))
    np.testing.assert_array_equal(again.data, labels)
    np.testing.assert_allclose(again.affine, volume.affine)

    colour = np.arange(180, dtype=np.uint8).reshape(5, 4, 3, 3)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colour, isVector=True), str(path))
    volume = refit.load(path)
    assert (volume.axes, volume.shape) == (("x", "y", "z", "c"), (3, 4, 5, 3))
    np.testing.assert_array_equal(volume.data, colour.transpose(2, 1, 0, 3))
    again = refit.load(refit.save(tmp_path / f"c{extension}", volume.data, like=volume))
    np.testing.assert_array_equal(again.data, volume.data)

    plane = SimpleITK.GetImageFromArray(np.arange(20, dtype=np.uint8).reshape(4, 5))
    plane.SetSpacing((0.5, 2))
    plane.SetOrigin((7, 8))
    SimpleITK.WriteImage(plane, str(path))
    volume = refit.load(path)
    assert (volume.shape, volume.spacing, volume.axes) == ((5, 4), (0.5, 2.0), ("x", "y"))
    np.testing.assert_allclose(volume.affine @ [1, 1, 0, 1], [-7.5, -10, 0, 1])
    again = refit.load(refit.save(tmp_path / f"d{extension}", volume.data, like=volume))
    np.testing.assert_array_equal(again.affine, volume.affine)


def test_nrrd_without_a_place_in_space(tmp_path):
    text = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 3 4 5\nencoding: raw\n{}\n"
    (tmp_path / "a.nrrd").write_bytes(text.format("").encode() + bytes(range(60)))
    volume = refit.load(tmp_path / "a.nrrd")
    assert (volume.affine, volume.spacing) == (None, None)
    np.testing.assert_array_equal(volume.data, np.arange(60).reshape(5, 4, 3).T)
    (tmp_path / "b.nrrd").write_bytes(text.format("spacings: 2 3 4\n").encode() + bytes(60))
    volume = refit.load(tmp_path / "b.nrrd")
    assert (volume.affine, volume.spacing) == (None, (2, 3, 4))


def test_pictures(tmp_path):
    grey = (np.arange(35).reshape(5, 7) * 7).astype(np.uint8)
    for array in (grey, grey.astype(np.uint16) * 200, np.stack([grey] * 3, -1), np.stack([grey] * 4, -1)):
        iio.imwrite(tmp_path / "a.png", array)
        volume = refit.load(tmp_path / "a.png")
        assert (volume.shape, volume.dtype, volume.axes) == (
            array.shape,
            array.dtype,
            ("y", "x", "c")[: array.ndim],
        )
        assert (volume.affine, volume.spacing) == (None, None)
        np.testing.assert_array_equal(volume.data, array)
    iio.imwrite(tmp_path / "a.jpg", np.stack([grey] * 3, -1))
    assert refit.load(tmp_path / "a.jpg").data.shape == (5, 7, 3)


def test_one_bit_and_grey_alpha_pictures(tmp_path):
    from PIL import Image

    Image.fromarray(np.eye(6) > 0).save(tmp_path / "mask.png")
    volume = refit.load(tmp_path / "mask.png")
    assert volume.dtype == volume.data.dtype == np.uint8
    np.testing.assert_array_equal(volume.data, np.eye(6))
    grey = np.arange(36, dtype=np.uint8).reshape(6, 6)
    Image.fromarray(np.stack([grey, np.full_like(grey, 255)], -1), "LA").save(tmp_path / "la.png")
    volume = refit.load(tmp_path / "la.png")
    assert volume.shape == (6, 6)
    np.testing.assert_array_equal(volume.data, grey)


def test_tiff_axes_and_spacing(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COUNT.astype(np.uint16), photometric="minisblack")
    assert refit.load(path).axes == ("z", "y", "x")
    assert refit.load(path).spacing is None
    tifffile.imwrite(path, np.zeros((5, 7, 3), np.uint8), photometric="rgb")
    assert refit.load(path).axes == ("y", "x", "c")
    tifffile.imwrite(
        path,
        COUNT.astype(np.uint16),
        imagej=True,
        resolution=(4, 2),
        metadata={"axes": "ZYX", "spacing": 3, "unit": "um"},
    )
    volume = refit.load(path)
    assert volume.axes == ("z", "y", "x")
    np.testing.assert_allclose(volume.spacing, (0.003, 0.0005, 0.00025))
    np.testing.assert_array_equal(volume.data, COUNT)
    tifffile.imwrite(path, np.zeros((2, 3, 4, 5), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    volume = refit.load(path)
    assert (volume.axes, volume.spacing) == (("t", "z", "y", "x"), None)
    channels = np.arange(240, dtype=np.uint16).reshape(3, 2, 5, 8)
    tifffile.imwrite(path, channels, imagej=True, metadata={"axes": "ZCYX"})
    volume = refit.load(path)
    assert (volume.shape, volume.axes) == ((3, 5, 8, 2), ("z", "y", "x", "c"))
    np.testing.assert_array_equal(volume.data, np.moveaxis(channels, 1, -1))
    again = refit.load(refit.save(tmp_path / "again.tif", volume.data, like=volume))
    np.testing.assert_array_equal(again.data, volume.data)
    ome = tmp_path / "a.ome.tif"
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2, "PhysicalSizeZUnit": "mm"}
    tifffile.imwrite(ome, COUNT.astype(np.uint16), metadata={"axes": "ZYX", **sizes})
    np.testing.assert_allclose(refit.load(ome).spacing, (2, 0.00025, 0.0005))
    tifffile.imwrite(path, COUNT.astype(">i2"), byteorder=">", compression="zlib", photometric="minisblack")
    assert refit.load(path).data.dtype == np.int16
    np.testing.assert_array_equal(refit.load(path).data, COUNT)


def test_numpy_axes_and_mapping(tmp_path):
    for shape, dtype, axes in [
        ((6, 7), "f4", "yx"),
        ((6, 7, 8), "f4", "zyx"),
        ((6, 7, 3), "u1", "yxc"),
        ((6, 7, 3), "f4", "zyx"),
        ((2, 6, 7, 8), "i2", "tzyx"),
        ((6, 7, 8, 3), "u1", "zyxc"),
    ]:
        np.save(tmp_path / "a.npy", np.zeros(shape, dtype))
        volume = refit.load(tmp_path / "a.npy")
        assert volume.axes == tuple(axes)
        assert isinstance(volume.data, np.memmap)
    np.save(tmp_path / "a.npy", np.asfortranarray(COUNT.astype(">i4")))
    np.testing.assert_array_equal(refit.load(tmp_path / "a.npy").data, COUNT)
    assert refit.load(tmp_path / "a.npy").data.dtype.isnative


def write_slice(
    folder, number, position, series, pixels, orientation=(1, 0, 0, 0, 1, 0), spacing=(0.5, 0.25)
):
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    item.SeriesInstanceUID = series
    item.StudyInstanceUID = "1.2.3"
    item.Modality, item.InstanceNumber = "MR", number
    item.Rows, item.Columns = pixels.shape
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation, item.SamplesPerPixel = 15, 1, 1
    item.PhotometricInterpretation = "MONOCHROME2"
    item.PixelSpacing = list(spacing)
    item.SliceThickness = 1
    item.ImageOrientationPatient = list(orientation)
    item.ImagePositionPatient = [float(value) for value in position]
    item.PixelData = pixels.astype("<i2").tobytes()
    item.save_as(folder / f"{series[-1]}_{number:03}.dcm", enforce_file_format=True)


def test_dicom_folder(tmp_path):
    folder = tmp_path / "série"
    folder.mkdir()
    voxels = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    for z in reversed(range(5)):
        write_slice(folder, 10 - z, (7, 8, -20 + 3 * z), "1.2.840.1", voxels[z])
    (folder / "notes.txt").write_text("not a slice")
    volume = refit.load(folder)
    assert (volume.shape, volume.axes, volume.dtype) == ((3, 4, 5), ("x", "y", "z"), np.int16)
    np.testing.assert_array_equal(volume.data, voxels.T)
    np.testing.assert_allclose(volume.spacing, (0.25, 0.5, 3))
    np.testing.assert_allclose(volume.affine @ [2, 1, 4, 1], [-7.5, -8.5, -8, 1])
    saved = nibabel.load(refit.save(tmp_path / "a.nii.gz", voxels.T, like=folder))
    np.testing.assert_allclose(saved.affine, volume.affine)
    one = refit.load(folder / "1_010.dcm")
    assert one.shape == (3, 4, 1)
    np.testing.assert_array_equal(one.data[..., 0], voxels[0].T)


def test_dicom_gantry_tilt_and_missing_slices(tmp_path):
    for z in range(4):
        write_slice(tmp_path, z, (0, z, 3 * z), "1.2.840.1", np.zeros((4, 3)))
    np.testing.assert_allclose(refit.load(tmp_path).affine[:3, 2], (0, -1, 3))
    (tmp_path / "1_001.dcm").unlink()
    with pytest.warns(ReadWarning, match="not evenly spaced"):
        refit.load(tmp_path)


def test_dicom_several_series(tmp_path):
    for series, n in (("1.2.840.1", 2), ("1.2.840.2", 4)):
        for z in range(n):
            write_slice(tmp_path, z, (0, 0, z), series, np.full((4, 3), n))
    with pytest.warns(ReadWarning, match=r"holds 2 series.*4 slices.*1\.2\.840\.1"):
        volume = refit.load(tmp_path)
    assert volume.shape == (3, 4, 4)
    volume = refit.load(f"{tmp_path}#1.2.840.1")
    assert volume.shape == (3, 4, 2)
    assert volume.data.max() == 2
    with pytest.raises(refit.ReadError, match=r"no series 9; there are: 1\.2\.840\.1, 1\.2\.840\.2"):
        refit.load(f"{tmp_path}#9")


def test_dicom_slices_of_two_sizes(tmp_path):
    write_slice(tmp_path, 0, (0, 0, 0), "1.2.840.1", np.zeros((4, 3)))
    write_slice(tmp_path, 1, (0, 0, 1), "1.2.840.1", np.zeros((5, 3)))
    with pytest.raises(refit.ReadError, match="differ in size"):
        refit.load(tmp_path)


def test_split_name():
    assert split_name("a/b.nii.gz") == ("b", ".nii.gz")
    assert split_name("a/.nii.gz") == (".nii", ".gz")
    assert split_name("a/b.ome.TIF") == ("b.ome", ".tif")
    assert split_name("a/b") == ("b", "")


def test_volumes_in_memory():
    with pytest.raises(ValueError, match="axes"):
        Volume.from_array(COUNT, "yx")
    with pytest.raises(ValueError, match="axes"):
        Volume.from_array(COUNT, "xyy")
    with pytest.raises(ValueError, match="4x4"):
        Volume.from_array(COUNT, "xyz", np.eye(3))
    with pytest.raises(ValueError, match="spacing"):
        Volume.from_array(COUNT, "xyz", spacing=(1, 2))
    array = COUNT.copy()
    volume = Volume.from_array(array, "xyz", np.diag([2, 3, 4, 1]))
    assert volume.spacing == (2, 3, 4)
    array[0] = 0
    turned = volume.ordered("zyxc")
    assert (turned.shape, turned.spacing, turned.axes) == ((5, 4, 3), (4, 3, 2), ("z", "y", "x"))
    np.testing.assert_array_equal(turned.affine @ [1, 0, 0, 1], [0, 0, 4, 1])
    with pytest.raises(ValueError, match="leaves out"):
        volume.ordered("xy")


def test_grid_difference(nifti, tilted):
    image = refit.load(nifti(COUNT.astype(np.int16), tilted))
    assert grid_difference(image, Volume.from_array(COUNT, "xyz", tilted)) is None
    assert grid_difference(image, Volume.from_array(COUNT, "zyx")) is None
    assert "shape" in grid_difference(image, Volume.from_array(COUNT.T, "xyz", tilted))
    moved = tilted.copy()
    moved[0, 3] += 1
    assert grid_difference(image, Volume.from_array(COUNT, "xyz", moved)) == (
        "its corners lie up to 1 mm from the image's"
    )
