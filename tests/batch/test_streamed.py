"""A volume that does not fit is refined slab by slab, with the same result."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_refit.batch.cases import find_cases
from napari_refit.batch.memory import Plan, needs_of, own_memory, plan_of
from napari_refit.batch.run import Recipe, run_batch
from napari_refit.batch.settings import BatchParams
from napari_refit.demo import sample_classifier
from napari_refit.io.read import load
from napari_refit.io.write import save
from napari_refit.job import Job
from napari_refit.recipe import RefitParams

PARAMS = RefitParams(n_segments=20, sigma=0)
AFFINE = np.array([[0, 0, 3, 1], [0.7, 0, 0, 2], [0, 0.8, 0, 3], [0, 0, 0, 1]], float)


def write(path: Path, values: np.ndarray, like: Path | None = None) -> Path:
    """Write an array as its name says; NIfTI on an oblique grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
    else:
        save(path, values, like=like)
    return path


def scans(folder: Path) -> Path:
    """One volume of each kind with truth and response map, in a table."""
    rng = np.random.default_rng(5)
    rows = ["image,truth,response"]
    for name, shape in {
        "a.nii.gz": (22, 26, 6),
        "b.nii": (22, 26, 6),
        "c.npy": (6, 22, 26),
        "d.tif": (6, 22, 26),
        "time.nii": (20, 18, 4, 3),
        "maps.npy": (5, 22, 26),
    }.items():
        inside = np.zeros(shape, np.uint8)
        inside[tuple(slice(length // 3, length // 3 + max(2, length // 2)) for length in shape)] = 1
        image = (inside * 90.0 + rng.normal(50, 9, shape)).astype(np.int16 if name != "b.nii" else np.float32)
        response = np.clip(inside * 0.7 + rng.uniform(0, 0.3, shape), 0, 1).astype(np.float32)
        if name == "maps.npy":
            response = np.stack([response, response[::-1] * 0.9])
            inside = inside + inside[::-1] * 2
        write(folder / "image" / name, image)
        write(folder / "truth" / name, inside)
        write(folder / "response" / name, response)
        rows.append(",".join(f"{part}/{name}" for part in ("image", "truth", "response")))
    (folder / "scans.csv").write_text("\n".join(rows))
    return folder / "scans.csv"


def run(inputs: Path, out: Path, recipe: Recipe) -> dict[str, bytes]:
    cases, problems = find_cases([inputs], out)
    assert problems == []
    result = run_batch(cases, recipe, out, BatchParams())
    assert [record.error for record in result.records] == [""] * len(cases)
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("records.jsonl", "summary.json")
    }


def streaming(monkeypatch: pytest.MonkeyPatch, room: int = 1 << 30) -> None:
    monkeypatch.setattr(
        "napari_refit.batch.refine.plan_of", lambda *_: Plan(cache_bytes=1 << 20, streamed=True, room=room)
    )


@pytest.mark.parametrize("axis", ["auto", "0", "1"])
def test_the_same_bytes_as_in_memory(tmp_path, monkeypatch, axis):
    table = scans(tmp_path / "in")
    recipe = Recipe(PARAMS.replace(axis=axis))
    whole = run(table, tmp_path / "whole", recipe)
    assert len(whole) == 18
    streaming(monkeypatch)
    found = run(table, tmp_path / "streamed", recipe)
    assert list(found) == list(whole)
    for name, content in whole.items():
        assert found[name] == content, name


def test_a_classifier_sees_the_same(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    write(tmp_path / "in/a.nii.gz", rng.integers(0, 900, (40, 44, 5)).astype(np.int16))
    recipe = Recipe(PARAMS, model=str(sample_classifier()), device="cpu")
    whole = run(tmp_path / "in", tmp_path / "whole", recipe)
    streaming(monkeypatch)
    assert run(tmp_path / "in", tmp_path / "streamed", recipe) == whole


def test_distances_without_room_are_left_out_and_said(tmp_path, monkeypatch):
    table = scans(tmp_path / "in")
    whole = run(table, tmp_path / "whole", Recipe(PARAMS))
    streaming(monkeypatch, room=1000)
    found = run(table, tmp_path / "streamed", Recipe(PARAMS))
    first, second = (json.loads(files["image/a_refined.refit.json"]) for files in (whole, found))
    assert first["metrics"]["refined"]["hd95"] is not None
    assert second["metrics"]["refined"]["hd95"] is None
    assert second["metrics"]["refined"]["dice"] == first["metrics"]["refined"]["dice"]
    assert "surface distances" in second["warning"]


def test_a_damaged_volume_and_one_that_cannot_be_streamed(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 99, (40, 40, 9)).astype(np.int16)
    image = write(tmp_path / "in/a.nii.gz", values)
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 0xFF
    image.write_bytes(content)
    save(tmp_path / "in/b.nrrd", values)
    streaming(monkeypatch)
    cases, _ = find_cases([tmp_path / "in"], tmp_path / "out")
    result = run_batch(
        [replace(case, response=image) for case in cases], Recipe(PARAMS), tmp_path / "out", BatchParams()
    )
    damaged, other = result.records
    assert "a.nii.gz: is damaged" in damaged.error
    assert "cannot be read piece by piece" in other.error
    assert not list((tmp_path / "out").rglob(".refit-*"))


def test_the_plan_goes_by_what_is_there(tmp_path):
    image = tmp_path / "big.npy"
    with image.open("wb") as file:  # a hole: nothing of it is ever on the disk
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (2000, 512, 512)}
        )
        file.truncate(file.tell() + 2000 * 512 * 512 * 4)
    job = Job(image, tmp_path / "o.npy", response=image)
    need = needs_of(job, PARAMS)
    assert need.whole > 2 * 2000 * 512 * 512 * 4 > 8 * need.streamed
    assert not plan_of(job, PARAMS, own_memory() + need.whole + need.cache + (64 << 20)).streamed
    plan = plan_of(job, PARAMS, own_memory() + need.streamed + need.cache + (64 << 20))
    assert plan.streamed
    assert "slab by slab" in plan.text
    assert plan.cache_bytes >= need.cache
    with pytest.raises(MemoryError, match="even slab by slab"):
        plan_of(job, PARAMS, own_memory() + (16 << 20))
    assert plan_of(job, PARAMS, None) == Plan()


PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from napari_refit.batch.cases import find_cases
from napari_refit.batch.memory import own_memory
from napari_refit.batch.run import Recipe, run_batch
from napari_refit.batch.settings import BatchParams
from napari_refit.recipe import RefitParams

def run(table, out, memory):
    cases, _ = find_cases([table], out)
    params = RefitParams(
        **{"slic.n_segments": 16, "slic.sigma": 0, "slic.max_num_iter": 1, "intensity.mode": "window"}
    )
    return run_batch(cases, Recipe(params), out, BatchParams(memory=memory)).records[0]

folder = Path(sys.argv[1])
run(folder / "small.csv", folder / "warm", "16 GB")
base = own_memory()
budget = base + int(sys.argv[2])
record = run(folder / "large.csv", folder / "out", f"{budget} B")
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps({"error": record.error, "base": base, "budget": budget, "peak": peak, "slices": record.n_slices}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_most_memory_ever_taken_is_within_the_budget(tmp_path):
    room = 130 << 20
    shapes = {"small": (4, 256, 256), "large": (240, 256, 256)}
    for name, shape in shapes.items():
        image = np.zeros(shape, np.float64)
        image[:, 64:128, 64:128] = 100
        np.save(tmp_path / f"{name}.npy", image)
        np.save(tmp_path / f"{name}-response.npy", (image / 100).astype(np.float32))
        (tmp_path / f"{name}.csv").write_text(f"image,response\n{name}.npy,{name}-response.npy\n")
        del image
    assert (tmp_path / "large.npy").stat().st_size + (tmp_path / "large-response.npy").stat().st_size > room
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(room)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    print(found)
    assert found["error"] == ""
    assert found["slices"] == 240
    assert found["peak"] < found["budget"]
    labels = load(tmp_path / "out" / "large_refined.npy").data
    # Every slice shows the same.
    assert labels[0, 64:128, 64:128].mean() > 0.9
    assert labels[0].mean() < 0.1
    assert (labels == labels[0]).all()
