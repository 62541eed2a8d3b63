import json

import numpy as np
import pytest

from mlpot.errors import DataError
from mlpot.lattice.hamiltonian import edwards_anderson, ising
from mlpot.lattice.samples import Samples, load_samples
from mlpot.lattice.sampling import Chains


def noise(count=400, q=2, shape=(4, 4), seed=0, **others):
    states = np.random.default_rng(seed).integers(0, q, (count, *shape))
    return Samples(states, 4.0, q, **others)


def test_a_file_gives_back_what_was_saved(tmp_path):
    model = edwards_anderson((4, 4), seed=1)
    samples = noise(
        hamiltonian=model.to_dict(), autocorrelation={"spacing": 3}, provenance={"chains": 4, "seed": 7}
    )
    samples.save(tmp_path / "a.npz")
    again = load_samples(tmp_path / "a.npz", temperature=4.0, q=2, shape=(4, 4))
    assert np.array_equal(again.states, samples.states)
    assert again.states.dtype == np.int8
    assert (again.temperature, again.q, again.chains) == (4.0, 2, 4)
    assert (again.autocorrelation, again.provenance) == (samples.autocorrelation, samples.provenance)
    assert np.array_equal(again.model.energy(again.states), model.energy(samples.states))
    assert again.source.endswith("a.npz")


def test_files_of_ones_own(tmp_path):
    states = noise().states
    np.save(tmp_path / "own.npy", states)
    np.savez(tmp_path / "own.npz", states=states.astype(np.int64))
    for name in ("own.npy", "own.npz"):
        samples = load_samples(tmp_path / name, temperature=2.5, q=2)
        assert np.array_equal(samples.states, states)
        assert samples.model is None
    with pytest.raises(DataError, match="does not say its temperature"):
        load_samples(tmp_path / "own.npy", q=2)
    with pytest.raises(DataError, match="does not say its q"):
        load_samples(tmp_path / "own.npy", temperature=2.0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"temperature": 2.0}, "its temperature is 4.0, not 2.0"),
        ({"q": 3}, "its q is 2, not 3"),
        ({"shape": (8, 8)}, r"its lattice is \(4, 4\), not \(8, 8\)"),
    ],
)
def test_files_that_are_not_what_was_asked_for(tmp_path, asked, message):
    noise().save(tmp_path / "a.npz")
    with pytest.raises(DataError, match=message):
        load_samples(tmp_path / "a.npz", **asked)


def test_files_that_are_no_samples(tmp_path):
    with pytest.raises(DataError, match="no such sample file"):
        load_samples(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(DataError, match="cannot be read"):
        load_samples(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", energies=np.zeros(3))
    with pytest.raises(DataError, match="no array 'states'"):
        load_samples(tmp_path / "other.npz")
    np.savez(tmp_path / "pickled.npz", states=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        load_samples(tmp_path / "pickled.npz", temperature=1.0, q=2)
    for metadata, message in [
        ({"format": "something"}, "not those of lattice samples"),
        ({"format": "mlpot lattice samples", "version": 99}, "newer mlpot"),
    ]:
        np.savez(tmp_path / "odd.npz", states=noise().states, metadata=np.array(json.dumps(metadata)))
        with pytest.raises(DataError, match=message):
            load_samples(tmp_path / "odd.npz", temperature=1.0, q=2)
    with pytest.raises(DataError, match=r"end in \.npz"):
        noise().save(tmp_path / "a.txt")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_that_are_none(temperature):
    with pytest.raises(DataError, match="positive number"):
        Samples(noise().states, temperature, 2)


def test_samples_have_the_lattice_and_alphabet_of_their_model():
    with pytest.raises(DataError, match=r"lattice is \(8, 8\)"):
        noise(hamiltonian=ising((8, 8)).to_dict())
    with pytest.raises(DataError, match="q = 3, but its Hamiltonian"):
        noise(q=3, hamiltonian=ising((4, 4)).to_dict())
    with pytest.raises(DataError, match="q = 2, not 3"):
        noise().require(q=3)


def test_parts():
    samples = noise()
    assert np.array_equal(samples.take(10).states, samples.states[:10])
    learn, judge = samples.split(0.25)
    assert (len(learn), len(judge)) == (300, 100)
    assert np.array_equal(judge.states, samples.states[300:])
    with pytest.raises(DataError, match="there are 400"):
        samples.take(401)
    with pytest.raises(DataError, match="leaves one part empty"):
        samples.split(0.0)


@pytest.mark.parametrize("seed", range(5))
def test_equilibrium_passes_the_drift_test(seed):
    assert not noise(count=2000, seed=seed).require_equilibrium().is_visible
    chains = Chains(ising((8, 8)), 2.5, "metropolis", chains=4, seed=seed)
    chains.skip(2000)
    stream = Samples(chains.run(1000).reshape(-1, 8, 8), 2.5, 2, provenance={"chains": 4})
    assert not stream.require_equilibrium().is_visible


def test_rare_excitations_are_no_drift():
    cold = np.zeros((1000, 8, 8), dtype=np.int8)
    cold[[3, 20, 400], 2, 2] = 1
    assert not Samples(cold, 0.5, 2).require_equilibrium().is_visible


def test_a_quench_is_seen():
    chains = Chains(ising((32, 32)), 2.0, "metropolis", seed=1)
    stream = Samples(chains.run(300).reshape(-1, 32, 32), 2.0, 2)  # coarsens all along
    with pytest.raises(DataError, match="visibly not in equilibrium"):
        stream.require_equilibrium()


def test_a_start_that_was_not_discarded_is_seen():
    states = noise(count=2000).states.copy()
    states[:120] = 1
    with pytest.raises(DataError, match="at the start"):
        Samples(states, 4.0, 2).require_equilibrium()


def test_too_few_samples_in_time_are_said_to_be_untested():
    drift = noise(count=20).require_equilibrium()
    assert "only 20 samples" in drift.reason
    assert not drift.is_visible
    assert noise(count=400, provenance={"chains": 40}).drift_test().reason
