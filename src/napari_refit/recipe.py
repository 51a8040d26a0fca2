"""`RefitParams`: every parameter of a run in one frozen object, with keys, presets and JSON."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_refit.params import (
    CamParams,
    Declaration,
    FinishParams,
    HintParams,
    IntensityParams,
    PropagationParams,
    declarations,
    option,
)
from napari_refit.presets import PRESETS
from napari_refit.registry import FITS, SEGMENTERS

NOTE = "tuned"
"""Key in a file of parameters under which it says what they were tuned on (see `napari_refit.tune.note`)."""
GROUPS: tuple[str, ...] = ("intensity", "cam", "finish", "hints", "propagation")


class RefitParams(BaseModel):
    """Every parameter of a run.

    A parameter is addressed as ``group.name`` (``slic.n_segments``), or by its name alone (``threshold``)
    where only one of the groups in use has it: intensity, the chosen segmenter, cam, the chosen fit, finish, hints,
    propagation.

    Attributes
    ----------
    segmenter, fit : str
        Names from the registries.
    axis : {"auto", "0", "1", "2"}
        Slice axis of whole-volume runs. auto: the axis of coarsest spacing, else the file's slowest.
    intensity, cam, finish, hints, propagation : Parameters
        Groups that every run has. Each registered segmenter and fit has a group of its own name.

    Raises
    ------
    ValueError
        For an unknown key or a value out of bounds; the message names the key, the value and the bounds.

    Examples
    --------
    >>> params = RefitParams(threshold=0.4)
    >>> params.of("boundary").threshold
    0.4
    >>> params.replace(**{"slic.n_segments": 300}).of("slic").n_segments
    300
    >>> RefitParams.model_validate_json(params.model_dump_json()) == params
    True
    """

    model_config = ConfigDict(frozen=True, extra="allow", validate_default=True)

    segmenter: str = option("slic", title="Segmenter", help="What cuts a slice into clusters.")
    fit: str = option("boundary", title="Fit", help="What turns response maps and clusters into a mask.")
    axis: Literal["auto", "0", "1", "2"] = option(
        "auto", title="Slice axis", help="Axis along which a volume is cut into slices.", advanced=True
    )
    intensity: IntensityParams = Field(default_factory=IntensityParams)
    cam: CamParams = Field(default_factory=CamParams)
    finish: FinishParams = Field(default_factory=FinishParams)
    hints: HintParams = Field(default_factory=HintParams)
    propagation: PropagationParams = Field(default_factory=PropagationParams)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        values = dict(data)
        values.pop(NOTE, None)
        segmenter = values.get("segmenter", cls.model_fields["segmenter"].default)
        fit = values.get("fit", cls.model_fields["fit"].default)
        SEGMENTERS[segmenter]
        FITS[fit]
        groups = {name: _as_dict(values.pop(name, {}), name) for name in group_models()}
        for key in [key for key in values if key not in cls.model_fields]:
            group, name = locate(key, segmenter, fit)
            groups[group][name] = values.pop(key)
        for name, model in group_models().items():
            values[name] = _validated(model, groups[name], name)
        return values

    def of(self, group: str) -> Any:
        """The parameters of one group, e.g. ``of("slic")``."""
        if group not in group_models():
            raise ValueError(f"unknown parameter group {group!r}; there are: {', '.join(group_models())}")
        # What was registered after these parameters were made has its defaults.
        return getattr(self, group, None) or group_models()[group]()

    @property
    def segmenter_params(self) -> Any:
        """The chosen segmenter's parameters."""
        return self.of(self.segmenter)

    @property
    def fit_params(self) -> Any:
        """The chosen fit's parameters."""
        return self.of(self.fit)

    @property
    def mask_threshold(self) -> float:
        """Where the fitted response reaches it, the mask is; 0.5 for a fit without a threshold of its own."""
        return float(getattr(self.fit_params, "threshold", 0.5))

    def partitions(self) -> tuple[RefitParams, ...]:
        """One set of parameters for each partition that the chosen fit looks at, each with a segmenter of its own.

        These parameters come first; nothing where the fit looks at no more than the chosen segmenter's clusters. A
        segmenter that can makes supervoxels where the chosen one does.

        Examples
        --------
        >>> params = RefitParams(fit="partition_ensemble", slic_clusters=(50,), with_watershed=True)
        >>> [each.segmenter for each in params.partitions()]
        ['slic', 'slic', 'watershed']
        """
        asked = FITS[self.fit].asked(self.fit_params)
        if not asked:
            return ()
        across = getattr(self.segmenter_params, "supervoxels", False)
        found = {digest(self.segmenter, self.segmenter_params): self}
        for name, changes in asked:
            fields, group = SEGMENTERS[name].params.model_fields, self.of(name)
            different = {**changes, **({"supervoxels": across} if "supervoxels" in fields else {})}
            group = group.model_copy(update=different)
            each = self.model_copy(update={"segmenter": name, name: group})
            found.setdefault(digest(name, group), each)
        return tuple(found.values())

    def segmenters(self) -> tuple[str, ...]:
        """The chosen segmenter, and others that the fit asks for."""
        return tuple(dict.fromkeys([self.segmenter, *(each.segmenter for each in self.partitions())]))

    def clustering(self) -> tuple[object, ...]:
        """Everything that the clusters of all partitions depend on, for cache keys."""
        cut = ((each.segmenter, each.segmenter_params) for each in self.partitions() or (self,))
        return (self.intensity, *(part for each in cut for part in each))

    def replace(self, **changes: Any) -> RefitParams:
        """A copy with some parameters changed; keys as in the class's description.

        Parameters
        ----------
        **changes
            ``segmenter``, ``fit``, ``axis``, whole groups, or single parameters by plain or dotted key.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        for name in group_models():
            values[name] = self.of(name).model_dump()
        for name in [name for name in changes if name in values]:
            values[name] = changes.pop(name)
        return type(self)(**values, **changes)

    def with_texts(self, assignments: Mapping[str, str]) -> RefitParams:
        """A copy with parameters set from texts, as ``--set key=value`` does.

        Parameters
        ----------
        assignments : mapping of str to str
            The several names of ``cam.classes``, and the numbers of ``cam.scales``, are separated by commas.
        """
        changes: dict[str, Any] = dict(assignments)
        segmenter = changes.get("segmenter", self.segmenter)
        fit = changes.get("fit", self.fit)
        for key, text in assignments.items():
            if key in type(self).model_fields:
                continue
            group, name = locate(key, segmenter, fit)
            declaration = next(item for item in declarations(group_models()[group]) if item.name == name)
            if declaration.kind in ("texts", "numbers"):
                changes[key] = tuple(part.strip() for part in text.split(",") if part.strip())
        return self.replace(**changes)

    def used(self) -> dict[str, Any]:
        """What this run reads, and nothing of segmenters and fits that are not chosen: for cache keys.

        Examples
        --------
        >>> params = RefitParams()
        >>> params.used() == params.replace(**{"quickshift.ratio": 0.3}).used()
        True
        >>> params.used() == params.replace(threshold=0.3).used()
        False
        """
        # Nothing is carried from slice to slice but on request.
        values = {
            f"{group}.{item.name}": getattr(self.of(group), item.name)
            for group, item in self.in_use()
            if group != "propagation"
        }
        return {"segmenter": self.segmenter, "fit": self.fit, "axis": self.axis, **values}

    def changed(self) -> dict[str, Any]:
        """Dotted keys and values in use that differ from the defaults, in the order of declaration."""
        default = type(self)()
        found: dict[str, Any] = {
            key: getattr(self, key)
            for key in ("segmenter", "fit", "axis")
            if getattr(self, key) != getattr(default, key)
        }
        for group, declaration in self.in_use():
            value = getattr(self.of(group), declaration.name)
            if value != getattr(default.of(group), declaration.name):
                found[f"{group}.{declaration.name}"] = value
        return found

    def groups(self) -> tuple[str, ...]:
        """Names of the groups that this run reads, in the order of its stages."""
        return _groups(self.segmenters(), self.fit)

    def in_use(self) -> Iterator[tuple[str, Declaration]]:
        """Group and declaration of every parameter that this run reads."""
        for group in self.groups():
            for declaration in declarations(group_models()[group]):
                yield group, declaration

    @classmethod
    def preset(cls, name: str) -> RefitParams:
        """Parameters of a named preset (see `presets`)."""
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; there are: {', '.join(PRESETS)}")
        return cls(**PRESETS[name].values)

    @classmethod
    def presets(cls) -> dict[str, str]:
        """Names of the presets, each with what it is for."""
        return {name: preset.help for name, preset in PRESETS.items()}


def group_models() -> dict[str, type[BaseModel]]:
    """Every parameter group's model by name: the fixed ones, the segmenters', the fits'."""
    models: dict[str, type[BaseModel]] = {
        "intensity": IntensityParams,
        "cam": CamParams,
        "finish": FinishParams,
        "hints": HintParams,
        "propagation": PropagationParams,
    }
    models.update({entry.name: entry.params for entry in SEGMENTERS})
    models.update({entry.name: entry.params for entry in FITS})
    return models


def _groups(segmenters: Iterable[str], fit: str) -> tuple[str, ...]:
    return ("intensity", *segmenters, "cam", fit, "finish", "hints", "propagation")


def digest(*parts: object) -> str:
    """A short stable name of parameter values, for cache keys.

    Parameters
    ----------
    *parts : object
        Pydantic models (hashed by their JSON) or anything with a stable ``repr``.
    """
    text = "\n".join(part.model_dump_json() if isinstance(part, BaseModel) else repr(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_dict(value: Any, group: str) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"{group} holds parameters by name, got {value!r}")


def _validated(model: type[BaseModel], values: dict[str, Any], group: str) -> BaseModel:
    for name in values:
        if name not in model.model_fields:
            raise ValueError(_unknown(f"{group}.{name}"))
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join([group, *(str(part) for part in first["loc"])])
        raise ValueError(f"{name} = {first['input']!r}: {first['msg'].lower()}") from None


def locate(key: str, segmenter: str, fit: str) -> tuple[str, str]:
    """Group and name of the parameter that a plain or dotted key means (see `RefitParams`)."""
    models = group_models()
    group, dot, name = key.partition(".")
    if dot:
        if group in models and name in models[group].model_fields:
            return group, name
        raise ValueError(_unknown(key))
    homes = [home for home in _groups((segmenter,), fit) if key in models[home].model_fields]
    if len(homes) == 1:
        return homes[0], key
    if homes:
        raise ValueError(f"{key!r} could be {' or '.join(f'{home}.{key}' for home in homes)}; name one")
    elsewhere = [f"{home}.{key}" for home, model in models.items() if key in model.model_fields]
    if elsewhere:
        raise ValueError(f"{key!r} belongs to what is not chosen; write {' or '.join(elsewhere)}")
    raise ValueError(_unknown(key))


def _unknown(key: str) -> str:
    keys = [f"{group}.{name}" for group, model in group_models().items() for name in model.model_fields]
    near = difflib.get_close_matches(key, keys + [item.split(".")[1] for item in keys], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; 'napari-refit presets' lists them"
    return f"unknown parameter {key!r}{hint}"


def reason(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {message}" if where else message
