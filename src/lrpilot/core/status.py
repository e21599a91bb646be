"""Why a finder answered as it did: a code whose value is the sentence, remedy included."""

from enum import Enum

from lrpilot.core.codec import coded_enum


@coded_enum
class FindCode(Enum):
    """Outcome of a search for a learning rate. Only ``OK`` and ``AT_UPPER_EDGE``/``AT_LOWER_EDGE`` carry an lr."""

    OK = "A learning rate was found."
    AT_UPPER_EDGE = (
        "The best lr is the largest one allowed, so a larger one may be better still. Raise max_lr and search again."
    )
    AT_LOWER_EDGE = (
        "The best lr is the smallest one allowed, so a smaller one may be better still. Lower min_lr and search again."
    )
    FLAT = (
        "No reliable suggestion: the loss hardly moved at any lr. "
        "Train longer per trial (num_steps), or check that loss and optimizer belong to this model."
    )
    WITHIN_NOISE = (
        "No reliable suggestion: what the best lr gained in a trial is within the scatter of single batches. "
        "Train longer per trial (num_steps), or use larger batches."
    )
    RISING = (
        "No reliable suggestion: every lr made the loss worse than no training at all. "
        "Lower min_lr, or train longer per trial (num_steps)."
    )
    ALL_DIVERGED = "No reliable suggestion: every lr diverged. Lower min_lr, and check the data for non-finite values."

    @property
    def has_lr(self) -> bool:
        """Whether an outcome of this kind comes with a learning rate."""
        return self in (FindCode.OK, FindCode.AT_UPPER_EDGE, FindCode.AT_LOWER_EDGE)
