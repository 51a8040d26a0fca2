"""The user's hints: hard seeds, in the fit, the pipeline and the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_refit import Refit, RefitParams, register_fit
from napari_refit.cli import main
from napari_refit.fit import FitInput, FitResult
from napari_refit.fit.hints import BACKGROUND_HINT, seeded_clusters
from napari_refit.registry import FITS

SHAPE = (5, 7)
LABELS = hnp.arrays(np.int32, SHAPE, elements=st.integers(1, 6))
HINTS = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 0, 1, 2, 3, BACKGROUND_HINT]))
PARAMS = RefitParams(n_segments=24, sigma=0).replace(spread=0, tolerance=0, threshold=0.5, coverage=1)


def slow_seeds(clusters: np.ndarray, hints: np.ndarray) -> dict[int, int]:
    """Pixel by pixel."""
    said: dict[int, Counter[int]] = {}
    for cluster, hint in zip(clusters.ravel().tolist(), hints.ravel().tolist(), strict=True):
        if hint:
            said.setdefault(cluster, Counter())[hint] += 1
    return {c: min(votes, key=lambda hint: (-votes[hint], hint)) for c, votes in said.items()}


@settings(max_examples=80, deadline=None)
@given(LABELS, HINTS)
def test_each_cluster_follows_most_of_its_hints(clusters: np.ndarray, hints: np.ndarray) -> None:
    found = seeded_clusters(clusters, hints)
    expected = slow_seeds(clusters, hints)
    assert {k: int(v) for k, v in enumerate(found) if v} == expected


@pytest.fixture
def scan() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.random((4, 30, 36)).astype(np.float32) * 0.2
    values[:, 8:18, 10:22] += 0.6
    return values


def refit_of(scan: np.ndarray, hints: np.ndarray | None = None, params: RefitParams = PARAMS) -> Refit:
    response = (scan > 0.5).astype(np.float32)
    return Refit(scan, response=response, params=params, hints=hints)


def test_the_pipeline_obeys_hints_and_only_where_they_are(scan: np.ndarray) -> None:
    hints = np.zeros(scan.shape, np.uint8)
    hints[1, 2, 2:5] = 1
    hints[1, 12, 12:20] = BACKGROUND_HINT
    plain, hinted = refit_of(scan), refit_of(scan, hints)
    for index in range(4):
        before, after = plain.slice(index), hinted.slice(index)
        if index != 1:
            np.testing.assert_array_equal(before.mask, after.mask)
            continue
        assert (after.mask[2, 2:5] == 1).all()
        assert not after.mask[12, 12:20].any()
    np.testing.assert_array_equal(hinted.volume().mask[1], hinted.slice(1).mask)


def test_a_stroke_reruns_the_fit_alone_and_undoing_it_brings_the_mask_back(scan: np.ndarray) -> None:
    hints = np.zeros(scan.shape, np.uint8)
    refit = refit_of(scan, hints)
    before = refit.slice(2)
    hints[2, 1:4, 1] = 1
    after = refit.slice(2)
    assert after.mask[1:4, 1].all()
    assert after.seconds["clusters"] == after.seconds["response"] == 0 < after.seconds["fit"]
    hints[2] = 0
    np.testing.assert_array_equal(refit.slice(2).mask, before.mask)


def test_a_hinted_class_passes_the_gate() -> None:
    from napari_refit.fitting import gate_and_fit
    from napari_refit.responses import PlaneResponse

    clusters = np.repeat(np.array([[1, 2, 3]], np.int32), 2, 0)
    maps = np.ones((2, *clusters.shape), np.float32)
    response = PlaneResponse(maps, maps, (False, False), ("a", "b"), (1, 2))
    options = (response, clusters, np.zeros(clusters.shape, np.float32), np.zeros(clusters.shape, np.float32))
    hints = np.array([[0, 2, 0], [0, 0, 0]], np.uint8)
    found = gate_and_fit(*options, PARAMS, None, hints=hints)
    assert set(np.unique(found.mask)) == {2}
    assert not found.fitted[0].any()
    hints[0, 1] = BACKGROUND_HINT
    assert not gate_and_fit(*options, PARAMS, None, hints=hints).mask.any()


def test_a_fit_that_takes_hints_is_left_alone(scan: np.ndarray) -> None:
    seen: list[np.ndarray | None] = []

    def spy(inputs: FitInput, params: object) -> FitResult:
        seen.append(inputs.hints)
        return FitResult(inputs.response, np.zeros(inputs.clusters.shape, np.uint8))

    register_fit("spy", spy, takes_hints=True)
    try:
        hints = np.zeros(scan.shape, np.int32)
        hints[0, 0, 0] = 1
        refit = refit_of(scan, hints, PARAMS.replace(fit="spy"))
        assert not refit.slice(0).mask.any()
        refit.slice(1)
    finally:
        FITS.unregister("spy")
    np.testing.assert_array_equal(seen[0], hints[0])
    assert seen[1] is None


def test_supervoxels_carry_hints_across_slices(scan: np.ndarray) -> None:
    params = PARAMS.replace(supervoxels=True, n_segments=10)
    hints = np.zeros(scan.shape, np.uint8)
    refit = refit_of(scan, hints, params)
    clusters = refit.slice(1).clusters
    before = refit.volume().mask
    hints[1, 2, 2] = 1
    after = refit.volume().mask
    number = clusters[2, 2]
    changed = {k: refit.slice(k).clusters == number for k in range(4)}
    for k, where in changed.items():
        assert after[k][where].all()
    assert not np.array_equal(before, after)
    assert sum(where.any() for where in changed.values()) > 1


def test_hints_that_do_not_fit_are_refused(scan: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"hints must be whole numbers of the image's shape \(4, 30, 36\)"):
        refit_of(scan, np.zeros((4, 30, 35), np.uint8))
    with pytest.raises(ValueError, match="got float32"):
        refit_of(scan, np.zeros(scan.shape, np.float32))
    with pytest.raises(ValueError, match="hints have shape"):
        seeded_clusters(np.ones((2, 2), np.int32), np.ones((2, 3), np.int32))


def test_the_command_line_takes_a_file_of_hints(tmp_path: Path, scan: np.ndarray) -> None:
    affine = np.diag([-1.5, 1, 2, 1])
    files = {
        "scan": scan.T,
        "response": (scan > 0.5).astype(np.float32).T,
        "hints": np.zeros(scan.T.shape, np.uint8),
    }
    files["hints"][30:33, 25, 2] = 1
    for name, values in files.items():
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
    command = ["refine", str(tmp_path / "scan.nii.gz"), "--response", str(tmp_path / "response.nii.gz")]
    hints = ["--hints", str(tmp_path / "hints.nii.gz")]
    assert main([*command, *hints, "--out", str(tmp_path / "out")]) == 0
    mask = nib.load(tmp_path / "out" / "scan_refined.nii.gz").get_fdata()
    assert mask[30:33, 25, 2].all()
    sidecar = json.loads((tmp_path / "out" / "scan_refined.refit.json").read_text())
    assert sidecar["hints_checksum"].startswith("sha256:")
    nib.save(nib.Nifti1Image(files["hints"][1:], affine), tmp_path / "hints.nii.gz")
    assert main([*command, *hints, "--out", str(tmp_path / "other")]) == 1
