"""TCGA-LGG: brain MRI of lower-grade gliomas with masks of the FLAIR abnormality."""

from __future__ import annotations

import re
from pathlib import Path

from napari_refit.io.datasets.case import Case, ImageFiles, MaskFiles
from napari_refit.io.datasets.declaration import ClassRule, Contents, Declaration
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.listing import Listing, natural, shortened
from napari_refit.io.datasets.preparation import Preparation, SplitParams

MODALITIES = ("pre-contrast", "FLAIR", "post-contrast")
_SLICE = re.compile(r"(TCGA_\w+?_\w+?_\d{8})_(\d+)(_mask)?\.tiff?", re.IGNORECASE)
_VOLUME = re.compile(r"(TCGA_\w+?_\w+?_\d{8})(_seg)?\.nii(?:\.gz)?", re.IGNORECASE)


def scan(listing: Listing) -> Contents | None:
    """Find the set as TIFF slices, or as a NIfTI volume per patient."""
    found = _slices(listing) or _volumes(listing)
    if found is None:
        return None
    cases, findings = found
    return Contents(tuple(sorted(cases, key=lambda case: natural(case.name))), findings=tuple(findings))


def _slices(listing: Listing) -> tuple[list[Case], list[Finding]] | None:
    images: dict[str, dict[int, Path]] = {}
    masks: dict[str, dict[int, Path]] = {}
    repeated: dict[str, list[Path]] = {}
    for path, match in listing.matches(_SLICE):
        slices = (masks if match[3] else images).setdefault(match[1], {})
        # The published archive holds every folder twice.
        if slices.setdefault(int(match[2]), path) != path:
            repeated.setdefault(match[1], []).append(path)
    if not images:
        return None
    cases, findings = [], []
    for name, paths in repeated.items():
        message = f"is there more than once ({len(paths)} files more); the first is used"
        findings.append(Finding("note", "stray file", message, "", name, (paths[0].parent,)))
    for name, slices in images.items():
        numbers = sorted(slices)
        of_case = masks.pop(name, {})
        without = [slices[number] for number in numbers if number not in of_case]
        advice = "download the patient again"
        gaps = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
        if gaps:
            message = f"slices {shortened(map(str, gaps))} are not there"
            findings.append(
                Finding("warning", "missing slice", message, advice, name, (slices[numbers[0]].parent,))
            )
        if without:
            message = f"{len(without)} of {len(numbers)} slices have no mask"
            findings.append(Finding("error", "missing mask", message, advice, name, tuple(without[:3])))
        stray = tuple(of_case[number] for number in sorted(of_case) if number not in slices)
        if stray:
            findings.append(Finding("error", "missing image", "a mask without image", advice, name, stray))
        files = tuple(slices[number] for number in numbers)
        truth = None if without else MaskFiles(tuple(of_case[number] for number in numbers), "stack")
        cases.append(_case(name, {kind: ImageFiles(files, k) for k, kind in enumerate(MODALITIES)}, truth))
    for name, left in masks.items():
        advice = "download the patient again"
        findings.append(
            Finding("error", "missing image", "masks without images", advice, name, tuple(left.values()))
        )
    return cases, findings


def _volumes(listing: Listing) -> tuple[list[Case], list[Finding]] | None:
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path, match in listing.matches(_VOLUME):
        (masks if match[2] else images)[match[1]] = path
    if not images:
        return None
    cases, findings = [], []
    for name, path in images.items():
        mask = masks.pop(name, None)
        if mask is None:
            advice = "add it, or remove the image"
            findings.append(Finding("error", "missing mask", "no mask belongs to it", advice, name, (path,)))
        files = {kind: ImageFiles((path,), k) for k, kind in enumerate(MODALITIES)}
        cases.append(_case(name, files, MaskFiles((mask,)) if mask else None))
    for name, mask in masks.items():
        advice = "add it, or remove the mask"
        findings.append(Finding("error", "missing image", "a mask without image", advice, name, (mask,)))
    return cases, findings


def _case(name: str, images: dict[str, ImageFiles], truth: MaskFiles | None) -> Case:
    return Case(name, images, truth, patient=name.rpartition("_")[0])


LGG = Declaration(
    name="lgg",
    title="TCGA-LGG brain tumours (FLAIR abnormality)",
    layout="As published on Kaggle, `kaggle_3m/TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif` and "
    "`..._1_mask.tif`, or one volume per patient, `TCGA_CS_4941_19960909.nii.gz` (x, y, z, channel) and "
    "`..._seg.nii.gz`.",
    recognised="files such as TCGA_CS_4941_19960909_1.tif or TCGA_CS_4941_19960909.nii.gz",
    scan=scan,
    classes=(ClassRule("tumour", (1, 255), "FLAIR abnormality"),),
    mask_values="255 (TIFF) or 1 (NIfTI): FLAIR abnormality.",
    modalities=MODALITIES,
    default_modalities=("FLAIR",),
    patients="The case's name without the date of the examination.",
    has_millimetres=False,
    preparations={
        "all-channels": Preparation(modalities=MODALITIES),
        "paper": Preparation(modalities=("FLAIR",), scaling="slice"),
        "two-modalities": Preparation(modalities=("pre-contrast", "FLAIR")),
    },
    split=SplitParams(folds=3, validation_fraction=0.15),
    paper_split=SplitParams(folds=3),
    licence="CC BY-NC-SA 4.0 (the Kaggle copy); source images from TCIA under its data usage policy.",
    citation=(
        "Buda M, Saha A, Mazurowski MA. Association of genomic subtypes of lower-grade gliomas with shape features "
        "automatically extracted by a deep learning algorithm. Computers in Biology and Medicine 109:218-225, 2019, "
        "doi:10.1016/j.compbiomed.2019.05.002",
        "Mazurowski MA et al. Journal of Neuro-Oncology 133:27-35, 2017, doi:10.1007/s11060-017-2420-1",
    ),
    url="https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation",
)
