"""Write docs/forecasts.md from the records of the forecast, of the surrogate, and of what a search takes."""

import json
import statistics
from collections.abc import Iterable
from typing import Any

from lrpilot.maths.forecast import forecast
from lrpilot_bench.store.records import Record
from lrpilot_bench.studies.checkout import DOCS, RECORDS
from lrpilot_bench.studies.forecast_error import LEVEL, PREDICTORS, TRUTHS
from lrpilot_bench.studies.markdown import Row, table, verdict
from lrpilot_bench.studies.search_cost_page import search_section

PAGE = DOCS / "forecasts.md"
NAMES = {
    "default": "default form",
    "paper": "paper form",
    "last loss": "last loss of the window",
    LEVEL: "last tenth of the window",
}
AGREE, ROUNDING = 1e-3, 1e-9
SAME = 0.03  # of the level: a Trial that ended so near to it did not move
LONG = 100  # readings
AIMS = {"noiseless": 0.9, "noisy": 0.7}
CONDITIONS = {
    "noiseless": "no noise",
    "noisy": "noise of 2 % of the median height",
    "failing": "every lr fails half a decade above the minimum",
    "walled": "the same, told as a loss of a million instead of as failed",
}


def percent(share: float) -> str:
    """A share in percent, three digits of it at most."""
    return f"{100 * share:.3g} %"


# ------------------------------------------------------------------- the forecast's error


def error_rows(found: Record, truth: str) -> Iterable[Row]:
    """One row for each group of Trials: median and 90th percentile of every predictor."""
    for group, cells in found["errors"][truth].items():
        best = min(cell["median"] for cell in cells.values())
        words = []
        for name in PREDICTORS:
            median = percent(cells[name]["median"])
            words.append(
                f"{f'**{median}**' if cells[name]['median'] == best else median}, {percent(cells[name]['p90'])}"
            )
        yield group, *words


def choice_rows(found: Record) -> Iterable[Row]:
    """One row for each predictor: the ratio of every start."""
    for name, ratios in found["choices"].items():
        yield NAMES[name], *(f"{ratio:.3f}" for ratio in ratios), f"{statistics.geometric_mean(ratios):.3f}"


def closer_rows(found: Record) -> Iterable[Row]:
    """One row for each group of Trials."""
    for group, counts in found["closer"].items():
        yield group, *(str(count) for count in counts.values())


def what_happened(row: Record) -> str:
    """What a Trial did after its window, from its level there and what it came to."""
    if abs(row["end"] / row["level"] - 1) <= SAME:
        return "nothing: it was where it stays"
    if row["end"] > row["level"]:
        return "it rose later"
    if row["code"] == "RISING":
        return "a rise that did not last"
    return "it fell later"


def worse_rows(found: Record) -> Iterable[Row]:
    """One row for each Trial in which the default knows less than the window's last tenth."""
    for row in found["worse"]:
        means = " ".join(f"{mean:.2f}" for mean in row["tenths"])
        yield (
            f"{row['task']}, step {row['start']}",
            f"{row['lr']:.3g}",
            f"{row['level']:.3f}",
            f"{row['forecast']:.3f}",
            means,
            f"{percent(row['error'])}, {percent(row['level_error'])}",
            what_happened(row),
        )


def error_sections() -> str:
    """From records/forecast_error.json."""
    found = json.loads((RECORDS / "forecast_error.json").read_text())
    many, luck, covered = found["trials"], found["luck"], found["covered"]
    header = ("Trials", *(NAMES[name] for name in PREDICTORS))
    starts = [f"{task}, step {start}" for task in found["tasks"] for start in found["starts"]]
    against = {truth: table(header, error_rows(found, truth)) for truth in TRUTHS}
    return f"""## How far the forecast is off

From `studies/forecast_error.py`: {many} Trials of {found["horizon"]} steps, from three starts of two tasks (a conv
net with BatchNorm and SGD with momentum on Fashion-MNIST, a character transformer with AdamW), at ten constant lrs a
start, from a hundredth to thirty times the middle of the task's grid. The forecast sees the first {found["window"]}
training losses. Entries are the median and the 90th percentile of |forecast − truth| ÷ truth; the smallest median of a
row is bold. Beside the two forms stand two forecasts that need no model.

The default form's settings were chosen with these Trials in view, so that its lead here is not that on unseen tasks.

Against the mean of the last tenth of the Trial, which is what a choice between lrs needs:

{against["mean of last tenth"]}

In how many of the Trials the default form is closer to the truth than each of the others:

{table(("Trials", "of", *header[2:]), closer_rows(found))}

Against the last loss alone:

{against["last loss"]}

On Fashion-MNIST the last loss of the window looks best here, by luck. All Trials of a task read the same batches, and
two easy ones stand at these two places: at the end of the window the last loss is {luck["fashion_bn"]["window"]:.2f} of
the mean of the last tenth, and at the end of the Trial {luck["fashion_bn"]["end"]:.2f} (medians over Trials). The same
luck makes it the best above for fresh weights, where the loss has about as far to fall. With every loss of the last
tenth in turn as the truth, the noise of single batches is in every entry:

{against["a loss of the last tenth"]}

### What the choice loses

What matters to a search is which lr the forecasts put first. For each start: the last tenth at the lr with the lowest
forecast ÷ the same at the best lr.

{table(("chosen by", *starts, "geometric mean"), choice_rows(found))}

So a smaller error does not make a better choice here: on average whoever took the lr with the lowest level at the end
of the window lost less than with either forecast. These are six choices, with one seed.

### Where it loses, when and why

The {len(found["worse"])} Trials of which the default form knows less than the last tenth of the window does. "Tenths"
are the means of each tenth of the Trial, the first of which is the window.

{table(("Trials", "lr", "level", "forecast", "tenths", "error, level's", "after the window"), worse_rows(found))}

- **Nothing moves.** A training that has come to its plateau within the window leaves noise to fit. The forecast moves
  by up to a few percent of the level, which is worse than not at all.
- **It rises later.** At an lr at the edge of stability the loss may jump at any time. Nothing in the window tells, and
  the level there is hardly less wrong.
- **It falls later.** From fresh weights the transformer at this lr ends its window on a plateau, and leaves it after
  the window. None of the four tells.
- **A rise that did not last.** The window ended on a rise; the forecast does not go below where that led.

A larger loss is not in this table, since the last tenth of the window is wrong by even more: **a fall that does not
slow down**. From step 300 the transformer's loss falls through the whole Trial with little slowing, and the window, a
tenth of that, shows more noise than fall. The forecast is too high, and so is the interval: it holds
{percent(covered["char_kjv"]["inside"])} of the transformer's ends ({percent(covered["char_kjv"]["below"])} lie below
it) against {percent(covered["fashion_bn"]["inside"])} of the conv net's. It is an interval of 90 % for decays, and for
nothing else.

From fresh weights both forms are far off. The paper form goes astray where the smoothed window is close to a straight
line, as the level of the exponential through it is then far below zero: its 90th percentile is
{percent(paper_tail(found, "fashion_bn"))} on Fashion-MNIST and {percent(paper_tail(found, "char_kjv"))} on the text.
It is the closer one more often than not on Fashion-MNIST from fresh weights
({paper_closer(found, "fashion_bn, step 0")} Trials) and on the text from step 1500
({paper_closer(found, "char_kjv, step 1500")})."""


def paper_closer(found: Record, group: str) -> str:
    """In how many Trials of a group the default form is not the closer one."""
    counts = found["closer"][group]
    return f"{counts['trials'] - counts['paper']} of {counts['trials']}"


def paper_tail(found: Record, task: str) -> float:
    """The paper form's 90th percentile from fresh weights."""
    return float(found["errors"][LEVEL][f"{task}, step 0"]["paper"]["p90"])


# ------------------------------------------------------------------- the authors' implementation


def agreement_rows(record: Record) -> Iterable[Row]:
    """One row for each environment and length of series."""
    for environment, of in record["environments"].items():
        versions = f"numpy {of['numpy']}, scipy {of['scipy']}"
        for is_long, words in ((True, f"{LONG} to 200"), (False, "16")):
            entries = [e for e in record["series"] if (len(e["losses"]) >= LONG) is is_long]
            results = [
                (e, kind, e["theirs"][environment][kind]) for e in entries for kind in ("training", "validation")
            ]
            off = [difference(entry, kind, theirs) for entry, kind, theirs in results if "value" in theirs]
            worst = f"{max(off):.1g}" if max(off) > ROUNDING else "rounding"
            holds = verdict(max(off) <= AGREE) if is_long else ""
            yield environment, versions, words, str(len(results)), str(len(results) - len(off)), worst, holds


def difference(entry: Record, kind: Any, theirs: Record) -> float:
    """Relative difference of our published form from theirs."""
    ours = forecast(entry["losses"], horizon=entry["horizon"], form="paper", series=kind)
    return abs(ours.value / theirs["value"] - 1)


def failure_rows(record: Record) -> Iterable[Row]:
    """One row for each way in which theirs failed."""
    seen: dict[tuple[str, str, str, str], list[str]] = {}
    for entry in record["series"]:
        for environment, results in entry["theirs"].items():
            for kind, result in results.items():
                if "failure" in result:
                    key = (environment, str(len(entry["losses"])), kind, result["failure"])
                    seen.setdefault(key, []).append(f"{entry['task']} {entry['lr']:g} ({entry['kind']})")
    for (environment, readings, kind, failure), series in sorted(seen.items(), key=lambda item: item[0]):
        yield environment, readings, kind, f"`{failure}`", f"{len(series)}: " + ", ".join(series)


def agreement_section() -> str:
    """From records/autolrs_forecasts.json."""
    record = json.loads((RECORDS / "autolrs_forecasts.json").read_text())
    header = ("environment", "versions", "readings", "forecasts", "theirs failed", "largest difference", "")
    return f"""## Agreement with the authors' implementation

{record["source"]}, commit `{record["commit"][:12]}`, was run
by itself on series that `studies/autolrs_series.py` recorded from ten real trainings: 20 series of at least {LONG}
readings, and 14 pieces of 16, each forecast as a training series and as a validation series. Twice: with the versions
that its requirements name, and with current ones. The relative difference is to be at most {AGREE:g} on the long
series, wherever theirs has a value.

{table(header, agreement_rows(record))}

The differences that are not rounding are straight lines: there b comes so near zero that a and −c are some 10¹² and
the value is what rounding leaves of their sum, in theirs a multiple of 0.0001 or coarser.

Where theirs failed, ours had a forecast. 16 training losses lose all their readings as outliers: 3 % of 16 rounds to
0, and the last 0 elements of a list are all of it. Current versions raise where the search meets a b that cannot be
told from 0.

{table(("environment", "readings", "taken as", "failure", "series"), failure_rows(record))}"""


def soundness_section() -> str:
    """From records/forecast_soundness.json."""
    record = json.loads((RECORDS / "forecast_soundness.json").read_text())
    codes = sorted({code for of in record["codes"].values() for code in of})
    rows = [(form, *(f"{of.get(code, 0):,}" for code in codes)) for form, of in record["codes"].items()]
    return f"""## It never fails

From `studies/forecast_soundness.py`: {record["series"]:,} generated series of up to 200 readings (decays, walks,
steps, spikes, constants, heavy tails, explosions, magnitudes from 1e-300 to 1e300, holes), each in every form.
Forecasts that raised or warned, were NaN or outside of their interval: {len(record["unsound"])}. How the others came
about (before huge losses were taken apart, a step at 1e38 made scipy's spline end the process):

{table(("form", *codes), rows)}"""


# ------------------------------------------------------------------- the surrogate


def minima_rows(shares: dict[str, dict[str, float]]) -> Iterable[Row]:
    """One row for each condition."""
    for name, words in CONDITIONS.items():
        aim = AIMS.get(name)
        found = [percent(share) for share in shares[name].values()]
        yield (
            words,
            *found,
            "" if aim is None else percent(aim),
            "" if aim is None else verdict(shares[name]["all"] >= aim),
        )


def surrogate_section() -> str:
    """From records/surrogate_minima.json."""
    record = json.loads((RECORDS / "surrogate_minima.json").read_text())
    shares, cost = record["shares"], record["cost"]
    header = ("curves", *shares["noiseless"], "aim", "")
    return f"""## The surrogate

From `studies/surrogate_minima.py`: {record["curves"]} random smooth curves with one minimum over five decades of lr.
How many minima are found within {record["within"]:g} decade in {record["evaluations"]} evaluations:

{table(header, minima_rows(shares))}

Noise costs most on cliffs and skewed curves, failures on parabolas and skewed curves. A huge loss that is not told as
failed becomes the scale of all others once a quarter of the lrs tried are such: policies tell the surrogate above
which loss an lr counts as failed.

A fit of ten readings takes {cost["fit_ms"]:.2g} ms of processor time, and wakes no thread. With the pools of BLAS and
OpenMP set to {cost["threads"]} threads its wall time is {cost["fit"]["wall_ratio"]:.2f} of that with one (median of
ratios in turn), and other threads take {percent(cost["fit"]["other_threads"])} of its own processor time. For a product
of two matrices of 1,000 rows they take {cost["product"]["other_threads"]:.1f} times its own."""


def page() -> str:
    """The whole page."""
    sections = (error_sections(), agreement_section(), soundness_section(), surrogate_section(), search_section())
    parts = "\n\n".join(sections)
    return f"""# Forecast and surrogate: what was measured

Written by `make docs` from the records in `bench/records/`. AutoLRS tries an lr for a tenth of a stage,
*forecasts* the loss at the end of the stage, and asks a *surrogate* over log lr which lr to try next.

{parts}
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
