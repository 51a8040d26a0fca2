"""The Medical Segmentation Decathlon: any of its tasks, by its dataset.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_refit.errors import ReadError, brief
from napari_refit.io.datasets.case import Case, ImageFiles, MaskFiles
from napari_refit.io.datasets.declaration import ALL, ClassRule, Contents, Declaration
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.listing import Listing, shortened
from napari_refit.io.datasets.preparation import Preparation, SplitParams
from napari_refit.io.formats import split_name

INDEX = "dataset.json"


def scan(listing: Listing) -> Contents | None:
    """Find a task by its dataset.json, at a folder or in the one folder below it."""
    folders = [listing.root] if INDEX in listing.folders[listing.root] else []
    folders = folders or [below for below in listing.below(listing.root) if INDEX in listing.folders[below]]
    if not folders:
        return None
    if len(folders) > 1:
        names = shortened(folder.name for folder in folders)
        raise ReadError(
            listing.root, f"holds {len(folders)} Decathlon tasks ({names}); give the folder of one"
        )
    index = folders[0] / INDEX
    content = _read(index)
    if not {"training", "labels", "modality"} <= content.keys():
        return None
    try:
        return _contents(folders[0], index, content, listing)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ReadError(index, f"is no Decathlon index: {brief(error)}; download it again") from None


def _read(index: Path) -> dict[str, Any]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(index, f"cannot be read: {brief(error)}; download it again") from None
    if not isinstance(content, dict):
        raise ReadError(index, "is no Decathlon index: it holds no object; download it again")
    return content


def _contents(root: Path, index: Path, content: dict[str, Any], listing: Listing) -> Contents:
    modalities = _unique([str(content["modality"][key]) for key in sorted(content["modality"], key=int)])
    names = _unique([str(content["labels"][key]) for key in sorted(content["labels"], key=int)])
    values = sorted(int(key) for key in content["labels"])
    classes = tuple(
        ClassRule(name, (value,)) for value, name in zip(values, names, strict=True) if value != 0
    )
    there = {folder / name for folder, files in listing.folders.items() for name in files}
    cases, findings, listed = [], [], set()
    for item in content["training"]:
        image, mask = root / item["image"], root / item["label"]
        listed.add(image)
        name = split_name(image)[0]
        if image not in there:
            advice = "unpack or download the task again"
            message = f"{INDEX} lists an image that is not there"
            findings.append(Finding("error", "missing image", message, advice, name, (image,)))
            continue
        if mask not in there:
            advice = "unpack or download the task again"
            findings.append(Finding("error", "missing mask", "no mask belongs to it", advice, name, (mask,)))
        channels = [None] if len(modalities) == 1 else range(len(modalities))
        images = {
            modality: ImageFiles((image,), channel)
            for modality, channel in zip(modalities, channels, strict=True)
        }
        cases.append(Case(name, images, MaskFiles((mask,)) if mask in there else None))
    for folder in {image.parent for image in listed}:
        for image in listing.images(folder):
            if image not in listed:
                message, advice = f"{INDEX} does not list it", f"add it to {INDEX}, or remove it"
                findings.append(Finding("warning", "stray file", message, advice, "", (image,)))
    merged = f"foreground={ALL}"
    chosen = ("ADC",) if "ADC" in modalities else ()
    return Contents(
        tuple(cases),
        classes,
        tuple(modalities),
        {"paper": Preparation(modalities=chosen, classes=(merged,), size=320 if chosen else 0)},
        findings=tuple(findings),
        root=root,
    )


def _unique(names: list[str]) -> list[str]:
    """Number the names that are there more than once."""
    return [
        name if names.count(name) == 1 else f"{name} {names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


DECATHLON = Declaration(
    name="decathlon",
    title="Medical Segmentation Decathlon",
    layout="`TaskNN_Name/` with `dataset.json`, `imagesTr/` and `labelsTr/`: any task, among them Task05_Prostate "
    "(T2 and ADC are the channels of one file) and Task04_Hippocampus. Test images have no masks and are left out.",
    recognised="a dataset.json with training, labels and modality",
    scan=scan,
    index=INDEX,
    merged={"foreground": (ALL,)},
    mask_values="As the labels of `dataset.json` say.",
    patients="The set names no patients: every case counts as its own.",
    preparations={"merged": Preparation(classes=("foreground",))},
    split=SplitParams(method="fraction", test_fraction=0.25, validation_fraction=0.15),
    paper_split=SplitParams(method="fraction", test_fraction=0.25),
    licence="CC BY-SA 4.0",
    citation=(
        "Antonelli M et al. The Medical Segmentation Decathlon. Nature Communications 13:4128, 2022, "
        "doi:10.1038/s41467-022-30695-9",
        "Simpson AL et al. arXiv:1902.09063, 2019",
    ),
    url="http://medicaldecathlon.com",
)
