"""What the Batch dock's help panel says."""

from __future__ import annotations

from html import escape

from napari_refit.batch.settings import BatchParams
from napari_refit.widgets.help_panel import documentation_link, parameter_list, shortcut_table
from napari_refit.widgets.shortcuts import REVIEW_SHORTCUTS
from napari_refit.widgets.style import Colors

SECTIONS = (
    (
        "Images",
        "A folder with all within it, a pattern such as scans/**/*.nii.gz, a single file, a BIDS dataset, or a CSV "
        "file with the column image and, where wanted, truth, response and class; its paths count from the table's "
        "folder.",
    ),
    (
        "Results",
        "The output folder mirrors the input. Each result is there whole or not at all, with a sidecar that says how "
        "it was made. Started again, a batch passes over what is done with the same inputs and parameters, and labels "
        "that were changed by hand. A file that cannot be refined costs one line.",
    ),
    (
        "Cancel",
        "The first click finishes the file at hand, the second gives it up. “Continue” does the rest, also after "
        "napari was closed: choose the same input and output.",
    ),
    (
        "Review",
        "Step through the results and say what they are worth. What was decided is kept in review.csv in the output "
        "folder, and goes on where it was left. To fix a result take the brush, paint, and save: the labels are "
        "written over the result, and its sidecar says so. Painting is never thrown away unasked; if napari is closed "
        "meanwhile, it is saved.",
    ),
)


def batch_help(palette: Colors) -> str:
    """The whole help as HTML."""
    parts = [documentation_link(palette), "<h3>Keys of the review</h3>"]
    parts.append(shortcut_table((shortcut.shown, shortcut.help) for shortcut in REVIEW_SHORTCUTS))
    parts += [f"<h3>{escape(title)}</h3><p>{escape(text)}</p>" for title, text in SECTIONS]
    parts.append(f"<h3>Options</h3>{parameter_list(BatchParams, palette)}")
    return "".join(parts)
