"""Driver: flies a policy on a live training: hooks the optimizer's steps, sets their lrs. Behind Pilot and ``fit``."""

import logging
import operator
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor

from lrpilot.core.actions import Progress
from lrpilot.core.history import Event, OnEvent
from lrpilot.core.policy import Policy, Reason
from lrpilot.core.settings import is_whole
from lrpilot.errors import SettingError, StateError, StepError
from lrpilot.flight.flight import Flight
from lrpilot.flight.horizon import Horizon
from lrpilot.report import FlightReport
from lrpilot.training.bound.checks import check_loss, require_lines_possible
from lrpilot.training.bound.optimizers import optimizers_inside, put_back_momentum
from lrpilot.training.bound.steps import StepWatch
from lrpilot.training.measure.likeness import LoopWatch
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.torch_private import times_written
from lrpilot.training.training import Training

logger = logging.getLogger("lrpilot")

# While a search is due and has not run, steps are taken at this share of the lr: they move nothing.
NEGLIGIBLE = 1e-9
STATE_VERSION = 4
# Accounts asked for without a first optimizer step after which something is wrong, whatever is accumulated.
IDLE_CALLS = 200
# Code of the warning about a loop whose steps are not those of Trials.
LOOP = "loop_differs"
# Of these the ones after which every weight had been moved by somebody: a checkpoint is loaded once.
MOVED_CALLS = 2


class Driver:
    """Watches the optimizer's steps, flies on after each, and writes the lr of the next.

    Whoever runs the loop calls :meth:`account` after every optimizer step and then :meth:`start`, which measures
    where a measurement is due. Construction measures nothing and writes nothing: :meth:`write_lr` begins.

    Attributes:
        training: what is flown.
        policy: the decision rule.
        substrate: the training as the flight sees it, with what its measurements have cost.
        horizon: how many steps are left.
        flight: the loop of ask, act and tell, with its history.
        landed: whether the average of an averaged flight has been left in the model: it is over then.

    Args:
        training: see there. Its optimizer must be the one that the loop steps.
        policy: see there.
        horizon: makes the horizon, which may depend on what the substrate's measurements cost.
        continues: whether Trials may be kept and continued: the loop knows that steps may be taken that are not its.
        on_event: called with an :class:`~lrpilot.core.history.Event` at the beginning and end of every measurement.

    Raises:
        SettingError: no training, no policy that trains, or settings it refuses for this horizon.
        OptimizerError: the optimizer has no positive lr.
        NonlinearStepError: the policy reads Lines, and the optimizer's step is known not to be linear in its lr.
    """

    def __init__(
        self,
        training: Training,
        policy: Policy,
        *,
        horizon: Callable[[LiveSubstrate], Horizon],
        continues: bool = False,
        on_event: OnEvent | None = None,
    ) -> None:
        _check_settings(training, policy)
        self.training = training
        self.policy = policy
        self.substrate = LiveSubstrate(training)
        self.horizon = horizon(self.substrate)
        self._end_at(None)
        self.landed = False
        with _without_average(training):
            self.flight = Flight(
                policy,
                self.substrate,
                lr=self.substrate.lrs.reference,
                horizon=self.horizon,
                affords=self.horizon.affords,
                continues=continues,
                on_event=_logged(on_event),
            )
        self.substrate.take_command()
        self._taken = 0  # kept optimizer steps seen by the hook
        self._counted = 0  # of these, accounted for
        self._idle_calls = self._moved_calls = 0
        self._written = self._times_written()
        self._share = 1.0  # of the lr that the flight asks for
        self._loop_watch: LoopWatch | None = None
        _watch_steps(self)

    # ------------------------------------------------------------- the loop

    def watch_loop(self) -> None:
        """Notice where the loop's steps are not those of Trials, and say so once: it is the user's own."""
        if not any(event.reason is not None and event.reason.code == LOOP for event in self.flight.history.events):
            self._loop_watch = LoopWatch(self.training)
            self._loop_watch.loop_begins()

    def _compare_loop(self, loss: Tensor | float | None) -> None:
        said = None if self._loop_watch is None else self._loop_watch.difference(loss)
        if said is not None:
            self.flight.warn(Reason(LOOP, said, alarms=True))

    def before_step(self) -> None:
        """What the optimizer's hook does right before a kept step.

        Raises:
            StepError: it would be the second one that :meth:`account` is not told of.
        """
        if self._taken > self._counted and self.substrate.commands and self.steps_left != 0:
            raise StepError(
                "pilot.step() must follow every optimizer step, got a second one since the last call. Call "
                'pilot.step(loss) after optimizer.step(), every time (in Lightning: "interval": "step"; in Ignite: in '
                "a handler of your own, for its wrappers of schedulers never call step()). To train on without the "
                "pilot, call pilot.land() first."
            )
        self.substrate.before_kept_step()

    def step_taken(self) -> None:
        """What the optimizer's hook does after a kept step."""
        self._taken += 1
        self.substrate.after_kept_step()

    def account(self, loss: Tensor | float | None = None) -> bool:
        """Count the optimizer step just taken and set the next lr; nothing is measured.

        Args:
            loss: the training loss of that step, kept detached, without a device sync; None if it is not known.

        Returns:
            Whether there was a step.

        Raises:
            LossError: ``loss`` is a tensor of several elements.
            StepError: between ``scaler.step`` and ``scaler.update``, or after several optimizer steps at once.
            SchedulerConflictError: somebody else wrote the lr.
        """
        if self._taken == self._counted:
            self._note_idle_call()
            return False
        if self.landed:
            raise StepError(
                "No optimizer step may follow when the flight has landed, got one: the model holds the weights to be "
                "kept, and nobody steers any more. Stop the loop there, or construct a new pilot to train on."
            )
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                check_loss(loss, source="The loop", needs_grad=False)
            # Read now where that is cheap. Else keep a copy: a loop may write the next loss into the same tensor.
            loss = loss.item() if self.substrate.reads_are_cheap else loss.detach().clone()
        if loss is not None and self.training.maximizes:
            loss = -loss  # the lower the better, for whoever decides
        self.training.require_scaler_idle()
        steps, self._counted = self._taken - self._counted, self._taken
        if steps > 1:
            raise StepError(
                f"pilot.step() must follow every optimizer step, got {steps} steps since the last call. Call it once "
                'per optimizer step (in Lightning: "interval": "step").'
            )
        self.substrate.lrs.check_unchanged()
        self.flight.account(loss, share=self._share)
        self._compare_loop(loss)
        self.write_lr()
        return True

    def _note_idle_call(self) -> None:
        """Object if this training's optimizer is never stepped: at once where the weights move without it.

        Raises:
            StepError: they do.
        """
        if self._taken:
            return
        self._idle_calls += 1
        written, before = self._times_written(), self._written
        self._written = written
        # All of them: a forward pass may write into some (an embedding with a max_norm).
        self._moved_calls += all(map(operator.ne, written, before))
        if self._moved_calls == MOVED_CALLS:
            raise StepError(
                "The optimizer given to Training must be the one that the loop steps, got pilot.step() after steps "
                f"that moved all weights without it ({type(self.training.optimizer).__name__}.step was never called). "
                "Give Training the optimizer that your loop steps."
            )
        if self._idle_calls == IDLE_CALLS:
            logger.warning(
                "pilot.step() was called %d times and the optimizer given to Training was never stepped. "
                "Call optimizer.step() before it, and give Training the optimizer that your loop steps.",
                IDLE_CALLS,
            )

    def _times_written(self) -> list[int]:
        return [times_written(p) for p in self.training.trainable_parameters]

    def start(self) -> None:
        """Run the measurements that are due now, if any; after Ctrl-C in one, or a resume into one, finish it.

        An average lands where no step is left.
        """
        if self.flight.searching:
            self._measure()
        if self.substrate.average is not None and self.steps_left == 0:
            self.land()

    def _measure(self) -> None:
        watch, rewinds = self._loop_watch, self.substrate.rewinds
        try:
            if watch is not None:
                watch.search_begins()
            self.flight.start()
        finally:
            self.substrate.forget_snapshot()
            self.write_lr()
            if watch is not None:
                watch.search_ends(rewound=self.substrate.rewinds > rewinds)

    # --------------------------------------------------------------- the end

    @property
    def steps_left(self) -> int | None:
        """Kept steps left; None when the end is open."""
        return 0 if self.landed else self.horizon(self.flight.step)

    def averaged(self, *, charged: bool = True) -> AbstractContextManager[None]:
        """See :meth:`lrpilot.Pilot.averaged`.

        Args:
            charged: whether what it takes is counted in the cost.
        """
        return self.substrate.averaged(charged=charged)

    def cooldown(self, steps: int) -> None:
        """See :meth:`lrpilot.Pilot.cooldown`."""
        self._require_cooldown_possible(steps)
        self.flight.cool(steps)
        self._end_at(self.flight.step + steps)
        self.write_lr()

    def _require_cooldown_possible(self, steps: int) -> None:
        if not is_whole(steps, 1):
            raise SettingError(f"steps of a cooldown must be an int >= 1, got {steps!r}. A fifth of the run is usual.")
        if self._taken != self._counted:
            raise StepError(
                "A cooldown begins after pilot.step(), got an optimizer step that it has not been told of. "
                "Move pilot.cooldown() below pilot.step(loss)."
            )
        if self.steps_left == 0:
            raise StepError(
                f"A cooldown must begin before the training has ended, got one after its last step, "
                f"{self.flight.step}. Give more total_steps, or none and call pilot.cooldown() where it is to end."
            )
        if self._unsearched:
            raise StepError(
                "A cooldown needs an lr to come down from, got one before the search that chooses the first. "
                "Call pilot.start() before it."
            )
        left = self.horizon.planned(self.flight.step)
        if self.horizon.total_steps is None and left is not None and steps > left:
            raise SettingError(f"A cooldown must fit into the budget, got {steps} steps and {left} left. Shorten it.")

    def _end_at(self, end: int | None) -> None:
        """A cooldown ends after so many kept steps; None where there is none."""
        self.horizon.end = end
        self.substrate.norm_batches = self.horizon.norm_batches

    def land(self) -> None:
        """See :meth:`lrpilot.Pilot.land`."""
        if not self.landed:
            self.substrate.land()
            self.landed = True

    def report(self) -> FlightReport:
        """See :meth:`lrpilot.Pilot.report`."""
        account = self.policy.account(self.flight.state.policy_state)
        return FlightReport(self.policy, self.flight.history.copy(), self.substrate.cost, self.steps_left, account)

    def write_lr(self) -> None:
        """Set the lr of the next step, and its momentum where the policy moves that."""
        flight, lrs = self.flight, self.substrate.lrs
        self._share = NEGLIGIBLE if self._unsearched else 1.0
        lrs.set(flight.lr, share=self._share)
        momentum = flight.momentum
        if momentum is not None and not self.landed:
            lrs.set_momentum(momentum)

    @property
    def _unsearched(self) -> bool:
        """Whether the search that chooses the first lr is due."""
        return self.flight.step == 0 and self.flight.searching

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Dicts, lists, numbers and tensors, as ``torch.load(weights_only=True)`` accepts them; live marks are in it.

        Raises:
            StepError: an optimizer step has been taken that has not been accounted for.
        """
        if self._taken != self._counted:
            raise StepError(
                "A pilot is saved after pilot.step(), got an optimizer step that it has not been told of. "
                "Move pilot.state_dict() below pilot.step(loss)."
            )
        return self._state()

    def _state(self) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "total_steps": self.horizon.total_steps,
            "flight": self.flight.state_dict(),
            "substrate": self.substrate.state_dict(),
            "landed": self.landed,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue a saved flight; model and optimizer must be loaded too. May write an lr, never probes.

        Raises:
            StateError: the state is damaged, of another version, policy, model or optimizer, or of another horizon
                that the policy cannot plan anew for. Nothing is written then.
        """
        self._require_ours(saved)
        changed = self._has_other_horizon(saved)
        replanned = self._replanned(saved) if changed else None
        self.flight.load_state_dict(saved["flight"])
        self.substrate.load_state_dict(saved["substrate"])
        self._counted = self._taken
        self.landed = saved["landed"]
        self._end_at(self.flight.cooled_at)
        if changed:
            self.flight.go_by(replanned)
        self.write_lr()

    def _require_ours(self, saved: Any) -> None:
        version = saved.get("version") if isinstance(saved, dict) else None
        if version != STATE_VERSION:
            raise StateError(
                f"A pilot state must have version {STATE_VERSION}, got {version!r}. "
                "Resume with the lrpilot that wrote it."
            )
        missing = next(_missing(saved, self._state()), None)
        if missing is not None:
            raise StateError(f"A pilot state must be whole, got one without {', '.join(sorted(missing))}.")
        self.substrate.require_fits(saved["substrate"])

    def _has_other_horizon(self, saved: dict[str, Any]) -> bool:
        """Whether there is something to be planned anew: a cooldown goes on to its own end."""
        flight, total = saved["flight"]["state"], self.horizon.total_steps
        if flight["cools_from"] is not None and total == flight["cools_from"] + flight["action"]["steps"]:
            return False
        return bool(total != saved["total_steps"])

    def _replanned(self, saved: dict[str, Any]) -> Any:
        """What the policy makes of this horizon.

        Raises:
            StateError: there is no step left under it, the flight is over or on its way down, or the policy refuses.
        """
        step, total = saved["flight"]["state"]["step"], self.horizon.total_steps
        if total is not None and total <= step:
            raise StateError(
                f"A pilot state must be resumed with more total_steps than have been taken, got {total} after {step}. "
                "Give more."
            )
        try:
            if saved["landed"]:
                raise StateError("The average has been left in the model, and the flight is over.")
            if saved["flight"]["state"]["cools_from"] is not None:
                raise StateError("Its cooldown has begun, which ends where it was to end.")
            return self.flight.replanned(saved["flight"], Progress(step, None if total is None else total - step))
        except StateError as error:
            raise StateError(
                f"A pilot state must be resumed with its own total_steps, saved was {saved['total_steps']}, got "
                f"{total}, or be one that can be planned anew. {error} Construct the pilot with the saved total_steps."
            ) from error


@contextmanager
def _without_average(training: Training) -> Iterator[None]:
    """Drop the average of a pilot that was given up: the next one begins with the weights that stand in the model.

    Where that one cannot be constructed, nothing has happened.
    """
    abandoned, training.average = training.average, None
    try:
        yield
    except BaseException:
        training.average = abandoned
        raise
    if abandoned is not None:
        put_back_momentum(training.raw_optimizer)


def _missing(saved: dict[str, Any], mine: dict[str, Any]) -> Iterator[set[str]]:
    """Keys that a saved state should have like one's own and does not, table by table."""
    for path in ((), ("flight",), ("flight", "state"), ("substrate",)):
        theirs, own = saved, mine
        for key in path:
            theirs, own = theirs[key], own[key]
        if own.keys() - theirs.keys():
            yield own.keys() - theirs.keys()


def _check_settings(training: Any, policy: Any) -> None:
    if not isinstance(training, Training):
        raise SettingError(
            f"The first argument must be a lrpilot.Training, got {type(training).__name__}. "
            "Bind model, optimizer, loss and data with Training(...) first."
        )
    if not isinstance(policy, Policy):
        name = policy.__name__ if isinstance(policy, type) else ""
        hint = f" Call it: {name}(...) instead of {name}." if name else ""
        raise SettingError(f"policy must be a lrpilot policy such as Schedule('cosine', lr=0.1), got {policy!r}.{hint}")
    if not policy.trains:
        raise SettingError(
            f"A pilot needs a policy that trains, got the finder {policy.name}. Use find_lr, and fly a schedule with "
            "what it finds."
        )
    if policy.needs_lines:
        require_lines_possible(training.raw_optimizer)


def _logged(on_event: OnEvent | None) -> OnEvent:
    """Events go to the log too."""

    def emit(event: Event) -> None:
        ordinary = logging.DEBUG if event.phase == "begin" else logging.INFO
        logger.log(logging.WARNING if event.alarms else ordinary, event.message)
        if on_event is not None:
            on_event(event)

    return emit


def _watch_steps(driver: Driver) -> None:
    """Tell a driver of the optimizer's kept steps, without keeping it alive."""
    weak = weakref.ref(driver)

    def before() -> None:
        alive = weak()
        if alive is not None and not alive.training.probing:
            alive.before_step()

    def after(skipped: bool) -> None:
        alive = weak()
        if alive is not None and not alive.training.probing and not skipped:
            alive.step_taken()

    optimizer = driver.training.raw_optimizer
    watch = StepWatch(optimizer, optimizers_inside(optimizer, driver.training.model), before, after)
    weakref.finalize(driver, watch.remove)
