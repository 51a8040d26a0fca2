"""A graph cut over the clusters: those of a class look alike, respond, and have a border where the image has one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check
from napari_refit.fit.appearance_model import log_odds
from napari_refit.fit.checks import (
    check_shape,
    checked_numbers,
    cluster_sizes,
    flat_response,
    rounded_down,
)
from napari_refit.fit.clustered import checked_spacing, cluster_means, image_colours, strongest_class
from napari_refit.fit.labelling import Labelling, border_costs, logit
from napari_refit.fit.regions import Regions, measure_regions
from napari_refit.fit.spread import spread_response
from napari_refit.fit.types import FitInput, FitResult
from napari_refit.memo import Memo, forgetful
from napari_refit.params import AppearanceParams

Stop = Callable[[], bool]
Values = NDArray[np.float64]
Labels = NDArray[np.int64]

# Responses beyond these are as good as certain.
CERTAIN = 0.02, 0.98
# However alike a cluster is to one side, its looks never count for more than this log-odds.
LIMIT = 3.0


@dataclass(frozen=True, eq=False)
class _Task:
    """Clusters, and their response per class (n_classes, n)."""

    regions: Regions
    response: Values
    params: AppearanceParams


def appearance_fit(
    inputs: FitInput,
    params: AppearanceParams,
    *,
    memo: Memo = forgetful,
    cancelled: Stop | None = None,
) -> FitResult:
    """Fit a mask by what the clusters look like, where they respond, and where the image has edges.

    Each cluster gets the label (background or a class) for which the sum is smallest of

    - its own cost, by its size: minus ``response_weight`` times the log-odds of its response against ``start``, minus
      ``appearance_weight`` times the log-odds that it looks like the class rather than like the background;
    - for each pair of touching clusters with different labels: ``smoothness`` times the length of their border times
      ``exp(-d² / (2 contrast²))``, with ``d`` the difference of their colours over what is usual in this image.

    How classes and background look is learned from this image alone: first from the clusters that respond by at least
    ``start``, then from the labels found, for some rounds.

    Parameters
    ----------
    inputs : FitInput
        Clusters are taken at their word: 1..n without gaps, each connected. ``image`` (else ``simplified``) may have
        channels at its end. Hints are for `napari_refit.fit.strokes`, which works on what comes out here.
    params : AppearanceParams
    memo : Memo
        Belongs to ``inputs``; keeps what depends on image and clusters, and the spread response.
    cancelled : callable, optional

    Returns
    -------
    FitResult
        ``fitted`` is constant within each cluster: the highest threshold at which the cluster is still in the mask.
        With one class, the mask at any threshold ``t`` is exactly what costs least when background is ``logit(t)``
        cheaper. With several, labels are found by expansion moves, and the mask at 0.5 is these labels. ``message``
        says when the mask is empty or fills the frame.

    Raises
    ------
    ValueError
        If shapes disagree, a value is outside its range, or there is no image.
    Cancelled
        If ``cancelled()`` answered True.

    References
    ----------
    Rother, Kolmogorov, Blake, "GrabCut", ACM Transactions on Graphics 23, 2004, here over clusters; see
    `napari_refit.fit.cut` and `napari_refit.fit.spread` for the rest.

    Examples
    --------
    >>> clusters = np.repeat(np.arange(1, 7, dtype=np.int32), 4).reshape(6, 4)
    >>> image = np.array([0.1, 0.2, 0.8, 0.8, 0.1, 0.2], np.float32)[clusters - 1]
    >>> response = np.array([0.0, 0.1, 0.9, 0.5, 0.3, 0.0], np.float32)[clusters - 1]
    >>> result = appearance_fit(FitInput(response[None], clusters, image=image), AppearanceParams())
    >>> result.mask[:, 0].tolist()
    [0, 0, 1, 1, 0, 0]
    """
    from napari_refit.uss.checks import loopable, real_array

    response = real_array(inputs.response, "response")
    check_shape(response, inputs.clusters.shape)
    numbers = checked_numbers(inputs.class_numbers, len(response))
    clusters = loopable(inputs.clusters, np.int32)

    def measure() -> Regions:
        colours = image_colours(inputs, clusters.shape, "the appearance fit")
        return measure_regions(
            colours, clusters, cluster_sizes(clusters), checked_spacing(inputs, clusters.ndim)
        )

    regions: Regions = memo("regions", measure)
    check(cancelled)

    def respond() -> Values:
        means = memo("means", lambda: cluster_means(flat_response(response), clusters))
        return spread_response(means, regions.graph, regions.sizes, params.spread)

    task = _Task(
        regions,
        memo(("response", params.spread), respond),
        params,
    )
    fitted = _fit(task, cancelled)
    mask = strongest_class(fitted, params.threshold, numbers)
    places = clusters - 1
    return FitResult(fitted[:, places], mask[places], _message(task, fitted))


def _fit(task: _Task, cancelled: Stop | None) -> NDArray[np.float32]:
    """Fitted response per class and cluster."""
    params, n_classes = task.params, len(task.response)
    own = params.response_weight * (logit(task.response.clip(*CERTAIN)) - logit(params.start))
    labelling = Labelling(task.regions, border_costs(task.regions, params.smoothness, params.contrast))
    labels = _strongest(task.response, params.start)
    values = own
    for _ in range(params.rounds):
        check(cancelled)
        looks = log_odds(
            task.regions.features, task.regions.sizes, labels, n_classes, params.background_parts, LIMIT
        )
        values = own + params.appearance_weight * looks
        before, labels = labels, labelling.labels(values, cancelled)
        if np.array_equal(before, labels):
            break
    return labelling.fitted(values, labels, cancelled=cancelled)


def _strongest(response: Values, start: float) -> Labels:
    return np.where(response.max(axis=0) >= start, response.argmax(axis=0) + 1, 0)


def _message(task: _Task, fitted: NDArray[np.float32]) -> str:
    params, best = task.params, fitted.max(axis=0)
    passing = best >= params.threshold
    if passing.all():
        return (
            f"The mask fills the frame: every cluster reaches {rounded_down(best.min())}, threshold is "
            f"{params.threshold:.2f}. Raise the threshold or the start level, or make more clusters."
        )
    if passing.any():
        return ""
    highest = float(task.response.max())
    if highest <= 0:
        return "Nothing passes: the response map is 0 everywhere, so no slider will bring a mask here."
    top = int(best.argmax())
    found = (
        f"Nothing passes: best cluster (number {top + 1}) reaches {rounded_down(best[top])}, threshold is "
        f"{params.threshold:.2f}."
    )
    if highest < params.start:
        return (
            f"{found} No cluster responds by the start level of {params.start:.2f}, the strongest by "
            f"{rounded_down(highest)}: lower the start level."
        )
    return f"{found} Lower the threshold, the start level or the smoothness, or make the clusters smaller."
