"""FlightState: where a flight stands, in one record. Saving a flight is encoding it."""

from dataclasses import dataclass, field, fields
from typing import Any

from lrpilot.core.actions import Action, Done, Line, Train
from lrpilot.core.codec import decode, encode
from lrpilot.core.stop import StopReason, StopState, check_stop


@dataclass
class FlightState:
    """Everything that a flight must not forget, as plain data and records.

    Attributes:
        policy_state: what the policy remembers.
        action: what is being done, or due.
        lr: reference lr of the last kept step (at the start: the optimizer's), natural units.
        told_left: kept steps left, as the policy was told last; None for an open horizon.
        continues: whether Trials may be kept and continued: the policy was told so when it began.
        step: kept optimizer steps taken.
        position: of these, the ones that the running Train has taken.
        window: losses of the running Train since the policy was told last.
        stop_state: what the stop rules of the running Train remember.
        stop: why the running Train is over before its last step; None while it goes on.
        excused: losses in a row, up to the last, that were no number.
        report_due: whether the policy is to be told of its Train before the next kept step.
        marks: keys of the marks that are held.
        ends: keys of the ends of Trials that are held.
        end_taken: whether the Continue that is due has been done, and the policy not told of it: a repetition after
            an interruption must not count its steps twice.
        line_held: whether the step of a Line has been taken, and its endpoints are held.
        coasts_from: kept steps taken when the policy asked for what could not be paid for any more; None if it
            never did.
        cools_from: kept steps taken when a cooldown was asked for, whose Train is the action since; None if none was.
    """

    policy_state: Any
    action: Action
    lr: float
    told_left: int | None
    continues: bool
    step: int = 0
    position: int = 0
    window: list[float] = field(default_factory=list)
    stop_state: StopState = field(default_factory=StopState)
    stop: StopReason | None = None
    excused: int = 0
    report_due: bool = False
    marks: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    end_taken: bool = False
    line_held: bool = False
    coasts_from: int | None = None
    cools_from: int | None = None

    # -------------------------------------------------------------- reading

    @property
    def next_lr(self) -> float:
        """Reference lr for the next kept step: the running Train's, else the last one is held."""
        if isinstance(self.action, Train) and self.position < self.action.steps:
            return self.action.shape(self.position)
        return self.lr

    @property
    def momentum(self) -> float | None:
        """Momentum (or beta1) for the next kept step; None to leave it alone."""
        if isinstance(self.action, Train) and self.action.momentum is not None:
            return self.action.momentum(self.position)
        return None

    @property
    def searching(self) -> bool:
        """Whether a measurement, or a report to the policy, is due before the next kept step."""
        if self.coasts_from is not None or self.cools_from is not None:
            return False
        if isinstance(self.action, Train):
            return self.report_due
        if isinstance(self.action, Line):
            return self.line_held
        return not isinstance(self.action, Done)

    @property
    def finished(self) -> bool:
        """Whether the running Train is over: all its steps have been taken, or a rule has stopped it."""
        return isinstance(self.action, Train) and (self.position >= self.action.steps or self.stop is not None)

    # --------------------------------------------------------------- moving

    def begin(self, action: Action) -> None:
        """Another action is due, and nothing of it has been done."""
        self.action = action
        self.position = 0
        self.window = []
        self.stop_state, self.stop = StopState(), None
        self.report_due = False

    def watch(self, action: Train, loss: float) -> None:
        """Show a loss to the stop rules of the running Train."""
        self.stop_state, self.stop = check_stop(action.stop, self.stop_state, loss)

    # --------------------------------------------------------------- saving

    def to_plain(self) -> dict[str, Any]:
        """Plain data for a checkpoint or JSON."""
        return {each.name: encode(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "FlightState":
        """Inverse of :meth:`to_plain`."""
        made = cls(**{each.name: decode(plain[each.name]) for each in fields(cls)})
        made.window = list(made.window)
        return made
