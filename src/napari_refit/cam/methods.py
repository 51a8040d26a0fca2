"""The CAM methods of the installed grad-cam package.

A method is any class that the package exports, that is built from a model and its target layers, and that turns
inputs and targets into maps. Guided backpropagation is left out because it returns a gradient image in the input's
channels and not a class activation map; deep feature factorisation because its maps belong to concepts that it finds
by itself and not to classes.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

# What grad-cam 1.5.7 offers, for lists shown before the package, and with it torch, is loaded.
METHOD_TITLES = {
    "gradcam": "Grad-CAM",
    "gradcamplusplus": "Grad-CAM++",
    "gradcamelementwise": "Grad-CAM, element-wise",
    "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM",
    "layercam": "Layer-CAM",
    "eigencam": "Eigen-CAM (not class specific)",
    "eigengradcam": "Eigen-Grad-CAM",
    "segeigencam": "Seg-Eigen-CAM",
    "kpcacam": "KPCA-CAM (not class specific)",
    "fem": "FEM (not class specific)",
    "shapleycam": "Shapley-CAM",
    "finercam": "Finer-CAM",
    "refinecam": "RefineCAM (of one layer)",
    "fullgrad": "FullGrad (all layers)",
    "scorecam": "Score-CAM (slow)",
    "ablationcam": "Ablation-CAM (slow)",
    "sess": "SESS (very slow)",
    "randomcam": "Random weights (sanity check)",
}

# Their result for one plane would depend on its neighbours in the batch, or they need much memory per plane.
ONE_PLANE_AT_A_TIME = frozenset({"randomcam", "scorecam", "sess"})


# Their values share a logit out over the places of the layer: on a grid of four times as many places, of the same
# picture, each is a quarter. The values of the others do not depend on how many places there are.
SHARES = frozenset(
    {
        "gradcam",
        "gradcamelementwise",
        "hirescam",
        "xgradcam",
        "layercam",
        "eigengradcam",
        "segeigencam",
        "shapleycam",
        "finercam",
    }
)


class _Quiet:
    """Stands in for tqdm in grad-cam's loops: their bars would mix with our own progress."""

    @staticmethod
    def tqdm(items: Iterable[Any]) -> Iterable[Any]:
        return items


def method_key(name: str) -> str:
    """Bring any spelling of a method's name to its key.

    Examples
    --------
    >>> method_key("GradCAM++"), method_key("KPCA_CAM")
    ('gradcamplusplus', 'kpcacam')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))


@cache
def available_methods() -> dict[str, type]:
    """Every method of the installed grad-cam that returns a map.

    Returns
    -------
    dict
        Key (lower case, letters and digits only) to class.
    """
    import pytorch_grad_cam

    for loop in ("ablation_cam", "score_cam"):
        getattr(pytorch_grad_cam, loop).tqdm = _Quiet
    found = {
        method_key(name): value
        for name, value in vars(pytorch_grad_cam).items()
        if inspect.isclass(value) and _returns_map(value)
    }
    order = list(METHOD_TITLES)
    return dict(
        sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    )


def find_method(name: str) -> tuple[str, type]:
    """Find a method by any spelling of its name.

    Returns
    -------
    tuple
        Its key and its class.

    Raises
    ------
    ValueError
        If the installed grad-cam has none of that name.
    """
    methods = available_methods()
    key = method_key(name)
    if key not in methods:
        close = difflib.get_close_matches(key, methods, n=3) or list(methods)
        raise ValueError(f"unknown CAM method {name!r}; there are: {', '.join(close)}")
    return key, methods[key]


def find_key(name: str) -> str:
    """The key of a method, found without loading the package where its name is a known one.

    Raises
    ------
    ValueError
        As `find_method`.

    Examples
    --------
    >>> find_key("Grad-CAM")
    'gradcam'
    """
    key = method_key(name)
    return key if key in METHOD_TITLES else find_method(name)[0]


def _returns_map(value: type) -> bool:
    built_from = inspect.signature(value).parameters
    run = getattr(value, "forward", None)
    return (
        {"model", "target_layers"} <= set(built_from)
        and run is not None
        and {"input_tensor", "targets"} <= set(inspect.signature(run).parameters)
    )
