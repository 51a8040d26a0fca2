"""A brain-MRI-like phantom, made by code: the sample volume, and what the shipped classifier is trained on.

It is no patient and no atlas: smooth random fields bend ellipsoids into a head with scalp, skull, folded
cortex, white matter, deep grey matter and ventricles, in FLAIR-like grey values, with bright lesions whose
place is known. Anatomy is laid out in millimetres over a fixed field of view: a smaller ``shape`` shows the
same head coarser.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.errors import WriteError

DEMO_SEED = 0
"""Seed of the sample volume; `napari_refit.learn.phantom_classifier` never trains or validates on it."""

FIELD_OF_VIEW = (192.0, 192.0, 160.0)
SLICE_SAMPLES = 2
GREY_SCALE = 1000.0

Field = NDArray[np.floating[Any]]
Axes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Phantom:
    """A made-up head and the truth about it, both in file order ``(x, y, z)``.

    Attributes
    ----------
    image : ndarray of int16, shape (x, y, z)
        FLAIR-like grey values in arbitrary units, 0 to about 1700. ``image[:, :, k].T`` is an axial slice as
        displayed.
    truth : ndarray of uint8, shape (x, y, z)
        1 inside lesions, 0 elsewhere.
    spacing : tuple of float
        Millimetres per voxel along x, y and z.
    affine : ndarray of float64, shape (4, 4)
        Voxel to RAS millimetres; oblique.
    seed : int
        What it was made from.
    """

    image: NDArray[np.int16]
    truth: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    seed: int


def phantom(
    seed: int = DEMO_SEED, shape: tuple[int, int, int] = (192, 192, 64), lesions: int | None = None
) -> Phantom:
    """Make a brain-MRI-like volume with lesions.

    Parameters
    ----------
    seed : int
        0 or more; the same seed makes the same volume.
    shape : tuple of int
        Voxels along x, y and z (file order), each at least 8. The field of view is always 192 x 192 x 160 mm,
        so the default has voxels of 1 x 1 x 2.5 mm.
    lesions : int, optional
        How many lesions, 0 to 8; left out: one to three, drawn from the seed. The head does not depend on it.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> made = phantom(seed=7, shape=(48, 48, 16))
    >>> made.image.shape, made.spacing, int(made.truth.max())
    ((48, 48, 16), (4.0, 4.0, 10.0), 1)
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if len(shape) != 3 or min(shape) < 8:
        raise ValueError(f"shape must be three numbers of at least 8 voxels (x, y, z), got {shape}")
    if lesions is not None and not 0 <= lesions <= 8:
        raise ValueError(f"lesions must be 0 to 8, got {lesions}")

    axes = _sample_positions(shape)
    head = _Head(axes, seed, shape)
    signal = head.signal
    inside = _add_lesions(signal, head, axes, seed, lesions)
    thick_slice = (*shape, SLICE_SAMPLES)
    signal = signal.reshape(thick_slice).mean(axis=3)
    truth = (inside.reshape(thick_slice).mean(axis=3) >= 0.5).astype(np.uint8)
    spacing = (FIELD_OF_VIEW[0] / shape[0], FIELD_OF_VIEW[1] / shape[1], FIELD_OF_VIEW[2] / shape[2])
    return Phantom(_scan(signal, axes, seed), truth, spacing, _oblique_affine(shape, spacing, seed), seed)


def phantom_file(
    folder: str | os.PathLike[str],
    seed: int = DEMO_SEED,
    shape: tuple[int, int, int] = (192, 192, 64),
    lesions: int | None = None,
) -> tuple[Path, Path]:
    """Write a phantom and its truth as NIfTI files.

    Parameters
    ----------
    folder : path-like
        Made if missing. Files of the same name are replaced.
    seed, shape, lesions
        As in `phantom`.

    Returns
    -------
    tuple of Path
        ``phantom-<seed>.nii.gz`` and ``phantom-<seed>-truth.nii.gz``.

    Raises
    ------
    WriteError
        If the folder cannot be written.
    """
    from napari_refit.io.volume import Volume
    from napari_refit.io.write import save

    made = phantom(seed, shape, lesions)
    base = Path(folder)
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(base, f"{error.strerror}; choose a folder that can be written") from error
    like = Volume.from_array(made.image, ("x", "y", "z"), made.affine)
    return (
        save(base / f"phantom-{seed}.nii.gz", made.image, like),
        save(base / f"phantom-{seed}-truth.nii.gz", made.truth, like, labels=True),
    )


class _Head:
    """The healthy head: its signal, and the distances that lesions are placed by."""

    def __init__(self, axes: Axes, seed: int, shape: tuple[int, int, int]) -> None:
        rng = np.random.default_rng([seed, 1])
        voxel = FIELD_OF_VIEW[0] / shape[0]
        x, y, z = (axis.astype(np.float32) for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
        size = rng.uniform(0.95, 1.05, 3)
        x, y, z = x / np.float32(size[0]), y / np.float32(size[1]), z / np.float32(size[2])
        bump = _noise(rng, axes, 45.0)

        radius = np.sqrt((x / 66) ** 2 + (y / 80) ** 2 + (z / 66) ** 2) * (1 + 0.03 * bump)
        self.depth = (1 - radius) * 68
        """Millimetres below the brain's hull (negative outside)."""
        skull_depth = self.depth + 3.0 + _noise(rng, axes, 60.0).clip(-1.5, 1.5)
        scalp_depth = skull_depth + rng.uniform(5.0, 7.0)
        head_depth = scalp_depth + rng.uniform(4.0, 6.0) + 1.0 * _noise(rng, axes, 30.0)

        signal = 0.8 * _soft(head_depth, voxel) * (1 + 0.1 * _noise(rng, axes, 9.0))
        marrow = 0.06 + 0.12 * _noise(rng, axes, 14.0).clip(0, 2) * _soft(1.8 - abs(scalp_depth - 3.0), voxel)
        _blend(signal, marrow, _soft(scalp_depth, voxel))
        _blend(signal, 0.12, _soft(skull_depth, voxel))

        to_csf = self._cortex(rng, axes, x, y, z)
        patches = 1 + 0.05 * _noise(rng, axes, 25.0)
        _blend(signal, 0.56 * patches, _soft(to_csf - 0.5, voxel))
        _blend(signal, 0.43 * (1 + 0.03 * _noise(rng, axes, 12.0)), _soft(to_csf - 3.4, voxel))
        nuclei = 1 - np.sqrt(((abs(x) - 21) / 9) ** 2 + ((y + 2) / 20) ** 2 + ((z + 2) / 13) ** 2)
        _blend(signal, 0.54 * patches, _soft(12 * nuclei + 1.5 * bump, voxel))

        self.ventricle_depth = self._ventricles(rng, axes, x, y, z)
        rim = 1.2 + 1.2 * _noise(rng, axes, 12.0).clip(-0.5, 2.5)
        _blend(signal, 0.64, 0.8 * _soft(self.ventricle_depth + rim, voxel))
        _blend(signal, 0.1, _soft(self.ventricle_depth, voxel))
        plexus = _noise(rng, axes, 6.0) - 1.5
        _blend(signal, 0.6, _soft(4 * plexus, voxel) * _soft(self.ventricle_depth - 1, voxel))

        sinus = 2.6 - np.sqrt(x**2 + (self.depth + 2.5) ** 2) - np.maximum(0, -y - 20)
        _blend(signal, 0.75, _soft(sinus, voxel))
        self._spots(rng, axes, signal)
        self.signal: Field = signal

    def _cortex(self, rng: np.random.Generator, axes: Axes, x: Field, y: Field, z: Field) -> Field:
        """Distance in mm to the nearest fluid outside the ventricles: hull, sulci, fissures and folia."""
        folds, slope = _noise_and_slope(rng, axes, 6.8)
        too_deep = self.depth - (17 + 6 * _noise(rng, axes, 20.0))
        bend = 1.5 * _noise(rng, axes, 40.0)
        wave = 4 * bend + 3 * _noise(rng, axes, 14.0)
        lateral = np.sqrt((0.8 * (z + 0.5 * y + 2 + wave)) ** 2 + np.maximum(36 - abs(x), 0) ** 2)
        folia, steep = _noise_and_slope(rng, (axes[0] / 4, axes[1] / 1.5, axes[2]), 3.2)
        hindbrain = np.maximum(z + 0.4 * (20 - y) + 26 + wave, 0) + np.maximum(self.depth - 26, 0)
        sheets = (
            np.sqrt((folds / np.maximum(slope, 0.06)) ** 2 + np.maximum(too_deep, 0) ** 2),
            np.sqrt((x + bend) ** 2 + np.maximum(16 - z, 0) ** 2),
            lateral + 0.3 * np.maximum(abs(y + 5) - 20, 0),
            1.5 * abs(folia) / np.maximum(steep, 0.1) + hindbrain,
        )
        nearest: Field = np.minimum.reduce([self.depth, *sheets])
        return nearest

    def _ventricles(self, rng: np.random.Generator, axes: Axes, x: Field, y: Field, z: Field) -> Field:
        wide = np.float32(rng.uniform(0.8, 1.5))
        side = abs(x) - (8 + 0.008 * y**2)
        lateral = 1 - np.sqrt((side / (5.5 * wide)) ** 2 + ((y - 4) / 36) ** 2 + ((z - 8) / (8 * wide)) ** 2)
        third = 1 - np.sqrt((x / (2 * wide)) ** 2 + ((y - 2) / 14) ** 2 + ((z + 8) / 10) ** 2)
        depth: Field = np.maximum(6 * wide * lateral, 2 * wide * third) + 0.8 * _noise(rng, axes, 15.0)
        return depth

    def _spots(self, rng: np.random.Generator, axes: Axes, signal: Field) -> None:
        """Bright dots and short vessels, too small to be lesions: what a classifier must not fall for."""
        for _ in range(rng.integers(25, 45)):
            place = rng.uniform(-1, 1, 3) * (60, 74, 60)
            length, width = rng.choice([0.0, rng.uniform(3, 12)]), rng.uniform(0.8, 2.0)
            along = rng.normal(size=3)
            along /= np.linalg.norm(along)
            box, (x, y, z) = _around(axes, place, length + 3 * width)
            if 0 in self.depth[box].shape:
                continue
            run = np.clip(x * along[0] + y * along[1] + z * along[2], -length, length)
            distance = (x - run * along[0]) ** 2 + (y - run * along[1]) ** 2 + (z - run * along[2]) ** 2
            bright = rng.uniform(0.1, 0.4) * np.exp(-distance / (2 * width**2))
            signal[box] += (bright * (self.depth[box] > 1)).astype(np.float32)


def _add_lesions(signal: Field, head: _Head, axes: Axes, seed: int, count: int | None) -> Field:
    """Blend lesions into ``signal`` in place and return the fraction of each sample that is lesion."""
    rng = np.random.default_rng([seed, 2])
    drawn = int(rng.integers(1, 4))
    inside = np.zeros_like(signal)
    placed: list[tuple[NDArray[np.float64], float]] = []
    for _ in range(drawn if count is None else count):
        radius = float(rng.uniform(12, 21)) / (len(placed) + 1) ** 0.25
        centre = _free_place(rng, head, axes, radius, placed)
        placed.append((centre, radius))
        box, local = _around(axes, centre, 1.8 * radius)
        stretch = rng.uniform(0.8, 1.25, 3)
        x, y, z = (part / factor for part, factor in zip(local, stretch, strict=True))
        offsets = tuple(axis[part] for axis, part in zip(axes, box, strict=True))
        ragged = 0.26 * _noise(rng, offsets, 0.9 * radius) + 0.1 * _noise(rng, offsets, 0.4 * radius)
        level = radius * (1 + ragged.clip(-0.5, 0.6)) - np.sqrt(x**2 + y**2 + z**2)
        room = _soft(head.depth[box] - 1.0, 1.0) * (1 - _soft(head.ventricle_depth[box], 1.0))
        texture = 1 + 0.06 * _noise(rng, offsets, 4.0) + 0.05 * _noise(rng, offsets, 10.0)
        bright = rng.uniform(0.64, 0.84)
        _blend(signal[box], bright * texture, _soft(level, rng.uniform(1.5, 3.0)) * room)
        inside[box] = np.maximum(inside[box], _soft(level, 1.0) * room)
    return inside


def _free_place(
    rng: np.random.Generator,
    head: _Head,
    axes: Axes,
    radius: float,
    placed: list[tuple[NDArray[np.float64], float]],
) -> NDArray[np.float64]:
    """Draw a lesion's centre in mm: well inside the brain, off the ventricles, clear of other lesions."""
    best, best_room = np.zeros(3), -np.inf
    for _ in range(60):
        place = rng.uniform(-1, 1, 3) * (52, 64, 46)
        index = tuple(int(np.argmin(abs(axis - value))) for axis, value in zip(axes, place, strict=True))
        clear = [float(np.linalg.norm(place - other)) - 1.3 * (size + radius) for other, size in placed]
        room = min(
            float(head.depth[index]) - 0.7 * radius,
            -float(head.ventricle_depth[index]) - 0.4 * radius,
            *clear,
            1.0,
        )
        if room > best_room:
            best, best_room = place, room
        if room > 0:
            break
    return best


def _scan(signal: Field, axes: Axes, seed: int) -> NDArray[np.int16]:
    """What a scanner adds: a bias field and Rician noise."""
    rng = np.random.default_rng([seed, 3])
    slice_axes = (axes[0], axes[1], axes[2].reshape(-1, SLICE_SAMPLES).mean(axis=1))
    biased = signal * np.exp(0.1 * _noise(rng, slice_axes, 90.0))
    level = np.float32(rng.uniform(0.018, 0.032))
    real = biased + level * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = level * rng.standard_normal(signal.shape, dtype=np.float32)
    gain = GREY_SCALE * rng.uniform(0.7, 1.4)
    return np.rint(gain * np.hypot(real, imaginary)).clip(0, 32767).astype(np.int16)


def _oblique_affine(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int
) -> NDArray[np.float64]:
    """Voxel to RAS mm of a head that lies a little turned: x runs to the left, y to the back, z up."""
    rng = np.random.default_rng([seed, 4])
    turn = np.diag([-1.0, -1.0, 1.0])
    for axis, angle in enumerate(np.deg2rad(rng.choice([-1, 1], 3) * rng.uniform(4, 14, 3))):
        first, second = (number for number in range(3) if number != axis)
        about = np.eye(3)
        about[first, first] = about[second, second] = np.cos(angle)
        about[first, second], about[second, first] = -np.sin(angle), np.sin(angle)
        turn = about @ turn
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = rng.uniform(-10, 10, 3) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _sample_positions(shape: tuple[int, int, int]) -> Axes:
    """Positions in mm from the centre; a slice is sampled several times through its thickness."""
    counts = (shape[0], shape[1], shape[2] * SLICE_SAMPLES)
    x, y, z = (
        ((np.arange(count) + 0.5) / count - 0.5) * extent
        for count, extent in zip(counts, FIELD_OF_VIEW, strict=True)
    )
    return x, y, z


def _around(
    axes: Axes, centre: NDArray[np.float64], reach: float
) -> tuple[tuple[slice, ...], tuple[Field, ...]]:
    """The box of samples within ``reach`` mm of ``centre``, and their open grid of offsets in mm."""
    box = []
    for axis, value in zip(axes, centre, strict=True):
        first, last = np.searchsorted(axis, [value - reach, value + reach])
        box.append(slice(int(first), int(last)))
    offsets = (axis[part] - value for axis, part, value in zip(axes, box, centre, strict=True))
    grid = np.meshgrid(*offsets, indexing="ij", sparse=True)
    return tuple(box), tuple(part.astype(np.float32) for part in grid)


def _soft(depth: Field, width: float) -> Field:
    """Partial volume: the fraction inside of a voxel whose centre lies ``depth`` mm below a border."""
    fraction: Field = (depth / np.float32(width) + np.float32(0.5)).clip(0, 1)
    return fraction


def _blend(signal: Field, value: Field | float, fraction: Field) -> None:
    signal += fraction * (value - signal)


def _noise(rng: np.random.Generator, axes: tuple[NDArray[np.float64], ...], length: float) -> Field:
    """Smooth random field, about standard normal: a cubic B-spline with random knots every ``length`` mm."""
    bases = [_spline_basis(axis, length)[0] for axis in axes]
    return _spline(_knots(rng, bases), bases)


def _noise_and_slope(rng: np.random.Generator, axes: Axes, length: float) -> tuple[Field, Field]:
    """The same field and the length of its gradient, per mm."""
    pairs = [_spline_basis(axis, length) for axis in axes]
    bases = [values for values, _ in pairs]
    knots = _knots(rng, bases)
    squares: Field = np.zeros((), np.float32)
    for axis, (_, slopes) in enumerate(pairs):
        squares = squares + _spline(knots, [*bases[:axis], slopes, *bases[axis + 1 :]]) ** 2
    return _spline(knots, bases), np.sqrt(squares)


def _knots(rng: np.random.Generator, bases: list[Field]) -> Field:
    # The sum of squared cubic B-spline weights is 0.479 per axis on average; this makes the variance 1.
    scale = np.float32(0.479**-1.5)
    return scale * rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)


def _spline(knots: Field, bases: list[Field]) -> Field:
    first, second, third = bases
    plane = np.tensordot(first, knots, axes=(1, 0))
    plane = np.einsum("jb,ibc->ijc", second, plane, optimize=True)
    field: Field = plane @ third.T
    return field


def _spline_basis(axis: NDArray[np.float64], length: float) -> tuple[Field, Field]:
    """Weight of every knot at every position, and its derivative per mm; each of shape (positions, knots)."""
    first = np.floor(axis[0] / length) - 1
    knots = first + np.arange(np.ceil(axis[-1] / length) + 2 - first)
    offset = axis[:, None] / length - knots
    distance = abs(offset)
    near, far = distance < 1, np.maximum(2 - distance, 0)
    values = np.where(near, 2 / 3 - distance**2 + distance**3 / 2, far**3 / 6)
    slopes = np.where(near, -2 * distance + 1.5 * distance**2, -(far**2) / 2) * np.sign(offset) / length
    return values.astype(np.float32), slopes.astype(np.float32)
