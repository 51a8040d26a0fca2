"""A volume streams: memory grows with the output, not with what is read."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_refit.intensity import extremes, measure_range
from napari_refit.params import IntensityParams
from napari_refit.pipeline import Refit

PROGRAM = """
import resource, sys
import dask.array as da
import numpy as np
from napari_refit import RefitParams
from napari_refit.pipeline import Refit
from napari_refit.registry import register_segmenter

def blocks(image, params):
    rows, columns = np.indices(image.shape[:2], np.int32)
    return rows // 16 * 1000 + columns // 16

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def lazy(n_slices):
    def make(block_info=None):
        k = block_info[None]["chunk-location"][0]
        rows, columns = np.mgrid[:512, :512]
        return np.exp(-((rows - 200 - k) ** 2 + (columns - 250) ** 2) / 20000)[None].astype(np.float32)
    return da.map_blocks(make, chunks=((1,) * n_slices, (512,), (512,)), dtype=np.float32)

register_segmenter("blocks", blocks)
params = RefitParams(segmenter="blocks", mode="window", window_level=0.5, window_width=1.0)
for _ in range(2):
    Refit(lazy(12), response=lazy(12), params=params, cache_bytes=32 << 20).volume()
before = peak()
n = int(sys.argv[1])
result = Refit(lazy(n), response=lazy(n), params=params, cache_bytes=32 << 20).volume()
assert result.mask.any()
print(peak() - before, (result.mask.nbytes + result.cam_mask.nbytes) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory in kB is Linux's unit")
def test_a_lazy_volume_is_never_held() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "100"], capture_output=True, text=True, check=True, timeout=300
    )
    grown, output = map(int, done.stdout.split())
    read = 2 * 100 * 512 * 512 * 4 >> 20
    assert grown <= output + 40, f"{grown} MB for {output} MB of output; {read} MB were read"


class Spy:
    """A lazy array that remembers what it was asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape, self.ndim, self.dtype = values.shape, values.ndim, values.dtype
        self.asked: list = []

    def __getitem__(self, key):
        found = self._values[key]
        self.asked.append(found.size)
        return found

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("asked for as a whole")


def test_a_small_lazy_array_is_read_by_slice_too() -> None:
    values = np.random.default_rng(0).random((5, 20, 30))
    spy = Spy(values)
    assert extremes(spy) == (values.min(), values.max())
    expected = measure_range(values, IntensityParams())
    assert measure_range(spy, IntensityParams()) == expected
    assert set(spy.asked) == {600}
    spy.asked.clear()
    result = Refit(spy, response=Spy(values), rgb=False).volume()
    assert result.mask.shape == values.shape
    assert set(spy.asked) == {600}


def test_extremes_leave_out_nan() -> None:
    values = np.array([[[np.nan, 2.0]], [[-1.0, np.nan]]], np.float32)
    assert extremes(values) == (-1.0, 2.0)
    assert extremes(Spy(values)) == (-1.0, 2.0)
    assert np.isnan(extremes(np.full((2, 2), np.nan))).all()
