"""What a user chose as the source of response maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_refit.cam.checkpoint import SUFFIXES

NEEDS_ARCHITECTURE = (".pt", ".pth")


@dataclass(frozen=True)
class ClassifierSource:
    """What the user chose.

    Attributes
    ----------
    kind : {"sample", "file", "torchvision", "layer", "none"}
    value : str
        Path of a file, name of a torchvision model or of a layer.
    arch : str
        Architecture that a plain torch checkpoint holds.
    weights : str
        Of a torchvision model: ``"none"``, ``"imagenet"`` or the path of a state dict.
    """

    kind: str = "none"
    value: str = ""
    arch: str = ""
    weights: str = ""

    @property
    def complete(self) -> bool:
        """Whether response maps can come from this."""
        return self.kind == "sample" or self.model is not None or self.layer is not None

    @property
    def layer(self) -> str | None:
        """Name of the layer that is the response map, or None."""
        return self.value if self.kind == "layer" and self.value else None

    @property
    def model(self) -> str | None:
        """What `napari_refit.cam.classifier.load_classifier` takes, or None."""
        if self.kind == "sample":
            from napari_refit.demo import sample_classifier

            return str(sample_classifier())
        if self.kind not in ("file", "torchvision") or not self.value:
            return None
        if self.kind == "torchvision":
            return f"{self.value}:{self.weights}" if self.weights else None
        if Path(self.value).suffix.lower() not in NEEDS_ARCHITECTURE:
            return self.value
        return f"{self.arch}:{self.value}" if self.arch else None

    @property
    def problem(self) -> str:
        """What is wrong with the chosen file, in one line; empty when nothing is."""
        path = self.value if self.kind == "file" else self.weights if self.kind == "torchvision" else ""
        if path in ("", "none", "imagenet"):
            return ""
        if Path(path).suffix.lower() not in SUFFIXES:
            return f"{Path(path).name} is not a checkpoint: choose one of {', '.join(SUFFIXES)}."
        return "" if Path(path).is_file() else f"There is no file {path}."
