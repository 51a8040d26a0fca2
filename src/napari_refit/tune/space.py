"""The search space, made from the declarations of the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from napari_refit.declare import Declaration, declarations
from napari_refit.recipe import RefitParams, group_models, locate
from napari_refit.registry import FITS, SEGMENTERS

DIGITS = 3
"""Significant digits of the values that are tried."""
_REGISTRIES = {"segmenter": SEGMENTERS, "fit": FITS}


@dataclass(frozen=True)
class Range:
    """The values of one parameter that a search may try.

    Attributes
    ----------
    key : str
        Dotted, such as ``slic.n_segments``; or ``segmenter``, ``fit``.
    low, high : float or None
        Inclusive; None for a choice.
    step : float or None
        Between the values that are tried, from ``low`` on. None: any value, in a grid a few of them.
    log : bool
        Whether values are spread evenly in their logarithm; not with a step.
    choices : tuple
        The values of a choice or a switch.

    Raises
    ------
    ValueError
        If the key is unknown, is no number and no choice, or the range is empty or beyond what is allowed.

    Examples
    --------
    >>> Range("slic.n_segments", 50, 400, log=True).levels(4)
    (50, 100, 200, 400)
    >>> Range("boundary.threshold", 0.3, 0.5, step=0.1).levels(4)
    (0.3, 0.4, 0.5)
    """

    key: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        allowed = _allowed(self.key)
        if isinstance(allowed, tuple):
            self._check_choices(allowed)
        else:
            self._check_numbers(allowed)

    def _check_choices(self, allowed: tuple[Any, ...]) -> None:
        if not self.choices:
            raise ValueError(f"{self.key}: name the choices to try; there are: {_listed(allowed)}")
        strange = [choice for choice in self.choices if choice not in allowed]
        if strange:
            raise ValueError(f"{self.key}: {strange[0]!r} is none of {_listed(allowed)}")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"{self.key}: {_listed(self.choices)} names a choice twice")

    def _check_numbers(self, item: Declaration) -> None:
        low, high, step = self.low, self.high, self.step
        shown = f"{self.key}={_number(low)}:{_number(high)}"
        if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{shown}: a range needs a lowest and a highest value")
        if not low < high:
            raise ValueError(f"{shown} is empty: the highest value must be above the lowest")
        if item.low is not None and item.high is not None and not (item.low <= low and high <= item.high):
            raise ValueError(f"{shown}: allowed is {_number(item.low)} to {_number(item.high)}")
        if item.kind == "int" and (low != round(low) or high != round(high)):
            raise ValueError(f"{shown}: {self.key} takes whole numbers")
        if step is not None and not (math.isfinite(step) and 0 < step <= high - low):
            raise ValueError(f"{shown}: the step {step:g} must be above 0 and no wider than the range")
        if step is not None and item.kind == "int" and step != round(step):
            raise ValueError(f"{shown}: the step {step:g} must be a whole number")
        if self.log and step is not None:
            raise ValueError(f"{shown}: a range has a step or is logarithmic, not both")
        if self.log and low <= 0:
            raise ValueError(f"{shown}: a logarithmic range starts above 0")

    @property
    def is_choice(self) -> bool:
        """Whether there are choices instead of numbers."""
        return bool(self.choices)

    @property
    def is_whole(self) -> bool:
        """Whether it takes whole numbers."""
        allowed = _allowed(self.key)
        return isinstance(allowed, Declaration) and allowed.kind == "int"

    def levels(self, count: int) -> tuple[Any, ...]:
        """The values that a grid tries, in order.

        Parameters
        ----------
        count : int
            So many where the range has no step, fewer where it holds no more whole numbers; choices are all tried.
        """
        if self.is_choice:
            return self.choices
        assert self.low is not None
        assert self.high is not None
        if self.step is not None:
            # Rounding must not lose the last one.
            found = self.low + self.step * np.arange(
                math.floor((self.high - self.low) / self.step + 1e-9) + 1
            )
        elif count < 2:
            return (
                self.rounded(math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2),
            )
        elif self.log:
            found = np.geomspace(self.low, self.high, count)
        else:
            found = np.linspace(self.low, self.high, count)
        return tuple(dict.fromkeys(self.rounded(float(value)) for value in found))

    def rounded(self, value: Any) -> Any:
        """A value as it is tried: whole, or of few digits, within the range.

        Examples
        --------
        >>> Range("boundary.spread", 0.0, 50.0).rounded(12.34567)
        12.3
        """
        if self.is_choice:
            return value
        assert self.low is not None
        assert self.high is not None
        if self.is_whole:
            return int(min(max(round(value), self.low), self.high))
        # Digits of a step are kept, and small values near 0 are no finer than the range needs.
        places = DIGITS - 1 - math.floor(math.log10(abs(value))) if value else DIGITS
        places = min(places, DIGITS + 2 - math.floor(math.log10(self.high - self.low)))
        found = round(float(value), 10 if self.step is not None else places)
        return min(max(found, float(self.low)), float(self.high))

    def holds(self, value: Any) -> bool:
        """Whether a value may be tried: within the range, and on a step if it has steps.

        Examples
        --------
        >>> each = Range("boundary.threshold", 0.3, 0.5, step=0.1)
        >>> each.holds(0.4), each.holds(0.45), each.holds(0.6)
        (True, False, False)
        """
        if self.is_choice or self.step is not None:
            return value in self.levels(2)
        assert self.low is not None
        assert self.high is not None
        return bool(self.low <= value <= self.high)

    def as_dict(self) -> dict[str, Any]:
        """What JSON can say; ``Range(**content)`` is the same again."""
        return {**asdict(self), "choices": list(self.choices)}

    def text(self) -> str:
        """As one types it: ``key=low:high[:step]`` or ``key=a,b``."""
        if self.is_choice:
            return f"{self.key}={','.join(as_text(choice) for choice in self.choices)}"
        step = "" if self.step is None else f":{_number(self.step)}"
        return f"{self.key}={_number(self.low)}:{_number(self.high)}{step}"


def range_of(key: str) -> Range:
    """The declared range of a parameter: what a search tries unless told otherwise.

    Raises
    ------
    ValueError
        If the key is unknown, or the parameter is no number and no choice.

    Examples
    --------
    >>> range_of("slic.n_segments")
    Range(key='slic.n_segments', low=20.0, high=1000.0, step=None, log=True, choices=())
    """
    allowed = _allowed(key)
    if isinstance(allowed, tuple):
        return Range(key, choices=allowed)
    low, high = allowed.search or (allowed.low, allowed.high)
    if low is None or high is None:
        raise ValueError(f"{key} has no bounds; give a range, as {key}=LOW:HIGH")
    return Range(key, float(low), float(high), log=allowed.log and low > 0)


def default_space(params: RefitParams) -> list[Range]:
    """Every number of the segmenter and the fit in use, but for those that a dock folds away.

    Examples
    --------
    >>> [each.key for each in default_space(RefitParams())][:4]
    ['slic.n_segments', 'slic.compactness', 'slic.sigma', 'boundary.threshold']
    """
    return [
        range_of(f"{group}.{item.name}")
        for group in (params.segmenter, params.fit)
        for item in declarations(group_models()[group])
        if _is_bounded(item) and not item.advanced
    ]


def tunable_keys(params: RefitParams) -> list[str]:
    """Keys of everything in use that may be searched: numbers, choices and switches, in the order of the stages.

    Examples
    --------
    >>> "cam.method" in tunable_keys(RefitParams()), "cam.gate" in tunable_keys(RefitParams())
    (False, True)
    """
    return [
        f"{group}.{item.name}"
        for group, item in params.in_use()
        if group not in ("hints", "propagation") and (item.kind in ("choice", "bool") or _is_bounded(item))
    ]


def full_key(key: str, params: RefitParams) -> str:
    """The dotted key of a plain one, where just one of the groups in use has it.

    Raises
    ------
    ValueError
        If it is unknown or could be several.

    Examples
    --------
    >>> full_key("threshold", RefitParams())
    'boundary.threshold'
    """
    if key in _REGISTRIES:
        return key
    return ".".join(locate(key, params.segmenter, params.fit))


def parse_range(text: str, params: RefitParams) -> Range:
    """A range as it is typed.

    Parameters
    ----------
    text : str
        ``key=low:high``, ``key=low:high:step``, ``key=a,b`` for choices, or a key alone for its declared range.
    params : RefitParams
        Which segmenter and fit a plain key is looked for in.

    Raises
    ------
    ValueError
        If it makes no sense.

    Examples
    --------
    >>> parse_range("n_segments=50:400:50", RefitParams()).levels(5)
    (50, 100, 150, 200, 250, 300, 350, 400)
    """
    name, equals, rest = (part.strip() for part in text.partition("="))
    key = full_key(name, params)
    declared = range_of(key)
    if not equals:
        return declared
    if declared.is_choice:
        choices = [_choice(part.strip(), declared.choices) for part in rest.split(",") if part.strip()]
        return Range(key, choices=tuple(choices))
    try:
        numbers = [float(part) for part in rest.split(":")]
    except ValueError:
        raise ValueError(f"{text!r}: write {name}=LOW:HIGH or {name}=LOW:HIGH:STEP") from None
    if len(numbers) not in (2, 3):
        raise ValueError(f"{text!r}: write {name}=LOW:HIGH or {name}=LOW:HIGH:STEP")
    step = numbers[2] if len(numbers) == 3 else None
    low, high = numbers[:2]
    return replace(declared, low=low, high=high, step=step, log=declared.log and step is None and low > 0)


def check_space(space: Sequence[Range], base: RefitParams) -> None:
    """Refuse a space that is empty, names a key twice, or has a parameter that nothing reads.

    Raises
    ------
    ValueError
    """
    if not space:
        raise ValueError("there is nothing to tune: name at least one parameter")
    keys = [each.key for each in space]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise ValueError(f"{twice[0]} has two ranges; give one")
    for each in space:
        group = each.key.partition(".")[0]
        if each.key not in _REGISTRIES and group not in _read_groups(space, base):
            raise ValueError(f"{each.key} is of {group}, which is not in use; nothing would change with it")


def applied(base: RefitParams, values: Mapping[str, Any]) -> RefitParams:
    """Parameters with what a trial tries in place of theirs."""
    return base.replace(**values)


def current_values(base: RefitParams, space: Iterable[Range]) -> dict[str, Any]:
    """What the parameters have now of everything that is searched."""
    found = {}
    for each in space:
        group, dot, name = each.key.partition(".")
        found[each.key] = getattr(base.of(group), name) if dot else getattr(base, group)
    return found


def _read_groups(space: Sequence[Range], base: RefitParams) -> set[str]:
    groups = set(base.groups()) - {"hints", "propagation"}
    for each in space:
        if each.key in _REGISTRIES:
            groups |= set(each.choices)
    return groups


def _allowed(key: str) -> tuple[Any, ...] | Declaration:
    """The choices of a parameter, or the declaration of a number."""
    if key in _REGISTRIES:
        return _REGISTRIES[key].names
    group, name = locate(key, "", "") if "." in key else ("", "")
    if not group:
        raise ValueError(f"{key!r} is no dotted key, such as boundary.threshold")
    item = next(item for item in declarations(group_models()[group]) if item.name == name)
    if item.kind == "choice":
        return item.choices
    if item.kind == "bool":
        return (False, True)
    if item.kind not in ("int", "float"):
        raise ValueError(f"{key} is no number and no choice; it cannot be searched")
    return item


def _is_bounded(item: Declaration) -> bool:
    return item.kind in ("int", "float") and item.low is not None and item.high is not None


def _choice(text: str, choices: tuple[Any, ...]) -> Any:
    named = {as_text(choice): choice for choice in choices}
    return named.get(text.lower() if bool in map(type, choices) else text, text)


def as_text(value: Any) -> str:
    """A value as one types it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(choices: Iterable[Any]) -> str:
    return ", ".join(as_text(choice) for choice in choices)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
