"""Displacement, diffusion and vibrations, against Langevin particles and oscillators."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from scipy.signal import lfilter

from mlpot.errors import DataError, RecipeError
from mlpot.observables.correlation import autocorrelation
from mlpot.observables.diffusion import diffusion, mean_squared_displacement
from mlpot.observables.trajectory import Motion, motion, unwrapped
from mlpot.observables.vibration import velocity_autocorrelation, vibrational_density


def free_langevin(
    temperature=1000.0, friction=5.0, mass=28.0855, interval=0.02, count=6000, atoms=150, seed=0
):
    """Exact samples of free Langevin particles; D = k T / (m friction), Å²/ps."""
    rng = np.random.default_rng(seed)
    spread = units.kB * temperature / mass * (1000 * units.fs) ** 2  # (Å/ps)², per component
    decay = np.exp(-friction * interval)
    shape = (count, atoms, 3)
    noise = rng.standard_normal(shape)
    kick = np.sqrt(spread * (1 - decay**2)) * noise
    kick[0] = np.sqrt(spread) * noise[0]
    velocities = lfilter([1.0], [1.0, -decay], kick, axis=0)
    # x' - x given v and v' is normal (Uhlenbeck and Ornstein, Phys. Rev. 36, 823 (1930)).
    mean = (velocities[1:] + velocities[:-1]) * (1 - decay) / (1 + decay) / friction
    left = 2 * spread / friction * (interval - 2 / friction * (1 - decay) / (1 + decay))
    steps = mean + np.sqrt(left) * rng.standard_normal(mean.shape)
    positions = np.concatenate([np.zeros((1, atoms, 3)), steps.cumsum(axis=0)])
    made = Motion(np.full(atoms, 14), np.full(atoms, mass), interval, positions, velocities)
    return made, spread / friction


def test_free_langevin_particles():
    made, expected = free_langevin()
    found = diffusion(made, (1.0, 4.0))
    # The centre of mass is at rest: N - 1 of N particles' worth of motion.
    expected *= 1 - 1 / 150
    assert found.error < 0.05 * expected
    assert found.coefficient == pytest.approx(expected, abs=4 * found.error)
    assert found.green_kubo == pytest.approx(expected, abs=4 * found.green_kubo_error)
    assert found.green_kubo_error < 0.1 * expected
    assert found.exponent == pytest.approx(1.0, abs=0.15) and found.notes == []


def test_error_of_diffusion_is_that_among_trajectories():
    found = [diffusion(free_langevin(count=800, atoms=20, seed=s)[0], (0.5, 1.5)) for s in range(40)]
    assert np.mean([one.error for one in found]) == pytest.approx(
        np.std([one.coefficient for one in found]), rel=0.4
    )


def test_displacement_against_loops():
    positions = np.random.default_rng(0).normal(size=(40, 5, 3)).cumsum(axis=0) + 100.0
    loops = [
        np.mean([((positions[t + k] - positions[t]) ** 2).sum(axis=1).mean() for t in range(40 - k)])
        for k in range(40)
    ]
    assert mean_squared_displacement(positions) == pytest.approx(loops, abs=1e-9)
    assert mean_squared_displacement(positions, 7) == pytest.approx(loops[:7], abs=1e-9)


def test_correlation_against_loops(monkeypatch):
    values = np.random.default_rng(0).normal(size=(30, 5, 3))
    weights = np.arange(1.0, 6.0)
    loops = [
        np.mean([((values[t + k] * values[t]).sum(axis=1) * weights).sum() for t in range(30 - k)])
        for k in range(30)
    ]
    assert autocorrelation(values, 30, weights) == pytest.approx(loops)
    monkeypatch.setattr("mlpot.observables.correlation._AT_ONCE", 1)  # one atom at a time
    assert autocorrelation(values, 30, weights) == pytest.approx(loops)


def test_a_solid_does_not_diffuse():
    rng = np.random.default_rng(0)
    made = Motion(np.full(20, 14), np.full(20, 28.0), 0.05, rng.normal(size=(400, 20, 3)) * 0.1, None)
    found = diffusion(made)
    assert abs(found.coefficient) < 1e-3 and found.green_kubo is None
    assert "no diffusion" in found.notes[0]


def oscillators(frequencies, interval, count, seed=0, masses=None):
    """Harmonic oscillators with random phases: each atom one frequency (THz) in all directions."""
    rng = np.random.default_rng(seed)
    frequencies = np.asarray(frequencies, dtype=float)
    atoms = len(frequencies)
    masses = np.full(atoms, 28.0855) if masses is None else masses
    phases = rng.uniform(0, 2 * np.pi, (atoms, 3))
    omega = 2 * np.pi * frequencies[:, None]
    # Equal energies: m omega² A² is the same for all.
    amplitude = 1.0 / (omega * np.sqrt(masses)[:, None])
    angle = omega[None] * (np.arange(count) * interval)[:, None, None] + phases
    positions, velocities = amplitude * np.sin(angle), amplitude * omega * np.cos(angle)
    return Motion(np.full(atoms, 14), masses, interval, positions, velocities)


@pytest.mark.parametrize("known", [True, False])
def test_spectrum_of_oscillators(known):
    # 3 of 8 THz to 1 of 16 THz, of unlike masses: states count by number, not by mass. Many of each, so
    # that the centre of mass hardly moves.
    frequencies = np.array([8.0, 8.0, 8.0, 16.0] * 50)
    masses = np.array([28.0, 28.0, 72.6, 72.6] * 50)
    made = oscillators(frequencies, 0.008, 4000, masses=masses)
    if not known:
        made = Motion(made.numbers, made.masses, made.interval, made.positions, None)
    found = vibrational_density(made, resolution=0.5)
    assert np.trapezoid(found.density, found.frequency) == pytest.approx(3.0)
    low = found.frequency < 12.0
    assert np.trapezoid(found.density[low], found.frequency[low]) == pytest.approx(2.25, rel=0.03)
    peak = found.frequency[low][np.argmax(found.density[low])]
    assert peak == pytest.approx(8.0, abs=0.3)
    # A line is as wide at half its height as the resolution says.
    wide = (found.density[low] > found.density[low].max() / 2).sum() * (
        found.frequency[1] - found.frequency[0]
    )
    assert wide == pytest.approx(0.5, abs=0.4)
    assert (found.density >= 0).all()
    assert len(found.notes) == (0 if known else 1)


def test_spectrum_of_langevin_particles():
    # Free particles: a Lorentzian of half width friction / 2 pi.
    made, _ = free_langevin(friction=20.0, interval=0.005, count=8000, atoms=100)
    found = vibrational_density(made, resolution=0.5)
    shape = 1 / (1 + (2 * np.pi * found.frequency / 20.0) ** 2)
    part = found.frequency < 15  # from 0 on, where it is the diffusion
    assert found.density[part] / found.density[part].sum() == pytest.approx(
        shape[part] / shape[part].sum(), rel=0.15
    )


def test_too_slow_a_record_is_noted():
    found = vibrational_density(oscillators([15.0] * 20 + [3.0] * 20, 0.033, 3000))
    assert any("has not ended" in note for note in found.notes)


def test_velocity_autocorrelation_of_langevin_particles():
    made, _ = free_langevin()
    times, values = velocity_autocorrelation(made, 1.0)
    spread = 3 * units.kB * 1000.0 / 28.0855 * (1000 * units.fs) ** 2 * (1 - 1 / 150)
    assert values == pytest.approx(spread * np.exp(-5.0 * times), abs=0.03 * spread)


def wrapped_walk(count=60, cell=None, seed=0):
    rng = np.random.default_rng(seed)
    cell = np.array([[8.0, 0, 0], [2.0, 7.0, 0], [-1.0, 1.0, 9.0]]) if cell is None else cell
    walk = rng.random((6, 3)) @ cell + rng.normal(size=(count, 6, 3)).cumsum(axis=0) * 0.8
    frames = [Atoms("Si6", positions=one, cell=cell, pbc=True) for one in walk]
    for number, atoms in enumerate(frames):
        if number:
            atoms.wrap()
        atoms.info["time_ps"] = 0.02 * number
    return walk, frames


def test_unwrapping_undoes_wrapping():
    walk, frames = wrapped_walk()
    assert unwrapped(frames) == pytest.approx(walk)
    for atoms in frames:
        atoms.pbc = [True, False, True]
    inside = [atoms.copy() for atoms in frames]
    for atoms, places in zip(inside, walk, strict=True):
        atoms.positions = places
        atoms.wrap()
    inside[0].positions = walk[0]
    assert unwrapped(inside) == pytest.approx(walk)
    for atoms in frames:
        atoms.pbc = False
    assert unwrapped(frames)[5] == pytest.approx(frames[5].positions)


def test_a_breathing_cell_is_no_motion():
    _, frames = wrapped_walk(1)
    grown = frames[0].copy()
    grown.set_cell(grown.cell * 1.05, scale_atoms=True)
    assert unwrapped([frames[0], grown])[1] == pytest.approx(frames[0].positions)


def test_times_and_velocities_of_frames():
    _, frames = wrapped_walk()
    assert motion(frames).interval == pytest.approx(0.02)
    assert motion(frames, 5.0).interval == pytest.approx(0.005)
    assert motion(frames).velocities is None
    for atoms in frames:
        atoms.set_velocities(np.full((6, 3), 0.01 / units.fs))
    assert motion(frames).velocities == pytest.approx(10.0)  # Å/ps
    assert motion(frames).moving == pytest.approx(0.0)


def test_refused():
    _, frames = wrapped_walk()
    with pytest.raises(DataError, match="at least 2 frames"):
        motion(frames[:1])
    with pytest.raises(RecipeError, match="above zero"):
        motion(frames, -1.0)
    with pytest.raises(DataError, match=r"frame 60 has no time .*--interval"):
        motion([*frames, Atoms("Si6", positions=np.zeros((6, 3)))])
    with pytest.raises(DataError, match=r"not at equal times.* before frame 10, 0.02 ps elsewhere"):
        motion(frames[:10] + frames[12:])
    with pytest.raises(DataError, match=r"frame 3 is at .* ps, not after"):
        motion([*frames[:3], frames[1]])
    with pytest.raises(DataError, match="holds other atoms"):
        motion([frames[0], frames[1][:3]])
    made = motion(frames)
    with pytest.raises(DataError, match="too few; run longer"):
        diffusion(made, (0.1, 10.0))
    with pytest.raises(RecipeError, match="rising window"):
        diffusion(made, (2.0, 1.0))
    with pytest.raises(DataError, match=r"resolution of 0\.01 THz needs"):
        vibrational_density(made, resolution=0.01)
    with pytest.raises(DataError, match="velocity autocorrelation over"):
        velocity_autocorrelation(made, 100.0)
