"""How often the surrogate finds the minimum of a random curve in ten evaluations, and what a fit costs.

    python -m lrpilot_bench.studies.surrogate_minima        # two minutes on one core

500 smooth curves with one minimum over five decades of lr, of five shapes: a parabola, one with sides of different
widths, one that rises ever slower, one that is flat far away (a well), and one flat on the left and steep on the right
(a cliff). The same curves without noise, with noise of 2 % of their median height above the minimum, and with every lr
failing half a decade above the minimum: once told as failed, and once as a huge loss. A minimum is found where the
best guess lies within 0.1 decade of it.

The cost of a fit is taken as ratios in one run, with the thread pools of BLAS and OpenMP set to eight threads and to
one: wall time of the one against the other, and the processor time that other threads took. A large product of
matrices under the same eight threads shows that this would be seen.

Writes ``records/surrogate_minima.json``.
"""

import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lrpilot.maths.surrogate import Surrogate, fit_surrogate, smaller_lr, start_lrs
from lrpilot_bench.studies.checkout import RECORDS

RECORD = RECORDS / "surrogate_minima.json"
LOW, HIGH = 1e-6, 1e-1
EVALUATIONS = 10
WITHIN = 0.1  # decades
CURVES = 500
NOISE = 0.02  # of the median height of the curve
FAILS_ABOVE = 0.5  # decades above the minimum
WALL = 1e6  # in the same unit as NOISE
KINDS = ("parabola", "skewed", "slow", "well", "cliff")
THREADS = 8
REPEATS, PAIRS = 100, 9
ASLEEP = 1.0  # seconds

Curve = Callable[[float], float]  # log10 lr -> loss


def random_curve(rng: np.random.Generator, kind: str) -> tuple[float, Curve]:
    """A curve with one minimum inside [LOW, HIGH]: its place in log10 lr, and the curve.

    The two sides have widths of their own, from half a decade to two and a half. The curve is 0 at the minimum, and
    its median over the interval is 1.
    """
    low, high = math.log10(LOW), math.log10(HIGH)
    best = rng.uniform(low + 0.25, high - 0.25)
    left, right = np.exp(rng.uniform(math.log(0.5), math.log(2.5), 2))
    if kind == "parabola":
        right = left

    def raw(x: Any) -> Any:
        u = x - best
        v = u / (left + (right - left) / (1 + np.exp(-u / 0.3)))
        if kind == "well":
            return 1 - np.exp(-0.5 * v**2)
        if kind == "slow":
            return np.log1p(v**2)
        if kind == "cliff":
            return np.where(v < 0, 1 - np.exp(-0.5 * v**2), 0.5 * v**2 + 0.3 * np.maximum(v, 0) ** 3)
        return v**2

    median = float(np.median(raw(np.linspace(low, high, 2001))))
    return best, lambda x: float(raw(np.array(x))) / median


def search(curve: Curve, *, evaluations: int = EVALUATIONS) -> Surrogate:
    """Evaluate the starts, then what the surrogate asks for; what it believes at the end.

    Where all failed so far, a smaller lr is next; the curve must not fail at LOW.
    """
    lrs = list(start_lrs(LOW, HIGH))
    losses = [curve(math.log10(lr)) for lr in lrs]
    while True:
        known = fit_surrogate(lrs, losses, min_lr=LOW, max_lr=HIGH)
        asked = smaller_lr(lrs, min_lr=LOW) if known is None else known.next_lr
        if known is not None and (len(lrs) == evaluations or asked is None):
            return known
        assert asked is not None
        lrs.append(asked)
        losses.append(curve(math.log10(lrs[-1])))


def errors(
    curves: int, *, noise: float = 0.0, fails_above: float = math.inf, failed: float = math.inf, seed: int = 0
) -> list[float]:
    """Distance of the best guess from the minimum, decades, curve by curve; the kinds take turns.

    Args:
        curves: how many.
        noise: standard deviation of a reading; 1 is the curve's median.
        fails_above: an lr so many decades above the minimum reads ``failed``.
        failed: not finite for the surrogate to know that it failed.
        seed: of the curves, which are the same whatever the other arguments.
    """
    found = []
    for i in range(curves):
        rng = np.random.default_rng((seed, i))
        best, curve = random_curve(rng, KINDS[i % len(KINDS)])

        def read(x: float, best: float = best, curve: Curve = curve, rng: np.random.Generator = rng) -> float:
            return failed if x > best + fails_above else curve(x) + noise * float(rng.standard_normal())

        found.append(abs(math.log10(search(read).best_lr) - best))
    return found


def shares(found: list[float]) -> dict[str, float]:
    """Part of the curves whose minimum was found: of all, and by kind."""
    near = np.array(found) <= WITHIN
    return {"all": float(np.mean(near))} | {
        kind: round(float(np.mean(near[i :: len(KINDS)])), 4) for i, kind in enumerate(KINDS)
    }


# ---------------------------------------------------------------------------- threads


def thread_cost(work: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Eight threads against one, in turn: the median ratio of wall times, and other threads' time ÷ the caller's."""
    ratios, others = [], []
    for _ in range(PAIRS):
        (wall, other), (wall_of_one, _) = (block(work, repeats, threads) for threads in (THREADS, 1))
        ratios.append(wall / wall_of_one)
        others.append(other)
    return {"wall_ratio": round(statistics.median(ratios), 3), "other_threads": round(statistics.median(others), 4)}


def block(work: Callable[[], Any], repeats: int, threads: int) -> tuple[float, float]:
    """Wall time of some repeats under so many threads, and the processor time of other threads ÷ the caller's."""
    with threadpool_limits(threads):
        work()
        time.sleep(ASLEEP)  # threads that were just made, or given work, spin for a while
        wall, process, own = time.perf_counter(), time.process_time(), time.thread_time()
        for _ in range(repeats):
            work()
        own = time.thread_time() - own
        return time.perf_counter() - wall, (time.process_time() - process - own) / own


def cost() -> dict[str, Any]:
    """A fit of ten readings: its processor time, and what threads do to it."""
    lrs = np.geomspace(LOW, HIGH, EVALUATIONS).tolist()
    losses = [random_curve(np.random.default_rng(0), "slow")[1](math.log10(lr)) for lr in lrs]
    large = np.ones((1000, 1000))

    def fit() -> Surrogate | None:
        return fit_surrogate(lrs, losses, min_lr=LOW, max_lr=HIGH)

    times = []
    for _ in range(REPEATS):
        begin = time.thread_time()
        fit()
        times.append(time.thread_time() - begin)
    return {
        "fit_ms": round(1e3 * statistics.median(times), 3),
        "threads": THREADS,
        "fit": thread_cost(fit, REPEATS),
        "product": thread_cost(lambda: large @ large, 2),
    }


def main() -> None:
    """Measure, show, write."""
    found = {
        "noiseless": shares(errors(CURVES)),
        "noisy": shares(errors(CURVES, noise=NOISE)),
        "failing": shares(errors(CURVES, fails_above=FAILS_ABOVE)),
        # The same without telling the surrogate: a loss so high that it is a wall.
        "walled": shares(errors(CURVES, fails_above=FAILS_ABOVE, failed=WALL)),
    }
    record = {"curves": CURVES, "evaluations": EVALUATIONS, "within": WITHIN, "shares": found, "cost": cost()}
    print(json.dumps(record, indent=1))
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
