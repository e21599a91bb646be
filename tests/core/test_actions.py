"""Actions refuse what cannot be asked for."""

import json
import math

import pytest

from lrpilot.core.actions import Average, Progress, Trial, TrialLosses
from lrpilot.core.codec import decode, encode
from lrpilot.core.shape import constant
from lrpilot.errors import SettingError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mix": 1.0}, r"mix must be >= 0 and < 1, got 1\.0"),
        ({"mix": -0.1}, "got -0.1. The default is 0.9"),
        ({"mix": math.nan}, "got nan"),
        ({"power": -1.0}, r"power must be finite and >= 0, got -1\.0"),
        ({"power": math.inf}, "got inf. The default is 0"),
        ({"power": math.nan}, "power .* got nan"),
    ],
)
def test_an_average_is_within_its_range(settings: dict[str, float], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Average(**settings)
    assert Average(0.0, 0.0) != Average() == Average(0.9, 0.0)


def test_an_averaged_trial_is_not_averaged_once_more() -> None:
    with pytest.raises(SettingError, match=r"judged by its own average, .*Use evaluate='end'"):
        Trial(constant(0.1), 5, evaluate="average", average=Average())


@pytest.mark.parametrize("read_every", [0, -1, 6])
def test_readings_are_within_the_trial(read_every: int) -> None:
    with pytest.raises(SettingError, match=f">= 1 and <= steps, got {read_every} in a Trial of 5 steps. Use None"):
        Trial(constant(0.1), 5, read_every=read_every)


def test_a_trial_and_its_readings_survive_json_and_earlier_versions_had_none() -> None:
    trial = Trial(constant(0.1), 5, read_every=5)
    seen = TrialLosses(Progress(0, 9), (1.0,) * 5, None, None, readings=(0.5,))
    for one, new, empty in ((trial, "read_every", None), (seen, "readings", ())):
        plain = json.loads(json.dumps(encode(one)))
        assert decode(plain) == one
        del plain[new]
        assert getattr(decode(plain), new) == empty
