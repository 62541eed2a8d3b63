from __future__ import annotations

import numpy as np
import pytest

from mlpot.errors import DataError
from mlpot.simulation.survival import clopper_pearson, kaplan_meier

#: Remission (weeks) of leukaemia under 6-mercaptopurine, Freireich et al., Blood 21, 699 (1963);
#: those who relapsed, and those still in remission when last seen.
FAILED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
REMISSION = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
#: The life table of these data, worked in many textbooks (Cox & Oakes, Analysis of Survival Data,
#: 1984): weeks, at risk, failing, S, Greenwood's standard error, 95 % interval (log-log).
PUBLISHED = [
    (6, 21, 3, 0.8571, 0.0764, 0.6197, 0.9516),
    (7, 17, 1, 0.8067, 0.0869, 0.5631, 0.9228),
    (10, 15, 1, 0.7529, 0.0963, 0.5032, 0.8894),
    (13, 12, 1, 0.6902, 0.1068, 0.4316, 0.8491),
    (16, 11, 1, 0.6275, 0.1141, 0.3675, 0.8049),
    (22, 7, 1, 0.5378, 0.1282, 0.2678, 0.7468),
    (23, 6, 1, 0.4482, 0.1346, 0.1881, 0.6801),
]


def test_leukaemia_remissions() -> None:
    curve = kaplan_meier(FAILED + REMISSION, [True] * len(FAILED) + [False] * len(REMISSION))
    assert curve.times.tolist() == [row[0] for row in PUBLISHED]
    for k, (time, at_risk, events, survival, error, low, high) in enumerate(PUBLISHED):
        assert (curve.at_risk[k], curve.events[k]) == (at_risk, events)
        assert curve.survival[k] == pytest.approx(survival, abs=5e-5)
        assert curve.standard_error[k] == pytest.approx(error, abs=5e-5)
        assert curve.at(time) == pytest.approx((survival, low, high), abs=5e-5)
        assert curve.at(time + 0.5) == curve.at(time)
    assert curve.median == 23.0


def test_without_censoring_it_is_the_fraction_alive() -> None:
    durations = np.array([1.0, 2.0, 2.0, 4.0, 8.0])
    curve = kaplan_meier(durations, np.ones(5))
    for time in (0.5, 1.0, 3.0, 7.0):
        assert curve.at(time)[0] == pytest.approx((durations > time).mean())
    # Greenwood's error is then that of a proportion.
    assert curve.standard_error[1] == pytest.approx(np.sqrt(0.4 * 0.6 / 5))


def test_all_censored_has_the_exact_bound() -> None:
    curve = kaplan_meier([5.0] * 3, [False] * 3)
    survival, low, high = curve.at(5.0)
    assert (survival, high) == (1.0, 1.0)
    # No failure in n: p^n = 0.025, by hand.
    assert low == pytest.approx(0.025 ** (1 / 3))
    assert curve.median is None
    with pytest.raises(DataError, match="no survival estimate at 6"):
        curve.at(6.0)


def test_all_failed_has_the_exact_bound() -> None:
    curve = kaplan_meier([1.0, 2.0, 3.0], [True] * 3)
    survival, low, high = curve.at(5.0)
    assert (survival, low) == (0.0, 0.0)
    assert high == pytest.approx(1.0 - 0.025 ** (1 / 3))
    assert curve.median == 2.0


def test_before_the_first_failure_those_censored_say_nothing() -> None:
    curve = kaplan_meier([1.0, 4.0, 5.0], [False, True, False])
    assert curve.at(2.0) == pytest.approx((1.0, 0.025**0.5, 1.0))


def test_clopper_pearson() -> None:
    # 7 of 10 and 0 of 10: printed in tables of exact binomial limits.
    assert clopper_pearson(7, 10) == pytest.approx((0.3475, 0.9333), abs=5e-5)
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 0.3085), abs=5e-5)
    with pytest.raises(DataError, match="no proportion"):
        clopper_pearson(3, 2)


@pytest.mark.parametrize(
    ("durations", "observed", "match"),
    [([], [], "at least one"), ([1.0], [True, False], "as many"), ([-1.0], [True], "not negative")],
)
def test_bad_data(durations: list[float], observed: list[bool], match: str) -> None:
    with pytest.raises(DataError, match=match):
        kaplan_meier(durations, observed)
