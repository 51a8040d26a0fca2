"""Images, masks, slices: right values, right grid, whatever the layout."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_refit import ReadError, Refit
from napari_refit.io.datasets import Preparation, Slice, find_dataset
from napari_refit.io.datasets.preparation import crop_ranges


def test_several_masks_of_a_picture_are_merged_and_opacity_is_not_foreground(busi):
    dataset = find_dataset(busi)
    case = dataset.case("benign (2)")
    truth = dataset.read_truth(case)
    expected = np.zeros((40, 48), np.uint8)
    expected[5:15, 12:30] = expected[30:35, 2:8] = 1
    assert truth.dtype == np.uint8
    assert truth.axes == ("y", "x")
    assert np.array_equal(truth.data, expected)
    assert set(np.unique(dataset.read_truth(dataset.case("malignant (1)")).data)) == {0, 2}
    assert not dataset.read_truth(dataset.case("normal (1)")).data.any()


def test_class_numbers_follow_the_preparation(busi):
    for classes, number in (
        (("lesion",), 1),
        (("malignant", "benign"), 2),
        (("malignant",), 0),
        (("x=*",), 1),
    ):
        dataset = find_dataset(busi).prepared(Preparation(classes=classes))
        assert dataset.read_truth(dataset.case("benign (1)")).data.max() == number


def test_a_normal_picture_with_a_lesion_is_refused(busi):
    Image.fromarray(np.eye(40, 48) > 0).save(busi / "normal" / "normal (1)_mask.png")
    dataset = find_dataset(busi)
    with pytest.raises(
        ReadError, match=r"normal \(1\)_mask.png: marks something in an image labelled 'normal'"
    ):
        dataset.read_truth(dataset.case("normal (1)"))


@pytest.mark.parametrize("year", [2021, 2023])
def test_brats_classes_mean_the_same_in_every_year(make_brats, year):
    dataset = find_dataset(make_brats(year))
    case = dataset.cases[0]
    assert dataset.class_names == ("whole tumour",)
    assert dataset.read_truth(case).data.sum() == 6 * 6 * 3
    each = dataset.prepared(Preparation(classes=("necrotic core", "oedema", "enhancing tumour")))
    assert np.bincount(each.read_truth(case).data.ravel())[1:].tolist() == [8, 6 * 6 * 3 - 9, 1]
    nested = dataset.prepared(Preparation(classes=("whole tumour", "tumour core")))
    assert np.bincount(nested.read_truth(case).data.ravel())[1:].tolist() == [6 * 6 * 3 - 9, 9]


def test_modalities_come_one_by_one_or_as_channels(make_brats):
    dataset = find_dataset(make_brats(2020))
    case = dataset.cases[0]
    assert dataset.chosen_modalities == ("FLAIR",)
    files = {
        name: np.asarray(nibabel.load(case.images[name].paths[0]).dataobj) for name in dataset.modalities
    }
    for name, expected in files.items():
        volume = dataset.read_image(case, name)
        assert np.array_equal(volume.data, expected)
        assert np.array_equal(volume.affine, nibabel.load(case.images[name].paths[0]).affine)
    both = dataset.prepared("two-modalities").read_image(case)
    assert both.axes == ("x", "y", "z", "c")
    assert np.array_equal(both.data, np.stack([files["T2"], files["FLAIR"]], axis=-1))


def test_channels_of_one_file(make_decathlon):
    dataset = find_dataset(make_decathlon("Task05_Prostate", ["T2", "ADC"], ["background", "PZ", "TZ"]))
    case = dataset.cases[0]
    whole = np.asarray(nibabel.load(case.images["T2"].paths[0]).dataobj)
    for channel, name in enumerate(("T2", "ADC")):
        volume = dataset.read_image(case, name)
        assert volume.shape == (10, 9, 5)
        assert volume.spacing == (1.0, 1.5, 2.0)
        assert np.array_equal(volume.data, whole[..., channel])
    paper = dataset.prepared("paper")
    assert paper.chosen_modalities == ("ADC",)
    assert paper.class_names == ("foreground",)
    assert set(np.unique(paper.read_truth(case).data)) == {0, 1}
    assert paper.read_slice(paper.slices(case)[2]).shape == (320, 320)


def test_both_lgg_layouts_give_the_same_slices(lgg_slices, lgg_nifti, lgg_volumes):
    datasets = [find_dataset(path).prepared("all-channels") for path in (lgg_slices, lgg_nifti)]
    for name, (image, mask) in lgg_volumes.items():
        for dataset in datasets:
            case = dataset.case(name)
            planes = dataset.slices(case)
            assert len(planes) == len(image)
            for k in (0, 4, len(image) - 1):
                assert np.array_equal(dataset.read_slice(planes[k]), image[k])
                assert np.array_equal(dataset.read_truth_slice(planes[k]), mask[k])


def test_a_slice_is_what_the_pipeline_shows(lgg_nifti):
    dataset = find_dataset(lgg_nifti)
    case = dataset.cases[0]
    plane = dataset.slices(case)[5]
    volume = dataset.read_image(case)
    shown = Refit(volume).slice(plane.index, axis=plane.axis).image
    grey = dataset.read_slice(plane)
    # The pipeline answers in the order of the file; a slice is given as it is displayed.
    assert np.corrcoef(shown.T.ravel(), grey.ravel())[0, 1] > 0.99


def test_crop_keeps_geometry_and_slice_numbers(make_brats):
    dataset = find_dataset(make_brats(2021))
    case = dataset.cases[0]
    cropped = dataset.prepared(Preparation(classes=("whole tumour",), axis="2", crop="2:10, 1:9, 3:7"))
    whole, part = dataset.read_image(case), cropped.read_image(case)
    assert part.shape == (8, 8, 4)
    assert np.array_equal(part.data, whole.data[2:10, 1:9, 3:7])
    assert np.allclose(part.affine @ [0, 0, 0, 1], whole.affine @ [2, 1, 3, 1])
    truth = cropped.read_truth(case)
    assert np.array_equal(truth.affine, part.affine)
    assert np.array_equal(truth.data, dataset.read_truth(case).data[2:10, 1:9, 3:7])
    planes = cropped.slices(case)
    assert planes[0] == Slice(case.name, 2, 3)
    assert len(planes) == 4
    assert np.array_equal(cropped.read_slice(planes[1]), whole.data[2:10, 1:9, 4].T)
    assert np.array_equal(cropped.read_truth_slice(planes[1]), truth.data[:, :, 1].T)
    with pytest.raises(IndexError, match="slice 7 is outside"):
        cropped.read_slice(Slice(case.name, 2, 10))
    with pytest.raises(IndexError, match="before the first"):
        cropped.read_slice(Slice(case.name, 2, 1))


def test_a_crop_beyond_the_image_names_the_case(make_brats):
    dataset = find_dataset(make_brats(2021)).prepared("paper")
    with pytest.raises(
        ValueError, match=r"BraTS2021_00001: crop '56:184, 56:184, 13:141' does not fit the shape"
    ):
        dataset.slices(dataset.cases[0])


@pytest.mark.parametrize("text", ["1:2:3", "5:5", "9:3", "a:b", "1"])
def test_crops_that_make_no_sense(text):
    with pytest.raises(ValueError, match="crop"):
        Preparation(crop=text)
    with pytest.raises(ValueError, match="crop"):
        crop_ranges(text)


def test_scaling_by_slice_and_by_image(make_brats):
    dataset = find_dataset(make_brats(2021))
    case = dataset.cases[0]
    values = dataset.read_image(case).data.astype(float)
    options = {"axis": "2", "modalities": ("FLAIR",)}
    by_slice = dataset.prepared(Preparation(scaling="slice", **options)).read_slice(Slice(case.name, 2, 3))
    plane = values[:, :, 3].T
    assert np.allclose(by_slice, (plane - plane.min()) / (plane.max() - plane.min()), atol=1e-6)
    by_image = dataset.prepared(Preparation(scaling="image", **options)).read_slice(Slice(case.name, 2, 3))
    assert np.allclose(by_image, (plane - values.min()) / (values.max() - values.min()), atol=1e-6)
    assert by_slice.dtype == by_image.dtype == np.float32
    # Two modalities are each scaled by themselves, though one is a thousand brighter.
    both = dataset.prepared(Preparation(scaling="slice", axis="2", modalities=("T1", "FLAIR")))
    channels = both.read_slice(Slice(case.name, 2, 3))
    assert channels.min(axis=(0, 1)).tolist() == [0, 0]
    assert channels.max(axis=(0, 1)).tolist() == [1, 1]


def test_resizing_keeps_types_and_labels(busi):
    dataset = find_dataset(busi).prepared("paper")
    plane = dataset.slices(dataset.cases[0])[0]
    image, truth = dataset.read_slice(plane), dataset.read_truth_slice(plane)
    assert image.shape == (512, 512, 3)
    assert image.dtype == np.uint8
    assert truth.shape == (512, 512)
    assert set(np.unique(truth)) == {0, 1}
    assert truth.mean() == pytest.approx(dataset.read_truth(dataset.cases[0]).data.mean(), abs=0.01)


def test_only_benign_pictures(busi):
    dataset = find_dataset(busi).prepared("paper")
    assert {case.label for case in dataset.cases} == {"benign"}
    # A preparation takes the place of the one before it.
    both = dataset.prepared("benign-normal")
    assert {case.label for case in both.cases} == {"benign", "normal"}
    assert both.class_names == ("benign",)


@pytest.mark.parametrize(
    ("preparation", "words"),
    [
        ("nope", "no preparation 'nope'; there are: default, paper"),
        (
            Preparation(include=("begin",)),
            "no case is labelled 'begin'; the labels are: benign, malignant, normal",
        ),
        (Preparation(modalities=("T9",)), "no modality 'T9'; there are: ultrasound"),
        (Preparation(classes=("cyst",)), "no class 'cyst'; there are: benign, malignant, lesion"),
        (Preparation(classes=("all=benign+cyst",)), "no class 'cyst'"),
    ],
)
def test_preparations_that_do_not_fit(busi, preparation, words):
    with pytest.raises(ValueError, match=words):
        find_dataset(busi).prepared(preparation)


def test_unexpected_values_and_fractions_in_masks_are_named(make_decathlon):
    root = make_decathlon("Task04_Hippocampus", ["MRI"], ["background", "Anterior", "Posterior"])
    dataset = find_dataset(root)
    for number, value, words in (
        (0, 7, "holds the values 7; .* hold 0, 1, 2"),
        (1, 0.5, "holds 0.5; a mask needs whole"),
    ):
        path = root / "labelsTr" / f"hippocampus_{number:02}.nii.gz"
        image = nibabel.load(path)
        data = np.asarray(image.dataobj).astype(np.float32)
        data[0, 0, 0] = value
        nibabel.save(nibabel.Nifti1Image(data, image.affine), path)
        with pytest.raises(ReadError, match=f"{path.name}: {words}"):
            dataset.read_truth(dataset.cases[number])


def test_masks_and_modalities_on_another_grid_are_named(make_brats):
    root = make_brats(2021)
    dataset = find_dataset(root)
    case = dataset.cases[0]
    for path in (case.truth.paths[0], case.images["T2"].paths[0]):
        image = nibabel.load(path)
        shifted = image.affine.copy()
        shifted[0, 3] += 3
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), shifted), path)
    with pytest.raises(ReadError, match=r"_seg.nii.gz: does not lie on the image's grid: .* 3 mm"):
        dataset.read_truth(case)
    with pytest.raises(ReadError, match=r"_flair.nii.gz: does not lie on the grid of .*_t2.nii.gz"):
        dataset.prepared("two-modalities").read_image(case)


def test_planes_that_do_not_fit_the_image(busi, lgg_nifti):
    dataset = find_dataset(busi)
    with pytest.raises(ValueError, match=r"does not go with slice 3 of axis 0"):
        dataset.read_slice(Slice("benign (1)", 0, 3))
    volumes = find_dataset(lgg_nifti)
    with pytest.raises(ValueError, match="does not go with no slice"):
        volumes.read_slice(Slice(volumes.cases[0].name))
    with pytest.raises(KeyError, match=r"no case 'x'; there are benign \(1\)"):
        dataset.case("x")


def test_prostate158_tumour_lies_on_top(prostate158):
    dataset = find_dataset(prostate158)
    truth = dataset.read_truth(dataset.cases[0])
    anatomy = np.asarray(nibabel.load(dataset.cases[0].truth.paths[0]).dataobj)
    tumour = np.asarray(nibabel.load(dataset.cases[0].truth.paths[1]).dataobj)
    assert np.array_equal(truth.data, np.where(tumour > 0, 3, anatomy))
    merged = dataset.prepared("merged")
    assert np.array_equal(merged.read_truth(dataset.cases[0]).data, (anatomy > 0) | (tumour > 0))


def test_a_stack_of_unequal_slices_is_named(lgg_slices):
    dataset = find_dataset(lgg_slices)
    import tifffile

    odd = dataset.cases[0].images["FLAIR"].paths[3]
    tifffile.imwrite(odd, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ReadError, match=odd.name):
        _ = dataset.read_image(dataset.cases[0]).data
