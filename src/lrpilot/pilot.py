"""Pilot: flies a policy in the user's own training loop, as a torch learning rate scheduler."""

import logging
import weakref
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrpilot.core.cost import Cost
from lrpilot.core.history import Event, History, OnEvent
from lrpilot.core.policy import Policy
from lrpilot.errors import SettingError, StateError, StepError
from lrpilot.flight.flight import Affords, Flight, Horizon
from lrpilot.training.bound.checks import check_loss, require_lines_possible
from lrpilot.training.bound.optimizers import was_skipped
from lrpilot.training.bound.saved_state import SavedState
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.training import Training

logger = logging.getLogger("lrpilot")

# While a search is due and has not run, steps are taken at this share of the lr: they move nothing.
NEGLIGIBLE = 1e-9
STATE_VERSION = 1
# Calls of step() without a first optimizer step after which something is wrong.
IDLE_CALLS = 200


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

    def __init__(
        self,
        training: Training,
        policy: Policy,
        total_steps: int | None = None,
        on_event: OnEvent | None = None,
        *,
        _horizon: Horizon | None = None,
        _affords: Affords | None = None,
        _continues: bool = False,
    ) -> None:
        _check_settings(training, policy, total_steps)
        self.training = training
        self.policy = policy
        # Not named total_steps: Accelerate would stop stepping a scheduler that has such an attribute.
        self._horizon_steps = total_steps
        self._substrate = LiveSubstrate(training)
        self._lrs = self._substrate.lrs
        self._continues = _continues
        self._flight = Flight(
            policy,
            self._substrate,
            lr=self._lrs.reference,
            horizon=_horizon or self._steps_left,
            affords=_affords,
            continues=_continues,
            on_event=_logged(on_event),
        )
        self._taken = 0  # kept optimizer steps seen by the hook
        self._seen = 0  # of these, accounted for by step()
        self._idle_calls = 0
        self._share = 1.0  # of the lr that the flight asks for
        self._constructed = False
        self._hook(training.raw_optimizer)
        super().__init__(training.raw_optimizer)
        self._constructed = True

    # ------------------------------------------------------------- the loop

    def step(self, loss: Tensor | float | None = None) -> None:
        """Account for the optimizer step just taken and set the lr of the next one.

        Args:
            loss: the training loss of that step; kept detached, without a device sync. Without it, a
                policy that needs a loss gets the held-out loss, and its cost is charged.

        Raises:
            LossError: ``loss`` is a tensor of several elements.
            StepError: called between ``scaler.step`` and ``scaler.update``, or after several optimizer
                steps at once.
            SchedulerConflictError: somebody else wrote the lr.
        """
        if not self._constructed:
            self._write_lr()
        elif self._account(loss):
            self.start()

    def _account(self, loss: Tensor | float | None) -> bool:
        """Count the optimizer step just taken and set the next lr; False if there was none."""
        if self._taken == self._seen:
            self._note_idle_call()
            return False
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                check_loss(loss, source="The loop", needs_grad=False)
            # Read now where that is cheap. Else keep a copy: a loop may write the next loss into the same tensor.
            loss = loss.item() if self._substrate.reads_are_cheap else loss.detach().clone()
        self.training.require_scaler_idle()
        steps, self._seen = self._taken - self._seen, self._taken
        if steps > 1:
            raise StepError(
                f"pilot.step() must follow every optimizer step, got {steps} steps since the last call. Call it once "
                'per optimizer step (in Lightning: "interval": "step").'
            )
        self._lrs.check_unchanged()
        self._flight.account(loss, share=self._share)
        self._write_lr()
        return True

    def _note_idle_call(self) -> None:
        """Say it once if this pilot's optimizer is never stepped: accumulation does not last that long."""
        self._idle_calls += 1
        if self._taken == 0 and self._idle_calls == IDLE_CALLS:
            logger.warning(
                "pilot.step() was called %d times and the optimizer given to Training was never stepped. "
                "Give Training the optimizer that your loop steps.",
                IDLE_CALLS,
            )

    def start(self) -> None:
        """Run a search that is due now instead of inside the first :meth:`step`.

        Without this the first optimizer step of a policy that begins with a search runs at a negligible
        lr. After Ctrl-C in a search, or a resume into one, it finishes that search.
        """
        if not self._flight.searching:
            return
        try:
            self._flight.start()
        finally:
            self._substrate.forget_snapshot()
            self._write_lr()

    # -------------------------------------------------------------- reading

    @property
    def history(self) -> History:
        """The lr and loss of every kept step, and every measurement with what it saw."""
        return self._flight.history

    @property
    def cost(self) -> Cost:
        """Every forward and backward beyond the user's own steps, and the seconds they took."""
        return self._substrate.cost

    @property
    def done(self) -> bool:
        """Whether the policy has nothing more to decide; the lr is held from then on."""
        return self._flight.done

    @property
    def result(self) -> Any:
        """What the policy's ``Done`` carried; None before, and for policies that only train."""
        return self._flight.result

    def get_last_lr(self) -> list[float | Tensor]:
        """The group lrs now set; tensors are clones."""
        return self._lrs.copies()

    @property
    def _last_lr(self) -> list[float | Tensor]:  # type: ignore[override]
        """What schedulers that compose others read."""
        return self._lrs.copies()

    def get_lr(self) -> list[float | Tensor]:
        """The same as :meth:`get_last_lr`."""
        return self._lrs.copies()

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Dicts, lists, numbers and tensors, as ``torch.load(weights_only=True)`` accepts them.

        Live marks are in it. Save it with the model's and the optimizer's.

        Raises:
            StepError: an optimizer step has been taken that :meth:`step` does not know of yet.
        """
        if self._taken != self._seen:
            raise StepError(
                "A pilot is saved after pilot.step(), got an optimizer step that it has not been told of. "
                "Move pilot.state_dict() below pilot.step(loss)."
            )
        self._lrs.meet_new_groups()
        state = {
            "version": STATE_VERSION,
            "total_steps": self._horizon_steps,
            "proven": self._substrate.proven,
            "flight": self._flight.state_dict(),
            "ratios": list(self._lrs.ratios),
            "line": self._substrate.line_state(),
            "marks": {key: mark.saved for key, mark in self._substrate.marks.items()},
        }
        if self._continues:
            state["ends"] = self._substrate.ends.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a saved flight; model and optimizer must be loaded too. May write an lr, never probes.

        If a search was due when the state was saved, :meth:`start` (or the next :meth:`step`) runs it.

        Raises:
            StateError: the state is damaged, or of another version, policy, model or optimizer. Nothing is
                written then.
        """
        self._require_ours(state_dict)
        self._flight.load_state_dict(state_dict["flight"])
        self._lrs.meet_new_groups()
        self._lrs.ratios = list(state_dict["ratios"])
        self._substrate.marks = {key: SavedState(saved) for key, saved in state_dict["marks"].items()}
        self._substrate.load_line_state(state_dict["line"])
        if self._continues:
            self._substrate.ends.load_state_dict(state_dict["ends"])
        self._substrate.proven = list(state_dict["proven"])
        self._seen = self._taken
        self.last_epoch = self._flight.step
        self._step_count = self._flight.step + 1
        self._write_lr()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Pilot":
        """Refused: a copy would watch an optimizer that nobody steps."""
        raise StateError(
            "A pilot cannot be copied or pickled, for it watches one live optimizer. Save pilot.state_dict(), and load "
            "it into a pilot constructed on the copy's own training."
        )

    def __reduce__(self) -> Any:
        """Refused, as copying is."""
        return self.__deepcopy__({})

    # -------------------------------------------------------------- inside

    def _require_ours(self, saved: Any) -> None:
        version = saved.get("version") if isinstance(saved, dict) else None
        if version != STATE_VERSION:
            raise StateError(
                f"A pilot state must have version {STATE_VERSION}, got {version!r}. "
                "Resume with the lrpilot that wrote it."
            )
        if ("ends" in saved) != self._continues:
            raise StateError(
                f"A fit must be resumed with its own continue_trials, saved was {not self._continues}, got "
                f"{self._continues}: its policy was told so when it began. Pass the saved one."
            )
        self._seen = self._taken
        mine = self.state_dict()
        missing = (mine.keys() - saved.keys()) or (mine["flight"].keys() - saved["flight"].keys())
        if missing:
            raise StateError(f"A pilot state must be whole, got one without {', '.join(sorted(missing))}.")
        if saved["total_steps"] != self._horizon_steps:
            raise StateError(
                f"A pilot state must be resumed with its own total_steps, saved was {saved['total_steps']}, got "
                f"{self._horizon_steps}: its schedule was planned for that length. Construct the pilot with it."
            )
        if len(saved["ratios"]) != len(mine["ratios"]):
            raise StateError(
                f"A pilot state must be resumed on as many param groups as it was saved on, saved were "
                f"{len(saved['ratios'])}, got {len(mine['ratios'])}."
            )
        ends = saved["ends"]["held"].values() if self._continues else ()
        for kept in [*saved["marks"].values(), *(end["state"] for end in ends)]:
            SavedState(kept).require_fits(self.training)
        shapes = [p.shape for p in self.training.trainable_parameters]
        if saved["line"] is not None and [p.shape for p in saved["line"]] != shapes:
            raise StateError("A pilot state must be resumed on the model it was saved on, got other parameter shapes.")

    def _steps_left(self, step: int) -> int | None:
        return None if self._horizon_steps is None else max(0, self._horizon_steps - step)

    def _write_lr(self) -> None:
        lr = self._flight.lr
        unsearched = self._flight.searching and self._flight.step == 0
        self._share = NEGLIGIBLE if unsearched else 1.0
        self._lrs.set(lr, share=self._share)
        momentum = self._flight.momentum
        if momentum is not None:
            self._lrs.set_momentum(momentum)
        self.last_epoch = self._flight.step
        self._step_count = self._flight.step + 1

    def _hook(self, optimizer: Optimizer) -> None:
        """Watch the optimizer's steps, without keeping this pilot alive."""
        pilot = weakref.ref(self)

        def before(*_: Any) -> None:
            alive = pilot()
            if alive is not None and not alive.training.probing:
                alive._substrate.before_kept_step()

        def after(stepped: Optimizer, *_: Any) -> None:
            alive = pilot()
            if alive is not None and not alive.training.probing and not was_skipped(stepped):
                alive._taken += 1
                alive._substrate.after_kept_step()

        handles = [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
        for handle in handles:
            weakref.finalize(self, handle.remove)


def _check_settings(training: Any, policy: Any, total_steps: int | None) -> None:
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
    if total_steps is not None and total_steps < 1:
        raise SettingError(f"total_steps must be >= 1, got {total_steps}. Use None for an open end.")


def _logged(on_event: OnEvent | None) -> OnEvent:
    def emit(event: Event) -> None:
        ordinary = logging.DEBUG if event.phase == "begin" else logging.INFO
        logger.log(logging.WARNING if event.alarms else ordinary, event.message)
        if on_event is not None:
            on_event(event)

    return emit
