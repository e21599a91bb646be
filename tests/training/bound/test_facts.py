"""What a policy may know of a training before it begins, and that nothing is read or run to know it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lrpilot import Autopilot, Pilot, Training
from lrpilot.core.actions import Average, Train
from lrpilot.core.policy import Context, Facts
from lrpilot.core.shape import constant
from lrpilot.errors import SettingError
from lrpilot.training.bound.facts import facts_of
from lrpilot.training.bound.optimizers import ParamGroupLRs
from small_training import Listed, loss_fn, make_batches, make_model, make_training, untouched


class OwnAverage(torch.optim.SGD):
    """As the schedulefree package's: it must be told of training and judging."""

    def train(self) -> None:
        pass

    def eval(self) -> None:
        pass


class Stranger(torch.optim.Optimizer):
    """One that keeps its momentum where nobody finds it."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr, "beta": 0.9})

    def step(self, closure: Any = None) -> None:
        pass


class FusedAdam(Stranger):
    """One that is Adam by its name, and by its betas."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        for group in self.param_groups:
            group["betas"] = (0.8, 0.9)


class Lookahead(torch.optim.Optimizer):
    """A wrapper that moves the weights by a state of its own."""

    def __init__(self, inner: Any) -> None:
        self.optimizer, self.state = inner, {"slow": 1}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["optimizer"], name)


class SharingLookahead(torch.optim.Optimizer):
    """One that has groups and state in common with the optimizer inside, and slow weights of its own."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.base = base
        self.param_groups, self.defaults, self.state = base.param_groups, base.defaults, base.state
        self.slow = [[p.detach().clone() for p in group["params"]] for group in base.param_groups]

    def step(self, closure: Any = None) -> None:
        self.base.step()


OPTIMIZERS: dict[str, tuple[Callable[[Any], Any], Facts]] = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1), Facts(averages=True, optimizer="sgd", momentum=0.0)),
    "nesterov": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        Facts(averages=True, optimizer="sgd", momentum=0.9),
    ),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.1), Facts(averages=True, optimizer="adam", momentum=0.9)),
    "nadam": (
        lambda p: torch.optim.NAdam(p, lr=0.1, betas=(0.7, 0.9)),
        Facts(averages=True, optimizer="adam", momentum=0.7),
    ),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, lr=0.1), Facts(averages=True, optimizer="other", momentum=0.0)),
    "adagrad": (lambda p: torch.optim.Adagrad(p, lr=0.1), Facts(averages=True, optimizer="other")),
    "adadelta": (lambda p: torch.optim.Adadelta(p, lr=0.1), Facts(averages=True, optimizer="other")),
    "rprop": (lambda p: torch.optim.Rprop(p, lr=0.1), Facts(optimizer="other")),
    "asgd": (lambda p: torch.optim.ASGD(p, lr=0.1), Facts(optimizer="other")),
    "adafactor": (lambda p: torch.optim.Adafactor(p, lr=0.1), Facts(optimizer="other")),
    "tensor betas": (
        lambda p: torch.optim.Adam(
            p, lr=torch.tensor(0.1), betas=(torch.tensor(0.9), torch.tensor(0.9)), capturable=True
        ),
        Facts(optimizer="adam"),
    ),
    "with an average of its own": (
        lambda p: OwnAverage(p, lr=0.1, momentum=0.9),
        Facts(optimizer="sgd", momentum=0.9),
    ),
    "a stranger's": (lambda p: Stranger(p, lr=0.1), Facts(optimizer="other")),
    "fused": (lambda p: FusedAdam(p, lr=0.1), Facts(averages=True, optimizer="adam", momentum=0.8)),
    "lookahead": (lambda p: Lookahead(torch.optim.SGD(p, lr=0.1)), Facts(optimizer="sgd", momentum=0.0)),
    "sharing_lookahead": (
        lambda p: SharingLookahead(torch.optim.SGD(p, lr=0.1, momentum=0.5)),
        Facts(optimizer="sgd", momentum=0.5),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_says_its_family_and_whether_its_steps_can_be_averaged(name: str) -> None:
    make, expected = OPTIMIZERS[name]
    model = make_model()
    facts = facts_of(make_training(model=model, optimizer=make(model.parameters())))
    for field in ("averages", "optimizer", "momentum"):
        assert getattr(facts, field) == getattr(expected, field), field


@pytest.mark.parametrize("name", [n for n, (_, f) in OPTIMIZERS.items() if f.averages and n != "fused"])
def test_where_it_says_so_an_averaged_flight_takes_its_steps_and_lands(name: str) -> None:
    model = make_model()
    training = make_training(model=model, optimizer=OPTIMIZERS[name][0](model.parameters()))
    momentum = facts_of(training).momentum
    pilot = Pilot(training, Listed((Train(constant(0.01), 9, momentum=constant(0.0), average=Average()),)), 9)
    for batch in make_batches(9):
        assert facts_of(training).momentum == momentum, "as the user has set it, whatever is flown"
        pilot.step(training.step(batch))
    assert pilot.driver.landed
    for batch in make_batches(3):
        assert torch.isfinite(training.step(batch)), "and the optimizer goes on at its own momentum"


def test_a_momentum_that_a_flight_has_written_is_not_the_users() -> None:
    training = make_training()
    ParamGroupLRs(training.raw_optimizer).set_momentum(0.0)
    assert facts_of(training).momentum == 0.9 and facts_of(training).averages


# ------------------------------------------------------------------ the model


class RMS(nn.Module):
    """As transformers' own: no class of torch, but a norm by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


RMS.__name__ = "LlamaRMSNorm"


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.RMSNorm(4), RMS()])
def test_pretrained_weights_show_in_the_scales_of_norms(norm: nn.Module) -> None:
    def pretrained() -> bool:
        model = nn.Sequential(nn.Linear(4, 4), norm)
        return facts_of(
            Training(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, make_batches())
        ).pretrained

    assert not pretrained()
    nn.init.constant_(norm.weight, 0.02)
    assert not pretrained(), "an unusual start is a constant one too"
    with torch.no_grad():
        norm.weight[1] = 0.03
    assert pretrained()


def test_norms_without_a_scale_say_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, elementwise_affine=False), nn.LayerNorm(1))
    assert not facts_of(
        Training(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, make_batches())
    ).pretrained


def test_batch_norms_that_train() -> None:
    def trains(model: nn.Module) -> bool:
        return facts_of(
            make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
        ).trains_batchnorm

    assert not trains(make_model())
    model = make_model(batch_norm=True)
    assert trains(model) and trains(model.eval()), "in eval mode as a whole it will be put in training mode"
    model.train()[1].eval()
    assert not trains(model), "a frozen one"


# ------------------------------------------------------------------- the data


class Samples(Dataset[Any]):
    """Twenty, none of which may be read."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("a sample was read")


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("the data was iterated")


def sampler(size: int) -> Any:
    return torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(range(20)), size, drop_last=True)


@pytest.mark.parametrize(
    ("data", "epoch_steps", "batch_size"),
    [
        (make_batches(6), 6, 8),
        (DataLoader(Samples(), batch_size=8), 3, 8),
        (DataLoader(Samples(), batch_size=8, shuffle=True, drop_last=True), 2, 8),
        (DataLoader(Samples(), batch_sampler=sampler(6)), 3, 6),
        (DataLoader(Samples(), batch_size=None), 20, None),
        (DataLoader(Endless(), batch_size=8), None, 8),
        (Endless, None, None),
        (lambda: make_batches(3), None, None),
    ],
    ids=["list", "loader", "drop last", "batch sampler", "batches as samples", "iterable", "class", "callable"],
)
def test_the_length_of_an_epoch_and_the_size_of_a_batch(data: Any, epoch_steps: int, batch_size: int) -> None:
    facts = facts_of(make_training(data=data))
    assert (facts.epoch_steps, facts.batch_size) == (epoch_steps, batch_size)


# ------------------------------------------------------------------ the asking


class Asking(Listed):
    """Keeps the context that it was told."""

    def init(self, context: Context) -> Any:
        object.__setattr__(self, "context", context)
        return super().init(context)


def test_a_policy_is_told_and_nothing_is_run_or_read_for_it() -> None:
    def failing(model: Any, batch: Any) -> Tensor:
        raise AssertionError("a forward pass was made")

    training = make_training(data=DataLoader(Samples(), batch_size=8), loss_fn=failing)
    policy = Asking((Train(constant(0.1), 10),))
    training.raw_optimizer.param_groups[0]["initial_lr"] = 0.1  # as torch's own scheduler would write
    with untouched(training.model):
        Pilot(training, policy, 10)
    assert policy.context.facts == Facts(True, "sgd", 0.9, False, 3, False, 8, 1e-3)


def grouped(*momenta: float, optimizer: str = "sgd") -> Training:
    """A group for each parameter but the last ones: of 32, 8 and 24 + 3 numbers."""
    model = make_model()
    parts = [[p] for p in list(model.parameters())[:2]] + [list(model.parameters())[2:]]
    if optimizer == "sgd":
        groups = [{"params": part, "momentum": m} for part, m in zip(parts, momenta, strict=True)]
        return make_training(model=model, optimizer=torch.optim.SGD(groups, lr=0.1))
    groups = [{"params": part, "betas": (m, 0.99)} for part, m in zip(parts, momenta, strict=True)]
    return make_training(model=model, optimizer=torch.optim.Adam(groups, lr=0.1))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_where_groups_differ_in_momentum_the_largest_counts_and_none_is_averaged(optimizer: str) -> None:
    differ = grouped(0.9, 0.0, 0.5, optimizer=optimizer)
    assert facts_of(differ).momentum == 0.9 and not facts_of(differ).averages
    assert facts_of(grouped(0.0, 0.9, 0.0)).momentum == 0.0
    alike = facts_of(grouped(0.9, 0.9, 0.9, optimizer=optimizer))
    assert alike.momentum == 0.9 and alike.averages
    pilot = Pilot(differ, Autopilot(), 60)
    assert pilot.report().account["arm"] == "ordinary" and "from group to group" in pilot.report().account["why"]
    with pytest.raises(SettingError, match="the same in all param groups"):
        Pilot(differ, Autopilot(arm="averaged"), 60)
