"""The four layers that a dock makes for an image, kept in place and written plane by plane."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_refit.planes import PlaneIndex
from napari_refit.widgets.doubts import DoubtBook
from napari_refit.widgets.locks import Locks, write_plane, write_planes
from napari_refit.widgets.planes import adopt_geometry, expression, finest, geometry, grid_shape
from napari_refit.widgets.propagated import Propagations
from napari_refit.widgets.scores import ScoreBook
from napari_refit.widgets.workbench import PlaneDone, VolumeDone

ROLES = ("response", "edges", "simplified", "labels")
TITLES = {"response": "response", "edges": "edges", "simplified": "simplified", "labels": "refined"}
MARK = "napari_refit"
CLASS_COLORS = (
    "#3ddc64",
    "#ffb000",
    "#b48cff",
    "#4dd2ff",
    "#ff6fa8",
    "#f6f740",
    "#ff8a5b",
    "#2fb8a0",
    "#9aa9ff",
    "#d9a06f",
)


class Outputs:
    """The layers of one image: response map, edges, simplified image, refined labels.

    Layers are held by reference, so that renaming them changes nothing. A layer that the user deletes stays away
    until `restore` is called.

    Parameters
    ----------
    viewer : napari.Viewer
    image : napari.layers.Image
        The source, whose place, units and metadata every layer takes over.
    """

    def __init__(self, viewer: Any, image: Any) -> None:
        self.viewer = viewer
        self.image = image
        self.shape = grid_shape(image)
        self.source = finest(image)
        self.locks = Locks(self.shape)
        self.shown_class: str | None = None
        self.cam_mask = np.zeros(self.shape, np.uint8)
        self.class_numbers: tuple[int, ...] = ()
        self.book = ScoreBook()
        self.doubts = DoubtBook()
        self.propagations = Propagations()
        self.refined_whole: VolumeDone | None = None
        self._layers: dict[str, Any] = {}
        self._last: dict[str, Any] = {}
        self._shown: dict[str, tuple[PlaneIndex, Any]] = {}
        self._stale: set[str] = set()
        self._old_thumbnails: set[str] = set()
        self._covered: tuple[PlaneIndex, dict[str, NDArray[Any]]] | None = None

    def __getitem__(self, role: str) -> Any:
        """The layer of a role, or None where the user deleted or replaced it."""
        layer = self._layers.get(role)
        if layer is None or layer not in self.viewer.layers or grid_shape(layer) != self.shape:
            return None
        return layer

    @property
    def made(self) -> bool:
        """Whether the layers were ever made."""
        return bool(self._layers)

    @property
    def missing(self) -> tuple[str, ...]:
        """Roles whose layer was deleted, or given data of another shape."""
        return tuple(role for role in ROLES if role in self._layers and self[role] is None)

    @property
    def unmade(self) -> tuple[str, ...]:
        """Roles whose layer was never made."""
        return tuple(role for role in ROLES if role not in self._layers)

    def all_made(self) -> list[Any]:
        """The layers that are there, lowest first."""
        return [layer for layer in (self[role] for role in ROLES) if layer is not None]

    def fits(self) -> bool:
        """Whether the image still has the shape that the layers were made for."""
        return grid_shape(self.image) == self.shape

    def make(self, roles: Iterable[str] = ROLES) -> None:
        """Make layers above the image, in order; those that are there stay."""
        for role in roles:
            if self[role] is not None:
                continue
            layer = self._new(role)
            self.viewer.layers.insert(self._place(role), layer)
            self._layers[role] = layer
            self._shown.pop(role, None)

    def restore(self) -> None:
        """Make the layers that the user deleted again, and forget what was locked in lost labels."""
        if "labels" in self.missing:
            self.locks = Locks(self.shape)
            self.propagations = Propagations()
            self.doubts = DoubtBook()
            self.book.dice.clear()
            self.book.whole = False
        self.refined_whole = None
        self.make()

    def adopt_data(self) -> None:
        """The image's data was replaced by data of the same shape."""
        self.source = finest(self.image)
        self.propagations = Propagations()
        self.refined_whole = None

    def adopt_geometry(self) -> None:
        """Move the layers where the image is now."""
        for layer in self.all_made():
            adopt_geometry(layer, self.image)

    def remove(self) -> None:
        """Take the layers away, but never labels that the user painted."""
        for role in ROLES:
            layer = self[role]
            if layer is not None and not (role == "labels" and len(self.locks)):
                self.viewer.layers.remove(layer)

    def made_along_another_axis(self, done: PlaneDone) -> bool:
        """Whether the plane crosses what was just refined or propagated as a whole, which stays while one looks."""
        axes, whole = tuple(axis for axis, _ in done.index), self.refined_whole
        if whole is not None and done.order.same(whole.order) and axes != whole.axes:
            return True
        return done.order.carried is self.propagations.carried and self.propagations.axes not in ((), axes)

    def write(self, index: PlaneIndex, result: Any, *, labels: bool = True, undoable: bool = False) -> bool:
        """Write one plane of every layer; returns whether the labels were written.

        Nothing is drawn before `refresh`.
        """
        self._covered = None
        self._last = {"index": index, "result": result}
        for role in ("edges", "simplified", "response"):
            self._show_result(role, index, result)
        if result.response is None:
            return False
        self.class_numbers = result.class_numbers
        self.fit_type(result.mask.dtype)
        self.cam_mask[expression(index, len(self.shape))] = result.cam_mask
        layer = self["labels"]
        if layer is None or not labels or index in self.locks:
            return False
        if write_plane(layer, index, result.mask, self.locks, undoable=undoable):
            self._stale.add("labels")
        return True

    def write_propagation(
        self,
        masks: Mapping[PlaneIndex, Any],
        carried: Mapping[PlaneIndex, Any],
        beliefs: Mapping[PlaneIndex, Any],
    ) -> None:
        """Write what a propagation made of planes that are not locked, as one undo step."""
        self.drop_coarse()
        layer = self["labels"]
        if layer is None or not masks:
            return
        self.fit_type(next(iter(masks.values())).dtype)
        known = {index: self.doubts.beliefs.get(index) for index in beliefs}
        self.propagations.add(carried, write_planes(layer, masks, self.locks), known, beliefs)
        self.doubts.set(beliefs)
        self._stale.add("labels")

    def make_next(self) -> None:
        """Make the next layer that was never made, and show the latest result in it."""
        role = self.unmade[0]
        self.make((role,))
        layer = self[role]
        if self._last and layer is not None:
            index = self._last["index"]
            if self._covered is not None and self._covered[0] == index:
                self._covered[1][role] = np.array(finest(layer)[expression(index, len(self.shape))])
            self._show_result(role, index, self._last["result"])
            self.refresh()

    def write_coarse(self, index: PlaneIndex, result: Any) -> None:
        """Show a coarse answer; `drop_coarse` puts back what it covers, unless a sharp one was written since."""
        where = expression(index, len(self.shape))
        covered = self._covered
        if covered is None or covered[0] != index:
            self.drop_coarse()
            there = {role: np.array(finest(layer)[where]) for role, layer in self._there().items()}
            covered = (index, {**there, "cam": self.cam_mask[where].copy()})
        self.write(index, result)
        self._covered = covered

    def drop_coarse(self) -> None:
        """Put back what a coarse answer covers; planes that the user locked meanwhile stay."""
        if self._covered is None:
            return
        (index, planes), self._covered = self._covered, None
        where = expression(index, len(self.shape))
        self.cam_mask[where] = planes.pop("cam")
        for role, layer in self._there().items():
            if role not in planes or not _same_plane(finest(layer)[where], planes[role]):
                continue
            if role == "labels" and index not in self.locks:
                write_plane(layer, index, planes[role], self.locks)
            elif role != "labels":
                finest(layer)[where] = planes[role]
            self._shown.pop(role, None)
            self._stale.add(role)

    def write_state(self, index: PlaneIndex, edges: NDArray[np.bool_]) -> None:
        """Show the edges of an intermediate state."""
        self._show("edges", index, edges)
        self.refresh()

    def show_class(self, name: str | None) -> None:
        """Choose the class whose response is shown; None: the highest over the classes."""
        if name == self.shown_class:
            return
        self.shown_class = name
        self._shown.pop("response", None)
        layer = self["response"]
        if layer is not None:
            # A fresh zeroed array costs nothing until it is written, unlike clearing the old one.
            layer.data = np.zeros(self.shape, np.float32)
            if self._last:
                values = self._shown_response(self._last["result"])
                if values is not None:
                    layer.data[expression(self._last["index"], len(self.shape))] = values
            self._stale.add("response")
            self.refresh()

    def refresh(self) -> None:
        """Draw what was written, and nothing else; a hidden layer is drawn when it is shown."""
        for role, layer in self._there().items():
            if role in self._stale and layer.visible:
                layer.refresh(extent=False, highlight=False, thumbnail=False)
                self._old_thumbnails.add(role)
        self._stale.clear()

    def refresh_thumbnails(self) -> None:
        """Draw the small pictures in the layer list that `refresh` left as they were."""
        for role in self._old_thumbnails & set(self._there()):
            self[role].refresh(data_displayed=False, extent=False, highlight=False)
        self._old_thumbnails.clear()

    def fit_type(self, dtype: np.dtype) -> None:
        """Widen the labels where class numbers do not fit their type."""
        if self.cam_mask.dtype.itemsize < dtype.itemsize:
            self.cam_mask = self.cam_mask.astype(dtype)
        layer = self["labels"]
        if layer is not None and layer.data.dtype.itemsize < dtype.itemsize:
            layer.data = layer.data.astype(dtype)

    def _there(self) -> dict[str, Any]:
        """The layers that are there, by role."""
        return {role: layer for role in ROLES if (layer := self[role]) is not None}

    def _show(
        self, role: str, index: PlaneIndex, array: NDArray[Any], values: Callable[[], Any] | None = None
    ) -> None:
        """Write a plane, unless this very array is what the layer shows there already."""
        layer, before = self[role], self._shown.get(role)
        if layer is None or (before is not None and before[0] == index and _same_memory(before[1], array)):
            return
        plane = finest(layer)[expression(index, len(self.shape))]
        shown = array if values is None else values()
        if _same_plane(plane, shown):
            plane[...] = shown
            self._shown[role] = (index, array)
            self._stale.add(role)

    def _show_result(self, role: str, index: PlaneIndex, result: Any) -> None:
        if role != "response":
            self._show(role, index, getattr(result, role))
        elif result.response is not None:
            self._show(role, index, result.response, lambda: self._shown_response(result))

    def _shown_response(self, result: Any) -> NDArray[np.float32] | None:
        if result.response is None:
            return None
        if self.shown_class in result.classes:
            return result.response[result.classes.index(self.shown_class)]
        return result.response.max(axis=0)

    def _place(self, role: str) -> int:
        """Just above the highest layer that belongs below this one."""
        layers = list(self.viewer.layers)
        below = [self.image, *(self[other] for other in ROLES[: ROLES.index(role)])]
        places = [layers.index(layer) for layer in below if layer is not None and layer in layers]
        return max(places) + 1 if places else len(layers)

    def _new(self, role: str) -> Any:
        place = geometry(self.image)
        place["metadata"] = {**place["metadata"], MARK: {"role": role, "image": self.image.name}}
        name = f"{TITLES[role]} · {self.image.name}"
        if role == "labels":
            return Labels(
                np.zeros(self.shape, np.uint8), name=name, opacity=0.55, colormap=class_colors(), **place
            )
        if role == "simplified":
            return self._new_simplified(name, place)
        looks = {
            "response": {"colormap": "inferno", "blending": "additive", "opacity": 0.6},
            "edges": {"colormap": "cyan", "blending": "additive", "opacity": 0.35},
        }[role]
        dtype = np.uint8 if role == "edges" else np.float32
        return Image(
            np.zeros(self.shape, dtype),
            name=name,
            contrast_limits=(0, 1),
            interpolation2d="nearest" if role == "edges" else "linear",
            multiscale=False,
            rgb=False,
            **looks,
            **place,
        )

    def _new_simplified(self, name: str, place: dict[str, Any]) -> Any:
        shape, rgb = self.shape, bool(self.image.rgb)
        if rgb:
            channels = self.source.shape[-1]
            shape = (*shape, 3 if self.source.dtype == np.uint8 else channels)
        looks = {} if rgb else {"contrast_limits": (0, 1), "colormap": "gray"}
        return Image(
            np.zeros(shape, np.float32), name=name, visible=False, multiscale=False, rgb=rgb, **looks, **place
        )


def role_of(layer: Any) -> str:
    """What a layer is to this program ("" if it did not make it)."""
    mark = layer.metadata.get(MARK)
    return str(mark.get("role", "")) if isinstance(mark, dict) else ""


def class_colors(special: Mapping[int, str] | None = None) -> DirectLabelColormap:
    """Colours of class numbers, the same in every layer and session; ``special`` numbers have colours of their own."""
    colors: dict[int | None, str] = {0: "transparent", None: CLASS_COLORS[0]}
    for number in range(1, 256):
        colors[number] = CLASS_COLORS[(number - 1) % len(CLASS_COLORS)]
    return DirectLabelColormap(color_dict={**colors, **(special or {})})


def _same_memory(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays are the same view; both are alive, so equal addresses mean equal memory."""
    keys = ("data", "shape", "strides")
    return one is other or all(one.__array_interface__[key] == other.__array_interface__[key] for key in keys)


def _same_plane(there: NDArray[Any], values: NDArray[Any]) -> bool:
    return there.shape == values.shape
