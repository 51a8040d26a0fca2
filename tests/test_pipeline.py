import dask.array as da
import numpy as np
import pytest
from skimage.segmentation import slic as skimage_slic

from napari_refit import Cancelled, RefitParams
from napari_refit.pipeline import Refit
from napari_refit.registry import SEGMENTERS, register_segmenter
from napari_refit.responses import PlaneResponse


class CountingSource:
    """A response source that counts what it is asked for, like a classifier of two classes would be."""

    def __init__(self, positive=True):
        self.calls = []
        self.sees_plane = self.cheaper_when_smaller = True
        self.channels, self.modalities = None, ()
        self.positive = positive

    def describe(self):
        return {"model": "counting"}

    def respond(self, indices, inputs, params, watch):
        self.calls.append(list(indices))
        return [self._one(plane) for plane in inputs]

    def _one(self, plane):
        grey = plane if plane.ndim == 2 else plane.mean(axis=-1)
        maps = np.stack([grey, 1 - grey]).astype(np.float32)
        return PlaneResponse(maps, maps * 5, (self.positive, False), ("bright", "dark"), (1, 2))


@pytest.fixture
def volume():
    rng = np.random.default_rng(5)
    volume = rng.normal(0.2, 0.03, (6, 40, 48))
    volume[1:5, 10:30, 12:34] += 0.6
    return volume


@pytest.fixture
def source():
    return CountingSource()


def refit_with(source, volume, **params):
    refit = Refit(volume, params=RefitParams(**{"slic.n_segments": 60, "slic.sigma": 0.0, **params}))
    refit.stages.use(source)
    return refit


def test_a_slice_goes_through_every_stage(volume, source):
    result = refit_with(source, volume).slice(2)
    assert result.image.dtype == np.float32
    assert result.clusters.dtype == np.int32
    assert result.clusters.min() == 1
    assert set(np.unique(result.clusters)) == set(range(1, result.clusters.max() + 1))
    assert result.edges.dtype == bool
    assert result.simplified.shape == result.image.shape
    assert result.response.shape == result.fitted.shape == (2, 40, 48)
    assert np.array_equal(result.mask[12:28, 14:32], np.ones((16, 18)))
    assert set(np.unique(result.mask)) == {0, 1}
    assert result.classes == ("bright", "dark")
    assert set(result.seconds) == {"image", "clusters", "response", "fit"}
    assert result.evidence.max() > 1


@pytest.mark.parametrize(
    ("change", "reruns"),
    [
        ({"threshold": 0.3}, set()),
        ({"coverage": 0.5}, set()),
        ({"gate": "off"}, set()),
        ({"compactness": 3.0}, {"clusters"}),
        ({"segmenter": "felzenszwalb"}, {"clusters"}),
        ({"quickshift.ratio": 0.7}, set()),
        ({"cam.method": "gradcam++"}, {"response"}),
        ({"batch_size": 2}, set()),
        ({"high_percentile": 90.0}, {"image", "clusters", "response"}),
    ],
)
def test_a_parameter_reruns_only_what_lies_below_it(volume, source, change, reruns):
    refit = refit_with(source, volume)
    refit.slice(2)
    refit.params = refit.params.replace(**change)
    result = refit.slice(2)
    assert {stage for stage in ("image", "clusters", "response") if result.seconds[stage] > 0} == reruns
    assert len(source.calls) == 1 + ("response" in reruns)
    assert refit.slice(2).seconds["clusters"] == 0.0


def test_with_the_simplified_image_the_response_follows_the_clusters(volume, source):
    refit = refit_with(source, volume, cam_input="simplified")
    first = refit.slice(2)
    assert np.array_equal(first.response[0], first.simplified)
    refit.params = refit.params.replace(compactness=3.0)
    second = refit.slice(2)
    assert second.seconds["response"] > 0
    assert np.array_equal(second.response[0], second.simplified)
    refit.params = refit.params.replace(threshold=0.2)
    assert refit.slice(2).seconds["response"] == 0.0


def test_a_volume_equals_its_slices(volume, source):
    refit = refit_with(source, volume, batch_size=4)
    seen = {}
    result = refit.volume(
        on_slice=lambda positions, one: seen.update({positions[0]: one.mask}), keep_response=True
    )
    assert [len(call) for call in source.calls] == [4, 2]
    fresh = refit_with(CountingSource(), volume)
    for k in range(len(volume)):
        one = fresh.slice(k)
        assert np.array_equal(result.mask[k], one.mask)
        assert np.array_equal(seen[k], one.mask)
        assert np.array_equal(result.cam_mask[k], one.cam_mask)
        np.testing.assert_allclose(result.response[0, k], one.response[0], atol=1e-3)
    assert np.array_equal(np.asarray(result), result.mask)
    assert result.n_slices == 6
    assert not result.response[1].any(), "a class that is predicted negative keeps no response"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_can_be_cut(volume, source, axis):
    refit = refit_with(source, volume)
    result = refit.volume(axis=axis)
    assert result.mask.shape == volume.shape
    one = refit.slice(3, axis=axis)
    assert np.array_equal(result.mask.take(3, axis), one.mask)
    assert np.array_equal(refit.slice(-1, axis=axis - 3).mask, result.mask.take(-1, axis))


def test_four_axes_and_colour(source):
    rng = np.random.default_rng(0)
    volume = rng.random((2, 3, 24, 28, 3))
    refit = refit_with(source, volume)
    assert refit.n_axes == 4
    result = refit.volume()
    assert result.mask.shape == (2, 3, 24, 28)
    assert np.array_equal(refit.slice((1, 2), axis=(0, 1)).mask, result.mask[1, 2])
    assert np.array_equal(refit.plane({0: 1, 2: 5}).mask.shape, (3, 28))


def test_a_two_dimensional_image_is_one_slice(volume, source):
    refit = refit_with(source, volume[2])
    assert np.array_equal(refit.slice(0).mask, refit.volume().mask)
    with pytest.raises(IndexError, match="one slice"):
        refit.slice(1)


def test_a_lazy_array_gives_the_same_and_is_read_by_slice(volume):
    reads = []

    def block(block_info=None):
        (start, stop), *_ = block_info[None]["array-location"]
        reads.append(start)
        return volume[start:stop]

    lazy = da.map_blocks(block, chunks=((1,) * 6, (40,), (48,)), dtype=volume.dtype, meta=volume[:0])
    expected = refit_with(CountingSource(), volume).slice(4)
    params = {"mode": "window", "window_level": 0.5, "window_width": 1.0}
    refit = refit_with(CountingSource(), lazy, **params)
    assert refit.slice(4).mask.shape == expected.mask.shape
    assert reads == [4]
    assert np.array_equal(refit_with(CountingSource(), lazy).slice(4).mask, expected.mask)


def test_the_gate_keeps_negative_slices_empty_and_says_so(volume):
    refit = refit_with(CountingSource(positive=False), volume)
    closed = refit.slice(2)
    assert not closed.mask.any()
    assert not closed.cam_mask.any()
    assert closed.response.any()
    assert "Predicted negative for bright, dark" in closed.message
    assert refit.volume().n_negative == 6
    refit.params = refit.params.replace(gate="off", threshold=0.0)
    assert refit.slice(2).mask.all()
    refit.params = refit.params.replace(gate="positive")
    assert not refit.slice(2).mask.any(), "not even threshold 0 opens a closed gate"


def test_without_a_source_there_are_clusters_only(volume):
    refit = Refit(volume, params=RefitParams(n_segments=60))
    result = refit.slice(2)
    assert result.clusters.max() > 10
    assert result.response is None
    assert "Choose a classifier" in result.message
    with pytest.raises(ValueError, match="give a model or a response"):
        refit.volume()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_a_response_from_outside(volume, dtype):
    bright = (volume > 0.5).astype(dtype) * (255 if dtype == np.uint8 else 1)
    refit = Refit(volume, response=bright, params=RefitParams(n_segments=60, sigma=0.0, coverage=0.5))
    mask = refit.volume().mask
    truth = volume > 0.5
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.97
    two = Refit(volume, response=np.stack([bright, bright]), params=refit.params)
    assert two.slice(2).response.shape[0] == 2
    with pytest.raises(ValueError, match=r"response map has shape \(5, 40, 48\)"):
        Refit(volume, response=bright[:5])


def test_another_source_keeps_the_clusters(volume, source):
    refit = refit_with(source, volume)
    refit.slice(2)
    refit.use_response(volume)
    result = refit.slice(2)
    assert result.seconds["clusters"] == 0.0
    assert result.response.shape[0] == 1


def test_slic_means_the_same_on_every_slice(volume, source):
    """A slice in the volume's range is clustered as scikit-image would cluster it without its own rescaling."""
    refit = refit_with(source, volume)
    image = refit.slice(0).image
    reach = image.max() - image.min()
    expected = skimage_slic(image, 60, 20.0 / 100 / reach, sigma=0, channel_axis=None)
    from skimage.metrics import adapted_rand_error

    assert adapted_rand_error(expected, refit.slice(0).clusters)[0] < 0.02


def test_a_generator_segmenter_streams_and_stops(volume, source):
    def stripes(image, params):
        for width in (20, 10, 5):
            yield (np.arange(image.shape[1]) // width) + np.zeros(image.shape[:2], int)

    register_segmenter("stripes", stripes)
    try:
        refit = refit_with(source, volume)
        refit.params = RefitParams(segmenter="stripes")
        states, stages = [], []
        result = refit.slice(2, on_state=states.append, on_stage=stages.append)
        assert [state.max() for state in states] == [2, 4, 9]
        assert result.clusters.max() == 10
        assert stages == ["clusters", "response", "fit"]
        with pytest.raises(Cancelled):
            refit.slice(3, cancelled=lambda: True)
    finally:
        SEGMENTERS.unregister("stripes")


def test_a_segmenter_that_returns_nonsense_is_named(volume, source):
    register_segmenter("broken", lambda image, params: np.zeros((3, 3)))
    try:
        refit = refit_with(source, volume)
        refit.params = RefitParams(segmenter="broken")
        with pytest.raises(ValueError, match="segmenter 'broken' must return integer labels of shape"):
            refit.slice(2)
    finally:
        SEGMENTERS.unregister("broken")


def test_cancelling_a_volume_stops_it(volume, source):
    done = []
    with pytest.raises(Cancelled):
        refit_with(source, volume, batch_size=1).volume(
            progress=lambda k, total, text: done.append((k, total)), cancelled=lambda: len(done) >= 2
        )
    assert done == [(1, 6), (2, 6)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spacing": (1, 1)}, "3 positive numbers"),
        ({"spacing": (1, -1, 1)}, "positive"),
        ({"spacing": (1, 1, 1, 1)}, "3 positive numbers"),
    ],
)
def test_spacing_is_checked(volume, arguments, words):
    if words is None:
        assert Refit(volume, **arguments).spacing == (1, 1, 1)
        return
    with pytest.raises(ValueError, match=words):
        Refit(volume, **arguments)


def test_the_slice_axis_is_the_coarsest(volume):
    assert Refit(volume).slice_axis() == 0
    assert Refit(volume, spacing=(1, 1, 3)).slice_axis() == 2
    assert Refit(volume, spacing=(3, 1, 1)).slice_axis() == 0
    assert Refit(volume, spacing=(1, 1, 1)).slice_axis() == 0
    assert Refit(volume, spacing=(1, 1, 1), params=RefitParams(axis="1")).slice_axis() == 1


def test_the_same_input_gives_the_same_output(volume):
    masks = [
        refit_with(CountingSource(), volume, segmenter="network", steps=6).slice(2).clusters for _ in range(2)
    ]
    assert np.array_equal(*masks)


def test_the_description_reruns_the_result(volume, source):
    refit = refit_with(source, volume, threshold=0.4)
    described = refit.describe()
    again = RefitParams.model_validate(described["parameters"])
    assert again == refit.params
    assert described["version"]
    assert described["model"] == "counting"
