"""One step is one step: whatever an optimizer's step is made of, it is counted once."""

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from torch.optim import Optimizer

from lrpilot.training.bound.optimizers import was_skipped
from lrpilot.training.torch_private import make_hookable


class StepWatch:
    """Calls back around every step of an optimizer, once however many hooked calls the step is made of.

    Torch's hooks fire for every class on the way whose ``step`` calls ``super().step()``, and for every optimizer that
    one steps with: all that happens inside the outermost call is one step.

    Args:
        optimizer: the one that is flown.
        inside: optimizers that it steps with (SAM's base, the two of a pair). Where there are any, a call in which
            none of them stepped was no step.
        before: called before a step.
        after: called after it, unless the step was skipped inside a fused kernel, with whether it was.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        inside: Sequence[Optimizer],
        before: Callable[[], None],
        after: Callable[[bool], None],
    ) -> None:
        self._before, self._after = before, after
        self._working = {id(own) for own in (inside or [optimizer])}
        self._outermost: FrameType | None = None
        self._stepped = self._skipped = False
        self._handles = []
        for watched in (optimizer, *inside):
            make_hookable(watched)
            self._handles += [
                watched.register_step_pre_hook(self._entered),
                watched.register_step_post_hook(self._left),
            ]

    def remove(self) -> None:
        """Watch no more."""
        for handle in self._handles:
            handle.remove()

    def _entered(self, *_: Any) -> None:
        caller = sys._getframe(1)
        # Not a count of calls: one that raised is never left, and the next step would be taken for a part of it
        # (test_steps.py::test_a_step_after_one_that_raised_is_counted).
        if self._outermost is None or not _is_within(caller, self._outermost):
            self._before()  # which may refuse the step
            self._outermost, self._stepped, self._skipped = caller, False, False

    def _left(self, optimizer: Optimizer, *_: Any) -> None:
        if id(optimizer) in self._working:
            self._stepped, self._skipped = True, was_skipped(optimizer)
        if sys._getframe(1) is self._outermost:
            self._outermost = None
            if self._stepped:
                self._after(self._skipped)


def _is_within(frame: FrameType | None, outer: FrameType) -> bool:
    """Whether a call is made by another one, however deep."""
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is outer
