"""Bitwise continuation: a probe, then N steps, equals N steps alone, whatever the training is made of.

Optimizers x modules x data x an exception at each index of the probe. What "everything" means is written
here a second time, naively, and shares no code with the snapshot it checks.
"""

import copy
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import odd_data
from lrpilot import Training
from lrpilot.core.actions import Action, Average, Done, Evaluate, Observation, Trial
from lrpilot.core.codec import record
from lrpilot.core.found import FindCode
from lrpilot.core.policy import Context, Policy
from lrpilot.core.shape import annealed, constant
from lrpilot.core.stop import Stop
from lrpilot.errors import DataError
from lrpilot.find import run_finder
from lrpilot.found import FoundLR
from small_training import assert_equal

FEATURES, CLASSES, BATCH, BATCHES = 6, 3, 8, 6


@record
class Prober(Policy):
    """Every measurement a finder can ask for: Trials (annealed, exploding, averaged, aborted) and Evaluates."""

    script: ClassVar[tuple[Action, ...]] = (
        Evaluate(reestimate=True),
        Trial(annealed(0.3, 3), 3, evaluate="end"),
        Trial(constant(1e30), 3, evaluate="end"),
        Trial(constant(0.05), 2, evaluate="average"),
        Trial(constant(0.07), 2, stop=Stop(abort_above=-1e9)),
        Trial(constant(0.05), 2, evaluate="end", average=Average(0.8, 1.0), momentum=constant(0.0)),
        Evaluate(),
        Done(FoundLR(None, "constant", "prober", FindCode.FLAT, None, None, {}, (), ())),
    )

    def init(self, context: Context) -> list[Any]:
        return [0, context.facts.averages]

    def ask(self, state: list[Any]) -> Action:
        action = self.script[state[0]]
        averaged = isinstance(action, Trial) and action.average is not None
        return replace(action, average=None) if averaged and not state[1] else action

    def tell(self, state: list[Any], observation: Observation) -> list[Any]:
        return [state[0] + 1, state[1]]


# ------------------------------------------------------------------ modules


class WithGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True, num_layers=2, dropout=0.3)
        self.out = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.gru(x.view(-1, 3, 2))
        return self.out(hidden[:, -1])


class Stateful(nn.Module):
    """Keeps a counter and a hidden state as plain attributes, as stateful recurrent code does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES, CLASSES)
        self.calls = 0
        self.memory: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out = self.inner(x) * (1.0 + 0.01 * self.calls)
        if self.memory is not None:
            out = out + 0.1 * self.memory
        self.memory = out.detach().mean(0)
        return out


class Containers(nn.Module):
    """Keeps state in a list, a dict, and a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES, CLASSES)
        self.seen: list[float] = [0.0]
        self.moments: dict[str, Tensor | int] = {"mean": torch.zeros(CLASSES), "count": 0}
        self.noise = torch.Generator().manual_seed(4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x) + 0.1 * torch.randn(CLASSES, generator=self.noise) + self.seen[-1] + self.moments["mean"]
        self.seen.append(float(out.detach().mean()))
        self.moments["mean"].mul_(0.9).add_(out.detach().mean(0))
        self.moments["count"] += 1
        return out


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.out = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.second(torch.relu(self.first(x)))))


def with_frozen_batch_norm() -> nn.Module:
    model = nn.Sequential(
        nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)
    )  # fmt: skip
    model[1].eval()
    return model


def with_spectral_norm() -> nn.Module:
    old, new = nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES)
    return nn.Sequential(nn.utils.spectral_norm(old), nn.ReLU(), nn.utils.parametrizations.spectral_norm(new))


def with_frozen_parameters() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    model[0].weight.requires_grad_(False)
    return model


MODULES: dict[str, Callable[[], nn.Module]] = {
    "batch_norm": lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES)),
    "frozen_batch_norm": with_frozen_batch_norm,
    "dropout": lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.Dropout(0.4), nn.Linear(8, CLASSES)),
    "gru": WithGRU,
    "spectral_norm": with_spectral_norm,
    "tied": Tied,
    "frozen_parameters": with_frozen_parameters,
    "stateful": Stateful,
    "containers": Containers,
}

# --------------------------------------------------------------- optimizers


def grouped(**options: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """SGD with one group at lr 0 and one at a tenth."""

    def make(model: nn.Module) -> torch.optim.Optimizer:
        parameters = [p for p in model.parameters() if p.requires_grad]
        thirds = [parameters[0::3], parameters[1::3], parameters[2::3]]
        groups = [{"params": p, "lr": lr} for p, lr in zip(thirds, (0.1, 0.0, 0.01), strict=True) if p]
        return torch.optim.SGD(groups, lr=0.1, **options)

    return make


def plain(cls: Any, **options: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: cls((p for p in model.parameters() if p.requires_grad), **options)


class Lookahead(torch.optim.Optimizer):
    """Slow weights around an optimizer, in the usual form of such wrappers: state of its own, groups shared."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.param_groups = optimizer.param_groups
        self.defaults = optimizer.defaults
        self.state = defaultdict(dict)

    def step(self, closure: Any = None) -> None:
        self.optimizer.step()
        for parameter in (p for group in self.param_groups for p in group["params"]):
            slow = self.state[parameter].setdefault("slow", parameter.detach().clone())
            slow.lerp_(parameter.detach(), 0.5)
            parameter.data.copy_(slow)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        slow = [self.state.get(p, {}).get("slow") for group in self.param_groups for p in group["params"]]
        return {"fast": self.optimizer.state_dict(), "slow": slow}


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "lookahead": lambda model: Lookahead(plain(torch.optim.SGD, lr=0.1, momentum=0.9)(model)),
    "sgd": plain(torch.optim.SGD, lr=0.1),
    "sgd_dampened": plain(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.3),
    "sgd_fused": plain(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
    "sgd_foreach": plain(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
    "adam": plain(torch.optim.Adam, lr=0.01),
    "adam_fused": plain(torch.optim.Adam, lr=0.01, fused=True),
    "adam_foreach": plain(torch.optim.Adam, lr=0.01, foreach=True),
    "adamw_amsgrad": plain(torch.optim.AdamW, lr=0.01, amsgrad=True),
    "adam_tensor_lr": plain(torch.optim.Adam, lr=torch.tensor(0.01)),
    "rmsprop": plain(torch.optim.RMSprop, lr=0.01, momentum=0.5, centered=True),
    "adagrad": plain(torch.optim.Adagrad, lr=0.05),
    "grouped_with_zero": grouped(momentum=0.9),
}

# -------------------------------------------------------------------- data


def tensors() -> TensorDataset:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(BATCH * BATCHES, FEATURES, generator=generator)
    return TensorDataset(inputs, inputs[:, :CLASSES].argmax(1))


def batches() -> list[Any]:
    inputs, targets = tensors().tensors
    return list(zip(inputs.split(BATCH), targets.split(BATCH), strict=True))


def loader(**options: Any) -> Callable[[], DataLoader[Any]]:
    return lambda: DataLoader(tensors(), batch_size=BATCH, **options)


DATA: dict[str, Callable[[], Any]] = {
    "list": batches,
    "callable": lambda: lambda: iter(batches()),
    "shuffling": loader(shuffle=True),
    "own_generator": lambda: loader(shuffle=True, generator=torch.Generator().manual_seed(3))(),
    "workers": loader(shuffle=True, num_workers=2),
    "persistent_workers": loader(shuffle=True, num_workers=2, persistent_workers=True),
    **odd_data.DATA,
}

# --------------------------------------------- everything, written naively


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All that a probe must leave as it was: by value, and by identity where others may hold a reference."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    inner = getattr(optimizer, "optimizer", optimizer)
    return {
        "parameters": {n: p.detach().clone() for n, p in model.named_parameters()},
        "buffers": {n: b.clone() for n, b in model.named_buffers()},
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "lr_identity": [id(g["lr"]) for g in optimizer.param_groups if isinstance(g["lr"], Tensor)],
        "state_identity": [{k: id(v) for k, v in optimizer.state[p].items()} for p in params if p in optimizer.state],
        "parameter_identity": [id(p) for p in model.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "grad_identity": [id(p.grad) for p in model.parameters()],
        "modes": {n: m.training for n, m in model.named_modules()},
        "attributes": {
            n: [copy.deepcopy(getattr(m, name, None)) for name in ("calls", "memory", "seen", "moments")]
            + [m.noise.get_state() if hasattr(m, "noise") else None]
            for n, m in model.named_modules()
        },
        "torch_rng": torch.get_rng_state(),
        "numpy_rng": np.random.get_state()[1].tolist(),
        "numpy_position": np.random.get_state()[2],
        "python_rng": random.getstate(),
        "hooks": (len(inner._optimizer_step_pre_hooks), len(inner._optimizer_step_post_hooks)),
        "step_function": "step" in vars(inner),
    }


class ProbeError(Exception):
    """What the injected exceptions are."""


class Fuse:
    """A loss that counts its calls, draws from every generator, and raises at a chosen call."""

    def __init__(self) -> None:
        self.calls = 0
        self.raise_at: int | None = None

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        self.calls += 1
        if self.calls - 1 == self.raise_at:
            raise ProbeError
        inputs, targets = batch
        noise = 1.0 + 1e-3 * (random.random() + float(np.random.rand()))
        return noise * nn.functional.cross_entropy(model(inputs), targets)


class World:
    """One training with a loop of its own, in which a probe may happen."""

    def __init__(self, module: str, optimizer: str, data: str = "list", seed: int = 0) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self.model = MODULES[module]()
        self.optimizer = OPTIMIZERS[optimizer](self.model)
        self.loss = Fuse()
        self.data = DATA[data]()
        self.training = Training(self.model, self.optimizer, self.loss, self.data, batches()[:2])
        self.stream = self._stream()
        self.seen: list[Any] = []

    def _stream(self) -> Generator[Any, None, None]:
        for epoch in itertools.count():
            data = self.data() if callable(self.data) else self.data
            for part in (data, getattr(data, "dataset", None), getattr(data, "sampler", None)):
                if hasattr(part, "set_epoch"):
                    part.set_epoch(epoch)
            yield from data

    def steps(self, count: int) -> None:
        for batch in itertools.islice(self.stream, count):
            self.seen.append(list(batch))
            self.optimizer.zero_grad()
            loss = self.loss(self.model, batch)
            loss.backward()
            self.optimizer.step()

    def everything(self) -> dict[str, Any]:
        return everything(self.model, self.optimizer)


def probe(world: World) -> None:
    run_finder(world.training, Prober())


def flown(world: World, pattern: tuple[int, ...], *, probing: bool) -> tuple[dict[str, Any], list[Any]]:
    """Take so many steps, probe, take so many more, ...; what there is at the end, and the batches seen.

    Two worlds share the global generators, so one is flown to its end before the next is made.
    """
    for steps in pattern:
        if probing:
            vars(world.training).pop("probe_data", None)  # read anew: batches that are kept would spare the user's data
            before = world.everything()
            probe(world)
            assert_equal(world.everything(), before)
        world.steps(steps)
    world.stream.close()  # ends its loader's workers; left to the garbage collector, that waits ten seconds for each
    return {k: v for k, v in world.everything().items() if "identity" not in k}, world.seen


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_probe_leaves_no_trace(module: str, optimizer: str) -> None:
    pattern = (3, 4)  # probes of a fresh optimizer, and of one with state and gradients
    alone = flown(World(module, optimizer), pattern, probing=False)
    assert_equal(flown(World(module, optimizer), pattern, probing=True), alone)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("optimizer", ["sgd_dampened", "adamw_amsgrad", "adam_fused", "grouped_with_zero", "lookahead"])
def test_a_probe_that_raises_leaves_no_trace(module: str, optimizer: str) -> None:
    """At every call of the loss, those of the proofs that come once among them."""
    world = World(module, optimizer)
    for steps_before in (0, 2):
        world.steps(steps_before)
        before = world.everything()
        for index in itertools.count():
            world.loss.calls, world.loss.raise_at = 0, index
            try:
                probe(world)
            except ProbeError:
                assert_equal(world.everything(), before, f"exception at call {index}: ")
            else:
                break
        world.loss.raise_at = None
        assert index > 10


@pytest.mark.parametrize("module", ["batch_norm", "dropout"])
@pytest.mark.parametrize("data", DATA)
def test_the_loop_in_flight_goes_on_undisturbed(data: str, module: str) -> None:
    pattern = (2, BATCHES - 1, 3, 3)  # probes at the start, in the middle of an epoch, and in the next one
    alone = flown(World(module, "sgd_dampened", data), pattern, probing=False)
    assert_equal(flown(World(module, "sgd_dampened", data), pattern, probing=True), alone)


@pytest.mark.parametrize("data", odd_data.REFUSED)
def test_data_that_cannot_be_read_beside_a_loop_is_refused_before_a_sample_is_taken(data: str) -> None:
    model, made = MODULES["dropout"](), odd_data.REFUSED[data]()
    batches_of = iter(made() if callable(made) else made)
    first = next(batches_of)
    with pytest.raises(DataError, match=r"Pass a zero-argument callable|fresh iterable each time"):
        Training(model, OPTIMIZERS["adam"](model), Fuse(), made, batches()[:2]).check()
    assert_equal([first, next(batches_of)], list(itertools.islice(odd_data.loader(odd_data.samples()), 2)))


def test_interrupted_probe_leaves_no_trace() -> None:
    world = World("dropout", "adam")
    world.steps(2)
    before = world.everything()

    def interrupt(model: nn.Module, batch: Any) -> Tensor:
        world.loss.calls += 1
        if world.loss.calls == 6:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    world.training.loss_fn = interrupt
    world.loss.calls = 0
    with pytest.raises(KeyboardInterrupt):
        probe(world)
    assert_equal(world.everything(), before)


def test_buffers_of_a_criterion_go_back() -> None:
    class Centred(nn.Module):
        """A loss that moves a centre along, as self-distillation losses do."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centre", torch.zeros(CLASSES))

        def forward(self, out: Tensor, targets: Tensor) -> Tensor:
            loss = nn.functional.cross_entropy(out - self.centre, targets)
            self.centre = 0.9 * self.centre + 0.1 * out.detach().mean(0)
            return loss

    world, criterion = World("dropout", "adam"), Centred()
    world.training = Training.from_criterion(world.model, world.optimizer, criterion, batches())
    before, centre = world.everything(), criterion.centre.clone()
    probe(world)
    assert_equal(world.everything(), before)
    assert torch.equal(criterion.centre, centre)


def test_extra_state_goes_back() -> None:
    world = World("dropout", "adam")
    ema = torch.optim.swa_utils.AveragedModel(world.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    generator = torch.Generator().manual_seed(1)
    other = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)

    def step_fn(batch: Any) -> Tensor:
        world.optimizer.zero_grad()
        other.zero_grad()
        loss = world.loss(world.model, batch) + torch.rand((), generator=generator)
        (loss + other.param_groups[0]["params"][0].square().sum()).backward()
        world.optimizer.step()
        other.step()
        ema.update_parameters(world.model)
        return loss

    state = {"ema": ema, "generator": generator, "other": other}
    world.training = Training(world.model, world.optimizer, world.loss, batches(), step_fn=step_fn, state=state)
    step_fn(batches()[0])
    before = [
        world.everything(),
        copy.deepcopy(ema.state_dict()),
        generator.get_state(),
        copy.deepcopy(other.state_dict()),
    ]
    other_values = other.param_groups[0]["params"][0].detach().clone()
    probe(world)
    after = [world.everything(), ema.state_dict(), generator.get_state(), other.state_dict()]
    assert_equal(after, before)
    assert torch.equal(other.param_groups[0]["params"][0], other_values)
