"""Whether the user's loop takes its steps as Trials do; what differs, in a sentence with the remedy."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.measure.onlooker import Onlooker, StepSeen

# Norms of gradients that differ by less, relatively, are clipped to one norm: those of different batches never do.
# torch divides by the norm plus 1e-6.
CLIPPED_ALIKE = 1e-4
# Gradients that are clipped in one place and not in the other differ by more.
CLIPPED_OFF = 1e-2
# Numbers that lie apart are on another scale only beyond what batches differ by: gradients of small batches vary by
# factors, and losses of the first steps fall.
GRADIENTS_APART = 4.0
LOSSES_APART = 0.5

Seen = Sequence[StepSeen]


class LoopWatch:
    """Looks on at the first steps of a loop, once steps of probes are known that they can be compared with.

    Args:
        training: that both step.
    """

    def __init__(self, training: BoundTraining) -> None:
        self._training = training
        self._onlooker: Onlooker | None = None
        self._done = False
        self._same_weights = False  # whether the probes began where the loop goes on
        self._before: tuple[StepSeen, ...] = ()

    def search_begins(self) -> None:
        """Probes are about to be flown from the weights that the loop goes on with."""
        if not self._done and not self._same_weights:
            self._before, self._training.probe_steps_seen = self._training.probe_steps_seen, ()

    def search_ends(self, *, rewound: bool) -> None:
        """Look on at the next steps of the loop, if steps of probes were seen, and from the same weights.

        Args:
            rewound: whether the weights have gone back to a mark meanwhile.
        """
        if self._done or self._same_weights:
            return
        if rewound or not self._training.probe_steps_seen:
            self._training.probe_steps_seen = self._before
            return
        self._same_weights = True
        self._look()

    def loop_begins(self) -> None:
        """Look on at its first steps, if steps of probes are known from before (``find_lr`` was called)."""
        if self._training.probe_steps_seen:
            self._look()

    def _look(self) -> None:
        if self._onlooker is not None:
            self._onlooker.leave()
        self._onlooker = Onlooker(self._training, probes=False)

    def difference(self, loss: Tensor | float | None) -> str | None:
        """After a step of the loop: what its steps and those of Trials differ in, once, and how to mend it.

        Args:
            loss: of the step, as the loop hands it over.
        """
        if self._onlooker is None:
            return None
        self._onlooker.told(loss)
        if not self._onlooker.has_seen_enough:
            return None
        self._onlooker.leave()
        loop, self._onlooker, self._done = self._onlooker.steps, None, True
        found = list(_differences(self._training, self._training.probe_steps_seen, loop, scales=self._same_weights))
        if not found:
            return None
        return f"the loop does not step as Trials do, so what they find is for another training: {'; '.join(found)}"


def _differences(training: BoundTraining, trials: Seen, loop: Seen, *, scales: bool) -> Iterator[str]:
    compared = (compare(training, trials, loop) for compare in (_forwards, _precision, _clipping))
    found = [said for each in compared for said in each]
    yield from found
    if scales and not found:
        yield from _loss_scale(trials, loop) or _gradient_scale(trials, loop)


def _remedy(training: BoundTraining, argument: str) -> str:
    return f"give Training {argument}" if training.step_fn is None else "let step_fn do the same"


def _forwards(training: BoundTraining, trials: Seen, loop: Seen) -> list[str]:
    """Passes of a step, where both are known."""
    theirs, ours = [s.forwards for s in loop if s.forwards], [s.forwards for s in trials if s.forwards]
    if not theirs or not ours or (min(theirs) <= max(ours) and min(ours) <= max(theirs)):
        return []
    micro_batches = max(1, round(training.own_step.accumulate * max(theirs) / max(ours)))
    remedy = _remedy(training, f"accumulate={micro_batches}")
    return [f"it takes {max(theirs)} forward passes a step and they take {max(ours)}: {remedy}"]


def _precision(training: BoundTraining, trials: Seen, loop: Seen) -> list[str]:
    theirs = frozenset[torch.dtype | None]().union(*(s.precisions for s in loop))
    ours = frozenset[torch.dtype | None]().union(*(s.precisions for s in trials))
    if not theirs or not ours or theirs & ours:
        return []
    one, other = next(iter(theirs)), next(iter(ours))
    words = {dtype: "without autocast" if dtype is None else f"under autocast to {dtype}" for dtype in (one, other)}
    remedy = _remedy(training, f"autocast={one}") if one is not None else "cast in the loop too, or leave autocast away"
    return [f"its forward passes run {words[one]} and theirs {words[other]}: {remedy}"]


def _clipping(training: BoundTraining, trials: Seen, loop: Seen) -> list[str]:
    """A limit that all steps of one side keep to, and those of the other do not."""
    kinds: tuple[tuple[str, Callable[[StepSeen], Tensor | float | None]], ...] = (
        ("clip_norm", lambda step: step.norm),
        ("clip_value", lambda step: step.top),
    )
    for name, size in kinds:
        theirs, ours = _numbers(map(size, loop)), _numbers(map(size, trials))
        limit, other = _limit(theirs), _limit(ours)
        if limit is not None and ours and max(ours) > limit * (1 + CLIPPED_OFF):
            clipped = f"the loop clips gradients ({name}) to {limit:.4g} and Trials have up to {max(ours):.4g}"
            return [f"{clipped}: {_remedy(training, f'{name}={limit:.4g}')}"]
        if other is not None and theirs and max(theirs) > other * (1 + CLIPPED_OFF):
            clipped = f"Trials clip gradients ({name}) to {other:.4g} and the loop has up to {max(theirs):.4g}"
            return [f"{clipped}: clip in the loop too, or not in Training"]
    return []


def _limit(sizes: Sequence[float]) -> float | None:
    """What all of them were clipped to; None where they differ, or are too few to tell."""
    alike = len(sizes) >= 3 and max(sizes) - min(sizes) <= CLIPPED_ALIKE * max(sizes)
    return max(sizes) if alike and max(sizes) > 0 else None


def _loss_scale(trials: Seen, loop: Seen) -> list[str]:
    theirs, ours = _numbers(s.loss for s in loop), _numbers(s.loss for s in trials)
    if not theirs or not ours:
        return []
    gap = max(min(theirs) - max(ours), min(ours) - max(theirs))
    if gap <= LOSSES_APART * max(map(abs, [*theirs, *ours])):
        return []
    return [
        f"losses handed to pilot.step() are about {theirs[0]:.4g} where those of Trials are {ours[0]:.4g}, at the same "
        "weights: hand over the mean over the step's micro-batches, of the very loss that is trained on"
    ]


def _gradient_scale(trials: Seen, loop: Seen) -> list[str]:
    theirs, ours = _numbers(s.norm for s in loop), _numbers(s.norm for s in trials)
    if min(len(theirs), len(ours)) < 3 or not min(*theirs, *ours) > 0:
        return []
    if min(theirs) <= GRADIENTS_APART * max(ours) and min(ours) <= GRADIENTS_APART * max(theirs):
        return []
    return [
        f"its gradients have norm {theirs[0]:.4g} and theirs {ours[0]:.4g}: backpropagate the mean over micro-batches, "
        "or let loss_fn have the factor of the loop"
    ]


def _numbers(values: Iterable[Tensor | float | None]) -> list[float]:
    """Finite ones, as numbers."""
    return [number for number in (float(v) for v in values if v is not None) if math.isfinite(number)]
