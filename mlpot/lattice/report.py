"""The page that tells the outcome of a lattice study, and its figures as files."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpot.atomic import replacing
from mlpot.evidence.estimates import number
from mlpot.lattice.figures import all_figures
from mlpot.lattice.outcomes import (
    QUANTITIES,
    Results,
    Setting,
    critical_temperatures,
    curves,
    mean_error,
    mean_score,
    scores,
    settings,
    size_name,
    sizes_extrapolated,
    sizes_scored,
    truth,
)
from mlpot.lattice.published import (
    CITATION,
    PUBLISHED_SAMPLES,
    SAME_TEMPERATURE,
    aims,
    critical_temperature,
)
from mlpot.lattice.verdict import reached, shown, verdict
from mlpot.page import page, picture, png, table

Table = tuple[list[str], list[list[str]]]

_STYLE = """
.verdict{background:#f2f5f9;border-left:4px solid #444;padding:.6rem 1rem}
.verdict p{margin:.5rem 0}
"""
_READING = (
    "Score: root mean square error of the learned total energy over configurations spread uniformly over "
    "all energies, in units of J; the free constant is fixed by the mean over random states. All other "
    "quantities are per site, J = k_B = 1, unless their name says total. Means of scores over seeds are "
    "geometric, of all others arithmetic; in brackets are 95 % intervals (Student's t over seeds, for "
    "scores on logarithms), given from three seeds on. Arms are compared by the ratio of their scores, "
    "paired by seed: below 1 is better; whether a baseline wins is decided by p < 0.05 after Holm's "
    "correction over all T0 and numbers of samples. The best of the baselines and the best of the arms "
    "with a sequence model are chosen by the same scores, which favours both. Aims are judged by the arm "
    "and number of samples that came nearest. Errors of curves are absolute deviations from the truth at "
    "the temperatures where both are known; they contain the statistical errors of both. The truth: "
    "Kaufman's finite lattice or enumeration where they have the quantity, otherwise Monte Carlo with the "
    "true Hamiltonian. Errors of Binder crossings do not contain corrections to scaling."
)


def score_table(results: Results) -> Table:
    """Return header and rows of the score per T0, samples, arm and size, the original's beside them."""
    sizes = sizes_scored(results)
    header = ["T0", "samples", "arm", "seeds"]
    for size in sizes:
        header += [f"{size}: mean (J)", "lowest – highest", "original", "aim"]
    rows = []
    for temperature, count in settings(results):
        for arm in results["arms"]:
            found = {size: scores(results, (arm, temperature, count), size) for size in sizes}
            if not any(found.values()):
                continue
            row = [f"{temperature:g}", f"{count:,}", arm, str(max(len(values) for values in found.values()))]
            for size, values in found.items():
                aim = next(
                    (
                        aim
                        for aim in aims(results)
                        if aim.kind == "score"
                        and aim.size == size
                        and aim.temperature is not None
                        and abs(aim.temperature - temperature) < SAME_TEMPERATURE
                    ),
                    None,
                )
                row += [
                    str(mean_score(values.values())) if values else "–",
                    f"{number(min(values.values()))} – {number(max(values.values()))}" if values else "–",
                    "–" if aim is None or aim.published is None else aim.published,
                    "–" if aim is None else aim.bound,
                ]
            rows.append(row)
    return header, rows


def aims_table(results: Results) -> Table:
    """Return header and rows of what was to be reached, the original's numbers, and what was."""
    rows = []
    for one in reached(results):
        who = "–" if one.best is None else f"{one.best[0]}, T0 = {one.best[1]:g}, {one.best[2]:,}"
        value = shown(one.aim, one.value)
        rows.append(
            [one.aim.text, one.aim.published or "–", one.aim.bound, value, who, one.about or "–", one.outcome]
        )
    return ["quantity", "original (cited)", "aim", "ours", "by", "how", "outcome"], rows


def _settings_of(found: Iterable[Any]) -> list[Setting]:
    return list(dict.fromkeys(one.setting for one in found))


def deviation_table(results: Results) -> Table:
    """Return header and rows of the errors of the curves: largest and mean over T, means over seeds."""
    header = ["size", "arm", "T0", "samples", "seeds"]
    header += [f"{symbol}: largest, mean" for symbol in QUANTITIES.values()]
    header += ["F at T_c", "S at T_c"]
    known = critical_temperature(results)
    rows = []
    for size in sizes_extrapolated(results):
        by_quantity = {name: [c for c in curves(results, name, size) if c.deviations] for name in QUANTITIES}
        for setting in _settings_of(curve for own in by_quantity.values() for curve in own):
            seeds: set[int] = set()
            cells = []
            for own in by_quantity.values():
                mine = [curve for curve in own if curve.setting == setting]
                seeds |= {curve.seed for curve in mine}
                largest = [found[0] for curve in mine if (found := curve.largest()) is not None]
                means = [value for curve in mine if (value := curve.mean()) is not None]
                cells.append(
                    f"{number(float(np.mean(largest)))}, {number(float(np.mean(means)))}" if largest else "–"
                )
            for name in ("free_energy", "entropy"):
                near = [
                    value
                    for curve in by_quantity[name]
                    if curve.setting == setting
                    and known is not None
                    and (value := curve.near(known, SAME_TEMPERATURE)) is not None
                ]
                cells.append(number(float(np.mean(near))) if near else "–")
            arm, temperature, count = setting
            rows.append([size, arm, f"{temperature:g}", f"{count:,}", str(len(seeds)), *cells])
    return header, rows


def total_energy_table(results: Results) -> Table:
    """Return header and rows of the mean and largest error over T of the mean total energy, units of J."""
    size, sites = size_name(results["shape"]), results["sites"]
    own = [curve for curve in curves(results, "energy", size) if curve.deviations]
    rows = []
    for setting in _settings_of(own):
        mine = [curve for curve in own if curve.setting == setting]
        means = [sites * value for curve in mine if (value := curve.mean()) is not None]
        largest = [sites * found[0] for curve in mine if (found := curve.largest()) is not None]
        arm, temperature, count = setting
        rows.append([arm, f"{temperature:g}", f"{count:,}", str(mean_error(means)), str(mean_error(largest))])
    return ["arm", "T0", "samples", "mean error of the total energy (J)", "largest"], rows


def critical_table(results: Results) -> Table:
    """Return header and rows of the critical temperatures by Binder crossing; the truth's first."""
    known = critical_temperature(results)
    rows = []
    for one in critical_temperatures(results):
        who = ["truth", "–", "–", "–"]
        if one.setting is not None:
            who = [one.setting[0], f"{one.setting[1]:g}", f"{one.setting[2]:,}", str(one.seed)]
        value = "–" if one.value is None else f"{one.value:.4f} ± {one.error:.4f}"
        off = "–"
        if one.value is not None and known is not None:
            off = f"{100 * (one.value / known - 1):+.2f} %"
        rows.append([*who, " and ".join(one.sizes), value, off, one.reason or "–"])
    return ["arm", "T0", "samples", "seed", "sizes", "T_c", "from the exact one", "why not"], rows


def sequence_table(results: Results) -> Table:
    """Return header and rows of the sequence models, and of the score of -T0 ln p itself."""
    header = ["arm", "T0", "samples", "seeds", "−ln p per state", "exact entropy", "Kullback–Leibler"]
    header.append("score of −T0 ln p (J)")
    rows = []
    for setting, own in _learned(results).items():
        found = [one["sequence"] for one in own if one.get("sequence")]
        if not found:
            continue
        cells = []
        for key in ("nll", "exact_entropy", "kl", "rmse"):
            values = [one[key] for one in found if one.get(key) is not None]
            cells.append(f"{np.mean(values):.4f}" if values else "–")
        rows.append([setting[0], f"{setting[1]:g}", f"{setting[2]:,}", str(len(found)), *cells])
    return header, rows


def ensemble_table(results: Results) -> Table:
    """Return header and rows of how far the members of ensembles disagree: their uncertainty."""
    rows = []
    for setting, own in _learned(results).items():
        found = [one["deviation"] for one in own if one.get("deviation") is not None]
        if found:
            mean = str(mean_error(found))
            rows.append([setting[0], f"{setting[1]:g}", f"{setting[2]:,}", str(len(found)), mean])
    return ["arm", "T0", "samples", "seeds", "standard deviation (J)"], rows


def anchor_table(results: Results) -> Table:
    """Return header and rows of where the free energies of the curves start from."""
    found: dict[tuple[str, ...], int] = {}
    for one in results.get("extrapolation") or []:
        anchor = one.get("anchor")
        if anchor:
            reason = anchor.get("reason") or "–"
            key = (size_name(one["shape"]), one["arm"], anchor["from"], f"{anchor['temperature']:g}", reason)
            found[key] = found.get(key, 0) + 1
    rows = [[*key, str(count)] for key, count in found.items()]
    return ["size", "arm", "ln Z from", "at T", "why not from the sequence model", "curves"], rows


def recovery_table(results: Results) -> Table:
    """Return header and rows of the couplings learned: correlation with the true ones, and error."""
    rows = []
    for setting, own in _learned(results).items():
        found = [one["recovery"] for one in own if one.get("recovery")]
        if found:
            cells = []
            for key in ("correlation", "rmse"):
                values = [one[key] for one in found if one[key] is not None and math.isfinite(one[key])]
                cells.append(f"{np.mean(values):.5f}" if values else "–")
            rows.append([setting[0], f"{setting[1]:g}", f"{setting[2]:,}", str(len(found)), *cells])
    return ["arm", "T0", "samples", "seeds", "correlation", "RMSE of couplings (J)"], rows


def cost_table(results: Results) -> Table:
    """Return header and rows of what learning costs, means over seeds."""
    rows = []
    for setting, own in _learned(results).items():
        cells = []
        for key in ("seconds", "cpu_seconds", "parameters"):
            values = [one[key] for one in own if one.get(key) is not None]
            cells.append("–" if not values else number(float(np.mean(values))))
        rows.append([setting[0], f"{setting[1]:g}", f"{setting[2]:,}", str(len(own)), *cells])
    return ["arm", "T0", "samples", "seeds", "s", "CPU s", "parameters"], rows


def _learned(results: Results) -> dict[Setting, list[Mapping[str, Any]]]:
    """Return what was learned, by arm in the order of the study, T0 and samples."""
    found: dict[Setting, list[Mapping[str, Any]]] = {}
    order = {arm: place for place, arm in enumerate(results["arms"])}
    for one in sorted(results["learned"], key=lambda o: (o["temperature"], o["count"], order[o["arm"]])):
        found.setdefault((one["arm"], one["temperature"], one["count"]), []).append(one)
    return found


def samples_table(results: Results) -> Table:
    """Return header and rows of the samples: decorrelated or a stream, and their autocorrelation times."""
    header = ["T0", "seed", "samples", "chains", "method", "kind", "steps between"]
    header += ["τ in steps", "τ in samples (0.5: uncorrelated)", "p of no drift"]
    rows = []
    for one in results.get("autocorrelation") or []:
        stream = one.get("stream")
        plain = [one.get(name) for name in ("temperature", "seed", "samples", "chains", "method")]
        rows.append(
            [
                *("–" if value is None else str(value) for value in plain),
                f"stream, every {stream}" if stream else "decorrelated" if one.get("spacing") else "unknown",
                str(one.get("spacing") or "–"),
                _times(one.get("steps")),
                _times(one.get("in_samples")),
                number(one.get("drift_p")),
            ]
        )
    return header, rows


def _times(times: Mapping[str, Mapping[str, float]] | None) -> str:
    """Return integrated autocorrelation times as text."""
    return "; ".join(f"{name} {one['tau']:.2f}" for name, one in (times or {}).items()) or "–"


def tables(results: Results) -> dict[str, Table]:
    """Return every table of the report that has rows, by its title."""
    truths = [
        [size, symbol, true.kind, str(len(true.values))]
        for size in sizes_extrapolated(results)
        for name, symbol in QUANTITIES.items()
        if (true := truth(results, size, name)) is not None
    ]
    everything: dict[str, Table] = {
        "Score: RMSE of the total energy": score_table(results),
        "What was to be reached": aims_table(results),
        "Errors of the curves over T, per site, means over seeds": deviation_table(results),
        "Error of the mean total energy, on the lattice trained on": total_energy_table(results),
        "Critical temperature, by Binder crossing": critical_table(results),
        "Couplings recovered": recovery_table(results),
        "Sequence models (nats for a state; exact entropy of the distribution)": sequence_table(results),
        "Ensembles: standard deviation of the energy over members, mean over states": ensemble_table(results),
        "Free energies start from": anchor_table(results),
        "Samples": samples_table(results),
        "What is held to be true": (["size", "quantity", "truth", "temperatures"], truths),
        "Cost of learning": cost_table(results),
        "Points that are missing": (["curve", "reason"], _missing(results)),
        "Not done": (
            ["task", "reason"],
            [[one["task"], one["reason"]] for one in results.get("failed") or []],
        ),
    }
    return {title: (header, rows) for title, (header, rows) in everything.items() if rows}


def _missing(results: Results) -> list[list[str]]:
    """Return whose curves lack points, and why."""
    rows = []
    for one in [*(results.get("truth") or []), *(results.get("extrapolation") or [])]:
        who = (
            f"{one['arm']}, T0 = {one['temperature']:g}, {one['count']:,} samples, seed {one['seed']}"
            if "arm" in one
            else f"truth ({one['kind']})"
        )
        rows += [[f"{who}, {size_name(one['shape'])}", reason] for reason in one.get("missing") or []]
    return rows


def write_report(folder: str | Path, results: Results) -> Path:
    """Write ``report.html``, complete in itself, and its figures in ``figures/NAME.png``.

    Parameters
    ----------
    folder
        Of the study.
    results
        ``results.json``; parts that are not there (truth, extrapolation, scores) are said to be
        missing.

    Returns
    -------
    Path
        The page.
    """
    folder = Path(folder)
    said = "".join(f"<p>{html.escape(text)}</p>" for text in verdict(results))
    parts = [f"<div class='verdict'>{said}</div>"]
    for name, (caption, figure) in all_figures(results).items():
        image = png(figure)
        with replacing(folder / "figures" / f"{name}.png") as partial:
            partial.write_bytes(image)
        parts.append(picture(caption, image))
    for title, (header, rows) in tables(results).items():
        parts.append(f"<h2>{html.escape(title)}</h2>" + table(header, rows))
    total = results.get("seconds")
    spent = "" if total is None else f" All of it took {number(float(total))} s."
    cited = f" Original: {CITATION}, {PUBLISHED_SAMPLES:,} samples; cited, not measured again."
    reading = f"{_READING}{cited if aims(results) else ''}{spent}"
    parts.append(f"<h2>How to read this</h2><p class='remark'>{html.escape(reading)}</p>")
    if results.get("recipe"):
        parts.append(f"<h2>How this was made</h2><pre>{html.escape(str(results['recipe']))}</pre>")
    target = folder / "report.html"
    with replacing(target) as partial:
        partial.write_text(page(results["title"], parts, _STYLE), encoding="utf-8")
    return target
