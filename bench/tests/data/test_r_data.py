"""R data files: what is read is what was written, and what is no data frame of numbers and factors is refused."""

import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import DataError
from lrpilot_bench.data.r_data import data_frame
from r_writer import integers, r_file

INTEGERS = st.integers(-(2**31) + 1, 2**31 - 1)
NAMES = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=5)


@given(st.data(), st.sampled_from([2, 3]), st.integers(1, 6))
def test_what_is_read_is_what_was_written(data: st.DataObject, version: int, rows: int) -> None:
    numbers = st.lists(INTEGERS, min_size=rows, max_size=rows)
    reals = st.lists(st.floats(allow_nan=False), min_size=rows, max_size=rows)
    factors = st.lists(NAMES, min_size=rows, max_size=rows)
    columns = data.draw(st.dictionaries(NAMES, st.one_of(numbers, reals, factors), min_size=1, max_size=4))
    assert data_frame(r_file(columns, version=version)) == columns


def test_a_missing_level_is_none() -> None:
    assert data_frame(r_file({"a": ["x", None, "w"]})) == {"a": ["x", None, "w"]}


def test_other_files_are_refused() -> None:
    whole = lzma.decompress(r_file({"a": [1, 2]}))
    with pytest.raises(DataError, match="compressed by xz"):
        data_frame(whole)
    with pytest.raises(DataError, match="must begin with"):
        data_frame(lzma.compress(b"RDA3\n" + whole))
    with pytest.raises(DataError, match="bytes too early"):
        data_frame(lzma.compress(whole[:-20]))
    complex_numbers = whole.replace(integers(13, 2, 1, 2), integers(15, 2, 1, 2))
    assert complex_numbers != whole
    with pytest.raises(DataError, match="kind 15"):
        data_frame(lzma.compress(complex_numbers))
