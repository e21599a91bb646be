"""Policies by name."""

import subprocess
import sys

import pytest

from lrpilot.core.policy import Policy
from lrpilot.errors import SettingError
from lrpilot.policies import registry
from lrpilot.policies.registry import METHODS, get_policy, policy_names
from lrpilot.policies.schedules.schedule import Schedule
from lrpilot.policies.schedules.shapes import SCHEDULES


def test_every_name_gives_a_policy() -> None:
    assert set(policy_names()) == {*SCHEDULES, *METHODS}
    for name in policy_names():
        assert isinstance(get_policy(name), Policy), name


def test_settings_reach_the_policy() -> None:
    assert get_policy("cosine", lr=0.1, warmup=0.05) == Schedule("cosine", lr=0.1, warmup=0.05)


def test_a_method_may_be_a_preset_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        registry.METHODS, "name of a class", "lrpilot.policies.schedules.schedule:Schedule.__call__.__name__.upper"
    )
    assert get_policy("name of a class") == "__CALL__"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cosin", {}, "got 'cosin'. Did you mean 'cosine'?"),
        ("stepsampling", {}, "Did you mean 'step_sampling'?"),
        ("xyzzy", {}, "Choose one of these."),
        ("cosine", {"warm_up": 3}, "got 'warm_up'. Did you mean 'warmup'?"),
        ("cosine", {"kind": "linear"}, "got 'kind'."),
        ("cosine", {"gamma": 0.1}, "A 'cosine' schedule takes min_factor, got gamma."),
    ],
)
def test_bad_names_are_answered_with_the_closest(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError) as error:
        get_policy(name, **settings)
    assert message in str(error.value)


def test_a_method_is_imported_only_when_asked_for() -> None:
    code = (
        "import sys; from lrpilot.policies.registry import get_policy, policy_names; policy_names();"
        "assert 'lrpilot.policies.schedules.schedule' not in sys.modules; get_policy('cosine');"
        "assert 'lrpilot.policies.schedules.schedule' in sys.modules; assert 'torch' not in sys.modules;"
        "assert not [m for m in sys.modules if m.endswith(('step_sampling', 'range_test', 'annealed_search'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
