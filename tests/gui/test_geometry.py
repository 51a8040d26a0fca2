"""Every kind of image: 2-D, RGB, 4-D, multi-scale, any displayed axis, any transform, fewer axes than the viewer."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_refit.widgets.planes import NoPlaneError, go_to, open_plane, other_grid, spacing_of, take

pytestmark = [pytest.mark.gui, pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")]


def cone(shape):
    """Values that fall from 1 in the middle of the last two axes to 0; the same on every slice."""
    rows, columns = np.indices(shape[-2:])
    distance = np.hypot(rows - shape[-2] / 2 + 0.5, columns - shape[-1] / 2 + 0.5)
    return np.broadcast_to(np.clip(1 - distance / 14, 0, 1), shape).astype(np.float32).copy()


def oblique(shape=(4, 5, 6)):
    """An oblique turn with anisotropic voxels about the world's origin, as a scanner gives it."""
    angle = 0.3
    turn = np.array(
        [
            [np.cos(angle), -np.sin(angle), 0],
            [np.sin(angle), np.cos(angle) * np.cos(0.2), -np.sin(0.2)],
            [0, np.sin(0.2), np.cos(0.2)],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(turn)[0] @ np.diag([3.0, 0.8, 1.1])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2)
    return affine


def shown_by_napari(layer):
    """What napari itself cut out of the layer."""
    return np.asarray(layer._slice.image.raw)


PLACES = {
    "none": {},
    "scaled": {"scale": (3, 1, 0.5), "translate": (5, -2, 1)},
    "rotated": {"rotate": (90, 0, 0)},
    "sheared": {"shear": (0.1, 0.2, 0.3)},
    "oblique": {"affine": oblique()},
    "both": {"affine": oblique(), "scale": (2, 1, 1), "translate": (-1, 0, 1)},
    "in mm": {"scale": (3, 1, 1), "units": ("mm", "mm", "mm")},
    "in um": {"scale": (3000, 1000, 1000), "units": ("um", "um", "um")},
}


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("place", PLACES)
def test_open_plane_is_the_one_that_napari_shows(place, order):
    viewer = ViewerModel()
    data = np.random.default_rng(0).random((4, 5, 6))
    layer = viewer.add_image(data, **PLACES[place])
    viewer.dims.order = order
    seen = 0
    for point in np.linspace(*viewer.dims.range[order[0]][:2], 9):
        viewer.dims.set_point(order[0], point)
        try:
            plane = open_plane(layer, viewer.dims)
        except NoPlaneError:
            assert shown_by_napari(layer).size <= 1
            continue
        expected = take(data, plane.index, 3)
        if plane.shown[0] > plane.shown[1]:
            expected = expected.T
        np.testing.assert_array_equal(shown_by_napari(layer), expected)
        assert plane.shown == order[1:]
        assert plane.slice_axis == order[0]
        seen += 1
    assert seen > 0


@pytest.mark.parametrize("place", PLACES)
def test_go_to_opens_that_plane(place):
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((7, 8, 9)), **PLACES[place])
    for axis in range(3):
        viewer.dims.order = (axis, *(other for other in range(3) if other != axis))
        reached = set()
        for position in range(layer.data.shape[axis]):
            go_to(layer, viewer.dims, ((axis, position),))
            try:
                reached.add(open_plane(layer, viewer.dims).index)
            except NoPlaneError:
                continue
        # napari's slider cannot reach every plane of an oblique volume, and hardly one of a volume turned by 90°.
        n_planes = layer.data.shape[axis]
        enough = {"oblique": n_planes - 2, "both": n_planes - 2, "rotated": 1}.get(place, n_planes)
        assert len(reached) >= enough


def test_units_of_another_layer_do_not_shift_the_plane():
    viewer = ViewerModel()
    data = np.arange(10 * 4 * 4).reshape(10, 4, 4)
    layer = viewer.add_image(data, scale=(1000, 1000, 1000), units=("um",) * 3)
    viewer.add_image(data, scale=(1, 1, 1), units=("mm",) * 3)
    for point in range(10):
        viewer.dims.set_point(0, point * viewer.dims.range[0].step)
        plane = open_plane(layer, viewer.dims)
        np.testing.assert_array_equal(shown_by_napari(layer), take(data, plane.index, 3))


def test_layer_with_fewer_axes_than_the_viewer():
    viewer = ViewerModel()
    layer = viewer.add_image(np.arange(5 * 4 * 4).reshape(5, 4, 4))
    viewer.add_image(np.zeros((3, 5, 4, 4)))
    viewer.dims.set_point(1, 3)
    assert open_plane(layer, viewer.dims).index == ((0, 3),)
    flat = viewer.add_image(np.zeros((4, 4)))
    assert open_plane(flat, viewer.dims).index == ()


def test_no_plane_in_3d_or_outside():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((3, 4, 4)), name="scan")
    viewer.add_image(np.zeros((9, 4, 4)))
    viewer.dims.set_point(0, 7)
    with pytest.raises(NoPlaneError, match="outside 'scan'"):
        open_plane(layer, viewer.dims)
    viewer.dims.ndisplay = 3
    with pytest.raises(NoPlaneError, match="3-D view"):
        open_plane(layer, viewer.dims)


def test_spacing_in_millimetres():
    viewer = ViewerModel()
    data = np.zeros((3, 4, 5))
    assert spacing_of(viewer.add_image(data)) is None
    assert spacing_of(viewer.add_image(data, scale=(3, 1, 2))) == (3, 1, 2)
    in_um = viewer.add_image(data, scale=(300, 100, 200), units=("um",) * 3)
    assert spacing_of(in_um) == pytest.approx((0.3, 0.1, 0.2))
    assert spacing_of(viewer.add_image(data, affine=oblique())) == pytest.approx((3.0, 0.8, 1.1))


def test_other_grid():
    viewer = ViewerModel()
    data = np.zeros((3, 4, 5), np.uint8)
    image = viewer.add_image(data, scale=(3, 1, 1), name="scan")
    assert other_grid(viewer.add_labels(data, scale=(3, 1, 1)), image) == ""
    assert other_grid(viewer.add_labels(data), image) == ""
    assert "lies elsewhere" in other_grid(viewer.add_labels(data, scale=(2, 1, 1)), image)
    assert "another grid: 3 × 4 × 4" in other_grid(viewer.add_labels(data[..., 1:]), image)


def expected_mask(work):
    """What the pipeline says of the open plane, computed afresh."""
    from napari_refit import Refit

    data = work.image.data[0] if work.image.multiscale else work.image.data
    refit = Refit(data, response=work.response.data, params=work.session.params, rgb=bool(work.image.rgb))
    return refit.plane(dict(work.session.plane.index)).mask


def check_live(work):
    assert work.dock.footer.error.plain() == ""
    mask = expected_mask(work)
    assert mask.any()
    np.testing.assert_array_equal(work.plane, mask)
    work.set(threshold=0.3)
    np.testing.assert_array_equal(work.plane, expected_mask(work))


def test_two_dimensional_image(bench):
    work = bench(cone((24, 32)))
    check_live(work)
    assert work.labels.data.shape == (24, 32)
    assert not work.dock.footer.refine.isEnabled()
    assert work.dock.readouts.text("slice", "dice", "refined") not in ("", "–")


def test_rgb_image(bench):
    grey = (cone((24, 32)) * 255).astype(np.uint8)
    work = bench(np.stack([grey, grey // 2, 255 - grey], axis=-1), response=cone((24, 32)), rgb=True)
    check_live(work)
    assert work.labels.data.shape == (24, 32)
    assert work.session.outputs["simplified"].data.shape == (24, 32, 3)
    assert work.session.outputs["simplified"].data.any()


def test_four_dimensional_image(bench):
    work = bench(cone((2, 3, 24, 32)))
    check_live(work)
    assert work.session.plane.slice_axis == 1
    work.viewer.dims.set_point(0, 1)
    work.settle()
    assert dict(work.session.plane.index)[0] == 1
    np.testing.assert_array_equal(work.plane, expected_mask(work))
    work.session.refine_volume()
    work.settle()
    assert work.labels.data.any(axis=(2, 3)).all()
    np.testing.assert_array_equal(work.dock.plot.scored(), np.arange(3))


def test_multiscale_image_uses_the_finest_level(bench):
    fine = cone((5, 48, 64))
    work = bench([fine, fine[:, ::2, ::2]], response=fine)
    check_live(work)
    assert work.labels.data.shape == (5, 48, 64)
    assert not work.labels.multiscale


def test_lazy_image(bench):
    import dask.array

    data = cone((5, 24, 32))
    work = bench(dask.array.from_array(data, chunks=(1, 24, 32)), response=data)
    check_live(work)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_any_displayed_axis(bench, order):
    volume = cone((24, 24, 32)) * np.hanning(24)[:, None, None].astype(np.float32)
    work = bench(volume, response=volume)
    work.viewer.dims.order = order
    work.settle()
    assert work.session.plane.slice_axis == order[0]
    check_live(work)


def test_oblique_volume_is_not_resampled(bench):
    affine = oblique((6, 24, 32))
    work = bench(cone((6, 24, 32)), affine=affine)
    check_live(work)
    for role in ("response", "edges", "simplified", "labels"):
        layer = work.session.outputs[role]
        assert layer.data.shape == (6, 24, 32)
        np.testing.assert_allclose(layer.affine.affine_matrix, affine)
    assert work.dock.readouts.text("slice", "hd95", "refined") not in ("", "–")


def test_three_dimensional_view_pauses_live(bench):
    work = bench()
    before = work.labels.data.copy()
    work.viewer.dims.ndisplay = 3
    work.set(threshold=0.2)
    assert "3-D view" in work.dock.footer.status.plain()
    np.testing.assert_array_equal(work.labels.data, before)
    work.viewer.dims.ndisplay = 2
    work.settle()
    assert work.labels.data.sum() > before.sum()


def test_moving_the_image_moves_its_layers(bench):
    work = bench()
    work.image.scale = (4, 1, 1)
    work.image.translate = (1, 2, 3)
    work.settle()
    for layer in work.session.outputs.all_made():
        np.testing.assert_allclose(layer.scale, (4, 1, 1))
        np.testing.assert_allclose(layer.translate, (1, 2, 3))


def test_volume_stays_when_seen_from_the_side(bench):
    volume = cone((24, 24, 32)) * np.hanning(24)[:, None, None].astype(np.float32)
    work = bench(volume, response=volume)
    work.session.refine_volume()
    work.settle()
    refined = work.labels.data.copy()
    work.viewer.dims.order = (1, 0, 2)
    work.settle()
    work.go(12)
    np.testing.assert_array_equal(work.labels.data, refined)
    assert len(work.dock.plot.scored()) > 5
    work.set(threshold=0.2)
    assert (work.labels.data != refined).any()
