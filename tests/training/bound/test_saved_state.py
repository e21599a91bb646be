"""Saved states: weights and optimizer go back, time does not; in place, from a file, into the right training only."""

from typing import Any

import pytest
import torch
from torch import nn

from lrpilot import Training
from lrpilot.errors import StateError
from lrpilot.training.bound.state import SavedState, live_tree
from lrpilot.training.restore.tree import tensors_of
from odd_optimizers import WRAPPERS
from small_training import (
    assert_equal,
    everything,
    loop_step,
    make_batches,
    make_model,
    make_training,
    same_tensors,
    untouched,
    weights,
)


def test_it_moves_weights_and_optimizer_and_nothing_else() -> None:
    training = make_training(model=make_model(batch_norm=True, dropout=0.3))
    model, optimizer = training.model, training.raw_optimizer
    batches = make_batches()
    loop_step(training, batches[0])
    saved = SavedState.take(training)
    then = everything(model, optimizer)
    for batch in batches[1:4]:
        loop_step(training, batch)
    model.eval()
    optimizer.param_groups[0]["lr"] = 0.025
    now = everything(model, optimizer)
    saved.rewind(training)
    after = everything(model, optimizer)
    assert_equal([after[k] for k in ("parameters", "buffers")], [then[k] for k in ("parameters", "buffers")])
    assert_equal(after["optimizer"]["state"], then["optimizer"]["state"])
    stays = ("grads", "grad_identity", "modes", "torch_rng", "numpy_rng", "python_rng", "groups")
    assert_equal([after[k] for k in stays], [now[k] for k in stays])


def test_it_can_be_used_again_and_survives_a_file(tmp_path: Any) -> None:
    training = make_training()
    loop_step(training, make_batches()[0])
    saved = SavedState.take(training)
    then = weights(training.model)
    torch.save(saved.saved, tmp_path / "saved.pt")
    loaded = SavedState(torch.load(tmp_path / "saved.pt", weights_only=True))
    for one in (saved, loaded, saved):
        loop_step(training, make_batches()[1])
        one.rewind(training)
        assert same_tensors(weights(training.model), then)


def test_one_of_before_the_first_step_rewinds_to_no_optimizer_state() -> None:
    training = make_training()
    saved = SavedState.take(training)
    loop_step(training, make_batches()[0])
    saved.rewind(training)
    assert not training.raw_optimizer.state


def test_a_tensor_lr_keeps_its_value_and_its_identity() -> None:
    model, lr = make_model(), torch.tensor(0.01)
    training = make_training(model=model, optimizer=torch.optim.Adam(model.parameters(), lr=lr))
    saved = SavedState.take(training)
    lr.fill_(0.5)
    saved.rewind(training)
    assert training.raw_optimizer.param_groups[0]["lr"] is lr and lr.item() == 0.5


def test_a_rewind_is_in_place() -> None:
    training = make_training(model=make_model(batch_norm=True))
    loop_step(training, make_batches()[0])
    held = live_tree(training)
    saved = SavedState.take(training)
    loop_step(training, make_batches()[1])
    saved.rewind(training)
    assert [id(t) for t in tensors_of(live_tree(training))] == [id(t) for t in tensors_of(held)]


def test_extra_state_goes_back_with_it() -> None:
    generator = torch.Generator().manual_seed(1)
    training = make_training(state={"generator": generator})
    saved, expected = SavedState.take(training), torch.rand(2, generator=torch.Generator().manual_seed(1))
    torch.rand(5, generator=generator)
    saved.rewind(training)
    assert torch.equal(torch.rand(2, generator=generator), expected)


def wider() -> Training:
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    return make_training(model=model)


def deeper() -> Training:
    return make_training(model=nn.Sequential(*make_model(), nn.Linear(3, 3)))


def regrouped() -> Training:
    model = make_model()
    groups = [{"params": list(layer.parameters())} for layer in (model[0], model[2])]
    return make_training(model=model, optimizer=torch.optim.SGD(groups, lr=0.1))


def with_generator() -> Training:
    return make_training(state={"generator": torch.Generator()})


@pytest.mark.parametrize("other", [wider, deeper, regrouped, with_generator])
def test_one_of_another_training_is_refused_and_nothing_is_written(other: Any) -> None:
    saved = SavedState.take(make_training())
    training = other()
    with untouched(training.model, training.raw_optimizer), pytest.raises(StateError, match="same training"):
        saved.require_fits(training)
    with pytest.raises(StateError, match="lrpilot wrote"):
        SavedState({"weights": 3}).require_fits(training)


def test_one_that_fits_is_accepted_whatever_the_optimizer_has_seen() -> None:
    training = make_training()
    saved = SavedState.take(training)
    loop_step(training, make_batches()[0])
    saved.require_fits(training)


@pytest.mark.parametrize("name", ["lookahead in attributes", "master weights", "facade", "pair"])
def test_slow_weights_that_a_wrapper_holds_go_back_with_it(name: str) -> None:
    def flown(*, away: bool) -> list[torch.Tensor]:
        model = make_model()
        training = make_training(model=model, optimizer=WRAPPERS[name](model))
        for batch in make_batches(3):
            training.step(batch)
        saved = SavedState.take(training)
        for batch in make_batches(3) if away else ():
            training.step(batch)
        saved.rewind(training)
        for batch in make_batches(3):
            training.step(batch)
        return weights(model)

    assert same_tensors(flown(away=True), flown(away=False))
