"""fit: the loop for those who have none, with a budget, checkpoints and an honest bill."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lrpilot.checkpoint import Checkpoint
from lrpilot.core.codec import decode, encode
from lrpilot.core.cost import Cost
from lrpilot.core.history import History, OnEvent
from lrpilot.core.policy import Policy, Reason
from lrpilot.driver import Driver
from lrpilot.errors import DataError, SettingError, StateError, StepError
from lrpilot.flight.horizon import Budget, Clock, Horizon, StepHorizon, TimeHorizon, WorkHorizon, as_budget
from lrpilot.flight.substrate import STEP
from lrpilot.pilot import Pilot
from lrpilot.progress import progress_bar
from lrpilot.report import FlightReport
from lrpilot.training.bound.batches import copy_batch
from lrpilot.training.bound.state import SavedState
from lrpilot.training.distributed import mean_over_ranks
from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.measure.substrate import LiveSubstrate, seconds_per_step
from lrpilot.training.restore.rng import get_rng, set_rng
from lrpilot.training.training import Training

logger = logging.getLogger("lrpilot")

OnStep = Callable[[Pilot, Tensor], None]

# A GradScaler that halves 2**16 down to the smallest scale skips fewer steps in a row.
MAX_SKIPPED_STEPS = 200
# Part of a budget beyond which somebody should know what its measurements take.
LARGE_SHARE = 1 / 3
PROBES = "probes"


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

    def report(self) -> FlightReport:
        """See :meth:`lrpilot.Pilot.report`."""
        return self.pilot.report()

    @property
    def coasts_from(self) -> int | None:
        """Kept steps taken when the budget could not pay for what the policy asked next; None if it always could.

        From there on the lr was held.
        """
        return self.pilot.driver.flight.coasts_from

    @property
    def total_compute(self) -> float:
        """Forward-equivalents of everything: 3 per kept step, plus every probe."""
        return STEP * self.steps + self.cost.forward_equivalents


def fit(
    training: Training,
    policy: Policy,
    *,
    total_steps: int | None = None,
    budget: float | Budget | None = None,
    continue_trials: bool = False,
    progress: bool = True,
    on_event: OnEvent | None = None,
    on_step: OnStep | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> FitResult:
    """Train with a policy until ``total_steps`` kept steps or a total budget are spent.

    Batches come from the training's own data, epoch after epoch; a shuffling loader is read through a
    twin whose order depends on ``training.seed`` and the epoch alone. Data sets, samplers and iterables that have a
    ``set_epoch`` are told of every epoch before it is read, counted from 0.

    Args:
        training: what is trained, in place.
        policy: decides the learning rates.
        total_steps: kept optimizer steps.
        budget: total compute instead, probes included: a number of forward-equivalents, or a
            :class:`Budget`, in epochs too. The policy is told the steps that are left. Forward-equivalents are never
            exceeded (they count batches of the first one's size: where a sampler's batches vary, so does the total):
            a measurement that they cannot pay for is left out and the lr held from there on
            (:attr:`FitResult.coasts_from`). An event of phase "warning" tells once of measurements that have taken
            more than a third of it.
        continue_trials: let the policy go on from a Trial instead of rewinding it and training the same steps anew,
            where it finds that sound (``AutoLRS`` does). The Trial's steps are kept steps then: in the step count, in
            ``history`` with their lrs and losses, and in a budget as training. They have trained on the batches that
            Trials read (an order of its own, in which each search goes on where the last Trial that was continued
            ended) and drawn their own dropout masks; the training's own batches and generators have not moved, so
            that its later steps see other batches than without. ``on_step`` is not called for them. Memory: up to
            two more copies of the training state during a search.
        progress: show a bar on stderr.
        on_event: called at the beginning and end of every measurement.
        on_step: ``on_step(pilot, loss)`` after every kept optimizer step, before the pilot measures again: for
            logs and evaluations. ``pilot.last_epoch`` counts the steps, ``pilot.history.lrs[-1]`` is the lr of
            this one; the loss is a detached tensor (reading it stalls an accelerator).
        checkpoint: file that is written about once a minute, at the end, and on Ctrl-C or an error
            outside a training step.
        resume: continue from ``checkpoint`` (bit for bit) where it exists.

    Raises:
        SettingError: not exactly one of ``total_steps`` and ``budget``; a budget in epochs of data whose length is not
            known; or ``checkpoint`` exists and
            ``resume`` is False.
        StateError: the checkpoint is damaged, or belongs to another policy or model, or to a fit with another
            ``continue_trials``.
        StepError: batch after batch ended without an optimizer step.
        KeyboardInterrupt: on Ctrl-C, after the checkpoint has been written.
    """
    length = _Length(total_steps, budget)
    store = Checkpoint(checkpoint, resume=resume)
    clock = Clock()
    saved = store.read(_Loop.KEYS)
    pace = None if saved is None else saved["pace"]
    driver = Driver(
        training,
        policy,
        horizon=lambda substrate: length.horizon(substrate, clock, pace=pace),
        continues=continue_trials,
        on_event=on_event,
    )
    loop = _Loop(driver, length.budget, clock)
    if saved is not None:
        loop.load_state_dict(saved)
    probes = _ProbeWatch(driver)
    total = loop.steps + (driver.steps_left or 0)
    with progress_bar(f"training with {policy.name}", total=total, show=progress) as bar:
        try:
            driver.start()
            while driver.steps_left != 0:
                probes.look()
                loss = loop.advance(on_step)
                if bar is not None and bar.due:  # reading a loss stalls an accelerator: not at every step
                    bar.update(loop.steps, f"lr {float(loop.pilot.get_last_lr()[0]):.3g}  loss {float(loss):.4g}")
                store.save_if_due(loop)
        finally:
            if loop.between_steps:
                store.save(loop)
    return FitResult(loop.pilot, loop.steps, clock.seconds)


class _Length:
    """How long a fit trains: so many kept steps, or a budget.

    Raises:
        SettingError: not exactly one of the two is given, or the budget is not one.
    """

    def __init__(self, total_steps: int | None, budget: float | Budget | None) -> None:
        if (total_steps is None) == (budget is None):
            raise SettingError(
                f"fit needs exactly one of total_steps and budget, got total_steps={total_steps}, budget={budget}. "
                "Say how long to train."
            )
        self._total_steps = total_steps
        self.budget = as_budget(budget)

    def horizon(self, substrate: LiveSubstrate, clock: Clock, *, pace: float | None) -> Horizon:
        """Its horizon; a budget in seconds is calibrated by rewound Trials, which are charged.

        Args:
            substrate: what is flown.
            clock: of the fit.
            pace: seconds per step of the run that is resumed: it was calibrated and charged then, and a schedule
                laid out over another length would not end where it was to end.
        """
        budget = self.budget
        if budget is None:
            return StepHorizon(self._total_steps)
        work = budget.work(substrate.facts().epoch_steps)
        if work is not None:
            return WorkHorizon(work, substrate)
        assert budget.seconds is not None  # a budget holds exactly one
        if pace is None:
            pace, spent = seconds_per_step(substrate.training)
            substrate.cost += spent
        return TimeHorizon(budget.seconds, substrate, clock=clock, pace=pace, shared=mean_over_ranks)


class _ProbeWatch:
    """Says once that much of a budget does not go into training."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        events = driver.flight.history.events
        self._said = any(event.reason is not None and event.reason.code == PROBES for event in events)

    def look(self) -> None:
        share = self._driver.horizon.probe_share
        if self._said or share <= LARGE_SHARE:
            return
        self._driver.flight.warn(
            Reason(
                PROBES,
                f"measurements have taken {share:.0%} of the budget, which leaves the less for training: "
                "give more budget, or a policy that measures less",
                alarms=True,
            )
        )
        self._said = True


class _Loop:
    """The plain training loop, with a position that can be saved."""

    KEYS = frozenset({"training", "pilot", "rng", "epoch_rng", "epoch_held", "position", "seconds", "budget", "pace"})

    def __init__(self, driver: Driver, budget: Budget | None, clock: Clock) -> None:
        self.pilot = Pilot.of(driver)
        self._driver = driver
        self._training = driver.training
        self._budget = budget
        self._clock = clock
        self._epoch = 0
        self._index = 0
        self._batches: Iterator[Any] | None = None
        self._epoch_rng = get_rng()
        self._epoch_held = self._training.train_source.held.plain()
        self._skipped = 0
        self.between_steps = True  # False inside a step, and after one that raised
        if not self._training.model.training:
            self._training.model.train()

    @property
    def steps(self) -> int:
        """Kept optimizer steps."""
        return self._driver.flight.step

    def advance(self, on_step: OnStep | None = None) -> Tensor:
        """Train on the next batch and let the pilot fly on; the loss."""
        with deferred_interrupt():
            # A step and its account belong together: Ctrl-C between them would lose the step.
            self.between_steps = False
            loss = self._training.step(self._next_batch())
            kept = self._driver.account(loss)
            self.between_steps = True
        self._require_progress(kept)
        if kept and on_step is not None:  # before the pilot probes: it is this step that is told
            on_step(self.pilot, loss)
        self._driver.start()
        return loss

    def _require_progress(self, kept: bool) -> None:
        self._skipped = 0 if kept else self._skipped + 1
        if self._skipped >= MAX_SKIPPED_STEPS:
            raise StepError(
                f"Every batch must end in an optimizer step (but for a few that a GradScaler skips), got none in "
                f"{self._skipped} batches. Call optimizer.step() in step_fn, and check the loss for overflow."
            )

    def _next_batch(self) -> Any:
        source = self._training.train_source
        for _ in range(2):
            if self._batches is None:
                # Epoch 0 of the source is what probes read; training takes fresh orders from 1 on.
                self._epoch_rng = get_rng()
                self._epoch_held = source.held.plain()
                self._batches = source.epoch(self._epoch + 1)
            batch = next(self._batches, _END)
            if batch is not _END:
                self._index += 1
                # A list delivers it again in the next epoch: test_fitting_data.py::test_a_step_may_spoil_its_batch
                return copy_batch(batch) if source.lends else batch
            self._epoch, self._index, self._batches = self._epoch + 1, 0, None
        raise DataError("train_data must yield at least one batch in every epoch, got none. Check the loader.")

    def state_dict(self) -> dict[str, Any]:
        return {
            "training": SavedState.take(self._training).saved,
            "pilot": self._driver.state_dict(),
            "rng": get_rng(),
            "epoch_rng": self._epoch_rng,
            "epoch_held": self._epoch_held,
            "budget": encode(self._budget),
            "pace": self._driver.horizon.pace,
            "position": [self._epoch, self._index],
            "seconds": self._clock.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if decode(state["budget"]) != self._budget:
            raise StateError(
                f"A fit must be resumed with its own budget, saved was {decode(state['budget'])}, got {self._budget}: "
                "its schedule was planned for that. Pass the saved one."
            )
        saved = SavedState(state["training"])
        saved.require_fits(self._training)
        self._driver.load_state_dict(state["pilot"])
        saved.rewind(self._training)
        self._epoch, seen = state["position"]
        self._index, self._batches = 0, None
        # The order of an epoch may have been drawn from the global generators, or from the data set's own.
        set_rng(state["epoch_rng"])
        self._training.train_source.held.set_plain(state["epoch_held"])
        if state["epoch_held"]["lost"]:
            logger.warning(
                "The data cannot go on exactly where it was, for a checkpoint has no place for what it held (%s): make "
                "it anew in every epoch, or keep its place in numbers.",
                ", ".join(state["epoch_held"]["lost"]),
            )
        for _ in range(seen):
            self._next_batch()
        if self._index != seen:
            raise StateError(
                f"A fit must be resumed on the data it was saved on, got an epoch that ends before its batch {seen}. "
                "Pass the same train_data."
            )
        self._clock.resume_at(state["seconds"])
        set_rng(state["rng"])


_END = object()
