"""Saving: whole or not at all, the types that were given, one line when it fails."""

from __future__ import annotations

import errno
import os
import resource
import stat

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_refit as refit
from napari_refit.io import write
from napari_refit.io.volume import Volume

FORMATS = [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".bmp", ".tif", ".npy"]
MASK = (np.arange(30).reshape(5, 6) % 3).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 2**16, (60, 60)).astype(np.uint16)


def check_failed(caught, path, before):
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    assert isinstance(caught.value, OSError)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.fixture
def old(tmp_path):
    """Give a folder with an old result in it, and what it holds."""
    (tmp_path / "out").mkdir()

    def make(extension):
        path = tmp_path / "out" / f"refined{extension}"
        path.write_bytes(b"the old result")
        return path, {path.name: b"the old result"}

    return make


@pytest.mark.parametrize("extension", FORMATS)
def test_replaces_an_old_file_and_leaves_nothing_else(old, extension):
    path, _ = old(extension)
    path.chmod(0o640)
    assert refit.save(path, MASK) == path
    np.testing.assert_array_equal(refit.load(path).data, MASK)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    assert refit.save(tmp_path / "a.nii.gz", MASK).stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("extension", FORMATS)
def test_overwriting_can_be_refused(old, extension):
    path, before = old(extension)
    with pytest.raises(refit.WriteError, match="exists already") as caught:
        refit.save(path, MASK, overwrite=False)
    check_failed(caught, path, before)
    path.unlink()
    refit.save(path, MASK, overwrite=False)
    np.testing.assert_array_equal(refit.load(path).data, MASK)


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_disk_full_at_the_end(old, extension, when, monkeypatch):
    path, before = old(extension)

    def full(*_args, **_keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, when, full)
    with pytest.raises(refit.WriteError, match="disk is full") as caught:
        refit.save(path, MASK)
    check_failed(caught, path, before)


@pytest.mark.parametrize("extension", FORMATS)
def test_disk_full_while_writing(old, extension):
    """A real short write: the system lets no file grow beyond 512 bytes."""
    path, before = old(extension)
    array = NOISE.astype(np.uint8) if extension == ".bmp" else NOISE
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    refit.save(path.with_name("warm" + extension), array)
    path.with_name("warm" + extension).unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
    try:
        with pytest.raises(refit.WriteError) as caught:
            refit.save(path, array)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_failed(caught, path, before)


@pytest.mark.parametrize("extension", FORMATS)
def test_folder_that_may_not_be_written(old, extension, monkeypatch):
    path, before = old(extension)
    opened = os.open

    def denied(name, flags, *args, **keywords):
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return opened(name, flags, *args, **keywords)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(refit.WriteError, match="not permitted; choose another folder") as caught:
        refit.save(path, MASK)
    monkeypatch.undo()
    check_failed(caught, path, before)


def test_read_only_folder_for_real(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(refit.WriteError, match="not permitted"):
            refit.save(folder / "a.nii.gz", MASK)
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
    assert list(folder.iterdir()) == []


def test_missing_folder_and_folder_as_file(tmp_path):
    with pytest.raises(refit.WriteError, match="folder does not exist"):
        refit.save(tmp_path / "nowhere" / "a.nii", MASK)
    (tmp_path / "b.nii").mkdir()
    with pytest.raises(refit.WriteError, match="is a folder"):
        refit.save(tmp_path / "b.nii", MASK)


def test_a_library_that_fails_leaves_nothing(old, monkeypatch):
    path, before = old(".nii.gz")
    monkeypatch.setattr(nibabel.Nifti1Image, "to_stream", lambda *_: 1 / 0)
    with pytest.raises(refit.WriteError, match="division by zero") as caught:
        refit.save(path, MASK)
    check_failed(caught, path, before)


def test_links_are_followed(tmp_path):
    (tmp_path / "real.nii").write_bytes(b"old")
    (tmp_path / "link.nii").symlink_to(tmp_path / "real.nii")
    refit.save(tmp_path / "link.nii", MASK)
    assert (tmp_path / "link.nii").is_symlink()
    np.testing.assert_array_equal(refit.load(tmp_path / "real.nii").data, MASK)


def test_saving_over_the_source_keeps_what_was_read(nifti, tilted):
    path = nifti(MASK, tilted)
    volume = refit.load(path)
    before = volume.data.copy()
    refit.save(path, MASK + 1, like=volume)
    np.testing.assert_array_equal(volume.data, before)
    np.testing.assert_array_equal(refit.load(path).data, MASK + 1)


def test_same_input_same_bytes(tmp_path):
    first = refit.save(tmp_path / "a.nii.gz", MASK).read_bytes()
    assert refit.save(tmp_path / "b.nii.gz", MASK).read_bytes() == first


@pytest.mark.parametrize("extension", [".jpg", ".nhdr", ".mhd", ".dcm", ".xyz", ""])
def test_formats_that_cannot_be_written(tmp_path, extension):
    with pytest.raises(refit.WriteError, match=r"cannot write .*use \.nii\.gz"):
        refit.save(tmp_path / f"a{extension}", MASK)
    assert list(tmp_path.iterdir()) == []


def test_arrays_that_cannot_be_saved(tmp_path, nifti):
    like = nifti(np.zeros((3, 4, 5, 2), np.int16))
    for shape in [(3, 4), (5, 4, 3), (3, 4, 6), (3, 4, 5, 2, 2)]:
        with pytest.raises(ValueError, match="does not fit the grid") as caught:
            refit.save(tmp_path / "a.nii", np.zeros(shape, np.uint8), like=like)
        assert str(shape) in str(caught.value)
    with pytest.raises(ValueError, match=r"shape \(0, 4\)"):
        refit.save(tmp_path / "a.nii", np.zeros((0, 4)))
    for array in (np.ones((2, 2), complex), np.array([["a"]]), np.array([[None]])):
        with pytest.raises(TypeError, match="real numbers"):
            refit.save(tmp_path / "a.npy", array)
    with pytest.raises(refit.ReadError, match="no such file"):
        refit.save(tmp_path / "a.nii", MASK, like=tmp_path / "gone.nii")
    with pytest.raises(refit.WriteError, match="cannot hold float"):
        refit.save(tmp_path / "a.png", np.ones((4, 5)))
    with pytest.raises(refit.WriteError, match="0 to 65535"):
        refit.save(tmp_path / "a.png", np.full((4, 5), -1))
    with pytest.raises(refit.WriteError, match="0 to 255"):
        refit.save(tmp_path / "a.bmp", np.full((4, 5), 256))
    with pytest.raises(refit.WriteError, match="one plane"):
        refit.save(tmp_path / "a.png", np.ones((4, 5, 6), np.uint8))


DTYPES = ["b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">i2", ">f4"]


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha", ".tif", ".npy"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_types_are_kept(tmp_path, extension, dtype):
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    if array.dtype.kind in "iu":
        array[0, 0, 0], array[1, 1, 1] = np.iinfo(dtype).min, np.iinfo(dtype).max
    elif array.dtype.kind == "f":
        array[0, 0, 0], array[1, 1, 1] = np.nan, 1 / 3
    volume = refit.load(refit.save(tmp_path / f"a{extension}", array))
    np.testing.assert_array_equal(volume.data, array)
    expected = np.dtype(np.uint8) if array.dtype.kind == "b" else array.dtype.newbyteorder("=")
    assert volume.dtype == volume.data.dtype == expected


@pytest.mark.parametrize("extension", [".nii", ".mha"])
def test_half_precision_becomes_single(tmp_path, extension):
    array = np.linspace(0, 1, 12, dtype=np.float16).reshape(3, 4)
    volume = refit.load(refit.save(tmp_path / f"a{extension}", array))
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume.data, array)


def test_png_takes_the_smallest_type(tmp_path):
    for array, dtype in [(MASK.astype(np.int64), np.uint8), (MASK.astype(np.int64) * 1000, np.uint16)]:
        volume = refit.load(refit.save(tmp_path / "a.png", array))
        np.testing.assert_array_equal(volume.data, array)
        assert volume.dtype == dtype


@given(st.integers(0, 2**64 - 1))
def test_smallest_dtype_holds_and_is_smallest(value):
    dtype = write.smallest_dtype(value)
    assert value <= np.iinfo(dtype).max
    assert dtype.itemsize == 1 or value > np.iinfo(f"u{dtype.itemsize // 2}").max


def test_smallest_dtype_refuses():
    for value in (-1, 2**64):
        with pytest.raises(ValueError, match=str(value)):
            write.smallest_dtype(value)


def test_labels_are_marked_and_image_traits_dropped(nifti, tmp_path):
    def edit(header):
        header["cal_max"] = 4000
        header["db_name"] = b"scanner"
        header["scl_slope"], header["scl_inter"] = 2.5, -7
        header["intent_code"] = 0

    source = nifti(np.ones((3, 4, 5), np.int16), edit=edit)
    refit.save(tmp_path / "a.nii", np.ones((3, 4, 5), np.uint8), like=source, labels=True)
    saved = nibabel.load(tmp_path / "a.nii")
    assert saved.header.get_intent()[0] == "label"
    assert saved.header["cal_max"] == 0
    assert saved.get_fdata().max() == 1
    refit.save(tmp_path / "a.nii", np.ones((3, 4, 5), np.uint8), like=source)
    assert nibabel.load(tmp_path / "a.nii").header.get_intent()[0] == "none"


def test_response_maps_go_into_a_fourth_axis(nifti, tilted, tmp_path):
    like = nifti(np.ones((3, 4, 5), np.int16), tilted)
    maps = np.random.default_rng(0).random((3, 4, 5, 2)).astype(np.float32)
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        volume = refit.load(refit.save(tmp_path / name, maps, like=like))
        np.testing.assert_array_equal(volume.data, maps)
        np.testing.assert_allclose(volume.affine, tilted, atol=1e-5)


def test_pictures_turn_to_display_order(nifti, tmp_path):
    like = refit.load(nifti(np.ones((3, 4), np.int16)))
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(refit.load(refit.save(tmp_path / "a.png", mask, like=like)).data, mask.T)
    like = refit.load(nifti(np.ones((3, 4, 5), np.int16), np.diag([0.5, 0.25, 2, 1])))
    mask = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    volume = refit.load(refit.save(tmp_path / "a.tif", mask, like=like))
    np.testing.assert_array_equal(volume.data, mask.T)
    assert volume.axes == ("z", "y", "x")
    assert volume.spacing == (2, 0.25, 0.5)
    back = refit.load(refit.save(tmp_path / "b.nii", volume.data, like=volume))
    np.testing.assert_array_equal(back.data, mask)
    assert back.spacing == (0.5, 0.25, 2)


def test_colour_in_nifti(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (6, 7, 3)).astype(np.uint8)
    volume = refit.load(refit.save(tmp_path / "a.nii", array, like=Volume.from_array(array, "yxc")))
    assert volume.axes == ("x", "y", "c")
    np.testing.assert_array_equal(volume.data, array.transpose(1, 0, 2))
    assert nibabel.load(tmp_path / "a.nii").shape == (7, 6)
    mask = refit.load(refit.save(tmp_path / "m.nii", volume.data[..., 0], like=volume))
    np.testing.assert_array_equal(mask.data, array[..., 0].T)


def test_a_tilted_plane_fits_nifti_only(nifti, tilted, tmp_path):
    like = nifti(np.ones((3, 4), np.int16), tilted)
    with pytest.raises(refit.WriteError, match="tilted"):
        refit.save(tmp_path / "a.nrrd", np.ones((3, 4), np.uint8), like=like)
    assert not (tmp_path / "a.nrrd").exists()


def test_long_axes_need_nifti_2(tmp_path):
    array = np.zeros((40000, 2), np.uint8)
    array[-1, -1] = 1
    volume = refit.load(refit.save(tmp_path / "a.nii", array))
    np.testing.assert_array_equal(volume.data, array)
    again = refit.load(refit.save(tmp_path / "b.nii", array, like=volume))
    np.testing.assert_array_equal(again.affine, volume.affine)
    assert isinstance(nibabel.load(tmp_path / "b.nii"), nibabel.Nifti2Image)
