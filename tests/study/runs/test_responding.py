from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from napari_refit.cam.classifier import Classifier
from napari_refit.recipe import RefitParams
from napari_refit.study.cases import Stack
from napari_refit.study.responding import Responder, as_response, pipeline_of, refit_of, thresholded
from napari_refit.study.store import Kept


def classifier(*classes: str, channels: int = 1) -> Classifier:
    module = nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, len(classes)),
    )
    return Classifier(module.eval(), classes, in_channels=channels)


def stack(depth: int = 3, channels: int = 0) -> Stack:
    draw = np.random.default_rng(0)
    values = draw.random((depth, 24, 20, *((channels,) if channels else ()))).astype(np.float32)
    return Stack(values, bool(channels), 2, 0, None)


def test_maps_have_the_datasets_numbers_whatever_the_classifiers_order() -> None:
    responder = Responder(classifier("background", "Right", "left"), ("left", "middle", "right"), "cpu")
    found = responder.compute(pipeline_of(stack()), RefitParams())
    assert found["maps"].shape == (3, 2, 24, 20)
    assert found["numbers"].tolist() == [[3, 1]] * 3
    response = as_response(Kept(found, {}), "off")
    mask = np.asarray(refit_of(stack(), response, RefitParams(threshold=0.1)).volume(axis=0).mask)
    assert set(np.unique(mask)) <= {0, 1, 3}
    assert set(np.unique(thresholded(response, 0.3))) <= {0, 1, 3}


def test_a_class_that_the_dataset_has_not_is_never_marked() -> None:
    responder = Responder(classifier("background", "left", "cyst"), ("left", "right"), "cpu")
    found = responder.compute(pipeline_of(stack()), RefitParams())
    response = as_response(Kept(found, {}), "off")
    assert response.open.tolist() == [[True, False]] * 3
    assert set(np.unique(thresholded(response, 0.01))) <= {0, 1}
    mask = np.asarray(refit_of(stack(), response, RefitParams(threshold=0.05)).volume(axis=0).mask)
    assert set(np.unique(mask)) <= {0, 1}


def test_a_single_class_is_whatever_the_classifier_calls_it() -> None:
    responder = Responder(classifier("background", "lesion"), ("tumour",), "cpu")
    assert responder.compute(pipeline_of(stack()), RefitParams())["numbers"].tolist() == [[1]] * 3
    with pytest.raises(ValueError, match="classes need the same names"):
        _ = Responder(classifier("background", "lesion"), ("tumour", "oedema"), "cpu").classifier


def test_the_predicted_class_has_the_number_of_what_is_believed_in_most() -> None:
    responder = Responder(classifier("background", "left", "right"), ("right", "left"), "cpu")
    found = responder.compute(pipeline_of(stack(4)), RefitParams(classes=("predicted",), gate="off"))
    believed = found["logits"][:, 1:].argmax(axis=1)
    assert found["numbers"].ravel().tolist() == [(2, 1)[k] for k in believed]


def test_two_modalities_go_through() -> None:
    responder = Responder(classifier("background", "tumour", channels=2), ("tumour",), "cpu")
    found = responder.compute(pipeline_of(stack(2, channels=2)), RefitParams())
    response = as_response(Kept(found, {}), "off")
    mask = np.asarray(
        refit_of(stack(2, channels=2), response, RefitParams(n_segments=20)).volume(axis=0).mask
    )
    assert mask.shape == (2, 24, 20)


def test_the_key_knows_what_the_maps_are_made_from() -> None:
    one, other = (Responder(classifier("background", "a"), ("a",), "cpu") for _ in range(2))
    params = RefitParams()
    key = one.key(params, "images", "preparation")
    assert key == one.key(params.replace(threshold=0.7, gate="off", batch_size=2), "images", "preparation")
    changed = [
        other.key(params, "images", "preparation"),
        one.key(params, "other images", "preparation"),
        one.key(params.replace(method="hirescam"), "images", "preparation"),
        one.key(params.replace(low_percentile=1.0), "images", "preparation"),
        one.key(params.replace(cam_input="simplified"), "images", "preparation"),
    ]
    assert len({key, *changed}) == 6
    simplified = params.replace(cam_input="simplified")
    assert one.key(simplified, "images", "") != one.key(simplified.replace(n_segments=50), "images", "")
