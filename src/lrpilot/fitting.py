"""fit: the loop for those who have none, with a budget, checkpoints and an honest bill."""

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.actions import Trial
from lrpilot.core.codec import record
from lrpilot.core.cost import Cost
from lrpilot.core.history import History, OnEvent
from lrpilot.core.policy import Policy
from lrpilot.core.shape import constant
from lrpilot.errors import DataError, SettingError, StateError, StepError
from lrpilot.pilot import Pilot
from lrpilot.progress import progress_bar
from lrpilot.training.distributed import mean_over_ranks
from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.rng import get_rng, set_rng
from lrpilot.training.snapshot import Mark
from lrpilot.training.substrate import LiveSubstrate
from lrpilot.training.training import Training

NOTHING = Cost()
CALIBRATION_STEPS = 5
# A GradScaler that halves 2**16 down to the smallest scale skips fewer steps in a row.
MAX_SKIPPED_STEPS = 200
CHECKPOINT_SECONDS = 60.0


@record
class Budget:
    """Total compute of a fit: training plus every probe. Give one of the two.

    Attributes:
        forward_equivalents: forward passes over a training batch, a backward counting 2 (a step is 3).
        seconds: wall time.
    """

    forward_equivalents: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [x for x in (self.forward_equivalents, self.seconds) if x is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise SettingError(
                f"A budget must be one finite number > 0, of forward_equivalents or of seconds, got {self}."
            )


@dataclass(frozen=True)
class FitResult:
    """What a fit did.

    Attributes:
        pilot: the pilot that flew; its ``state_dict`` continues.
        steps: kept optimizer steps.
        seconds: wall time of this call, probes included.
    """

    pilot: Pilot
    steps: int
    seconds: float

    @property
    def history(self) -> History:
        """The lr and loss of every kept step, and every measurement."""
        return self.pilot.history

    @property
    def cost(self) -> Cost:
        """What the measurements cost, beyond the kept steps."""
        return self.pilot.cost

    @property
    def total_compute(self) -> float:
        """Forward-equivalents of everything: 3 per kept step, plus every probe."""
        return 3.0 * self.steps + self.cost.forward_equivalents


def fit(
    training: Training,
    policy: Policy,
    *,
    total_steps: int | None = None,
    budget: float | Budget | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> FitResult:
    """Train with a policy until ``total_steps`` kept steps or a total budget are spent.

    Batches come from the training's own data, epoch after epoch; a shuffling loader is read through a
    twin whose order depends on ``training.seed`` and the epoch alone.

    Args:
        training: what is trained, in place.
        policy: decides the learning rates.
        total_steps: kept optimizer steps.
        budget: total compute instead, probes included: a number of forward-equivalents, or a
            :class:`Budget`. The policy is told the steps that are left.
        progress: show a bar on stderr.
        on_event: called at the beginning and end of every measurement.
        checkpoint: file that is written about once a minute, at the end, and on Ctrl-C or an error
            outside a training step.
        resume: continue from ``checkpoint`` (bit for bit) where it exists.

    Raises:
        SettingError: not exactly one of ``total_steps`` and ``budget``; or ``checkpoint`` exists and
            ``resume`` is False.
        StateError: the checkpoint is damaged, or belongs to another policy or model.
        StepError: batch after batch ended without an optimizer step.
        KeyboardInterrupt: on Ctrl-C, after the checkpoint has been written.
    """
    training_budget = _as_budget(total_steps, budget)
    store = _Checkpoint(checkpoint, resume=resume)
    clock = _Clock()
    horizon = _horizon(training, training_budget, total_steps, clock)
    pilot = Pilot(training, policy, total_steps, on_event, _horizon=horizon)
    loop = _Loop(training, pilot, clock)
    store.load(loop)
    horizon.charge_to(pilot)
    left = horizon(loop.steps)
    with progress_bar(
        f"training with {policy.name}", total=None if left is None else loop.steps + left, show=progress
    ) as bar:
        try:
            pilot.start()
            while horizon(loop.steps) != 0:
                loss = loop.advance()
                if bar is not None:
                    bar.update(loop.steps, f"lr {float(pilot.get_last_lr()[0]):.3g}  loss {float(loss):.4g}")
                store.save_if_due(loop)
        finally:
            if loop.between_steps:
                store.save(loop)
    return FitResult(pilot, loop.steps, clock.seconds)


def _as_budget(total_steps: int | None, budget: float | Budget | None) -> Budget | None:
    if (total_steps is None) == (budget is None):
        raise SettingError(
            f"fit needs exactly one of total_steps and budget, got total_steps={total_steps}, budget={budget}. "
            "Say how long to train."
        )
    if budget is None or isinstance(budget, Budget):
        return budget
    if not isinstance(budget, (int, float)):
        raise SettingError(f"budget must be a number of forward-equivalents or a Budget, got {budget!r}.")
    return Budget(forward_equivalents=budget)


class _Clock:
    """Wall time of a fit, over interruptions."""

    def __init__(self) -> None:
        self._before = 0.0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._start

    def resume_at(self, seconds: float) -> None:
        self._before = seconds


class _Horizon(ABC):
    """Kept steps left after so many were taken, given what the measurements have spent."""

    def __init__(self, calibration: Cost = NOTHING) -> None:
        self._calibration = calibration
        self._pilot: Pilot | None = None

    def charge_to(self, pilot: Pilot) -> None:
        """From now on the pilot's cost counts, and what the calibration has cost is part of it."""
        self._pilot = pilot
        pilot._substrate.cost += self._calibration

    @property
    def spent(self) -> Cost:
        """What all measurements have cost so far."""
        return self._calibration if self._pilot is None else self._pilot.cost

    @abstractmethod
    def __call__(self, step: int) -> int: ...


class _StepHorizon(_Horizon):
    def __init__(self, total_steps: int) -> None:
        super().__init__()
        self._total = total_steps

    def __call__(self, step: int) -> int:
        return max(0, self._total - step)


class _WorkHorizon(_Horizon):
    """A budget in forward-equivalents: a step costs 3."""

    def __init__(self, forward_equivalents: float) -> None:
        super().__init__()
        self._budget = forward_equivalents

    def __call__(self, step: int) -> int:
        left = self._budget - self.spent.forward_equivalents - 3.0 * step
        return max(0, int(left // 3.0))


class _TimeHorizon(_Horizon):
    """A budget in seconds, at the pace of the steps taken so far (of a rewound Trial before the first)."""

    def __init__(self, seconds: float, clock: _Clock, seconds_per_step: float, calibration: Cost) -> None:
        super().__init__(calibration)
        self._budget = seconds
        self._clock = clock
        self._pace = seconds_per_step

    def __call__(self, step: int) -> int:
        # Ranks do not tick alike, and all must stop at the same step.
        elapsed, spent, pace = mean_over_ranks([self._clock.seconds, self.spent.seconds, self._pace])
        measured = max(0.0, elapsed - spent) / step if step >= CALIBRATION_STEPS else pace
        return max(0, int((self._budget - elapsed) / max(measured, 1e-9)))


def _horizon(training: Training, budget: Budget | None, total_steps: int | None, clock: _Clock) -> _Horizon:
    if budget is None:
        assert total_steps is not None  # _as_budget has seen to it
        return _StepHorizon(total_steps)
    if budget.seconds is None:
        assert budget.forward_equivalents is not None  # Budget holds exactly one
        return _WorkHorizon(budget.forward_equivalents)
    return _TimeHorizon(budget.seconds, clock, *_seconds_per_step(training))


def _seconds_per_step(training: Training) -> tuple[float, Cost]:
    """The pace of training, and what it cost to measure it."""
    substrate = LiveSubstrate(training)
    lr = constant(substrate.lrs.reference)
    substrate.trial(Trial(lr, 1))  # the first step of a process pays for warming up
    start = time.perf_counter()
    substrate.trial(Trial(lr, CALIBRATION_STEPS))
    return (time.perf_counter() - start) / CALIBRATION_STEPS, substrate.cost


class _Loop:
    """The plain training loop, with a position that can be saved."""

    KEYS = frozenset({"training", "pilot", "rng", "epoch_rng", "position", "seconds"})

    def __init__(self, training: Training, pilot: Pilot, clock: _Clock) -> None:
        self.training = training
        self.pilot = pilot
        self._clock = clock
        self._epoch = 0
        self._index = 0
        self._batches: Iterator[Any] | None = None
        self._epoch_rng = get_rng()
        self._skipped = 0
        self.between_steps = True  # False inside a step, and after one that raised
        if not training.model.training:
            training.model.train()

    @property
    def steps(self) -> int:
        """Kept optimizer steps."""
        return self.pilot.last_epoch

    def advance(self) -> Tensor:
        """Train on the next batch and let the pilot fly on; the loss."""
        with deferred_interrupt():
            # A step and its account belong together: Ctrl-C between them would lose the step.
            self.between_steps = False
            loss = self.training.step(self._next_batch())
            kept = self.pilot._account(loss)
            self.between_steps = True
        self._require_progress(kept)
        self.pilot.start()
        return loss

    def _require_progress(self, kept: bool) -> None:
        self._skipped = 0 if kept else self._skipped + 1
        if self._skipped >= MAX_SKIPPED_STEPS:
            raise StepError(
                f"Every batch must end in an optimizer step (but for a few that a GradScaler skips), got none in "
                f"{self._skipped} batches. Call optimizer.step() in step_fn, and check the loss for overflow."
            )

    def _next_batch(self) -> Any:
        for _ in range(2):
            if self._batches is None:
                # Epoch 0 of the source is what probes read; training takes fresh orders from 1 on.
                self._epoch_rng = get_rng()
                self._batches = self.training.train_source.epoch(self._epoch + 1)
            batch = next(self._batches, _END)
            if batch is not _END:
                self._index += 1
                return batch
            self._epoch, self._index, self._batches = self._epoch + 1, 0, None
        raise DataError("train_data must yield at least one batch in every epoch, got none. Check the loader.")

    def state_dict(self) -> dict[str, Any]:
        return {
            "training": Mark.take(self.training).saved,
            "pilot": self.pilot.state_dict(),
            "rng": get_rng(),
            "epoch_rng": self._epoch_rng,
            "position": [self._epoch, self._index],
            "seconds": self._clock.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        mark = Mark(state["training"])
        mark.require_fits(self.training)
        self.pilot.load_state_dict(state["pilot"])
        mark.rewind(self.training)
        self._epoch, seen = state["position"]
        self._index, self._batches = 0, None
        set_rng(state["epoch_rng"])  # the order of an epoch may have been drawn from the global generators
        for _ in range(seen):
            self._next_batch()
        self._clock.resume_at(state["seconds"])
        set_rng(state["rng"])


_END = object()


class _Checkpoint:
    """A file that always holds a whole state: written beside, then renamed."""

    def __init__(self, path: str | os.PathLike[str] | None, *, resume: bool) -> None:
        self._path = None if path is None else Path(path)
        self._resume = resume
        self._written = time.monotonic()
        if self._path is not None and self._path.exists() and not resume:
            raise SettingError(
                f"checkpoint must not exist yet unless resume=True, got {self._path}. "
                "Pass resume=True to continue it, or choose another file."
            )

    def load(self, loop: _Loop) -> None:
        if self._path is None or not self._path.exists():
            return
        try:
            state = torch.load(self._path, weights_only=True, map_location="cpu")
        except Exception as error:
            raise self._foreign(str(error)) from error
        missing = loop.KEYS - set(state if isinstance(state, dict) else ())
        if missing:
            raise self._foreign(f"no {', '.join(sorted(missing))} in it")
        loop.load_state_dict(state)

    def _foreign(self, why: str) -> StateError:
        return StateError(f"checkpoint must be a whole file written by fit, got {self._path} ({why}). Choose another.")

    def save_if_due(self, loop: _Loop) -> None:
        if self._path is not None and time.monotonic() - self._written >= CHECKPOINT_SECONDS:
            self.save(loop)

    def save(self, loop: _Loop) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with deferred_interrupt():
            try:
                torch.save(loop.state_dict(), beside)
                os.replace(beside, self._path)
            finally:
                beside.unlink(missing_ok=True)
        self._written = time.monotonic()
