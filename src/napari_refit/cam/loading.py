"""Classifiers from files, names and modules; `load_classifier` is the way in."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from napari_refit.cam.architectures import PUBLISHED_CLASSES, build, list_architectures
from napari_refit.cam.checkpoint import SUFFIXES, CheckpointMetadata, read_metadata, read_state
from napari_refit.cam.classifier import Classifier
from napari_refit.cam.efficientnet_lite import DEVIATION, EFFICIENTNET_LITE0, MEAN, own_names
from napari_refit.cam.own_maps import OWN_NETWORKS, build_own
from napari_refit.errors import ReadError

# Fixed by construction, and not to be read off the module.
_FIXED_SIZES = {"maxvit_t": 224}
# Not torchvision's, but of the same classes in the same order.
_LIKE = {EFFICIENTNET_LITE0: "efficientnet_b0"}


def from_module(
    module: nn.Module, arch: str | None = None, classes: Sequence[str] | None = None
) -> Classifier:
    """Wrap a torch module; channels and number of classes are read off its first and last layers."""
    layers = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    if not layers:
        raise ValueError(f"{type(module).__name__} has neither convolution nor linear layer: no classifier")
    first = next((part for part in layers if isinstance(part, nn.Conv2d)), None)
    architecture = arch or type(module).__name__
    return Classifier(
        module,
        classes or _numbered(_outputs(layers[-1])),
        input_size=fixed_size(module, architecture),
        in_channels=3 if first is None else first.in_channels,
        architecture=architecture,
    )


def from_text(source: str, arch: str | None = None, classes: Sequence[str] | None = None) -> Classifier:
    """Load a checkpoint file, or build an architecture by its name."""
    name, _, weights = source.partition(":")
    known = list_architectures()
    if name in known:
        if arch not in (None, name):
            raise ValueError(f"arch {arch!r} contradicts {source!r}")
        if weights.lower() in ("", "none"):
            return _untrained(name, classes)
        if weights.lower().endswith(SUFFIXES):
            return _from_file(Path(weights), name, classes)
        return _published(name, weights, classes)
    if source.lower().endswith(SUFFIXES) or Path(source).exists():
        return _from_file(Path(source), arch, classes)
    close = difflib.get_close_matches(name, known, n=5) or ["phantom-cnn", "resnet18", "resnet34"]
    raise ValueError(
        f"no classifier {source!r}: neither a file ({', '.join(SUFFIXES)}) nor an architecture; "
        f"close to it: {', '.join(close)}"
    )


def _untrained(name: str, classes: Sequence[str] | None) -> Classifier:
    names = tuple(classes) if classes else _numbered(PUBLISHED_CLASSES)
    module = build(name, len(names)).eval()
    return Classifier(module, names, architecture=name, input_size=fixed_size(module, name))


def _published(name: str, weights: str, classes: Sequence[str] | None) -> Classifier:
    wanted = "imagenet" if weights.lower() in ("imagenet", "default") else weights
    module = build(name, PUBLISHED_CLASSES, weights=wanted).eval()
    categories, mean, std = published_facts(name)
    if classes and len(classes) != len(categories):
        raise ValueError(f"{name}:{weights} has {len(categories)} classes, got {len(classes)} names")
    return Classifier(
        module,
        classes or categories,
        architecture=name,
        input_size=fixed_size(module, name),
        mean=mean,
        std=std,
        name=f"{name}:{weights}",
    )


def _from_file(path: Path, arch: str | None, classes: Sequence[str] | None) -> Classifier:
    metadata = read_metadata(path) if path.suffix.lower() == ".safetensors" else None
    state = own_names(read_state(path))
    if metadata is None:
        metadata = _describe(path, state, arch, classes)
    elif arch not in (None, metadata.architecture):
        raise ReadError(path, f"holds a {metadata.architecture}, not the {arch} that was asked for")
    elif classes and len(classes) != len(metadata.classes):
        raise ValueError(f"{path} has {len(metadata.classes)} classes, got {len(classes)} names")
    try:
        module = _module(metadata)
    except ValueError as error:
        raise ReadError(path, str(error)) from error
    _fill(path, module, state, metadata.architecture)
    return Classifier(
        module.eval(),
        classes or metadata.classes,
        background=None if classes else metadata.background,
        activation=metadata.activation,
        input_size=metadata.input_size or fixed_size(module, metadata.architecture),
        in_channels=metadata.in_channels,
        mean=metadata.mean,
        std=metadata.std,
        margins=() if classes else metadata.margins,
        architecture=metadata.architecture,
        name=path.stem,
        checksum=_checksum(path),
    )


def _module(metadata: CheckpointMetadata) -> nn.Module:
    count = len(metadata.classes)
    if metadata.architecture in OWN_NETWORKS:
        return build_own(metadata.architecture, count, metadata.in_channels, metadata.settings)
    return build(metadata.architecture, count, metadata.in_channels)


def _describe(
    path: Path, state: Mapping[str, Tensor], arch: str | None, classes: Sequence[str] | None
) -> CheckpointMetadata:
    """What a plain state dict is, given its architecture."""
    if arch is None:
        raise ReadError(path, "does not say its architecture; name it (--arch, such as resnet34)")
    layers = [
        (name, part)
        for name, part in _skeleton(arch).named_modules()
        if isinstance(part, (nn.Linear, nn.Conv2d))
    ]
    first = next(name for name, part in layers if isinstance(part, nn.Conv2d))
    ends = [state.get(f"{name}.weight") for name in (first, layers[-1][0])]
    if ends[0] is None or ends[1] is None or ends[0].ndim != 4 or ends[1].ndim < 2:
        raise ReadError(path, _mismatch(arch, _skeleton(arch).state_dict(), state))
    in_channels, outputs = int(ends[0].shape[1]), int(ends[1].shape[0])
    if classes and len(classes) != outputs:
        raise ValueError(f"{path} has {outputs} classes, got {len(classes)} names")
    names = tuple(classes or _numbered(outputs))
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    known = (*_LIKE, *models.list_models(module=models))
    if outputs == PUBLISHED_CLASSES and in_channels == 3 and arch in known:
        categories, mean, std = published_facts(arch)
        names = tuple(classes or categories)
    return CheckpointMetadata(
        architecture=arch,
        classes=names,
        activation="sigmoid" if outputs == 1 else "softmax",
        input_size=None,
        in_channels=in_channels,
        mean=mean,
        std=std,
        background=next((i for i, name in enumerate(names) if name.casefold() == "background"), None),
    )


def _skeleton(architecture: str) -> nn.Module:
    """The network's shape alone: no memory, no random numbers."""
    with torch.device("meta"):
        return build(architecture, 2)


def _fill(path: Path, module: nn.Module, state: Mapping[str, Tensor], architecture: str) -> None:
    expected = module.state_dict()
    # Published files carry auxiliary classifiers that are only used in training.
    found = {
        name: value for name, value in state.items() if not name.startswith(("aux1.", "aux2.", "AuxLogits."))
    }
    # Files from before torch 0.4.1 lack the batch counters, which evaluation does not need.
    missing = [name for name in expected if name not in found and not name.endswith("num_batches_tracked")]
    wrong = [
        name for name, value in found.items() if name not in expected or value.shape != expected[name].shape
    ]
    if missing or wrong:
        raise ReadError(path, _mismatch(architecture, expected, found))
    module.load_state_dict(found, strict=False)


def _mismatch(architecture: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    missing = [name for name in expected if name not in found and not name.endswith("num_batches_tracked")]
    strange = [name for name in found if name not in expected]
    shapes = [name for name in expected if name in found and expected[name].shape != found[name].shape]
    if missing or strange:
        detail = f"expected keys {_some(missing)}, found keys {_some(strange)}"
    else:
        name = (shapes or list(expected))[0]
        detail = f"expected {name} of shape {_shape(expected, name)}, found {_shape(found, name)}"
    return f"is no checkpoint of {architecture}: {detail}; name the right architecture"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3]) or "no others"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    return tuple(int(length) for length in state[name].shape)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(count))


def _outputs(layer: nn.Module) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def fixed_size(module: nn.Module, architecture: str) -> int | None:
    """The one input size that a network takes by construction, in pixels; None if it takes any."""
    size = getattr(module, "image_size", None)
    return size if isinstance(size, int) else _FIXED_SIZES.get(architecture)


def published_facts(architecture: str) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]:
    """ImageNet's class names, and the mean and deviation of each channel, for published weights."""
    weights = next(iter(models.get_model_weights(_LIKE.get(architecture, architecture))))
    preset = weights.transforms()
    # Two ImageNet names occur twice (crane, maillot).
    names: list[str] = []
    for index, name in enumerate(weights.meta["categories"]):
        names.append(name if name not in names else f"{name} ({index})")
    if architecture == EFFICIENTNET_LITE0:
        return tuple(names), (MEAN,), (DEVIATION,)
    return tuple(names), tuple(preset.mean), tuple(preset.std)


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
