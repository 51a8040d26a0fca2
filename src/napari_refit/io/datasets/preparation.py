"""How a dataset is prepared and split: parameters, declared once."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from napari_refit.declare import Parameters, number, option

_RANGE = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*")


class SplitParams(Parameters):
    """How cases are divided, always by patient and by group."""

    method: Literal["folds", "fraction"] = option(
        "folds",
        title="Split by",
        help="folds: every case is tested once, in one of several rounds. fraction: one round, part of the cases.",
    )
    folds: int = number(3, 2, 100, step=1, unit="folds", title="Folds", help="How many rounds.")
    test_fraction: float = number(
        0.25,
        0.01,
        0.99,
        step=0.05,
        title="Test fraction",
        help="Fraction of the cases that is tested, with 'fraction'; 0.25 is 3:1.",
    )
    validation_fraction: float = number(
        0.0,
        0.0,
        0.9,
        step=0.05,
        title="Validation fraction",
        help="Fraction of what is not tested that is kept from training to choose parameters on.",
    )
    seed: int = number(
        0, 0, 2**31 - 1, step=1, title="Seed", help="The same seed gives the same split.", advanced=True
    )


class Preparation(Parameters):
    """What is done to a dataset's images before anything else."""

    include: tuple[str, ...] = option(
        (),
        title="Only labelled",
        help="Keep only cases whose folder (image-level label) is one of these; empty: all.",
    )
    modalities: tuple[str, ...] = option(
        (),
        title="Modalities",
        help="Which modalities, in this order, are the channels; empty: the usual ones.",
    )
    classes: tuple[str, ...] = option(
        (),
        title="Classes",
        help="Names of classes or of declared mergers, or NAME=A+B to merge some, NAME=* to merge all; "
        "empty: every class by itself. Where they overlap the later one wins.",
    )
    axis: Literal["auto", "0", "1", "2"] = option(
        "auto",
        title="Slice axis",
        help="Axis along which a volume is cut into slices. auto: the coarsest, else the slowest as displayed.",
    )
    crop: str = option(
        "",
        title="Crop",
        help="Voxels to keep on each axis, in the order of the file, as 56:184, 56:184, 13:141; empty: all.",
    )
    scaling: Literal["none", "slice", "image"] = option(
        "none",
        title="Min-max scaling",
        help="Scale grey values to 0..1 between the lowest and the highest of each slice, "
        "or of each image or volume.",
    )
    size: int = number(
        0,
        0,
        4096,
        step=32,
        unit="px",
        title="Slice size",
        help="Resize slices to this height and width; 0: as they are.",
        pixel_power=1,
    )

    @field_validator("crop")
    @classmethod
    def _readable(cls, text: str) -> str:
        crop_ranges(text)
        return text


def crop_ranges(text: str) -> tuple[slice, ...]:
    """Read a crop.

    Raises
    ------
    ValueError
        If it cannot be read or keeps nothing.

    Examples
    --------
    >>> crop_ranges("56:184, :, 13:")
    (slice(56, 184, None), slice(None, None, None), slice(13, None, None))
    >>> crop_ranges("")
    ()
    """
    ranges = []
    for part in text.split(",") if text.strip() else ():
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"crop {text!r}: {part.strip()!r} is no range; write START:STOP for each axis")
        start, stop = (int(end) if end else None for end in match.groups())
        if stop is not None and stop <= (start or 0):
            raise ValueError(f"crop {text!r}: the range {part.strip()!r} keeps nothing")
        ranges.append(slice(start, stop))
    return tuple(ranges)
