"""What a search for a learning rate came to, as plain data."""

from dataclasses import replace
from typing import Any

from lrpilot.core.codec import encode, record
from lrpilot.core.cost import Cost
from lrpilot.core.status import FindCode


@record
class LengthPick:
    """The best lr of one length of annealed trial.

    Attributes:
        num_steps: length of the trials.
        lr: minimiser of the fitted loss, natural units.
        interval: lrs between which the best lr of this length plausibly lies.
        lrs: lrs tried at this length, ascending.
        losses: held-out losses of these trials; inf where one diverged.
    """

    num_steps: int
    lr: float
    interval: tuple[float, float]
    lrs: tuple[float, ...]
    losses: tuple[float, ...]


@record
class Finding:
    """A learning rate, the evidence for it, and what it cost.

    Attributes:
        lr: the suggestion in natural units (the largest group's), or None with a reason in ``code``.
        target: "constant" (an lr to hold) or "decay" (a peak for a schedule that ends at zero).
        method: name of the method that found it.
        code: outcome as an enum.
        window: (min_lr, max_lr) worth considering, or None.
        interval: decay: where the best peak plausibly lies; None otherwise.
        suggestions: every suggestion of the method by name; None where it has none.
        lrs: lrs tried, ascending.
        losses: loss of each; inf where the trial diverged.
        start_loss: loss of the untrained state (lr -> 0), same measure as ``losses``; None if not read.
        lengths: decay: the pick of each trial length, shortest first.
        metric: which loss was compared, in words.
        cost: everything the search spent.
    """

    lr: float | None
    target: str
    method: str
    code: FindCode
    window: tuple[float, float] | None
    interval: tuple[float, float] | None
    suggestions: dict[str, float | None]
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    start_loss: float | None = None
    lengths: tuple[LengthPick, ...] = ()
    metric: str = "held-out loss"
    cost: Cost = Cost()

    @property
    def status(self) -> str:
        """The outcome as a sentence with the remedy."""
        return self.code.value

    def to_dict(self) -> dict[str, Any]:
        """Plain data (JSON-able once non-finite losses are accepted or replaced)."""
        plain: dict[str, Any] = encode(replace(self))
        return plain | {"status": self.status}
