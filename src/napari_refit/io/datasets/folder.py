"""Any folder: images and masks by pattern or by habit, or one sub-folder per class and no masks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from napari_refit.errors import ReadError
from napari_refit.io.datasets.case import Case, ImageFiles, MaskFiles
from napari_refit.io.datasets.declaration import ALL, ClassRule, Contents, Declaration, is_negative
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.listing import Listing, natural
from napari_refit.io.datasets.preparation import SplitParams
from napari_refit.io.formats import split_name

MODALITY = "image"
IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "segmentations", "annotations", "truth", "ground_truth")
_SUFFIX = re.compile(r"(.+?)[_-](?:mask|seg|segmentation|label|labels|gt)(?:[_-]?\d+)?", re.IGNORECASE)
_FOREGROUND = (ClassRule("foreground", (), "every value but 0"),)
_FIELD = re.compile(r"\{(\w+)\}|(\*)")


def scan(listing: Listing) -> Contents | None:
    """Find images and masks where people put them: two folders, or side by side, or a folder per class."""
    return _two_folders(listing) or _side_by_side(listing) or _class_folders(listing)


def scan_patterns(listing: Listing, images: str, masks: str | None) -> Contents:
    """Find images and masks by patterns.

    Parameters
    ----------
    listing : Listing
    images, masks : str
        Paths below the folder, such as ``"{patient}/scan_{case}.nii.gz"``: ``{case}`` and ``{patient}`` stand for
        what files of a case or patient share, ``*`` for anything. Masks may be left out.

    Raises
    ------
    ReadError
        If no file matches.
    ValueError
        If a pattern lacks ``{case}`` or holds another name in braces.
    """
    image_files = _matching(listing, images)
    mask_files = _matching(listing, masks) if masks is not None else []
    if not image_files:
        raise ReadError(listing.root, f"no file matches {images!r}; found {listing.summary()}")
    seen: dict[str, Path] = {}
    patients: dict[str, str] = {}
    findings = []
    of_case: dict[str, list[Path]] = {}
    for path, key, _ in mask_files:
        of_case.setdefault(key, []).append(path)
    chosen = {path for path, _, _ in mask_files}
    for path, key, patient in image_files:
        if path in chosen:
            continue
        if key in seen:
            advice = "make the pattern narrower, or name the patient in it"
            message = f"{seen[key]} is the same case {key!r}"
            findings.append(Finding("error", "stray file", message, advice, key, (path,)))
            continue
        seen[key], patients[key] = path, patient
    return _paired(seen, of_case, findings, patients, wants_masks=masks is not None)


def _matching(listing: Listing, pattern: str) -> list[tuple[Path, str, str]]:
    """Files that match, each with the name of its case and of its patient."""
    fields = [match[1] for match in _FIELD.finditer(pattern) if match[1]]
    unknown = [name for name in fields if name not in ("case", "patient")]
    if unknown or fields.count("case") != 1 or fields.count("patient") > 1:
        raise ValueError(
            f"pattern {pattern!r} must hold {{case}} once, {{patient}} at most once, and * for the rest"
        )
    parts, end = [], 0
    for match in _FIELD.finditer(pattern):
        parts.append(re.escape(pattern[end : match.start()]))
        parts.append(f"(?P<{match[1]}>[^/]+?)" if match[1] else "[^/]*")
        end = match.end()
    expression = re.compile("".join(parts) + re.escape(pattern[end:]))
    found = []
    for folder, names in listing.folders.items():
        for name in names:
            matched = expression.fullmatch((folder / name).relative_to(listing.root).as_posix())
            if matched is not None:
                groups = matched.groupdict()
                patient = groups.get("patient") or ""
                key = f"{patient}/{groups['case']}" if patient else groups["case"]
                found.append((folder / name, key, patient))
    return found


def _two_folders(listing: Listing) -> Contents | None:
    below = {folder.name.lower(): folder for folder in listing.below(listing.root)}
    image_folder = next((below[name] for name in IMAGE_FOLDERS if name in below), None)
    mask_folder = next((below[name] for name in MASK_FOLDERS if name in below), None)
    if image_folder is None or mask_folder is None:
        return None
    images = {split_name(path)[0]: path for path in listing.images(image_folder)}
    masks: dict[str, list[Path]] = {}
    for path in listing.images(mask_folder):
        stem = split_name(path)[0]
        suffix = _SUFFIX.fullmatch(stem)
        masks.setdefault(suffix[1] if stem not in images and suffix else stem, []).append(path)
    return _paired(images, masks) if images and masks else None


def _side_by_side(listing: Listing) -> Contents | None:
    images, masks = _told_apart(listing.images(listing.root))
    return _paired(images, masks) if masks else None


def _told_apart(paths: Iterable[Path]) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    """Images by their case, and masks that have an image beside them by its case."""
    by_stem = {split_name(path)[0]: path for path in paths}
    images: dict[str, Path] = {}
    masks: dict[str, list[Path]] = {}
    for stem, path in by_stem.items():
        suffix = _SUFFIX.fullmatch(stem)
        if suffix and suffix[1] in by_stem:
            masks.setdefault(suffix[1], []).append(path)
        else:
            images[stem] = path
    return images, masks


def _class_folders(listing: Listing) -> Contents | None:
    folders = [folder for folder in listing.below(listing.root) if listing.images(folder)]
    if len(folders) < 2 or any(name.lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS) for name in _names(folders)):
        return None
    cases: list[Case] = []
    for folder in folders:
        images, masks = _told_apart(listing.images(folder))
        for stem, path in images.items():
            truth = MaskFiles(tuple(masks[stem])) if stem in masks else None
            files = {MODALITY: ImageFiles((path,))}
            cases.append(Case(f"{folder.name}/{stem}", files, truth, label=folder.name))
    classes = tuple(ClassRule(folder.name) for folder in folders if not is_negative(folder.name))
    return Contents(tuple(cases), classes or _FOREGROUND)


def _names(folders: Iterable[Path]) -> list[str]:
    return [folder.name for folder in folders]


def _paired(
    images: dict[str, Path],
    masks: dict[str, list[Path]],
    findings: Iterable[Finding] = (),
    patients: dict[str, str] | None = None,
    *,
    wants_masks: bool = True,
) -> Contents:
    found, cases = list(findings), []
    for name in sorted(images, key=natural):
        truth = MaskFiles(tuple(masks[name])) if name in masks else None
        if truth is None and wants_masks:
            message, advice = "no mask belongs to it", "add one, or check the names"
            found.append(Finding("error", "missing mask", message, advice, name, (images[name],)))
        cases.append(
            Case(name, {MODALITY: ImageFiles((images[name],))}, truth, (patients or {}).get(name, ""))
        )
    for name in masks.keys() - images.keys():
        message, advice = "no image belongs to it", "add it, or check the names"
        found.append(Finding("error", "missing image", message, advice, name, tuple(masks[name])))
    return Contents(tuple(cases), _FOREGROUND, findings=tuple(found))


FOLDER = Declaration(
    name="folder",
    title="Any folder of images and masks",
    layout="`images/NAME.png` and `masks/NAME.png` (any readable format, `NAME_mask` too); or `NAME.png` and "
    "`NAME_mask.png` (`_seg`, `_label`, `_gt`) side by side; or one sub-folder per class, with or without masks "
    "beside the images; or patterns such as `{patient}/{case}_t2.nii.gz` and `{patient}/{case}_seg.nii.gz`.",
    recognised="folders images and masks, or pairs NAME and NAME_mask, or one sub-folder of images per class",
    scan=scan,
    is_general=True,
    merged={"any": (ALL,)},
    mask_values="All but 0 is the class: the sub-folder's, else 'foreground'. Several masks of an image are merged.",
    class_from_label=True,
    modalities=(MODALITY,),
    patients="`{patient}` in the pattern; else every image counts as its own.",
    split=SplitParams(method="fraction", test_fraction=0.25, validation_fraction=0.15),
)
