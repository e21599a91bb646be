"""What torch lets a user set or hand over, anywhere: devices, dtypes, tensors of inference, numbers that are none."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lrpilot import AutoLRS, Autopilot, LRTuner, Pilot, Schedule, Training, WeightedFactors, find_lr, fit
from lrpilot.errors import ModelError
from small_training import loop_step, loss_fn, make_batches, make_model, make_training, own_loop, weights

BATCHES, HELD_OUT = make_batches(), make_batches(2, seed=5)  # made before any default is another
POLICIES = (LRTuner, AutoLRS, WeightedFactors, Autopilot)


def search(training: Training) -> float | None:
    return find_lr(training, target="constant", num_steps=4, progress=False).lr


# ------------------------------------------------------------------------ models


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, make_batches()[0][0])])
def test_models_of_torch_jit_are_refused(make: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(ModelError, match=r"torch\.compile"):
        make_training(model=make(make_model()))
    with pytest.raises(ModelError, match="plain Python modules"):
        make_training(model=nn.Sequential(make(make_model()), nn.Linear(3, 3)))


@pytest.mark.parametrize("in_place", [True, False])
def test_a_compiled_model_is_measured_as_the_model_itself(in_place: bool) -> None:
    model = make_model(batch_norm=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    compiled: Any = model
    if in_place:
        model.compile(backend="eager")
    else:
        compiled = torch.compile(model, backend="eager")
    expected = search(make_training(model=make_model(batch_norm=True)))
    assert search(make_training(model=compiled, optimizer=optimizer)) == expected


# ---------------------------------------------------------------------- defaults


@contextmanager
def default(set_it: Callable[[Any], None], value: Any, usual: Any) -> Iterator[None]:
    set_it(value)
    try:
        yield
    finally:
        set_it(usual)


def flown(policy: Any, model: nn.Module, *, dtype: torch.dtype = torch.float32) -> list[Any]:
    """A search and a flight; lrs and weights."""
    with torch.device("cpu"):  # the user's own tensors are where they are whatever the default is
        training = make_training(
            model=model.to(dtype),
            data=[(x.to(dtype), y) for x, y in BATCHES],
            val=[(x.to(dtype), y) for x, y in HELD_OUT],
        )
        batches = [(x.to(dtype), y) for x, y in BATCHES]
    found = search(training)
    pilot = Pilot(training, policy(), 40)
    pilot.start()
    for i in range(40):
        pilot.step(loop_step(training, batches[i % 6]))
    return [found, pilot.history.lrs, [w.tolist() for w in weights(training.model)]]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_default_device_changes_nothing(policy: Any) -> None:
    model, expected = make_model(), flown(policy, make_model())
    with default(torch.set_default_device, "meta", None):  # on which no number can be read
        assert flown(policy, model) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_a_default_dtype_changes_nothing(policy: Any) -> None:
    model, expected = make_model(), flown(policy, make_model(), dtype=torch.float64)
    with default(torch.set_default_dtype, torch.float64, torch.float32):
        assert flown(policy, model, dtype=torch.float64) == expected


def test_batches_made_under_inference_mode_are_read_as_others() -> None:
    with torch.inference_mode():
        batches = [(x.clone(), y.clone()) for x, y in make_batches()]
    assert batches[0][0].is_inference()
    assert search(make_training(data=batches, val=batches[:2])) == search(
        make_training(data=make_batches(), val=make_batches()[:2])
    )


# ----------------------------------------------------------------------- numbers

NUMBERS = [np.float64(0.1), np.float32(0.1), torch.tensor(0.1), np.array(0.1)]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: type(number).__name__)
def test_numbers_of_other_libraries_are_plain_from_the_door_on(number: Any, tmp_path: Path) -> None:
    assert type(Schedule("cosine", lr=number).lr) is float
    assert type(AutoLRS(min_lr=number, max_lr=1.0).min_lr) is float
    training = make_training()
    pilot = Pilot(training, Schedule("cosine", lr=number, warmup=np.int64(3)), np.int64(20))
    own_loop(training, pilot, 10)
    torch.save([pilot.state_dict(), training.raw_optimizer.state_dict()], tmp_path / "state")
    state, _ = torch.load(tmp_path / "state", weights_only=True)
    resumed = Pilot(make_training(), Schedule("cosine", lr=float(number), warmup=3), 20)
    resumed.load_state_dict(state)
    assert resumed.history.lrs == pilot.history.lrs


def test_a_fit_with_an_optimizer_of_numpy_numbers_resumes(tmp_path: Path) -> None:
    def training() -> Training:
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=np.float32(0.1), momentum=np.float64(0.9))
        return Training(model, optimizer, loss_fn, make_batches())

    path = tmp_path / "checkpoint.pt"
    fit(training(), Schedule("cosine"), total_steps=10, checkpoint=path, progress=False)
    assert fit(training(), Schedule("cosine"), total_steps=10, checkpoint=path, resume=True, progress=False).steps == 10


# ------------------------------------------------------------------------ memory


@pytest.mark.parametrize("policy", [*POLICIES, None], ids=str)
def test_a_pilot_and_its_model_are_freed_without_the_garbage_collector(policy: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        model = make_model()
        training = make_training(model=model)
        if policy is None:
            search(training)
            held = [weakref.ref(thing) for thing in (training, model)]
        else:
            pilot = Pilot(training, policy(), 40)
            own_loop(training, pilot, 40)
            pilot.load_state_dict(pilot.state_dict())
            held = [weakref.ref(thing) for thing in (pilot, pilot.driver, training, model, training.optimizer)]
            del pilot
        del training, model
        assert [ref() for ref in held] == [None] * len(held)
    finally:
        gc.enable()
