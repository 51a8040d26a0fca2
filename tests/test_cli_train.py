from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from napari_refit.cam.classifier import load_classifier
from napari_refit.cli import main
from napari_refit.cli_train import OFFERED
from napari_refit.learn.settings import TrainingParams

NETWORK = ("--arch", "phantom-cnn", "--weights", "none", "--input-size", "32")
QUICK = (*NETWORK, "--epochs", "3", "--learning-rate", "3e-3", "--device", "cpu", "--set", "threads=1")


@pytest.fixture
def blob_folder(tmp_path: Path) -> Path:
    """A folder of PNG files: noise, with a bright square in those of one class."""
    import imageio.v3 as iio
    import numpy as np

    draw = np.random.default_rng(0)
    for number in range(32):
        image = draw.uniform(25, 75, (32, 32))
        if number % 2:
            row, column = draw.integers(2, 20, 2)
            image[row : row + 9, column : column + 9] += 100
        folder = tmp_path / "blobs" / ("blob" if number % 2 else "normal")
        folder.mkdir(parents=True, exist_ok=True)
        iio.imwrite(folder / f"{number}.png", image.astype(np.uint8))
    return tmp_path / "blobs"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in ("train", *arguments)])


def test_a_folder_becomes_a_checkpoint_that_refines(
    blob_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "blobs.safetensors"
    assert run(blob_folder, "--out", out, *QUICK, "--test-share", "0.2") == 0
    captured = capsys.readouterr()
    assert "AUROC" in captured.out
    assert captured.out.startswith(f"{out}: phantom-cnn")
    lines = [line for line in captured.err.splitlines() if line.startswith("epoch")]
    assert [line.split(":")[0] for line in lines] == [f"epoch {k} of 3" for k in (1, 2, 3)]
    classifier = load_classifier(out)
    assert (classifier.classes, classifier.background) == (("blob", "normal"), 1)
    image = blob_folder / "blob" / "1.png"
    assert main(["refine", str(image), "--model", str(out), "--out", str(tmp_path / "refined")]) == 0


def test_another_learner_is_trained_and_refined_with_in_the_same_way(
    blob_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seam.safetensors"
    options = (*QUICK, "--learner", "seam", "--set", "seam.scale=0.6", "--json")
    assert run(blob_folder, "--out", out, *options) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parameters"]["learner"] == "seam"
    assert report["parameters"]["seam"]["scale"] == 0.6
    classifier = load_classifier(out)
    assert (classifier.architecture, classifier.classes) == ("seam", ("blob", "normal"))
    image = blob_folder / "blob" / "1.png"
    folder = tmp_path / "refined"
    assert main(["refine", str(image), "--model", str(out), "--out", str(folder), "--json"]) == 0
    assert any(folder.iterdir())
    assert run(blob_folder, "--out", out, *QUICK, "--learner", "seam", "--overwrite") == 1
    assert "raise input_size" in capsys.readouterr().err


def test_json_is_one_object_and_the_epochs_go_to_standard_error(
    blob_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(blob_folder, "--out", tmp_path / "a.safetensors", *QUICK, "--folds", "2", "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert len(report["folds"]) == 2
    assert report["test"]["images"] == 32
    assert "fold 2 of 2, epoch 3 of 3" in captured.err


def test_a_killed_training_goes_on_without_its_options(
    blob_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.safetensors"
    program = (
        "import os, sys, napari_refit.learn.state as state, napari_refit.learn.epochs as epochs\n"
        "from napari_refit.cli import main\n"
        "def save(path, content):\n"
        "    state.save_state(path, content)\n"
        "    if content.epoch == 2: os.kill(os.getpid(), 9)\n"
        "epochs.save_state = save\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", program, "train", str(blob_folder), "--out", str(out), *QUICK]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    assert not out.exists()
    assert run(blob_folder, "--out", out, "--device", "cpu") == 1
    assert "--resume" in capsys.readouterr().err
    assert run(blob_folder, "--out", out, "--device", "cpu", "--resume", "--epochs", "7") == 1
    assert "epochs = 3, not 7" in capsys.readouterr().err
    assert run(blob_folder, "--out", out, "--device", "cpu", "--resume") == 0
    assert "epoch 3 of 3" in capsys.readouterr().err
    other = tmp_path / "b.safetensors"
    assert run(blob_folder, "--out", other, *QUICK) == 0
    states = [load_classifier(path).module.state_dict() for path in (out, other)]
    assert all(value.equal(states[1][name]) for name, value in states[0].items())


def test_ctrl_c_is_one_line_that_says_how_to_go_on(
    blob_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_refit.learn.files.train", interrupt)
    assert run(blob_folder, "--out", tmp_path / "a.safetensors", *QUICK) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("napari-refit: error: stopped")
    assert "--resume" in line


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--epochs", "0"], 2, "epochs = 0"),
        (["--set", "epoch=3"], 2, "did you mean epochs"),
        (["--set", "epochs"], 2, "key=value"),
        (["--epochs", "3", "--set", "epochs=3"], 2, "epochs is given as an option and by --set"),
        (["--balance", "fair"], 2, "balance = 'fair'"),
        (["--arch", "resnet33"], 2, "resnet33"),
        (["--set", "intensity.mode=magic"], 2, "intensity.mode"),
        (["--weights", "missing.pth", "--arch", "resnet18"], 1, "missing.pth: no such file"),
        (["--device", "abacus"], 1, "abacus"),
        (["--out", "a.pt"], 2, "a.pt"),
        (["--out", "no/such/a.safetensors"], 1, "folder does not exist"),
    ],
)
def test_bad_usage_is_one_line(
    blob_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    words: str,
) -> None:
    assert run(blob_folder, "--out", tmp_path / "a.safetensors", *options) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("napari-refit: error: ")
    assert words in line


def test_bad_images_are_one_line_that_names_the_file(
    blob_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = blob_folder / "blob" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    assert run(blob_folder, "--out", tmp_path / "a.safetensors", *QUICK) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(bad) in line
    (tmp_path / "list.csv").write_text("image,klass\nblobs/blob/1.png,blob\n")
    assert run(tmp_path / "list.csv", "--out", tmp_path / "a.safetensors", *QUICK) == 1
    assert "unknown column 'klass'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob("a.*")] == []


def test_the_intensity_of_training_images_can_be_set(
    blob_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    window = ["--set", "intensity.mode=window", "--set", "intensity.window_level=128"]
    assert run(blob_folder, "--out", tmp_path / "a.safetensors", *QUICK, *window, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["data"]["intensity"]["mode"] == "window"
    assert report["data"]["intensity"]["window_level"] == 128


def test_every_offered_option_is_declared_and_help_loads_no_torch() -> None:
    assert set(OFFERED) <= set(TrainingParams.model_fields)
    program = "import sys; from napari_refit.cli import main; main(['train', '--help']); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.rstrip().endswith("False")
    for name in OFFERED:
        assert f"--{'arch' if name == 'architecture' else name.replace('_', '-')}" in answer.stdout
