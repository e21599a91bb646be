"""The guard of a training: what is lost, who is to blame for it, and which lrs are left afterwards.

Every method that comes back from a bad lr keeps one :class:`Guard` in its state. What the methods differ in (by how
much they lower an lr, where the ceiling then is, which losses cannot be the lr's fault) they say in arguments.

Between two measurements a :class:`LossWatch` follows the losses that the loop has anyway. It is told of them, and
answers with a :class:`Verdict`: one word for each thing that can be done. The evidence it goes by:

* *Is the training lost?* Single losses scatter, and one may be anything. So they are judged by blocks of eight, by
  their median, and only where the later half is as high. The limit is a quarter of the gain above the best block, or
  more than single losses scatter by; before anything was gained, that much above the loss of the untrained weights. How
  widely the losses of a block scatter counts for little in its own favour: a training that dies scatters widely.
* *Is the lr to blame for a loss that is no number?* A training that an lr drives apart rises first, unless the lr is so
  large that a step or two do it. So it is not to blame where the losses before were sound, and the lr has had some in
  a row. An lr that has not gets a second and a third try; after it was lowered, none.
* *Are the weights lost with it?* A step on a gradient that is no number leaves none, but a loop may leave that step
  out. So the training goes on for a step, and is taken back only where the next loss is no number either.
* *A finite loss that leaps* by 30 times all that was gained, out of sound ones and at an lr that has had sound ones,
  is a bad batch too: an lr that is too large takes several steps to get there.
* *Bad batches come one by one,* whereas a training at too large an lr dies whenever it is tried. So the lr is to blame
  after all where the weights were lost four times without a mark after sound losses in between.
* *A loss may rise by itself:* other data, another term in it. Where the lr was lowered eight times from one mark and
  the loss is hardly less too high than it was, it was not the lr. A lower peak alone is no lower lr: on its way up to
  that a training may die at the very lr of before.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from statistics import median

from lrpilot.core.actions import Trained
from lrpilot.core.codec import coded_enum, record
from lrpilot.core.policy import Reason, lr_from_to
from lrpilot.core.stop import StopReason
from lrpilot.core.trials import standard_error
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
AT_ANY_LR = "and would not be at any lr"
# Losses in a row that are no number, before anybody is told.
FIRST_ALARM = 3
# Losses that are judged together.
BLOCK = 8
# Sound losses in a row after which an lr is known not to end a training in a step or two.
PROOF = 4
# Of losses before one that is no number, so many tell whether the training was sound.
TAIL = 5
# Scatters of single losses, of both places together, by which the level of a block must rise: 7 times what it is wrong
# by. At 2 a fine-tuning in batches of 16 at its best lr (minilm_movies) was called dying twice in 1,000 steps.
SCATTERS = 3.0
# The first loss of a loop is of the kind of those that were measured if it is within so many of their spreads.
SAME_KIND = 10.0
# The losses of a block may scatter by so many times more than those of sound ones did; the rest counts against it.
SCATTER_ROOM = 3.0
# An lr so many times larger than one that has had these is as sound, but for a slow rise.
PROOF_ROOM = 2.0
# Times all that was gained, or the scatter where that is more, by which the loss of a bad batch leaps.
LEAP = 30.0
# Times in a row that weights may be lost for a bad batch, at an lr that has had sound losses, and at one that has not.
MOST_SPOILED = 4
MOST_UNPROVEN = 3
# Times in a row that the lr may be lowered, each from the same mark, before the loss is taken to have risen by itself;
# only those count that leave it above its limit by more than this part of what it was.
MOST_FALLS = 8
HARDLY_LESS = 0.5


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


# --------------------------------------------------------------- between two measurements


@coded_enum
class Verdict(Enum):
    """What a watch says of the latest losses; the value is what to do."""

    FINE = "go on"
    BAD_BATCH = "a loss is no number, and no sign that the lr did it: go on for a step and see whether the weights are"
    SPOILED = "a bad batch took the weights with it: back to the last mark, at the same lr"
    DYING = "the lr is too large: back to the last mark, at a lower one"
    CLEARED = "the loss is as high at a small part of the lr, which did not do it: go on, at the lr of before"


@record
class Levels:
    """Levels of single-batch losses while the training was sound, in the unit of the loss.

    Attributes:
        start: of the untrained weights.
        lowest: of the best block so far.
        scatter: of single losses there; of the untrained weights before anything was gained.
        begun: where the training has begun anew after a rewind: not all that was reached before need be there. -inf
            from the next mark on.
    """

    start: float
    lowest: float
    scatter: float
    begun: float = -math.inf

    @property
    def gain(self) -> float:
        """What the training has gained, >= 0."""
        return max(0.0, self.start - self.lowest)

    def limit(self, scatter: float = 0.0) -> float:
        """The highest level of a sound training.

        Args:
            scatter: of the single losses that are judged. Not all of it counts: who dies scatters widely.
        """
        room = SCATTERS * math.hypot(self.scatter, min(scatter, SCATTER_ROOM * self.scatter))
        limit = max(self.lowest + max(SHARE * self.gain, room), self.begun + room)
        return limit + ROUNDING * abs(limit)

    def after(self, level: float, scatter: float) -> "Levels":
        """With one more sound block."""
        if level >= self.lowest:
            return self
        # The scatter of eight losses is a poor estimate: the mean of the logarithms, in bounds.
        near = min(max(scatter, self.scatter / SCATTER_ROOM), self.scatter * SCATTER_ROOM)
        return replace(self, lowest=level, scatter=math.sqrt(self.scatter) * math.sqrt(near))


@record
class LossWatch:
    """Follows the losses of kept steps, as the loop has them. Free of the unit and the zero of the loss.

    A policy tells it of the losses of each Train (:meth:`after`), of each Mark (:meth:`marked`) and of each Rewind
    (:meth:`rewound`), and does what its :attr:`verdict` says.

    Attributes:
        verdict: on the losses that it was told of last.
        levels: of the sound training; None before the first block.
        safe: the same where the last mark was set.
        offered: levels of the untrained weights that no loss of the loop has been compared with yet.
        block: losses since the last block, fewer than :data:`BLOCK`, the oldest first.
        tail: the last finite losses, at most two blocks, the oldest first.
        run: sound losses in a row at :attr:`run_lr` or more.
        run_lr: smallest of the lrs at which these were; inf for none.
        proven_lr: largest lr, natural units, that has had sound losses in a row; 0 for none.
        served: whether there was a sound block since the last mark or rewind.
        fresh: whether no step has been trained since then: the next loss is that of sound weights.
        bad: losses in a row that are no number, up to the last.
        excused: whether the first of these was that of sound weights, which no lr can be blamed for.
        leapt: blocks to come that may be high because a loss leapt, as only that of a bad batch does.
        spoiled: times that the weights were lost to a bad batch since the last mark that followed a sound block.
        falls: times that the training was called dying since then, and an lr that was no higher made it hardly better.
        excess: by how much the level was above its limit, at the first of these; 0 for none.
        fallen_lr: largest lr, natural units, at which it was; 0 for none. The lr to go on at where it is cleared.
        fell_at: the lr of the last that counts; inf for none.
        wary: whether there was a bad batch: the next may be near, and marks are worth their while.
    """

    verdict: Verdict = Verdict.FINE
    levels: Levels | None = None
    safe: Levels | None = None
    offered: Levels | None = None
    block: tuple[float, ...] = ()
    tail: tuple[float, ...] = ()
    run: int = 0
    run_lr: float = math.inf
    proven_lr: float = 0.0
    served: bool = False
    fresh: bool = False
    bad: int = 0
    excused: bool = False
    leapt: int = 0
    spoiled: int = 0
    falls: int = 0
    excess: float = 0.0
    fallen_lr: float = 0.0
    fell_at: float = math.inf
    wary: bool = False

    # ------------------------------------------------------- what it is told

    def opened(self, losses: Sequence[float]) -> "LossWatch":
        """With losses of the untrained weights that were measured: from now on a rise above them is seen.

        They count where the first loss of the loop is one of their kind: a loop may have its loss on its own scale, and
        then, as without them, the first block opens the watch and is not judged.

        Args:
            losses: n >= 2, one per batch, all finite; as it is where they are fewer, or not needed any more.
        """
        if len(losses) < 2 or not all(map(math.isfinite, losses)):
            return self
        return self.opened_at(*mean_and_spread(losses))

    def opened_at(self, level: float, scatter: float) -> "LossWatch":
        """The same of losses that are known by their level, and by what single ones scatter by; both finite."""
        if self.levels is not None:
            return self
        watch = replace(self, offered=Levels(level, level, scatter))
        return watch._taken_up(self.tail[0]) if self.tail else watch

    def after(self, losses: Sequence[float], lr: float | Sequence[float]) -> "LossWatch":
        """With the losses of kept steps, each read before its step; what comes after a verdict is not looked at.

        Args:
            losses: in their order; ``Trained.losses``. May be empty.
            lr: of each step, natural units; or one for all, the largest of them.
        """
        watch = replace(self, verdict=Verdict.FINE)
        lrs = lr if isinstance(lr, Sequence) else [lr] * len(losses)
        for loss, at in zip(losses, lrs, strict=True):
            watch = watch._after_one(loss, at)
            if watch.verdict is not Verdict.FINE:
                return watch
        return watch

    def lost(self, lr: float) -> "LossWatch":
        """The weights are no numbers any more, and no loss has told of it: the step of a Line did it."""
        return self._spoiled(lr) if self._tail_is_sound else self._dying(lr, math.inf)

    def wrecked(self, lr: float) -> "LossWatch":
        """A measurement says that the training is lost, before the losses of the loop do."""
        return self._spoiled(lr) if self.leapt else replace(self, verdict=Verdict.DYING)

    def marked(self) -> "LossWatch":
        """A mark was set here."""
        levels = None if self.levels is None else replace(self.levels, begun=-math.inf)
        place = median(self.tail[-TAIL:]) if self.tail else -math.inf
        safe = None if levels is None else replace(levels, begun=place)
        watch = replace(self, levels=levels, safe=safe, served=False, fresh=True)
        if not self.served:
            return watch
        return replace(watch, spoiled=0, falls=0, excess=0.0, fallen_lr=0.0, fell_at=math.inf)

    def rewound(self) -> "LossWatch":
        """The weights went back to the last mark."""
        return replace(
            LossWatch(levels=self.safe, safe=self.safe, fresh=True),
            proven_lr=self.proven_lr,
            spoiled=self.spoiled,
            falls=self.falls,
            excess=self.excess,
            fallen_lr=self.fallen_lr,
            fell_at=self.fell_at,
            wary=self.wary,
        )

    # ---------------------------------------------------------- what it says

    @property
    def may_mark(self) -> bool:
        """Whether the weights are sound as far as is known, so that a mark may be set here."""
        return self.verdict is Verdict.FINE and not self.bad and not self.leapt and self._tail_is_sound

    @property
    def excuse(self) -> str:
        """Why the lr is not lowered for a loss that was no number, for :func:`no_number_reason`."""
        if self.excused or not self.wary:
            return AT_ANY_LR
        lost = self.verdict is Verdict.SPOILED
        return "but those before it were sound" if lost else "once: the training goes on and sees"

    @property
    def lost_to_a_leap(self) -> bool:
        """Whether the weights that were lost went with a bad batch whose loss was finite, for :func:`leap_reason`."""
        return bool(self.leapt) and not self.bad

    @property
    def has_gained(self) -> bool:
        """Whether the loss has fallen since the training began, by more than single losses scatter by."""
        return self.levels is not None and self.levels.gain > SCATTERS * self.levels.scatter

    @property
    def _tail_is_sound(self) -> bool:
        last = self.tail[-TAIL:]
        return not last or self.levels is None or median(last) <= self.levels.limit(single_scatter(last))

    @property
    def scatter(self) -> float:
        """Scatter of single losses now, in the unit of the loss; 0 where fewer than two blocks are known."""
        return single_scatter(self.tail) if len(self.tail) == 2 * BLOCK else 0.0

    # ----------------------------------------------------------- one by one

    def _taken_up(self, loss: float) -> "LossWatch":
        """What was offered opens the watch if the first loss of the loop is of that kind."""
        offered = self.offered
        if offered is None:
            return self
        # One above the limit is of another kind too: no step has been taken that could have done it.
        fits = abs(loss - offered.start) <= SAME_KIND * offered.scatter and loss <= offered.limit(offered.scatter)
        return replace(self, offered=None, levels=offered, safe=offered) if fits else replace(self, offered=None)

    def _after_one(self, loss: float, lr: float) -> "LossWatch":
        if not math.isfinite(loss):
            return self._after_no_number(lr)
        watch = replace(
            self._taken_up(loss)._proven_by_one(lr),
            block=(*self.block, loss),
            tail=(*self.tail, loss)[-2 * BLOCK :],
            fresh=False,
            bad=0,
            excused=False,
            leapt=2 if self._leaps(loss, lr) else self.leapt,
        )
        return watch._after_block(lr) if len(watch.block) == BLOCK else watch

    def _proven_by_one(self, lr: float) -> "LossWatch":
        """With one more finite loss at this lr."""
        run, lowest = (self.run + 1, min(self.run_lr, lr)) if lr <= PROOF_ROOM * self.run_lr else (1, lr)
        proven = max(self.proven_lr, lowest) if run >= PROOF and self._tail_is_sound else self.proven_lr
        return replace(self, run=run, run_lr=lowest, proven_lr=proven)

    def _after_no_number(self, lr: float) -> "LossWatch":
        """One bad batch, the second step on weights that are none, or an lr that is too large."""
        if self.bad:
            return replace(self, bad=self.bad + 1)._spoiled(lr)
        watch = replace(self, bad=1, excused=self.fresh, fresh=False, wary=True, run=0, run_lr=math.inf)
        return replace(watch, verdict=Verdict.BAD_BATCH) if self._tail_is_sound else watch._dying(lr, math.inf)

    def _after_block(self, lr: float) -> "LossWatch":
        """As many losses as are judged together."""
        level, scatter = median(self.block), single_scatter(self.block)
        if self.levels is None:
            levels = Levels(max(level, self.block[0]), level, scatter)
            return replace(self, levels=levels, safe=levels, block=())
        excess = min(level, median(self.block[BLOCK // 2 :])) - self.levels.limit(scatter)
        if excess > 0:
            return self._spoiled(lr) if self.leapt else self._dying(lr, excess)
        levels = self.levels.after(level, scatter)
        return replace(self, levels=levels, block=(), leapt=max(0, self.leapt - 1), served=True)

    def _spoiled(self, lr: float) -> "LossWatch":
        """The weights are lost to a bad batch; the lr is to blame after all where that happens again and again."""
        watch = replace(self, spoiled=self.spoiled + (not self.excused), wary=True)
        if watch.spoiled >= (MOST_SPOILED if self._is_proven(lr) else MOST_UNPROVEN):
            return watch._dying(lr, math.inf)
        return replace(watch, verdict=Verdict.SPOILED)

    def _dying(self, lr: float, excess: float) -> "LossWatch":
        """By so much is the level above its limit; inf where there is none."""
        watch = replace(self, verdict=Verdict.DYING, fallen_lr=max(self.fallen_lr, lr))
        if not self.falls or excess <= HARDLY_LESS * self.excess:
            watch = replace(watch, falls=1, excess=excess, fell_at=lr)
        elif lr <= self.fell_at:
            watch = replace(watch, falls=self.falls + 1, fell_at=lr)
        if watch.falls <= MOST_FALLS or math.isinf(excess):
            return watch
        # What is called sound is read anew.
        return replace(LossWatch(Verdict.CLEARED, wary=self.wary), fallen_lr=watch.fallen_lr)

    def _is_proven(self, lr: float) -> bool:
        return lr <= PROOF_ROOM * self.proven_lr

    def _leaps(self, loss: float, lr: float) -> bool:
        if self.levels is None or not (self.tail and self.has_gained and self._is_proven(lr) and self._tail_is_sound):
            return False
        limit, gain = self.levels.limit(), self.levels.gain
        return self.tail[-1] <= limit + gain and loss > limit + LEAP * gain


def single_scatter(losses: Sequence[float]) -> float:
    """Standard deviation of single losses, but for their drift and for outliers; 0 for fewer than three."""
    return standard_error(losses) * math.sqrt(len(losses))


def losses_of(seen: Trained) -> tuple[float, ...]:
    """The losses of a Train for a watch: the last is no number where that has ended it."""
    ended = seen.stop is StopReason.NON_FINITE and all(map(math.isfinite, seen.losses))
    return (*seen.losses[:-1], math.nan) if ended else seen.losses


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
    excuse: str = AT_ANY_LR,
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


def leap_reason(before: float, after: float, lost: int, *, back: str = "") -> Reason:
    """What is said of weights that went with a bad batch whose loss was finite; as :func:`no_number_reason`."""
    sentence = f"{lr_from_to(before, after)}: a loss leapt out of sound ones{_alarm(lost)}{back}"
    return Reason("bad_data", sentence, is_alarming(lost))


def wreck_reason(before: float, after: float, *, back: str, gained: bool = True) -> Reason:
    """What is said of a training that was lost; ``back`` as in :func:`no_number_reason`.

    Args:
        before: the lr until then.
        after: the lr from then on.
        back: where the weights go.
        gained: whether there was anything to lose but the weights.
    """
    why = "most of what had been gained was lost" if gained else "the loss rose above that of the untrained weights"
    return Reason("wrecked", f"{lr_from_to(before, after)}: {why}{back}")
