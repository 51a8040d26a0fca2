"""The USS network: a small convolutional network trained on one image alone, to cluster it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_refit.devices import Notice, on_processor, out_of_memory, say, torch_device
from napari_refit.memo import Memo, forgetful
from napari_refit.params import NetworkParams, QuickshiftParams, SlicParams
from napari_refit.uss.checks import label_map, numbered, plane_channels
from napari_refit.uss.edges import connected_clusters
from napari_refit.uss.superpixels import quickshift_segmenter, slic_segmenter

REPORT_EVERY = 4


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
    wanted = _accelerator(device)
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
    image: Any,
    params: NetworkParams,
    *,
    device: Any = None,
    memo: Memo = forgetful,
    cancelled: Callable[[], bool] | None = None,
    notice: Notice | None = None,
) -> Iterator[NDArray[np.int32]]:
    """Cluster a plane by the USS network, reporting on the way.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        In [0, 1]; NaN and infinities count as 0.
    params : NetworkParams
    device : None, str or torch.device
        As in `uss_network`.
    memo : Memo
        Keeps the guide.
    cancelled : callable, optional
        Asked several times per training step.
    notice : callable, optional
        Given a sentence where the device gives up and the processor takes over; by default a `RuntimeWarning`.

    Yields
    ------
    ndarray of int32, (H, W)
        The clusters after every fourth step, and at the end; the last is the result. Closing the generator
        stops the training.

    Raises
    ------
    TypeError, ValueError
        As `uss_network` does, when the first clusters are asked for.
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).random((16, 16), dtype=np.float32)
    >>> len(list(network_segmenter(image, NetworkParams(steps=10, min_labels=2), device="cpu")))
    3
    """
    wanted = _accelerator(device)
    channels = plane_channels(image)
    guide = None
    if params.guide != "continuity":
        guide = memo(_guide_key(params), lambda: _guide(channels, params))
    for labels in _train(channels, guide, params, wanted, cancelled, notice):
        yield connected_clusters(labels)


def _checked_params(**values: Any) -> NetworkParams:
    try:
        return NetworkParams(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{name}: {first['msg']}, got {first['input']!r}") from None


def _accelerator(device: Any) -> Any:
    """The torch device to train on, or None for compiled loops on the processor."""
    if device is not None and on_processor(device):
        return None
    wanted = torch_device(device)
    return None if wanted.type == "cpu" else wanted


def _guide_key(params: NetworkParams) -> tuple[object, ...]:
    names = [name for name in type(params).model_fields if name.startswith("guide")]
    return tuple((name, getattr(params, name)) for name in names)


def _guide(channels: NDArray[np.float64], params: NetworkParams) -> NDArray[Any]:
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
    accelerator: Any,
    cancelled: Callable[[], bool] | None = None,
    notice: Notice | None = None,
) -> Iterator[NDArray[Any]]:
    """Yield the label map (H, W) after every few steps, and the last one."""
    if channels[..., 0].size == 1:
        # Batch normalisation is not defined over a single pixel.
        yield np.zeros(channels.shape[:2], dtype=np.int64)
        return
    pixels = _standardised(channels)
    superpixels = None if guide is None else numbered(guide)[0]
    if accelerator is not None:
        try:
            yield from _train_on(accelerator, pixels, superpixels, params, cancelled)
            return
        except (RuntimeError, MemoryError) as error:
            if not (out_of_memory(error) or isinstance(error, NotImplementedError)):
                raise
            lacks = "has not enough memory for" if out_of_memory(error) else "cannot do"
            say(notice, f"{accelerator} {lacks} this training: going on with the CPU")
    from napari_refit.uss.network_processor import ProcessorTraining

    yield from _steps(ProcessorTraining(pixels, superpixels, params, cancelled), params, 1)


def _train_on(
    accelerator: Any,
    pixels: NDArray[np.float32],
    superpixels: NDArray[np.int64] | None,
    params: NetworkParams,
    cancelled: Callable[[], bool] | None,
) -> Iterator[NDArray[Any]]:
    from napari_refit.uss.network_torch import RecordedTraining, TorchTraining

    kind = RecordedTraining if accelerator.type == "cuda" else TorchTraining
    training = kind(pixels, superpixels, params, accelerator, cancelled)
    yield from (labels.cpu().numpy() for labels in _steps(training, params, REPORT_EVERY))


def _steps(training: Any, params: NetworkParams, check_every: int) -> Iterator[Any]:
    """Train, and yield labels that are worth a look.

    How many labels are left is looked at every few steps only, because an accelerator must be waited for; the first
    step that left too few then counts, as if training had stopped there.
    """
    unseen: list[tuple[Any, Any]] = []
    for step in range(1, params.steps + 1):
        unseen.append(training.label())
        last = step == params.steps
        if last or step % check_every == 0:
            ended = next((labels for labels, left in unseen if int(left) < params.min_labels), None)
            if last or ended is not None:
                yield unseen[-1][0] if ended is None else ended
                return
            if step % REPORT_EVERY == 0:
                yield unseen[-1][0]
            unseen = []
        training.learn()


def _standardised(channels: NDArray[np.float64]) -> NDArray[np.float32]:
    # Dividing by the largest value first keeps the variance of huge values finite.
    largest = np.abs(channels).max(axis=(0, 1))
    scaled = channels / np.where(largest > 0, largest, 1)
    centred = scaled - scaled.mean(axis=(0, 1))
    deviation = centred.std(axis=(0, 1))
    return (centred / np.where(deviation > 1e-7, deviation, 1)).astype(np.float32)
