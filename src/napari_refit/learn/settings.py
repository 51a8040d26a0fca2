"""Every parameter of a training, declared once: the command line, the dock and the pages are made from this."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from napari_refit.cam.checkpoint import SUFFIXES
from napari_refit.declare import Parameters, number, option
from napari_refit.learn.lesson_params import CmerParams, SeamParams

__all__ = ["CmerParams", "SeamParams", "TrainingParams"]


class TrainingParams(Parameters):
    """How a network is trained from image-level labels."""

    learner: Literal["classifier", "seam", "cmer"] = option(
        "classifier",
        title="Learner",
        help="classifier: for Grad-CAM and ReFit; seam: SEAM, whose maps agree at every size; "
        "cmer: WSS-CMER, for images of two modalities or more.",
    )
    architecture: str = option(
        "efficientnet-lite0",
        title="Architecture",
        help="efficientnet-lite0 (quick on a processor), resnet18, resnet34, resnet50, resnet101, "
        "convnext_tiny, efficientnet_b0, or any other of torchvision's classifiers.",
    )
    weights: str = option(
        "imagenet",
        title="Start from",
        help="imagenet, none (random numbers), or a file of weights for this architecture.",
        files=SUFFIXES,
    )
    input_size: int = number(
        224,
        32,
        1024,
        unit="px",
        step=32,
        title="Input size",
        help="Images are resized to a square of this side.",
    )
    channels: Literal["auto", "grey", "all"] = option(
        "auto",
        title="Channels",
        help="grey: one channel; all: as they are; auto: grey unless the images are coloured or of several "
        "modalities.",
        advanced=True,
    )
    background: str = option(
        "",
        title="Background class",
        help="The class that means that nothing is there; empty: a class named background, normal, negative, "
        "healthy or none, where there is one.",
        advanced=True,
    )
    epochs: int = number(12, 1, 1000, step=1, title="Epochs", help="Most passes over the images.")
    batch_size: int = number(
        16, 2, 1024, unit="images", step=4, log=True, title="Batch", help="Images per step."
    )
    balance: Literal["batches", "weights", "none"] = option(
        "batches",
        title="Balance classes by",
        help="batches: every batch holds as many images of each class, rare ones more than once; "
        "weights: errors in rare classes count more; none: as the images come.",
    )
    optimiser: Literal["adamw", "sgd"] = option(
        "adamw", title="Optimiser", help="AdamW, or SGD with Nesterov momentum."
    )
    learning_rate: float = number(
        5e-4, 1e-7, 1.0, step=1e-4, log=True, title="Learning rate", help="Highest, after the warm-up."
    )
    schedule: Literal["cosine", "linear", "constant"] = option(
        "cosine", title="Schedule", help="How the learning rate falls to 0 over the epochs, or that it stays."
    )
    warm_up: float = number(
        1.0,
        0.0,
        100.0,
        unit="epochs",
        step=0.5,
        title="Warm-up",
        help="The learning rate rises from 0 for so long, at most for half of the training.",
    )
    momentum: float = number(0.9, 0.0, 0.999, step=0.05, title="Momentum", help="Of SGD.", advanced=True)
    weight_decay: float = number(
        0.01,
        0.0,
        1.0,
        step=0.01,
        title="Weight decay",
        help="Of kernels and matrices; biases and norms are left alone.",
    )
    gradient_clip: float = number(
        1.0, 0.0, 1000.0, step=0.5, title="Gradient limit", help="Longest gradient; 0: none.", advanced=True
    )
    label_smoothing: float = number(
        0.05,
        0.0,
        0.5,
        step=0.01,
        title="Label smoothing",
        help="How far labels are from certain: keeps a classifier from growing overconfident.",
    )
    flip_horizontal: float = number(
        0.5, 0.0, 1.0, step=0.1, title="Mirror left and right", help="How often an image is mirrored."
    )
    flip_vertical: float = number(
        0.0, 0.0, 1.0, step=0.1, title="Mirror top and bottom", help="How often an image is turned over."
    )
    rotation: float = number(
        10.0, 0.0, 180.0, unit="degrees", step=1, title="Rotation", help="Furthest, to either side."
    )
    translation: float = number(
        0.05, 0.0, 0.5, step=0.01, title="Shift", help="Furthest, as a fraction of the image's side."
    )
    scaling: float = number(
        0.1, 0.0, 0.9, step=0.05, title="Scaling", help="By how much an image may grow or shrink at most."
    )
    brightness: float = number(
        0.1, 0.0, 1.0, step=0.05, title="Brightness", help="Furthest change, as a fraction."
    )
    contrast: float = number(
        0.15,
        0.0,
        1.0,
        step=0.05,
        title="Contrast",
        help="Furthest change about the image's mean, as a fraction.",
    )
    gamma: float = number(
        0.15,
        0.0,
        1.0,
        step=0.05,
        title="Gamma",
        help="How bent the curve of grey values may be: an exponent from 1 / (1 + this) to 1 + this.",
    )
    noise: float = number(
        0.02, 0.0, 0.5, step=0.01, title="Noise", help="Strongest, as a fraction of the grey range."
    )
    blur: float = number(
        0.7, 0.0, 10.0, unit="px", step=0.1, title="Blur", help="Widest, as a standard deviation."
    )
    validation_share: float = number(
        0.2,
        0.05,
        0.5,
        step=0.05,
        title="Validation share",
        help="Share of the patients whose images choose the best epoch and are not trained on.",
    )
    test_share: float = number(
        0.0,
        0.0,
        0.5,
        step=0.05,
        title="Test share",
        help="Share of the patients who are kept for the report alone; 0: it is made on the validation images, "
        "which the epoch was chosen on. Not used with folds.",
    )
    folds: int = number(
        1,
        1,
        20,
        step=1,
        title="Folds",
        help="2 or more: as many trainings, each tested on a part of the patients that it has not seen.",
    )
    monitor: Literal["auroc", "loss", "last"] = option(
        "auroc",
        title="Best epoch by",
        help="Highest AUROC or lowest loss on the validation images; last: whatever they say, the last.",
    )
    patience: int = number(
        6,
        0,
        1000,
        unit="epochs",
        step=1,
        title="Patience",
        help="Training stops after so many epochs without a better one; 0: it never stops early.",
    )
    temperature_scaling: bool = option(
        True,
        title="Temperature scaling",
        help="Measure on the validation images by how much the logits have to be divided for honest "
        "probabilities; the weights stay as they are.",
        advanced=True,
    )
    seed: int = number(
        0, 0, 2**31 - 1, step=1, title="Seed", help="Of weights, order, augmentation and splits."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto",
        title="Precision",
        help="auto: bfloat16 where the hardware computes in it, else float16 on CUDA, else float32. "
        "float16 is for CUDA only.",
        advanced=True,
    )
    channels_last: bool = option(
        True,
        title="Channels last",
        help="Keep the channels of a pixel together in memory: quicker on processors and CUDA.",
        advanced=True,
    )
    threads: int = number(
        0, 0, 1024, step=1, title="Threads", help="Of the processor; 0: all cores.", advanced=True
    )
    cache: float = number(
        2.0,
        0.0,
        1024.0,
        unit="GiB",
        step=1,
        title="Image cache",
        help="Memory for resized images; what does not fit is read again every epoch.",
        advanced=True,
    )

    seam: SeamParams = Field(default_factory=SeamParams)
    cmer: CmerParams = Field(default_factory=CmerParams)

    def with_texts(self, assignments: Mapping[str, Any]) -> TrainingParams:
        """A copy with parameters set from texts, as ``--set key=value`` does.

        Parameters
        ----------
        assignments : mapping of str to str or value
            Parameters of a learner are called ``seam.name``.

        Raises
        ------
        ValueError
            For an unknown key or a value out of bounds; the message names both.

        Examples
        --------
        >>> TrainingParams().with_texts({"epochs": "3"}).epochs
        3
        >>> TrainingParams().with_texts({"epoch": "3"})
        Traceback (most recent call last):
        ...
        ValueError: unknown training parameter 'epoch'; did you mean epochs?
        """
        values = self.model_dump()
        known = list(self.items())
        for key, value in assignments.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
                raise ValueError(f"unknown training parameter {key!r}; {hint}")
            group, _, name = key.rpartition(".")
            (values[group] if group else values)[name] = value
        try:
            return type(self).model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{name} = {first['input']!r}: {first['msg'].lower()}") from None

    def changed(self) -> dict[str, Any]:
        """Keys and values that differ from the defaults, in the order of declaration."""
        usual = type(self)().items()
        return {key: value for key, value in self.items().items() if value != usual[key]}
