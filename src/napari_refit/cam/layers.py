"""Which layer of a network is mapped, and how its output lies on the plane."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """How a layer's output lies on the plane.

    Attributes
    ----------
    kind : {"channels_first", "channels_last", "tokens"}
        ``(N, C, h, w)``, ``(N, h, w, C)`` or ``(N, extra + h * w, C)``.
    grid : tuple of int
        ``(h, w)``.
    extra : int
        Leading tokens that belong to no place (the class token).
    """

    kind: Literal["channels_first", "channels_last", "tokens"]
    grid: tuple[int, int]
    extra: int = 0

    def to_map(self, output: Tensor) -> Tensor:
        """Bring an output to ``(N, C, h, w)``."""
        if self.kind == "channels_first":
            return output
        if self.kind == "channels_last":
            return output.permute(0, 3, 1, 2)
        places = output[:, self.extra :].transpose(1, 2)
        return places.reshape(output.shape[0], output.shape[2], *self.grid)

    def from_map(self, features: Tensor, output: Tensor) -> Tensor:
        """Undo `to_map`; extra tokens are taken from ``output``."""
        if self.kind == "channels_first":
            return features
        if self.kind == "channels_last":
            return features.permute(0, 2, 3, 1)
        places = features.flatten(2).transpose(1, 2)
        return torch.cat([output[:, : self.extra], places], dim=1)


def layout_of(output: Any, size: tuple[int, int]) -> Layout | None:
    """Tell how a layer's output lies on an input plane of ``size`` (height, width).

    Parameters
    ----------
    output : object
        What the layer returned.
    size : tuple of int
        Height and width of the network's input.

    Returns
    -------
    Layout or None
        None if the output is no map.

    Examples
    --------
    >>> layout_of(torch.zeros(1, 512, 7, 7), (224, 224)).kind
    'channels_first'
    >>> layout_of(torch.zeros(1, 7, 7, 768), (224, 224)).kind
    'channels_last'
    >>> layout_of(torch.zeros(1, 197, 768), (224, 224))
    Layout(kind='tokens', grid=(14, 14), extra=1)
    >>> layout_of(torch.zeros(1, 1000), (224, 224)) is None
    True
    """
    if not isinstance(output, Tensor) or not output.is_floating_point() or min(output.shape, default=0) < 1:
        return None
    if output.ndim == 4:
        first, last = tuple(output.shape[2:]), tuple(output.shape[1:3])
        misfit_first, misfit_last = _misfit(first, size), _misfit(last, size)
        if misfit_first > 0.4 and misfit_last < misfit_first / 2:
            return Layout("channels_last", (last[0], last[1]))
        return Layout("channels_first", (first[0], first[1]))
    if output.ndim == 3:
        found = [
            (_misfit(grid, size), extra, grid) for extra in (0, 1) for grid in _grids(output.shape[1] - extra)
        ]
        if found:
            misfit, extra, grid = min(found)
            if misfit <= 0.2:
                return Layout("tokens", grid, extra)
    return None


def _misfit(grid: tuple[int, ...], size: tuple[int, int]) -> float:
    """Difference of the logarithms of two aspect ratios."""
    return abs(math.log(grid[0] * size[1] / (grid[1] * size[0])))


def _grids(count: int) -> Iterator[tuple[int, int]]:
    for height in range(2, count // 2 + 1):
        if count % height == 0:
            yield height, count // height


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within: evaluation mode. Afterwards: every part in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        if any(training for _, training in modes):
            module.eval()
        yield
    finally:
        for part, training in modes:
            if part.training != training:
                part.training = training


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Within: evaluation mode, no parameter wants a gradient. Afterwards: as it was before, gradients included."""
    parameters = [(value, value.requires_grad, value.grad) for value in module.parameters()]
    # Searches through the children stumble over the empty places that removed auxiliary classifiers leave.
    holes = [
        (part, name) for part in module.modules() for name, child in part._modules.items() if child is None
    ]
    with evaluating(module):
        try:
            for part, name in holes:
                del part._modules[name]
                part.__dict__[name] = None
            for value, _, _ in parameters:
                value.requires_grad_(False)
            yield
        finally:
            for part, name in holes:
                part.__dict__.pop(name, None)
                part._modules[name] = None
            for value, wanted, gradient in parameters:
                value.requires_grad_(wanted)
                value.grad = gradient


def layer_names(module: nn.Module, sample: Tensor | None = None) -> tuple[str, ...]:
    """Dotted names of a network's layers.

    Parameters
    ----------
    module : torch.nn.Module
    sample : Tensor, optional
        A network input ``(1, C, H, W)``; then only layers whose output is a map are named, in the order in which
        they finish.

    Returns
    -------
    tuple of str
    """
    if sample is None:
        return tuple(name for name, _ in module.named_modules() if name)
    names = [record.name for record in _record(module, sample)[0]]
    return tuple(dict.fromkeys(names))


def map_layers(module: nn.Module, sample: Tensor) -> dict[str, tuple[int, tuple[int, int]]]:
    """Channels and grid of every layer whose output is a map of more than one place, in the order of finishing.

    Parameters
    ----------
    module : torch.nn.Module
    sample : Tensor
        A network input ``(1, C, H, W)``.

    Returns
    -------
    dict
        Dotted name to ``(channels, (h, w))``.
    """
    return {record.name: (record.channels, record.layout.grid) for record in _record(module, sample)[0]}


def find_layer(module: nn.Module, name: str) -> nn.Module:
    """Find a layer by its dotted name.

    Raises
    ------
    ValueError
        If there is none of that name; the closest names are listed.
    """
    if name:
        try:
            return module.get_submodule(name)
        except AttributeError:
            pass
    names = layer_names(module)
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[-5:]
    raise ValueError(f"no layer {name!r} in this network; close to it: {', '.join(close)}")


def last_convolutional_stage(module: nn.Module, sample: Tensor) -> str:
    """Find the layer that CAM methods are best read at.

    For a convolutional network it is the module that finishes last among those that contain a convolution and
    return a map of more than one place (``layer4`` of a ResNet), the outermost where several finish together; a
    convolution that is itself the classifier (SqueezeNet) does not count. For a transformer whose class token alone
    reaches the classifier it is the last layer whose other tokens still do (the first norm of the last block).

    Parameters
    ----------
    module : torch.nn.Module
    sample : Tensor
        A network input ``(1, C, H, W)``; one plane is enough.

    Returns
    -------
    str
        The layer's dotted name.

    Raises
    ------
    ValueError
        If no layer returns a map, for instance because the planes are too small for the network.
    """
    records, outputs = _record(module, sample)
    named = dict(module.named_modules())
    convolutions = {name: _convolutions(named[name]) for name in {record.name for record in records}}
    stages = [record for record in records if record.layout.kind != "tokens" and convolutions[record.name]]
    bodies = [
        record for record in stages if convolutions[record.name] > 1 or record.channels != outputs
    ] or stages
    tokens = [record for record in records if record.layout.kind == "tokens" and record.reaches]
    last = max([*bodies[-1:], *tokens[-1:]], key=lambda record: record.order, default=None)
    if last is None:
        height, width = sample.shape[-2:]
        raise ValueError(
            f"no layer of this network returns a map for planes of {height} x {width} pixels; "
            "use larger planes, or a convolutional network"
        )
    return last.name


def finer_stage(module: nn.Module, sample: Tensor, stride: int = 16) -> str:
    """Find the last stage whose map has about one place per ``stride`` x ``stride`` pixels, or more.

    That is ``layer3`` of a ResNet: less sure of the class than the last stage, and twice as fine. A stage is a module
    of several weighted layers; where no module has several (VGG), a convolution by itself.

    Parameters
    ----------
    module : torch.nn.Module
    sample : Tensor
        A network input ``(1, C, H, W)``; one plane is enough.
    stride : int

    Returns
    -------
    str
        The layer's dotted name; that of `last_convolutional_stage` where it is as fine already, or where no stage is.

    Raises
    ------
    ValueError
        As `last_convolutional_stage`.
    """
    last = last_convolutional_stage(module, sample)
    records, _ = _record(module, sample)
    named = dict(module.named_modules())
    fine = [record for record in records if _stride(record, sample) <= stride]
    if any(record.name == last for record in fine):
        return last
    weighted = {record.name: _weighted(named[record.name]) for record in fine}
    places = [record for record in fine if record.layout.kind != "tokens" and weighted[record.name]]
    stages = [record for record in places if weighted[record.name] > 1] or places
    return max(stages, key=lambda record: record.order).name if stages else last


@dataclass
class _Record:
    name: str
    order: int
    layout: Layout
    channels: int
    output: Tensor | None
    reaches: bool = False


def _record(module: nn.Module, sample: Tensor) -> tuple[list[_Record], int]:
    """Every map that comes by in one forward pass, in the order of finishing, and the number of outputs."""
    with untouched(module), torch.inference_mode(False):
        with torch.no_grad():
            records, _, logits = _watch(module, sample)
        if any(record.layout.kind == "tokens" for record in records):
            with torch.enable_grad():
                records, heads, logits = _watch(module, sample.detach().clone().requires_grad_(True))
                _mark_reaching(records, heads[-1] if heads else logits)
    return records, int(logits.shape[1])


def _watch(module: nn.Module, sample: Tensor) -> tuple[list[_Record], list[Tensor], Tensor]:
    size = (int(sample.shape[-2]), int(sample.shape[-1]))
    records: list[_Record] = []
    heads: list[Tensor] = []

    def keep(name: str, part: nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(part, nn.Linear) and arguments:
            heads.append(arguments[0])
        layout = layout_of(output, size)
        if layout is not None and max(layout.grid) > 1:
            channels = output.shape[1] if layout.kind == "channels_first" else output.shape[-1]
            kept = output if output.requires_grad else None
            records.append(_Record(name, len(records), layout, int(channels), kept))

    handles = []
    try:
        for name, part in module.named_modules():
            if name:
                handles.append(part.register_forward_hook(partial(keep, name)))
        return records, heads, as_logits(module(sample))
    finally:
        for handle in handles:
            handle.remove()


def _mark_reaching(records: list[_Record], head: Tensor) -> None:
    tokens = [record for record in records if record.layout.kind == "tokens" and record.output is not None]
    if not tokens or not head.requires_grad:
        return
    # Uneven weights: the plain sum of a layer norm's output has no gradient.
    probe = (
        head.flatten(1) * torch.linspace(-1, 1, head[0].numel(), device=head.device, dtype=head.dtype)
    ).sum()
    outputs = [record.output for record in tokens if record.output is not None]
    gradients = torch.autograd.grad(probe, outputs, allow_unused=True)
    for record, gradient in zip(tokens, gradients, strict=True):
        record.reaches = gradient is not None and bool(gradient[:, record.layout.extra :].abs().sum() > 0)


def as_logits(output: Any) -> Tensor:
    """Bring what a classifier returns to ``(N, n_classes)``.

    Raises
    ------
    ValueError
        If it is no classifier's output.
    """
    output = getattr(output, "logits", output)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, Tensor):
        if output.ndim == 1:
            return output[:, None]
        if output.ndim >= 2 and output[0, 0].numel() == 1:
            return output.flatten(1)
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise ValueError(f"the network is no classifier: it returns {shape}, not (images, classes)")


def _stride(record: _Record, sample: Tensor) -> int:
    """Pixels per place along a side, as the power of two that they are nearest to."""
    pixels = sample.shape[-2] * sample.shape[-1] / (record.layout.grid[0] * record.layout.grid[1])
    return 2 ** round(math.log2(pixels) / 2)


def _weighted(module: nn.Module) -> int:
    return sum(isinstance(part, (nn.Conv2d, nn.Linear)) for part in module.modules())


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(part, nn.Conv2d) for part in module.modules())
