"""From runs to a melting temperature: synthetic runs whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from mlpot.melting import MeltingError, estimate
from mlpot.melting.estimate import Series, coexisted

MELTING = 1690.0


def run(side: str, seed: int, drift: float = 0.0, fraction: tuple[float, float] | None = None) -> Series:
    """A run that relaxes to the melting temperature within 15 ps and fluctuates by 35 K as slowly."""
    rng = np.random.default_rng(seed)
    count, interval, time = 10_000, 0.02, 15.0
    decay = np.exp(-interval / time)
    noise = rng.standard_normal(count) * 35.0 * np.sqrt(1 - decay**2)
    noise[0] /= np.sqrt(1 - decay**2)
    start = MELTING * (0.92 if side == "cold" else 1.08)
    times = np.arange(count) * interval
    relaxing = MELTING + drift + (start - MELTING - drift) * np.exp(-times / time)
    temperature = relaxing + lfilter([1.0], [1.0, -decay], noise) + 20.0 * rng.standard_normal(count)
    ends = fraction or ((0.5, 0.6) if side == "cold" else (0.5, 0.4))
    shares = ends[1] + (ends[0] - ends[1]) * np.exp(-times[::25] / time)
    return Series(side, start, temperature, shares, 0.01)


def runs(seed: int, number: int = 2) -> list[Series]:
    return [run(side, 10 * seed + 2 * i + (side == "hot")) for i in range(number) for side in ("cold", "hot")]


def test_error_and_bracket_hold_what_they_promise():
    found = [estimate(runs(seed)) for seed in range(40)]
    values = np.array([one.temperature for one in found])
    errors = np.array([one.error for one in found])
    # 200 ps less a fifth, correlated over twice 15 ps: 35 K / sqrt(4 x 5.3).
    assert np.std(values) == pytest.approx(7.6, rel=0.4)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.5)
    assert abs(values.mean() - MELTING) < 4.0
    inside = [one.bracket[0] < MELTING < one.bracket[1] for one in found]
    assert np.mean(inside) > 0.9
    assert np.mean([one.interval[0] < MELTING < one.interval[1] for one in found]) > 0.85
    one = found[0]
    assert one.bracket[0] < one.temperature < one.bracket[1] < one.bracket[0] + 150
    assert one.grew_at == pytest.approx(0.92 * MELTING) and one.melted_at == pytest.approx(1.08 * MELTING)


def test_more_runs_make_the_error_smaller():
    few = np.mean([estimate(runs(seed, 2)).error for seed in range(12)])
    many = np.mean([estimate(runs(seed, 8)).error for seed in range(12)])
    assert many == pytest.approx(few / 2, rel=0.35)


def test_sides_that_have_not_met_are_noted():
    apart = [run("cold", n, drift=-60) for n in range(3)] + [run("hot", 5 + n, drift=60) for n in range(3)]
    found = estimate(apart)
    assert "more than three errors" in found.notes[-1]
    assert found.bracket[0] < MELTING - 60 and found.bracket[1] > MELTING + 60
    assert found.cold[0] < found.hot[0]


def test_a_run_that_froze_is_left_out():
    cases = [*runs(0), run("cold", 9, drift=-300, fraction=(0.5, 0.99))]
    found = estimate(cases)
    assert not found.runs[-1].coexisted and "froze altogether" in " ".join(found.notes)
    assert found.temperature == pytest.approx(estimate(cases[:4]).temperature)


def test_a_side_without_coexistence_has_no_bracket():
    cases = [run("cold", 1), run("hot", 2, fraction=(0.5, 0.0))]
    with pytest.raises(MeltingError, match=r"no run from the hot side.*melted altogether.*better guess"):
        estimate(cases)


def test_one_noisy_moment_is_no_end_of_coexistence():
    shares = np.full(100, 0.5)
    shares[50] = 0.05
    assert coexisted(shares)
    shares[50:65] = 0.05
    assert not coexisted(shares)


def test_runs_too_short_for_their_error():
    short = [Series(s.side, s.start, s.temperature[:900], s.fraction[:20], 0.0) for s in runs(1)]
    assert any("too short for its error" in note for note in estimate(short, settle=0.5).notes)
