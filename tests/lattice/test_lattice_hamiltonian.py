import json

import numpy as np
import pytest

from mlpot.errors import DataError, LatticeError
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.hamiltonian import (
    Hamiltonian,
    all_to_all,
    edwards_anderson,
    from_couplings,
    ising,
    ising_nnn,
    pair_kernel,
    potts,
)

MODELS = [
    ising((4, 4)),
    ising((2, 4), J=-0.7, field=0.3),
    ising((3, 4, 5)),
    ising_nnn((4, 5)),
    potts((4, 4), 3, "clock"),
    potts((6,), 5, field=0.2),
    potts((4, 3), 4, "clock", field=-0.4),
    edwards_anderson((4, 4), seed=1),
    edwards_anderson((2, 3, 4), seed=2, distribution="bimodal"),
    all_to_all((4, 4), seed=3),
    from_couplings([[0, 1, 0.5], [1, 2, -1.5]], (4,), q=3, field=np.arange(12.0).reshape(4, 3)),
]


def random_states(model, count=6, seed=0):
    return np.random.default_rng(seed).integers(0, model.q, (count, *model.lattice.shape)).astype(np.int8)


def named(model):
    return f"{model.name}{model.lattice.shape}"


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_energy_is_the_sum_over_bonds(model):
    states = random_states(model)
    for state, energy in zip(states.reshape(len(states), -1), model.energy(states), strict=True):
        total = -sum(model.field[i, state[i]] for i in range(len(state)))
        for i, (others, couplings) in enumerate(zip(model.neighbours, model.couplings, strict=True)):
            for j, coupling in zip(others, couplings, strict=True):
                if j >= 0:
                    total -= coupling * model.kernel[state[i], state[j]] / 2
        assert energy == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_local_fields_are_differences_of_energies(model):
    states = random_states(model)
    flat = states.reshape(len(states), -1)
    fields, energies = model.local_fields(states), model.energy(states)
    assert fields.shape == (len(states), model.lattice.sites, model.q)
    for site in range(model.lattice.sites):
        for new in range(model.q):
            turned = flat.copy()
            turned[:, site] = new
            difference = model.energy(turned.reshape(states.shape)) - energies
            before = np.take_along_axis(fields[:, site], flat[:, site, None].astype(int), axis=1)[:, 0]
            assert np.allclose(difference, before - fields[:, site, new], atol=1e-12)


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_a_model_survives_json(model):
    again = Hamiltonian.from_dict(json.loads(json.dumps(model.to_dict())))
    states = random_states(model)
    assert np.array_equal(again.energy(states), model.energy(states))
    assert (again.name, again.parameters) == (model.name, model.parameters)


def test_energies_that_are_known():
    up = np.ones((1, 4, 4), dtype=np.int8)
    checkerboard = Lattice((4, 4)).colours().reshape(1, 4, 4)
    assert ising((4, 4)).energy(up) == -32
    assert ising((4, 4)).energy(checkerboard) == 32
    assert ising((4, 4), field=0.5).energy(up) == -40
    assert ising_nnn((4, 4)).energy(up) == -48
    assert ising_nnn((4, 4)).energy(checkerboard) == 32 - 16
    assert potts((4, 4), 3).energy(up) == -32
    assert potts((4, 4), 3, "clock").energy(checkerboard) == 16
    assert ising((2, 2)).energy(np.ones((2, 2), dtype=np.int8)) == -8  # each pair is bonded twice
    assert potts((4, 4), 3, field=1.0).energy(np.zeros((4, 4), dtype=np.int8)) == -48


def test_clock_of_three_is_the_standard_form_scaled():
    states = random_states(potts((4, 4), 3))
    clock, standard = potts((4, 4), 3, "clock"), potts((4, 4), 3, J=1.5)
    assert np.allclose(clock.energy(states), standard.energy(states) + 16)


def test_forms_are_recognised():
    assert [model.form for model in MODELS[:6]] == ["ising"] * 4 + ["clock", "standard"]
    assert np.array_equal(pair_kernel(2, "clock"), pair_kernel(2, "ising"))


def test_another_size():
    assert ising_nnn((4, 4), J2=0.25).resized((6, 8)).to_dict() == ising_nnn((6, 8), J2=0.25).to_dict()
    assert potts((4, 4), 5, "clock").resized((3, 3, 3)).q == 5
    with pytest.raises(LatticeError, match="no other size"):
        edwards_anderson((4, 4), 1).resized((8, 8))


def test_glasses_have_the_variance_they_state():
    glass = edwards_anderson((40, 40), seed=5)
    forward = glass.couplings[:, :2]
    assert abs(forward.mean()) < 4 / np.sqrt(forward.size)
    assert forward.var() == pytest.approx(1, abs=0.1)
    dense = all_to_all(200, seed=1)
    assert dense.couplings.var() * 200 == pytest.approx(1, abs=0.05)
    assert set(np.unique(edwards_anderson((4, 4), 0, "bimodal").couplings)) == {-1.0, 1.0}
    assert np.array_equal(all_to_all(16, 4).couplings, all_to_all(16, 4).couplings)
    assert not np.array_equal(all_to_all(16, 4).couplings, all_to_all(16, 5).couplings)


def test_a_matrix_and_its_bonds_are_one_model():
    matrix = np.zeros((6, 6))
    matrix[0, 5] = matrix[5, 0] = 0.5
    matrix[1, 2] = matrix[2, 1] = -2
    bonds = from_couplings([[5, 0, 0.5], [1, 2, -2]], (6,))
    states = random_states(bonds)
    assert np.array_equal(bonds.energy(states), from_couplings(matrix, (6,)).energy(states))
    in_field = from_couplings(matrix, (2, 3), field=[1, 0, 0, 0, 0, 0])
    assert in_field.energy(np.ones((2, 3), dtype=np.int8)) == -(0.5 - 2 + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: potts((4, 4), 3, "ising"), "no form of Potts"),
        (lambda: potts((4, 4), 1), "alphabet"),
        (lambda: pair_kernel(3, "ising"), "q = 2"),
        (lambda: pair_kernel(3, "heisenberg"), "unknown"),
        (lambda: edwards_anderson((4, 4), 0, "uniform"), "unknown"),
        (lambda: all_to_all(8, 0, variance=0), "not positive"),
        (lambda: ising_nnn((2, 2), J2=float("nan")), "not finite"),
        (lambda: from_couplings(np.ones((3, 3)), (3,)), "diagonal"),
        (lambda: from_couplings(np.triu(np.ones((4, 4)), 1), (4,)), "symmetric"),
        (lambda: from_couplings([[0, 4, 1.0]], (4,)), "outside 0..3"),
        (lambda: from_couplings([[0, 1.5, 1.0]], (4,)), "not an integer"),
        (lambda: from_couplings([[1, 1, 1.0]], (4,)), "bonded to itself"),
        (lambda: from_couplings(np.ones((2, 2)), (4,)), "expected a"),
        (lambda: from_couplings([[0, 1, 1.0]], (4,), field=np.zeros((3, 2))), "field: shape"),
        (lambda: from_couplings([[0, 1, 1.0]], (4,), name="ising"), "name"),
        (lambda: Hamiltonian.from_dict({"name": "ising", "shape": [4, 4]}), "does not fit"),
        (
            lambda: Hamiltonian.from_dict({"name": "ising", "shape": [4], "parameters": {"K": 1}}),
            "does not fit",
        ),
    ],
)
def test_models_that_are_none(make, message):
    with pytest.raises(LatticeError, match=message):
        make()


def test_bonds_that_their_ends_do_not_agree_on():
    model = edwards_anderson((4, 4), seed=1)
    couplings = model.couplings.copy()
    couplings[3, 1] += 1
    with pytest.raises(LatticeError, match="same J"):
        Hamiltonian(model.lattice, 2, model.kernel, model.neighbours, couplings, model.field)
    with pytest.raises(LatticeError, match="symmetric"):
        Hamiltonian(
            model.lattice, 2, np.array([[1, 0], [2, 1]]), model.neighbours, model.couplings, model.field
        )


def test_a_model_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="read-only"):
        ising((4, 4)).couplings[0, 0] = 3


def test_states_of_another_lattice_or_alphabet():
    model = ising((4, 4))
    with pytest.raises(DataError, match="lattice is"):
        model.energy(np.zeros((2, 8, 8), dtype=np.int8))
    with pytest.raises(DataError, match="alphabet"):
        model.local_fields(np.full((2, 4, 4), 2))
