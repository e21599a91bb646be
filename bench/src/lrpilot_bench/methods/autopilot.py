"""Autopilot: its default, each way to fly forced, and what tells the parts of its gain from each other.

Every row takes an lr, which the optimizer is built with; Autopilot does not look at it, and its start-lr sweep shows
that. Rows of the suite ``autopilot_ablations`` change one thing each: no look on the way, another average, no search.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, final

from lrpilot.core.actions import Action, Average, Observation, Rewind
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason
from lrpilot.fitting import FitResult
from lrpilot.policies.autopilot import Autopilot
from lrpilot.policies.autopilot.plan import Arm
from lrpilot.policies.autopilot.state import AutopilotState, Marking
from lrpilot.policies.peak_search.prior import Prior
from lrpilot.policies.peak_search.trials import Probed
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.lr_entry import lr_method
from lrpilot_bench.methods.method import Group, Method, Notes
from lrpilot_bench.session import Session
from lrpilot_bench.store.curves import compact
from lrpilot_bench.store.schema import AT_LR, AUTOPILOT

# Raised whenever a number of Autopilot changes: every row of it is run anew.
VERSION = "2"  # 1 read short Trials as long ones, and walked step by step
AVERAGES = ((0.9, 0.0), (0.9, 1.0), (0.8, 2.0))  # mix and power beside the default's; the first is schedule-free's own
ARMS: tuple[Arm, ...] = ("averaged", "ordinary")


@final
@record
class Unsearched(Policy):
    """Autopilot without its search: at an lr that is given, or at what it expects before any Trial.

    Attributes:
        pilot: how it flies.
        lr: peak, natural units; None for the expectation.
    """

    max_marks: ClassVar[int] = Autopilot.max_marks

    pilot: Autopilot
    lr: float | None = None

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return f"{self.pilot.name}, unsearched"

    def init(self, context: Context) -> AutopilotState:
        """Straight into the flight."""
        state = self.pilot.init(context)
        prior = state.search.prior if self.lr is None else Prior(self.lr, state.search.prior.spread)
        search = replace(state.search, prior=prior, allowance=0.0)
        return replace(state, search=search, peak=prior.lr, phase=Marking())

    def ask(self, state: AutopilotState) -> Action:
        """As Autopilot."""
        return self.pilot.ask(state)

    def tell(self, state: AutopilotState, observation: Observation) -> AutopilotState:
        """As Autopilot."""
        return self.pilot.tell(state, observation)

    def explain(self, state: AutopilotState, observation: Observation, after: AutopilotState) -> Reason | None:
        """As Autopilot."""
        return self.pilot.explain(state, observation, after)


# ---------------------------------------------------------------------- flying


def fly_autopilot(
    session: Session, *, arm: Arm | None = None, average: list[float] | None = None, branch: bool = True
) -> Notes:
    """Train with Autopilot; the session's lr is what the optimizer is built with, and no more.

    Args:
        session: what is trained.
        arm: forced; None to let it decide.
        average: mix and power of an averaged flight; None for the default's.
        branch: whether it may look again on the way.
    """
    changed: dict[str, Any] = {} if average is None else {"average": Average(*average)}
    return flight_notes(fly_policy(session, Autopilot(arm=arm, branch=branch, **changed)))


def fly_expected(session: Session) -> Notes:
    """Train as Autopilot does where it cannot pay for a search: at the lr that it expects of such a training."""
    return flight_notes(fly_policy(session, Unsearched(Autopilot())))


def fly_at_lr(session: Session, *, arm: Arm) -> Notes:
    """Train as Autopilot does, without its search, at the session's lr: what is left of a gain is the flight's.

    Args:
        session: what is trained; its lr is one of the optimizer with its momentum, as a sweep finds it.
        arm: way to fly. Averaged, SGD flies without momentum, and takes lr / (1 - momentum) for as long steps.
    """
    lr, family = session.lr, session.family
    if arm == "averaged" and family.kind == "sgd":
        lr /= 1.0 - family.momentum
    return flight_notes(fly_policy(session, Unsearched(Autopilot(arm=arm), lr)))


# ---------------------------------------------------------------------- notes


def flight_notes(flown: FitResult | None) -> Notes:
    """What it decided, what it has seen, and what part of all forward-equivalents went elsewhere than into steps."""
    if flown is None:
        return {}
    state = flown.pilot.driver.flight.state.policy_state
    share = flown.cost.forward_equivalents / flown.total_compute if flown.total_compute else 0.0
    return {**search_notes(state), "share": compact(share), "rewinds": _rewinds(flown)}


def _rewinds(flown: FitResult) -> int:
    return sum(isinstance(event.action, Rewind) and event.phase == "end" for event in flown.history.events)


def search_notes(state: AutopilotState) -> dict[str, Any]:
    """What Autopilot searched and decided: plain data, three digits of each lr."""
    search, pick = state.search, state.search.pick
    return {
        "arm": state.plan.arm,
        "lr": _short(state.peak),
        "lr_expected": _short(search.prior.lr),
        "interval": None if pick is None else [_short(lr) for lr in pick.interval],
        "bracketed": search.bracketed,
        "trials": _tried(search.probed),
        "trial_steps": search.steps,
        "search_steps": compact(search.spent),
        "branches": _tried(state.branches),
    }


def _tried(probed: tuple[Probed, ...]) -> list[list[float | None]]:
    """(lr, loss read) of each Trial by lr; None where it diverged."""
    return [[_short(one.lr), compact(one.score)] for one in sorted(probed, key=lambda one: one.lr)]


def _short(lr: float) -> float:
    return float(f"{lr:.3g}")


# ---------------------------------------------------------------------- entries

NO_LR = "no lr from the user; the optimizer is built with 0.1 (SGD) or 1e-3 (AdamW)"


def _entry(name: str, title: str, settings: Mapping[str, Any], practice: str, group: Group = "ablation") -> Method:
    return lr_method(name, title, fly_autopilot, f"{practice}; {NO_LR}", dict(settings), group=group, version=VERSION)


METHODS = (
    _entry(AUTOPILOT, "Autopilot", {}, "lrpilot's default: a search, then the way to fly that suits", "lrpilot"),
    *(_entry(f"{AUTOPILOT}_{arm}", f"Autopilot, {arm}", {"arm": arm}, f"flown {arm} everywhere") for arm in ARMS),
    _entry(f"{AUTOPILOT}_no_branch", "Autopilot, never looks again", {"branch": False}, "without branches on the way"),
    *(
        _entry(
            f"{AUTOPILOT}_mix_{round(100 * mix)}_power_{power:g}",
            f"Autopilot, averaged, mix {mix:g}, power {power:g}",
            {"arm": "averaged", "average": [mix, power]},
            "flown averaged everywhere, with another average",
        )
        for mix, power in AVERAGES
    ),
    lr_method(
        f"{AUTOPILOT}_expected",
        "Autopilot, no search",
        fly_expected,
        f"its flight at the lr that it expects before any trial; {NO_LR}",
        version=VERSION,
    ),
    *(
        lr_method(
            f"{AUTOPILOT}_{arm}{AT_LR}",
            f"Autopilot's {arm} flight at the oracle's lr",
            fly_at_lr,
            "its flight without its search, at the lr of the oracle's winner (SGD flown averaged: lr / (1 - momentum))",
            {"arm": arm},
            version=VERSION,
        )
        for arm in ARMS
    ),
)
