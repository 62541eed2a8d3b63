import numpy as np
import pytest

from mlpot.errors import DataError, LatticeError
from mlpot.lattice.alphabet import check_q, check_states, order_parameter, populations, spins, states_of_spins
from mlpot.lattice.geometry import Lattice


def test_sites_are_numbered_in_c_order():
    lattice = Lattice((2, 3, 4))
    assert lattice.sites == 24
    assert lattice.index(np.array([1, 2, 3])) == 23
    assert np.array_equal(lattice.index(lattice.coordinates()), np.arange(24))
    assert lattice.index(np.array([-1, 3, 4])) == lattice.index(np.array([1, 0, 0]))


@pytest.mark.parametrize(
    ("shape", "shell", "squared", "count"),
    [((6,), 2, 4, 2), ((5, 6), 1, 1, 4), ((5, 6), 2, 2, 4), ((5, 6), 3, 4, 4), ((7, 7), 4, 5, 8),
     ((4, 5, 6), 1, 1, 6), ((4, 5, 6), 2, 2, 12), ((4, 5, 6), 3, 3, 8)],
)  # fmt: skip
def test_a_shell_holds_the_vectors_of_one_length(shape, shell, squared, count):
    lattice = Lattice(shape)
    vectors = lattice.displacements(shell)
    assert vectors.shape == (count, len(shape))
    assert ((vectors**2).sum(axis=1) == squared).all()
    assert np.array_equal(vectors[: count // 2], -vectors[count // 2 :])
    table = lattice.neighbours(shell)
    for slot, vector in enumerate(vectors):
        assert np.array_equal(table[:, slot], lattice.index(lattice.coordinates() + vector))


def test_neighbours_are_mutual_and_bonds_are_named_once():
    lattice = Lattice((4, 6))
    table = lattice.neighbours()
    half = table.shape[1] // 2
    for slot in range(half):
        assert np.array_equal(table[table[:, slot], half + slot], np.arange(lattice.sites))
    bonds = np.sort(lattice.bonds(), axis=1)
    assert len(np.unique(bonds, axis=0)) == len(bonds) == 2 * lattice.sites


def test_an_axis_of_two_bonds_its_sites_twice():
    assert np.array_equal(Lattice((2,)).neighbours(), [[1, 1], [0, 0]])


def test_colours_alternate_where_they_can():
    lattice = Lattice((4, 6))
    colours = lattice.colours()
    assert (colours[lattice.neighbours()] != colours[:, None]).all()
    assert Lattice((4, 5)).colours() is None


@pytest.mark.parametrize("shape", [(), (1,), (8, 1), (2, 2, 2, 2), (2.5, 3), 8, (0, 4)])
def test_shapes_that_are_none(shape):
    with pytest.raises(LatticeError, match="shape"):
        Lattice(shape)


def test_shells_that_are_none():
    with pytest.raises(LatticeError, match="positive integer"):
        Lattice((4, 4)).neighbours(0)
    with pytest.raises(LatticeError, match="the site itself"):
        Lattice((2, 4)).neighbours(3)
    with pytest.raises(LatticeError, match="last axis"):
        Lattice((4, 4)).index(np.zeros((3, 3), dtype=int))


def test_states_are_checked():
    states = np.zeros((2, 3, 3), dtype=np.int64)
    assert check_states(states, 2, (3, 3)).dtype == np.int8
    assert check_states(states[0], 2, (3, 3)).shape == (1, 3, 3)
    for wrong, message in [
        (states + 2, "alphabet is 0..1"),
        (states - 1, r"from -1 to -1"),
        (np.where(np.arange(18).reshape(2, 3, 3) % 2, 1, -1), r"\(spin \+ 1\) // 2"),
        (states.astype(float), "type float64"),
        (np.zeros((2, 4, 4), dtype=int), r"but the lattice is \(3, 3\)"),
        (np.zeros((0, 3, 3), dtype=int), "at least one"),
    ]:
        with pytest.raises(DataError, match=message):
            check_states(wrong, 2, (3, 3))


@pytest.mark.parametrize("q", [1, 128, 2.5])
def test_alphabets_that_are_none(q):
    with pytest.raises(LatticeError, match="alphabet"):
        check_q(q)


def test_spins_and_back():
    states = np.array([[0, 1, 1]], dtype=np.int8)
    assert np.array_equal(spins(states), [[-1, 1, 1]])
    assert np.array_equal(states_of_spins(spins(states)), states)
    with pytest.raises(DataError):
        states_of_spins(np.array([0, 1]))


def test_order_parameters():
    states = np.random.default_rng(0).integers(0, 3, (50, 4, 4)).astype(np.int8)
    # Of three states, clock angles are the corners of the simplex.
    assert np.allclose(order_parameter(states, 3, "standard"), order_parameter(states, 3, "clock"))
    two = states % 2
    for form in ("standard", "clock", "majority"):
        assert np.allclose(order_parameter(two, 2, form), np.abs(spins(two).reshape(50, -1).mean(axis=1)))
        for q in (3, 5):
            assert order_parameter(np.full((1, 4, 4), q - 1), q, form) == pytest.approx(1)
    even = np.arange(5)[None]  # one of each
    assert order_parameter(even, 5) == pytest.approx(0, abs=1e-7)
    assert np.allclose(populations(even, 5), 0.2)
    with pytest.raises(LatticeError, match="no order parameter"):
        order_parameter(states, 3, "mean")
