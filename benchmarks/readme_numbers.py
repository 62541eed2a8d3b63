"""Write the tables of README.md and docs/ from committed results; none is typed by hand.

python benchmarks/readme_numbers.py            # rewrites the sections between the marks
python benchmarks/readme_numbers.py --collect  # first takes the results and pictures of studies from runs/
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

# Tests load this file by its path.
sys.path.insert(0, str(Path(__file__).resolve().parent))
import accuracy_numbers
import calculator_numbers
import dft_numbers
import doctor_numbers
import lattice_numbers
import replica_numbers
import score_matching
import shipped_numbers
import speed_numbers
import study_numbers
from streaming import numbers

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
START, END = "<!-- numbers -->", "<!-- end of numbers -->"


def tables() -> str:
    """Return the section of README.md as Markdown."""
    return "\n".join([*study_numbers.summary(), *accuracy_numbers.summary(), "", *speed_numbers.summary()])


def choices() -> str:
    """Return the measurements behind the defaults as Markdown."""
    lines = []
    for name, command in (("architecture", "architecture"), ("fine_tuning", "fine-tuning")):
        rows = json.loads((RESULTS / f"choices_{name}.json").read_text(encoding="utf-8"))
        lines += [
            f"`python benchmarks/choices.py {command}`:",
            "",
            "| choice | force MAE (meV/Å) | force RMSE | energy MAE (meV/atom) |\n|---|---|---|---|",
        ]
        grouped: dict[str, list[dict]] = {}
        for row in rows:
            grouped.setdefault(row["choice"].split(", seed ")[0], []).append(row)
        for choice, members in grouped.items():
            cells = [
                f"{statistics.mean(member[key] for member in members):.{digits}f}"
                for key, digits in (("forces_mae", 1), ("forces_rmse", 1), ("energy_mae", 2))
            ]
            lines.append(f"| {choice} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip()


def sections() -> dict[Path, str]:
    """Return the sections, with their marks, as they stand in the documents."""
    return {
        ROOT / "README.md": f"{START}\n{tables()}\n{END}",
        ROOT / "docs" / "decisions.md": f"{START}\n{choices()}\n{END}",
        ROOT / "docs" / "accuracy.md": f"{START}\n{accuracy_numbers.page()}\n{END}",
        ROOT / "docs" / "speed.md": f"{START}\n{speed_numbers.page()}\n{END}",
        ROOT / "docs" / "calculators.md": f"{START}\n{calculator_numbers.page()}\n{END}",
        ROOT / "docs" / "dft.md": f"{START}\n{dft_numbers.page()}\n{END}",
        ROOT / "docs" / "doctor.md": f"{START}\n{doctor_numbers.page()}\n{END}",
        ROOT / "docs" / "lattice.md": f"{START}\n{lattice_numbers.page()}\n{END}",
        ROOT / "docs" / "score.md": f"{START}\n{score_matching.page()}\n{END}",
        ROOT / "docs" / "studies.md": f"{START}\n{study_numbers.page()}\n{END}",
        ROOT / "docs" / "batched.md": f"{START}\n{replica_numbers.page()}\n{END}",
        ROOT / "docs" / "models.md": f"{START}\n{shipped_numbers.page()}\n{END}",
        ROOT / "docs" / "scaling.md": f"{START}\n{numbers()}\n{END}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrite numbers in documents from committed results.")
    parser.add_argument("--collect", action="store_true", help="take the results of studies from runs/ first")
    if parser.parse_args().collect:
        study_numbers.collect()
        lattice_numbers.collect()
    for path, section in sections().items():
        text = path.read_text(encoding="utf-8")
        path.write_text(text.split(START)[0] + section + text.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
