"""Prostate158: prostate MRI with anatomy and tumours."""

from __future__ import annotations

import re
from pathlib import Path

from napari_refit.io.datasets.case import Case, ImageFiles, MaskFiles
from napari_refit.io.datasets.declaration import ClassRule, Contents, Declaration
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.listing import Listing, natural
from napari_refit.io.datasets.preparation import Preparation, SplitParams

_FILES = {"T2": "t2", "ADC": "adc", "DWI": "dwi"}
_ANATOMY, _TUMOUR = "t2_anatomy_reader1", "t2_tumor_reader1"
_FILE = re.compile(rf"({'|'.join([*_FILES.values(), _ANATOMY, _TUMOUR])})\.nii(?:\.gz)?")


def scan(listing: Listing) -> Contents | None:
    """Find one numbered folder per case, at any depth."""
    folders: dict[Path, dict[str, Path]] = {}
    for path, match in listing.matches(_FILE):
        if path.parent.name.isdecimal():
            folders.setdefault(path.parent, {})[match[1]] = path
    if not any("t2" in files and (_ANATOMY in files or _TUMOUR in files) for files in folders.values()):
        return None
    cases, findings = [], []
    for folder in sorted(folders, key=lambda path: natural(str(path))):
        files, name = folders[folder], folder.name
        images = {kind: ImageFiles((files[stem],)) for kind, stem in _FILES.items() if stem in files}
        if "T2" not in images:
            message, advice = "t2.nii.gz is not there", "download the case again"
            findings.append(Finding("error", "missing image", message, advice, name, (folder,)))
            continue
        if _ANATOMY not in files:
            message, advice = f"{_ANATOMY}.nii.gz is not there", "download the case again"
            findings.append(Finding("error", "missing mask", message, advice, name, (folder,)))
        if _TUMOUR not in files:
            message = f"{_TUMOUR}.nii.gz is not there: no tumour is marked"
            findings.append(Finding("note", "missing mask", message, "", name, (folder,)))
        masks = tuple(files[stem] for stem in (_ANATOMY, _TUMOUR) if stem in files)
        cases.append(Case(name, images, MaskFiles(masks) if _ANATOMY in files else None))
    return Contents(tuple(cases), findings=tuple(findings))


PROSTATE158 = Declaration(
    name="prostate158",
    title="Prostate158 prostate MRI",
    layout="One numbered folder per case, at any depth: `020/t2.nii.gz`, `adc.nii.gz`, `dwi.nii.gz`, "
    "`t2_anatomy_reader1.nii.gz`, `t2_tumor_reader1.nii.gz`. The second reader's masks are left out.",
    recognised="numbered folders with t2.nii.gz and t2_anatomy_reader1.nii.gz",
    scan=scan,
    classes=(
        ClassRule("central gland", (1,)),
        ClassRule("peripheral zone", (2,)),
        ClassRule("tumour", (3,)),
    ),
    merged={"prostate": ("central gland", "peripheral zone", "tumour")},
    mask_values="1 central gland, 2 peripheral zone, 3 tumour, which lies on top of both.",
    modalities=tuple(_FILES),
    default_modalities=("T2",),
    patients="The case's number.",
    preparations={"merged": Preparation(classes=("prostate",))},
    split=SplitParams(method="fraction", test_fraction=0.25, validation_fraction=0.15),
    licence="Reported as CC BY 4.0; confirm at the source before passing it on.",
    citation=(
        "Adams LC et al. Prostate158 - An expert-annotated 3T MRI dataset and algorithm for prostate cancer detection. "
        "Computers in Biology and Medicine 148:105817, 2022, doi:10.1016/j.compbiomed.2022.105817",
    ),
    url="https://doi.org/10.5281/zenodo.6481141",
)
