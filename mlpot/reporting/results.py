"""Sections of what was found with potentials: studies, tests in MD, properties, observables, examinations."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlpot.data.files import read_frames
from mlpot.doctor import page as doctor_page
from mlpot.doctor.examination import read_examination
from mlpot.errors import DataError, MLPotError
from mlpot.model.file import find_model
from mlpot.observables.report import words
from mlpot.page import table
from mlpot.properties import report as properties_page
from mlpot.reporting.figures import radial_figures, survival_figures
from mlpot.reporting.judged import load_as_written
from mlpot.reporting.recognise import read_document
from mlpot.reporting.runs import PAIRS, show_parity
from mlpot.reporting.section import Section
from mlpot.studies import report as study_page
from mlpot.training.errors import ERROR_COLUMNS, error_rows

#: Rules of the pages whose bodies are shown, by kind of section.
STYLES = {
    "study": study_page.STYLE,
    "properties": properties_page.STYLE,
    "doctor": doctor_page.STYLE,
}
#: Captions of what mlpot observe draws.
_OBSERVABLES = {
    "rdf": "Radial distribution; dashed: the reference, where one was given.",
    "adf": "Distribution of bond angles; dashed: the reference, where one was given.",
    "coordination": "Coordination numbers.",
    "msd": "Mean squared displacement.",
    "vacf": "Velocity autocorrelation.",
    "vdos": "Vibrational density of states; dashed: the reference, where one was given.",
    "sq": "Structure factor.",
    "steinhardt": "Bond order parameters.",
}
_UNKNOWN = "the file does not say (it was made by an older version)"


def study_section(folder: Path) -> Section:
    """Return the section of a study: the body of its own page."""
    command = shlex.join(["mlpot", "study", str(folder / "recipe.yaml"), "--out", str(folder)])
    path = folder / "results.json"
    if not path.is_file():
        section = Section("study", str(folder), f"Study: {folder.resolve().name}")
        section.lack("results", f"there is no results.json: the study has not ended; go on with: {command}")
        return section
    results = read_document(path)
    section = Section("study", str(folder), f"Study: {results.get('title', folder.name)}")
    try:
        pictures = study_page.images(results)
        section.take("Study", study_page.body(results, pictures), list(pictures), command)
        drawable = {"learning", "arms", "equivalence", "signs", "survival", "radial", "properties", "cost"}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not what a study writes: {type(error).__name__} {error}.") from None
    for name in sorted(drawable - set(pictures)):
        section.lack(f"figure {name}", "the study has nothing to draw for it.")
    return section


def stability_section(folder: Path) -> Section:
    """Return the section of a stability test."""
    path = folder / "stability.json"
    found = read_document(path)
    section = Section("stability", str(folder), f"Stability in molecular dynamics: {found['formula']}")
    command = found.get("command", _UNKNOWN)
    protocol = found["protocol"]
    section.heading("What was run")
    section.facts(
        [
            ("potential", ", ".join([found["model"], *found["committee"]]) if "model" in found else _UNKNOWN),
            ("structure", f"{found['formula']}, {found.get('structure', _UNKNOWN)}"),
            ("reference", found.get("reference") or ("yes" if found["with_reference"] else "none")),
            ("runs", f"{protocol['time_ps']:g} ps, steps of {protocol['timestep_fs']:g} fs"),
            ("friction", f"{protocol['friction_per_ps']:g} 1/ps"),
            ("fails when", ", ".join(f"{k} {v:g}" for k, v in protocol["stop"].items() if v is not None)),
        ]
    )
    rows = []
    for result in found["temperatures"]:
        low, high = result["survival_95"]
        runs = result["runs"]
        rows.append(
            [
                f"{result['temperature_K']:g}",
                f"{sum(run['censored'] for run in runs)} of {len(runs)}",
                f"{result['survival']:.2f} [{low:.2f}, {high:.2f}]",
                f"{min(run['survived_ps'] for run in runs):g}",
                f"{result['radial']['error']:.3f}" if result["radial"] else "–",
                "; ".join(sorted({run["reason"] for run in runs if run["reason"]})) or "–",
            ]
        )
    header = ["T (K)", "runs alive", "P(survival) [95 %]", "shortest (ps)", "g(r) error", "stopped by"]
    section.table("Survival", header, rows)
    caption = "Survival (Kaplan-Meier); bands: 95 %, of Greenwood or exact."
    section.abreast(caption, survival_figures(found), command)
    if radial := radial_figures(found):
        section.abreast("Radial distribution against the same runs with the reference.", radial, command)
    for result in found["temperatures"]:
        if result["radial_missing"]:
            what = f"radial distribution at {result['temperature_K']:g} K"
            section.lack(what, result["radial_missing"])
    _crash(section, folder / "crash.json")
    return section


def _crash(section: Section, path: Path) -> None:
    if not path.is_file():
        section.lack("crash tests", "there is no crash.json; mlpot stability --crash makes it.")
        return
    rows = [
        [
            test["name"],
            f"{test['start']:g} to {test['end']:g} {test['unit']}",
            f"{sum(run['survived'] for run in test['runs'])} of {len(test['runs'])}",
            "; ".join(sorted({run["reason"] for run in test["runs"] if run["reason"]})) or "–",
        ]
        for test in read_document(path, list)
    ]
    section.table("Crash tests", ["test", "ramp", "runs alive", "stopped by"], rows)


def properties_section(folder: Path) -> Section:
    """Return the section of properties: the body of their own page."""
    path = folder / "properties.json"
    if not path.is_file():
        section = Section("properties", str(folder), f"Properties: {folder.resolve().name}")
        section.lack("properties", "the run has not ended; the same command goes on with it.")
        return section
    found = read_document(path)
    section = Section("properties", str(folder), f"Properties of {found['element']}: {found['name']}")
    pictures = properties_page.images(found)
    section.take("Properties", properties_page.body(found, pictures), list(pictures), found["command"])
    for name in properties_page.FIGURES:
        if name not in pictures:
            section.lack(f"figure {name}", "what it shows was not computed; see --set and --only.")
    for record in found["records"]:
        if record["value"] is None:
            section.lack(record["name"], record["reason"])
    return section


def observables_section(folder: Path) -> Section:
    """Return the section of observables, with the figures that were written beside them."""
    found = read_document(folder / "observables.json")
    section = Section("observables", str(folder), f"Observables: {Path(found['trajectory']).name}")
    command = found.get("command", f"mlpot observe {found['trajectory']} --out {folder}")
    section.heading("What was observed")
    section.facts(
        [
            ("trajectory", f"{found['trajectory']}, {found['frames']} frames ({found['slice']})"),
            ("reference", found["reference"] or "none"),
            *((name, "; ".join(words(values)) or "–") for name, values in found["observables"].items()),
        ]
    )
    for name, values in found["observables"].items():
        _drawn(section, folder / f"{name}.png", name, _OBSERVABLES.get(name, name), command)
        for note in values["notes"]:
            section.say(f"{name}: {note}")
    for name, reason in found["missing"].items():
        section.lack(name, reason)
    for name in ("rdf", "adf", "vdos"):
        if name not in found["observables"] and name not in found["missing"]:
            section.lack(name, f"was not asked for; mlpot observe --{name}")
    if found["reference"] is None:
        section.lack("comparison with a reference", "none was given; mlpot observe --reference FILE")
    return section


def melting_section(folder: Path) -> Section:
    """Return the section of a melting temperature, with the figure that was written beside it."""
    path = folder / "melting.json"
    if not path.is_file():
        section = Section("melting", str(folder), f"Melting: {folder.resolve().name}")
        section.lack("melting temperature", "the run has not ended; the same command goes on with it.")
        return section
    document = read_document(path)
    found, name = document["melting"], f"{document['element']}: {document['name']}"
    section = Section("melting", str(folder), f"Melting temperature of {name}")
    low, high = found["bracket"]
    section.heading("Melting temperature")
    section.facts(
        [
            ("melting", f"{found['temperature']:.0f} ± {found['error']:.0f} K"),
            ("95 %", f"{found['interval'][0]:.0f} to {found['interval'][1]:.0f} K"),
            ("bracket", f"{low:.0f} to {high:.0f} K"),
        ]
    )
    caption = "Temperature and share of crystal of every run; dotted: left out."
    _drawn(section, folder / "melting.png", "melting", caption, document["command"])
    rows = [
        [
            run["side"],
            f"{run['start']:.0f}",
            f"{run['mean']:.0f} ± {run['error']:.0f}" if run["coexisted"] else "–",
            f"{run['fraction_start']:.0%} to {run['fraction_end']:.0%}",
            f"{run['independent']:.0f}",
        ]
        for run in found["runs"]
    ]
    section.table("Runs", ["side", "from (K)", "mean (K)", "crystal", "independent samples"], rows)
    for note in [*found["notes"], *document["notes"]]:
        section.say(note)
    return section


def _drawn(section: Section, path: Path, name: str, caption: str, command: str) -> None:
    if path.is_file():
        section.figure(name, caption, path.read_bytes(), command)
    else:
        section.lack(f"figure {name}", f"there is no {path.name} in the folder.")


def doctor_section(path: Path) -> Section:
    """Return the section of an examination: the body of its own page."""
    document = read_document(path)
    try:
        found = read_examination(document)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    section = Section("doctor", str(path), f"Physics of {found.name}")
    elements = [word for symbol in found.symbols for word in ("--element", symbol)]
    # What is no file and no shipped model was given as a calculator.
    given = [found.name] if _is_model(found.name) else ["--calculator", found.name]
    command = shlex.join(["mlpot", "doctor", *given, *elements, "--out", str(path)])
    figures = [name for name, own in (("pairs", found.diatomics), ("volumes", found.volumes)) if own]
    section.take("Examination", doctor_page.body(found), figures, command)
    for name in {"pairs", "volumes"} - set(figures):
        section.lack(f"figure {name}", "the potential could not be evaluated there.")
    return section


def _is_model(name: str) -> bool:
    from mlpot.model.file import shipped_models

    return name.endswith(".safetensors") or name in shipped_models()


def evaluation_section(path: Path, progress: Callable[[float], None]) -> Section:
    """Return the section of an evaluation: its errors, and the same frames computed again."""
    found = read_document(path)
    section = Section("evaluation", str(path), f"Errors of {found['model']}")
    section.heading("Errors by group")
    section.say(f"On {found['data']}. {PAIRS}")
    section.parts.append(table(["frames of", *ERROR_COLUMNS[1:]], error_rows(found["errors"])))
    rows = [
        [
            name,
            str(own["count"]),
            f"{own['predicted']:.3g}",
            f"{own['observed']:.3g}",
            f"{own['mean_z2']:.2f}",
        ]
        for name, own in found.get("calibration", {}).items()
    ]
    if rows:
        header = ["of", "values", "predicted (RMS)", "error (RMS)", "mean z²"]
        section.table("Predicted standard deviations", header, rows)
    else:
        section.lack("uncertainty", "the potential has none; see mlpot calibrate.")
    keys = found["group_by"]
    grouped = [word for key in keys for word in ("--group-by", key)]
    members = [word for one in found["committee"] for word in ("--committee", one)]
    command = ["mlpot", "evaluate", found["model"], "--data", found["data"], *grouped, *members, "--json"]
    section.heading("How to repeat the evaluation")
    section.parts.append(f"<pre>{shlex.join(command)} &gt; {path}</pre>")
    what = "parity and distributions of errors"
    try:
        if members:
            raise DataError("these are errors of a committee; only single potentials are computed here.")
        if not Path(found["data"]).is_file():
            raise DataError(f"{found['data']} is not here (paths are relative to the working directory).")
        model = load_as_written(find_model(found["model"]))
        frames = read_frames(found["data"])
        _same(found["errors"]["all"], len(frames))
        show_parity(section, model, frames, keys, progress)
    except MLPotError as error:
        section.lack(what, str(error))
    return section


def _same(errors: Mapping[str, Any], count: int) -> None:
    if errors["frames"] != count:
        raise DataError(f"the file has {count} frames now and had {errors['frames']} when it was evaluated.")
