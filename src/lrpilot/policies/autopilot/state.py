"""The words of Autopilot: what it remembers between two calls, and its phases. Plain data.

SearchingPeak   Trials for a peak lr
Marking     remember this place
Flying      kept steps
Rewinding   back to the last mark
Landed      no step is left
"""

from lrpilot.core.codec import record
from lrpilot.core.policy import Facts
from lrpilot.policies.autopilot.course import Rise
from lrpilot.policies.autopilot.plan import Plan
from lrpilot.policies.guard import LossWatch
from lrpilot.policies.peak_search.search import PeakSearch
from lrpilot.policies.peak_search.trials import Probed


@record
class SearchingPeak:
    """Trials for a peak lr."""


@record
class Marking:
    """Remember this place."""


@record
class Flying:
    """Kept steps.

    Attributes:
        since: kept steps taken when its Train began.
    """

    since: int


@record
class Branching:
    """Trials on the way, whether the lr is still right.

    Attributes:
        search: the search from where the flight stands.
    """

    search: PeakSearch


@record
class Rewinding:
    """Back to the last mark."""


@record
class Landed:
    """No step is left."""


Phase = SearchingPeak | Marking | Flying | Branching | Rewinding | Landed


@record
class AutopilotState:
    """Where a flight stands.

    Attributes:
        plan: how it is flown.
        start_lr: reference lr of the optimizer as the user left it, natural units.
        search: the search before it.
        phase: what is being done.
        peak: lr that the course is laid out for, natural units; 0 before the search has ended.
        step: kept steps taken.
        total: kept steps of the whole training, as planned now; None where the end is open.
        facts: of the training, as they were before the flight.
        rise: how the lr comes up to the peak.
        watch: over the loop's own losses.
        fallen_peak: largest peak of a row of falls that the watch counts; without meaning where it counts none.
        blind: whether the loop gives no losses.
        marked_at: kept steps taken at the last mark; None before the first.
        branched: whether it has looked on the way whether the lr is still right, or cannot pay for it.
        branches: what it saw there; empty before.
    """

    plan: Plan
    start_lr: float
    search: PeakSearch
    phase: Phase
    peak: float
    step: int
    total: int | None
    facts: Facts
    rise: Rise
    watch: LossWatch = LossWatch()
    fallen_peak: float = 0.0
    blind: bool = False
    marked_at: int | None = None
    branched: bool = False
    branches: tuple[Probed, ...] = ()
