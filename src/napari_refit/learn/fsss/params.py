"""Every parameter of an FSSS training, declared once; what a classifier's training has too is taken from there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from napari_refit.declare import Parameters, declarations, number, option
from napari_refit.learn.places import MOST_ROUNDS
from napari_refit.learn.settings import TrainingParams

__all__ = ["FsssParams", "LabellingParams"]

_TRAINING = {item.name: item for item in declarations(TrainingParams)}


def _as_in_training(name: str, **changes: Any) -> Any:
    """The declaration of a classifier's training, with another default or help."""
    item = _TRAINING[name]
    texts: dict[str, Any] = {"title": item.title, "help": item.help, "advanced": item.advanced}
    default = changes.pop("default", item.default)
    if item.low is None or item.high is None:
        return option(default, **(texts | changes))
    return number(
        default, item.low, item.high, unit=item.unit, step=item.step, log=item.log, **(texts | changes)
    )


class LabellingParams(Parameters):
    """How pseudo-labels are made and used."""

    targets: Literal["soft", "hard"] = option(
        "soft",
        title="Pseudo-labels",
        help="soft: each pixel's label is as certain as the fit is of it; hard: the mask. Reference masks are hard.",
    )
    sharpness: float = number(
        0.0,
        0.0,
        20.0,
        step=0.5,
        title="Sharpness of soft labels",
        help="How quickly a label becomes certain as the fitted response leaves the threshold: a factor of its "
        "log-odds. 0: what suits the fit, 1 for appearance, whose response is a probability already, and 4 for others.",
        advanced=True,
    )
    certainty_weight: float = number(
        1.0,
        0.0,
        1.0,
        step=0.1,
        title="Weight by certainty",
        help="How much less a pixel of a soft label counts the less certain it is. 0: all count alike; "
        "1: one with an even chance does not count.",
    )
    doubtful_share: float = number(
        0.25,
        0.0,
        0.9,
        step=0.05,
        title="Images in doubt",
        help="Share of the images with a mask that are left out: those whose mask can expect the lowest Dice by the "
        "fit's own certainty.",
    )
    contradicted: Literal["left out", "background"] = option(
        "left out",
        title="False alarms",
        help="What becomes of an image that is known to show nothing, if the classifier says otherwise and a mask "
        "comes of it: left out, or background like the others.",
    )
    rounds: int = number(
        1,
        1,
        MOST_ROUNDS,
        step=1,
        title="Rounds",
        help="2 or more: the network's own response to the training images is fitted for the labels of the next "
        "training, and so on. Not with reference masks.",
    )
    network_threshold: float = number(
        0.5,
        0.02,
        0.98,
        step=0.01,
        title="Threshold of later rounds",
        help="Threshold, and start level, of the fit on the network's own response, which is a probability.",
        advanced=True,
    )


class FsssParams(LabellingParams):
    """How a segmentation network is trained from label maps."""

    network: Literal["efficientnet-lite0", "unet"] = option(
        "efficientnet-lite0",
        title="Network",
        help="efficientnet-lite0: a U-Net whose encoder comes with ImageNet weights, quick on a processor; "
        "unet: MONAI's residual U-Net, from random numbers.",
    )
    weights: str = option(
        "imagenet",
        title="Start from",
        help="imagenet (of efficientnet-lite0), none (random numbers), or a file: a classifier "
        "whose architecture is the encoder's, or an FSSS checkpoint.",
    )
    input_size: int = _as_in_training("input_size", default=256)
    channels: Literal["auto", "grey", "all"] = _as_in_training("channels")
    epochs: int = _as_in_training("epochs", default=12)
    batch_size: int = _as_in_training("batch_size", default=8)
    balance: Literal["batches", "none"] = option(
        "batches",
        title="Balance classes by",
        help="batches: every batch holds as many images of each class, and of none, rare ones more than once; "
        "none: as the images come.",
    )
    dice_weight: float = number(
        1.0,
        0.0,
        100.0,
        step=0.25,
        title="Weight of Dice",
        help="Of the Dice loss, against the cross-entropy of the pixels.",
    )
    dice_over: Literal["batch", "image"] = option(
        "batch",
        title="Dice over",
        help="batch: one Dice of all its pixels, in which large objects count most; image: the mean Dice of the images "
        "that show something, in which a small object counts as much as a large one.",
    )
    optimiser: Literal["adamw", "sgd"] = _as_in_training("optimiser")
    learning_rate: float = _as_in_training("learning_rate", default=2e-3)
    schedule: Literal["cosine", "linear", "constant"] = _as_in_training("schedule")
    warm_up: float = _as_in_training("warm_up")
    momentum: float = _as_in_training("momentum")
    weight_decay: float = _as_in_training("weight_decay")
    gradient_clip: float = _as_in_training("gradient_clip", default=5.0)
    flip_horizontal: float = _as_in_training("flip_horizontal")
    flip_vertical: float = _as_in_training("flip_vertical")
    rotation: float = _as_in_training("rotation")
    translation: float = _as_in_training("translation")
    scaling: float = _as_in_training("scaling", default=0.2)
    brightness: float = _as_in_training("brightness")
    contrast: float = _as_in_training("contrast")
    gamma: float = _as_in_training("gamma")
    noise: float = _as_in_training("noise")
    blur: float = _as_in_training("blur")
    validation_share: float = _as_in_training("validation_share")
    test_share: float = _as_in_training("test_share")
    monitor: Literal["dice", "loss"] = option(
        "dice",
        title="Best epoch by",
        help="Highest Dice or lowest loss on the validation images, "
        "against the labels that are trained on: pseudo-labels where these are.",
    )
    patience: int = _as_in_training("patience")
    seed: int = _as_in_training("seed")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = _as_in_training("precision")
    channels_last: bool = _as_in_training("channels_last")
    threads: int = _as_in_training("threads")
    cache: float = _as_in_training("cache")

    def as_training(self) -> TrainingParams:
        """What a classifier's training would call the same: for the optimiser, the augmentation and the like."""
        shared = {name: getattr(self, name) for name in type(self).model_fields if name in _SHARED}
        return TrainingParams.model_validate(shared)

    def with_texts(self, assignments: Mapping[str, Any]) -> FsssParams:
        """A copy with parameters set from texts, as ``--set fsss.key=value`` does.

        Parameters
        ----------
        assignments : mapping of str to str or value

        Raises
        ------
        ValueError
            For an unknown key or a value out of bounds; the message names both.

        Examples
        --------
        >>> FsssParams().with_texts({"network": "unet", "weights": "none"}).network
        'unet'
        >>> FsssParams().with_texts({"epoch": "3"})
        Traceback (most recent call last):
        ...
        ValueError: unknown parameter 'fsss.epoch'; did you mean epochs?
        """
        for key in assignments:
            if key not in type(self).model_fields:
                near = difflib.get_close_matches(key, type(self).model_fields, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else ", ".join(type(self).model_fields)
                raise ValueError(f"unknown parameter 'fsss.{key}'; {hint}")
        try:
            return type(self).model_validate({**self.model_dump(), **assignments})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"fsss.{name} = {first['input']!r}: {first['msg'].lower()}") from None


_SHARED = set(_TRAINING) - {"weights", "monitor", "architecture"}
