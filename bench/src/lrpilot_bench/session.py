"""A session: one live training of a task, with its data order, its bill and its curve.

Whatever a method does, it does to a session. The session makes the same weights and the same data order
for every method of a seed, evaluates on a grid of total compute that is the same for all, and knows what
is left of the budget.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lrpilot.core.cost import Cost
from lrpilot.training import Training
from lrpilot.training.bound.sources import BatchSource
from lrpilot_bench.counting import PassCounter, Tally
from lrpilot_bench.data.splits import Batch, Splits
from lrpilot_bench.store.curves import Curve
from lrpilot_bench.tasks.task import OptimizerFamily, Task, counted

GRID_POINTS = 20  # evaluations of a run, evenly spaced in total compute
OVERSHOOT = 2.0  # steps that a run may end above its budget: the last one may cost more than a plain step
NON_FINITE_PATIENCE = 20  # a method with a rollback gets this many steps to notice


class DivergedError(Exception):
    """The training loss stayed non-finite: the run is over."""


class OverspentError(Exception):
    """A method trains on although nothing is left of its budget."""


@cache
def loaded(load: Callable[[], Splits]) -> Splits:
    """The data of a task, read once a process."""
    return load()


class Session:
    """One training of a task from fresh weights.

    Args:
        task: what is trained.
        family: the optimizer family.
        seed: of weights, data order and dropout; sessions of one seed are paired.
        steps: budget, in plain training steps (3 forward-equivalents each).
        lr: lr to start from, natural units; None for a method that takes none.
        device: where it trains.

    Attributes:
        model: the model, in train mode.
        notes: what the method wants to have on record even if it fails later (a picked lr), plain data.
        evaluating: context entered around every evaluation; a method whose weights to judge differ from
            those it trains (an average) puts its own in its place.
    """

    def __init__(
        self,
        task: Task,
        family: OptimizerFamily,
        *,
        seed: int,
        steps: int,
        lr: float | None = None,
        device: str = "cpu",
    ) -> None:
        self.task = task
        self.family = family
        self.seed = seed
        self.steps = steps
        self.device = torch.device(device)
        self._lr = lr
        torch.manual_seed(seed)
        self.model: nn.Module = task.make_model().to(self.device)
        self.splits = loaded(task.load)
        self.train_data = self.splits.train.loader(task.batch_size, seed=seed)
        self.notes: dict[str, Any] = {}
        self.evaluating: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.declared = Tally()
        self.counter = PassCounter(self.model)
        self.curve = Curve()
        self.kept_steps = 0
        self._forgiven = 0.0
        self._order = BatchSource(self.train_data, seed=seed, name="train_data")
        self._bad_losses = 0
        self._eval_seconds = 0.0
        self._began = time.perf_counter()
        torch.manual_seed(seed + 1_000_003)  # dropout: not the draws that made the weights
        self.model.train()
        self._record_point()

    # ------------------------------------------------------------------ what a method is given

    @property
    def lr(self) -> float:
        """The lr to start from, for a method that takes one."""
        assert self._lr is not None, "this method declares no lrs"
        return self._lr

    def optimizer(self, lr: float) -> torch.optim.Optimizer:
        """The family's optimizer over all parameters."""
        return self.family.make(self.model.parameters(), lr)

    def training(self, optimizer: torch.optim.Optimizer) -> Training:
        """The session as lrpilot sees it; ``fit`` reads the very batches that :meth:`batches` yields.

        Tasks are known to hold no state that is not seen. The proof of it, one step more and once, is left out: rows
        recorded before there was one have none on their bill.
        """
        val = self.val_batches()
        return Training(self.model, optimizer, self.task.loss_fn, self.train_data, val, seed=self.seed, prove=False)

    def val_batches(self) -> list[Batch]:
        """The validation data in batches of the training's size."""
        return [self.move(batch) for batch in self.splits.val.batches(self.task.batch_size)]

    def batches(self) -> Iterator[Batch]:
        """Training batches on the device, epoch after epoch, without end; every call starts anew."""
        epoch = 0
        while True:
            epoch += 1  # epoch 0 of the source is what probes read
            for batch in self._order.epoch(epoch):
                yield self.move(batch)

    def probe_batches(self) -> Iterator[Batch]:
        """Training batches for probes, in another order than the training's, without end."""
        while True:
            for batch in self._order.epoch(0):
                yield self.move(batch)

    def move(self, batch: Batch) -> Batch:
        """The batch on the device."""
        inputs, targets = batch
        return inputs.to(self.device), targets.to(self.device)

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss of a batch; nothing is declared."""
        return self.task.loss_fn(self.model, batch)

    # ------------------------------------------------------------------ the bill

    @property
    def compute(self) -> float:
        """Declared forward-equivalents so far, training included."""
        return self.declared.forward_equivalents(self.task.batch_size)

    @property
    def budget(self) -> float:
        """Forward-equivalents of the plain run, and of the probes that were made free of charge."""
        return 3.0 * self.steps + self._forgiven

    @property
    def steps_left(self) -> int:
        """Plain training steps that what is left of the budget pays for."""
        return max(0, int((self.budget - self.compute + 1e-6) // 3.0))

    def charge(self, samples: int, *, forwards: int = 0, backwards: int = 0) -> None:
        """Declare passes over a batch of ``samples`` that the method made by itself."""
        self.declared.add(samples, forwards=forwards, backwards=backwards)

    def charge_cost(self, cost: Cost) -> None:
        """Declare what lrpilot states as the cost of its probes."""
        size = self.task.batch_size
        self.declared.forwards += round(cost.forwards * size)
        self.declared.backwards += round(cost.backwards * size)

    def forgive(self, compute: float) -> None:
        """Make so many forward-equivalents of probes free of charge: for rows that say so (``equal_compute=False``)."""
        self._forgiven += compute

    # ------------------------------------------------------------------ training

    def gradients(self, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        """Fresh gradients of a batch's mean loss; the loss, detached. Nothing is declared."""
        optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        return loss.detach()

    def step(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """One plain kept step on a batch, declared and ticked; the training loss."""
        loss = self.gradients(optimizer, batch)
        optimizer.step()
        return self.tick(float(loss), float(optimizer.param_groups[0]["lr"]), samples=len(batch[0]))

    def tick(self, loss: float, lr: float, *, samples: int, forwards: int = 1, backwards: int = 1) -> float:
        """Account for one kept step that the method has taken by itself.

        Args:
            loss: training loss of the step.
            lr: that the step was taken at.
            samples: of its batch.
            forwards: passes it made.
            backwards: passes it made.

        Raises:
            DivergedError: the loss has been non-finite for too long.
            OverspentError: the method goes on training after its budget is spent.
        """
        self.charge(samples, forwards=forwards, backwards=backwards)
        if self.compute > self.budget + OVERSHOOT * (forwards + 2 * backwards):
            raise OverspentError(
                f"A method must stop when session.steps_left is 0, got {self.compute:.0f} of {self.budget:.0f} "
                "forward-equivalents spent. session.batches() never ends by itself."
            )
        self.kept_steps += 1
        self.curve.add_step(loss, lr)
        self._bad_losses = 0 if math.isfinite(loss) else self._bad_losses + 1
        if self._bad_losses >= NON_FINITE_PATIENCE:
            raise DivergedError
        if self.compute >= self._next_point and self.steps_left > 0:
            self._record_point()
        return loss

    # ------------------------------------------------------------------ judging

    def evaluate(self, batches: int | None = None) -> float:
        """Validation loss that the method asks for: it is charged.

        Args:
            batches: of the training's size, from the beginning of the validation data; None for all of it.
        """
        part = self.splits.val if batches is None else self.splits.val.head(batches * self.task.batch_size)
        loss, _ = self._judge(part.batches(self.task.eval_batch_size))
        self.charge(len(part), forwards=1)
        return loss

    def finish(self) -> None:
        """The last point of the curve."""
        self._record_point()

    def test(self) -> tuple[float, float]:
        """Loss and score on the test part; read once, at the end."""
        with self._own_time(), self.counter.paused():
            return self._judge(self.splits.test.batches(self.task.eval_batch_size))

    @property
    def seconds(self) -> float:
        """Wall time so far, without the benchmark's own evaluations."""
        return time.perf_counter() - self._began - self._eval_seconds

    def _record_point(self) -> None:
        with self._own_time(), self.counter.paused():
            loss, score = self._judge(self.splits.val.batches(self.task.eval_batch_size))
        self.curve.add_point(self.kept_steps, self.compute, loss, score)
        spacing = self.budget / GRID_POINTS
        self._next_point = (math.floor(self.compute / spacing) + 1) * spacing

    @contextmanager
    def _own_time(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._eval_seconds += time.perf_counter() - began

    def _judge(self, batches: list[Batch]) -> tuple[float, float]:
        """Mean loss and score in eval mode; the model's mode and the generators are left as they were."""
        losses = scores = weight = 0.0
        with torch.random.fork_rng(), self.evaluating(), torch.no_grad():
            self.model.eval()
            try:
                for batch in batches:
                    inputs, targets = self.move(batch)
                    outputs, many = self.model(inputs), counted(targets)
                    losses += float(self.task.criterion(outputs, targets)) * many
                    scores += float(self.task.score(outputs, targets).mean()) * many
                    weight += many
            finally:
                self.model.train()
        return losses / weight, scores / weight
