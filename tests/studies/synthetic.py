"""Results of a study that was never run: power laws with noise, seeded."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Force error at one frame (meV/Å), its exponent, and factors on energy and stress.
LAWS = {
    "scratch": (280.0, 0.42, 1.0, 1.0),
    "plain": (260.0, 0.02, 8.0, 3.0),
    "reduced": (88.0, 0.03, 1.4, 1.0),
    "transfer": (80.0, 0.18, 1.5, 0.8),
    "frozen": (85.0, 0.12, 1.5, 0.9),
    "adapters": (82.0, 0.16, 1.5, 0.9),
    "scratch-long": (260.0, 0.41, 1.0, 1.0),
}
GROUPS = {"300K": 0.5, "900K": 0.9, "liquid": 1.6}
SIZES = [1, 2, 5, 10, 25, 50, 100, 170]


def summary(forces: float, energy: float, stress: float) -> dict[str, Any]:
    rmse = {"forces_rmse": 1.5 * forces, "energy_rmse": 1.3 * energy, "stress_rmse": 1.4 * stress}
    errors = {"forces_mae": forces, "energy_mae": energy, "stress_mae": stress}
    return {"frames": 20, "atoms": 1280} | errors | rmse


def one_run(arm: str, size: int, seed: int, domain: str, rng: np.random.Generator) -> dict[str, Any]:
    start, exponent, energy, stress = LAWS[arm]
    forces = float(start * size**-exponent * np.exp(0.08 * rng.normal()))
    holdout = {"all": summary(forces, energy * forces / 12.0, stress * forces / 150.0)}
    for group, factor in GROUPS.items():
        far = 1.0
        if domain == "cold" and group != "300K":
            far = 1.3 if arm == "transfer" else 2.5
        if arm == "transfer" and group == "liquid":
            far *= 2.2  # the harm that must be seen
        own = float(forces * factor * far * np.exp(0.05 * rng.normal()))
        holdout[group] = summary(own, energy * own / 12.0, stress * own / 150.0)
    trained = arm not in ("plain", "reduced")
    seconds = (200.0 if arm != "scratch-long" else 900.0) * trained + 1.0
    return {
        "arm": arm,
        "domain": domain,
        "size": size,
        "seed": seed,
        "frames": [],
        "steps": 1000 * trained,
        "seconds": seconds,
        "cpu_seconds": 1.9 * seconds,
        "joules": 20.0 * seconds,
        "rate_factor": 1.0 if trained else None,
        "holdout": holdout,
    }


def stability(life: float, error: float, rng: np.random.Generator) -> dict[str, Any]:
    r = np.linspace(0.05, 7.95, 80)
    temperatures = []
    for kelvin in (300.0, 900.0, 1200.0):
        true = sum(np.exp(-((r - c) ** 2) / (0.01 + kelvin / 1e4)) * 3 / c for c in (2.45, 4.0, 4.7, 6.2))
        runs = []
        for own in range(2):
            time = float(rng.exponential(life * 300.0 / kelvin))
            alive = time > 10.0
            runs.append(
                {
                    "temperature": kelvin,
                    "seed": own,
                    "survived_ps": 10.0 if alive else time,
                    "censored": alive,
                    "reason": None if alive else "atoms closer than 1.2 Å",
                    "mean_temperature": kelvin,
                }
            )
        radial = None
        if any(run["survived_ps"] > 2.0 for run in runs):
            model = true + error * np.exp(rng.normal() / 5) * np.sin(4 * r) * (r > 2)
            radial = {"r": r.tolist(), "model": model.tolist(), "reference": true.tolist()}
            radial |= {"error": float(abs(model - true).mean()), "reference_failures": []}
        alive_now = sum(run["censored"] for run in runs) / 2
        temperatures.append(
            {
                "temperature_K": kelvin,
                "survival": alive_now,
                "survival_95": [0.0, 1.0],
                "runs": runs,
                "radial": radial,
                "radial_missing": None if radial else "no run of the model outlived the equilibration",
            }
        )
    return {"formula": "Ge64", "protocol": {"time_ps": 10.0}, "temperatures": temperatures}


def synthetic_results(
    arms: list[str] | None = None, sizes: list[int] | None = None, seeds: int = 5, dynamics: bool = True
) -> dict[str, Any]:
    """Return results of seven arms, eight sizes, five seeds, three domains, with dynamics."""
    rng = np.random.default_rng(7)
    arms, sizes = arms or list(LAWS), sizes or SIZES
    runs = [one_run(arm, size, seed, "all", rng) for arm in arms for size in sizes for seed in range(seeds)]
    for domain in ("cold", "hot"):
        runs += [
            one_run(a, 10, seed, domain, rng)
            for a in ("scratch", "transfer")
            if a in arms
            for seed in range(seeds)
        ]
    steps = {"steps": 4000, "seconds": 180.0, "cpu_seconds": 350.0, "joules": None, "frames": 193}
    errors = {"validation": {"all": summary(57.0, 1.8, 0.37)}, "test": {"all": summary(50.0, 2.0, 0.39)}}
    results = {
        "title": "Silicon <to> germanium, synthetic",
        "element": "Ge",
        "arms": arms,
        "baseline": "scratch",
        "favourite": "transfer",
        "sizes": sizes,
        "seeds": list(range(seeds)),
        "domains": ["all", "cold", "hot"],
        "donor_of": {arm: None if arm.startswith("scratch") else "si" for arm in arms},
        "chains": {"si": ["si"]},
        "failed": [],
        "donors": [{"donor": "si", "seed": seed} | steps | errors for seed in range(seeds)],
        "runs": runs,
        "recipe": "title: synthetic\nbudget:\n  steps: 1000\n",
    }
    if dynamics:
        lives = {"scratch": (1.5, 0.3), "transfer": (400.0, 0.05)}
        results["dynamics"] = {
            arm: {str(seed): stability(*lives[arm], rng) for seed in range(seeds)} for arm in lives
        }
    return results
