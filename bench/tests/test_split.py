"""The split of the tasks: by a rule that knows their names and what they train, and nothing else."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot_bench.protocol.split import SIDES, STRATA, Stratum, sides, split_tasks, stratum
from lrpilot_bench.tasks.registry import get_task, tasks

STRATA_OF_NAMES = st.dictionaries(st.text(min_size=1, max_size=8), st.sampled_from(STRATA), max_size=20)


@given(STRATA_OF_NAMES)
def test_the_two_sides_differ_by_one_task_at_most_overall_and_within_a_stratum(strata: dict[str, Stratum]) -> None:
    split = sides(strata)
    assert split.keys() == strata.keys()
    for some in (strata, *({n for n in strata if strata[n] == one} for one in STRATA)):
        taken = [split[name] for name in some]
        assert abs(taken.count("development") - taken.count("judging")) <= 1


@given(STRATA_OF_NAMES, st.randoms())
def test_the_order_of_writing_does_not_matter(strata: dict[str, Stratum], shuffler: random.Random) -> None:
    names = list(strata)
    shuffler.shuffle(names)
    assert sides({name: strata[name] for name in names}) == sides(strata)


@given(STRATA_OF_NAMES)
def test_it_is_the_rule_that_is_written_down(strata: dict[str, Stratum]) -> None:
    expected: dict[str, str] = {}
    for one in ("pretrained", "sgd", "adam"):
        many = [list(expected.values()).count(side) for side in SIDES]
        turn = ["development", "judging"] if many[0] <= many[1] else ["judging", "development"]
        names = [name for name in strata if strata[name] == one]
        while names:
            first = min(names, key=lambda name: hashlib.sha256(name.encode()).digest())
            names.remove(first)
            expected[first] = turn[0]
            turn.reverse()
    assert sides(strata) == expected


def test_by_hand() -> None:
    """sha256 of "a" begins with ca, of "b" with 3e, of "c" with 2e, of "d" with 18."""
    assert sides({"a": "sgd", "b": "sgd", "c": "sgd", "d": "adam"}) == {
        "c": "development",
        "b": "judging",
        "a": "development",
        "d": "judging",
    }


def test_an_unknown_stratum_is_refused() -> None:
    with pytest.raises(SettingError, match="must be one of"):
        sides({"a": "plain_sgd"})  # type: ignore[dict-item]


def test_tasks_of_the_comparison_take_part_and_no_others() -> None:
    split = split_tasks(tasks().values())
    assert {"fashion_bn", "minilm_movies", "diamonds"} <= split.keys()
    assert not {"digits", "char_kjv_large", "factors_fashion"} & split.keys()


@pytest.mark.parametrize(
    ("name", "expected"), [("minilm_movies", "pretrained"), ("fashion_bn", "sgd"), ("char_kjv", "adam")]
)
def test_what_a_task_trains(name: str, expected: Stratum) -> None:
    assert stratum(get_task(name)) == expected


def test_the_split_that_records_are_made_under() -> None:
    """A further task may move others to the other side, and what was chosen by looking at them with them."""
    assert split_tasks(tasks().values()) == {
        "minilm_topics": "development",
        "minilm_movies": "judging",
        "fashion_bn": "development",
        "satellite_conv": "judging",
        "fashion_plain": "development",
        "verses_bag": "judging",
        "satellite_raw": "development",
        "diamonds_batch": "judging",
        "papers_net": "development",
        "letters_epochs": "judging",
        "translation": "development",
        "kjv_gru": "judging",
        "reuters_bag": "development",
        "char_kjv": "judging",
        "diamonds": "development",
    }
