"""A case that is being worked on: read once, whichever methods want it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_refit.io.datasets import Dataset
from napari_refit.pipeline import Refit
from napari_refit.study.cases import Stack, read_stack
from napari_refit.study.responding import pipeline_of
from napari_refit.study.store import Kept
from napari_refit.study.training import learner_dataset


@dataclass
class Opened:
    """A case, and what has been read and made of it so far.

    Attributes
    ----------
    dataset : Dataset
        A view of it: where the case is looked for.
    name : str
    responses : dict of str to Kept
        Response maps by key.
    clustering : dict of str to float
        Seconds that clusters took, by digest of the parameters.
    truth : ndarray or None
    """

    dataset: Dataset
    name: str
    responses: dict[str, Kept] = field(default_factory=dict)
    clustering: dict[str, float] = field(default_factory=dict)
    truth: NDArray[np.uint8] | None = None
    _stacks: dict[object, Stack] = field(default_factory=dict)
    _pipelines: dict[object, Refit] = field(default_factory=dict)

    def stack(self, learner: str = "") -> Stack:
        """The image as a learner sees it.

        Raises
        ------
        ReadError
            If it cannot be read.
        """
        dataset = learner_dataset(self.dataset, learner)
        key = dataset.chosen_modalities
        if key not in self._stacks:
            self._stacks[key] = read_stack(dataset, dataset.case(self.name))
        return self._stacks[key]

    def pipeline(self, learner: str, device: str | None = None) -> Refit:
        """The pipeline on it; clusters that one method has made serve the others."""
        key = learner_dataset(self.dataset, learner).chosen_modalities
        if key not in self._pipelines:
            self._pipelines[key] = pipeline_of(self.stack(learner), device)
        return self._pipelines[key]
