"""What differs between trainings from image-level labels: the network, and the loss of a batch.

Splits, folds, augmentation, resuming, reports and checkpoints are the same for all of them. A new one is a class of its
own file and one line in `LESSONS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from napari_refit.learn.optimising import Loss
from napari_refit.learn.samples import Samples
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.weights import Start, starting_network

LESSONS: dict[str, str] = {
    "classifier": "napari_refit.learn.lessons:ClassifierLesson",
    "cmer": "napari_refit.learn.cmer:CmerLesson",
    "seam": "napari_refit.learn.seam:SeamLesson",
}
"""Value of ``TrainingParams.learner`` to the lesson, as ``"module:class"``."""


class Lesson(Protocol):
    """One way to train."""

    def start(self, samples: Samples, params: TrainingParams, channels: int) -> Start:
        """Build the network and give it its first weights.

        Parameters
        ----------
        samples : Samples
        params : TrainingParams
        channels : int
            Of the images as they will be fed.

        Raises
        ------
        ValueError
            If the images or the parameters do not suit.
        ReadError
            If the weights cannot be had.
        """
        ...

    def forward(self, network: nn.Module, images: Tensor, chance: torch.Generator) -> Any:
        """Everything that the network is asked for a batch; runs in the training's precision.

        Parameters
        ----------
        network : torch.nn.Module
            In training mode.
        images : Tensor, shape (N, C, H, W)
            Augmented and normalised.
        chance : torch.Generator
            On the processor, seeded for this batch: what else is left to chance is drawn from it.
        """
        ...

    def loss(self, outcome: Any, targets: Tensor, plain: Loss) -> tuple[Tensor, Tensor]:
        """The loss, in float32.

        Parameters
        ----------
        outcome
            What `forward` returned.
        targets : Tensor, shape (N, K)
            Zeros and ones.
        plain : callable
            Cross-entropy of logits and targets, with the class weights and the label smoothing of the parameters.

        Returns
        -------
        logits : Tensor, shape (N, K)
            For the curves.
        loss : Tensor
            A number.
        """
        ...


class ClassifierLesson:
    """A plain classifier: cross-entropy of its logits."""

    def start(self, samples: Samples, params: TrainingParams, channels: int) -> Start:
        """Any architecture; see `starting_network`."""
        return starting_network(
            params.architecture, params.weights, len(samples.classes), channels, params.input_size
        )

    def forward(self, network: nn.Module, images: Tensor, chance: torch.Generator) -> Tensor:
        """Logits."""
        answer = network(images)
        # Inception answers with its auxiliary classifier while training.
        return answer if isinstance(answer, Tensor) else answer[0]

    def loss(self, outcome: Tensor, targets: Tensor, plain: Loss) -> tuple[Tensor, Tensor]:
        """Cross-entropy."""
        logits = outcome.float()
        return logits, plain(logits, targets)


def find_lesson(learner: str) -> Lesson:
    """The lesson of ``TrainingParams.learner``.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if learner not in LESSONS:
        raise ValueError(f"unknown learner {learner!r}; there are: {', '.join(LESSONS)}")
    module, _, name = LESSONS[learner].partition(":")
    lesson: Lesson = getattr(import_module(module), name)()
    return lesson
