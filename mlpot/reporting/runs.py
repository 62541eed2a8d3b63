"""Sections of training and transfer runs and of model files."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from mlpot.doctor.speed import measure_speed
from mlpot.errors import MLPotError
from mlpot.model.base import LocalEnergyModel
from mlpot.model.card import describe_model, lineage, model_card
from mlpot.model.file import find_model
from mlpot.model.potential import Potential
from mlpot.page import table
from mlpot.recipe import read_yaml
from mlpot.reporting.figures import distribution_figure, parity_figure, read_metrics, training_figures
from mlpot.reporting.judged import compare, load_as_written, state_of_files, validation_frames
from mlpot.reporting.recognise import read_document
from mlpot.reporting.section import Section, lowered
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.testing.structures import default_spacing
from mlpot.training.errors import ERROR_COLUMNS, error_rows
from mlpot.transfer.run import tensor_rows

Progress = Callable[[float], None]
#: What the two numbers of an error are.
PAIRS = "Mean absolute / root mean square errors; forces and stress by component."


def run_section(folder: Path, timed: bool, progress: Progress) -> Section:
    """Return the section of a training or transfer run."""
    recipe = read_yaml(folder / "recipe.yaml") if (folder / "recipe.yaml").is_file() else {}
    carried = "targets" in recipe or (folder / "transfer.json").is_file()
    name = (recipe.get("card") or {}).get("title") or folder.resolve().name
    section = Section("run", str(folder), f"{'Transfer' if carried else 'Training'} run: {name}")
    command = ["mlpot", "transfer" if carried else "train", str(folder / "recipe.yaml"), "--out", "NEW"]
    if not recipe:
        section.lack("recipe", "there is no recipe.yaml in the folder.")
    model = folder / "model.safetensors"
    document = None
    if not model.is_file():
        section.lack("model", f"no model.safetensors: the run has not ended; {_resume(folder, carried)}")
    else:
        document = _described(section, model)
    _split(section, folder)
    if document is not None:
        _errors(section, document)
        _parity(section, model, document, _membership(folder), progress)
    _learning(section, folder / "metrics.csv", recipe, shlex.join(command))
    if carried:
        _transfer(section, folder / "transfer.json")
    if document is not None:
        _speed(section, model, document, timed)
        _card(section, model)
    if recipe:
        section.heading("How to repeat the run")
        section.parts.append(f"<pre>{shlex.join(command)}</pre>")
    return section


def model_section(path: Path, timed: bool, progress: Progress) -> Section:
    """Return the section of a model file, or of a shipped model by its name."""
    section = Section("model", str(path), f"Model: {path.stem}")
    found = find_model(path)
    document = _described(section, found)
    if document is not None:
        _errors(section, document)
        _parity(section, found, document, None, progress)
        _speed(section, found, document, timed)
        _card(section, found)
    return section


def _resume(folder: Path, carried: bool) -> str:
    return f"go on with: mlpot {'transfer' if carried else 'train'} --out {folder} --resume"


def _described(section: Section, model: Path) -> dict[str, Any] | None:
    """Add what the model is, what it was trained on and its lineage; return its header."""
    try:
        document = describe_model(model)
    except MLPotError as error:
        section.lack("model", str(error))
        return None
    provenance = document["provenance"]
    fit = (provenance.get("recipe") or {}).get("fit") or {}
    frames = provenance.get("frames") or {}
    rows = [
        ("elements", ", ".join(document["elements"])),
        ("made by", str(provenance.get("kind", "not stated"))),
        ("parameters", f"{document['parameters']}, {document['precision']}"),
        ("trained on", f"{frames['train']} frames" if frames else "not stated"),
        ("held out", f"{frames['validation']} frames" if frames else "not stated"),
        ("epochs, seed", f"{fit['epochs']}, {fit['seed']}" if fit else "not stated"),
        ("checksum", document["checksum"]),
    ]
    section.heading("What was trained on what")
    section.facts(rows)
    stages = lineage(document)
    data = []
    for number, stage in enumerate(stages, start=1):
        own = stage["provenance"]
        files = own.get("data") or {}
        states = state_of_files(files)
        title = f"{number}. {own.get('kind', 'not stated')} on {', '.join(stage['elements'])}"
        data += [[title, f"{digest[:12]}…", states[path], path] for path, digest in files.items()]
        if not files:
            data.append([title, "–", "–", "no files stated"])
    section.heading("Lineage and data")
    section.text_table(["stage", "SHA-256", "now", "file"], data)
    return document


def _membership(folder: Path) -> dict[str, Any] | None:
    path = folder / "split.json"
    return read_document(path) if path.is_file() else None


def _split(section: Section, folder: Path) -> None:
    split = _membership(folder)
    if split is None:
        section.lack("split", "there is no split.json: no frames were trained on, or the run is not whole.")
        return
    counts = {
        side: Counter(source.rpartition("#")[0] for source in split[side]) for side in ("train", "validation")
    }
    files = list(dict.fromkeys([*counts["train"], *counts["validation"]]))
    rows = [[file, str(counts["train"][file]), str(counts["validation"][file])] for file in files]
    section.table("Split", ["frames of", "trained on", "held out"], rows)
    for note in split.get("notes", []):
        section.say(note)


def _errors(section: Section, document: Mapping[str, Any]) -> None:
    records = document["provenance"].get("errors") or []
    if not records:
        section.lack(
            "errors by group",
            "the model file holds none: no frames were held out. mlpot evaluate MODEL --data FILE --record "
            "NAME adds them.",
        )
        return
    section.heading("Errors by group")
    section.say(PAIRS)
    for record in records:
        groups = dict(sorted(record["errors"].items(), key=lambda item: item[0] != "all"))
        files = ", ".join(record["files"])
        section.say(f"{record['name']}: {files}; {record['use']}; {record['date']}, mlpot {record['mlpot']}.")
        section.parts.append(_table(groups))


def _table(groups: Mapping[str, Any]) -> str:
    return table(["frames of", *ERROR_COLUMNS[1:]], error_rows(groups))


def _parity(
    section: Section,
    model: Path,
    document: Mapping[str, Any],
    split: Mapping[str, Any] | None,
    progress: Progress,
) -> None:
    provenance = document["provenance"]
    recipe = provenance.get("recipe") or {}
    try:
        frames = validation_frames(recipe, provenance.get("data") or {})
        if split is not None and [frame.source for frame in frames] != split["validation"]:
            raise MLPotError("the frames held out now are not those of split.json.")
        show_parity(section, load_as_written(model), frames, recipe.get("group_by") or [], progress)
    except MLPotError as error:
        section.lack("parity and distributions of errors", str(error))


def show_parity(
    section: Section, model: LocalEnergyModel, frames: Any, keys: list[str], progress: Progress
) -> None:
    """Add predictions over labels and histograms of errors, computed now.

    Raises
    ------
    MLPotError
        See :func:`~mlpot.reporting.judged.compare`.
    """
    compared, used = compare(model, frames, keys, progress)
    count = f"{used} frames" if used == len(frames) else f"{used} of {len(frames)} frames"
    command = f"mlpot report {shlex.quote(section.path)} --out FILE.html"
    section.heading("Predictions and labels")
    caption = f"Predicted over labelled energies, forces and stress of {count}, computed for this page."
    section.abreast(caption, {f"parity of {one.name}": parity_figure(one) for one in compared}, command)
    caption = "Distribution of the errors, grey: all; 0.5 % of the errors lie outside of what is shown."
    drawn = {f"errors of {one.name}": distribution_figure(one) for one in compared}
    section.abreast(caption, drawn, command)
    lacking = {"energy", "forces", "stress"} - {one.name for one in compared}
    for name in sorted(lacking):
        section.lack(f"parity of {name}", "no frame has this label.")


def _learning(section: Section, path: Path, recipe: Mapping[str, Any], command: str) -> None:
    if not path.is_file():
        epochs = (recipe.get("fit") or {}).get("epochs")
        why = "nothing was trained (0 epochs)." if epochs == 0 else "there is no metrics.csv in the folder."
        section.lack("learning curves", why)
        return
    try:
        metrics = read_metrics(path)
    except MLPotError as error:
        section.lack("learning curves", str(error))
        return
    section.heading("Learning curves")
    caption = "Loss of the training, and errors on the validation frames, by epoch."
    if "forces_mae" not in metrics:
        caption = "Loss of the training by epoch; there are no validation frames, so no errors."
    again = f"{command} && mlpot report NEW --out FILE.html"
    section.abreast(caption, training_figures(metrics), again)


def _transfer(section: Section, path: Path) -> None:
    if not path.is_file():
        section.lack("transfer report", "there is no transfer.json: the run has not ended.")
        return
    found = read_document(path)
    served = ", ".join(f"{target} from {donor}" for target, donor in found["donors"].items())
    rows = [("donors", f"{served}, of {found['from']}")]
    for target, scales in found["scales"].items():
        text = f"length {scales['length']:.4f}, energy {scales['energy']:.4f} ({scales['origin']})"
        rows.append((f"scales of {target}", text))
    offsets = ", ".join(f"{symbol} {value:.4f}" for symbol, value in found["offsets"]["eV"].items())
    rows.append(("offsets (eV)", offsets))
    rows.append(("fine-tuning", f"{found['epochs']} epochs, {found['seconds']:.0f} s"))
    section.heading("Transfer report")
    section.facts(rows)
    section.text_table(["tensors", "number", "values", "detail"], tensor_rows(found["report"]))
    if found.get("errors"):
        section.say(f"Errors on the validation frames before and after gradient steps. {PAIRS}")
        section.parts.append(_table(found["errors"]))
    else:
        section.lack("errors before and after fine-tuning", "there were no validation frames.")
    told = (_membership(path.parent) or {}).get("notes", [])  # those of the split
    for note in found.get("notes", []):
        if note not in told:
            section.say(note)


def _speed(section: Section, model: Path, document: Mapping[str, Any], timed: bool) -> None:
    if not timed:
        section.lack("speed", "not measured; --time measures it, and the JSON of mlpot doctor has it.")
        return
    try:
        potential = load_as_written(model)
        assert isinstance(potential, Potential)
        symbols = document["elements"]
        found = measure_speed(MLPotCalculator(potential), symbols, default_spacing(symbols))
    except MLPotError as error:
        section.lack("speed", str(error))
        return
    rows = [
        [str(one.atoms), f"{one.milliseconds:.3g}", f"{one.microseconds_per_atom:.3g}"]
        if one.milliseconds is not None and one.microseconds_per_atom is not None
        else [str(one.atoms), one.reason, "–"]
        for one in found
    ]
    section.table("Speed", ["atoms", "ms per energy and forces", "µs per atom"], rows)


def _card(section: Section, model: Path) -> None:
    section.shown.append("Model card")
    # No links and pictures: the page refers to nothing outside itself.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    rendered = markdown.disable(["link", "autolink", "image"]).render(model_card(model))
    rendered = rendered.replace("<table>", "<div class='wide'><table>").replace("</table>", "</table></div>")
    section.parts.append(
        f"<details class='card'><summary>Model card</summary>{lowered(lowered(rendered))}</details>"
    )
