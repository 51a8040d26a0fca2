"""Carrying accepted slices and hints through a volume: what is reached, what stays, what it gains."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_refit import Cancelled, Refit, RefitParams, metrics
from napari_refit.cli import main
from napari_refit.fit.types import BACKGROUND_HINT

DEPTH = 11
PARAMS = RefitParams(n_segments=120)


@pytest.fixture
def ball() -> tuple[np.ndarray, np.ndarray]:
    """A noisy ellipsoid that wanders sideways, and its mask; it ends one slice before the volume does."""
    rng = np.random.default_rng(3)
    z, y, x = np.indices((DEPTH, 64, 64))
    truth = ((z - 5) / 4.6) ** 2 + ((y - 32) / 17) ** 2 + ((x - 26 - z) / 13) ** 2 < 1
    image = 0.25 + 0.4 * truth + rng.normal(0, 0.05, truth.shape)
    return image.clip(0, 1).astype(np.float32), truth.astype(np.uint8)


def poor_response(truth: np.ndarray) -> np.ndarray:
    """Sees only the upper half of the object, and something where nothing is."""
    found = np.zeros(truth.shape, np.float32)
    found[..., :30, :] = 0.9 * truth[..., :30, :]
    found[..., 50:60, 5:15] = 0.8
    return found


def made(ball: tuple[np.ndarray, np.ndarray], params: RefitParams = PARAMS, **more: object) -> Refit:
    image, truth = ball
    return Refit(image, response=poor_response(truth), params=params, **more)


def whole(
    found: dict[int, np.ndarray], automatic: np.ndarray, truth: np.ndarray, accepted: list[int]
) -> np.ndarray:
    mask = automatic.copy()
    mask[accepted] = truth[accepted]
    for position, plane in found.items():
        mask[position] = plane
    return mask


@pytest.mark.parametrize("fit", ["boundary", "appearance"])
def test_one_accepted_slice_does_more_than_its_own_good(
    ball: tuple[np.ndarray, np.ndarray], fit: str
) -> None:
    _, truth = ball
    refit = made(ball, PARAMS.replace(fit=fit))
    automatic = refit.volume().mask
    found = refit.propagate(truth, [5])
    without = metrics.dice(whole({}, automatic, truth, [5]), truth)
    with_it = metrics.dice(whole(found.masks, automatic, truth, [5]), truth)
    assert with_it > max(without + 0.005, 0.9)
    assert 5 not in found.masks
    assert set(found.masks) == set(found.beliefs) == {dict(index)[0] for index in found.carried}


def test_it_ends_where_the_object_ends(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    found = made(ball).propagate(truth, [5])
    shown = {k for k in range(DEPTH) if truth[k].sum() > 100}
    assert shown - {5} <= set(found.masks)
    assert not {0, 10} & set(found.masks)
    assert len(found.ends) == 2


def test_reach_and_other_accepted_slices_are_limits(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    assert set(made(ball, PARAMS.replace(reach=2)).propagate(truth, [5]).masks) == {3, 4, 6, 7}
    found = made(ball).propagate(truth, [3, 6])
    assert {4, 5} <= set(found.masks)
    assert not {3, 6} & set(found.masks)
    empty = truth.copy()
    empty[7] = 0
    found = made(ball).propagate(empty, [5, 7])
    assert 6 in found.masks
    assert not {8, 9} & set(found.masks), "an accepted empty slice is the end, and carries nothing itself"


def test_accepted_slices_are_all_that_is_read_of_the_labels(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    other = np.random.default_rng(0).integers(0, 2, truth.shape).astype(np.uint8)
    other[5] = truth[5]
    one, two = made(ball).propagate(truth, [5]), made(ball).propagate(other, [-6])
    assert one.masks.keys() == two.masks.keys()
    for position, mask in one.masks.items():
        np.testing.assert_array_equal(mask, two.masks[position])


def test_a_slice_refined_again_with_what_it_was_told_is_the_same(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    refit = made(ball)
    before = refit.slice(7).mask
    found = refit.propagate(truth, [5])
    np.testing.assert_array_equal(refit.slice(7).mask, before)
    refit.use_carried(found.carried)
    for position, mask in found.masks.items():
        np.testing.assert_array_equal(refit.slice(position).mask, mask)
    np.testing.assert_array_equal(refit.volume().mask[7], found.masks[7])
    refit.use_carried({})
    np.testing.assert_array_equal(refit.slice(7).mask, before)


def test_the_users_hints_win(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    hints = np.zeros(truth.shape, np.uint8)
    hints[6, 32, 30:34] = BACKGROUND_HINT
    hints[6, 2, 2] = 1
    found = made(ball, hints=hints).propagate(truth, [5])
    assert not found.masks[6][32, 30:34].any()
    assert found.masks[6][2, 2]


def test_hints_alone_are_carried(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    hints = np.zeros(truth.shape, np.uint8)
    hints[5, 40, 28:34] = 1
    found = made(ball, PARAMS.replace(reach=2), hints=hints).propagate(np.zeros_like(truth), [])
    assert set(found.masks) == {3, 4, 6, 7}
    plain = made(ball)
    for position in (4, 6):
        assert found.masks[position][40, 30]
        assert not plain.slice(position).mask[40, 30]
    hints[:] = 0
    hints[5, 25, 28:34] = BACKGROUND_HINT
    found = made(ball, PARAMS.replace(reach=1), hints=hints).propagate(np.zeros_like(truth), [])
    assert set(found.masks) == {4, 6}
    for position, mask in found.masks.items():
        told = found.carried[((0, position),)].hints
        assert set(np.unique(told)) == {0, BACKGROUND_HINT}
        assert told[25, 28:34].all()
        assert not mask[told == BACKGROUND_HINT].any()


def test_supervoxels_take_accepted_slices_along(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    params = PARAMS.replace(supervoxels=True, reach=3)
    refit = made(ball, params)
    automatic = refit.volume().mask
    found = refit.propagate(truth, [5])
    assert set(found.masks) == {2, 3, 4, 6, 7, 8}
    gain = [metrics.dice(found.masks[k], truth[k]) - metrics.dice(automatic[k], truth[k]) for k in (4, 6)]
    assert min(gain) > 0.1
    clusters = {k: refit.slice(k).clusters for k in (5, 6)}
    seeded = np.unique(clusters[5][(found.carried[((0, 5),)].hints == 1)])
    mostly = [n for n in seeded if (found.carried[((0, 5),)].hints == 1)[clusters[5] == n].mean() > 0.9]
    for number in mostly:
        assert found.masks[6][clusters[6] == number].all()


def test_the_gate_ends_it(ball: tuple[np.ndarray, np.ndarray]) -> None:
    from dataclasses import replace

    _, truth = ball
    refit = made(ball)
    source = refit.stages.source
    assert source is not None
    respond = source.respond

    def closed_from_seven(indices, inputs, params, watch):  # type: ignore[no-untyped-def]
        found = respond(indices, inputs, params, watch)
        return [
            replace(each, predicted=(dict(index)[0] < 7,)) for index, each in zip(indices, found, strict=True)
        ]

    source.respond = closed_from_seven  # type: ignore[method-assign]
    found = refit.propagate(truth, [5])
    assert max(found.masks) == 6
    assert found.ends[6] == "the classifier sees nothing on the next slice"
    refit.params = PARAMS.replace(gate="off")
    assert max(refit.propagate(truth, [5]).masks) > 6


def test_more_axes_and_colour(ball: tuple[np.ndarray, np.ndarray]) -> None:
    image, truth = ball
    plain = made(ball).propagate(truth, [5])
    series = np.stack([image[::-1], image])
    moments = np.stack([truth[::-1], truth])
    colour = np.stack([series] * 3, axis=-1)
    for values, rgb in ((series, False), (colour, True)):
        refit = Refit(values, response=poor_response(moments), params=PARAMS, rgb=rgb)
        found = refit.propagate(moments, [5], axis=1, within={0: 1})
        assert {dict(index)[0] for index in found.carried} == {1}
        assert found.masks.keys() == plain.masks.keys()
        overlap = [metrics.dice(found.masks[k], plain.masks[k]) for k in plain.masks]
        assert min(overlap) > (0.999 if not rgb else 0.8)


def test_several_classes_keep_their_place() -> None:
    image = np.zeros((7, 48, 48), np.float32)
    image[:, 12:36, 12:24], image[:, 12:36, 24:36] = 0.9, 0.5
    truth = (image > 0.7).astype(np.uint8) + 2 * ((image > 0.3) & (image < 0.7)).astype(np.uint8)
    response = np.zeros((2, *image.shape), np.float32)
    response[0, :, 12:24, 12:24] = response[1, :, 12:24, 24:36] = 0.9
    params = RefitParams(n_segments=64, sigma=0, spread=0, tolerance=0)
    refit = Refit(image, response=response, params=params)
    found = refit.propagate(truth, [3])
    assert set(found.masks) == {0, 1, 2, 4, 5, 6}
    for mask in found.masks.values():
        np.testing.assert_array_equal(mask, truth[3])
    assert not np.array_equal(refit.slice(2).mask, truth[3])


def test_it_goes_along_any_axis(ball: tuple[np.ndarray, np.ndarray]) -> None:
    image, truth = ball
    turned = Refit(np.moveaxis(image, 0, 2), response=np.moveaxis(poor_response(truth), 0, 2), params=PARAMS)
    found = turned.propagate(np.moveaxis(truth, 0, 2), [5], axis=-1)
    plain = made(ball).propagate(truth, [5])
    assert found.masks.keys() == plain.masks.keys()
    for position, mask in plain.masks.items():
        np.testing.assert_array_equal(found.masks[position], mask)


def test_it_can_be_followed_and_stopped(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    refit = made(ball)
    seen: list[int] = []
    found = refit.propagate(truth, [5], progress=lambda done, total, text: seen.append(done))
    assert seen == list(range(1, len(found.masks) + 1))
    refit = made(ball)
    with pytest.raises(Cancelled):
        refit.propagate(truth, [5], on_slice=lambda *_: seen.append(-1), cancelled=lambda: -1 in seen)
    assert refit.stages.carried == {}


def test_bad_input_is_named(ball: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = ball
    refit = made(ball)
    with pytest.raises(ValueError, match=r"labels must be whole numbers of the image's shape \(11, 64, 64\)"):
        refit.propagate(truth[1:], [5])
    with pytest.raises(ValueError, match="got float64"):
        refit.propagate(truth.astype(float), [5])
    with pytest.raises(IndexError, match="slice 11 is outside axis 0, which has 11 slices"):
        refit.propagate(truth, [11])
    with pytest.raises(ValueError, match="a 2-D image has no slices"):
        Refit(truth[5] * 0.5, response=truth[5]).propagate(truth[5], [0])
    nothing = refit.propagate(np.zeros_like(truth), [5])
    assert not nothing.masks
    assert not refit.propagate(truth, []).masks


def test_the_command_line_keeps_and_carries(tmp_path: Path, ball: tuple[np.ndarray, np.ndarray]) -> None:
    image, truth = ball
    affine = np.diag([-1.0, 1, 3, 1])
    for name, values in {"scan": image, "response": poor_response(truth), "mine": truth}.items():
        nib.save(nib.Nifti1Image(values.T, affine), tmp_path / f"{name}.nii.gz")
    command = ["refine", str(tmp_path / "scan.nii.gz"), "--response", str(tmp_path / "response.nii.gz")]
    command += ["--set", "n_segments=120"]
    accepted = ["--accepted", str(tmp_path / "mine.nii.gz")]
    assert main([*command, *accepted, "--out", str(tmp_path / "no")]) == 1, "nobody said which"
    assert main([*command, "--accepted-slices", "5", "--out", str(tmp_path / "no")]) == 2
    assert main([*command, *accepted, "--accepted-slices", "five", "--out", str(tmp_path / "no")]) == 2
    assert main([*command, *accepted, "--accepted-slices", "5", "--out", str(tmp_path / "out")]) == 0
    mask = nib.load(tmp_path / "out" / "scan_refined.nii.gz").get_fdata().T
    np.testing.assert_array_equal(mask[5], truth[5])
    assert metrics.dice(mask.astype(np.uint8), truth) > 0.9
    sidecar = json.loads((tmp_path / "out" / "scan_refined.refit.json").read_text())
    assert sidecar["accepted_slices"] == [5]
    assert {3, 4, 6, 7} <= set(sidecar["propagated_slices"])
    assert sidecar["accepted_checksum"].startswith("sha256:")
    assert len(sidecar["uncertainty"]) == DEPTH - 1
    (tmp_path / "mine.refit.json").write_text(json.dumps({"accepted_slices": [5], "slice_axis": 2}))
    assert main([*command, *accepted, "--out", str(tmp_path / "again")]) == 0
    again = nib.load(tmp_path / "again" / "scan_refined.nii.gz").get_fdata().T
    np.testing.assert_array_equal(again, mask)
    (tmp_path / "mine.refit.json").write_text(json.dumps({"accepted_slices": [5], "slice_axis": 0}))
    assert main([*command, *accepted, "--out", str(tmp_path / "other")]) == 1
