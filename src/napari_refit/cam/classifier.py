"""A classifier and what must be known of it: its classes, what it wants to be fed, where it came from."""

from __future__ import annotations

import difflib
import hashlib
import os
import weakref
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_refit.cam.layers import finer_stage, last_convolutional_stage
from napari_refit.devices import torch_device
from napari_refit.params import BOTH, FINER

PREDICTED = -1
"""Stands for the class that the classifier believes in most, plane by plane."""

# Finding the last stage takes a run of the network, and a bare module is wrapped anew by every call.
_Asked = tuple[str, int, int]
_STAGES: weakref.WeakKeyDictionary[nn.Module, tuple[Any, dict[_Asked, str]]] = weakref.WeakKeyDictionary()

# ITU-R BT.601, as for the grey values of a photograph.
_GREY = (0.299, 0.587, 0.114)
# A network of other channels was taught modalities, none of which stands for another.
_COLOUR = (3, 4)


class Classifier:
    """An image classifier with what is needed to feed it and to read it.

    Parameters
    ----------
    module : torch.nn.Module
        Takes ``(N, in_channels, H, W)``, returns ``(N, n_classes)`` logits. It is not copied.
    classes : sequence of str
        One name per logit.
    background : int, optional
        The logit that means "nothing there"; by default the class named ``background``, else None.
    input_size : int, optional
        Planes are resized to a square of this side; None: they are fed as they are.
    in_channels : int
    mean, std : sequence of float
        Of planes in [0, 1]: one value per channel, or one for all.
    activation : {"softmax", "sigmoid"}, optional
        By default softmax, or sigmoid for a single logit.
    margins : sequence of float, optional
        A class is there where its logit, less the background's if there is one, is above its margin; by default 0.
    architecture, name : str
        For reports.
    checksum : str, optional
        ``"sha256:..."`` of the file it came from; by default that of the weights, computed at first use.

    Raises
    ------
    ValueError
        If the descriptions do not hold together.
    """

    def __init__(
        self,
        module: nn.Module,
        classes: Sequence[str],
        *,
        background: int | None = None,
        input_size: int | None = None,
        in_channels: int = 3,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        activation: str | None = None,
        margins: Sequence[float] = (),
        architecture: str = "",
        name: str = "",
        checksum: str | None = None,
    ) -> None:
        self.module = module
        self.classes = tuple(str(value) for value in classes)
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"class names must be unique, at least one: {self.classes}")
        named = [index for index, value in enumerate(self.classes) if value.casefold() == "background"]
        self.background = background if background is not None else (named[0] if named else None)
        if self.background is not None and not 0 <= self.background < len(self.classes):
            raise ValueError(f"background {self.background} is not one of {len(self.classes)} classes")
        self.input_size = input_size
        self.in_channels = in_channels
        self.mean = _per_channel("mean", mean, in_channels)
        self.std = _per_channel("std", std, in_channels)
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        self.activation = activation or ("sigmoid" if len(self.classes) == 1 else "softmax")
        if self.activation not in ("softmax", "sigmoid"):
            raise ValueError(f"activation must be softmax or sigmoid, got {activation!r}")
        self.margins = tuple(float(value) for value in margins) or (0.0,) * len(self.classes)
        if len(self.margins) != len(self.classes):
            raise ValueError(f"margins has {len(self.margins)} values for {len(self.classes)} classes")
        self.architecture = architecture or type(module).__name__
        self.name = name or self.architecture
        self._checksum = checksum
        self._stages: dict[_Asked, str] | None = None

    def __repr__(self) -> str:
        shown = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
        return f"Classifier({self.name!r}, {len(self.classes)} classes: {shown})"

    @cached_property
    def checksum(self) -> str:
        """``"sha256:..."`` of the file, or of the weights as they were at first use."""
        if self._checksum is not None:
            return self._checksum
        digest = hashlib.sha256()
        for name, value in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return f"sha256:{digest.hexdigest()}"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((value.device for value in self.module.parameters()), torch.device("cpu"))

    @property
    def foreground(self) -> tuple[int, ...]:
        """Indices of the classes that are not background."""
        return tuple(index for index in range(len(self.classes)) if index != self.background)

    def to(self, device: str | torch.device | None) -> Classifier:
        """Move the weights to a device, in place; None leaves them where they are.

        Raises
        ------
        ValueError
            If there is no such device on this machine.
        """
        if device is not None:
            self.module.to(torch_device(device))
        return self

    def class_number(self, index: int) -> int:
        """Mask value of a class: its 1-based rank among the foreground classes; 0 for the background.

        `PREDICTED` is given the number after the last class.
        """
        if index == PREDICTED:
            return len(self.foreground) + 1
        if index == self.background:
            return 0
        return self.foreground.index(index) + 1

    def class_indices(self, classes: str | int | Iterable[str | int] | None = None) -> tuple[int, ...]:
        """Find classes by name or index.

        Parameters
        ----------
        classes : str, int or sequence of them, optional
            ``"predicted"`` stands for the class that is believed in most, plane by plane. None or empty: all
            foreground classes.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        if classes is None:
            return self.foreground
        asked = [classes] if isinstance(classes, (str, int, np.integer)) else list(classes)
        return tuple(self._class_index(value) for value in asked) or self.foreground

    def _class_index(self, value: str | int) -> int:
        if isinstance(value, str):
            if value in self.classes:
                return self.classes.index(value)
            if value == "predicted":
                return PREDICTED
            lowered = [name.casefold() for name in self.classes]
            if lowered.count(value.casefold()) == 1:
                return lowered.index(value.casefold())
            close = difflib.get_close_matches(value, self.classes, n=5, cutoff=0.4) or self.classes[:5]
            raise ValueError(f"no class {value!r} in {self.name}; there are: {', '.join(close)}")
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"a class is a name or an index, got {value!r}")
        if not (0 <= value < len(self.classes) or value == PREDICTED):
            raise ValueError(f"no class {int(value)} in {self.name}, which has {len(self.classes)}")
        return int(value)

    def prepare(
        self, planes: np.ndarray, device: torch.device | None = None, *, scale: float = 1.0
    ) -> Tensor:
        """Turn planes into the network's input.

        Parameters
        ----------
        planes : array, shape (N, H, W) or (N, H, W, C)
            Real numbers in [0, 1]; NaN and infinite values count as 0. Grey planes are repeated for a network of
            three or four channels; colour becomes grey for a network of one; a fourth channel (alpha) is dropped.
        device : torch.device, optional
            Where to compute; the CPU when left out.
        scale : float
            The size that the network sees, relative to its usual one.

        Returns
        -------
        Tensor, shape (N, in_channels, h, w)
            Resized to `input_size` (bilinear, antialiased) and normalised by `mean` and `std`.

        Raises
        ------
        ValueError
            If the shape or number of channels does not fit.
        """
        # A copy: the caller's array may be read-only, which tensors cannot be.
        values = np.array(planes, dtype=np.float32, order="C")
        if values.ndim == 3:
            values = values[..., None]
        if values.ndim != 4 or 0 in values.shape:
            raise ValueError(f"planes must have shape (N, H, W) or (N, H, W, C), got {np.shape(planes)}")
        x = torch.from_numpy(values).to(device or "cpu").nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        x = self._fit_channels(x.permute(0, 3, 1, 2))
        size = self._size(x, scale)
        if tuple(x.shape[-2:]) != size:
            x = nn.functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        if any(self.mean):
            x = x - x.new_tensor(self.mean)[:, None, None]
        if set(self.std) != {1.0}:
            x = x / x.new_tensor(self.std)[:, None, None]
        weight = next(self.module.parameters(), None)
        return (
            x.expand(-1, self.in_channels, -1, -1)
            .contiguous()
            .to(x.dtype if weight is None else weight.dtype)
        )

    def _size(self, x: Tensor, scale: float) -> tuple[int, int]:
        sides = x.shape[-2:] if self.input_size is None else (self.input_size, self.input_size)
        height, width = (max(1, round(int(side) * scale)) for side in sides)
        return height, width

    def _fit_channels(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        if channels == self.in_channels:
            return x
        if channels == 1 and self.in_channels in _COLOUR:
            # Repeated once it has its final size.
            return x
        if channels in (3, 4) and self.in_channels in (1, 3):
            x = x[:, :3]
            return (
                x if self.in_channels == 3 else (x * x.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
            )
        raise ValueError(
            f"planes have {channels} channels, the classifier {self.name} wants {self.in_channels}"
        )

    def layers(self, prepared: Tensor, name: str = "") -> tuple[str, ...]:
        """Dotted names of the layers that maps are read at, for inputs of this size (see `prepare`).

        Parameters
        ----------
        prepared : Tensor, shape (N, in_channels, h, w)
        name : str
            Empty: the last convolutional stage. `FINER`: the last stage whose map has about one place per 16 x 16
            pixels of the input, or more; the former where none is finer. `BOTH`: these two, or the one if they are
            the same. Any other name stays as it is.
        """
        if name == BOTH:
            return tuple(dict.fromkeys(self._stage(prepared, each) for each in ("", FINER)))
        return (self._stage(prepared, name) if name in ("", FINER) else name,)

    def _stage(self, prepared: Tensor, name: str) -> str:
        if self._stages is None:
            self._stages = _known_stages(self.module)
        key = (name, int(prepared.shape[-2]), int(prepared.shape[-1]))
        if key not in self._stages:
            search = finer_stage if name == FINER else last_convolutional_stage
            self._stages[key] = search(self.module, prepared[:1].to(self.device))
        return self._stages[key]


def _known_stages(module: nn.Module) -> dict[_Asked, str]:
    """What was found out about a module of this structure before, by whichever wrapper."""
    structure = tuple((name, type(part)) for name, part in module.named_modules())
    known = _STAGES.get(module)
    if known is None or known[0] != structure:
        _STAGES[module] = known = (structure, {})
    return known[1]


def load_classifier(
    source: Classifier | nn.Module | str | os.PathLike[str],
    *,
    arch: str | None = None,
    classes: Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> Classifier:
    """Load a classifier from wherever it comes.

    Parameters
    ----------
    source : Classifier, torch.nn.Module, str or path-like
        A checkpoint file (``.safetensors``, ``.pt``, ``.pth``), a module, or an architecture's name:
        ``"resnet34"`` or ``"resnet34:none"`` (weights at random), ``"resnet34:imagenet"`` (published weights,
        downloaded once), ``"resnet34:weights.pth"`` (a local state dict).
    arch : str, optional
        The architecture, for a file that does not say it.
    classes : sequence of str, optional
        Names of the outputs, instead of those in the file.
    device : str or torch.device, optional
        Where to put it; None: where it is.

    Returns
    -------
    Classifier

    Raises
    ------
    ReadError
        If a file is missing, damaged, holds pickled objects or another architecture, or if published weights
        cannot be had.
    ValueError
        If a name is unknown or the class names do not fit.

    Examples
    --------
    >>> load_classifier("squeezenet1_1", classes=["background", "lesion"])
    Classifier('squeezenet1_1', 2 classes: background, lesion)
    """
    from napari_refit.cam import loading

    if isinstance(source, Classifier):
        if arch is not None or classes is not None:
            raise ValueError("arch and classes belong to a file, a name or a module, not to a Classifier")
        return source.to(device)
    if isinstance(source, nn.Module):
        return loading.from_module(source, arch, classes).to(device)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"a classifier is a file, a name or a torch module, got {type(source).__name__}")
    return loading.from_text(os.fspath(source), arch, classes).to(device)


def _per_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    found: tuple[Any, ...] = tuple(float(value) for value in values)
    if len(found) == 1:
        found = found * channels
    if len(found) != channels:
        raise ValueError(f"{name} has {len(found)} values for {channels} channels")
    return found
