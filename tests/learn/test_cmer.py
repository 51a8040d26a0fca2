"""WSS-CMER: every term against slow arithmetic, what it learns, and that it is a training like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.cmer_network import CmerNetwork
from napari_refit.cam.response import compute_responses, response_maps
from napari_refit.cli import app
from napari_refit.errors import Cancelled
from napari_refit.io.sidecar import sidecar_path
from napari_refit.learn.cmer import (
    Change,
    CmerLesson,
    Views,
    agreement_loss,
    cross_modality_loss,
    draw_change,
    equivariance_loss,
    scaled,
)
from napari_refit.learn.files import train_to_file
from napari_refit.learn.lessons import find_lesson
from napari_refit.learn.samples import ArraySamples
from napari_refit.learn.settings import CmerParams, TrainingParams
from napari_refit.learn.training import train

DRAW = np.random.default_rng(7)


def two_modalities(count: int = 64, seed: int = 0, size: int = 32) -> tuple[ArraySamples, np.ndarray]:
    """Noise; the positive ones have a square that is faint in the first modality and bright in the second."""
    draw = np.random.default_rng(seed)
    images = draw.uniform(0.1, 0.4, (count, size, size, 2)).astype(np.float32)
    labels = np.arange(count) % 2
    truth = np.zeros((count, size, size), bool)
    for number in np.flatnonzero(labels):
        row, column = draw.integers(2, size - 12, 2)
        truth[number, row : row + 10, column : column + 10] = True
    images += truth[..., None] * np.array([0.15, 0.5], np.float32)
    patients = [f"patient {number // 4}" for number in range(count)]
    return ArraySamples(images, labels, ["background", "blob"], patients), truth


def quick(**changes: object) -> TrainingParams:
    values: dict[str, object] = {
        "learner": "cmer",
        "input_size": 32,
        "epochs": 2,
        "learning_rate": 5e-3,
        "rotation": 0.0,
        "threads": 1,
        "cmer": CmerParams(width=4),
    }
    return TrainingParams(**(values | changes))  # type: ignore[arg-type]


# Each term, written out.


def slow_agreement(logits: np.ndarray, temperature: float, exclusive: bool) -> float:
    found = []
    modalities, images, classes = logits.shape
    for own in range(modalities):
        for other in range(modalities):
            for image in range(images if own != other else 0):
                p, q = (np.exp(logits[m, image] / temperature) for m in (other, own))
                if exclusive:
                    p, q = p / p.sum(), q / q.sum()
                    found.append(sum(p[k] * np.log(p[k] / q[k]) for k in range(classes)))
                else:
                    p, q = p / (1 + p), q / (1 + q)
                    found.append(
                        sum(
                            p[k] * np.log(p[k] / q[k]) + (1 - p[k]) * np.log((1 - p[k]) / (1 - q[k]))
                            for k in range(classes)
                        )
                    )
    return float(temperature**2 * np.mean(found))


def slow_equivariance(first: np.ndarray, second: np.ndarray, shown: np.ndarray) -> float:
    total = 0.0
    for m, n, k, row, column in np.ndindex(*first.shape):
        total += shown[n, k] * (first[m, n, k, row, column] - second[m, n, k, row, column]) ** 2
    return total / first.size


def slow_cross_modality(maps: np.ndarray, trusted: np.ndarray) -> float:
    found = []
    _, modalities, images, classes = maps.shape[:4]
    for view in (0, 1):
        for own in range(modalities):
            for other in range(modalities):
                for n, k in np.ndindex(images, classes) if own != other else ():
                    a, b = maps[view, own, n, k], maps[1 - view, other, n, k]
                    a, b = (one / (np.sqrt((one**2).sum()) or 1) for one in (a, b))
                    found.append(((a - b) ** 2).sum() * trusted[1 - view, other, n, k])
    return float(np.mean(found))


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize(("modalities", "classes"), [(2, 2), (3, 4), (2, 1)])
def test_terms_are_what_is_written_out(modalities: int, classes: int, exclusive: bool) -> None:
    logits = DRAW.normal(0, 5, (modalities, 3, classes))
    found = agreement_loss(torch.from_numpy(logits), 10, exclusive)
    assert float(found) == pytest.approx(slow_agreement(logits, 10, exclusive), abs=1e-12)
    maps = DRAW.random((2, modalities, 3, classes, 5, 4))
    maps[0, 0, 1] = 0
    shown = DRAW.integers(0, 2, (3, classes)).astype(float)
    trusted = DRAW.integers(0, 2, (2, modalities, 3, classes)).astype(float)
    first, second, labels, mask = (torch.from_numpy(value) for value in (maps[0], maps[1], shown, trusted))
    equivariance = equivariance_loss(first, second, labels)
    assert float(equivariance) == pytest.approx(slow_equivariance(maps[0], maps[1], shown))
    crossed = cross_modality_loss(torch.from_numpy(maps), mask)
    assert float(crossed) == pytest.approx(slow_cross_modality(maps, trusted))


def test_scaled_maps() -> None:
    maps = torch.tensor([[[-3.0, 1.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]], [[-1.0, -2.0], [-3.0, -4.0]]])
    maps.requires_grad_()
    found = scaled(maps)
    expected = [[[0, 0.2], [0.4, 1]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)
    found.square().sum().backward()
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()
    assert not maps.grad[1:].any()


def lesson(exclusive: bool = True, **changes: object) -> CmerLesson:
    found = find_lesson("cmer")
    assert isinstance(found, CmerLesson)
    labels = [0, 1, 2, 1] if exclusive else [[0, 1], [1, 1], [0, 0], [1, 0]]
    classes = ["background", "cyst", "tumour"] if exclusive else ["cyst", "tumour"]
    samples = ArraySamples(np.zeros((4, 32, 32, 2), np.float32), labels, classes)
    found.start(samples, quick(cmer=CmerParams(width=4, **changes)), 2)  # type: ignore[arg-type]
    return found


def exclusive_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits, targets.argmax(1))


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_whole_loss(exclusive: bool) -> None:
    classes = 3 if exclusive else 2
    logits = DRAW.normal(0, 3, (2, 2, 4, classes))
    maps = DRAW.random((2, 2, 4, classes, 6, 6))
    targets = np.eye(3)[[0, 1, 2, 1]] if exclusive else np.array([[0.0, 1], [1, 1], [0, 0], [1, 0]])
    plain = exclusive_entropy if exclusive else functional.binary_cross_entropy_with_logits
    views = Views(torch.from_numpy(logits), torch.from_numpy(maps), torch.from_numpy(logits[0].mean(0)))
    weights = {"agreement_weight": 0.3, "equivariance_weight": 2.0, "cross_weight": 4.0, "temperature": 5.0}
    answer, loss = lesson(exclusive, **weights).loss(views, torch.from_numpy(targets), plain)
    assert torch.equal(answer, views.answer)

    expected = 0.0
    for view in (0, 1):
        for modality in (0, 1):
            values = torch.from_numpy(logits[view, modality])
            expected += float(plain(values, torch.from_numpy(targets))) / 4
        expected += 0.3 * slow_agreement(logits[view], 5.0, exclusive) / 2
    foreground = slice(1, None) if exclusive else slice(None)
    shown, looked_at = targets[:, foreground], maps[:, :, :, foreground]
    expected += 2 * slow_equivariance(looked_at[0], looked_at[1], shown)
    said = logits == logits.max(-1, keepdims=True) if exclusive else logits > 0
    expected += 4 * slow_cross_modality(looked_at, said[..., foreground] * shown)
    assert float(loss) == pytest.approx(expected)


class Linear(CmerNetwork):
    """Every modality's map of the foreground is the image itself, so that it moves with the image."""

    def class_maps(self, x: Tensor) -> Tensor:
        light = x.mean(1)
        return torch.stack([torch.stack([-light, light], 1)] * 2)


@pytest.mark.parametrize("kind", ["mirror", "turn", "rescale", "shift"])
def test_terms_vanish_where_maps_move_with_the_image(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(3, 2, 32, 32)
    images[:, :, 9:15, 12:17] = 1
    amounts = {
        "mirror": ((0.0,), (1.0,), (0.0,)),
        "turn": ((1.0,), (2.0,), (3.0,)),
        "rescale": ((1.25, 1.25),),
        "shift": ((0.1, -0.2), (-0.25, 0.25), (0.0, 0.3)),
    }
    change = Change(kind, amounts[kind])  # type: ignore[arg-type]
    monkeypatch.setattr("napari_refit.learn.cmer.draw_change", lambda *given: change)
    views = lesson().forward(Linear(2, 2, width=2), images, torch.Generator())
    assert not torch.equal(views.maps[0, 0, 0, 1], scaled(images)[0, 0])
    ones = torch.ones(2, 2, 3, 2)
    # Bilinear steps may end just below the old maximum.
    assert float(equivariance_loss(views.maps[0], views.maps[1], ones[0, 0])) == pytest.approx(0, abs=1e-5)
    assert float(cross_modality_loss(views.maps[..., :, 1:, :, :], ones[..., 1:])) == pytest.approx(
        0, abs=1e-5
    )
    assert float(agreement_loss(views.logits[0], 10, True)) == pytest.approx(0, abs=1e-9)


def test_nothing_is_learnt_by_what_is_learnt_from() -> None:
    maps = torch.rand(2, 2, 1, 1, 4, 4, requires_grad=True)
    trusted = torch.zeros(2, 2, 1, 1)
    # Only the second modality's changed view may be learnt from: by the first modality's plain view.
    trusted[1, 1] = 1
    cross_modality_loss(maps, trusted).backward()
    assert maps.grad is not None
    moved = maps.grad.abs().sum((2, 3, 4, 5))
    assert moved[0, 0] > 0
    assert moved[0, 1] == moved[1, 0] == moved[1, 1] == 0

    logits = torch.tensor([[[2.0, -1.0]], [[0.5, 0.5]]], dtype=torch.float64, requires_grad=True)
    temperature = 4.0
    agreement_loss(logits, temperature, True).backward()
    chances = torch.softmax(logits.detach() / temperature, -1)
    # The slope of cross-entropy to fixed chances; half of it, as a mean over two pairs.
    expected = temperature * (chances - chances.flip(0)) / 2
    torch.testing.assert_close(logits.grad, expected)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([8, 16, 24, 40]))
def test_a_change_can_be_undone(seed: int, size: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    change = draw_change(3, CmerParams(), chance)
    planes = torch.rand(3, 2, size, size, generator=chance)
    moved = change(planes)
    if change.kind == "mirror":
        assert torch.equal(change(moved), planes)
        assert not torch.equal(moved, planes)
    elif change.kind == "turn":
        back = Change("turn", tuple((4 - turns,) for (turns,) in change.amounts))
        assert torch.equal(back(moved), planes)
    elif change.kind == "shift":
        assert all(abs(part) <= 0.3 for amount in change.amounts for part in amount)
        back = Change("shift", tuple((-down, -right) for down, right in change.amounts))
        for plane, restored, (down, right) in zip(planes, back(moved), change.amounts, strict=True):
            rows, columns = (
                (max(0, -round(part * size)), size - max(0, round(part * size))) for part in (down, right)
            )
            kept = torch.zeros(size, size, dtype=torch.bool)
            kept[rows[0] : rows[1], columns[0] : columns[1]] = True
            assert torch.equal(restored, plane * kept)
    else:
        assert moved.shape[-1] == moved.shape[-2] == max(8, round(size * change.amounts[0][0] / 8) * 8)
        smooth = torch.linspace(0, 1, size)[:, None] * torch.ones(3, 2, size, size)
        torch.testing.assert_close(change(smooth).mean((2, 3)), smooth.mean((2, 3)))


def test_all_kinds_of_change_are_drawn_and_repeatable() -> None:
    def drawn() -> list[Change]:
        chance = torch.Generator().manual_seed(3)
        return [draw_change(4, CmerParams(), chance) for _ in range(40)]

    assert {change.kind for change in drawn()} == {"mirror", "turn", "shift", "rescale"}
    assert drawn() == drawn()
    still = draw_change(2, CmerParams(shift=0, rescaling=0), torch.Generator().manual_seed(0))
    assert still.kind in ("mirror", "turn") or set(sum(still.amounts, ())) <= {0.0, 1.0}


def best_dice(maps: np.ndarray, truth: np.ndarray) -> float:
    found = []
    for threshold in np.linspace(0.05, 0.95, 19):
        masks = maps >= threshold
        overlap = 2 * (masks & truth).sum((1, 2)) / (masks.sum((1, 2)) + truth.sum((1, 2)))
        found.append(overlap.mean())
    return float(max(found))


def test_it_learns_where_the_blobs_are(tmp_path: Path) -> None:
    samples, _ = two_modalities(96)
    result = train(samples, quick(epochs=12, patience=0), device="cpu")
    result.save(tmp_path / "blobs.safetensors")
    loaded = load_classifier(tmp_path / "blobs.safetensors")
    assert (loaded.architecture, loaded.in_channels, loaded.background) == ("cmer", 2, 0)
    fresh, truth = two_modalities(40, seed=99)
    planes = np.stack([fresh.image(number) for number in range(40)])
    found = compute_responses(loaded, planes, [1])
    assert (found.predicted[:, 0] == (fresh.labels == 1)).mean() > 0.9
    shown = fresh.labels == 1
    dice = best_dice(found.maps[shown, 0], truth[shown])
    guess = best_dice(np.ones_like(found.maps[shown, 0]), truth[shown])
    assert guess < 0.2
    assert dice > 0.6
    assert response_maps(loaded, planes[1]).shape == (1, 32, 32)


def weights(result: object) -> dict[str, Tensor]:
    found: dict[str, Tensor] = result.classifier.module.state_dict()  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_is_unbroken_and_repeatable(tmp_path: Path, precision: str) -> None:
    samples, _ = two_modalities(32)
    params = quick(epochs=3, precision=precision, channels_last=precision == "bfloat16", patience=0)
    whole = train(samples, params, device="cpu")
    asked: list[int] = []

    def stop() -> bool:
        return len(asked) == 2

    state = tmp_path / "state.pt"
    with pytest.raises(Cancelled):
        train(
            samples, params, device="cpu", state=state, cancelled=stop, on_epoch=lambda row: asked.append(1)
        )
    resumed = train(samples, params, device="cpu", resume_from=state)
    assert whole.report["history"][2]["training"] == resumed.report["history"][2]["training"]
    before, after = weights(whole), weights(resumed)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    other = weights(train(samples, params.model_copy(update={"seed": 1}), device="cpu"))
    assert any(not torch.equal(value, other[name]) for name, value in before.items())


def test_several_classes_at_once() -> None:
    samples, _ = two_modalities(32)
    labels = np.stack([samples.labels, 1 - samples.labels], 1)
    images = [samples.image(number) for number in range(32)]
    several = ArraySamples(images, labels, ["blob", "calm"], samples.patients)
    result = train(several, quick(), device="cpu")
    assert (result.metadata.activation, result.metadata.background) == ("sigmoid", None)
    found = compute_responses(result.classifier, np.stack(images[:2]), [0, 1])
    assert found.maps.shape == (2, 2, 32, 32)
    assert np.isfinite(result.report["history"][-1]["training"]["loss"])


def test_one_channel_is_refused(blobs: Callable[..., ArraySamples]) -> None:
    with pytest.raises(ValueError, match="WSS-CMER compares two modalities; these images have one"):
        train(blobs(16), quick(), device="cpu")


def test_it_goes_on_from_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    samples, _ = two_modalities(16)
    first = train(samples, quick(epochs=1), device="cpu")
    path = tmp_path / "first.safetensors"
    first.save(path)
    again = CmerLesson().start(samples, quick(weights=str(path)), 2)
    assert again.source.startswith("first.safetensors (sha256:")
    assert all(torch.equal(value, weights(first)[name]) for name, value in again.module.state_dict().items())
    with pytest.raises(ValueError, match="are not of WSS-CMER with 2 modalities and this width"):
        CmerLesson().start(samples, quick(weights=str(path), cmer=CmerParams(width=8)), 2)


def test_the_files_say_how_it_was_made(tmp_path: Path) -> None:
    samples, _ = two_modalities(24)
    out = tmp_path / "folds.safetensors"
    params = quick(folds=2, epochs=1).with_texts({"cmer.modality": "second", "cmer.agreement_weight": "0.25"})
    report = train_to_file(samples, params, out, device="cpu")
    assert len(report["folds"]) == 2
    told = json.loads(sidecar_path(tmp_path / "folds-fold1.safetensors").read_text())["parameters"]
    assert told["learner"] == "cmer"
    assert (told["cmer"]["modality"], told["cmer"]["agreement_weight"]) == ("second", 0.25)
    loaded = load_classifier(tmp_path / "folds-fold1.safetensors")
    assert isinstance(loaded.module, CmerNetwork)
    assert loaded.module.modality == "second"


def test_the_command_on_two_modalities_of_a_dataset(tmp_path: Path, shared_data: Path) -> None:
    root = tmp_path / "lgg"
    root.mkdir()
    names = sorted(path.name for path in (shared_data / "lgg").glob("*_seg.nii.gz"))[:3]
    for name in names:
        for file in (name, name.replace("_seg", "")):
            (root / file).symlink_to(shared_data / "lgg" / file)
    out = tmp_path / "two.safetensors"
    options = f"--preparation two-modalities --learner cmer --input-size 32 --epochs 1 --out {out} --json"
    extra = ["--set", "cmer.width=2", "--set", "threads=1", "--device", "cpu"]
    answer = CliRunner().invoke(app, ["train", str(root), *options.split(), *extra])
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert (report["parameters"]["learner"], report["parameters"]["cmer"]["width"]) == ("cmer", 2)
    loaded = load_classifier(out)
    assert (loaded.architecture, loaded.in_channels) == ("cmer", 2)
    assert response_maps(loaded, np.zeros((64, 64, 2), np.float32)).shape == (1, 64, 64)
