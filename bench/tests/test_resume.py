"""The engine that resumes: everything missing once, nothing twice, and what is missing is asked again each time."""

from dataclasses import dataclass

from lrpilot_bench.run.pool import Outcome
from lrpilot_bench.run.resume import run_missing


@dataclass(frozen=True)
class Number:
    job: int

    @property
    def run(self) -> str:
        return str(self.job)


class Pool:
    """Three at a time; the last that was begun ends first."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.running: list[int] = []
        self.most = 0

    def free(self) -> int:
        return 3 - len(self.running)

    def submit(self, job: int) -> None:
        self.begun.append(job)
        self.running.append(job)
        self.most = max(self.most, len(self.running))

    def collect(self, timeout: float) -> list[Outcome[int]]:
        return [Outcome(self.running.pop())]

    def close(self) -> None:
        assert not self.running


def test_what_is_missing_is_run_once_and_what_becomes_wanted_too() -> None:
    pool, done = Pool(), list[int]()

    def missing() -> list[Number]:
        wanted = [1, 2, 3, 4, *([10, 11] if 4 in done else [])]
        return [Number(number) for number in wanted if number not in done]

    def take(one: Number, outcome: Outcome[int]) -> None:
        assert one.job == outcome.job
        done.append(one.job)

    run_missing(missing, pool, take)

    assert sorted(done) == sorted(pool.begun) == [1, 2, 3, 4, 10, 11]
    assert done[0] == 3 and pool.most == 3
    run_missing(missing, pool, take)
    assert len(pool.begun) == 6


def test_what_is_not_taken_is_tried_again() -> None:
    pool, tries = Pool(), list[int]()
    run_missing(lambda: [Number(7)] if len(tries) < 3 else [], pool, lambda one, outcome: tries.append(one.job))
    assert tries == [7, 7, 7]
