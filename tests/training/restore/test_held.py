"""What modules and optimizers hold in attributes goes back: everything that the walk finds, whatever its kind."""

import array
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrpilot.training.restore.held import Held
from lrpilot.training.restore.walk import MOST, Surroundings, held_by


class Holder(nn.Module):
    """A module with one attribute."""

    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.thing = thing


class Plain:
    """An object of a class that somebody wrote."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("count", "late", "queue")

    def __init__(self) -> None:
        self.count, self.queue = 0, deque([1])


class Careful(dict[Any, Any]):
    """A dict that refuses to be written to, but by its own method."""

    def __setitem__(self, key: Any, value: Any) -> None:
        raise AssertionError("written")

    def clear(self) -> None:
        raise AssertionError("cleared")

    def note(self, key: Any, value: Any) -> None:
        dict.__setitem__(self, key, value)


def held(module: nn.Module) -> Held:
    return Held([module], Surroundings(roots=[module]))


def everything_held(module: nn.Module) -> list[Any]:
    return [thing for _, thing in held_by(module, Surroundings(roots=[module]))]


class Remembering(nn.Module):
    """Writes a memory in place, and notes what it has seen in an attribute that was not there."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.seen + 1 if hasattr(self, "seen") else 0
        self.seen = seen
        return x + self.memory.add_(1)


def test_a_tensor_that_is_written_in_place_goes_back() -> None:
    module = Remembering()
    memory, before = module.memory, held(module)
    for _ in range(2):
        module(torch.ones(3))
        before.restore()
        assert module.memory is memory and memory.tolist() == [0, 0, 0]


def test_a_tensor_that_is_written_past_its_counter_goes_back() -> None:
    module = Holder(torch.zeros(2))
    before, version = held(module), module.thing._version
    module.thing.data.add_(1)
    before.restore()
    assert module.thing.tolist() == [0, 0]
    assert module.thing._version == version  # so that a graph which holds it can still run backward


def test_a_hidden_state_that_is_part_of_a_graph_goes_back_as_it_is() -> None:
    weight = torch.ones(2, requires_grad=True)
    hidden = weight * 2
    module = Holder(hidden)
    before = held(module)
    module.thing = module.thing * 3
    before.restore()
    assert module.thing is hidden
    hidden.sum().backward()
    assert weight.grad is not None


def test_born_attributes_are_gone() -> None:
    module = Remembering()
    before = held(module)
    module(torch.ones(3))
    module.queue = deque([1])
    before.restore()
    assert not hasattr(module, "seen") and not hasattr(module, "queue")


def add_to_plain(thing: Plain) -> None:
    thing.count += 1
    thing.inner["queue"].append(3)
    thing.born = 1


def add_to_slots(thing: Slotted) -> None:
    thing.count += 1
    thing.late = 2
    thing.queue.append(2)


def swap(thing: OrderedDict[str, int]) -> None:
    thing.move_to_end("a")


# What is held, how it is moved, and what tells whether it has been.
MOVES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "deque": (lambda: deque([1, 2], maxlen=2), lambda d: d.append(3), lambda d: (list(d), d.maxlen)),
    "array": (lambda: np.arange(3.0), lambda a: a.__iadd__(1), lambda a: a.tolist()),
    "set": (lambda: {1, 2}, lambda s: s.add(3), sorted),
    "counter": (lambda: Counter("aab"), lambda c: c.update("ac"), dict),
    "list of lists": (lambda: [[1], [2, [3]]], lambda v: v[1][1].append(4), repr),
    "long list": (lambda: list(range(2 * MOST)), lambda v: v.append(0), len),
    "ordered dict": (lambda: OrderedDict(a=1, b=2), swap, list),
    "default dict": (lambda: defaultdict(list), lambda d: d["born"].append(1), dict),
    "dict by tensors": (lambda: {torch.zeros(1): torch.zeros(2)}, lambda d: next(iter(d.values())).add_(1), repr),
    "plain object": (lambda: Plain(count=0, inner={"queue": deque()}), add_to_plain, lambda t: repr(vars(t))),
    "slots": (Slotted, add_to_slots, lambda t: (t.count, list(t.queue), hasattr(t, "late"))),
    "namespace": (lambda: SimpleNamespace(n=1), lambda t: setattr(t, "n", 2), repr),
    "bytes": (lambda: bytearray(b"ab"), lambda b: b.extend(b"c"), bytes),
    "array of numbers": (lambda: array.array("d", [1.0]), lambda a: a.append(2.0), list),
    "torch generator": (torch.Generator, lambda g: torch.rand(1, generator=g), lambda g: g.get_state().tolist()),
    "numpy generator": (lambda: np.random.default_rng(0), lambda g: g.random(), lambda g: g.bit_generator.state),
    "random state": (lambda: np.random.RandomState(0), lambda g: g.rand(), lambda g: g.get_state()[2]),
    "python generator": (lambda: random.Random(0), lambda g: g.random(), lambda g: g.getstate()),
    "a module in a list": (lambda: [nn.Linear(1, 1)], lambda v: v[0].weight.data.add_(1), lambda v: float(v[0].weight)),
}


@pytest.mark.parametrize("kind", MOVES)
def test_it_goes_back_whatever_its_kind(kind: str) -> None:
    make, move, tell = MOVES[kind]
    module = Holder(make())
    thing = module.thing
    for parameter in thing[0].parameters() if kind == "a module in a list" else ():
        parameter.requires_grad_(False)  # a teacher
    start, before = tell(thing), held(module)
    for _ in range(2):
        move(module.thing)
        assert tell(module.thing) != start
        module.thing = None
        before.restore()
        assert module.thing is thing and tell(thing) == start


def test_a_container_of_ones_own_is_put_back_without_its_methods() -> None:
    module = Holder(Careful(a=1))
    before = held(module)
    module.thing.note("b", 2)
    before.restore()
    assert dict(module.thing) == {"a": 1}


def test_what_holds_the_training_is_not_held_by_it() -> None:
    module = Holder(None)
    trainer = Plain(model=module, steps=0, log=deque())
    module.thing = trainer
    before = held(module)
    trainer.steps, trainer.log = 1, deque([1])
    before.restore()
    assert trainer.steps == 1 and list(trainer.log) == [1]


def test_a_program_is_not_state() -> None:
    tokenizer = Plain(tree={i: {j: {} for j in range(100)} for i in range(100)})
    module = Holder(tokenizer)
    module.count = Plain(n=0)
    assert everything_held(module) == [module.count]


def test_functions_and_the_machinery_of_torch_are_left_alone() -> None:
    module = Holder(lambda: 1)
    before = held(module)
    patched = module.thing = lambda: 2
    module.stream = torch.profiler.ProfilerAction.NONE
    before.restore()
    assert module.thing is patched


def test_a_parameter_may_carry_a_master_copy() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.master = torch.zeros(2)
    before = Held([parameter], Surroundings(roots=[parameter]))
    parameter.master.add_(1)
    parameter.born = 1
    before.restore()
    assert parameter.master.tolist() == [0, 0] and not hasattr(parameter, "born")
