"""The peer to beat on each task, and what a user who does nothing loses."""

from collections.abc import Iterable, Mapping

from lrpilot_bench.analysis.catalogue import MethodFacts
from lrpilot_bench.analysis.compare import Pair, ToBeat
from lrpilot_bench.report.document import Cell, Code, Paragraph, Row, Section, Table
from lrpilot_bench.report.findings import ENTRY, Findings
from lrpilot_bench.report.numbers import (
    INFINITE,
    NOTHING,
    interval_text,
    many,
    names_text,
    ratio_cell,
    ratio_text,
    short,
)


def peers(findings: Findings) -> Section:
    """The section."""
    lead = (
        "The peer of smallest mean regret on each task, at equal total compute, and the peers that its seeds cannot "
        "tell from it. Beside it lrpilot's one entry, compared over the same seeds."
    )
    best, picked = findings.picked, ""
    if best is not None:
        picked = (
            f"So it would be for {best.title}, the best of {len(findings.own)} lrpilot rows, which is not compared "
            "here: it was picked afterwards. "
        )
    caveat = (
        "The peer was chosen as the best of several on the very runs that it is compared by, which is to its favour. "
        f"{picked}lrpilot's entry was named in advance, one for all tasks: ",
        Code(ENTRY),
        ". It joined the benchmark after the cost of find_lr's default search was known from another record, and "
        "before any run of the benchmark's methods. The last column says how many seeds would tell the two apart with "
        "power 0.8, by the spread seen.",
    )
    rows = tuple(_peer_row(findings, task) for task in findings.to_beat)
    if not rows:
        return Section("peers", "The peer to beat", (Paragraph("No task has a plain run yet."),))
    columns = (
        "task",
        "best peer",
        "its regret",
        "cannot be told from it",
        "lrpilot's entry",
        "÷ best peer",
        "seeds needed",
    )
    table = Table("The peer to beat on each task", columns, rows, frozenset({1, 3, 4}), note=caveat)
    return Section("peers", "The peer to beat", (Paragraph(lead), table))


def _peer_row(findings: Findings, task: str) -> Row:
    beat, titles = findings.to_beat[task], findings.bench.catalogue.methods
    if beat.best is None or beat.regret is None:
        return Row(Code(task), (Cell(NOTHING, small=short(beat.reason)), *(Cell(NOTHING) for _ in range(5))))
    failures = {row.method: len(row.failures) for row in findings.rows[task]}
    failed = failures.get(beat.best, 0)
    duel = findings.duels.get(task)
    cells = (
        Cell(titles[beat.best].title),
        ratio_cell(beat.regret, failed=f"{failed} failed" if failed else ""),
        _ties_cell(beat, titles),
        Cell(titles[duel.method].title if duel is not None else "not run"),
        _pair_cell(duel, failed=0 if duel is None else failures.get(duel.method, 0)),
        Cell(_seeds(duel)),
    )
    return Row(Code(task), cells)


def _ties_cell(beat: ToBeat, titles: Mapping[str, MethodFacts]) -> Cell:
    """Who is level with the best peer, and of whom one seed says nothing."""
    ties, lone = names_text(titles[name].title for name in beat.ties), len(beat.unjudged)
    if lone and not ties:
        return Cell("1 seed: not judged", small=many(lone, "peer"))
    return Cell(ties or "none", small=f"1 seed: not judged ({many(lone, 'peer')})" if lone else "")


def _pair_cell(pair: Pair | None, *, failed: int) -> Cell:
    if pair is None or pair.ratio is None:
        return Cell(NOTHING)
    if failed:
        return Cell(INFINITE, small=f"{failed} failed", mark="fail")
    return Cell(ratio_text(pair.ratio.mean), small=interval_text(pair.ratio), mark=pair.standing)


def _seeds(pair: Pair | None) -> str:
    return NOTHING if pair is None or pair.seeds_needed is None else f"{pair.seeds_needed:,}"


def doing_nothing(findings: Findings) -> Section:
    """The section."""
    lead = (
        "Somebody who leaves the learning rate alone trains with the default of the framework, or the habit of the "
        "field. Its regret is what the best lr and schedule of the oracle's sweeps would have won with the task's "
        "optimizer; another optimizer may win more, and where the interval holds 1 even this much may be chance."
    )
    rows = tuple(_default_rows(findings))
    if not rows:
        return Section("nothing", "What doing nothing loses", (Paragraph("No task has a plain run yet."),))
    columns = ("task", "default", "regret", "more loss than the oracle")
    table = Table("Regret of the default on each task", columns, rows, frozenset({1}))
    return Section("nothing", "What doing nothing loses", (Paragraph(lead), table))


def _default_rows(findings: Findings) -> Iterable[Row]:
    for task, default in findings.defaults.items():
        ratio = default.regret.ratio
        more = (
            NOTHING if ratio is None else f"{100 * (ratio.mean - 1):+.1f} %" if ratio.mean < float("inf") else INFINITE
        )
        failed = f"{default.failures} failed" if default.failures else ""
        yield Row(Code(task), (Cell(default.title), ratio_cell(default.regret, failed=failed), Cell(more)))
