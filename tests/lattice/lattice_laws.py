"""Results of lattice studies after known laws, so that what must be said about them is known."""

from __future__ import annotations

import math
from typing import Any

from mlpot.lattice.published import CRITICAL_TEMPERATURE

#: Of the score at T0 = 4 with 10,000 samples, J; it falls with the square root of their number.
LAWS = {"two_stage": 1.6, "joint": 0.9, "direct": 0.7, "pseudo_likelihood": 0.5, "screening": 0.6}
COUNTS = (10_000, 100_000)
TEMPERATURES = (4.0, 8.0)
#: Of the curves; the critical temperature is among them.
CURVE = (0.5, 1.5, 2.0, 2.2, CRITICAL_TEMPERATURE, 2.35, 2.6, 3.2, 4.9)
#: By how much the learned |M|, F and E are above the truth, per site.
OFF = {"magnetisation": 0.01, "free_energy": 0.002, "entropy": 0.02, "energy": 0.002}


def true_point(length: int, t: float) -> dict[str, float]:
    """Return laws that look like an Ising model; cumulants cross at the exact critical temperature."""
    binder = 2 / 3 / (1 + math.exp(0.6 * length * (t - CRITICAL_TEMPERATURE)))
    return {
        "energy": -2 * math.tanh(2 / t),
        "capacity": 1 / (1 + (t - 2.27) ** 2),
        "magnetisation": 1 / (1 + math.exp(2 * (t - 2.3))),
        "susceptibility": length / (1 + (t - 2.4) ** 2),
        "binder": binder,
        "free_energy": -2 - t / 10,
        "entropy": 0.1 * t,
    }


def _points(length: int, off: dict[str, float], error: float, leave: tuple[str, ...] = ()) -> list[dict]:
    return [
        {"temperature": t}
        | {
            name: None if name in leave else [value + off.get(name, 0.0), error]
            for name, value in true_point(length, t).items()
        }
        for t in CURVE
    ]


def lattice_results(
    laws: dict[str, float] | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    model: dict[str, Any] | None = None,
    lengths: tuple[int, ...] = (8, 16, 24, 128),
) -> dict[str, Any]:
    """Return ``results.json`` of a study; ``laws``: scores of arms as in :data:`LAWS`."""
    laws = LAWS if laws is None else laws
    learned, extrapolation = [], []
    for place, (arm, law) in enumerate(laws.items()):
        for t0 in TEMPERATURES:
            for count in COUNTS:
                for seed in seeds:
                    # Seeds differ, arms with them, and the ratio of arms a little.
                    score = law * math.sqrt(1e4 / count) * 1.05**seed * 1.01 ** ((seed * (place + 1)) % 3)
                    told = {"nll": 42.0, "exact_entropy": 41.5, "kl": 0.5, "rmse": 2.0}
                    learned.append(
                        {
                            "arm": arm, "temperature": t0, "count": count, "seed": seed,
                            "seconds": 60.0 * law, "cpu_seconds": 50.0 * law, "parameters": 1000 + place,
                            "scores": {"8x8": score, "16x16": 4 * score},
                            "recovery": {"correlation": 0.999, "rmse": 0.01},
                            "sequence": told if arm in ("two_stage", "joint") else None,
                            "deviation": 0.3 if arm == "two_stage" else None,
                        }
                    )  # fmt: skip
        if arm in ("joint", "direct"):
            for seed in seeds:
                for length in lengths:
                    extrapolation.append(
                        {
                            "arm": arm, "temperature": 4.0, "count": COUNTS[-1], "seed": seed,
                            "shape": [length, length], "points": _points(length, OFF, 0.002),
                            "anchor": {"from": "samples", "temperature": 1000.0, "reason": "far away"},
                            "missing": ["T = 0.1: frozen"] if length > 100 else [],
                        }
                    )  # fmt: skip
    unknown = ("magnetisation", "susceptibility", "binder")
    truth = [
        {"shape": [length, length], "kind": kind, "points": _points(length, {}, error, leave)}
        for length in lengths
        for kind, error, leave in (("monte carlo", 0.001, ()), ("kaufman", 0.0, unknown))
    ]
    return {
        "title": "Ising <8x8>",
        "model": model or {"name": "ising", "parameters": {"J": 1.0, "field": 0.0}},
        "shape": [8, 8],
        "sites": 64,
        "arms": list(laws),
        "temperatures": list(TEMPERATURES),
        "counts": list(COUNTS),
        "seeds": list(seeds),
        "learned": learned,
        "extrapolation": extrapolation,
        "truth": truth,
        "autocorrelation": [
            {
                "temperature": 4.0,
                "seed": 0,
                "samples": 100_000,
                "chains": 64,
                "method": "swendsen_wang",
                "stream": None,
                "burn_in": 20,
                "spacing": 3,
                "steps": {"energy": {"tau": 0.71}},
                "in_samples": {"energy": {"tau": 0.5}},
                "drift_p": 0.4,
            }
        ],
        "failed": [{"task": "joint seed 7", "reason": "training diverged."}],
        "seconds": 1234.5,
        "recipe": "title: Ising <8x8>\n",
    }
