"""MkDocs hook: fill the reference pages from the declarations that the program itself runs on.

A page holds a marker such as ``<!-- generated: parameters -->``; it is replaced at every build, so that the
pages cannot fall behind the program. Run as a script, it prints the parameter tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from napari_refit.declare import subgroups
from napari_refit.io.datasets import DATASETS, Preparation, SplitParams
from napari_refit.io.datasets import Declaration as DatasetDeclaration
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.settings import TrainingParams
from napari_refit.params import (
    CamParams,
    Declaration,
    FinishParams,
    HintParams,
    IntensityParams,
    PropagationParams,
    declarations,
)
from napari_refit.recipe import RefitParams
from napari_refit.registry import FITS, SEGMENTERS
from napari_refit.tune.settings import TuneParams

COLUMNS = ("key", "in the dock", "allowed", "default", "what it does")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def shown(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(shown, value)) or "(empty)"
    return f"{value:.6g}" if isinstance(value, float) else str(value) or "(empty)"


def allowed(item: Declaration) -> str:
    """What a parameter may be."""
    if item.choices:
        return ", ".join(f"`{choice}`" for choice in item.choices)
    if item.low is not None and item.high is not None:
        span = f"{shown(item.low)} to {shown(item.high)}{f' {item.unit}' if item.unit else ''}"
        return f"numbers of {span}, separated by commas" if item.kind == "numbers" else span
    return {"bool": "`true`, `false`", "texts": "names, separated by commas"}.get(item.kind, "text")


def group_section(name: str, title: str, model: type[BaseModel]) -> str:
    """The parameters of one group: heading, description, table."""
    about = (model.__doc__ or "").strip()
    items = list(declarations(model))
    if not items:
        return f"## {title}\n\n{about}\n"
    rows = (
        [f"`{name}.{item.name}`", item.title, allowed(item), f"`{shown(item.default)}`", item.help]
        for item in items
    )
    return f"## {title}\n\n{about}\n\n{table(COLUMNS, rows)}\n"


def parameters() -> str:
    """Tables of every parameter of the program."""
    general = RefitParams.model_fields
    choices = {
        "segmenter": ", ".join(f"`{name}`" for name in SEGMENTERS.names),
        "fit": ", ".join(f"`{name}`" for name in FITS.names),
        "axis": "`auto`, `0`, `1`, `2`",
    }
    rows = (
        [
            f"`{key}`",
            general[key].title or key,
            allowed,
            f"`{general[key].default}`",
            general[key].description or "",
        ]
        for key, allowed in choices.items()
    )
    parts = [f"## Choices\n\n{table(COLUMNS, rows)}\n"]
    parts.append(group_section("intensity", "Intensity", IntensityParams))
    parts += [group_section(entry.name, f"Segmenter: {entry.title}", entry.params) for entry in SEGMENTERS]
    parts.append(group_section("cam", "Response maps (CAM)", CamParams))
    parts += [group_section(entry.name, f"Fit: {entry.title}", entry.params) for entry in FITS]
    parts.append(group_section("finish", "Finish", FinishParams))
    parts.append(group_section("hints", "Strokes", HintParams))
    parts.append(group_section("propagation", "Propagation", PropagationParams))
    return "\n".join(parts)


def training_parameters() -> str:
    """The table of what a training can be told."""
    groups: dict[str, type[BaseModel]] = {"": TrainingParams, **subgroups(TrainingParams)}
    rows = (
        [
            f"`{group}{'.' if group else ''}{item.name}`",
            item.title,
            allowed(item),
            f"`{shown(item.default)}`",
            item.help,
        ]
        for group, model in groups.items()
        for item in declarations(model)
    )
    return table(COLUMNS, rows)


def fsss_parameters() -> str:
    """The table of what the training of a segmentation network can be told."""
    rows = (
        [f"`{item.name}`", item.title, allowed(item), f"`{shown(item.default)}`", item.help]
        for item in declarations(FsssParams)
    )
    return table(COLUMNS, rows)


def tune_parameters() -> str:
    """The table of what a search for parameters can be told."""
    rows = (
        [
            f"`--{item.name.replace('_', '-')}`",
            item.title,
            allowed(item),
            f"`{shown(item.default)}`",
            item.help,
        ]
        for item in declarations(TuneParams)
    )
    return table(("option", *COLUMNS[1:]), rows)


def presets() -> str:
    """Every preset: what it is for and what it changes."""
    parts = []
    for name, about in RefitParams.presets().items():
        changed = RefitParams.preset(name).changed()
        rows = ([f"`{key}`", f"`{shown(value)}`"] for key, value in changed.items())
        body = table(["key", "value"], rows) if changed else "Every parameter at its default."
        parts.append(f"### `{name}`\n\n{about}\n\n{body}\n")
    return "\n".join(parts)


def datasets() -> str:
    """Every dataset: layout, meaning of its masks, preparations, split, licence, citation."""
    head = ["name", "dataset", "classes", "modalities", "recognised by"]
    rows = (
        [
            f"[`{item.name}`](#{item.name})",
            item.title,
            ", ".join(rule.name for rule in item.classes) or "as its files say",
            ", ".join(item.modalities) or "as its files say",
            item.recognised,
        ]
        for item in DATASETS.values()
    )
    return "\n".join([table(head, rows), "", *(_dataset_section(item) for item in DATASETS.values())])


def _dataset_section(item: DatasetDeclaration) -> str:
    facts = {
        "Files": item.layout,
        "Masks": item.mask_values,
        "Merged classes": "; ".join(
            f"`{name}`: {'all' if parts == ('*',) else ', '.join(parts)}"
            for name, parts in item.merged.items()
        ),
        "Read unless you say otherwise": ", ".join(item.default_modalities),
        "Patients": item.patients,
        "Groups": item.groups,
        "Distances": ""
        if item.has_millimetres
        else "The spacing is not known: nothing is reported in millimetres.",
        "Preparations": "; ".join(
            f"`{name}`: {_changes(preparation) or 'as the files are'}"
            for name, preparation in item.preparations.items()
        ),
        "Split": _split_text(item.split),
        "Split of the paper": "" if item.paper_split is None else _split_text(item.paper_split),
        "Licence": item.licence,
        "Cite": " ".join(f"{text.rstrip('.')}." for text in item.citation),
        "From": f"<{item.url}>" if item.url else "",
    }
    lines = [f"- **{name}**: {text}" for name, text in facts.items() if text]
    return "\n".join([f"### {item.title} {{ #{item.name} }}", "", *lines, ""])


def _changes(preparation: Preparation) -> str:
    default = Preparation()
    return ", ".join(
        f"{name} = {shown(value)}"
        for name, value in preparation.model_dump().items()
        if value != getattr(default, name)
    )


def _split_text(split: SplitParams) -> str:
    if split.method == "folds":
        text = f"{split.folds} folds"
    else:
        text = f"{1 - split.test_fraction:.0%} to {split.test_fraction:.0%}"
    kept = f", {split.validation_fraction:.0%} of the training cases kept for validation"
    return text + (kept if split.validation_fraction else "")


def preparations() -> str:
    """Tables of what can be done to a dataset, and of how it is split."""
    head = ("key", "title", "allowed", "default", "what it does")
    parts = []
    for title, model in (("Preparation", Preparation), ("SplitParams", SplitParams)):
        rows = (
            [f"`{item.name}`", item.title, allowed(item), f"`{shown(item.default)}`", item.help]
            for item in declarations(model)
        )
        parts.append(f"### `{title}`\n\n{model.__doc__}\n\n{table(head, rows)}\n")
    return "\n".join(parts)


def command_line() -> str:
    """Every command and option, read off the program's own parser."""
    import typer

    from napari_refit import cli

    root = typer.main.get_command(cli.app)
    return "\n".join(_command_sections(root, typer.Context(root, info_name="napari-refit")))


def _command_sections(command: Any, context: Any) -> Iterator[str]:
    names = command.list_commands(context) if hasattr(command, "list_commands") else []
    for name in names:
        child = command.get_command(context, name)
        if child is None or child.hidden:
            continue
        inner = type(context)(child, info_name=name, parent=context)
        usage = " ".join([inner.command_path, *child.collect_usage_pieces(inner)])
        yield f"## `{inner.command_path}`\n\n{(child.help or '').strip()}\n\n```text\n{usage}\n```\n"
        rows = [row for row in (_option_row(param, inner) for param in child.params) if row]
        if rows:
            yield table(["option", "what it does"], rows) + "\n"
        yield from _command_sections(child, inner)


def _option_row(param: Any, context: Any) -> list[str] | None:
    if getattr(param, "hidden", False):
        return None
    if param.param_type_name == "argument":
        return [f"`{param.name.upper()}`", getattr(param, "help", None) or ""]
    record = param.get_help_record(context)
    return None if record is None else [f"`{record[0]}`", record[1]]


def shortcuts() -> str:
    """Every keyboard shortcut."""
    from napari_refit.widgets.shortcuts import SHORTCUTS

    return table(["keys", "does", ""], ([f"`{item.shown}`", item.title, item.help] for item in SHORTCUTS))


def review_keys() -> str:
    """Every key of a review."""
    from napari_refit.widgets.shortcuts import REVIEW_SHORTCUTS

    return table(
        ["keys", "does", ""], ([f"`{item.shown}`", item.title, item.help] for item in REVIEW_SHORTCUTS)
    )


def tagging_keys() -> str:
    """Every key of the Train dock."""
    from napari_refit.widgets.tag_keys import KEYS

    return table(["keys", ""], ([f"`{keys}`", text] for keys, text in KEYS))


GENERATED: dict[str, Callable[[], str]] = {
    "parameters": parameters,
    "training parameters": training_parameters,
    "fsss parameters": fsss_parameters,
    "tune parameters": tune_parameters,
    "presets": presets,
    "command line": command_line,
    "datasets": datasets,
    "preparations": preparations,
    "shortcuts": shortcuts,
    "review keys": review_keys,
    "tagging keys": tagging_keys,
}


def filled(markdown: str) -> str:
    """Markdown with every marker replaced."""
    for name, make in GENERATED.items():
        marker = f"<!-- generated: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for every page."""
    return filled(markdown)


if __name__ == "__main__":
    print(parameters())
