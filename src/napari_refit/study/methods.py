"""The methods that a study compares: one entry each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from napari_refit.recipe import RefitParams

Kind = Literal["blank", "threshold", "refit", "fsss"]


@dataclass(frozen=True)
class Method:
    """How a method's masks come about.

    Attributes
    ----------
    key, title, about : str
    kind : {"blank", "threshold", "refit", "fsss"}
        blank: nothing is marked. threshold: response maps from a threshold on. refit: clusters and a fit. fsss: a
        network trained on pseudo-labels or masks.
    learner : str
        Which training its response maps come from (``TrainingParams.learner``); empty: it needs none.
    tuned : bool
        Whether its threshold is the best single one on the training and validation images; else the preset's.
    labels : str
        What an fsss network is trained on: ``"refit"``, ``"truth"`` or ``"cam"``.
    fit : str
        The fit it uses whatever the parameters say; empty: theirs.
    params : RefitParams
        Filled in by `choose_methods`.
    preset : str
        Where ``params`` are from.
    """

    key: str
    title: str
    about: str
    kind: Kind
    learner: str = ""
    tuned: bool = False
    labels: str = ""
    fit: str = ""
    params: RefitParams = field(default_factory=RefitParams)
    preset: str = "default"


_CAM = "Response maps of a classifier trained on image-level labels"
METHODS: dict[str, Method] = {
    method.key: method
    for method in (
        Method("blank", "Blank mask", "Nothing is marked: what any score is to be compared with.", "blank"),
        Method("gradcam", "Grad-CAM", f"{_CAM}, at the preset's threshold.", "threshold", "classifier"),
        Method(
            "best-threshold",
            "Grad-CAM, best threshold",
            f"{_CAM}, at the single threshold that is best on the training and validation images.",
            "threshold",
            "classifier",
            tuned=True,
        ),
        Method(
            "refit", "ReFit", f"{_CAM}, fitted to clusters; threshold of the preset.", "refit", "classifier"
        ),
        Method(
            "refit-tuned",
            "ReFit, best threshold",
            "The same with the single threshold that is best on the training and validation images.",
            "refit",
            "classifier",
            tuned=True,
        ),
        Method(
            "appearance",
            "ReFit by appearance",
            f"{_CAM}, fitted to clusters by what these look like; threshold of the preset.",
            "refit",
            "classifier",
            fit="appearance",
        ),
        Method(
            "appearance-tuned",
            "ReFit by appearance, best threshold",
            "The same with the single threshold that is best on the training and validation images.",
            "refit",
            "classifier",
            tuned=True,
            fit="appearance",
        ),
        Method(
            "seam",
            "SEAM",
            "SEAM's response maps (Wang et al. 2020), at the single threshold that is best on the training and "
            "validation images.",
            "threshold",
            "seam",
            tuned=True,
        ),
        Method(
            "cmer",
            "WSS-CMER",
            "WSS-CMER's response maps (Patel and Dolz 2022), at the single threshold that is best on the training "
            "and validation images.",
            "threshold",
            "cmer",
            tuned=True,
        ),
        Method(
            "fsss",
            "FSSS on ReFit's labels",
            "A segmentation network trained on the masks that ReFit makes of the training images.",
            "fsss",
            "classifier",
            labels="refit",
        ),
        Method(
            "fsss-cam",
            "FSSS on Grad-CAM's labels",
            "The same network trained on thresholded response maps of the training images.",
            "fsss",
            "classifier",
            labels="cam",
        ),
        Method(
            "fsss-truth",
            "FSSS on reference masks",
            "The same network trained on the training images' reference masks: an upper bound.",
            "fsss",
            labels="truth",
        ),
    )
}
ALWAYS = ("blank", "best-threshold")
COMPANIONS = {"refit": ("refit-tuned",)}
"""What is run along with a method, so that a comparison is like for like."""


def choose_methods(
    names: Sequence[str], presets: Mapping[str, RefitParams] | None = None, base: RefitParams | None = None
) -> tuple[Method, ...]:
    """The methods asked for, with those that always go along, each with its parameters.

    Parameters
    ----------
    names : sequence of str
        Keys of `METHODS`, or ``refit-NAME`` and ``fsss-NAME`` of one of the presets.
    presets : mapping of str to RefitParams, optional
        Further presets by name: each is a method ``refit-NAME``. With its masks a segmentation network is trained if
        ``fsss-NAME`` is asked for.
    base : RefitParams, optional
        What all others use; the default preset when left out.

    Returns
    -------
    tuple of Method

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> [method.key for method in choose_methods(["refit"])]
    ['blank', 'best-threshold', 'refit', 'refit-tuned']
    """
    base = base or RefitParams()
    known = dict(METHODS)
    for name, params in (presets or {}).items():
        short = name.removeprefix("refit-")
        for key in (f"refit-{short}", f"fsss-{short}"):
            if key in METHODS:
                raise ValueError(f"a preset must not be called {name!r}: the method {key!r} is another one")
        about = f"{_CAM}, fitted to clusters with the parameters of {name}."
        fitted = Method(
            f"refit-{short}", f"ReFit, {short}", about, "refit", "classifier", params=params, preset=name
        )
        about = f"A segmentation network trained on the masks that ReFit makes of the training images with {name}."
        trained = Method(
            f"fsss-{short}",
            f"FSSS on ReFit's labels, {short}",
            about,
            "fsss",
            "classifier",
            labels="refit",
            params=params,
            preset=name,
        )
        known |= {fitted.key: fitted, trained.key: trained}
    wanted = {*ALWAYS, *(key for key in known if key not in METHODS and known[key].kind == "refit")}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
            raise ValueError(f"unknown method {name!r}; {hint}")
        wanted |= {name, *COMPANIONS.get(name, ())}
    # Presets beside the default one.
    order = [*METHODS]
    for kind, before in (("refit", "refit-tuned"), ("fsss", "fsss")):
        place = order.index(before) + 1
        order[place:place] = [key for key in known if key not in METHODS and known[key].kind == kind]
    return tuple(
        known[key] if key not in METHODS else _filled(known[key], base) for key in order if key in wanted
    )


def _filled(method: Method, base: RefitParams) -> Method:
    return replace(method, params=base.replace(fit=method.fit) if method.fit else base)
