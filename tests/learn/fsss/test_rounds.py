"""Label, train, label anew: the same wherever it was stopped, in front of nothing but images and what they show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_refit import Refit, RefitParams
from napari_refit.cam.classifier import Classifier, load_classifier
from napari_refit.errors import Cancelled, WriteError
from napari_refit.io.datasets import Preparation, TrainingSet, find_dataset, image_labels, training_set
from napari_refit.learn.files import Callbacks, resumed_params
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.pseudo import PseudoLabels
from napari_refit.learn.fsss.rounds import params_of_round, train_on_pseudo_labels
from napari_refit.learn.places import round_path, state_path, unfinished
from napari_refit.learn.splits import Split

Quick = Callable[..., FsssParams]
PIPELINE = RefitParams(threshold=0.5, n_segments=40)


class Brightness(torch.nn.Module):
    """Its map is the image; a class is predicted where any pixel is brighter than a half."""

    maps_are_scaled = True

    def own_maps(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, :1].expand(-1, 2, -1, -1), self(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        light = x.amax((1, 2, 3))
        return torch.stack([torch.full_like(light, 0.5), light], 1)


def bright() -> Classifier:
    return Classifier(Brightness(), ("background", "benign"), in_channels=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a bright square, or without; no mask anywhere."""
    folder = tmp_path_factory.mktemp("rounds") / "busi"
    draw = np.random.default_rng(0)
    for number in range(1, 13):
        kind = "benign" if number % 3 else "normal"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture = draw.integers(10, 40, (40, 36)).astype(np.uint8)
        if kind == "benign":
            row, column = draw.integers(2, 20, 2)
            picture[row : row + 12, column : column + 12] = draw.integers(170, 250)
        else:
            picture[:3, :3] = 240
        Image.fromarray(picture).save(folder / kind / f"{kind} ({number}).png")
    return folder


@pytest.fixture
def training(root: Path) -> TrainingSet:
    dataset = find_dataset(root).prepared(Preparation(include=("benign", "normal"), classes=("benign",)))
    return training_set(dataset, image_labels(dataset))


def states(out: Path, rounds: int) -> list[dict[str, torch.Tensor]]:
    paths = [*(round_path(out, number) for number in range(1, rounds)), out]
    return [load_classifier(path).module.state_dict() for path in paths]


def same(first: list[dict[str, torch.Tensor]], second: list[dict[str, torch.Tensor]]) -> bool:
    return all(
        torch.equal(value, two[name])
        for one, two in zip(first, second, strict=True)
        for name, value in one.items()
    )


def test_two_rounds_and_what_is_said_of_them(training: TrainingSet, quick: Quick, tmp_path: Path) -> None:
    out, told = tmp_path / "a.safetensors", []
    params = quick(rounds=2, epochs=6, doubtful_share=0.25, contradicted="background")

    def tell(number: int, found: PseudoLabels) -> None:
        told.append((number, found))

    report = train_on_pseudo_labels(
        training, bright(), out, PIPELINE, params, cache=tmp_path / "kept", device="cpu", tell=tell
    )
    assert [number for number, _ in told] == [1, 2]
    assert [row["checkpoint"] for row in report["rounds"]] == ["a-round1.safetensors", "a.safetensors"]
    assert [row["images"] for row in report["rounds"]] == [len(found.samples) for _, found in told]
    first = load_classifier(round_path(out, 1))
    labels = report["data"]["labels"]
    assert labels["model_checksum"] == report["rounds"][0]["checksum"] == first.checksum
    assert labels["labels"] == "refit"
    assert report["rounds"][1]["labels"]["left_out"] == {
        reason: count for reason, count in told[1][1].counts.items() if count
    }
    # The second round's labels are the same fit of the first network's probabilities.
    changed = params_of_round(PIPELINE, params, 2)
    assert changed.fit_params == PIPELINE.fit_params.model_copy(update={"threshold": 0.5})
    assert changed.segmenter_params == PIPELINE.segmenter_params
    found = told[1][1]
    number = int(
        found.kept[[bool(found.samples.label_map(k).any()) for k in range(len(found.kept))].index(True)]
    )
    place = found.kept.tolist().index(number)
    window = {"mode": "window", "window_level": 0.5, "window_width": 1.0}
    expected = Refit(
        found.samples._images.image(number),
        first,
        changed.replace(**{"cam.gate": "off"}, intensity=window),
        device="cpu",
    ).slice(0)
    np.testing.assert_array_equal(found.samples.label_map(place), expected.mask)
    # Both rounds leave their labels and a report of their own.
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["round1", "round2"]
    for path, (_, made) in zip((round_path(out, 1), out), told, strict=True):
        content = json.loads(path.with_suffix(".refit.json").read_text())
        assert content["left_out"] == made.left_out
        assert content["agreements"] == pytest.approx(made.agreements)
        assert content["parameters"] == params.model_dump()
    assert not unfinished(out)


def test_patients_stay_on_their_side_in_every_round(
    training: TrainingSet, quick: Quick, tmp_path: Path
) -> None:
    split = Split(np.arange(8), np.arange(8, 10), np.arange(10, 12))
    out = tmp_path / "a.safetensors"
    train_on_pseudo_labels(
        training, bright(), out, PIPELINE, quick(rounds=2, epochs=1), split=split, device="cpu"
    )
    names = [row.case for row in training.labels.rows]
    for path in (round_path(out, 1), out):
        content = json.loads(path.with_suffix(".refit.json").read_text())
        predicted = {part: {row["name"] for row in rows} for part, rows in content["predictions"].items()}
        assert predicted["validation"] | predicted["test"]
        assert predicted["validation"] <= set(names[8:10])
        assert predicted["test"] <= set(names[10:12])


@pytest.fixture(scope="module")
def unbroken(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = find_dataset(root).prepared(Preparation(include=("benign", "normal"), classes=("benign",)))
    out = tmp_path_factory.mktemp("unbroken") / "a.safetensors"
    train_on_pseudo_labels(
        training_set(dataset, image_labels(dataset)), bright(), out, PIPELINE, interrupted(), device="cpu"
    )
    return out


def interrupted() -> FsssParams:
    return FsssParams(
        network="unet",
        weights="none",
        input_size=32,
        epochs=2,
        batch_size=4,
        learning_rate=5e-3,
        threads=1,
        rounds=2,
    )


@pytest.mark.parametrize(
    "moment",
    [
        "pseudo-labels of benign (4)",
        "epoch 2 of 2",
        "round 1 is done",
        "second pseudo-labels",
        "second epoch 1 of 2",
        "second epoch 2 of 2",
    ],
)
def test_wherever_it_is_stopped_it_goes_on_to_the_same_end(
    training: TrainingSet, unbroken: Path, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "a.safetensors"
    stop, seen = [False], set()

    def progress(done: int, total: int, text: str) -> None:
        del done, total
        is_second = round_path(out, 1).exists()
        name = f"second {text}" if is_second else text
        seen.add(name)
        if name.startswith(moment) or (moment == "round 1 is done" and is_second):
            stop[0] = True

    how: dict[str, Any] = {"cache": tmp_path / "kept", "device": "cpu"}
    with pytest.raises(Cancelled):
        train_on_pseudo_labels(
            training,
            bright(),
            out,
            PIPELINE,
            interrupted(),
            callbacks=Callbacks(progress, lambda: stop[0]),
            **how,
        )
    assert not out.exists()
    if "epoch 2" in moment or round_path(out, 1).exists():
        assert unfinished(out)
        assert resumed_params(out, FsssParams(), []) == interrupted()
        with pytest.raises(WriteError, match=r"resume|overwrite"):
            train_on_pseudo_labels(training, bright(), out, PIPELINE, interrupted(), **how)
    before = round_path(out, 1).stat().st_mtime_ns if round_path(out, 1).exists() else None
    report = train_on_pseudo_labels(training, bright(), out, PIPELINE, interrupted(), resume=True, **how)
    assert same(states(out, 2), states(unbroken, 2))
    # A round that was done is not done again.
    if before is not None:
        assert round_path(out, 1).stat().st_mtime_ns == before
    whole = json.loads(unbroken.with_suffix(".refit.json").read_text())
    for made in (report, whole):
        # A checkpoint's file says how many seconds it took.
        del made["data"]["labels"]["model_checksum"]
    for key in ("data", "best_epoch", "validation", "parameters"):
        assert report[key] == whole[key]
    assert len(report["rounds"]) == 2
    assert not any(state_path(path).exists() for path in (out, round_path(out, 1)))


def test_a_round_of_another_training_is_not_taken_for_one_of_this(
    training: TrainingSet, unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.safetensors"
    params = interrupted()
    other = PIPELINE.replace(threshold=0.4, n_segments=30)
    train_on_pseudo_labels(training, bright(), out, other, params, device="cpu")
    assert not same(states(out, 2), states(unbroken, 2))
    train_on_pseudo_labels(training, bright(), out, PIPELINE, params, resume=True, device="cpu")
    assert same(states(out, 2), states(unbroken, 2))
    # All is there: nothing is trained.
    times = [path.stat().st_mtime_ns for path in (round_path(out, 1), out)]
    train_on_pseudo_labels(training, bright(), out, PIPELINE, params, resume=True, device="cpu")
    assert [path.stat().st_mtime_ns for path in (round_path(out, 1), out)] == times


def test_hard_labels_and_soft_ones_differ_and_the_graph_cut_makes_either(
    training: TrainingSet, quick: Quick, tmp_path: Path
) -> None:
    pipeline = RefitParams(
        fit="appearance", segmenter="slic", **{"slic.n_segments": 60, "appearance.start": 0.5}
    )
    made = {}
    for targets in ("soft", "hard"):
        out = tmp_path / f"{targets}.safetensors"
        report = train_on_pseudo_labels(
            training, bright(), out, pipeline, quick(epochs=1, targets=targets), device="cpu"
        )
        assert report["data"]["labels"]["parameters"]["fit"] == "appearance"
        assert report["data"]["labels"]["sharpness"] == 1.0
        assert report["data"]["labels"]["targets"] == targets
        assert ("soft labels" in report["data"]["checksums"]) == (targets == "soft")
        made[targets] = states(out, 1)
    assert not same(made["soft"], made["hard"])
    scaled = pipeline.replace(**{"intensity.floor": 0.3, "cam.scales": (0.5, 1.0)})
    later = params_of_round(scaled, quick(), 2)
    assert (later.intensity, later.cam.scales) == (RefitParams().intensity, (1.0,))
    assert params_of_round(scaled, quick(), 2, scaled.intensity).intensity.floor == 0.3
    assert params_of_round(scaled, quick(), 1) == scaled
    later = params_of_round(pipeline, quick(network_threshold=0.45), 2)
    assert (later.fit_params.threshold, later.fit_params.start) == (0.45, 0.45)


def test_the_network_is_a_response_map_that_fits_and_scribbles_work_on(
    training: TrainingSet, quick: Quick, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.safetensors"
    train_on_pseudo_labels(training, bright(), out, PIPELINE, quick(epochs=8), device="cpu")
    picture = np.asarray(Image.open(sorted((root / "benign").iterdir())[0]))
    for fit in ("boundary", "appearance"):
        params = RefitParams(fit=fit, **{f"{fit}.threshold": 0.5, "slic.n_segments": 60})
        if fit == "appearance":
            params = params.replace(**{"appearance.start": 0.5})
        refit = Refit(picture, out, params, device="cpu")
        plain = refit.slice(0)
        square = picture > 150
        assert (
            2 * (plain.mask.astype(bool) & square).sum() / (plain.mask.astype(bool).sum() + square.sum())
            > 0.7
        )
        inside = tuple(np.argwhere(plain.mask > 0)[len(np.argwhere(plain.mask > 0)) // 2])
        hints = np.zeros(picture.shape, np.uint8)
        hints[inside] = 255
        refit.use_hints(hints)
        assert plain.mask[inside] == 1
        assert refit.slice(0).mask[inside] == 0
