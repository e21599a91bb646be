"""Trials: short trainings from the state now, judged and undone; and the ends that a training may go on from."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.actions import Trial
from lrpilot.core.codec import decode, encode
from lrpilot.core.cost import Cost
from lrpilot.core.stop import StopReason, StopState, check_stop
from lrpilot.flight.substrate import STEP, TrialEnd, TrialSeen
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.probe_data import Replay
from lrpilot.training.bound.state import SavedState, held_by_modules
from lrpilot.training.measure.evaluations import Evaluations
from lrpilot.training.measure.probe import Probe, TakeStep
from lrpilot.training.measure.proofs import Proofs
from lrpilot.training.measure.soundness import BatchJudge, raises_again, raises_at_rest
from lrpilot.training.restore.held import Held
from lrpilot.training.torch_private import copy_all, lerp_all


class RunningAverage:
    """Mean of the parameters over the added steps (one more copy of them, while a Trial runs)."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._live = [p.detach() for p in parameters]
        self._mean = [torch.zeros_like(p) for p in self._live]
        self._count = 0

    def add(self) -> None:
        """Take the present parameters into the mean."""
        self._count += 1
        lerp_all(self._mean, self._live, 1.0 / self._count)

    def apply(self) -> None:
        """Write the mean into the parameters."""
        copy_all(self._live, self._mean)


@dataclass(frozen=True)
class HeldEnd:
    """The state at the end of a Trial.

    Attributes:
        state: parameters, buffers, optimizer and extra state.
        held: by the modules, in attributes; None where it comes from a checkpoint, which has none.
        end: what the training's record gets of it.
        passed: batches of the Trials' own data that continued Trials have trained on, this one among them.
    """

    state: SavedState
    held: Held | None
    end: TrialEnd
    passed: int


class TrialEnds:
    """Ends of Trials by key, and how far into their own data continued Trials have come.

    Trials of one search see the same batches. Were those of the next to see them again, the steps that are kept
    would train on the first batches of an epoch time and again: so they begin where the last continued one ended.

    Attributes:
        passed: index of the first batch of the next Trial.

    Args:
        training: what is flown.
    """

    def __init__(self, training: BoundTraining) -> None:
        self.passed = 0
        self._training = training
        self._held: dict[str, HeldEnd] = {}

    def hold(self, key: str, end: TrialEnd, batches: int) -> None:
        """Copy the present state, at the end of a Trial of so many batches; one copy of the training state each."""
        state = SavedState.take(self._training, self._training.snapshot_device)
        held = held_by_modules(self._training, self._training.snapshot_device)
        self._held[key] = HeldEnd(state, held, end, self.passed + batches)

    def go_on(self, key: str) -> TrialEnd:
        """Make an end the present state; RNG, gradients and lrs do not move."""
        held = self._held[key]
        held.state.rewind(self._training)
        # Counters and hidden states of the Trial go on too:
        # test_trial_ends.py::test_it_is_bitwise_what_training_on_the_trials_batches_gives
        if held.held is not None:
            held.held.restore()
        # test_trial_ends.py::test_two_in_a_row_are_what_training_on_the_batches_of_both_gives
        self.passed = held.passed
        return held.end

    def drop(self, key: str) -> None:
        """Forget an end."""
        del self._held[key]

    def extra_price(self, key: str) -> float:
        """Forward-equivalents that continuing takes out of a budget, where its batches were smaller than a kept step's.

        A kept step counts 3 whatever its batch; in a Trial it was counted by its samples.
        """
        held = self._held.get(key)
        return 0.0 if held is None else STEP * len(held.end.lrs) - held.end.cost.forward_equivalents

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors."""
        held = {
            key: {"state": held.state.saved, "end": encode(held.end), "passed": held.passed}
            for key, held in self._held.items()
        }
        return {"passed": self.passed, "held": held}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.passed = saved["passed"]
        self._held = {
            key: HeldEnd(SavedState(held["state"]), None, decode(held["end"]), held["passed"])
            for key, held in saved["held"].items()
        }


class Trials:
    """Flies Trials.

    Args:
        probe: takes the steps and undoes them.
        judge: tells bad batches.
        proofs: that the training works.
        evaluations: judge the weights.
        ends: hold those that may be continued.
    """

    def __init__(
        self, probe: Probe, judge: BatchJudge, proofs: Proofs, evaluations: Evaluations, ends: TrialEnds
    ) -> None:
        self._probe = probe
        self._judge = judge
        self._proofs = proofs
        self._evaluations = evaluations
        self._ends = ends

    def fly(self, action: Trial) -> TrialSeen | None:
        """Fly a Trial and restore everything.

        Returns:
            What was seen; None where a batch was found that gives no number at sound weights. It is left out from now
            on, and the Trial is to be flown again.

        Raises:
            Exception: of the user's own code, unless the weights that the Trial has come to are to blame for it.
        """
        self._proofs.require_training_works()
        self._probe.meter.count(trials=1)
        log = _TrialLog(action)
        with self._probe.bracket():
            self._attempt(action, log)
        # At the weights that it began with: who is to blame?
        if log.error is not None and raises_at_rest(log.at_rest, log.error):
            raise log.error
        if log.stop is StopReason.NON_FINITE and self._judge.leaves_out(self._first(action) + len(log.losses) - 1):
            return None
        if not log.judged_finite and self._evaluations.leaves_out():
            return None
        return log.seen()

    def _first(self, action: Trial) -> int:
        """Index of its first batch."""
        return self._ends.passed + action.first

    def _attempt(self, action: Trial, log: "_TrialLog") -> None:
        self._begin(action)
        averages = action.evaluate == "average"
        average = RunningAverage(self._probe.training.trainable_parameters) if averages else None
        self._train(action, log, average)
        if log.stop is None and action.keep is not None:
            self._ends.hold(action.keep, log.end(), action.first + action.steps)
        if log.stop is not None or action.evaluate == "no":
            return
        if average is not None:
            average.apply()

        def evaluate() -> float:
            return self._evaluations.judge(reestimate=True)

        log.held_out = log.guarded(evaluate, again=evaluate, at_rest=evaluate)

    def _begin(self, action: Trial) -> None:
        """Be in the flight that the Trial is to try."""
        training = self._probe.training
        if action.average is not None:
            training.fly_averaged(action.average)
        elif training.average is not None:
            training.land()

    def _train(self, action: Trial, log: "_TrialLog", average: RunningAverage | None) -> None:
        probe, first = self._probe, self._first(action)
        with probe.steps(first) as (take, counter):
            train = probe.training.probe_data.train
            batches = train.take(action.steps, first=first)
            for i, index in enumerate(range(first, first + action.steps)):
                probe.lrs.set(action.shape(i))
                if action.momentum is not None:
                    probe.lrs.set_momentum(action.momentum(i))
                before = probe.meter.cost
                loss = log.guarded(
                    lambda: take(batches),
                    again=partial(_taken_again, take, train, index),
                    at_rest=partial(self._judge.loss_at, index),
                )
                probe.meter.count(trial_steps=1)
                if loss is None:
                    break
                log.note(loss, probe.meter.cost - before, moved=counter.moved)
                if log.stop is not None:
                    break
                reads = action.read_every is not None and (i + 1) % action.read_every == 0
                if reads and not self._read(log):
                    break
                if average is not None and i >= action.steps // 2:
                    average.add()

    def _read(self, log: "_TrialLog") -> bool:
        """Note the loss on the first held-out batch, on the way; whether it could be read."""

        def evaluate() -> float:
            return self._evaluations.judge(reestimate=False, batches=1)

        with log.paused():
            reading = log.guarded(evaluate, again=evaluate, at_rest=evaluate)
        if reading is not None:
            log.readings.append(reading)
        return reading is not None


def _taken_again(take: TakeStep, train: Replay, index: int) -> float:
    """A step on the batch of this index."""
    return take(train.take(1, first=index))


class _TrialLog:
    """What a Trial has seen so far, and what becomes of it where it is continued.

    Attributes:
        losses: training loss of each step.
        readings: held-out losses read on the way.
        held_out: held-out loss at its end; None where there is none.
        stop: why it ended early; None while it has not.
        error: of the user's own code, that comes again at the same weights; None for none.
        at_rest: what has raised it, at other weights.
    """

    def __init__(self, action: Trial) -> None:
        self.losses: list[float] = []
        self.readings: list[float] = []
        self.held_out: float | None = None
        self.stop: StopReason | None = None
        self.error: Exception | None = None
        self.at_rest: Callable[[], object] = lambda: None
        self._action = action
        self._rules = StopState()
        self._taken: list[int] = []  # steps that moved the weights: a GradScaler's skipped ones did not
        self._cost = Cost()  # of these
        self._began = time.perf_counter()

    def guarded(
        self, work: Callable[[], float], *, again: Callable[[], object], at_rest: Callable[[], object]
    ) -> float | None:
        """What some work gives; None where the user's own code has raised an error that these weights may have caused.

        Args:
            work: calls the user's code.
            again: the same once more: an error that does not come again is none of the weights'.
            at_rest: the same, to be called when everything is restored.
        """
        try:
            return work()
        except Exception as error:
            if not raises_again(again, error):
                raise
            self.stop, self.error, self.at_rest = StopReason.RAISED, error, at_rest
            return None

    @property
    def judged_finite(self) -> bool:
        """Whether all held-out losses that were read are numbers."""
        read = self.readings if self.held_out is None else [*self.readings, self.held_out]
        return all(map(math.isfinite, read))

    def note(self, loss: float, cost: Cost, *, moved: bool) -> None:
        """Note a step, and whether the Trial ends with it."""
        if moved:
            self._taken.append(len(self.losses))
            self._cost += cost
        self.losses.append(loss)
        self._rules, self.stop = check_stop(self._action.stop, self._rules, loss)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A measurement of its own inside: no part of what becomes of the Trial where it is continued."""
        paused = time.perf_counter()
        yield
        self._began += time.perf_counter() - paused

    def seen(self) -> TrialSeen:
        """What was seen, with the judgement of the end if there is one."""
        return TrialSeen(tuple(self.losses), self.held_out, self.stop, tuple(self.readings))

    def end(self) -> TrialEnd:
        """What a training that goes on from here has taken until now."""
        cost = self._cost + Cost(seconds=time.perf_counter() - self._began)
        lrs = tuple(float(self._action.shape(i)) for i in self._taken)
        return TrialEnd(lrs, tuple(self.losses[i] for i in self._taken), cost)
