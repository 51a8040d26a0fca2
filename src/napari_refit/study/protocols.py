"""The paper's three experiments: how each was done, and what was printed. One declaration each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_refit.io.datasets import Dataset, SplitParams

PAPER_PRESETS = {
    "busi": "paper-busi-slic",
    "brats": "paper-brats",
    "lgg": "paper-brats",
    "decathlon": "paper-decathlon",
    "prostate158": "paper-decathlon",
}
"""A dataset's name to the preset that the paper's authors used for it, or for what is nearest to it."""
PAPER = "paper"


@dataclass(frozen=True)
class Printed:
    """A row of the paper's table, in percent.

    Attributes
    ----------
    title : str
    dsc : float or None
        In the paper's convention, 2 mIoU / (1 + mIoU); None where the method "did not learn".
    miou : float or None
    method : str
        The method of ours that stands beside it; empty: none does.
    note : str
    """

    title: str
    dsc: float | None
    miou: float | None
    method: str = ""
    note: str = ""


@dataclass(frozen=True)
class Protocol:
    """One experiment of the paper.

    Attributes
    ----------
    name, title : str
    dataset : str
        The dataset's name.
    stand_ins : mapping of str to str
        Datasets that may stand in for it, and in what they differ.
    task : str
        A word that the folder of the paper's own task has in its name; empty: any.
    preset : str
    split : SplitParams
    architectures : tuple of str
        The paper's, the one that its best row is of first.
    weights : str
    training : mapping of str to value
        Parameters of the training; empty: the classifier is not trained at all.
    printed : tuple of Printed
    differences : tuple of str
        In what this program differs, whatever is asked for.
    """

    name: str
    title: str
    dataset: str
    preset: str
    split: SplitParams
    architectures: tuple[str, ...]
    weights: str
    printed: tuple[Printed, ...]
    training: Mapping[str, Any] = field(default_factory=dict)
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    differences: tuple[str, ...] = ()


_PLAIN_TRAINING: dict[str, Any] = {
    "optimiser": "sgd",
    "learning_rate": 1e-3,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warm_up": 0.0,
    "balance": "none",
    "label_smoothing": 0.0,
    "gradient_clip": 0.0,
    "flip_horizontal": 0.0,
    "rotation": 0.0,
    "translation": 0.0,
    "scaling": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "gamma": 0.0,
    "noise": 0.0,
    "blur": 0.0,
    "patience": 0,
    "monitor": "loss",
}
"""What the authors' training did without."""
_HEAD = "The classifier's last layer has a bias; the authors' has none."
_MOMENTUM = "SGD's momentum is Nesterov's."
_BASELINES = (
    "The printed rows of SEAM and WSS-CMER were taken from another paper, whose metric is another one."
)
_FOLDS = "The paper does not say which patient is in which fold: the folds are this program's."

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "busi",
            "BUSI, benign images",
            "busi",
            "paper-busi-slic",
            # The classifier is not trained, so every image can be tested; thresholds are chosen outside each fold.
            SplitParams(folds=3),
            ("resnet34",),
            "imagenet",
            (
                Printed("Blank", 64.1, 47.2, "blank"),
                Printed("SEAM", None, None, "seam", "did not learn"),
                Printed("WSS-CMER", None, None, "", "did not learn"),
                Printed("Grad-CAM (best)", 65.5, 48.5, "best-threshold"),
                Printed("ReFit", 67.2, 50.6, "refit-paper"),
            ),
            differences=(
                "Grad-CAM (best) is the best of several networks in the paper, and the best single threshold here.",
            ),
        ),
        Protocol(
            "brats",
            "BraTS 2020, FLAIR, whole tumour",
            "brats",
            "paper-brats",
            SplitParams(folds=3),
            ("resnet50", "resnet34"),
            "none",
            (
                Printed("Blank", 64.6, 47.7, "blank"),
                Printed("SEAM", 56.1, 39.0, "seam"),
                Printed("WSS-CMER", 59.7, 42.6, "cmer"),
                Printed("Grad-CAM (best)", 68.5, 52.1, "best-threshold", "ResNet-50"),
                Printed("ReFit", 71.2, 55.7, "refit-paper", "ResNet-50"),
                Printed("FSSS", 81.8, 69.2, "fsss-truth"),
            ),
            training={**_PLAIN_TRAINING, "epochs": 10, "batch_size": 32, "input_size": 128},
            stand_ins={
                "lgg": "TCGA-LGG (lower-grade gliomas, FLAIR abnormality, not cropped) in BraTS's place."
            },
            differences=(_HEAD, _MOMENTUM, _FOLDS, _BASELINES),
        ),
        Protocol(
            "decathlon",
            "Decathlon Task05, prostate on ADC",
            "decathlon",
            "paper-decathlon",
            SplitParams(method="fraction", test_fraction=0.25),
            ("resnet34",),
            "imagenet",
            (
                Printed("Blank", 64.6, 47.7, "blank"),
                Printed("SEAM", 65.9, 49.1, "seam"),
                Printed("WSS-CMER", 71.3, 55.4, "cmer"),
                Printed("Grad-CAM (best)", 78.0, 63.9, "best-threshold", "ResNet-34"),
                Printed("ReFit", 79.4, 65.8, "refit-paper", "ResNet-34"),
                Printed("FSSS", 86.8, 76.7, "fsss-truth"),
            ),
            training={**_PLAIN_TRAINING, "epochs": 5, "batch_size": 4, "input_size": 320},
            stand_ins={"prostate158": "Prostate158 (T2, no ADC) in the Decathlon's place."},
            task="prostate",
            differences=(
                _HEAD,
                _MOMENTUM,
                _FOLDS,
                _BASELINES,
                "The authors' scripts give the segmenter ADC x T2 x 10 in 8 bits, which wraps; this program ADC "
                "alone, as the paper says.",
            ),
        ),
    )
}


def deviations(
    protocol: Protocol, dataset: Dataset, architecture: str, weights: str, changes: Mapping[str, Any]
) -> list[str]:
    """In what a run differs from the paper's.

    Parameters
    ----------
    protocol : Protocol
    dataset : Dataset
        The one that is there.
    architecture, weights : str
        As they are used.
    changes : mapping of str to value
        Other parameters of the training that were asked for.
    """
    found = []
    name = dataset.declaration.name
    if name != protocol.dataset:
        found.append(protocol.stand_ins[name])
    elif protocol.task and protocol.task not in dataset.root.name.casefold():
        found.append(f"{dataset.root.name}, merged to one class, in the place of {protocol.title}.")
    if architecture != protocol.architectures[0]:
        found.append(f"Architecture {architecture} instead of {protocol.architectures[0]}.")
    if weights != protocol.weights:
        found.append(f"Weights start from {weights} instead of {protocol.weights}.")
    for key, value in changes.items():
        usual = protocol.training.get(key)
        if value != usual:
            found.append(f"{key} = {value} instead of {usual}.")
    return [*found, *protocol.differences]
