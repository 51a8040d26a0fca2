"""From what a dock's window shows to an order for the worker thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


def order_of(
    image: Any,
    source: Source,
    params: RefitParams,
    device: str | None,
    version: int,
    response_version: int,
) -> Order:
    """What a job needs to know of an image layer, read off now (see `Order`)."""
    layer = source.layer
    return Order(
        array=finest(image),
        rgb=bool(image.rgb),
        spacing=spacing_of(image),
        params=params,
        version=version,
        modality_axis=modality_axis(image),
        model=source.model,
        modalities=source.modalities,
        response=None if layer is None else finest(layer),
        response_version=response_version,
        response_name="" if layer is None else layer.name,
        device=device,
    )
