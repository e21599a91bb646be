"""The conformance battery over every policy. A new policy joins by one line in POLICIES."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import pytest

from lrpilot.core.actions import Action, Average, Continue, Done, Observation, Train, Trained, Trial, TrialLosses
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy
from lrpilot.core.settings import Rule, among, is_bool, is_positive, require_each
from lrpilot.core.shape import constant, ramp
from lrpilot.errors import PolicyError, SettingError, StateError
from lrpilot.policies.autolrs import AutoLRS
from lrpilot.policies.autopilot import Autopilot
from lrpilot.policies.beam_search import BeamSearch
from lrpilot.policies.finders.annealed_search import AnnealedSearch
from lrpilot.policies.finders.paired_search import PairedSearch
from lrpilot.policies.finders.range_test import RangeTest
from lrpilot.policies.finders.step_sampling import StepSampling
from lrpilot.policies.lr_tuner import LRTuner
from lrpilot.policies.schedules.schedule import Schedule
from lrpilot.policies.weighted_factors import WeightedFactors
from lrpilot.testing import CHECKS, bad_settings
from lrpilot.testing.conformance import (
    check_averages_only_where_it_can,
    check_flies_without_losses,
    check_is_deterministic,
    check_lrs_are_finite_and_positive,
    check_marks_are_declared,
    check_may_continue_trials,
    check_old_states_stay_valid,
    check_refuses_bad_settings,
    check_resumes_where_it_was,
    check_states_are_plain_data,
    check_stays_within_the_horizon,
    check_survives_a_shrinking_budget,
    check_survives_divergence,
    check_trains_as_declared,
)
from lrpilot.testing.flights import fly
from skeleton_policy import Script


@record
class Continuing(Policy):
    """Tries two lrs before every few steps, and goes on from the better one where it may."""

    max_ends: ClassVar[int] = 2

    def init(self, context: Context) -> dict[str, Any]:
        return {"granted": context.continues, "losses": (), "left": context.progress.remaining, "done": False}

    def ask(self, state: dict[str, Any]) -> Action:
        tried, steps = len(state["losses"]), min(4, state["left"])
        if steps == 0:
            return Done()
        if tried < 2:
            keep = ("one", "two")[tried] if state["granted"] else None
            return Trial(constant((0.1, 0.3)[tried]), steps, keep=keep)
        best = min((0, 1), key=lambda i: state["losses"][i])
        if state["granted"] and not state["done"]:
            return Continue(("one", "two")[best])
        return Train(constant((0.1, 0.3)[best]), min(7, state["left"]))

    def tell(self, state: dict[str, Any], observation: Observation) -> dict[str, Any]:
        state = {**state, "left": observation.progress.remaining}
        if isinstance(observation, TrialLosses):
            return {**state, "losses": (*state["losses"], observation.losses[-1])}
        if isinstance(observation, Trained):
            return {**state, "losses": (), "done": False}
        return {**state, "done": True}


@record
class Averaging(Policy):
    """Tries two lrs by averaged Trials, then flies the better one averaged, in stretches of a few steps."""

    def init(self, context: Context) -> dict[str, Any]:
        averages, left = context.facts.averages, context.progress.remaining
        return {"lrs": [context.lr, 3 * context.lr], "losses": [], "left": left, "averages": averages}

    def ask(self, state: dict[str, Any]) -> Action:
        tried, left = len(state["losses"]), state["left"]
        if left == 0:
            return Done()
        settings = {"momentum": constant(0.0), "average": Average(0.8, 1.0) if state["averages"] else None}
        if tried < 2:
            return Trial(constant(state["lrs"][tried]), 3, evaluate="end", **settings)
        best = min((0, 1), key=lambda i: (not state["losses"][i] >= 0, state["losses"][i]))
        return Train(constant(state["lrs"][best]), 7 if left is None else min(7, left), **settings)

    def tell(self, state: dict[str, Any], observation: Observation) -> dict[str, Any]:
        state = {**state, "left": observation.progress.remaining}
        if isinstance(observation, TrialLosses):
            loss = math.inf if observation.held_out is None else observation.held_out
            return {**state, "losses": [*state["losses"], loss]}
        return state


POLICIES: dict[str, Policy] = {
    "constant": Schedule("constant", lr=0.1),
    "step": Schedule("step", lr=0.1),
    "exponential": Schedule("exponential", lr=0.1),
    "time": Schedule("time", lr=0.1),
    "linear": Schedule("linear", lr=0.1, warmup=0.05),
    "cosine": Schedule("cosine", warmup=3),
    "inverse_sqrt": Schedule("inverse_sqrt", lr=0.1, warmup=5),
    "clr": Schedule("clr", lr=0.1),
    "sgdr": Schedule("sgdr", lr=0.1),
    "one_cycle": Schedule("one_cycle", lr=0.1),
    "trapezoid": Schedule("trapezoid", lr=0.1),
    "wsd": Schedule("wsd", lr=0.1),
    "knots": Schedule(
        "knots", pieces=(Train(ramp(0.1, 0.01, 20), 13, momentum=constant(0.5)), Train(constant(0.2), 70))
    ),
    "step_sampling": StepSampling(),
    "step_sampling_minimum": StepSampling(pick="minimum"),
    "annealed_search": AnnealedSearch(),
    "paired_search": PairedSearch(),
    "paired_search_small": PairedSearch(budget=28, min_lr=1e-3, max_lr=1e-2),
    "range_test": RangeTest(),
    "lr_tuner": LRTuner(0.5, overhead=None, window=5),
    "lr_tuner_within_its_share": LRTuner(),
    "lr_tuner_saturation": LRTuner(overhead=1.0, window=4, exploit="saturation"),
    "lr_tuner_paper": LRTuner.paper("mnist"),
    "lr_tuner_paper_no_explore": replace(LRTuner.paper(), explore=0.0, superbatch=10, window=3, saturation=2.0),
    "weighted_factors": WeightedFactors(),
    "weighted_factors_seven_often": WeightedFactors(7, window=4, batches=3),
    "weighted_factors_paper": WeightedFactors.paper(window=6),
    "autolrs": AutoLRS(),
    "autolrs_with_scouts": AutoLRS(1e-3, 1.0, overhead=5.0),
    "autolrs_annealed": AutoLRS(1e-3, 1.0, score="annealed", overhead=2.0, final=None),
    "autolrs_paper": AutoLRS.paper(1e-3, 1.0, tau=10, max_tau=20),
    "autolrs_paper_interval": AutoLRS.paper(tau=30, warmup=5),
    "autopilot": Autopilot(),
    "autopilot_averaged": Autopilot(arm="averaged", average=Average(0.9), branch=False),
    "autopilot_ordinary": Autopilot(arm="ordinary", min_lr=1e-3, max_lr=10.0),
    "beam_search": BeamSearch(window=4),
    "continuing": Continuing(),
    "averaging": Averaging(),
    "script_of_every_action": Script(),
    "script_beginning_with_a_search": Script(True),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_conformance(policy: Policy, check: Callable[[Policy], None]) -> None:
    check(policy)


# ------------------------------------------- the battery itself can fail


@record
class Broken(Policy):
    """A policy with one fault, for the battery to find."""

    fault: str = ""

    def init(self, context: Context) -> Any:
        if self.fault == "state_not_plain":
            return {1, 2}
        if self.fault == "mutates":
            return _Mutable()
        if self.fault == "forgets_on_loading":
            return _Forgetful()
        if self.fault in ("changed_by_the_grant", "undeclared_end"):
            return context.continues
        if self.fault == "counts_for_itself":
            return context.progress.remaining
        return 0.1 if self.fault == "nan_becomes_an_lr" else 0

    def ask(self, state: Any) -> Action:
        if self.fault == "random":
            _Counter.value += 1
            return Train(constant(0.01 * _Counter.value), 10)
        if self.fault == "beyond_horizon":
            return Train(constant(0.1), 1000)
        if self.fault == "mutates":
            return Train(constant(0.1 / (1 + state.told)), 10)
        if self.fault == "changed_by_the_grant":
            return Train(constant(0.2 if state else 0.1), 10)
        if self.fault == "undeclared_end" and state:
            return Trial(constant(0.1), 2, keep="here")
        if self.fault == "averages_anywhere":
            return Train(constant(0.1), 10, average=Average())
        if self.fault == "zero_lr":
            return Train(constant(0.0), 10)
        if self.fault == "undeclared_mark":
            from lrpilot.core.actions import Mark

            return Mark("here")
        if self.fault == "forgets_on_loading":
            return Train(constant(state.lr), 10)
        if self.fault == "nan_becomes_an_lr":
            return Train(constant(state), 10)
        if self.fault == "counts_for_itself":
            return Train(constant(0.1), min(7, state)) if state else Done()
        return Done() if self.fault == "" else Train(constant(0.1), 10)

    def tell(self, state: Any, observation: Observation) -> Any:
        if self.fault == "mutates":
            state.told += 1
        if self.fault == "forgets_on_loading":
            return _Forgetful.after(state)
        if self.fault == "nan_becomes_an_lr" and isinstance(observation, Trained):
            return 0.1 * observation.losses[-1] if observation.losses else state
        if self.fault == "needs_losses" and isinstance(observation, Trained):
            return observation.losses[-1]
        if self.fault == "counts_for_itself" and isinstance(observation, Trained):
            return state - observation.steps
        return state


@record
class Undeclared(Broken):
    """A trainer that says it only measures."""

    trains: ClassVar[bool] = False


@record
class Setting(Broken):
    """Flies at its setting, which its class has checked in one way or another."""

    lr: float = 0.1
    kind: Literal["held", "falling"] = "held"
    held: bool = True

    def __post_init__(self) -> None:
        if self.fault == "compares_words" and not self.lr > 0:
            raise SettingError(f"lr must be > 0, got {self.lr}. Use 0.1.")
        if self.fault in ("takes_zero", "takes_any_word") and not isinstance(self.lr, (int, float)):
            raise SettingError(f"lr must be a number, got {self.lr!r}. Use 0.1.")
        if self.fault in ("takes_zero", "takes_any_word") and math.isnan(self.lr):
            raise SettingError("lr must be a number, got nan. Use 0.1.")
        if self.fault == "takes_any_word" and not 0 < self.lr < math.inf:
            raise SettingError(f"lr must be finite and > 0, got {self.lr}. Use 0.1.")
        if self.fault == "takes_zero" and self.kind not in ("held", "falling"):
            raise SettingError(f"kind must be held or falling, got {self.kind}. Use held.")
        if self.fault == "takes_zero":
            require_each(self, {"held": Rule("True or False", is_bool, "Use True.")})
        if self.fault in ("takes_any_flag", "takes_any_number_as_a_flag"):
            kinds = Rule("held or falling", among("held", "falling"), "Use held.")
            require_each(self, {"lr": Rule("> 0", is_positive, "Use 0.1."), "kind": kinds})
        if self.fault == "takes_any_number_as_a_flag" and isinstance(self.held, str):
            raise SettingError(f"held must be True or False, got {self.held}. Use True.")

    def ask(self, state: Any) -> Action:
        return Train(constant(self.lr), 1)


class _Counter:
    value = 0


@record
class _Plain:
    told: int = 0


@dataclass
class _Mutable:
    told: int = 0


@record
class _Forgetful:
    """A state whose lr is no field of it, so that the codec does not see it."""

    told: int = 0
    lr: ClassVar[float] = 0.1

    @classmethod
    def after(cls, state: "_Forgetful") -> "_Forgetful":
        made = cls(state.told + 1)
        object.__setattr__(made, "lr", state.lr / 2)
        return made


FAULTS: list[tuple[Policy, Callable[[Policy], None], type[BaseException], str | None]] = [
    (Broken("random"), check_is_deterministic, AssertionError, None),
    (Broken("state_not_plain"), check_states_are_plain_data, StateError, None),
    (Broken("mutates"), check_old_states_stay_valid, AssertionError, None),
    (Broken("beyond_horizon"), check_stays_within_the_horizon, AssertionError, "of 60"),
    (Broken("zero_lr"), check_lrs_are_finite_and_positive, PolicyError, None),
    (Broken("undeclared_mark"), check_marks_are_declared, PolicyError, None),
    (Broken("random"), check_resumes_where_it_was, AssertionError, "resumed at step 1"),
    (Broken("forgets_on_loading"), check_resumes_where_it_was, AssertionError, "resumed at step 20"),
    (Broken("nan_becomes_an_lr"), check_survives_divergence, SettingError, "must be finite and >= 0, got .(nan|inf)"),
    (Broken("changed_by_the_grant"), check_may_continue_trials, AssertionError, "continues no Trial, and yet"),
    (Broken("undeclared_end"), check_may_continue_trials, PolicyError, "may keep the ends of 0 Trials, got 'here'"),
    (Broken("needs_losses"), check_flies_without_losses, IndexError, None),
    (Broken("averages_anywhere"), check_averages_only_where_it_can, PolicyError, "Ask for it only where Context.facts"),
    (Broken("counts_for_itself"), check_survives_a_shrinking_budget, AssertionError, "told of 4 steps left it asks"),
    (Setting("takes_anything"), check_refuses_bad_settings, AssertionError, "lr=nan must raise a SettingError, but"),
    (Setting("compares_words"), check_refuses_bad_settings, AssertionError, "lr='no such word' must .* TypeError"),
    (
        Setting("takes_zero"),
        check_refuses_bad_settings,
        AssertionError,
        "lr=0 is neither refused with a SettingErr",
    ),
    (Setting("takes_any_word"), check_refuses_bad_settings, AssertionError, "kind='no such word' must raise"),
    (Setting("takes_any_flag"), check_refuses_bad_settings, AssertionError, "held='no such word' must raise"),
    (Setting("takes_any_number_as_a_flag"), check_refuses_bad_settings, AssertionError, "held=3 must raise a SettingE"),
    (Undeclared("trains"), check_trains_as_declared, AssertionError, "trains is False, but it took 60 steps"),
]


@pytest.mark.parametrize(
    ("policy", "check", "error", "words"), FAULTS, ids=[f"{p.fault}-{c.__name__}" for p, c, *_ in FAULTS]
)
def test_the_battery_finds_faults(
    policy: Policy, check: Callable[[Policy], None], error: type[BaseException], words: str | None
) -> None:
    with pytest.raises(error, match=words):
        check(policy)


@pytest.mark.parametrize(
    ("policy", "failing"),
    [
        (Broken("forgets_on_loading"), {check_states_are_plain_data, check_resumes_where_it_was}),
        (Broken("nan_becomes_an_lr"), {check_survives_divergence}),
        (Undeclared("trains"), {check_trains_as_declared}),
        (Broken("needs_losses"), {check_flies_without_losses}),
        (Broken("counts_for_itself"), {check_survives_a_shrinking_budget}),
        (Setting("takes_any_word"), {check_refuses_bad_settings}),
        (Setting("takes_any_flag"), {check_refuses_bad_settings}),
    ],
    ids=lambda one: one.fault if isinstance(one, Broken) else "failing",
)
def test_the_battery_finds_nothing_but_the_fault(policy: Policy, failing: set[Callable[[Policy], None]]) -> None:
    for check in CHECKS:
        errors = (AssertionError, SettingError, IndexError)
        with pytest.raises(errors) if check in failing else nullcontext():
            check(policy)


def test_more_bad_settings_can_be_named() -> None:
    check_refuses_bad_settings(BeamSearch(window=4), bad={"factors": [(), (0.5, -1.0), 3]})
    with pytest.raises(AssertionError, match=r"factors=\(0.5, 2.0\) must raise a SettingError, but it is accepted"):
        check_refuses_bad_settings(BeamSearch(window=4), bad={"factors": [(0.5, 2.0)]})


def test_what_a_policy_takes_is_flown_with(monkeypatch: pytest.MonkeyPatch) -> None:
    flown: list[Policy] = []
    monkeypatch.setattr(bad_settings, "fly", lambda policy: flown.append(policy) or fly(policy))
    check_refuses_bad_settings(Schedule("linear", lr=0.1, warmup=0.05))
    assert flown == [Schedule("linear", lr=0.1, warmup=0), Schedule("linear", lr=0.1, warmup=0.05, min_factor=0)]
