"""Checkpoints of classifiers: one safetensors file whose metadata says what the weights are.

Nothing here imports torch until weights are read or written, so a dock can list a checkpoint's classes cheaply.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_refit.errors import ReadError, WriteError

if TYPE_CHECKING:
    import torch

METADATA_KEY = "napari_refit"
SUFFIXES = (".safetensors", ".pt", ".pth")
# A header says its own length in 8 bytes; no sane one reaches 100 MB.
_LONGEST_HEADER = 100_000_000


class CheckpointMetadata(BaseModel):
    """What a checkpoint says about its weights.

    Attributes
    ----------
    architecture : str
        A torchvision classifier's name, or one of our own.
    settings : dict
        What else is needed to build it (see `napari_refit.cam.own_maps.build_own`).
    classes : tuple of str
        One name per output, in their order.
    background : int or None
        The output that means "nothing there".
    activation : {"softmax", "sigmoid"}
        Exactly one class per image, or each class by itself.
    input_size : int or None
        Planes are resized to this many pixels a side; None: as they are.
    in_channels : int
    mean, std : tuple of float
        Of the [0, 1] planes, one per channel or one for all.
    margins : tuple of float
        One per class: the class is said to be there where its logit, less the background's if there is one, is above
        it (`napari_refit.learn.margins`). Empty: 0 for all.
    training : dict
        Summary of the training, free form.
    version : str
        Of the program that wrote the file.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    architecture: str
    settings: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[str, ...] = Field(min_length=1)
    background: int | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"
    input_size: int | None = Field(None, ge=1, le=16384)
    in_channels: int = Field(3, ge=1, le=4096)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    margins: tuple[float, ...] = ()
    training: dict[str, Any] = Field(default_factory=dict)
    version: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> CheckpointMetadata:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"class names repeat: {', '.join(self.classes)}")
        if self.background is not None and not 0 <= self.background < len(self.classes):
            raise ValueError(f"background {self.background} is not one of {len(self.classes)} classes")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.in_channels):
                raise ValueError(f"{name} has {len(values)} values for {self.in_channels} channels")
        if len(self.margins) not in (0, len(self.classes)):
            raise ValueError(f"margins has {len(self.margins)} values for {len(self.classes)} classes")
        if not all(math.isfinite(value) for value in self.margins):
            raise ValueError(f"margins must be finite, got {self.margins}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self


def save_checkpoint(
    path: str | os.PathLike[str],
    module: torch.nn.Module,
    metadata: CheckpointMetadata | Mapping[str, Any],
) -> None:
    """Write a classifier as one safetensors file; an older file is replaced only once the new one is complete.

    Parameters
    ----------
    path : path-like
        Ends in ``.safetensors``.
    module : torch.nn.Module
        Its state dict is written, as it is.
    metadata : CheckpointMetadata or mapping
        See `CheckpointMetadata`; ``version`` is filled in when empty.

    Raises
    ------
    ValueError
        If the name does not end in ``.safetensors`` or the metadata does not hold together.
    WriteError
        If the file cannot be written.
    """
    from importlib.metadata import version

    from safetensors.torch import save

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"a checkpoint's name must end in .safetensors, got {path.name!r}")
    described = (
        metadata
        if isinstance(metadata, CheckpointMetadata)
        else CheckpointMetadata.model_validate(dict(metadata))
    )
    if not described.version:
        described = described.model_copy(update={"version": version("napari-refit")})
    # Shared or strided storage is refused by the format, so every tensor gets its own.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    content = save(state, {METADATA_KEY: described.model_dump_json()})
    temporary: str | None = None
    try:
        temporary = str(path.with_name(f".{path.name}.{secrets.token_hex(6)}.part"))
        # Not mkstemp: its files are closed to everyone else, and others may share a checkpoint.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise WriteError(path, f"could not be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def read_metadata(path: str | os.PathLike[str]) -> CheckpointMetadata | None:
    """Read what a safetensors file says about itself, without its weights and without torch.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    CheckpointMetadata or None
        None if the file is a plain safetensors file that another program wrote.

    Raises
    ------
    ReadError
        If the file is missing, truncated or no safetensors file, or if its metadata does not hold together.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            prefix = stream.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else -1
            if not 0 < length <= min(size - 8, _LONGEST_HEADER):
                raise ReadError(path, "is truncated or no safetensors file; export or download it again")
            header = json.loads(stream.read(length))
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(path, _reason(error)) from error
    except (ValueError, RecursionError) as error:
        raise ReadError(path, "is damaged or no safetensors file; export or download it again") from error
    notes = header.get("__metadata__") if isinstance(header, dict) else None
    text = notes.get(METADATA_KEY) if isinstance(notes, dict) else None
    if text is None:
        return None
    try:
        return CheckpointMetadata.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "metadata"
        raise ReadError(path, f"its metadata is wrong at {place}: {first['msg']}") from error


def read_state(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a state dict from ``.safetensors``, ``.pt`` or ``.pth``; pickled objects are never unpickled.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        Name to tensor, on the CPU. The wrappers ``{"state_dict": ...}`` and ``{"model": ...}`` and the prefix
        ``module.`` of data-parallel training are taken off.

    Raises
    ------
    ReadError
        If the file is missing, truncated, of another format, or holds anything but tensors.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ReadError(path, f"is no checkpoint that can be read; there are {', '.join(SUFFIXES)}")
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ReadError(path, _reason(error)) from error
    except pickle.UnpicklingError as error:
        raise ReadError(
            path,
            "holds pickled Python objects, which could run code, or is damaged; "
            "save the state dict alone: torch.save(model.state_dict(), file)",
        ) from error
    except Exception as error:
        # torch raises RuntimeError, EOFError, KeyError and others for damaged archives.
        raise ReadError(
            path, "is truncated, damaged or no torch state dict; export or download it again"
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise ReadError(path, "holds no state dict; save it with torch.save(model.state_dict(), file)")
    strangers = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise ReadError(path, f"holds more than tensors ({strangers[0]!r}); save the state dict alone")
    state = {str(name): value for name, value in content.items()}
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except OSError as error:
        raise ReadError(path, _reason(error)) from error
    except (SafetensorError, ValueError) as error:
        raise ReadError(path, f"is truncated or damaged ({error}); export or download it again") from error


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a checkpoint"
    return f"could not be read: {error.strerror or error}"
