"""A simulated user corrects the masks of a fold's test cases, when these are made.

The user sees the reference mask, so what comes out says how much a correction brings, not how good the automatic masks
are. Nothing of it goes back into them: they lie in the study's store before the user sees anything.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.levels import Levels
from napari_refit.recipe import digest
from napari_refit.study import strokes
from napari_refit.study.clicking import click_clusters
from napari_refit.study.methods import Method
from napari_refit.study.opened import Opened
from napari_refit.study.pieces import Pieces
from napari_refit.study.responding import CaseResponse, thresholded, with_response
from napari_refit.study.store import make_key

RULES = 1
"""Part of every key: what was corrected by other rules is made anew."""
THRESHOLDS = tuple(np.linspace(0.05, 0.95, 19).tolist())
USERS = ("clusters", "levels")
"""Who clicks: on the clusters alone, or, with the wheel, on the regions of every level too."""


class Corrections:
    """The corrections of one fold.

    Parameters
    ----------
    pieces : Pieces
        Of the fold; the masks that are corrected must be there.
    """

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self.user = pieces.settings.user

    def has(self, method: Method, name: str) -> bool:
        """Whether `make` has nothing to do."""
        return self.pieces.store.has(*self._place(method, name))

    def rows(self, method: Method, name: str) -> list[dict[str, Any]] | None:
        """What came out for each plane of a case, if it is there (see `napari_refit.study.corrected.Corrected`)."""
        kept = self.pieces.store.load(*self._place(method, name))
        return None if kept is None else list(kept.facts["rows"])

    def arrays(self, method: Method, name: str) -> dict[str, NDArray[Any]] | None:
        """``masks`` after each round and the ``hints`` painted by then, both (rounds, D, H, W), if they are there."""
        kept = self.pieces.store.load(*self._place(method, name))
        return None if kept is None else dict(kept.arrays)

    def make(self, method: Method, opened: Opened) -> None:
        """Correct a test case.

        Parameters
        ----------
        method : Method
            Of kind ``"refit"``.
        opened : Opened
            Of the test cases without reference masks.

        Raises
        ------
        ValueError
            If the automatic mask is not there.
        """
        path, key = self._place(method, opened.name)
        pieces, kept = self.pieces, self.pieces.kept_mask(method, opened.name)
        if kept is None:
            raise ValueError(f"the mask of {opened.name} by {method.key} is not there any more")
        stack = opened.stack(method.learner)
        if opened.truth is None:
            opened.truth = pieces.truth(opened.name)
        flat = stack.axis is None
        mask, truth = (part[np.newaxis] if flat else part for part in (kept.arrays["mask"], opened.truth))
        response = pieces.response(method, opened, keep=True)
        refit = with_response(
            opened.pipeline(method.learner, pieces.settings.device), response, pieces.params_of(method)
        )
        bounds = map_bounds(response, truth)
        rows: list[dict[str, Any]] = [
            {
                "axis": stack.place(number)[0],
                "index": stack.place(number)[1],
                "in_truth": int(np.count_nonzero(truth[number])),
                "in_mask": int(np.count_nonzero(mask[number])),
                "dice": plane_dice(mask[number], truth[number]),
                "map_bound": bounds[number],
                "rounds": [],
                "clicks": {},
            }
            for number in range(stack.n_planes)
        ]
        if self.user.clicks:
            self._click(refit, mask, truth, rows)
        hints = np.zeros(stack.shape, np.uint8)
        masks, painted = [], []
        try:
            refit.use_hints(hints)
            for _ in range(self.user.rounds):
                mask = self._round(refit, mask, truth, hints[np.newaxis] if flat else hints, rows)
                masks.append(mask)
                painted.append(hints.reshape(mask.shape).copy())
        finally:
            # The pipeline serves other methods too.
            refit.use_hints(None)
        arrays = {"masks": np.stack(masks).astype(kept.arrays["mask"].dtype), "hints": np.stack(painted)}
        facts = {"method": method.key, "case": opened.name, "fold": pieces.number, "rows": rows}
        pieces.store.save(path, key, arrays, facts, compressed=True)

    def _round(
        self,
        refit: Any,
        mask: NDArray[Any],
        truth: NDArray[np.uint8],
        hints: NDArray[np.uint8],
        rows: list[dict[str, Any]],
    ) -> NDArray[Any]:
        """Paint on every plane of the stack (D, H, W), then refine it; the mask, of the same shape."""
        counts = [strokes.draw_strokes(*planes) for planes in zip(mask, truth, hints, strict=True)]
        start = time.perf_counter()
        # Without a stroke there is nothing new.
        after = mask
        if any(counts):
            after = np.asarray(refit.volume(axis=0).mask).reshape(mask.shape)
        seconds = (time.perf_counter() - start) / len(rows)
        for number, row in enumerate(rows):
            row["rounds"].append(
                {
                    "strokes": counts[number],
                    "in_mask": int(np.count_nonzero(after[number])),
                    "dice": plane_dice(after[number], truth[number]),
                    "seconds": seconds,
                }
            )
        return after

    def _click(
        self, refit: Any, mask: NDArray[Any], truth: NDArray[np.uint8], rows: list[dict[str, Any]]
    ) -> None:
        def look(positions: dict[int, int], result: Any) -> None:
            number = positions.get(0, 0)
            if not truth[number].any():
                return
            levels = Levels((), result.clusters, result.simplified, result.image)
            levels.make()
            every = [levels.regions(level) for level in range(levels.lowest, levels.highest + 1)]
            for user, regions in zip(USERS, ([levels.regions(0)], every), strict=True):
                found = click_clusters(
                    mask[number], truth[number], regions, self.user.wanted, self.user.clicks
                )
                rows[number]["clicks"][user] = {
                    "count": found.count,
                    "dice": found.dice[-1],
                    "reached": found.reached,
                    "bound": found.bound,
                }

        refit.volume(axis=0, on_slice=look)

    def _place(self, method: Method, name: str) -> tuple[Path, str]:
        pieces, user = self.pieces, self.user
        made = (RULES, strokes.NARROWEST, strokes.PART, user.rounds, user.clicks, user.wanted)
        key = make_key(
            "corrections",
            pieces.mask_place(method, name)[1],
            pieces.truth_key(name),
            digest(pieces.params_of(method).hints),
            *made,
        )
        return pieces.store.path("corrections", method.key, name), key


def map_bounds(response: CaseResponse, truth: NDArray[np.integer]) -> list[float]:
    """Foreground Dice of each plane's response maps at the threshold that is best for that very plane, the gate open.

    Parameters
    ----------
    response : CaseResponse
    truth : ndarray of int, (D, H, W)

    Returns
    -------
    list of float
        NaN where the truth is empty.
    """
    ungated = replace(response, open=response.numbers > 0)
    best = np.full(len(truth), np.nan)
    shown = truth.any(axis=(1, 2))
    for threshold in THRESHOLDS:
        masks = thresholded(ungated, threshold)
        found = [plane_dice(*planes) for planes in zip(masks[shown], truth[shown], strict=True)]
        best[shown] = np.fmax(best[shown], found)
    return best.tolist()


def plane_dice(mask: NDArray[np.integer], truth: NDArray[np.integer]) -> float:
    """Foreground Dice of a plane, the mean over the classes that truth or mask hold; NaN where neither holds any.

    Examples
    --------
    >>> plane_dice(np.array([[1, 1, 0, 2]]), np.array([[1, 0, 0, 2]]))
    0.8333333333333333
    """
    from napari_refit.metrics.overlap import dice_of

    numbers = [number for number in np.union1d(mask, truth).tolist() if number]
    if not numbers:
        return float("nan")
    counts = [
        (int(np.count_nonzero(one & other)), int(np.count_nonzero(one)), int(np.count_nonzero(other)))
        for one, other in ((mask == number, truth == number) for number in numbers)
    ]
    return float(np.mean([dice_of(*each) for each in counts]))
