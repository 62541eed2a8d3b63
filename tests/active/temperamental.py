"""A calculator that labels by Stillinger-Weber germanium, or fails as its folder says."""

from __future__ import annotations

from pathlib import Path

from ase.calculators.calculator import Calculator, all_changes

from mlpot.reference.classical import classical_calculator


class Temperamental(Calculator):
    """``FOLDER/mood``: ``all`` calls or the ``first`` fail; each leaves a line in ``FOLDER/calls``."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)
        self.truth = classical_calculator("sw-ge")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        calls = self.folder / "calls"
        count = len(calls.read_text().splitlines()) if calls.exists() else 0
        with calls.open("a") as file:
            file.write(f"{atoms.positions[0, 0]!r}\n")
        mood = self.folder / "mood"
        if mood.exists() and (mood.read_text() == "all" or count == 0):
            raise ValueError("it went wrong")
        names = self.implemented_properties
        self.results = {name: self.truth.get_property(name, atoms) for name in names}
