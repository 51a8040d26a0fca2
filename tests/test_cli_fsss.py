from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from napari_refit.cam.classifier import load_classifier
from napari_refit.cli import main

QUICK = (
    *("--learner", "fsss", "--arch", "unet", "--weights", "none", "--input-size", "32"),
    *("--learning-rate", "5e-3", "--batch-size", "4", "--device", "cpu", "--set", "fsss.threads=1"),
)
N = 15
SHORT = (*QUICK, "--epochs", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and masks in two folders; every third shows nothing."""
    root = tmp_path_factory.mktemp("fsss") / "set"
    draw = np.random.default_rng(0)
    for number in range(N):
        image, mask = draw.uniform(10, 40, (36, 32)), np.zeros((36, 32), np.uint8)
        if number % 3:
            row, column = draw.integers(2, 20, 2)
            mask[row : row + 11, column : column + 11] = 255
            image[mask > 0] += 180
        for kind, values in (("images", image.astype(np.uint8)), ("masks", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            iio.imwrite(root / kind / f"{number}.png", values)
    return root


@pytest.fixture(scope="module")
def truth(folder: Path) -> Path:
    """A network that was trained on masks."""
    path = folder.parent / "truth.safetensors"
    assert run(folder, "--out", path, *QUICK, "--labels", "truth", "--epochs", "8") == 0
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in ("train", *arguments)])


def test_from_masks_to_a_network_to_pseudo_labels_to_another_network(
    folder: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, refit = tmp_path / "again.safetensors", tmp_path / "refit.safetensors"
    capsys.readouterr()
    assert run(folder, "--out", out, *SHORT, "--labels", "truth", "--test-share", "0.2") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{out}: unet, best epoch")
    assert f"truth labels of {N} images" in captured.out
    assert [line.split(":")[0] for line in captured.err.splitlines()] == [
        f"epoch {k} of 3" for k in (1, 2, 3)
    ]
    assert load_classifier(truth).classes == ("background", "foreground")
    # By pattern, with a network in the classifier's place; its own probabilities are the response.
    patterns = ("--images", "images/{case}.png", "--masks", "masks/{case}.png")
    assert (
        run(folder, *patterns, "--out", refit, *SHORT, "--model", truth, "--set", "threshold=0.4", "--json")
        == 0
    )
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    labels = report["data"]["labels"]
    assert labels["labels"] == "refit"
    assert labels["model_checksum"] == load_classifier(truth).checksum
    assert labels["parameters"]["boundary"]["threshold"] == 0.4
    assert report["data"]["images"] == N - sum(labels["left_out"].values())
    assert f"refit labels: {report['data']['images']} of {N} images used" in captured.err
    assert labels["left_out"]["the pseudo-label is in doubt"] >= 1
    assert [row["round"] for row in report["rounds"]] == [1]
    assert (
        len(json.loads((tmp_path / "refit.refit.json").read_text())["left_out"])
        == N - report["data"]["images"]
    )
    assert not (tmp_path / "refit.pseudo-labels").exists()
    image = folder / "images" / "1.png"
    arguments = ["refine", image, "--model", refit, "--set", "threshold=0.5", "--out", tmp_path / "refined"]
    assert main([str(argument) for argument in arguments]) == 0


def test_a_stopped_training_goes_on_without_its_options_and_its_labels_are_kept(
    folder: Path,
    truth: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_refit.learn import epochs

    out = tmp_path / "cam.safetensors"
    save = epochs.save_state

    def stop(path: Path, state: object) -> None:
        save(path, state)
        raise KeyboardInterrupt

    command = (
        folder,
        "--out",
        out,
        "--learner",
        "fsss",
        "--labels",
        "cam",
        "--model",
        truth,
        "--device",
        "cpu",
    )
    with monkeypatch.context() as patch:
        patch.setattr(epochs, "save_state", stop)
        assert run(*command, *SHORT[2:]) == 1
    assert "--resume" in capsys.readouterr().err
    assert len(list((tmp_path / "cam.pseudo-labels" / "round1").glob("*.npz"))) == N
    assert run(*command) == 1
    assert "belongs to a training that was stopped" in capsys.readouterr().err
    assert run(*command, "--resume", "--epochs", "9") == 1
    assert "epochs = 3, not 9" in capsys.readouterr().err
    assert run(*command, "--resume") == 0
    assert "epoch 3 of 3" in capsys.readouterr().err
    whole = tmp_path / "whole.safetensors"
    assert run(*command[:2], whole, *command[3:], *SHORT[2:]) == 0
    states = [load_classifier(path).module.state_dict() for path in (out, whole)]
    assert all(value.equal(states[1][name]) for name, value in states[0].items())
    assert not (tmp_path / "cam.pseudo-labels").exists()


def test_rounds_with_a_graph_cut_from_a_file_of_parameters(
    folder: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_refit import RefitParams
    from napari_refit.learn.fsss.params import FsssParams

    out, preset = tmp_path / "a.safetensors", tmp_path / "cut.json"
    params = RefitParams(fit="appearance", **{"slic.n_segments": 60, "appearance.start": 0.5})
    preset.write_text(params.model_dump_json())
    command = (folder, "--out", out, *QUICK, "--epochs", "2", "--model", truth, "--preset", preset)
    capsys.readouterr()
    assert run(*command, "--rounds", "2", "--set", "appearance.smoothness=2") == 0
    captured = capsys.readouterr()
    assert "round 1 of 2: refit labels:" in captured.err
    assert "round 2 of 2: refit labels:" in captured.err
    assert "round 1: a-round1.safetensors" in captured.out
    assert "round 2: a.safetensors" in captured.out
    report = json.loads((tmp_path / "a.refit.json").read_text())
    used = report["data"]["labels"]["parameters"]
    assert (used["fit"], used["appearance"]["smoothness"]) == ("appearance", 2.0)
    assert used["appearance"]["start"] == FsssParams().network_threshold
    assert (
        report["data"]["labels"]["model_checksum"]
        == load_classifier(tmp_path / "a-round1.safetensors").checksum
    )
    assert {path.name for path in (tmp_path / "a.pseudo-labels").iterdir()} == {"round1", "round2"}
    assert run(*command, "--rounds", "2") == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "--labels refit needs --model"),
        (["--labels", "mask"], 2, "--labels mask: take refit, truth, cam"),
        (["--labels", "truth", "--model", "a.safetensors"], 2, "--model is for --labels refit and cam"),
        (["--labels", "truth", "--folds", "3"], 2, "--folds is not for --learner fsss"),
        (["--labels", "truth", "--set", "fsss.epoch=3"], 2, "did you mean epochs"),
        (["--labels", "truth", "--set", "fsss.epochs=3"], 2, "epochs is given as an option and by --set"),
        (["--labels", "truth", "--set", "threshold=0.3"], 2, "--set threshold"),
        (["--labels", "truth", "--set", "fsss.dice_weight=-1"], 2, "fsss.dice_weight = '-1'"),
        (["--labels", "truth", "--weights", "imagenet"], 2, "a unet has no published weights"),
        (["--model", "no.safetensors"], 1, "no.safetensors"),
        (["--model", "no.safetensors", "--preset", "paper"], 2, "unknown preset 'paper'"),
        (["--model", "no.safetensors", "--preset", "paper.json"], 1, "paper.json"),
        (["--labels", "truth", "--rounds", "2"], 2, "--rounds 2 is for --labels refit and cam"),
        (["--model", "no.safetensors", "--rounds", "0"], 2, "fsss.rounds = 0"),
        (["--labels", "truth", "--images", "{case}.tif"], 1, "no file matches"),
        (["--labels", "truth", "--preparation", "best"], 2, "no preparation 'best'"),
        (["--labels", "truth", "--out", "a.pt"], 2, "a.pt"),
    ],
)
def test_bad_usage_is_one_line(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    words: str,
) -> None:
    assert run(folder, "--out", tmp_path / "a.safetensors", *SHORT, *options) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("napari-refit: error: ")
    assert words in line


def test_what_is_for_fsss_alone_is_said_of_other_learners(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--out", tmp_path / "a.safetensors", "--labels", "truth") == 2
    assert "--labels is for --learner fsss" in capsys.readouterr().err


def test_a_missing_monai_is_said_before_any_work(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for module in ("monai", "monai.networks.nets.unet"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run(folder, "--out", tmp_path / "a.safetensors", *QUICK, "--model", "no.safetensors") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'pip install "napari-refit[fsss]"' in line
