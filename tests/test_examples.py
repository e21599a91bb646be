"""The example scripts run as they stand, and show what their docstrings say."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lrpilot.cli.loading import load_recipe
from lrpilot.policy import Policy
from lrpilot.testing import CHECKS

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="a source distribution carries no examples")


def lines_of(script: str) -> dict[str, dict[str, float]]:
    """What a script prints: title to numbers by name."""
    # A title ends where the first number begins.
    done = subprocess.run([sys.executable, EXAMPLES / script], capture_output=True, text=True, check=True)
    found = {}
    for line in done.stdout.splitlines():
        title, numbers = re.split(r" +(?=accuracy|loss)", line, maxsplit=1)
        found[title] = {
            name: float(value) for name, value in re.findall(r"(loss|accuracy|probes:)\s+([\d.]+)", numbers)
        }
    return found


def test_lr_tuner_from_too_small_an_lr() -> None:
    runs = lines_of("lr_tuner.py")
    good, small = runs["constant, good lr"], runs["constant, 30 x too small"]
    tuned, lowered = runs["LRTuner, 30 x too small"], runs["... lowered in steps"]
    assert small["loss"] > 5 * good["loss"]
    assert tuned["loss"] < lowered["loss"] < 2 * good["loss"]
    assert tuned["probes:"] < 0.03 * 30 * 43, "of the training's steps"


def test_autolrs_from_too_small_and_too_large_an_lr() -> None:
    runs = lines_of("autolrs.py")
    good = runs["constant, good lr"]["loss"]
    assert min(runs[f"constant, 30 x too {size}"]["loss"] for size in ("small", "large")) > 3 * good
    for title in ("AutoLRS, from the good lr", "AutoLRS, 30 x too small", "AutoLRS, 30 x too large"):
        assert runs[title]["loss"] < 1.2 * good
        assert runs[title]["probes:"] <= 0.3 * 23 * 43, "of the training's steps"
    assert runs["published, given [1e-3, 0.1]"]["probes:"] >= 23 * 43


def test_weighted_factors_from_too_large_an_lr() -> None:
    runs = lines_of("weighted_factors.py")
    good = runs["constant, good lr"]["accuracy"]
    assert runs["default, 200 x"]["accuracy"] > good - 3
    assert max(runs["constant, 200 x too large"]["accuracy"], runs["paper's setting, 200 x"]["accuracy"]) < 50


def test_a_policy_of_ones_own_beside_the_same_lr_held() -> None:
    runs = lines_of("own_policy.py")
    assert runs["halved on a plateau"]["loss"] < 0.3 * runs["held"]["loss"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_policy_of_ones_own_passes_the_battery(check: Callable[[Policy], None]) -> None:
    check(load_recipe(f"{EXAMPLES / 'own_policy.py'}:Plateau")(window=5))


def test_the_policy_of_ones_own_needs_one_import() -> None:
    text = (EXAMPLES / "own_policy.py").read_text()
    assert re.findall(r"^(?:from|import) (lrpilot\S*)", text, flags=re.MULTILINE) == ["lrpilot", "lrpilot.policy"]
