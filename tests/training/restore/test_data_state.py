"""What data holds and moves as it is read begins where it once stood, and is left as the loop had it."""

import ctypes
import functools
import io
import multiprocessing
import random
from collections import OrderedDict, UserDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from lrpilot.errors import DataError
from lrpilot.training.restore.data_state import DataState, data_named_by


class Data(Dataset[Any]):
    """A data set with one attribute."""

    def __init__(self, held: Any = None) -> None:
        self.held = held


class Stream(IterableDataset[Any]):
    def __init__(self, held: Any = None) -> None:
        self.held = held

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Slotted:
    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


class Reader:
    def __init__(self) -> None:
        self.position = 0


def rebind(data: Any, value: Any) -> None:
    data.held = value


def count_on(data: Any) -> None:
    data.held.value += 1


# What is held, how it moves, and how its content is seen.
MOVES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "number": (lambda: 3, lambda d: rebind(d, 4), lambda d: d.held),
    "text": (lambda: "a.tar", lambda d: rebind(d, "b.tar"), lambda d: d.held),
    "tuple": (lambda: (1, 2), lambda d: rebind(d, (1, 3)), lambda d: d.held),
    "numpy_number": (lambda: np.int64(3), lambda d: rebind(d, d.held + 1), lambda d: int(d.held)),
    "list": (lambda: [1, 2], lambda d: d.held.append(3), lambda d: list(d.held)),
    "dict": (lambda: {"a": 1}, lambda d: d.held.update(b=2), lambda d: dict(d.held)),
    "ordered_dict": (lambda: OrderedDict(a=1, b=2), lambda d: d.held.move_to_end("a"), lambda d: list(d.held)),
    "user_dict": (lambda: UserDict(a=1), lambda d: d.held.update(a=2), lambda d: dict(d.held)),
    "set": (lambda: {1, 2}, lambda d: d.held.discard(1), lambda d: set(d.held)),
    "deque": (lambda: deque([1, 2, 3], maxlen=3), lambda d: d.held.append(4), lambda d: (list(d.held), d.held.maxlen)),
    "bytes": (lambda: bytearray(b"abc"), lambda d: d.held.extend(b"d"), lambda d: bytes(d.held)),
    "array": (lambda: np.zeros(3), lambda d: d.held.__setitem__(1, 2.0), lambda d: d.held.tolist()),
    "tensor": (lambda: torch.zeros(3), lambda d: d.held.add_(1), lambda d: d.held.tolist()),
    "shared_number": (
        lambda: multiprocessing.Value("i", 3),
        lambda d: setattr(d.held, "value", 4),
        lambda d: d.held.value,
    ),
    "ctypes": (lambda: ctypes.c_int(3), lambda d: setattr(d.held, "value", 4), lambda d: d.held.value),
    "object": (Reader, lambda d: setattr(d.held, "position", 1), lambda d: d.held.position),
    "slots": (lambda: Slotted(1), lambda d: setattr(d.held, "count", 2), lambda d: d.held.count),
    "another_object": (Reader, lambda d: rebind(d, Reader()), lambda d: id(d.held)),
    "file": (lambda: io.BytesIO(b"abcdef"), lambda d: d.held.read(2), lambda d: d.held.tell()),
    "born": (lambda: None, lambda d: setattr(d, "other", 3), lambda d: sorted(vars(d))),
    "gone": (lambda: 3, lambda d: delattr(d, "held"), lambda d: vars(d).get("held")),
    "python": (lambda: random.Random(0), lambda d: d.held.random(), lambda d: d.held.getstate()),
    "numpy": (lambda: np.random.default_rng(0), lambda d: d.held.random(), lambda d: str(d.held.bit_generator.state)),
    "torch": (torch.Generator, lambda d: torch.rand(1, generator=d.held), lambda d: d.held.get_state().tolist()),
    "transform": (nn.Identity, lambda d: d.held.eval(), lambda d: d.held.training),
    "nested": (
        lambda: [{"a": Reader()}],
        lambda d: setattr(d.held[0]["a"], "position", 5),
        lambda d: d.held[0]["a"].position,
    ),
}


@pytest.mark.parametrize("make", [Data, Stream, lambda held: Subset(Data(held), [0])], ids=["data", "stream", "subset"])
@pytest.mark.parametrize("name", MOVES)
def test_what_moves_is_put_back(name: str, make: Any) -> None:
    hold, move, look = MOVES[name]
    data = make(hold())
    inner = data.dataset if isinstance(data, Subset) else data
    state = DataState(data)
    first = look(inner)
    move(inner)
    moved = look(inner)
    assert moved != first
    loop = state.get()
    state.set(state.start)
    assert look(inner) == first
    move(inner)
    state.set(loop)
    assert look(inner) == moved


PLAIN = set(MOVES) - {"born", "gone", "another_object"}


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_it_goes_through_a_file_into_another_process(name: str, tmp_path: Path) -> None:
    hold, move, look = MOVES[name]
    data, fresh = Data(hold()), Data(hold())
    state = DataState(data)
    move(data)
    torch.save(state.plain(), tmp_path / "state.pt")
    DataState(fresh).set_plain(torch.load(tmp_path / "state.pt", weights_only=True))
    assert look(fresh) == look(data)


def test_what_no_file_can_hold_is_named() -> None:
    large, reader = torch.zeros(100_000), Reader()
    data = Data([large])
    assert DataState(data).plain() == {"states": [{}, None], "lost": []}, "nobody has moved it"
    state = DataState(data)
    data.held.append(large)
    assert state.plain()["lost"] == ["a list of 2 entries"]
    data.held = reader
    assert state.plain()["lost"] == ["held", "a list of 2 entries"]


def test_samples_in_a_buffer_go_into_a_file(tmp_path: Path) -> None:
    data, fresh = Data([]), Data([])
    state = DataState(data)
    data.held.append((torch.ones(3), 4, {"name": "a"}))
    torch.save(state.plain(), tmp_path / "state.pt")
    DataState(fresh).set_plain(torch.load(tmp_path / "state.pt", weights_only=True))
    assert str(fresh.held) == str(data.held) and state.plain()["lost"] == []


def test_what_was_opened_at_the_first_reading_stays_open_in_a_data_set_and_not_in_a_stream() -> None:
    """A handle may be opened once only (LMDB), an index may take long; how far a stream's reader is, is the loop's."""
    for data, stays in ((Data(), True), (Stream(), False)):
        state = DataState(data)
        data.held = reader = Reader()
        loop = state.get()
        state.set(state.start)
        assert (data.held is reader) == stays
        state.set(loop)
        assert data.held is reader


def test_an_iterator_that_the_loop_is_in_is_put_back() -> None:
    data = Stream()
    state = DataState(data)
    data.held = iter([1, 2, 3])
    next(data.held)
    loop = state.get()
    state.set(state.start)
    assert data.held is None
    data.held = iter("other")
    state.set(loop)
    assert list(data.held) == [2, 3]


@pytest.mark.parametrize("make", [lambda: iter([1]), lambda: (x for x in ()), lambda: zip([1], [2], strict=True)])
def test_what_can_be_read_once_is_named(make: Any) -> None:
    data = Data([Reader(), make()])
    assert DataState(data).one_shot == ("", type(data.held[1]).__name__)
    assert DataState(Stream(make())).one_shot[0] == "held"
    assert DataState(Data(Reader())).one_shot is None


def test_a_file_that_cannot_tell_where_it_stands_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a\nb\nc\n")
    with (tmp_path / "lines.txt").open() as file:
        state = DataState(Data(file))
        next(file)  # torch and Python alike: a text file cannot tell in the middle of its lines
        with pytest.raises(DataError, match=r"cannot be put back where the loop has it .*\. Open it in __iter__"):
            state.get()


def test_a_long_queue_that_reading_uses_up_is_refused() -> None:
    data = Data(list(range(100_000)))
    state = DataState(data)
    loop = state.get()
    data.held.pop()
    with pytest.raises(DataError, match="a list of 100000 entries that it holds has 99999 now"):
        state.set(loop)


def test_large_tensors_the_model_and_long_caches_are_left_alone() -> None:
    model = nn.Linear(2, 2)
    for held in (torch.zeros(100_000), np.zeros(100_000), model, {i: i for i in range(100_000)}):
        data = Data(held)
        state = DataState(data)
        if isinstance(held, nn.Module):
            held.eval()
        else:
            held[0] = 7
        state.set(state.start)
        assert data.held is held and (not model.training if held is model else held[0] == 7)


NOISE = torch.Generator()


def test_generators_of_functions_are_found() -> None:
    own, table = np.random.default_rng(0), random.Random(0)

    class Crop:
        def __init__(self) -> None:
            self.rng = random.Random(1)

        def __call__(self, x: Any) -> float:
            return self.rng.random()

        def apply(self, x: Any) -> float:
            return self.rng.random()

    def by_default(x: Any, rng: Any = table) -> float:
        return float(rng.random())

    for transform in (
        lambda x: own.random(),
        lambda x: float(torch.rand(1, generator=NOISE)),
        by_default,
        Crop(),
        Crop().apply,
        functools.partial(lambda rng, x: rng.random(), random.Random(3)),
    ):
        data = Data([transform])
        state = DataState(data)
        first = data.held[0](1)
        loop = state.get()
        state.set(state.start)
        assert data.held[0](1) == first
        then = data.held[0](1)
        state.set(loop)
        assert data.held[0](1) == then


def test_data_that_a_function_uses_is_found() -> None:
    data, number = Data(), 3
    loader = DataLoader(Stream())

    class Module:
        def __init__(self) -> None:
            self.data, self.name = data, "x"

        def batches(self) -> Iterator[Tensor]:
            yield torch.zeros(1)

    def by_default(data: Any = data) -> Any:
        return data

    assert data_named_by(lambda: (data, number)) == [data]
    assert data_named_by(lambda: iter(loader)) == [loader]
    assert data_named_by(by_default) == [data]
    assert data_named_by(Module().batches) == [data]
    assert data_named_by(print) == []
