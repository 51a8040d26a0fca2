"""Which file names are which format."""

from __future__ import annotations

import os
from pathlib import Path

NIFTI = (".nii.gz", ".nii")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
TIFF = (".tif", ".tiff")
NUMPY = (".npy",)
DICOM = (".dcm",)

READABLE = (*NIFTI, *ITK, *PICTURES, *TIFF, *NUMPY, *DICOM)
WRITABLE = (*NIFTI, ".nrrd", ".mha", ".png", ".bmp", *TIFF, *NUMPY)


def split_name(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Split a file's name into stem and extension; ``.nii.gz`` is one extension.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    stem, extension : str
        The extension is in lower case and starts with a dot; empty if the name has none.

    Examples
    --------
    >>> split_name("scans/p.01_T2.NII.gz")
    ('p.01_T2', '.nii.gz')
    >>> split_name("scans/p.01.tif")
    ('p.01', '.tif')
    """
    name = Path(path).name
    lower = name.lower()
    for extension in sorted(READABLE, key=len, reverse=True):
        if lower.endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)], extension
    stem, extension = os.path.splitext(name)
    return stem, extension.lower()
