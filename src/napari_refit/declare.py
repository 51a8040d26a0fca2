"""How a parameter is declared: its name, bounds, default, unit, step and help text in one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Parameters(BaseModel):
    """Base of every parameter group: frozen, validated, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def items(self) -> dict[str, Any]:
        """Key and value of every parameter, those of a group within as ``group.name``."""
        found = {item.name: getattr(self, item.name) for item in declarations(type(self))}
        for group in subgroups(type(self)):
            found |= {f"{group}.{name}": value for name, value in getattr(self, group).items().items()}
        return found


@dataclass(frozen=True)
class Declaration:
    """What is known of one parameter.

    Attributes
    ----------
    name, title, help, unit : str
        ``name`` is the key in files and on the command line, ``title`` what a dock shows.
    kind : {"float", "int", "bool", "choice", "text", "texts", "numbers"}
    default : object
    low, high : float or None
        Inclusive bounds of a number, or of each of several.
    step : float or None
        What one press of an arrow key adds.
    log : bool
        Whether a slider should be logarithmic.
    choices : tuple of str
        The values of a ``choice``.
    advanced : bool
        Whether a dock folds it away.
    pixel_power : int
        How the value grows with the resolution of the image: 1 for a length in pixels, 2 for an area, else 0.
    files : tuple of str
        Suffixes of the files that a ``text`` may name instead.
    search : tuple of float or None
        Lowest and highest value that a search tries unless told otherwise; None: all that is allowed.
    """

    name: str
    title: str
    help: str
    unit: str
    kind: str
    default: Any
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[str, ...] = ()
    advanced: bool = False
    pixel_power: int = 0
    files: tuple[str, ...] = ()
    search: tuple[float, float] | None = None


def number(
    default: float,
    low: float,
    high: float,
    *,
    title: str,
    help: str,  # noqa: A002
    unit: str = "",
    step: float | None = None,
    log: bool = False,
    advanced: bool = False,
    pixel_power: int = 0,
    search: tuple[float, float] | None = None,
) -> Any:
    """Declare a number with inclusive bounds (see `Declaration`)."""
    return Field(
        default,
        ge=low,
        le=high,
        allow_inf_nan=False,
        title=title,
        description=help,
        json_schema_extra={
            "unit": unit,
            "step": step,
            "log": log,
            "advanced": advanced,
            "pixel_power": pixel_power,
            "search": None if search is None else [*search],
        },
    )


def numbers(
    default: tuple[float, ...],
    *,
    title: str,
    help: str,  # noqa: A002
    advanced: bool = False,
    least: int = 1,
) -> Any:
    """Declare several numbers, at least so many, of type ``tuple[Annotated[float, within(low, high)], ...]``."""
    extra: Any = {"advanced": advanced}
    return Field(default, min_length=least, title=title, description=help, json_schema_extra=extra)


def within(low: float, high: float) -> Any:
    """Inclusive bounds of each of several numbers (see `numbers`)."""
    return Field(ge=low, le=high, allow_inf_nan=False)


def option(
    default: Any,
    *,
    title: str,
    help: str,  # noqa: A002
    advanced: bool = False,
    files: tuple[str, ...] = (),
) -> Any:
    """Declare a choice, a switch or a text (see `Declaration`)."""
    return Field(
        default, title=title, description=help, json_schema_extra={"advanced": advanced, "files": [*files]}
    )


def declarations(group: type[BaseModel]) -> Iterator[Declaration]:
    """Yield the declarations of a parameter group, in their order; groups within it have declarations of their own.

    Examples
    --------
    >>> from napari_refit.params import BoundaryParams
    >>> threshold = next(iter(declarations(BoundaryParams)))
    >>> threshold.name, threshold.kind, threshold.low, threshold.high
    ('threshold', 'float', 0.0, 1.0)
    """
    for name, field in group.model_fields.items():
        if name not in subgroups(group):
            yield _declaration(name, field)


def subgroups(group: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The groups that are within a group, by name."""
    return {
        name: field.annotation
        for name, field in group.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _declaration(name: str, field: FieldInfo) -> Declaration:
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kind, choices = _kind(field.annotation)
    bounds = _bounds(_each(field.annotation).metadata if kind == "numbers" else field.metadata)
    return Declaration(
        name=name,
        title=field.title or name.replace("_", " "),
        help=field.description or "",
        unit=extra.get("unit", ""),
        kind=kind,
        default=field.get_default(call_default_factory=True),
        low=bounds["ge"],
        high=bounds["le"],
        step=extra.get("step"),
        log=extra.get("log", False),
        choices=choices,
        advanced=extra.get("advanced", False),
        pixel_power=extra.get("pixel_power", 0),
        files=tuple(extra.get("files", ())),
        search=tuple(extra["search"]) if extra.get("search") else None,
    )


def _bounds(metadata: Iterable[Any]) -> dict[str, float | None]:
    bounds: dict[str, float | None] = {"ge": None, "le": None}
    for item in metadata:
        for bound in bounds:
            bounds[bound] = getattr(item, bound, bounds[bound])
    return bounds


def _kind(annotation: Any) -> tuple[str, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        return "choice", tuple(str(value) for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "numbers" if _each(annotation).annotation is float else "texts", ()
    return {bool: "bool", int: "int", float: "float"}.get(annotation, "text"), ()


def _each(annotation: Any) -> FieldInfo:
    """What is declared of each member of a tuple."""
    return FieldInfo.from_annotation(get_args(annotation)[0])
