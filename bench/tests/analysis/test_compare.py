"""Methods against each other."""

import math

import pytest
from bench_records import bench, oracle_records, record, seeded

from lrpilot.errors import SettingError
from lrpilot_bench.analysis.compare import all_rows, compare, default_loss, headlines, peer_to_beat
from lrpilot_bench.analysis.rows import method_rows

# Oracle: 1.0, 1.1, 1.2 by seed.
BOTH = (oracle_records("t", seeds=3), oracle_records("u", seeds=3))


def times(factor: float, scatter: float = 0.0) -> list[float]:
    """Losses of a regret: the oracle's three times a factor."""
    return [bar * factor * (1.0 + scatter * sign) for bar, sign in zip((1.0, 1.1, 1.2), (-1, 0, 1), strict=True)]


def test_headline_by_hand() -> None:
    read = bench(
        *BOTH,
        seeded("t", "gen", times(2.0), compute=1.0),
        seeded("u", "gen", times(0.5), compute=1.21),
        seeded("t", "prodigy", times(1.5)),
        seeded("u", "ours", [1.0, math.inf, 1.2]),
    )
    gen, ours, prodigy = (
        next(h for h in headlines(all_rows(read)) if h.method == m) for m in ("gen", "ours", "prodigy")
    )
    assert gen.regret == pytest.approx(1.0) and gen.worst == ("t", pytest.approx(2.0))
    assert gen.compute == pytest.approx(1.1) and gen.seconds == pytest.approx(1.0)
    assert (gen.wins, gen.ties, gen.losses, gen.undecided) == (0, 0, 0, 2), "three seeds are no claim"
    assert (gen.failed_tasks, gen.failures, gen.runs, gen.missing) == (0, 0, 6, ())
    assert gen.profile is not None and [gen.profile.at(tau) for tau in (0.4, 0.5, 2.0)] == [0.0, 0.5, 1.0]
    assert prodigy.missing == ("u",) and prodigy.profile is not None and prodigy.profile.count == 1
    assert ours.regret == math.inf and ours.finished_regret == pytest.approx(1.0)
    assert (ours.failures, ours.runs, ours.missing) == (1, 3, ("t",))
    assert (ours.wins, ours.ties, ours.losses, ours.failed_tasks, ours.undecided) == (0, 0, 0, 1, 0)


def test_claims_are_counted_failures_and_few_seeds_are_not() -> None:
    bars = [1.0 + 0.1 * seed for seed in range(5)]
    doubled, halved, near = ([bar * factor for bar in bars] for factor in (2.0, 0.5, 1.05))
    read = bench(
        *(oracle_records(task) for task in ("t", "u")),
        seeded("t", "gen", doubled) + seeded("u", "gen", halved),
        seeded("t", "tlf", near) + seeded("u", "tlf", [*halved[:4], math.inf]),
        seeded("t", "prodigy", doubled[:4]) + seeded("u", "prodigy", doubled[:1]),
        seeded("t", "ours", [bar * (1.5 if seed % 2 else 0.5) for seed, bar in enumerate(bars)]),
    )
    counts = {h.method: (h.wins, h.ties, h.losses, h.failed_tasks, h.undecided) for h in headlines(all_rows(read))}
    assert counts["gen"] == (1, 0, 1, 0, 0)
    assert counts["tlf"] == (0, 0, 0, 1, 1), "5 % at five seeds is no claim, and a failure no tie"
    assert counts["prodigy"] == (0, 0, 0, 0, 2), "nor is a single seed"
    assert counts["ours"] == (0, 1, 0, 0, 0)


def test_the_best_comes_first_and_failures_behind() -> None:
    read = bench(
        *BOTH,
        seeded("t", "constant", [math.inf] * 3),
        seeded("t", "gen", times(1.5)),
        seeded("t", "ours", times(1.1)),
        seeded("t", "prodigy", [1.0, math.inf, 1.2]),
        [record("t", "tlf", 1.0, seed=9)],
    )
    lines = headlines(all_rows(read))
    assert [line.method for line in lines] == ["ours", "gen", "prodigy", "constant", "tlf"]
    assert lines[-1].regret is None and lines[-1].profile is None
    assert lines[-2].finished_regret is None


def test_a_method_that_spent_nothing_has_no_compute() -> None:
    crashed = record("t", "gen", math.inf, status="crashed", error="no", compute=0.0)
    (line,) = headlines(all_rows(bench(oracle_records(), [crashed])))
    assert line.compute is None and line.seconds is None


def test_no_records_no_headline() -> None:
    assert all_rows(bench([])) == {} and headlines({}) == ()
    assert all_rows(bench(oracle_records())) == {}, "a sweep is no row"


def test_pairs_by_hand() -> None:
    read = bench(seeded("t", "gen", [1.0, 1.0, 1.0]), seeded("t", "ours", [2.0, 2.0, 2.2]))
    gen, ours = method_rows(read, "t")
    there, back = compare(gen, ours), compare(ours, gen)
    assert (there.method, there.other, there.verdict) == ("gen", "ours", "win")
    assert (back.method, back.other, back.verdict) == ("ours", "gen", "loss")
    assert there.ratio is not None and back.ratio is not None
    assert there.ratio.mean * back.ratio.mean == pytest.approx(1.0)
    assert there.ratio.low * back.ratio.high == pytest.approx(1.0)
    assert there.seeds_needed == back.seeds_needed == 2


def test_pairs_of_no_common_seed_and_of_failures_only() -> None:
    apart = bench([record("t", "gen", 1.0), record("t", "ours", 1.0, seed=1)])
    failed = bench(seeded("t", "gen", [math.inf]), seeded("t", "ours", [math.inf]))
    for read in (apart, failed):
        pair = compare(*method_rows(read, "t"))
        assert (pair.ratio, pair.verdict, pair.standing) == (None, None, None)


def test_the_peer_to_beat_and_its_ties() -> None:
    read = bench(
        oracle_records(seeds=3),
        seeded("t", "gen", times(1.2)),
        seeded("t", "prodigy", times(1.25, scatter=0.2)),
        seeded("t", "tlf", times(2.0)),
        seeded("t", "ours", times(0.9)),
        seeded("t", "ours_free", times(0.8)),
        seeded("t", "nothing", times(1.0)),
    )
    found = peer_to_beat(method_rows(read, "t"))
    assert (found.best, found.ties, found.reason) == ("gen", ("prodigy",), "")
    assert found.regret is not None and found.regret.ratio is not None
    assert found.regret.ratio.mean == pytest.approx(1.2)
    assert peer_to_beat(method_rows(read, "t"), groups=("lrpilot",)).best == "ours", "free probes do not compete"


def test_a_peer_that_failed_is_no_tie() -> None:
    read = bench(oracle_records(seeds=3), seeded("t", "gen", times(1.2)), seeded("t", "tlf", [1.0, 1.0, math.inf]))
    found = peer_to_beat(method_rows(read, "t"))
    assert (found.best, found.ties) == ("gen", ())
    gen, tlf = method_rows(read, "t")
    assert compare(gen, tlf).verdict == "tie", "the seeds do not say so, the failure does"


def test_where_every_peer_failed_the_finished_seeds_decide() -> None:
    read = bench(
        oracle_records(seeds=3), seeded("t", "gen", [math.inf, 1.5, 1.5]), seeded("t", "tlf", [1.0, 1.0, math.inf])
    )
    found = peer_to_beat(method_rows(read, "t"))
    assert (found.best, found.ties) == ("tlf", ("gen",))


def test_no_peer_to_beat() -> None:
    none = peer_to_beat(method_rows(bench(oracle_records(), seeded("t", "ours", [1.0])), "t"))
    assert (none.best, none.reason) == (None, "no peer was run")
    unjudged = peer_to_beat(method_rows(bench(seeded("t", "gen", [1.0])), "t"))
    assert (unjudged.best, unjudged.reason) == (None, "no oracle: no sweep on record")
    with pytest.raises(SettingError, match="needs the rows"):
        peer_to_beat(())


def test_doing_nothing() -> None:
    read = bench(oracle_records(seeds=3), seeded("t", "nothing", times(3.0)))
    lost = default_loss(read, method_rows(read, "t"), "t")
    assert (lost.method, lost.title, lost.failures, lost.regret.verdict) == ("nothing", "do nothing", 0, "loss")
    assert lost.regret.ratio is not None and lost.regret.ratio.mean == pytest.approx(3.0)
    not_there = default_loss(read, (), "t")
    assert (not_there.regret.ratio, not_there.regret.reason) == (None, "the default was not run")
