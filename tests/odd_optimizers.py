"""Optimizers that keep state where a plain one has none, in the forms in which people write them.

Each is made by ``WRAPPERS[name](model)``; those of ``TWO_STEPS`` are stepped as ``sam_step`` does.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


class Lookahead(torch.optim.Optimizer):
    """Slow weights in a list, synchronised every second step; the inner optimizer under a name of its own."""

    def __init__(self, inner: torch.optim.Optimizer, every: int = 2) -> None:
        self.inner, self.every, self.count = inner, every, 0
        self.param_groups, self.defaults = inner.param_groups, inner.defaults
        self.slow: list[Tensor] | None = None

    @property
    def fast(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def state(self) -> Any:
        return self.inner.state

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"inner": self.inner.state_dict(), "slow": self.slow, "count": self.count}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        if self.slow is None:
            self.slow = [p.detach().clone() for p in self.fast]
        self.inner.step()
        self.count += 1
        if self.count % self.every == 0:
            for fast, slow in zip(self.fast, self.slow, strict=True):
                slow.data.lerp_(fast.detach(), 0.5)  # past the counter of writes
                fast.data.copy_(slow)


class SAM(torch.optim.Optimizer):
    """The usual form of sharpness-aware minimisation: two steps, the first one taken back by the second."""

    def __init__(self, params: Any, rho: float = 0.05, **options: Any) -> None:
        super().__init__(params, {"rho": rho, **options})
        self.base_optimizer = torch.optim.SGD(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self) -> None:
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            self.state[p]["old"] = p.detach().clone()
            p.add_(0.05 * p.grad / (p.grad.norm() + 1e-9))
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            p.data = self.state[p]["old"]
        self.base_optimizer.step()
        self.zero_grad()


def sam_step(optimizer: SAM, loss: Callable[[], Tensor]) -> Tensor:
    first = loss()
    first.backward()
    optimizer.first_step()
    loss().backward()
    optimizer.second_step()
    return first


class Pair(torch.optim.Optimizer):
    """Two optimizers in one object: matrices by one, the rest by the other."""

    def __init__(self, model: nn.Module) -> None:
        matrices = [p for p in trainable(model) if p.ndim > 1]
        rest = [p for p in trainable(model) if p.ndim <= 1]
        self.parts = [torch.optim.SGD(matrices, lr=0.05, momentum=0.9), torch.optim.Adam(rest, lr=0.01)]
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.defaults: dict[str, Any] = {}

    @property
    def state(self) -> Any:
        return defaultdict(dict, {p: kept for part in self.parts for p, kept in part.state.items()})

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {str(i): part.state_dict() for i, part in enumerate(self.parts)}

    def step(self, closure: Any = None) -> None:
        for part in self.parts:
            part.step()


class MasterWeights(torch.optim.SGD):
    """Steps a copy in double precision, kept in a dict by parameter, and writes it into the weights."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.masters: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                master = self.masters.setdefault(p, p.detach().double())
                master.sub_(group["lr"] * p.grad.double())
                p.copy_(master)


class MasterOnParameter(torch.optim.SGD):
    """The same, the copy being an attribute of the parameter."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                if not hasattr(p, "master"):
                    p.master = p.detach().double()
                p.master.sub_(group["lr"] * p.grad.double())
                p.data.copy_(p.master)


class Clipped(torch.optim.AdamW):
    """A step that clips, and then is its parent's."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        return super().step(closure)


class Quantised:
    """A momentum in eight bits, with its scale: an object of its own."""

    __slots__ = ("codes", "scale")

    def __init__(self, like: Tensor) -> None:
        self.codes, self.scale = torch.zeros_like(like, dtype=torch.int8), 1.0

    def read(self) -> Tensor:
        return self.codes.float() * self.scale

    def write(self, value: Tensor) -> None:
        self.scale = max(float(value.abs().max()), 1e-12) / 127
        self.codes.copy_((value / self.scale).round())


class EightBit(torch.optim.SGD):
    """Momentum in eight bits, by stochastic rounding from a generator of its own, in objects among the state."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.noise = torch.Generator().manual_seed(3)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                momentum = self.state[p].setdefault("momentum", Quantised(p))
                rounded = 0.9 * momentum.read() + p.grad + 1e-4 * torch.rand(p.shape, generator=self.noise)
                momentum.write(rounded)
                p.sub_(group["lr"] * momentum.read())


class History(torch.optim.SGD):
    """Scales its step by the norms of the last gradients, which it keeps in a deque and an array."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.norms: deque[float] = deque(maxlen=3)
        self.counts = np.zeros(2)

    def step(self, closure: Any = None) -> Any:
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.norms.append(float(sum(g.norm() for g in grads)))
        self.counts += 1
        scale = 1.0 / (sum(self.norms) + self.counts[0])
        for grad in grads:
            grad.mul_(scale)
        return super().step(closure)


class Scheduled(torch.optim.SGD):
    """Warms its own momentum up by a helper that counts."""

    class Helper:
        def __init__(self) -> None:
            self.steps = 0

        def momentum(self) -> float:
            self.steps += 1
            return 0.9 * min(1.0, self.steps / 5)

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr, momentum=0.1)
        self.helper = self.Helper()

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["momentum"] = self.helper.momentum()
        return super().step(closure)


class Facade:
    """No torch optimizer at all, around one that is, with a moving average of the weights beside it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.average: list[Tensor] = []

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:
        return self.optimizer.state

    def state_dict(self) -> dict[str, Any]:
        return {"inner": self.optimizer.state_dict(), "average": self.average}

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self) -> None:
        self.optimizer.step()
        weights = [p for group in self.param_groups for p in group["params"]]
        self.average = self.average or [p.detach().clone() for p in weights]
        for kept, p in zip(self.average, weights, strict=True):
            kept.lerp_(p.detach(), 0.1)
            p.data.lerp_(kept, 0.01)


def sgd(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(trainable(model), **{"lr": 0.05, "momentum": 0.9, **options})


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "lookahead in attributes": lambda model: Lookahead(sgd(model)),
    "sam": lambda model: SAM(trainable(model), lr=0.05, momentum=0.9),
    "pair": Pair,
    "master weights": lambda model: MasterWeights(trainable(model), lr=0.05),
    "masters on parameters": lambda model: MasterOnParameter(trainable(model), lr=0.05),
    "clipped": lambda model: Clipped(trainable(model), lr=0.01),
    "eight bits": lambda model: EightBit(trainable(model), lr=0.05),
    "history": lambda model: History(trainable(model), lr=0.05),
    "scheduled": lambda model: Scheduled(trainable(model), lr=0.05),
    "facade": lambda model: Facade(sgd(model)),
    "lookahead of lookahead": lambda model: Lookahead(Lookahead(sgd(model), every=3)),
}
TWO_STEPS = frozenset({"sam"})
