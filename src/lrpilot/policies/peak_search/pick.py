"""From the losses of the Trials to a peak lr and the interval in which the best one lies.

A parabola through the best Trial and its neighbours gives the lr that is best for a Trial. The best lr of a whole
training lies elsewhere: by a bias, because a Trial is short, and by a scatter from training to training. Both are
measured on development tasks, by kind of Trial; together with the prior they make a normal distribution of log10 lr.
"""

import math
from collections.abc import Sequence

import numpy as np

from lrpilot.core.codec import record
from lrpilot.core.policy import Facts
from lrpilot.policies.peak_search.prior import Prior
from lrpilot.policies.peak_search.trials import Probed, best_of, difference
from lrpilot.policies.peak_search.walk import SPACING, learned, neighbours

INTERVAL = 1.645  # standard deviations to either side: nine in ten
# Beyond an end that was not bracketed nothing was seen: half a spacing more of uncertainty.
OPEN_END = 0.5 * SPACING
# Where all losses are the same but for noise, any lr may be best: so many decades are as good as no knowledge.
NOTHING_SEEN = 3.0


@record
class TrialError:
    """How the best lr of a Trial differs from that of the whole training.

    Attributes:
        bias: mean of log10 (Trial's / training's), decades.
        scatter: its standard deviation over trainings, decades.
    """

    bias: float
    scatter: float


# Steps of the Trials that were measured, and their errors: of as long ones as a training of 300 steps can pay for, and
# of one of 900 and more. Between them the error goes with log steps.
SHORT, USUAL = 10, 22
PRETRAINED = TrialError(0.0, 0.35)
SGD_AVERAGED = TrialError(-0.3, 0.3)
SGD_BATCHNORM = TrialError(0.0, 0.3)
SGD = TrialError(0.5, 0.5), TrialError(0.3, 0.3)
ADAM_AVERAGED = TrialError(0.0, 0.9), TrialError(0.45, 0.5)
ADAM = TrialError(0.0, 0.9), TrialError(0.35, 0.35)


def trial_error(facts: Facts, steps: int, *, averaged: bool) -> TrialError:
    """The error of Trials, measured on development tasks and trainings (``lrpilot_bench.studies.peak_prior``).

    Adam's first steps move every weight by the lr, however small its gradient is: what that gains at once asks for
    larger lrs than a training bears. In ten steps the lr rises too fast for that to show, and they tell hardly
    anything. With SGD it is the sharpness that grows on the way and asks for smaller lrs, but for nets with batch
    normalisation, whose weights grow instead; averaged, the weights stand where the lr may be twice as large.

    Args:
        facts: of the training.
        steps: of a Trial.
        averaged: whether the Trials are averaged ones.
    """
    if facts.pretrained:
        return PRETRAINED
    if facts.optimizer == "sgd":
        if averaged:
            return SGD_AVERAGED
        return SGD_BATCHNORM if facts.trains_batchnorm else _between(*SGD, steps)
    return _between(*(ADAM_AVERAGED if averaged else ADAM), steps)


def _between(short: TrialError, usual: TrialError, steps: int) -> TrialError:
    """The error at a number of steps."""
    lengths = math.log(SHORT), math.log(USUAL)
    bias, scatter = (
        float(np.interp(math.log(steps), lengths, ends))
        for ends in ((short.bias, usual.bias), (short.scatter, usual.scatter))
    )
    return TrialError(bias, scatter)


@record
class Pick:
    """Where the best peak lies, as far as is known.

    Attributes:
        lr: the suggestion, natural units.
        spread: standard deviation of its log10, decades.
        trial_lr: the lr that was best for a Trial, by the parabola.
    """

    lr: float
    spread: float
    trial_lr: float

    @property
    def interval(self) -> tuple[float, float]:
        """Lrs between which the best peak lies, nine times in ten."""
        reach = math.pow(10.0, INTERVAL * self.spread)
        return self.lr / reach, self.lr * reach


def pick(probed: Sequence[Probed], prior: Prior, error: TrialError, *, from_scratch: bool = True) -> Pick | None:
    """The peak that Trials and prior agree on; None where every Trial diverged.

    Args:
        probed: the Trials of a search, all of one length.
        prior: what was expected.
        error: of Trials of this kind.
        from_scratch: whether they begin with a training, so that Trials that gain nothing tell nothing.
    """
    best = best_of(probed)
    if best is None:
        return None
    if from_scratch and not learned(best, probed):
        return _unseen(probed, best, prior)
    offset, blur = _minimum(probed, best)
    trial_log = math.log10(best.lr) + offset
    seen, scatter = trial_log - error.bias, math.hypot(error.scatter, blur)
    weight, prior_weight = scatter**-2, prior.spread**-2
    log_lr = (weight * seen + prior_weight * prior.log_lr) / (weight + prior_weight)
    log_lr = min(log_lr, math.log10(_highest_survived(probed, best)))
    return Pick(float(10.0**log_lr), (weight + prior_weight) ** -0.5, float(10.0**trial_log))


def _highest_survived(probed: Sequence[Probed], best: Probed) -> float:
    """Largest lr whose Trial has ended no higher than it began: above it nothing is flown, whatever is expected there.

    A net without normalisation is dead for good where the lr is too large, and hardly worse where it is too small.
    """
    return max(one.lr for one in probed if one.tail and one.score <= max(one.first, best.score))


def _unseen(probed: Sequence[Probed], best: Probed, prior: Prior) -> Pick:
    """Where no Trial has gained anything: what was expected, below the lrs that wreck the weights.

    Fresh weights that do not move are on a plateau, which takes a large lr: half way to what they do not bear, in log
    lr, and no farther from what was expected than a Trial would have gone.
    """
    wrecking = min((one.lr for one in probed if not one.tail), default=math.inf)
    lr = prior.lr
    if wrecking <= lr:
        lr = wrecking / 10.0
    elif prior.plateaus and math.isfinite(wrecking):
        lr = min(math.sqrt(lr * wrecking), lr * 10.0**SPACING)
    return Pick(lr, prior.spread, best.lr)


def _minimum(probed: Sequence[Probed], best: Probed) -> tuple[float, float]:
    """Minimum of the parabola through the best Trial and its neighbours: decades from the best, and their error."""
    below, above = neighbours(best, probed)
    if below is None or above is None:
        return 0.0, OPEN_END
    left, right = _rises(below, above, best)
    down, up = (SPACING * abs(one.position - best.position) for one in (below, above))
    bend = 2 * (left * up + right * down) / (down + up)
    if bend <= 0:
        return 0.0, NOTHING_SEEN
    error = max(_error(one, best) for one in (below, above))
    offset = (left * up**2 - right * down**2) / (bend * (down + up))
    return offset, min(NOTHING_SEEN, 0.5 * max(down, up) * error / bend)


def _rises(below: Probed, above: Probed, best: Probed) -> tuple[float, float]:
    """By how much its neighbours are worse than the best.

    As bad as no training at all is as bad as it gets; one that diverged is so bad, and at least as bad as the other.
    """
    worst = max(best.first - best.score, 0.0)
    rises = [difference(one, best)[0] if one.tail else math.inf for one in (below, above)]
    known = max((rise for rise in rises if math.isfinite(rise)), default=worst)
    limit = max(worst, known)
    return min(rises[0], limit), min(rises[1], limit)


def _error(one: Probed, best: Probed) -> float:
    return difference(one, best)[1] if one.tail else 0.0
