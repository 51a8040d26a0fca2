"""grad-cam itself, used directly, is the oracle of every method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

from napari_refit.cam.classifier import Classifier, load_classifier
from napari_refit.cam.gradient_maps import COMBINE
from napari_refit.cam.methods import METHOD_TITLES, available_methods, find_method, method_key
from napari_refit.cam.response import compute_responses
from napari_refit.params import CamParams

Tiny = Callable[..., nn.Sequential]


def direct(
    name: str, classifier: Classifier, layer: str, planes: np.ndarray, number: int, **options: Any
) -> np.ndarray:
    """What grad-cam returns on a copy of the network."""
    module = copy.deepcopy(classifier.module)
    eigen = options.pop("eigen_smooth", False)
    cam = available_methods()[name](module, [module.get_submodule(layer)], **options)
    x = classifier.prepare(planes)
    if name == "finercam":
        return np.asarray(cam(x, None, target_idx=number, eigen_smooth=eigen))
    np.random.seed(0)  # noqa: NPY002
    return np.asarray(cam(x, [ClassifierOutputTarget(number)] * len(x), eigen_smooth=eigen))


def test_every_exported_method_is_offered() -> None:
    found = set(available_methods().values())
    left_out = {
        "GuidedBackpropReLUModel",
        "DeepFeatureFactorization",
        "ActivationsAndGradients",
        "AblationLayer",
        "AblationLayerVit",
        "AblationLayerFasterRCNN",
    }
    exported = {value for value in vars(pytorch_grad_cam).values() if isinstance(value, type)}
    assert {value.__name__ for value in exported - found} == left_out
    assert set(available_methods()) == set(METHOD_TITLES)


def test_names_in_any_spelling() -> None:
    assert find_method("GradCAM++")[1] is pytorch_grad_cam.GradCAMPlusPlus
    assert find_method("KPCA_CAM")[1] is pytorch_grad_cam.KPCA_CAM
    assert method_key("Grad-CAM") == "gradcam"
    with pytest.raises(ValueError, match=r"'gradcm'.*gradcam"):
        find_method("gradcm")
    with pytest.raises(ValueError, match="guided"):
        find_method("guided_backprop")


@pytest.mark.parametrize("layer", ["0", "0.3", "0.4"])
@pytest.mark.parametrize("name", [name for name in METHOD_TITLES if name != "sess"])
def test_maps_are_those_of_grad_cam(tiny: Tiny, planes: np.ndarray, name: str, layer: str) -> None:
    if name == "randomcam":
        planes = planes[:1]
    classifier = load_classifier(tiny())
    # In training mode gradients and running means would differ: the method must not care.
    classifier.module.train()
    found = compute_responses(classifier, planes, [2, 0], CamParams(method=name, layer=layer))
    assert found.maps.dtype == np.float32
    assert found.raw.min() >= 0
    assert np.array_equal(found.evidence, found.raw.max((2, 3)))
    classifier.module.eval()
    if name == "randomcam":
        # grad-cam draws the weights of the second class after those of the first.
        assert np.abs(found.maps[:, 0] - direct(name, classifier, layer, planes, 2)).max() < 1e-5
        return
    for column, number in enumerate([2, 0]):
        expected = direct(name, classifier, layer, planes, number)
        assert np.abs(found.maps[:, column] - expected).max() < 1e-5
    again = compute_responses(classifier, planes, [2, 0], CamParams(method=name, layer=layer, batch_size=2))
    # Convolutions sum in another order for another batch size.
    np.testing.assert_allclose(again.maps, found.maps, atol=2e-4)


def test_sess_is_that_of_grad_cam(tiny: Tiny, planes: np.ndarray) -> None:
    planes = planes[:1, :12, :10]
    classifier = load_classifier(tiny().eval())
    found = compute_responses(classifier, planes, [1], CamParams(method="sess"))
    assert np.abs(found.maps[:, 0] - direct("sess", classifier, "0", planes, 1)).max() < 1e-5


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "layercam", "fullgrad"])
def test_eigen_smoothing_is_that_of_grad_cam(tiny: Tiny, planes: np.ndarray, name: str) -> None:
    classifier = load_classifier(tiny().eval())
    found = compute_responses(classifier, planes, [1], CamParams(method=name, smoothing="eigen"))
    expected = direct(name, classifier, "0", planes, 1, eigen_smooth=True)
    assert np.abs(found.maps[:, 0] - expected).max() < 1e-4


WORKING_ON_TOKENS = ["gradcam", "gradcamplusplus", "hirescam", "layercam", "eigencam", "xgradcam", "scorecam"]


def small_vit() -> VisionTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3
        )
        nn.init.normal_(module.heads.head.weight)
    return module.eval()


@pytest.mark.parametrize("name", WORKING_ON_TOKENS)
def test_class_tokens(name: str) -> None:
    classifier = load_classifier(small_vit())
    assert classifier.input_size == 32
    planes = np.random.default_rng(1).random((2, 32, 32, 3)).astype(np.float32)
    found = compute_responses(classifier, planes, [1], CamParams(method=name))
    expected = direct(
        name,
        classifier,
        found.layers[0],
        planes,
        1,
        reshape_transform=lambda tensor: vit_reshape_transform(tensor, 4, 4),
    )
    assert found.maps.max() > 0
    # Sums over layer-normalised tokens nearly cancel, which magnifies rounding.
    assert np.abs(found.maps[:, 0] - expected).max() < 2e-4


@pytest.mark.parametrize("name", ["shapleycam", "ablationcam", "fullgrad", "finercam"])
def test_methods_that_grad_cam_cannot_run_on_tokens(name: str) -> None:
    found = compute_responses(
        load_classifier(small_vit()),
        np.random.default_rng(1).random((1, 32, 32)),
        [0, 2],
        CamParams(method=name),
    )
    assert found.maps.shape == (1, 2, 32, 32)
    assert found.maps.max() == 1


@pytest.mark.parametrize("name", WORKING_ON_TOKENS)
def test_channels_last(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = SwinTransformer([4, 4], 12, [1, 1], [2, 2], [2, 2], num_classes=3).eval()
    classifier = load_classifier(module)
    planes = np.random.default_rng(1).random((2, 48, 32, 3)).astype(np.float32)
    found = compute_responses(classifier, planes, [1], CamParams(method=name))
    assert found.layers == ("features",)
    expected = direct(
        name, classifier, "features", planes, 1, reshape_transform=lambda tensor: tensor.permute(0, 3, 1, 2)
    )
    # Without a class token only the products that HiResCAM sums nearly cancel.
    assert np.abs(found.maps[:, 0] - expected).max() < (2e-4 if name == "hirescam" else 1e-5)


@pytest.mark.parametrize("name", COMBINE)
def test_in_double_precision_tokens_agree_with_grad_cam_to_the_last_digits(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = SwinTransformer([4, 4], 12, [1, 1], [2, 2], [2, 2], num_classes=3).double().eval()
    classifier = Classifier(module, ["a", "b", "c"])
    planes = np.random.default_rng(1).random((2, 48, 32, 3)).astype(np.float32)
    found = compute_responses(classifier, planes, [1], CamParams(method=name))
    channels_first = {"reshape_transform": lambda tensor: tensor.permute(0, 3, 1, 2)}
    expected = direct(name, classifier, "features", planes, 1, **channels_first)
    assert np.abs(found.maps[:, 0] - expected).max() < 1e-5


@pytest.mark.parametrize("name", [name for name in METHOD_TITLES if name != "sess"])
def test_flat_and_empty_planes(tiny: Tiny, name: str) -> None:
    classifier = load_classifier(tiny().eval())
    planes = np.stack([np.zeros((16, 16)), np.full((16, 16), np.nan), np.ones((16, 16))])
    found = compute_responses(classifier, planes, [0, 1], CamParams(method=name))
    assert np.isfinite(found.maps).all()
    assert np.isfinite(found.evidence).all()
    assert found.maps.min() >= 0
    assert found.maps.max() <= 1


@pytest.mark.parametrize("name", ["gradcam", "finercam", "sess", "shapleycam", "ablationcam"])
def test_a_single_logit(tiny: Tiny, planes: np.ndarray, name: str) -> None:
    classifier = load_classifier(tiny(classes=1), classes=["lesion"])
    found = compute_responses(classifier, planes[:1, :12, :12], [0], CamParams(method=name))
    assert found.maps.shape == (1, 1, 12, 12)
    assert np.array_equal(found.predicted, found.logits > 0)
