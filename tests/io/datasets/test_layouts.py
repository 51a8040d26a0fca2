"""Each layout is found as people have it on disk, without reading a pixel."""

import shutil

import pytest

from napari_refit import ReadError
from napari_refit.io.datasets import DATASETS, Declaration, find_dataset, registry
from napari_refit.io.datasets.preparation import Preparation


def kinds(dataset):
    return sorted((item.severity, item.kind) for item in dataset.findings)


@pytest.fixture(autouse=True)
def no_pixel_is_read(monkeypatch):
    """Finding must not even open an image."""

    def refuse(path):
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("napari_refit.io.datasets.reading.load", refuse)


@pytest.mark.parametrize("where", [".", "..", "benign"])
def test_busi_from_above_inside_and_one_class(busi, where):
    dataset = find_dataset(busi / where)
    assert dataset.declaration.name == "busi"
    names = ["benign (1)", "benign (2)", "benign (10)", "malignant (1)", "normal (1)"]
    assert [case.name for case in dataset.cases] == (names[:3] if where == "benign" else names)
    assert dataset.root == busi
    two = dataset.case("benign (2)")
    assert [path.name for path in two.truth.paths] == ["benign (2)_mask.png", "benign (2)_mask_1.png"]
    assert two.label == "benign"
    assert dataset.findings == ()


def test_busi_groups_come_from_the_table_beside_it(busi):
    (busi / "near_duplicate_groups.csv").write_text("group,case\n7,benign (1)\n7,malignant (1)\n")
    dataset = find_dataset(busi)
    groups = {case.name: case.group for case in dataset.cases}
    assert groups["benign (1)"] == groups["malignant (1)"] != groups["benign (2)"]
    (busi / "near_duplicate_groups.csv").write_text("group,case\n7,benign (1)\n8,benign (1)\n")
    with pytest.raises(ReadError, match=r"line 3: benign \(1\) is in the groups 7 and 8"):
        find_dataset(busi)


def test_busi_pairs_that_are_torn_apart(busi):
    (busi / "benign" / "benign (1)_mask.png").unlink()
    (busi / "benign" / "benign (10).png").unlink()
    (busi / "normal" / "notes.png").write_bytes(b"")
    dataset = find_dataset(busi)
    assert kinds(dataset) == [
        ("error", "missing image"),
        ("error", "missing mask"),
        ("warning", "stray file"),
    ]
    assert dataset.case("benign (1)").truth is None
    assert "benign (10)" not in {case.name for case in dataset.cases}


@pytest.mark.parametrize("year", [2020, 2021, 2023])
def test_brats_of_every_year(make_brats, year):
    dataset = find_dataset(make_brats(year).parent)
    assert dataset.declaration.name == "brats"
    assert len(dataset) == 3
    case = dataset.cases[0]
    assert list(case.images) == ["T1", "T1ce", "T2", "FLAIR"]
    flair = case.images["FLAIR"].paths[0].name
    assert (
        flair.removesuffix(".gz")
        == {
            2020: "BraTS20_Training_001_flair.nii",
            2021: "BraTS2021_00001_flair.nii",
            2023: "BraTS-GLI-00001-000-t2f.nii",
        }[year]
    )
    assert case.images["T1ce"].paths[0].name.rpartition("-" if year == 2023 else "_")[2].startswith("t1c")
    assert case.patient == ("BraTS-GLI-00001" if year == 2023 else case.name)


def test_brats_time_points_are_one_patient(make_brats):
    root = make_brats(2023, numbers=(1,))
    later = root / "BraTS-GLI-00001-001"
    shutil.copytree(root / "BraTS-GLI-00001-000", later)
    for path in later.iterdir():
        path.rename(path.with_name(path.name.replace("-000-", "-001-")))
    assert {case.patient for case in find_dataset(root).cases} == {"BraTS-GLI-00001"}


def test_brats_without_mask_and_with_the_misnamed_one(make_brats):
    root = make_brats(2020)
    first, second = (root / f"BraTS20_Training_00{k}" for k in (1, 2))
    (first / f"{first.name}_seg.nii").rename(first / "W39_1998.09.19_Segm.nii")
    (second / f"{second.name}_seg.nii").unlink()
    (second / f"{second.name}_t1.nii").unlink()
    dataset = find_dataset(root)
    assert dataset.case(first.name).truth.paths[0].name == "W39_1998.09.19_Segm.nii"
    assert dataset.case(second.name).truth is None
    assert kinds(dataset) == [("note", "missing mask"), ("warning", "missing modality")]
    assert dataset.unlabelled == (second.name,)
    with pytest.raises(ReadError, match=f"{second.name} has no T1; its modalities are: T1ce, T2, FLAIR"):
        dataset.images_of(dataset.case(second.name), ["T1"])


def test_decathlon_prostate_has_two_modalities_in_one_file(make_decathlon):
    root = make_decathlon("Task05_Prostate", ["T2", "ADC"], ["background", "PZ", "TZ"])
    for path in (root, root.parent, root / "dataset.json"):
        dataset = find_dataset(path)
        assert dataset.declaration.name == "decathlon"
        assert dataset.root == root
        assert dataset.modalities == ("T2", "ADC")
        assert [dataset.cases[0].images[name].channel for name in ("T2", "ADC")] == [0, 1]
        assert dataset.class_names == ("PZ", "TZ")
        assert dataset.preparations["paper"].modalities == ("ADC",)


def test_decathlon_index_and_files_that_disagree(make_decathlon):
    root = make_decathlon("Task04_Hippocampus", ["MRI"], ["background", "Anterior", "Posterior"])
    (root / "imagesTr" / "hippocampus_03.nii.gz").unlink()
    (root / "labelsTr" / "hippocampus_04.nii.gz").unlink()
    (root / "imagesTr" / "._hippocampus_05.nii.gz").write_bytes(b"macOS leaves these")
    (root / "imagesTr" / "hippocampus_99.nii.gz").write_bytes(b"")
    dataset = find_dataset(root)
    assert kinds(dataset) == [
        ("error", "missing image"),
        ("error", "missing mask"),
        ("warning", "stray file"),
    ]
    assert len(dataset) == 7


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "holds no object"),
        ('{"training": 3, "labels": 1, "modality": 2}', "no Decathlon"),
    ],
)
def test_decathlon_index_that_is_damaged(tmp_path, content, words):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ReadError, match=words):
        find_dataset(tmp_path)


def test_several_decathlon_tasks_are_not_guessed_between(make_decathlon):
    root = make_decathlon("Task04_Hippocampus", ["MRI"], ["background", "A"])
    make_decathlon("Task09_Spleen", ["CT"], ["background", "spleen"])
    with pytest.raises(ReadError, match="Task04_Hippocampus, Task09_Spleen"):
        find_dataset(root.parent)


def test_lgg_in_both_layouts(lgg_slices, lgg_nifti):
    for path in (lgg_slices, lgg_nifti):
        dataset = find_dataset(path)
        assert dataset.declaration.name == "lgg"
        assert len(dataset) == 3
        assert {case.patient for case in dataset.cases} == {"TCGA_CS_4941", "TCGA_DU_5849"}
        assert list(dataset.cases[0].images) == ["pre-contrast", "FLAIR", "post-contrast"]
        assert dataset.findings == ()
    # Numbers are counted, not spelled: slice 10 comes after slice 9.
    files = find_dataset(lgg_slices).cases[0].images["FLAIR"].paths
    assert [path.name.split("_")[-1] for path in files] == [f"{k}.tif" for k in range(1, 12)]


def test_lgg_archive_that_holds_everything_twice(lgg_slices):
    shutil.copytree(lgg_slices, lgg_slices.parent / "lgg-mri-segmentation" / "kaggle_3m")
    dataset = find_dataset(lgg_slices.parent)
    assert len(dataset) == 3
    assert all(path.parent.parent == lgg_slices for path in dataset.cases[0].images["FLAIR"].paths)
    assert kinds(dataset) == [("note", "stray file")] * 3


def test_lgg_slices_that_are_missing(lgg_slices):
    name = "TCGA_DU_5849_19950405"
    (lgg_slices / name / f"{name}_4.tif").unlink()
    (lgg_slices / name / f"{name}_6_mask.tif").unlink()
    found = kinds(find_dataset(lgg_slices))
    assert found == [("error", "missing image"), ("error", "missing mask"), ("warning", "missing slice")]


def test_prostate158(prostate158):
    (prostate158 / "train" / "021" / "t2_tumor_reader1.nii.gz").unlink()
    dataset = find_dataset(prostate158)
    assert dataset.declaration.name == "prostate158"
    assert [case.name for case in dataset.cases] == ["020", "021"]
    assert [path.name for path in dataset.cases[0].truth.paths] == [
        "t2_anatomy_reader1.nii.gz",
        "t2_tumor_reader1.nii.gz",
    ]
    assert kinds(dataset) == [("note", "missing mask")]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not looked at")


def test_a_folder_of_images_and_one_of_masks(tmp_path):
    touch(
        tmp_path,
        "images/a.png",
        "images/b.png",
        "images/c.png",
        "masks/a.png",
        "masks/b_mask.png",
        "masks/d.png",
    )
    dataset = find_dataset(tmp_path)
    assert dataset.declaration.name == "folder"
    truths = {case.name: case.truth and case.truth.paths[0].name for case in dataset.cases}
    assert truths == {"a": "a.png", "b": "b_mask.png", "c": None}
    assert kinds(dataset) == [("error", "missing image"), ("error", "missing mask")]


def test_images_and_masks_side_by_side(tmp_path):
    touch(
        tmp_path, "scan.nii.gz", "scan_seg.nii.gz", "two.png", "two_mask.png", "two_mask_2.png", "notes.txt"
    )
    dataset = find_dataset(tmp_path)
    assert {case.name: len(case.truth.paths) for case in dataset.cases} == {"scan": 1, "two": 2}
    assert dataset.class_names == ("foreground",)


def test_a_folder_per_class(tmp_path):
    touch(tmp_path, "tumour/1.png", "tumour/2.png", "cyst/1.png", "normal/1.png", "cyst/1_mask.png")
    dataset = find_dataset(tmp_path)
    assert {case.name: case.label for case in dataset.cases} == {
        "cyst/1": "cyst",
        "normal/1": "normal",
        "tumour/1": "tumour",
        "tumour/2": "tumour",
    }
    assert dataset.class_names == ("cyst", "tumour")
    assert dataset.case("cyst/1").truth is not None
    assert dataset.findings == ()


def test_patterns_name_case_and_patient(tmp_path):
    touch(
        tmp_path,
        "p1/s1_t2.nii.gz",
        "p1/s1_seg.nii.gz",
        "p1/s2_t2.nii.gz",
        "p2/s1_t2.nii.gz",
        "p2/s1_seg.nii.gz",
    )
    dataset = find_dataset(tmp_path, images="{patient}/{case}_t2.nii.gz", masks="{patient}/{case}_seg.nii.gz")
    assert [(case.name, case.patient, case.truth is not None) for case in dataset.cases] == [
        ("p1/s1", "p1", True),
        ("p1/s2", "p1", False),
        ("p2/s1", "p2", True),
    ]
    several = find_dataset(tmp_path, images="*/{case}_t2.nii.gz")
    assert kinds(several) == [("error", "stray file")]
    assert [case.name for case in several.cases] == ["s1", "s2"]


@pytest.mark.parametrize(
    ("images", "masks", "error", "words"),
    [
        ("*.png", None, ValueError, "must hold {case} once"),
        ("{name}.png", None, ValueError, "must hold {case} once"),
        ("{case}.png", None, ReadError, "no file matches"),
        (None, "{case}.png", ValueError, "needs a pattern of images"),
    ],
)
def test_patterns_that_make_no_sense(tmp_path, images, masks, error, words):
    touch(tmp_path, "a.nii")
    with pytest.raises(error, match=words):
        find_dataset(tmp_path, images=images, masks=masks)


def write_table(tmp_path, text, *images):
    touch(tmp_path, *images)
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path / "labels.csv"


def test_a_table_of_labels(tmp_path):
    head, slices = "image,label,patient,axis,index", "a.nii.gz,tumour;oedema,p1,2,5\na.nii.gz,normal,p1,2,6"
    text = f"{head}\n{slices}\nsub/b.png,tumour,p2,,\n"
    path = write_table(tmp_path, text, "a.nii.gz", "sub/b.png")
    for where in (path, tmp_path):
        dataset = find_dataset(where)
        assert dataset.declaration.name == "table"
        assert [(case.name, case.patient) for case in dataset.cases] == [("a", "p1"), ("sub/b", "p2")]
        assert dataset.class_names == ("oedema", "tumour")
        assert [row.labels for row in dataset.labels.rows] == [(1, 1), (0, 0), (0, 1)]
        assert dataset.findings == ()


def test_a_table_that_contradicts_itself_or_names_no_image(tmp_path):
    text = "image,label\na.png,tumour\na.png,normal\nb.png,tumour\nb.png,tumour\nc.png,tumour\n"
    dataset = find_dataset(write_table(tmp_path, text, "a.png", "b.png"))
    assert kinds(dataset) == [
        ("error", "contradiction"),
        ("error", "missing image"),
        ("warning", "duplicate"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.png,x\n", "no column image"),
        ("image,label\n", "no rows"),
        ("image,label\na.png\n", "line 2"),
        ("image,label\na.png,\n", "line 2 has no label"),
        ("image,label\n,x\n", "line 2 names no image"),
        ("image,label,axis,index\na.png,x,2,\n", "only one of axis and index"),
        ("image,label,axis,index\na.png,x,2,-1\n", "index '-1'"),
        ("image,label,patient\na.png,x,p1\na.png,x,p2\n", "line 3"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, words):
    with pytest.raises(ReadError, match=words):
        find_dataset(write_table(tmp_path, text, "a.png"))


def test_nothing_known_says_what_was_looked_for_and_found(tmp_path):
    touch(tmp_path, "notes.txt", "papers/one.pdf")
    with pytest.raises(ReadError) as caught:
        find_dataset(tmp_path)
    message = str(caught.value)
    for declaration in DATASETS.values():
        assert declaration.recognised in message
    assert "Found 1 folder (papers) and 1 file (1 .txt)" in message
    with pytest.raises(ReadError, match="there is no such file or folder"):
        find_dataset(tmp_path / "missing")
    with pytest.raises(ValueError, match="unknown dataset 'bsui'; there are: busi"):
        find_dataset(tmp_path, "bsui")
    with pytest.raises(ReadError, match="Looked for busi: folders benign"):
        find_dataset(tmp_path, "busi")


def test_a_file_that_stands_for_no_dataset(busi):
    with pytest.raises(ReadError, match="Found a file"):
        find_dataset(busi / "benign" / "benign (1).png")


def test_two_known_datasets_below_one_folder_are_not_guessed_between(busi, make_brats):
    make_brats(2021)
    with pytest.raises(ReadError, match=r"several datasets \(busi, brats\)"):
        find_dataset(busi.parent)
    assert len(find_dataset(busi.parent, "brats")) == 3


def test_a_dataset_registered_from_outside_is_found_first(tmp_path, monkeypatch, busi):
    monkeypatch.setattr(registry, "DATASETS", dict(DATASETS))
    busi_again = Declaration(
        "mine", "Mine", "", "nothing", DATASETS["busi"].scan, classes=DATASETS["busi"].classes
    )
    registry.register_dataset(busi_again)
    assert next(iter(registry.DATASETS)) == "mine"
    assert registry.find_dataset(busi, "mine").declaration.title == "Mine"
    with pytest.raises(TypeError, match="a Declaration is needed"):
        registry.register_dataset("mine")


@pytest.mark.parametrize("declaration", DATASETS.values(), ids=lambda item: item.name)
def test_declarations_are_whole(declaration):
    assert declaration.layout
    assert declaration.recognised
    assert declaration.licence
    assert declaration.patients
    assert "default" in declaration.preparations
    if not declaration.is_general:
        assert declaration.citation
        assert declaration.url.startswith("http")
    names = {rule.name for rule in declaration.classes}
    for merged in declaration.merged.values():
        assert merged == ("*",) or set(merged) <= names
    for preparation in declaration.preparations.values():
        assert isinstance(preparation, Preparation)
        assert not declaration.modalities or set(preparation.modalities) <= set(declaration.modalities)
    values = [value for rule in declaration.classes for value in rule.values]
    assert len(values) == len(set(values))
