"""The optimizer step of a training without a ``step_fn``, as most loops take it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lrpilot.core.settings import is_positive, is_whole
from lrpilot.errors import SettingError, StepError
from lrpilot.training.bound.groups import MicroBatches

PRECISIONS = (torch.bfloat16, torch.float16)


class OwnStep:
    """Accumulates, scales, clips and steps.

    The settings are said at :class:`lrpilot.Training`.

    Raises:
        SettingError: one is out of its range, or does not go with ``step_fn`` or another one.
    """

    def __init__(
        self,
        *,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        autocast: torch.dtype | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.autocast = autocast
        self.scaler = scaler
        self._check()

    def _check(self) -> None:
        if not is_whole(self.accumulate, 1):
            raise SettingError(
                f"accumulate must be an int >= 1, got {self.accumulate!r}. Give the micro-batches of an optimizer step."
            )
        for name, limit in (("clip_norm", self.clip_norm), ("clip_value", self.clip_value)):
            if limit is not None and not is_positive(limit):
                raise SettingError(f"{name} must be a finite number > 0, got {limit!r}. Use None for no clipping.")
        if self.clip_norm is not None and self.clip_value is not None:
            raise SettingError(
                f"Gradients are clipped by norm or by value, got clip_norm={self.clip_norm} and "
                f"clip_value={self.clip_value}. Give one, or a step_fn that does both as your loop does."
            )
        if self.autocast is not None and self.autocast not in PRECISIONS:
            raise SettingError(
                f"autocast must be torch.bfloat16 or torch.float16, got {self.autocast!r}. Use None for none."
            )
        if self.scaler is not None and not isinstance(self.scaler, torch.amp.GradScaler):
            raise SettingError(
                f"scaler must be a torch.amp.GradScaler, got {type(self.scaler).__name__}. Hand over your loop's own."
            )

    def refuse_beside_step_fn(self) -> None:
        """Raise where a setting was given although a ``step_fn`` takes the whole step.

        Raises:
            SettingError: one was.
        """
        given = {name: value for name, value in vars(self).items() if value != STANDARD.get(name)}
        if given:
            said = ", ".join(f"{name}={value}" for name, value in given.items())
            raise SettingError(
                f"step_fn takes the whole step, got {said} beside it, which would not be used. Leave step_fn away, or "
                f"let it do that itself{_hint(given)}."
            )

    def precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """Where a loss is computed: under autocast, if that was asked for."""
        return nullcontext() if self.autocast is None else torch.autocast(device.type, dtype=self.autocast)

    def group(self, batch: Any) -> Sequence[Any]:
        """The micro-batches of one step.

        Raises:
            StepError: ``batch`` is a single one where a step takes several.
        """
        if isinstance(batch, MicroBatches):
            return batch
        if self.accumulate > 1:
            raise StepError(
                f"With accumulate={self.accumulate} training.step takes a group of micro-batches, got one "
                f"{type(batch).__name__}. Loop over groups: `for group in training.grouped(loader): "
                "training.step(group)`."
            )
        return [batch]

    def take(
        self,
        model: nn.Module,
        optimizer: Any,
        losses: Sequence[Callable[[], Tensor]],
        exchange: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Take one step.

        Args:
            model: that is trained.
            optimizer: of it, as the user handed it over.
            losses: each computes the loss of a micro-batch.
            exchange: makes the gradients those of all ranks, where the model does not.

        Returns:
            The detached mean of the losses.
        """
        optimizer.zero_grad(set_to_none=True)
        shares = []
        for number, loss in enumerate(losses, start=1):
            # As loops of several ranks do: gradients are exchanged by the last backward pass alone.
            alone = number < len(losses)
            with _without_exchange(model) if alone else nullcontext():
                share = loss() if len(losses) == 1 else loss() / len(losses)
                (share if self.scaler is None else self.scaler.scale(share)).backward()
            shares.append(share.detach())
        exchange()
        self._clip(model, optimizer)
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
        return added(shares)

    def _clip(self, model: nn.Module, optimizer: Any) -> None:
        clips = self.clip_norm is not None or self.clip_value is not None
        if clips and self.scaler is not None:
            self.scaler.unscale_(optimizer)
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(model.parameters(), self.clip_value)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)


def _without_exchange(model: Any) -> AbstractContextManager[Any]:
    """Where gradients stay with their rank; nothing where the model is not distributed."""
    own: AbstractContextManager[Any] = model.no_sync() if hasattr(model, "no_sync") else nullcontext()
    return own


STANDARD = vars(OwnStep())


def added(shares: Sequence[Tensor]) -> Tensor:
    """The sum, in this order: as a loop adds up the losses of its micro-batches, bit for bit."""
    total = shares[0]
    for share in shares[1:]:
        total = total + share
    return total


def _hint(given: dict[str, Any]) -> str:
    return " and pass state={'scaler': scaler}" if "scaler" in given else ""
