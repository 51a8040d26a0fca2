"""From what a dock's window shows to an order for the worker thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams
from napari_refit.widgets.planes import finest, modality_axis, spacing_of
from napari_refit.widgets.workbench import Order


@dataclass(frozen=True)
class Source:
    """Where response maps come from: a model, a layer of this viewer, or nowhere yet.

    Attributes
    ----------
    model : object or None
    layer : napari.layers.Image or None
    modalities : tuple of int
        What the model is fed (see `napari_refit.pipeline.Refit`).
    """

    model: Any = None
    layer: Any = None
    modalities: tuple[int, ...] = ()


@dataclass
class Versions:
    """How often the content of the image, the response layer and the hints was replaced."""

    image: int = 0
    response: int = 0
    hints: int = 0


def order_of(
    image: Any,
    source: Source,
    params: RefitParams,
    device: str | None,
    hints: Any,
    versions: Versions,
    carried: Mapping[PlaneIndex, Any],
) -> Order:
    """What a job needs to know of an image layer, read off now (see `Order`)."""
    layer = source.layer
    return Order(
        array=finest(image),
        rgb=bool(image.rgb),
        spacing=spacing_of(image),
        params=params,
        version=versions.image,
        modality_axis=modality_axis(image),
        model=source.model,
        modalities=source.modalities,
        response=None if layer is None else finest(layer),
        response_version=versions.response,
        response_name="" if layer is None else layer.name,
        device=device,
        hints=hints,
        hints_version=versions.hints,
        carried=carried,
    )
