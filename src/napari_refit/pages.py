"""What reports as HTML share: templates in which nothing but themselves is markup, one style, pictures within."""

from __future__ import annotations

import base64
import re
import unicodedata
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from napari_refit import __version__

CITATIONS = (
    "B. S. Prabakaran, E. Ostrowski, M. Shafique: ReFit: A Framework for Refinement of Weakly Supervised Semantic "
    "Segmentation Using Object Border Fitting for Medical Images. Advances in Visual Computing, ISVC 2023, pp. 44-55.",
    f"The napari-refit developers: napari-refit {__version__}.",
)
# Persian, Indic scripts and emoji are joined by these two.
_JOINERS = "\u200c\u200d"
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def environment() -> jinja2.Environment:
    """Templates that escape whatever is put into them, and write out characters that cannot be seen."""
    made = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    made.globals["style"] = style()
    made.filters["cell"] = cell
    return made


def style() -> Markup:
    """The style that the pages have in common: dark and light, on paper too."""
    return Markup(files("napari_refit").joinpath("data", "report.css").read_text(encoding="utf-8"))


def visible(value: Any) -> Any:
    """A text in which nothing hides: line breaks, marks that turn the direction of writing, broken characters.

    Examples
    --------
    >>> visible("scan" + chr(0x202E) + "gnp.exe" + chr(10))
    'scan\\\\u202egnp.exe\\\\n'
    >>> visible(3), visible("été")
    (3, 'été')
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(_written_out(letter) if _hides(letter) else letter for letter in value)


def _hides(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def cell(text: str) -> Markup:
    """A table cell with its interval in small print; escaped.

    Examples
    --------
    >>> cell("0.61 (0.5–0.7)")
    Markup('0.61 <span class="interval">(0.5–0.7)</span>')
    """
    text = visible(text)
    found = re.fullmatch(r"([^ ()]+) (\([^()]*\))", text)
    if found is None:
        return Markup("{}").format(text)
    return Markup('{} <span class="interval">{}</span>').format(*found.groups())


def hex_colour(colour: tuple[int, int, int]) -> str:
    """As CSS writes it.

    Examples
    --------
    >>> hex_colour((255, 212, 0))
    '#ffd400'
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)


def data_address(kind: str, content: bytes) -> str:
    """A picture as a ``data:`` address.

    Examples
    --------
    >>> data_address("webp", b"RIFF")
    'data:image/webp;base64,UklGRg=='
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
