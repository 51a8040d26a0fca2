"""Datasets as users download them: found, read, labelled, prepared, split, checked.

>>> from napari_refit.io.datasets import DATASETS, find_dataset
>>> list(DATASETS)
['busi', 'brats', 'lgg', 'decathlon', 'prostate158', 'table', 'folder']
"""

from napari_refit.io.datasets.case import Case, ImageFiles, MaskFiles, Slice
from napari_refit.io.datasets.dataset import Dataset
from napari_refit.io.datasets.declaration import ClassRule, Contents, Declaration
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.labels import ImageLabels, LabelRow, image_labels
from napari_refit.io.datasets.preparation import Preparation, SplitParams
from napari_refit.io.datasets.registry import DATASETS, find_dataset, register_dataset
from napari_refit.io.datasets.splits import Fold, Split, make_split
from napari_refit.io.datasets.training import Sample, TrainingSet, training_set

__all__ = [
    "DATASETS",
    "Case",
    "ClassRule",
    "Contents",
    "Dataset",
    "Declaration",
    "Finding",
    "Fold",
    "ImageFiles",
    "ImageLabels",
    "LabelRow",
    "MaskFiles",
    "Preparation",
    "Sample",
    "Slice",
    "Split",
    "SplitParams",
    "TrainingSet",
    "find_dataset",
    "image_labels",
    "make_split",
    "register_dataset",
    "training_set",
]
