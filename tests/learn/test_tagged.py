"""Tagged planes as something to train on, and their tables, held against the readers of files."""

from __future__ import annotations

import csv
from pathlib import Path

import dask.array
import numpy as np
import pytest

import napari_refit as refit
from napari_refit.errors import Cancelled, ReadError, WriteError
from napari_refit.io.volume import Volume
from napari_refit.learn.samples import open_samples, presence
from napari_refit.learn.tag_files import TableRow, path_in_table, read_tags, write_tags
from napari_refit.learn.tagged import OpenImage, TaggedSamples, every_plane, tags_of_values, values_by_plane
from napari_refit.learn.tags import Tag
from napari_refit.learn.telling import overview
from napari_refit.params import IntensityParams
from napari_refit.planes import Planes

DRAW = np.random.default_rng(5)
VOLUME = DRAW.integers(0, 900, (6, 8, 7)).astype(np.int16)


def samples_of(array, tags, classes=("lesion", "cyst"), rgb=False, intensity=None):
    return TaggedSamples(
        [OpenImage("scan", Planes(array, rgb))], [(0, *tag) for tag in tags], classes, intensity
    )


def cut(axis, *positions):
    return [((axis, at),) for at in positions]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_are_those_of_the_array_scaled_on_the_whole(axis):
    tags = [(index, Tag(("lesion",) if k % 2 else ())) for k, index in enumerate(cut(axis, 0, 3, 5))]
    samples = samples_of(VOLUME, tags)
    low, high = np.percentile(VOLUME, (0.5, 99.5))
    for number, at in enumerate((0, 3, 5)):
        expected = np.clip((np.take(VOLUME, at, axis) - low) / (high - low), 0, 1)
        np.testing.assert_allclose(samples.image(number), expected, atol=1e-6)


def test_lazy_arrays_are_read_plane_by_plane():
    read = []

    def block(block_info=None):
        (low, high), *_ = block_info[None]["array-location"]
        read.append(low)
        return VOLUME[low:high]

    lazy = dask.array.map_blocks(
        block, chunks=((1,) * 6, (8,), (7,)), dtype=VOLUME.dtype, meta=np.empty((0, 0, 0), VOLUME.dtype)
    )
    read.clear()
    samples = samples_of(
        lazy,
        [(cut(0, 2)[0], Tag(("lesion",))), (cut(0, 4)[0], Tag(()))],
        intensity=IntensityParams(mode="window"),
    )
    assert not read
    samples.image(0)
    assert read == [2]


def test_colour_and_more_axes():
    colours = DRAW.uniform(size=(3, 9, 8, 3))
    samples = samples_of(colours, [(cut(0, 1)[0], Tag(("lesion",))), (cut(0, 2)[0], Tag(()))], rgb=True)
    assert samples.image(0).shape == (9, 8, 3)
    film = DRAW.uniform(size=(2, 3, 5, 4))
    index = ((0, 1), (1, 2))
    samples = samples_of(film, [(index, Tag(("lesion",))), (((0, 0), (1, 0)), Tag(()))])
    assert samples.names == ["scan, slice 1/2", "scan, slice 0/0"]
    assert np.corrcoef(samples.image(0).ravel(), film[1, 2].ravel())[0, 1] > 0.99


def test_several_classes_at_once_become_zeros_and_ones():
    tags = [
        (index, tag)
        for index, tag in zip(
            cut(0, 0, 1, 2, 3), [Tag(("lesion", "cyst")), Tag(("cyst",)), Tag(()), Tag()], strict=True
        )
    ]
    samples = samples_of(VOLUME, tags)
    assert len(samples) == 3
    assert samples.classes == ("lesion", "cyst")
    np.testing.assert_array_equal(samples.labels, [[1, 1], [0, 1], [0, 0]])


def test_nothing_tagged_says_what_to_do():
    with pytest.raises(ValueError, match="nothing is tagged yet: say which slices"):
        samples_of(VOLUME, [(cut(0, 0)[0], Tag())])


def test_a_ground_truth_gives_labels_by_brute_force():
    truth = DRAW.choice([0, 0, 0, 0, 0, 0, 1, 2, 5], (7, 4, 3)) * (np.arange(7) % 3 > 0)[:, None, None]
    for axis in range(3):
        found = values_by_plane(truth, [axis])
        expected = {
            ((axis, at),): tuple(v for v in (1, 2, 5) if (np.take(truth, at, axis) == v).any())
            for at in range(truth.shape[axis])
        }
        assert found == expected
    tags = tags_of_values(values_by_plane(truth, [0]), {1: "lesion", 5: "lesion"})
    assert all(tag.labels in ((), ("lesion",)) for tag in tags.values())
    assert [bool(tag.labels) for tag in tags.values()] == [
        bool(np.isin(plane, (1, 5)).any()) for plane in truth
    ]


def test_reading_labels_can_be_stopped_and_bad_ones_are_named():
    with pytest.raises(Cancelled):
        values_by_plane(np.zeros((3, 4, 4), int), [0], cancelled=lambda: True)
    bad = np.zeros((3, 4, 4), int)
    bad[1, 2, 2] = -1
    with pytest.raises(ValueError, match="slice 1 holds -1"):
        values_by_plane(bad, [0])
    assert list(every_plane((4, 4), [])) == [()]


# -- tables


def write_volume(folder: Path, name: str, array: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    refit.save(path, array, Volume.from_array(array, ("x", "y", "z"), np.diag([1.0, 1.0, 3.0, 1.0])))
    return path


def test_the_command_line_trains_on_what_the_table_says(tmp_path):
    """Written here, read by the dataset reader: the same images, labels and patients."""
    volumes = {name: DRAW.integers(0, 900, (8, 7, 6)).astype(np.int16) for name in ("a", "b")}
    paths = {
        name: write_volume(tmp_path / "scans", f"{name}.nii.gz", array) for name, array in volumes.items()
    }
    table = tmp_path / "labels.csv"
    shown = {0: ("lesion",), 2: (), 3: ("cyst",), 5: ("lesion",)}
    rows = [
        TableRow(path_in_table(path, table), ((2, at),), labels, "" if name == "a" else "ann")
        for name, path in paths.items()
        for at, labels in shown.items()
    ]
    write_tags(table, rows)
    with table.open(newline="") as file:
        assert next(csv.reader(file)) == ["image", "axis", "index", "label", "patient"]
    from_file = open_samples(table)
    images = [OpenImage(name, Planes(array.transpose(2, 1, 0))) for name, array in volumes.items()]
    tags = [
        (k, ((0, at),), Tag(labels, "" if k == 0 else "ann"))
        for k in range(2)
        for at, labels in shown.items()
    ]
    here = TaggedSamples(images, tags, ["cyst", "lesion"])
    assert from_file.classes == here.classes == ("background", "cyst", "lesion")
    np.testing.assert_array_equal(from_file.labels, here.labels)
    assert len(set(from_file.patients)) == len(set(here.patients)) == 2
    for number in range(len(here)):
        np.testing.assert_allclose(from_file.image(number), here.image(number), atol=1e-6)


def test_tables_come_back_as_they_were(tmp_path):
    rows = [
        TableRow("a.png", (), ("lesion", "cyst"), "ann"),
        TableRow("b,c.png", (), ()),
        TableRow("deep/vol.nii.gz", ((2, 11),), ("lesion",), "bob; junior"),
    ]
    write_tags(tmp_path / "t.csv", rows)
    assert read_tags(tmp_path / "t.csv") == rows
    film = [
        TableRow("film.nii.gz", ((0, 3), (1, 5)), ("lesion",)),
        TableRow("film.nii.gz", ((0, 4), (1, 5)), ()),
    ]
    write_tags(tmp_path / "f.csv", film)
    assert read_tags(tmp_path / "f.csv") == film


def test_a_table_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("mine")
    row = TableRow("a.png", (), ("lesion",))
    with pytest.raises(WriteError, match="exists already"):
        write_tags(path, [row])
    assert path.read_text() == "mine"
    write_tags(path, [row], overwrite=True)
    assert read_tags(path) == [row]
    with pytest.raises(ValueError, match="nothing is tagged"):
        write_tags(path, [], overwrite=True)
    assert read_tags(path) == [row]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no column image or label"),
        ("image,label\n", "has no rows"),
        ("image,label\na.png,\n", "line 2 has no label"),
        ("image,label\n,x\n", "line 2 names no image"),
        ("image,axis,index,label\na,0,,x\n", "line 2 gives only one of axis and index"),
        ("image,axis,index,label\na,0,-1,x\n", "index '-1' is no whole number"),
        ("image,axis,index,label\na,0,1,x\na,0,1,y\n", "line 3 contradicts"),
        ("image,axis,index,label,further\na,0,1,x,3\n", "line 2: further '3' must be like 0=3"),
    ],
)
def test_bad_tables_name_file_line_and_value(tmp_path, text, why):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ReadError, match=why) as caught:
        read_tags(path)
    assert str(path) in str(caught.value)


# -- what is said before a training


def test_overview_warns_of_what_cannot_be_scored(blobs):
    text, warning = overview(blobs())
    assert text == "64 images of 16 patients: 32 background, 32 blob."
    assert warning == ""
    tags = [(index, Tag(("lesion",) if k else ())) for k, index in enumerate(cut(0, 0, 1))]
    assert "one patient" in overview(samples_of(VOLUME, tags))[1]
    assert "nothing to tell apart" in overview(samples_of(VOLUME, tags[1:]))[1]
    tags = [
        (cut(0, 0)[0], Tag((), "ann")),
        (cut(0, 1)[0], Tag(("lesion",), "bob")),
        (cut(0, 2)[0], Tag((), "bob")),
    ]
    assert "Only one patient shows lesion" in overview(samples_of(VOLUME, tags))[1]
    assert presence(samples_of(VOLUME, tags)).sum() == 3
