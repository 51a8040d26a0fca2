from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from napari_refit.cam.architectures import build
from napari_refit.cam.checkpoint import CheckpointMetadata, read_metadata, read_state, save_checkpoint
from napari_refit.cam.classifier import load_classifier
from napari_refit.errors import ReadError, WriteError

DESCRIBED: dict[str, Any] = {
    "architecture": "phantom-cnn",
    "classes": ("background", "lesion"),
    "background": 0,
    "input_size": 48,
    "in_channels": 1,
    "mean": (0.25,),
    "std": (0.5,),
    "training": {"epochs": 3, "seed": 7},
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "modèle.safetensors"
    save_checkpoint(path, build("phantom-cnn", 2, 1), DESCRIBED)
    return path


class Stranger:
    def __reduce__(self) -> Any:
        return os.mkdir, ("must-not-be-made",)


def one_line(error: BaseException, *words: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    module = build("phantom-cnn", 2, 1)
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, module, DESCRIBED)
    found = read_metadata(path)
    assert found is not None
    assert found.model_dump(exclude={"version"}) == CheckpointMetadata(**DESCRIBED).model_dump(
        exclude={"version"}
    )
    assert found.version
    state = read_state(path)
    assert state.keys() == module.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    classifier = load_classifier(path)
    assert classifier.classes == ("background", "lesion")
    assert (classifier.background, classifier.input_size, classifier.in_channels) == (0, 48, 1)
    assert (classifier.mean, classifier.std, classifier.name) == ((0.25,), (0.5,), "a")
    image = torch.rand(1, 1, 48, 48)
    assert torch.equal(classifier.module(image), module.eval()(image))


def test_metadata_is_json_under_one_key(checkpoint: Path) -> None:
    length = int.from_bytes(checkpoint.read_bytes()[:8], "little")
    header = json.loads(checkpoint.read_bytes()[8 : 8 + length])
    described = json.loads(header["__metadata__"]["napari_refit"])
    assert described["architecture"] == "phantom-cnn"
    assert described["classes"] == ["background", "lesion"]


def test_reading_metadata_loads_no_torch(checkpoint: Path) -> None:
    code = (
        "import sys; from napari_refit.cam.checkpoint import read_metadata; "
        f"print(read_metadata({str(checkpoint)!r}).classes, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('background', 'lesion') False"


@given(
    classes=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True),
    size=st.one_of(st.none(), st.integers(1, 512)),
    activation=st.sampled_from(["softmax", "sigmoid"]),
)
def test_metadata_survives_json(classes: list[str], size: int | None, activation: Any) -> None:
    metadata = CheckpointMetadata(
        architecture="phantom-cnn", classes=tuple(classes), input_size=size, activation=activation
    )
    assert CheckpointMetadata.model_validate_json(metadata.model_dump_json()) == metadata


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ()},
        {"classes": ("a", "a")},
        {"background": 2},
        {"std": (0.0,)},
        {"mean": (0.1, 0.2)},
        {"activation": "tanh"},
        {"input_size": 0},
    ],
)
def test_metadata_that_does_not_hold_together_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CheckpointMetadata(**{**DESCRIBED, **change})


@pytest.mark.parametrize("keep", [0, 4, 8, 200, -1])
def test_truncated_safetensors(checkpoint: Path, keep: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(ReadError) as caught:
        load_classifier(checkpoint)
    one_line(caught.value, checkpoint.name)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.safetensors", b"hello, this is a text"), ("a.pt", b"not a checkpoint"), ("a.pth", b"")],
)
def test_other_bytes(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught:
        load_classifier(path, arch="phantom-cnn")
    one_line(caught.value, name)


def test_truncated_torch_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(build("phantom-cnn", 2, 1).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ReadError) as caught:
        load_classifier(path, arch="phantom-cnn")
    one_line(caught.value, "a.pt")


@pytest.mark.parametrize("content", [Stranger(), {"weight": Stranger()}, nn.Linear(2, 2)])
def test_pickled_objects_are_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(ReadError) as caught:
        load_classifier(path, arch="phantom-cnn")
    one_line(caught.value, "a.pt", "pickled")
    assert not Path("must-not-be-made").exists()


@pytest.mark.parametrize(
    "content", [{}, [torch.zeros(1)], {"epoch": 3, "weight": torch.zeros(1)}, torch.zeros(2)]
)
def test_no_state_dict(tmp_path: Path, content: object) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(ReadError) as caught:
        load_classifier(path, arch="phantom-cnn")
    one_line(caught.value, "a.pt", "state")


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 1}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_plain_state_dicts_load_with_an_architecture(
    tmp_path: Path, wrap: Callable[[Any], Any], prefix: str
) -> None:
    module = build("phantom-cnn", 3, 1)
    path = tmp_path / "plain.pth"
    torch.save(wrap({prefix + name: value for name, value in module.state_dict().items()}), path)
    found = load_classifier(path, arch="phantom-cnn", classes=["background", "a", "b"])
    assert found.classes == ("background", "a", "b")
    assert (found.background, found.in_channels) == (0, 1)
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(found.module(image), module.eval()(image))
    assert load_classifier(f"phantom-cnn:{path}").classes == ("class 0", "class 1", "class 2")


def test_plain_safetensors_load_with_an_architecture(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file(build("squeezenet1_1", 2).state_dict(), path)
    assert read_metadata(path) is None
    assert load_classifier(path, arch="squeezenet1_1").classes == ("class 0", "class 1")
    with pytest.raises(ReadError) as caught:
        load_classifier(path)
    one_line(caught.value, "plain.safetensors", "--arch")


def test_another_architecture(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError) as caught:
        load_classifier(checkpoint, arch="resnet18")
    one_line(caught.value, checkpoint.name, "phantom-cnn", "resnet18")
    path = tmp_path / "plain.pt"
    state = build("phantom-cnn", 2).state_dict()
    torch.save(state, path)
    with pytest.raises(ReadError) as caught:
        load_classifier(path, arch="resnet18")
    one_line(caught.value, "plain.pt", "resnet18", "'conv1.weight'", repr(next(iter(state))))


def test_metadata_that_lies_about_the_architecture(tmp_path: Path) -> None:
    path = tmp_path / "lie.safetensors"
    save_checkpoint(path, build("phantom-cnn", 2, 1), {**DESCRIBED, "architecture": "squeezenet1_1"})
    with pytest.raises(ReadError) as caught:
        load_classifier(path)
    one_line(caught.value, "lie.safetensors", "squeezenet1_1")
    save_checkpoint(path, build("phantom-cnn", 2, 1), {**DESCRIBED, "architecture": "no-such-net"})
    with pytest.raises(ReadError, match="no-such-net"):
        load_classifier(path)
    save_checkpoint(path, build("phantom-cnn", 3, 1), DESCRIBED)
    with pytest.raises(ReadError, match=r"weight of shape \(2, .*\), found \(3, "):
        load_classifier(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        load_classifier(tmp_path / "none.safetensors")
    with pytest.raises(ReadError, match="no such file"):
        load_classifier(tmp_path / "none.pt", arch="phantom-cnn")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ReadError):
        load_classifier(tmp_path / "folder.safetensors")
    with pytest.raises(ReadError, match=r"\.pth"):
        load_classifier(tmp_path)


def test_wrong_number_of_names(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="2 classes, got 3 names"):
        load_classifier(checkpoint, classes=["a", "b", "c"])


def test_a_failed_save_leaves_the_old_file(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checkpoint.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        save_checkpoint(checkpoint, build("phantom-cnn", 2, 1), DESCRIBED)
    assert checkpoint.read_bytes() == before
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_save_refuses_other_names_and_places(tmp_path: Path) -> None:
    module = build("phantom-cnn", 2, 1)
    with pytest.raises(ValueError, match="safetensors"):
        save_checkpoint(tmp_path / "a.pt", module, DESCRIBED)
    with pytest.raises(WriteError, match="no-such-folder"):
        save_checkpoint(tmp_path / "no-such-folder" / "a.safetensors", module, DESCRIBED)
