"""Every damaged file gives one line that names it, at once and without allocating what it claims."""

from __future__ import annotations

import gzip
import os
import pickle
import resource
import struct
import tracemalloc
import warnings
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile

import napari_refit as refit
from napari_refit.io.read import ReadWarning, check_usable

NOISE = np.random.default_rng(0).integers(0, 200, (20, 21, 22)).astype(np.uint8)


def refused(path, *words, use_data=False):
    """Load a file, expect one line that names it, and that little memory was used."""
    tracemalloc.start()
    try:
        with pytest.raises(refit.ReadError) as caught:
            _ = refit.load(path).data if use_data else refit.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert len(text) < 500
    for word in words:
        assert word in text
    assert isinstance(caught.value, OSError)
    assert peak < 50e6


def write(path, array=NOISE):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array)
    elif path.suffix in (".png", ".bmp", ".jpg"):
        import imageio.v3 as iio

        iio.imwrite(path, array[0])
    elif ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    return path


FILES = ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.png", "a.jpg", "a.bmp", "a.tif", "a.npy"]


@pytest.mark.parametrize("name", [*FILES, "a.nhdr", "a.mhd", "a.dcm", "a.tiff", "a.jpeg", "folder", "a.xyz"])
def test_missing(tmp_path, name):
    refused(tmp_path / name, "no such file")


@pytest.mark.parametrize("name", FILES)
def test_empty(tmp_path, name):
    (tmp_path / name).touch()
    refused(tmp_path / name, "is empty")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"\x00" * 2000, b"hello, this is not an image\n" * 50])
def test_another_format(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated(tmp_path, name, part):
    path = write(tmp_path / name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path, use_data=name.endswith("bmp"))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.bmp", "a.npy"])
def test_one_byte_short(tmp_path, name):
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-1])
    refused(path)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_compressed_tiff(tmp_path, part, capfd):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, NOISE, compression="zlib")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("extension", ["nrrd", "mha"])
def test_truncated_compressed(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(NOISE), str(path), useCompression=True)
    path.write_bytes(path.read_bytes()[:-500])
    refused(path)


@pytest.mark.parametrize("extension", ["nhdr", "mhd"])
def test_detached_voxels(tmp_path, extension, capfd):
    path = tmp_path / f"a.{extension}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(NOISE), str(path))
    np.testing.assert_array_equal(refit.load(path).data.T, NOISE)
    (voxels,) = (file for file in tmp_path.iterdir() if file != path)
    voxels.write_bytes(voxels.read_bytes()[:100])
    with pytest.raises(refit.ReadError, match="truncated"):
        refit.load(path)
    voxels.unlink()
    with pytest.raises(refit.ReadError, match="no such file"):
        refit.load(path)
    assert capfd.readouterr() == ("", "")


def test_corrupt_inside_gzip(tmp_path):
    path = write(tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    refused(path, "damaged", use_data=True)


def test_gzip_of_several_members_is_fine(tmp_path):
    plain = write(tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]))
    np.testing.assert_array_equal(refit.load(path).data, NOISE)


def test_gzip_and_name_disagree(tmp_path):
    plain = write(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(plain)
    refused(tmp_path / "b.nii.gz", "not gzip", ".nii")
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain))
    refused(tmp_path / "c.nii", "gzip compressed", ".nii.gz")


def test_header_of_a_pair(tmp_path):
    content = bytearray(write(tmp_path / "a.nii").read_bytes())
    content[344:348] = b"ni1\0"
    (tmp_path / "a.nii").write_bytes(content)
    refused(tmp_path / "a.nii", "pair")


def set_dims(path, *dims):
    content = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    content[40:56] = struct.pack("<8h", *dims)
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_dimensions(tmp_path, name):
    path = write(tmp_path / name)
    set_dims(path, 3, 10000, 10000, 10000, 1, 1, 1, 1)
    refused(path)
    set_dims(path, 3, 20, 0, 22, 1, 1, 1, 1)
    refused(path, "no voxels")
    set_dims(path, 3, 20, -21, 22, 1, 1, 1, 1)
    refused(path, "no voxels")
    set_dims(path, 9, 20, 21, 22, 1, 1, 1, 1)
    refused(path)
    set_dims(path, 1, 20, 1, 1, 1, 1, 1, 1)
    refused(path, "two")


def test_nifti_datatype(tmp_path):
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.complex64), np.eye(4)), path)
    refused(path, "complex")
    content = bytearray(path.read_bytes())
    content[70:72] = struct.pack("<h", 77)
    path.write_bytes(content)
    refused(path)


def huge_files():
    nrrd = "NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 10000 10000 10000\nencoding: {}\nendian: little\n\n"
    meta = "ObjectType = Image\nNDims = 3\nDimSize = 10000 10000 10000\nElementType = MET_UCHAR\n{}"
    yield "raw.nrrd", nrrd.format("raw").encode() + bytes(1000)
    yield "gzip.nrrd", nrrd.format("gzip").encode() + gzip.compress(bytes(10**6))
    yield "raw.mha", meta.format("ElementDataFile = LOCAL\n").encode() + bytes(1000)
    zipped = zlib.compress(bytes(10**6))
    yield (
        "zipped.mha",
        meta.format(
            f"CompressedData = True\nCompressedDataSize = {len(zipped)}\nElementDataFile = LOCAL\n"
        ).encode()
        + zipped,
    )
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000, 10000, 10000), }"
    header += b" " * (117 - len(header)) + b"\n"
    yield "a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(1000)
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 10**6, 10**6, 8, 0, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    chunk = b"IDAT" + zlib.compress(bytes(10**5))
    idat = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    iend = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    yield "a.png", b"\x89PNG\r\n\x1a\n" + ihdr + idat + iend


@pytest.mark.parametrize(("name", "content"), huge_files(), ids=lambda v: v if isinstance(v, str) else "")
def test_a_header_that_claims_ten_to_the_twelve(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, use_data=True)


def test_more_than_the_memory(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii.gz")
    monkeypatch.setattr("napari_refit.io._guard.memory_limit", lambda: NOISE.size - 1)
    refused(path, "memory")
    monkeypatch.setattr("napari_refit.io._guard.memory_limit", lambda: NOISE.size)
    assert refit.load(path).size == NOISE.size


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_zero_size_axis(tmp_path, name):
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes().replace(b"22 21 20", b"22 0 20"))
    refused(path, "no voxels")


def test_numpy_refusals(tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((3, 0, 4)))
    refused(tmp_path / "zero.npy", "no voxels")
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    refused(tmp_path / "text.npy", "<U1")
    np.save(tmp_path / "complex.npy", np.ones((2, 2), complex))
    refused(tmp_path / "complex.npy", "complex")
    np.save(tmp_path / "line.npy", np.ones(5))
    refused(tmp_path / "line.npy", "two")


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_pickled_numpy_is_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", np.array([[Bomb(), Bomb()]], dtype=object), allow_pickle=True)
    refused(tmp_path / "a.npy", "pickled")
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path / "b.npy")
    assert not (tmp_path / "exploded").exists()


def test_folders(tmp_path):
    refused(tmp_path, "without DICOM")
    (tmp_path / "notes.txt").write_text("nothing to see")
    refused(tmp_path, "without DICOM")
    (tmp_path / "a.nii").mkdir()
    refused(tmp_path / "a.nii")


def test_unknown_extension_lists_the_known_ones(tmp_path):
    (tmp_path / "scan.xyz").write_text("?")
    refused(tmp_path / "scan.xyz", ".xyz", ".nii.gz", ".nrrd", "DICOM")
    (tmp_path / "scan").write_text("?")
    refused(tmp_path / "scan", "without extension")


def test_unusable_paths():
    with pytest.raises(refit.ReadError):
        refit.load("a\0b.nii")
    for name in ("\udc80.nii", "\udc80.nrrd", "x" * 300 + ".nii"):
        with pytest.raises(refit.ReadError):
            refit.load(name)


@pytest.mark.parametrize("name", [n for n in FILES if not n.endswith("jpg")])
def test_any_name_works(tmp_path, name):
    folder = tmp_path / "Größe 患者 #1"
    folder.mkdir()
    path = write(folder / f"š é ω 脳{name}")
    data = refit.load(path).data
    saved = refit.save(folder / f"плод{name}", data, like=path)
    np.testing.assert_array_equal(refit.load(saved).data, data)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.npy", "a.tif"])
def test_nan_only_and_constant_load_and_are_found(tmp_path, name):
    volume = refit.load(write(tmp_path / name, np.full((4, 5, 6), np.nan, np.float32)))
    with pytest.raises(refit.ReadError, match=f"{name}: holds no finite value"):
        check_usable(volume)
    volume = refit.load(write(tmp_path / f"constant_{name}", np.full((4, 5, 6), 7, np.float32)))
    assert check_usable(volume) == f"{volume.path}: every value is 7: there is nothing to segment"


def test_check_usable():
    array = np.zeros((4, 5))
    array[0] = np.nan, np.inf, -np.inf, 1, 2
    assert check_usable(array, "x.nii") == "x.nii: 3 of 20 values are not finite"
    assert "every finite value is 1" in check_usable(np.array([[np.nan, 1.0]]))
    assert check_usable(np.array([[1, 2]])) == ""
    with pytest.raises(refit.ReadError, match="image: is empty"):
        check_usable(np.zeros((0, 3)))


def singular(header):
    header["srow_x"] = header["srow_y"]


def not_finite(header):
    header["srow_x"][0] = np.nan


@pytest.mark.parametrize("damage", [singular, not_finite])
def test_unusable_affines_fall_back_with_a_warning(nifti, tilted, damage):
    path = nifti(NOISE, tilted, edit=damage)
    with pytest.warns(ReadWarning, match=r"scan\.nii\.gz: its sform cannot be used") as caught:
        volume = refit.load(path)
    assert caught[0].filename == __file__
    np.testing.assert_allclose(volume.affine, tilted, atol=1e-4)
    np.testing.assert_array_equal(volume.data, NOISE)

    def damage_all(header):
        damage(header)
        header["qform_code"] = 0

    path = nifti(NOISE, tilted, edit=damage_all)
    with pytest.warns(ReadWarning):
        volume = refit.load(path)
    np.testing.assert_allclose(volume.spacing, (0.7, 1.3, 3.1), rtol=1e-6)


def test_a_good_file_warns_of_nothing(nifti, tilted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = refit.load(nifti(NOISE, tilted)).data


def test_peak_memory_of_a_lying_gzip_is_bounded(tmp_path):
    """A file whose header claims far more than its stream holds costs neither memory nor much time."""
    path = write(tmp_path / "a.nii.gz", np.zeros((20, 21, 22), np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    set_dims(path, 3, 500, 500, 2, 1, 1, 1, 1)
    path.write_bytes(path.read_bytes() + os.urandom(2000))
    refused(path, use_data=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("name", [*FILES, "zipped.nrrd", "zipped.mha"])
def test_any_damage_is_either_harmless_or_a_read_error(tmp_path, name):
    small = NOISE[:4, :6, :7]
    path = tmp_path / name
    if name.startswith("zipped"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(small), str(path), useCompression=True)
    else:
        write(path, small)
    whole = path.read_bytes()
    random = np.random.default_rng(len(name))
    for _ in range(120):
        content = bytearray(whole)
        for place in random.integers(0, min(len(content), 400), random.choice([1, 2, 8])):
            content[place] = random.choice([0, 255, ord("9"), ord("-"), ord("\n"), content[place] ^ 16])
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                data = refit.load(path).data
            except refit.ReadError as error:
                assert name in str(error)  # noqa: PT017
            else:
                assert data.ndim >= 2


def test_metaimage_header_that_would_overrun_buffers(tmp_path):
    path = write(tmp_path / "a.mha")
    whole = path.read_bytes()
    for before, after in [
        (b"NDims = 3", b"NDims = 93"),
        (b"Offset = 0 0 0", b"Offset = 0 0 0 0 0 0 0 0 0 0 0 0 0 0"),
        (b"TransformMatrix = 1 0", b"TransformMatrix = 1 0 0 0"),
        (b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 one 1"),
        (b"MET_UCHAR", b"MET_WHAT"),
        (b"BinaryData = True", b"BinaryData = what"),
    ]:
        assert before in whole
        path.write_bytes(whole.replace(before, after))
        refused(path, "header" if b"WHAT" not in after else "WHAT")
