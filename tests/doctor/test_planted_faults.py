"""Each planted fault is found by the check meant for it, and the healthy pass all."""

from __future__ import annotations

from functools import partial

import numpy as np
import planted
import pytest
import torch
from ase import Atoms

from mlpot.errors import RecipeError
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.testing import physics
from mlpot.testing.derivatives import explain_stress
from mlpot.testing.evaluation import Evaluation, Tolerances
from mlpot.testing.structures import distorted_crystal
from mlpot.testing.subject import examine
from mlpot.testing.suite import check_subject, common_sense, laws


def outcome(fault, *names):
    """Return the results of some checks by name."""
    subject = examine(fault, ["Si"], reach=4.3)
    every = [name for name, _ in [*laws(subject, np.random.default_rng(0)), *common_sense(subject)]]
    assert set(names) <= set(every)
    results = check_subject(subject, skip=[name for name in every if name not in names])
    assert [result.name for result in results] == every
    return {result.name: result for result in results if result.name in names}


@pytest.mark.parametrize(
    ("fault", "name", "told"),
    [
        ("StressSign", "stress (cubic cell)", "of the opposite sign"),
        ("StressOrder", "stress (cubic cell)", "in the order xx yy zz xy yz xz"),
        ("StressUnit", "stress (cubic cell)", "in GPa"),
        ("ForcesTooLarge", "forces (cubic cell)", "forces 1.01 times too large"),
        ("ForcesTooLarge", "energy conservation", "20 fs of NVE"),
        ("NotConservative", "forces (cubic cell)", "the same at all steps: not the derivative"),
        ("NotConservative", "second derivatives", "Hessian"),
        ("NotConservative", "closed loop", "work around a loop"),
        ("EnergyJump", "smooth cutoff", "3.6000 Å"),
        ("ForceJump", "smooth cutoff", "3.6000 Å"),
        ("VolumeJump", "energy-volume curve", "energy at"),
        ("NearestImage", "small and skewed cells", "supercell"),
        ("LargeCells", "small and skewed cells", "RuntimeError: cell is smaller than twice the cutoff"),
        ("Mutating", "no mutation of the input", "changed: positions of the crystal"),
        ("Boxing", "no mutation of the input", "changed: positions, cell of the cluster"),
        ("Constraining", "no mutation of the input", "constraints of the crystal"),
        ("Stale", "results follow the atoms", "largest in"),
        ("StaleCell", "results follow the atoms", "cell strained around atoms at rest"),
        ("Coarse", "results follow the atoms", "one atom moved by 0.001 Å in place"),
        ("Noisy", "determinism", "after structure"),
        ("Noisy", "numerical noise", "meV"),
        ("Rough", "forces (small cell)", ""),
        ("Oriented", "rotation and inversion", "rotation"),
        ("Handed", "rotation and inversion", "rotation with inversion: largest in energy"),
        ("Field", "translation", "largest in energy"),
        ("Field", "wrapped equals unwrapped", "largest in energy"),
        ("FirstDiffers", "permutation", "largest in forces"),
        ("NotExtensive", "extensivity", "largest in energy"),
        ("NotExtensive", "locality", "largest in energy"),
        ("NotExtensive", "isolated atom", "apart, eV"),
        ("NotANumber", "extensivity", ""),
        ("Drifting", "net force and torque", "force on the crystal"),
        ("LongRanged", "locality", "4.3 Å apart: largest in energy"),
        ("Shared", "threads", "two threads"),
        ("Hole", "diatomic repulsion", "Si-Si drops inwards"),
        ("Hole", "diatomic force", "not the derivative"),
        ("TwoBonds", "diatomic minimum", "depth (eV) of the second minimum of Si-Si"),
        ("Periodic", "mixed boundary conditions", "ValueError: periodic crystals only"),
    ],
)
def test_fault_is_found(fault, name, told):
    result = outcome(getattr(planted, fault), name)[name]
    assert result.passed is False
    assert result.deviation > result.tolerance
    assert told in result.detail


@pytest.mark.parametrize(
    ("fault", "untouched"),
    [
        ("StressSign", ["forces (cubic cell)", "rotation and inversion", "extensivity"]),
        ("NotConservative", ["translation", "extensivity", "determinism", "no mutation of the input"]),
        ("Mutating", ["forces (small cell)", "stress (small cell)", "extensivity"]),
        ("Boxing", ["net force and torque", "locality"]),
        ("Stale", ["forces (small cell)", "stress (small cell)", "determinism", "translation"]),
        ("NotExtensive", ["forces (small cell)", "stress (small cell)", "permutation"]),
        ("Shared", ["forces (small cell)", "results follow the atoms", "determinism"]),
        ("Handed", ["translation", "permutation", "extensivity"]),
        ("Periodic", ["isolated atom", "locality", "net force and torque", "diatomic minimum"]),
    ],
)
def test_other_checks_are_not_touched(fault, untouched):
    results = outcome(getattr(planted, fault), *untouched)
    assert [result for result in results.values() if result.passed is not True] == []


def small_potential(dtype):
    """Return random weights, weak enough for the repulsion of nuclei to hold atoms apart."""
    potential = Potential(["Si"], NetworkConfig(channels=4, hidden=4, radial=4, l_max=2), seed=0).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    potential.energy_scales.fill_(0.1)
    potential.offsets.fill_(-5.4)
    return potential.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_small_potential_is_healthy(dtype):
    model = small_potential(dtype)
    subject = examine(partial(MLPotCalculator, model), ["Si"])
    assert subject.precision == str(dtype).removeprefix("torch.")
    results = check_subject(subject)
    assert [result for result in results if result.passed is False] == []
    assert {r.name for r in results if r.passed is None} == {"order of elements"}


def test_precision_of_a_foreign_calculator_is_measured():
    class Foreign(planted.Healthy):
        """Keeps its model to itself."""

        def __init__(self):
            super().__init__()
            self.right = MLPotCalculator(small_potential(torch.float32))

    assert examine(Foreign, ["Si"], reach=5.0).precision == "float32"
    assert examine(planted.Healthy, ["Si"], reach=5.0).precision == "float64"


def test_cutoff_is_measured():
    # Stillinger-Weber's is 1.8 sigma, which it approaches as exp(1 / (r - a)).
    assert examine(planted.Healthy, ["Si"]).cutoff == pytest.approx(1.8 * 2.0951, abs=0.15)
    assert examine(planted.Drifting, ["Si"]).cutoff is None
    assert examine(planted.Periodic, ["Si"]).cutoff == pytest.approx(1.8 * 2.0951, abs=0.15)


def test_one_calculator_is_not_tried_in_threads():
    result = outcome(planted.Shared(), "threads")["threads"]
    assert result.passed is None and "a function that makes" in result.detail


def test_no_stress():
    result = outcome(planted.NoStress, "stress (cubic cell)")["stress (cubic cell)"]
    assert result.passed is None and result.detail == "the calculator gives no stress"
    assert result.asdict()["verdict"] == "not applicable"


def test_order_of_elements():
    def first_counts(atoms: Atoms) -> Evaluation:
        return Evaluation(float(atoms.numbers[0]), np.zeros((len(atoms), 3)), None)

    def alike(atoms: Atoms) -> Evaluation:
        return Evaluation(float(atoms.numbers.sum()), np.ones((len(atoms), 3)), None)

    crystal = distorted_crystal(["Si", "Ge"], 2.4, np.random.default_rng(0))
    tolerances = Tolerances.of("float64")
    assert physics.check_order_of_elements(first_counts, crystal, tolerances).passed is False
    assert physics.check_order_of_elements(alike, crystal, tolerances).passed is True


def test_explanations_of_a_stress():
    rng = np.random.default_rng(0)
    right = rng.normal(size=(3, 3))
    right += right.T
    assert explain_stress(right, right, 100.0) == ""
    assert explain_stress(rng.normal(size=(3, 3)), right, 100.0) == ""
    assert "not divided by the volume" in explain_stress(100.0 * right, right, 100.0)
    assert "opposite sign and in kbar" in explain_stress(-1602.177 * right, right, 100.0)


def test_unknown_check_and_lengths():
    subject = examine(planted.Healthy, ["Si"], reach=4.3)
    with pytest.raises(RecipeError, match="no check is named 'streß'; there are: forces"):
        check_subject(subject, skip=["streß"])
    with pytest.raises(RecipeError, match=r"reach is -1.0 Å"):
        examine(planted.Healthy, ["Si"], reach=-1.0)
