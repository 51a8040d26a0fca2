"""Registries of segmenters and fits: a new one is one file and one line here, or one call from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from napari_refit import params


class NoParams(params.Parameters):
    """The parameters of an entry that has none."""


@dataclass(frozen=True)
class Entry:
    """One registered function.

    Attributes
    ----------
    name : str
        Key in files and on the command line.
    title : str
        What a dock shows.
    params : type
        A pydantic model that declares the parameters (see `napari_refit.params`).
    target : callable or str
        The function, or ``"module:function"``, imported at first use.
    volume : callable, str or None
        Of a segmenter: the function that cuts a run of slices into supervoxels, likewise.
    takes_hints : bool
        Of a fit: whether it looks at `napari_refit.fit.FitInput.hints`. Where it does not, its result
        is made to follow them (`napari_refit.fit.strokes`).
    partitions : callable, str or None
        Of a fit that looks at more partitions than the chosen segmenter's: ``function(params)``, given the fit's
        parameters, returns the segmenter of each and what differs from the parameters of that segmenter's group. The
        clusters come as `napari_refit.fit.FitInput.partitions`.
    """

    name: str
    title: str
    params: type[BaseModel]
    target: Callable[..., Any] | str
    volume: Callable[..., Any] | str | None = None
    takes_hints: bool = False
    partitions: Callable[..., Any] | str | None = None

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        return _imported(self.target)

    @property
    def volume_function(self) -> Callable[..., Any]:
        """The function for supervoxels.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.volume is None:
            raise ValueError(f"{self.name!r} makes no supervoxels")
        return _imported(self.volume)

    def asked(self, params: BaseModel) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """The partitions that it asks for besides the chosen segmenter's clusters."""
        if self.partitions is None:
            return ()
        asked: Sequence[tuple[str, Mapping[str, Any]]] = _imported(self.partitions)(params)
        return asked


def _imported(target: Callable[..., Any] | str) -> Callable[..., Any]:
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


class Registry:
    """Named functions with declared parameters.

    Parameters
    ----------
    kind : str
        What the entries are, for messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(
        self,
        name: str,
        function: Callable[..., Any] | str,
        params: type[BaseModel] | None = None,
        title: str = "",
        volume: Callable[..., Any] | str | None = None,
        takes_hints: bool = False,
        partitions: Callable[..., Any] | str | None = None,
    ) -> Entry:
        """Add an entry, or replace the one of that name.

        Parameters
        ----------
        name : str
            A Python identifier that is not already a parameter group.
        function : callable or str
            The function, or ``"module:function"``.
        params : type, optional
            A pydantic model that declares the parameters.
        title : str, optional
            What a dock shows; the name when left out.
        volume : callable or str, optional
            The function for supervoxels.
        takes_hints : bool
            See `Entry`.
        partitions : callable or str, optional
            See `Entry`.

        Raises
        ------
        ValueError
            If the name is no identifier or belongs to another parameter group.
        TypeError
            If ``function`` or ``params`` is of the wrong type.
        """
        if not name.isidentifier():
            raise ValueError(f"{self.kind} name {name!r} is not a Python identifier")
        if name in RESERVED or any(name in other for other in REGISTRIES if other is not self):
            raise ValueError(f"{self.kind} name {name!r} is taken by another parameter group")
        if not (callable(function) or isinstance(function, str)):
            raise TypeError(f"{self.kind} {name!r}: function must be callable, got {function!r}")
        if params is not None and not (isinstance(params, type) and issubclass(params, BaseModel)):
            raise TypeError(f"{self.kind} {name!r}: params must be a pydantic model class, got {params!r}")
        entry = Entry(
            name,
            title or name.replace("_", " "),
            params or NoParams,
            function,
            volume,
            takes_hints,
            partitions,
        )
        self._entries[name] = entry
        return entry

    def unregister(self, name: str) -> None:
        """Remove an entry; unknown names are ignored."""
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise ValueError(f"unknown {self.kind} {name!r}; there are: {', '.join(self._entries)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of registration."""
        return tuple(self._entries)


RESERVED = frozenset({"intensity", "cam", "finish", "hints", "propagation", "segmenter", "fit", "axis"})
SEGMENTERS = Registry("segmenter")
FITS = Registry("fit")
REGISTRIES = (SEGMENTERS, FITS)

SEGMENTERS.register(
    "slic",
    "napari_refit.uss.superpixels:slic_segmenter",
    params.SlicParams,
    "SLIC",
    volume="napari_refit.uss.supervoxels:slic_supervoxels",
)
SEGMENTERS.register(
    "quickshift", "napari_refit.uss.superpixels:quickshift_segmenter", params.QuickshiftParams, "Quickshift"
)
SEGMENTERS.register(
    "felzenszwalb",
    "napari_refit.uss.superpixels:felzenszwalb_segmenter",
    params.FelzenszwalbParams,
    "Felzenszwalb",
)
SEGMENTERS.register(
    "watershed",
    "napari_refit.uss.superpixels:watershed_segmenter",
    params.WatershedParams,
    "Compact watershed",
)
SEGMENTERS.register(
    "network", "napari_refit.uss.network:network_segmenter", params.NetworkParams, "USS network (per image)"
)
FITS.register(
    "boundary", "napari_refit.fit.boundary:boundary_fit_stage", params.BoundaryParams, "BoundaryFit"
)
FITS.register(
    "appearance",
    "napari_refit.fit.appearance:appearance_fit",
    params.AppearanceParams,
    "Graph cut by appearance",
)
FITS.register(
    "hierarchy",
    "napari_refit.fit.hierarchy:hierarchy_fit",
    params.HierarchyParams,
    "Best regions of a tree",
)
FITS.register(
    "partition_ensemble",
    "napari_refit.fit.partition_ensemble:partition_ensemble_fit",
    params.PartitionEnsembleParams,
    "Mean of several partitions",
    partitions="napari_refit.fit.partition_ensemble:partitions",
)


def register_segmenter(
    name: str,
    function: Callable[..., Any] | str,
    params: type[BaseModel] | None = None,
    *,
    volume: Callable[..., Any] | str | None = None,
) -> Entry:
    """Add a segmenter; it appears in the docks, the command line, presets and search.

    Parameters
    ----------
    name : str
        A Python identifier.
    function : callable
        ``function(image, params) -> labels``: ``image`` is float32 in [0, 1] of shape ``(H, W)`` or
        ``(H, W, C)``, ``labels`` an integer array of shape ``(H, W)``. A generator function may yield
        intermediate label maps; the last one counts. It is given ``device``, ``cancelled`` and ``memo`` (see
        `napari_refit.memo.Memo`) where it has keyword arguments of these names.
    params : type, optional
        A pydantic model that declares its parameters.
    volume : callable, optional
        ``function(image, params, *, spacing, block) -> labels`` for clusters that reach across slices: ``image`` is
        ``(D, H, W[, C])``, ``spacing`` mm per slice, row and column, ``block`` says where in the volume it lies (see
        `napari_refit.uss.block.Block`). Used where ``params`` declares a switch ``supervoxels`` and it is on.

    Returns
    -------
    Entry

    Examples
    --------
    >>> import numpy as np
    >>> def halves(image, params):
    ...     return (np.arange(image.shape[1]) >= image.shape[1] // 2) + np.zeros(image.shape[:2], int)
    >>> register_segmenter("halves", halves).name
    'halves'
    >>> SEGMENTERS.unregister("halves")
    """
    return SEGMENTERS.register(name, function, params, volume=volume)


def register_fit(
    name: str,
    function: Callable[..., Any] | str,
    params: type[BaseModel] | None = None,
    *,
    takes_hints: bool = False,
    partitions: Callable[..., Any] | None = None,
) -> Entry:
    """Add a fit; it appears wherever BoundaryFit does.

    Parameters
    ----------
    name : str
        A Python identifier.
    function : callable
        ``function(inputs, params) -> FitResult`` with `napari_refit.fit.FitInput` and
        `napari_refit.fit.FitResult`.
    params : type, optional
        A pydantic model that declares its parameters.
    takes_hints : bool
        Whether it looks at the user's hints (see `Entry`).
    partitions : callable, optional
        Which partitions it looks at besides the chosen segmenter's clusters (see `Entry`).

    Returns
    -------
    Entry
    """
    return FITS.register(name, function, params, takes_hints=takes_hints, partitions=partitions)
