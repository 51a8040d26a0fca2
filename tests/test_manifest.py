"""The manifest by which napari finds the plugin."""

from __future__ import annotations

import importlib.util

import pytest
from npe2 import PluginManager, PluginManifest
from npe2.cli import app
from typer.testing import CliRunner

NAME = "napari-refit"


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution(NAME)


def test_npe2_validates_it():
    result = CliRunner().invoke(app, ["validate", NAME])
    assert result.exit_code == 0, result.output
    assert "valid" in result.output


def test_every_name_can_be_imported(manifest):
    manifest.validate_imports()


def test_commands_point_into_this_package(manifest):
    for command in manifest.contributions.commands:
        module = command.python_name.partition(":")[0]
        assert module.startswith("napari_refit.")
        assert importlib.util.find_spec(module) is not None


def test_files_find_their_reader_and_writer(tmp_path):
    manager = PluginManager()
    manager.register(PluginManifest.from_distribution(NAME))
    for extension in (".nii", ".nii.gz", ".NII.GZ", ".nrrd", ".nhdr", ".mha", ".mhd"):
        readers = [reader.command for reader in manager.iter_compatible_readers(f"/data/p.01{extension}")]
        assert readers == ["napari-refit.read"]
    assert list(manager.iter_compatible_readers("/data/a.png")) == []
    assert [reader.command for reader in manager.iter_compatible_readers(str(tmp_path))] == [
        "napari-refit.read_folder"
    ]
    for extension in (".nii", ".nii.gz", ".nrrd", ".mha"):
        for kind in ("labels", "image"):
            writer, path = manager.get_writer(f"/data/a{extension}", [kind])
            assert (writer.command, path) == (f"napari-refit.write_{kind}", f"/data/a{extension}")
    assert manager.get_writer("/data/a", ["labels"])[1] == "/data/a.nii.gz"
    assert manager.get_writer("/data/a.nii", ["labels", "labels"])[0] is None


def test_docks_and_sample_are_offered(manifest):
    widgets = manifest.contributions.widgets
    (sample,) = manifest.contributions.sample_data
    assert [(widget.command, widget.display_name) for widget in widgets] == [
        ("napari-refit.dock", "ReFit"),
        ("napari-refit.train", "Train"),
        ("napari-refit.tune", "Tune"),
        ("napari-refit.batch", "Batch"),
    ]
    assert (sample.key, sample.display_name) == ("phantom", "Brain MRI phantom (ReFit)")
    assert manifest.display_name == "ReFit"
    assert [item.command for item in manifest.contributions.menus["napari/layers/segment"]] == [
        widget.command for widget in widgets
    ]
