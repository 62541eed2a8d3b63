"""Low-rank adapters: they start as the donor, stay of low rank, obey physics, and merge exactly."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from mlpot.data.graph import batch_graphs, frame_graphs
from mlpot.errors import ModelFileError, NativeError, RecipeError
from mlpot.model.file import load_model, save_model
from mlpot.model.native import load_library
from mlpot.model.network import DegreeLinear, ScalarNetwork
from mlpot.testing.suite import run_checks
from mlpot.training.fit import fit
from mlpot.training.settings import FitSettings
from mlpot.training.weights import merge, weights
from mlpot.transfer.adapters import Adapters, LowRank, adapt
from mlpot.transfer.donor import donate
from mlpot.transfer.freeze import freeze

RANK = 2
#: Channel matrices with a side not larger than the rank: the readout gives one number.
NARROW = {f"network.layers.{i}.readout.{name}" for i in (0, 1) for name in ("outer", "direct")}
TABLES = {
    "network.layers.0.species_radial",
    "network.layers.0.centre_table",
    "network.layers.1.centre_table",
}
RADIAL = "network.layers.1.radial_table"


@pytest.fixture
def start(make_donor):
    def make(dtype=torch.float32, targets=("Ge",)):
        return donate(make_donor(dtype=dtype), list(targets))

    return make


def shaken(model, seed=0):
    """Give the factors values, as a training would."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, LowRank):
            for factor in (module.a, module.b):
                noise = torch.randn(factor.shape, generator=generator, dtype=torch.float64)
                factor.data.add_(0.2 * noise.to(factor))
    return model


def native_or_not():
    try:
        load_library()
    except NativeError:
        return [False]
    return [False, True]


def same(ours, theirs):
    """Say whether predictions agree to the bit."""
    return all(
        a.energy == b.energy and np.array_equal(a.forces, b.forces) and np.array_equal(a.stress, b.stress)
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_start_is_the_donor_to_the_bit(start, ge_frames, dtype):
    plain, adapted = start(dtype)[0], start(dtype)[0]
    adapt(adapted, Adapters(rank=RANK))
    assert adapted.dtype == dtype
    for native in native_or_not():
        plain.use_native(native), adapted.use_native(native)
        assert same(plain.predict(ge_frames[:3]), adapted.predict(ge_frames[:3]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_merging_changes_no_bit_of_a_prediction_on_any_path(start, ge_frames, dtype):
    model = start(dtype)[0]
    model.predict(ge_frames[:1])  # weights are packed and kept
    shaken(model, adapt(model, Adapters(rank=RANK)) and 1)
    graphs = batch_graphs(frame_graphs(ge_frames[:3], model.cutoff))
    merged = copy.deepcopy(model)
    merge(merged)
    for native in native_or_not():
        model.use_native(native), merged.use_native(native)
        assert same(model.predict(ge_frames[:3]), merged.predict(ge_frames[:3]))
    ours, theirs = (m(graphs, create_graph=True) for m in (model, merged))
    for name in ("energy", "forces", "stress"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert not same(merged.predict(ge_frames[:1]), start(dtype)[0].predict(ge_frames[:1]))


def test_merged_model_is_a_plain_one(start, tmp_path):
    plain, model = start()[0], start()[0]
    adapt(model, Adapters(rank=RANK))
    with pytest.raises(ModelFileError, match=r"not saved, it carries adapters; merge them first"):
        save_model(model, tmp_path / "model.safetensors")
    merge(model)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    save_model(model, tmp_path / "model.safetensors")
    load_model(tmp_path / "model.safetensors")


def test_a_copy_keeps_its_adapters_when_the_model_is_merged(start, ge_frames):
    model = start()[0]
    adapt(model, Adapters(rank=RANK))
    twin = copy.deepcopy(shaken(model))
    merge(model)
    assert same(model.predict(ge_frames[:2]), twin.predict(ge_frames[:2]))
    shaken(twin, seed=5)
    assert not same(model.predict(ge_frames[:2]), twin.predict(ge_frames[:2]))


def test_physics_of_the_adapted_and_of_the_merged_model(start):
    model = start(torch.float64)[0]
    adapt(model, Adapters(rank=RANK))
    shaken(model)
    for _ in range(2):
        failed = [check for check in run_checks(model, ["Ge"]) if check.passed is False]
        assert not failed, failed
        merge(model)


def test_there_is_one_pair_of_factors_for_each_matrix_and_degree(start):
    model = start()[0]
    adapted = adapt(model, Adapters(rank=RANK))
    expected = {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, DegreeLinear | ScalarNetwork)
        for name in module.matrices
    }
    assert set(adapted) == expected - NARROW
    stack = model.network.layers[0].update.parametrizations.weight
    degrees, rows, columns = stack.original.shape
    assert degrees == 3
    assert stack[0].a.shape == (degrees, rows, RANK)
    assert stack[0].b.shape == (degrees, RANK, columns)
    assert not stack[0].b.any()


@pytest.mark.parametrize(
    ("tables", "trained"), [("elements", TABLES), ("all", TABLES | {RADIAL}), ("none", set())]
)
def test_gradients_flow_to_adapters_narrow_matrices_and_the_tables_asked_for(
    start, ge_frames, tables, trained
):
    model, report = start()
    adapted = adapt(model, Adapters(rank=RANK, tables=tables), report)
    graphs = batch_graphs(frame_graphs(ge_frames[:2], model.cutoff))
    model(graphs, create_graph=True).forces.square().sum().backward()
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    factors = {
        name for name in with_gradient if name.endswith((".0.a", ".0.b")) and ".parametrizations." in name
    }
    assert with_gradient - factors == NARROW | trained
    assert {name for name, parts in weights(model).items() if len(parts) == 3} == set(adapted)
    assert len(factors) == 2 * len(adapted)
    actions = {name: record.action for name, record in report.records.items()}
    assert {name for name, action in actions.items() if action == "adapted"} == set(adapted)
    assert {name for name, action in actions.items() if action == "frozen"} == (TABLES | {RADIAL}) - trained
    assert report.records[adapted[0]].detail == f"copied, plus a product of rank {RANK}"


def test_fit_changes_matrices_by_the_rank_and_leaves_a_plain_model(start, ge_frames, tmp_path):
    model, before = start()[0], dict(start()[0].named_parameters())
    adapted = adapt(model, Adapters(rank=RANK))
    fit(model, ge_frames[:4], ge_frames[4:6], FitSettings(epochs=3, batch_size=2), tmp_path)
    loaded = load_model(tmp_path / "model.safetensors")
    assert list(loaded.state_dict()) == list(start()[0].state_dict())
    assert same(loaded.predict(ge_frames[:3]), model.predict(ge_frames[:3]))
    for name, parameter in loaded.named_parameters():
        change = (parameter - before[name]).detach().double()
        assert bool(change.any()) == (name != RADIAL), name
        if name in adapted:
            values = torch.linalg.svdvals(change)
            assert (values[..., RANK:].amax(-1) < 1e-5 * values[..., 0].clamp(min=1e-2)).all(), name


def test_average_is_of_the_factors(start, ge_frames, tmp_path):
    class Average(Callback):
        weights = None

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            now = {name: p.detach().clone().double() for name, p in pl_module.potential.named_parameters()}
            old = self.weights or now
            self.weights = {name: 0.8 * old[name] + 0.2 * value for name, value in now.items()}

    average, model = Average(), start()[0]
    adapt(model, Adapters(rank=RANK))
    settings = FitSettings(epochs=2, batch_size=1, average=0.8)
    fit(model, ge_frames[:4], [], settings, tmp_path, callbacks=[average])
    parts = [
        average.weights[f"network.layers.0.update.parametrizations.weight.{p}"]
        for p in ("original", "0.a", "0.b")
    ]
    expected = parts[0] + parts[1] @ parts[2]
    torch.testing.assert_close(model.network.layers[0].update.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_what_is_frozen_gets_no_adapter(start):
    model, report = start()
    frozen = freeze(model, ["network.layers.0.*"], report)
    adapted = adapt(model, Adapters(rank=RANK), report)
    assert adapted and not set(adapted) & set(frozen)
    trained = {name for name, parts in weights(model).items() if any(p.requires_grad for p in parts)}
    assert not trained & set(frozen)
    assert all(report.records[name].action == "frozen" for name in frozen)


def test_patterns_name_weights_with_adapters_as_without(start):
    model = start()[0]
    adapt(model, Adapters(rank=RANK))
    frozen = freeze(model, ["network.layers.1.factors.weight"])
    assert frozen == ["network.layers.1.factors.weight"]
    assert not any(p.requires_grad for p in model.network.layers[1].factors.parameters())


def test_the_seed_decides_the_random_factors(start):
    factors = []
    for seed in (0, 0, 1):
        model = start()[0]
        adapt(model, Adapters(rank=RANK, seed=seed))
        factors.append(model.network.layers[0].update.parametrizations.weight[0].a)
    assert torch.equal(factors[0], factors[1])
    assert not torch.equal(factors[0], factors[2])


def test_adapters_that_cannot_be(start):
    model = start()[0]
    with pytest.raises(RecipeError, match=r"have no more than 12 rows or columns; lower `rank` or freeze"):
        adapt(model, Adapters(rank=12))
    adapt(model, Adapters(rank=RANK))
    with pytest.raises(RecipeError, match="has adapters already; merge them before adding others"):
        adapt(model, Adapters(rank=RANK))
    model = start()[0]
    freeze(model, ["*.weight", "*.scalars.*", "*.readout.*"])
    with pytest.raises(RecipeError, match="no channel matrix is left to adapt: all are frozen"):
        adapt(model, Adapters(rank=RANK))
