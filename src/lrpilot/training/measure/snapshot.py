"""Everything that training changes, gathered in one tree; snapshots and marks of it.

A *snapshot* brackets a Trial: it holds all state, random generators and gradients included, and puts it
back exactly. A *mark* is a kept rollback: weights, buffers, optimizer and extra state only, as plain data,
because time moves on for the rest.
"""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrpilot.errors import StateError
from lrpilot.training.bound.param_groups import optimizer_layers
from lrpilot.training.restore.module_state import PlainAttributes, put_buffers
from lrpilot.training.restore.rng import get_rng, set_rng
from lrpilot.training.restore.tree import alias_tree, clone_tree, write_tree

if TYPE_CHECKING:
    from lrpilot.training.bound.bound_training import Training


def live_tree(training: "Training") -> dict[str, Any]:
    """Weights, buffers and optimizer state, extra modules and optimizers included, by reference, under plain names."""
    modules = named_modules(training)
    return {
        "parameters": all_parameters(training),
        "buffers": {name: dict(module._buffers) for name, module in modules.items() if module._buffers},
        "optimizers": {name: _optimizer_tree(optimizer) for name, optimizer in _optimizers(training).items()},
    }


def write_live(training: "Training", saved: dict[str, Any], identity: dict[str, Any] | None = None) -> None:
    """Put a clone of :func:`live_tree` back into the live objects."""
    written = write_tree(live_tree(training), saved, identity)
    for name, module in named_modules(training).items():
        put_buffers(module, written["buffers"].get(name, {}))
    for name, optimizer in _optimizers(training).items():
        _put_optimizer(optimizer, written["optimizers"][name])


def named_modules(training: "Training") -> dict[str, nn.Module]:
    """Every module of the model and of modules among the extra state, by a unique name."""
    roots = {"model": training.model} | {
        f"state.{k}": v for k, v in training.extra_state.items() if isinstance(v, nn.Module)
    }
    return {f"{root}.{name}": m for root, module in roots.items() for name, m in module.named_modules()}


def all_parameters(training: "Training") -> list[Tensor]:
    """Every parameter once: of the modules, then those only the optimizers know (a criterion's, say)."""
    modules = named_modules(training).values()
    candidates: list[Tensor] = [p for m in modules for p in m._parameters.values() if p is not None]
    for optimizer in _optimizers(training).values():
        candidates += _optimizer_params(optimizer)
    return list({id(p): p for p in candidates}.values())


def _optimizers(training: "Training") -> dict[str, Optimizer]:
    extras = {f"state.{k}": v for k, v in training.extra_state.items() if isinstance(v, Optimizer)}
    # A wrapper may keep state of its own (Lookahead's slow weights) beside that of the optimizer inside.
    known = {id(training.raw_optimizer.state)}
    wrappers = {
        f"wrapper.{i}": layer
        for i, layer in enumerate(optimizer_layers(training.optimizer)[:-1])
        if id(vars(layer).get("state", training.raw_optimizer.state)) not in known
    }
    return {"optimizer": training.raw_optimizer} | wrappers | extras


def _optimizer_params(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _optimizer_tree(optimizer: Optimizer) -> dict[str, Any]:
    params = enumerate(_optimizer_params(optimizer))
    state: dict[Any, Any] = {i: optimizer.state[p] for i, p in params if p in optimizer.state}
    # As in torch's own state_dict: what an optimizer keeps of no one parameter goes by its own key.
    state |= {key: kept for key, kept in optimizer.state.items() if not isinstance(key, Tensor)}
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return {"state": state, "groups": groups}


def _put_optimizer(optimizer: Optimizer, tree: dict[str, Any]) -> None:
    params: dict[Any, Any] = dict(enumerate(_optimizer_params(optimizer)))
    state = {params.get(key, key): kept for key, kept in tree["state"].items()}
    ours = {id(p) for p in params.values()}
    for key in [k for k in optimizer.state if k not in state and (id(k) in ours or not isinstance(k, Tensor))]:
        # Born in the Trial: a zeroed momentum buffer is not an absent one (dampening).
        del optimizer.state[key]
    optimizer.state.update(state)
    for group, saved in zip(optimizer.param_groups, tree["groups"], strict=True):
        for gone in [k for k in group if k not in saved and k != "params"]:
            del group[gone]
        group.update(saved)


def _layout(tree: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """What two states must have in common for one to be written over the other, by its name in errors."""
    shapes = {f"the shape of parameter {i}": tuple(p.shape) for i, p in enumerate(tree["parameters"])}
    groups = {f"the number of param groups of {name}": len(o["groups"]) for name, o in tree["optimizers"].items()}
    return shapes | groups | {f"the type of state[{name!r}]": type(state).__name__ for name, state in extra.items()}


class ExtraState:
    """A copy of the user's extra state that is neither module nor optimizer (scaler, scheduler, ...)."""

    def __init__(self, training: "Training") -> None:
        self._objects = {
            name: thing for name, thing in training.extra_state.items() if not isinstance(thing, (nn.Module, Optimizer))
        }
        self.saved = {name: _get_state(thing) for name, thing in self._objects.items()}

    def restore(self, saved: dict[str, Any] | None = None) -> None:
        """Load the copy (or ``saved``) back."""
        for name, state in (self.saved if saved is None else saved).items():
            _set_state(self._objects[name], state)


def _get_state(thing: Any) -> Any:
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    return copy.deepcopy(thing.state_dict())


def _set_state(thing: Any, state: Any) -> None:
    if isinstance(thing, torch.Generator):
        thing.set_state(state)
    else:
        thing.load_state_dict(copy.deepcopy(state))


class Snapshot:
    """All state at one moment. Use :meth:`restore` as often as needed.

    Memory: one copy of parameters, buffers and optimizer state on ``device`` (None: where each lives).
    Gradients are kept by reference, for the steps of a Trial make their own.
    """

    def __init__(self, training: "Training", device: torch.device | None = None) -> None:
        self._training = training
        self._rng = get_rng()
        tree = live_tree(training)
        self._identity = alias_tree(tree)
        self._saved = clone_tree(tree, device)
        self._gradients = _Gradients(tree["parameters"])
        self._attributes = [PlainAttributes(module) for module in named_modules(training).values()]
        self._extra = ExtraState(training)
        self._scalers = [_ScalerStages(s) for s in training.extra_state.values() if isinstance(s, torch.amp.GradScaler)]

    def restore(self) -> None:
        """Put everything back: values, identities, absences and random generators."""
        write_live(self._training, self._saved, self._identity)
        self._gradients.restore()
        for attributes in self._attributes:
            attributes.restore()
        try:
            self._extra.restore()
        finally:
            for scaler in self._scalers:
                scaler.restore()
            set_rng(self._rng)


class _ScalerStages:
    """How far a GradScaler has come with each optimizer: not in its state_dict, and left half way by an exception."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self._scaler = scaler
        self._saved = alias_tree(dict(scaler._per_optimizer_states)) if scaler.is_enabled() else {}

    def restore(self) -> None:
        if self._scaler.is_enabled():
            self._scaler._per_optimizer_states.clear()
            self._scaler._per_optimizer_states.update(alias_tree(self._saved))


def clear_gradients(training: "Training") -> None:
    """Forget the gradients of every parameter, as a probe must before its first step.

    Also of those that the optimizer does not step: backward would add to them in place.
    """
    for parameter in all_parameters(training):
        parameter.grad = None


class _Gradients:
    """The ``.grad`` of every parameter, by reference; by value too where it is a view into a bucket."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self._parameters = parameters
        self._grads = [p.grad for p in parameters]
        self._values = [g.detach().clone() if g is not None and _shares_storage(g) else None for g in self._grads]

    def restore(self) -> None:
        with torch.no_grad():
            for parameter, grad, value in zip(self._parameters, self._grads, self._values, strict=True):
                if grad is not None and value is not None:
                    grad.copy_(value)
                if parameter.grad is not grad:
                    parameter.grad = grad


def _shares_storage(grad: Tensor) -> bool:
    if grad.layout is not torch.strided:
        return False
    return bool(grad.untyped_storage().nbytes() > grad.numel() * grad.element_size())


class Mark:
    """A kept rollback, as plain data: parameters, buffers, optimizer and extra state."""

    def __init__(self, saved: dict[str, Any]) -> None:
        self.saved = saved

    @classmethod
    def take(cls, training: "Training", device: torch.device | None = None) -> "Mark":
        """Copy the present state."""
        return cls({"tree": clone_tree(live_tree(training), device), "extra": ExtraState(training).saved})

    def require_fits(self, training: "Training") -> None:
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

    def rewind(self, training: "Training") -> None:
        """Put it back in place. RNG, data order, gradients, train/eval modes and lrs do not move."""
        groups = [[g["lr"] for g in o.param_groups] for o in _optimizers(training).values()]
        groups = clone_tree(groups)
        write_live(training, self.saved["tree"])
        ExtraState(training).restore(self.saved["extra"])
        for optimizer, lrs in zip(_optimizers(training).values(), groups, strict=True):
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = write_tree(group["lr"], lr)
