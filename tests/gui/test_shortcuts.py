"""Shortcuts and the help panel: every key reaches its action, none hides one of napari's."""

from __future__ import annotations

import numpy as np
import pytest
from napari import layers as napari_layers
from napari.components import ViewerModel
from napari.utils.key_bindings import KeymapHandler, coerce_keybinding
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_refit import params
from napari_refit.registry import SEGMENTERS
from napari_refit.widgets.help_panel import SECTIONS, HelpPanel, documentation_url
from napari_refit.widgets.shortcuts import BY_NAME, REVIEW_SHORTCUTS, SHORTCUTS, bind, unbind

pytestmark = pytest.mark.gui

EVERY = (*SHORTCUTS, *REVIEW_SHORTCUTS)
NAMES = [shortcut.name for shortcut in EVERY]
KEYS = {"Right": Qt.Key.Key_Right, "Left": Qt.Key.Key_Left}


def press(widget, key):
    modifier, letter = key.split("-")
    code = KEYS.get(letter) or getattr(Qt.Key, f"Key_{letter}")
    QTest.keyClick(widget, code, getattr(Qt.KeyboardModifier, f"{modifier}Modifier"))


def recorder():
    seen = []
    return seen, {name: (lambda name=name: seen.append(name)) for name in NAMES}


def test_declarations_are_complete_and_unique():
    assert len(set(NAMES)) == len({shortcut.key for shortcut in EVERY}) == len(EVERY)
    assert all(shortcut.title and shortcut.help.endswith(".") for shortcut in EVERY)


def test_no_key_is_one_of_naparis(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    kinds = [getattr(napari_layers, name) for name in napari_layers.__all__]
    for kind in [ViewerModel, type(viewer), *kinds]:
        for base in getattr(kind, "__mro__", ()):
            taken |= {str(key) for key in getattr(base, "class_keymap", {})}
    from napari._app_model import get_app_model

    taken |= {str(rule.keybinding) for rule in get_app_model().keybindings}
    assert "Shift+V" in taken
    assert "Shift+Up" in taken
    ours = {str(coerce_keybinding(shortcut.key)) for shortcut in EVERY}
    assert ours & taken == set()
    # Alt with the letter that is underlined in a menu's title opens that menu.
    titles = [action.text() for action in viewer.window._qt_window.menuBar().actions()]
    menus = {f"Alt+{title[title.index('&') + 1].upper()}" for title in titles if "&" in title}
    assert menus
    assert ours & menus == set()


def test_every_key_reaches_its_action_whatever_layer_is_active(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy(show=True)
    add = {
        "nothing": lambda: None,
        "image": lambda: viewer.add_image(np.zeros((3, 8, 8))),
        "labels": lambda: viewer.add_labels(np.zeros((3, 8, 8), int)),
        "shapes": viewer.add_shapes,
        "points": viewer.add_points,
    }
    seen, actions = recorder()
    assert bind(viewer, actions) == {shortcut.name: shortcut.key for shortcut in EVERY}
    canvas = viewer.window._qt_window._qt_viewer.canvas.native
    for kind, add_layer in add.items():
        add_layer()
        step = viewer.dims.current_step
        seen.clear()
        for shortcut in EVERY:
            press(canvas, shortcut.key)
        assert seen == NAMES, kind
        assert viewer.dims.current_step == step
    unbind(viewer, actions)
    for shortcut in EVERY:
        press(canvas, shortcut.key)
    assert seen == NAMES


def press_model(viewer, key):
    handler = KeymapHandler()
    handler.keymap_providers = [viewer]
    handler.press_key(key)


def test_two_docks_share_the_keys_and_give_them_back():
    viewer = ViewerModel()
    first, one = recorder()
    second, other = recorder()
    bind(viewer, one)
    bind(viewer, other)
    press_model(viewer, "Shift-R")
    assert (first, second) == ([], ["refine_volume"])
    unbind(viewer, other)
    press_model(viewer, "Shift-R")
    assert first == ["refine_volume"]
    unbind(viewer, one)
    unbind(viewer, one)
    assert not any(coerce_keybinding(shortcut.key) in viewer.keymap for shortcut in EVERY)


def test_a_key_of_the_users_own_is_left_alone():
    viewer = ViewerModel()
    mine = []
    viewer.bind_key("Shift-R", lambda viewer: mine.append(1))
    seen, actions = recorder()
    bound = bind(viewer, actions)
    assert "refine_volume" not in bound
    press_model(viewer, "Shift-R")
    unbind(viewer, actions)
    press_model(viewer, "Shift-R")
    assert (mine, seen) == ([1, 1], [])


def test_only_given_actions_are_bound_and_unknown_ones_refused():
    viewer = ViewerModel()
    assert bind(viewer, {"cancel": lambda: None}) == {"cancel": BY_NAME["cancel"].key}
    assert len(viewer.keymap) == 1
    with pytest.raises(ValueError, match="'fly'"):
        bind(viewer, {"fly": lambda: None})


def test_help_lists_every_shortcut_section_and_parameter(qtbot):
    panel = HelpPanel()
    qtbot.addWidget(panel)
    text = panel.browser.toPlainText()
    for shortcut in SHORTCUTS:
        assert shortcut.shown in text
        assert shortcut.help in text
    for title, paragraph in SECTIONS:
        assert title in text
        assert paragraph in text
    for group in [params.CamParams, params.BoundaryParams, *(entry.params for entry in SEGMENTERS)]:
        for item in params.declarations(group):
            assert item.help in text
    assert documentation_url() in panel.browser.toHtml()


def test_help_toggles_and_escape_closes(qtbot):
    panel = HelpPanel()
    qtbot.addWidget(panel)
    panel.toggle()
    assert panel.isVisible()
    QApplication.processEvents()
    qtbot.keyClick(panel, Qt.Key.Key_Escape)
    assert not panel.isVisible()
    panel.toggle()
    panel.toggle()
    assert not panel.isVisible()
