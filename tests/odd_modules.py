"""Modules that keep state where torch does not look, in the forms in which people write them.

Each takes ``features`` and gives ``classes``; what they keep changes what they put out.
"""

from collections import Counter, deque
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


class Head(nn.Module):
    """A linear layer, for the others to build on."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.inner = nn.Linear(features, classes)


class Queue(Head):
    """Subtracts the mean of its last outputs, kept in a deque (a memory bank)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.bank: deque[Tensor] = deque(maxlen=3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        self.bank.append(out.detach().mean(0))
        return out - 0.1 * torch.stack(list(self.bank)).mean(0)


class Running(Head):
    """Running statistics in a NumPy array, and a NumPy generator for its noise."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.mean = np.zeros(classes)
        self.rng = np.random.default_rng(5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        self.mean *= 0.9
        self.mean += 0.1 * out.detach().mean(0).numpy()
        return out - torch.from_numpy(self.mean).to(out) + 0.01 * float(self.rng.standard_normal())


class Seen(Head):
    """Counts what it has predicted, and grows a set of it."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.counts: Counter[int] = Counter()
        self.seen: set[tuple[int, int]] = set()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        for i, label in enumerate(out.argmax(1).tolist()):
            self.counts[label] += 1
            self.seen.add((self.counts[label], i))
        return out * (1 + 0.01 * len(self.seen)) / (1 + 0.001 * self.counts[0])


class Meter:
    """A plain helper with slots."""

    __slots__ = ("history", "total")

    def __init__(self) -> None:
        self.total, self.history = 0.0, [0.0]


class Helped(Head):
    """Scales by what a helper object has met, which is shared by a nested dict."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.meters = {"outer": {"inner": Meter()}}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        meter = self.meters["outer"]["inner"]
        meter.total += float(out.detach().abs().mean())
        meter.history.append(meter.total)
        return out / (1 + meter.history[-2])


class Taught(Head):
    """A teacher that is no submodule, moved along by every pass, past the counters of writes."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.teacher = [nn.Linear(features, classes).requires_grad_(False)]

    def forward(self, x: Tensor) -> Tensor:
        for slow, fast in zip(self.teacher[0].parameters(), self.inner.parameters(), strict=True):
            slow.data.mul_(0.9).add_(0.1 * fast.data)
        out: Tensor = self.inner(x) + 0.5 * self.teacher[0](x)
        return out


class Momentum(Head):
    """A frozen twin among its submodules that every pass in training mode moves along (a momentum encoder)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.twin = nn.Linear(features, classes).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            for slow, fast in zip(self.twin.parameters(), self.inner.parameters(), strict=True):
                slow.data = 0.9 * slow.data + 0.1 * fast.data
        out: Tensor = self.inner(x) + 0.5 * self.twin(x)
        return out


class Late(Head):
    """Makes its state in the first pass, and a dict by tensors of it."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        if not hasattr(self, "table"):
            self.table = {self.inner.weight: torch.zeros(out.shape[1])}
            self.queue = deque([0])
        self.table[self.inner.weight] = 0.9 * self.table[self.inner.weight] + out.detach().mean(0)
        self.queue.append(self.queue[-1] + 1)
        return out - 0.1 * self.table[self.inner.weight] / self.queue[-1]


ODD_MODULES: dict[str, Callable[[int, int], nn.Module]] = {
    "deque": Queue,
    "array and generator": Running,
    "counter and set": Seen,
    "helper with slots": Helped,
    "teacher in a list": Taught,
    "momentum encoder": Momentum,
    "born in a pass": Late,
}
