"""Response maps: what a classifier looks at, per class, on the grid of the plane."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from napari_refit.cam.classifier import PREDICTED, Classifier, load_classifier
from napari_refit.cam.methods import ONE_PLANE_AT_A_TIME, find_key
from napari_refit.cam.own_maps import MapsItself
from napari_refit.cam.scales import averaged_maps
from napari_refit.devices import Notice, out_of_memory, say, torch_device
from napari_refit.errors import Cancelled
from napari_refit.params import CamParams

# The live view and a whole-volume run may share a network; only one of them may tap it at a time.
_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


@dataclass(frozen=True)
class Responses:
    """Response maps of N planes for n asked classes, and what the classifier believes.

    Attributes
    ----------
    maps : float32 array, shape (N, n, H, W)
        Min-max normalised to [0, 1] per plane and class; 0 where the raw map is flat. Of a network whose own maps
        are in [0, 1]: as they are.
    evidence : float32 array, shape (N, n)
        The largest value of the raw map. For FullGrad and SESS, which normalise inside, it is relative.
    raw : float32 array, shape (N, n, H, W)
        The map after its ReLU and before any normalisation, resized to the plane; averaged over scales and mirrored
        copies.
    logits, probabilities : float32 array, shape (N, n_all)
        Of all classes, for the plane as it is at the scale nearest to 1: what the classifier believes does not depend
        on how its maps are averaged.
    predicted : bool array, shape (N, n)
        Whether the classifier says that the class is there. Softmax: its logit is above the background's by more than
        the class's margin (`Classifier`: mostly 0); without a background, it is the highest. Sigmoid: its logit is
        above the margin. For ``PREDICTED``: that is so for any class.
    layers : tuple of str
        The layers that the maps were read at; none where the network makes them itself.
    """

    maps: np.ndarray
    evidence: np.ndarray
    raw: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray
    layers: tuple[str, ...] = ()


def compute_responses(
    classifier: Classifier,
    planes: np.ndarray,
    class_indices: Sequence[int],
    params: CamParams | None = None,
    *,
    device: str | torch.device | None = None,
    cancelled: Callable[[], bool] | None = None,
    notice: Notice | None = None,
) -> Responses:
    """Compute response maps.

    The network is left as it was: mode, gradients, hooks. When memory runs out the batch is halved, down to one
    plane; then, as where the device lacks an operation, the work moves to the CPU. Both are said in a
    `RuntimeWarning`.

    Parameters
    ----------
    classifier : Classifier
    planes : array, shape (N, H, W) or (N, H, W, C)
        Real numbers in [0, 1].
    class_indices : sequence of int
        Which classes; ``PREDICTED`` (-1) is the most likely one, plane by plane.
    params : CamParams, optional
        ``method``, ``layer``, ``scales``, ``smoothing`` and ``batch_size`` are used here; the gate is the pipeline's.
        A network that makes its own maps (`napari_refit.cam.own_maps`) is asked for those, whatever the method.
    device : str or torch.device, optional
        The classifier is moved there and stays there; None: where it is.
    cancelled : callable, optional
        Asked before every run of the network.
    notice : callable, optional
        Given a sentence where memory or an operation is lacking; by default that is a `RuntimeWarning`.

    Returns
    -------
    Responses

    Raises
    ------
    ValueError
        If a class, layer, method or device does not exist, or the planes, or one of the scales, do not fit the network.
    Cancelled
        If ``cancelled()`` answered True.
    MemoryError
        If not even one plane fits into the CPU's memory.
    """
    params = CamParams() if params is None else params
    planes = np.asarray(planes)
    targets = classifier.class_indices([int(index) for index in class_indices]) if len(class_indices) else ()
    if planes.ndim not in (3, 4) or 0 in planes.shape[1:]:
        raise ValueError(f"planes must have shape (N, H, W) or (N, H, W, C), got {planes.shape}")
    method = find_key(params.method)
    with _lock(classifier.module):
        wanted = classifier.device if device is None else torch_device(device)
        if wanted not in (classifier.device, torch.device(classifier.device.type)):
            classifier.to(wanted)
        if not len(planes):
            return _nothing(classifier, planes, len(targets))
        home = classifier.device
        limit = 1 if method in ONE_PLANE_AT_A_TIME else min(params.batch_size, len(planes))
        parts: list[Responses] = []
        done = 0
        try:
            while done < len(planes):
                if cancelled is not None and cancelled():
                    raise Cancelled("response maps were cancelled")
                try:
                    parts.append(_batch(classifier, planes[done : done + limit], targets, params, cancelled))
                    done += limit
                except (RuntimeError, MemoryError) as error:
                    if isinstance(error, NotImplementedError) and classifier.device.type != "cpu":
                        _go_on_with_the_processor(classifier, f"cannot run {classifier.name}", notice)
                        continue
                    if not out_of_memory(error):
                        size = " x ".join(str(length) for length in planes.shape[1:])
                        reason = str(error).splitlines()[0]
                        raise ValueError(f"{classifier.name} fails on planes of {size}: {reason}") from error
                    limit = _with_less_memory(classifier, limit, error, notice)
        finally:
            if classifier.device != home:
                classifier.to(home)
    return _joined(parts)


def response_maps(
    model: Classifier | nn.Module | str | os.PathLike[str],
    image: np.ndarray,
    classes: str | int | Iterable[str | int] | None = None,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    scales: Sequence[float] = (1.0,),
    smoothing: str = "none",
    device: str | torch.device | None = None,
) -> np.ndarray:
    """Response maps of an image or of a batch of images.

    Parameters
    ----------
    model : Classifier, torch.nn.Module, str or path-like
        See `load_classifier`.
    image : array
        One image ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)``, ``(H, W, 4)`` (alpha is dropped) or of as many channels as
        the model takes, or a batch ``(N, H, W)`` or ``(N, H, W, C)``. An array of three axes is one image if its last
        axis has 1, 3, 4 or so many entries, else a batch. Floating-point values within [0, 1] are taken as they are;
        integers and values outside are scaled so that the smallest of the whole array becomes 0 and the largest 1.
        NaN and infinite values are 0.
    classes : str, int or sequence of them, optional
        Names or indices; ``"predicted"`` is the most likely class of each image. None: all but the background.
    method : str
        Any of `napari_refit.cam.methods.available_methods`.
    layer : str, optional
        Dotted name of the layer, or ``"stride 16"``; None: the last convolutional stage.
    scales : sequence of float
        Sizes at which the model sees the image, relative to its usual one, 0.25 to 4; the maps are averaged.
    smoothing : {"none", "mirror", "flips", "eigen"}
        ``mirror``: averaged with the copy mirrored left to right. See `napari_refit.params.CamParams`.
    device : str or torch.device, optional
        Where to compute; None: where the model is.

    Returns
    -------
    float32 array, shape (n_classes, H, W) or (N, n_classes, H, W)
        In [0, 1], min-max normalised per image and class.

    Raises
    ------
    ValueError
        If the image's shape, a class, the method, the layer, a scale or the device is not valid.
    ReadError
        If the model's file cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).random((64, 64))
    >>> response_maps("squeezenet1_1", image, classes=[3, 7]).shape
    (2, 64, 64)
    """
    array = np.asarray(image)
    if array.ndim not in (2, 3, 4) or array.size == 0:
        raise ValueError(
            f"image must be (H, W), (H, W, 3) or a batch of them, not empty, got shape {array.shape}"
        )
    classifier = load_classifier(model)
    single = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4, classifier.in_channels))
    planes = _unit_range(array)[None] if single else _unit_range(array)
    home = classifier.device
    try:
        found = compute_responses(
            classifier,
            planes,
            classifier.class_indices(classes),
            CamParams(
                method=method,
                layer=layer or "",
                scales=tuple(scales),
                smoothing=cast("Any", smoothing),
            ),
            device=device,
        )
    finally:
        if classifier.device != home:
            classifier.to(home)
    return found.maps[0] if single else found.maps


def _with_less_memory(classifier: Classifier, limit: int, error: BaseException, notice: Notice | None) -> int:
    # Its frames hold on to tensors.
    error.__traceback__ = None
    if classifier.device.type == "cuda":
        torch.cuda.empty_cache()
    if limit > 1:
        limit //= 2
        say(notice, f"{classifier.device} ran out of memory: going on with {_planes(limit)} at a time")
    elif classifier.device.type != "cpu":
        _go_on_with_the_processor(classifier, "has not enough memory for one slice", notice)
    else:
        raise MemoryError(
            f"not enough memory for the response maps of one slice with {classifier.name}; "
            "use a smaller network or smaller slices"
        ) from error
    return limit


def _go_on_with_the_processor(classifier: Classifier, reason: str, notice: Notice | None) -> None:
    say(notice, f"{classifier.device} {reason}: going on with the CPU")
    classifier.to("cpu")


def _planes(count: int) -> str:
    return "one slice" if count == 1 else f"{count} slices"


def _batch(
    classifier: Classifier,
    planes: np.ndarray,
    targets: Sequence[int],
    params: CamParams,
    cancelled: Callable[[], bool] | None,
) -> Responses:
    found = averaged_maps(classifier, planes, targets, params, cancelled)
    if found.logits.shape[1] != len(classifier.classes):
        raise ValueError(
            f"{classifier.name} returns {found.logits.shape[1]} values, "
            f"but has {len(classifier.classes)} class names"
        )
    raw = found.raw
    maps, evidence = _min_max(raw)
    if isinstance(classifier.module, MapsItself) and classifier.module.maps_are_scaled:
        maps = raw.clamp(0, 1)
    logits = found.logits.cpu()
    believed = logits.sigmoid() if classifier.activation == "sigmoid" else logits.softmax(1)
    return Responses(
        maps=maps.cpu().numpy(),
        evidence=evidence.cpu().numpy(),
        raw=raw.cpu().numpy(),
        logits=logits.numpy(),
        probabilities=believed.numpy(),
        predicted=_predicted(classifier, logits.numpy(), targets),
        layers=found.layers,
    )


def _min_max(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Maps in [0, 1], and the largest raw value of each."""
    if 0 in raw.shape:
        return raw, raw.new_zeros(raw.shape[:2])
    low, high = raw.amin((2, 3), keepdim=True), raw.amax((2, 3), keepdim=True)
    span = torch.where(high > low, high - low, torch.inf)
    return (raw - low).div_(span), high[:, :, 0, 0]


def _predicted(classifier: Classifier, logits: np.ndarray, targets: Sequence[int]) -> np.ndarray:
    # The background's margin is 0, so that what is left is the margin to it.
    logits, background = logits - np.array(classifier.margins, np.float32), classifier.background
    best = logits.argmax(1)
    columns = []
    for index in targets:
        if classifier.activation == "sigmoid":
            columns.append((logits.max(1) if index == PREDICTED else logits[:, index]) > 0)
        elif index == PREDICTED:
            columns.append(best != (-1 if background is None else background))
        elif background is None or index == background:
            columns.append(best == index)
        else:
            columns.append(logits[:, index] > logits[:, background])
    return np.stack(columns, axis=1) if columns else np.zeros((len(logits), 0), bool)


def _joined(parts: Sequence[Responses]) -> Responses:
    if len(parts) == 1:
        return parts[0]
    names = ("maps", "evidence", "raw", "logits", "probabilities", "predicted")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Responses(**joined, layers=parts[0].layers)


def _nothing(classifier: Classifier, planes: np.ndarray, count: int) -> Responses:
    maps = np.zeros((0, count, *planes.shape[1:3]), np.float32)
    logits = np.zeros((0, len(classifier.classes)), np.float32)
    return Responses(maps, maps[:, :, 0, 0], maps, logits, logits, np.zeros((0, count), bool))


def _unit_range(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"image must hold real numbers, got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return array.astype(np.float32, copy=False)
    finite = np.isfinite(array)
    values = np.where(finite, array, 0).astype(np.float64)
    if not finite.any():
        return values.astype(np.float32)
    low, high = (
        float(values.min(where=finite, initial=np.inf)),
        float(values.max(where=finite, initial=-np.inf)),
    )
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return values.astype(np.float32)
    if high == low:
        return np.zeros(array.shape, np.float32)
    scaled: np.ndarray = np.where(finite, (values - low) / (high - low), 0).astype(np.float32)
    return scaled


def _lock(module: nn.Module) -> threading.RLock:
    with _LOCKS_GUARD:
        return _LOCKS.setdefault(module, threading.RLock())
