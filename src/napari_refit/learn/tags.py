"""Image-level labels given by hand: which slice shows what, counted, and undone step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from napari_refit.io.datasets.declaration import is_negative
from napari_refit.planes import PlaneIndex

Slot = tuple[Hashable, PlaneIndex]
"""An image, by whatever names it, and one of its planes."""

MOST_STEPS = 1000
_SEPARATORS = ";|"


@dataclass(frozen=True)
class Tag:
    """What is known of one plane.

    Attributes
    ----------
    labels : tuple of str, or None
        The classes it shows, in the order of the classes; empty where nothing is there; None while it is not tagged.
    patient : str
        Whom it shows; empty: the image counts as a patient of its own.
    """

    labels: tuple[str, ...] | None = None
    patient: str = ""


UNTAGGED = Tag()


class Tagging:
    """Tags of the planes of any number of images, and the classes there are.

    Every change can be undone, most recent first. Nothing is ever dropped without a change that can be undone, but by
    `forget`.

    Parameters
    ----------
    classes : sequence of str
        Names in the order of their keys.

    Examples
    --------
    >>> tagging = Tagging(["lesion"])
    >>> slots = [("scan", ((0, k),)) for k in range(3)]
    >>> tagging.set_labels(slots[:1], ["lesion"])
    >>> tagging.set_labels(slots[1:2], [])
    >>> tagging.counts(slots), tagging.next_untagged(slots, 0)
    ({'background': 1, 'lesion': 1}, 2)
    >>> tagging.undo()
    (('scan', ((0, 1),)),)
    >>> tagging.next_untagged(slots, 0)
    1
    """

    def __init__(self, classes: Sequence[str] = ()) -> None:
        self._classes: tuple[str, ...] = ()
        for name in classes:
            self._classes = (*self._classes, self._checked(name))
        self._tags: dict[Slot, Tag] = {}
        self._steps: list[tuple[tuple[str, ...], dict[Slot, Tag]]] = []

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that a plane may show, in the order of their keys."""
        return self._classes

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to undo."""
        return bool(self._steps)

    def __getitem__(self, slot: Slot) -> Tag:
        """The tag of a plane; `UNTAGGED` where there is none."""
        return self._tags.get(slot, UNTAGGED)

    def known(self) -> list[tuple[Slot, Tag]]:
        """Every plane of which something is known."""
        return list(self._tags.items())

    # -- changes

    def set_labels(self, slots: Iterable[Slot], names: Iterable[str]) -> None:
        """Say which classes planes show: none of them for background.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        labels = self._ordered(names)
        self._change({slot: replace(self[slot], labels=labels) for slot in slots})

    def toggle(self, slots: Iterable[Slot], name: str) -> None:
        """Add a class to what planes show, or take it away where all of them have it."""
        (name,) = self._ordered([name])
        slots = list(slots)
        everywhere = all(name in (self[slot].labels or ()) for slot in slots)
        self._change(
            {
                slot: replace(
                    self[slot],
                    labels=self._ordered(
                        [other for other in self[slot].labels or () if other != name]
                        + ([] if everywhere else [name])
                    ),
                )
                for slot in slots
            }
        )

    def clear(self, slots: Iterable[Slot]) -> None:
        """Make planes untagged; their patients stay."""
        self._change({slot: replace(self[slot], labels=None) for slot in slots})

    def set_patient(self, slots: Iterable[Slot], patient: str) -> None:
        """Say whom planes show; an empty name: each image is a patient of its own."""
        self._change({slot: replace(self[slot], patient=patient.strip()) for slot in slots})

    def set_patients(self, patients: Mapping[Slot, str]) -> None:
        """Say whom each of several planes shows, as one step."""
        self._change({slot: replace(self[slot], patient=name.strip()) for slot, name in patients.items()})

    def take(self, tags: Mapping[Slot, Tag]) -> int:
        """Take tags from elsewhere as one step; classes that are new are added.

        Returns
        -------
        int
            How many planes were tagged otherwise before.
        """
        before = self._classes
        for name in dict.fromkeys(name for tag in tags.values() for name in tag.labels or ()):
            if name not in self._classes:
                self._classes = (*self._classes, self._checked(name))
        wanted = {
            slot: replace(tag, labels=None if tag.labels is None else self._ordered(tag.labels))
            for slot, tag in tags.items()
        }
        replaced = sum(self[slot].labels not in (None, tag.labels) for slot, tag in wanted.items())
        self._change(wanted, before)
        return replaced

    def add_class(self, name: str) -> None:
        """Add a class.

        Raises
        ------
        ValueError
            If the name is taken, empty, means that nothing is there, or holds a separator.
        """
        before = self._classes
        self._classes = (*before, self._checked(name))
        self._change({}, before)

    def rename_class(self, old: str, new: str) -> None:
        """Give a class another name, on every plane.

        Raises
        ------
        ValueError
            As `add_class`; or if there is no class ``old``.
        """
        self._ordered([old])
        if new.strip() == old:
            return
        new, before = self._checked(new), self._classes

        def renamed(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(new if name == old else name for name in names)

        self._classes = renamed(before)
        self._change(
            {
                slot: replace(tag, labels=renamed(tag.labels))
                for slot, tag in self._tags.items()
                if tag.labels and old in tag.labels
            },
            before,
        )

    def remove_class(self, name: str) -> None:
        """Remove a class; planes that showed no other become untagged."""
        self._ordered([name])
        before = self._classes
        self._classes = tuple(other for other in before if other != name)
        self._change(
            {
                slot: replace(tag, labels=tuple(other for other in tag.labels if other != name) or None)
                for slot, tag in self._tags.items()
                if tag.labels and name in tag.labels
            },
            before,
        )

    def undo(self) -> tuple[Slot, ...]:
        """Take the last change back; returns the planes that it was about."""
        if not self._steps:
            return ()
        self._classes, before = self._steps.pop()
        self._put(before)
        return tuple(before)

    # -- answers

    def counts(self, slots: Iterable[Slot]) -> dict[str, int]:
        """How many of these planes are background, and how many show each class."""
        found: Counter[str] = Counter()
        for slot in slots:
            labels = self[slot].labels
            if labels is not None:
                found.update(labels or ("background",))
        return {name: found[name] for name in ("background", *self._classes)}

    def next_untagged(self, slots: Sequence[Slot], after: int) -> int | None:
        """Position of the next plane without a tag, from the start again after the last; None if all have one."""
        count = len(slots)
        order = ((after + step) % count for step in range(1, count + 1)) if count else iter(())
        return next((place for place in order if self[slots[place]].labels is None), None)

    # -- keeping

    def kept(self, image: Hashable) -> dict[str, Any]:
        """The tags of one image and the classes as plain lists, which JSON can hold (see `restore`)."""
        return {
            "classes": list(self._classes),
            "tags": [
                [
                    [list(place) for place in index],
                    None if tag.labels is None else list(tag.labels),
                    tag.patient,
                ]
                for (other, index), tag in self._tags.items()
                if other == image
            ],
        }

    def restore(self, image: Hashable, kept: Any) -> None:
        """Take over what `kept` gave, without a step to undo.

        Raises
        ------
        ValueError
            If it is nothing of the kind; nothing is changed then.
        """
        before = self._classes
        try:
            for name in kept["classes"]:
                if name not in self._classes:
                    self._classes = (*self._classes, self._checked(name))
            read = {
                (image, tuple((int(axis), int(at)) for axis, at in index)): Tag(
                    None if labels is None else self._ordered(labels), str(patient)
                )
                for index, labels, patient in kept["tags"]
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._classes = before
            raise ValueError(f"the tags kept with {image} cannot be read ({error}); tag them again") from None
        self._put(read)

    def forget(self, image: Hashable) -> None:
        """Drop an image, and what could be undone of it."""
        self._tags = {slot: tag for slot, tag in self._tags.items() if slot[0] != image}
        self._steps = [
            (classes, {slot: tag for slot, tag in before.items() if slot[0] != image})
            for classes, before in self._steps
        ]

    # -- inside

    def _change(self, wanted: Mapping[Slot, Tag], classes: tuple[str, ...] | None = None) -> None:
        changed = {slot: tag for slot, tag in wanted.items() if tag != self[slot]}
        before = self._classes if classes is None else classes
        if changed or before != self._classes:
            self._steps.append((before, {slot: self[slot] for slot in changed}))
            del self._steps[:-MOST_STEPS]
            self._put(changed)

    def _put(self, tags: Mapping[Slot, Tag]) -> None:
        for slot, tag in tags.items():
            if tag == UNTAGGED:
                self._tags.pop(slot, None)
            else:
                self._tags[slot] = tag

    def _ordered(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        unknown = sorted(wanted - set(self._classes))
        if unknown:
            raise ValueError(
                f"there is no class {unknown[0]!r}; there are: {', '.join(self._classes) or 'none yet'}"
            )
        return tuple(name for name in self._classes if name in wanted)

    def _checked(self, name: str) -> str:
        name = str(name).strip()
        if not name:
            raise ValueError("a class needs a name")
        if name in self._classes:
            raise ValueError(f"there is a class {name!r} already")
        if is_negative(name):
            raise ValueError(f"{name!r} means that nothing is there: key 0 is for that")
        if any(mark in name for mark in _SEPARATORS):
            raise ValueError(f"{name!r}: a class name holds no ; and no |, which separate classes in tables")
        return name


def in_blocks(slots: Sequence[Slot], length: int, names: Mapping[Hashable, str]) -> dict[Slot, str]:
    """Name runs of neighbouring planes of each image as patients: a stand-in where there is one patient only.

    Parameters
    ----------
    slots : sequence of Slot
        In their order.
    length : int
        Planes per run.
    names : mapping
        Name of each image.

    Examples
    --------
    >>> slots = [("a", ((0, k),)) for k in range(5)]
    >>> list(in_blocks(slots, 2, {"a": "scan"}).values())
    ['scan, block 1', 'scan, block 1', 'scan, block 2', 'scan, block 2', 'scan, block 3']
    """
    if length < 1:
        raise ValueError(f"a block has 1 slice or more, got {length}")
    seen: Counter[Hashable] = Counter()
    found = {}
    for slot in slots:
        found[slot] = f"{names[slot[0]]}, block {seen[slot[0]] // length + 1}"
        seen[slot[0]] += 1
    return found
