from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_refit.cam.checkpoint import read_metadata
from napari_refit.cam.classifier import load_classifier
from napari_refit.io import phantom as phantom_module
from napari_refit.io.phantom import DEMO_SEED, phantom
from napari_refit.learn import phantom_classifier
from napari_refit.learn.phantom_classifier import (
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    area_under_curve,
    labelled_slices,
    main,
    predict,
    train,
)

SHIPPED = Path(phantom_module.__file__).parents[1] / "data" / "phantom-classifier.safetensors"
SMALL = (48, 48, 32)


@pytest.fixture(scope="module")
def slices() -> tuple[np.ndarray, np.ndarray]:
    return labelled_slices(range(500, 503), step=1, shape=SMALL)


def test_labels_say_only_whether_a_slice_has_a_lesion() -> None:
    images, labels = labelled_slices([501], step=2, shape=SMALL)
    made = phantom(501, SMALL)
    assert images.shape == (16, 48, 48)
    assert images.dtype == np.float32
    assert images.min() == 0
    assert images.max() == 1
    assert labels.shape == (16,)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, [int(made.truth[:, :, k].any()) for k in range(0, 32, 2)])
    shown = made.image[:, :, 16].T.astype(float)
    assert np.corrcoef(images[8].ravel(), shown.ravel())[0, 1] > 0.97


def test_training_receives_images_and_slice_labels_and_nothing_else() -> None:
    assert list(inspect.signature(train).parameters) == ["images", "labels", "epochs", "seed", "say"]
    source = inspect.getsource(phantom_classifier)
    assert source.count("truth.max(") == source.count(".truth") == 1


def test_training_does_not_change_when_lesions_of_the_same_slices_are_elsewhere(
    slices: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(seed: int, shape: tuple[int, int, int]) -> phantom_module.Phantom:
        made = phantom(seed, shape)
        return phantom_module.Phantom(
            made.image, made.truth[::-1, ::-1], made.spacing, made.affine, made.seed
        )

    monkeypatch.setattr(phantom_classifier, "phantom", moved)
    images, labels = labelled_slices(range(500, 503), step=1, shape=SMALL)
    np.testing.assert_array_equal(images, slices[0])
    np.testing.assert_array_equal(labels, slices[1])


def test_seeds_of_training_check_and_demo_are_apart() -> None:
    assert DEMO_SEED not in TRAINING_SEEDS
    assert DEMO_SEED not in HELD_OUT_SEEDS
    assert not set(TRAINING_SEEDS) & set(HELD_OUT_SEEDS)
    with pytest.raises(ValueError, match="demo"):
        labelled_slices([DEMO_SEED], shape=(16, 16, 16))
    with pytest.raises(ValueError, match="no seeds"):
        labelled_slices([])


def test_a_run_is_reproducible_bit_for_bit(slices: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = slices
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first, again, other = (train(images, labels, epochs=1, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_training_finds_bright_blobs() -> None:
    draw = np.random.default_rng(0)
    images = draw.uniform(0.1, 0.3, (64, 32, 32)).astype(np.float32)
    labels = np.arange(64) % 2
    for number in np.flatnonzero(labels):
        row, column = draw.integers(4, 20, 2)
        images[number, row : row + 8, column : column + 8] += 0.5
    network = train(images, labels, epochs=6, seed=0)
    assert area_under_curve(predict(network, images), labels) > 0.95


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((4, 8), np.float32), np.array([0, 1, 0, 1]), "images"),
        (np.zeros((4, 8, 8), np.float32), np.array([0, 1]), "labels"),
        (np.zeros((4, 8, 8), np.float32), np.zeros((4, 8, 8), np.int64), "labels"),
        (np.zeros((2, 8, 8), np.float32), np.array([1, 1]), "both"),
    ],
)
def test_wrong_training_data_are_named(images: np.ndarray, labels: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        train(images, labels)


def test_trained_kernels_are_symmetric(slices: tuple[np.ndarray, np.ndarray]) -> None:
    network = train(slices[0][:40], slices[1][:40], epochs=1)
    kernels = [part.weight for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(kernels) == 6
    for kernel in kernels:
        for other in (kernel.flip(2), kernel.flip(3), kernel.transpose(2, 3)):
            torch.testing.assert_close(kernel, other, rtol=0, atol=1e-7)


def test_area_under_curve_agrees_with_counting_pairs() -> None:
    draw = np.random.default_rng(1)
    scores, labels = draw.integers(0, 6, 50) / 5, draw.integers(0, 2, 50)
    differences = scores[labels == 1][:, None] - scores[labels == 0][None]
    expected = ((differences > 0) + 0.5 * (differences == 0)).mean()
    assert area_under_curve(scores, labels) == pytest.approx(expected)
    with pytest.raises(ValueError, match="both"):
        area_under_curve(scores, np.ones(50, int))


def test_the_command_writes_a_checkpoint_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def small(seeds: range, step: int = 2) -> tuple[np.ndarray, np.ndarray]:
        return labelled_slices(seeds[:2], step, SMALL)

    monkeypatch.setattr(phantom_classifier, "labelled_slices", small)
    out = tmp_path / "made.safetensors"
    assert main(["--out", str(out), "--epochs", "1", "--phantoms", "2"]) == 0
    assert "AUROC" in capsys.readouterr().err
    described = read_metadata(out)
    assert described is not None
    assert described.training["epochs"] == 1
    assert "--epochs 1 --phantoms 2 --seed 0" in described.training["command"]
    assert load_classifier(out).classes == ("background", "lesion")


@pytest.mark.parametrize("arguments", [["--out", "x.pt"], ["--out", "no/such/x.safetensors"], []])
def test_the_command_refuses_a_bad_target(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "--out" in capsys.readouterr().err


def test_shipped_checkpoint_says_what_it_is() -> None:
    assert SHIPPED.stat().st_size <= 3_000_000
    described = read_metadata(SHIPPED)
    assert described is not None
    assert described.architecture == "phantom-cnn"
    assert described.classes == ("background", "lesion")
    assert (described.background, described.activation) == (0, "softmax")
    assert (described.input_size, described.in_channels) == (192, 1)
    assert described.version
    assert described.training["excluded_seed"] == DEMO_SEED
    first, last = described.training["training_seeds"]
    assert not first <= DEMO_SEED <= last
    assert described.training["held_out_auroc"] > 0.9
    assert "python -m napari_refit.learn.phantom_classifier" in described.training["command"]


def test_shipped_checkpoint_tells_slices_of_an_unseen_phantom_apart() -> None:
    images, labels = labelled_slices([HELD_OUT_SEEDS[-1] + 1], step=2)
    classifier = load_classifier(SHIPPED)
    assert area_under_curve(predict(classifier.module, images), labels) > 0.9
