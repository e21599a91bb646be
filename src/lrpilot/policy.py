"""All that a method of one's own needs, in one import: what it may ask, what it is told, how its settings are checked.

A policy is a ``@record`` that holds its settings. It never sees a model. ``init`` makes the first state, ``ask`` names
the next action, ``tell`` makes the next state of an observation; none of them changes anything. A complete one::

    from lrpilot.policy import Context, Done, Policy, SettingError, Train, constant, is_positive, record

    @record
    class Halving(Policy):
        '''Halves the lr after every 100 steps.'''

        factor: float = 0.5

        def __post_init__(self):
            if not is_positive(self.factor):
                raise SettingError(f"factor must be finite and > 0, got {self.factor!r}. The default is 0.5.")

        def init(self, context: Context):
            return {"lr": context.lr, "left": context.progress.remaining}

        def ask(self, state):
            if state["left"] == 0:
                return Done()
            return Train(constant(state["lr"]), 100 if state["left"] is None else min(100, state["left"]))

        def tell(self, state, seen):
            lr = state["lr"] * (self.factor if seen.finished else 1.0)
            return {"lr": lr, "left": seen.progress.remaining}

Fly it with :func:`lrpilot.simulate`, :class:`lrpilot.Pilot` and :func:`lrpilot.fit`, or in a terminal
(``lrpilot simulate halving.py:Halving --set factor=0.1``), and let :data:`lrpilot.testing.CHECKS` try it. A policy that
only measures says ``trains = False`` and ends in ``Done`` with a :class:`FoundLR`.

Nothing here loads torch.
"""

from lrpilot.core.actions import (
    Action,
    Average,
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
)
from lrpilot.core.codec import coded_enum, record
from lrpilot.core.found import FindCode
from lrpilot.core.policy import Context, Facts, Policy, Reason, not_asked_for
from lrpilot.core.settings import (
    Rule,
    among,
    is_between,
    is_bool,
    is_positive,
    is_real,
    is_share,
    is_whole,
    is_window,
    or_none,
    refuse_open_horizon,
    require_each,
    steps_of,
)
from lrpilot.core.shape import Shape, annealed, constant, ramp
from lrpilot.core.stop import Stop, StopReason
from lrpilot.errors import PolicyError, SettingError, unknown_name
from lrpilot.found import FoundLR

__all__ = [
    "Action",
    "Average",
    "Context",
    "Continue",
    "Done",
    "Drop",
    "Evaluate",
    "Facts",
    "FindCode",
    "FoundLR",
    "HeldOut",
    "Line",
    "LineLosses",
    "Mark",
    "Moved",
    "Observation",
    "Policy",
    "PolicyError",
    "Progress",
    "Reason",
    "Rewind",
    "Rule",
    "SettingError",
    "Shape",
    "Stop",
    "StopReason",
    "Train",
    "Trained",
    "Trial",
    "TrialLosses",
    "among",
    "annealed",
    "coded_enum",
    "constant",
    "is_between",
    "is_bool",
    "is_positive",
    "is_real",
    "is_share",
    "is_whole",
    "is_window",
    "not_asked_for",
    "or_none",
    "ramp",
    "record",
    "refuse_open_horizon",
    "require_each",
    "steps_of",
    "unknown_name",
]
