"""The parameters of the fits, and of what comes after them (see `napari_refit.params`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import field_validator

from napari_refit.declare import Parameters, number, numbers, option, within


class BoundaryParams(Parameters):
    """BoundaryFit, eq. (1) of the paper, which is coverage 1, spread 0 and tolerance 0."""

    threshold: float = number(
        0.65,
        0.0,
        1.0,
        step=0.01,
        title="Threshold (τ)",
        help="The response map is positive from here on.",
        search=(0.05, 0.95),
    )
    coverage: float = number(
        0.5,
        0.01,
        1.0,
        step=0.01,
        title="Coverage (ρ)",
        help="A cluster stays if at least this fraction of it is positive. 1: the paper, 0.5: majority vote.",
        search=(0.05, 1.0),
    )
    spread: float = number(
        5.0,
        0.0,
        1000.0,
        step=1,
        title="Spread",
        help="How strongly the response spreads between touching clusters of like colour, before the threshold. "
        "0: not at all, as in the paper.",
        search=(0.0, 50.0),
    )
    tolerance: float = number(
        0.01,
        0.0,
        1.0,
        step=0.01,
        title="Tolerance",
        help="The flood crosses between neighbouring clusters whose colours differ by no more than this.",
        search=(0.0, 0.1),
    )


class AppearanceParams(Parameters):
    """A graph cut over the clusters: what looks like the object, responds, and ends where the image has an edge."""

    threshold: float = number(
        0.5,
        0.0,
        1.0,
        step=0.01,
        title="Threshold (τ)",
        help="Clusters are in the mask from this fitted response on. 0.5: no favour to either side.",
        search=(0.05, 0.95),
    )
    start: float = number(
        0.7,
        0.02,
        0.98,
        step=0.01,
        title="Start level",
        help="A cluster whose response is above it is taken for the object at first, and its response speaks for the "
        "object; below, against it.",
    )
    spread: float = number(
        10.0,
        0.0,
        1000.0,
        step=1,
        title="Spread",
        help="How strongly the response spreads between touching clusters of like colour beforehand. 0: not at all.",
        search=(0.0, 50.0),
    )
    response_weight: float = number(
        3.0,
        0.0,
        20.0,
        step=0.1,
        title="Weight of the response",
        help="How much the response of a cluster counts.",
        search=(0.0, 10.0),
    )
    appearance_weight: float = number(
        0.5,
        0.0,
        20.0,
        step=0.1,
        title="Weight of the looks",
        help="How much it counts whether a cluster looks like the object or like the background.",
        search=(0.0, 5.0),
    )
    smoothness: float = number(
        3.0,
        0.0,
        100.0,
        step=0.5,
        title="Smoothness",
        help="What border costs where the image has no edge. Higher: simpler outlines, small pieces vanish.",
        search=(0.0, 20.0),
    )
    contrast: float = number(
        0.4,
        0.05,
        10.0,
        step=0.05,
        log=True,
        title="Edge contrast",
        help="How much touching clusters must differ for a border between them to cost little: a multiple of what "
        "is usual in the image.",
        advanced=True,
    )
    rounds: int = number(
        3,
        1,
        20,
        step=1,
        title="Rounds",
        help="How often the looks are learned from the mask, and the mask made anew.",
        advanced=True,
    )
    background_parts: int = number(
        2,
        1,
        8,
        step=1,
        title="Kinds of background",
        help="How many kinds of tissue the background is thought to be made of.",
        advanced=True,
    )


class PartitionEnsembleParams(Parameters):
    """The mean over several partitions of the mean response of each cluster.

    The chosen segmenter's clusters are one of the partitions; each segmenter has the parameters of its own group.
    """

    threshold: float = number(
        0.7,
        0.0,
        1.0,
        step=0.01,
        title="Threshold (τ)",
        help="The mask is where the mean is at least this.",
        search=(0.05, 0.95),
    )
    spread: float = number(
        10.0,
        0.0,
        1000.0,
        step=1,
        title="Spread",
        help="How strongly the response spreads between touching clusters of like colour, in each partition. "
        "0: not at all.",
        search=(0.0, 50.0),
    )
    slic_clusters: tuple[Annotated[float, within(2, 20000)], ...] = numbers(
        (50.0, 100.0, 400.0),
        least=0,
        title="SLIC partitions",
        help="About how many clusters SLIC cuts a slice into, each number a partition of its own, besides the one of "
        "slic.n_segments. Empty: no SLIC, unless it is the chosen segmenter.",
    )
    with_quickshift: bool = option(
        False, title="Quickshift", help="Whether Quickshift makes one of the partitions."
    )
    with_felzenszwalb: bool = option(
        False, title="Felzenszwalb", help="Whether Felzenszwalb's method makes one of the partitions."
    )
    with_watershed: bool = option(
        False, title="Compact watershed", help="Whether the compact watershed makes one of the partitions."
    )
    others: tuple[str, ...] = option(
        (),
        title="Other segmenters",
        help="Names of more segmenters that make a partition each, such as network or one of your own.",
        advanced=True,
    )

    @field_validator("slic_clusters")
    @classmethod
    def _whole_numbers(cls, clusters: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({float(round(number)) for number in clusters}))

    @field_validator("others")
    @classmethod
    def _known(cls, others: tuple[str, ...]) -> tuple[str, ...]:
        from napari_refit.registry import SEGMENTERS

        for name in others:
            SEGMENTERS[name]
        return others


class HierarchyParams(Parameters):
    """The best regions out of a tree in which clusters merge: eq. (1) at every scale at once."""

    threshold: float = number(
        0.7,
        0.0,
        1.0,
        step=0.01,
        title="Threshold (τ)",
        help="A region counts for the mask as far as its mean response is above it.",
        search=(0.05, 0.95),
    )
    spread: float = number(
        10.0,
        0.0,
        1000.0,
        step=1,
        title="Spread",
        help="How strongly the response spreads between touching clusters of like colour beforehand. 0: not at all.",
        search=(0.0, 50.0),
    )
    smoothness: float = number(
        0.1,
        0.0,
        10.0,
        step=0.01,
        title="Smoothness",
        help="What the outline of a region costs where the image has no edge. Higher: larger regions with simpler "
        "outlines. 0, with a cost of 0: each cluster by itself.",
        search=(0.0, 2.0),
    )
    region_cost: float = number(
        0.0,
        0.0,
        100.0,
        step=0.05,
        title="Cost of a region",
        help="What each region costs besides, in the size of a mean cluster: small pieces vanish, gaps are bridged.",
        search=(0.0, 5.0),
    )
    contrast: float = number(
        0.4,
        0.05,
        10.0,
        step=0.05,
        log=True,
        title="Edge contrast",
        help="How much touching clusters must differ for the outline between them to cost little: a multiple of what "
        "is usual in the image.",
        advanced=True,
    )


class FinishParams(Parameters):
    """The last touch on any fit's mask; each step is off by default."""

    support: float = number(
        0.0,
        0.0,
        1.0,
        step=0.05,
        title="Supported pieces",
        help="A piece of the mask stays only if the response map somewhere in it reaches this fraction of its highest "
        "value in the mask. 0: all stay; 1: the piece with the highest response alone.",
    )
    minimum_size: float = number(
        0.0,
        0.0,
        1e6,
        unit="mm² or mm³",
        step=5,
        title="Smallest piece",
        help="Smaller pieces of the mask go; in pixels where the spacing is not known. 0: all stay.",
    )
    fill_holes: bool = option(False, title="Fill holes", help="Fill background that the mask surrounds.")


class HintParams(Parameters):
    """How the mask follows what is drawn by hand, whatever the fit."""

    stroke_reach: float = number(
        0.06,
        0.005,
        1.0,
        step=0.005,
        log=True,
        title="Reach of a stroke",
        help="How far a stroke speaks: where it is about a third as loud, as a part of the image's side.",
    )
    fit_trust: float = number(
        0.3,
        0.01,
        10.0,
        step=0.01,
        log=True,
        title="Trust in the fit",
        help="How much counts, against a stroke, what the fit itself makes of the image.",
    )
    stroke_edges: float = number(
        5.0,
        0.0,
        100.0,
        step=0.5,
        title="Edges in the way",
        help="How much longer the way to a stroke is where the image has an edge. 0: strokes do not see edges.",
        advanced=True,
    )
    stroke_smoothness: float = number(
        2.0,
        0.0,
        100.0,
        step=0.5,
        title="Smoothness",
        help="What border costs near strokes where the image has no edge.",
        advanced=True,
    )
    stroke_contrast: float = number(
        0.4,
        0.05,
        10.0,
        step=0.05,
        log=True,
        title="Edge contrast",
        help="How much pieces must differ for a border between them to cost little: a multiple of what is usual.",
        advanced=True,
    )
    fineness: int = number(
        12,
        1,
        50,
        step=1,
        title="Pieces of a cluster",
        help="Into about how many pieces clusters are cut so that a border drawn by hand can be followed; slices only. "
        "1: clusters stay whole.",
        advanced=True,
    )


class PropagationParams(Parameters):
    """From accepted slices and hints to the slices beside them."""

    reach: int = number(
        10,
        1,
        1000,
        unit="slices",
        step=1,
        title="Reach",
        help="How many slices beyond an accepted one the mask is carried, on either side, unless the object ends.",
    )
    erosion: float = number(
        0.15,
        0.0,
        0.95,
        step=0.05,
        title="Erosion",
        help="How much of the depth of each piece, and of the background beside it, is taken for unsure on the next "
        "slice. 0: nothing; 0.95: all but the middle.",
    )
    overlap: float = number(
        0.5,
        0.05,
        1.0,
        step=0.05,
        title="Overlap",
        help="A cluster is seeded if at least this fraction of it lies where the slice beside it is sure.",
        advanced=True,
    )
    likeness: float = number(
        0.2,
        0.0,
        1.0,
        step=0.01,
        title="Likeness",
        help="A cluster is seeded only if its colour differs from that of the slice beside it, in the same place, by "
        "no more than this fraction of the grey range.",
        advanced=True,
    )
    trust: float = number(
        0.85,
        0.0,
        1.0,
        step=0.05,
        title="Trust",
        help="How much the mask beside it counts against the response map where no cluster is seeded. 0: not at all; "
        "1: alone.",
    )
