"""What belongs to one learner alone, declared once."""

from __future__ import annotations

from typing import Literal

from napari_refit.declare import Parameters, number, option


class SeamParams(Parameters):
    """Of SEAM (Wang et al. 2020)."""

    scale: float = number(
        0.3,
        0.1,
        0.9,
        step=0.05,
        title="Small copy",
        help="Size of the copy of each image whose maps have to agree with the image's.",
    )
    equivariance_weight: float = number(
        1.0,
        0.0,
        100.0,
        step=0.1,
        title="Equivariance",
        help="Weight of the difference between the maps of the two copies.",
    )
    cross_weight: float = number(
        1.0,
        0.0,
        100.0,
        step=0.1,
        title="Cross regularisation",
        help="Weight of the difference between the refined maps of either copy and the maps of the other.",
    )
    hardest_share: float = number(
        0.2,
        0.01,
        1.0,
        step=0.05,
        title="Hardest share",
        help="Share of the values of an image, those that differ most, that cross regularisation looks at.",
    )
    quiet_weight: float = number(
        1.0,
        0.0,
        100.0,
        step=0.1,
        title="Quiet background",
        help="Weight of the lowest quarter of the refined maps, which should be 0.",
        advanced=True,
    )
    stride: Literal["8", "16", "32"] = option(
        "16",
        title="Stride of maps",
        help="Pixels per value of the maps, where the architecture can be made so fine; 8 takes longest.",
    )
    dropout: float = number(
        0.5,
        0.0,
        0.95,
        step=0.05,
        title="Dropout",
        help="How often a feature is left out before the classes are scored.",
        advanced=True,
    )
    fresh_rate: float = number(
        10.0,
        1.0,
        100.0,
        step=1,
        title="New layers",
        help="By how much faster the layers learn that an architecture has not without SEAM.",
        advanced=True,
    )
    norms: Literal["trained", "frozen"] = option(
        "trained",
        title="Batch norms",
        help="frozen: averages, weights and biases stay as they were, as in the article; with AdamW that takes a "
        "learning rate of 1e-4 or less.",
        advanced=True,
    )


class CmerParams(Parameters):
    """Of WSS-CMER (Patel and Dolz 2022)."""

    width: int = number(
        16, 2, 256, unit="channels", step=4, log=True, title="Width", help="Of the networks' finest level."
    )
    modality: Literal["average", "first", "second", "third", "fourth"] = option(
        "average",
        title="Maps of",
        help="average: the mean over the modalities; first, second, ...: those of one modality.",
    )
    temperature: float = number(
        10.0,
        0.1,
        100.0,
        step=1,
        title="Temperature",
        help="Logits are divided by it before modalities are asked to agree.",
        advanced=True,
    )
    agreement_weight: float = number(
        0.5, 0.0, 100.0, step=0.1, title="Agreement", help="Weight of what the modalities' answers differ by."
    )
    equivariance_weight: float = number(
        1.0,
        0.0,
        100.0,
        step=0.1,
        title="Equivariance",
        help="Weight of what maps of an image and of its moved copy differ by.",
    )
    cross_weight: float = number(
        1.0,
        0.0,
        100.0,
        step=0.1,
        title="Cross-modality equivariance",
        help="Weight of what maps of two modalities differ by.",
    )
    shift: float = number(
        0.3,
        0.0,
        0.9,
        step=0.05,
        title="Shift",
        help="Furthest that a copy is shifted, as a fraction of the image's side.",
    )
    rescaling: float = number(
        0.2,
        0.0,
        0.9,
        step=0.05,
        title="Rescaling",
        help="By how much a copy grows or shrinks at most, as a fraction.",
    )
