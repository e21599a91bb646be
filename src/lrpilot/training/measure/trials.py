"""Trials: short trainings from the state now, judged and undone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lrpilot.core.actions import Trial
from lrpilot.core.cost import Cost
from lrpilot.core.stop import StopReason, StopState, check_stop
from lrpilot.flight.substrate import TrialEnd, TrialSeen
from lrpilot.training.measure.evaluations import Evaluations
from lrpilot.training.measure.probe import Probe
from lrpilot.training.measure.proofs import Proofs
from lrpilot.training.measure.running_average import RunningAverage
from lrpilot.training.measure.trial_ends import TrialEnds


class Trials:
    """Flies Trials.

    Args:
        probe: takes the steps and undoes them.
        proofs: that the training works.
        evaluations: judge the weights.
        ends: hold those that may be continued.
    """

    def __init__(self, probe: Probe, proofs: Proofs, evaluations: Evaluations, ends: TrialEnds) -> None:
        self._probe = probe
        self._proofs = proofs
        self._evaluations = evaluations
        self._ends = ends

    def fly(self, action: Trial) -> TrialSeen:
        """Fly a Trial and restore everything."""
        self._proofs.require_training_works()
        self._probe.meter.count(trials=1)
        with self._probe.bracket():
            averages = action.evaluate == "average"
            average = RunningAverage(self._probe.training.trainable_parameters) if averages else None
            log = _TrialLog(action)
            self._train(action, log, average)
            if log.stop is None and action.keep is not None:
                self._ends.hold(action.keep, log.end(), action.first + action.steps)
            if log.stop is not None or action.evaluate == "no":
                return log.seen()
            if average is not None:
                average.apply()
            return log.seen(held_out=self._evaluations.judge(reestimate=True))

    def _train(self, action: Trial, log: "_TrialLog", average: RunningAverage | None) -> None:
        probe, first = self._probe, self._ends.passed + action.first
        with probe.steps(first) as (take, counter):
            batches = probe.training.probe_data.train.take(action.steps, first=first)
            for i in range(action.steps):
                probe.lrs.set(action.shape(i))
                before = probe.meter.cost
                loss = take(batches)
                probe.meter.count(trial_steps=1)
                log.note(loss, probe.meter.cost - before, moved=counter.moved)
                if log.stop is not None:
                    break
                if action.read_every is not None and (i + 1) % action.read_every == 0:
                    with log.paused():
                        log.readings.append(self._evaluations.judge(reestimate=False, batches=1))
                if average is not None and i >= action.steps // 2:
                    average.add()


class _TrialLog:
    """What a Trial has seen so far, and what becomes of it where it is continued.

    Attributes:
        losses: training loss of each step.
        readings: held-out losses read on the way.
        stop: why it ended early; None while it has not.
    """

    def __init__(self, action: Trial) -> None:
        self.losses: list[float] = []
        self.readings: list[float] = []
        self.stop: StopReason | None = None
        self._action = action
        self._rules = StopState()
        self._taken: list[int] = []  # steps that moved the weights: a GradScaler's skipped ones did not
        self._cost = Cost()  # of these
        self._began = time.perf_counter()

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

    def seen(self, held_out: float | None = None) -> TrialSeen:
        """What was seen, with the judgement of the end if there is one."""
        return TrialSeen(tuple(self.losses), held_out, self.stop, tuple(self.readings))

    def end(self) -> TrialEnd:
        """What a training that goes on from here has taken until now."""
        cost = self._cost + Cost(seconds=time.perf_counter() - self._began)
        lrs = tuple(float(self._action.shape(i)) for i in self._taken)
        return TrialEnd(lrs, tuple(self.losses[i] for i in self._taken), cost)
