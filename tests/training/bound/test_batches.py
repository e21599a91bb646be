"""Batches of whatever is usual: moved, copied before a step may spoil them, and their samples counted."""

import collections
import copy
import dataclasses
import math
import types
from collections import UserDict, UserList, defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from lrpilot.core.actions import Evaluate, Line, LineLosses, Progress, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import DataError
from lrpilot.policies.weighted_factors.reading import mean_losses
from lrpilot.training.bound.batches import bytes_of, copy_batch, count_samples, samples_of, tensors_in, to_device
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import loss_fn, make_batches, make_model, make_training, untouched


@dataclasses.dataclass
class Plain:
    x: Tensor
    y: Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: Tensor
    y: Tensor


@attrs.define
class Attrs:
    x: Tensor
    y: Tensor


class Named(NamedTuple):
    x: Tensor
    y: Tensor


class Object:
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y


class Movable(Object):
    """Moves itself in place, as graphs of PyG do."""

    def to(self, device: torch.device) -> "Movable":
        self.x, self.y = self.x.to(device), self.y.to(device)
        return self


class Silent(Movable):
    """Moves itself in place, and does not say so."""

    def to(self, device: torch.device) -> None:  # type: ignore[override]
        super().to(device)


class Keyed(dict):  # type: ignore[type-arg]
    __getattr__ = dict.__getitem__


class Listed(list):  # type: ignore[type-arg]
    pass


class Paired(tuple):
    pass


def read_only(x: Tensor, y: Tensor) -> Any:
    return types.MappingProxyType({"x": x, "y": y})


MAKES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda x, y: (x, y),
    "list": lambda x, y: [x, y],
    "dict": lambda x, y: {"x": x, "y": y},
    "user_dict": lambda x, y: UserDict(x=x, y=y),
    "user_list": lambda x, y: UserList([x, y]),
    "default_dict": lambda x, y: defaultdict(list, x=x, y=y),
    "attribute_dict": lambda x, y: Keyed(x=x, y=y),
    "read_only_mapping": read_only,
    "list_class": lambda x, y: Listed([x, y]),
    "tuple_class": lambda x, y: Paired([x, y]),
    "deque": lambda x, y: deque([x, y]),
    "named_tuple": Named,
    "dataclass": Plain,
    "frozen_slots": Frozen,
    "attrs": Attrs,
    "object": Object,
    "namespace": lambda x, y: types.SimpleNamespace(x=x, y=y),
    "movable": Movable,
    "movable_in_silence": Silent,
    "object_in_dict": lambda x, y: {"inner": Object(x, y), "name": "batch"},
    "dict_in_object": lambda x, y: Object({"x": x}, [y]),  # type: ignore[arg-type]
}


def samples(size: int = 4) -> tuple[Tensor, Tensor]:
    return torch.arange(2.0 * size).reshape(size, 2), torch.arange(size)


def tensors(batch: Any) -> list[Tensor]:
    return list(tensors_in(batch))


@pytest.mark.parametrize("name", MAKES)
def test_every_kind_is_moved_copied_and_counted(name: str) -> None:
    x, y = samples()
    batch = MAKES[name](x, y)
    assert count_samples(batch) == 4 and bytes_of(batch) == 4 * (2 * 4 + 8)
    moved = to_device(batch, torch.device("meta"))
    assert type(moved) is type(batch) and [t.device.type for t in tensors(moved)] == ["meta", "meta"]
    assert [id(t) for t in tensors(batch)] == [id(x), id(y)], "the user's own is as it was"
    own = copy_batch(batch)
    assert type(own) is type(batch) and own is not batch
    for mine, theirs in zip(tensors(own), (x, y), strict=True):
        assert torch.equal(mine, theirs)
        mine.zero_()
    assert torch.equal(x, samples()[0]) and torch.equal(y, samples()[1])


@pytest.mark.parametrize("name", MAKES)
def test_batches_of_unequal_size_weigh_by_their_samples(name: str) -> None:
    """Also where a step spoils its batch in place."""
    make = MAKES[name]

    def spoiling(model: Any, batch: Any) -> Tensor:
        inputs, targets = tensors(batch)
        loss = loss_fn(model, (inputs.clone(), targets.clone()))
        inputs.zero_()
        return loss

    pairs = make_batches(6)
    sizes = [8, 1, 5]
    val = [(x[:n].clone(), y[:n].clone()) for (x, y), n in zip(make_batches(3, seed=5), sizes, strict=True)]
    training = make_training(data=[make(*pair) for pair in pairs], val=[make(*pair) for pair in val], loss_fn=spoiling)
    expected = sum(n * float(loss_fn(training.model, pair).detach()) for n, pair in zip(sizes, val, strict=True)) / 14
    before = copy.deepcopy((pairs, val))
    assert training.evaluate() == pytest.approx(expected, rel=1e-6) == training.evaluate()
    substrate = LiveSubstrate(training)
    trial = Trial(constant(0.1), 3, evaluate="end")
    first, before_second = substrate.trial(trial), substrate.cost.forwards
    assert substrate.trial(trial) == first
    assert substrate.cost.forwards - before_second == pytest.approx(3 + 14 / 8)
    for mine, theirs in zip(tensors([pairs, val]), tensors(list(before)), strict=True):
        assert torch.equal(mine, theirs)


def test_what_is_one_thing_in_a_batch_is_one_in_its_copy() -> None:
    x, _ = samples()
    ring: list[Any] = [x]
    ring.append(ring)
    own = copy_batch({"inputs": x, "targets": x, "ring": ring})
    assert own["inputs"] is own["targets"] is own["ring"][0] is not x and own["ring"][1] is own["ring"]


def test_a_copy_is_deep_but_for_what_a_batch_merely_refers_to() -> None:
    model, array, deep = torch.nn.Linear(1, 1), np.zeros(2), Object({"a": [Object(*samples())]}, None)  # type: ignore[arg-type]
    own = copy_batch(Object([model, len, iter(())], {"array": array, "deep": deep}))  # type: ignore[arg-type]
    assert own.x[0] is model and own.x[1] is len
    own.y["array"][0] = own.y["deep"].x["a"][0].x[0] = 7
    assert array[0] == 0 and deep.x["a"][0].x[0].tolist() == [0, 1]  # type: ignore[index]


def test_a_copy_still_asks_for_gradients() -> None:
    noise = torch.ones(2, requires_grad=True)
    own = copy_batch([noise, noise * 2, torch.ones(2)])
    assert [t.requires_grad and t.is_leaf for t in own] == [True, True, False]


def packed() -> PackedSequence:
    return pack_sequence([torch.ones(2, 4), torch.ones(3, 4), torch.ones(1, 4)], enforce_sorted=False)


def test_a_packed_sequence_is_moved_by_its_own_means() -> None:
    moved = to_device((packed(), torch.zeros(3)), torch.device("meta"))
    assert moved[0].data.device.type == "meta" and moved[0].batch_sizes.device.type == "cpu"
    batch = packed()
    own = copy_batch({"x": batch})["x"]
    own.data.zero_()
    assert bool((batch.data == 1).all()) and torch.equal(own.sorted_indices, batch.sorted_indices)
    assert count_samples(batch) == count_samples({"x": batch, "lengths": torch.ones(3)}) == 3


def nested(layout: torch.layout) -> Tensor:
    return torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=layout)


ODD: dict[str, tuple[Callable[[], Tensor], int]] = {
    "nested": (lambda: nested(torch.strided), 5 * 4 * 4),
    "jagged": (lambda: nested(torch.jagged), 5 * 4 * 4),
    "sparse_coo": (lambda: torch.eye(2).to_sparse(), 2 * (2 * 8 + 4)),
    "sparse_csr": (lambda: torch.eye(2).to_sparse_csr(), 2 * 2 * 4),
    "expanded": (lambda: torch.ones(1, 3).expand(2, 3), 2 * 3 * 4),
    "complex": (lambda: torch.ones(2, dtype=torch.complex64), 16),
    "bool": (lambda: torch.ones(2, dtype=torch.bool), 2),
}


@pytest.mark.filterwarnings("ignore:.*prototype stage:UserWarning", "ignore:.*beta state:UserWarning")
@pytest.mark.parametrize("name", ODD)
def test_tensors_of_every_layout(name: str) -> None:
    make, memory = ODD[name]
    batch = {"x": make()}
    assert count_samples(batch) == 2 and bytes_of(batch) == memory
    assert to_device(batch, torch.device("cpu"))["x"] is batch["x"]
    own = copy_batch(batch)["x"]
    assert own.layout is batch["x"].layout and own.is_nested == batch["x"].is_nested
    before = [part.clone() for part in pieces(batch["x"])]
    for part in pieces(own):
        part.zero_()
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(pieces(batch["x"]), before, strict=True))
    assert all(bool(part.any()) for part in before)


def pieces(tensor: Tensor) -> list[Tensor]:
    """The strided tensors that a tensor consists of, sharing their memory."""
    if tensor.layout in (torch.sparse_coo, torch.sparse_csr):
        return [(tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()]
    return list(tensor.unbind()) if tensor.is_nested else [tensor]


# ------------------------------------------------------------------ samples


class Graphs(Movable):
    num_graphs = 7


def detection(count: int) -> Any:
    """As torchvision's detection references collate: images and targets of any size, side by side."""
    return (
        tuple(torch.zeros(3, 8 + i, 8) for i in range(count)),
        tuple({"boxes": torch.zeros(i, 4), "labels": torch.zeros(i)} for i in range(count)),
    )


COUNTS: list[tuple[Any, int | None]] = [
    (torch.zeros(5, 2), 5),
    (np.zeros((5, 2)), 5),
    ((torch.zeros(4, 2), torch.zeros(9)), 4),
    ({"y": torch.zeros(3)}, 3),
    (UserDict(x=torch.zeros(6, 1)), 6),
    ({"meta": "name", "x": [torch.zeros(2, 2)]}, 2),
    ({"step": torch.tensor(1), "x": torch.zeros(4, 2)}, 4),
    ({"scale": torch.ones(1), "x": torch.zeros(4, 2), "y": torch.zeros(4)}, 4),
    ((torch.zeros(4, 2), torch.zeros(2, 9), torch.zeros(4)), 4),
    ({"views": [torch.zeros(4, 2), torch.zeros(4, 2)], "y": torch.zeros(4)}, 4),
    ((["a", "b", "c"], [1, 2, 3]), 3),
    ((["a", "b", "c"], torch.zeros(3)), 3),
    (detection(5), 5),
    (detection(2), 2),
    ([(torch.zeros(4, 2), torch.zeros(4)), (torch.zeros(3, 2), torch.zeros(3))], 7),
    ([{"x": torch.zeros(4, 2)}, {"x": torch.zeros(1, 2)}], 5),
    ([("text", 3), ("text", 4)], 2),
    ((torch.zeros(0, 2), torch.zeros(0)), 0),
    ({"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "x": torch.zeros(4, 3)}, 4),
    ({"x": torch.zeros(4, 3), "aux": []}, 4),
    (Graphs(*samples()), 7),
    (collections.Counter("aab"), None),
    (torch.tensor(1.0), None),
    (["a", "b", "c"], 3),
    ([], 0),
    ("text", None),
    (None, None),
    (3, None),
]


@pytest.mark.parametrize(("batch", "count"), COUNTS)
def test_samples_are_counted_as_far_as_they_can_be_seen(batch: Any, count: int | None) -> None:
    assert samples_of(batch) == count
    assert count_samples(batch) == (1 if count is None else count)


def test_it_is_said_where_samples_cannot_be_counted(caplog: pytest.LogCaptureFixture) -> None:
    data = [3, 4, 5]
    training = make_training(
        data=data, val=data, loss_fn=lambda model, batch: loss_fn(model, make_batches()[0]) * batch
    )
    assert training.evaluate() == training.evaluate()
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "batch of train_data cannot be counted (int without" in caplog.text and "counts as one" in caplog.text


# ------------------------------------------------------------ empty batches


def empty() -> Any:
    inputs, targets = make_batches()[0]
    return inputs[:0], targets[:0]


@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_empty_batch_weighs_nothing(at: int) -> None:
    val = make_batches(3, seed=5)
    alone = make_training(val=val)
    beside = make_training(val=[*val[:at], empty(), *val[at:]])
    trial = Trial(constant(0.1), 2, evaluate="end", read_every=1)
    ends = [LiveSubstrate(training) for training in (alone, beside)]
    assert ends[0].trial(trial) == ends[1].trial(trial)
    assert ends[0].evaluate(Evaluate()) == ends[1].evaluate(Evaluate()) == alone.evaluate()
    assert ends[0].cost.forwards == ends[1].cost.forwards
    assert ends[0].price(Evaluate()) == ends[1].price(Evaluate()) == 3


def test_the_first_training_batch_may_be_empty() -> None:
    training = make_training(data=[empty(), *make_batches()], val=make_batches())
    assert training.probe_data.batch_size == 8


@pytest.mark.parametrize("where", ["data", "val"])
def test_data_without_a_sample_is_refused(where: str) -> None:
    training = make_training(**{where: [empty(), empty()]})
    with untouched(training.model, training.raw_optimizer), pytest.raises(DataError, match="samples, got none in"):
        training.evaluate()


def test_statistics_of_batch_norm_leave_empty_batches_out() -> None:
    with_empty = make_training(model=make_model(batch_norm=True), data=[*make_batches(), empty()], val=make_batches())
    found = LiveSubstrate(with_empty).evaluate(Evaluate(reestimate=True))
    alone = make_training(model=make_model(batch_norm=True), data=make_batches(), val=make_batches())
    assert found == pytest.approx(LiveSubstrate(alone).evaluate(Evaluate(reestimate=True)), rel=0.1)


def test_a_line_copies_its_batches_for_every_factor() -> None:
    def spoiling(model: Any, batch: Plain) -> Tensor:
        return loss_fn(model, (batch.x.mul_(0.5), batch.y))

    data = [Plain(x, y) for x, y in make_batches()]
    training = make_training(data=data, val=data, loss_fn=spoiling)
    substrate = LiveSubstrate(training)
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(copy_batch(data[0]))
    substrate.after_kept_step()
    losses = substrate.line(Line((0.0, 1.0, 0.0, 1.0), batches=2))
    assert all(row[:2] == row[2:] and row[0] != row[1] for row in losses)


def test_a_line_weighs_its_batches_by_their_samples() -> None:
    """Its mean over batches of any size is that over the samples, read slowly."""
    sizes = [8, 8, 1, 5]
    data = [(x[:n], y[:n]) for (x, y), n in zip(make_batches(4), sizes, strict=True)]
    training = make_training(data=data, val=data)
    substrate = LiveSubstrate(training)
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(data[0])
    substrate.after_kept_step()
    line = Line((0.0, 1.0), batches=4)
    losses = substrate.line(line)
    assert substrate.line_shares(line) == pytest.approx([n / 22 for n in sizes])
    assert substrate.line_shares(Line((1.0,), batches=2)) == ()
    seen = LineLosses(Progress(1, None), line.factors, losses, substrate.line_shares(line))
    whole = torch.cat([x for x, _ in data]), torch.cat([y for _, y in data])
    assert mean_losses(seen)[1] == pytest.approx(float(loss_fn(training.model, whole).detach()))
    with_empty = replace(seen, losses=(*losses, (math.nan, math.nan)), shares=(*seen.shares, 0.0))
    assert mean_losses(with_empty) == mean_losses(seen)
