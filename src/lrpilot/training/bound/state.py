"""The whole state of a training: what it consists of, copied and put back, after a probe or in another process."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrpilot.core.codec import plain_number
from lrpilot.errors import StateError
from lrpilot.training.bound.average import FlownAverage, require_average_fits
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.optimizers import optimizer_layers
from lrpilot.training.restore.held import Held
from lrpilot.training.restore.module_state import buffer_tree, put_buffers
from lrpilot.training.restore.rng import HeldGenerators, get_rng, set_rng
from lrpilot.training.restore.step_state import (
    Gradients,
    ScalerStages,
    optimizer_tree,
    put_optimizer,
    stepped_parameters,
)
from lrpilot.training.restore.tree import alias_tree, clone_tree, map_leaves, tensors_of, write_tree
from lrpilot.training.restore.walk import Surroundings, held_by
from lrpilot.training.torch_private import parameters_of


class _Parts:
    """What the state of a training belongs to, as it is now; found once for whatever is done with it.

    Attributes:
        modules: every module of the model and of modules among the extra state, by a unique name.
        optimizers: every optimizer that has state of its own, by name.
        parameters: every parameter once.

    Args:
        training: that they are parts of.
    """

    def __init__(self, training: BoundTraining) -> None:
        training.reshard()
        self._training = training
        self.modules = _modules_of(training)
        self.optimizers = _optimizers_of(training)
        self.parameters = _all_parameters(self.modules.values(), self.optimizers.values())

    def tree(self) -> dict[str, Any]:
        """Weights, buffers and optimizer state, by reference, under plain names."""
        average = self._training.average
        return {
            "parameters": self.parameters,
            "buffers": buffer_tree(self.modules),
            "optimizers": {name: optimizer_tree(optimizer) for name, optimizer in self.optimizers.items()},
            "average": None if average is None else average.tree(),
        }

    @property
    def modules_and_parameters(self) -> list[Any]:
        """Modules, and the parameters that may carry attributes (a master copy): plain ones, others are torch's."""
        return [*self.modules.values(), *(p for p in self.parameters if type(p) is nn.Parameter)]

    @property
    def optimizers_and_wrappers(self) -> list[Any]:
        """Every optimizer, and what it was handed over in, each once."""
        layers = [*optimizer_layers(self._training.optimizer), *self.optimizers.values()]
        return list({id(layer): layer for layer in layers}.values())

    def held(self, owners: Iterable[Any], device: torch.device | None) -> Held:
        """What some of them hold in attributes, beside what is in the tree."""
        known = [*self.modules_and_parameters, *self.optimizers_and_wrappers, *tensors_of([self.tree()])]
        roots = [self._training.model, self._training.optimizer]
        return Held(owners, Surroundings(known, roots=roots), device=device)


def live_tree(training: BoundTraining) -> dict[str, Any]:
    """Weights, buffers and optimizer state, extra modules and optimizers included, by reference, under plain names."""
    return _Parts(training).tree()


def _write_live(training: BoundTraining, saved: dict[str, Any], identity: dict[str, Any] | None = None) -> None:
    """Put a clone of :func:`live_tree` back into the live objects."""
    parts = _Parts(training)
    written = write_tree(parts.tree(), saved, identity)
    put_buffers(parts.modules, written["buffers"])
    for name, optimizer in parts.optimizers.items():
        put_optimizer(optimizer, written["optimizers"][name])
    average = written.get("average")
    # Begun in a probe: gone; landed in one: there again, with the very tensors:
    # test_average.py::test_a_trial_leaves_no_trace_whatever_it_does_to_the_average
    training.average = None if average is None else FlownAverage.from_tree(training.raw_optimizer, average)


def _modules_of(training: BoundTraining) -> dict[str, nn.Module]:
    roots = {"model": training.model} | {
        f"state.{k}": v for k, v in training.extra_state.items() if isinstance(v, nn.Module)
    }
    return {f"{root}.{name}": m for root, module in roots.items() for name, m in module.named_modules()}


def _all_parameters(modules: Iterable[nn.Module], optimizers: Iterable[Optimizer]) -> list[Tensor]:
    """Every parameter once: of the modules, then those only the optimizers know (a criterion's, say)."""
    # Frozen ones too, for a step may write them:
    # test_snapshot.py::test_gradients_of_parameters_that_the_optimizer_does_not_step
    candidates: list[Tensor] = [p for m in modules for p in parameters_of(m).values() if p is not None]
    for optimizer in optimizers:
        # A criterion's that nobody named, or another optimizer's: test_continuation.py::test_extra_state_goes_back
        candidates += stepped_parameters(optimizer)
    return list({id(p): p for p in candidates}.values())


def _optimizers_of(training: BoundTraining) -> dict[str, Optimizer]:
    """Every optimizer that has state of its own: the training's, those of the extra state, and any that these hold.

    A wrapper may keep state beside that of the optimizer inside, and one may step with several:
    test_continuation.py::test_a_probe_leaves_no_trace
    """
    found = {"optimizer": training.raw_optimizer}
    owners = {"wrapper": training.optimizer, "optimizer": training.raw_optimizer}
    owners |= {f"state.{k}": v for k, v in training.extra_state.items() if isinstance(v, Optimizer)}
    around = Surroundings(home=[training.model, training.raw_optimizer], roots=[training.model])
    for name, owner in owners.items():
        held = held_by(owner, around)
        found |= {f"{name}{path}": thing for path, thing in [("", owner), *held] if isinstance(thing, Optimizer)}
    return _each_once(found)


def _each_once(optimizers: dict[str, Optimizer]) -> dict[str, Optimizer]:
    """Those that share their state with an earlier one left out: Accelerate's wrapper has that of the one inside."""
    known: dict[int, str] = {}
    for name, optimizer in optimizers.items():
        known.setdefault(id(getattr(optimizer, "state", optimizer)), name)
    return {name: optimizers[name] for name in known.values()}


def held_by_modules(training: BoundTraining, device: torch.device | None = None) -> Held:
    """What the modules hold in attributes."""
    parts = _Parts(training)
    return parts.held(parts.modules_and_parameters, device)


def clear_gradients(training: BoundTraining) -> None:
    """Forget the gradients of every parameter, as a probe must before its first step.

    Also of those that the optimizer does not step: backward would add to them in place
    (test_snapshot.py::test_gradients_of_parameters_that_the_optimizer_does_not_step).
    """
    for parameter in _Parts(training).parameters:
        parameter.grad = None


class ExtraState:
    """A copy of the user's extra state that is neither module nor optimizer (scaler, scheduler, ...)."""

    def __init__(self, training: BoundTraining) -> None:
        self._objects = {
            name: thing for name, thing in training.extra_state.items() if not isinstance(thing, (nn.Module, Optimizer))
        }
        self.saved = {name: _get_state(thing) for name, thing in self._objects.items()}

    def restore(self, saved: dict[str, Any] | None = None) -> None:
        """Load the copy (or ``saved``) back."""
        # Scaler, EMA, scheduler, the user's own generators: test_continuation.py::test_extra_state_goes_back
        for name, state in (self.saved if saved is None else saved).items():
            _set_state(self._objects[name], state)


def _get_state(thing: Any) -> Any:
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    # Copied, for a state_dict may hand out live tensors: test_snapshot.py::test_extra_state_is_restored_and_not_aliased
    return copy.deepcopy(thing.state_dict())


def _set_state(thing: Any, state: Any) -> None:
    if isinstance(thing, torch.Generator):
        thing.set_state(state)
    else:
        # And copied again, for load_state_dict may keep what it is given (same test).
        thing.load_state_dict(copy.deepcopy(state))


class SavedState:
    """A kept rollback: parameters, buffers, optimizer and extra state as plain data, and what optimizers hold beside.

    Attributes:
        saved: the plain data.
        held: what optimizers and their wrappers hold in attributes; None where it comes from a checkpoint, which has
            no such thing.
    """

    def __init__(self, saved: dict[str, Any], held: Held | None = None) -> None:
        self.saved = saved
        self.held = held

    @classmethod
    def take(cls, training: BoundTraining, device: torch.device | None = None) -> "SavedState":
        """Copy the present state."""
        # NumPy's numbers, which torch.load(weights_only=True) refuses, may be settings of an optimizer:
        # test_torch_ways.py::test_a_fit_with_an_optimizer_of_numpy_numbers_resumes
        parts = _Parts(training)
        tree = map_leaves(clone_tree(parts.tree(), device), lambda t: t, plain_number)
        saved = {"tree": tree, "extra": ExtraState(training).saved}
        return cls(saved, parts.held(parts.optimizers_and_wrappers, device))

    def require_fits(self, training: BoundTraining) -> None:
        """Raise unless this is a state of the same model, optimizers and extra state. Nothing is written.

        Raises:
            StateError: it is not.
        """
        try:
            saved = _layout(self.saved["tree"], self.saved["extra"])
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"A saved state must be one that lrpilot wrote, but it lacks {error}.") from error
        here = _layout(live_tree(training), ExtraState(training).saved)
        for part in saved | here:
            if saved.get(part) != here.get(part):
                raise StateError(
                    f"A saved state must be of the same training, but {part} was {saved.get(part)} and is "
                    f"{here.get(part)} here. Build the model, optimizer and state as when it was saved."
                )
        require_average_fits(training.raw_optimizer, self.saved["tree"].get("average"))

    def rewind(self, training: BoundTraining) -> None:
        """Put it back in place. RNG, data order, gradients, train/eval modes and lrs do not move."""
        # The lr is the flight's to write, not the past's: copied before, for a tensor lr is written in place.
        optimizers = _optimizers_of(training).values()
        groups = clone_tree([[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers])
        # In place, so that compiled steps and other holders of a tensor go on with it. Without identities: the
        # tensors of now are as good as those of then, and after a resume the only ones.
        _write_live(training, self.saved["tree"])
        # test_saved_state.py::test_extra_state_goes_back_with_it
        ExtraState(training).restore(self.saved["extra"])
        # test_saved_state.py::test_slow_weights_that_a_wrapper_holds_go_back_with_it
        if self.held is not None:
            self.held.restore()
        # test_saved_state.py::test_it_moves_weights_and_optimizer_and_nothing_else
        for optimizer, lrs in zip(optimizers, groups, strict=True):
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = write_tree(group["lr"], lr)


def _layout(tree: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """What two states must have in common for one to be written over the other, by its name in errors."""
    shapes = {f"the shape of parameter {i}": tuple(p.shape) for i, p in enumerate(tree["parameters"])}
    groups = {f"the number of param groups of {name}": len(o["groups"]) for name, o in tree["optimizers"].items()}
    return shapes | groups | {f"the type of state[{name!r}]": type(state).__name__ for name, state in extra.items()}


class Snapshot:
    """All state at one moment. Use :meth:`restore` as often as needed.

    Memory: one copy of parameters, buffers and optimizer state on ``device`` (None: where each lives).
    Gradients are kept by reference, for the steps of a Trial make their own.
    """

    def __init__(self, training: BoundTraining, device: torch.device | None = None) -> None:
        self._training = training
        self._rng = get_rng()
        parts = _Parts(training)
        tree = parts.tree()
        self._identity = alias_tree(tree)
        self._saved = clone_tree(tree, device)
        self._gradients = Gradients(tree["parameters"])
        owners = [*parts.modules_and_parameters, *parts.optimizers_and_wrappers]
        self._held = parts.held(owners, device)
        self._noise = HeldGenerators([training.loss_fn, training.step_fn], apart=owners, through_code=True)
        self._extra = ExtraState(training)
        self._scalers = [ScalerStages(s) for s in training.extra_state.values() if isinstance(s, torch.amp.GradScaler)]

    def restore(self) -> None:
        """Put everything back: values, identities, absences and random generators."""
        # Parameters, buffers, optimizer state and groups, those of an EMA or a second optimizer too:
        # test_continuation.py::test_a_probe_leaves_no_trace. In place, since captured graphs hold them:
        # test_snapshot.py::test_a_tensor_that_a_step_replaced_is_the_same_object_again
        _write_live(self._training, self._saved, self._identity)
        # test_continuation.py::test_a_probe_leaves_no_trace, identity included
        self._gradients.restore()
        # Train/eval modes
        # (test_forwards.py::test_a_model_handed_over_in_eval_mode_is_trained_in_train_mode_and_handed_back) and what
        # modules, optimizers and their wrappers keep in attributes (test_continuation.py::test_a_probe_leaves_no_trace)
        self._held.restore()
        # Generators in the reach of the user's functions: test_snapshot.py::test_generators_that_a_loss_draws_from
        self._noise.set(self._noise.start)
        try:
            # The user's own code: it may raise, and may draw random numbers.
            self._extra.restore()
        finally:
            # After the scaler's own state, which knows nothing of how far it had come:
            # test_snapshot.py::test_a_scaler_goes_back_wherever_a_probe_raised
            for scaler in self._scalers:
                scaler.restore()
            # Last, and in any case: test_snapshot.py::test_extra_state_that_fails_to_load_does_not_keep_the_generators
            set_rng(self._rng)
