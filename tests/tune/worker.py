"""A process that tunes: ``python worker.py STUDY SAMPLER TRIALS [SLOW]``; run by the tests of studies."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from made import BASE, made_images

from napari_refit.tune.run import tune
from napari_refit.tune.settings import TuneParams
from napari_refit.tune.space import Range

SPACE = [Range("boundary.threshold", 0.2, 0.8, step=0.2), Range("boundary.coverage", 0.2, 1.0, step=0.4)]


def settings(sampler: str, trials: int) -> TuneParams:
    return TuneParams(sampler=sampler, trials=trials, prune_after=3, threads=1)


if __name__ == "__main__":
    study, sampler, trials, slow = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])

    def wait() -> bool:
        time.sleep(slow)
        return False

    tune(made_images(6), BASE, SPACE, settings(sampler, trials), study=study, cancelled=wait)
