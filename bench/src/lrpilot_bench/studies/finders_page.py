"""The Markdown page of suggested learning rates against the grid, written from the record files alone."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lrpilot.errors import DataError
from lrpilot_bench.store.records import Record, read_records
from lrpilot_bench.studies.finders_table import SCHEDULES, Curve, Suggestion, curve, suggestions

INTRO = """\
# Suggested learning rates against the full grid

Written by `python -m lrpilot_bench.studies.fashion_finders --table` from the records in `bench/records/`; do not edit.

**Task.** {images:,} Fashion-MNIST images, a small convolutional net (`examples/fashion_mnist.py`), batch 128,
{steps:,} steps. **Judge.** A plain PyTorch loop, independent of lrpilot, trains at every lr of a grid (a factor of
2.15 from one to the next) under a constant lr and under {warmup} warmup with linear decay to zero, with {seeds}
seeds: {runs} runs, {hours:.1f} hours on one core. Test images are not used.

**Regret** of an lr: the grid's mean final loss on 2,000 validation images at that lr (on straight lines over log lr
between grid points) ÷ the grid's smallest. 1 is the best, 1.05 is five percent more loss. In bold: the schedule that
the suggestion is meant for; tools that do not say are judged on both. The lr is the median over seeds, with its range.
"≥": outside the grid, whose nearest end counts. "–": a seed without a suggestion.
**Cost** is everything a search spends, in training steps (a forward pass alone counts a third).

Accuracy stands beside each regret, because the two disagree: this many epochs over so few images overfit, and a
larger lr often ends with more right answers and a higher loss at once. A difference smaller than ± (standard
deviation over seeds) is noise.
"""

SUMMARY = """\
## Over all configurations

Geometric mean over the configurations of the regret at the median suggestion, and the largest regret of any
configuration and seed. "Accuracy below": percentage points from the grid's highest accuracy under that schedule to the
accuracy at the median suggestion, mean over the configurations. Sorted by the mean regret.
"""


def write_page(path: Path, grid: Path, peers: Path, finders: Path, titles: Mapping[str, str], *, images: int) -> None:
    """Write the page.

    Args:
        path: where to.
        grid: records of the full grid.
        peers: records of the peers' picks.
        finders: records of lrpilot's suggestions.
        titles: what to call each configuration, in order.
        images: only records with this number of training images count.

    Raises:
        DataError: the grid holds no record of a configuration and schedule.
    """
    judged, picked, found = (_records(file, images) for file in (grid, peers, finders))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(judged, picked, found, titles))


def _records(path: Path, images: int) -> list[Record]:
    return [record for record in read_records(path) if record["train_images"] == images]


def page(grid: Sequence[Record], peers: Sequence[Record], finders: Sequence[Record], titles: Mapping[str, str]) -> str:
    """The whole page as Markdown."""
    curves = {config: _curves(grid, config) for config in titles}
    rules = {config: suggestions(_of(finders, config), _of(peers, config)) for config in titles}
    parts = [_intro(grid), SUMMARY + "\n" + _lines(_summary(curves, rules))]
    for config, title in titles.items():
        parts.append(f"## {title[0].upper()}{title[1:]}\n\n{_lines(_section(curves[config], rules[config]))}")
        parts[-1] += "\n" + _lines(_windows(curves[config], _of(finders, config)))
    return "\n".join(parts)


def _intro(grid: Sequence[Record]) -> str:
    return INTRO.format(
        images=grid[0]["train_images"],
        steps=grid[0]["steps"],
        warmup="5 %",
        seeds=len({r["seed"] for r in grid}),
        runs=len(grid),
        hours=sum(r["seconds"] for r in grid) / 3600,
    )


def _of(records: Iterable[Record], config: str) -> list[Record]:
    return [r for r in records if r["config"] == config]


def _curves(grid: Sequence[Record], config: str) -> dict[str, Curve]:
    curves = {}
    for schedule in SCHEDULES:
        records = [r for r in _of(grid, config) if r["schedule"] == schedule]
        if not records:
            raise DataError(f"The table needs grid records of {config}, {schedule}, got none. Run fashion_grid.py.")
        curves[schedule] = curve(records)
    return curves


# ------------------------------------------------------------------ tables


def _summary(curves: Mapping[str, Mapping[str, Curve]], rules: Mapping[str, Sequence[Suggestion]]) -> Iterator[str]:
    yield "| suggestion | schedule | mean regret | worst | accuracy below | within a grid step | cost, steps |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    rows: list[tuple[float, str]] = []
    meant = {(s.rule, schedule): None for found in rules.values() for s in found for schedule in s.meant_for}
    for rule, schedule in meant:
        pairs = [(s, curves[c][schedule]) for c, found in rules.items() for s in found if s.rule == rule]
        mean = _geometric_mean([s.regret(on) for s, on in pairs])
        worst = max(s.worst(on) for s, on in pairs)
        near = sum(_near(s, on) for s, on in pairs)
        cost = statistics.fmean(s.cost for s, _ in pairs)
        cells = (rule, schedule, _ratio(mean), _ratio(worst), _below(pairs), f"{near} of {len(pairs)}", f"{cost:.0f}")
        rows.append((mean, f"| {' | '.join(cells)} |"))
    yield from (row for _, row in sorted(rows, key=lambda pair: pair[0]))


def _geometric_mean(ratios: Sequence[float]) -> float:
    return math.inf if math.inf in ratios else statistics.geometric_mean(ratios)


def _below(pairs: Sequence[tuple[Suggestion, Curve]]) -> str:
    medians = [(s.median, on) for s, on in pairs]
    gaps = [on.accuracies[on.most_accurate] - on.accuracy(lr) for lr, on in medians if lr is not None]
    return f"{100 * statistics.fmean(gaps):.1f}" if len(gaps) == len(pairs) else "–"


def _near(suggestion: Suggestion, on: Curve) -> bool:
    """Whether the median lies within one grid step of the best lr."""
    step = 2.16  # 10^(1/3) with the rounding of the grid
    return suggestion.median is not None and 1 / step <= suggestion.median / on.lrs[on.best] <= step


def _section(curves: Mapping[str, Curve], found: Sequence[Suggestion]) -> Iterator[str]:
    yield "| | lr | constant | linear | cost, steps |"
    yield "|---|---:|---:|---:|---:|"
    for schedule, on in curves.items():
        loss = f"loss {on.losses[on.best]:.4f} ± {on.spread:.4f}, {on.accuracies[on.best]:.1%}"
        yield _grid_row(f"smallest loss of the grid, {schedule}", schedule, on.lrs[on.best], loss)
        top = on.most_accurate
        accuracy = f"loss {on.losses[top]:.4f}, {on.accuracies[top]:.1%}"
        yield _grid_row(f"highest accuracy of the grid, {schedule}", schedule, on.lrs[top], accuracy)
    for rule in found:
        cells = [_cell(rule, curves[schedule], bold=schedule in rule.meant_for) for schedule in SCHEDULES]
        yield f"| {rule.rule} | {_lr(rule)} | {cells[0]} | {cells[1]} | {rule.cost:.0f} |"


def _grid_row(name: str, schedule: str, lr: float, result: str) -> str:
    constant, linear = (result if column == schedule else "" for column in SCHEDULES)
    return f"| {name} | {lr:.3g} | {constant} | {linear} | |"


def _cell(rule: Suggestion, on: Curve, *, bold: bool) -> str:
    if rule.median is None:
        return "–"
    text = f"{'' if on.covers(rule.median) else '≥ '}{_ratio(rule.regret(on))}, {on.accuracy(rule.median):.1%}"
    return f"**{text}**" if bold else text


def _lr(rule: Suggestion) -> str:
    if rule.median is None:
        return f"none for {rule.lrs.count(None)} of {len(rule.lrs)} seeds"
    low, high = rule.given[0], rule.given[-1]
    return f"{rule.median:.2g} ({low:.2g} to {high:.2g})"


def _ratio(regret: float) -> str:
    return f"{regret:.3f}" if math.isfinite(regret) else "∞"


def _windows(curves: Mapping[str, Curve], finders: Sequence[Record]) -> Iterator[str]:
    """Whether what a search calls worth considering holds the grid's best lr."""
    sampling = [r for r in finders if r["method"] == "step_sampling"]
    spans = [r["window"] for r in sampling if r["target"] == "constant" and r["window"]]
    if spans:
        yield f"Window of step sampling: {_coverage(spans, curves['constant'], 'constant lr')}"
    spans = [r["interval"] for r in sampling if r["target"] == "decay" and r["interval"]]
    if spans:
        yield f"\nInterval of the decay search: {_coverage(spans, curves['linear'], 'linear peak')}"


def _coverage(spans: Sequence[Sequence[float]], on: Curve, what: str) -> str:
    best, slack = on.lrs[on.best], on.half_step
    holds = sum(low / slack <= best <= high * slack for low, high in spans)
    width = statistics.median(math.log10(high / low) for low, high in spans)
    low, high = (10 ** statistics.median(math.log10(span[i]) for span in spans) for i in (0, 1))
    return (
        f"{low:.2g} to {high:.2g} (medians), {width:.1f} decades wide; it holds the best\n{what} by loss, {best:.3g}, "
        f"give or take half a grid step, for {holds} of {len(spans)} seeds."
    )


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
