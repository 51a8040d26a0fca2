"""The stages of a classifier without its head: features at three resolutions, the last of them as fine as is asked."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from napari_refit.cam.efficientnet_lite import SamePadding
from napari_refit.cam.layers import last_convolutional_stage, layout_of, map_layers

# Facts of a network are found at this size, so that they do not depend on the images it is used on.
_PROBE = 224
_AUXILIARY = ("aux1", "aux2", "AuxLogits")


@dataclass(frozen=True)
class Stage:
    """One of the parts that a network passes its features through.

    Attributes
    ----------
    name : str
        Dotted.
    channels : int
    stride : int
        Pixels of the image per place, to the nearest power of 2.
    """

    name: str
    channels: int
    stride: int


class Trunk(nn.Module):
    """A classifier's stages.

    Parameters
    ----------
    network : torch.nn.Module
        A convolutional classifier; taken over and changed: what comes after its last stage is removed.
    in_channels : int
    stride : int
        Pixels per place of the last level. Strides beyond it are taken out of the stages, whose later kernels are
        spread (dilated) in return, so that trained weights still fit. Where a network cannot do that, it is as it was.

    Attributes
    ----------
    levels : tuple of Stage
        Three, each of another resolution in the network as it was.

    Raises
    ------
    ValueError
        If the network has no three resolutions.

    Notes
    -----
    Yu, Koltun and Funkhouser (2017), Dilated residual networks.
    """

    def __init__(self, network: nn.Module, in_channels: int, stride: int) -> None:
        super().__init__()
        for name in _AUXILIARY:
            if getattr(network, name, None) is not None:
                setattr(network, name, None)
        stages = find_stages(network, in_channels)
        names = [stage.name for stage in _resolutions(stages)[-3:]]
        if len(names) < 3:
            raise ValueError(
                f"{type(network).__name__} has features at {len(names)} resolutions, three are needed: "
                "take a convolutional network, such as efficientnet-lite0 or resnet34"
            )
        if stages[-1].stride > stride:
            finer = copy.deepcopy(network)
            if _spread(finer, stages, stride):
                found = find_stages(finer, in_channels)
                if [stage.name for stage in found] == [stage.name for stage in stages]:
                    network, stages = (finer, found) if found[-1].stride == stride else (network, stages)
        by_name = {stage.name: stage for stage in stages}
        self.levels = tuple(by_name[name] for name in names)
        _remove_after(network, names[-1])
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the three levels, each (N, C, h, w), of images (N, in_channels, H, W)."""
        size = (int(x.shape[-2]), int(x.shape[-1]))
        found: dict[str, Tensor] = {}

        def keep(name: str, part: nn.Module, arguments: Any, output: Tensor) -> None:
            found[name] = output
            if name == self.levels[-1].name:
                raise _ReachedError

        handles = [
            self.network.get_submodule(level.name).register_forward_hook(partial(keep, level.name))
            for level in self.levels
        ]
        try:
            self.network(x)
        except _ReachedError:
            pass
        finally:
            for handle in handles:
                handle.remove()
        first, second, last = (_as_map(found[level.name], size) for level in self.levels)
        return first, second, last


class _ReachedError(Exception):
    """The last level is there; what is left of the network has nothing to add."""


def _as_map(output: Tensor, size: tuple[int, int]) -> Tensor:
    layout = layout_of(output, size)
    if layout is None:
        raise ValueError(f"a stage returned {tuple(output.shape)}, which is no map")
    return layout.to_map(output)


def find_stages(network: nn.Module, in_channels: int) -> list[Stage]:
    """The parts that a network's features pass through one after another, outermost parts only.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it was.
    in_channels : int

    Raises
    ------
    ValueError
        If no part returns a map.

    Examples
    --------
    >>> from napari_refit.cam.architectures import build
    >>> [stage.stride for stage in find_stages(build("resnet18", 2), 3)]
    [2, 2, 2, 4, 4, 8, 16, 32]
    """
    weight = next(network.parameters())
    sample = torch.zeros(1, in_channels, _PROBE, _PROBE, device=weight.device, dtype=weight.dtype)
    last = last_convolutional_stage(network, sample)
    maps = map_layers(network, sample)
    order = list(maps)

    def within(container: str) -> list[str]:
        names = [name for name in order if name.rpartition(".")[0] == container]
        return [name for name in names if order.index(name) <= order.index(last)]

    inner = within(last)
    names = inner if len({maps[name][1] for name in inner}) > 1 else within(last.rpartition(".")[0])
    return [Stage(name, maps[name][0], _stride(maps[name][1])) for name in names]


def _stride(grid: tuple[int, int]) -> int:
    return 1 << round(torch.log2(torch.tensor(_PROBE / max(grid))).item())


def _resolutions(stages: list[Stage]) -> list[Stage]:
    """The last stage of every resolution."""
    following = [*stages[1:], None]
    return [
        stage
        for stage, after in zip(stages, following, strict=True)
        if after is None or after.stride > stage.stride
    ]


def _spread(network: nn.Module, stages: list[Stage], wanted: int) -> bool:
    """Take strides out of the stages that are coarser than wanted; False if one of them cannot do without."""
    before, dilation = 1, 1
    for stage in stages:
        taken, later = stage.stride // before, dilation
        before = stage.stride
        if stage.stride <= wanted:
            continue
        if taken > 1:
            later = dilation * taken
            if not _unstride(network.get_submodule(stage.name), dilation, later):
                return False
        elif not _dilate(network.get_submodule(stage.name), dilation):
            return False
        dilation = later
    return True


def _unstride(stage: nn.Module, before: int, after: int) -> bool:
    """Stride 1 wherever a convolution had one; kernels before that are spread as before, later ones wider."""
    padding: SamePadding | None = None
    met = False
    for part in stage.modules():
        if isinstance(part, SamePadding):
            padding = part
        if not isinstance(part, nn.Conv2d):
            continue
        strided = max(part.stride) > 1
        if strided:
            part.stride = (1, 1)
            if padding is not None:
                # Both together keep the grid.
                padding.stride, padding.kernel = 1, (part.kernel_size[0] - 1) * before + 1
                part.dilation, padding, met = (before, before), None, True
                continue
        met = met or strided
        if not _dilate(part, before if strided or not met else after):
            return False
    return met


def _dilate(stage: nn.Module, dilation: int) -> bool:
    for part in stage.modules():
        if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1:
            padded = tuple((kernel - 1) // 2 for kernel in part.kernel_size)
            if max(part.stride) > 1 or part.padding != padded or any(k % 2 == 0 for k in part.kernel_size):
                return False
            part.dilation = (dilation, dilation)
            part.padding = (padded[0] * dilation, padded[1] * dilation)
    return True


def _remove_after(network: nn.Module, name: str) -> None:
    """Put nothing in the place of the parts that come after a stage; they are registered in that order."""
    path = name.split(".")
    for depth, leaf in enumerate(path):
        container = network.get_submodule(".".join(path[:depth]))
        names = [child for child, _ in container.named_children()]
        for child in names[names.index(leaf) + 1 :]:
            setattr(container, child, nn.Identity())
