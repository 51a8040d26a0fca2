"""How a search is done, declared once: the command line and the dock's form are made from this."""

from __future__ import annotations

from typing import Literal

from napari_refit.declare import Parameters, number, option

OBJECTIVES = Literal["auto", "dsc", "miou", "nsd", "paper", "label-free"]


class TuneParams(Parameters):
    """A search for parameters."""

    sampler: Literal["tpe", "grid", "cmaes"] = option(
        "tpe",
        title="Search",
        help="tpe: tries what resembles the best so far. grid: every combination of a few values of each parameter. "
        "cmaes: a cloud of trials that moves and shrinks, for numbers only.",
    )
    trials: int = number(
        100,
        1,
        1_000_000,
        step=10,
        unit="trials",
        title="Trials",
        help="How many sets of parameters are tried in all, those of an earlier run of this study included.",
    )
    minutes: float = number(
        0.0,
        0.0,
        1e5,
        step=1,
        unit="min",
        title="Time",
        help="No trial begins after so many minutes; 0: no limit.",
    )
    objective: OBJECTIVES = option(
        "auto",
        title="Judged by",
        help="dsc: mean Dice of the foreground. miou: mean IoU with the background. nsd: mean surface Dice. paper: the "
        "paper's DSC, pooled over the images. label-free: how well the mask explains the image, without reference "
        "masks. auto: dsc with reference masks, else label-free.",
    )
    images: int = number(
        100,
        1,
        100_000,
        step=10,
        unit="images",
        title="Images",
        help="At most so many images or slices are drawn, as evenly from all patients as can be.",
    )
    with_object: bool = option(
        True,
        title="Only with the object",
        help="Draw only images whose reference mask shows something; without reference masks, all.",
    )
    seed: int = number(
        0, 0, 2**31 - 1, step=1, title="Seed", help="Of the images drawn and of the search.", advanced=True
    )
    levels: int = number(
        4,
        1,
        1000,
        step=1,
        title="Values in a grid",
        help="How many values of each number a grid tries, where its range has no step.",
    )
    pruning: bool = option(
        True,
        title="Stop poor trials early",
        help="A trial that is below the median of those before it after a few images is not finished.",
    )
    prune_after: int = number(
        10,
        1,
        10_000,
        step=5,
        unit="images",
        title="Stop after",
        help="A trial is looked at after so many images, after twice as many, and so on.",
        advanced=True,
    )
    cache: int = number(
        1024,
        16,
        1_000_000,
        step=256,
        unit="MB",
        title="Memory",
        help="For stages that trials share.",
        advanced=True,
    )
    threads: int = number(
        0,
        0,
        256,
        step=1,
        title="Threads",
        help="How many images are worked on at once; 0: one per core. It changes no result.",
        advanced=True,
    )
