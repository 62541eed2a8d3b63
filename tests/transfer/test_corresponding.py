r"""Corresponding states: scalars are found where the answer is known.

The labels of "germanium" follow from a random potential of silicon by the relation itself,
evaluated on scaled geometries: :math:`E_B(r) = e E_A(s r)`, :math:`F_B = e s F_A(s r)`,
:math:`\sigma_B = e s^3 \sigma_A(s r)`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from mlpot.data.frame import Frame
from mlpot.errors import DataError
from mlpot.model.repulsion import ZBL
from mlpot.training.scales import Scales
from mlpot.transfer.carry import carry
from mlpot.transfer.corresponding import fit_scales, set_scales
from mlpot.transfer.donor import donate


def corresponding_frames(donor, s, e, count=4, a=5.43, rattle=0.15):
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(count):
        atoms = bulk("Si", "diamond", a=a, cubic=True)
        atoms.positions += rng.normal(scale=rattle, size=(8, 3))
        (known,) = donor.predict(atoms)
        atoms.set_cell(atoms.cell.array / s, scale_atoms=True)
        atoms.symbols[:] = "Ge"
        frames.append(
            replace(
                Frame.from_atoms(atoms),
                energy=e * known.energy,
                forces=e * s * known.forces,
                stress=e * s**3 * known.stress,
            )
        )
    return frames


@pytest.mark.parametrize(("s", "e"), [(0.93, 0.8), (1.02, 1.4)])
def test_known_scalars_are_found(make_donor, s, e):
    donor = make_donor(repulsion=False)
    frames = corresponding_frames(donor, s, e)
    model, report = donate(donor, ["Ge"])
    tried = []
    scales = fit_scales(model, report.donors, frames, progress=tried.append)
    assert scales.length == pytest.approx(s, abs=1e-3)
    assert scales.energy == pytest.approx(e, rel=1e-3)
    assert scales.force_rmse < 1e-3 * np.concatenate([f.forces for f in frames]).std()
    assert scales.origin == "forces and stresses of 4 frames"
    assert tried == list(range(1, len(tried) + 1))
    assert model.length_scales.item() == scales.length
    assert model.energy_scales.item() == scales.energy


def test_relation_holds_for_energy_forces_and_stress(make_donor):
    donor = make_donor(repulsion=False)
    donor.offsets.zero_()
    model, _ = donate(donor, ["Ge"])
    inherited = (model.length_scales.clone(), model.energy_scales.clone())
    set_scales(model, inherited, Scales(0.93, 0.8, "given"))
    for frame in corresponding_frames(donor, 0.93, 0.8, count=2):
        (prediction,) = model.predict(frame)
        assert prediction.energy == pytest.approx(frame.energy, rel=1e-10)
        np.testing.assert_allclose(prediction.forces, frame.forces, atol=1e-10)
        np.testing.assert_allclose(prediction.stress, frame.stress, atol=1e-11)


def test_scalars_multiply_what_the_donor_had(make_donor):
    donor = make_donor(repulsion=False)
    frames = corresponding_frames(donor, 0.93, 0.8)
    donor.length_scales.fill_(0.9)
    donor.energy_scales.fill_(0.5)
    model, report = donate(donor, ["Ge"])
    scales = fit_scales(model, report.donors, frames)
    assert scales.length == pytest.approx(0.93 / 0.9, abs=2e-3)
    assert model.length_scales.item() == pytest.approx(0.93, abs=1e-3)
    assert model.energy_scales.item() == pytest.approx(0.8, rel=2e-3)


def test_repulsion_is_the_targets_own_and_not_scaled(make_donor):
    frames = []
    for frame in corresponding_frames(make_donor(repulsion=False), 0.93, 0.8, a=4.6, rattle=0.25):
        (core,) = ZBL([32]).predict(frame)
        frames.append(replace(frame, forces=frame.forces + core.forces, stress=frame.stress + core.stress))
        assert np.abs(core.forces).max() > 0.5
    model, report = donate(make_donor(repulsion=True), ["Ge"])
    scales = fit_scales(model, report.donors, frames)
    assert scales.length == pytest.approx(0.93, abs=1e-3)
    assert scales.energy == pytest.approx(0.8, rel=1e-3)


def test_frames_without_forces_are_not_counted(make_donor):
    donor = make_donor(repulsion=False)
    frames = corresponding_frames(donor, 0.93, 0.8)
    frames[1] = replace(frames[1], forces=None)
    model, report = donate(donor, ["Ge"])
    scales = fit_scales(model, report.donors, frames)
    assert scales.origin == "forces and stresses of 3 frames"
    assert scales.length == pytest.approx(0.93, abs=1e-3)


def test_no_forces(make_donor, ge_frames):
    model, report = donate(make_donor(), ["Ge"])
    blind = [replace(frame, forces=None) for frame in ge_frames[:2]]
    still = [replace(frame, forces=np.zeros((8, 3)), stress=np.zeros((3, 3))) for frame in ge_frames[:2]]
    for frames in ([], blind, still):
        with pytest.raises(DataError, match="no frame has forces above 1 meV/Å"):
            fit_scales(model, report.donors, frames)


def strained_frame(donor, s, e):
    """One uniaxially strained crystal: the sublattices shift along one axis, one number for all forces."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.05, 0], [0.05, 1, 0], [0, 0, 1.0]]), scale_atoms=True)
    (known,) = donor.predict(atoms)
    atoms.set_cell(atoms.cell.array / s, scale_atoms=True)
    atoms.symbols[:] = "Ge"
    return replace(Frame.from_atoms(atoms), forces=e * s * known.forces, stress=e * s**3 * known.stress)


def test_stress_tells_two_scalars_from_one_strained_crystal(make_donor):
    donor = make_donor(repulsion=False)
    s = (
        1.11 / 1.20
    )  # the ratio of covalent radii: a random donor's stress oscillates, the search must start near
    frame = strained_frame(donor, s, 0.8)
    assert np.linalg.matrix_rank(frame.forces, tol=1e-6 * np.abs(frame.forces).max()) == 1
    model, report = donate(donor, ["Ge"])
    with pytest.raises(DataError, match=r"do not tell two scalars apart.*give stresses"):
        fit_scales(model, report.donors, [replace(frame, stress=None)])
    assert model.length_scales.item() == 1.0, "a failed fit changes nothing"
    scales = fit_scales(model, report.donors, [frame])
    assert scales.length == pytest.approx(s, abs=1e-3)
    assert scales.energy == pytest.approx(0.8, rel=3e-3)


@pytest.mark.parametrize("s", [0.73, 1.17])
def test_scale_beyond_the_search(make_donor, s):
    donor = make_donor(repulsion=False)
    model, report = donate(donor, ["Ge"])
    with pytest.raises(DataError, match="the end of the search: donor and target do not correspond"):
        fit_scales(model, report.donors, corresponding_frames(donor, s, 1.0))


def test_forces_of_opposite_sign(make_donor):
    donor = make_donor(repulsion=False)
    model, report = donate(donor, ["Ge"])
    with pytest.raises(DataError, match=r"energy scale is negative: .*check the labels"):
        fit_scales(model, report.donors, corresponding_frames(donor, 0.93, -1.0))


def test_scales_that_explain_little_are_noted(make_donor, ge_frames):
    carried = carry(make_donor(), ["Ge"], ge_frames[:4], scales=Scales(1.0, 1.0, "given", 0.3, 0.2))
    assert any("two scalars explain only 20 %" in note for note in carried.report.notes)
