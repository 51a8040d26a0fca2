"""Rows made by hand and at random; counts and scores always fit each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_refit.metrics.overlap import dice_of, iou_of
from napari_refit.study.results import MethodInfo, Row, StudyResults

MakeRow = Callable[..., Row]
MakeRows = Callable[..., list[Row]]


def _row(
    method: str = "refit",
    patient: str = "p1",
    index: int | None = 0,
    both: int = 5,
    in_mask: int = 10,
    in_truth: int = 10,
    **others: Any,
) -> Row:
    pixels = others.pop("pixels", 100)
    values: dict[str, Any] = {
        "dataset": "set",
        "fold": 1,
        "case": patient,
        "level": "image",
        "axis": None if index is None else 2,
        "class_number": 1,
        "class_name": "lesion",
        "both_background": pixels - (in_mask + in_truth - both),
        "dice": dice_of(both, in_mask, in_truth),
        "iou": iou_of(both, in_mask, in_truth),
        "hd95": math.nan if not in_mask + in_truth else 3.0 if in_mask and in_truth else math.inf,
        "surface_dice": math.nan if not in_mask + in_truth else dice_of(both, in_mask, in_truth) / 2,
        "unit": "px",
        "seconds": 0.1,
    }
    values |= others
    return Row(
        method=method, patient=patient, index=index, both=both, in_mask=in_mask, in_truth=in_truth,
        pixels=pixels, **values,
    )  # fmt: skip


def _rows(
    methods: tuple[str, ...] = ("blank", "gradcam", "best-threshold", "refit"),
    n_patients: int = 7,
    n_images: int = 4,
    n_classes: int = 1,
    seed: int = 0,
) -> list[Row]:
    """Label maps drawn at random and counted; a fifth of the images hold nothing."""
    draw = np.random.default_rng(seed)
    rows = []
    for patient in range(n_patients):
        for case in range(1 + patient % 2):
            for index in range(n_images):
                truth = draw.integers(n_classes + 1, size=60) * (draw.random() > 0.2)
                for method in methods:
                    change = draw.random(60) < draw.uniform(0.1, 0.7)
                    mask = np.where(change, draw.integers(n_classes + 1, size=60), truth)
                    if method == "blank" or draw.random() < 0.1:
                        mask = np.zeros_like(mask)
                    for k in range(1, n_classes + 1):
                        counts = [int(np.count_nonzero(part)) for part in (
                            (mask == k) & (truth == k), mask == k, truth == k)]  # fmt: skip
                        has = counts[1] and counts[2]
                        rows.append(
                            _row(
                                method,
                                f"patient {patient}",
                                index,
                                *counts,
                                case=f"case {patient}-{case}",
                                fold=1 + patient % 3,
                                pixels=60,
                                both_background=int(np.count_nonzero((mask == 0) & (truth == 0))),
                                class_number=k,
                                class_name=f"class {k}",
                                **({"hd95": float(draw.uniform(0, 20))} if has else {}),
                            )
                        )
    return rows


@pytest.fixture(scope="session")
def make_row() -> MakeRow:
    """``make_row(method, patient, index, both, in_mask, in_truth, **other fields)``."""
    return _row


@pytest.fixture(scope="session")
def make_rows() -> MakeRows:
    """``make_rows(methods, n_patients, n_images, n_classes, seed)``."""
    return _rows


@pytest.fixture
def make_study() -> Callable[..., StudyResults]:
    """``make_study(rows, **other fields)``, with a method's facts for each key in the rows."""

    def make(rows: list[Row], **others: Any) -> StudyResults:
        methods = tuple(
            MethodInfo(key, key.title(), "About it.", {"fit": {"threshold": 0.25}}, {"fold 1": "sha256:1"})
            for key in dict.fromkeys(row.method for row in rows)
        )
        facts = {
            "dataset": "set",
            "title": "A set",
            "licence": "CC BY 4.0",
            "citation": ("A. Author: A set (2020).",),
            "methods": methods,
        }
        return StudyResults(rows=rows, **(facts | others))

    return make
