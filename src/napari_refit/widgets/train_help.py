"""What the Train dock's help panel says."""

from __future__ import annotations

from html import escape

from napari_refit.declare import declarations, subgroups
from napari_refit.learn.settings import TrainingParams
from napari_refit.params import IntensityParams
from napari_refit.widgets.help_panel import documentation_link, parameter_list, shortcut_table
from napari_refit.widgets.style import Colors
from napari_refit.widgets.tag_keys import KEYS

SECTIONS = (
    (
        "Table of slices",
        "Choose an image, name the classes, and say with the number keys which slice shows what. Tag slices that show "
        "nothing as well: a classifier learns from the difference. Tags are kept with the image's layer; “Save…” "
        "writes them to a CSV file, which napari-refit train reads, and “Load…” takes them from one.",
    ),
    (
        "Patients",
        "Slices of one patient resemble each other, so they stay together: the scores come from patients that were not "
        "trained on. Each image counts as a patient unless you name them. With a single patient, blocks of "
        "neighbouring slices can stand in for patients; scores then look better than on new patients.",
    ),
    (
        "Folder, table or dataset",
        "A folder with one sub-folder of images per class, a CSV file with the columns image, label and patient, or a "
        "known dataset as it is downloaded.",
    ),
    (
        "Ground-truth layer",
        "A slice shows each class that has a label in it. Where the labels lie in the slice is not used.",
    ),
    (
        "Training",
        "After every epoch the state is written beside the checkpoint. A training that was stopped goes on with "
        "“Resume” and ends with the weights of one that was not. The finished checkpoint is selected in the "
        "ReFit dock; its report lies beside it.",
    ),
)


def train_help(palette: Colors) -> str:
    """The whole help as HTML."""
    parts = [documentation_link(palette), "<h3>Keys</h3>"]
    parts.append(
        f'<p style="color:{palette.muted}">They work in the table and while the image has the focus.</p>'
    )
    parts.append(shortcut_table(KEYS))
    for title, text in SECTIONS:
        parts.append(f"<h3>{escape(title)}</h3><p>{escape(text)}</p>")
    parts.append(parameter_list(TrainingParams, palette))
    for name, group in subgroups(TrainingParams).items():
        if list(declarations(group)):
            parts.append(f"<h4>{escape(name.upper())}</h4>{parameter_list(group, palette)}")
    parts.append(f"<h3>Intensity</h3>{parameter_list(IntensityParams, palette)}")
    return "".join(parts)
