"""check_same_step tells a step that is the same from one that is not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot import Training
from lrpilot.testing import check_same_step


def make() -> tuple[nn.Module, torch.optim.Optimizer, list[Any]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    batches = [(torch.randn(6, 4), torch.randint(2, (6,))) for _ in range(3)]
    return model, torch.optim.AdamW(model.parameters(), lr=0.1), batches


def loss_fn(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def test_the_same_step_passes_and_leaves_no_trace() -> None:
    model, optimizer, batches = make()
    training = Training(model, optimizer, loss_fn, batches)
    before = [p.detach().clone() for p in model.parameters()]

    def user_step(batch: Any) -> Tensor:
        optimizer.zero_grad()
        loss = loss_fn(model, batch)
        loss.backward()
        optimizer.step()
        return loss

    check_same_step(user_step, training, batches[0])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not optimizer.state


def clipped(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    def user_step(batch: Any) -> None:
        optimizer.zero_grad()
        loss_fn(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()

    return user_step


def test_clipping_is_found_and_step_fn_is_the_remedy() -> None:
    model, optimizer, batches = make()
    user_step = clipped(model, optimizer)
    with pytest.raises(AssertionError, match="step_fn"):
        check_same_step(user_step, Training(model, optimizer, loss_fn, batches), batches[0])

    def step_fn(batch: Any) -> Tensor:
        user_step(batch)
        return torch.tensor(0.0)

    check_same_step(user_step, Training(model, optimizer, loss_fn, batches, step_fn=step_fn), batches[0])


def test_another_loss_is_found() -> None:
    model, optimizer, batches = make()
    training = Training(model, optimizer, loss_fn, batches)

    def user_step(batch: Any) -> Tensor:
        return training.step(batch) * 2

    with pytest.raises(AssertionError, match="loss differs"):
        check_same_step(user_step, training, batches[0])


def test_a_forgotten_extra_state_and_extra_randomness_are_found() -> None:
    model, optimizer, batches = make()

    class Counter:
        """Extra state that the user's loop moves on."""

        def __init__(self) -> None:
            self.count = 0

        def state_dict(self) -> dict[str, int]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.count = state["count"]

    counter = Counter()
    training = Training(model, optimizer, loss_fn, batches, state={"counter": counter})

    def counting(batch: Any) -> Tensor:
        counter.count += 1
        return training.step(batch)

    def drawing(batch: Any) -> Tensor:
        loss = training.step(batch)
        torch.rand(1)
        return loss

    with pytest.raises(AssertionError, match="count"):
        check_same_step(counting, training, batches[0])
    assert counter.count == 0
    with pytest.raises(AssertionError, match="random"):
        check_same_step(drawing, training, batches[0])
