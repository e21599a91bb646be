"""Global random generators go back, all of them, and leave with a file."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch

from lrpilot.training.restore.rng import get_rng, kept_rng, seed_rng, set_rng
from small_training import assert_equal


def draws() -> list[float]:
    numpy = [float(np.random.rand()), float(np.random.randn())]
    return [random.random(), random.gauss(0, 1), *numpy, float(torch.rand(()))]


def test_every_global_generator_goes_back() -> None:
    random.gauss(0, 1), np.random.randn()  # both keep a second value for the next call
    state = get_rng()
    first = draws()
    assert draws() != first
    set_rng(state)
    assert draws() == first


def test_generator_states_survive_a_file(tmp_path: Any) -> None:
    np.random.randn()
    torch.save(get_rng(), tmp_path / "rng.pt")
    first = draws()
    set_rng(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert draws() == first


def test_a_seed_is_what_it_is_to_torch() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    seed_rng(5)
    assert torch.equal(torch.rand(3), expected)


def test_a_seeded_block_is_repeatable_and_leaves_no_trace() -> None:
    seed_rng(3)
    before = get_rng()
    with kept_rng():
        seed_rng(7)
        first = draws()
    with pytest.raises(ZeroDivisionError), kept_rng():
        seed_rng(7)
        assert draws() == first
        raise ZeroDivisionError
    assert_equal(copy.deepcopy(get_rng()), before)


def pretend(kind: str, monkeypatch: pytest.MonkeyPatch, *, used: bool) -> list[Any]:
    """Pretend that there is such a device; the state of its generator, live."""
    state: list[Any] = [torch.tensor([1, 2], dtype=torch.uint8)]
    if kind == "mps":
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: used)
        monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state[0])
        monkeypatch.setattr(torch.mps, "set_rng_state", lambda new: state.__setitem__(0, new))
        return state
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: list(state))
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda new: state.__setitem__(slice(None), new))
    return state


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_generators_of_devices_go_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = pretend(kind, monkeypatch, used=True)
    with kept_rng():
        state[0] = torch.tensor([7, 7], dtype=torch.uint8)
    assert state[0].tolist() == [1, 2]


def test_a_device_that_nobody_uses_is_not_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend("cuda", monkeypatch, used=False)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: pytest.fail("woken"))
    assert "cuda" not in get_rng()
