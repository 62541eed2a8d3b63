"""From a calculator to a melting temperature: stages in a folder, each kept, so that a killed run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.data import chemical_symbols

from mlpot.atomic import read_json, write_json
from mlpot.errors import ElementError, RecipeError
from mlpot.melting.coexistence import State, follow
from mlpot.melting.estimate import LEAST, MOST, Estimate, Series, Side, coexisted, estimate
from mlpot.melting.order import Solidity
from mlpot.melting.settings import MeltingError, MeltingSettings
from mlpot.melting.stages import Phases, Preparation
from mlpot.reference.lattice import lattice_constant
from mlpot.sampling.prototypes import diamond

#: Called with the fraction done (0 to 1) and what is going on.
Progress = Callable[[float, str], None]

#: The first guess, as a share of what the crystal, heated within picoseconds, can bear.
_GUESS = 0.65
#: How a guess is changed from which one phase vanished, and how often.
_CHANGE, _PILOTS = 0.85, 4


def melting(
    calculator: BaseCalculator,
    element: str,
    folder: str | Path,
    settings: MeltingSettings | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[Estimate, dict[str, Any], list[State]]:
    """Return the melting temperature of diamond-structured crystals under a calculator.

    Parameters
    ----------
    calculator
        Any ASE calculator with energies, forces and stresses.
    element
        Chemical symbol.
    folder
        Gets the states of the stages; with those of a run that was killed, it goes on from there.
        One that has ended is lengthened by a larger ``time_ps``, and joined by others with more
        ``seeds``.
    settings
        How.
    about
        What the calculator is, as plain JSON: a folder that was begun with another is refused.
    progress
        Called as the runs advance.

    Returns
    -------
    estimate
        The melting temperature, its error and its bracket.
    preparation
        Plain JSON: what the crystal can be heated to, guesses, lattice constant, order.
    states
        The runs, in the order of ``estimate.runs``.

    Raises
    ------
    ElementError
        If the element is none, or unknown to the calculator.
    RecipeError
        If the folder is of another run; if the calculator has no stress.
    MeltingError
        If the crystal does not melt, phases do not coexist, or the potential does not survive.
    """
    settings = settings or MeltingSettings()
    folder = Path(folder)
    fixed = settings.model_dump(mode="json", exclude=_LENGTHS)
    _claim(folder, {"element": element, "settings": fixed, "about": about})
    if element not in chemical_symbols[1:]:
        raise ElementError(f"{element!r} is no chemical element; write its symbol, such as Si.")
    _require_stress(calculator, element)
    stages = _Stages(calculator, element, folder, settings, progress or (lambda fraction, text: None))
    phases = stages.pilots()
    states = [stages.run(side, number, phases) for number in range(settings.seeds) for side in _SIDES]
    series = [
        Series(side, state.start, np.array(state.temperature), np.array(state.fraction), _drift(state))
        for state, side in zip(states, settings.seeds * _SIDES, strict=True)
    ]
    found = estimate(series, settings.settle)
    prepared = {
        "limit_K": stages.limit,
        "guesses_K": stages.guesses,
        "lattice_constant": phases.a,
        "solidity": phases.solidity.to_dict(),
        "atoms": len(states[0].atoms),
    }
    return found, prepared, states


_SIDES: tuple[Side, ...] = ("cold", "hot")
#: Settings that may change from call to call in the same folder: runs are lengthened, others added.
_LENGTHS = {"seeds", "time_ps", "settle"}


class _Stages:
    """The stages of one melting temperature: done now, or taken from the folder."""

    def __init__(
        self,
        calculator: BaseCalculator,
        element: str,
        folder: Path,
        settings: MeltingSettings,
        progress: Progress,
    ) -> None:
        self._calculator, self._folder, self._settings = calculator, folder, settings
        self._progress = progress
        self._whole = settings.pilot_ps + 2 * settings.seeds * settings.time_ps
        self._done = 0.0
        start = self._kept("lattice", lambda rng: lattice_constant(element, calculator))
        self._preparation = Preparation(element, calculator, settings, start)
        self.limit: float = self._kept("limit", self._preparation.limit)
        self.guesses: list[float] = []

    def pilots(self) -> Phases:
        """Return the phases alone; find a guess from which both are still there after a while."""
        settings = self._settings
        guess = settings.guess or _GUESS * self.limit
        for number in range(_PILOTS):
            self.guesses.append(guess)
            phases = self._phases(guess)
            state = self._follow(f"pilot-{number}", guess, phases, settings.pilot_ps)
            fraction = np.array(state.fraction)
            late = state.temperature[len(state.temperature) // 2 :]
            if coexisted(fraction):
                # The sides of the cell stay those of the crystal at the guess before: the strain of a
                # few hundred kelvins shifts the melting temperature by less than one.
                self.guesses.append(float(np.mean(late)))
                self._done = settings.pilot_ps
                return phases
            guess *= _CHANGE if fraction[-1] < 0.5 else 1 / _CHANGE
            self._done = 0.0
        raise MeltingError(
            f"crystal and liquid did not stay together at guesses of "
            f"{', '.join(f'{one:.0f}' for one in self.guesses)} K (the share of crystal left {LEAST:g} to "
            f"{MOST:g}); give a guess, or a longer cell (supercell)."
        )

    def run(self, side: Side, number: int, phases: Phases) -> State:
        """Return a run from one side of the guess, brought to its end."""
        settings = self._settings
        sign = -1 if side == "cold" else 1
        start = self.guesses[-1] * (1 + sign * settings.offset)
        state = self._follow(f"{side}-{number}", start, phases, settings.time_ps)
        self._done += settings.time_ps
        return state

    def _phases(self, temperature: float) -> Phases:
        kept = self._kept(
            f"phases-{len(self.guesses)}",
            lambda rng: asdict(self._preparation.phases(temperature, self.limit, rng)),
        )
        return Phases(kept["temperature"], kept["a"], Solidity(**kept["solidity"]))

    def _follow(self, name: str, start: float, phases: Phases, time_ps: float) -> State:
        path = self._folder / f"{name}.npz"
        if path.exists():
            state = State.read(path)
        else:
            self._say(f"{name}: melting half of the crystal")
            atoms = self._preparation.coexistence(start, phases, self.limit, self._rng(name))
            state = State(atoms.copy(), start)
            state.write(path)

        def kept(state: State) -> None:
            state.write(path)
            settings = self._settings
            ps = len(state.temperature) * settings.stride * settings.timestep_fs / 1000.0
            recent = np.mean(state.temperature[-settings.records(settings.segment_ps) :])
            self._say(f"{name}: {ps:.0f} ps  {recent:.0f} K  crystal {state.fraction[-1]:.0%}", ps)

        return follow(state, self._calculator, phases.solidity, self._settings, time_ps, kept)

    def _kept(self, name: str, compute: Callable[[np.random.Generator], Any]) -> Any:
        """Return the outcome of a stage, from its file if there is one."""
        path = self._folder / f"{name}.json"
        known = read_json(path)
        if known is None:
            self._say(name)
            known = json.loads(json.dumps(compute(self._rng(name))))
            write_json(path, known)
        return known

    def _rng(self, name: str) -> np.random.Generator:
        """Return the random numbers of a stage: the same, whatever was done before it."""
        return np.random.default_rng([self._settings.seed, *name.encode()])

    def _say(self, text: str, ps: float = 0.0) -> None:
        self._progress(min((self._done + ps) / self._whole, 1.0), text)


def _claim(folder: Path, what: dict[str, Any]) -> None:
    """Note in the folder what is computed there; refuse one of something else."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "about.json"
    what = json.loads(json.dumps(what))
    known = read_json(path)
    if known is None:
        write_json(path, what)
    elif known != what:
        raise RecipeError(
            f"{folder}: holds a run of another potential, element or settings; choose another --out or "
            "remove it."
        )


def _require_stress(calculator: BaseCalculator, element: str) -> None:
    crystal = diamond(element, 5.5)
    crystal.calc = calculator
    try:
        crystal.get_stress()
    except (PropertyNotImplementedError, NotImplementedError):
        raise RecipeError(
            f"{type(calculator).__name__} has no stress; constant pressure cannot do without."
        ) from None


def _drift(state: State) -> float:
    return 1000.0 * (state.enthalpy[1] - state.enthalpy[0]) / len(state.atoms)
