from __future__ import annotations

import inspect
from pathlib import Path

import imageio.v3 as iio
import nibabel
import numpy as np
import pytest
import tifffile

from napari_refit.errors import ReadError
from napari_refit.learn import samples as samples_module
from napari_refit.learn.samples import (
    ArraySamples,
    Subset,
    list_checksum,
    open_samples,
    presence,
)
from napari_refit.params import IntensityParams


def picture(path: Path, value: int = 200, shape: tuple[int, ...] = (8, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros(shape, np.uint8)
    image[: shape[0] // 2] = value
    iio.imwrite(path, image)
    return path


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_per_class_is_read(tmp_path: Path) -> None:
    for name in ("normal/a.png", "normal/b.png", "lesion/p1/x.png", "lesion/p1/y.png", "normal/p1/z.png"):
        picture(tmp_path / name)
    picture(tmp_path / "lesion" / "p1" / "x_mask.png", 255)
    picture(tmp_path / "lesion" / "p1" / "x_mask_1.png", 255)
    (tmp_path / "lesion" / "notes.txt").write_text("not an image")
    found = open_samples(tmp_path)
    assert found.classes == ("lesion", "normal")
    assert list(found.names) == [
        "lesion/p1/x.png",
        "lesion/p1/y.png",
        "normal/a.png",
        "normal/b.png",
        "normal/p1/z.png",
    ]
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    assert list(found.patients) == ["p1", "p1", "normal/a.png", "normal/b.png", "p1"]
    image = found.image(0)
    assert image.shape == (8, 10)
    assert image.dtype == np.float32
    assert (image.min(), image.max()) == (0, 1)


def test_a_table_is_read_beside_its_images(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "c.png"):
        picture(tmp_path / name)
    found = open_samples(
        table(tmp_path / "list.csv", "\ufeffimage, label,patient\na.png,x,1\nsub/b.png, y ,1\nc.png,x,\n")
    )
    assert found.classes == ("x", "y")
    assert found.labels.tolist() == [0, 1, 0]
    assert list(found.patients) == ["1", "1", "c.png"]
    assert list(found.names) == ["a.png", "sub/b.png", "c.png"]


def test_several_labels_of_one_image(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    found = open_samples(table(tmp_path / "list.csv", "image,label\na.png,x;y\nb.png,\nc.png,y\n"))
    assert found.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert presence(found) is found.labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,label,sex\na.png,x,f\n", "unknown column 'sex'"),
        ("image,class\na.png,x\n", "unknown column 'class'"),
        ("image\na.png\n", "no column 'label'"),
        ("image,label\n", "no images"),
        ("", "empty|no column"),
        ("image,label\na.png,x\nb.png,y\n", "row 3: there is no image .*b.png"),
        ("image,label\na.png,\n", "row 2 .a.png. has no label"),
        ("image,label\na.png\n", "row 2 does not have 2 values"),
        ("image,label\na.png,x,y\n", "row 2 does not have 2 values"),
        ("image,label\na.png,x\na.png,y\n", "a.png: is in the list 2 times"),
    ],
)
def test_a_wrong_table_says_where(tmp_path: Path, text: str, words: str) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(ReadError, match=words) as caught:
        open_samples(table(tmp_path / "list.csv", text))
    assert "list.csv" in str(caught.value)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(ReadError, match=r"list.csv: .*UTF-8"):
        open_samples(path)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "only" / "a.png")
    with pytest.raises(ReadError, match="only 'only'"):
        open_samples(tmp_path)
    with pytest.raises(ReadError, match="no such"):
        open_samples(tmp_path / "nothing.csv")
    with pytest.raises(ReadError, match="neither"):
        open_samples(picture(tmp_path / "a.png"))


def test_damaged_and_deep_images_are_named_when_they_are_read(tmp_path: Path) -> None:
    picture(tmp_path / "x" / "good.png")
    bad = picture(tmp_path / "y" / "bad.png")
    bad.write_bytes(bad.read_bytes()[:50])
    nibabel.save(
        nibabel.Nifti1Image(np.random.default_rng(0).random((4, 5, 6), np.float32), np.eye(4)),
        tmp_path / "y" / "deep.nii.gz",
    )
    found = open_samples(tmp_path)
    with pytest.raises(ReadError, match=r"bad\.png"):
        found.image(list(found.names).index("y/bad.png"))
    with pytest.raises(ReadError, match=r"deep.nii.gz: .*single image"):
        found.image(list(found.names).index("y/deep.nii.gz"))


def test_one_slice_of_a_medical_format_lies_as_it_is_displayed(tmp_path: Path) -> None:
    plane = np.arange(20, dtype=np.float32).reshape(4, 5)
    for name, array in (("x", plane), ("y", plane[:, :, None])):
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / name / "slice.nii.gz")
    found = open_samples(tmp_path, IntensityParams(low_percentile=0, high_percentile=100))
    for index in range(2):
        np.testing.assert_allclose(found.image(index), plane.T / 19, rtol=1e-6)


def test_values_that_are_not_finite_become_black_as_when_an_image_is_refined(tmp_path: Path) -> None:
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    image[0, 0] = np.nan
    for name in "xy":
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", image)
    found = open_samples(tmp_path).image(0)
    assert found[0, 0] == 0
    assert np.isfinite(found).all()
    tifffile.imwrite(tmp_path / "x" / "a.tif", np.full((8, 8), np.nan, np.float32))
    with pytest.raises(ReadError, match=r"a.tif: .*finite"):
        open_samples(tmp_path).image(0)


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        ([0, 1], {}, r"shape \(3,\)"),
        ([0, 1, 2], {}, "image 2: label 2 is not one of 2"),
        ([0, -1, 1], {}, "image 1: label -1"),
        ([[0, 1], [0, 2], [1, 1]], {}, r"image 1: label \[0, 2\] is not 0 or 1"),
        ([0, 1, 1], {"patients": ["a"]}, "patients must be 3"),
        ([0, 1, 1], {"names": ["a", "a", "b"]}, "a: is in the list 2 times"),
        ([0, 1, 1], {"classes": ["a", "a"]}, "unique"),
    ],
)
def test_parts_that_do_not_belong_together_are_named(labels: list, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ArraySamples(np.zeros((3, 4, 4)), labels, **({"classes": ["a", "b"]} | options))


def test_a_subset_is_a_view_in_its_own_order() -> None:
    images = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), np.float32) / 4
    whole = ArraySamples(images, [0, 1, 0, 1], ["a", "b"], ["p", "q", "r", "s"])
    part = Subset(whole, [3, 0])
    assert len(part) == 2
    assert part.labels.tolist() == [1, 0]
    assert (list(part.patients), list(part.names)) == (["s", "p"], ["image 3", "image 0"])
    assert part.image(0)[0, 0] == 0.75


def test_the_checksum_tells_lists_apart() -> None:
    def checksum(**changes: object) -> str:
        values: dict = {"labels": [0, 1], "classes": ["a", "b"], "patients": ["p", "q"], "names": ["x", "y"]}
        return list_checksum(ArraySamples(np.zeros((2, 4, 4)), **(values | changes)))

    changed = [
        {},
        {"labels": [1, 0]},
        {"classes": ["b", "a"]},
        {"patients": ["p", "p"]},
        {"names": ["y", "x"]},
    ]
    assert len({checksum(**change) for change in changed}) == len(changed)
    assert checksum() == checksum()


def test_samples_have_no_place_for_a_mask() -> None:
    members = {name for name in dir(samples_module.Samples) if not name.startswith("_")}
    assert members == {"labels", "patients", "names", "classes", "image"}
    source = inspect.getsource(samples_module)
    assert source.count("load(") == 1
