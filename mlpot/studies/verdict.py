"""What a study found, in sentences computed from its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlpot.evidence.comparisons import Comparison, holm
from mlpot.evidence.estimates import geometric
from mlpot.studies.curves import (
    diverged,
    learning_curve,
    main_domain,
    paired,
    paired_over_sizes,
    reference_size,
    sizes_of,
)
from mlpot.studies.equivalence import equivalence
from mlpot.studies.signs import entries, hold_out_groups, signs, temperatures, values

Results = Mapping[str, Any]


def verdict(results: Results) -> list[str]:
    """Return what the numbers say about the favourite against the baseline.

    Parameters
    ----------
    results
        ``results.json``; the tasks that ``failed`` are told.

    Returns
    -------
    list of str
        Sentences: where forces gain or lose, how many frames are saved, what needs no training,
        the other arms, gains and harms out of target, other domains, dynamics, and what cannot
        be said.
    """
    if not results["runs"]:
        return ["No run was finished: nothing can be said.", *_left_out(results)]
    sentences = [_over_sizes(results), *_saved(results), *_untrained(results), *_others(results)]
    if results["favourite"] != results["baseline"]:
        sentences += [*_out_of_target(results), *_domains(results)]
    sentences += [*_dynamics(results), *_liquid(results), *_properties(results)]
    if len(results["seeds"]) == 1:
        sentences.append(
            "One seed: nothing can be said about significance; every number here is a single draw."
        )
    return [*sentences, *_left_out(results)]


def _left_out(results: Results) -> list[str]:
    """Return what is in no mean: a failure is no result, but it must be told."""
    runs, failed = results["runs"], results.get("failed", [])
    infinite = [f"{run['arm']} at {_frames(run['size'])}, seed {run['seed']}" for run in diverged(runs)]
    lists = {
        f"Not finite, and in no mean: errors of {len(infinite)} of {len(runs)} runs": infinite,
        f"Could not be done, and in no mean: {len(failed)} of the tasks": [
            f"{one['task']}: {one['reason'].rstrip('.')}" for one in failed
        ],
    }
    return [
        f"{head} ({'; '.join(names[:4])}{'; ...' if len(names) > 4 else ''})."
        for head, names in lists.items()
        if names
    ]


def _frames(size: int) -> str:
    return f"{size} frame" + ("" if size == 1 else "s")


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _where(sizes: Sequence[int], tried: Sequence[int]) -> str:
    """Return some of the sizes tried as text: a half-line if they are one, a list otherwise."""
    if len(sizes) == len(tried):
        return f"at every size tried ({tried[0]} to {_frames(tried[-1])})" if len(tried) > 1 else _at(sizes)
    if len(sizes) > 1 and list(sizes) == list(tried[: len(sizes)]):
        return f"for n ≤ {sizes[-1]}"
    if len(sizes) > 1 and list(sizes) == list(tried[-len(sizes) :]):
        return f"for n ≥ {sizes[0]}"
    return _at(sizes)


def _at(sizes: Sequence[int]) -> str:
    return f"at {_listed([str(size) for size in sizes[:-1]] + [_frames(sizes[-1])])}"


def _numbers(one: Comparison) -> str:
    """Return a comparison as the words inside parentheses."""
    if one.effect is None:
        return f"{one.arm} {one.ours or 'has none'}, {one.baseline} {one.theirs or 'has none'}"
    return f"{one.shown}, better in {one.better} of {one.n} seed{'s' if one.n > 1 else ''}"


def _over_sizes(results: Results) -> str:
    arm, baseline, domain = results["favourite"], results["baseline"], main_domain(results)
    compared = paired_over_sizes(results["runs"], arm, baseline, "forces_mae", domain)
    if not compared or arm == baseline:
        return f"Forces: {arm} and {baseline} are compared at no size."
    tried, reference = [one.size for one in compared], reference_size(results)
    verbs = {
        "better": f"{arm} helps",
        "worse": f"{arm} harms",
        "no significant difference": "no significant difference",
        "one seed": f"one seed of {arm} and {baseline} to compare",
    }
    parts = []
    for outcome, verb in verbs.items():
        own = [one for one in compared if one.outcome == outcome]
        if own:
            shown = next((one for one in own if one.size == reference), own[-1])
            there = f", at {_frames(shown.size)}" if len(own) > 1 else ""
            parts.append(f"{verb} {_where([one.size for one in own], tried)} ({_numbers(shown)}{there})")
    return f"Forces, {arm} against {baseline}: {'; '.join(parts)}."


def _saved(results: Results) -> list[str]:
    """Return the sentence on equivalent frames, at the reference size or the nearest below it."""
    arm, baseline = results["favourite"], results["baseline"]
    found = equivalence(results["runs"], arm, baseline, domain=main_domain(results))
    sizes = sizes_of(results["runs"], baseline, main_domain(results))
    if arm == baseline or not found or len(sizes) < 2:
        return []
    there = [one for one in found if one.size <= reference_size(results)] or found[:1]
    one = there[-1]
    if one.frames is None:
        text = f"between seeds anything from {one} frames"
    else:
        text = f"{one} frames" + (f", {one.ratio} times as many" if one.ratio and not one.bound else "")
    bounded = f"; {baseline} was run at {sizes[0]} to {sizes[-1]}" if one.bound or one.frames is None else ""
    return [f"For the force error of {arm} at {_frames(one.size)}, {baseline} needs {text}{bounded}."]


def _untrained(results: Results) -> list[str]:
    runs, domain, sentences = results["runs"], main_domain(results), []
    for arm in results["arms"]:
        own = [run for run in runs if run["arm"] == arm]
        curve = learning_curve(runs, arm, "forces_mae", domain)
        if not own or not curve or any(run["steps"] != 0 for run in own):
            continue
        size = reference_size(results)
        shown = [point for point in curve if point.size in (curve[0].size, size)]
        text = _listed([f"{point.error} meV/Å with {_frames(point.size)}" for point in shown])
        equal = next(
            (
                one
                for one in equivalence(runs, arm, results["baseline"], domain=domain)
                if one.size == shown[0].size
            ),
            None,
        )
        several = len(sizes_of(runs, results["baseline"], domain)) > 1
        saved = f"; {results['baseline']} needs {equal} frames for the first" if equal and several else ""
        sentences.append(f"Without a step of training, {arm} has a force error of {text}{saved}.")
    return sentences


def _others(results: Results) -> list[str]:
    """Return how all other arms do against the baseline, and which is best."""
    runs, domain, size = results["runs"], main_domain(results), reference_size(results)
    favourite, baseline = results["favourite"], results["baseline"]
    others = [arm for arm in results["arms"] if arm not in (favourite, baseline)]
    compared = [paired(runs, arm, baseline, "forces_mae", size, domain) for arm in others]
    compared = holm([one for one in compared if one.effect is not None])
    if not compared:
        return []
    parts = []
    for outcome in ("better", "worse", "no significant difference", "one seed"):
        own = [f"{one.arm} ({one.effect})" for one in compared if one.outcome == outcome]
        if own:
            parts.append(f"{outcome}: {', '.join(own)}")
    sentences = [
        f"Force error of the other arms at {_frames(size)}, as a ratio to {baseline}: {'; '.join(parts)}."
    ]
    against = [paired(runs, arm, favourite, "forces_mae", size, domain) for arm in others]
    against = holm([one for one in against if one.effect is not None])
    if against and len(results["seeds"]) > 1:
        ahead = [f"{one.arm} ({one.effect})" for one in against if one.outcome == "better"]
        sentences.append(f"Better than {favourite} there: {', '.join(ahead) if ahead else 'none of them'}.")
    return sentences


def _out_of_target(results: Results) -> list[str]:
    found = signs(results)
    if not found:
        return []
    head = f"Out of target, at {_frames(reference_size(results))}"
    parts = []
    for outcome, title in (("worse", "harms"), ("better", "gains")):
        own = [one for one in found if one.outcome == outcome]
        own = own if outcome == "worse" else own[::-1]
        parts.append(f"{title}: " + (", ".join(_with_effect(one) for one in own) or "none"))
    for outcome in ("no significant difference", "one seed", "cannot be compared"):
        own = [one for one in found if one.outcome == outcome]
        if own:
            parts.append(f"{outcome}: " + ", ".join(_with_effect(one) for one in own))
    return [f"{head}, {part}." for part in parts]


def _with_effect(one: Comparison) -> str:
    return f"{one.what} ({_numbers(one) if one.effect is None else one.shown})"


def _domains(results: Results) -> list[str]:
    """Return one sentence for every domain but the main one: the error in each group."""
    names = (results["favourite"], results["baseline"])
    groups = hold_out_groups(results)
    groups = groups if len(groups) > 1 else ["all"]
    compared: list[tuple[str, str, Comparison]] = []
    for domain in results["domains"]:
        if domain == main_domain(results):
            continue
        common = set.intersection(*(set(sizes_of(results["runs"], name, domain)) for name in names))
        if common:
            size = max(common)
            for group in groups:
                one = paired(results["runs"], *names, "forces_mae", size, domain, group)
                if one.effect is not None:
                    compared.append((domain, group, one))
    corrected = holm([one for _, _, one in compared])
    by_domain: dict[str, list[str]] = {}
    sizes = {}
    for (domain, group, _), one in zip(compared, corrected, strict=True):
        sizes[domain] = one.size
        by_domain.setdefault(domain, []).append(
            f"{group} {one.ours} against {one.theirs} meV/Å (ratio {one.effect}, {one.outcome})"
        )
    return [
        f"Trained on {domain} only ({_frames(sizes[domain])}), forces of {names[0]} against {names[1]}: "
        f"{'; '.join(parts)}."
        for domain, parts in by_domain.items()
    ]


def _dynamics(results: Results) -> list[str]:
    dynamics, sentences = results.get("dynamics") or {}, []
    for arm, by_seed in dynamics.items():
        parts = []
        for temperature in temperatures({arm: by_seed}):
            runs = [run for entry in entries(dynamics, arm, temperature).values() for run in entry["runs"]]
            parts.append(f"{sum(run['censored'] for run in runs)} of {len(runs)} at {temperature:g} K")
        if parts:
            times = sorted({report["protocol"]["time_ps"] for report in by_seed.values()})
            potentials = "1 potential" if len(by_seed) == 1 else f"{len(by_seed)} potentials (seeds)"
            length = _listed([f"{time:g}" for time in times])
            sentences.append(
                f"Molecular dynamics with {potentials} of {arm}, {length} ps a run, alive at the end: "
                f"{', '.join(parts)}."
            )
    return sentences


def _liquid(results: Results) -> list[str]:
    """Return how far the structure of the liquid is off, and what noise alone would make of it."""
    liquid, parts = results.get("liquid") or {}, []
    for arm in liquid:
        for kelvin in temperatures({arm: liquid[arm]}):
            own = entries(liquid, arm, kelvin)
            errors = [entry["radial"]["error"] for entry in own.values() if entry["radial"]]
            text = f"{geometric(errors)} in {len(errors)} of {len(own)}" if errors else f"none of {len(own)}"
            parts.append(f"{arm} {text}")
    if not parts:
        return []
    about = results["structure"]
    noise = "" if about["noise"] is None else f"; noise of these frames alone makes {about['noise']:.3f}"
    return [
        f"Liquid at {about['temperature_K']:g} K, radial distribution against {about['frames']} labelled "
        f"frames, mean deviation of g(r) in the potentials (seeds) that have one: {', '.join(parts)}{noise}."
    ]


def _properties(results: Results) -> list[str]:
    """Return which properties have no value: a mean over the others would hide it."""
    properties = results.get("properties")
    parts = []
    for arm in properties["arms"] if properties else ():
        assert properties is not None
        for quantity in properties["quantities"]:
            own = values(properties, arm, quantity["name"])
            missing = [seed for seed, value in own.items() if value is None]
            if missing:
                reason = properties["arms"][arm][str(missing[0])][quantity["name"]]["reason"].rstrip(".")
                parts.append(f"{quantity['name']} of {arm} in {len(missing)} of {len(own)} seeds ({reason})")
    return [f"Properties without a value: {'; '.join(parts)}."] if parts else []
