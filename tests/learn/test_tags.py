"""Tags of slices: bookkeeping against a plain model, undo, what is kept."""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit.learn.tags import MOST_STEPS, UNTAGGED, Tag, Tagging, in_blocks

SLOTS = [("a", ((0, k),)) for k in range(4)] + [("b", ((0, k),)) for k in range(3)] + [("c", ())]
NAMES = ["lesion", "cyst", "oedema", "scar"]

some_slots = st.lists(st.sampled_from(SLOTS), min_size=1, max_size=4)
actions = st.one_of(
    st.tuples(st.just("set_labels"), some_slots, st.lists(st.sampled_from(NAMES), max_size=2)),
    st.tuples(st.just("toggle"), some_slots, st.sampled_from(NAMES)),
    st.tuples(st.just("clear"), some_slots),
    st.tuples(st.just("set_patient"), some_slots, st.sampled_from(["", "ann", " bob "])),
    st.tuples(st.just("add_class"), st.sampled_from(NAMES)),
    st.tuples(st.just("rename_class"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("remove_class"), st.sampled_from(NAMES)),
)


class Model:
    """The same rules in the plainest form: a dict of sets, copied whole for undo."""

    def __init__(self):
        self.classes, self.labels, self.patients, self.past = [], {}, {}, []

    def do(self, name, *rest):
        before = copy.deepcopy((self.classes, self.labels, self.patients))
        getattr(self, name)(*rest)
        if (self.classes, self.labels, self.patients) != before:
            self.past.append(before)

    def undo(self):
        if self.past:
            self.classes, self.labels, self.patients = self.past.pop()

    def known(self, names):
        if not set(names) <= set(self.classes):
            raise ValueError

    def set_labels(self, slots, names):
        self.known(names)
        self.labels.update(dict.fromkeys(slots, frozenset(names)))

    def toggle(self, slots, name):
        self.known([name])
        everywhere = all(name in self.labels.get(slot, ()) for slot in slots)
        for slot in slots:
            rest = self.labels.get(slot, frozenset()) - {name}
            self.labels[slot] = rest if everywhere else rest | {name}

    def clear(self, slots):
        for slot in slots:
            self.labels.pop(slot, None)

    def set_patient(self, slots, name):
        for slot in slots:
            self.patients.pop(slot, None)
            if name.strip():
                self.patients[slot] = name.strip()

    def add_class(self, name):
        if name in self.classes:
            raise ValueError
        self.classes.append(name)

    def rename_class(self, old, new):
        self.known([old])
        if new == old:
            return
        if new in self.classes:
            raise ValueError
        self.classes[self.classes.index(old)] = new
        self.labels = {
            slot: frozenset(new if name == old else name for name in names)
            for slot, names in self.labels.items()
        }

    def remove_class(self, name):
        self.known([name])
        self.classes.remove(name)
        for slot, names in list(self.labels.items()):
            if name in names:
                self.labels[slot] = names - {name}
                if not self.labels[slot]:
                    del self.labels[slot]


def state(tagging):
    return (
        list(tagging.classes),
        {slot: frozenset(tag.labels) for slot, tag in tagging.known() if tag.labels is not None},
        {slot: tag.patient for slot, tag in tagging.known() if tag.patient},
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(actions, st.just(("undo",))), max_size=25))
def test_every_change_and_undo_agrees_with_a_plain_model(steps):
    tagging, model = Tagging(), Model()
    for name, *rest in steps:
        if name == "undo":
            tagging.undo()
            model.undo()
        else:
            outcomes = []
            for act in (lambda: getattr(tagging, name)(*rest), lambda: model.do(name, *rest)):  # noqa: B023
                try:
                    act()
                    outcomes.append("done")
                except ValueError:
                    outcomes.append("refused")
            assert outcomes[0] == outcomes[1]
        assert state(tagging) == (model.classes, model.labels, model.patients)
        assert tagging.can_undo == bool(model.past)
        assert UNTAGGED not in dict(tagging.known()).values()
        # Labels are in the order of the classes, each once.
        for _, tag in tagging.known():
            assert list(tag.labels or ()) == [one for one in tagging.classes if one in (tag.labels or ())]


@settings(max_examples=100, deadline=None)
@given(st.lists(actions, max_size=20))
def test_what_is_kept_comes_back_through_json(steps):
    tagging = Tagging()
    for name, *rest in steps:
        with contextlib.suppress(ValueError):
            getattr(tagging, name)(*rest)
    again = Tagging()
    for image in "abc":
        again.restore(image, json.loads(json.dumps(tagging.kept(image))))
    assert state(again) == state(tagging)
    assert not again.can_undo


def test_next_untagged_goes_round_once():
    tagging, slots = Tagging(["lesion"]), SLOTS[:4]
    assert tagging.next_untagged(slots, 3) == 0
    tagging.set_labels(slots[:3], [])
    assert [tagging.next_untagged(slots, after) for after in range(4)] == [3, 3, 3, 3]
    tagging.set_labels(slots[3:], ["lesion"])
    assert tagging.next_untagged(slots, 1) is None
    assert tagging.next_untagged([], 0) is None


def test_counts_are_of_the_slots_that_are_asked_for():
    tagging = Tagging(["lesion", "cyst"])
    tagging.set_labels(SLOTS[:2], ["lesion", "cyst"])
    tagging.set_labels(SLOTS[2:3], [])
    tagging.set_labels(SLOTS[5:6], ["cyst"])
    assert tagging.counts(SLOTS[:4]) == {"background": 1, "lesion": 2, "cyst": 2}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "needs a name"),
        ("  ", "needs a name"),
        ("lesion", "already"),
        ("Background", "key 0"),
        ("normal", "key 0"),
        ("a;b", "separate"),
        ("a|b", "separate"),
    ],
)
def test_bad_class_names_are_refused_and_change_nothing(name, why):
    tagging = Tagging(["lesion", "cyst"])
    for change in (lambda: tagging.add_class(name), lambda: tagging.rename_class("cyst", name)):
        with pytest.raises(ValueError, match=why):
            change()
    assert tagging.classes == ("lesion", "cyst")
    assert not tagging.can_undo


def test_taking_tags_is_one_step_that_counts_what_it_replaces():
    tagging = Tagging(["lesion"])
    tagging.set_labels(SLOTS[:2], ["lesion"])
    before = state(tagging)
    assert tagging.take({SLOTS[0]: Tag(("cyst",), "ann"), SLOTS[1]: Tag(("lesion",)), SLOTS[2]: Tag(())}) == 1
    assert tagging.classes == ("lesion", "cyst")
    assert tagging[SLOTS[0]] == Tag(("cyst",), "ann")
    tagging.undo()
    assert state(tagging) == before


@pytest.mark.parametrize(
    "kept",
    [None, 3, {}, {"classes": ["x"]}, {"classes": ["x"], "tags": [[1]]}, {"classes": [""], "tags": []},
     {"classes": ["x"], "tags": [[[[0, 1]], ["y"], ""]]}],
)  # fmt: skip
def test_damaged_metadata_is_refused_whole(kept):
    tagging = Tagging(["lesion"])
    with pytest.raises(ValueError, match="scan cannot be read"):
        tagging.restore("scan", kept)
    assert state(tagging) == (["lesion"], {}, {})


def test_a_forgotten_image_does_not_come_back_by_undo():
    tagging = Tagging(["lesion"])
    tagging.set_labels([SLOTS[0], SLOTS[4]], ["lesion"])
    tagging.clear([SLOTS[0], SLOTS[4]])
    tagging.forget("a")
    assert tagging.undo() == (SLOTS[4],)
    assert dict(tagging.known()) == {SLOTS[4]: Tag(("lesion",))}


def test_the_oldest_steps_go_first():
    tagging = Tagging(["lesion"])
    for number in range(MOST_STEPS + 5):
        tagging.set_labels(SLOTS[:1], ["lesion"] if number % 2 else [])
    undone = 0
    while tagging.undo():
        undone += 1
    assert undone == MOST_STEPS


def test_blocks_need_a_length():
    with pytest.raises(ValueError, match="got 0"):
        in_blocks(SLOTS, 0, {"a": "a", "b": "b", "c": "c"})
    assert set(in_blocks(SLOTS, 100, {"a": "x", "b": "y", "c": "z"}).values()) == {
        "x, block 1",
        "y, block 1",
        "z, block 1",
    }
