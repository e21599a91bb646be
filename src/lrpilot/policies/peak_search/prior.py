"""What is expected of the best peak lr before any Trial, from what can be seen of a training.

Weak on purpose: it says where the search begins and breaks ties where Trials cannot tell. Its spread is that of the
best lrs of the benchmark's development tasks; ``lrpilot_bench.studies.peak_prior`` prints both beside each other.
"""

import math
from dataclasses import replace

from lrpilot.core.codec import record
from lrpilot.core.policy import Facts


@record
class Prior:
    """A normal distribution of log10 lr.

    Attributes:
        lr: its centre, natural units.
        spread: its standard deviation, decades.
        plateaus: whether a loss that moves at no lr is taken for a plateau: not that of weights which were trained
            before, where single batches hide what is gained.
    """

    lr: float
    spread: float
    plateaus: bool = True

    @property
    def log_lr(self) -> float:
        """log10 of the centre."""
        return math.log10(self.lr)


# SGD's without momentum; with momentum m a step moves 1 / (1 - m) times as far in the end.
# Its unit depends on those of inputs and loss, which Adam's does not: little is known before.
SGD, SGD_PRETRAINED = Prior(1.0, 1.5), Prior(0.1, 1.0, plateaus=False)
ADAM, ADAM_PRETRAINED = Prior(8e-3, 0.5), Prior(1e-4, 0.8, plateaus=False)
# The others' units differ (1e-4 is customary for Lion, 1.0 for Adadelta): by their own, or else by none.
OTHER, UNKNOWN = 0.8, Prior(3e-3, 1.2)


def expected(facts: Facts, momentum: float | None) -> Prior:
    """What to expect of the best peak.

    Args:
        facts: of the training.
        momentum: that SGD will be flown with, None for none; of others it makes no difference to their unit of lr.
    """
    if facts.optimizer == "sgd":
        prior = SGD_PRETRAINED if facts.pretrained else SGD
        return replace(prior, lr=prior.lr * (1.0 - (momentum or 0.0)))
    if facts.optimizer == "adam":
        return ADAM_PRETRAINED if facts.pretrained else ADAM
    return UNKNOWN if facts.customary_lr is None else Prior(facts.customary_lr, OTHER)
