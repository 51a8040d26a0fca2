"""The USS network's training by torch, for accelerators: every step runs on the device, and nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from napari_refit.bands import check
from napari_refit.params import NetworkParams
from napari_refit.uss.network_weights import initial_weights

# What is made at the first step, such as the momentum, must not be part of a recording.
_STEPS_BEFORE_RECORDING = 2


class TorchTraining:
    """The network, and the image that it is trained on.

    Parameters
    ----------
    pixels : ndarray of float32, (H, W, C)
        More than one pixel.
    superpixels : ndarray of int64, (H, W), or None
        Numbered from 0 without gaps.
    params : NetworkParams
    device : torch.device
    cancelled : callable, optional
        Asked before each step; True raises `napari_refit.errors.Cancelled`.
    """

    def __init__(
        self,
        pixels: NDArray[np.float32],
        superpixels: NDArray[np.int64] | None,
        params: NetworkParams,
        device: torch.device,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._cancelled = cancelled
        self._max_labels = params.max_labels
        self._continuity_weight = params.continuity_weight if superpixels is None else 0.0
        self._response: Tensor | None = None
        with _training_state():
            self._pixels = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None]
            self.network = _network(initial_weights(pixels.shape[2], params.max_labels, params.seed)).to(
                device
            )
            if device.type == "cuda":
                self.network = self.network.to(memory_format=torch.channels_last)
            else:
                self._pixels = self._pixels.contiguous()
            self._optimiser = torch.optim.SGD(
                self.network.parameters(), lr=params.learning_rate, momentum=params.momentum
            )
            self._superpixels = (
                None if superpixels is None else torch.from_numpy(superpixels).to(device).flatten()
            )
            self._n_superpixels = 0 if superpixels is None else int(superpixels.max()) + 1

    def label(self) -> tuple[Tensor, Tensor]:
        """Every pixel's label after the superpixels' vote, (H, W), and how many are left; both on the device."""
        check(self._cancelled)
        return self._label()

    def _label(self) -> tuple[Tensor, Tensor]:
        with _training_state():
            self._response = self.network(self._pixels)
            labels = self._response.detach().argmax(1)[0]
            if self._superpixels is not None:
                flat = majority_labels(
                    labels.flatten(), self._superpixels, self._max_labels, self._n_superpixels
                )
                labels = flat.view(labels.shape)
            present = labels.new_zeros(self._max_labels).scatter_(0, labels.flatten(), 1)
            self._labels = labels
            return labels, present.sum()

    def differentiate(self) -> None:
        """Compute the parameters' gradients of the loss at the labels that were found last."""
        assert self._response is not None
        with _training_state():
            loss = cross_entropy(self._response, self._labels[None])
            if self._continuity_weight:
                loss = loss + self._continuity_weight * _roughness(self._response)
            self._optimiser.zero_grad()
            loss.backward()
            self._response = None

    def learn(self) -> None:
        """Take one step towards the labels that were found last."""
        self.differentiate()
        with _training_state():
            self._optimiser.step()


class RecordedTraining(TorchTraining):
    """The same on a CUDA device, which takes longer to be told of a step's many small kernels than to run them.

    After a few steps, which make ready what the kernels need, one is recorded, and replayed from then on. As it
    labels and learns at once, `learn` has nothing left to do.
    """

    _graph: torch.cuda.CUDAGraph | None = None
    _n_learned = 0

    def label(self) -> tuple[Tensor, Tensor]:
        """Every pixel's label after the superpixels' vote, (H, W), and how many are left; both on the device."""
        check(self._cancelled)
        with torch.cuda.device(self._pixels.device):
            if self._graph is None:
                if self._n_learned < _STEPS_BEFORE_RECORDING:
                    return self._label()
                self._graph = self._recorded()
            self._graph.replay()
            # The next replay writes to the same memory.
            labels, left = self._found
            return labels.clone(), left.clone()

    def learn(self) -> None:
        """Take one step towards the labels that were found last."""
        if self._graph is None:
            with torch.cuda.device(self._pixels.device):
                super().learn()
            self._n_learned += 1

    def _recorded(self) -> torch.cuda.CUDAGraph:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # Other threads may go on using the device meanwhile.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._found = self._label()
                super().learn()
            except BaseException:
                # That the recording is worthless now is no news.
                with suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return graph


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
    # Counting by bins would ask the device for the largest number first.
    votes = torch.zeros(n_superpixels * max_labels, dtype=torch.int32, device=labels.device)
    votes.scatter_add_(0, superpixels * max_labels + labels, torch.ones_like(labels, dtype=torch.int32))
    return votes.view(n_superpixels, max_labels).argmax(dim=1)[superpixels]


def _network(weights: list[NDArray[np.float32]]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight in weights:
        outputs, inputs, size, _ = weight.shape
        # No bias: batch normalisation takes it out again.
        layer = nn.utils.skip_init(
            nn.Conv2d, inputs, outputs, size, padding=size // 2, bias=False, dtype=torch.float32
        )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
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
