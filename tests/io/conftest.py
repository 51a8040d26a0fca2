"""Grids to try: every way in which three axes can lie, straight and tilted."""

from __future__ import annotations

import gzip
from itertools import permutations, product

import nibabel
import numpy as np
import pytest

SPACING = (0.7, 1.3, 3.1)
ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def make_affine(orientation, oblique):
    order, signs = orientation
    turn = np.eye(3)
    if oblique:
        a, b, c = 0.21, -0.13, 0.32
        turn = (
            np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
            @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
            @ np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
        )
    affine = np.eye(4)
    affine[:3, :3] = turn @ (np.eye(3)[:, list(order)] * signs) * SPACING
    affine[:3, 3] = -90.5, 12.25, 33.125
    return affine


@pytest.fixture(
    params=ORIENTATIONS, ids=lambda o: "".join("xyz"[i] for i in o[0]) + "".join("+-"[s < 0] for s in o[1])
)
def orientation(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["straight", "oblique"])
def affine(request, orientation):
    return make_affine(orientation, request.param)


@pytest.fixture
def tilted():
    return make_affine(((2, 0, 1), (1, -1, 1)), oblique=True)


@pytest.fixture
def nifti(tmp_path):
    """Write a NIfTI file and return its path."""

    def write(array, affine=None, name="scan.nii.gz", sform=1, qform=1, edit=None):
        image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine, dtype=array.dtype)
        image.set_sform(image.affine, sform)
        image.set_qform(image.affine, qform)
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, tmp_path / name)
        if edit is not None:
            content = bytearray(gzip.decompress((tmp_path / name).read_bytes()))
            header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
            edit(header)
            content[:348] = header.binaryblock
            (tmp_path / name).write_bytes(gzip.compress(bytes(content)))
        return tmp_path / name

    return write
