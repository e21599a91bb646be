"""Flight: the one loop of ask, act and tell, over anything that can be trained and measured.

It knows nothing of torch. ``lrpilot.training`` gives it a live model to fly, ``lrpilot.simulate`` a
synthetic one, so that a policy behaves the same in both.
"""

import math
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
from lrpilot.core.history import Event, History, OnEvent
from lrpilot.core.policy import Context, Policy
from lrpilot.core.reason import Reason
from lrpilot.core.shape import constant
from lrpilot.core.stop import StopReason, StopState, check_stop
from lrpilot.errors import PolicyError, StateError
from lrpilot.flight.ends import KeptEnds
from lrpilot.flight.marks import HeldMarks
from lrpilot.flight.substrate import Substrate

# A search that asks for this many measurements without one training step is a bug in its policy.
MAX_MEASUREMENTS_IN_A_ROW = 100_000
# Where reading a loss stalls the device, losses are read in blocks of this many steps.
READ_EVERY = 32

Horizon = Callable[[int], int | None]
"""Kept steps left after so many were taken; None when the end is open."""

Affords = Callable[[Action, int], bool]
"""Whether a measurement can be paid for, after so many kept steps."""


class Flight:
    """One policy on one substrate.

    The owner takes optimizer steps at :attr:`lr` and calls :meth:`kept` after each. Everything else
    happens inside ``kept`` and :meth:`start`. An exception out of a measurement (Ctrl-C included)
    leaves the measurement pending: the next ``start`` or ``kept`` repeats it.

    Attributes:
        step: kept optimizer steps taken.
        lr: reference lr for the next kept step.
        action: what is being done, or due.
        result: what the policy's Done carried.
        coasts_from: kept steps taken when the policy asked for what could not be paid for any more; None if it
            never did. From there on the lr is held and the policy is not asked again.

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
        horizon: Horizon,
        affords: Affords | None = None,
        continues: bool = False,
        on_event: OnEvent | None = None,
    ) -> None:
        self.policy = policy
        self.substrate = substrate
        self.horizon = horizon
        self._affords = affords
        self.on_event = on_event
        self.step = 0
        self.coasts_from: int | None = None
        self.result: Any = None
        self._history = History()
        self.lr = lr
        self._present_lr = lr
        self._marks = HeldMarks()
        self._ends = KeptEnds(granted=continues)
        self._line_held = False
        self._unread: list[tuple[int, Any]] = []
        self._position = 0
        self._report_due = False
        self._window: list[float] = []
        self._stop_state = StopState()
        self._stop: StopReason | None = None
        self._told_left = self.horizon(0)  # as the policy knows it; None too where a saved flight goes on
        self._state = policy.init(Context(lr, Progress(0, self._told_left), continues))
        self._begin(policy.ask(self._state))

    # -------------------------------------------------------------- reading

    @property
    def progress(self) -> Progress:
        """Kept steps taken and left."""
        return Progress(self.step, self.horizon(self.step))

    @property
    def momentum(self) -> float | None:
        """Momentum (or beta1) for the next kept step, None to leave it alone."""
        if isinstance(self.action, Train) and self.action.momentum is not None:
            return self.action.momentum(self._position)
        return None

    @property
    def searching(self) -> bool:
        """Whether a measurement, or a report to the policy, is due before the next kept step."""
        if self.coasts_from is not None:
            return False
        if isinstance(self.action, Train):
            return self._report_due
        if isinstance(self.action, Line):
            return self._line_held
        return not isinstance(self.action, Done)

    @property
    def done(self) -> bool:
        """Whether the policy has nothing more to ask."""
        return isinstance(self.action, Done)

    @property
    def history(self) -> History:
        """Everything that happened so far (reads outstanding losses)."""
        self._read_losses()
        return self._history

    # --------------------------------------------------------------- flying

    def start(self) -> None:
        """Fly measurements until a kept step is needed or the policy is done."""
        for _ in range(MAX_MEASUREMENTS_IN_A_ROW):
            if not self.searching:
                return
            if isinstance(self.action, Train):
                self._report(self.action)
                continue
            if self._has_run_out(self.action):
                self._coast()
                return
            self._emit(Event("begin", self.step, self.action))
            self._tell(self._measure(self.action))
        raise PolicyError(
            f"A search must end, but {self.policy.name} asked for {MAX_MEASUREMENTS_IN_A_ROW} measurements "
            "without a training step. Make its ask() return a Train or Done."
        )

    def _has_run_out(self, action: Action) -> bool:
        """Whether what is left cannot pay for a measurement, or has no room any more for a Trial that is kept."""
        if self._affords is not None and not self._affords(action, self.step):
            return True
        return isinstance(action, Trial) and self._ends.lost_room(action, self.progress.remaining, self._told_left)

    def _coast(self) -> None:
        """Leave out what cannot be paid for, and hold the lr to the end: a budget is a promise."""
        left_out, self.coasts_from = self.action, self.step
        self._begin(Train(constant(self._present_lr), max(1, self.horizon(self.step) or 0)))
        event = Event("skip", self.step, left_out)
        self._history.events.append(event)
        self._emit(event)

    def warn(self, reason: Reason) -> None:
        """Put on record, and tell, what somebody should look at."""
        event = Event("warning", self.step, self.action, reason=reason)
        self._history.events.append(event)
        self._emit(event)

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
        action = self.action
        self._present_lr = self.lr
        self._history.lrs.append(self._present_lr * share)
        self._history.losses.append(math.nan)
        self.step += 1
        if loss is not None:
            self._unread.append((len(self._history.losses) - 1, loss))
        if isinstance(action, Train):
            self._seek(self._position + 1)
        elif isinstance(action, Line):
            self._line_held = True
        watched = isinstance(action, Train) and action.stop.needs_every_loss
        if watched or self.substrate.reads_are_cheap or len(self._unread) >= READ_EVERY:
            self._read_losses()
        if isinstance(action, Train):
            observed = action.observe_every is not None and self._position % action.observe_every == 0
            self._report_due = self._position >= action.steps or observed or self._stop is not None

    def _report(self, action: Train) -> None:
        """Tell the policy of its Train; until this has succeeded it stays due."""
        self._read_losses()
        held_out = None
        asks_for_losses = action.observe_every is not None or action.stop.needs_every_loss
        if asks_for_losses and not self._window:
            held_out = self.substrate.evaluate(Evaluate())
            self._stop_state, self._stop = check_stop(action.stop, self._stop_state, held_out)
        finished = self._position >= action.steps or self._stop is not None
        self._tell(Trained(self.progress, self._position, tuple(self._window), held_out, finished, self._stop))

    def _read_losses(self) -> None:
        """Turn outstanding losses into numbers and show them to the stop rules of a running Train."""
        unread, self._unread = self._unread, []
        first_of_train = self.step - self._position  # losses before it were a Line's, or a pending search's
        for (index, _), loss in zip(unread, self.substrate.read([loss for _, loss in unread]), strict=True):
            self._history.losses[index] = loss
            if isinstance(self.action, Train) and index >= first_of_train and self._stop is None:
                self._window.append(loss)
                self._stop_state, self._stop = check_stop(self.action.stop, self._stop_state, loss)

    def _measure(self, action: Action) -> Observation:
        before = self.substrate.cost
        match action:
            case Trial():
                self._ends.make_room(action, self.policy, self.substrate, self.progress.remaining, self._marks.keys)
                seen = self.substrate.trial(action)
                if action.keep is not None and seen.stop is None:
                    self._ends.keys.add(action.keep)
                cost = self._cost_since(before)
                return TrialLosses(self.progress, seen.losses, seen.held_out, seen.stop, seen.readings, cost)
            case Line():
                return LineLosses(self.progress, action.factors, self.substrate.line(action))
            case Evaluate():
                loss = self.substrate.evaluate(action)
                return HeldOut(self.progress, loss, self._cost_since(before))
            case Mark(key) | Rewind(key) | Drop(key):
                self._move(action, key)
                return Moved(self.progress, key)
            case Continue(key):
                self._continue(action)
                return Moved(self.progress, key)
        raise PolicyError(f"A policy must ask for one of the known actions, got {action!r}.")

    def _cost_since(self, before: Cost) -> float:
        """What was spent since then, in training steps, alike on every rank; rounded, as sums depend on their start."""
        return round(self.substrate.read([(self.substrate.cost - before).steps])[0], 6)

    def _move(self, action: Action, key: str) -> None:
        if isinstance(action, Mark):
            self._ends.require_other(key)
            self._marks.set(key, self.policy, self.substrate)
            return
        if isinstance(action, Drop) and key in self._ends.keys:
            self._ends.drop(key, self.substrate)
            return
        self._marks.require(key)
        if isinstance(action, Rewind):
            self._release_line()
            self._ends.drop_all(self.substrate)
            self.substrate.rewind(key)
        else:
            self._marks.drop(key, self.substrate)

    def _continue(self, action: Continue) -> None:
        """The steps of a kept Trial are kept steps from now on; where this is interrupted it can be done again."""
        self._read_losses()
        self._ends.take(action, self.substrate, self._history, step=self.step)
        self._release_line()
        if self.step < len(self._history.lrs):
            self._present_lr = self._history.lrs[-1]
            self.step = len(self._history.lrs)

    def _tell(self, observation: Observation) -> None:
        state = self.policy.tell(self._state, observation)
        self._told_left = observation.progress.remaining
        reason = self.policy.explain(self._state, observation, state)
        event = Event("end", self.step, self.action, observation, reason)
        action = self.policy.ask(state)
        self._history.events.append(event)
        self._state = state
        self._report_due = False
        self._window = []
        goes_on = isinstance(observation, Trained) and not observation.finished and action == self.action
        if not goes_on:
            self._begin(action)
        self._emit(event)

    def _begin(self, action: Action) -> None:
        self.substrate.agree(action)
        self.action = action
        if self._ends.taken or isinstance(action, (Train, Line, Done)):
            self._ends.drop_all(self.substrate)
        self._seek(0)
        self._window = []
        self._stop_state = StopState()
        self._stop = None
        self._report_due = False
        if isinstance(action, Train):
            require_positive_lrs(action)
        if isinstance(action, (Train, Done)):
            self._release_line()
        if isinstance(action, Line) and not self._line_held:
            self.substrate.arm_line()
        if isinstance(action, Done):
            self.result = action.result

    def _seek(self, position: int) -> None:
        self._position = position
        if isinstance(self.action, Train) and position < self.action.steps:
            self.lr = self.action.shape(position)
        else:
            self.lr = self._present_lr

    def _release_line(self) -> None:
        self.substrate.release_line()
        self._line_held = False

    def _emit(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Plain data from which :meth:`load_state_dict` continues exactly here."""
        self._read_losses()
        return {
            "policy": encode(self.policy),
            "state": encode(self._state),
            "action": encode(self.action),
            "position": self._position,
            "report_due": self._report_due,
            "window": list(self._window),
            "stop_state": encode(self._stop_state),
            "stop": encode(self._stop),
            "step": self.step,
            "lr": self._present_lr,
            "marks": sorted(self._marks.keys),
            "line_held": self._line_held,
            "coasts_from": self.coasts_from,
            "history": self._history.to_plain(),
            "cost": encode(self.substrate.cost),
            **self._ends.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue a saved flight. Writes nothing to the substrate but a Line's arming.

        Raises:
            StateError: the state belongs to another policy or other settings of it, or to a flight that may
                continue Trials where this one may not (or the other way round).
        """
        if decode(saved["policy"]) != self.policy:
            raise StateError(
                f"A saved flight must be resumed with its own policy, saved was {decode(saved['policy'])}, "
                f"got {self.policy}. Construct the pilot with the saved settings, or start a new flight."
            )
        ends = KeptEnds.from_state(saved, granted=self._ends.granted)
        self.step = saved["step"]
        self._unread = []
        self._history = History.from_plain(saved["history"])
        self._present_lr = saved["lr"]
        self._marks = HeldMarks(saved["marks"])
        self._state = decode(saved["state"])
        self._line_held = saved["line_held"]
        self.coasts_from = saved.get("coasts_from")
        self._told_left = None
        self._begin(decode(saved["action"]))
        self._ends = ends
        self._seek(saved["position"])
        self._report_due = saved["report_due"]
        self._window = list(saved["window"])
        self._stop_state = decode(saved["stop_state"])
        self._stop = decode(saved["stop"])
        self.substrate.cost = decode(saved["cost"])
