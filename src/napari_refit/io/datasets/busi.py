"""BUSI: breast ultrasound images."""

from __future__ import annotations

import re
from pathlib import Path

from napari_refit.io.datasets.case import Case, ImageFiles, MaskFiles
from napari_refit.io.datasets.declaration import ClassRule, Contents, Declaration
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.groups import read_groups
from napari_refit.io.datasets.listing import Listing
from napari_refit.io.datasets.preparation import Preparation, SplitParams

FOLDERS = ("benign", "malignant", "normal")
GROUPS_FILE = "near_duplicate_groups.csv"
_IMAGE = re.compile(r"((?:benign|malignant|normal) \(\d+\))\.png", re.IGNORECASE)
_MASK = re.compile(r"((?:benign|malignant|normal) \(\d+\))_mask(?:_\d+)?\.png", re.IGNORECASE)


def scan(listing: Listing) -> Contents | None:
    """Find BUSI at a folder, in the one folder below it, or one of its classes."""
    found = _class_folders(listing)
    if not found:
        return None
    groups_file = found[0].parent / GROUPS_FILE
    groups = read_groups(groups_file) if groups_file.is_file() else {}
    cases: list[Case] = []
    findings: list[Finding] = []
    for folder in found:
        images: dict[str, Path] = {}
        masks: dict[str, list[Path]] = {}
        for file in listing.images(folder):
            if mask := _MASK.fullmatch(file.name):
                masks.setdefault(mask[1], []).append(file)
            elif image := _IMAGE.fullmatch(file.name):
                images[image[1]] = file
            else:
                findings.append(
                    Finding("warning", "stray file", "its name fits nowhere", "remove it", "", (file,))
                )
        for name, file in images.items():
            truth = tuple(masks.get(name, ()))
            if not truth:
                advice = "download the set again, or remove the image"
                findings.append(
                    Finding("error", "missing mask", "no mask belongs to it", advice, name, (file,))
                )
            case_files = {"ultrasound": ImageFiles((file,))}
            group = f"group {groups[name]}" if name in groups else ""
            label = folder.name.lower()
            cases.append(Case(name, case_files, MaskFiles(truth) if truth else None, "", group, label))
        for name in masks.keys() - images.keys():
            advice = "download the set again, or remove the mask"
            stray = tuple(masks[name])
            findings.append(Finding("error", "missing image", "no image belongs to it", advice, name, stray))
    return Contents(tuple(cases), findings=tuple(findings), root=found[0].parent)


def _class_folders(listing: Listing) -> list[Path]:
    if listing.root.name.lower() in FOLDERS and _looks_right(listing, listing.root):
        return [listing.root]
    for folder in (listing.root, *listing.below(listing.root)):
        found = [
            below
            for below in listing.below(folder)
            if below.name.lower() in FOLDERS and _looks_right(listing, below)
        ]
        if found:
            return sorted(found, key=lambda path: FOLDERS.index(path.name.lower()))
    return []


def _looks_right(listing: Listing, folder: Path) -> bool:
    return any(_IMAGE.fullmatch(name) for name in listing.folders[folder])


BUSI = Declaration(
    name="busi",
    title="BUSI breast ultrasound",
    layout="`Dataset_BUSI_with_GT/{benign,malignant,normal}/` with `benign (1).png`, `benign (1)_mask.png` and, "
    "for further lesions, `benign (1)_mask_1.png` and so on. The folder above it, or one class alone, will do.",
    recognised="folders benign, malignant or normal with files such as 'benign (1).png'",
    scan=scan,
    classes=(ClassRule("benign", (), "benign lesion"), ClassRule("malignant", (), "malignant lesion")),
    merged={"lesion": ("benign", "malignant")},
    mask_values="All but 0 is lesion, in any of an image's masks; the folder says which kind. "
    "Opacity is not looked at.",
    class_from_label=True,
    modalities=("ultrasound",),
    patients="The set names no patients (about 600): every image counts as its own.",
    groups=f"Groups of near duplicates in `{GROUPS_FILE}` beside the class folders (columns group, case), "
    "where there is one.",
    has_millimetres=False,
    preparations={
        "paper": Preparation(include=("benign",), classes=("benign",), size=512),
        "benign-normal": Preparation(include=("benign", "normal"), classes=("benign",)),
        "lesion": Preparation(classes=("lesion",)),
    },
    split=SplitParams(method="fraction", test_fraction=0.25, validation_fraction=0.15),
    licence="None stated by the distributor (third-party copies say CC0 1.0 or CC BY 4.0, which does not bind the "
    "owners): use it with citation, do not pass it on.",
    citation=(
        "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images. Data in Brief 28:104863, "
        "2020, doi:10.1016/j.dib.2019.104863",
        "Known faults: Pawlowska A, Karwat P, Zolek N. Data in Brief 48:109247, 2023, "
        "doi:10.1016/j.dib.2023.109247",
    ),
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
)
