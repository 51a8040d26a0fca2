"""What a study is asked for, and whom it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from napari_refit.errors import Cancelled
from napari_refit.learn.settings import TrainingParams
from napari_refit.study.methods import Method, choose_methods

Gate = Literal["preset", "label"]
GATES: tuple[str, ...] = get_args(Gate)


@dataclass(frozen=True)
class UserSettings:
    """A simulated user who corrects masks, and how far.

    Attributes
    ----------
    methods : tuple of str
        Keys of the methods whose masks are corrected; empty: there is no such user.
    rounds : int
        How often the user looks at the mask and paints a stroke on either side.
    clicks : int
        At most so many clicks on clusters per image; 0: none.
    wanted : float
        Foreground Dice at which the user stops clicking.
    """

    methods: tuple[str, ...] = ()
    rounds: int = 2
    clicks: int = 100
    wanted: float = 0.9


@dataclass(frozen=True)
class StudySettings:
    """What is compared, and how.

    Attributes
    ----------
    methods : tuple of Method
        From `napari_refit.study.methods.choose_methods`.
    preparation : str
        Its name, for the report.
    training : TrainingParams
        Of the classifier, and of other learners but for what ``training_of`` says.
    training_of : mapping of str to mapping of str to str
        By learner: its parameters that differ from ``training``, as texts.
    fsss : mapping of str to str
        Parameters of the segmentation network that differ from the defaults, as texts.
    gate : {"preset", "label"}
        preset: images are gated by what the classifier predicts, as the parameters say. label: by their image-level
        label, as if that were known at test time.
    evaluate : tuple of str
        Only test cases whose folder (image-level label) is one of these; empty: all.
    limit : int
        Only so many test cases per fold, and as many to choose thresholds on; 0: all.
    only_fold : int
        From 1: the one fold to work on; 0: all.
    model : str or None
        A classifier from outside, used in every fold instead of training one.
    arch : str or None
        Its architecture, where the file does not say it.
    device : str or None
    user : UserSettings
        Who corrects the masks when they are made.
    left_out : mapping of str to str
        Cases that are not used at all, and why.
    notes : tuple of str
        What the report is to say besides.

    Raises
    ------
    ValueError
        If the user is to correct masks that are not there, or that come of no fit.
    """

    methods: tuple[Method, ...] = field(default_factory=lambda: choose_methods(["gradcam", "refit"]))
    preparation: str = "default"
    training: TrainingParams = field(default_factory=TrainingParams)
    training_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fsss: Mapping[str, str] = field(default_factory=dict)
    gate: Gate = "preset"
    evaluate: tuple[str, ...] = ()
    limit: int = 0
    only_fold: int = 0
    model: str | None = None
    arch: str | None = None
    device: str | None = None
    user: UserSettings = field(default_factory=UserSettings)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fitted = [method.key for method in self.methods if method.kind == "refit"]
        for key in self.user.methods:
            if key not in fitted:
                there = ", ".join(fitted) or "none"
                raise ValueError(
                    f"{key!r} has no masks that a user could correct; of the methods run: {there}"
                )
        if self.user.rounds < 1 or self.user.clicks < 0 or not 0 < self.user.wanted <= 1:
            raise ValueError(
                f"the user needs at least 1 round, 0 clicks or more and a Dice above 0, up to 1; got "
                f"{self.user.rounds}, {self.user.clicks} and {self.user.wanted}"
            )

    @property
    def corrected(self) -> tuple[Method, ...]:
        """The methods whose masks the user corrects."""
        return tuple(method for method in self.methods if method.key in self.user.methods)

    def with_changes(self, **changes: Any) -> StudySettings:
        """A copy with some of it changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Listener:
    """Who follows a study and may stop it.

    Attributes
    ----------
    progress : callable, optional
        ``progress(done, total, text)``.
    cancelled : callable, optional
        True stops the work where it can be taken up again.
    say : callable, optional
        Given a line when a step is done or something is worth knowing.
    """

    progress: Callable[[int, int, str], None] | None = None
    cancelled: Callable[[], bool] | None = None
    say: Callable[[str], None] | None = None

    def step(self, done: int, total: int, text: str) -> None:
        """Report progress, and stop if asked to.

        Raises
        ------
        Cancelled
            If ``cancelled()`` answered True.
        """
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("stopped")
        if self.progress is not None:
            self.progress(done, total, text)

    def tell(self, text: str) -> None:
        """Say a line."""
        if self.say is not None:
            self.say(text)
