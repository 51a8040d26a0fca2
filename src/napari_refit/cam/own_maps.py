"""Networks that answer with response maps of their own: SEAM, WSS-CMER, FSSS. No CAM method is run on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from napari_refit.cam.classifier import PREDICTED
from napari_refit.cam.explain import MIRRORS, Explanation, mirrored
from napari_refit.cam.layers import evaluating
from napari_refit.errors import Cancelled

OWN_NETWORKS: dict[str, str] = {
    "cmer": "napari_refit.cam.cmer_network:build_cmer",
    "fsss": "napari_refit.cam.fsss_network:build_fsss",
    "seam": "napari_refit.cam.seam_network:build_seam",
}
"""Architecture to the function that builds it, as ``"module:function"``; it is called as `build_own` calls it."""


@runtime_checkable
class MapsItself(Protocol):
    """A torch module that makes its own response maps; calling it gives logits (N, K) as of any classifier.

    Attributes
    ----------
    maps_are_scaled : bool
        Whether the maps mean something as they are, in [0, 1], such as probabilities; else they are min-max
        normalised per plane and class, as the maps of a CAM method are.
    """

    maps_are_scaled: bool

    def own_maps(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """Maps (N, K, h, w), 0 or more, of all K classes at any resolution, and logits (N, K)."""
        ...


def build_own(
    architecture: str, n_classes: int, in_channels: int, settings: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build one of `OWN_NETWORKS`.

    Parameters
    ----------
    architecture : str
    n_classes, in_channels : int
    settings : mapping, optional
        What else its builder wants; kept in a checkpoint's metadata.

    Raises
    ------
    ValueError
        If the settings do not fit.
    """
    module, _, name = OWN_NETWORKS[architecture].partition(":")
    function: Callable[..., nn.Module] = getattr(import_module(module), name)
    try:
        return function(n_classes, in_channels, dict(settings or {}))
    except (TypeError, KeyError) as error:
        raise ValueError(f"{architecture} cannot be built from the settings {settings!r}: {error}") from error


def own_explanation(
    module: MapsItself,
    x: Tensor,
    targets: Sequence[int],
    smoothing: str = "none",
    cancelled: Callable[[], bool] | None = None,
    believed: Tensor | None = None,
) -> Explanation:
    """A network's own maps of some classes, in float32.

    Parameters
    ----------
    module : MapsItself
        Left in the mode it was in.
    x : Tensor, shape (N, C, H, W)
    targets : sequence of int
        Class indices; `PREDICTED` is the most likely class of each image.
    smoothing : {"none", "mirror", "flips", "eigen"}
        ``mirror`` averages over the image and its left-right mirrored copy, ``flips`` over the four mirrored copies;
        ``eigen`` is for CAM methods and changes nothing here.
    cancelled : callable, optional
        Asked before every run of the network.
    believed : Tensor, shape (N, K), optional
        The logits that decide about `PREDICTED`; by default those of the image as it is.

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.
    """
    assert isinstance(module, nn.Module)
    found, logits = [], x.new_empty(0)
    with torch.no_grad(), evaluating(module):
        for mirror in MIRRORS.get(smoothing, ((),)):
            if cancelled is not None and cancelled():
                raise Cancelled("response maps were cancelled")
            maps, answer = module.own_maps(mirrored(x, mirror))
            found.append(mirrored(maps.float(), mirror))
            # The first run, of the image as it is, decides which class is the most likely.
            logits = answer.float() if len(found) == 1 else logits
    maps = found[0] if len(found) == 1 else torch.stack(found).mean(0)
    rows = torch.arange(len(maps), device=maps.device)
    best = (logits if believed is None else believed).argmax(1)
    chosen = [maps[rows, best] if index == PREDICTED else maps[:, index] for index in targets]
    raw = torch.stack(chosen, 1) if chosen else maps[:, :0]
    return Explanation((raw,), logits)
