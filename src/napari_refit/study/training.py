"""A study's trainings: one checkpoint per fold and learner, taken up where they were stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_refit.declare import subgroups
from napari_refit.io.datasets import Dataset, Fold, image_labels, training_set
from napari_refit.io.sidecar import file_checksum, sidecar_path
from napari_refit.learn.places import round_paths, state_path
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.splits import Split, split_cases
from napari_refit.recipe import RefitParams, digest
from napari_refit.study.settings import Listener
from napari_refit.study.store import Store, make_key

if TYPE_CHECKING:
    from napari_refit.learn.files import Callbacks
    from napari_refit.learn.fsss.pseudo import PseudoLabels

TWO_MODALITIES = "two-modalities"


@dataclass(frozen=True)
class Stage:
    """One training of one fold.

    Attributes
    ----------
    store : Store
    name : str
        What its files are called by.
    fold : Fold
    dataset : Dataset
        Holds the fold's training and validation cases and no others.
    params : Parameters
    device : str or None
    """

    store: Store
    name: str
    fold: Fold
    dataset: Dataset
    params: Any
    device: str | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint lies once it is there."""
        return self.store.folder / "training" / self.name / "checkpoint.safetensors"

    @property
    def _done(self) -> Path:
        return self.checkpoint.with_name("stage.json")

    @property
    def _begun(self) -> Path:
        return self.checkpoint.with_name("begun.json")

    def key(self) -> str:
        """What the checkpoint is made from: parameters, images, their labels or masks, the split."""
        sides = []
        for side in ("train", "validation"):
            cases = [self.dataset.case(name) for name in getattr(self.fold, side)]
            modalities = self.dataset.chosen_modalities
            sides.append(
                [
                    (case.name, self.store.images_key(case, modalities), self.store.truth_key(case))
                    for case in cases
                ]
            )
        start = self.params.weights
        weights = self.store.checksum(Path(start)) if Path(start).is_file() else start
        params = self.relevant_params()
        return make_key("training", self.name, params, weights, sides, digest(self.dataset.preparation))

    def relevant_params(self) -> Any:
        """The parameters that the checkpoint depends on."""
        return self.params

    def there(self) -> bool:
        """Whether the checkpoint is there and made from the same."""
        content = self.store.load_json(self._done, self.key())
        return content is not None and self._is_whole(content.get("checksum"))

    def run(self, listener: Listener) -> Path:
        """Train, or go on where an earlier training stopped, unless the checkpoint is there.

        Raises
        ------
        ValueError, ReadError, MemoryError, FloatingPointError
            If that is not possible; what is wrong is named.
        Cancelled
            If asked to stop; the next run goes on after the last whole epoch.
        """
        from napari_refit.learn.files import Callbacks

        if self.there():
            return self.checkpoint
        key, started = self.key(), time.perf_counter()
        begun, stopped = self.store.has(self._begun, key), self.stopped()
        report = self.report() if begun and not stopped else {}
        # A whole report without a state: stopped between the training's last file and the note that it is done.
        if not self._is_whole(report.get("checksum")):
            self.store.save_json(self._begun, key, {})

            def hear(fold: int, row: dict[str, Any]) -> None:
                del fold
                listener.tell(f"{self.name}: {self.epoch_line(row)}")

            callbacks = Callbacks(listener.progress, listener.cancelled, hear)
            report = self.train(begun and stopped, listener, callbacks)
        seconds = time.perf_counter() - started
        about = {
            "training": self.name,
            "parameters": self.params.model_dump(mode="json"),
            "seconds": seconds,
        }
        content = {"checksum": report["checksum"], "seconds": seconds, **self.remembered(report)}
        self.store.save_json(self._done, key, content, about)
        return self.checkpoint

    def stopped(self) -> bool:
        """Whether a training was stopped that can go on."""
        return state_path(self.checkpoint).exists()

    def train(self, resume: bool, listener: Listener, callbacks: Callbacks) -> dict[str, Any]:
        """Write the checkpoint and its report, and return this."""
        raise NotImplementedError

    def remembered(self, report: dict[str, Any]) -> dict[str, Any]:
        """What of the training's report the study wants to know later."""
        del report
        return {}

    def epoch_line(self, row: dict[str, Any]) -> str:
        """One epoch in a line."""
        return f"epoch {row['epoch']} of {self.params.epochs}; {row['seconds']:.1f} s"

    def content(self) -> dict[str, Any]:
        """What was noted when it was done; empty if it is not."""
        found: dict[str, Any] | None = self.store.load_json(self._done, self.key())
        return found or {}

    def report(self) -> dict[str, Any]:
        """The training's own report, as far as it is there."""
        try:
            found: dict[str, Any] = json.loads(sidecar_path(self.checkpoint).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def split_of(self, cases: Sequence[str]) -> Split:
        """The fold's split of images whose cases are these; nothing is tested in a training."""
        return split_cases(cases, self.fold.train, self.fold.validation)

    def _is_whole(self, checksum: Any) -> bool:
        return self.checkpoint.is_file() and file_checksum(self.checkpoint) == checksum


@dataclass(frozen=True)
class Training(Stage):
    """A training from image-level labels."""

    def relevant_params(self) -> dict[str, Any]:
        """Without those of other learners."""
        others = set(subgroups(type(self.params))) - {self.params.learner}
        found: dict[str, Any] = self.params.model_dump(exclude=others)
        return found

    def train(self, resume: bool, listener: Listener, callbacks: Callbacks) -> dict[str, Any]:
        """See `napari_refit.learn.files.train_to_file`."""
        from napari_refit.learn.datasets import dataset_samples
        from napari_refit.learn.files import train_to_file

        del listener
        samples = dataset_samples(self.dataset)
        return train_to_file(
            samples,
            self.params,
            self.checkpoint,
            split=self.split_of([row.case for row in samples.rows]),
            device=self.device,
            resume=resume,
            overwrite=not resume,
            callbacks=callbacks,
        )

    def epoch_line(self, row: dict[str, Any]) -> str:
        """One epoch in a line."""
        loss, area = row["training"]["loss"], row["validation"]["auroc"]
        return (
            f"epoch {row['epoch']} of {self.params.epochs}: training loss {loss:.3f}, "
            f"validation AUROC {area:.3f}; {row['seconds']:.1f} s"
        )


@dataclass(frozen=True)
class FsssTraining(Stage):
    """A training of a segmentation network.

    Attributes
    ----------
    labels : {"refit", "cam", "truth"}
    model : Classifier or None
        Whose response maps pseudo-labels are made from.
    refit : RefitParams or None
        How they are made.
    """

    labels: str = "truth"
    model: Any = None
    refit: RefitParams | None = None

    def key(self) -> str:
        """With what the labels are made from."""
        made = () if self.model is None else (self.model.checksum, self.refit and self.refit.used())
        return make_key(super().key(), self.labels, *made)

    def relevant_params(self) -> dict[str, Any]:
        """Without what is of pseudo-labels alone, where there are none."""
        from napari_refit.learn.fsss.params import LabellingParams

        others = set(LabellingParams.model_fields) if self.labels == "truth" else None
        found: dict[str, Any] = self.params.model_dump(exclude=others)
        return found

    def stopped(self) -> bool:
        """Whether a training was stopped that can go on, in a round or between two."""
        *before, last = round_paths(self.checkpoint, self.params.rounds)
        return state_path(last).exists() or any(path.exists() or state_path(path).exists() for path in before)

    def train(self, resume: bool, listener: Listener, callbacks: Callbacks) -> dict[str, Any]:
        """See `napari_refit.learn.fsss.rounds.train_on_pseudo_labels`, and for masks `train_fsss_to_file`."""
        from napari_refit.learn.fsss.files import train_fsss_to_file
        from napari_refit.learn.fsss.pixels import DatasetPixels
        from napari_refit.learn.fsss.rounds import train_on_pseudo_labels

        labels = image_labels(self.dataset)
        split = self.split_of([row.case for row in labels.rows])
        how: dict[str, Any] = {
            "split": split,
            "device": self.device,
            "resume": resume,
            "overwrite": not resume,
        }
        if self.labels == "truth":
            samples = DatasetPixels(self.dataset)
            return train_fsss_to_file(samples, self.params, self.checkpoint, callbacks=callbacks, **how)

        def tell(number: int, found: PseudoLabels) -> None:
            why = "".join(f"; {count}: {reason}" for reason, count in found.counts.items() if count)
            listener.tell(
                f"{self.name}: round {number} of {self.params.rounds}, {len(found.samples)} of {len(labels.rows)} "
                f"images used{why}"
            )

        return train_on_pseudo_labels(
            training_set(self.dataset, labels),
            self.model,
            self.checkpoint,
            self.refit,
            self.params,
            "cam" if self.labels == "cam" else "refit",
            source=f"{self.dataset.declaration.name}: {self.dataset.root.name}",
            cache=self.store.folder / "labels" / self.name,
            callbacks=callbacks,
            tell=tell,
            **how,
        )

    def remembered(self, report: dict[str, Any]) -> dict[str, Any]:
        """How many images were left out in the last round, and why; and what came out of each round."""
        labels = (report.get("data") or {}).get("labels") or {}
        return {"left_out": labels.get("left_out") or {}, "rounds": report.get("rounds") or []}


def learner_params(
    params: TrainingParams, learner: str, differing: Mapping[str, str] | None = None
) -> TrainingParams:
    """The parameters for another learner.

    Parameters
    ----------
    params : TrainingParams
    learner : str
    differing : mapping of str to str, optional
        What is to differ for it.

    Raises
    ------
    ValueError
        If this program cannot train it, or a parameter is not as it should be.
    """
    changes: dict[str, Any] = {"folds": 1, **(differing or {})}
    if learner != params.learner:
        changes["learner"] = learner
    return params.with_texts(changes)


def learner_dataset(dataset: Dataset, learner: str) -> Dataset:
    """The dataset as a learner sees it: WSS-CMER two modalities, where the dataset says which, on the same grid."""
    if learner != "cmer" or len(dataset.chosen_modalities) > 1 or TWO_MODALITIES not in dataset.preparations:
        return dataset
    modalities = dataset.preparations[TWO_MODALITIES].modalities
    return replace(dataset, preparation=dataset.preparation.model_copy(update={"modalities": modalities}))
