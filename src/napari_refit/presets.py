"""Named parameter sets: the default and what the paper's authors ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A named set of parameters.

    Attributes
    ----------
    help : str
        What it is for.
    values : dict
        Groups and values that differ from the declarations' defaults.
    """

    help: str
    values: dict[str, Any] = field(default_factory=dict)


_ONE_GRAD_CAM = {"method": "gradcam", "layer": "", "scales": (1.0,), "smoothing": "none"}
"""Whatever the default is."""
_MANY_GRAD_CAMS = {
    "method": "hirescam",
    "layer": "last x stride 16",
    "scales": (0.5, 1.0, 1.5),
    "smoothing": "mirror",
}


def _paper(about: str, network: dict[str, Any], boundary: dict[str, Any], **intensity: Any) -> Preset:
    """What all the authors' runs share, with what differs."""
    shared = {"max_labels": 32, "steps": 64, "learning_rate": 0.05, "momentum": 0.9, "seed": 43}
    return Preset(
        about,
        {
            "segmenter": "network",
            "network": {**shared, **network},
            "intensity": {"low_percentile": 0.0, "high_percentile": 100.0, **intensity},
            "cam": {**_ONE_GRAD_CAM, "gate": "off", "cam_input": "simplified", "classes": ("predicted",)},
            "boundary": {"coverage": 1.0, "spread": 0.0, **boundary},
        },
    )


def _slic_guide(n_segments: int, compactness: float, min_labels: int) -> dict[str, Any]:
    return {
        "guide": "slic",
        "guide_n_segments": n_segments,
        "guide_compactness": compactness,
        "guide_sigma": 1.0,
        "min_labels": min_labels,
    }


_QUICKSHIFT_GUIDE = {
    "guide": "quickshift",
    "guide_kernel_size": 1.0,
    "guide_max_dist": 4.0,
    "guide_ratio": 1.0,
    "min_labels": 20,
}
_BUSI = {"threshold": 1 / 255, "tolerance": 10 / 255}

PRESETS: dict[str, Preset] = {
    "default": Preset(
        "A good start, chosen on breast ultrasound and MRI that neither the classifiers nor the tests saw."
    ),
    "thorough": Preset(
        "The default on better response maps, for seven times the classifier's time: three scales, mirrored copies, "
        "two layers. Chosen on validation images of the same sets.",
        {"cam": _MANY_GRAD_CAMS},
    ),
    "thorough-appearance": Preset(
        "The graph cut by appearance on the response maps of thorough. Chosen on the same validation images.",
        {"fit": "appearance", "cam": _MANY_GRAD_CAMS, "appearance": {"start": 0.65, "spread": 5.0}},
    ),
    "phantom": Preset(
        "For objects that stand out and response maps that fit well, such as the demo's; chosen on phantoms whose "
        "seeds neither training nor the demo uses.",
        {"cam": _ONE_GRAD_CAM, "boundary": {"threshold": 0.2, "spread": 0.0, "tolerance": 0.04}},
    ),
    "paper-busi-slic": _paper(
        "The paper's breast ultrasound settings with SLIC as the network's guide.",
        _slic_guide(300, 100.0, 4),
        _BUSI,
    ),
    "paper-busi-quickshift": _paper(
        "The paper's breast ultrasound settings with Quickshift as the network's guide.",
        _QUICKSHIFT_GUIDE,
        _BUSI,
    ),
    "paper-brats": _paper(
        "The paper's BraTS settings: FLAIR scaled per slice, values below 0.8 set to black.",
        _slic_guide(700, 20.0, 40),
        {"threshold": 0.7, "tolerance": 1 / 255},
        scope="slice",
        floor=0.8,
    ),
    "paper-decathlon": _paper(
        "The paper's Decathlon prostate settings (ADC).",
        _slic_guide(3000, 20.0, 40),
        {"threshold": 0.7, "tolerance": 0.0},
    ),
}
