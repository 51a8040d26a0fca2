"""How a caller follows a running job, and stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from napari_refit.devices import say
from napari_refit.errors import Cancelled


@dataclass(frozen=True)
class Watch:
    """How a caller follows and stops a running plane.

    Attributes
    ----------
    cancelled : callable, optional
        Asked between stages and steps; True raises `napari_refit.errors.Cancelled`.
    on_stage : callable, optional
        Given the name of the stage that starts: "clusters", "response", "fit".
    on_state : callable, optional
        Given intermediate label maps of a segmenter that yields them, and the clusters as soon as they are there.
    on_coarse : callable, optional
        Given a result at half the resolution first, where the sharp one is expected to take long.
    on_notice : callable, optional
        Given a sentence that the user should read, e.g. that memory ran out and the processor takes over; by
        default that is a `RuntimeWarning`.
    """

    cancelled: Callable[[], bool] | None = None
    on_stage: Callable[[str], None] | None = None
    on_state: Callable[[NDArray[Any]], None] | None = None
    on_coarse: Callable[[Any], None] | None = None
    on_notice: Callable[[str], None] | None = None

    def check(self) -> None:
        """Raise `Cancelled` if the caller wants to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("cancelled")

    def stage(self, name: str) -> None:
        """Announce a stage, unless cancelled."""
        self.check()
        if self.on_stage is not None:
            self.on_stage(name)

    def state(self, labels: NDArray[Any]) -> None:
        """Show an intermediate label map."""
        if self.on_state is not None:
            self.on_state(labels)

    def notice(self, text: str) -> None:
        """Tell the user something."""
        say(self.on_notice, text)
