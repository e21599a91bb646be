"""Write docs/forecasts.md from the records of the forecast, of the surrogate, and of what a search takes."""

import json
import statistics
from collections.abc import Iterable
from typing import Any

from lrpilot.maths.forecast import forecast
from lrpilot_bench.store.records import Record
from lrpilot_bench.studies.checkout import DOCS, RECORDS
from lrpilot_bench.studies.forecast_error import LEVEL, PREDICTORS, TRUTHS
from lrpilot_bench.studies.markdown import Row, percent, render, verdict
from lrpilot_bench.studies.search_cost_page import search_numbers

Numbers = dict[str, Any]

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


def error_numbers() -> Numbers:
    """From records/forecast_error.json."""
    found = json.loads((RECORDS / "forecast_error.json").read_text())
    return {
        "errors": found,
        "predictors": [NAMES[name] for name in PREDICTORS],
        "starts": [f"{task}, step {start}" for task in found["tasks"] for start in found["starts"]],
        "against": {truth: error_rows(found, truth) for truth in TRUTHS},
        "closer": closer_rows(found),
        "choices": choice_rows(found),
        "worse": worse_rows(found),
        "paper_tail": {task: paper_tail(found, task) for task in found["tasks"]},
        "paper_closer": {group: paper_closer(found, group) for group in found["closer"]},
    }


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
    return abs(ours.value / float(theirs["value"]) - 1)


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


def agreement_numbers() -> Numbers:
    """From records/autolrs_forecasts.json."""
    record = json.loads((RECORDS / "autolrs_forecasts.json").read_text())
    rows = {"agreed": agreement_rows(record), "failures": failure_rows(record)}
    return {"agreement": record, "long": LONG, "agree": AGREE, **rows}


def soundness_numbers() -> Numbers:
    """From records/forecast_soundness.json."""
    record = json.loads((RECORDS / "forecast_soundness.json").read_text())
    codes = sorted({code for of in record["codes"].values() for code in of})
    rows = [(form, *(f"{of.get(code, 0):,}" for code in codes)) for form, of in record["codes"].items()]
    return {"soundness": record, "codes": codes, "sound": rows}


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


def surrogate_numbers() -> Numbers:
    """From records/surrogate_minima.json."""
    record = json.loads((RECORDS / "surrogate_minima.json").read_text())
    return {"minima": record, "found": minima_rows(record["shares"])}


def page() -> str:
    """The whole page."""
    parts = (error_numbers(), agreement_numbers(), soundness_numbers(), surrogate_numbers())
    numbers = {name: value for part in parts for name, value in part.items()}
    return render("forecasts", {**numbers, "search": search_numbers()})


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
