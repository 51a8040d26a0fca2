"""Reading layers of a network while it runs, without changing the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from napari_refit.cam.layers import as_logits, layout_of
from napari_refit.errors import Cancelled


class Tap(nn.Module):
    """A network some of whose layers pass their output, as ``(N, C, h, w)``, through the child ``tap``.

    grad-cam may hook or replace ``tap`` at will: the network itself carries one forward hook per layer, only while
    `attached`. Tokens and channels-last maps are rearranged on the way, so no method needs to know of them. The
    gradient graph begins at the first of the layers: what lies before it is never differentiated.

    Parameters
    ----------
    network : torch.nn.Module
    layers : mapping of str to torch.nn.Module
        By name; grad-cam wants one. None at all: nothing is tapped, gradients reach the input.
    cancelled : callable, optional
        Asked before every run of the network.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Mapping[str, nn.Module],
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        # First, so that a search through the children meets it before any of the network's.
        self.tap = nn.Identity()
        self.network = network
        # Not among its children, where the network's layers would be twice.
        self._layers = [*layers.items()]
        self.cancelled = cancelled
        self._size = (0, 0)
        self._graph = False
        self._read: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Run the network; returns ``(N, n_classes)``."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("response maps were cancelled")
        self._size = (int(x.shape[-2]), int(x.shape[-1]))
        self._read = {}
        return as_logits(self.network(x))

    def read(self) -> list[tuple[Tensor, Tensor]]:
        """What each layer gave in the last run, twice, both ``(N, C, h, w)``.

        Gradients are taken with respect to the first. The second is the same as the rest of the network saw it: a
        following in-place ReLU is part of it on every device.

        Raises
        ------
        ValueError
            If a layer took no part.
        """
        for name, _ in self._layers:
            if name not in self._read:
                raise ValueError(f"layer {name!r} takes no part in this network's forward pass")
        return [self._read[name] for name, _ in self._layers]

    @contextmanager
    def attached(self, *, graph: bool = False) -> Iterator[None]:
        """Tap the layers within; with ``graph``, gradients are switched on from the first on, to the run's end."""
        self._graph = graph
        handles = [layer.register_forward_hook(partial(self._divert, name)) for name, layer in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._read = {}

    def _divert(self, name: str, layer: nn.Module, arguments: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        layout = layout_of(first, self._size)
        if layout is None:
            shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
            raise ValueError(f"layer {name!r} returns {shape}, which is no map; choose an earlier layer")
        if self._graph:
            torch.set_grad_enabled(True)
        features = layout.to_map(first)
        if not features.requires_grad:
            features = features.detach().requires_grad_(torch.is_grad_enabled())
        passed = self.tap(features.clone())
        # Of a layer that is used twice, the first time.
        self._read.setdefault(name, (features, passed))
        replaced = layout.from_map(passed, first)
        if isinstance(output, (tuple, list)):
            return type(output)((replaced, *output[1:]))
        return replaced
