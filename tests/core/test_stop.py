"""Stop rules, loss by loss."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.codec import decode, encode
from lrpilot.core.stop import Stop, StopReason, StopState, check_stop
from lrpilot.errors import SettingError

losses = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=30)
rules = st.builds(
    Stop,
    abort_above=st.none() | st.floats(0.01, 100.0),
    abort_ratio=st.none() | st.floats(1.001, 10.0),
    abort_rise=st.none() | st.floats(0.1, 10.0),
    patience=st.none() | st.integers(1, 10),
)


def first_stop(stop: Stop, series: list[float]) -> tuple[int, StopReason] | None:
    """Index and reason of the first stop, or None."""
    state = StopState()
    for i, loss in enumerate(series):
        state, reason = check_stop(stop, state, loss)
        if reason is not None:
            return i, reason
    return None


def naive_stop(stop: Stop, series: list[float]) -> tuple[int, StopReason] | None:
    """The same from the whole series at once, as the docstring says it."""
    for i, loss in enumerate(series):
        best = min(series[:i], default=math.inf)
        if not math.isfinite(loss):
            return i, StopReason.NON_FINITE
        if stop.abort_above is not None and loss > stop.abort_above:
            return i, StopReason.ABORTED
        if stop.abort_ratio is not None and i > 0 and loss > stop.abort_ratio * best:
            return i, StopReason.ABORTED
        fall = max(max(series[:5]) - best, abs(best)) if i >= 5 else math.inf
        if stop.abort_rise is not None and loss - best > stop.abort_rise * fall:
            return i, StopReason.ABORTED
        if stop.patience is not None and i - series.index(min(series[: i + 1])) >= stop.patience:
            return i, StopReason.PATIENCE
    return None


@pytest.mark.parametrize(
    ("stop", "series", "expected"),
    [
        (Stop(), [1.0, 1e30, 5.0], None),
        (Stop(), [1.0, math.nan], (1, StopReason.NON_FINITE)),
        (Stop(), [-math.inf], (0, StopReason.NON_FINITE)),
        (Stop(abort_above=2.0), [2.0, 2.1], (1, StopReason.ABORTED)),
        (Stop(abort_ratio=3.0), [100.0, 2.0, 6.0, 6.1], (3, StopReason.ABORTED)),
        (Stop(abort_rise=2.0), [3.0, 9.0, 3.0, 3.0, 2.0, 1.0, 17.0, 17.1], (7, StopReason.ABORTED)),
        (Stop(abort_rise=2.0), [-3.0, 99.0, -3.0, -3.0], None),
        (Stop(abort_rise=2.0), [-3.0, -2.0, -3.0, -3.0, -3.0, -4.0, 4.0, 4.1], (7, StopReason.ABORTED)),
        (Stop(patience=2), [3.0, 2.0, 2.0, 1.9, 2.0, 1.9], (5, StopReason.PATIENCE)),
        (Stop(abort_above=1.0, patience=1), [0.5, 2.0], (1, StopReason.ABORTED)),
    ],
)
def test_by_hand(stop: Stop, series: list[float], expected: object) -> None:
    assert first_stop(stop, series) == expected


@given(rules, losses)
def test_loss_by_loss_equals_the_whole_series(stop: Stop, series: list[float]) -> None:
    assert first_stop(stop, series) == naive_stop(stop, series)


@given(rules, losses, st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_loss_that_is_not_finite_always_stops(stop: Stop, series: list[float], bad: float) -> None:
    state = StopState()
    for loss in series:
        state, _ = check_stop(stop, state, loss)
    assert check_stop(stop, state, bad)[1] is StopReason.NON_FINITE


@given(losses)
def test_a_falling_loss_never_stops(series: list[float]) -> None:
    falling = sorted(set(series), reverse=True)
    assert first_stop(Stop(abort_above=101.0, abort_ratio=1.001, patience=1), falling) is None


@given(losses, st.floats(1.1, 5.0), st.integers(-8, 8))
def test_the_ratio_does_not_know_the_unit_of_the_loss(series: list[float], ratio: float, exponent: int) -> None:
    scaled = [loss * 2.0**exponent for loss in series]  # a power of two changes no comparison by rounding
    assert first_stop(Stop(abort_ratio=ratio), scaled) == first_stop(Stop(abort_ratio=ratio), series)


@given(rules, losses)
def test_what_the_rules_remember_is_plain_data(stop: Stop, series: list[float]) -> None:
    stop, state = decode(encode(stop)), StopState()
    for loss in series:
        state, reason = check_stop(stop, decode(encode(state)), loss)
        assert decode(encode(reason)) is reason


def test_only_a_rule_beyond_the_non_finite_one_needs_every_loss() -> None:
    assert not Stop().needs_every_loss
    for stop in (Stop(abort_above=0.0), Stop(abort_ratio=2.0), Stop(abort_rise=2.0), Stop(patience=1)):
        assert stop.needs_every_loss


@pytest.mark.parametrize("ratio", [1.0, 0.5, -2.0, math.nan])
def test_a_ratio_must_leave_room(ratio: float) -> None:
    with pytest.raises(SettingError, match="abort_ratio must be > 1"):
        Stop(abort_ratio=ratio)


@pytest.mark.parametrize("rise", [0.0, -1.0, math.nan])
def test_a_rise_must_be_positive(rise: float) -> None:
    with pytest.raises(SettingError, match="abort_rise must be > 0"):
        Stop(abort_rise=rise)


def test_patience_must_be_positive() -> None:
    with pytest.raises(SettingError, match="patience must be >= 1, got 0"):
        Stop(patience=0)
