"""Donation: the new potential computes what the donor computes, and every tensor is accounted for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from torch import nn

from mlpot.errors import ElementError, ModelFileError
from mlpot.model.file import load_model, save_model
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.model.repulsion import ZBL
from mlpot.transfer.donor import complete_donors, donate


def solid(symbol, seed=0):
    """Return silicon's geometry, no bond within the nuclear repulsion, under another name."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.positions += np.random.default_rng(seed).normal(scale=0.05, size=(8, 3))
    atoms.symbols[:] = symbol
    assert np.min(atoms.get_all_distances(mic=True)[~np.eye(8, dtype=bool)]) > ZBL([32]).cutoff
    return atoms


def energies_forces_stress(potential, atoms):
    (prediction,) = potential.predict(atoms)
    return prediction.energy, prediction.forces, prediction.stress


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("repulsion", [True, False])
def test_donated_model_reproduces_the_donor_bit_for_bit(make_donor, dtype, repulsion):
    donor = make_donor(dtype=dtype, repulsion=repulsion)
    model, _ = donate(donor, ["Ge"])
    assert model.symbols == ("Ge",)
    assert model.dtype == dtype
    assert (model.repulsion is None) == (not repulsion)
    before, after = energies_forces_stress(donor, solid("Si")), energies_forces_stress(model, solid("Ge"))
    assert np.abs(before[1]).max() > 0.01
    for ours, theirs in zip(after, before, strict=True):
        assert np.array_equal(ours, theirs)


def test_repulsion_is_the_targets_own(make_donor):
    model, _ = donate(make_donor(), ["Ge"])
    close = Atoms("Ge2", positions=[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    as_silicon = Atoms("Si2", positions=close.positions)
    difference = model.predict(close)[0].energy - make_donor().predict(as_silicon)[0].energy
    bare = ZBL([32]).predict(close)[0].energy - ZBL([14]).predict(as_silicon)[0].energy
    assert difference == pytest.approx(bare, rel=1e-10)
    assert bare > 10.0


def test_every_tensor_is_in_the_report(make_donor):
    donor = make_donor(("Si", "C"))
    model, report = donate(donor, ["Si", "Ge", "C"], {"Ge": "Si"})
    state = model.state_dict()
    assert set(report.records) == set(state)
    donated = {name for name, record in report.records.items() if record.action == "donated"}
    assert donated == model.element_table_names() & set(state)
    assert {"offsets", "length_scales", "energy_scales", "network.layers.0.species_radial"} <= donated
    for name, record in report.records.items():
        assert record.action in ("copied", "donated")
        assert record.shape == tuple(state[name].shape)
        expected = donor.state_dict()[name]
        assert torch.equal(state[name], expected[[0, 0, 1]] if name in donated else expected), name
    assert report.records["offsets"].detail == "Si from Si, Ge from Si, C from C"
    plain = report.asdict()
    assert plain["donors"] == {"Si": "Si", "Ge": "Si", "C": "C"}
    assert len(plain["tensors"]) == len(state)


def test_marking_a_tensor_changes_the_report(make_donor):
    _, report = donate(make_donor(), ["Ge"])
    report.mark("offsets", "re-estimated", "why")
    (entry,) = [e for e in report.asdict()["tensors"] if e["tensor"] == "offsets"]
    assert entry == {"tensor": "offsets", "shape": (1,), "action": "re-estimated", "detail": "why"}


def test_alloy_of_known_and_donated_keeps_the_donor(make_donor):
    donor = make_donor()
    model, report = donate(donor, ["Si", "Ge"])
    assert report.donors == {"Si": "Si", "Ge": "Si"}
    before = energies_forces_stress(donor, solid("Si"))
    mixed = solid("Si")
    mixed.symbols[[1, 2, 5]] = "Ge"
    for atoms in (solid("Si"), solid("Ge"), mixed):
        for ours, theirs in zip(energies_forces_stress(model, atoms), before, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


def test_each_target_follows_its_own_donor_and_its_units(make_donor):
    donor = make_donor(("Si", "C"))
    with torch.no_grad():
        for layer in donor.network.layers:
            layer.centre_table[1] *= 1.3
    donor.length_scales[1] = 1.1
    donor.energy_scales[1] = 0.7
    model, _ = donate(donor, ["Ge", "Sn"], {"Ge": "C", "Sn": "Si"})
    assert model.length_scales.tolist() == [1.1, 1.0]
    for target, source in (("Ge", "C"), ("Sn", "Si")):
        atoms = bulk("Si", "diamond", a=6.5, cubic=True)
        atoms.positions += np.random.default_rng(1).normal(scale=0.05, size=(8, 3))
        atoms.symbols[:] = source
        before = energies_forces_stress(donor, atoms)
        atoms.symbols[:] = target
        for ours, theirs in zip(energies_forces_stress(model, atoms), before, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


def test_model_and_donor_share_no_memory(make_donor):
    donor = make_donor()
    before = {name: tensor.clone() for name, tensor in donor.state_dict().items()}
    model, _ = donate(donor, ["Ge"])
    for tensor in model.state_dict().values():
        tensor.fill_(7.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in donor.state_dict().items())


def test_donated_model_survives_its_file(make_donor, tmp_path):
    model, _ = donate(make_donor(), ["Ge"])
    save_model(model, tmp_path / "ge.safetensors")
    loaded = load_model(tmp_path / "ge.safetensors", torch.float64)
    assert loaded.symbols == ("Ge",)
    assert loaded.predict(solid("Ge"))[0].energy == model.predict(solid("Ge"))[0].energy


def test_tensor_without_counterpart(make_donor):
    donor = make_donor()
    donor.network.register_buffer("extra", torch.ones(3))
    with pytest.raises(ModelFileError, match=r"without a counterpart .*: network\.extra; .*architecture"):
        donate(donor, ["Ge"])


def test_tensor_that_the_donor_lacks(make_donor):
    donor = make_donor()
    del donor.network.layers[1].centre_table
    with pytest.raises(ModelFileError, match=r"without a counterpart .*: network\.layers\.1\.centre_table"):
        donate(donor, ["Ge"])


def test_tensor_of_another_shape(make_donor):
    donor = make_donor()
    donor.network.layers[0].readout.outer = nn.Parameter(torch.ones(9, 1))
    with pytest.raises(
        ModelFileError, match=r"readout\.outer has shape \(9, 1\) in the donor, \(4, 1\) here"
    ):
        donate(donor, ["Ge"])


def test_other_shapes_of_network_are_kept():
    donor = Potential(["Si"], NetworkConfig(channels=3, hidden=5, layers=3, cutoff=4.0))
    model, _ = donate(donor, ["Ge"])
    assert model.config == donor.config


def test_every_known_element_serves_itself_and_the_only_one_serves_all(make_donor):
    one, two = make_donor(), make_donor(("Si", "C"))
    assert complete_donors(one.symbols, ["Ge", "Sn"], None) == {"Ge": "Si", "Sn": "Si"}
    assert complete_donors(two.symbols, ["C", "Si"], None) == {"C": "C", "Si": "Si"}
    assert complete_donors(two.symbols, ["Si"], {"Si": "C"}) == {"Si": "C"}


@pytest.mark.parametrize(
    ("targets", "donors", "message"),
    [
        (["Gee"], None, "'Gee' is no chemical element; give symbols such as Ge"),
        (["X"], None, "'X' is no chemical element"),
        (["Ge"], {"Gee": "Si"}, "'Gee' is no chemical element"),
        (["Ge"], {"Sn": "Si"}, r"a donor is given for Sn, which is not among the targets \['Ge'\]"),
        (["Ge"], None, "Ge has no donor: the model knows Si, C; .*--donor Ge=Si"),
        (["Ge"], {"Ge": "Sn"}, "the donor of Ge is Sn, but the model knows only Si, C"),
        (["Ge", "Ge"], {"Ge": "Si"}, "one or more different symbols"),
        ([], None, "one or more different symbols"),
    ],
)
def test_donors_that_cannot_be(make_donor, targets, donors, message):
    with pytest.raises(ElementError, match=message):
        donate(make_donor(("Si", "C")), targets, donors)
