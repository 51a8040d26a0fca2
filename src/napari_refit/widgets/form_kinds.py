"""Which control a declaration is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from napari_refit.declare import Declaration
from napari_refit.widgets.form_controls import ChoiceControl, Control, NumberControl, SwitchControl
from napari_refit.widgets.form_texts import FileControl, NumbersControl, TextControl


def control_for(item: Declaration, field: FieldInfo, items: Callable[[], Iterable[str]] | None) -> Control:
    """Return the control of a declaration."""
    if items is not None:
        return ChoiceControl((), items)
    if item.kind in ("float", "int"):
        return NumberControl(item)
    if item.kind == "bool":
        return SwitchControl()
    if item.kind == "choice":
        return ChoiceControl(get_args(field.annotation), None)
    if item.kind == "numbers":
        return NumbersControl(item, field.annotation)
    several = get_origin(field.annotation) is tuple and get_args(field.annotation)[:1] == (str,)
    if item.kind == "texts" and not several:
        item = replace(item, kind="text")
    return (FileControl if item.files else TextControl)(item, field.annotation)
