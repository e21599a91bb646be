"""The guard of a training: what is lost, who is to blame for it, and which lrs are left afterwards.

Every method that comes back from a bad lr keeps one :class:`Guard` in its state. What the methods differ in (by how
much they lower an lr, where the ceiling then is, which losses cannot be the lr's fault) they say in arguments.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from lrpilot.core.actions import Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Reason, lr_from_to
from lrpilot.maths.peak import wrecked_above

# Share of the gain whose loss is a wreck. At a half networks died in instalments, a window at a time (digits, SGD with
# momentum, started at 30 times a good lr: two seeds of six). A quarter takes more back on very noisy quadratics, and
# ends no higher there.
SHARE = 0.25
# Spreads over the batches by which a loss must rise where little has been gained yet.
NOISE_ROOM = 2.0
# Means of equal losses differ by this part of them.
ROUNDING = 1e-12
# A loss that is no number at this part of an lr at which it was none before is none at any lr: it is the data.
NEARLY_ZERO = 1e-6
# Losses in a row that are no number, before anybody is told.
FIRST_ALARM = 3


# ------------------------------------------------------------------ what is lost


@record
class Health:
    """Losses of a training while it was sound, on the same few batches each time, in the unit of the loss.

    Attributes:
        start: mean loss when the training began.
        lowest: smallest mean loss so far.
        noise: standard deviation over the batches when last read, or more where a loss was sound for the sake of noise
            alone; 0 with a single batch.
    """

    start: float
    lowest: float
    noise: float

    @classmethod
    def at_start(cls, losses: Sequence[float]) -> "Health":
        """Before the first step.

        Args:
            losses: n >= 1, one per batch.
        """
        mean, spread = mean_and_spread(losses)
        return cls(mean, mean, spread)

    @property
    def limit(self) -> float:
        """The largest loss of a sound training: a quarter of the gain lost, or more than the batches differ by."""
        limit = max(wrecked_above(self.lowest, self.start, SHARE), self.lowest + NOISE_ROOM * self.noise)
        return limit + ROUNDING * abs(limit)

    def is_wreck(self, loss: float) -> bool:
        """Whether a mean loss is above the limit, or not finite."""
        return not -math.inf < loss <= self.limit

    def after(self, losses: Sequence[float]) -> "Health":
        """With the losses of one more place where the training was sound, one per batch.

        A loss that was sound stays sound, and so does one a little above it: it may be where a rewind goes back to, and
        where that is a wreck by a new limit, every rewind ends in the next.
        """
        return self.after_mean(*mean_and_spread(losses))

    def after_mean(self, mean: float, spread: float) -> "Health":
        """The same of losses that are known by their mean, and by what it may be wrong by."""
        lowest = min(self.lowest, mean)
        if wrecked_above(lowest, self.start, SHARE) < mean <= self.limit:
            spread = max(spread, mean - lowest)
        return replace(self, lowest=lowest, noise=spread)


def mean_and_spread(losses: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (divisor n - 1); 0 for a single loss, and where the mean is not finite."""
    mean = sum(loss / len(losses) for loss in losses)
    if len(losses) == 1 or not math.isfinite(mean):
        return mean, 0.0
    # hypot, which does not overflow where a sum of squares does.
    return mean, math.hypot(*(loss - mean for loss in losses)) / math.sqrt(len(losses) - 1)


# --------------------------------------------------------------- who is to blame


@record
class Blame:
    """Losses that were no number: whether the lr can be their cause.

    It is lowered for them, until it moves nothing any more. What is no number then is none at any lr: the data is bad,
    and the lr is given back.

    Attributes:
        failed_lr: largest lr at which a loss was no number, natural units; 0 for none.
        blameless: whether such losses are known not to be the lr's fault.
    """

    failed_lr: float = 0.0
    blameless: bool = False

    def after(self, lr: float) -> "Blame":
        """With one more such loss, at ``lr``."""
        failed = max(self.failed_lr, lr)
        return Blame(failed, self.blameless or lr <= NEARLY_ZERO * failed)


@record
class Guard:
    """What a flight remembers of losses that went well, and of those that did not. Lrs are in natural units.

    Attributes:
        health: losses of the sound training; None before the first.
        ceiling: largest lr allowed, since one above it did damage.
        lost: losses in a row that were no number, without a sound one between them.
        blame: what is known of such losses.
    """

    health: Health | None = None
    ceiling: float = math.inf
    lost: int = 0
    blame: Blame = Blame()

    # -------------------------------------------------------- what went well

    def opened(self, losses: Sequence[float]) -> "Guard":
        """With the losses of the place where the training began, one per batch; as it is where these are known."""
        return self if self.health is not None else replace(self, health=Health.at_start(losses))

    def after_sound(self, losses: Sequence[float]) -> "Guard":
        """With the losses of one more sound place, one per batch; nothing is noted before the training was opened."""
        return self if self.health is None else replace(self, health=self.health.after(losses))

    def after_sound_mean(self, mean: float, spread: float, *, start: float | None) -> "Guard":
        """The same of losses that are known by their mean, and by what it may be wrong by; the first open the training.

        Args:
            mean: loss there.
            spread: >= 0.
            start: loss where the training began; None where that is not known.
        """
        if self.health is None:
            return replace(self, health=Health(mean if start is None else max(mean, start), mean, spread))
        return replace(self, health=self.health.after_mean(mean, spread))

    def went_back(self, health: Health | None) -> "Guard":
        """The weights went back to where ``health`` was known of the training."""
        return replace(self, health=health)

    def calmed(self) -> "Guard":
        """A loss was sound: those that are no number are counted anew."""
        return replace(self, lost=0)

    # ---------------------------------------------------- what did not go well

    def is_wreck(self, loss: float) -> bool:
        """Whether a mean loss says that the training is lost; not before a sound one is known."""
        return self.health is not None and self.health.is_wreck(loss)

    def lost_again(self) -> "Guard":
        """One more loss was no number."""
        return replace(self, lost=self.lost + 1)

    def no_number(self, lr: float, *, suspect: bool, top: float = math.inf) -> tuple["Guard", float | None]:
        """A loss of the training is no number.

        The lr is to blame, as far as anyone can tell, unless it cannot be the cause; where such losses turn out to be
        the data's fault, the lr that was lowered for them is given back.

        Args:
            lr: at which it was.
            suspect: whether the lr can be the cause at all; not where the loss is that of weights known to be sound.
            top: the ceiling where the lr is given back: no damage is the lr's then.

        Returns:
            The guard afterwards, and the lr to go on at; None where it must be lowered. Who lowers it says with
            :meth:`capped` what the ceiling is from then on.
        """
        guard = self.lost_again()
        if not suspect or self.blame.blameless:
            return guard, lr
        blame = self.blame.after(lr)
        if not blame.blameless:
            return replace(guard, blame=blame), None
        return replace(guard, blame=blame, ceiling=top), blame.failed_lr

    def exonerated(self) -> "Guard":
        """Losses that are no number are known not to be the lr's fault."""
        return replace(self, blame=replace(self.blame, blameless=True))

    # ------------------------------------------------------------ the ceiling

    def capped(self, limit: float) -> "Guard":
        """An lr above ``limit`` did damage: none is allowed any more, until the ceiling is lifted."""
        return replace(self, ceiling=min(self.ceiling, limit))

    def lifted(self, factor: float, *, top: float) -> "Guard":
        """The ceiling times ``factor``, at most ``top``: what was too much once may be right later."""
        return replace(self, ceiling=min(top, factor * self.ceiling))


def is_of_untouched_weights(seen: Trained) -> bool:
    """Whether the last loss of a Train is its first: that of weights which none of its steps has touched."""
    return len(seen.losses) == 1


def half_way(sound_lr: float, failed_lr: float) -> float:
    """Half way, in log lr, from an lr that failed to one that did not: a ceiling that leaves room to be right."""
    return math.sqrt(sound_lr * failed_lr)


# -------------------------------------------------------------- what is said of it


def is_alarming(times: int) -> bool:
    """Whether so many losses in a row that are no number are to be told of: the 3rd, the 6th, the 12th, ..."""
    doubled = times // FIRST_ALARM
    return times % FIRST_ALARM == 0 and doubled > 0 and doubled & (doubled - 1) == 0


def _alarm(times: int) -> str:
    """What to say of so many losses in a row that are no number; nothing where it is not time to."""
    return f", {times} times in a row: look for such values in the data and the model" if is_alarming(times) else ""


def no_number_reason(
    before: float,
    after: float,
    lost: int,
    *,
    loss: str = "a loss",
    excuse: str = "and would not be at any lr",
    back: str = "",
) -> Reason:
    """What is said of a loss that was no number: the lr was lowered for it, or it is the data's fault.

    Args:
        before: the lr until then.
        after: the lr from then on.
        lost: such losses in a row, this one included.
        loss: what was no number.
        excuse: why the lr was not lowered.
        back: where the weights go, with a semicolon before it; nothing where they stay.
    """
    code, why = ("no_number", "") if after < before else ("bad_data", f", {excuse}")
    sentence = f"{lr_from_to(before, after)}: {loss} was no finite number{why}{_alarm(lost)}{back}"
    return Reason(code, sentence, is_alarming(lost))


def wreck_reason(before: float, after: float, *, back: str) -> Reason:
    """What is said of a training that was lost; ``back`` as in :func:`no_number_reason`."""
    return Reason("wrecked", f"{lr_from_to(before, after)}: most of what had been gained was lost{back}")
