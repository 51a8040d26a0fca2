"""Running a CAM method on a batch: raw maps instead of normalised ones, and nothing left behind.

Methods of `napari_refit.cam.gradient_maps` stay on the device; the others are those of the grad-cam package.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_refit.cam.classifier import PREDICTED
from napari_refit.cam.gradient_maps import COMBINE, gradient_maps
from napari_refit.cam.layers import evaluating, find_layer, untouched
from napari_refit.cam.methods import find_key, find_method
from napari_refit.cam.tap import Tap

MIRRORS: dict[str, tuple[tuple[int, ...], ...]] = {"mirror": ((), (3,)), "flips": ((), (3,), (2,), (2, 3))}
"""Smoothing to the axes of (N, C, H, W) that each of its runs turns round."""
_COMPARED = 3
# They draw from numpy's global generator: weights, or the start of an eigenvector search.
_RANDOM_METHODS = frozenset({"randomcam", "kpcacam"})
_RANDOM = threading.Lock()


@dataclass(frozen=True)
class Explanation:
    """Raw maps ``(N, n, h, w)`` of each layer, at its or the input's resolution, and logits ``(N, n_all)``; float32."""

    raw: tuple[Tensor, ...]
    logits: Tensor


def explain(
    module: nn.Module,
    x: Tensor,
    targets: Sequence[int],
    *,
    method: str = "gradcam",
    layers: Sequence[str],
    smoothing: str = "none",
    activation: str = "softmax",
    believed: Tensor | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Explanation:
    """Run one CAM method for several classes on a batch.

    Parameters
    ----------
    module : torch.nn.Module
        A classifier; left as it was.
    x : Tensor, shape (N, C, H, W)
        Its input, on its device.
    targets : sequence of int
        Class indices; `PREDICTED` is the most likely class of each image.
    method : str
        Name of a method (see `napari_refit.cam.methods`).
    layers : sequence of str
        Dotted names of the layers to read.
    smoothing : {"none", "mirror", "flips", "eigen"}
        ``mirror`` averages the raw maps of the image and of its left-right mirrored copy, ``flips`` those of the
        four mirrored copies; ``eigen`` keeps the first principal component.
    activation : {"softmax", "sigmoid"}
        How logits become scores, for methods that need scores.
    believed : Tensor, shape (N, n_all), optional
        The logits that decide about `PREDICTED`; by default those of the image as it is.
    cancelled : callable, optional
        Asked before every run of the network.

    Raises
    ------
    ValueError
        If a layer does not exist, gives no map, or the method does not work with this network.
    Cancelled
        If ``cancelled()`` answered True.
    """
    key = find_key(method)
    found_layers = {layer: find_layer(module, layer) for layer in layers}
    try:
        with torch.inference_mode(False), _reproducible(key, x.device):
            if key in COMBINE and smoothing != "eigen" and targets:
                with evaluating(module):
                    tap = Tap(module, found_layers, cancelled)
                    found = _natively(tap, x, targets, key, smoothing, believed)
                if found is not None:
                    return found
            with untouched(module):
                raw: list[Tensor] = []
                for name, layer in found_layers.items():
                    tap = Tap(module, {name: layer}, cancelled)
                    run = _MethodRun(key, tap, activation, smoothing == "eigen", believed)
                    raw.append(_by_package(run, x, targets, smoothing))
                    believed = run.logits
                return Explanation(tuple(raw), run.logits.float())
    except (AssertionError, AttributeError, IndexError, np.linalg.LinAlgError) as error:
        reason = str(error) or type(error).__name__
        names = " and ".join(repr(name) for name in layers)
        raise ValueError(
            f"CAM method {method!r} does not work with this network at layer {names}: {reason}"
        ) from error


def _natively(
    tap: Tap, x: Tensor, targets: Sequence[int], key: str, smoothing: str, believed: Tensor | None
) -> Explanation | None:
    """None where the network lets no gradient through while its first part runs without."""
    maps: list[list[Tensor]] = []
    logits: Tensor | None = None
    for mirror in MIRRORS.get(smoothing, ((),)):
        found = gradient_maps(tap, mirrored(x, mirror), targets, COMBINE[key], believed)
        if found is None:
            return None
        maps.append([mirrored(each, mirror) for each in found[0]])
        # The first run, of the image as it is, decides what all explain.
        logits = found[1] if logits is None else logits
        believed = logits if believed is None else believed
    assert logits is not None
    return Explanation(tuple(_mean(each) for each in zip(*maps, strict=True)), logits.float())


def _by_package(run: _MethodRun, x: Tensor, targets: Sequence[int], smoothing: str) -> Tensor:
    mirrors = MIRRORS.get(smoothing, ((),))
    maps = [mirrored(run(mirrored(x, mirror), targets), mirror) for mirror in mirrors]
    return torch.stack(maps).mean(0)


def _mean(maps: Sequence[Tensor]) -> Tensor:
    return maps[0] if len(maps) == 1 else torch.stack([*maps]).mean(0)


def mirrored(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Values with some axes turned round."""
    return values.flip(axes) if axes else values


class _MethodRun:
    """One method on one network; the logits of the first run, or those given, decide about the targets of all."""

    def __init__(
        self, key: str, tap: Tap, activation: str, eigen: bool, believed: Tensor | None = None
    ) -> None:
        self.key, self.kind = find_method(key)
        self.tap = tap
        self.activation, self.eigen = activation, eigen
        self.logits = torch.empty(0) if believed is None else believed

    def __call__(self, x: Tensor, targets: Sequence[int]) -> Tensor:
        if not targets:
            self._believe(x)
            return x.new_zeros(len(x), 0, 1, 1)
        with torch.enable_grad():
            maps = self._from_layer(x, targets) if self._reads_layer else self._whole(x, targets)
        values = np.stack([np.asarray(value, dtype=np.float32) for value in maps], axis=1)
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        return torch.from_numpy(np.maximum(values, 0))

    def _believe(self, x: Tensor) -> None:
        if not len(self.logits):
            with torch.no_grad():
                self.logits = self.tap(x)

    @property
    def _reads_layer(self) -> bool:
        from pytorch_grad_cam.base_cam import BaseCAM

        kept = ("forward", "compute_cam_per_layer", "aggregate_multi_layers")
        plain = issubclass(self.kind, BaseCAM) and all(
            getattr(self.kind, name) is getattr(BaseCAM, name) for name in kept
        )
        return plain or self.key in ("finercam", "refinecam")

    def _goals(self, index: int) -> list[Any]:
        """One target per image: what is differentiated."""
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget

        goals: list[Any] = []
        for row in self.logits:
            number = int(row.argmax()) if index == PREDICTED else index
            others = [
                other for other in (row - row[number]).abs().argsort(stable=True).tolist() if other != number
            ]
            if self.key == "finercam" and others:
                goals.append(FinerWeightedTarget(number, others[:_COMPARED], 1.0))
            else:
                goals.append(ClassifierOutputTarget(number))
        return goals

    def _from_layer(self, x: Tensor, targets: Sequence[int]) -> list[np.ndarray]:
        """One run of the network for all classes; the gradient goes down to the layer only."""
        tap = self.tap
        maps: list[np.ndarray] = []
        with self._built(tap, [tap.tap]) as built, tap.attached(), ExitStack() as stack:
            cam = getattr(built, "base_cam", None) or getattr(built, "base_cam_per_layer", [built])[0]
            _release(built)
            if not cam.detach:
                # The fused kernels of attention can be differentiated only once.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            output, features, passed = self._run(x)
            for target in targets:
                if maps and not cam.detach:
                    # A method that differentiates twice has freed the graph.
                    output, features, passed = self._run(x)
                goal = self._goals(target)
                slope: Any = None
                if cam.uses_gradients:
                    score = sum(one(row) for one, row in zip(goal, output, strict=True))
                    (slope,) = torch.autograd.grad(
                        score, features, retain_graph=True, create_graph=not cam.detach, allow_unused=True
                    )
                    slope = torch.zeros_like(features) if slope is None else slope
                if cam.detach:
                    seen, slope = _array(passed), None if slope is None else _array(slope)
                else:
                    # Behind the last nonlinearity the gradient is a constant, which cannot be differentiated again.
                    seen, slope = passed, slope if slope.requires_grad else slope + 0 * passed
                maps.append(cam.get_cam_image(x, tap.tap, goal, seen, slope, self.eigen))
        return maps

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.tap(x)
        if not len(self.logits):
            self.logits = output.detach().clone()
        ((features, passed),) = self.tap.read()
        return output, features, passed

    def _whole(self, x: Tensor, targets: Sequence[int]) -> list[np.ndarray]:
        """Methods that normalise inside: their own result, at the input's resolution."""
        from pytorch_grad_cam.fullgrad_cam import FullGrad

        self._believe(x)
        tap, layers = self.tap, [self.tap.tap]
        if issubclass(self.kind, FullGrad):
            # It reads every layer and the input, so nothing may be cut off.
            tap, layers = Tap(self.tap.network, {}, self.tap.cancelled), []
        with self._built(tap, layers) as cam, tap.attached():
            return [np.asarray(cam(x, self._goals(target), eigen_smooth=self.eigen)) for target in targets]

    @contextmanager
    def _built(self, model: nn.Module, layers: list[nn.Module]) -> Iterator[Any]:
        options: dict[str, Any] = {}
        if self.key == "ablationcam":
            from pytorch_grad_cam import AblationLayer

            # The default is one object shared by all instances.
            options["ablation_layer"] = AblationLayer()
        if self.key == "sess":
            options["use_softmax_scores"] = self.activation == "softmax"
        built = self.kind(model, layers, **options)
        try:
            yield built
        finally:
            _release(built)


def _release(built: Any) -> None:
    """Take grad-cam's hooks off, wherever a method keeps them."""
    inner = [built, getattr(built, "base_cam", None), *getattr(built, "base_cam_per_layer", [])]
    for cam in inner:
        hooks = getattr(cam, "activations_and_grads", None)
        if hooks is not None:
            hooks.release()


def _array(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().float().cpu().numpy()
    return array


@contextmanager
def _reproducible(key: str, device: torch.device) -> Iterator[None]:
    """The same numbers for the same input: random weights, start vectors and convolution algorithms are fixed."""
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=False
                )
            )
        if key not in _RANDOM_METHODS:
            yield
            return
        stack.enter_context(_RANDOM)
        before = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
