"""Flight: the one loop of ask, act and tell, over anything that can be trained and measured.

It knows nothing of torch. ``lrpilot.training`` gives it a live model to fly, ``lrpilot.flight.simulation`` a
synthetic one, so that a policy behaves the same in both.
"""

from collections.abc import Callable
from typing import Any

from lrpilot.core.actions import (
    Action,
    Continue,
    Done,
    Drop,
    Evaluate,
    HeldOut,
    Line,
    LineLosses,
    Mark,
    Moved,
    Observation,
    Progress,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
    require_positive_lrs,
)
from lrpilot.core.codec import decode, encode
from lrpilot.core.cost import Cost
from lrpilot.core.history import Event, History, Leg, OnEvent
from lrpilot.core.policy import Context, Policy, Reason
from lrpilot.core.shape import constant, ramp
from lrpilot.errors import PolicyError, StateError
from lrpilot.flight.holdings import Holdings
from lrpilot.flight.losses import KeptLosses
from lrpilot.flight.state import FlightState
from lrpilot.flight.substrate import Substrate

# A search that asks for this many measurements without one training step is a bug in its policy.
MAX_MEASUREMENTS_IN_A_ROW = 100_000

_BAD_BATCH = Reason(
    "bad_data",
    "a batch of the trials is left out, whose loss is no finite number at weights at which others are: look for such "
    "values in the data",
    alarms=True,
)

StepsLeft = Callable[[int], int | None]
"""Kept steps left after so many were taken; None when the end is open."""

Affords = Callable[[Action, int], bool]
"""Whether a measurement can be paid for, after so many kept steps."""


class Flight:
    """One policy on one substrate.

    The owner takes optimizer steps at :attr:`lr` and calls :meth:`kept` after each. Everything else
    happens inside ``kept`` and :meth:`start`. An exception out of a measurement (Ctrl-C included)
    leaves the measurement pending: the next ``start`` or ``kept`` repeats it.

    Attributes:
        state: where it stands; saving is encoding it.
        lr: reference lr for the next kept step.
        holdings: the marks, ends of Trials and Lines that it tells of.

    Args:
        policy: the decision rule.
        substrate: what is flown.
        lr: reference lr at the start, natural units.
        horizon: kept steps left after so many were taken, or None for an open end.
        affords: whether a measurement can be paid for; None where everything can.
        continues: whether Trials may be kept and continued: the owner knows that steps may be taken that are not its.
        on_event: called at the beginning and end of every measurement, and when one is left out.
    """

    def __init__(
        self,
        policy: Policy,
        substrate: Substrate,
        *,
        lr: float,
        horizon: StepsLeft,
        affords: Affords | None = None,
        continues: bool = False,
        on_event: OnEvent | None = None,
    ) -> None:
        self.policy = policy
        self.substrate = substrate
        self.horizon = horizon
        self._affords = affords
        self.on_event = on_event
        self._tried_since: Cost | None = None  # cost before the first attempt at the Trial that is due
        left = horizon(0)
        policy_state = policy.init(Context(lr, Progress(0, left), continues, substrate.facts()))
        action = policy.ask(policy_state)
        self._stand_at(FlightState(policy_state, action, lr, left, continues), History())
        self._begin(action)

    def _stand_at(self, state: FlightState, history: History) -> None:
        """Be where a state says, with the holdings it tells of."""
        self.state = state
        self.lr = state.next_lr
        self.holdings = Holdings(state, self.policy)
        self._history = history
        self._losses = KeptLosses(state, history)

    # -------------------------------------------------------------- reading

    @property
    def step(self) -> int:
        """Kept optimizer steps taken."""
        return self.state.step

    @property
    def action(self) -> Action:
        """What is being done, or due."""
        return self.state.action

    @property
    def progress(self) -> Progress:
        """Kept steps taken and left."""
        return Progress(self.state.step, self.horizon(self.state.step))

    @property
    def momentum(self) -> float | None:
        """Momentum (or beta1) for the next kept step, None to leave it alone."""
        return self.state.momentum

    @property
    def searching(self) -> bool:
        """Whether a measurement, or a report to the policy, is due before the next kept step."""
        return self.state.searching

    @property
    def coasts_from(self) -> int | None:
        """Kept steps taken when the policy asked for what could not be paid for any more; None if it never did.

        From there on the lr is held and the policy is not asked again.
        """
        return self.state.coasts_from

    @property
    def cools_from(self) -> int | None:
        """Kept steps taken when the cooldown began that is flown (or over); None where there is none."""
        return self.state.cools_from

    @property
    def cooled_at(self) -> int | None:
        """Kept steps after which the cooldown is over; None where there is none."""
        begun, action = self.state.cools_from, self.state.action
        return None if begun is None or not isinstance(action, Train) else begun + action.steps

    @property
    def done(self) -> bool:
        """Whether the policy has nothing more to ask."""
        return isinstance(self.state.action, Done)

    @property
    def result(self) -> Any:
        """What the policy's Done carried; None before it."""
        asked = self.state.action if self.cools_from is None else self.policy.ask(self.state.policy_state)
        return asked.result if isinstance(asked, Done) else None

    @property
    def history(self) -> History:
        """Everything that happened so far (reads outstanding losses)."""
        self._losses.read(self.substrate)
        return self._history

    # ------------------------------------------------------------ kept steps

    def kept(self, loss: Any = None) -> None:
        """Account for one kept optimizer step taken at :attr:`lr`, then fly on to the next.

        Args:
            loss: its training loss (a number, or a detached tensor that is read later); None if unknown.
        """
        self.account(loss)
        self.start()

    def account(self, loss: Any = None, *, share: float = 1.0) -> None:
        """The first half of :meth:`kept`: count the step, without measuring on.

        Args:
            loss: as for :meth:`kept`.
            share: the step was taken at this share of :attr:`lr` (a search was due and had not run).
        """
        state, action = self.state, self.state.action
        self._note_leg(share)
        state.lr = self.lr
        state.step += 1
        self._history.lrs.append(float(state.lr * share))
        if isinstance(action, Train):
            state.position += 1
            self.lr = state.next_lr
        elif isinstance(action, Line):
            self.holdings.line.step_taken()
        self._losses.add(loss, self.substrate)
        if self._losses.alarm is not None:
            alarm, self._losses.alarm = self._losses.alarm, None
            self.warn(alarm)
        if isinstance(action, Train):
            observed = action.observe_every is not None and state.position % action.observe_every == 0
            state.report_due = observed or state.finished

    def _note_leg(self, share: float) -> None:
        """Put down what the step just taken has followed: the shape of a Train that begins, or a single lr."""
        state, action, average = self.state, self.state.action, self.substrate.average
        if isinstance(action, Train) and state.position < action.steps:
            if state.position == 0:
                self._history.follow(Leg(state.step, action.shape, action.momentum, average))
            return
        momentum = None if state.momentum is None else constant(state.momentum)
        self._history.follow(Leg(state.step, constant(self.lr * share), momentum, average))

    # -------------------------------------------------------------- the loop

    def start(self) -> None:
        """Fly measurements until a kept step is needed or the policy is done."""
        for _ in range(MAX_MEASUREMENTS_IN_A_ROW):
            if not self.searching:
                return
            action = self.action
            if isinstance(action, Train):
                self._tell(self._report(action))
            elif self._has_run_out(action):
                self._coast()
            else:
                self._emit(Event("begin", self.step, action))
                observation = self._measure(action)
                if observation is not None:
                    self._tell(observation)
        raise PolicyError(
            f"A search must end, but {self.policy.name} asked for {MAX_MEASUREMENTS_IN_A_ROW} measurements "
            "without a training step. Make its ask() return a Train or Done."
        )

    def _tell(self, observation: Observation) -> None:
        """Tell the policy and ask it what is next; where this is interrupted it can be done again."""
        state, action = self.state, self.state.action
        after = self.policy.tell(state.policy_state, observation)
        state.told_left = observation.progress.remaining
        reason = self.policy.explain(state.policy_state, observation, after)
        event = Event("end", state.step, action, observation, reason)
        asked = self.policy.ask(after)
        self._history.events.append(event)
        state.policy_state = after
        state.report_due = False
        state.window = []
        goes_on = isinstance(observation, Trained) and not observation.finished and asked == action
        if not goes_on:
            self._begin(asked)
        self._emit(event)

    def _begin(self, action: Action) -> None:
        """What is due from now on."""
        self.substrate.agree(action)
        self.state.begin(action)
        self.lr = self.state.next_lr
        if isinstance(action, Train):
            require_positive_lrs(action)
            self.substrate.fly(action.average)
        if isinstance(action, Line) and self.substrate.average is not None:
            raise PolicyError(
                f"A Line is read along the optimizer's own step, but {self.policy.name} asked for one in an averaged "
                "flight, which moves the weights otherwise. Ask for a Train without average first."
            )
        if self.state.end_taken:  # and the policy has been told of it
            self.holdings.ends.drop_all(self.substrate)
        self.holdings.make_ready(action, self.substrate)

    # ---------------------------------------------------------- measurements

    def _report(self, action: Train) -> Trained:
        """What the policy is told of its Train; until that has succeeded it stays due."""
        self._losses.read(self.substrate)
        state, held_out = self.state, None
        asks_for_losses = action.observe_every is not None or action.stop.needs_every_loss
        if asks_for_losses and not state.window:
            held_out = self.substrate.evaluate(Evaluate())
            state.watch(action, held_out)
        return Trained(self.progress, state.position, tuple(state.window), held_out, state.finished, state.stop)

    def _measure(self, action: Action) -> Observation | None:
        """Do what the policy asks for, and see what it wants to know; None where it is to be done again."""
        match action:
            case Trial():
                return self._try(action)
            case Line():
                losses = self.substrate.line(action)
                return LineLosses(self.progress, action.factors, losses, self.substrate.line_shares(action))
            case Evaluate():
                before = self.substrate.cost
                loss = self.substrate.evaluate(action)
                return HeldOut(self.progress, loss, self._cost_since(before))
            case Mark(key):
                self.holdings.marks.set(key, self.substrate)
            case Rewind(key):
                self.holdings.rewind(key, self.substrate)
            case Drop(key):
                self.holdings.drop(key, self.substrate)
            case Continue(key):
                self._losses.read(self.substrate)
                self.holdings.continue_trial(key, self.substrate, self._history)
            case _:
                raise PolicyError(f"A policy must ask for one of the known actions, got {action!r}.")
        return Moved(self.progress, key)

    def _try(self, action: Trial) -> TrialLosses | None:
        """Fly a Trial; its end is held where that is asked for. None where a batch was left out on the way."""
        before = self.substrate.cost if self._tried_since is None else self._tried_since
        self.holdings.ends.make_room(action, self.substrate, self.progress.remaining)
        seen = self.substrate.trial(action)
        self._tried_since = before if seen is None else None
        if seen is None:
            self.warn(_BAD_BATCH)
            return None
        if action.keep is not None and seen.stop is None:
            self.holdings.ends.hold(action.keep)
        cost = self._cost_since(before)
        return TrialLosses(self.progress, seen.losses, seen.held_out, seen.stop, seen.readings, cost)

    def _cost_since(self, before: Cost) -> float:
        """What was spent since then, in training steps, alike on every rank; rounded, as sums depend on their start."""
        return round(self.substrate.read([(self.substrate.cost - before).steps])[0], 6)

    # ---------------------------------------------------------------- limits

    def _has_run_out(self, action: Action) -> bool:
        """Whether what is left cannot pay for a measurement, or has no room any more for a Trial that is kept."""
        if self._affords is not None and not self._affords(action, self.step):
            return True
        return isinstance(action, Trial) and self.holdings.ends.lost_room(action, self.progress.remaining)

    def _coast(self) -> None:
        """Leave out what cannot be paid for, and hold the lr to the end: a budget is a promise."""
        left_out, self.state.coasts_from = self.action, self.step
        left = max(1, self.horizon(self.step) or 0)
        self._begin(Train(constant(self.state.lr), left, average=self.substrate.average))
        self._put_down(Event("skip", self.step, left_out))

    def cool(self, steps: int) -> None:
        """Go straight to zero from here, over ``steps`` kept steps.

        What is due is dropped, and the policy not asked again. An average that is flown is carried on, a
        momentum that the policy has set is held; marks are dropped.
        """
        momentum = None if self.momentum is None else constant(self.momentum)
        ramped = Train(ramp(self.lr, 0.0, steps), steps, momentum=momentum, average=self.substrate.average)
        self._begin(ramped)
        self.holdings.drop_all(self.substrate)
        self.state.cools_from = self.step
        self._put_down(Event("cooldown", self.step, ramped))

    # ---------------------------------------------------------------- events

    def warn(self, reason: Reason) -> None:
        """Put on record, and tell, what somebody should look at."""
        self._put_down(Event("warning", self.step, self.action, reason=reason))

    def _put_down(self, event: Event) -> None:
        self._history.events.append(event)
        self._emit(event)

    def _emit(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)

    # ---------------------------------------------------------------- saving

    def state_dict(self) -> dict[str, Any]:
        """Plain data from which :meth:`load_state_dict` continues exactly here."""
        self._losses.read(self.substrate)
        return {
            "policy": encode(self.policy),
            "state": self.state.to_plain(),
            "history": self._history.to_plain(),
            "cost": encode(self.substrate.cost),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue a saved flight. Writes nothing to the substrate but a Line's arming.

        Raises:
            StateError: the state is damaged, or belongs to another policy or other settings of it, or to a flight
                that may continue Trials where this one may not (or the other way round). Nothing is changed then.
        """
        self._require_own(decode(saved["policy"]), continues=saved["state"]["continues"])
        state, history = FlightState.from_plain(saved["state"]), History.from_plain(saved["history"])
        cost = decode(saved["cost"])
        if not state.ends:
            self.holdings.ends.drop_all(self.substrate)
        self._stand_at(state, history)
        self.substrate.agree(state.action)
        self.holdings.make_ready(state.action, self.substrate)
        self.substrate.cost = cost

    def replanned(self, saved: dict[str, Any], progress: Progress) -> Any:
        """What the policy makes of a saved flight under another horizon; nothing is changed here.

        Raises:
            StateError: nothing, or the flight is another policy's.
        """
        self._require_own(decode(saved["policy"]), continues=saved["state"]["continues"])
        return self.policy.replan(decode(saved["state"]["policy_state"]), progress)

    def go_by(self, policy_state: Any) -> None:
        """Go on from a state that was planned anew: with the action that is being done, where it asks for the same."""
        asked = self.policy.ask(policy_state)
        self.state.policy_state, self.state.told_left = policy_state, self.progress.remaining
        if asked != self.action:
            self._begin(asked)
        self._put_down(Event("replan", self.step, asked))

    def _require_own(self, policy: Any, *, continues: bool) -> None:
        if policy != self.policy:
            raise StateError(
                f"A saved flight must be resumed with its own policy, saved was {policy}, "
                f"got {self.policy}. Construct the pilot with the saved settings, or start a new flight."
            )
        if continues != self.state.continues:
            raise StateError(
                f"A saved flight must be resumed with its own continue_trials, saved was {continues}, got "
                f"{self.state.continues}: its policy was told so when it began. Pass the saved one."
            )
