"""Which lr looks best after Trials of different length: what is on record is what the page says."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from lrpilot_bench.studies.trial_lengths import LENGTHS, LRS, RECORD, SEEDS, best_lr, summary, trial_losses

PAGE = Path(__file__).parents[3] / "docs" / "trial-methods.md"
SEEN: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
UNTRAINED = 2.3  # log of ten classes


def in_words(lrs: list[float]) -> str:
    low, high = f"{min(lrs):.2g}", f"{max(lrs):.2g}"
    return low if low == high else f"{low} to {high}"


@pytest.fixture(scope="module")
def text() -> str:
    return " ".join(PAGE.read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("optimizer", "first"), [("sgd", "averaged weights was"), ("adamw", "With AdamW it was")])
def test_the_page_says_which_lr_looked_best(text: str, optimizer: str, first: str) -> None:
    words = [f"{in_words(summary(SEEN)[optimizer][str(steps)])} after {steps}" for steps in LENGTHS]
    words[0] += " steps"
    assert f"{first} {', '.join(words[:-1])} and {words[-1]}" in text


def test_the_page_says_which_lr_was_best_when_held(text: str) -> None:
    means = [statistics.fmean(loss or float("inf") for loss in of_lr) for of_lr in zip(*SEEN["held"], strict=True)]
    times = means[LRS.index(0.1)] / min(means)
    dead = min(lr for lr, mean in zip(LRS, means, strict=True) if lr > 0.1 and mean >= UNTRAINED)
    assert f"{in_words(summary(SEEN)['held'])} was the best, 0.1 ended at {times:.1f} times its loss" in text
    assert f"from {dead:.2g} on nothing was learned" in text
    assert len(SEEN["held"]) == len(SEEDS) == 3 and SEEN["steps_held"] == 1000


def test_the_longer_the_trial_the_lower_the_best_lr() -> None:
    for optimizer in ("sgd", "adamw"):
        best = summary(SEEN)[optimizer]
        assert all(best["14"][seed] > best["120"][seed] for seed in range(len(SEEDS)))


def test_the_best_lr_by_hand() -> None:
    losses: list[float | None] = [None] * len(LRS)
    losses[3], losses[5] = 0.4, 0.3
    assert best_lr(losses) == LRS[5]


def test_a_trial_reads_a_loss_for_every_lr() -> None:
    losses = trial_losses("sgd", 0, 2)
    assert len(losses) == len(LRS) and len(set(losses)) > 1, "of two steps"
