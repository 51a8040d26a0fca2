"""File > Open Sample: the phantom and its truth."""

from __future__ import annotations

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def phantom() -> list[LayerData]:
    """Return the sample volume and its truth as napari layers, made at the moment they are asked for."""
    from napari_refit._reader import layer_of
    from napari_refit.io import phantom as maker
    from napari_refit.io.volume import Volume

    made = maker.phantom(maker.DEMO_SEED)
    axes = ("x", "y", "z")
    image = Volume.from_array(made.image, axes, made.affine)
    truth = Volume.from_array(made.truth, axes, made.affine)
    labels, keywords, kind = layer_of(truth, "phantom truth")
    # The refined labels below must stay in sight.
    keywords["opacity"] = 0.4
    return [layer_of(image, "phantom (made by code)"), (labels, keywords, kind)]
