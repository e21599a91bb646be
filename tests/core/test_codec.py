"""Records to plain data and back: through JSON and through torch.load(weights_only=True)."""

import dataclasses
import io
import json
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.actions import Evaluate, Line, Mark, Progress, Train, Trained, Trial
from lrpilot.core.codec import coded_enum, decode, encode, record
from lrpilot.core.found import FindCode
from lrpilot.core.shape import annealed, ramp
from lrpilot.core.stop import Stop, StopReason
from lrpilot.errors import StateError


@record
class CodecPair:
    left: Any
    right: Any = None


@record
class CodecDerived:
    value: float
    doubled: float = dataclasses.field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "doubled", 2 * self.value)


@coded_enum
class CodecColour(Enum):
    RED = "a sentence that may be rewritten"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner).map(tuple)
        | st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), inner)
        | st.builds(CodecPair, inner, inner)
    ),
    max_leaves=20,
)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def through_torch(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@given(plain)
def test_what_goes_in_comes_out(value: Any) -> None:
    assert decode(encode(value)) == value
    assert decode(through_json(encode(value))) == value


@given(plain)
def test_the_plain_form_is_a_fixed_point(value: Any) -> None:
    assert encode(decode(encode(value))) == encode(value)


@pytest.mark.parametrize(
    "value",
    [
        Train(ramp(0.1, 0.0, 10), 10, observe_every=2, stop=Stop(patience=3), momentum=annealed(0.9, 4)),
        Trial(annealed(0.1, 20), 20, evaluate="average", stop=Stop(abort_ratio=4.0)),
        Line((0.5, 1.0), batches=3),
        Evaluate(),
        Mark("best"),
        Trained(Progress(3, None), 3, (1.0, 0.5), None, True, StopReason.NON_FINITE),
        FindCode.AT_UPPER_EDGE,
        CodecPair(CodecPair(1, (2, 3)), {"a": CodecPair(CodecColour.RED)}),
        CodecDerived(2.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_checkpoint_holds_it(value: Any) -> None:
    assert decode(through_torch(encode(value))) == value


def test_by_hand() -> None:
    assert encode(CodecPair((1, 2.5), CodecColour.RED)) == {
        "$record": f"{__name__}:CodecPair",
        "left": [1, 2.5],
        "right": {"$enum": f"{__name__}:CodecColour", "name": "RED"},
    }
    assert encode((Mark("here"), StopReason.PATIENCE)) == [
        {"$record": "Mark", "key": "here"},
        {"$enum": "StopReason", "name": "PATIENCE"},
    ], "lrpilot's own by the class alone: they may be moved"


def test_an_enum_is_saved_by_name_so_that_its_sentence_may_change() -> None:
    assert "sentence" not in json.dumps(encode(CodecColour.RED))
    assert decode(encode(CodecColour.RED)) is CodecColour.RED


def test_numpy_numbers_become_numbers() -> None:
    encoded = encode((np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), np.array(2.0), torch.tensor(4)))
    assert encoded == [0.5, 0.5, 3, True, 2.0, 4]
    assert [type(value) for value in encoded] == [float, float, int, bool, float, int]


def test_booleans_stay_booleans() -> None:
    assert encode((True, 1)) == [True, 1] and [type(v) for v in encode((True, 1))] == [bool, int]


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, b"x", np.zeros(3), CodecPair, [CodecPair(object())]])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(StateError, match="must be numbers, strings"):
        encode(value)


def test_a_dataclass_without_record_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Bare:
        value: int

    with pytest.raises(StateError, match="declared with @record can be encoded, got Bare"):
        encode(Bare(1))


@pytest.mark.parametrize("key", [1, None, "$record", "$x"])
def test_keys_must_be_strings_that_cannot_be_mistaken(key: Any) -> None:
    with pytest.raises(StateError, match="Keys in policy state must be strings"):
        encode({key: 1})


@pytest.mark.parametrize("value", [{"$record": "NoSuchRecord"}, {"$enum": "NoSuchEnum", "name": "A"}])
def test_an_unknown_name_is_refused(value: Any) -> None:
    with pytest.raises(StateError, match="only known records, got 'NoSuch"):
        decode(value)


@pytest.mark.parametrize("fields", [{"left": 1, "middle": 2}, {"right": 2}])
def test_fields_of_another_version_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(StateError, match=r"Saved fields must fit .*:CodecPair"):
        decode({"$record": f"{__name__}:CodecPair", **fields})


def test_a_member_that_is_gone_is_refused() -> None:
    with pytest.raises(StateError, match="must be one of RED, got 'GREEN'"):
        decode({"$enum": f"{__name__}:CodecColour", "name": "GREEN"})


def test_two_records_of_ours_may_not_share_a_name() -> None:
    with pytest.raises(StateError, match="Record names must be unique, got 'Mark' from"):

        @record
        class Mark:
            __module__ = "lrpilot.core.codec"
            other: int


def test_two_strangers_may_share_a_name() -> None:
    def of(module: str) -> type[Any]:
        return record(type("Mark", (), {"__module__": module, "__annotations__": {"key": Any}}))

    one, two = of("some_package"), of("other_package")
    for value in (one(1), two(1), Mark("ours")):
        assert decode(encode(value)) == value and type(decode(encode(value))) is type(value)


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CodecPair(1).left = 2  # type: ignore[misc]
