"""Reading one layer of a network while it runs, without changing the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from napari_refit.cam.layers import as_logits, layout_of
from napari_refit.errors import Cancelled


class Tap(nn.Module):
    """A network whose one layer passes its output, as ``(N, C, h, w)``, through the child ``tap``.

    grad-cam may hook or replace ``tap`` at will: the network itself carries one forward hook, only while `attached`.
    Tokens and channels-last maps are rearranged on the way, so no method needs to know of them. The gradient graph
    begins at the layer: what lies before it is never differentiated.

    Parameters
    ----------
    network : torch.nn.Module
    layer : torch.nn.Module or None
        None: nothing is tapped, gradients reach the input.
    name : str
        The layer's name, for messages.
    cancelled : callable, optional
        Asked before every run of the network.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: nn.Module | None,
        name: str = "",
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        # First, so that a search through the children meets it before any of the network's.
        self.tap = nn.Identity()
        self.network = network
        self.name = name
        self._layer = [layer]
        self.cancelled = cancelled
        self._size = (0, 0)
        self._graph = False
        self._features: list[Tensor] = []
        self._passed: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Run the network; returns ``(N, n_classes)``."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("response maps were cancelled")
        self._size = (int(x.shape[-2]), int(x.shape[-1]))
        self._features, self._passed = [], []
        return as_logits(self.network(x))

    @property
    def features(self) -> Tensor:
        """What the layer gave in the last run, ``(N, C, h, w)``; gradients are taken with respect to it."""
        self._require()
        return self._features[0]

    @property
    def passed(self) -> Tensor:
        """The same as the rest of the network saw it: a following in-place ReLU is part of it on every device."""
        self._require()
        return self._passed[0]

    def _require(self) -> None:
        if not self._features:
            raise ValueError(f"layer {self.name!r} takes no part in this network's forward pass")

    @contextmanager
    def attached(self, *, graph: bool = False) -> Iterator[None]:
        """Tap the layer within; with ``graph``, gradients are switched on from the layer on, to the run's end."""
        layer = self._layer[0]
        self._graph = graph
        handle = None if layer is None else layer.register_forward_hook(self._divert)
        try:
            yield
        finally:
            if handle is not None:
                handle.remove()
            self._features, self._passed = [], []

    def _divert(self, layer: nn.Module, arguments: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        layout = layout_of(first, self._size)
        if layout is None:
            shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
            raise ValueError(f"layer {self.name!r} returns {shape}, which is no map; choose an earlier layer")
        if self._graph:
            torch.set_grad_enabled(True)
        features = layout.to_map(first)
        if not features.requires_grad:
            features = features.detach().requires_grad_(torch.is_grad_enabled())
        passed = self.tap(features.clone())
        self._features.append(features)
        self._passed.append(passed)
        replaced = layout.from_map(passed, first)
        if isinstance(output, (tuple, list)):
            return type(output)((replaced, *output[1:]))
        return replaced
