"""Every way of running on two ranks that torch has: the numbers of one process, no trace, and resume, or a refusal."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

import lrpilot.training.distributed as ours
from lrpilot.core.actions import Evaluate, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import DataError, RanksDisagreeError
from lrpilot.testing import check_same_step
from lrpilot.training.bound.facts import facts_of
from lrpilot.training.measure.substrate import LiveSubstrate
from parallel_kinds import KINDS, METHODS, ONE, WORLD, Case, agrees, start, tried, try_all
from small_training import loss_fn, make_batches

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
RIGHT = [kind for kind in KINDS if kind != "FSDP1"]


def spawned(monkeypatch: pytest.MonkeyPatch, work: Any, *arguments: Any) -> Any:
    """Two processes that do some work; those that raise are waited for."""
    paths = os.pathsep.join(str(Path(__file__).parents[i]) for i in (1, 2))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([paths, os.environ.get("PYTHONPATH", "")]))
    context = torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, *arguments)) for rank in range(WORLD)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)  # a hang is what these tests look for
    hang = any(process.is_alive() for process in processes)
    for process in processes:
        process.kill()
    assert not hang, "the ranks wait for each other"
    return [process.exitcode for process in processes]


def left_by(work: Callable[..., None], folder: Path) -> list[dict[str, Any]]:
    """What each rank has left in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        assert spawned(patch, work, str(folder)) == [0, 0]
    return [torch.load(folder / str(rank), weights_only=True) for rank in range(WORLD)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return left_by(try_all, tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return tried(ONE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", RIGHT)
def test_every_kind_measures_what_one_process_does(
    seen: list[dict[str, Any]], reference: dict[str, Any], kind: str, method: str
) -> None:
    mine = seen[0][kind][method]
    assert mine == seen[1][kind][method]
    assert agrees(mine, reference[method]), (mine, reference[method])


@pytest.mark.parametrize("method", ["undisturbed", "resumed"])
def test_the_reference_itself_is_undisturbed_and_resumes(reference: dict[str, Any], method: str) -> None:
    assert set(reference[method]) == {1.0}


def test_the_first_fsdp_is_refused_with_the_second_as_the_remedy(seen: list[dict[str, Any]]) -> None:
    assert all("ModelError" in result and "fully_shard" in result for result in seen[0]["FSDP1"].values())


# ------------------------------------------------------------------ one by one


def put_in_words(rank: int, folder: str) -> None:
    start(rank, f"{folder}/rendezvous")
    words: dict[str, Any] = {}
    for kind in ("DDP", "FSDP2 root", "DTensor", "module inside DDP"):
        words[f"loss {kind}"] = after_a_loss_that_fails(kind, rank)
    words["uneven"] = uneven_held_out(rank)
    words["same step"] = same_step_as_the_wrapper(rank)
    words["own pass"] = a_pass_before_a_measurement(rank)
    case = Case("ZeRO", rank, adam=True)
    words["zero"] = [facts_of(case.training).optimizer, facts_of(case.training).customary_lr]
    torch.save(words, f"{folder}/{rank}")
    dist.destroy_process_group()


class FailsOnce:
    """A loss that raises after its forward pass, at one call, on rank 1."""

    def __init__(self, rank: int, call: int) -> None:
        self.left = call if rank == 1 else -1

    def __call__(self, model: Any, batch: Any) -> Tensor:
        loss = loss_fn(model, batch)
        self.left -= 1
        if self.left == 0:
            raise ZeroDivisionError
        return loss


def after_a_loss_that_fails(kind: str, rank: int) -> list[Any]:
    """The error of a Trial, and whether training goes on as if there had been none, bit for bit."""
    ends: list[Tensor] = []
    error = ""
    for fails in (False, True):
        case = Case(kind, rank, loss_fn=FailsOnce(rank, 4), prove=False)
        case.loop(None, 2)
        if fails:
            try:
                LiveSubstrate(case.training).trial(Trial(constant(0.1), 8, evaluate="end"))
            except (ZeroDivisionError, RanksDisagreeError) as caught:
                error = type(caught).__name__
        case.loop(None, 3, 2)
        ends.append(case.weights())
    return [error, torch.equal(*ends)]


def uneven_held_out(rank: int) -> str:
    case = Case("FSDP2", rank, val_data=make_batches(2 + rank, seed=3))
    try:
        LiveSubstrate(case.training).evaluate(Evaluate())
    except DataError as error:
        return str(error)
    return "nothing was raised"


def same_step_as_the_wrapper(rank: int) -> bool:
    """A step of the module inside is the loop's own, which calls the wrapper; bitwise."""
    case = Case("module inside DDP", rank)

    def own(batch: Any) -> Tensor:
        case.optimizer.zero_grad()
        loss = loss_fn(case.called, batch)
        loss.backward()
        case.optimizer.step()
        return loss

    check_same_step(own, case.training, case.data[0])
    return True


def a_pass_before_a_measurement(rank: int) -> bool:
    """What the loop's own pass has gathered is not what a measurement computes with after it has moved the shards."""
    case = Case("FSDP2 root", rank)
    substrate = LiveSubstrate(case.training)
    substrate.mark("start")
    first = substrate.evaluate(Evaluate())
    case.loop(None, 3)
    with torch.no_grad():
        loss_fn(case.model, case.data[0])
    substrate.rewind("start")
    return substrate.evaluate(Evaluate()) == first


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return left_by(put_in_words, tmp_path_factory.mktemp("words"))


@pytest.mark.parametrize("kind", ["DDP", "FSDP2 root", "DTensor", "module inside DDP"])
def test_a_loss_that_fails_on_one_rank_stops_all_and_leaves_no_trace(words: list[dict[str, Any]], kind: str) -> None:
    assert [each[f"loss {kind}"] for each in words] == [["RanksDisagreeError", True], ["ZeroDivisionError", True]]


def test_held_out_batches_that_differ_in_number_are_refused_where_passes_communicate(
    words: list[dict[str, Any]],
) -> None:
    assert all("as many held-out batches" in each["uneven"] for each in words)


def test_a_step_of_the_module_inside_a_wrapper_is_the_wrappers(words: list[dict[str, Any]]) -> None:
    assert all(each["same step"] for each in words)


def test_a_pass_of_ones_own_before_a_measurement_does_not_keep_it_from_the_shards(words: list[dict[str, Any]]) -> None:
    assert all(each["own pass"] for each in words)


def test_of_zero_the_optimizer_inside_is_told(words: list[dict[str, Any]]) -> None:
    assert [each["zero"] for each in words] == [["adam", 1e-3]] * 2


# ------------------------------------------------------- inside a collective


def fail_before_the_backward_pass(rank: int, folder: str) -> None:
    """Rank 1 fails in a step_fn, while rank 0 waits for its gradients."""
    start(rank, f"{folder}/rendezvous")
    ours.PATIENCE = ours.timedelta(seconds=2)
    case = Case("DDP", rank, prove=False)
    calls = []

    def step(batch: Any) -> Tensor:
        calls.append(1)
        loss = loss_fn(case.model, batch)
        case.optimizer.zero_grad()
        if rank == 1 and len(calls) == 3:
            raise ZeroDivisionError
        loss.backward()
        case.optimizer.step()
        return loss

    case.training.step_fn = step
    try:
        LiveSubstrate(case.training).trial(Trial(constant(0.1), 8))
    except Exception as error:
        torch.save([type(error).__name__, *getattr(error, "__notes__", [])], f"{folder}/{rank}")
        os._exit(3)


def test_a_failure_while_the_others_are_in_a_collective_ends_all_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spawned(monkeypatch, fail_before_the_backward_pass, str(tmp_path)) == [3, 3]
    waited, failed = (torch.load(tmp_path / str(rank), weights_only=True) for rank in range(WORLD))
    assert waited == ["RanksDisagreeError"]
    assert failed[0] == "ZeroDivisionError" and "inside a collective" in failed[1]
