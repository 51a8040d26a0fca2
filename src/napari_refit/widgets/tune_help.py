"""What the Tune dock's help panel says."""

from __future__ import annotations

from html import escape

from napari_refit.tune.settings import TuneParams
from napari_refit.widgets.help_panel import documentation_link, parameter_list
from napari_refit.widgets.style import Colors

SECTIONS = (
    (
        "Images",
        "The image, the classifier and the ground truth are those of the ReFit dock. Of a volume, of several layers or "
        "of a folder so many slices are drawn at random, as evenly from all as can be. Keep images apart that you "
        "will report on: what parameters were chosen on says nothing of how well they do elsewhere. “evaluate” "
        "refuses images that a search has seen.",
    ),
    (
        "Parameters",
        "Tick what is to be searched, and say from where to where. A step makes a grid finer or coarser; “any” lets "
        "a search take what lies in between. All other parameters stay as they are in the ReFit dock.",
    ),
    (
        "Search",
        "With a ground truth trials are judged by the mean Dice of the foreground; without one, label-free, by how "
        "well a mask explains its image. A trial that is poor after a few images is stopped early. What does not "
        "depend on the parameters that a trial changes is not computed again.",
    ),
    (
        "Study",
        "The file that every finished trial is written to. A search that was stopped, or whose window was closed, goes "
        "on with “Continue”. Several processes may work on one study: “napari-refit tune” takes the same file.",
    ),
    (
        "Trials",
        "Click a column's head to sort. A double click, or Enter, uses a trial's parameters in the ReFit dock. "
        "Importance: how much of what tells good trials from poor ones is due to each parameter.",
    ),
)


def tune_help(palette: Colors) -> str:
    """The whole help as HTML."""
    parts = [documentation_link(palette)]
    parts += [f"<h3>{escape(title)}</h3><p>{escape(text)}</p>" for title, text in SECTIONS]
    parts.append(f"<h3>Settings</h3>{parameter_list(TuneParams, palette)}")
    return "".join(parts)
