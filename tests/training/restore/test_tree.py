"""Trees of tensors are copied without sharing, and written back in place."""

import copy
from collections import OrderedDict, UserDict
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from lrpilot.training.restore.tree import alias_tree, clone_tree, map_leaves, tensors_of, write_tree

TENSORS = st.builds(
    lambda shape, dtype, seed: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype),
    st.sampled_from([(), (1,), (3,), (2, 2), (0,)]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.integers(0, 99),
)
LEAVES = TENSORS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


class Pair(NamedTuple):
    weight: Tensor
    step: int


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def spoil(tree: Any) -> None:
    """Change every tensor in place, and every dict and list in its content."""
    for tensor in list(tensors_of(tree)):
        tensor.add_(1)
    if isinstance(tree, dict):
        for value in list(tree.values()):
            spoil(value)
        tree["born"] = torch.ones(2)
        for key in list(tree)[::2]:
            tree[key] = "overwritten"
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            spoil(value)
        if isinstance(tree, list):
            tree.reverse()
            tree.append(None)


@given(TREES)
def test_a_clone_equals_and_shares_nothing(tree: Any) -> None:
    cloned = clone_tree(tree)
    assert equal(cloned, tree)
    storages = {t.data_ptr() for t in tensors_of(tree) if t.numel()}
    assert not storages & {t.data_ptr() for t in tensors_of(cloned) if t.numel()}


@given(TREES)
def test_writing_back_undoes_any_change_and_keeps_identities(tree: Any) -> None:
    saved, reference, identity = clone_tree(tree), clone_tree(tree), alias_tree(tree)
    spoil(tree)
    written = write_tree(tree, saved, identity)
    assert equal(written, reference)
    assert [id(t) for t in tensors_of(written)] == [id(t) for t in tensors_of(identity)]
    if isinstance(tree, (dict, list)):
        assert written is tree
    spoil(written)
    assert equal(saved, reference), "what was saved can be written again: it is not aliased"


@given(TREES)
def test_without_identities_live_tensors_are_kept_where_they_fit(tree: Any) -> None:
    saved = clone_tree(tree)
    before = [id(t) for t in tensors_of(tree)]
    for tensor in tensors_of(tree):
        tensor.mul_(2)
    written = write_tree(tree, saved)
    assert equal(written, saved)
    assert [id(t) for t in tensors_of(written)] == before


def test_born_keys_are_deleted_and_lost_ones_come_back() -> None:
    momentum = torch.ones(3)
    live: dict[str, Any] = {"step": torch.tensor(1.0), "buffer": momentum}
    saved, identity = clone_tree(live), alias_tree(live)
    del live["buffer"]
    live["born"] = torch.zeros(2)
    write_tree(live, saved, identity)
    assert list(live) == ["step", "buffer"] and live["buffer"] is momentum


def test_a_tensor_that_changed_its_kind_is_replaced_by_the_original_object() -> None:
    original = torch.arange(3.0)
    live = {"t": original}
    saved, identity = clone_tree(live), alias_tree(live)
    live["t"] = torch.zeros(5, dtype=torch.float64)
    write_tree(live, saved, identity)
    assert live["t"] is original and torch.equal(original, torch.arange(3.0))


def test_a_file_may_hold_another_dtype_and_the_file_wins() -> None:
    live = {"t": torch.zeros(2)}
    write_tree(live, {"t": torch.ones(2, dtype=torch.float64)})
    assert live["t"].dtype == torch.float64 and live["t"].tolist() == [1.0, 1.0]


def test_containers_keep_their_class() -> None:
    tree = {"pair": Pair(torch.ones(1), 3), "ordered": OrderedDict(a=torch.zeros(1))}
    cloned = clone_tree(tree)
    assert isinstance(cloned["pair"], Pair) and isinstance(cloned["ordered"], OrderedDict)
    tree["pair"].weight.add_(1)
    written = write_tree(tree, cloned)
    assert isinstance(written["pair"], Pair) and written["pair"].weight.item() == 1.0
    doubled = map_leaves(tree, lambda t: t * 2, lambda leaf: leaf)
    assert isinstance(doubled["ordered"], OrderedDict) and doubled["pair"].weight.item() == 2.0


def test_a_view_is_written_through_its_base() -> None:
    base = torch.arange(6.0)
    live = [base[2:4]]
    saved = clone_tree(live)
    base.zero_()
    write_tree(live, saved)
    assert base.tolist() == [0, 0, 2, 3, 0, 0]


@pytest.mark.parametrize("make", [lambda: torch.eye(3).to_sparse(), lambda: torch.ones(1).expand(4)])
def test_sparse_and_overlapping_tensors_come_back(make: Any) -> None:
    live = {"t": make()}
    saved = clone_tree(live)
    live["t"] = live["t"] * 3
    written = write_tree(live, saved)
    assert torch.equal(written["t"].to_dense(), make().to_dense())


def test_an_overlapping_tensor_that_nobody_changed() -> None:
    live = {"t": torch.ones(1).expand(4)}
    saved, identity = clone_tree(live), alias_tree(live)
    assert torch.equal(write_tree(live, saved, identity)["t"], torch.ones(4))


def test_what_came_back_from_nothing_is_not_aliased() -> None:
    saved = {"momentum_buffer": torch.ones(2)}
    write_tree({}, saved)["momentum_buffer"].add_(1)
    assert saved["momentum_buffer"].tolist() == [1, 1]


def test_tensors_of_looks_into_every_mapping() -> None:
    batch = UserDict(x=torch.ones(2), nested=UserDict(y=[torch.zeros(1)]))
    assert [t.numel() for t in tensors_of(batch)] == [2, 1]


def test_clone_goes_to_a_device_and_comes_back() -> None:
    live = {"t": torch.arange(3.0)}
    saved = clone_tree(live, torch.device("cpu"))
    assert saved["t"].data_ptr() != live["t"].data_ptr()
    live["t"].zero_()
    assert write_tree(live, saved)["t"].tolist() == [0, 1, 2]


def test_gradients_do_not_leak_into_a_clone() -> None:
    weight = torch.ones(2, requires_grad=True)
    cloned = clone_tree([weight, weight * 2])
    assert not any(t.requires_grad for t in cloned)
    copied = copy.deepcopy(cloned)  # would raise for a tensor inside a graph
    write_tree([weight], [torch.full((2,), 5.0)])
    assert weight.requires_grad and weight.tolist() == [5.0, 5.0] and copied[0].tolist() == [1.0, 1.0]
