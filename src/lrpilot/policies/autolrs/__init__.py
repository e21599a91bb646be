"""AutoLRS: the lr of each stage of a training, found by Bayesian optimisation over short Trials.

To be read from :mod:`~lrpilot.policies.autolrs.published`, which is the paper from its first step to its last, to
:mod:`~lrpilot.policies.autolrs.default`, which is ours. Beside them:

* what both share: ``settings`` (what is given), ``candidates`` (what a Trial says, and which lr is next), ``reasons``
  (what is said of a decision);
* what only the default has: ``price`` (what a search may cost), ``search`` (where it looks, and what it takes),
  ``watch`` (whether the training is sound, and the way back where it is not);
* plain data: ``stage`` is the result, ``state`` what is remembered on the way there;
* ``picture`` draws how the lr of a stage was found.
"""

from lrpilot.policies.autolrs.default import AutoLRS
from lrpilot.policies.autolrs.published import PublishedAutoLRS
from lrpilot.policies.autolrs.stage import LRCandidate, LRSearch, LRStage, StageCode

__all__ = ["AutoLRS", "LRCandidate", "LRSearch", "LRStage", "PublishedAutoLRS", "StageCode"]
