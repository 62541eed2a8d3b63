import itertools

import numpy as np
import pytest
import torch

from mlpot.errors import DataError, LatticeError, ModelFileError
from mlpot.lattice.ednn import EDNN, EDNNSettings
from mlpot.lattice.ensemble import Ensemble
from mlpot.lattice.pairwise import PairwiseEnergy
from mlpot.lattice.tiles import Tiling, simplex, state_symmetries

ARCHITECTURES = {
    "published": {"shape": (8, 8)},
    "symmetric": {"shape": (6, 6), "focus": 1, "symmetric": True, "states": "full", "pairs": True},
    "everywhere": {"shape": (6, 6), "everywhere": True, "pairs": True},
    "chain": {"shape": (9,), "focus": 3, "context": 1},
    "cube": {"shape": (4, 4, 4), "context": 0, "symmetric": True},
    "potts": {"shape": (4, 6), "q": 3, "focus": 2, "context": 0, "states": "full", "pairs": True},
    "clock": {"shape": (6,), "q": 5, "focus": 1, "context": 1, "states": "cyclic", "symmetric": True},
    "own": {"shape": (6, 6), "focus": 1, "shared": False, "states": "full", "pairs": True},
}


def model_of(settings, seed=1):
    """Return a model far from its initial weights, in float64."""
    model = EDNN(EDNNSettings(**settings), seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def states_of(model, count=5, seed=0):
    return np.random.default_rng(seed).integers(0, model.q, (count, *model.tiling.shape), dtype=np.int8)


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return model_of(ARCHITECTURES[request.param])


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "own"])
def test_a_repeated_configuration_has_twice_the_energy(name):
    model = model_of(ARCHITECTURES[name])
    states = states_of(model)
    shape = model.tiling.shape
    for axis in range(len(shape)):
        longer = tuple(length * (2 if i == axis else 1) for i, length in enumerate(shape))
        doubled = model.resized(longer).energy(np.concatenate([states, states], axis=axis + 1))
        np.testing.assert_allclose(doubled, 2 * model.energy(states), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "own"])
def test_translation_by_the_focus_leaves_the_energy(name):
    model = model_of(ARCHITECTURES[name])
    states = states_of(model)
    step = model.tiling.step
    for axis in range(model.tiling.dimensions):
        moved = np.roll(states, step, axis + 1)
        np.testing.assert_allclose(model.energy(moved), model.energy(states), rtol=1e-12, atol=1e-12)


def test_translation_by_less_than_the_focus_does_not():
    model = model_of(ARCHITECTURES["published"])
    states = states_of(model)
    assert np.abs(model.energy(np.roll(states, 1, 1)) - model.energy(states)).min() > 1e-3


def test_everywhere_is_the_mean_over_all_alignments():
    once = model_of(ARCHITECTURES["everywhere"] | {"everywhere": False})
    everywhere = EDNN(EDNNSettings(**ARCHITECTURES["everywhere"])).double()
    everywhere.load_state_dict(once.state_dict())
    states = states_of(once)
    mean = np.mean(
        [once.energy(np.roll(states, by, (1, 2))) for by in itertools.product((0, 1), repeat=2)], axis=0
    )
    np.testing.assert_allclose(everywhere.energy(states), mean, rtol=1e-12)


def test_symmetric_energies_do_not_see_rotations_reflections_and_flips():
    model = model_of(ARCHITECTURES["symmetric"])
    plain = model_of(ARCHITECTURES["symmetric"] | {"symmetric": False, "states": "none"})
    states = states_of(model)
    for changed in (np.rot90(states, axes=(1, 2)), states[:, ::-1], states.transpose(0, 2, 1), 1 - states):
        np.testing.assert_allclose(model.energy(changed), model.energy(states), rtol=1e-12, atol=1e-12)
        assert np.abs(plain.energy(changed) - plain.energy(states)).min() > 1e-3


def test_states_may_be_permuted_as_their_symmetry_says():
    states = states_of(potts := model_of(ARCHITECTURES["potts"]))
    for permutation in itertools.permutations(range(3)):
        changed = np.array(permutation, dtype=np.int8)[states]
        np.testing.assert_allclose(potts.energy(changed), potts.energy(states), rtol=1e-12, atol=1e-12)
    states = states_of(clock := model_of(ARCHITECTURES["clock"]))
    for changed in ((states + 2) % 5, (3 - states) % 5):
        np.testing.assert_allclose(clock.energy(changed), clock.energy(states), rtol=1e-12, atol=1e-12)
    swapped = np.array([1, 0, 2, 3, 4], dtype=np.int8)[states]
    assert np.abs(clock.energy(swapped) - clock.energy(states)).max() > 1e-3


def test_table_network_and_frozen_forms_are_one_function(model, monkeypatch):
    states = states_of(model)
    tensor = torch.as_tensor(states)
    some = torch.tensor([3, 1])
    results = []
    for use in (True, False):
        monkeypatch.setattr(model, "_use_table", lambda evaluations, use=use: use)
        results.append(
            [
                model(tensor).detach().numpy(),
                relative(model.conditional_energies(tensor)),
                relative(model.conditional_energies(tensor, some)),
            ]
        )
    for with_table, without in zip(*results, strict=True):
        np.testing.assert_allclose(with_table, without, atol=1e-12)
    for frozen in (model.frozen(), model.frozen(largest_table=0)):
        np.testing.assert_allclose(frozen.energy(states), results[0][0], atol=1e-12)
    assert type(model.frozen()) is not type(model.frozen(largest_table=0))


def relative(conditional):
    return (conditional - conditional[..., :1]).detach().numpy()


def test_conditional_energies_are_differences_of_total_energies(model):
    states = states_of(model, 2)
    energies = relative(model.conditional_energies(torch.as_tensor(states)))
    for site in (0, 5):
        for state in range(model.q):
            one, other = states.copy(), states.copy()
            one.reshape(2, -1)[:, site], other.reshape(2, -1)[:, site] = state, 0
            difference = model.energy(one) - model.energy(other)
            np.testing.assert_allclose(energies[:, site, state], difference, atol=1e-12)


@pytest.mark.parametrize("name", ["symmetric", "potts", "own"])
def test_gradients_in_the_weights_are_right(name):
    model = model_of(ARCHITECTURES[name] | {"hidden": (3, 2)})
    states = torch.as_tensor(states_of(model, 2))
    generator = torch.Generator().manual_seed(0)
    parameters = list(model.parameters())
    ways = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    weights = torch.tensor([1.0, -0.3])

    def energy(step=0.0):
        moved = {
            key: value + step * way for (key, value), way in zip(model.named_parameters(), ways, strict=True)
        }
        energies = torch.func.functional_call(model, moved, (states,))
        conditional = torch.func.functional_call(_Conditional(model), _prefixed(moved), (states,))
        return (energies * weights).sum() + conditional.square().mean()

    slopes = torch.autograd.grad(energy(), parameters)
    along = sum(float((slope * way).sum()) for slope, way in zip(slopes, ways, strict=True))
    with torch.no_grad():
        numerical = float(energy(1e-5) - energy(-1e-5)) / 2e-5
    assert along == pytest.approx(numerical, rel=1e-7, abs=1e-8)


class _Conditional(torch.nn.Module):
    """The conditional energies as a module, so that weights can be put into it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, states):
        return self.model.conditional_energies(states)


def _prefixed(named):
    return {f"model.{key}": value for key, value in named.items()}


def test_centred_energies_average_to_zero_over_all_states():
    model = model_of({"shape": (3, 3), "focus": 1, "pairs": True})
    model.centre()
    every = np.array(list(itertools.product((0, 1), repeat=9)), dtype=np.int8).reshape(-1, 3, 3)
    assert abs(model.energy(every).mean()) < 1e-12
    assert abs(model.resized((4, 3)).frozen().table.mean()) < 1e-14


def test_drawn_images_have_the_exact_average_as_their_mean():
    model = model_of(ARCHITECTURES["symmetric"])
    exact = model.table().detach()
    model.draw_images(2, seed=3)
    with torch.no_grad():
        mean = torch.stack([model.table() for _ in range(400)]).mean(0)
        once = model.table()
    assert (mean - exact).abs().max() < 0.3 * (once - exact).abs().max()
    orbit = model._images(model._all_digits())
    assert (once[0, orbit] == once[0, orbit[:, :1]]).all()


def test_saved_models_come_back(model, tmp_path):
    model.centre()
    model.float().save(tmp_path / "ednn.safetensors")
    again = EDNN.load(tmp_path / "ednn.safetensors")
    assert again.settings == model.settings
    states = states_of(model)
    np.testing.assert_array_equal(again.energy(states), model.energy(states))


def test_files_that_hold_no_model_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        EDNN.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    with pytest.raises(ModelFileError, match="cannot be read"):
        EDNN.load(tmp_path / "text.safetensors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (9, 9)}, "focus: 2 does not divide the length 9"),
        ({"shape": (2, 8)}, "wrap onto themselves"),
        ({"shape": (8, 8), "focus": 0}, "a focus has 1 site or more"),
        ({"shape": (8, 8), "context": -1}, "a context 0 or more"),
        ({"shape": (6,), "q": 7, "focus": 1, "states": "full"}, "7! permutations"),
        ({"shape": (6,), "states": "odd"}, "'odd' is unknown"),
        ({"shape": (8, 8), "hidden": ()}, "no interaction can be learned"),
        ({"shape": (8, 8), "hidden": (0,)}, "width below 1"),
        ({"shape": (8, 8), "shared": False, "symmetric": True}, "tiles are not turned"),
    ],
)
def test_architectures_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(LatticeError, match=message):
        EDNN(EDNNSettings(**settings))


def test_other_states_and_sizes_are_refused():
    model = model_of(ARCHITECTURES["published"])
    with pytest.raises(DataError, match="the lattice is"):
        model.energy(np.zeros((1, 6, 6), dtype=np.int8))
    with pytest.raises(DataError, match="alphabet"):
        model.energy(np.full((1, 8, 8), 2, dtype=np.int8))
    with pytest.raises(LatticeError, match="resized"):
        model(torch.zeros((1, 6, 6), dtype=torch.int64))
    with pytest.raises(LatticeError, match="does not divide"):
        model.resized((9, 9))
    with pytest.raises(LatticeError, match="axes"):
        model.resized((8,))
    with pytest.raises(LatticeError, match="no other size"):
        model_of(ARCHITECTURES["own"]).resized((8, 8))
    with pytest.raises(LatticeError, match="no other size"):
        model_of(ARCHITECTURES["own"]).frozen().resized((8, 8))


def test_tiles_of_a_site_do_not_grow_with_the_lattice():
    for shape in ((8, 8), (32, 32)):
        assert Tiling(shape).of_site[0].shape[1] == 4
    # f = 3, c = 1: sites in the middle of a focus are in one tile, those at its rim in two along an axis.
    tiles, _ = Tiling((9,), 3, 1).of_site
    assert sorted((tiles >= 0).sum(1).tolist()) == [1, 1, 1, 2, 2, 2, 2, 2, 2]


def test_a_tile_has_the_symmetries_of_a_cube():
    assert [len(Tiling((8,) * d).symmetries()) for d in (1, 2, 3)] == [2, 8, 48]
    assert [len(state_symmetries(4, kind)) for kind in ("none", "cyclic", "full")] == [1, 8, 24]


@pytest.mark.parametrize("q", [2, 3, 4, 5, 8])
def test_states_are_corners_of_a_simplex(q):
    phi = simplex(q)
    np.testing.assert_allclose(phi @ phi.T, (q * np.eye(q) - 1) / (q - 1), atol=1e-14)
    np.testing.assert_allclose(phi.sum(0), 0, atol=1e-14)
    if q == 2:
        assert phi.tolist() == [[-1.0], [1.0]]


@pytest.mark.parametrize("largest", [1 << 24, 0])
def test_an_ensemble_is_the_mean_and_merges_into_one_energy(largest):
    members = [model_of(ARCHITECTURES["symmetric"], seed) for seed in range(3)]
    ensemble = Ensemble(tuple(members))
    states = states_of(ensemble.members[0])
    each = np.stack([member.energy(states) for member in members])
    np.testing.assert_allclose(ensemble.energy(states), each.mean(0), rtol=1e-13)
    np.testing.assert_allclose(ensemble.deviation(states), each.std(0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(ensemble.merged(largest).energy(states), each.mean(0), atol=1e-12)
    larger = ensemble.resized((12, 6))
    doubled = np.concatenate([states, states], 1)
    np.testing.assert_allclose(larger.energy(doubled), 2 * each.mean(0), rtol=1e-12)


def test_ensembles_that_make_no_sense_are_refused():
    one, other = model_of(ARCHITECTURES["symmetric"]), model_of(ARCHITECTURES["everywhere"])
    with pytest.raises(LatticeError, match="no members"):
        Ensemble(())
    with pytest.raises(LatticeError, match="numbers of states"):
        Ensemble((one, model_of(ARCHITECTURES["potts"])))
    with pytest.raises(LatticeError, match="at least two"):
        Ensemble((one,)).deviation(states_of(one))
    with pytest.raises(LatticeError, match="same architecture"):
        Ensemble((one, other)).merged()


def test_pair_energies_of_one_lattice_serve_another():
    lattice = Tiling((4, 4)).shape
    from mlpot.lattice.geometry import Lattice

    grid = Lattice(lattice)
    table = grid.neighbours()
    matrices = np.broadcast_to(-(simplex(2) @ simplex(2).T), (4, 2, 2))
    energy = PairwiseEnergy(
        grid, 2, table, np.tile(np.arange(4), (16, 1)), matrices, np.zeros((16, 2)), grid.displacements()
    )
    states = np.random.default_rng(0).integers(0, 2, (3, 4, 4), dtype=np.int8)
    doubled = energy.resized((8, 4)).energy(np.concatenate([states, states], 1))
    np.testing.assert_allclose(doubled, 2 * energy.energy(states))
    with pytest.raises(LatticeError, match="axes"):
        energy.resized((8,))
