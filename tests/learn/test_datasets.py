"""Known datasets as something to train on."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_refit.errors import ReadError
from napari_refit.intensity import measure_range, normalise
from napari_refit.io.datasets import ImageLabels, LabelRow, Preparation, TrainingSet, find_dataset
from napari_refit.learn.datasets import DatasetSamples, dataset_samples
from napari_refit.learn.samples import open_samples, read_folder
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.training import train
from napari_refit.params import IntensityParams

SHAPE = (24, 20, 6)
N_PATIENTS = 8


def volumes() -> tuple[np.ndarray, np.ndarray]:
    """One noisy volume per patient, and where its bright block lies: in slices 2 to 4."""
    draw = np.random.default_rng(0)
    images = draw.integers(20, 60, (N_PATIENTS, *SHAPE, 3)).astype(np.uint8)
    truth = np.zeros((N_PATIENTS, *SHAPE), np.uint8)
    for patient in range(N_PATIENTS):
        row, column = draw.integers(2, 10, 2)
        truth[patient, row : row + 8, column : column + 8, 2:5] = 1
        images[patient, truth[patient] > 0] += np.uint8(120 + 10 * patient)
    return images, truth


@pytest.fixture
def lgg(tmp_path: Path) -> Path:
    folder = tmp_path / "lgg"
    folder.mkdir()
    for patient, (image, truth) in enumerate(zip(*volumes(), strict=True)):
        name = f"TCGA_CS_{4940 + patient}_20000101"
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth, np.eye(4)), folder / f"{name}_seg.nii.gz")
    return folder


@pytest.fixture
def busi(tmp_path: Path) -> Path:
    """Two benign pictures that are nearly the same, and two normal ones."""
    draw = np.random.default_rng(1)
    root = tmp_path / "Dataset_BUSI_with_GT"
    for kind, number in [("benign", 1), ("benign", 2), ("normal", 1), ("normal", 2)]:
        folder = root / kind
        folder.mkdir(parents=True, exist_ok=True)
        picture = draw.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{kind} ({number}).png")
        mask = np.zeros((20, 24), bool)
        mask[4:9, 4:9] = kind == "benign"
        Image.fromarray(mask).save(folder / f"{kind} ({number})_mask.png")
    (root / "near_duplicate_groups.csv").write_text("group,case\ng1,benign (1)\ng1,benign (2)\n")
    return root


def test_slices_of_a_dataset(lgg: Path) -> None:
    samples = open_samples(lgg)
    images, truth = volumes()
    assert isinstance(samples, DatasetSamples)
    assert samples.classes == ("background", "tumour")
    assert len(samples) == N_PATIENTS * SHAPE[2]
    assert samples.labels.tolist() == [int(k in (2, 3, 4)) for k in range(SHAPE[2])] * N_PATIENTS
    assert len(set(samples.patients)) == N_PATIENTS
    assert samples.names[2] == "TCGA_CS_4940_20000101, slice 2"
    # FLAIR is the second channel; grey values are scaled by the whole volume, as the pipeline does.
    flair = images[0, ..., 1]
    expected = normalise(flair, measure_range(flair, IntensityParams()), IntensityParams())
    np.testing.assert_allclose(
        np.sort(samples.image(2).ravel()), np.sort(expected[..., 2].ravel()), atol=1e-6
    )
    assert truth[0, ..., 2].any()


def test_each_slice_by_itself_where_the_range_is_the_slices(lgg: Path) -> None:
    samples = open_samples(lgg, IntensityParams(scope="slice", low_percentile=0, high_percentile=100))
    for number in range(SHAPE[2]):
        image = samples.image(number)
        assert (image.min(), image.max()) == (0, 1)


def test_a_preparation_that_scales_is_left_alone(lgg: Path) -> None:
    samples = dataset_samples(
        find_dataset(lgg).prepared("paper"), IntensityParams(window_width=1, mode="window")
    )
    image = samples.image(2)
    assert (image.min(), image.max()) == (0, 1)
    assert len(np.unique(image)) > 10


def test_masks_are_not_needed_once_labels_are_known(lgg: Path) -> None:
    samples = open_samples(lgg)
    for mask in lgg.glob("*_seg.nii.gz"):
        mask.unlink()
    params = TrainingParams(
        architecture="phantom-cnn", weights="none", input_size=32, epochs=3, learning_rate=3e-3, threads=1
    )
    result = train(samples, params, device="cpu")
    assert result.classifier.classes == ("background", "tumour")
    assert result.report["validation"]["auroc"] > 0.9


def test_folders_of_a_known_dataset_are_read_as_the_dataset(busi: Path) -> None:
    samples = open_samples(busi)
    assert samples.classes == ("background", "benign")
    assert samples.labels.tolist() == [1, 1, 0, 0]
    patients = dict(zip(samples.names, samples.patients, strict=True))
    assert patients["benign (1)"] == patients["benign (2)"], "near duplicates are never divided"
    assert len(set(patients.values())) == 3
    assert set(open_samples(busi, preparation="benign-normal").names) == set(samples.names)
    assert read_folder(busi).classes == ("benign", "normal")


def test_a_table_of_slices(lgg: Path) -> None:
    name = sorted(path.name for path in lgg.glob("*0101.nii.gz"))[0]
    image = nibabel.load(lgg / name)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[..., 1], np.eye(4)), lgg / "flat.nii.gz")
    table = lgg / "labels.csv"
    table.write_text(
        "image,label,patient,axis,index\n"
        + "".join(f"flat.nii.gz,{'lesion' if k in (2, 3) else 'none'},p,2,{k}\n" for k in range(4))
    )
    samples = open_samples(table)
    assert len(samples) == 4
    assert samples.image(1).shape in {SHAPE[:2], SHAPE[1::-1]}
    shown = [samples.classes[number] == "lesion" for number in samples.labels]
    assert shown == [False, False, True, True]


def test_several_classes_in_one_image() -> None:
    rows = tuple(
        LabelRow(f"c{k}", f"p{k}", "", None, None, labels) for k, labels in enumerate([(1, 1), (0, 1)])
    )
    samples = DatasetSamples(TrainingSet(ImageLabels(("a", "b"), rows), {"c0": (), "c1": ()}, Preparation()))
    assert samples.classes == ("a", "b")
    assert samples.labels.tolist() == [[1, 1], [0, 1]]


def test_wrong_names_are_refused(lgg: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no preparation 'papr'"):
        open_samples(lgg, preparation="papr")
    for kind in ("a", "b"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "mine" / kind / "1.png")
    assert open_samples(tmp_path / "mine").classes == ("a", "b")
    with pytest.raises(ValueError, match="no known dataset"):
        open_samples(tmp_path / "mine", preparation="paper")
    with pytest.raises(ReadError, match="no such file"):
        open_samples(tmp_path / "nowhere")


def test_real_labels(shared_data: Path) -> None:
    samples = open_samples(shared_data / "busi", preparation="benign-normal")
    assert (len(samples), int(samples.labels.sum())) == (405, 316)
    assert len(set(samples.patients)) < 405
    slices = open_samples(shared_data / "lgg")
    assert (len(slices), len(set(slices.patients))) == (1027, 30)
    assert slices.image(500).shape == (256, 256)
