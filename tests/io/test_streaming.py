"""Arrays that stay in their files are read and written as NumPy would."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_refit.errors import ReadError
from napari_refit.io.pieces import FileArray
from napari_refit.io.read import check_usable, load
from napari_refit.io.streaming import can_stream, streamed, write_labels
from napari_refit.io.write import save


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), shape=st.lists(st.integers(1, 5), min_size=2, max_size=4), block=st.integers(1, 400))
def test_planes_are_those_of_the_array(tmp_path, data, shape, block):
    order = data.draw(st.permutations(range(len(shape))))
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    path = tmp_path / "values.raw"
    path.write_bytes(b"head" + np.ascontiguousarray(values.transpose(order)).astype(">i2").tobytes())
    array = FileArray(path, shape, np.dtype(">i2"), offset=4, order=order, block_bytes=block)
    turn = data.draw(st.permutations(range(len(shape))))
    view, expected = array.transpose(turn), values.transpose(turn)
    cut = data.draw(st.sets(st.integers(0, len(shape) - 1), max_size=len(shape) - 1))
    for at in itertools.product(*(range(expected.shape[axis]) for axis in sorted(cut))):
        where = dict(zip(sorted(cut), at, strict=True))
        key = tuple(where.get(axis, slice(None)) for axis in range(len(shape)))
        np.testing.assert_array_equal(view[key], expected[key])
        assert view[key].dtype == np.dtype(np.int16).newbyteorder("=")
    assert sorted(np.concatenate([slab.ravel() for slab in view.slabs()])) == sorted(values.ravel())
    part = view.part(0)
    np.testing.assert_array_equal(part[...], expected[0])
    array.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), shape=st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_planes_are_written_where_they_belong(tmp_path, data, shape):
    order = data.draw(st.permutations(range(len(shape))))
    expected = np.zeros(shape, np.uint8)
    array = FileArray.make(tmp_path / "labels.raw", shape, np.dtype(np.uint8), order)
    for value in range(1, 5):
        cut = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
        key = tuple(
            data.draw(st.integers(0, length - 1)) if axis in cut else slice(None)
            for axis, length in enumerate(shape)
        )
        plane = np.arange(expected[key].size).reshape(expected[key].shape) * value % 251
        expected[key] = plane
        array[key] = plane
    np.testing.assert_array_equal(array[...], expected)
    array.close()


def test_only_whole_planes_and_no_place_outside(tmp_path):
    array = FileArray.make(tmp_path / "labels.raw", (3, 4), np.dtype(np.uint8))
    with pytest.raises(IndexError, match="whole planes"):
        array[0, 1:2]
    with pytest.raises(IndexError):
        array[3]
    (tmp_path / "labels.raw").write_bytes(b"\0" * 7)
    with pytest.raises(ReadError, match="truncated"):
        array[2]


def volumes(folder: Path) -> dict[str, Path]:
    """One volume of each kind that can stay in its file."""
    rng = np.random.default_rng(3)
    values = rng.integers(-400, 400, (7, 6, 5)).astype(np.int16)
    affine = np.array([[0, 0, 2, 1], [0.5, 0, 0, 2], [0, 0.7, 0, 3], [0, 0, 0, 1]], float)
    made = {
        name: folder / name for name in ("a.nii", "a.nii.gz", "scaled.nii.gz", "big.nii", "time.nii", "a.npy")
    }
    nibabel.save(nibabel.Nifti1Image(values, affine), made["a.nii"])
    nibabel.save(nibabel.Nifti1Image(values, affine), made["a.nii.gz"])
    scaled = nibabel.Nifti1Image(values.astype(float) / 3, affine)
    scaled.set_data_dtype(np.int16)
    nibabel.save(scaled, made["scaled.nii.gz"])
    swapped = nibabel.Nifti1Image(values, affine, nibabel.Nifti1Header(endianness=">"))
    nibabel.save(swapped, made["big.nii"])
    nibabel.save(nibabel.Nifti1Image(rng.random((4, 5, 3, 2), np.float32), affine), made["time.nii"])
    np.save(made["a.npy"], values)
    made["fortran.npy"] = folder / "fortran.npy"
    np.save(made["fortran.npy"], np.asfortranarray(values.astype(np.float64)))
    made["a.tif"] = folder / "a.tif"
    tifffile.imwrite(made["a.tif"], values, metadata={"axes": "ZYX"}, byteorder=">")
    made["ours.tif"] = folder / "ours.tif"
    save(made["ours.tif"], values, like=load(made["a.tif"]))
    return made


def test_each_format_gives_the_same_voxels_and_the_same_labels_file(tmp_path):
    for name, path in volumes(tmp_path).items():
        whole = load(path)
        assert can_stream(whole), name
        volume = streamed(load(path), tmp_path / f".refit-{name}.raw")
        assert volume is not None
        assert volume.data.dtype == whole.data.dtype, name
        np.testing.assert_array_equal(np.asarray(volume.data), whole.data, err_msg=name)
        assert check_usable(volume) == check_usable(whole)
        labels = (np.arange(whole.size) % 7).astype(np.uint8).reshape(whole.shape)
        kept = FileArray.make(tmp_path / f".refit-{name}.labels", whole.shape, labels.dtype)
        kept[...] = labels
        save(tmp_path / f"whole_{name}", labels, like=whole, labels=True)
        write_labels(tmp_path / f"pieces_{name}", kept, volume)
        assert (tmp_path / f"pieces_{name}").read_bytes() == (tmp_path / f"whole_{name}").read_bytes(), name


def test_what_cannot_stay_in_its_file_says_so(tmp_path):
    values = np.zeros((4, 20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "packed.tif", values, compression="zlib")
    save(tmp_path / "a.nrrd", values)
    np.save(tmp_path / "plane.npy", values[0])
    for name in ("packed.tif", "a.nrrd", "plane.npy"):
        assert not can_stream(load(tmp_path / name)), name


def test_a_damaged_copy_is_named(tmp_path):
    rng = np.random.default_rng(0)
    nibabel.save(
        nibabel.Nifti1Image(rng.integers(0, 255, (40, 40, 40)).astype(np.uint8), None), tmp_path / "a.nii.gz"
    )
    content = bytearray((tmp_path / "a.nii.gz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(ReadError, match=r"a\.nii\.gz: is damaged"):
        streamed(load(tmp_path / "a.nii.gz"), tmp_path / ".refit-x.raw")
