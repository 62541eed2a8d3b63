"""The tables of docs/dft.md from committed results.

python benchmarks/dft_numbers.py --collect   # takes runs/convergence_{si,ge} into benchmarks/results
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONVERGENCE = ROOT / "benchmarks" / "results" / "dft_convergence.json"
NOISE = ROOT / "benchmarks" / "results" / "label_noise.json"
ELEMENTS = ("si", "ge")
UNITS = {"cutoff": "cutoff, eV", "k_spacing": "k-spacing, 1/Å", "smearing_width": "smearing width, eV"}


def collect(runs: Path = ROOT / "runs") -> None:
    """Keep the results of ``mlpot converge recipes/dft/convergence_{si,ge}.yaml``."""
    documents = {
        element: json.loads(
            (runs / f"convergence_{element}" / "convergence.json").read_text(encoding="utf-8")
        )
        for element in ELEMENTS
    }
    CONVERGENCE.write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")


def convergence() -> list[str]:
    """Return the tables of convergence, and the isolated atoms."""
    if not CONVERGENCE.exists():
        return ["Convergence: not run to its end yet."]
    documents = json.loads(CONVERGENCE.read_text(encoding="utf-8"))
    lines = []
    for element, document in documents.items():
        tolerance = document["tolerances"]
        lines += [
            f"`mlpot converge recipes/dft/convergence_{element}.yaml --out runs/convergence_{element}`; "
            f"tolerances {tolerance['forces']:g} meV/Å (root mean square), {tolerance['energy']:g} meV/atom, "
            f"{tolerance['stress']:g} GPa:",
            "",
            "| setting | value | forces, rms (meV/Å) | largest | energy difference (meV/atom) "
            "| stress (GPa) | within |",
            "|---|---|---|---|---|---|---|",
        ]
        for step in document["steps"]:
            lines.append(
                f"| {UNITS[step['setting']]} | {step['value']:g} | {step['forces_rms']:.1f} | "
                f"{step['forces_max']:.1f} | {step['energy']:.2f} | {step['stress']:.3f} | "
                f"{'yes' if step['converged'] else 'no'} |"
            )
        for symbol, energy in document["isolated_atoms"].items():
            lines += ["", f"Isolated {symbol}, spin-polarised: {energy:.4f} eV."]
        lines.append("")
    return lines


def noise() -> list[str]:
    """Return the table of label differences."""
    if not NOISE.exists():
        return ["Comparison with VASP: not run to its end yet."]
    rows = json.loads(NOISE.read_text(encoding="utf-8"))["differences"]
    lines = [
        "`python benchmarks/label_noise.py`, ours minus VASP's:",
        "",
        "| structures | frames | forces, rms (eV/Å) | force RMSE (meV/Å) "
        "| mean energy difference (meV/atom) | RMSE about it | stress RMSE (GPa) | mean of trace / 3 |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def cell(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['frames']} | {row['forces_rms_eV_per_A']:.3f} | "
            f"{row['forces_rmse_meV_per_A']:.1f} | {row['energy_zero_meV_per_atom']:.1f} | "
            f"{cell(row['energy_rmse_meV_per_atom'], 2)} | "
            f"{cell(row['stress_rmse_GPa'], 2)} | {cell(row['stress_mean_GPa'], 2)} |"
        )
    return lines


def page() -> str:
    """Return the section of docs/dft.md."""
    return "\n".join([*convergence(), "", *noise()])


if __name__ == "__main__":
    if "--collect" in sys.argv:
        collect()
    print(page())
