"""The pieces of a fold's work, case by case: response maps, tables for a threshold, masks, scores; kept and used again.

Everything up to the masks is given views of the dataset: trainings and thresholds the cases of the training and
validation part and no others, test cases without their reference masks. Only `Pieces.score` opens those.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.io.datasets import Dataset, image_labels
from napari_refit.io.datasets import Fold as Parts
from napari_refit.params import FinishParams
from napari_refit.recipe import RefitParams, digest
from napari_refit.study.cases import (
    fitting_params,
    only,
    read_truth_stack,
    some,
    without_truth,
)
from napari_refit.study.methods import Method
from napari_refit.study.opened import Opened
from napari_refit.study.responding import (
    CaseResponse,
    Responder,
    as_response,
    segmented,
    thresholded,
    with_response,
    with_threshold,
)
from napari_refit.study.scoring import TOLERANCE, score_case
from napari_refit.study.settings import StudySettings
from napari_refit.study.store import Kept, Store, make_key
from napari_refit.study.training import FsssTraining, Training, learner_dataset, learner_params
from napari_refit.study.tuning import best_threshold, overlap_by_threshold

OUTSIDE = "outside"
RESPONDING = ("threshold", "refit")
MASK_IS_FITTED = ("boundary", "appearance", "hierarchy", "partition_ensemble")


class Pieces:
    """What one fold's work is made of.

    Parameters
    ----------
    dataset : Dataset
        Prepared; all cases.
    parts : Parts
        Names of the cases to train on, to choose on, to test on.
    number : int
        Of the fold, from 1.
    settings : StudySettings
    store : Store

    Attributes
    ----------
    tested, chosen_on : tuple of str
        Names of the cases that are tested, and that thresholds are chosen on.
    learning : Dataset
        Holds the training and validation cases and no others.
    testing : Dataset
        Holds the test cases, without reference masks and labels.
    """

    def __init__(
        self, dataset: Dataset, parts: Parts, number: int, settings: StudySettings, store: Store
    ) -> None:
        self.number, self.parts, self.settings, self.store = number, parts, settings, store
        self.class_names = dataset.class_names
        self.preparation = dataset.preparation
        wanted = settings.evaluate
        tested = [name for name in parts.test if not wanted or dataset.case(name).label in wanted]
        self.tested = some(tested, settings.limit)
        self.chosen_on = some([*parts.train, *parts.validation], settings.limit)
        self.learning = only(dataset, [*parts.train, *parts.validation])
        self.testing = without_truth(dataset, self.tested)
        self._scored = only(dataset, self.tested)
        self._responders: dict[str, Responder] = {}
        self._thresholds: dict[str, dict[str, Any]] = {}
        self._networks: dict[str, Any] = {}

    def training(self, learner: str) -> Training:
        """The training of a learner in this fold."""
        params = learner_params(self.settings.training, learner, self.settings.training_of.get(learner))
        dataset, name = learner_dataset(self.learning, learner), f"{learner}-fold{self.number}"
        return Training(self.store, name, self.parts, dataset, params, self.settings.device)

    def fsss_training(self, method: Method) -> FsssTraining:
        """The training of a segmentation network; the network that its labels come from must be trained."""
        from napari_refit.learn.fsss.params import FsssParams

        params = FsssParams().with_texts({"seed": self.settings.training.seed, **self.settings.fsss})
        name = f"{method.key}-fold{self.number}"
        stage = (self.store, name, self.parts, self.learning, params, self.settings.device)
        if method.labels == "truth":
            return FsssTraining(*stage)
        model = self.responder(method.learner).classifier
        refit = fitting_params(method.params, self.preparation)
        return FsssTraining(*stage, labels=method.labels, model=model, refit=refit)

    def source(self, learner: str) -> str:
        """What the files of a learner's response maps are called by."""
        outside = learner == "classifier" and self.settings.model is not None
        return OUTSIDE if outside else f"{learner}-fold{self.number}"

    def is_trained(self, learner: str) -> bool:
        """Whether a learner's checkpoint is there, or comes from outside."""
        return self.source(learner) == OUTSIDE or self.training(learner).there()

    def is_ready(self, method: Method) -> bool:
        """Whether all that a method trains is there."""
        if method.learner and not self.is_trained(method.learner):
            return False
        return method.kind != "fsss" or self.fsss_training(method).there()

    def network(self, method: Method) -> Any:
        """The segmentation network of a method, loaded; it must be trained."""
        if method.key not in self._networks:
            from napari_refit.cam.classifier import load_classifier
            from napari_refit.devices import torch_device

            checkpoint = self.fsss_training(method).checkpoint
            self._networks[method.key] = load_classifier(
                checkpoint, device=torch_device(self.settings.device)
            )
        return self._networks[method.key]

    def responder(self, learner: str) -> Responder:
        """The network behind a learner's response maps; it must be trained."""
        name = self.source(learner)
        if name not in self._responders:
            model = self.settings.model if name == OUTSIDE else str(self.training(learner).checkpoint)
            arch = self.settings.arch if name == OUTSIDE else None
            self._responders[name] = Responder(model, self.class_names, self.settings.device, arch)
        return self._responders[name]

    def has_table(self, method: Method, name: str) -> bool:
        """Whether `table` has nothing to do."""
        return self.store.has(*self._table_place(method, name))

    def table(self, method: Method, opened: Opened) -> None:
        """Score every threshold on a training or validation case."""
        path, key = self._table_place(method, opened.name)
        stack, response = opened.stack(method.learner), self.response(method, opened, keep=False)
        if opened.truth is None:
            opened.truth = read_truth_stack(opened.dataset, opened.dataset.case(opened.name))
        truth = opened.truth if stack.axis is not None else opened.truth[None]
        maps = response.maps
        if method.kind == "refit":
            maps = self._fitted(method, opened, response)
        found = overlap_by_threshold(maps, response.open, response.numbers, truth, len(self.class_names))
        self.store.save(path, key, found, compressed=True)

    def threshold(self, method: Method, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The threshold that is best for a method on the training and validation cases.

        Parameters
        ----------
        method : Method
        without : frozenset of str
            Cases that cannot be read.

        Returns
        -------
        dict
            ``threshold``, mean ``dice``, number of ``cases`` and ``images``.

        Raises
        ------
        ValueError
            If the tables are not all there, or tell nothing.
        """
        if method.key not in self._thresholds:
            names = [name for name in self.chosen_on if name not in without]
            kept = [self.store.load(*self._table_place(method, name)) for name in names]
            tables = [dict(table.arrays) for table in kept if table is not None]
            if len(tables) < len(names):
                raise ValueError(f"{method.key}: {len(names) - len(tables)} cases are not scored yet")
            threshold, dice = best_threshold(tables)
            images = sum(len(table["in_truth"]) for table in tables)
            found = {"threshold": threshold, "dice": dice, "cases": len(tables), "images": images}
            self._thresholds[method.key] = found
        return self._thresholds[method.key]

    def params_of(self, method: Method) -> RefitParams:
        """The parameters that a method runs with, its threshold chosen."""
        params = fitting_params(method.params, self.preparation)
        return with_threshold(params, self.threshold(method)["threshold"]) if method.tuned else params

    def kept_mask(self, method: Method, name: str) -> Kept | None:
        """A test case's mask, if it is there."""
        return self.store.load(*self.mask_place(method, name))

    def has_mask(self, method: Method, name: str) -> bool:
        """Whether `mask` has nothing to do."""
        return method.kind == "blank" or self.store.has(*self.mask_place(method, name))

    def mask(self, method: Method, opened: Opened) -> None:
        """Make the mask of a test case."""
        path, key = self.mask_place(method, opened.name)
        learner = method.learner if method.kind in RESPONDING else ""
        stack, before = opened.stack(learner), 0.0
        more: dict[str, NDArray[Any]] = {}
        if method.kind == "fsss":
            start = time.perf_counter()
            mask = segmented(self.network(method), stack, self.class_names, self.preparation)
        else:
            response, params = self.response(method, opened, keep=True), self.params_of(method)
            before, start = response.seconds, time.perf_counter()
            more = {"beliefs": self.responder(method.learner).beliefs(response.logits)}
            if method.kind == "refit":
                result = with_response(
                    opened.pipeline(learner, self.settings.device), response, params
                ).volume(axis=0)
                mask = np.asarray(result.mask)
                # Clusters that another method has made already count for this one too.
                made = digest(*params.clustering())
                before += opened.clustering.setdefault(made, result.seconds["clusters"])
                before -= result.seconds["clusters"]
            else:
                mask = thresholded(response, float(params.fit_params.threshold))
                mask = mask if stack.axis is not None else mask[0]
        mask = mask.astype(np.min_scalar_type(len(self.class_names)), copy=False)
        seconds = before + time.perf_counter() - start
        facts = {"seconds": seconds, "method": method.key, "case": opened.name, "fold": self.number}
        self.store.save(path, key, {"mask": mask, **more}, facts, compressed=True)

    def has_score(self, method: Method, name: str) -> bool:
        """Whether `score` has nothing to do."""
        return self.store.has(*self._score_place(method, name))

    def score(self, method: Method, opened: Opened) -> None:
        """Hold the mask of a test case against its reference mask."""
        path, key = self._score_place(method, opened.name)
        stack = opened.stack()
        if opened.truth is None:
            opened.truth = read_truth_stack(self._scored, self._scored.case(opened.name))
        mask, seconds = np.zeros(stack.shape, np.uint8), 0.0
        if method.kind != "blank":
            kept = self.kept_mask(method, opened.name)
            if kept is None:
                raise ValueError(f"the mask of {opened.name} by {method.key} is not there any more")
            mask, seconds = kept.arrays["mask"], float(kept.facts["seconds"])
        rows = score_case(
            mask,
            opened.truth,
            self.class_names,
            is_volume=stack.axis is not None,
            places=[stack.place(number) for number in range(stack.n_planes)],
            spacing=stack.spacing,
            seconds=seconds,
        )
        self.store.save_json(path, key, rows)

    def scores(self, method: Method, name: str) -> list[dict[str, Any]] | None:
        """The rows of a test case, if they are there."""
        found: list[dict[str, Any]] | None = self.store.load_json(*self._score_place(method, name))
        return found

    def auroc(self, method: Method) -> float | None:
        """How well the network behind a method tells the fold's test images apart, by image-level label.

        Returns
        -------
        float or None
            Mean over the classes that some test images show and others do not; None if it cannot be told.
        """
        from napari_refit.learn.scores import mean_area

        beliefs, shown = [], []
        for name in self.tested:
            kept, rows = self.kept_mask(method, name), self.scores(method, name)
            if kept is None or rows is None or "beliefs" not in kept.arrays:
                continue
            planes = [row for row in rows if row["level"] == "image"]
            beliefs.append(kept.arrays["beliefs"])
            shown.append(np.reshape([row["in_truth"] > 0 for row in planes], (-1, len(self.class_names))))
        if not beliefs:
            return None
        scores, labels = np.concatenate(beliefs), np.concatenate(shown).astype(np.int64)
        told = ~np.isnan(scores).any(axis=0) & labels.any(axis=0) & ~labels.all(axis=0)
        return mean_area(scores[:, told], labels[:, told]) if told.any() else None

    def kept_response(self, method: Method, name: str) -> CaseResponse | None:
        """A test case's response maps, if the method has any and they are there."""
        if method.kind not in RESPONDING:
            return None
        kept = self.store.load(*self._response_place(method, self.testing, name))
        return None if kept is None else as_response(kept, "off")

    def truth(self, name: str) -> NDArray[np.uint8]:
        """A test case's reference mask."""
        return read_truth_stack(self._scored, self._scored.case(name))

    def truth_key(self, name: str) -> str:
        """What it is made from."""
        return self.store.truth_key(self._scored.case(name))

    def response(self, method: Method, opened: Opened, keep: bool) -> CaseResponse:
        """A case's response maps, worked out where they are not there; ``keep``: to be there next time."""
        path, key = self._response_place(method, opened.dataset, opened.name)
        if key not in opened.responses:
            kept = self.store.load(path, key)
            if kept is None:
                params = fitting_params(method.params, self.preparation)
                refit = opened.pipeline(method.learner, self.settings.device)
                arrays = self.responder(method.learner).compute(refit, params)
                kept = self.store.save(path, key, arrays) if keep else Kept(arrays, {})
            opened.responses[key] = kept
        shown = self._shown(opened.name) if self.settings.gate == "label" else None
        return as_response(opened.responses[key], method.params.cam.gate, shown)

    def _fitted(self, method: Method, opened: Opened, response: CaseResponse) -> NDArray[np.float32]:
        """Response maps after the fit: a mask is where they reach the threshold."""
        if method.params.fit not in MASK_IS_FITTED or method.params.finish != FinishParams():
            fits = " or ".join(MASK_IS_FITTED)
            raise ValueError(
                f"no threshold is chosen for fit {method.params.fit!r}: only for {fits}, unfinished"
            )
        fitted = np.zeros(response.maps.shape, np.float32)

        def take(positions: dict[int, int], result: Any) -> None:
            fitted[positions.get(0, 0)] = result.fitted

        params = fitting_params(method.params, self.preparation)
        refit = with_response(opened.pipeline(method.learner, self.settings.device), response, params)
        refit.volume(axis=0, on_slice=take)
        return fitted

    def _shown(self, name: str) -> NDArray[np.bool_]:
        """Image-level labels of every plane of a case, for a gate that knows them."""
        dataset = self._scored if name in self.tested else self.learning
        dataset = only(dataset, [name])
        planes = dataset.slices(dataset.case(name))
        rows = {(row.axis, row.index): row.labels for row in image_labels(dataset).rows}
        nothing = (0,) * len(self.class_names)
        return np.array([rows.get((plane.axis, plane.index), nothing) for plane in planes], bool)

    def _response_place(self, method: Method, dataset: Dataset, name: str) -> tuple[Path, str]:
        seen = learner_dataset(dataset, method.learner)
        params = fitting_params(method.params, self.preparation)
        images = self.store.images_key(seen.case(name), seen.chosen_modalities)
        key = self.responder(method.learner).key(params, images, seen.preparation)
        seen_as = params.cam.cam_input
        variant = seen_as if seen_as == "image" else f"{seen_as}-{method.preset}"
        return self.store.path("responses", f"{self.source(method.learner)}-{variant}", name), key

    def _table_place(self, method: Method, name: str) -> tuple[Path, str]:
        _, response = self._response_place(method, self.learning, name)
        case = self.learning.case(name)
        fit: object = "maps"
        if method.kind == "refit":
            fit = self._digest(with_threshold(method.params, 0.5), method.kind)
        key = make_key(
            "table", response, self.store.truth_key(case), fit, self._gate_key(method), self.class_names
        )
        source = self.source(method.learner)
        return self.store.path("tables", f"{source}-{method.key}", name), key

    def mask_place(self, method: Method, name: str) -> tuple[Path, str]:
        """Where a test case's mask lies, and what it is made from."""
        if method.kind == "fsss":
            images = self.store.images_key(self.testing.case(name), self.testing.chosen_modalities)
            made = (self.network(method).checksum, images, digest(self.preparation), self.class_names)
            return self.store.path("masks", method.key, name), make_key("mask", *made)
        _, response = self._response_place(method, self.testing, name)
        params = self.params_of(method)
        shown = ""
        if self.settings.gate == "label":
            shown = self.truth_key(name)
        key = make_key("mask", response, self._digest(params, method.kind), self._gate_key(method), shown)
        return self.store.path("masks", method.key, name), key

    def _score_place(self, method: Method, name: str) -> tuple[Path, str]:
        case = self._scored.case(name)
        if method.kind == "blank":
            made = self.store.images_key(case, self._scored.chosen_modalities)
        else:
            made = self.mask_place(method, name)[1]
        truth = self.truth_key(name)
        key = make_key("score", made, truth, digest(self.preparation), self.class_names, TOLERANCE)
        return self.store.path("scores", method.key, name, suffix=".json"), key

    def _gate_key(self, method: Method) -> str:
        return "label" if self.settings.gate == "label" else method.params.cam.gate

    def _digest(self, params: RefitParams, kind: str) -> str:
        if kind == "threshold":
            return digest(float(params.fit_params.threshold))
        fit = (params.fit, params.fit_params, *([params.finish] if params.finish != FinishParams() else []))
        return digest(*params.clustering(), *fit)
