from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import interpolate
from torchvision import models

from napari_refit.cam.architectures import build
from napari_refit.cam.checkpoint import save_checkpoint
from napari_refit.cam.classifier import PREDICTED, Classifier, load_classifier
from napari_refit.errors import ReadError

Tiny = Callable[..., nn.Sequential]


def test_module_is_described_by_its_layers(tiny: Tiny) -> None:
    module = tiny(in_channels=1, classes=4)
    found = load_classifier(module)
    assert found.module is module
    assert (found.in_channels, found.classes) == (1, ("class 0", "class 1", "class 2", "class 3"))
    assert (found.background, found.activation, found.input_size) == (None, "softmax", None)
    named = load_classifier(module, classes=["Background", "a", "b", "c"])
    assert (named.background, named.foreground) == (0, (1, 2, 3))
    assert load_classifier(tiny(classes=1)).activation == "sigmoid"
    assert load_classifier(found) is found


@given(count=st.integers(1, 6), data=st.data())
def test_class_numbers_are_ranks_of_the_foreground(count: int, data: st.DataObject) -> None:
    background = data.draw(st.one_of(st.none(), st.integers(0, count - 1)))
    found = Classifier(nn.Linear(2, count), [f"c{i}" for i in range(count)], background=background)
    numbers = [found.class_number(index) for index in found.foreground]
    assert numbers == list(range(1, len(numbers) + 1))
    if background is not None:
        assert found.class_number(background) == 0
        assert background not in found.foreground


def test_classes_by_name_and_index(tiny: Tiny) -> None:
    found = load_classifier(tiny(), classes=["background", "Lesion", "edema"])
    assert found.class_indices() == (1, 2)
    assert found.class_indices(()) == (1, 2)
    assert found.class_indices(["edema", 0, "lesion"]) == (2, 0, 1)
    assert found.class_indices("edema") == (2,)
    assert found.class_indices("predicted") == (PREDICTED,)
    with pytest.raises(ValueError, match=r"'oedema'.*edema"):
        found.class_indices(["oedema"])
    with pytest.raises(ValueError, match="no class 3"):
        found.class_indices([3])
    with pytest.raises(TypeError, match=r"1\.5"):
        found.class_indices([1.5])  # type: ignore[list-item]


def test_prepare_resizes_and_normalises(tiny: Tiny, planes: np.ndarray) -> None:
    plain = Classifier(tiny(), ["a", "b", "c"], in_channels=1)
    assert torch.equal(plain.prepare(planes), torch.from_numpy(planes)[:, None])
    scaled = Classifier(tiny(), ["a", "b", "c"], in_channels=1, mean=[0.2], std=[0.4], input_size=16)
    expected = interpolate(torch.from_numpy(planes)[:, None], (16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(scaled.prepare(planes), (expected - 0.2) / 0.4)


def test_prepare_fits_channels(tiny: Tiny) -> None:
    generator = np.random.default_rng(0)
    grey, colour = generator.random((2, 5, 6)), generator.random((2, 5, 6, 3))
    three = Classifier(tiny(3), ["a", "b", "c"], in_channels=3, mean=[0.1, 0.2, 0.3])
    x = three.prepare(grey) + torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    assert x.shape == (2, 3, 5, 6)
    torch.testing.assert_close(x[:, 0], x[:, 1])
    torch.testing.assert_close(x[:, 2], torch.from_numpy(grey).float())
    with_alpha = np.concatenate([colour, np.ones((2, 5, 6, 1))], axis=-1)
    assert torch.equal(three.prepare(colour), three.prepare(with_alpha))
    one = Classifier(tiny(1), ["a", "b", "c"], in_channels=1)
    same = np.repeat(grey[..., None], 3, axis=-1)
    torch.testing.assert_close(one.prepare(same), one.prepare(grey))
    assert torch.equal(one.prepare(np.full((1, 4, 4), np.nan)), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="5 channels"):
        one.prepare(np.zeros((1, 4, 4, 5)))
    with pytest.raises(ValueError, match="shape"):
        one.prepare(np.zeros((4, 4)))


def test_checksum_follows_the_weights(tiny: Tiny, tmp_path: Path) -> None:
    module = tiny()
    before = load_classifier(module).checksum
    assert before.startswith("sha256:")
    assert load_classifier(tiny()).checksum == before
    with torch.no_grad():
        module[3].bias += 1
    assert load_classifier(module).checksum != before
    path = tmp_path / "a.safetensors"
    save_checkpoint(
        path,
        build("phantom-cnn", 2, 1),
        {"architecture": "phantom-cnn", "classes": ["a", "b"], "in_channels": 1},
    )
    import hashlib

    assert load_classifier(path).checksum == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_names_without_weights() -> None:
    found = load_classifier("mobilenet_v3_small", classes=["background", "x"])
    assert (found.architecture, found.in_channels, found.classes) == (
        "mobilenet_v3_small",
        3,
        ("background", "x"),
    )
    assert load_classifier("squeezenet1_1:none").classes[999] == "class 999"
    assert not found.module.training


def test_published_weights_from_the_download_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    module = models.squeezenet1_1()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(module.state_dict(), folder / Path(weights.url).name)
    found = load_classifier("squeezenet1_1:imagenet")
    assert torch.equal(found.module.classifier[1].weight, module.classifier[1].weight)
    assert found.classes[1] == "goldfish"
    assert len(set(found.classes)) == 1000
    assert found.mean == pytest.approx((0.485, 0.456, 0.406))
    local = load_classifier(f"squeezenet1_1:{folder / Path(weights.url).name}")
    assert (local.classes, local.mean) == (found.classes, found.mean)


def test_published_weights_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(ReadError) as caught:
        load_classifier("squeezenet1_1:imagenet")
    for word in ("network", "local", "squeezenet1_1:none"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("resnet43", ValueError, "resnet34"),
        ("squeezenet1_1:no-such", ValueError, "no-such"),
        ("no-such.safetensors", ReadError, "no such file"),
        (3, TypeError, "int"),
        (nn.ReLU(), ValueError, "no classifier"),
    ],
)
def test_bad_sources(source: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_classifier(source)  # type: ignore[arg-type]


def test_bad_devices(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="'abacus'"):
        load_classifier(tiny(), device="abacus")
    with pytest.raises(ValueError, match="'cuda:77'"):
        load_classifier(tiny(), device="cuda:77")


@pytest.mark.parametrize(
    "options",
    [
        {"background": 3},
        {"std": [0.0]},
        {"mean": [0.0, 1.0]},
        {"activation": "tanh"},
    ],
)
def test_descriptions_that_do_not_hold_together(tiny: Tiny, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Classifier(tiny(), ["a", "b", "c"], **options)  # type: ignore[arg-type]
