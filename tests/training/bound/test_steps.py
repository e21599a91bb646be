"""One step is one step, whatever calls it is made of: in a probe, and under a pilot."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot import Pilot, Schedule, Training, find_lr
from lrpilot.errors import OptimizerError, StepError
from odd_optimizers import SAM, WRAPPERS, Clipped, Pair, sam_step
from small_training import loop_step, loss_fn, make_batches, make_model, make_training, same_tensors, weights


def stepped(name: str, batch: Any = None) -> tuple[Training, Any]:
    """A training of a wrapper, and one step of it."""
    model = make_model()
    optimizer = WRAPPERS[name](model)

    def step_fn(batch: Any) -> Tensor:
        return sam_step(optimizer, lambda: loss_fn(model, batch))

    training = make_training(model=model, optimizer=optimizer, step_fn=step_fn if name == "sam" else None)
    return training, training.step


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_step_of_any_wrapper_is_counted_once_and_its_lr_is_flown(name: str) -> None:
    torch.optim.AdamW(make_model().parameters())  # from then on torch hooks AdamW.step itself
    training, step = stepped(name)
    pilot = Pilot(training, Schedule("linear", lr=0.1), 10)
    for batch in make_batches(6):
        pilot.step(step(batch))
    assert pilot.last_epoch == 6
    assert max(group["lr"] for group in training.optimizer.param_groups) == pytest.approx(0.04)


@pytest.mark.parametrize("name", ["sam", "clipped", "pair"])
def test_a_search_counts_it_once_too(name: str) -> None:
    training, _ = stepped(name)
    assert find_lr(training, progress=False, budget=120).lr is not None


@pytest.mark.parametrize("name", ["clipped", "pair"])
def test_two_steps_are_still_two(name: str) -> None:
    training, _ = stepped(name)

    def twice(batch: Any) -> Tensor:
        loss_fn(training.model, batch).backward()
        training.optimizer.step()
        training.optimizer.step()
        return torch.zeros(())

    training.step_fn = twice
    with pytest.raises(StepError, match="exactly one optimizer step, got 2"):
        training.check()


def test_a_step_with_a_closure_is_one() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 10)
    calls = []

    def closure() -> Tensor:
        calls.append(1)
        training.optimizer.zero_grad()
        loss = loss_fn(training.model, make_batches(1)[0])
        loss.backward()
        return loss

    pilot.step(training.optimizer.step(closure))
    assert pilot.last_epoch == 1 and calls == [1]


def test_a_step_after_one_that_raised_is_counted() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 10)

    def fails() -> Tensor:
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            training.optimizer.step(fails)
        pilot.step()
        assert pilot.last_epoch == 0
    loop_step(training, make_batches(1)[0])
    pilot.step()
    assert pilot.last_epoch == 1


def test_a_wrapper_that_accumulates_has_not_stepped() -> None:
    class Accumulating(Pair):
        calls = 0

        def step(self, closure: Any = None) -> None:
            self.calls += 1
            if self.calls % 3 == 0:
                super().step()

    model = make_model()
    training = make_training(model=model, optimizer=Accumulating(model))
    pilot = Pilot(training, Schedule("constant"), 10)
    for batch in make_batches(6):
        loop_step(training, batch)
        pilot.step()
    assert pilot.last_epoch == 2


def test_a_line_of_a_pair_begins_before_the_first_of_both() -> None:
    training, step = stepped("pair")
    pilot = Pilot(training, Schedule("constant"), 10)
    before = [p.detach().clone() for p in training.trainable_parameters]
    pilot.driver.substrate.arm_line()
    step(make_batches(1)[0])
    line = pilot.driver.substrate._lines.before
    assert line is not None and same_tensors(line, before)


def test_a_step_of_two_without_a_step_fn_is_refused_before_anything_is_touched() -> None:
    model = make_model()
    training = make_training(model=model, optimizer=SAM(model.parameters(), lr=0.1))
    before = weights(model)
    with pytest.raises(OptimizerError, match=r"SAM.*first_step.*step_fn"):
        find_lr(training, progress=False)
    assert same_tensors(weights(model), before)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_optimizer_that_needs_a_closure_is_refused_when_it_is_bound(wrapped: bool) -> None:
    class Gentle(torch.optim.LBFGS):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    model: nn.Module = make_model()
    optimizer: Any = Gentle(model.parameters()) if wrapped else torch.optim.LBFGS(model.parameters())
    with pytest.raises(OptimizerError, match="must step without a closure"):
        make_training(model=model, optimizer=optimizer)


def test_a_class_that_calls_its_parent_is_hooked_twice_by_torch() -> None:
    """Else the tests above would show nothing."""
    torch.optim.AdamW(make_model().parameters())
    optimizer = Clipped(make_model().parameters())
    seen: list[int] = []
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    optimizer.step()
    assert len(seen) == 2


def test_other_instances_of_a_wrapper_go_on_as_before() -> None:
    model, other = make_model(), make_model()
    Pilot(make_training(model=model, optimizer=Pair(model)), Schedule("constant"), 10)
    Pair(other).step()
