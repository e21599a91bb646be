"""Bad input: refused with rule, value and remedy, in our own words, before anything has been touched."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot import LRPilotError, LRTuner, Pilot, Schedule, Training, WeightedFactors
from lrpilot.core.policy import Policy
from lrpilot.errors import (
    DataError,
    LossError,
    ModelError,
    NonlinearStepError,
    OptimizerError,
    SettingError,
    StepError,
)
from lrpilot.training.bound.checks import check_loss
from small_training import (
    assert_equal,
    everything,
    loss_fn,
    make_batches,
    make_model,
    make_training,
    untouched,
)


def sgd(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), **({"lr": 0.1} | options))


def frozen() -> nn.Module:
    return make_model().requires_grad_(False)


def with_lr(lr: float) -> Callable[[nn.Module], Any]:
    def make(model: nn.Module) -> torch.optim.Optimizer:
        optimizer = sgd(model)
        optimizer.param_groups[0]["lr"] = lr
        return optimizer

    return make


class NoState:
    pass


BAD_CONSTRUCTION: dict[str, tuple[dict[str, Any], type[LRPilotError], str]] = {
    "frozen_model": ({"model": frozen}, ModelError, r"needs trainable parameters, got 4 .*Unfreeze"),
    "no_parameters": ({"model": nn.Tanh}, ModelError, r"needs trainable parameters, got 0"),
    "lazy_model": ({"model": lambda: nn.LazyLinear(3)}, ModelError, r"must be initialised.*Run one batch"),
    "no_module": ({"model": lambda: 3, "optimizer": lambda _: sgd(make_model())}, ModelError, r"Module, got int"),
    "other_model": ({"optimizer": lambda _: sgd(make_model())}, ModelError, r"got none in common\. Construct it from"),
    "no_optimizer": ({"optimizer": lambda _: None}, OptimizerError, r"torch.optim.Optimizer, got NoneType\. Pass"),
    "lbfgs": (
        {"optimizer": lambda m: torch.optim.LBFGS(m.parameters())},
        OptimizerError,
        r"without a closure, but LBFGS\.step needs one.*Use SGD",
    ),
    "lr_zero": ({"optimizer": with_lr(0.0)}, OptimizerError, r"not all 0, got \[0\.0\]\. Construct"),
    "lr_negative": ({"optimizer": with_lr(-0.1)}, OptimizerError, r">= 0 .*got \[-0\.1\]\. Construct"),
    "lr_inf": ({"optimizer": with_lr(math.inf)}, OptimizerError, r"finite.*got \[inf\]\. Construct"),
    "loss_fn_value": ({"loss_fn": 3.0}, SettingError, r"loss_fn\(model, batch\), got float"),
    "criterion": (
        {"loss_fn": nn.CrossEntropyLoss()},
        SettingError,
        r"loss_fn\(model, batch\), got the criterion CrossEntropyLoss.*from_criterion",
    ),
    "state_entry": ({"state": {"ema": NoState()}}, SettingError, r"state\['ema'\] must have state_dict.*got NoState"),
    "scaler_without_step": (
        {"state": {"scaler": torch.amp.GradScaler("cpu")}},
        SettingError,
        r"GradScaler \(state\['scaler'\]\) must be used by the step, got neither scaler= nor step_fn.*Pass scaler=",
    ),
    "accumulate_zero": ({"accumulate": 0}, SettingError, r"accumulate must be an int >= 1, got 0\. Give"),
    "accumulate_float": ({"accumulate": 2.0}, SettingError, r"accumulate must be an int >= 1, got 2\.0\. Give"),
    "accumulate_bool": ({"accumulate": True}, SettingError, r"accumulate must be an int >= 1, got True\. Give"),
    "clip_norm_zero": ({"clip_norm": 0.0}, SettingError, r"clip_norm must be a finite number > 0, got 0\.0\. Use None"),
    "clip_value_nan": ({"clip_value": math.nan}, SettingError, r"clip_value must be a finite number > 0, got nan"),
    "clipped_twice": (
        {"clip_norm": 1.0, "clip_value": 0.5},
        SettingError,
        r"by norm or by value, got clip_norm=1\.0 and clip_value=0\.5\. Give one",
    ),
    "autocast_true": ({"autocast": True}, SettingError, r"autocast must be torch\.bfloat16 or .*, got True\. Use None"),
    "autocast_wide": ({"autocast": torch.float32}, SettingError, r"autocast must be .*, got torch\.float32\. Use None"),
    "no_scaler": ({"scaler": True}, SettingError, r"scaler must be a torch\.amp\.GradScaler, got bool\. Hand over"),
    "two_scalers": (
        {"scaler": torch.amp.GradScaler("cpu"), "state": {"scaler": torch.amp.GradScaler("cpu")}},
        SettingError,
        r"must be the same GradScaler, got two\. Give it once",
    ),
    "accumulating_step_fn": (
        {"accumulate": 8, "clip_norm": 1.0, "step_fn": lambda batch: None},
        SettingError,
        r"step_fn takes the whole step, got accumulate=8, clip_norm=1\.0 beside it.*Leave step_fn away",
    ),
    "scaling_step_fn": (
        {"scaler": torch.amp.GradScaler("cpu"), "step_fn": lambda batch: None},
        SettingError,
        r"got scaler=.* beside it.*state=\{'scaler': scaler\}",
    ),
    "up_and_down": (
        {
            "optimizer": lambda m: torch.optim.SGD(
                [{"params": [m[0].weight], "maximize": True}, {"params": [m[0].bias]}], lr=0.1
            )
        },
        OptimizerError,
        r"all maximize it, got groups with maximize=True and with False\. Tune each",
    ),
    "seed_negative": ({"seed": -1}, SettingError, r"seed must be an int >= 0, got -1"),
    "seed_none": ({"seed": None}, SettingError, r"seed must be an int >= 0, got None"),
    "eval_batches": ({"eval_batches": 0}, SettingError, r"eval_batches must be >= 1, got 0\. Use None"),
}


@pytest.mark.parametrize("name", BAD_CONSTRUCTION)
def test_bad_arguments_are_refused_by_construction(name: str) -> None:
    changes, error, words = BAD_CONSTRUCTION[name]
    options = dict(changes)
    model = options.pop("model", make_model)()
    optimizer = options.pop("optimizer", sgd if isinstance(model, nn.Module) else None)
    try:
        made = optimizer(model)
    except ValueError:  # torch refuses an optimizer without parameters or for lazy ones
        made = sgd(make_model())
    watched = (
        (model if name not in ("no_module", "lazy_model") else make_model()),
        made if name != "no_optimizer" else None,
    )
    with untouched(*watched), pytest.raises(error, match=words) as raised:
        Training(model, made, options.pop("loss_fn", loss_fn), make_batches(), **options)
    assert isinstance(raised.value, (ValueError, TypeError)), "a caller may catch the builtin"


# ----------------------------------------------------- found at the first probe


def constant_loss(model: Any, batch: Any) -> Tensor:
    return torch.ones((), requires_grad=True) * 2


def step_without_step(training: Training) -> Callable[[Any], Any]:
    return lambda batch: loss_fn(training.model, batch)


def two_steps(training: Training) -> Callable[[Any], Any]:
    def step_fn(batch: Any) -> Tensor:
        loss = loss_fn(training.model, batch)
        loss.backward()
        training.optimizer.step()
        training.optimizer.step()
        return loss

    return step_fn


def step_returning(value: Any) -> Callable[[Training], Callable[[Any], Any]]:
    def make(training: Training) -> Callable[[Any], Any]:
        def step_fn(batch: Any) -> Any:
            loss_fn(training.model, batch).backward()
            training.optimizer.step()
            return value

        return step_fn

    return make


BAD_LOSSES: dict[str, tuple[Any, str]] = {
    "none": (lambda m, b: None, r"loss_fn must return the loss, got None\. Add"),
    "vector": (
        lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1], reduction="none"),
        r"scalar loss, got a tensor of shape \(8,\)\. Take the mean",
    ),
    "tuple": (lambda m, b: (loss_fn(m, b), 1), r"scalar loss, got tuple"),
    "number": (lambda m, b: loss_fn(m, b).item(), r"must depend on the model's parameters.*Remove .*\.item\(\)"),
    "detached": (lambda m, b: loss_fn(m, b).detach(), r"must depend on the model's parameters.*Remove \.detach"),
    "of_nothing": (constant_loss, r"must depend on the trainable parameters, but none received a gradient"),
    "nan": (lambda m, b: loss_fn(m, b) * math.nan, r"must be finite at the start, got nan\. Check the data"),
    "inf": (lambda m, b: loss_fn(m, b) + math.inf, r"must be finite at the start, got inf\. Check the data"),
    "tuple_batches": (None, r"model\(\*\*batch\)\.loss, which needs dict batches, got tuple\. Pass loss_fn"),
}

BAD_STEPS: dict[str, tuple[Callable[[Training], Any], type[LRPilotError], str]] = {
    "none_taken": (step_without_step, StepError, r"exactly one optimizer step, got none\. Call optimizer\.step\(\)"),
    "two_taken": (two_steps, StepError, r"exactly one optimizer step, got 2\. Split it"),
    "returns_none": (step_returning(None), LossError, r"step_fn must return the loss, got None\. Add `return loss`"),
    "returns_vector": (step_returning(torch.ones(2)), LossError, r"step_fn .*shape \(2,\)"),
    "returns_nan": (step_returning(math.nan), LossError, r"finite at the start, got nan"),
}


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_a_bad_loss_is_refused_and_everything_is_back(name: str) -> None:
    loss, words = BAD_LOSSES[name]
    training = make_training(model=make_model(dropout=0.3, batch_norm=True), loss_fn=loss)
    with untouched(training.model, training.raw_optimizer), pytest.raises(LossError, match=words):
        training.check()
    assert not training.raw_optimizer.state


@pytest.mark.parametrize("name", BAD_STEPS)
def test_a_bad_step_is_refused_and_everything_is_back(name: str) -> None:
    make_step, error, words = BAD_STEPS[name]
    training = make_training(model=make_model(dropout=0.3, batch_norm=True))
    training.step_fn = make_step(training)
    with untouched(training.model, training.raw_optimizer), pytest.raises(error, match=words):
        training.check()
    assert not training.raw_optimizer.state


class WithLoss(nn.Module):
    def __init__(self, output: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.output = make_model(), output

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return self.output(nn.functional.cross_entropy(self.inner(x), y))


class Output:
    def __init__(self, loss: Any) -> None:
        self.loss = loss


@pytest.mark.parametrize("output", [Output, lambda loss: {"loss": loss}])
def test_models_that_compute_their_own_loss(output: Any) -> None:
    data = [{"x": x, "y": y} for x, y in make_batches()]
    model = WithLoss(output)
    training = Training(model, sgd(model), None, data)
    training.check()
    assert training.step(data[0]).item() == pytest.approx(loss_fn(make_model(), make_batches()[0]).item())


@pytest.mark.parametrize("output", [lambda loss: {"logits": loss}, lambda loss: loss, lambda loss: Output(None)])
def test_models_that_give_no_loss_are_refused(output: Any) -> None:
    model = WithLoss(output)
    training = Training(model, sgd(model), None, [{"x": x, "y": y} for x, y in make_batches()])
    with untouched(model, training.raw_optimizer), pytest.raises(LossError, match=r"model\(\*\*batch\)\.loss must"):
        training.check()


def test_a_model_without_a_loss_keyword_keeps_its_own_words() -> None:
    training = make_training(loss_fn=None, data=[{"x": torch.ones(2, 4)}])
    with untouched(training.model, training.raw_optimizer), pytest.raises(TypeError, match="keyword argument 'x'"):
        training.check()


# ------------------------------------------------------------ sparse gradients


def embedded(cls: Any) -> Training:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 3, sparse=True))
    tokens = [torch.arange(i, i + 4) for i in range(4)]
    return Training(model, cls(model.parameters(), lr=0.1), lambda m, b: m(b).square().mean(), tokens)


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
def test_an_optimizer_that_refuses_sparse_gradients_is_named(cls: Any) -> None:
    training = embedded(cls)
    words = rf"but {cls.__name__} refuses sparse ones.*SparseAdam or SGD"
    with untouched(training.model, training.raw_optimizer), pytest.raises(OptimizerError, match=words):
        training.check()


@pytest.mark.parametrize("cls", [torch.optim.SparseAdam, torch.optim.SGD])
def test_optimizers_that_take_sparse_gradients_are_fine(cls: Any) -> None:
    training = embedded(cls)
    training.step(torch.arange(4))
    gradient = training.model[0].weight.grad
    before = everything(training.model[0:0], training.raw_optimizer), training.model[0].weight.clone()
    training.check()
    assert training.model[0].weight.grad is gradient
    assert_equal((everything(training.model[0:0], training.raw_optimizer), training.model[0].weight.clone()), before)


# ------------------------------------------------------------------- pieces


@pytest.mark.parametrize("loss", [torch.ones(1), torch.ones(1, 1), torch.tensor(1.0), 1.0, 1])
def test_any_one_element_is_a_scalar(loss: Any) -> None:
    checked = check_loss(loss, source="step_fn", needs_grad=False)
    assert checked.shape == () and checked.item() == 1.0


def test_the_criterion_way_equals_the_loss_fn_way() -> None:
    one, two = make_model(), make_model()
    criterion = Training.from_criterion(one, sgd(one), nn.CrossEntropyLoss(), make_batches(), seed=3)
    plain = make_training(model=two, optimizer=sgd(two))
    for batch in make_batches(3):
        assert criterion.step(batch).item() == plain.step(batch).item()
    assert criterion.seed == 3
    assert_equal([p.detach() for p in one.parameters()], [p.detach() for p in two.parameters()])


def test_a_data_error_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="one-shot"):
        make_training(data=iter(make_batches()))
    assert issubclass(DataError, LRPilotError)


# ------------------------------------------------------- policies that need Lines

LINE_POLICIES = (LRTuner(), LRTuner.paper("mnist"), WeightedFactors(), WeightedFactors.paper())


@pytest.mark.parametrize("policy", LINE_POLICIES, ids=lambda policy: policy.name)
@pytest.mark.parametrize("make", [torch.optim.ASGD, torch.optim.Rprop, torch.optim.Adafactor])
def test_an_optimizer_known_not_to_be_linear_is_refused_where_lines_are_needed(policy: Policy, make: Any) -> None:
    model = make_model()
    training = make_training(model=model, optimizer=make(model.parameters(), lr=0.01))
    says = rf"linear.*{make.__name__}.*Use SGD"
    with untouched(model, training.raw_optimizer), pytest.raises(NonlinearStepError, match=says):
        Pilot(training, policy, total_steps=10)
    Pilot(training, Schedule("constant", lr=0.1), total_steps=10)  # reads none


def test_an_optimizer_nobody_knows_is_left_to_the_scratch_check() -> None:
    class Own(torch.optim.SGD):
        pass

    model = make_model()
    Pilot(make_training(model=model, optimizer=Own(model.parameters(), lr=0.01)), WeightedFactors(), total_steps=100)
