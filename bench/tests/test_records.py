"""Files of records: a line is whole or not there, whatever kills the writer."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import DataError
from lrpilot_bench.store.records import (
    append_record,
    finite,
    machine_facts,
    read_records,
    torn_path,
    torn_warning,
)


@pytest.mark.parametrize("torn", [b'{"lr": 0.1, "se', b"[1, 2]", b'{"text": "\xc3'])
def test_a_half_written_line_does_not_count_and_is_kept_beside(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, {"whole": 1})
    assert torn_warning(path) is None
    for number in (2, 3):
        before = path.read_bytes() + torn
        path.write_bytes(before)

        assert read_records(path) == [{"whole": n} for n in range(1, number)]
        said = torn_warning(path)
        assert said is not None and f"half done ({len(torn)} bytes)" in said and str(torn_path(path)) in said
        assert path.read_bytes() == before, "who only reads writes nothing"

        append_record(path, {"whole": number})
        assert read_records(path) == [{"whole": n} for n in range(1, number + 1)]
        assert torn_warning(path) is None
    assert torn_path(path).read_bytes() == 2 * (torn + b"\n")


def test_a_good_last_line_without_its_line_end_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"first": 1}\n{"edited": "by hand"}')

    assert read_records(path) == [{"first": 1}, {"edited": "by hand"}]
    assert torn_warning(path) is None
    append_record(path, {"next": 2})

    assert path.read_text() == '{"first": 1}\n{"edited": "by hand"}\n{"next":2}\n'
    assert not torn_path(path).exists()


@pytest.mark.parametrize(
    "content",
    [b"my notes, without a line end", b"my notes\nof today", b"\x00\x01\xff", '{"a": 1}\n'.encode("utf-16")],
    ids=["one line", "two lines", "binary", "utf-16"],
)
def test_a_file_of_something_else_is_never_touched(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    for act in (read_records, torn_warning, lambda path: append_record(path, {"next": 2})):
        if content.endswith(b"\n") and act not in (read_records, torn_warning):
            continue
        with pytest.raises(DataError, match=r"JSON object.*file"):
            act(path)

    assert path.read_bytes() == content and not torn_path(path).exists()


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text()), min_size=1, max_size=5), st.data())
def test_no_byte_is_lost_wherever_a_file_was_torn(records: list[dict[str, Any]], data: st.DataObject) -> None:
    content = b"".join((json.dumps(record, ensure_ascii=False) + "\n").encode() for record in records)
    first = content.index(b"\n")
    kept = content[: data.draw(st.integers(first, len(content)))]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        path.write_bytes(kept)
        append_record(path, {"next": 2})

        torn = torn_path(path).read_bytes().removesuffix(b"\n") if torn_path(path).exists() else b""
        whole = path.read_bytes().removesuffix(b'{"next":2}\n')
        assert (whole + torn).rstrip(b"\n") == kept.rstrip(b"\n")
        count = len(whole.splitlines()) if whole else 0
        assert read_records(path) == [*records[: whole.count(b"\n")], {"next": 2}] and count >= 1


@pytest.mark.parametrize("line", ["not json", "[1, 2]", ""])
def test_a_damaged_whole_line_is_reported_with_its_place(line: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f'{{"fine": 1}}\n{line}\n')

    with pytest.raises(DataError, match=r"line 2 of .*Delete that line"):
        read_records(path)


def test_a_folder_is_no_file_of_records(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Records need a file that can be read"):
        read_records(tmp_path)
    assert read_records(tmp_path / "new.jsonl") == []


def test_only_what_did_not_run_on_a_cpu_names_its_device() -> None:
    assert "device" not in machine_facts() and machine_facts("cpu") == machine_facts()
    facts = machine_facts("cuda:0")
    assert facts.pop("device") == "cuda"
    facts.pop("gpu", None)  # where there is none
    assert facts == machine_facts()


def test_non_finite_numbers_never_reach_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_record(tmp_path / "records.jsonl", {"loss": float("nan")})

    assert not (tmp_path / "records.jsonl").exists()
    assert [finite(x) for x in (1.5, float("nan"), float("inf"), None)] == [1.5, None, None, None]
