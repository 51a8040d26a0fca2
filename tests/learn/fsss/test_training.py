"""A segmentation network is trained, stopped, gone on with, saved, loaded, and started from other weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_refit import Refit, RefitParams, response_maps
from napari_refit.cam.architectures import build
from napari_refit.cam.checkpoint import CheckpointMetadata, save_checkpoint
from napari_refit.cam.classifier import Classifier, load_classifier
from napari_refit.errors import Cancelled, ReadError, WriteError
from napari_refit.learn.files import Callbacks, resumed_params, state_path
from napari_refit.learn.fsss.files import train_fsss_to_file
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.pixels import ArrayPixels, SubsetPixels
from napari_refit.learn.fsss.segmenting import segment
from napari_refit.learn.fsss.starting import start_network
from napari_refit.learn.fsss.training import FsssResult, train_fsss
from napari_refit.learn.splits import Split
from napari_refit.params import IntensityParams

Pixels = Callable[..., ArrayPixels]
Quick = Callable[..., FsssParams]


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def same(first: FsssResult | Classifier, second: FsssResult | Classifier) -> bool:
    states = [
        (one if isinstance(one, Classifier) else one.classifier).module.state_dict()
        for one in (first, second)
    ]
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_it_learns_to_segment_images_of_people_it_has_not_seen(pixels: Pixels, quick: Quick) -> None:
    result = train_fsss(pixels(48, (64, 64)), quick(input_size=64, epochs=10), device="cpu")
    new = pixels(12, (64, 64), seed=9)
    found = segment(result.classifier, [new.image(k) for k in range(12)])
    assert dice(np.array(found) == 1, np.array([new.label_map(k) for k in range(12)]) == 1) > 0.9
    assert result.report["validation"]["pooled_dice"] > 0.9
    best = max(
        result.report["history"], key=lambda row: (row["validation"]["dice"], -row["validation"]["loss"])
    )
    assert result.report["best_epoch"] == best["epoch"]
    assert result.report["validation"]["dice"] == pytest.approx(best["validation"]["dice"])


def test_the_large_network_learns_too(pixels: Pixels, quick: Quick) -> None:
    params = quick(network="efficientnet-lite0", input_size=64, epochs=4)
    losses = [row["training"]["loss"] for row in train_fsss(pixels(), params, device="cpu").report["history"]]
    assert losses[-1] < 0.8 * losses[0]


def test_several_classes_of_images_of_several_channels_and_sizes(pixels: Pixels, quick: Quick) -> None:
    parts = [pixels(24, size, 2, channels=3, seed=seed) for seed, size in enumerate([(48, 40), (35, 61)])]
    images = [part.image(k) for part in parts for k in range(24)]
    labels = [part.label_map(k) for part in parts for k in range(24)]
    samples = ArrayPixels(images, labels, parts[0].classes)
    result = train_fsss(samples, quick(input_size=64, epochs=10), device="cpu")
    assert result.classifier.in_channels == 3
    assert result.classifier.classes == ("background", "class a", "class b")
    found = segment(result.classifier, images)
    assert [answer.shape for answer in found] == [label.shape for label in labels]
    for number in (1, 2):
        both = [np.concatenate([part.ravel() == number for part in side]) for side in (found, labels)]
        assert dice(*both) > 0.8


def test_the_same_seed_gives_the_same_network_and_another_another(pixels: Pixels, quick: Quick) -> None:
    first, second, other = (
        train_fsss(pixels(), quick(epochs=2, seed=seed, threads=threads), device="cpu")
        for seed, threads in ((0, 1), (0, 1), (1, 1))
    )
    assert same(first, second)
    assert first.report["history"][-1]["training"] == second.report["history"][-1]["training"]
    assert not same(first, other)


@pytest.mark.parametrize("network", ["unet", "efficientnet-lite0"])
def test_going_on_gives_what_an_unbroken_training_gives(
    pixels: Pixels, quick: Quick, network: str, tmp_path: Path
) -> None:
    params = quick(network=network, epochs=4)
    whole = train_fsss(pixels(), params, device="cpu")
    epochs: list[int] = []
    with pytest.raises(Cancelled):
        train_fsss(
            pixels(),
            params,
            device="cpu",
            state=tmp_path / "state.pt",
            on_epoch=lambda row: epochs.append(row["epoch"]),
            cancelled=lambda: len(epochs) == 2,
        )
    again = train_fsss(pixels(), params, device="cpu", resume_from=tmp_path / "state.pt")
    assert epochs == [1, 2]
    assert same(whole, again)
    figures = [
        [(row["training"], row["validation"]) for row in one.report["history"]] for one in (whole, again)
    ]
    assert figures[0] == figures[1]


class SoftPixels(ArrayPixels):
    """Certain of every pixel, or of as much as it is told."""

    sure = 255

    def soft_label(self, index: int) -> np.ndarray:
        labels = self.label_map(index)
        return np.stack([self.sure * (labels == k) for k in range(1, len(self.classes) + 1)]).astype(np.uint8)


def soft_pixels(samples: ArrayPixels, sure: int = 255) -> SoftPixels:
    found = SoftPixels(samples._images, samples._maps, samples.classes, samples.patients)
    found.sure = sure
    return found


def test_soft_labels_are_learned_where_there_are_any_and_wanted(pixels: Pixels, quick: Quick) -> None:
    new = pixels(12, seed=9)
    images, truth = [new.image(k) for k in range(12)], np.array([new.label_map(k) for k in range(12)]) == 1
    chances = {}
    for targets in ("soft", "hard"):
        samples = soft_pixels(pixels(48), 204)
        result = train_fsss(samples, quick(epochs=10, targets=targets), device="cpu")
        assert dice(np.array(segment(result.classifier, images)) == 1, truth) > 0.8
        assert ("soft labels" in result.report["data"]["checksums"]) == (targets == "soft")
        chances[targets] = response_maps(result.classifier, np.stack(images))[:, 0][truth].mean()
    # A network that learns from labels that are four fifths certain becomes no more certain than they are.
    assert chances["soft"] < 0.84 < chances["hard"]


def test_going_on_with_soft_labels_gives_the_same_and_with_others_is_refused(
    pixels: Pixels, quick: Quick, tmp_path: Path
) -> None:
    state, epochs = tmp_path / "state.pt", []
    whole = train_fsss(soft_pixels(pixels(), 200), quick(), device="cpu")
    with pytest.raises(Cancelled):
        train_fsss(
            soft_pixels(pixels(), 200),
            quick(),
            device="cpu",
            state=state,
            on_epoch=epochs.append,
            cancelled=lambda: len(epochs) == 1,
        )
    with pytest.raises(ReadError, match="soft labels"):
        train_fsss(soft_pixels(pixels(), 201), quick(), device="cpu", resume_from=state)
    again = train_fsss(soft_pixels(pixels(), 200), quick(), device="cpu", resume_from=state)
    assert same(whole, again)


def test_bad_soft_labels_are_named(pixels: Pixels, quick: Quick) -> None:
    class Bad(SoftPixels):
        wrong: Any = None

        def soft_label(self, index: int) -> np.ndarray:
            return self.wrong if index == 2 else super().soft_label(index)

    samples = pixels(n_classes=2)
    for wrong, words in (
        (np.zeros((1, 32, 32), np.uint8), r"image 2: a soft label must be uint8 of shape \(2, H, W\)"),
        (np.zeros((2, 32, 32)), "image 2: a soft label must be uint8"),
        (np.full((2, 32, 32), 200, np.uint8), "image 2: the classes of a soft label sum up to 400 of 255"),
    ):
        bad = Bad(samples._images, samples._maps, samples.classes)
        bad.wrong = wrong
        with pytest.raises(ValueError, match=words):
            train_fsss(bad, quick(), device="cpu")


def test_going_on_with_other_labels_is_refused(pixels: Pixels, quick: Quick, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    train_fsss(pixels(), quick(epochs=1), device="cpu", state=state)
    other = pixels()
    other._maps[1][:] = 0
    for samples, params, words in (
        (other, quick(epochs=1), "labels|image list"),
        (pixels(), quick(epochs=1, dice_weight=0.5), "parameter dice_weight"),
    ):
        with pytest.raises(ReadError, match=words):
            train_fsss(samples, params, device="cpu", resume_from=state)


def test_a_checkpoint_gives_probabilities_wherever_response_maps_are_made(
    pixels: Pixels, quick: Quick, tmp_path: Path
) -> None:
    samples, out = pixels(size=(40, 52)), tmp_path / "fsss.safetensors"
    rows: list[int] = []
    report = train_fsss_to_file(
        samples,
        quick(input_size=64),
        out,
        device="cpu",
        callbacks=Callbacks(on_epoch=lambda fold, row: rows.append(row["epoch"])),
    )
    assert rows == [1, 2, 3]
    assert not state_path(out).exists()
    classifier = load_classifier(out)
    assert (classifier.architecture, classifier.background) == ("fsss", 0)
    image = samples.image(1)
    x = classifier.prepare(image[None])
    with torch.no_grad():
        expected = torch.nn.functional.interpolate(
            classifier.module.pixel_logits(x).softmax(1), (40, 52), mode="bilinear", antialias=True
        )[0].numpy()
    maps = response_maps(out, image)
    assert maps.shape == (1, 40, 52)
    assert maps.min() >= 0
    assert maps.max() <= 1
    np.testing.assert_allclose(maps[0], expected[1], atol=1e-5)
    (labels,) = segment(classifier, [image])
    np.testing.assert_array_equal(labels, expected.argmax(0))
    window = IntensityParams(mode="window", window_level=0.5, window_width=1)
    result = Refit(image, out, RefitParams(threshold=0.5, intensity=window)).slice(0)
    np.testing.assert_allclose(result.response, maps, atol=1e-5)
    np.testing.assert_array_equal(result.cam_mask > 0, maps[0] >= 0.5 if result.predicted[0] else maps[0] > 2)
    sidecar = json.loads((tmp_path / "fsss.refit.json").read_text())
    assert sidecar["checksum"] == report["checksum"] == classifier.checksum
    held_out = sidecar["predictions"]["validation"]
    values = [row["dice"]["class a"] for row in held_out if row["dice"]["class a"] is not None]
    assert np.mean(values) == pytest.approx(report["validation"]["dice"])
    assert len(held_out) - len(values) == report["validation"]["empty_in_both"]
    assert sidecar["data"]["training"]["images"] + len(held_out) == len(samples)


def test_dice_is_measured_at_the_input_size_on_the_labels_that_are_trained_on(
    pixels: Pixels, quick: Quick
) -> None:
    samples = pixels()
    split = Split(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    result = train_fsss(samples, quick(), device="cpu", split=split)
    found = segment(result.classifier, [samples.image(k) for k in range(24)])
    assert np.isnan(result.dice[:16]).all()
    for k in range(16, 24):
        pair = found[k] == 1, samples.label_map(k) == 1
        assert result.dice[k, 0] == pytest.approx(dice(*pair), abs=0.02, nan_ok=True)
    assert result.report["test"]["images"] == 4


def test_one_who_is_not_validated_on_is_not_needed(pixels: Pixels, quick: Quick) -> None:
    split = Split(np.arange(24), np.arange(0), np.arange(0))
    result = train_fsss(pixels(), quick(patience=1), device="cpu", split=split)
    assert result.report["best_epoch"] == 3
    assert result.report["validation"] is None


def test_training_stops_after_epochs_without_a_better_one(pixels: Pixels, quick: Quick) -> None:
    result = train_fsss(pixels(), quick(epochs=30, patience=1, learning_rate=0.05), device="cpu")
    assert result.report["epochs"] == result.report["best_epoch"] + 1 < 30


def save_classifier(path: Path, channels: int = 1, arch: str = "efficientnet-lite0") -> torch.nn.Module:
    module = build(arch, 3, channels)
    metadata = CheckpointMetadata(
        architecture=arch, classes=("a", "b", "c"), in_channels=channels, mean=(0.4,), std=(0.3,)
    )
    save_checkpoint(path, module, metadata)
    return module


def test_an_encoder_starts_from_a_classifiers_tensors(quick: Quick, tmp_path: Path) -> None:
    module = save_classifier(path := tmp_path / "classifier.safetensors")
    start = start_network(quick(network="efficientnet-lite0", weights=str(path)), 2, 1)
    assert (start.mean, start.std) == ((0.4,), (0.3,))
    assert start.source.startswith("classifier.safetensors (sha256:")
    given = module.state_dict()
    encoder = start.module.body.encoder.state_dict()
    assert len(encoder) > 200
    assert all(torch.equal(value, given[name]) for name, value in encoder.items())
    # Of three channels: the first convolution answers grey images as it did when the grey was repeated.
    module = save_classifier(path, channels=3)
    start = start_network(quick(network="efficientnet-lite0", weights=str(path)), 2, 1)
    grey = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            start.module.eval().body.encoder(grey)[1], module.eval().features[:2](grey.expand(-1, 3, -1, -1))
        )


def test_a_training_starts_from_another(pixels: Pixels, quick: Quick, tmp_path: Path) -> None:
    first = train_fsss(pixels(), quick(epochs=1), device="cpu")
    first.save(path := tmp_path / "first.safetensors")
    given = first.classifier.module.state_dict()
    same_classes = start_network(quick(weights=str(path)), 2, 1).module.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in same_classes.items())
    more = start_network(quick(weights=str(path)), 3, 1).module.state_dict()
    kept = [name for name, value in more.items() if value.shape == given[name].shape]
    assert 0 < len(more) - len(kept) < 8
    assert all(torch.equal(more[name], given[name]) for name in kept)
    with pytest.raises(ReadError, match="takes images of 1 channels, not 3"):
        start_network(quick(weights=str(path)), 2, 3)
    with pytest.raises(ReadError, match="holds the network unet, not efficientnet-lite0"):
        start_network(quick(network="efficientnet-lite0", weights=str(path)), 2, 1)


def test_weights_that_do_not_suit_are_named(quick: Quick, tmp_path: Path) -> None:
    save_classifier(path := tmp_path / "resnet.safetensors", arch="resnet18")
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"weights": "imagenet"}, ValueError, "a unet has no published weights"),
        ({"weights": str(path)}, ReadError, "is no FSSS checkpoint"),
        ({"network": "efficientnet-lite0", "weights": str(path)}, ReadError, "holds a resnet18"),
        ({"network": "efficientnet-lite0", "weights": "magic"}, ValueError, "are no file"),
        ({"network": "efficientnet-lite0", "weights": "no.pth"}, ReadError, "no such file"),
    ]
    for changes, kind, words in cases:
        with pytest.raises(kind, match=words):
            start_network(quick(**changes), 2, 1)


def test_bad_samples_are_named(pixels: Pixels, quick: Quick) -> None:
    image, label = np.zeros((4, 8, 8), np.float32), np.zeros((4, 8, 8), np.uint8)
    label[:, 2:4] = 1
    wrong_value, no_values, other_shape = label.copy(), label.astype(float), [*label[:3], label[3, :5]]
    wrong_value[2, 0, 0] = 7
    bright = image.copy()
    bright[1, 0, 0] = 3
    cases: list[tuple[Any, str]] = [
        (lambda: ArrayPixels(image, label[:3], ["a"]), "3 label maps for 4 images"),
        (
            lambda: ArrayPixels(image, wrong_value, ["a"]),
            "image 2: label 7 is neither 0 nor one of the 1 classes",
        ),
        (lambda: ArrayPixels(image, no_values, ["a"]), "image 0: labels must be whole numbers"),
        (
            lambda: ArrayPixels(image, other_shape, ["a"]),
            r"image 3: the image has shape \(8, 8\), its label map \(5",
        ),
        (lambda: ArrayPixels(image, label[..., None], ["a"]), r"a label map must have shape \(H, W\)"),
        (lambda: ArrayPixels(bright, label, ["a"]), "image 1: values must be in"),
        (lambda: ArrayPixels(image, label, ["a", "b"]), "no label map shows any 'b'"),
        (lambda: ArrayPixels(image, label, []), "class names must be unique"),
        (lambda: ArrayPixels(image[:0], label[:0], ["a"]), "there are no images"),
        (lambda: ArrayPixels(image, label, ["a"], names=["x"] * 4), "x: is in the list several times"),
    ]
    for make, words in cases:
        with pytest.raises(ValueError, match=words):
            train_fsss(make(), quick(), device="cpu")


def test_files_that_are_in_the_way(pixels: Pixels, quick: Quick, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(WriteError, match="is there already"):
        train_fsss_to_file(pixels(), quick(), out)
    assert out.read_bytes() == b"mine"
    train_fsss_to_file(pixels(), quick(epochs=1), out, device="cpu", overwrite=True)
    assert load_classifier(out).classes == ("background", "class a")


def test_an_unfinished_training_remembers_its_parameters(
    pixels: Pixels, quick: Quick, tmp_path: Path
) -> None:
    out, seen = tmp_path / "a.safetensors", []
    callbacks = Callbacks(cancelled=lambda: bool(seen), on_epoch=lambda fold, row: seen.append(row))
    with pytest.raises(Cancelled):
        train_fsss_to_file(pixels(), quick(), out, device="cpu", callbacks=callbacks)
    assert resumed_params(out, FsssParams(), []) == quick()
    with pytest.raises(ReadError, match="was made with epochs = 3, not 9"):
        resumed_params(out, quick(epochs=9), ["epochs"])
    whole = train_fsss(pixels(), quick(), device="cpu")
    train_fsss_to_file(pixels(), quick(), out, device="cpu", resume=True)
    assert same(whole, load_classifier(out))


def test_a_plain_classifier_does_not_segment() -> None:
    with pytest.raises(ValueError, match="it is no FSSS network"):
        segment(load_classifier("squeezenet1_1"), [np.zeros((32, 32))])


def test_a_subset_is_those_images(pixels: Pixels) -> None:
    samples = pixels(6, n_classes=2)
    some = SubsetPixels(samples, [4, 1])
    assert (some.names, some.patients, len(some)) == (["image 4", "image 1"], ["patient 2", "patient 0"], 2)
    assert np.array_equal(some.image(0), samples.image(4))
    assert np.array_equal(some.label_map(1), samples.label_map(1))


def test_parameters_are_those_of_a_classifiers_training_where_they_are_the_same() -> None:
    params = FsssParams(epochs=3, rotation=25, batch_size=4)
    shared = params.as_training()
    assert (shared.epochs, shared.rotation, shared.batch_size) == (3, 25, 4)
    with pytest.raises(ValueError, match=r"fsss.epochs = '0'"):
        params.with_texts({"epochs": "0"})
