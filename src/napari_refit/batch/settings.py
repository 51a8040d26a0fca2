"""How a batch is run, declared once: the command line, the dock and the pages are made from this."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import field_validator

from napari_refit.declare import Parameters, number, option

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)


class BatchParams(Parameters):
    """How a batch is run; what is computed is in `napari_refit.recipe.RefitParams`."""

    layout: Literal["auto", "files", "csv", "bids"] = option(
        "auto",
        title="Layout",
        help="How the input is laid out; auto: a .csv file is a table, a folder with dataset_description.json is BIDS.",
    )
    overwrite: bool = option(
        False,
        title="Make everything again",
        help="Make again what is done already, and labels that were changed by hand since.",
    )
    fail_fast: bool = option(False, title="Stop at a failure", help="Stop at the first file that fails.")
    limit: int = number(
        0,
        0,
        1_000_000_000,
        step=1,
        title="At most",
        help="Most files to refine in this run; 0: all.",
        unit="files",
    )
    thumbnails: bool = option(True, title="Pictures", help="A small picture of each case for the report.")
    memory: str = option(
        "",
        title="Memory",
        help="Most memory of all workers on this machine together, such as 8 GB; empty: half of what is free. A volume "
        "that does not fit is refined slab by slab from its file.",
    )
    workers: int = number(
        1, 1, 1024, step=1, title="Workers", help="Files that are refined at the same time on this machine."
    )
    scheduler: str = option(
        "",
        title="Scheduler",
        help="Address of a running Dask scheduler, such as tcp://host:8786, or its scheduler file (.json).",
        advanced=True,
    )
    resources: str = option(
        "",
        title="Resources",
        help="What each file takes of its Dask worker, such as GPU=1; empty: GPU=1 on a GPU, else nothing.",
        advanced=True,
    )
    retries: int = number(
        2,
        0,
        100,
        step=1,
        title="Retries",
        help="How often a file is tried again when its worker is lost.",
        advanced=True,
    )

    @field_validator("memory")
    @classmethod
    def _a_size(cls, value: str) -> str:
        if value.strip():
            bytes_of(value)
        return value.strip()

    @field_validator("resources")
    @classmethod
    def _amounts(cls, value: str) -> str:
        amounts_of(value)
        return value.strip()


def bytes_of(text: str) -> int:
    """How many bytes a size means.

    Raises
    ------
    ValueError
        If it is no size above 0.

    Examples
    --------
    >>> bytes_of("8 GB"), bytes_of("1.5GiB"), bytes_of("512m")
    (8000000000, 1610612736, 512000000)
    """
    match = _SIZE.fullmatch(text)
    if match is None or not float(match[1]) > 0:
        raise ValueError(f"{text!r} is no size; write it as 8 GB or 500 MiB")
    return math.ceil(float(match[1]) * (1024 if match[3] else 1000) ** _UNITS[match[2].upper()])


def amounts_of(text: str) -> dict[str, float]:
    """What a text such as ``GPU=1,slot=2`` asks for.

    Raises
    ------
    ValueError
        If it cannot be read so.

    Examples
    --------
    >>> amounts_of("GPU=1, disk=0.5"), amounts_of("")
    ({'GPU': 1.0, 'disk': 0.5}, {})
    """
    found = {}
    for part in filter(str.strip, text.split(",")):
        name, _, amount = (piece.strip() for piece in part.partition("="))
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = math.nan
        if not name or not found[name] > 0:
            raise ValueError(f"{part.strip()!r}: write resources as NAME=AMOUNT, such as GPU=1")
    return found
