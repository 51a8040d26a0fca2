"""The USS network's training on a processor: gradients by hand over compiled loops, in memory that is used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import run_bands
from napari_refit.params import NetworkParams
from napari_refit.uss import network_kernel as kernel
from napari_refit.uss import network_labels_kernel as labels_kernel
from napari_refit.uss.network_product_kernel import FEW, PANEL, padded, panels
from napari_refit.uss.network_weights import NARROW, WIDE, initial_weights

Floats = NDArray[np.float32]
EPSILON = 1e-5
# Lines are cut into so many parts, each with sums of its own, however many threads there are.
PARTS = 32
# Whoever is done takes the next.
BANDS = 8
# Added to values that no rectifier follows, so that none of them is held back.
UNRECTIFIED = np.float32(1e30)
NO_IMAGE, NO_CHANNELS = np.empty((0, 0, 0), np.float32), np.empty(0, np.float32)


class ProcessorTraining:
    """The network, and the image that it is trained on.

    Parameters
    ----------
    pixels : ndarray of float32, (H, W, C)
        More than one pixel.
    superpixels : ndarray of int64, (H, W), or None
        Numbered from 0 without gaps.
    params : NetworkParams
    cancelled : callable, optional
        Asked before each pass over the image; True raises `napari_refit.errors.Cancelled`.
    """

    def __init__(
        self,
        pixels: Floats,
        superpixels: NDArray[np.int64] | None,
        params: NetworkParams,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        height, width, channels = pixels.shape
        self._cancelled = cancelled
        self._learning_rate, self._momentum = np.float32(params.learning_rate), np.float32(params.momentum)
        roughness = params.continuity_weight / params.max_labels if superpixels is None else 0.0
        # Of the mean over all pixels, as the loss is, and not of that over all pairs of neighbours.
        self._down = np.float32(roughness * height / max(1, height - 1))
        self._across = np.float32(roughness * width / max(1, width - 1))
        self._superpixels = np.empty((0, 0), np.int64) if superpixels is None else superpixels
        n_superpixels = 1 if superpixels is None else int(superpixels.max()) + 1
        self._votes = np.empty((n_superpixels, params.max_labels), np.int32)
        self._labels = np.empty((height, width), np.int32)

        image = _image(height + 2, width + 2, padded(channels, FEW))
        image[1:-1, 1:-1, :channels] = pixels
        first, narrow, third = (_image(height, width, outputs) for outputs in (WIDE, NARROW, WIDE))
        last = padded(params.max_labels)
        # The slope of the first result is found after that of the third has been used.
        wide = _image(height, width, WIDE)
        self._layers = (
            Layer(3, image, first, wide),
            Layer(1, first, narrow, _image(height, width, NARROW)),
            Layer(3, narrow, third, wide),
            Layer(1, third, *(_image(height, width, last) for _ in range(2)), rectified=False),
        )
        # One vector of parameters and one of their slopes: a step is a line of arithmetic.
        size = sum(layer.n_parameters for layer in self._layers)
        self.parameters, self.slopes, self._velocity = (np.zeros(size, np.float32) for _ in range(3))
        begin = 0
        for layer, weight in zip(
            self._layers, initial_weights(channels, params.max_labels, params.seed), strict=True
        ):
            end = begin + layer.n_parameters
            layer.place(self.parameters[begin:end], self.slopes[begin:end], weight)
            begin = end

    def label(self) -> tuple[NDArray[np.int32], int]:
        """Every pixel's label after the superpixels' vote, overwritten the next time, and how many are left."""
        before = None
        for layer in self._layers:
            self._convolve(layer, before)
            before = layer
        fourth = self._layers[-1]
        line = fourth.factor[: self._votes.shape[1]], fourth.constant[: self._votes.shape[1]]
        self._run(labels_kernel.find_labels, len(self._labels), fourth.result, *line, self._labels)
        return self._labels, labels_kernel.vote(self._labels, self._superpixels, self._votes)

    def differentiate(self) -> None:
        """Fill in `slopes` of the loss at the labels that were found last."""
        first, second, third, fourth = self._layers
        n_labels = self._votes.shape[1]
        line = fourth.factor[:n_labels], fourth.constant[:n_labels]
        weights = self._down, self._across
        arguments = (fourth.result, *line, self._labels, *weights, fourth.slope, fourth.sums)
        self._run(labels_kernel.pull, PARTS, *arguments)
        self._descend(fourth, third, fourth.turned(1 / self._labels.size))
        self._descend(third, second, third.turned())
        self._descend(second, first, second.turned())
        self._descend(first, None, first.turned())

    def learn(self) -> None:
        """Take one step towards the labels that were found last."""
        self.differentiate()
        self._velocity *= self._momentum
        self._velocity += self.slopes
        self.parameters -= self._learning_rate * self._velocity

    def _convolve(self, layer: Layer, before: Layer | None) -> None:
        given = layer.seen_through(before)
        self._run(kernel.convolve, PARTS, *given, layer.forward_panels(), layer.result, layer.sums)
        layer.normalise()

    def _descend(self, layer: Layer, before: Layer | None, coefficients: Floats) -> None:
        constant = layer.constant if layer.rectified else layer.constant + UNRECTIFIED
        results = layer.slope, layer.result, layer.factor, constant, coefficients
        back = (NO_IMAGE, NO_IMAGE, layer.sums)
        if before is not None:
            back = (layer.backward_panels(), before.slope, before.sums)
        self._run(kernel.descend, PARTS, *results, *layer.seen_through(before), layer.weight_slopes, *back)
        np.sum(layer.weight_slopes, axis=0, out=layer.weight_slope)

    def _run(self, loop: Callable[..., None], length: int, *arguments: Any) -> None:
        run_bands(loop, length, *arguments, n_bands=BANDS, cancelled=self._cancelled)


class Layer:
    """A convolution and the batch normalisation behind it.

    Parameters
    ----------
    span : int
        Of its windows: 1 or 3.
    given : ndarray of float32, (height, width, channels)
        The image with a frame of zeros, or the result of the layer before.
    result : ndarray of float32, (height, width, outputs)
        The convolution's, before it is normalised.
    slope : ndarray of float32, (height, width, outputs)
        Where the slope of what is made of the result is kept.
    rectified : bool
        Whether a ReLU follows.
    """

    def __init__(
        self, span: int, given: Floats, result: Floats, slope: Floats, *, rectified: bool = True
    ) -> None:
        self.span, self.given, self.result, self.slope, self.rectified = span, given, result, slope, rectified
        self.outputs = result.shape[2]
        inputs = self.span**2 * given.shape[2]
        self.n_parameters = (inputs + 2) * self.outputs
        self.sums = np.empty((PARTS, 2, self.outputs))
        self.weight_slopes = np.empty((PARTS, inputs, self.outputs), np.float32)
        self.factor = self.constant = np.zeros(self.outputs, np.float32)
        self._mean = self._inverse = np.zeros(self.outputs)

    def place(self, parameters: Floats, slopes: Floats, weight: Floats) -> None:
        """Keep the parameters and their slopes in these vectors, and start from this weight."""
        self.weight, self._scale, self._shift = self._parts(parameters)
        self.weight_slope, self._scale_slope, self._shift_slope = self._parts(slopes)
        outputs, channels = weight.shape[:2]
        windows = self.weight.reshape(self.span, self.span, -1, self.outputs)
        windows[:, :, :channels, :outputs] = weight.transpose(2, 3, 1, 0)
        self._scale[:] = 1

    def _parts(self, vector: Floats) -> tuple[Floats, Floats, Floats]:
        end = len(vector) - 2 * self.outputs
        return vector[:end].reshape(-1, self.outputs), vector[end : -self.outputs], vector[-self.outputs :]

    def seen_through(self, before: Layer | None) -> tuple[Floats, Floats, Floats, int]:
        """What is convolved, as loops want it."""
        if before is None:
            return self.given, NO_CHANNELS, NO_CHANNELS, self.span
        return self.given, before.factor, before.constant, self.span

    def forward_panels(self) -> Floats:
        """The weight, in the order in which it is used."""
        return panels(self.weight)

    def backward_panels(self) -> Floats:
        """The weight from results to input: the windows turned round."""
        windows = self.weight.reshape(self.span, self.span, -1, self.outputs)
        turned = windows[::-1, ::-1].transpose(0, 1, 3, 2)
        return panels(turned.reshape(-1, windows.shape[2]))

    def normalise(self) -> None:
        """Take in the sums of the result: normalised it is ``result * factor + constant``."""
        mean, square = self.sums.sum(0) / (self.result.shape[0] * self.result.shape[1])
        self._mean = mean
        self._inverse = 1 / np.sqrt(np.maximum(square - mean**2, 0) + EPSILON)
        factor = self._scale * self._inverse
        self.factor, self.constant = (
            factor.astype(np.float32),
            (self._shift - mean * factor).astype(np.float32),
        )

    def turned(self, share: float = 1.0) -> Floats:
        """Take in the sums of the slope, of which ``share`` counts: what turns it into that before normalising."""
        total, product = self.sums.sum(0) * share
        n_pixels = self.result.shape[0] * self.result.shape[1]
        scale_slope = (product - self._mean * total) * self._inverse
        self._scale_slope[:], self._shift_slope[:] = scale_slope, total
        factor = self._scale * self._inverse
        by_value = -factor * self._inverse * scale_slope / n_pixels
        rest = -factor * total / n_pixels - by_value * self._mean
        return np.array([factor * share, by_value, rest], np.float32)


def _image(height: int, width: int, channels: int) -> Floats:
    """Zeros that begin where a line of the cache does: 16 channels are one."""
    size = height * width * channels
    memory = np.zeros(size + PANEL, np.float32)
    begin = -(memory.ctypes.data // 4) % PANEL
    return memory[begin : begin + size].reshape(height, width, channels)
