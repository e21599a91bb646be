"""Two processes over gloo: they decide alike, and a failure on one stops both with everything put back.

One start of the two processes flies every scenario: starting them is what takes the time.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from lrpilot import Pilot, Schedule, find_lr, fit
from lrpilot.core.actions import Average, Evaluate, Line, Train, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import RanksDisagreeError
from lrpilot.flight.horizon import Budget
from lrpilot.training.distributed import mean_over_ranks, require_same_action, together
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import (
    Listed,
    assert_equal,
    everything,
    loop_step,
    loss_fn,
    make_batches,
    make_model,
    make_training,
    own_loop,
)

TRIAL = Trial(constant(0.1), 4, evaluate="end")


class OnlyHereError(Exception):
    pass


class FailsOn:
    """A loss that raises at one call on one rank."""

    def __init__(self, rank: int, call: int, here: int) -> None:
        self.fails = rank == here
        self.call = call
        self.calls = 0

    def __call__(self, model: Any, batch: Any) -> Tensor:
        self.calls += 1
        if self.fails and self.calls == self.call:
            raise OnlyHereError
        return loss_fn(model, batch)


def failed_trial(rank: int, call: int) -> str:
    """A Trial that fails on rank 1 at the given call of the loss; the name of the error on this rank."""
    training = make_training(model=make_model(dropout=0.2, batch_norm=True), loss_fn=FailsOn(1, call, rank))
    loop_step(training, make_batches()[0])
    before = everything(training.model, training.raw_optimizer)
    try:
        LiveSubstrate(training).trial(TRIAL)
    except (OnlyHereError, RanksDisagreeError) as error:
        assert_equal(everything(training.model, training.raw_optimizer), before)
        return type(error).__name__
    return "nothing was raised"


def failed_line(rank: int) -> str:
    training = make_training()
    substrate = LiveSubstrate(training)
    substrate.arm_line()
    substrate.before_kept_step()
    loop_step(training, make_batches()[0])
    substrate.after_kept_step()
    substrate.proofs.step_is_linear = True
    training.loss_fn = FailsOn(1, 2, rank)
    before = everything(training.model, training.raw_optimizer)
    try:
        substrate.line(Line((0.5, 1.0, 2.0), batches=2))
    except (OnlyHereError, RanksDisagreeError) as error:
        assert_equal(everything(training.model, training.raw_optimizer), before)
        return type(error).__name__
    return "nothing was raised"


def failed_data(rank: int) -> str:
    def read() -> Any:
        for i, batch in enumerate(make_batches(40)):
            if rank == 1 and i == 20:
                raise OnlyHereError
            yield batch

    training = make_training(data=read, val=make_batches(1))
    try:
        LiveSubstrate(training).trial(Trial(constant(0.1), 30))
    except (OnlyHereError, RanksDisagreeError) as error:
        return type(error).__name__
    return "nothing was raised"


def bad_batch(rank: int) -> dict[str, Any]:
    """A batch that gives no number on rank 1 alone is left out on both; a held-out one is each rank's own."""
    batches, val = make_batches(9, seed=rank), make_batches(3, seed=10 + rank)
    if rank == 1:
        batches[2] = (batches[2][0] * float("nan"), batches[2][1])
        val[1] = (val[1][0][:0], val[1][1][:0])
    training = make_training(data=batches, val=val)
    substrate = LiveSubstrate(training)
    first, second = substrate.trial(TRIAL), substrate.trial(TRIAL)
    assert first is None and second is not None
    return {"places": list(training.left_out.places), "losses": list(second.losses), "held_out": second.held_out}


def check_that_raises(rank: int) -> dict[str, Any]:
    """A user's check that raises on rank 1 alone, at weights that are far off."""

    def loss(model: Any, batch: Any) -> Tensor:
        if rank == 1 and float(model[0].weight.abs().max()) > 5:
            raise OnlyHereError
        return loss_fn(model, batch)

    training = make_training(loss_fn=loss)
    before = everything(training.model, training.raw_optimizer)
    seen = LiveSubstrate(training).trial(Trial(constant(1e3), 5))
    assert_equal(everything(training.model, training.raw_optimizer), before)
    assert seen is not None and seen.stop is not None
    return {"stop": seen.stop.name, "losses": list(seen.losses)}


def different_actions(rank: int) -> str:
    training = make_training()
    try:
        Pilot(training, Schedule("constant", lr=0.1 * (rank + 1)), 10)
    except RanksDisagreeError as error:
        return str(error)
    return "nothing was raised"


def losses_of_own_data(rank: int) -> dict[str, Any]:
    """Every rank reads data of its own; what the policy is told is the mean."""
    training = make_training(data=make_batches(6, seed=rank), val=make_batches(2, seed=10 + rank))
    substrate = LiveSubstrate(training)
    alone = [loss_fn(training.model, b).item() for b in make_batches(6, seed=rank)]
    trial = substrate.trial(Trial(constant(0.1), 1, evaluate="end"))
    first = loss_fn(training.model, make_batches(2, seed=10 + rank)[0]).item()
    still = substrate.trial(Trial(constant(1e-30), 1, read_every=1))
    return {
        "first": trial[0][0],
        "held_out": trial[1],
        "reading": still.readings[0],
        "first batch": first,
        "evaluated": substrate.evaluate(Evaluate()),
        "alone": alone[0],
        "read": substrate.read([torch.tensor(float(rank)), 3.0]),
        "mean": mean_over_ranks([float(rank), 1.0]),
    }


def averaged_flight(rank: int) -> list[Any]:
    """Every rank reads data of its own; what is flown, judged and landed is alike where the gradients are."""
    model = make_model(batch_norm=True)
    training = make_training(model=model, val=make_batches(2, seed=10 + rank))
    average, none = Average(0.8, 1.0), constant(0.0)
    script = (
        Trial(constant(0.1), 2, evaluate="end", average=average, momentum=none),
        Train(constant(0.1), 3, momentum=none, average=average),
        Evaluate(),
        Train(constant(0.1), 9, average=average),
    )
    result = fit(training, Listed(script), total_steps=6, progress=False)
    told = [getattr(e.observation, "held_out", getattr(e.observation, "loss", None)) for e in result.history.events]
    return [told, [t.clone() for t in model.state_dict().values()], result.pilot.driver.landed]


def failed_landing(rank: int) -> str:
    """A landing that fails on rank 1 while it estimates statistics."""
    training = make_training(model=make_model(batch_norm=True), loss_fn=FailsOn(1, 9, rank))
    pilot = Pilot(training, Listed((Train(constant(0.1), 99, momentum=constant(0.0), average=Average()),)))
    own_loop(training, pilot, 3)
    training.loss_fn.calls = 4
    before = everything(training.model, training.raw_optimizer)
    try:
        pilot.land()
    except (OnlyHereError, RanksDisagreeError) as error:
        assert_equal(everything(training.model, training.raw_optimizer), before)
        return type(error).__name__
    return "nothing was raised"


def seconds_budget(rank: int) -> int:
    """Clocks differ, and still both must stop at the same step."""
    import time

    def slow(model: Any, batch: Any) -> Tensor:
        time.sleep(0.004 * rank)
        return loss_fn(model, batch)

    result = fit(make_training(loss_fn=slow), Schedule("cosine"), budget=Budget(seconds=0.4), progress=False)
    return result.steps


def scenarios(rank: int, world: int, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    # one loss of the check, four of the Trial, 16 of BatchNorm, then the held-out ones
    seen: dict[str, Any] = {f"call {call}": failed_trial(rank, call) for call in (1, 3, 10, 22)}
    seen["line"] = failed_line(rank)
    seen["data"] = failed_data(rank)
    seen["landing"] = failed_landing(rank)
    seen["averaged"] = averaged_flight(rank)
    seen["actions"] = different_actions(rank)
    seen["losses"] = losses_of_own_data(rank)
    seen["bad batch"] = bad_batch(rank)
    seen["check"] = check_that_raises(rank)
    found = find_lr(make_training(data=make_batches(12, seed=rank)), num_steps=9, min_lr=1e-3, max_lr=1, progress=False)
    seen["found"] = [found.lr, list(found.lrs), list(found.losses)]
    seen["steps"] = seconds_budget(rank)
    torch.save(seen, f"{results}.{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    paths = os.pathsep.join(str(Path(__file__).parents[i]) for i in (1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        context = torch.multiprocessing.spawn(
            scenarios, (2, str(folder / "rendezvous"), str(folder / "seen")), nprocs=2, join=False
        )
        # A hang is what these tests look for: it must end in a failure, not in silence.
        for _ in range(60):
            if context.join(timeout=2):
                break
        else:
            for process in context.processes:
                process.kill()
            pytest.fail("the ranks wait for each other")
    return [torch.load(f"{folder / 'seen'}.{rank}", weights_only=True) for rank in range(2)]


pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("where", ["call 1", "call 3", "call 10", "call 22", "line", "data", "landing"])
def test_a_failure_on_one_rank_stops_both_with_everything_put_back(ranks: list[dict[str, Any]], where: str) -> None:
    assert [seen[where] for seen in ranks] == ["RanksDisagreeError", "OnlyHereError"]


def test_different_actions_are_refused_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    assert all("same action" in seen["actions"] and "same policy" in seen["actions"] for seen in ranks)


def test_every_rank_is_told_the_mean_of_all(ranks: list[dict[str, Any]]) -> None:
    first, second = (seen["losses"] for seen in ranks)
    same = ("first", "held_out", "reading", "evaluated", "read", "mean")
    assert {k: first[k] for k in same} == {k: second[k] for k in same}
    assert first["alone"] != second["alone"]
    assert first["first"] == pytest.approx((first["alone"] + second["alone"]) / 2, rel=1e-6)
    assert first["reading"] == pytest.approx((first["first batch"] + second["first batch"]) / 2, rel=1e-6)
    assert first["mean"] == [0.5, 1.0] and first["read"] == [0.5, 3.0]


def test_a_batch_that_is_bad_on_one_rank_is_left_out_on_every_one(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["bad batch"] == ranks[1]["bad batch"] and ranks[0]["bad batch"]["places"] == [2]


def test_a_check_that_raises_on_one_rank_at_a_huge_lr_is_a_divergence_on_every_one(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["check"] == ranks[1]["check"] and ranks[0]["check"]["stop"] == "RAISED"


def test_an_averaged_flight_is_alike_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    (told, weights, landed), (same_told, same_weights, _) = (seen["averaged"] for seen in ranks)
    assert landed and told == same_told and sum(loss is not None for loss in told) == 2
    assert_equal(weights, same_weights)


def test_a_search_gives_every_rank_the_same_lr(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["found"] == ranks[1]["found"] and len(ranks[0]["found"][1]) >= 3


def test_a_budget_in_seconds_ends_at_the_same_step_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["steps"] == ranks[1]["steps"] > 0


def test_one_process_needs_nobody() -> None:
    assert mean_over_ranks([1.0, 2.0]) == [1.0, 2.0] and mean_over_ranks([]) == []
    assert together(lambda: (1.0, 2.0)) == [1.0, 2.0]
    require_same_action(Evaluate())
    with pytest.raises(OnlyHereError):
        together(FailsNow())


class FailsNow:
    def __call__(self) -> list[float]:
        raise OnlyHereError
