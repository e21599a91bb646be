"""The command on files: good ones, none, empty ones, and places that cannot be written."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_records import Faker

from lrpilot.errors import DataError, SettingError
from lrpilot_bench.analysis.catalogue import Catalogue, registered
from lrpilot_bench.cli.report import report, write_report
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.report.reading import read_bench

METHODS = ("linear", "adamw_constant")


def planned(record: dict[str, Any]) -> str:
    names = ("task", "method", "seed", "family", "lr", "horizon", "repeat")
    return plan(Job(**{name: record[name] for name in names})).run


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Records of digits under the names that the registered task and methods give their runs today."""
    known = registered()
    catalogue = Catalogue({"digits": known.tasks["digits"]}, {name: known.methods[name] for name in METHODS})
    faker = Faker(catalogue, planned)
    records = [faker.record("digits", "linear", lr=lr) for lr in known.tasks["digits"].families[0].oracle_lrs]
    records += [faker.record("digits", name, seed) for name in METHODS for seed in range(2)]
    once = {record["run"]: record for record in records}  # the grid may come by the default lr
    return [json.dumps(record) + "\n" for record in once.values()]


@pytest.fixture
def file(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "bench.jsonl"
    path.write_text("".join(lines))
    return path


def test_it_writes_both_pages(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, folder = tmp_path / "deep" / "page.html", tmp_path / "docs"
    report(records=file, out=out, markdown=folder)
    assert out.read_text().startswith("<!DOCTYPE html>")
    text = (folder / "benchmark.md").read_text()
    assert text.startswith("# Learning rates at equal total compute\n\nMade from the records alone by `make docs`")
    assert "linear, default lr" in out.read_text() and "planned runs have no record" in out.read_text()
    assert "planned runs have no record" in text and len(text) < len(out.read_text()) / 4
    assert capsys.readouterr().out.count("Wrote ") == 2


def test_the_plan_is_that_of_the_suites_asked_for(file: Path) -> None:
    _, everything = read_bench(file)
    _, smoke = read_bench(file, suites=("smoke",))
    assert 0 < len(smoke) < len(everything)
    assert {job["task"] for job in smoke.values()} == {"digits"}


def test_no_file_and_an_empty_one_are_told_apart_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got none at .*Run `lrpilot bench run`"):
        write_report(tmp_path / "none.jsonl", tmp_path / "page.html")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match=r"at least one record, got none in .*Run `lrpilot bench run`"):
        write_report(tmp_path / "empty.jsonl", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_torn_last_line_is_not_a_record(file: Path, lines: list[str]) -> None:
    file.write_text("".join(lines) + lines[0][: len(lines[0]) // 2])
    assert len(read_bench(file)[0].all_runs) == len(lines)


def test_records_of_another_version_alone_are_refused(file: Path, lines: list[str]) -> None:
    old = [json.dumps({**json.loads(line), "run": "0" * 16}) + "\n" for line in lines]
    file.write_text("".join(old))
    with pytest.raises(DataError, match="made by an earlier version of its task or method"):
        read_bench(file)


def test_records_of_another_version_are_counted(file: Path, lines: list[str]) -> None:
    file.write_text(json.dumps({**json.loads(lines[0]), "run": "0" * 16}) + "\n" + "".join(lines))
    bench, _ = read_bench(file)
    assert len(bench.left_out) == 1 and len(bench.all_runs) == len(lines)


def test_a_line_that_is_no_record_is_named(file: Path, lines: list[str]) -> None:
    file.write_text(lines[0] + "{]\n" + lines[1])
    with pytest.raises(DataError, match="line 2"):
        read_bench(file)


def test_a_place_that_cannot_be_written_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(SettingError, match="--out must name a place that can be written"):
        write_report(file, tmp_path / "taken" / "page.html")
    with pytest.raises(SettingError, match="--out"):
        write_report(file, tmp_path)
