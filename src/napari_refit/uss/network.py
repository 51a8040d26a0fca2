"""The USS network: a small convolutional network trained on one image alone, to cluster it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from napari_refit.devices import torch_device
from napari_refit.params import NetworkParams, QuickshiftParams, SlicParams
from napari_refit.uss.checks import label_map, numbered, plane_channels
from napari_refit.uss.edges import connected_clusters
from napari_refit.uss.superpixels import quickshift_segmenter, slic_segmenter

REPORT_EVERY = 4
WIDE, NARROW = 64, 32


def uss_network(
    image: Any,
    guide: Any = None,
    *,
    max_labels: int = 32,
    min_labels: int = 4,
    steps: int = 64,
    learning_rate: float = 0.05,
    momentum: float = 0.9,
    continuity_weight: float = 1.0,
    seed: int = 43,
    device: Any = None,
) -> NDArray[np.int32]:
    """Cluster an image by a network trained on it alone.

    The network gives each pixel ``max_labels`` responses; its label is the highest. Training pulls the
    responses towards these labels (cross-entropy), after every cluster of the guide has been given the label
    that most of its pixels have. Without a guide, the absolute differences between the responses of
    neighbouring pixels are kept small instead. Both let labels die out: training ends after ``steps``, or
    once fewer than ``min_labels`` are left.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        Of any real dtype and range: each channel is brought to mean 0 and variance 1. NaN and infinities
        count as 0.
    guide : array_like of int, (H, W), optional
        Superpixels, as of `napari_refit.slic`; None for spatial continuity.
    max_labels : int
        Channels of the response, 2 to 256.
    min_labels : int
        Training stops once fewer labels than this are left, 2 to 256.
    steps : int
        Most training steps, 1 to 1000.
    learning_rate, momentum : float
        Of stochastic gradient descent; 0.0001 to 1, and 0 to 0.999.
    continuity_weight : float
        Weight of spatial continuity, 0 to 50; without effect where there is a guide.
    seed : int
        Of the network's weights. The same seed on the same device gives the same clusters.
    device : None, str or torch.device
        Where to train; None is the fastest there is.

    Returns
    -------
    ndarray of int32, (H, W)
        Clusters 1..n, each a connected region of one label.

    Raises
    ------
    TypeError
        If ``image`` does not hold real numbers, ``guide`` does not hold whole ones, or ``device`` is no
        device.
    ValueError
        If ``image`` is empty, has another number of axes or its channels first, ``guide`` has another shape,
        a number is out of range, or the device is unknown or not there.

    References
    ----------
    A. Kanezaki, Unsupervised image segmentation by backpropagation, ICASSP 2018.

    W. Kim, A. Kanezaki and M. Tanaka, Unsupervised learning of image segmentation based on differentiable
    feature clustering, TIP 29, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.repeat([0.0, 1.0], 8)[None].repeat(16, axis=0)
    >>> guide = np.arange(16)[None].repeat(16, axis=0) // 4
    >>> clusters = uss_network(image, guide, steps=4, device="cpu")
    >>> clusters.shape, clusters.dtype, int(clusters.min())
    ((16, 16), dtype('int32'), 1)
    """
    params = _checked_params(
        max_labels=max_labels,
        min_labels=min_labels,
        steps=steps,
        learning_rate=learning_rate,
        momentum=momentum,
        continuity_weight=continuity_weight,
        seed=seed,
    )
    wanted = torch_device(device)
    channels = plane_channels(image)
    shape = channels.shape[:2]
    superpixels = None
    if guide is not None:
        superpixels = label_map(guide, "guide")
        if superpixels.shape != shape:
            raise ValueError(f"guide of shape {superpixels.shape} does not fit an image of shape {shape}")
    *_, labels = _train(channels, superpixels, params, wanted)
    return connected_clusters(labels)


def network_segmenter(
    image: Any, params: NetworkParams, *, device: Any = None
) -> Iterator[NDArray[np.int32]]:
    """Cluster a plane by the USS network, reporting on the way.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        In [0, 1]; NaN and infinities count as 0.
    params : NetworkParams
    device : None, str or torch.device
        As in `uss_network`.

    Yields
    ------
    ndarray of int32, (H, W)
        The clusters after every fourth step, and at the end; the last is the result. Closing the generator
        stops the training.

    Raises
    ------
    TypeError, ValueError
        As `uss_network` does, when the first clusters are asked for.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).random((16, 16), dtype=np.float32)
    >>> len(list(network_segmenter(image, NetworkParams(steps=10, min_labels=2), device="cpu")))
    3
    """
    wanted = torch_device(device)
    channels = plane_channels(image)
    for labels in _train(channels, _guide(channels, params), params, wanted):
        yield connected_clusters(labels)


def majority_labels(labels: Tensor, superpixels: Tensor, max_labels: int, n_superpixels: int) -> Tensor:
    """Give every superpixel the label that most of its pixels have.

    Parameters
    ----------
    labels : Tensor of int64, (N,)
        In [0, max_labels).
    superpixels : Tensor of int64, (N,)
        In [0, n_superpixels).
    max_labels, n_superpixels : int

    Returns
    -------
    Tensor of int64, (N,)
        The lowest of several labels that are equally frequent.

    Examples
    --------
    >>> majority_labels(torch.tensor([2, 2, 0, 1]), torch.tensor([0, 0, 0, 1]), 3, 2)
    tensor([2, 2, 2, 1])
    """
    votes = torch.bincount(superpixels * max_labels + labels, minlength=n_superpixels * max_labels)
    return votes.view(n_superpixels, max_labels).argmax(dim=1)[superpixels]


def _checked_params(**values: Any) -> NetworkParams:
    try:
        return NetworkParams(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{name}: {first['msg']}, got {first['input']!r}") from None


def _guide(channels: NDArray[np.float64], params: NetworkParams) -> NDArray[Any] | None:
    if params.guide == "continuity":
        return None
    if params.guide == "quickshift":
        return quickshift_segmenter(
            channels,
            QuickshiftParams(
                kernel_size=params.guide_kernel_size,
                max_dist=params.guide_max_dist,
                ratio=params.guide_ratio,
                sigma=0.0,
            ),
        )
    return slic_segmenter(
        channels,
        SlicParams(
            n_segments=params.guide_n_segments,
            compactness=params.guide_compactness,
            sigma=params.guide_sigma,
        ),
    )


def _train(
    channels: NDArray[np.float64],
    guide: NDArray[Any] | None,
    params: NetworkParams,
    device: torch.device,
) -> Iterator[NDArray[np.int64]]:
    """Yield the label map (H, W) after every few steps, and the last one."""
    max_labels, steps = params.max_labels, params.steps
    shape = channels.shape[:2]
    if channels[..., 0].size == 1:
        # Batch normalisation is not defined over a single pixel.
        yield np.zeros(shape, dtype=np.int64)
        return
    with _training_state():
        pixels = torch.from_numpy(_standardised(channels)).permute(2, 0, 1)[None].to(device)
        network = _network(channels.shape[2], max_labels, params.seed).to(device)
        optimiser = torch.optim.SGD(network.parameters(), lr=params.learning_rate, momentum=params.momentum)
        superpixels, n_superpixels = _on_device(guide, device)
    for step in range(1, steps + 1):
        with _training_state():
            response = network(pixels)
            flat = response.detach()[0].flatten(1)
            target = flat.argmax(dim=0)
            if superpixels is not None:
                target = majority_labels(target, superpixels, max_labels, n_superpixels)
            left = int((torch.bincount(target, minlength=max_labels) > 0).sum())
            last = step == steps or left < params.min_labels
            if not last:
                loss = cross_entropy(response[0].flatten(1).T, target)
                if superpixels is None:
                    loss = loss + params.continuity_weight * _roughness(response)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        if last or step % REPORT_EVERY == 0:
            yield target.reshape(shape).cpu().numpy()
        if last:
            return


def _standardised(channels: NDArray[np.float64]) -> NDArray[np.float32]:
    # Dividing by the largest value first keeps the variance of huge values finite.
    largest = np.abs(channels).max(axis=(0, 1))
    scaled = channels / np.where(largest > 0, largest, 1)
    centred = scaled - scaled.mean(axis=(0, 1))
    deviation = centred.std(axis=(0, 1))
    return (centred / np.where(deviation > 1e-7, deviation, 1)).astype(np.float32)


def _on_device(guide: NDArray[Any] | None, device: torch.device) -> tuple[Tensor | None, int]:
    if guide is None:
        return None, 0
    compact, count = numbered(guide)
    return torch.from_numpy(compact.ravel()).to(device), count


def _network(n_channels: int, max_labels: int, seed: int) -> nn.Sequential:
    """Build the network with weights from ``seed``, leaving torch's own random state alone."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs, size in (
        (n_channels, WIDE, 3),
        (WIDE, NARROW, 1),
        (NARROW, WIDE, 3),
        (WIDE, max_labels, 1),
    ):
        # No bias: batch normalisation takes it out again.
        layer = nn.utils.skip_init(
            nn.Conv2d, inputs, outputs, size, padding=size // 2, bias=False, dtype=torch.float32
        )
        bound = (inputs * size * size) ** -0.5
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=generator)
        layers += [layer, nn.BatchNorm2d(outputs, track_running_stats=False, dtype=torch.float32), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _roughness(response: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring responses, down plus across."""
    differences = (response.diff(dim=2), response.diff(dim=3))
    return sum((each.abs().mean() for each in differences if each.numel()), response.new_zeros(()))


@contextmanager
def _training_state() -> Iterator[None]:
    """Allow gradients and ask for repeatable kernels, for one step only: callers' settings come back."""
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
