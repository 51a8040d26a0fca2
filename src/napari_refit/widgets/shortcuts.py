"""Keyboard shortcuts, declared once: bound to the viewer, listed in the help panel and in the docs.

Those of the ReFit dock are Shift with a letter or an arrow, those of a review Alt with one: napari leaves them free
for every kind of layer, and its menus do not answer to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from napari.utils.key_bindings import coerce_keybinding


@dataclass(frozen=True)
class Shortcut:
    """One shortcut.

    Attributes
    ----------
    key : str
        The keys as napari writes them, joined by ``-``.
    name : str
        What `bind` knows the action by.
    title, help : str
        What is shown.
    """

    key: str
    name: str
    title: str
    help: str

    @property
    def shown(self) -> str:
        """The keys as a person reads them."""
        return self.key.replace("-", " + ").replace("Right", "→").replace("Left", "←")


SHORTCUTS = (
    Shortcut("Shift-C", "toggle_compare", "Compare", "Show the layers side by side, or back in one view."),
    Shortcut("Shift-U", "toggle_live", "Live updates", "Turn updates of the open slice on or off."),
    Shortcut("Shift-Right", "raise_threshold", "Raise threshold", "Raise the threshold by one step."),
    Shortcut("Shift-Left", "lower_threshold", "Lower threshold", "Lower the threshold by one step."),
    Shortcut("Shift-R", "refine_volume", "Refine volume", "Refine every slice that is not locked."),
    Shortcut("Shift-X", "cancel", "Cancel", "Stop what is running; what is done so far is kept."),
    Shortcut(
        "Shift-K", "toggle_lock", "Lock slice", "Keep this slice as it is, or let updates write it again."
    ),
    Shortcut(
        "Shift-Z", "reset_slice", "Reset slice", "Drop the hand edits of this slice and compute it again."
    ),
    Shortcut(
        "Shift-S", "save_labels", "Save labels", "Write the refined labels on the grid of the image's file."
    ),
    Shortcut("Shift-O", "hint_object", "Hint: object", "Paint what belongs to the class, or stop painting."),
    Shortcut(
        "Shift-G", "hint_background", "Hint: background", "Paint what belongs to no class, or stop painting."
    ),
    Shortcut("Shift-D", "hint_erase", "Hint: erase", "Take hints back, or stop doing so."),
    Shortcut(
        "Shift-J",
        "toggle_clusters",
        "Toggle clusters",
        "Take clusters in or out of the mask with the mouse, or stop.",
    ),
    Shortcut(
        "Shift-Y", "propagate", "Propagate", "Carry locked slices and hints on to the slices beside them."
    ),
    Shortcut(
        "Shift-W",
        "next_doubt",
        "Most uncertain slice",
        "Go to the slice most in need of a look, then to the next.",
    ),
    Shortcut("Shift-N", "next_loss", "Next loss", "Go to the next slice that refinement made worse."),
    Shortcut(
        "Shift-B", "previous_loss", "Previous loss", "Go to the previous slice that refinement made worse."
    ),
    Shortcut("Shift-M", "toggle_response", "Response map", "Show or hide the response map."),
    Shortcut("Shift-E", "toggle_edges", "Edges", "Show or hide the edges."),
    Shortcut("Shift-I", "toggle_simplified", "Simplified image", "Show or hide the simplified image."),
    Shortcut("Shift-F", "toggle_refined", "Refined labels", "Show or hide the refined labels."),
    Shortcut("Shift-T", "toggle_truth", "Ground truth", "Show or hide the ground truth."),
    Shortcut("Shift-H", "show_help", "Help", "Show or hide the help panel."),
)
REVIEW_SHORTCUTS = (
    Shortcut("Alt-Right", "review_next", "Next case", "Show the next case that is listed."),
    Shortcut("Alt-Left", "review_previous", "Previous case", "Show the case before."),
    Shortcut(
        "Alt-A", "review_accept", "Accept", "Take the labels as they are, and go on to the next open case."
    ),
    Shortcut(
        "Alt-R", "review_reject", "Reject", "Mark the labels as of no use, and go on to the next open case."
    ),
    Shortcut(
        "Alt-X", "review_fix", "Fix by painting", "Take the brush and correct the labels, or put it down."
    ),
    Shortcut("Alt-K", "review_save", "Keep the fix", "Save the painted labels over the result."),
)
"""Bound while results are reviewed."""
BY_NAME = {shortcut.name: shortcut for shortcut in (*SHORTCUTS, *REVIEW_SHORTCUTS)}


def bind(viewer: Any, actions: Mapping[str, Callable[[], Any]]) -> dict[str, str]:
    """Bind shortcuts to a viewer.

    When several docks bind the same shortcut, the last one has it; when that one unbinds, the one before gets it
    back. A key that someone else has bound on this viewer is left alone.

    Parameters
    ----------
    viewer : napari.Viewer
    actions : mapping
        Shortcut name to a function without arguments. Names that are left out stay unbound.

    Returns
    -------
    dict
        Name to key of what was bound.

    Raises
    ------
    ValueError
        If there is no shortcut of that name.
    """
    unknown = sorted(set(actions) - set(BY_NAME))
    if unknown:
        raise ValueError(f"no shortcut {', '.join(map(repr, unknown))}; there are: {', '.join(BY_NAME)}")
    bound = {}
    for name, action in actions.items():
        key = BY_NAME[name].key
        present = viewer.keymap.get(coerce_keybinding(key))
        if present is None:
            viewer.bind_key(key, _runner(action))
        elif hasattr(present, "refit_actions"):
            present.refit_actions.append(action)
        else:
            continue
        bound[name] = key
    return bound


def unbind(viewer: Any, actions: Mapping[str, Callable[[], Any]]) -> None:
    """Undo `bind` of the same actions; what is not bound is ignored."""
    for name, action in actions.items():
        if name not in BY_NAME:
            continue
        key = BY_NAME[name].key
        held = getattr(viewer.keymap.get(coerce_keybinding(key)), "refit_actions", [])
        if action in held:
            held.remove(action)
            if not held:
                viewer.bind_key(key, None)


def _runner(action: Callable[[], Any]) -> Callable[[Any], None]:
    def run(viewer: Any) -> None:
        run.refit_actions[-1]()

    run.refit_actions = [action]
    return run
