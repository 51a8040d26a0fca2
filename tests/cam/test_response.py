from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

import napari_refit
from napari_refit import devices
from napari_refit.cam import classifier as classifier_module
from napari_refit.cam import response
from napari_refit.cam.classifier import PREDICTED, Classifier, load_classifier
from napari_refit.cam.methods import METHOD_TITLES
from napari_refit.cam.response import compute_responses, response_maps
from napari_refit.errors import Cancelled
from napari_refit.params import CamParams
from napari_refit.responses import ClassifierResponse

Tiny = Callable[..., nn.Sequential]


class State:
    """Everything of a network that a run must leave alone."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.parts = [(part, part.training) for part in module.modules()]
        self.gradients = [(value, value.requires_grad, value.grad) for value in module.parameters()]
        self.values = copy.deepcopy(module.state_dict())
        self.hooks = self._hooks()

    def _hooks(self) -> list[int]:
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return [len(getattr(part, kind)) for part in self.module.modules() for kind in kinds]

    def assert_unchanged(self) -> None:
        assert [id(part) for part in self.module.modules()] == [id(part) for part, _ in self.parts]
        assert [part.training for part in self.module.modules()] == [training for _, training in self.parts]
        for value, wanted, gradient in self.gradients:
            assert value.requires_grad == wanted
            assert value.grad is gradient
        assert all(torch.equal(self.values[name], value) for name, value in self.module.state_dict().items())
        assert self._hooks() == self.hooks


def busy(module: nn.Module) -> nn.Module:
    """A network in the middle of something: mixed modes, a frozen layer, gradients, a hook of its own."""
    module.train()
    list(module.modules())[3].eval()
    next(module.parameters()).requires_grad_(False)
    module(torch.rand(2, 1, 8, 8)).sum().backward()
    module[0].register_forward_hook(lambda part, arguments, output: None)
    return module


@pytest.mark.parametrize("method", METHOD_TITLES)
def test_the_network_is_left_as_it_was(tiny: Tiny, planes: np.ndarray, method: str) -> None:
    module = busy(tiny())
    state = State(module)
    classifier = load_classifier(module)
    chosen = CamParams(method=method, smoothing="none" if method == "sess" else "flips")
    compute_responses(classifier, planes[:1, :12, :12], [0, 1], chosen)
    state.assert_unchanged()


@pytest.mark.parametrize("method", METHOD_TITLES)
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_cancelled_half_way(tiny: Tiny, planes: np.ndarray, method: str, after: int) -> None:
    module = busy(tiny())
    state = State(module)
    asked: list[None] = []

    def cancelled() -> bool:
        asked.append(None)
        return len(asked) > after

    with pytest.raises(Cancelled):
        compute_responses(
            load_classifier(module),
            planes,
            [0, 1],
            CamParams(method=method, batch_size=1),
            cancelled=cancelled,
        )
    assert len(asked) == after + 1
    state.assert_unchanged()


@pytest.mark.parametrize("error", [IndexError("inside"), KeyError("inside"), RuntimeError("inside")])
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "fullgrad", "shapleycam"])
def test_a_failing_network(tiny: Tiny, planes: np.ndarray, method: str, error: Exception) -> None:
    module = busy(tiny())
    calls: list[None] = []

    def fail(part: nn.Module, arguments: object, output: object) -> None:
        calls.append(None)
        if len(calls) > 1:
            raise error

    handle = module[3].register_forward_hook(fail)
    state = State(module)

    def work() -> None:
        for _ in range(2):
            compute_responses(load_classifier(module), planes, [0, 1], CamParams(method=method, layer="0"))

    with pytest.raises((ValueError, KeyError), match="inside"):
        work()
    state.assert_unchanged()
    handle.remove()


def test_layers_that_do_not_exist_or_give_no_map(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny()
    module.add_module("unused", nn.Identity())
    with pytest.raises(ValueError, match=r"no layer '0\.33'.*0\.3"):
        response_maps(module, planes, layer="0.33")
    with pytest.raises(ValueError, match=r"'3' returns \(3, 3\), which is no map"):
        response_maps(module, planes, layer="3")

    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = tiny(), nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.used(x)
            return result

    with pytest.raises(ValueError, match="'idle' takes no part"):
        response_maps(Classifier(Skips(), ["a", "b", "c"], in_channels=1), planes, layer="idle")


def test_same_numbers_every_time_and_in_any_thread(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny().eval()
    classifier = load_classifier(module)
    np.random.seed(11)  # noqa: NPY002
    drawn = np.random.get_state()[1].copy()  # noqa: NPY002
    for method in ("gradcam", "randomcam", "kpcacam"):
        params = CamParams(method=method)
        first = compute_responses(classifier, planes, [0, 1], params)
        found: list[np.ndarray] = []

        def work(params: CamParams = params, found: list[np.ndarray] = found) -> None:
            # Another wrapper of the same network, and a thread with gradients off.
            with torch.inference_mode():
                found.append(compute_responses(load_classifier(module), planes, [0, 1], params).maps)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 3
        assert all(np.array_equal(maps, first.maps) for maps in found)
    assert np.array_equal(np.random.get_state()[1], drawn)  # noqa: NPY002


def test_frozen_networks_give_the_same_maps(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny()
    expected = response_maps(module, planes)
    module.requires_grad_(False)
    with torch.no_grad():
        assert np.array_equal(response_maps(module, planes), expected)


def test_flips_commute_with_mirroring(tiny: Tiny, planes: np.ndarray) -> None:
    classifier = load_classifier(tiny())
    params = CamParams(smoothing="flips")
    plain = compute_responses(classifier, planes, [1], params)
    mirrored = compute_responses(classifier, planes[:, ::-1, ::-1], [1], params)
    np.testing.assert_allclose(mirrored.raw[..., ::-1, ::-1], plain.raw, atol=1e-6)
    assert np.array_equal(plain.logits, compute_responses(classifier, planes, [1]).logits)


def test_evidence_is_absolute(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny()
    before = compute_responses(load_classifier(module), planes, [1])
    with torch.no_grad():
        module[3].weight *= 8
    after = compute_responses(load_classifier(module), planes, [1])
    np.testing.assert_allclose(after.evidence, 8 * before.evidence, rtol=1e-4)
    np.testing.assert_allclose(after.maps, before.maps, atol=1e-4)


def test_maps_come_back_on_the_planes_grid(tiny: Tiny, planes: np.ndarray) -> None:
    classifier = Classifier(tiny(), ["a", "b", "c"], in_channels=1, input_size=20)
    found = compute_responses(classifier, planes, [0, 1, 2], CamParams(batch_size=2))
    assert found.maps.shape == found.raw.shape == (3, 3, 24, 32)
    assert found.maps.max((2, 3)) == pytest.approx(np.where(found.evidence > 0, 1, 0))
    assert (found.logits.shape, found.evidence.shape, found.predicted.shape) == ((3, 3), (3, 3), (3, 3))
    assert found.layers == ("0",)


def test_a_stage_of_one_place_gives_a_flat_map(tiny: Tiny) -> None:
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(7)), nn.Flatten(), nn.Linear(4, 2)
    )
    with torch.no_grad():
        module[2].weight.fill_(1.0)
        module[0][0].bias.fill_(3.0)
    found = compute_responses(load_classifier(module), np.random.rand(1, 7, 7), [0], CamParams(layer="0"))  # noqa: NPY002
    assert found.evidence[0, 0] > 0
    assert not found.maps.any()
    assert np.unique(found.raw).size == 1


def constant(logits: list[float], **options: object) -> Classifier:
    """A classifier that believes the same of every plane."""
    module = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, len(logits))
    )
    with torch.no_grad():
        module[3].weight.zero_()
        module[3].bias.copy_(torch.tensor(logits))
    return Classifier(module, [f"c{i}" for i in range(len(logits))], in_channels=1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("logits", "options", "predicted", "best"),
    [
        ([1.0, 2.0, 1.5], {"background": 0}, [False, True, True], True),
        ([3.0, 2.0, 1.5], {"background": 0}, [True, False, False], False),
        ([1.0, 2.0, 1.5], {}, [False, True, False], True),
        ([1.0, -2.0, 0.5], {"activation": "sigmoid"}, [True, False, True], True),
        ([-1.0, -2.0, -0.5], {"activation": "sigmoid"}, [False, False, False], False),
    ],
)
def test_what_is_predicted(
    logits: list[float], options: dict[str, object], predicted: list[bool], best: bool
) -> None:
    found = compute_responses(constant(logits, **options), np.zeros((2, 4, 4)), [0, 1, 2, PREDICTED])
    assert found.predicted.tolist() == [[*predicted, best]] * 2
    np.testing.assert_allclose(found.logits, [logits] * 2, atol=1e-6)
    values = np.array(logits)
    expected = 1 / (1 + np.exp(-values)) if "activation" in options else np.exp(values) / np.exp(values).sum()
    np.testing.assert_allclose(found.probabilities[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("logits", "options", "predicted", "best"),
    [
        ([0.0, 0.4, 1.4], {"background": 0, "margins": [0, 0.5, 1.5]}, [True, False, False], False),
        ([0.0, 0.6, 1.4], {"background": 0, "margins": [0, 0.5, 1.5]}, [False, True, False], True),
        ([0.0, -1.0, -3.0], {"background": 0, "margins": [0, -2.0, -2.0]}, [False, True, False], True),
        (
            [0.2, -1.0, -3.0],
            {"activation": "sigmoid", "margins": [0.3, -2.0, -2.0]},
            [False, True, False],
            True,
        ),
    ],
)
def test_a_class_is_there_from_its_margin_on(
    logits: list[float], options: dict[str, object], predicted: list[bool], best: bool
) -> None:
    found = compute_responses(
        constant(logits, **options), np.zeros((2, 8, 8)), (0, 1, 2, PREDICTED), CamParams()
    )
    assert found.predicted.tolist() == [[*predicted, best]] * 2


def test_the_predicted_class_is_chosen_plane_by_plane(tiny: Tiny) -> None:
    module = tiny()
    planes = np.concatenate([np.random.default_rng(3).random((6, 16, 16)), np.zeros((2, 16, 16))])
    with torch.no_grad():
        logits = module.eval()(torch.from_numpy(planes).float()[:, None])
        module[3].bias -= logits.mean(0)
    classifier = load_classifier(module)
    found = compute_responses(classifier, planes, [PREDICTED, 0, 1, 2])
    best = found.logits.argmax(1)
    assert len(set(best.tolist())) > 1
    for index, number in enumerate(best):
        np.testing.assert_allclose(found.raw[index, 0], found.raw[index, 1 + number], atol=1e-6)


def test_no_planes_and_no_classes(tiny: Tiny, planes: np.ndarray) -> None:
    classifier = load_classifier(tiny())
    none = compute_responses(classifier, planes[:0], [0, 1])
    assert none.maps.shape == (0, 2, 24, 32)
    assert none.evidence.shape == (0, 2)
    beliefs = compute_responses(classifier, planes, [])
    assert beliefs.maps.shape == (3, 0, 24, 32)
    assert beliefs.evidence.shape == beliefs.predicted.shape == (3, 0)
    with torch.no_grad():
        expected = classifier.module.eval()(torch.from_numpy(planes)[:, None])
    np.testing.assert_allclose(beliefs.logits, expected, atol=1e-6)


def test_memory_running_out_halves_the_batch(
    tiny: Tiny, planes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load_classifier(tiny())
    planes = np.concatenate([planes] * 3)
    expected = compute_responses(classifier, planes, [0], CamParams(batch_size=2))
    true_batch, sizes = response._batch, []

    def small_memory(classifier: Classifier, planes: np.ndarray, *rest: object) -> object:
        sizes.append(len(planes))
        if len(planes) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return true_batch(classifier, planes, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(response, "_batch", small_memory)
    with (
        pytest.warns(RuntimeWarning, match="4 slices at a time"),
        pytest.warns(RuntimeWarning, match="2 slices at a time"),
    ):
        found = compute_responses(classifier, planes, [0], CamParams(batch_size=8))
    assert sizes[:3] == [8, 4, 2]
    assert np.array_equal(found.maps, expected.maps)


def test_memory_running_out_for_good(tiny: Tiny, planes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*rest: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(response, "_batch", no_memory)
    with pytest.warns(RuntimeWarning), pytest.raises(MemoryError, match="one slice"):
        compute_responses(load_classifier(tiny()), planes, [0], CamParams(batch_size=2))


def test_an_exhausted_device_hands_over_to_the_cpu(
    tiny: Tiny, planes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load_classifier(tiny())
    expected = compute_responses(classifier, planes, [0], CamParams(batch_size=1))
    true_batch = response._batch
    weights = copy.deepcopy(classifier.module.state_dict())

    def no_memory(classifier: Classifier, *rest: object) -> object:
        if classifier.device.type == "meta":
            raise torch.OutOfMemoryError("out of memory")
        return true_batch(classifier, *rest)  # type: ignore[arg-type]

    def move(device: torch.device | str) -> Classifier:
        # The meta device stands in for a GPU; it keeps no values, so they are put back by hand.
        if torch.device(device).type == "meta":
            classifier.module.to("meta")
        else:
            classifier.module.to_empty(device=device)
            classifier.module.load_state_dict(weights)
        return classifier

    monkeypatch.setattr(response, "_batch", no_memory)
    monkeypatch.setattr(classifier, "to", move)
    with pytest.warns(RuntimeWarning, match="going on with the CPU"):
        found = compute_responses(classifier, planes, [0], CamParams(batch_size=1), device="meta")
    assert np.array_equal(found.maps, expected.maps)
    assert classifier.device.type == "meta"


def test_a_device_that_lacks_an_operation_hands_over_to_the_cpu(
    tiny: Tiny, planes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load_classifier(tiny())
    expected = compute_responses(classifier, planes, [0])
    weights = copy.deepcopy(classifier.module.state_dict())

    def move(device: torch.device | str) -> Classifier:
        classifier.module.to_empty(device=device)
        if torch.device(device).type == "cpu":
            classifier.module.load_state_dict(weights)
        return classifier

    monkeypatch.setattr(classifier, "to", move)
    true_batch = response._batch

    def lacking(classifier: Classifier, *rest: object) -> object:
        if classifier.device.type == "meta":
            raise NotImplementedError("The operator 'aten::x' is not currently implemented for this device")
        return true_batch(classifier, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(response, "_batch", lacking)
    with pytest.warns(RuntimeWarning, match="meta cannot run Sequential: going on with the CPU"):
        found = compute_responses(classifier, planes, [0], device="meta")
    assert np.array_equal(found.maps, expected.maps)
    assert classifier.device.type == "meta"


def test_the_pipelines_classifier_goes_to_the_fastest_device(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "fastest", lambda: torch.device("meta"))
    assert ClassifierResponse(tiny()).classifier.device.type == "meta"
    assert ClassifierResponse(tiny(), "cpu").classifier.device.type == "cpu"


@pytest.mark.filterwarnings("error")
def test_read_only_planes_of_any_layout(tiny: Tiny, planes: np.ndarray) -> None:
    expected = response_maps(tiny(), planes)
    turned = np.asfortranarray(planes)
    turned.setflags(write=False)
    assert np.array_equal(response_maps(tiny(), turned), expected)
    assert np.array_equal(response_maps(tiny(), np.stack([planes, planes], -1)[..., 0]), expected)


def test_the_last_stage_of_a_module_is_looked_for_once(
    tiny: Tiny, planes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    search = classifier_module.last_convolutional_stage

    def counted(module: nn.Module, sample: torch.Tensor) -> str:
        asked.append(None)
        return search(module, sample)

    monkeypatch.setattr(classifier_module, "last_convolutional_stage", counted)
    module = tiny()
    for _ in range(2):
        response_maps(module, planes)
    assert len(asked) == 1
    response_maps(module, planes[:, :20])
    assert len(asked) == 2
    module[0].append(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()))
    response_maps(module, planes)
    assert len(asked) == 3


def test_shapes_of_the_public_function(tiny: Tiny) -> None:
    generator = np.random.default_rng(0)
    grey, colour = tiny(1), tiny(3)
    assert napari_refit.response_maps(grey, generator.random((8, 9))).shape == (3, 8, 9)
    assert response_maps(grey, generator.random((8, 9, 3))).shape == (3, 8, 9)
    assert response_maps(grey, generator.random((8, 9, 1))).shape == (3, 8, 9)
    assert response_maps(grey, generator.random((5, 8, 9)), classes=[2]).shape == (5, 1, 8, 9)
    assert response_maps(colour, generator.random((5, 8, 9, 3)), classes=1).shape == (5, 1, 8, 9)
    assert response_maps(colour, generator.random((8, 9, 4)), classes="predicted").shape == (1, 8, 9)
    for wrong in (np.zeros(4), np.zeros((0, 4)), np.zeros((1, 2, 3, 4, 5)), np.zeros((2, 8, 8, 5))):
        with pytest.raises(ValueError, match=r"shape|channels"):
            response_maps(grey, wrong)
    with pytest.raises(ValueError, match="complex"):
        response_maps(grey, np.zeros((4, 4), complex))


def test_background_is_left_out_unless_asked_for(tiny: Tiny, planes: np.ndarray) -> None:
    classifier = load_classifier(tiny(), classes=["background", "a", "b"])
    found = response_maps(classifier, planes)
    assert found.shape == (3, 2, 24, 32)
    assert np.array_equal(response_maps(classifier, planes, classes=["b", "a"]), found[:, ::-1])
    assert response_maps(classifier, planes, classes="background").shape == (3, 1, 24, 32)


@settings(max_examples=20, deadline=None)
@given(
    arrays.arrays(np.int16, (2, 9, 8), elements=st.integers(-500, 500)),
    st.integers(1, 50),
    st.integers(-10_000, 10_000),
)
def test_range_does_not_matter_outside_zero_to_one(values: np.ndarray, factor: int, offset: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
        )
    found = response_maps(module, values)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    scaled = values.astype(np.int64) * factor + offset
    np.testing.assert_allclose(response_maps(module, scaled), found, atol=1e-2)


def test_values_in_zero_to_one_are_taken_as_they_are(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny()
    halved = response_maps(module, planes * 0.5)
    assert not np.allclose(halved, response_maps(module, planes * 2 - 1))
    direct = compute_responses(load_classifier(module), planes * 0.5, [0, 1, 2]).maps
    assert np.array_equal(halved, direct)
    assert np.isfinite(response_maps(module, np.full((8, 8), np.nan))).all()
    assert np.isfinite(response_maps(module, np.full((8, 8), 7))).all()


def test_wrong_numbers_of_classes_and_channels(tiny: Tiny, planes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="returns 3 values, but has 2 class names"):
        compute_responses(Classifier(tiny(), ["a", "b"], in_channels=1), planes, [0])
    with pytest.raises(ValueError, match="no class 5"):
        compute_responses(load_classifier(tiny()), planes, [5])
    with pytest.raises(ValueError, match="fails on planes of 24 x 32"):
        compute_responses(Classifier(tiny(2), ["a", "b", "c"], in_channels=3), planes, [0])


def test_half_precision_networks(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny().to(torch.bfloat16)
    found = response_maps(module, planes, method="eigengradcam")
    assert found.dtype == np.float32
    assert found.shape == (3, 3, 24, 32)
