"""The page that tells the outcome of a study, and its figures as files."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from mlpot.atomic import replacing
from mlpot.evidence.drawing import OUTCOMES
from mlpot.evidence.estimates import Estimate, arithmetic, number
from mlpot.page import page, picture, png, table
from mlpot.properties.report import number as properties_number
from mlpot.studies import beyond_figures, figures
from mlpot.studies.cost import Spent, cost
from mlpot.studies.curves import learning_curve, main_domain, reference_size, sizes_of
from mlpot.studies.equivalence import equivalence
from mlpot.studies.signs import alive_fraction, entries, signs, temperatures, values
from mlpot.studies.verdict import verdict

Results = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]

STYLE = f"""
.verdict{{background:#f2f5f9;border-left:4px solid #444;padding:.6rem 1rem}}
.verdict p{{margin:.5rem 0}}
.better td:first-child{{border-left:6px solid {OUTCOMES["better"]}}}
.worse td:first-child{{border-left:6px solid {OUTCOMES["worse"]}}}
.none td:first-child{{border-left:6px solid #ccc}}
.better td{{background:#e6f1f8}}
.worse td{{background:#fbeadf}}
"""
_READING = (
    "Errors are mean absolute errors on a hold-out no arm ever saw. Means over seeds are geometric; in "
    "brackets are 95 % intervals (Student's t over seeds, on logarithms). Arms are compared by the ratio of "
    "their errors, paired by seed: below 1 is better. Better and worse mean p < 0.05 after Holm's correction "
    "over the comparisons made together (all sizes of a curve; all errors, all of dynamics, all properties "
    "in a table of signs; all groups and domains; all other arms); the intervals themselves are not "
    "corrected. Equivalent frames: where the "
    "baseline's curve, interpolated linearly in the logarithms seed by seed, first comes down to the same "
    "error; beyond the sizes tried it is a bound. Properties: static values at 0 K unless their name says "
    "otherwise, arithmetic means; the size of the deviation from the reference in percent is compared by its "
    "difference in percentage points, paired by seed: below 0 is better. Survival, and whether there is a "
    "value at all, are compared between potentials (seeds): exact permutation test, intervals of Clopper and "
    "Pearson and of Newcombe."
)


def error_table(results: Results, metric: str = "forces_mae") -> Table:
    """Return header and rows of an error per arm and size: mean over seeds and its interval."""
    curves = {
        arm: {p.size: p.error for p in learning_curve(results["runs"], arm, metric, main_domain(results))}
        for arm in results["arms"]
    }
    sizes = sorted({size for curve in curves.values() for size in curve})
    rows = [
        [arm, *(str(curve[size]) if size in curve else "–" for size in sizes)]
        for arm, curve in curves.items()
    ]
    return ["arm", *(f"n = {size}" for size in sizes)], [row for row in rows if set(row[1:]) - {"–"}]


def equivalence_table(results: Results) -> Table:
    """Return header and rows of the baseline's frames that match each arm's, by size."""
    baseline, domain = results["baseline"], main_domain(results)
    header = f"frames of {baseline} to match"
    if len(sizes_of(results["runs"], baseline, domain)) < 2:  # no curve to look the error up on
        return [header], []
    found = {
        arm: {one.size: str(one) for one in equivalence(results["runs"], arm, baseline, domain=domain)}
        for arm in results["arms"]
        if arm != baseline
    }
    sizes = sorted({size for own in found.values() for size in own})
    rows = [[arm, *(own.get(size, "–") for size in sizes)] for arm, own in found.items() if own]
    return [header, *(f"n = {size}" for size in sizes)], rows


def signs_table(results: Results) -> tuple[list[str], list[list[str]], list[str]]:
    """Return header, rows and row classes of every quantity out of target, the worst first."""
    favourite, baseline = results["favourite"], results["baseline"]
    header = ["", "quantity", "verdict", "effect", favourite, baseline, "better in seeds", "p (Holm)"]
    rows, classes = [], []
    for one in signs(results):
        p = "–" if one.adjusted is None else "< 0.001" if one.adjusted < 1e-3 else f"{one.adjusted:.3f}"
        ours, theirs = (str(value) if value is not None else "–" for value in (one.ours, one.theirs))
        better = f"{one.better} of {one.n}"
        what = f"{one.what} ({one.unit})" if one.unit else one.what
        rows.append([figures.SIGN[one.outcome], what, one.outcome, one.shown, ours, theirs, better, p])
        classes.append(one.outcome if one.outcome in OUTCOMES else "none")
    return header, rows, classes


def dynamics_table(results: Results, key: Literal["dynamics", "liquid"] = "dynamics") -> Table:
    """Return header and rows of survival and radial distribution per arm and temperature."""
    dynamics = results.get(key) or {}
    header = [
        "arm",
        "T (K)",
        "potentials",
        "runs alive",
        "fraction",
        "shortest (ps)",
        "g(r) error",
        "stopped by",
    ]
    rows = []
    for arm in dynamics:
        for kelvin in temperatures({arm: dynamics[arm]}):
            own = entries(dynamics, arm, kelvin)
            runs = [run for entry in own.values() for run in entry["runs"]]
            alive = alive_fraction(
                {s: sum(r["censored"] for r in e["runs"]) / len(e["runs"]) for s, e in own.items()}
            )
            radial = [entry["radial"]["error"] for entry in own.values() if entry["radial"]]
            g = f"{number(sum(radial) / len(radial))} ({len(radial)})" if radial else "–"
            rows.append(
                [
                    arm,
                    f"{kelvin:g}",
                    str(len(own)),
                    f"{sum(run['censored'] for run in runs)} of {len(runs)}",
                    str(alive),
                    number(min(run["survived_ps"] for run in runs)),
                    g,
                    "; ".join(sorted({run["reason"] for run in runs if run["reason"]})) or "–",
                ]
            )
    return header, rows


def cost_table(results: Results) -> Table:
    """Return header and rows of what a run of each arm costs, its donors, all runs, and the search.

    The search: candidates that were not chosen.
    """
    time = ["s", "CPU s", "J"]
    header = [
        f"arm, n = {reference_size(results)}", "steps", *time, "donors: steps", *time, "runs", "all: s",
        *time[1:], "not chosen", "their s", *time[1:],
    ]  # fmt: skip
    rows = [
        [
            one.arm,
            *_spent(one.run),
            *_spent(one.donors),
            str(one.runs),
            *_spent(one.total)[1:],
            "–" if one.passed_over is None else str(one.passed_over),
            *_spent(one.search)[1:],
        ]
        for one in cost(results)
    ]
    return header, rows


def properties_table(results: Results) -> Table:
    """Return header and rows of properties: the reference, and mean and interval over seeds of each arm.

    In parentheses how many of how many potentials have a value, where not all do.
    """
    properties = results.get("properties")
    if not properties:
        return ["quantity"], []
    arms = list(properties["arms"])
    rows = []
    for quantity in properties["quantities"]:
        name, reference = quantity["name"], properties["references"].get(quantity["name"])
        cells = []
        for arm in arms:
            own = values(properties, arm, name)
            there = [value for value in own.values() if value is not None]
            part = "" if len(there) == len(own) else f" ({len(there)} of {len(own)})"
            cells.append(f"{_precise(arithmetic(there)) if there else '–'}{part}")
        beside = "–" if reference is None else properties_number(reference["value"])
        if reference is not None and reference["uncertainty"] is not None:
            beside += f" ± {reference['uncertainty']:g}"
        kind = "–" if reference is None else reference["kind"]
        rows.append([name, quantity["unit"], beside, kind, *cells])
    return ["quantity", "unit", "reference", "of", *arms], rows


def _precise(mean: Estimate) -> str:
    """Return an estimate with the digits of a property."""
    value, low, high = (
        None if x is None else properties_number(x) for x in (mean.value, mean.low, mean.high)
    )
    return f"{value}" if low is None else f"{value} [{low}, {high}]"


def _spent(spent: Spent | None) -> list[str]:
    values = (None,) * 4 if spent is None else (spent.steps, spent.seconds, spent.cpu_seconds, spent.joules)
    return [number(value) for value in values]


def donors_table(results: Results) -> Table:
    """Return header and rows of the donors; F and E: MAE of forces and energies (meV/Å, meV/atom)."""
    header = [
        "donor",
        "seed",
        "frames",
        "steps",
        "s",
        "CPU s",
        "validation F MAE",
        "test F MAE",
        "test E MAE",
    ]
    rows = []
    for donor in results.get("donors", []):
        validation, test = ((donor.get(name) or {}).get("all", {}) for name in ("validation", "test"))
        numbers = [donor.get(name) for name in ("frames", "steps", "seconds", "cpu_seconds")]
        numbers += [validation.get("forces_mae"), test.get("forces_mae"), test.get("energy_mae")]
        rows.append([donor["donor"], str(donor["seed"]), *(number(value) for value in numbers)])
    return header, rows


def all_figures(results: Results) -> dict[str, tuple[str, Figure]]:
    """Return caption and figure by name, those for which there is something to draw."""
    favourite, baseline, size = results["favourite"], results["baseline"], reference_size(results)
    drawn = {
        "learning": (
            "Force error over the number of frames trained on; bands: 95 % over seeds.",
            figures.learning_figure(results),
        ),
        "arms": (
            f"All arms with {size} frames: a dot a seed, mean and 95 % interval.",
            figures.arms_figure(results),
        ),
        "equivalence": (
            f"Frames of {baseline} that match the force error of the arms. Lines: means over seeds; small "
            f"marks: seeds of {favourite}; triangles: bounds, up for at least, down for at most.",
            figures.equivalence_figure(results),
        ),
        "signs": (
            f"Out of target with {size} frames, {favourite} against {baseline}, the worst on top: − worse, + "
            "better, 0 no significant difference, ? nothing can be said. 95 % intervals.",
            figures.signs_figure(results),
        ),
        "domains": (
            "Force error by group of the hold-out, a panel for each part of the pool trained on.",
            figures.domains_figure(results),
        ),
        "survival": (
            "Survival in molecular dynamics (Kaplan-Meier over all runs of all potentials). The band, of "
            "Greenwood or exact, takes runs with the same potential for independent.",
            beyond_figures.survival_figure(results),
        ),
        "radial": (
            "Radial distribution against that of the true dynamics, means over the potentials that lasted.",
            beyond_figures.radial_figure(results),
        ),
        "liquid": (
            "Radial distribution of the liquid against that of labelled frames, means over the potentials "
            "that lasted.",
            beyond_figures.radial_figure(results, "liquid"),
        ),
        "properties": (
            f"Properties of the crystal with {size} frames: deviation from the reference, a dot a potential, "
            "bars: means; beyond 10 % the axis is logarithmic.",
            beyond_figures.properties_figure(results),
        ),
        "cost": (
            f"Cost of one run with {size} frames; hatched: the donors it needs, trained once for all.",
            figures.cost_figure(results),
        ),
    }
    return {name: (caption, figure) for name, (caption, figure) in drawn.items() if figure is not None}


def write_report(folder: str | Path, results: Results) -> None:
    """Write ``report.html``, complete in itself, and its figures in ``figures/NAME.png``.

    Parameters
    ----------
    folder
        Of the study.
    results
        ``results.json``. Its ``verdict`` is shown; without one it is computed.
    """
    folder = Path(folder)
    pictures = images(results)
    for name, (_, image) in pictures.items():
        with replacing(folder / "figures" / f"{name}.png") as partial:
            partial.write_bytes(image)
    with replacing(folder / "report.html") as partial:
        partial.write_text(page(results["title"], body(results, pictures), STYLE), encoding="utf-8")


def images(results: Results) -> dict[str, tuple[str, bytes]]:
    """Return caption and PNG by name of all figures; none where no run was finished."""
    drawn = all_figures(results) if results["runs"] else {}
    return {name: (caption, png(figure)) for name, (caption, figure) in drawn.items()}


def body(results: Results, pictures: Mapping[str, tuple[str, bytes]]) -> list[str]:
    """Return the parts of the page: verdict, ``pictures`` (see :func:`images`), tables, recipe."""
    said = results.get("verdict") or verdict(results)
    return [
        "<div class='verdict'>" + "".join(f"<p>{html.escape(text)}</p>" for text in said) + "</div>",
        *(picture(caption, image) for caption, image in pictures.values()),
        *(_tables(results) if results["runs"] else []),
        f"<h2>How to read this</h2><p class='remark'>{html.escape(_READING)}</p>",
        f"<h2>How this was made</h2><pre>{html.escape(results['recipe'])}</pre>",
    ]


def _tables(results: Results) -> list[str]:
    parts: list[str] = []
    for title, metric in (
        ("Forces on the hold-out, MAE in meV/Å", "forces_mae"),
        ("Energies on the hold-out, MAE in meV/atom", "energy_mae"),
        ("Stress on the hold-out, MAE in GPa", "stress_mae"),
    ):
        parts += _titled(title, error_table(results, metric))
    parts += _titled("Equivalent frames", equivalence_table(results))
    if results["favourite"] != results["baseline"]:
        header, rows, classes = signs_table(results)
        if rows:
            parts.append(
                f"<h2>Out of target, with {reference_size(results)} frames</h2>"
                + table(header, rows, classes)
            )
    parts += _titled("Molecular dynamics", dynamics_table(results))
    parts += _titled("The liquid, against labelled frames", dynamics_table(results, "liquid"))
    parts += _titled("Properties of the crystal", properties_table(results))
    if results.get("properties"):
        parts.append(_behind(results["properties"]))
    parts += _titled("Cost", cost_table(results))
    parts += _titled("Donors, and their MAE in meV/Å and meV/atom", donors_table(results))
    return parts


def _titled(title: str, content: tuple[Sequence[str], Sequence[Sequence[str]]]) -> list[str]:
    header, rows = content
    return [f"<h2>{html.escape(title)}</h2>" + table(header, rows)] if rows else []


def _behind(properties: Mapping[str, Any]) -> str:
    """Return what the quantities are, where references are from, and why values are missing."""
    lines = [f"{one['name']}: {one['meaning']}" for one in properties["quantities"]]
    sources: dict[str, list[str]] = {}
    for name, one in properties["references"].items():
        sources.setdefault(f"{one['kind']}: {one['source']}", []).append(name)
    lines += [f"{source}: {', '.join(names)}" for source, names in sources.items()]
    lines += [
        f"{arm}, seed {seed}, {name} has no value: {one['reason']}"
        for arm, seeds in properties["arms"].items()
        for seed, found in seeds.items()
        for name, one in found.items()
        if one["value"] is None
    ]
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in lines) + "</ul>"
