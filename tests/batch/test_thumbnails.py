"""The small pictures of a batch, decoded and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_refit.batch.thumbnails import MOST_BYTES, SIDE, most_to_see, write_thumbnail
from napari_refit.errors import WriteError
from napari_refit.io.read import load
from napari_refit.pipeline import Refit
from napari_refit.recipe import RefitParams
from napari_refit.tiles import tiles

PARAMS = RefitParams(n_segments=20, sigma=0)


def box(shape: tuple[int, ...], *middle: int) -> np.ndarray:
    """1 in a box of half the size along the last two axes, at one position of the axes before."""
    found = np.zeros(shape, np.float32)
    rows, columns = (slice(length // 4, 3 * length // 4) for length in shape[-2:])
    found[(*middle, rows, columns)] = 1
    return found


def refined(image: Any, response: np.ndarray, keep: bool = True, **more: Any) -> tuple[Refit, Any]:
    refit = Refit(image, params=PARAMS, response=response, **more)
    return refit, refit.volume(keep_response=keep)


def parts(path: Path, count: int) -> list[np.ndarray]:
    """The tiles of a picture."""
    picture = np.asarray(Image.open(path).convert("RGB"), int)
    width = (picture.shape[1] - 4 * (count - 1)) // count
    return [picture[:, k * (width + 4) : k * (width + 4) + width] for k in range(count)]


def yellow(tile: np.ndarray) -> np.ndarray:
    return (tile[..., :2].min(axis=-1) - tile[..., 2]) > 60


def cyan(tile: np.ndarray) -> np.ndarray:
    return (tile[..., 1:].min(axis=-1) - tile[..., 0]) > 60


@pytest.mark.parametrize(
    ("shape", "rgb", "middle"),
    [
        ((40, 60), False, ()),
        ((40, 60, 3), True, ()),
        ((6, 40, 60), False, (4,)),
        ((2, 5, 40, 60), False, (1, 3)),
    ],
    ids=["2-D", "RGB", "3-D", "4-D"],
)
def test_each_kind_of_image(
    tmp_path: Path, shape: tuple[int, ...], rgb: bool, middle: tuple[int, ...]
) -> None:
    grid = shape[:-1] if rgb else shape
    truth = box(grid, *middle)
    image = np.repeat(truth[..., None], 3, axis=-1) if rgb else truth
    refit, result = refined(image, truth, rgb=rgb)
    path = tmp_path / "new" / "case.webp"
    positions = write_thumbnail(path, refit, result, truth.astype(np.uint8))
    assert tuple(positions.values()) == middle
    found = parts(path, 4)
    assert found[0].shape[1] == SIDE
    assert found[0].shape[0] == round(SIDE * 40 / 60)
    assert not yellow(found[0]).any()
    assert all(yellow(tile).any() or cyan(tile).any() for tile in found[1:])
    assert cyan(found[3]).any()
    # Outlines lie where the box is: at a quarter and three quarters.
    rows, columns = np.nonzero(yellow(found[1]))
    height, width = found[1].shape[:2]
    assert rows.min() == pytest.approx(height / 4, abs=3)
    assert rows.max() == pytest.approx(3 * height / 4, abs=3)
    assert columns.min() == pytest.approx(width / 4, abs=3)
    assert columns.max() == pytest.approx(3 * width / 4, abs=3)


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    image, response = draw.random((3, 30, 40)), box((3, 30, 40), 1)
    for name in "ab":
        refit, result = refined(image, response)
        write_thumbnail(tmp_path / f"{name}.webp", refit, result)
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes()


@pytest.mark.parametrize("shape", [(200, 200, 3), (150, 149, 3)])
def test_noise_in_all_colours_stays_small(tmp_path: Path, shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, shape).astype(np.uint8)
    refit, result = refined(image, draw.random(shape[:2]), rgb=True)
    write_thumbnail(tmp_path / "a.webp", refit, result, draw.integers(0, 2, shape[:2]))
    assert 1000 < (tmp_path / "a.webp").stat().st_size <= MOST_BYTES


@pytest.mark.parametrize(
    ("spacing", "axis", "height", "width"),
    [
        ((1, 1, 1), "0", 88, 176),
        ((1, 2, 1), "0", 176, 176),
        ((5, 1, 1), "1", 88, 176),
        ((4, 1, 3), "2", 176, 88),
    ],
)
def test_proportions_are_the_patients(
    tmp_path: Path, spacing: tuple[float, ...], axis: str, height: int, width: int
) -> None:
    image = box((10, 20, 40), 5)
    image[:, :, 15:20] += 1
    refit = Refit(image, params=PARAMS.replace(axis=axis), response=image.clip(0, 1), spacing=spacing)
    write_thumbnail(tmp_path / "a.webp", refit, refit.volume(keep_response=True))
    size = Image.open(tmp_path / "a.webp").size
    expected = {
        "0": (20 * spacing[1], 40 * spacing[2]), "1": (10 * spacing[0], 40 * spacing[2]),
        "2": (10 * spacing[0], 20 * spacing[1]),
    }[axis]  # fmt: skip
    scale = SIDE / max(expected)
    assert (height, width) == tuple(round(side * scale) for side in expected) or axis == "1"
    assert size == (3 * round(expected[1] * scale) + 8, round(expected[0] * scale))


def test_the_slice_is_that_with_the_most_of_truth_and_mask() -> None:
    draw = np.random.default_rng(1)
    response = np.zeros((7, 32, 32), np.float32)
    truth = np.zeros((7, 32, 32), np.uint8)
    for k in range(7):
        rows, columns = draw.integers(4, 28, 2)
        response[k, :rows, :columns] = 1
        truth[k, draw.integers(0, 16) :, draw.integers(0, 16) :] = k % 2
    refit, result = refined(response, response)
    for reference in (truth, None):
        area = [
            np.count_nonzero((result.mask[k] > 0) | (False if reference is None else reference[k] > 0))
            for k in range(7)
        ]
        assert dict(most_to_see(refit, result, reference)) == {0: int(np.argmax(area))}


def test_where_nothing_is_marked_the_response_decides_and_then_the_middle() -> None:
    response = np.zeros((9, 24, 24), np.float32)
    response[6, 4:9, 4:9] = 0.2
    refit, result = refined(response, response)
    assert not result.mask.any()
    assert dict(most_to_see(refit, result)) == {0: 6}
    refit, result = refined(response, response * 0)
    assert dict(most_to_see(refit, result)) == {0: 4}


def test_a_file_is_shown_as_napari_shows_it(tmp_path: Path) -> None:
    """A NIfTI's voxels run x, y, z; the picture has y down and x across, slices along z."""
    image = np.zeros((40, 20, 6), np.float32)
    image[30:38, 3:8, 4] = 1
    nib.Nifti1Image(image, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(tmp_path / "a.nii.gz")
    refit, result = refined(load(tmp_path / "a.nii.gz"), image)
    positions = write_thumbnail(tmp_path / "a.webp", refit, result, (image > 0).astype(np.uint8))
    assert dict(positions) == {2: 4}
    first, second, *_ = parts(tmp_path / "a.webp", 4)
    assert first.shape == (88, 176, 3)
    as_shown = refit.displayed_plane({2: 4}).image
    bright = np.argwhere(first[..., 0] > 128).mean(axis=0) / (88, 176)
    expected = (np.argwhere(as_shown > 0.5).mean(axis=0) + 0.5) / as_shown.shape
    assert bright == pytest.approx(expected, abs=0.02)
    assert np.argwhere(yellow(second)).mean(axis=0) / (88, 176) == pytest.approx(expected, abs=0.03)


def test_nothing_is_segmented_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    response = box((4, 30, 30), 2)
    refit = Refit(response, params=PARAMS, response=response, cache_bytes=0)
    result = refit.volume(keep_response=False)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("segmented or fitted again")

    monkeypatch.setattr(refit.stages, "segments", refuse)
    monkeypatch.setattr(refit.stages, "outcome", refuse)
    write_thumbnail(tmp_path / "a.webp", refit, result)
    assert len(parts(tmp_path / "a.webp", 3)) == 3


def test_what_is_there_stays_where_it_fails(tmp_path: Path) -> None:
    response = box((4, 30, 30), 2)
    refit, result = refined(response, response)
    path = tmp_path / "a.webp"
    path.write_bytes(b"before")
    with pytest.raises((ValueError, IndexError)):
        write_thumbnail(path, refit, result, np.ones((4, 30, 29), np.uint8))
    assert [each.name for each in tmp_path.iterdir()] == ["a.webp"]
    assert path.read_bytes() == b"before"
    with pytest.raises(WriteError, match="is a folder"):
        write_thumbnail(tmp_path, refit, result)


def test_tiles_name_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"the truth is \(4, 5\), the image \(5, 5\)"):
        tiles(np.zeros((5, 5)), truth=np.zeros((4, 5), int), side=20)
    with pytest.raises(ValueError, match=r"the response map is \(4, 5\)"):
        tiles(np.zeros((5, 5)), response=np.zeros((1, 4, 5)), side=20)
    with pytest.raises(ValueError, match=r"an image must be"):
        tiles(np.zeros((5,)), side=20)


def test_tiles_shrink_by_averaging() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2
    tile = tiles(checks, side=16)[:, :16]
    assert abs(tile.astype(int) - 128).max() < 12
