"""Names of the classifiers that can be built, read without importing torch."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OWN = ("phantom-cnn", "efficientnet-lite0")
COMMON = ("resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "efficientnet_b0", "vgg16")
_BUILDER = re.compile(r"^@register_model\(\).*?^def (\w+)\(", re.MULTILINE | re.DOTALL)


@cache
def torchvision_names() -> tuple[str, ...]:
    """Return the classification models of the installed torchvision, sorted as a person would.

    The names are read from torchvision's source, since importing it takes seconds; where the source cannot be
    read, a few common names stand in.

    Examples
    --------
    >>> "resnet34" in torchvision_names()
    True
    """
    spec = find_spec("torchvision")
    names: set[str] = set()
    for root in spec.submodule_search_locations or [] if spec else []:
        for path in Path(root, "models").glob("*.py"):
            names.update(_BUILDER.findall(path.read_text(encoding="utf-8")))
    return tuple(sorted(names or COMMON, key=_natural))


def architecture_names() -> tuple[str, ...]:
    """Return every architecture that a checkpoint may have."""
    return OWN + torchvision_names()


def _natural(name: str) -> list[tuple[bool, int | str]]:
    return [
        (part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name) if part
    ]
