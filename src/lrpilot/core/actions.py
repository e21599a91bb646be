"""What a policy can ask for, and what it is told in return: the whole vocabulary of the project.

Everything here is plain data. ``steps`` counts optimizer steps; ``lr`` is the reference learning rate in
natural units (the largest group's; the other groups keep their ratio to it).
"""

import math
from typing import Any, Literal

from lrpilot.core.codec import record
from lrpilot.core.shape import Shape
from lrpilot.core.stop import Stop, StopReason
from lrpilot.errors import PolicyError, SettingError

# ---------------------------------------------------------------- actions


@record
class Average:
    """How an averaged flight mixes and weighs (schedule-free dynamics: Defazio et al. 2024, arXiv 2405.15682).

    Beside the average x of the flight there is its base z, which takes the optimizer's steps; the parameters stand at
    y, where gradients are taken. With Δ what a step did to y, and t the steps before it::

        y = (1 - mix) z + mix x      z += Δ      x += (z - x) w_t / Σw      w_t = (t + 1)^power · lr_max²

    where ``lr_max`` is the largest reference lr flown so far. What is judged and kept is x. The optimizer's own
    momentum stays as it is; as published it is zero: ``Train(..., average=..., momentum=constant(0.0))``.

    Attributes:
        mix: part of the average in the parameters, in [0, 1); the published value is 0.9, which takes the place of
            the momentum.
        power: how much later steps weigh more, finite and >= 0; 0 weighs all alike.

    Raises:
        SettingError: one is out of range.
    """

    mix: float = 0.9
    power: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.mix < 1:
            raise SettingError(f"mix must be >= 0 and < 1, got {self.mix}. The default is 0.9.")
        if not 0 <= self.power < math.inf:
            raise SettingError(f"power must be finite and >= 0, got {self.power}. The default is 0.")


@record
class Train:
    """Take the next ``steps`` kept optimizer steps at the lrs of ``shape``.

    After every ``tell`` the policy is asked again: the same Train (equal by value) continues where it
    is, any other action replaces it.

    Attributes:
        shape: lr at step 0, 1, ... of this Train.
        steps: number of kept optimizer steps.
        observe_every: also ``tell`` each time this many steps have passed.
        stop: rules that end it early.
        momentum: momentum (SGD) or beta1 (Adam family) at step 0, 1, ...; None leaves it alone.
        average: fly it averaged; only where :attr:`~lrpilot.core.policy.Facts.averages` says so. The first such Train
            begins with x = z = the parameters; one after it carries both on, under a mix and power of its own if it
            likes. A Train without lands first: the parameters become the average (buffers stay as they are), and the
            momentum is what the user had it at. No Line is read in between.
    """

    shape: Shape
    steps: int
    observe_every: int | None = None
    stop: Stop = Stop()
    momentum: Shape | None = None
    average: Average | None = None

    def __post_init__(self) -> None:
        _require_steps(self.steps)
        if self.observe_every is not None and self.observe_every < 1:
            raise SettingError(f"observe_every must be >= 1, got {self.observe_every}. Use None for never.")


@record
class Line:
    """Losses along the optimizer's step: at θ(s) = before + s·(after − before) for each factor s.

    The first Line after anything else takes one kept step at the present lr; further Lines reuse the
    endpoints of that step and cost no step.

    Attributes:
        factors: the s to read, any order; 0 is before the step, 1 after it.
        batches: number of fixed batches, the same for every factor (the losses are paired).
        first: index of the first of them. An index names the same batch throughout the training, so that
            a further Line can add batches to the last one, and a later one can read the same again.
    """

    factors: tuple[float, ...]
    batches: int = 1
    first: int = 0

    def __post_init__(self) -> None:
        if not self.factors:
            raise SettingError("A Line needs at least one factor, got none. Give for example (0.5, 1.0, 1.5).")
        if self.batches < 1:
            raise SettingError(f"batches must be >= 1, got {self.batches}.")
        _require_index(self.first)


@record
class Trial:
    """Train from the present state, read the losses, then restore everything.

    Where :attr:`~lrpilot.core.policy.Context.continues` says so, the state at its end can be kept aside, and the
    training can go on from there (:class:`Continue`).

    Attributes:
        shape: lr at step 0, 1, ... of the Trial.
        steps: number of steps.
        evaluate: held-out loss after the last step: "no", at the "end", or on the "average" of the
            weights over the second half of the Trial. BatchNorm statistics are re-estimated first.
        stop: rules that end it early; a Trial that was stopped is not evaluated.
        keep: key under which its end is held until it is continued or dropped, until another Trial is to be kept
            under the key, or to the next kept step or Rewind; None for not. Held is the state after the last step,
            before weights are averaged or statistics re-estimated. It may have no more steps than are left, and
            one that was stopped is not held.
        first: batch of its data that it begins with, counted from the one that Trials begin with now.
        read_every: also read the loss on the first held-out batch, a small fixed subset, each time this many steps
            have been taken, with the weights (of an averaged Trial: the average) and BatchNorm statistics as they
            are; >= 1, <= ``steps``. A Trial that is stopped keeps the readings it has. None for no readings.
        momentum: as that of a Train; None for what it is now.
        average: as that of a Train: an average that is flown now is carried on, else one begins; held-out losses are
            the average's. Without it a Trial lands first if an average is flown: it trains from the average, at the
            momentum that the user had.

    Raises:
        SettingError: ``steps`` or ``read_every`` is out of range, or an averaged Trial is to be averaged once more.
    """

    shape: Shape
    steps: int
    evaluate: Literal["no", "end", "average"] = "no"
    stop: Stop = Stop()
    keep: str | None = None
    first: int = 0
    read_every: int | None = None
    momentum: Shape | None = None
    average: Average | None = None

    def __post_init__(self) -> None:
        _require_steps(self.steps)
        _require_index(self.first)
        if self.average is not None and self.evaluate == "average":
            raise SettingError(
                "An averaged Trial is judged by its own average, got evaluate='average' and an average. "
                "Use evaluate='end'."
            )
        if self.read_every is not None and not 1 <= self.read_every <= self.steps:
            raise SettingError(
                f"read_every must be >= 1 and <= steps, got {self.read_every} in a Trial of {self.steps} steps. "
                "Use None for no readings."
            )


@record
class Evaluate:
    """Held-out loss now; of the average, where one is flown.

    Attributes:
        reestimate: re-estimate BatchNorm statistics first, as after a Trial, then put them back. For an average they
            always are: it has none of its own.
    """

    reestimate: bool = False


@record
class Mark:
    """Remember the present weights and optimizer state under ``key``."""

    key: str


@record
class Rewind:
    """Go back to the weights and optimizer state of mark ``key``; time, RNG and data order move on."""

    key: str


@record
class Drop:
    """Forget mark ``key``, or the end of a Trial that is held under it."""

    key: str


@record
class Continue:
    """Go on from the end of the Trial that was kept under ``key``: its steps become kept steps of the training.

    Model, optimizer and extra state are those of the end; the step count and the history take the Trial's steps, and
    what these cost is no longer a measurement's. RNG, and the order of the loop's own data, stay where they are.
    """

    key: str


@record
class Done:
    """The policy has nothing more to ask; a finder carries its answer in ``result``."""

    result: Any = None


Action = Train | Line | Trial | Evaluate | Mark | Rewind | Drop | Continue | Done

# ----------------------------------------------------------- observations


@record
class Progress:
    """Where the training stands: kept optimizer steps taken, and left (None: open horizon)."""

    step: int
    remaining: int | None


@record
class Trained:
    """Told of a Train.

    Attributes:
        progress: steps taken and left.
        steps: steps taken by this Train so far.
        losses: training losses since the last tell; empty when the user's loop gives none. One that is no number is
            left out where the weights are sound.
        held_out: held-out loss, read instead when the loop gives no losses and the Train asked for
            observations.
        finished: whether the Train is over (all its steps, or stopped).
        stop: why it ended early, or None.
    """

    progress: Progress
    steps: int
    losses: tuple[float, ...]
    held_out: float | None
    finished: bool
    stop: StopReason | None


@record
class LineLosses:
    """Told of a Line.

    Attributes:
        progress: steps taken and left.
        factors: that were read.
        losses: ``losses[b][i]`` is the loss of batch b at ``factors[i]``.
        shares: of the samples of all these batches, those of each; empty where all have as many.
    """

    progress: Progress
    factors: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    shares: tuple[float, ...] = ()


@record
class TrialLosses:
    """Told of a Trial.

    Attributes:
        progress: steps taken and left; a Trial changes the latter only under a budget.
        losses: training loss of each of its steps, before that step.
        held_out: held-out loss after the last; None if not read.
        stop: why it ended early, or None.
        readings: loss on the first held-out batch after each ``read_every`` steps; empty if not asked for.
        cost: what it took, in training steps (forward-equivalents ÷ 3), held-out losses included.
    """

    progress: Progress
    losses: tuple[float, ...]
    held_out: float | None
    stop: StopReason | None
    readings: tuple[float, ...] = ()
    cost: float = 0.0


@record
class HeldOut:
    """Told of an Evaluate.

    Attributes:
        progress: steps taken and left.
        loss: the mean held-out loss.
        cost: what reading it took, in training steps (forward-equivalents ÷ 3).
    """

    progress: Progress
    loss: float
    cost: float = 0.0


@record
class Moved:
    """Told of a Mark, Rewind, Drop or Continue; after the last, ``progress`` counts the Trial's steps too."""

    progress: Progress
    key: str


Observation = Trained | LineLosses | TrialLosses | HeldOut | Moved


def require_positive_lrs(train: Train) -> None:
    """Raise unless every lr of a Train can be written to an optimizer.

    Raises:
        PolicyError: one is not finite, or not > 0.
    """
    # Between knots a shape has no minimum of its own, so the steps beside the knots tell of every step.
    last = train.steps - 1
    beside = {step for at in train.shape.steps for step in (math.ceil(at) - 1, math.ceil(at))}
    lrs = [train.shape(step) for step in sorted({0, last} | {step for step in beside if 0 <= step <= last})]
    if not all(math.isfinite(lr) and lr > 0 for lr in lrs):
        raise PolicyError(
            f"Every lr of a Train must be finite and > 0, got {min(lrs)} among its {train.steps} steps. "
            "Let a decay to zero reach zero one step after its last."
        )


def _require_index(first: int) -> None:
    if first < 0:
        raise SettingError(f"first must be >= 0, got {first}. Batches are counted from 0.")


def _require_steps(steps: int) -> None:
    if steps < 1:
        raise SettingError(f"steps must be >= 1, got {steps}.")
