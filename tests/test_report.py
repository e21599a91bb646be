"""The report of a flight: what it says of every policy, that it says what happened, and leaves all as it was."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lrpilot import AutoLRS, FlightReport, LRTuner, Pilot, Schedule, Training, WeightedFactors, fit
from lrpilot.core.actions import Average, Mark, Rewind, Train, Trial
from lrpilot.core.codec import record
from lrpilot.core.policy import Policy, Reason
from lrpilot.core.shape import constant, ramp
from lrpilot.errors import StateError
from lrpilot.report import MOST_LINES
from lrpilot.testing.flights import STEPS, fly
from small_training import Listed, make_batches, make_training, own_loop, untouched
from test_conformance import POLICIES

NONE = constant(0.0)


def build() -> Training:
    return make_training(val=make_batches(2, seed=5))


def report_of(policy: Policy, *, account: Mapping[str, Any] | None = None) -> FlightReport:
    flight = fly(policy)
    return FlightReport(policy, flight.history, flight.substrate.cost, STEPS - flight.step, account or {})


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_every_policy_is_reported_of(policy: Policy) -> None:
    report = report_of(policy)
    plain = report.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert str(report).startswith(f"{policy.name}: {report.steps} steps, ")
    assert max(map(len, str(report).splitlines())) <= 120
    trials = sum(len(search.tried) for search in report.searches if search.tried[0].steps)
    assert trials == report.cost.trials, "no trial is left out"
    assert plain["cost"]["share"] == pytest.approx(
        report.cost.forward_equivalents / (report.cost.forward_equivalents + 3 * report.steps)
    )
    assert report.plot().get_xlabel() == "step"


def test_a_schedule_has_little_to_tell() -> None:
    lines = str(report_of(Schedule("cosine", lr=0.1))).splitlines()
    assert lines[0] == "Schedule('cosine'): 60 steps, 0 left"
    assert lines[1] == "lr    0.1, highest 0.1 (step 0), last 6.85e-05"
    assert lines[3:] == ["cost  nothing beyond the steps"]


def test_a_last_loss_that_is_no_number_is_not_passed_over() -> None:
    report = report_of(Schedule("cosine", lr=0.1))
    report.history.losses[-2:] = [math.nan, math.nan]
    assert "last no number (as 2 are)" in str(report)


def test_a_search_says_what_each_lr_came_to_and_where_it_went_on() -> None:
    report = report_of(AutoLRS(1e-3, 1.0, overhead=2.0))
    first = report.searches[0]
    assert first.best is not None and first.went_on_at == max(report.history.lrs[:9])
    (said,) = [line for line in str(report).splitlines() if line.startswith("  step 0, trials of 5 steps: lr ")]
    assert f"{first.tried[0].lr:.3g} -> {first.tried[0].loss:.4g}, " in said
    assert str(report).count("(lowest)") == len(report.searches)
    assert [step for step, _ in report.decisions] == [search.step for search in report.searches]
    assert report.to_dict()["searches"][0]["best_lr"] == first.best.lr


def test_what_was_done_against_harm_is_told() -> None:
    policy = Listed((Mark("a"), Train(constant(0.3), 9), Rewind("a"), Train(constant(0.1), 30)))
    report = report_of(policy)
    assert [event.step for event in report.interventions] == [9]
    assert "looked after:\n  step 9: rewind 'a' -> done" in str(report)
    assert report.to_dict()["interventions"] == [{"step": 9, "what": "step 9: rewind 'a' -> done"}]


def test_losses_that_are_no_number_and_alarms_are_told() -> None:
    training = build()
    pilot = Pilot(training, Schedule("constant", lr=0.1), 10)
    own_loop(training, pilot, 2)
    training.step(make_batches()[0])
    with torch.no_grad():
        next(training.model.parameters()).fill_(float("nan"))
    pilot.step(float("nan"))
    pilot.driver.flight.warn(Reason("odd", "somebody should look at this", alarms=True))
    told = [event.message for event in pilot.report().interventions]
    assert (
        told
        == [
            "step 3: train 10 steps, lr 0.1 to 0.1 -> a loss was not finite",
            "step 3: somebody should look at this [odd]",
        ]
        or len(told) == 2
    )
    assert pilot.report().to_dict()["loss"]["last"] is None


def test_an_average_and_a_cooldown_are_told() -> None:
    training = build()
    policy = Listed((Train(constant(0.1), 3), Train(constant(0.1), 100, average=Average(0.8, 1.0), momentum=NONE)))
    pilot = Pilot(training, policy)
    own_loop(training, pilot, 6)
    assert "steps, open end" in str(pilot.report())
    pilot.cooldown(4)
    own_loop(training, pilot, 4, start=6)
    report = pilot.report()
    assert report.averages == ((3, Average(0.8, 1.0)),) and report.steps_left == 0
    assert "averaged from step 3 on: mix 0.8, power 1" in str(report)
    assert "straight to zero from here, as asked for" in str(report)
    labels = {text.get_text() for text in report.plot().get_legend().get_texts()}  # type: ignore[union-attr]
    assert {"averaged", "cooldown", "lr"} <= labels


def test_of_a_long_part_the_first_and_the_last_lines_are_shown() -> None:
    policy = WeightedFactors(7, window=2, batches=3)
    report = report_of(policy)
    assert len(report.decisions) > MOST_LINES
    text = str(report)
    hidden = len(report.decisions) - MOST_LINES
    assert f"... {hidden} more (to_dict() has them) ..." in text
    first, last = report.decisions[0], report.decisions[-1]
    assert f"  step {first[0]}: " in text and f"  step {last[0]}: " in text
    assert len(report.to_dict()["decisions"]) == len(report.decisions)


@record
class Accounting(Policy):
    """Knows something that nobody else does."""

    value: Any = 0.25

    def init(self, context: Any) -> int:
        return 0

    def ask(self, state: int) -> Train:
        return Train(ramp(0.1, 0.0, 60), 60)

    def tell(self, state: int, observation: Any) -> int:
        return state + 1

    def account(self, state: int) -> Mapping[str, Any]:
        return {
            "arm": "averaged",
            "pick": 0.012345,
            "interval": (0.01, 0.02),
            "at": {"loss": self.value, "step": state},
            "none": (),
            "trials": ({"lr": 0.1}, {"lr": 0.2}),
        }


def test_what_only_the_policy_knows_is_told_by_it() -> None:
    training = build()
    pilot = Pilot(training, Accounting(), 60)
    report = pilot.report()
    for line in (
        "arm: averaged",
        "pick: 0.01235",
        "interval: 0.01 to 0.02",
        "at: loss 0.25, step 0",
        "none: none",
        "trials: lr 0.1; lr 0.2",
    ):
        assert f"  {line}" in str(report)
    assert report.to_dict()["account"] == {
        "arm": "averaged", "pick": 0.012345, "interval": [0.01, 0.02], "at": {"loss": 0.25, "step": 0}, "none": [],
        "trials": [{"lr": 0.1}, {"lr": 0.2}],
    }  # fmt: skip
    assert "account" not in str(Pilot(build(), Schedule("constant"), 60).report())


def test_an_account_is_plain_data() -> None:
    report = Pilot(build(), Accounting(value=1j), 60).report()
    with pytest.raises(StateError, match="got complex"):
        report.to_dict()


def test_before_the_first_step_there_is_a_report_too() -> None:
    report = Pilot(build(), LRTuner(), 60).report()
    assert str(report).startswith("lr_tuner: 0 steps, 60 left") and report.to_dict()["lr"]["peak"] is None
    assert repr(report) == "FlightReport(lr_tuner, 0 steps, 0 searches)"
    report.plot()


def test_it_stays_as_it_was_made_and_touches_nothing() -> None:
    training = build()
    pilot = Pilot(training, Listed((Train(constant(0.1), 2), Trial(constant(0.2), 3), Train(constant(0.1), 20))))
    own_loop(training, pilot, 3)
    state = pilot.state_dict()
    with untouched(training.model, training.raw_optimizer):
        report = pilot.report()
        before = report.to_dict()
    assert pilot.state_dict() == state
    own_loop(training, pilot, 4, start=3)
    assert report.to_dict() == before and report.steps == 3


def test_a_fit_reports_and_a_resumed_flight_reports_of_all_of_it() -> None:
    result = fit(build(), AutoLRS.paper(1e-2, 0.5, tau=10, max_tau=20), total_steps=40, progress=False)
    assert result.report().to_dict() == result.pilot.report().to_dict()
    resumed = Pilot(result.pilot.training, result.pilot.policy, 40)
    resumed.load_state_dict(result.pilot.state_dict())
    assert resumed.report().to_dict() == result.report().to_dict()
