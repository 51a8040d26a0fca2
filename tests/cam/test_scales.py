"""Maps of several scales and mirrored copies; grad-cam and torchvision, run one by one, are the oracle."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import pytorch_grad_cam.base_cam
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.transforms.v2 import functional as pictures

from napari_refit.cam.architectures import build
from napari_refit.cam.classifier import PREDICTED, Classifier, load_classifier
from napari_refit.cam.explain import MIRRORS, explain
from napari_refit.cam.methods import METHOD_TITLES, SHARES, available_methods
from napari_refit.cam.response import Responses, compute_responses, response_maps
from napari_refit.cam.runs import COPIES, cost, in_order, quickest, runs
from napari_refit.errors import Cancelled
from napari_refit.params import BOTH, FINER, CamParams

Tiny = Callable[..., nn.Sequential]
SCALES = (0.5, 1.0, 1.75)


class Counted(nn.Module):
    """A network that notes the shape of every batch it is given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        result: Tensor = self.inner(x)
        return result


def counted(module: nn.Module, **options: object) -> tuple[Classifier, Counted]:
    network = Counted(module).eval()
    return Classifier(network, ["a", "b", "c"], **options), network  # type: ignore[arg-type]


def bilinear(values: Tensor, size: tuple[int, int]) -> Tensor:
    return pictures.resize(values, list(size), pictures.InterpolationMode.BILINEAR, antialias=True)


def slowly(
    name: str,
    classifier: Classifier,
    plane: np.ndarray,
    number: int,
    scales: Sequence[float],
    flips: Sequence[Sequence[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> np.ndarray:
    """Every run by itself: resized by torchvision, explained by grad-cam, turned back, resized, averaged."""
    # Without grad-cam's own normalisation.
    monkeypatch.setattr(pytorch_grad_cam.base_cam, "scale_cam_image", lambda maps, size=None: maps)
    module = copy.deepcopy(classifier.module).eval()
    picture = torch.from_numpy(plane).float()
    picture = picture[None] if picture.ndim == 2 else picture.permute(2, 0, 1)
    sides = plane.shape[:2] if classifier.input_size is None else (classifier.input_size,) * 2
    found = []
    for scale in scales:
        size = (round(sides[0] * scale), round(sides[1] * scale))
        x = (bilinear(picture, size) - torch.tensor(classifier.mean)[:, None, None]) / torch.tensor(
            classifier.std
        )[:, None, None]
        for axes in flips:
            cam = available_methods()[name](module, [module.get_submodule("0")])
            seen = x.flip([axis - 1 for axis in axes])[None]
            kept = np.asarray(cam(seen, [ClassifierOutputTarget(number)]))[0]
            back = torch.from_numpy(kept.copy())[None].flip([axis - 1 for axis in axes])
            places = back.numel() if name in ("gradcam", "hirescam", "layercam", "eigengradcam") else 1
            found.append(
                places * nn.functional.interpolate(back[None], plane.shape[:2], mode="bilinear")[0, 0]
            )
    mean = torch.stack(found).mean(0)
    return ((mean - mean.min()) / (mean.max() - mean.min())).numpy()


@pytest.mark.parametrize("smoothing", ["none", "mirror", "flips"])
@pytest.mark.parametrize(
    "name", ["gradcam", "gradcamplusplus", "hirescam", "layercam", "eigengradcam", "scorecam"]
)
@pytest.mark.parametrize(("channels", "input_size"), [(1, 20), (3, None)])
def test_maps_are_the_mean_of_all_runs(
    tiny: Tiny,
    name: str,
    smoothing: str,
    channels: int,
    input_size: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classifier = Classifier(
        tiny(channels), ["a", "b", "c"], in_channels=channels, input_size=input_size, mean=[0.4], std=[0.3]
    )
    shape = (24, 32) if channels == 1 else (24, 32, 3)
    plane = np.random.default_rng(4).random(shape).astype(np.float32)
    params = CamParams(method=name, scales=SCALES, smoothing=smoothing, layer="0")
    found = compute_responses(classifier, plane[None], [2], params).maps[0, 0]
    flips: tuple[tuple[int, ...], ...] = {"none": ((),), "mirror": ((), (3,))}.get(
        smoothing, ((), (2,), (3,), (2, 3))
    )
    expected = slowly(name, classifier, plane, 2, SCALES, flips, monkeypatch)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("method", ["gradcam", "scorecam"])
@pytest.mark.parametrize("input_size", [None, 20])
def test_one_scale_is_one_run_and_bit_for_bit_what_the_layer_gives(
    tiny: Tiny, planes: np.ndarray, method: str, input_size: int | None
) -> None:
    classifier, network = counted(tiny(), in_channels=1, input_size=input_size)
    params = CamParams(method=method, layer="inner.0")
    planes = planes[:1]
    found = compute_responses(classifier, planes, [1, PREDICTED], params)
    if method == "gradcam":
        assert network.shapes == [(1, 1, 24, 32) if input_size is None else (1, 1, 20, 20)]
    plain = explain(network, classifier.prepare(planes), [1, PREDICTED], method=method, layers=["inner.0"])
    raw = nn.functional.interpolate(plain.raw[0], (24, 32), mode="bilinear", align_corners=False)
    assert np.array_equal(found.raw, raw.numpy())
    assert np.array_equal(found.logits, plain.logits.numpy())
    low, high = raw.amin((2, 3), keepdim=True), raw.amax((2, 3), keepdim=True)
    assert np.array_equal(found.maps, ((raw - low) / (high - low)).numpy())


@pytest.mark.parametrize(
    "name", [name for name in METHOD_TITLES if name not in ("randomcam", "sess", "fullgrad")]
)
def test_an_enlarged_picture_has_the_same_map_enlarged(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.ReLU()),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 3),
        ).eval()
    with torch.no_grad():
        # Beside such gradients the small constants in some methods' divisors are nothing.
        module[3].weight *= 100
    compared = 0
    for seed in range(8):
        x = torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(seed)) ** 8
        double = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        small, large = (
            explain(module, seen, [0, 1, 2], method=name, layers=["0"]).raw[0] for seen in (x, double)
        )
        enlarged = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
        for column in range(3):
            ours, expected = large[0, column] * (4 if name in SHARES else 1), enlarged[0, column]
            if name in ("eigencam", "eigengradcam") and not (ours * expected).any():
                # The sign of an eigenvector is chance.
                continue
            if name == "scorecam":
                # It blends the picture with its enlarged maps, which are not made of blocks.
                ours, expected = ours.mean(), expected.mean()
            loose = 0.1 if name == "scorecam" else 1e-3
            np.testing.assert_allclose(ours, expected, atol=loose * float(expected.max()))
            compared += bool(expected.max() > 0)
    assert compared


@pytest.mark.parametrize("method", ["gradcam", "shapleycam", "fullgrad"])
def test_batches_of_any_size(tiny: Tiny, planes: np.ndarray, method: str) -> None:
    planes = np.concatenate([planes, planes[:, ::-1] ** 2, planes[:1]])
    classifier, network = counted(tiny(), in_channels=1)
    found = []
    for size in (1, 2, 3, 8):
        network.shapes.clear()
        params = CamParams(method=method, scales=SCALES, smoothing="mirror", batch_size=size)
        found.append(compute_responses(classifier, planes, [0, PREDICTED], params))
        assert max(shape[0] for shape in network.shapes) == min(size, 7)
        assert {shape[2:] for shape in network.shapes} == {(12, 16), (24, 32), (42, 56)}
    for other in found[1:]:
        np.testing.assert_allclose(other.maps, found[0].maps, atol=1e-3)
        np.testing.assert_allclose(other.logits, found[0].logits, atol=1e-5)


def test_the_number_of_runs_and_their_cost(tiny: Tiny, planes: np.ndarray) -> None:
    assert set(COPIES) == {*MIRRORS, "none", "eigen"}
    for smoothing, copies in COPIES.items():
        assert len(MIRRORS.get(smoothing, ((),))) == copies
        classifier, network = counted(tiny(), in_channels=1)
        params = CamParams(scales=SCALES, smoothing=smoothing, layer="inner.0")
        compute_responses(classifier, planes[:1], [1], params)
        assert len(network.shapes) == runs(params) == 3 * copies
        pixels = sum(shape[2] * shape[3] for shape in network.shapes)
        assert pixels / planes[0].size == pytest.approx(cost(params))
        assert runs(quickest(params)) == 1
    assert quickest(CamParams(smoothing="eigen")).smoothing == "eigen"


@pytest.mark.parametrize("after", range(6))
def test_cancelled_between_runs(tiny: Tiny, planes: np.ndarray, after: int) -> None:
    classifier, network = counted(tiny(), in_channels=1)
    params = CamParams(scales=SCALES, smoothing="mirror", layer="inner.0")
    with pytest.raises(Cancelled):
        # It is asked once before a batch too.
        compute_responses(
            classifier, planes, [0], params, cancelled=iter([False] * (after + 1) + [True]).__next__
        )
    assert len(network.shapes) == after
    assert not any(part._forward_hooks for part in network.modules())


def test_a_large_scale_that_runs_out_of_memory_halves_the_batch(tiny: Tiny, planes: np.ndarray) -> None:
    planes = np.concatenate([planes, planes[:1]])
    params = CamParams(scales=SCALES, layer="inner.0")

    def small_memory(most: int) -> Classifier:
        classifier, network = counted(tiny(), in_channels=1)

        def check(part: nn.Module, arguments: tuple[Tensor]) -> None:
            if arguments[0].numel() > most:
                raise torch.OutOfMemoryError("out of memory")

        network.register_forward_pre_hook(check)
        return classifier

    expected = compute_responses(small_memory(10**9), planes, [0], params)
    with (
        pytest.warns(RuntimeWarning, match="2 slices at a time"),
        pytest.warns(RuntimeWarning, match="one slice at a time"),
    ):
        found = compute_responses(small_memory(42 * 56), planes, [0], params)
    np.testing.assert_allclose(found.maps, expected.maps, atol=1e-4)
    with pytest.warns(RuntimeWarning), pytest.raises(MemoryError, match="one slice"):
        compute_responses(small_memory(42 * 56 - 1), planes, [0], params)


def test_what_is_believed_comes_from_the_scale_nearest_to_1(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny()
    with torch.no_grad():
        module[3].bias -= module.eval()(torch.from_numpy(planes)[:, None]).mean(0)
    classifier = load_classifier(module)
    plain = compute_responses(classifier, planes, [PREDICTED, 0, 1, 2])
    found = compute_responses(classifier, planes, [PREDICTED, 0, 1, 2], CamParams(scales=SCALES))
    assert np.array_equal(found.logits, plain.logits)
    assert np.array_equal(found.predicted, plain.predicted)
    assert np.array_equal(found.probabilities, plain.probabilities)
    best = plain.logits.argmax(1)
    assert len(set(best.tolist())) > 1
    for index, number in enumerate(best):
        assert np.array_equal(found.raw[index, 0], found.raw[index, 1 + number])
    without = compute_responses(classifier, planes, [0], CamParams(scales=(0.5, 1.25)))
    assert np.array_equal(
        without.logits, compute_responses(classifier, planes, [0], CamParams(scales=(1.25,))).logits
    )
    nothing = compute_responses(classifier, planes, [], CamParams(scales=SCALES))
    assert nothing.maps.shape == (3, 0, 24, 32)
    assert np.array_equal(nothing.logits, plain.logits)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.25, 4), min_size=1, max_size=5))
def test_scales_in_any_order_are_the_same_parameters(scales: list[float]) -> None:
    params = CamParams(scales=tuple(scales))
    assert params.scales == tuple(sorted(set(scales)))
    assert params == CamParams(scales=tuple(reversed(scales + scales)))
    order = in_order(params.scales)
    assert sorted(order) == list(params.scales)
    assert abs(order[0] - 1) == min(abs(scale - 1) for scale in scales)


@pytest.mark.parametrize(
    "scales", [(), (0.0,), (1, -1), (1, 4.5), (1, math.nan), (math.inf,), "1", ("x",), (None,)]
)
def test_bad_scales_are_named(scales: object) -> None:
    with pytest.raises(ValidationError, match="scales"):
        CamParams(scales=scales)


def test_a_network_of_one_size_says_which_scale_it_refuses() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3
        ).eval()
        nn.init.normal_(module.heads.head.weight)
    planes = np.random.default_rng(1).random((1, 32, 32))
    classifier = load_classifier(module)
    with pytest.raises(ValueError, match=r"scale 1.5, on 48 x 48 pixels.*cam\.scales"):
        compute_responses(classifier, planes, [1], CamParams(scales=(1, 1.5)))
    assert compute_responses(classifier, planes, [1], CamParams(smoothing="mirror")).maps.max() == 1


def test_flat_and_empty_planes(tiny: Tiny) -> None:
    planes = np.stack([np.zeros((16, 16)), np.full((16, 16), np.nan), np.ones((16, 16))])
    found = compute_responses(
        load_classifier(tiny()), planes, [0, 1], CamParams(scales=SCALES, smoothing="flips")
    )
    assert np.isfinite(found.maps).all()
    assert 0 <= found.maps.min() <= found.maps.max() <= 1
    assert (
        compute_responses(load_classifier(tiny()), planes[:0], [0], CamParams(scales=SCALES)).maps.shape[0]
        == 0
    )


@pytest.mark.parametrize("method", METHOD_TITLES)
def test_every_method_takes_scales(tiny: Tiny, planes: np.ndarray, method: str) -> None:
    params = CamParams(method=method, scales=(0.5, 1), smoothing="mirror", layer="0")
    classifier = load_classifier(tiny())
    found = compute_responses(classifier, planes[:1, :12, :10], [0, 2], params)
    again = compute_responses(classifier, planes[:1, :12, :10], [0, 2], params)
    assert np.array_equal(found.maps, again.maps)
    assert found.maps.shape == (1, 2, 12, 10)
    assert found.maps.max() == 1


class Light(nn.Module):
    """Its own maps are how light the picture is, wherever; its logits too."""

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.mix = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.mix.weight, 0.5)
        self.maps_are_scaled = scaled
        self.sizes: list[tuple[int, ...]] = []

    def own_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.sizes.append(tuple(x.shape[2:]))
        light = self.mix(x)
        return torch.cat([1 - light, light], 1), self(x)

    def forward(self, x: Tensor) -> Tensor:
        light = self.mix(x).mean((1, 2, 3))
        return torch.stack([torch.full_like(light, 0.25), light * x.shape[-1]], 1)


@pytest.mark.parametrize("scaled", [True, False])
def test_networks_with_maps_of_their_own(planes: np.ndarray, scaled: bool) -> None:
    network = Light(scaled)
    classifier = Classifier(network, ["background", "light"], in_channels=1)
    params = CamParams(scales=(0.5, 1, 2), smoothing="mirror")
    found = compute_responses(classifier, planes, [1, PREDICTED], params)
    assert network.sizes == [(24, 32)] * 2 + [(12, 16)] * 2 + [(48, 64)] * 2
    picture = torch.from_numpy(planes)[:, None]
    seen = [bilinear(bilinear(picture, size), (24, 32)) for size in ((24, 32), (12, 16), (48, 64))]
    expected = torch.stack([0.5 * each for each in seen]).mean(0).numpy()
    np.testing.assert_allclose(found.raw[:, :1], expected, atol=1e-5)
    assert np.array_equal(found.raw[:, 0], found.raw[:, 1])
    if scaled:
        np.testing.assert_allclose(found.maps, found.raw, atol=1e-6)
    else:
        assert found.maps.max() == 1
    assert np.array_equal(found.logits, compute_responses(classifier, planes, [1]).logits)
    with pytest.raises(Cancelled):
        compute_responses(classifier, planes, [1], params, cancelled=iter([False] * 4 + [True]).__next__)


def test_the_public_function_takes_them(tiny: Tiny, planes: np.ndarray) -> None:
    params = CamParams(scales=SCALES, smoothing="mirror")
    expected = compute_responses(load_classifier(tiny()), planes, [0, 1, 2], params).maps
    assert np.array_equal(response_maps(tiny(), planes, scales=SCALES, smoothing="mirror"), expected)
    with pytest.raises(ValueError, match="scales"):
        response_maps(tiny(), planes, scales=[9])


@pytest.mark.parametrize("method", ["hirescam", "layercam", "eigengradcam"])
def test_two_layers_give_the_geometric_mean_of_their_maps(planes: np.ndarray, method: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        module = build("resnet18", 3).eval()
    classifier, network = counted(module, input_size=64)
    stages = {name: classifier.layers(classifier.prepare(planes), name) for name in ("", FINER, BOTH)}
    assert stages == {"": ("inner.layer4",), FINER: ("inner.layer3",), BOTH: ("inner.layer4", "inner.layer3")}

    def run(layer: str) -> Responses:
        network.shapes.clear()
        params = CamParams(method=method, layer=layer, scales=(1, 2), smoothing="mirror")
        return compute_responses(classifier, planes, [1, PREDICTED], params)

    deep, fine, both = run(""), run(FINER), run(BOTH)
    assert both.layers == stages[BOTH]
    expected = np.sqrt(deep.raw.astype(np.float64) * fine.raw)
    assert expected.max() > 0
    np.testing.assert_allclose(both.raw, expected, rtol=1e-3, atol=1e-4 * expected.max())
    # Methods that need gradients alone read both layers in one run.
    assert len(network.shapes) == (8 if method == "eigengradcam" else 4)
    assert np.array_equal(both.logits, deep.logits)


def test_where_the_last_stage_is_the_finest_there_is_only_one(tiny: Tiny, planes: np.ndarray) -> None:
    classifier = load_classifier(tiny())
    found = compute_responses(classifier, planes, [1], CamParams(layer=BOTH))
    assert found.layers == ("0",)
    assert np.array_equal(found.raw, compute_responses(classifier, planes, [1]).raw)
