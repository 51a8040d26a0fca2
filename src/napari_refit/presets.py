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


_NETWORK = {
    "max_labels": 32,
    "steps": 64,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "seed": 43,
}

PRESETS: dict[str, Preset] = {
    "default": Preset("A good start, chosen on phantoms whose seeds neither training nor the demo uses."),
    "paper-busi-slic": Preset(
        "The paper's breast ultrasound settings with SLIC as the network's guide.",
        {
            "segmenter": "network",
            "network": {
                **_NETWORK,
                "guide": "slic",
                "guide_n_segments": 300,
                "guide_compactness": 100.0,
                "guide_sigma": 1.0,
                "min_labels": 4,
            },
            "intensity": {"low_percentile": 0.0, "high_percentile": 100.0},
            "cam": {"gate": "off", "cam_input": "simplified", "classes": ("predicted",)},
            "boundary": {"threshold": 1 / 255, "coverage": 1.0, "tolerance": 10 / 255},
        },
    ),
    "paper-busi-quickshift": Preset(
        "The paper's breast ultrasound settings with Quickshift as the network's guide.",
        {
            "segmenter": "network",
            "network": {
                **_NETWORK,
                "guide": "quickshift",
                "guide_kernel_size": 1.0,
                "guide_max_dist": 4.0,
                "guide_ratio": 1.0,
                "min_labels": 20,
            },
            "intensity": {"low_percentile": 0.0, "high_percentile": 100.0},
            "cam": {"gate": "off", "cam_input": "simplified", "classes": ("predicted",)},
            "boundary": {"threshold": 1 / 255, "coverage": 1.0, "tolerance": 10 / 255},
        },
    ),
    "paper-brats": Preset(
        "The paper's BraTS settings: FLAIR scaled per slice, values below 0.8 set to black.",
        {
            "segmenter": "network",
            "network": {
                **_NETWORK,
                "guide": "slic",
                "guide_n_segments": 700,
                "guide_compactness": 20.0,
                "guide_sigma": 1.0,
                "min_labels": 40,
            },
            "intensity": {"low_percentile": 0.0, "high_percentile": 100.0, "scope": "slice", "floor": 0.8},
            "cam": {"gate": "off", "cam_input": "simplified", "classes": ("predicted",)},
            "boundary": {"threshold": 0.7, "coverage": 1.0, "tolerance": 1 / 255},
        },
    ),
    "paper-decathlon": Preset(
        "The paper's Decathlon prostate settings (ADC).",
        {
            "segmenter": "network",
            "network": {
                **_NETWORK,
                "guide": "slic",
                "guide_n_segments": 3000,
                "guide_compactness": 20.0,
                "guide_sigma": 1.0,
                "min_labels": 40,
            },
            "intensity": {"low_percentile": 0.0, "high_percentile": 100.0},
            "cam": {"gate": "off", "cam_input": "simplified", "classes": ("predicted",)},
            "boundary": {"threshold": 0.7, "coverage": 1.0, "tolerance": 0.0},
        },
    ),
}
