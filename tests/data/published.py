"""Frames in the layout in which mlearn publishes them."""

from __future__ import annotations

import numpy as np


def as_mlearn(frame) -> dict:
    """Return a frame in the layout of mlearn."""
    kbar = -1602.1766208 * frame.stress if frame.stress is not None else np.zeros((3, 3))
    return {
        "structure": {
            "lattice": {"matrix": frame.cell.tolist()},
            "sites": [
                {"species": [{"element": next(iter(frame.symbols)), "occu": 1}], "xyz": xyz}
                for xyz in frame.positions.tolist()
            ],
        },
        "group": frame.info["group"],
        "description": frame.info["description"],
        "outputs": {
            "energy": frame.energy,
            "forces": frame.forces.tolist(),
            "virial_stress": kbar[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]].tolist(),
        },
    }


def mlearn_records(count: int, element: str = "Si") -> list[dict]:
    rng = np.random.default_rng(1)
    texts = ("Snapshot 7 of 32 of Vacancy AIMD NVT simulation at 300 K", "cell, mode 2, strain -0.06")
    return [
        {
            "structure": {
                "lattice": {"matrix": np.diag([4.0, 4.0, 4.0]).tolist()},
                "sites": [
                    {"species": [{"element": element, "occu": 1}], "xyz": rng.uniform(0, 4, 3).tolist()}
                ],
            },
            "group": ("Vacancy", "Elastic")[i % 2],
            "description": texts[i % 2],
            "outputs": {"energy": -4.0 - i, "forces": [[0.1, 0.2, 0.3]], "virial_stress": [1, 2, 3, 4, 5, 6]},
        }
        for i in range(count)
    ]
