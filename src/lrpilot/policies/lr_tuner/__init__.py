"""LRTuner, first published as AutoLR: the lr that a parabola along the optimizer's own step asks for.

Sources: "AutoLR: A Method for Automatic Tuning of Learning Rate" and "LRTuner: A Learning Rate Tuner for Deep Neural
Networks" (Iyer et al.). After every window of steps the loss is read at several factors of the step just taken, on
the same batches; the minimum of the parabola through them is the lr wanted. *Explore* accepts increases only.
*Exploit* accepts decreases only, and asks only when the present lr is saturated: when the loss of a superbatch falls
much more slowly than when this lr began. A change after which the loss falls more slowly is rolled back, weights and
all.

| file | what is there |
|---|---|
| ``published`` | ``PublishedLRTuner``: the papers' algorithm, equation by equation |
| ``default`` | ``LRTuner``: the same questions for a small part of the cost, and a straight way to zero |
| ``rules`` | what both decide by: explore and exploit, saturation, the way back |
| ``reading`` | how the default reads a Line, and a superbatch |
| ``price`` | what the default's measurements may cost |
| ``state`` | what is remembered between two calls, and the phases of a window |
| ``settings`` | the papers' table of hyperparameters, what settings must be, and the first state |
| ``reasons`` | what is said of a decision |
"""

from lrpilot.policies.lr_tuner.default import LRTuner
from lrpilot.policies.lr_tuner.published import PublishedLRTuner

__all__ = ["LRTuner", "PublishedLRTuner"]
