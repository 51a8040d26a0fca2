"""Pseudo-labels: made as an image is refined, gated by what is known of it, judged, kept, and blind to masks."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from napari_refit import Refit, RefitParams
from napari_refit.cam.classifier import Classifier
from napari_refit.errors import Cancelled
from napari_refit.io.datasets import Dataset, MaskFiles, Preparation, find_dataset, image_labels, training_set
from napari_refit.learn.fsss.certainty import agreement, soft_labels
from napari_refit.learn.fsss.params import FsssParams, LabellingParams
from napari_refit.learn.fsss.pseudo import DENIED, DOUBTFUL, EMPTY, LACKING, judge, pseudo_labels
from napari_refit.learn.fsss.training import train_fsss
from napari_refit.params import IntensityParams

opened: list[str] | None = None


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and opened is not None and isinstance(arguments[0], str | bytes):
        opened.append(str(arguments[0]))


sys.addaudithook(_listen)


class Brightness(nn.Module):
    """Its map is the image; a class is predicted where any pixel is brighter than 0.8."""

    maps_are_scaled = True

    def __init__(self, n_classes: int = 2, believes: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.n_classes, self.believes, self.runs = n_classes, believes, 0

    def own_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        return x[:, :1].expand(-1, self.n_classes, -1, -1) * self.weight, self(x)

    def forward(self, x: Tensor) -> Tensor:
        light = x.amax((1, 2, 3)) if self.believes is None else torch.full((len(x),), self.believes)
        return torch.stack([torch.full_like(light, 0.8), *[light] * (self.n_classes - 1)], 1)


def classifier(
    names: tuple[str, ...] = ("background", "benign"), believes: float | None = None
) -> Classifier:
    return Classifier(Brightness(len(names), believes), names, in_channels=1)


# As the pictures are: 0 black, 255 white, so that the image's values are its grey values.
WINDOW = IntensityParams(mode="window", window_level=127.5, window_width=255)
PARAMS = RefitParams(intensity=WINDOW, threshold=0.5, n_segments=60)
ALL = LabellingParams(doubtful_share=0)


@pytest.fixture
def busi(tmp_path: Path) -> Path:
    """Pictures whose bright squares say what becomes of them."""
    draw = np.random.default_rng(0)
    for kind, number, light in [
        ("benign", 1, 230),  # seen
        ("benign", 2, 150),  # seen, but not predicted
        ("benign", 3, 40),  # nothing to see
        ("normal", 1, 40),  # as it should be
        ("normal", 2, 150),  # something bright that is not predicted
        ("normal", 3, 230),  # predicted, against what is known
    ]:
        folder = tmp_path / "busi" / kind
        folder.mkdir(parents=True, exist_ok=True)
        picture = draw.integers(20, 40, (40, 48)).astype(np.uint8)
        picture[10:25, 12:30] = light
        Image.fromarray(picture).save(folder / f"{kind} ({number}).png")
        mask = np.zeros((40, 48), bool)
        mask[10:25, 12:30] = kind == "benign"
        Image.fromarray(mask).save(folder / f"{kind} ({number})_mask.png")
    return tmp_path / "busi"


@pytest.fixture
def lgg(tmp_path: Path) -> Path:
    folder = tmp_path / "lgg"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for patient in range(3):
        image = draw.integers(0, 60, (24, 20, 12, 3)).astype(np.uint8)
        truth = np.zeros((24, 20, 12), np.uint8)
        truth[6:15, 4:12, 3:7] = 1
        image[truth > 0] += np.uint8(120 + 40 * patient)
        name = f"TCGA_CS_{4940 + patient}_20000101"
        affine = np.diag([-1.0, -1, 3, 1])
        nibabel.save(nibabel.Nifti1Image(image, affine), folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth, affine), folder / f"{name}_seg.nii.gz")
    return folder


def benign_normal(root: Path) -> Dataset:
    return find_dataset(root).prepared(Preparation(include=("benign", "normal"), classes=("benign",)))


def test_each_rule_on_an_image_of_its_own(busi: Path) -> None:
    dataset = benign_normal(busi)
    training = training_set(dataset, image_labels(dataset))
    found = pseudo_labels(
        training, classifier(), PARAMS, settings=ALL, intensity=WINDOW, source="here", device="cpu"
    )
    assert found.left_out == {"benign (3)": EMPTY, "normal (3)": DENIED}
    assert found.counts == {EMPTY: 1, DENIED: 1, LACKING: 0, DOUBTFUL: 0}
    samples = found.samples
    assert samples.names == ["benign (1)", "benign (2)", "normal (1)", "normal (2)"]
    assert [training.labels.rows[k].case for k in found.kept] == samples.names
    assert samples.classes == ("benign",)
    square = np.zeros((40, 48), bool)
    square[10:25, 12:30] = True
    for k, name in enumerate(samples.names):
        label = samples.label_map(k)
        assert label.any() == name.startswith("benign")
        assert (label[square] == 1).mean() > 0.9 or not label.any()
        assert label.shape == samples.image(k).shape
    assert samples.labelling["left_out"] == {EMPTY: 1, DENIED: 1}
    assert samples.left_out == found.left_out
    assert samples.source == "here"


def test_the_image_level_label_is_the_gate_whatever_the_preset_says(busi: Path) -> None:
    dataset = benign_normal(busi)
    training = training_set(dataset, image_labels(dataset))
    for gate, classes in (("off", ("predicted",)), ("positive", ("background",))):
        params = PARAMS.replace(**{"cam.gate": gate, "cam.classes": classes})
        never = pseudo_labels(training, classifier(believes=0), params, settings=ALL, device="cpu")
        assert never.counts == {EMPTY: 1, DENIED: 0, LACKING: 0, DOUBTFUL: 0}
        always = pseudo_labels(training, classifier(believes=1), params, settings=ALL, device="cpu")
        assert always.counts == {EMPTY: 1, DENIED: 2, LACKING: 0, DOUBTFUL: 0}


def test_false_alarms_may_be_background_as_it_is_known_that_nothing_is_there(busi: Path) -> None:
    dataset = benign_normal(busi)
    training = training_set(dataset, image_labels(dataset))
    settings = LabellingParams(doubtful_share=0, contradicted="background")
    found = pseudo_labels(training, classifier(believes=1), PARAMS, settings=settings, device="cpu")
    assert found.left_out == {"benign (3)": EMPTY}
    for k, name in enumerate(found.samples.names):
        if name.startswith("normal"):
            assert not found.samples.label_map(k).any()
            assert not found.samples.soft_label(k).any()


def test_images_in_doubt_are_left_out_and_named(busi: Path) -> None:
    dataset = benign_normal(busi)
    training = training_set(dataset, image_labels(dataset))
    every = pseudo_labels(training, classifier(), PARAMS, settings=ALL, device="cpu")
    assert set(every.agreements) == {"benign (1)", "benign (2)", "normal (3)"}
    # The paler square responds by 0.59 at a threshold of 0.5, the brighter one by 0.9.
    assert every.agreements["benign (1)"] > 0.9 > every.agreements["benign (2)"]
    half = pseudo_labels(
        training, classifier(), PARAMS, settings=LabellingParams(doubtful_share=0.5), device="cpu"
    )
    assert half.left_out == {"benign (2)": DOUBTFUL, "benign (3)": EMPTY, "normal (3)": DENIED}
    assert half.samples.labelling["left_out"] == {DOUBTFUL: 1, EMPTY: 1, DENIED: 1}
    assert half.agreements == every.agreements
    # Images that are known to show nothing are certain.
    assert [name for name in half.samples.names if name.startswith("normal")] == ["normal (1)", "normal (2)"]


def test_judging() -> None:
    def labels(*values: int) -> np.ndarray:
        return np.array([values], np.uint8)

    assert judge(labels(0, 0), (0, 0)) is None
    assert judge(labels(0, 2), (0, 1)) is None
    assert judge(labels(1, 2), (1, 1)) is None
    assert judge(labels(0, 0), (0, 1)) == EMPTY
    assert judge(labels(0, 1), (0, 1)) == DENIED
    assert judge(labels(1, 2), (0, 1)) == DENIED
    assert judge(labels(1, 0), (0, 0)) == DENIED
    assert judge(labels(1, 0), (1, 1)) == LACKING


@pytest.mark.parametrize("labels", ["refit", "cam"])
@pytest.mark.parametrize("changes", [{}, {"slic.supervoxels": True}, {"cam.cam_input": "simplified"}])
def test_a_slice_gets_the_mask_that_it_is_refined_to(
    lgg: Path, labels: str, changes: dict[str, object]
) -> None:
    dataset = find_dataset(lgg).prepared(Preparation(axis="2"))
    training = training_set(dataset, image_labels(dataset))
    params = RefitParams(threshold=0.6, n_segments=20).replace(**changes)
    model = classifier(("background", "tumour"))
    found = pseudo_labels(training, model, params, labels, settings=ALL, device="cpu")  # type: ignore[arg-type]
    assert len(found.samples) + len(found.left_out) == 36
    n_shown = 0
    for case in dataset.cases:
        refit = Refit(dataset.read_image(case), model, params.replace(**{"cam.gate": "off"}), device="cpu")
        for k, (number, name) in enumerate(zip(found.kept, found.samples.names, strict=True)):
            row = training.labels.rows[number]
            if row.case != case.name:
                continue
            assert name == f"{case.name}, slice {row.index}"
            result = refit.displayed_plane({2: row.index})
            expected = result.mask if labels == "refit" else result.cam_mask
            np.testing.assert_array_equal(found.samples.label_map(k), expected if row.labels[0] else 0)
            np.testing.assert_allclose(found.samples.image(k), result.image, atol=1e-6)
            if row.labels[0]:
                values = result.fitted if labels == "refit" else result.response
                soft = soft_labels(values, (expected > 0).astype(np.uint8), 0.6, 4.0)
                np.testing.assert_array_equal(found.samples.soft_label(k), soft)
                assert found.agreements[name] == agreement(soft, (expected > 0).astype(np.uint8))
            else:
                assert not found.samples.soft_label(k).any()
            n_shown += bool(row.labels[0])
    assert n_shown == 12


def test_two_classes_by_name(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for kind in ("cyst", "tumour", "normal"):
        (tmp_path / kind).mkdir()
        picture = draw.integers(0, 40, (32, 32)).astype(np.uint8)
        if kind != "normal":
            picture[8:20, 8:20] = 240
        Image.fromarray(picture).save(tmp_path / kind / "1.png")
    dataset = find_dataset(tmp_path)
    training = training_set(dataset, image_labels(dataset))
    model = classifier(("Tumour", "background", "CYST"), believes=0)
    model.background, model.module.n_classes = 1, 3
    found = pseudo_labels(training, model, PARAMS, settings=ALL, device="cpu").samples
    values = {name: np.unique(found.label_map(k)).tolist() for k, name in enumerate(found.names)}
    assert found.classes == ("cyst", "tumour")
    assert values == {"cyst/1": [0, 1], "tumour/1": [0, 2], "normal/1": [0]}
    with pytest.raises(ValueError, match="tells apart benign; the images show cyst, tumour"):
        pseudo_labels(training, classifier(), PARAMS, device="cpu")


def test_a_single_class_may_have_another_name(busi: Path) -> None:
    dataset = benign_normal(busi)
    training = training_set(dataset, image_labels(dataset))
    found = pseudo_labels(training, classifier(("background", "lesion")), PARAMS, settings=ALL, device="cpu")
    assert found.samples.classes == ("benign",)
    assert found.samples.label_map(0).max() == 1


def test_what_is_kept_on_disk_is_used_again_and_only_for_the_same(busi: Path, tmp_path: Path) -> None:
    dataset = benign_normal(busi)
    training = training_set(dataset, image_labels(dataset))
    folder = tmp_path / "kept" / "labels"

    def maps(model: Classifier, params: RefitParams = PARAMS, labels: str = "refit") -> list[np.ndarray]:
        found = pseudo_labels(training, model, params, labels, settings=ALL, device="cpu", cache=folder)  # type: ignore[arg-type]
        return [found.samples.label_map(k) for k in range(len(found.samples))]

    first = classifier()
    made = maps(first)
    files = sorted(folder.iterdir())
    assert len(files) == 6
    second = classifier()
    again = maps(second)
    assert (first.module.runs > 0, second.module.runs) == (True, 0)
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    third = classifier()
    assert all(np.array_equal(a, b) for a, b in zip(made, maps(third), strict=True))
    assert third.module.runs == 2
    assert sorted(folder.iterdir()) == files
    for change in (
        lambda: maps(classifier(), labels="cam"),
        lambda: maps(classifier(), PARAMS.replace(threshold=0.4)),
    ):
        before = len(list(folder.iterdir()))
        change()
        assert len(list(folder.iterdir())) == before + 6
    other = classifier()
    other.module.weight.data *= 0.9
    maps(other)
    assert other.module.runs > 0


def test_pseudo_labels_are_made_without_a_mask(busi: Path, lgg: Path) -> None:
    global opened
    for dataset, name in ((benign_normal(busi), "benign"), (find_dataset(lgg), "tumour")):
        masks = {path for case in dataset.cases if case.truth for path in case.truth.paths}
        assert masks
        training = training_set(dataset, image_labels(dataset))
        for path in masks:
            path.unlink()
        opened = []
        try:
            found = pseudo_labels(training, classifier(("background", name)), PARAMS, device="cpu")
            params = FsssParams(network="unet", weights="none", input_size=32, epochs=1, threads=1)
            result = train_fsss(found.samples, params, device="cpu")
            touched = set(opened)
        finally:
            opened = None
        images = {str(path) for case in dataset.cases for item in case.images.values() for path in item.paths}
        assert touched & images
        assert not touched & set(map(str, masks))
        for item in reachable([found, result]):
            assert not isinstance(item, MaskFiles | Dataset)
            assert not (isinstance(item, str | Path) and Path(item) in masks)
        assert any(isinstance(item, MaskFiles) for item in reachable([dataset]))


def reachable(start: list[object]) -> list[object]:
    """Everything that references lead to, but for code."""
    code = (
        type,
        types.ModuleType,
        types.FunctionType,
        types.BuiltinFunctionType,
        types.CodeType,
        types.FrameType,
    )
    seen: dict[int, object] = {}
    waiting: list[object] = [*start]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, code):
            continue
        seen[id(item)] = item
        waiting += gc.get_referents(item)
    return list(seen.values())


def test_bad_requests(busi: Path) -> None:
    dataset = benign_normal(busi)
    training = training_set(dataset, image_labels(dataset))
    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: pseudo_labels(training, classifier(), labels="truth"), ValueError, "none of: refit, cam"),  # type: ignore[arg-type]
        (
            lambda: pseudo_labels(training, classifier(), PARAMS.replace(threshold=1.0), device="cpu"),
            ValueError,
            r"has a pseudo-label to train on \(.*is empty.*: 3\)",
        ),
        (lambda: pseudo_labels(training, classifier(), cancelled=lambda: True), Cancelled, "stopped"),
        (lambda: pseudo_labels(training, "no-such.safetensors"), OSError, "no such file"),
    ]
    for request, kind, words in cases:
        with pytest.raises(kind, match=words):
            request()
