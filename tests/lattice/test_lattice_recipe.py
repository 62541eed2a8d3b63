"""Recipes of lattice studies: what does not fit together is refused with its place, before any computing."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from mlpot.errors import DataError, MLPotError, RecipeError
from mlpot.lattice.hamiltonian import ising
from mlpot.lattice.recipe import LatticeRecipe, ModelSection, load_lattice
from mlpot.lattice.samples import Samples
from mlpot.lattice.sampling import sample
from mlpot.lattice.study.plan import ArmTask, SequenceTask, make_plan
from mlpot.recipe import parse_recipe

BASE = {
    "title": "t",
    "model": {"name": "ising"},
    "shape": [4, 4],
    "temperatures": [3.0],
    "counts": [100],
    "seeds": [0],
    "arms": {"pl": {"kind": "pseudo_likelihood"}},
}


def recipe(**changes):
    return parse_recipe(LatticeRecipe, BASE | changes, "r.yaml")


def test_every_model_is_built_with_its_own_keys():
    for section, shape, q in (
        ({"name": "ising", "J": 2.0, "field": 0.1}, (4, 4), 2),
        ({"name": "ising_nnn", "J2": 0.25}, (4, 4), 2),
        ({"name": "potts", "q": 4, "form": "clock"}, (3, 3), 4),
        ({"name": "edwards_anderson", "seed": 1, "distribution": "bimodal"}, (4, 4), 2),
        ({"name": "all_to_all", "seed": 1, "variance": 0.5}, (6,), 2),
        ({"name": "planted", "seed": 1, "method": "loops"}, (4, 4), 2),
    ):
        model = parse_recipe(ModelSection, section, "m").build(shape)
        assert (model.name, model.q, model.lattice.shape) == (section["name"], q, shape)


def test_couplings_of_ones_own_are_read_from_a_file(tmp_path):
    (tmp_path / "bonds.txt").write_text("0 1 1.0\n1 2 -0.5\n")
    section = ModelSection(name="custom", couplings=str(tmp_path / "bonds.txt"))
    assert section.build((3,)).energy(np.array([[1, 1, 1]]))[0] == -0.5
    (tmp_path / "bonds.txt").write_text("0 1\n")
    with pytest.raises(RecipeError, match="2 numbers on a line"):
        section.build((3,))
    with pytest.raises(RecipeError, match=r"none\.txt: cannot be read as bonds"):
        ModelSection(name="custom", couplings=str(tmp_path / "none.txt")).build((3,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"name": "ising", "q": 3}}, r"model: ising takes no q; it takes: J, field"),
        ({"model": {"name": "potts"}}, r"model: potts needs q"),
        ({"model": None}, r"model: name one, or give samples of your own"),
        ({"temperatures": [0.0]}, r"temperatures\.0: .*greater than 0"),
        ({"temperatures": [-1.0]}, r"temperatures\.0: .*greater than 0"),
        ({"counts": [100, 100]}, r"counts: \[100, 100\] repeats a value"),
        ({"arms": {"x": {"kind": "ensemble", "of": "y"}}}, r"arms\.x\.of: 'y' is no arm with a network"),
        ({"arms": {"x": {"kind": "magic"}}}, r"arms\.x: .*'magic'"),
        ({"arms": {"x": {"kind": "direct", "beyond_pair": 1}}}, r"did you mean 'beyond_pairs'"),
        (
            {"extrapolation": [{"shapes": [[4, 4]], "temperatures": [1], "arms": ["no"]}]},
            r"extrapolation\.0\.arms: 'no' is no arm; there are: pl",
        ),
        (
            {"extrapolation": [{"shapes": [[4, 4]], "temperatures": [1], "learned_at": [2]}]},
            r"extrapolation\.0\.learned_at: 2\.0 is not among those learned",
        ),
        (
            {"extrapolation": [{"shapes": [[4, 4], [4, 4]], "temperatures": [1]}]},
            r"shapes: \[4, 4\] is there already",
        ),
        ({"samples": "s.npz", "temperatures": [1, 2]}, r"temperatures: a sample file has one"),
    ],
)
def test_mistakes_in_a_recipe_name_their_place(changes, message):
    with pytest.raises(RecipeError, match=message):
        recipe(**changes)


DIRECT = {"direct": {"kind": "direct"}}
GLASS = {"model": {"name": "edwards_anderson", "seed": 1}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": DIRECT, "network": {"focus": 3}}, r"arms\.direct\.network: focus: 3 does not divide"),
        ({"arms": DIRECT, "network": {"focus": 2, "context": 2}}, r"tiles of 6 sites wrap onto themselves"),
        ({"arms": DIRECT, **GLASS}, r"arms\.direct\.network: edwards_anderson .* take shared: false"),
        (
            {"arms": DIRECT, **GLASS, "network": {"shared": False}},
            r"arms\.direct\.network: EDNN: with one network per tile .* symmetric: false",
        ),
        (
            {
                **GLASS,
                "arms": {"pl": {"kind": "pseudo_likelihood", "every_pair": True}},
                "extrapolation": [{"shapes": [[8, 8]], "temperatures": [1], "moves": "clusters"}],
            },
            r"extrapolation\.0\.moves: arm pl has couplings of its own .* take single or auto",
        ),
        (GLASS, r"arms\.pl: edwards_anderson has couplings of its own sites; take every_pair: true"),
        (
            {"arms": DIRECT, "model": {"name": "ising", "field": 0.5}},
            r"network\.states: full is no symmetry of ising .*; take none\.",
        ),
        (
            {"arms": DIRECT, "model": {"name": "potts", "q": 4, "form": "clock"}},
            r"full is no symmetry of potts .*; take none or cyclic\.",
        ),
        (
            {"arms": {"two": {"kind": "two_stage"}}, "fit": {"augment": {"point": True}}, **GLASS},
            r"fit\.augment: edwards_anderson has couplings of its own sites",
        ),
        (
            {"arms": {"d": {"kind": "direct", "beyond_pairs": 1.0}}, "network": {"pairs": False}},
            r"arms\.d\.beyond_pairs: needs a network with pairs: true",
        ),
        ({"arms": {"pl": {"kind": "screening", "shells": 12}}}, r"arms\.pl: shells: .* more than half"),
        (
            {"extrapolation": [{"shapes": [[5, 5]], "temperatures": [1]}], "arms": DIRECT,
             "network": {"focus": 2, "context": 1}},
            r"extrapolation\.0\.shapes\.0: focus: 2 does not divide the length 5",
        ),
        ({"score": {"shapes": [[8]]}}, r"score\.shapes\.0: \[8\] has another number of axes"),
        (
            {"arms": {"a": {"kind": "screening", "every_pair": True}}, "score": {"shapes": [[8, 8]]}} | GLASS,
            r"score\.shapes\.0: edwards_anderson: its couplings belong to its sites",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_lattice_is_refused_before_computing(changes, message):
    with pytest.raises(RecipeError, match=message):
        make_plan(recipe(**changes))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "s.npz"
    sample(ising((4, 4)), 3.0, 400, seed=1).save(path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [4, 6]}, r"its lattice is \(4, 4\), not \(4, 6\)"),
        ({"model": {"name": "potts", "q": 3}}, r"its q is 2, not 3"),
        ({"temperatures": [2.0]}, r"its temperature is 3\.0, not 2\.0"),
        ({"counts": [1000]}, r"counts: 1000, but .* has 400 samples"),
        ({"model": {"name": "ising", "J": 2.0}}, r"its samples are of ising .*, the recipe's model is ising"),
    ],
)
def test_a_sample_file_that_does_not_belong_is_refused(file, changes, message):
    with pytest.raises(MLPotError, match=message):
        make_plan(recipe(samples=str(file), **changes))


def test_samples_visibly_not_in_equilibrium_are_refused(tmp_path):
    generator = np.random.default_rng(0)
    # Ordered at first, disordered at the end.
    flips = generator.random((400, 4, 4)) < np.linspace(0, 0.5, 400)[:, None, None]
    Samples(flips.astype(np.int8), 3.0, 2).save(tmp_path / "drift.npz")
    with pytest.raises(DataError, match=r"drift\.npz: visibly not in equilibrium"):
        make_plan(recipe(samples=str(tmp_path / "drift.npz")))


def test_samples_of_ones_own_say_the_model_themselves(file, tmp_path):
    assert make_plan(recipe(samples=str(file), model=None)).model.name == "ising"
    np.save(tmp_path / "own.npy", np.random.default_rng(0).integers(0, 2, (100, 4, 4)))
    with pytest.raises(DataError, match=r"own\.npy: does not say its q; give it"):
        make_plan(recipe(samples=str(tmp_path / "own.npy"), model=None))
    plan = make_plan(recipe(samples=str(tmp_path / "own.npy"), model=None, q=2))
    assert plan.model is None and plan.q == 2


def test_tasks_are_named_by_what_they_rest_on(file):
    arms = {"pl": {"kind": "pseudo_likelihood"}, "two": {"kind": "two_stage"}, "direct": {"kind": "direct"}}
    one = make_plan(recipe(arms=arms))

    def kept(**changes):
        return set(one.learning) & set(make_plan(recipe(**({"arms": arms} | changes))).learning)

    assert kept(title="other", extrapolation=[{"shapes": [[4, 4]], "temperatures": [1]}]) == set(one.learning)
    assert not kept(shape=[4, 6])
    assert not kept(samples=str(file))
    fit = {key.split("-")[0] for key in kept(fit={"steps": 5})}
    assert fit == {"samples", "pl", "direct", "score"} and len(kept(fit={"steps": 5})) == 5
    learned = {key for key, task in one.learning.items() if isinstance(task, ArmTask)}
    assert kept(score={"configurations": 7}) >= learned
    (two,) = [one.learning[key] for key in learned if key.startswith("two-")]
    assert isinstance(one.learning[two.sequence], SequenceTask)


def test_profiles_and_flags_change_a_recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(BASE | {"profiles": {"quick": {"counts": [50], "seeds": None}}}))
    assert load_lattice(path).counts == [100]
    quick = load_lattice(path, "quick", {"samples": "s.npz", "engine": None})
    assert quick.counts == [50] and quick.seeds == [0, 1, 2] and quick.samples == "s.npz"
    with pytest.raises(RecipeError, match="no profile 'slow'; there are: quick"):
        load_lattice(path, "slow")
