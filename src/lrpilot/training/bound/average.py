"""The average and the base of an averaged flight, beside the parameters of a live optimizer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrpilot.core.actions import Average
from lrpilot.errors import StateError, StepError
from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.restore.step_state import stepped_parameters
from lrpilot.training.torch_private import copy_all, lerp_all, lerped_all, local_of, moved_all

# Elements of the parameters that are moved by one call. What is computed on the way is no larger, so that beside
# the average and the base nothing grows with the model. A processor does all of it while they are in its cache, which
# takes half the time.
TOGETHER = 2**24
IN_CACHE = 2**15


class _Piece(NamedTuple):
    """A parameter, or a part of one, and what belongs to it."""

    parameter: Tensor
    average: Tensor
    base: Tensor


class _Part(NamedTuple):
    """Pieces that are moved together."""

    parameters: list[Tensor]
    average: list[Tensor]
    base: list[Tensor]


class FlownAverage:
    """Average x and base z of an averaged flight, whose parameters stand at y = (1 - mix) z + mix x.

    The arithmetic is said at :class:`~lrpilot.core.actions.Average`. y before a step is computed anew from x and z,
    by the very operations that it was written with, so that the difference to the parameters after the step is the
    step alone: nothing moves where it moved nothing. What a loop does to the weights between steps (a projection)
    counts as part of the next step.

    Memory: x and z, one copy each of the trainable parameters. Of parameters in half precision they are kept in
    single precision: x moves by about 1/t of its distance to z, which 8 bits of a mantissa do not show after the
    first few hundred steps.

    Args:
        optimizer: whose steps are averaged.
        settings: mix and power.
    """

    def __init__(self, optimizer: Optimizer, settings: Average) -> None:
        self.settings = settings
        self._optimizer = optimizer
        self._steps = 0
        self._weights = 0.0
        self._lr_max = 0.0
        self._average: dict[int, Tensor] = {}
        self._base: dict[int, Tensor] = {}
        self._shown: dict[int, Tensor] | None = None
        self.meet_parameters()

    # ---------------------------------------------------------------- flying

    def meet_parameters(self) -> None:
        """Take in parameters that have become trainable since; those that are no longer stay at their average.

        Raises:
            StepError: the average stands in the model.
        """
        if self._shown is not None:
            raise StepError(
                "No optimizer step may be taken while the model holds the average, got one. "
                "Take it outside of `with pilot.averaged():`."
            )
        trainable = _trainable(self._optimizer)
        if trainable.keys() == self._average.keys():
            return
        with torch.no_grad():
            for i in self._average.keys() - trainable.keys():
                # test_average.py::test_a_parameter_frozen_on_the_way_stays_at_its_average
                _own(stepped_parameters(self._optimizer)[i]).copy_(self._average.pop(i))
                del self._base[i]
            for i in trainable.keys() - self._average.keys():
                self._average[i], self._base[i] = _wide(trainable[i], copy=True), _wide(trainable[i], copy=True)

    def step_taken(self, lr: float) -> None:
        """Move on after an optimizer step at reference lr ``lr``: the parameters are at the new y then."""
        self._lr_max = max(self._lr_max, lr)
        weight = (self._steps + 1) ** self.settings.power * self._lr_max**2
        self._steps += 1
        self._weights += weight
        with torch.no_grad():
            for part in self._parts():
                stood = _rounded(lerped_all(part.base, part.average, self.settings.mix), part.parameters)
                moved_all(part.base, [_wide(p) for p in part.parameters], stood)
                lerp_all(part.average, part.base, weight / self._weights)
                copy_all(part.parameters, lerped_all(part.base, part.average, self.settings.mix))

    def carry_on(self, settings: Average) -> None:
        """Go on under another mix and power: the parameters move to the y of that mix."""
        moves = settings.mix != self.settings.mix
        self.settings = settings
        if moves:
            with torch.no_grad():
                for part in self._parts():
                    copy_all(part.parameters, lerped_all(part.base, part.average, settings.mix))

    def land(self) -> None:
        """Make the average the parameters."""
        with torch.no_grad():
            for part in self._parts():
                copy_all(part.parameters, part.average)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the model holds the average; after, the very parameters that it held before."""
        if self._shown is not None:
            yield
            return
        with deferred_interrupt():
            self._shown = self._exchange({})
        try:
            yield
        finally:
            with deferred_interrupt():
                self._exchange(self._shown)
                self._shown = None

    def _exchange(self, kept: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Change places of parameters and average, which costs no memory; of narrower parameters a copy is kept.

        Args:
            kept: copies of the parameters to write back, where there are any.

        Returns:
            Copies of the narrower parameters as they were.
        """
        parameters, copies = stepped_parameters(self._optimizer), {}
        with torch.no_grad():
            for i, average in self._average.items():
                parameter = _own(parameters[i])
                now = parameter.clone()
                parameter.copy_(kept.get(i, average))
                if average.dtype == now.dtype:
                    average.copy_(now)
                else:
                    copies[i] = now
        return copies

    def _parts(self) -> Iterator[_Part]:
        part, room = _Part([], [], []), 0
        for piece in self._pieces():
            if piece.average.numel() > room:
                if part.parameters:
                    yield part
                part, room = _Part([], [], []), IN_CACHE if piece.average.is_cpu else TOGETHER
            for tensors, tensor in zip(part, piece, strict=True):
                tensors.append(tensor)
            room -= piece.average.numel()
        if part.parameters:
            yield part

    def _pieces(self) -> Iterator[_Piece]:
        parameters = stepped_parameters(self._optimizer)
        for i, average in self._average.items():
            whole = _Piece(_own(parameters[i]), average, self._base[i])
            if average.is_cpu and average.numel() > IN_CACHE and all(t.is_contiguous() for t in whole):
                yield from map(_Piece, *(t.view(-1).split(IN_CACHE) for t in whole))
            else:
                yield whole

    # ---------------------------------------------------------------- state

    def tree(self) -> dict[str, Any]:
        """All of it under plain names, tensors by reference; by the parameter's number in the optimizer.

        Raises:
            StepError: the average stands in the model, and the parameters in its place.
        """
        if self._shown is not None:
            raise StepError(
                "The state of a flight cannot be saved, or measured from, while the model holds the average. "
                "Do it outside of `with pilot.averaged():`; the model's own state_dict() is the average's inside."
            )
        return {
            "average": dict(self._average),
            "base": dict(self._base),
            "mix": self.settings.mix,
            "power": self.settings.power,
            "steps": self._steps,
            "weights": self._weights,
            "lr_max": self._lr_max,
        }

    @classmethod
    def from_tree(cls, optimizer: Optimizer, tree: Mapping[str, Any]) -> "FlownAverage":
        """Inverse of :meth:`tree`: the tensors become its own, but for those of another device."""
        made = cls.__new__(cls)
        made._optimizer, made._shown = optimizer, None
        made.settings = Average(tree["mix"], tree["power"])
        made._steps, made._weights, made._lr_max = tree["steps"], tree["weights"], tree["lr_max"]
        parameters = stepped_parameters(optimizer)
        made._average = {i: t.to(parameters[i].device) for i, t in tree["average"].items()}
        made._base = {i: t.to(parameters[i].device) for i, t in tree["base"].items()}
        return made


def require_average_fits(optimizer: Optimizer, tree: Mapping[str, Any] | None) -> None:
    """Raise unless a saved average is one of the parameters of this optimizer.

    Args:
        optimizer: whose steps are averaged.
        tree: as :meth:`FlownAverage.tree` made it; None where none was flown, which fits.

    Raises:
        StateError: it is not.
    """
    shapes = {i: tuple(_own(p).shape) for i, p in enumerate(stepped_parameters(optimizer))}
    for i, average in ({} if tree is None else tree["average"]).items():
        if shapes.get(i) != tuple(average.shape):
            raise StateError(
                f"A saved average must be of the same parameters, but that of parameter {i} was of shape "
                f"{tuple(average.shape)} and is {shapes.get(i)} here. Build model and optimizer as when it was saved."
            )


def _trainable(optimizer: Optimizer) -> dict[int, Tensor]:
    """The parameters that it steps and that require grad, each once, by their number."""
    once = {id(p): (i, p) for i, p in reversed(list(enumerate(stepped_parameters(optimizer)))) if p.requires_grad}
    return dict(sorted(once.values(), key=lambda numbered: numbered[0]))


def _own(parameter: Tensor) -> Tensor:
    """The values of a parameter that this rank has, live."""
    return local_of(parameter.detach())


def _wide(parameter: Tensor, *, copy: bool = False) -> Tensor:
    """The values of a parameter that this rank has, in at least single precision."""
    half = parameter.dtype in (torch.float16, torch.bfloat16)
    return _own(parameter).to(torch.float32 if half else parameter.dtype, copy=copy)


def _rounded(tensors: list[Tensor], parameters: list[Tensor]) -> list[Tensor]:
    """Values as the parameters can hold them."""
    return [t if t.dtype == p.dtype else t.to(p.dtype).to(t.dtype) for t, p in zip(tensors, parameters, strict=True)]
