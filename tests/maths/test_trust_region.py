"""Trust regions: wider after a good prediction, narrower after a bad one, until the parabola holds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot.maths.line_fit import FAILED, GOOD, TrustRegion, fit_line, is_good_enough


def test_by_hand() -> None:
    trust = TrustRegion()
    assert (trust.clip(5.0), trust.clip(-5.0), trust.clip(1.25)) == (2.0, 0.0, 1.25)
    assert trust.after(0.0, 2.0).radius == 2.0
    assert trust.after(0.0, 0.4).radius == 2.0, "downwards as well"
    assert trust.after(0.0, 1.25).radius == 1.0, "near by it says nothing of far away"
    assert trust.after(0.1, 2.0).radius == 1.0, "good enough, but no reason to go farther"
    assert trust.after(0.3, 1.1).radius == 0.5
    assert trust.after(math.inf, 2.0).radius == trust.after(math.nan, 2.0).radius == 0.5


@given(st.lists(st.sampled_from([0.0, GOOD, 0.1, FAILED, 0.21, 7.0, math.inf]), max_size=30))
def test_it_stays_within_its_limits(errors: list[float]) -> None:
    trust = TrustRegion(0.5, smallest=0.1, largest=1.5)
    for error in errors:
        trust = trust.after(error, trust.clip(9.0))
        assert 0.1 <= trust.radius <= 1.5


@pytest.mark.parametrize("cubic", [0.1, 3.0, 40.0, 500.0])
def test_on_a_cubic_it_shrinks_until_the_prediction_holds(cubic: float) -> None:
    # Falls at 1 with slope -1, and turns up again where the cubic term takes over.
    def loss(s: float) -> float:
        x = s - 1.0
        return 5.0 - x + 0.01 * x * x + cubic * x**3

    trust, radii = TrustRegion(), []
    for _ in range(20):
        factors = (1 - trust.radius / 2, 1.0, 1 + trust.radius / 2)
        fit = fit_line(factors, [[loss(s) for s in factors]])
        target = trust.clip(math.inf if fit.minimiser is None else fit.minimiser)
        error = fit.prediction_error(target, loss(target) - loss(1.0))
        if is_good_enough(error):
            break
        radii.append(trust.radius)
        trust = trust.after(error, target)
    assert is_good_enough(error) and loss(target) < loss(1.0)
    assert radii == [2.0**-i for i in range(len(radii))], "halved every time"
    assert (len(radii) > 0) == (cubic > 0.1)
    assert trust.radius >= 0.2 / math.sqrt(cubic), "and no narrower than it need be"


@pytest.mark.parametrize("radii", [(0.0, 0.0, 1.0), (2.0, 0.1, 1.0), (0.05, 0.1, 1.0), (math.nan, 0.1, 1.0)])
def test_limits_that_contradict_are_refused(radii: tuple[float, float, float]) -> None:
    with pytest.raises(SettingError, match="smallest <= radius <= largest"):
        TrustRegion(*radii)
