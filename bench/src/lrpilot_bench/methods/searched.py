"""Autopilot's search in front of a peer: the same Trials, at the same price, for somebody else's training."""

from dataclasses import dataclass
from typing import Any

import torch

from lrpilot.core.actions import Average
from lrpilot.pilot import Pilot
from lrpilot.policies.autopilot import Autopilot
from lrpilot.policies.autopilot.plan import Arm
from lrpilot_bench.methods.autopilot import VERSION, search_notes
from lrpilot_bench.methods.method import Notes
from lrpilot_bench.session import Session

SEARCH_VERSION = f"1-{VERSION}"  # of the rows that begin with it, and of Autopilot, whose search it is
UNUSED_LR = 1e-3  # an optimizer needs one; the search does not look at it


@dataclass(frozen=True)
class Searched:
    """What the search has come to.

    Attributes:
        lr: natural units.
        notes: for the record.
    """

    lr: float
    notes: Notes


def search_peak(
    session: Session, optimizer: torch.optim.Optimizer, *, arm: Arm, average: Average | None = None
) -> Searched:
    """The lr that Autopilot would fly this session with; the session is left as it was, and the search is charged.

    Args:
        session: what is searched for, before its first step.
        optimizer: that the Trials are flown with; given up afterwards.
        arm: way to fly that the lr is wanted for.
        average: of averaged Trials; None for Autopilot's.
    """
    changed: dict[str, Any] = {} if average is None else {"average": average}
    pilot = Pilot(session.training(optimizer), Autopilot(arm=arm, **changed), total_steps=session.steps)
    pilot.start()
    session.charge_cost(pilot.cost)
    state = pilot.driver.flight.state.policy_state
    notes = search_notes(state)
    session.notes.update(notes)  # on record even if the training fails
    return Searched(state.peak, notes)
