"""Keys for tagging while the image has the focus, bound to image layers and only while tagging goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from napari.utils.key_bindings import coerce_keybinding

KEYS = (
    ("1 to 9", "This slice shows that class alone; go to the next slice without a tag."),
    ("0", "Nothing is there (background); go to the next slice without a tag."),
    ("Ctrl + 1 to 9", "Add that class to what this slice shows, or take it away; stay."),
    ("Backspace", "Take the tag of this slice away."),
    ("Ctrl + Z", "Undo the last change."),
    ("↑ ↓", "In the table: the slice before or after. Shift selects several, and a key tags all of them."),
)
"""What the help panel lists."""


class TagKeys:
    """Binds keys to layers: a layer's own keys come before napari's, which takes digits for tools.

    Parameters
    ----------
    actions : mapping of str to callable
        A napari key to a function without arguments.
    """

    def __init__(self, actions: dict[str, Callable[[], Any]]) -> None:
        self._actions = actions
        self._bound: dict[Any, list[str]] = {}

    def bind(self, layers: Iterable[Any]) -> None:
        """Bind the keys to these layers and to no others; keys that someone else has bound are left alone."""
        layers = list(layers)
        for layer in [old for old in self._bound if old not in layers]:
            self._release(layer)
        for layer in layers:
            if layer in self._bound:
                continue
            free = [key for key in self._actions if coerce_keybinding(key) not in layer.keymap]
            for key in free:
                layer.bind_key(key, _runner(self._actions[key]))
            self._bound[layer] = free

    def release(self) -> None:
        """Give every key back."""
        for layer in list(self._bound):
            self._release(layer)

    def _release(self, layer: Any) -> None:
        for key in self._bound.pop(layer):
            layer.bind_key(key, None)


def _runner(action: Callable[[], Any]) -> Callable[[Any], None]:
    def run(layer: Any) -> None:
        action()

    return run
