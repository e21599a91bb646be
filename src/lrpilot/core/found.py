"""What a search for a learning rate came to, as plain data: an lr or none, with a code whose value is the sentence."""

from dataclasses import replace
from enum import Enum
from typing import Any

from lrpilot.core.codec import coded_enum, encode, record
from lrpilot.core.cost import Cost


@coded_enum
class FindCode(Enum):
    """Outcome of a search for a learning rate.

    ``OK``, ``AT_UPPER_EDGE``/``AT_LOWER_EDGE`` and ``NOT_BRACKETED`` carry an lr; the others say why there is none.
    """

    OK = "A learning rate was found."
    AT_UPPER_EDGE = (
        "The best lr is the largest one allowed, so a larger one may be better still. Raise max_lr and search again."
    )
    AT_LOWER_EDGE = (
        "The best lr is the smallest one allowed, so a smaller one may be better still. Lower min_lr and search again."
    )
    NOT_BRACKETED = (
        "The budget ended before the best lr stood between two worse ones, so it may lie beyond the lrs tried: "
        "the interval is wide. Raise the budget and search again."
    )
    FLAT = (
        "No reliable suggestion: the loss hardly moved at any lr. "
        "Train longer per trial (num_steps, or a larger budget), or check that loss and optimizer belong to this model."
    )
    WITHIN_NOISE = (
        "No reliable suggestion: what the best lr gained in a trial is within the scatter of single batches. "
        "Train longer per trial (num_steps, or a larger budget), or use larger batches."
    )
    RISING = (
        "No reliable suggestion: every lr made the loss worse than no training at all. "
        "Lower min_lr, or train longer per trial (num_steps, or a larger budget)."
    )
    ALL_DIVERGED = "No reliable suggestion: every lr diverged. Lower min_lr, and check the data for non-finite values."

    @property
    def has_lr(self) -> bool:
        """Whether an outcome of this kind comes with a learning rate."""
        return self in (FindCode.OK, FindCode.AT_UPPER_EDGE, FindCode.AT_LOWER_EDGE, FindCode.NOT_BRACKETED)


@record
class LengthPick:
    """The best lr of one length of annealed trial.

    Attributes:
        num_steps: length of the trials.
        lr: minimiser of the fitted loss, natural units.
        interval: lrs between which the best lr of this length plausibly lies.
        lrs: lrs tried at this length, ascending.
        losses: of these trials, in the measure of the finding; inf where one diverged.
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
        """The outcome as a sentence with the remedy; with the lr expected unseen where single batches hide the best."""
        expected = self.suggestions.get("expected")
        if self.code is not FindCode.WITHIN_NOISE or expected is None:
            return self.code.value
        return f"{self.code.value} Or begin with lr {expected:.2g}, which is expected of such a training unseen."

    def to_dict(self) -> dict[str, Any]:
        """Plain data (JSON-able once non-finite losses are accepted or replaced)."""
        plain: dict[str, Any] = encode(replace(self))
        return plain | {"status": self.status}
