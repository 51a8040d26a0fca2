"""Make docs/results.md from studies: ``python docs/gen_results.py FOLDER [PAGE]``.

FOLDER holds one folder per study, as ``napari-refit evaluate --out`` writes it (``make results`` makes them). The
figures are kept in docs/_results.json, without the data's pictures, so that the page can be made again without the data
(``python docs/gen_results.py --kept``). The page begins with docs/_results_notes.md, which is written by hand.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_refit.io.sidecar import plain
from napari_refit.study.results import read_rows
from napari_refit.study.statistics import analyse

DOCS = Path(__file__).parent
NOTES = DOCS / "_results_notes.md"
KEPT = DOCS / "_results.json"
ORDER = ("busi", "lgg", "hippocampus")
COLUMNS = (
    "dice_mean",
    "dice_mean_with_truth",
    "dice_patient",
    "miou_pooled",
    "paper_dsc",
    "hd95_median",
    "surface_dice",
)
CORRECTED = ("refit-thorough-appearance", "appearance", "refit")
"""Whose figures are held against what corrections were to reach: the first of these that is there."""
REACH = (
    ("One stroke on the object and one on the background, drawn by rule: DSC of 0.85 or more", 1, 0.85),
    ("Two rounds of such strokes: DSC of 0.90 or more", 2, 0.90),
)
CLICKS = 8
# Of summary.json: rows, file paths and pictures are not kept.
PARTS = (
    "dataset",
    "split",
    "methods",
    "baseline",
    "left_out",
    "notes",
    "unit",
    "tolerance",
    "interval",
    "figures",
    "summaries",
    "comparisons",
    "corrections",
    "seconds_per_image",
    "versions",
    "machine",
    "seconds",
    "program",
)


def collect(folder: Path) -> dict[str, Any]:
    """The summaries of all studies in a folder, by name."""
    found = {}
    for path in sorted(folder.glob("*/summary.json")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        found[path.parent.name] = {part: summary.get(part) for part in PARTS}
        found[path.parent.name]["machine"].pop("system", None)
        found[path.parent.name]["comparisons"] += against_refit(path.with_name("results.csv"))
    if not found:
        raise SystemExit(f"{folder}: there is no study in it; run 'make results' first")
    return found


def against_refit(path: Path) -> list[dict[str, Any]]:
    """Paired differences to ReFit's default preset, which a study's own report does not make."""
    rows = read_rows(path)
    found = analyse(rows, baseline="refit").comparisons
    return plain([asdict(item) for item in found if item.against == "refit"])


def page(studies: dict[str, Any]) -> str:
    """The whole page."""
    names = [*(name for name in ORDER if name in studies), *(name for name in studies if name not in ORDER)]
    parts = [NOTES.read_text(encoding="utf-8").rstrip(), claims({name: studies[name] for name in names})]
    parts += corrections_reach({name: studies[name] for name in names})
    parts += [section(studies[name]) for name in names]
    return "\n\n".join(parts) + "\n"


def claims(studies: dict[str, Any]) -> str:
    """What the project claims, held against the figures."""
    lines = [
        "## What was claimed, and what came out",
        "",
        "Differences are of the mean foreground Dice per image, with the 95 % interval of the paired difference.",
        "",
        "| Claim | " + " | ".join(title(study) for study in studies.values()) + " |",
        "|---|" + "---|" * len(studies),
    ]
    for text, method, against in (
        ("ReFit's default preset beats Grad-CAM at its best single threshold", "refit", "best-threshold"),
        ("ReFit with a threshold chosen likewise beats it", "refit-tuned", "best-threshold"),
        ("FSSS on ReFit's labels beats ReFit", "fsss", "refit"),
    ):
        lines.append(
            f"| {text} | " + " | ".join(verdict(study, method, against) for study in studies.values()) + " |"
        )
    return "\n".join(lines)


def corrections_reach(studies: dict[str, Any]) -> list[str]:
    """What corrections were to reach, held against the figures; nothing where nobody corrected."""
    corrected = {name: study for name, study in studies.items() if study.get("corrections")}
    if not corrected:
        return []
    lines = [
        "## What a correction brings",
        "",
        "A simulated user who knows the reference masks corrects the automatic ones of the test images "
        "([by which rules](explanation/simulated-user.md)). Foreground Dice over the images that show an object, with "
        "95 % intervals over patients.",
        "",
        "| To be reached | " + " | ".join(title(study) for study in corrected.values()) + " |",
        "|---|" + "---|" * len(corrected),
    ]
    for text, rounds, least in REACH:
        cells = [reached(chosen_correction(study), rounds, least) for study in corrected.values()]
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    for user, what in (("clusters", "clusters"), ("levels", "clusters of any level")):
        cells = [few_clicks(chosen_correction(study), user) for study in corrected.values()]
        wanted = next(iter(corrected.values()))["corrections"]["wanted"]
        lines.append(
            f"| Clicks on {what} to a DSC of {wanted:.2f}: median of {CLICKS} or fewer | "
            + " | ".join(cells)
            + " |"
        )
    return ["\n".join(lines)]


def chosen_correction(study: dict[str, Any]) -> dict[str, Any]:
    """The corrected method that claims are about."""
    found = {item["method"]: item for item in study["corrections"]["summaries"]}
    key = next((key for key in CORRECTED if key in found), next(iter(found)))
    return found[key] | {"title": titles(study).get(key, key)}


def reached(item: dict[str, Any], rounds: int, least: float) -> str:
    """Whether the Dice after so many rounds is high enough."""
    if rounds >= len(item["dice"]):
        return "not run"
    value = item["dice"][rounds]["value"]
    if value is None:
        return "not run"
    word = "**yes**" if value >= least else "**no**"
    return (
        f"{word}: {interval(item['dice'][rounds], 3)}, from {interval(item['dice'][0], 3)} ({item['title']})"
    )


def few_clicks(item: dict[str, Any], user: str) -> str:
    """Whether half of the images need so few clicks."""
    found = item["clicks"].get(user)
    if found is None:
        return "not run"
    value = found["median"]["value"]
    word = "**yes**" if value is not None and value <= CLICKS else "**no**"
    return f"{word}: {clicks(found['median'])}; {percent(found['reached']['value'])} of the images get there"


def clicks(item: dict[str, Any]) -> str:
    """A number of clicks and its interval; what JSON has no number for is never."""
    ends = ["∞" if item[end] is None else f"{item[end]:g}" for end in ("value", "low", "high")]
    return f"{ends[0]} ({ends[1]}–{ends[2]})" if item["n_patients"] > 1 else ends[0]


def percent(value: float | None) -> str:
    """A share."""
    return "–" if value is None else f"{value:.0%}".replace("%", " %")


def correction_table(study: dict[str, Any]) -> list[str]:
    """What each method's masks become by corrections."""
    found = study.get("corrections")
    if not found:
        return []
    summaries = found["summaries"]
    n_rounds = max(len(item["gains"]) for item in summaries)
    heads = [f"after {k} round{'s' if k > 1 else ''}" for k in range(1, n_rounds + 1)]
    heads = [
        "images",
        "map at its best",
        "DSC, automatic",
        *heads,
        *(f"median, {head}" for head in heads),
        "strokes",
        "best of whole clusters",
    ]
    heads += ["clicks on clusters", "get there", "clicks on any level", "get there", "false alarms"]
    lines = [
        "Corrected by a simulated user:",
        "",
        "| Method | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for item in summaries:
        cells = [str(item["n_images"]), interval(item["map_bound"], 3)]
        cells += [interval(each, 3) for each in item["dice"]]
        cells += [interval(each, 3) for each in item["medians"][1:]]
        cells += ["–" if None in item["strokes"] else " + ".join(f"{count:.1f}" for count in item["strokes"])]
        cells += [interval(item["bound"], 3)]
        for user in found["users"]:
            clicked = item["clicks"].get(user)
            cells += (
                ["–", "–"]
                if clicked is None
                else [clicks(clicked["median"]), percent(clicked["reached"]["value"])]
            )
        cells += [" → ".join(map(str, item["false_alarms"])) + f" of {item['n_without']}"]
        lines.append(f"| {titles(study).get(item['method'], item['method'])} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def verdict(study: dict[str, Any], method: str, against: str) -> str:
    """Yes, no or undecided, with the paired difference; where that was not tested, the two means."""
    found = next(
        (
            item
            for item in study["comparisons"]
            if (item["method"], item["against"]) == (method, against) and item["class_number"] in (0, 1)
        ),
        None,
    )
    if found is None:
        first, second = (figure(study, key, "dice_mean") for key in (method, against))
        if first is None or second is None:
            return "not run"
        word = "yes" if first["value"] > second["value"] else "no"
        return f"{word}: {first['value']:.3f} against {second['value']:.3f}"
    item = found["difference"]
    low, high = item["low"], item["high"]
    word = "**yes**" if low > 0 else "**no**" if high < 0 else "undecided"
    return f"{word}: {signed(item['value'])} ({signed(low)} to {signed(high)})"


def section(study: dict[str, Any]) -> str:
    """Tables of one study."""
    about, split = study["dataset"], study["split"]
    counts = ", ".join(f"{count} {what}" for what, count in about["counts"].items() if what != "classes")
    lines = [
        f"## {title(study)}",
        "",
        f"{counts}; class: {about['counts'].get('classes', '')}. Split: "
        + "; ".join(
            f"{key} {value}"
            for key, value in split.items()
            if not isinstance(value, (dict, list)) and key != "key"
        )
        + ".",
        "",
        *figure_table(study),
        "",
        *paired_table(study),
        "",
        *correction_table(study),
        *how_made(study),
        "",
        f"Licence of the data: {about['licence']} Source: {' '.join(about['citation'])}",
    ]
    return "\n".join(lines)


def figure_table(study: dict[str, Any]) -> list[str]:
    """Methods by figures, with intervals."""
    known = [key for key in COLUMNS if key in study["figures"]]
    unit = study["unit"]
    heads = [
        study["figures"][key]["title"] + (f", {unit}" if key.startswith("hd95") else "") for key in known
    ]
    lines = ["| Method | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for item in first_class(study["summaries"]):
        cells = [interval(item["figures"].get(key), 1 if key.startswith("hd95") else 3) for key in known]
        lines.append(f"| {titles(study)[item['method']]} | " + " | ".join(cells) + " |")
    return lines


def paired_table(study: dict[str, Any]) -> list[str]:
    """Paired differences against Grad-CAM and its best threshold."""
    rows: dict[str, dict[str, Any]] = {}
    for item in first_class(study["comparisons"]):
        rows.setdefault(item["method"], {})[item["against"]] = item
    names = titles(study)
    there = [item["against"] for item in first_class(study["comparisons"])]
    against = [key for key in dict.fromkeys(there) if key != "refit"]
    if not against:
        return []
    heads = [f"DSC less {names.get(key, key)} | p (Holm) | higher / lower" for key in against]
    lines = ["| Method | " + " | ".join(heads) + " |", "|---|" + "---|---|---|" * len(heads)]
    for method, found in rows.items():
        cells = []
        for key in against:
            item = found.get(key)
            if item is None:
                cells.append("– | – | –")
                continue
            difference = item["difference"]
            cells.append(
                f"{signed(difference['value'])} ({signed(difference['low'])} to {signed(difference['high'])}) | "
                f"{p_value(item['p_sign_flip_holm'])} | {item['n_higher']} / {item['n_lower']}"
            )
        lines.append(f"| {names[method]} | " + " | ".join(cells) + " |")
    return lines


def how_made(study: dict[str, Any]) -> list[str]:
    """Thresholds, trainings, notes and seconds."""
    lines = ['??? info "How each method was made"', ""]
    for method in study["methods"]:
        chosen = "; ".join(f"{key} {value}" for key, value in method["threshold"].items())
        training = ", ".join(
            f"{key} {value}" for key, value in (method["settings"].get("training") or {}).items()
        )
        said = [
            text for text in (chosen and f"threshold: {chosen}", training and f"training: {training}") if text
        ]
        lines.append(
            f"    - **{method['title']}**: {method['about']}" + (f" {'; '.join(said)}." if said else "")
        )
        lines += [f"        - {note}" for note in method["notes"]]
    for what, count in (study["left_out"] or {}).items():
        lines.append(f"    - left out: {what}: {count}")
    lines += [f"    - {note}" for note in study["notes"] or ()]
    machine = ", ".join(f"{key} {value}" for key, value in study["machine"].items())
    total = study["seconds"].get("all")
    lines.append(f"    - {machine}" + (f"; the last run took {total:.0f} s" if total else ""))
    versions = ", ".join(f"{key} {value}" for key, value in study["versions"].items())
    lines.append(f"    - napari-refit {study['program']['version']}; {versions}")
    return lines


def first_class(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the mean over the classes, or of the only class."""
    lowest = min((item["class_number"] for item in items), default=0)
    return [item for item in items if item["class_number"] == lowest]


def figure(study: dict[str, Any], method: str, key: str) -> dict[str, Any] | None:
    """A method's figure, if it was run."""
    for item in first_class(study["summaries"]):
        if item["method"] == method:
            found: dict[str, Any] = item["figures"][key]
            return found
    return None


def title(study: dict[str, Any]) -> str:
    """What the study's dataset is called."""
    about = study["dataset"]
    extra = f" ({about['root']})" if about["name"] == "decathlon" else ""
    return f"{about['title']}{extra}"


def titles(study: dict[str, Any]) -> dict[str, str]:
    """Title of each method."""
    return {method["key"]: method["title"] for method in study["methods"]}


def interval(item: dict[str, Any] | None, digits: int) -> str:
    """A figure and its interval."""
    if item is None or item["value"] is None:
        return "–"
    text = f"{item['value']:.{digits}f}"
    if item["low"] is None:
        return text
    return f"{text} ({item['low']:.{digits}f}–{item['high']:.{digits}f})"


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return "–" if value is None or math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """A p value."""
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def main(arguments: list[str]) -> None:
    """See the module's description."""
    if arguments[:1] == ["--kept"]:
        studies, rest = json.loads(KEPT.read_text(encoding="utf-8")), arguments[1:]
    else:
        if not arguments:
            raise SystemExit("usage: gen_results.py FOLDER [PAGE], or gen_results.py --kept [PAGE]")
        studies, rest = collect(Path(arguments[0])), arguments[1:]
        KEPT.write_text(json.dumps(studies, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    target = Path(rest[0]) if rest else DOCS / "results.md"
    target.write_text(page(studies), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
