"""Why a policy decided as it did: a code for programs, and a sentence for people."""

from lrpilot.core.codec import record


@record
class Reason:
    """What was decided on an observation, and why.

    Attributes:
        code: short and always the same, in lower case ("raised", "held_uncertain").
        sentence: from what to what, and the numbers that decided; without a full stop.
        alarms: whether somebody should look at it: it is logged as a warning.
    """

    code: str
    sentence: str
    alarms: bool = False

    def __str__(self) -> str:
        """The sentence, and the code."""
        return f"{self.sentence} [{self.code}]"


def lr_from_to(before: float, after: float) -> str:
    """In words, what became of an lr (natural units)."""
    return f"lr stays {before:.3g}" if after == before else f"lr {before:.3g} to {after:.3g}"
