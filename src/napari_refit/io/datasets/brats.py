"""BraTS: multi-modal brain MRI of gliomas, as published in 2018 to 2023."""

from __future__ import annotations

import re
from pathlib import Path

from napari_refit.io.datasets.case import Case, ImageFiles, MaskFiles
from napari_refit.io.datasets.declaration import ClassRule, Contents, Declaration
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.listing import Listing, natural
from napari_refit.io.datasets.preparation import Preparation, SplitParams

MODALITIES = ("T1", "T1ce", "T2", "FLAIR")
_NAMES = {
    "t1": "T1",
    "t1n": "T1",
    "t1ce": "T1ce",
    "t1c": "T1ce",
    "t2": "T2",
    "t2w": "T2",
    "flair": "FLAIR",
    "t2f": "FLAIR",
    "seg": "seg",
}
_FILE = re.compile(
    rf"(BraTS.+?)[_-]({'|'.join(sorted(_NAMES, key=len, reverse=True))})\.nii(\.gz)?", re.IGNORECASE
)
# The one mask of 2020 whose name was never put right, in BraTS20_Training_355.
_STRAY_MASK = re.compile(r".+_segm\.nii(\.gz)?", re.IGNORECASE)
_TIME_POINT = re.compile(r"(BraTS-[A-Za-z]+-\d+)-\d{3}", re.IGNORECASE)


def scan(listing: Listing) -> Contents | None:
    """Find BraTS cases below a folder, or a case's own folder."""
    files: dict[str, dict[str, Path]] = {}
    findings: list[Finding] = []
    for path, match in listing.matches(_FILE):
        kind = _NAMES[match[2].lower()]
        others = files.setdefault(match[1], {})
        if kind in others:
            advice = "keep one of them"
            message = f"it is there twice; {others[kind]} is used"
            findings.append(Finding("warning", "stray file", message, advice, match[1], (path,)))
            continue
        others[kind] = path
    if not files:
        return None
    for path, _ in listing.matches(_STRAY_MASK):
        if path.parent.name in files:
            files[path.parent.name].setdefault("seg", path)
    cases = []
    for name in sorted(files, key=natural):
        images = {kind: ImageFiles((files[name][kind],)) for kind in MODALITIES if kind in files[name]}
        mask = files[name].get("seg")
        findings += _missing(name, images, mask)
        if images:
            time_point = _TIME_POINT.fullmatch(name)
            patient = time_point[1] if time_point else name
            cases.append(Case(name, images, MaskFiles((mask,)) if mask else None, patient))
    return Contents(tuple(cases), findings=tuple(findings))


def _missing(name: str, images: dict[str, ImageFiles], mask: Path | None) -> list[Finding]:
    found: list[Finding] = []
    if not images:
        advice = "download the case again, or remove the mask"
        files = (mask,) if mask else ()
        return [Finding("error", "missing image", "a mask without images", advice, name, files)]
    lacking = [kind for kind in MODALITIES if kind not in images]
    if lacking:
        message = f"{', '.join(lacking)} not there"
        advice = "download the case again, or leave the modality out"
        found.append(Finding("warning", "missing modality", message, advice, name))
    if mask is None:
        message = "no mask: it can be refined, not trained on or evaluated"
        found.append(Finding("note", "missing mask", message, "", name))
    return found


BRATS = Declaration(
    name="brats",
    title="BraTS brain tumours (2018 to 2023)",
    layout="One folder per case, at any depth: `BraTS20_Training_001/BraTS20_Training_001_flair.nii.gz` (2020), "
    "`BraTS2021_00000/BraTS2021_00000_flair.nii.gz` (2021), `BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz` "
    "(2023), with `t1`/`t1n`, `t1ce`/`t1c`, `t2`/`t2w`, `flair`/`t2f` and, but for the validation set, `seg`.",
    recognised="files such as BraTS20_Training_001_flair.nii.gz or BraTS-GLI-00000-000-t2f.nii.gz",
    scan=scan,
    classes=(
        ClassRule("necrotic core", (1,), "necrotic and non-enhancing tumour core"),
        ClassRule("oedema", (2,), "oedema and invaded tissue"),
        ClassRule("enhancing tumour", (3, 4), "4 until 2021, 3 since 2023"),
    ),
    merged={
        "whole tumour": ("necrotic core", "oedema", "enhancing tumour"),
        "tumour core": ("necrotic core", "enhancing tumour"),
    },
    mask_values="1 necrotic core, 2 oedema, 4 (since 2023: 3) enhancing tumour.",
    modalities=MODALITIES,
    default_modalities=("FLAIR",),
    patients="The case's name; since 2023 without the last three digits, which are the time point.",
    preparations={
        "default": Preparation(classes=("whole tumour",), axis="2"),
        "paper": Preparation(
            modalities=("FLAIR",),
            classes=("whole tumour",),
            axis="2",
            crop="56:184, 56:184, 13:141",
            scaling="slice",
        ),
        "two-modalities": Preparation(modalities=("T2", "FLAIR"), classes=("whole tumour",), axis="2"),
    },
    split=SplitParams(folds=3, validation_fraction=0.15),
    paper_split=SplitParams(folds=3),
    licence="BraTS data usage agreement: free in one's own research if the papers are cited; not to be passed on.",
    citation=(
        "Menze BH et al. The multimodal brain tumor image segmentation benchmark (BRATS). IEEE TMI 34:1993-2024, "
        "2015, doi:10.1109/TMI.2014.2377694",
        "Bakas S et al. Advancing the Cancer Genome Atlas glioma MRI collections. Scientific Data 4:170117, 2017, "
        "doi:10.1038/sdata.2017.117",
        "Since 2021: Baid U et al. arXiv:2107.02314, 2021",
    ),
    url="https://www.synapse.org/brats",
)
