"""The native kernels against their twin in PyTorch, autograd and finite differences."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from test_inference import (
    SHAPES,
    STRUCTURES,
    TOLERANCE,
    Leaning,
    assert_close,
    assert_same,
    batch_of,
    check_slopes,
    roughened,
)

from mlpot.errors import NativeError
from mlpot.model import native
from mlpot.model.inference import PackedWeights, energies_and_slopes
from mlpot.model.native import NativeWeights, native_energies_and_slopes
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.simulation.calculator import MLPotCalculator

SHAPES = SHAPES | {
    "default": NetworkConfig(),
    "odd widths": NetworkConfig(channels=8, radial=5, l_max=2, l_features=1, hidden=7),
    "wide": NetworkConfig(channels=24, radial=9, layers=2, hidden=20),
}


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Forget what was compiled, for the time of a test, and return the folder of another cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native._outcome.cache_clear()
    yield tmp_path
    native._outcome.cache_clear()


@pytest.mark.usefixtures("compiled")
class TestEquality:
    @pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_equals_autograd(self, shape: str, dtype: torch.dtype, request: pytest.FixtureRequest) -> None:
        """Every structure alone, and all in one batch with a lone atom and a pair out of reach."""
        potential = roughened(SHAPES[shape], dtype)
        assert potential.use_native()
        structures = [request.getfixturevalue(name) for name in STRUCTURES]
        structures += [Atoms("Ge"), Atoms("SiGe", positions=[[0, 0, 0], [60, 0, 0]])]
        for several in [*([atoms] for atoms in structures), structures]:
            graph = batch_of(potential, *several)
            assert_same(potential(graph), potential.differentiate(graph), potential, graph)

    @pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
    @pytest.mark.parametrize("layers", [1, 2, 3])
    @pytest.mark.parametrize("elements", ["Si", "Si Ge", "Ge C Si"])
    def test_equals_its_twin(
        self, elements: str, layers: int, dtype: torch.dtype, cubic: Atoms, skewed: Atoms
    ) -> None:
        """Energies and slopes of every bond; also of those that a skin brings in, beyond the cutoff."""
        config = NetworkConfig(channels=16, hidden=8, layers=layers)
        potential = roughened(config, dtype, elements)
        for atoms in (cubic, skewed):
            atoms.symbols[:] = (elements.split() * 8)[: len(atoms)]
        bonds = potential.bonds(batch_of(potential, cubic, Atoms("Si"), skewed, extra=0.7))
        assert (bonds.vectors.norm(dim=1) > config.cutoff).any()
        weights = torch.linspace(0.5, 2.0, len(bonds.species), dtype=dtype)
        packed = PackedWeights()
        expected = energies_and_slopes(potential.network, packed.get(potential.network), bonds, weights)
        found = native_energies_and_slopes(NativeWeights().get(potential.network, packed), bonds, weights)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == dtype
            assert_close(one, other, TOLERANCE[dtype])

    def test_one_end_of_a_bond_within_the_cutoff(self, skewed: Atoms) -> None:
        """By rounding the two directions of a bond may fall on different sides of it."""
        potential = roughened(SHAPES["three layers"])
        bonds = potential.bonds(batch_of(potential, skewed))
        lengths = bonds.vectors.norm(dim=1)
        cutoff = potential.config.cutoff
        bond = int(torch.where(lengths < cutoff, lengths, 0.0).argmax())
        direction = bonds.vectors[bond] / lengths[bond]
        bonds.vectors[bond] = (1.0 - 1e-9) * cutoff * direction
        bonds.vectors[bonds.reverse[bond]] = -(1.0 + 1e-9) * cutoff * direction
        weights, packed = torch.ones(len(bonds.species), dtype=torch.float64), PackedWeights()
        expected = energies_and_slopes(potential.network, packed.get(potential.network), bonds, weights)
        found = native_energies_and_slopes(NativeWeights().get(potential.network, packed), bonds, weights)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, 1e-11)

    def test_no_bonds_and_no_atoms(self) -> None:
        potential = roughened(SHAPES["two layers"])
        bonds = potential.bonds(batch_of(potential, Atoms("Si")))
        for some in (bonds, replace(bonds, species=bonds.species[:0], counts=bonds.counts[:0])):
            weights = torch.ones(len(some.species), dtype=torch.float64)
            packed = NativeWeights().get(potential.network, PackedWeights())
            energies, slopes = native_energies_and_slopes(packed, some, weights)
            assert energies.tolist() == [0.0] * len(some.species) and slopes.shape == (0, 3)

    def test_threads(self, cubic: Atoms) -> None:
        """The same to the last bit on several threads of its own, and from several of Python."""
        potential = roughened(SHAPES["three layers"])
        assert potential.use_native()
        graph, small = batch_of(potential, cubic.repeat(2)), batch_of(potential, cubic)
        expected, other = potential(graph).forces, potential(small).forces
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            assert torch.equal(potential(graph).forces, expected)
        finally:
            torch.set_num_threads(threads)
        with ThreadPoolExecutor(2) as pool:
            outputs = list(pool.map(potential, [graph, small] * 10))
        assert all(
            torch.equal(output.forces, (expected, other)[index % 2]) for index, output in enumerate(outputs)
        )

    def test_changes_of_weights_are_seen(self, cubic: Atoms) -> None:
        potential = roughened(SHAPES["two layers"])
        assert potential.use_native()
        graph = batch_of(potential, cubic)
        before = potential(graph)
        potential.network.layers[1].factors.weight.data.mul_(1.1)
        assert not torch.equal(potential(graph).forces, before.forces)
        assert_same(potential(graph), potential.differentiate(graph), potential, graph)
        clone = copy.deepcopy(potential)
        clone.network.layers[0].factor_scale.factor.mul_(1.1)
        for one in (clone, potential, clone.float(), clone.double()):
            assert_same(one(graph), one.differentiate(graph), one, graph)

    def test_slopes_by_finite_differences(self, skewed: Atoms) -> None:
        potential = roughened(NetworkConfig(channels=4, hidden=8, layers=3))
        assert potential.use_native()
        check_slopes(potential, skewed)

    def test_rotated_and_smooth(self, cluster: Atoms) -> None:
        """Forces turn with the structure; nothing jumps where a bond reaches the cutoff."""
        potential = roughened(SHAPES["two layers"])
        assert potential.use_native()
        turned = cluster.copy()
        turned.rotate(37.0, (1, 2, 3))
        forces = torch.as_tensor(potential.predict(cluster)[0].forces)
        probe = Atoms("Si" * len(cluster), positions=forces.numpy())
        probe.rotate(37.0, (1, 2, 3))
        assert_close(
            torch.as_tensor(potential.predict(turned)[0].forces), torch.as_tensor(probe.positions), 1e-11
        )
        cutoff = potential.config.cutoff / float(potential.length_scales[0])
        pairs = [Atoms("Si2", positions=[[0, 0, 0], [cutoff + d, 0, 0]]) for d in (-1e-5, 1e-5)]
        inside, outside = (p.forces for p in potential.predict(pairs))
        assert abs(inside).max() < 1e-6 and abs(outside).max() == 0.0

    def test_dynamics_keep_the_energy(self) -> None:
        atoms = bulk("Si", cubic=True)
        atoms.calc = MLPotCalculator(roughened(SHAPES["two layers"], elements="Si"), native=True)
        atoms.set_velocities(np.random.default_rng(0).normal(scale=0.03, size=(len(atoms), 3)))
        start = atoms.get_total_energy()
        kinetic = atoms.get_kinetic_energy()
        VelocityVerlet(atoms, timestep=0.5 * units.fs).run(100)
        assert abs(atoms.get_kinetic_energy() - kinetic) > 1e-2 * kinetic
        assert abs(atoms.get_total_energy() - start) < 1e-2 * kinetic


@pytest.mark.usefixtures("compiled")
class TestSwitch:
    def test_off_at_first_and_off_again(self, cubic: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        module = "mlpot.model.potential.native_energies_and_slopes"
        monkeypatch.setattr(module, lambda *args: calls.append(1) or native_energies_and_slopes(*args))
        potential = roughened(SHAPES["two layers"])
        potential.predict(cubic)
        assert not calls
        assert potential.use_native()
        potential.predict(cubic)
        graph = batch_of(potential, cubic)
        assert potential(graph, create_graph=True).forces.requires_grad
        assert len(calls) == 1
        assert not potential.use_native(False)
        potential.predict(cubic)
        assert len(calls) == 1

    def test_what_has_no_native_kernels(self, cubic: Atoms) -> None:
        deep = Potential(["Si"], NetworkConfig(channels=2, l_max=1, l_features=1))
        deep.config = replace(deep.config, l_max=native.LARGEST_DEGREE + 1)
        leaning = Leaning(["Si", "Ge"], SHAPES["two layers"])
        for model in (deep, leaning):
            assert not model.use_native()
            with pytest.raises(NativeError, match="has no native kernels"):
                MLPotCalculator(model, native=True)
        cubic.calc = MLPotCalculator(leaning)
        assert_close(
            torch.as_tensor(cubic.get_forces()), leaning.differentiate(batch_of(leaning, cubic)).forces, 1e-5
        )

    def test_sums(self, skewed: Atoms) -> None:
        total = roughened(SHAPES["two layers"]) + roughened(SHAPES["one layer"], torch.float32)
        assert total.use_native()
        graph = batch_of(total, skewed)
        assert_close(total(graph).forces, total.differentiate(graph).forces, 1e-5)

    def test_calculators(self, cubic: Atoms) -> None:
        results = []
        for choice in (None, True, False):
            potential = roughened(SHAPES["two layers"])
            cubic.calc = MLPotCalculator(potential, native=choice)
            assert (potential._native is None) == (choice is False)
            results.append((cubic.get_forces(), cubic.get_stress(), cubic.get_potential_energy()))
        for found in results[:2]:
            for one, other in zip(found, results[2], strict=True):
                assert np.abs(one - other).max() <= 1e-11 * np.abs(other).max()
        with pytest.raises(NativeError, match="not on meta"):
            MLPotCalculator(copy.deepcopy(potential), device="meta", native=True)

    def test_compiled_once_and_kept(self, forgetful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(native, "FLAGS", ("-std=c++17", "-O0", "-shared", "-fPIC"))
        library = native.build()
        assert library.parent == forgetful / "cache" / "mlpot"
        assert [path.name for path in library.parent.iterdir()] == [library.name]
        monkeypatch.setattr(native, "_compile", lambda *args: pytest.fail("compiled again"))
        assert native.build() == library
        monkeypatch.setattr(native, "_processor", lambda: "another")
        with pytest.raises(pytest.fail.Exception):
            native.build()


def compiler_that(folder: Path, *lines: str) -> str:
    """Return the path of a compiler that does what the lines of a shell script say."""
    script = folder / "compiler"
    script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    script.chmod(0o755)
    return str(script)


class TestFallback:
    def test_no_compiler(self, forgetful: Path, cubic: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CXX", "no-such-compiler")
        self.check(cubic, "CXX=no-such-compiler was not found", warns=False)
        monkeypatch.delenv("CXX")
        monkeypatch.setenv("PATH", str(forgetful))
        native._outcome.cache_clear()
        self.check(cubic, "install g\\+\\+ or clang\\+\\+", warns=False)

    def test_compiler_that_fails(
        self, forgetful: Path, cubic: Atoms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(
            "CXX",
            compiler_that(
                forgetful, "echo 'In file included' >&2", "echo 'x.cpp:1: error: no luck' >&2", "exit 1"
            ),
        )
        self.check(cubic, "cannot compile the native kernels: x.cpp:1: error: no luck", warns=True)
        assert list((forgetful / "cache" / "mlpot").iterdir()) == []

    def test_what_cannot_be_loaded(
        self, forgetful: Path, cubic: Atoms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(
            "CXX",
            compiler_that(
                forgetful, "for last; do :; done", '[ "$last" = --version ] || echo nothing > "$last"'
            ),
        )
        self.check(cubic, "cannot be loaded", warns=True)

    @pytest.mark.usefixtures("compiled")
    def test_cache_that_cannot_be_written(
        self, forgetful: Path, cubic: Atoms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (forgetful / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(forgetful / "file"))
        self.check(cubic, "XDG_CACHE_HOME", warns=True)

    def check(self, atoms: Atoms, message: str, warns: bool) -> None:
        """True is refused with the message; None computes in PyTorch, with a warning or none."""
        potential = roughened(SHAPES["two layers"])
        with pytest.raises(NativeError, match=message):
            MLPotCalculator(potential, native=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            atoms.calc = MLPotCalculator(potential)
        assert len(caught) == warns and all("native" in str(w.message) for w in caught)
        expected = potential.differentiate(batch_of(potential, atoms)).forces
        assert_close(torch.as_tensor(atoms.get_forces()), expected, 1e-11)
