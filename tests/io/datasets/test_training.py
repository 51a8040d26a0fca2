"""Image-level labels are derived once; training then sees images and labels, and no mask."""

import csv
import gc
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from napari_refit import ReadError
from napari_refit.errors import Cancelled
from napari_refit.io.datasets import (
    ImageLabels,
    LabelRow,
    MaskFiles,
    Preparation,
    Slice,
    SplitParams,
    find_dataset,
    image_labels,
    make_split,
    training_set,
)

opened: list[str] | None = None


def _listen(event, arguments):
    if event == "open" and opened is not None and isinstance(arguments[0], str | bytes):
        opened.append(str(arguments[0]))


sys.addaudithook(_listen)


@pytest.fixture(params=["busi", "brats", "decathlon", "lgg slices", "lgg volumes", "prostate158", "folder"])
def dataset(request, tmp_path):
    if request.param == "brats":
        return find_dataset(request.getfixturevalue("make_brats")(2021))
    if request.param == "decathlon":
        make = request.getfixturevalue("make_decathlon")
        return find_dataset(make("Task05_Prostate", ["T2", "ADC"], ["background", "PZ", "TZ"]))
    if request.param == "folder":
        busi = request.getfixturevalue("busi")
        (busi / "benign").rename(tmp_path / "mine")
        return find_dataset(tmp_path / "mine", images="{case}.png", masks="{case}_mask*.png")
    names = {"lgg slices": "lgg_slices", "lgg volumes": "lgg_nifti"}
    return find_dataset(request.getfixturevalue(names.get(request.param, request.param)))


def mask_paths(dataset):
    return {path for case in dataset.cases if case.truth for path in case.truth.paths}


def test_training_cannot_see_a_mask(dataset):
    masks = mask_paths(dataset)
    assert masks
    labels = image_labels(dataset)
    assert labels.matrix.any()
    training = training_set(dataset, labels)
    before = [sample.image for sample in training]
    for path in masks:
        path.unlink()
    # A fresh set, from what may be known of the dataset without its masks, reads every sample all the same.
    global opened
    opened = []
    try:
        again = pickle.loads(pickle.dumps(training))
        samples = [again[k] for k in range(len(again))]
        touched = set(opened)
    finally:
        opened = None
    assert len(samples) == len(labels) > 0
    assert all(np.array_equal(sample.image, image) for sample, image in zip(samples, before, strict=True))
    images = {str(path) for case in dataset.cases for files in case.images.values() for path in files.paths}
    assert touched & images
    assert not touched & set(map(str, masks))


def test_nothing_reachable_from_a_training_set_names_a_mask(dataset):
    masks = {str(path) for path in mask_paths(dataset)}
    names = {"/".join(Path(path).parts[-2:]) for path in masks}
    training = training_set(dataset, image_labels(dataset))
    _ = training[0]
    n_images = 0
    for item in reachable(training):
        assert not isinstance(item, MaskFiles)
        if isinstance(item, str | Path):
            assert str(item) not in masks
            assert not any(name in str(item) for name in names)
            n_images += isinstance(item, Path)
    assert n_images
    # The walk does find masks where there are some.
    assert any(isinstance(item, MaskFiles) for item in reachable(dataset))


def reachable(start):
    """Everything that references lead to, but for code."""
    code = (
        type,
        types.ModuleType,
        types.FunctionType,
        types.BuiltinFunctionType,
        types.CodeType,
        types.FrameType,
    )
    seen, waiting = {}, [start]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, code):
            continue
        seen[id(item)] = item
        waiting += gc.get_referents(item)
    return seen.values()


def test_a_training_set_gives_what_the_dataset_gives(dataset):
    for preparation in (
        dataset.preparation,
        dataset.preparation.model_copy(update={"scaling": "image"}),
        dataset.preparation.model_copy(
            update={"scaling": "slice", "size": 24, "modalities": tuple(dataset.cases[0].images)}
        ),
    ):
        prepared = dataset.prepared(preparation)
        training = training_set(prepared, image_labels(prepared))
        for sample in list(training)[::5]:
            assert np.array_equal(sample.image, prepared.read_slice(sample.row.slice))
            assert sample.labels.tolist() == list(sample.row.labels)


def test_labels_say_which_slice_holds_what(make_brats, lgg_slices):
    brats = find_dataset(make_brats(2021, numbers=(1,)))
    labels = image_labels(brats, "oedema", "tumour core")
    assert labels.classes == ("oedema", "tumour core")
    there = {row.index: row.labels for row in labels.rows}
    assert len(there) == 8
    assert {k for k, present in there.items() if present[0]} == {3, 4, 5}
    assert {k for k, present in there.items() if present[1]} == {4}
    lgg = image_labels(find_dataset(lgg_slices))
    assert [row.index for row in lgg.rows if row.labels == (1,) and row.case.startswith("TCGA_DU")] == [
        3,
        4,
        5,
    ]
    assert {row.patient for row in lgg.rows} == {"TCGA_CS_4941", "TCGA_DU_5849"}


def test_labels_within_a_crop(make_brats):
    dataset = find_dataset(make_brats(2021, numbers=(1,))).prepared(
        Preparation(axis="2", classes=("whole tumour",), crop="8:, :, 2:7")
    )
    labels = image_labels(dataset)
    assert [row.index for row in labels.rows] == [2, 3, 4, 5, 6]
    assert not labels.matrix.any()


def test_labels_from_folders_need_no_mask(tmp_path):
    from PIL import Image

    for name in ("tumour", "cyst", "normal"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / name / "1.png")
    labels = image_labels(find_dataset(tmp_path))
    assert {row.case: row.labels for row in labels.rows} == {
        "cyst/1": (1, 0),
        "normal/1": (0, 0),
        "tumour/1": (0, 1),
    }
    merged = image_labels(find_dataset(tmp_path), "any")
    assert {row.case: row.labels for row in merged.rows} == {
        "cyst/1": (1,),
        "normal/1": (0,),
        "tumour/1": (1,),
    }


def test_labels_from_a_table_of_slices(tmp_path, lgg_nifti, lgg_volumes):
    name = next(iter(lgg_volumes))
    table = lgg_nifti / "labels.csv"
    table.write_text(
        f"image,label,patient,axis,index\n{name}.nii.gz,tumour,p1,2,4\n{name}.nii.gz,normal,p1,2,0\n", "utf-8"
    )
    dataset = find_dataset(table)
    labels = image_labels(dataset)
    assert [(row.index, row.labels, row.patient) for row in labels.rows] == [(4, (1,), "p1"), (0, (0,), "p1")]
    training = training_set(dataset, labels)
    with pytest.raises(ReadError, match="a volume of one image is expected"):
        _ = training[0]
    import nibabel

    image, _ = lgg_volumes[name]
    flair = image[..., 1].transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(flair, np.diag([-1.0, -1, 1, 1])), lgg_nifti / f"{name}.nii.gz")
    assert np.array_equal(training[0].image, image[4, :, :, 1])


def test_one_label_for_a_whole_volume_is_refused(tmp_path):
    import nibabel

    for name in ("tumour", "normal"):
        (tmp_path / name).mkdir()
        nibabel.save(
            nibabel.Nifti1Image(np.ones((5, 6, 7), np.uint8), np.eye(4)), tmp_path / name / "a.nii.gz"
        )
    with pytest.raises(ValueError, match="'normal' is said of the whole volume, not of its 7 slices"):
        image_labels(find_dataset(tmp_path))


def test_labels_are_saved_and_loaded_as_they_are(tmp_path, lgg_nifti):
    labels = image_labels(find_dataset(lgg_nifti))
    labels.save(tmp_path / "labels.csv")
    assert ImageLabels.load(tmp_path / "labels.csv") == labels
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", "patient", "group", "axis", "index", "tumour"]
    assert sum(int(row["tumour"]) for row in rows) == labels.positives["tumour"] == 9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", "no table of image-level labels: it starts with a, b"),
        ("case,patient,group,axis,index,x\na,a,a,,,2\n", "must be 0 or 1"),
        ("case,patient,group,axis,index,x\na,a,a,,\n", "line 2|must be 0 or 1"),
        ("case,patient,group,axis,index,x\na,a,a,one,,1\n", "line 2: invalid literal"),
        ("case,patient,group,axis,index,x\na,a,a,,,1\na,a,a,,,1\n", "a is labelled twice"),
        ("case,patient,group,axis,index,x,x\n", "must differ"),
        ("case,patient,group,axis,index,case\n", "must differ"),
    ],
)
def test_tables_of_labels_that_are_wrong(tmp_path, text, words):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ReadError, match=words) as caught:
        ImageLabels.load(tmp_path / "labels.csv")
    assert "labels.csv" in str(caught.value)


def test_a_training_set_of_one_side_of_a_split(dataset):
    labels = image_labels(dataset)
    params = SplitParams(method="fraction", test_fraction=0.4)
    fold = make_split(dataset.cases, params, labels).folds[0]
    training = training_set(dataset, labels).of(fold.train)
    assert set(training.labels.cases) == set(fold.train) == set(training.images)
    same = training_set(dataset, labels, fold.train)
    assert same.labels == training.labels


def test_labels_of_a_case_that_is_not_there(busi):
    dataset = find_dataset(busi)
    labels = ImageLabels(("benign",), (LabelRow("benign (77)", "", "", None, None, (1,)),))
    with pytest.raises(ValueError, match=r"labels are of 'benign \(77\)', which is no case there"):
        training_set(dataset, labels)


def test_a_stack_is_read_slice_by_slice(lgg_slices):
    dataset = find_dataset(lgg_slices)
    training = training_set(dataset, image_labels(dataset))
    files = dataset.cases[0].images["FLAIR"].paths
    for path in files[:4] + files[5:]:
        path.unlink()
    image = training.read(Slice(dataset.cases[0].name, 0, 4))
    assert image.shape == (16, 14)


def test_deriving_labels_can_be_watched_and_stopped(lgg_nifti):
    dataset = find_dataset(lgg_nifti)
    seen = []
    image_labels(dataset, progress=lambda done, total, text: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(Cancelled):
        image_labels(dataset, cancelled=lambda: True)
