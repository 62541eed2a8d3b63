from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list

from mlpot.errors import ElementError, RecipeError
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.model.repulsion import ZBL
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.testing import behaviour, smoothness
from mlpot.testing.evaluation import CheckResult, Evaluation, Tolerances, evaluator
from mlpot.testing.structures import distorted_crystal, skewed
from mlpot.testing.suite import run_checks

SMALL = NetworkConfig(channels=8, hidden=8)
DOUBLE = Tolerances.of("float64")


def small_potential(elements: Sequence[str], lengths: Sequence[float] | None = None) -> Potential:
    potential = Potential(elements, SMALL, seed=0).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    potential.offsets.copy_(torch.linspace(-5.4, -4.5, len(elements)))
    if lengths is not None:
        potential.length_scales.copy_(torch.tensor(lengths))
        potential.energy_scales.fill_(0.9)
    return potential


def smooth_lennard_jones() -> LennardJones:
    return LennardJones(sigma=2.0, epsilon=0.1, smooth=True)


def assert_all_pass(results: list[CheckResult]) -> None:
    assert [f"{r.name}: {r.deviation:.1e}, {r.detail}" for r in results if r.passed is False] == []


def failures(results: list[CheckResult]) -> set[str]:
    return {result.name.split(" (")[0] for result in results if result.passed is False}


@pytest.mark.parametrize(
    ("elements", "lengths"),
    [(["Si"], None), (["Ge"], [0.94]), (["Si", "Ge"], [1.0, 0.94])],
)
def test_potential_passes(elements: list[str], lengths: list[float] | None) -> None:
    results = run_checks(small_potential(elements, lengths), elements)
    assert_all_pass(results)
    # With a wide margin: 1e-6 is the requirement, not what fourth-order differences reach.
    by_name = {result.name: result for result in results}
    for cell in ("cubic", "small", "skewed"):
        assert by_name[f"forces ({cell} cell)"].deviation < 2e-7
        assert by_name[f"stress ({cell} cell)"].deviation < 2e-7


def test_single_precision_passes() -> None:
    assert_all_pass(run_checks(small_potential(["Si"]).float(), ["Si"]))


def test_zbl_passes() -> None:
    # Compressed to where the repulsion acts.
    assert_all_pass(run_checks(ZBL([14, 32]).double(), ["Si", "Ge"], spacing=1.4))


def test_calculator_with_a_skin_passes() -> None:
    assert_all_pass(run_checks(MLPotCalculator(small_potential(["Si"]), skin=0.5), ["Si"]))


def test_foreign_calculator_passes() -> None:
    assert_all_pass(run_checks(smooth_lennard_jones(), ["Ar"], reach=8.0))


def test_truncated_lennard_jones_has_a_jump_at_its_cutoff() -> None:
    results = run_checks(LennardJones(sigma=2.0, epsilon=0.1), ["Ar"], reach=8.0)
    (smooth,) = [result for result in results if result.name == "smooth cutoff"]
    assert smooth.passed is False
    # ASE's default cutoff is three sigma; the energy is shifted, so that only the force jumps.
    assert "force of Ar-Ar" in smooth.detail and "6.0000 Å" in smooth.detail
    assert failures(results) == {"smooth cutoff", "energy-volume curve"}


def test_effective_medium_theory() -> None:
    # ASE ends the Fermi function of EMT's cutoff where it is still 1e-4.
    results = run_checks(EMT(), ["Cu", "Au"])
    assert failures(results) == {"smooth cutoff"}


def test_batch_that_mixes_structures_fails() -> None:
    class Leaky(Potential):
        """Adds the mean over the whole batch."""

        def local_energies(self, environments):
            energies = super().local_energies(environments)
            return energies + 1e-3 * len(energies)

    model = Leaky(["Si"], SMALL, seed=0).double()
    rng = np.random.default_rng(0)
    structures = [distorted_crystal(["Si"], 2.3, rng), distorted_crystal(["Si"], 2.3, rng, primitive=True)]
    assert not behaviour.check_batch_equals_singles(model, structures, DOUBLE).passed
    assert behaviour.check_batch_equals_singles(Potential(["Si"], SMALL).double(), structures, DOUBLE).passed


def test_lennard_jones_derivatives_against_formulas() -> None:
    # What the checks take for granted, checked: a dimer whose energy and force are known.
    evaluate = evaluator(LennardJones(sigma=2.0, epsilon=0.1, rc=20.0))
    for r in (2.1, 2.6, 3.4):
        found = evaluate(Atoms("Ar2", positions=[[0, 0, 0], [0, 0, r]]))
        shift = 4 * 0.1 * ((2 / 20) ** 12 - (2 / 20) ** 6)
        assert found.energy == pytest.approx(4 * 0.1 * ((2 / r) ** 12 - (2 / r) ** 6) - shift)
        assert found.forces[1, 2] == pytest.approx(24 * 0.1 / r * (2 * (2 / r) ** 12 - (2 / r) ** 6))
        assert found.stress is None


def test_smooth_cutoff_finds_a_small_jump() -> None:
    def stepped(atoms: Atoms) -> Evaluation:
        r = atoms.get_distance(0, 1)
        inside = r < 4.321
        energy = (1e-4 if inside else 0.0) + max(5.0 - r, 0.0) ** 4
        force = 4.0 * max(5.0 - r, 0.0) ** 3
        return Evaluation(energy, np.array([[0, 0, -force], [0, 0, force]]), None)

    result = smoothness.check_smooth_cutoff(stepped, ["Ar"], DOUBLE, 3.0, 6.0)
    assert not result.passed
    assert "energy of Ar-Ar at 4.3210" in result.detail


def test_structures_have_no_overlap_and_no_symmetry() -> None:
    rng = np.random.default_rng(0)
    for primitive in (False, True):
        atoms = distorted_crystal(["Si", "Ge"], 2.4, rng, primitive)
        assert set(atoms.symbols) == {"Si", "Ge"}
        assert neighbor_list("d", atoms, 4.0).min() > 1.9
        other = skewed(atoms)
        assert other.get_volume() == pytest.approx(atoms.get_volume())
        np.testing.assert_allclose(
            np.sort(neighbor_list("d", other, 4.0)), np.sort(neighbor_list("d", atoms, 4.0)), atol=1e-10
        )
        assert np.abs(other.cell.angles() - 90).max() > 20


def test_unknown_element_and_no_element() -> None:
    with pytest.raises(ElementError, match="element C is unknown"):
        run_checks(small_potential(["Si"]), ["C"])
    with pytest.raises(RecipeError, match="at least one chemical symbol"):
        run_checks(small_potential(["Si"]), [])
