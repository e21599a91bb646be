"""Policies by name."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrpilot.core.policy import Policy
from lrpilot.errors import SettingError
from lrpilot.policies import registry
from lrpilot.policies.registry import METHODS, get_policy, own_names, policy_names, settings_of
from lrpilot.policies.schedules.schedule import Schedule
from lrpilot.policies.schedules.shapes import SCHEDULES
from lrpilot.policies.weighted_factors import WeightedFactors
from strangers import PLATEAU, install


def test_every_name_gives_a_policy() -> None:
    assert set(policy_names()) == {*SCHEDULES, *METHODS}
    for name in policy_names():
        assert isinstance(get_policy(name), Policy), name


def test_settings_reach_the_policy() -> None:
    assert get_policy("cosine", lr=0.1, warmup=0.05) == Schedule("cosine", lr=0.1, warmup=0.05)


def test_a_method_may_be_a_preset_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.METHODS, "as published", "lrpilot.policies.weighted_factors:WeightedFactors.paper")
    assert get_policy("as published", window=7) == WeightedFactors.paper(window=7)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cosin", {}, "got 'cosin'. Did you mean 'cosine'?"),
        ("stepsampling", {}, "Did you mean 'step_sampling'?"),
        ("AutoLRS", {}, "Did you mean 'autolrs' or 'autolrs_paper'?"),
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


# ---------------------------------------------------- of other distributions


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which distributions are installed."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("plateau_lr", None)


def test_an_installed_policy_is_as_good_as_ours(site: Path) -> None:
    names = {"plateau": "plateau_lr:Plateau", "plateau_slow": "plateau_lr:Plateau.slow", "two": "plateau_lr:of_two"}
    install(site, "plateau-lr", {"plateau_lr": PLATEAU}, {"lrpilot.policies": names})
    assert set(policy_names()) == {*own_names(), *names}
    assert "plateau_lr" not in sys.modules, "listing imports nothing"
    made = get_policy("plateau", factor=0.25)
    assert isinstance(made, Policy) and made.name == "Plateau" and get_policy("plateau_slow") == type(made)(0.9)
    assert get_policy("two", first=1.0, of_any_name=3) == type(made)(0.5)
    assert (settings_of("plateau"), settings_of("two")) == (("factor",), ("first", "second"))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("platau", {}, "got 'platau'. Did you mean 'plateau'?"),
        ("plateau", {"factr": 1}, "A setting of 'plateau' must be one of factor, got 'factr'. Did you mean 'factor'?"),
        ("plateau", {"factor": 2}, "factor must be in (0, 1), got 2."),
        ("slow", {"factor": 2}, "slow takes no settings, got 'factor'. Leave it away."),
        ("two", {}, "two must be given its settings without a default, got no first. Set it."),
        ("nothing", {}, "nothing must make a policy, got int. Derive the class from lrpilot.policy.Policy"),
        ("number", {}, "number must be a policy's class or a function that returns a policy, got int."),
        (
            "missing",
            {},
            "The policy 'missing' of plateau-lr must import cleanly, but plateau_lr:Plato raised Attr",
        ),
        (
            "broken",
            {},
            "not_there:Plateau raised ModuleNotFoundError: No module named 'not_there'. Mend that distr",
        ),
        ("twice", {}, "The policy 'twice' must come from one distribution, got other-lr and plateau-lr."),
    ],
)
def test_what_is_wrong_with_one_is_told_when_it_is_asked_for(
    site: Path, name: str, settings: dict[str, object], message: str
) -> None:
    places = {"plateau": "Plateau", "slow": "Plateau.slow", "two": "of_two", "nothing": "nothing", "number": "number"}
    names = {n: f"plateau_lr:{place}" for n, place in {**places, "missing": "Plato", "twice": "Plateau"}.items()}
    install(site, "plateau-lr", {"plateau_lr": PLATEAU}, {"lrpilot.policies": {**names, "broken": "not_there:Plateau"}})
    install(site, "other-lr", {}, {"lrpilot.policies": {"twice": "plateau_lr:Plateau.slow"}})
    with pytest.raises(SettingError) as error:
        get_policy(name, **settings)
    assert message in str(error.value)
    assert get_policy("cosine") == Schedule("cosine"), "and spoils nothing else"


def test_a_name_of_ours_stays_ours_and_the_clash_is_told(site: Path) -> None:
    install(site, "plateau-lr", {"plateau_lr": PLATEAU}, {"lrpilot.policies": {"cosine": "plateau_lr:Plateau"}})
    with pytest.warns(
        UserWarning, match=r"'cosine' is lrpilot's own: .* plateau-lr .* Ask for that one as plateau_lr:"
    ):
        assert get_policy("cosine") == Schedule("cosine")
    assert policy_names() == own_names()
