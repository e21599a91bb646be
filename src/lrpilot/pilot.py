"""Pilot: flies a policy in the user's own training loop, as a torch learning rate scheduler."""

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from lrpilot.core.cost import Cost
from lrpilot.core.history import History, OnEvent
from lrpilot.core.policy import Policy
from lrpilot.driver import Driver
from lrpilot.errors import SchedulerConflictError, StateError
from lrpilot.flight.horizon import StepHorizon
from lrpilot.policies.schedules.frozen import frozen
from lrpilot.policies.schedules.schedule import Schedule
from lrpilot.report import FlightReport
from lrpilot.training.training import Training


class Pilot(LRScheduler):
    """Chooses the learning rate of every step of a training while your loop runs it.

    Construction measures nothing. Call :meth:`step` once after every optimizer step; it may probe and
    rewind inside, and returns with the lr set for the next step. Called without a new optimizer step
    (gradient accumulation, a step skipped by a GradScaler) it does nothing.

    Example:
        >>> pilot = Pilot(training, policy, total_steps=1000)  # doctest: +SKIP
        >>> for batch in loader:  # doctest: +SKIP
        ...     loss = loss_fn(model, batch)
        ...     optimizer.zero_grad(); loss.backward(); optimizer.step()
        ...     pilot.step(loss)

    Attributes:
        driver: what flies; the pilot is its face as a scheduler.

    Args:
        training: what is flown. Its optimizer must be the one your loop steps.
        policy: the decision rule.
        total_steps: kept optimizer steps of the whole training; None for an open end.
        on_event: called with an :class:`~lrpilot.core.history.Event` at the beginning and end of every
            measurement: a ``step()`` that takes a minute can say so.

    Raises:
        SettingError: ``total_steps`` < 1, or settings the policy refuses for this horizon.
        OptimizerError: the optimizer has no positive lr.
        NonlinearStepError: the policy reads Lines, and the optimizer's step is known not to be linear in its lr.
    """

    driver: Driver
    # Nor is there an attribute total_steps: Accelerate would stop stepping a scheduler that has one.
    _constructed = False

    def __init__(
        self, training: Training, policy: Policy, total_steps: int | None = None, on_event: OnEvent | None = None
    ) -> None:
        driver = Driver(training, policy, horizon=lambda _: StepHorizon(total_steps), on_event=on_event)
        driver.watch_loop()
        self._face(driver)

    @classmethod
    def of(cls, driver: Driver) -> "Pilot":
        """The face of a driver that is there already."""
        pilot = cls.__new__(cls)
        pilot._face(driver)
        return pilot

    def _face(self, driver: Driver) -> None:
        self.driver = driver
        super().__init__(driver.training.raw_optimizer)  # which calls step() once
        self._constructed = True

    # ------------------------------------------------------------- the loop

    def step(self, loss: Tensor | float | None = None) -> None:
        """Account for the optimizer step just taken and set the lr of the next one.

        Args:
            loss: the training loss of that step; kept detached, without a device sync. Without it, a
                policy that needs a loss gets the held-out loss, and its cost is charged.

        Raises:
            LossError: ``loss`` is a tensor of several elements.
            StepError: called between ``scaler.step`` and ``scaler.update``, after several optimizer
                steps at once, or after a step that was taken when the flight had landed.
            SchedulerConflictError: somebody else wrote the lr.
        """
        if not self._constructed:
            self.driver.write_lr()
        elif self.driver.account(loss):
            self.driver.start()

    def start(self) -> None:
        """Run a search that is due now instead of inside the first :meth:`step`.

        Without this the first optimizer step of a policy that begins with a search runs at a negligible
        lr. After Ctrl-C in a search, or a resume into one, it finishes that search.
        """
        self.driver.start()

    # ---------------------------------------------------------- the average

    def averaged(self) -> AbstractContextManager[None]:
        """Weights to judge or save, for a ``with`` block: the average, where one is flown; else the weights themselves.

        BatchNorm statistics are estimated for it on a few training batches, which is counted in :attr:`cost`. After
        the block parameters, buffers, modes and random generators are what they were before it, bit for bit. No
        optimizer step may be taken inside.

        Example:
            >>> with pilot.averaged():  # doctest: +SKIP
            ...     torch.save(model.state_dict(), "model.pt")
        """
        return self.driver.averaged()

    def land(self) -> None:
        """Leave the weights to be kept in the model: the average, where one is flown. The flight is over then.

        BatchNorm statistics are estimated for it (counted in :attr:`cost`), the average is dropped, and the
        optimizer's momentum is what you had it at. The last step of a known horizon does it by itself where an average
        is flown. An optimizer step after it, told of to :meth:`step`, is an error.
        """
        self.driver.land()

    def cooldown(self, steps: int) -> None:
        """Take the lr straight to zero over the next ``steps`` kept steps, and end the training there.

        For an open horizon (``total_steps=None``), where you decide on the way when to end; before a known end too. The
        first step runs at the lr that was due, the last one at a ``steps``-th of it. The policy is not asked again,
        whatever the losses do: what it was about to measure is dropped, its marks are forgotten. An average that is
        flown is carried on, and lands with the last step.

        May be called again, for another way down. Saved inside, a flight resumes inside: give the new pilot the
        ``total_steps`` of the old one.

        Args:
            steps: of the cooldown, >= 1; a tenth to a third of the training is usual.

        Raises:
            SettingError: ``steps`` is no int >= 1, or more than a budget (of ``fit``) has left.
            StepError: after the last step, or after :meth:`land`; before the search that chooses the first lr; or after
                an optimizer step that :meth:`step` does not know of yet.

        Example:
            >>> pilot = Pilot(training, Schedule("constant"))  # doctest: +SKIP
            >>> for step, batch in enumerate(loader):  # doctest: +SKIP
            ...     pilot.step(training.step(batch))
            ...     if step == 8000:
            ...         pilot.cooldown(2000)
            ...     if pilot.steps_left == 0:
            ...         break
        """
        self.driver.cooldown(steps)

    def report(self) -> FlightReport:
        """What was tried, what was chosen and why, what was done against harm, and what it cost; at any time.

        ``print(pilot.report())`` says it, ``.to_dict()`` has it as plain data, ``.plot()`` draws it.
        """
        return self.driver.report()

    def as_schedule(self) -> Schedule:
        """The kept steps so far as a plain schedule: the same lrs, value by value, without a measurement.

        Also the momentum where the policy moved it, and the average where one was flown: on the same training, from
        the same weights, with the same batches, it gives the same weights, bit for bit. Not where the policy has
        rewound, or continued a Trial: its steps are the steps as they were taken. After its last step it holds the lr;
        a shorter training flies its beginning. ``dataclasses.replace(schedule, lr=0.1)`` is the same shape at another
        peak.

        Raises:
            StateError: no step has been taken yet.
        """
        return frozen(self.history)

    # -------------------------------------------------------------- reading

    @property
    def training(self) -> Training:
        """What is flown."""
        return self.driver.training

    @property
    def policy(self) -> Policy:
        """The decision rule."""
        return self.driver.policy

    @property
    def history(self) -> History:
        """The lr and loss of every kept step, and every measurement with what it saw."""
        return self.driver.flight.history

    @property
    def cost(self) -> Cost:
        """Every forward and backward beyond the user's own steps, and the seconds they took."""
        return self.driver.substrate.cost

    @property
    def steps_left(self) -> int | None:
        """Kept steps left until the end; None while the end is open."""
        return self.driver.steps_left

    @property
    def done(self) -> bool:
        """Whether the policy has nothing more to decide; the lr is held from then on."""
        return self.driver.flight.done

    @property
    def result(self) -> Any:
        """What the policy's ``Done`` carried; None before, and for policies that only train."""
        return self.driver.flight.result

    def get_last_lr(self) -> list[float | Tensor]:
        """The group lrs now set; tensors are clones."""
        return self.driver.substrate.lrs.copies()

    def get_lr(self) -> list[float | Tensor]:
        """The same as :meth:`get_last_lr`."""
        return self.get_last_lr()

    # What schedulers that compose others read. It is the driver that counts, whatever a scheduler is set to: torch's
    # constructor sets these, and Accelerate does.

    @property
    def _last_lr(self) -> list[float | Tensor]:  # type: ignore[override]
        return self.get_last_lr()

    @property
    def last_epoch(self) -> int:
        """Kept optimizer steps taken."""
        return self.driver.flight.step

    @last_epoch.setter
    def last_epoch(self, last_epoch: int) -> None:
        # SequentialLR takes back the step of each scheduler's constructor: nobody else counts backwards.
        if self._constructed and last_epoch == self.last_epoch - 1:
            raise SchedulerConflictError(
                "A pilot must be the only one that sets the lr of its optimizer, got it among the schedulers of "
                "another. Step the pilot alone, and let its policy do the warmup: Schedule('cosine', warmup=0.05)."
            )

    @property
    def _step_count(self) -> int:
        return self.driver.flight.step + 1

    @_step_count.setter
    def _step_count(self, count: int) -> None:
        pass

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Dicts, lists, numbers and tensors, as ``torch.load(weights_only=True)`` accepts them.

        Live marks are in it. Save it with the model's and the optimizer's.

        Raises:
            StepError: an optimizer step has been taken that :meth:`step` does not know of yet.
        """
        return self.driver.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a saved flight; model and optimizer must be loaded too. May write an lr, never probes.

        If a search was due when the state was saved, :meth:`start` (or the next :meth:`step`) runs it.

        A pilot with other ``total_steps`` than the saved one had goes on to those, where its policy can plan anew for
        them: a schedule whose lrs until here are the same under both ("constant"; "wsd" while it holds), ``AutoLRS``
        and ``LRTuner`` before they are on their way to zero, and policies that say how (``Policy.replan``).

        Raises:
            StateError: the state is damaged, of another version, policy, model or optimizer, or of another horizon
                that the policy cannot plan anew for. Nothing is written then.
        """
        self.driver.load_state_dict(state_dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Pilot":
        """Refused: a copy would watch an optimizer that nobody steps."""
        raise StateError(
            "A pilot cannot be copied or pickled, for it watches one live optimizer. Save pilot.state_dict(), and load "
            "it into a pilot constructed on the copy's own training."
        )

    def __reduce__(self) -> Any:
        """Refused, as copying is."""
        return self.__deepcopy__({})
