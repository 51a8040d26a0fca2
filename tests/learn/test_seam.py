"""SEAM's lesson: its terms against numpy, and a training that finds blobs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_refit.cam.checkpoint import read_metadata
from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.response import compute_responses, response_maps
from napari_refit.errors import Cancelled, ReadError
from napari_refit.learn.optimising import make_optimiser
from napari_refit.learn.samples import ArraySamples
from napari_refit.learn.seam import SeamLesson, comparable, cross, equivariance, quiet
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.splits import Split
from napari_refit.learn.training import TrainingResult, train

SIZE = 64
# At 0.3, the small copy of so small an image has maps of 2 x 2 places.
HALF = {"seam.scale": 0.5}
WHOLE = Split(np.arange(48), np.arange(48, 64), np.arange(64, 80))


def blobs(count: int = 80, channels: int = 1, several: bool = False) -> tuple[ArraySamples, np.ndarray]:
    """Noise; in every second image a bright disc, of two kinds where an image may show both; and the truth."""
    draw = np.random.default_rng(0)
    images = draw.uniform(0.4, 0.6, (count, SIZE, SIZE, channels)).astype(np.float32)
    truth = np.zeros((count, 2, SIZE, SIZE), bool)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    labels = np.zeros((count, 2), int)
    for number, kind in itertools.product(range(count), range(2)):
        labels[number, kind] = number % 2 == 0 if kind == 0 else several and number % 4 < 2
        if labels[number, kind]:
            row, column = draw.integers(14, SIZE - 14, 2)
            truth[number, kind] = (rows - row) ** 2 + (columns - column) ** 2 < 81
            images[number][truth[number, kind]] += 0.3 if kind == 0 else -0.3
    images = images.clip(0, 1)
    patients = [f"patient {number // 2}" for number in range(count)]
    if several:
        return ArraySamples(images, labels, ["bright", "dark"], patients), truth
    return ArraySamples(images, labels[:, 0], ["background", "blob"], patients), truth


def quick(**changes: Any) -> TrainingParams:
    values = {
        "learner": "seam",
        "architecture": "phantom-cnn",
        "weights": "none",
        "input_size": SIZE,
        "epochs": 2,
        "learning_rate": 3e-3,
        "threads": 1,
        "precision": "float32",
    }
    return TrainingParams().with_texts({**values, **changes})


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    return result.classifier.module.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def best_dice(maps: np.ndarray, truth: np.ndarray) -> float:
    """Mean Dice over images, at the one threshold that is best for all."""
    found = []
    for threshold in np.linspace(0.05, 0.95, 19):
        masks = maps >= threshold
        both = (masks & truth).sum((1, 2))
        found.append((2 * both / (masks.sum((1, 2)) + truth.sum((1, 2)))).mean())
    return float(max(found))


def test_an_equivariant_network_loses_nothing() -> None:
    """Its maps of the small copies are the small copies of its maps: averages over 2 x 2 of the images."""
    torch.manual_seed(0)
    cam = torch.zeros(3, 2, 4, 4)
    cam[:, :, :2, :2] = torch.rand(3, 2, 1, 1) + 0.5
    small = functional.avg_pool2d(cam, 2)
    shown = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    one, other = (comparable(maps, shown, (2, 2)) for maps in (cam, small))
    assert float(equivariance(one, other, shown)) == pytest.approx(0, abs=1e-4)
    assert float(equivariance(one, other.flip(3), shown)) > 0.2
    # Where the refined maps are those of the other copy, cross regularisation has nothing to say either.
    alone = torch.tensor([[1.0, 0.0]] * 3)
    cams = one * alone[:, :, None, None]
    refined = torch.cat([1 - cams.amax(1, keepdim=True), cams], 1)
    assert float(cross(cams, refined, alone, 0.2)) == 0
    assert float(cross(cams, refined.flip(3), alone, 0.2)) > 0.5


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_the_hardest_values_count(share: float) -> None:
    draw = np.random.default_rng(1)
    cam, refined = draw.random((4, 2, 6, 5)), draw.random((4, 3, 6, 5))
    shown = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    cam *= shown[:, :, None, None]
    losses = []
    for number in np.flatnonzero(shown.any(1)):
        highest = cam[number].max(0)
        target = np.stack([1 - highest, *np.where(cam[number] == highest, cam[number], 0)])
        differences = np.sort(np.abs(target - refined[number]).ravel())[::-1]
        losses.append(differences[: max(int(90 * share), 1)].mean())
    found = cross(*(torch.from_numpy(values) for values in (cam, refined, shown)), share)
    assert float(found) == pytest.approx(np.mean(losses))


def test_what_an_image_does_not_show_is_left_alone() -> None:
    torch.manual_seed(0)
    one, other = torch.rand(2, 2, 8, 8), torch.rand(2, 2, 5, 5)
    shown = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    first = comparable(one, shown, (6, 6))
    second = comparable(other, shown, (6, 6))
    assert float(first[:, 0].abs().max()) == 0
    assert float(first[1].abs().max()) == 0
    assert 0.9 < float(first[0, 1].max()) <= 1
    # The second image shows nothing: the mean is over the first alone.
    expected = (first - second)[0].abs().mean()
    torch.testing.assert_close(equivariance(first, second, shown), expected)
    nothing = torch.zeros(2, 2)
    assert float(equivariance(first, second, nothing)) == 0
    assert float(quiet(torch.rand(2, 3, 4, 4), nothing)) == 0
    refined = torch.rand(1, 2, 4, 4)
    lowest = np.sort(refined[0, 1].numpy().ravel())[:4].mean()
    assert float(quiet(refined, torch.ones(1, 1))) == pytest.approx(float(lowest))


def test_no_gradient_reaches_what_is_a_target() -> None:
    torch.manual_seed(0)
    cam, refined = torch.rand(1, 2, 4, 4, requires_grad=True), torch.rand(1, 3, 4, 4, requires_grad=True)
    cross(cam, refined, torch.ones(1, 2), 0.2).backward()
    assert cam.grad is None
    assert refined.grad is not None
    assert int((refined.grad != 0).sum()) == int(48 * 0.2)


def test_the_loss_is_the_sum_of_its_terms() -> None:
    samples, _ = blobs(16)
    images = torch.from_numpy(np.stack([samples.image(k)[..., 0] for k in range(4)]))[:, None]
    targets = functional.one_hot(torch.tensor([1, 0, 1, 0]), 2).float()

    def value(**changes: Any) -> float:
        torch.manual_seed(0)
        lesson = SeamLesson()
        network = lesson.start(samples, quick(**{"seam.dropout": 0, **changes}), 1).module.train()
        outcome = lesson.forward(network, images, torch.Generator())
        plain = lambda logits, wanted: functional.cross_entropy(logits, wanted.argmax(1))  # noqa: E731
        return float(lesson.loss(outcome, targets, plain)[1].detach())

    names = ("seam.equivariance_weight", "seam.cross_weight", "seam.quiet_weight")
    none = dict.fromkeys(names, 0)
    bare = value(**none)
    terms = [value(**{**none, name: 1}) - bare for name in names]
    assert min(terms) > 0
    assert value() == pytest.approx(bare + sum(terms), rel=1e-5)


def test_it_finds_blobs_from_labels_alone(tmp_path: Path) -> None:
    samples, truth = blobs()
    result = train(samples, quick(epochs=8, **HALF), device="cpu", split=WHOLE)
    assert result.report["test"]["auroc"] > 0.95
    path = tmp_path / "seam.safetensors"
    result.save(path)
    described = read_metadata(path)
    assert described is not None
    assert described.architecture == "seam"
    assert described.settings["backbone"] == "phantom-cnn"
    assert described.training["parameters"]["learner"] == "seam"
    assert described.training["parameters"]["seam"]["scale"] == 0.5
    loaded = load_classifier(path)
    assert (loaded.classes, loaded.background, loaded.activation) == (("background", "blob"), 0, "softmax")
    held_out = [k for k in WHOLE.test if samples.labels[k]]
    images = np.stack([samples.image(k)[..., 0] for k in held_out])
    found = compute_responses(loaded, images, [1])
    assert found.predicted.all()
    np.testing.assert_allclose(found.logits, result.logits[held_out], atol=1e-3)
    dice = best_dice(found.maps[:, 0], truth[held_out, 0])
    everywhere = best_dice(np.ones_like(found.maps[:, 0]), truth[held_out, 0])
    untrained = SeamLesson().start(samples, quick(), 1).module.eval()
    with torch.no_grad():
        guess = untrained.own_maps(loaded.prepare(images))[0][:, 1].numpy()
    guess = guess / guess.max((1, 2), keepdims=True)
    assert dice > 3 * max(everywhere, best_dice(guess, truth[held_out, 0]))


def after(epochs: int, rows: list[Any]) -> Callable[[], bool]:
    asked = itertools.count()
    return lambda: len(rows) >= epochs and next(asked) > 1


@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16", "seam.norms": "frozen"}])
def test_a_resumed_training_ends_in_the_same_weights(tmp_path: Path, changes: dict[str, Any]) -> None:
    samples, _ = blobs(32)
    params, rows = quick(**changes), []
    whole = train(samples, params, device="cpu")
    with pytest.raises(Cancelled):
        train(
            samples,
            params,
            device="cpu",
            state=tmp_path / "state.pt",
            on_epoch=rows.append,
            cancelled=after(1, rows),
        )
    assert len(rows) == 1
    resumed = train(samples, params, device="cpu", resume_from=tmp_path / "state.pt")
    assert same(weights(whole), weights(resumed))
    assert not same(weights(whole), weights(train(samples, quick(seed=1, **changes), device="cpu")))
    with pytest.raises(ReadError, match=r"another parameter seam"):
        train(
            samples, quick(**changes, **{"seam.scale": 0.5}), device="cpu", resume_from=tmp_path / "state.pt"
        )


@pytest.mark.parametrize("channels", [2, 3])
def test_images_of_several_channels(tmp_path: Path, channels: int) -> None:
    samples, _ = blobs(32, channels)
    result = train(samples, quick(epochs=1, channels="all"), device="cpu")
    assert result.metadata.in_channels == channels
    result.save(tmp_path / "seam.safetensors")
    maps = response_maps(tmp_path / "seam.safetensors", samples.image(0)[None])
    assert maps.shape == (1, 1, SIZE, SIZE)


def test_classes_that_go_together(tmp_path: Path) -> None:
    samples, truth = blobs(several=True)
    result = train(samples, quick(epochs=8, **HALF), device="cpu", split=WHOLE)
    assert (result.metadata.background, result.metadata.activation) == (None, "sigmoid")
    assert result.report["test"]["auroc"] > 0.9
    result.save(tmp_path / "seam.safetensors")
    both = [k for k in WHOLE.test if samples.labels[k].all()]
    maps = response_maps(tmp_path / "seam.safetensors", np.stack([samples.image(k)[..., 0] for k in both]))
    assert maps.shape == (len(both), 2, SIZE, SIZE)
    for kind in range(2):
        right, wrong = (best_dice(maps[:, k], truth[both, kind]) for k in (kind, 1 - kind))
        assert right > max(0.35, wrong + 0.1)


def test_three_classes_of_which_one_is_nothing() -> None:
    samples, _ = blobs(32)
    labels = np.where(samples.labels == 1, 1 + (np.arange(32) // 2) % 2, 0)
    three = ArraySamples([samples.image(k) for k in range(32)], labels, ["lesion", "normal", "other"])
    result = train(three, quick(epochs=1), device="cpu")
    assert result.metadata.background == 1
    assert np.all(result.logits[result.split.validation, 1] == 0)
    with pytest.raises(ValueError, match="balance = weights is not for seam"):
        train(three, quick(balance="weights"), device="cpu")


def test_what_cannot_be_learned_from_is_named() -> None:
    samples, _ = blobs(32)
    with pytest.raises(ValueError, match=r"0.3 of their size; of 32 px.*raise input_size to \d+ or more"):
        train(samples, quick(input_size=32), device="cpu")
    with pytest.raises(ValueError, match=r"seam cannot use vit_b_32.*three are needed"):
        train(samples, quick(architecture="vit_b_32", input_size=224), device="cpu")
    with pytest.raises(ValueError, match=r"seam\.scale = '2'"):
        quick(**{"seam.scale": "2"})


def test_new_layers_learn_faster() -> None:
    samples, _ = blobs(16)
    network = SeamLesson().start(samples, quick(**{"seam.fresh_rate": 7}), 1).module
    names = {id(value): name for name, value in network.named_parameters()}
    groups = make_optimiser(network, quick()).param_groups
    factors = {names[id(value)]: group["factor"] for group in groups for value in group["params"]}
    assert set(factors) == set(names.values())
    assert {name for name, factor in factors.items() if factor == 7} == {
        "classifier.weight",
        *(f"correlation.{part}.weight" for part in ("shallow", "deep", "join")),
    }
    assert set(factors.values()) == {1, 7}


def test_only_whole_images_teach_the_averages() -> None:
    samples, _ = blobs(16)
    lesson = SeamLesson()
    network = lesson.start(samples, quick(), 1).module.train()
    norm = next(part for part in network.modules() if isinstance(part, nn.BatchNorm2d))
    seen: list[float | None] = []
    norm.register_forward_hook(lambda part, inputs, output: seen.append(part.momentum))
    lesson.forward(network, torch.rand(4, 1, SIZE, SIZE), torch.Generator())
    assert seen == [0.1, 0.0]
    assert norm.momentum == 0.1
