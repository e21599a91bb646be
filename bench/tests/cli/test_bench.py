"""``lrpilot bench`` from outside: what it lists, what it runs, and how it says what is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import fake_attempts
import lrpilot_bench
from lrpilot.cli.app import app
from lrpilot.errors import SettingError
from lrpilot_bench import data
from lrpilot_bench.analysis.recorded import LeftOut
from lrpilot_bench.cli import commands as command
from lrpilot_bench.cli.options import parse_seeds
from lrpilot_bench.data.fetch import DATA_SETS
from lrpilot_bench.plugins import PLUGINS_VARIABLE, collected, plugins, use_plugins
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.protocol.wanted import SUITES
from lrpilot_bench.run.pool import Outcome
from lrpilot_bench.run.workers import attempt
from lrpilot_bench.store.locking import locked
from lrpilot_bench.store.records import append_record, read_records
from lrpilot_bench.tasks.registry import tasks

FAKE = ("--plugin", "fake_bench", "--task", "fake")


class Inline:
    """A pool that runs in this process and finishes everything at once."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def free(self) -> int:
        return 1 - len(self.jobs)

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def collect(self, timeout: float) -> list[Outcome]:
        job = self.jobs.pop()
        return [Outcome(job, record=fake_attempts.seeming_record(job, plan(job).run))]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    monkeypatch.setattr(command, "_pool", lambda processes, ray, device: Inline())
    monkeypatch.setattr(data, "missing_data", lambda: {})  # whatever lies on this machine


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


def document(*arguments: str) -> dict[str, Any]:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    made: dict[str, Any] = json.loads(result.stdout)
    return made


# ---------------------------------------------------------------------- running


def test_run_does_what_is_missing_and_sums_up() -> None:
    asked = (
        *FAKE,
        "--suite",
        "methods",
        "--method",
        "fake_plain",
        "--method",
        "fake_sgd_only",
        "--records",
        "a/r.jsonl",
    )
    made = document("run", *asked, "--seeds", "0-3")
    assert (made["done"], made["present"], made["statuses"]) == (4, 0, {"finished": 4})
    assert {row["method"] for row in made["not_run"]} == {"fake_sgd_only"} and len(made["not_run"]) == 4
    assert [record["seed"] for record in read_records(Path("a/r.jsonl"))] == [0, 1, 2, 3]

    result = call("run", *asked, "--seeds", "0-4")
    assert result.exit_code == 0
    assert result.stdout.startswith("1 runs done, 4 were there: 5 finished. Records: a/r.jsonl\n")
    assert result.stderr.startswith("5 runs wanted, 4 are there: methods 5; 5 cannot be run\n")
    assert "1/1  0 s left  fake fake_plain lr 0.01 seed 4, val loss 0.5, 0.0 s" in result.stderr
    assert "starting 1 worker: a line follows with every run that ends\n" in result.stderr
    assert "not run (5): fake_sgd_only on fake: The method 'fake_sgd_only' trains with ['sgd']" in result.stderr


def test_what_is_planned_is_said_by_suite_with_every_run_once() -> None:
    asked = ("--suite", "sanity", "--suite", "methods", "--suite", "start_lr", "--method", "linear", "--seeds", "0-1")
    result = call("run", *FAKE, *asked, "--records", "r.jsonl")
    # seed 0's plain run is of sanity and of methods; two factors x two seeds
    assert result.stderr.startswith("7 runs wanted, 0 are there: sanity 2, methods 1, start_lr 4\n")
    assert result.stdout.startswith("7 runs done, 0 were there")
    assert "runs wanted" not in call("run", *FAKE, *asked, "--records", "r.jsonl", "--json").stderr


def crash(self: Inline, timeout: float) -> list[Outcome]:
    job = self.jobs.pop()
    changes = {"status": "crashed", "error": "RuntimeError: no good\nat all"} if job.method == "fake_crash" else {}
    return [Outcome(job, record=fake_attempts.seeming_record(job, plan(job).run, **changes))]


def test_a_crash_says_why_once_and_a_method_that_only_crashes_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = "Crashed runs are kept; raise the method's version to run them again, or pass --retry-crashed."
    asked = (*FAKE, "--suite", "methods", "--method", "fake_crash", "--method", "fake_plain", "--records", "r.jsonl")
    monkeypatch.setattr(Inline, "collect", crash)
    result = call("run", *asked, "--seeds", "0-1")
    assert result.exit_code == 1 and kept in result.stdout
    assert result.stderr.count("crashed: fake fake_crash: RuntimeError: no good\n") == 1
    assert "fake fake_crash seed 0, crashed, 0.0 s" in result.stderr, "no loss of it"
    assert "every run crashed of fake_crash: the reason stands above" in result.stderr

    result = call("run", *asked, "--seeds", "0-1")
    assert result.exit_code == 0 and kept in result.stdout, "nothing was run, nothing went wrong in it"

    made = json.loads(call("run", *asked, "--seeds", "2", "--json").stdout)
    assert made["all_crashed"] == ["fake_crash"]
    assert made["crashes"] == [{"method": "fake_crash", "reason": "RuntimeError: no good"}]


def test_crashed_runs_are_run_again_on_demand_and_the_newest_record_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (*FAKE, "--suite", "methods", "--method", "fake_crash", "--method", "fake_plain", "--records", "r.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(Inline, "collect", crash)
        assert call("run", *asked).exit_code == 1
        assert call("run", *asked, "--retry-crashed").exit_code == 1, "once a call"
    assert len(read_records(Path("r.jsonl"))) == 6 + 3

    result = call("run", *asked, "--retry-crashed")
    assert result.exit_code == 0 and "Crashed runs" not in result.stdout
    assert result.stdout.startswith("3 runs done, 3 were there: 6 finished.")
    assert len(read_records(Path("r.jsonl"))) == 6 + 3 + 3
    assert document("run", *asked, "--retry-crashed")["done"] == 0


def test_records_of_earlier_versions_are_said() -> None:
    append_record(Path("r.jsonl"), fake_attempts.seeming_record(Job("digits", "linear"), "0" * 16))
    result = call("run", *FAKE, "--suite", "sanity", "--method", "linear", "--records", "r.jsonl")
    assert "1 records are of earlier versions" in result.stderr and "--plugin" not in result.stderr
    assert len(read_records(Path("r.jsonl"))) == 3


def test_records_of_a_plugin_that_is_not_loaded_are_no_earlier_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("--suite", "sanity", "--records", "r.jsonl")
    assert document("run", *FAKE, "--method", "linear", *asked)["done"] == 2
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    said = "2 records are of a task or a method that is not registered (fake): kept, and not counted."
    for what in ("status", "run"):
        result = call(what, "--task", "digits", "--method", "linear", *asked)
        assert said in result.stderr and "--plugin" in result.stderr and "earlier" not in result.output
        made = document(what, "--task", "digits", "--method", "linear", *asked)
        assert (made["earlier_versions"], made["unregistered"]) == (0, {"fake": 2})

    Path("alone.jsonl").write_text("".join(Path("r.jsonl").read_text().splitlines(keepends=True)[:2]))
    result = call("report", "--records", "alone.jsonl")
    assert result.exit_code == 2 and "its task is not registered" in result.stderr and "--plugin" in result.stderr


def test_a_report_says_which_records_it_cannot_count_for_want_of_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("gone", "linear"):
        record = fake_attempts.seeming_record(Job("digits", method), "0" * 16)
        append_record(Path("r.jsonl"), record)
    left_out = SimpleNamespace(
        catalogue=SimpleNamespace(tasks={"digits": None}),
        left_out=[
            LeftOut("0", "digits", "gone", "its method is not registered"),
            LeftOut("1", "fake", "linear", "its task is not registered"),
            LeftOut("2", "digits", "linear", "made by an earlier version of its task or method"),
        ],
    )
    monkeypatch.setattr("lrpilot_bench.report.reading.read_bench", lambda records, suites: (left_out, {}))
    monkeypatch.setattr("lrpilot_bench.report.findings.find", lambda bench, expected: None)
    monkeypatch.setattr("lrpilot_bench.report.figures.drawings", lambda findings: {})
    monkeypatch.setattr("lrpilot_bench.report.pages.html_page", lambda findings, drawings: "")
    result = call("report", "--records", "r.jsonl")
    assert result.exit_code == 0, result.stderr
    assert "2 records are of a task or a method that is not registered (fake, gone)" in result.stderr


def attempted(self: Inline, timeout: float) -> list[Outcome]:
    return [attempt(self.jobs.pop(), device="cpu")]


def test_a_crash_shows_its_traceback_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inline, "collect", attempted)
    asked = ("run", *FAKE, "--suite", "methods", "--method", "fake_crash", "--records", "r.jsonl")
    result = call(*asked, "--seeds", "0")
    said = "crashed: fake fake_crash: RuntimeError: no good (fake_bench.py, line "
    assert said in result.stderr and "Traceback" not in result.stderr
    assert "'lrpilot --debug bench run ... --retry-crashed' shows the traceback, too." in result.stdout

    result = CliRunner().invoke(app, ["--debug", "bench", *asked, "--seeds", "1"])
    assert said in result.stderr and 'raise RuntimeError("no good")' in result.stderr
    assert result.stderr.count("Traceback (most recent call last)") == 1
    assert not [record for record in read_records(Path("r.jsonl")) if "Traceback" in json.dumps(record)]


def test_a_method_that_takes_no_step_has_failed_for_the_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inline, "collect", attempted)
    asked = (*FAKE, "--suite", "methods", "--method", "fake_idle", "--records", "r.jsonl")
    result = call("run", *asked, "--seeds", "0")
    assert "fake fake_idle seed 0, took no step, " in result.stderr and "val loss" not in result.stderr
    assert result.stdout.startswith("1 runs done, 0 were there: 1 took no step.")
    (row,) = document("status", *asked, "--seeds", "0")["suites"]
    assert (row["done"], row["failed"]) == (1, 1)


def test_what_follows_a_sweep_is_announced() -> None:
    more = "more are wanted once the best of a sweep is known"
    asked = ("run", *FAKE, "--method", "linear", "--records", "r.jsonl")
    assert more in call(*asked, "--suite", "oracle").stderr
    assert more not in call(*asked, "--suite", "methods").stderr


def test_the_smoke_run_takes_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int | None] = []

    def pool(processes: int | None, ray: str | None, device: str) -> Inline:
        asked.append(processes)
        raise SettingError("far enough")

    monkeypatch.setattr(command, "_pool", pool)
    assert "far enough" in call("--smoke", "--processes", "3").stderr and asked == [3]


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Inline, timeout: float) -> list[Outcome]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Inline, "collect", stop)
    result = call("run", *FAKE, "--suite", "sanity", "--records", "r.jsonl")
    assert result.exit_code == 130
    assert "Stopped before any run had finished: nothing is written" in result.stderr
    assert not Path("r.jsonl").exists()

    append_record(Path("r.jsonl"), fake_attempts.seeming_record(Job("digits", "linear"), "0" * 16))
    result = call("run", *FAKE, "--suite", "sanity", "--records", "r.jsonl")
    assert "Every finished run is in r.jsonl: the same command goes on" in result.stderr


@pytest.mark.slow
def test_the_smoke_run_ends_with_a_report(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("lrpilot")
    done = subprocess.run([script, "bench", "--smoke"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    (folder,) = Path("runs").iterdir()
    records = read_records(folder / "records.jsonl")
    by_method = {name: [r for r in records if r["method"] == name] for name in {r["method"] for r in records}}
    assert len(by_method) == 3 and {r["task"] for r in records} == {"digits"}
    assert all({record["seed"] for record in runs} == {0, 1} for runs in by_method.values())
    assert not [record["error"] for record in records if record["status"] == "crashed"]
    assert len({record["lr"] for record in by_method["linear"]}) >= 11, "a sweep to judge them"
    page = (folder / "report.html").read_text()
    assert "<svg" in page and "digits" in page
    assert f"{len(records)} runs done, 0 were there" in done.stdout


# ---------------------------------------------------------------------- looking


def test_list_names_everything_there_is() -> None:
    made = document("list", "--plugin", "fake_bench")
    assert {"digits", "fake"} <= {row["name"] for row in made["tasks"]}
    assert [row["note"] for row in made["tasks"] if row["name"] == "fake_large"] == ["--large"]
    assert all(row["practice"] for row in made["methods"])
    assert {row["name"] for row in made["suites"]} == SUITES.keys()

    for part in ("tasks", "methods", "suites"):
        assert document("list", part, "--plugin", "fake_bench") == {part: made[part]}
    shown = call("list", "suites").stdout
    assert "oracle" in shown and "digits" in shown and "adamw" not in shown

    shown = call("list").stdout  # 80 columns, as in a pipe
    lines = [line.split() for line in shown.splitlines() if line.strip()]
    for part in ("tasks", "methods", "suites"):
        assert {row["name"] for row in made[part]} <= {line[0] for line in lines}
    assert "digits" in shown and "linear" in shown and "oracle" in shown


def test_status_counts_what_is_done_and_what_is_left() -> None:
    asked = (*FAKE, "--suite", "sanity", "--suite", "oracle", "--records", "r.jsonl")
    methods = ("--method", "linear", "--method", "fake_sgd_only")
    before = document("status", *asked, *methods)
    assert [row["left"] for row in before["suites"]] == [2, 11, 13]
    assert before["suites"][0]["core_seconds_left"] is None, "nothing to learn it from"

    call("run", *FAKE, "--suite", "sanity", "--method", "linear", "--records", "r.jsonl")

    rows = document("status", *asked, *methods)["suites"]
    assert [(row["suite"], row["done"], row["left"]) for row in rows] == [
        ("sanity", 2, 0),
        ("oracle", 0, 11),
        ("all of these", 2, 11),
    ]
    assert rows[0]["core_seconds_left"] == 0
    assert rows[1]["core_seconds_left"] == pytest.approx(11 * 0.02 * 8 / 1000)
    assert "sanity" in call("status", *asked).stdout


def test_status_says_that_runs_of_several_suites_count_once() -> None:
    asked = (*FAKE, "--method", "linear", "--suite", "sanity")
    assert "'all of these' counts each once" in call("status", *asked, "--suite", "methods").stdout
    assert "counts each once" not in call("status", *asked, "--suite", "oracle").stdout


def test_status_says_that_its_file_is_not_there() -> None:
    assert "There is no file r.jsonl yet" in call("status", *FAKE, "--records", "r.jsonl").stderr
    append_record(Path("r.jsonl"), fake_attempts.seeming_record(Job("digits", "linear"), "0" * 16))
    assert "no file" not in call("status", *FAKE, "--records", "r.jsonl").stderr


def test_status_counts_what_lacks_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "missing_data", lambda: {"diamonds": "No diamonds. Buy some."})
    asked = ("--task", "diamonds", "--task", "digits", "--suite", "sanity", "--records", "r.jsonl")
    (row,) = document("status", *asked)["suites"]
    assert (row["left"], row["cannot_run"]) == (2, 2)
    assert "cannot run (2): linear on diamonds: No diamonds. Buy some." in call("status", *asked).stderr


def test_status_does_not_wait_for_a_running_bench() -> None:
    with locked(Path("r.jsonl")):
        assert call("status", *FAKE, "--suite", "sanity", "--records", "r.jsonl").exit_code == 0


def test_data_fetches_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fetch_all(names: Any, *, folder: Any, say: Any) -> dict[str, Path]:
        asked.append((names, folder))
        say("fetching")
        return {"king-james": Path("there")}

    monkeypatch.setattr("lrpilot_bench.data.fetch.fetch_all", fetch_all)
    result = call("data", "king-james", "--folder", "there")
    assert result.exit_code == 0 and asked == [(["king-james"], Path("there"))]
    assert "king-james" in result.stdout and "public domain" in result.stdout and "fetching" in result.stderr
    call("data")
    assert asked[1] == (None, None)
    place = {"name": "king-james", "licence": "public domain", "place": "there"}
    assert document("data", "king-james") == {"data": [place]}


def test_data_lists_every_data_set_and_fetches_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lrpilot_bench.data.fetch.fetch_all", None)
    monkeypatch.setenv("LRPILOT_DATA", str(tmp_path))
    (tmp_path / "diamonds.csv").touch()
    made = document("data", "--list")
    states = {row["name"]: row for row in made["data"]}
    assert list(states) == [data.name for data in DATA_SETS]
    assert made["folder"] == str(tmp_path) and states["diamonds"]["place"] == str(tmp_path)
    assert states["minilm"] == {"name": "minilm", "megabytes": 83.0, "licence": "Apache-2.0", "place": None}
    said = call("data", "--list", "minilm", "diamonds").stdout
    assert "missing (83 MB)" in said and str(tmp_path) in said and "king-james" not in said
    assert "'lrpilot bench data minilm' fetches what is missing" in said
    assert "Did you mean 'minilm'?" in call("data", "--list", "minilmm").stderr
    elsewhere = tmp_path / "elsewhere"
    assert document("data", "--list", "diamonds", "--folder", str(elsewhere))["data"][0]["place"] is None


def test_help_comes_without_torch() -> None:
    assert "Run what has no record yet" in call().stdout
    code = (
        "import sys; from lrpilot.cli.app import main; sys.argv = ['lrpilot', 'bench', 'run', '--help']\n"
        "try: main()\n"
        "finally: print('loaded', {'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "loaded set()" in done.stdout and "--records" in done.stdout


# ---------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--task", "digit"), "Did you mean 'digits'?"),
        (
            ("run", "--method", "schedule_fre"),
            "'lrpilot bench list methods' shows, got 'schedule_fre'. Did you mean 'sch",
        ),
        (("run", "--method", "adamw"), "Did you mean 'adamw_constant' or 'adamw_linear_5e5'?"),
        (("run", "--suite", "methods_"), "Did you mean 'methods'?"),
        (("list", "task"), "Did you mean 'tasks'?"),
        (("run", "--seeds", "4-0"), "Write 3 or 0-4."),
        (("run", "--plugin", "no_such_plugin"), "A plugin must be an importable module, got 'no_such_plugin'."),
        (("run", "--plugin", "fake_attempts"), "A plugin must have TASKS or METHODS, got 'fake_attempts'"),
        (("--smoke", "run"), "--smoke is a run of its own, got 'run' too."),
        (("--out", "folder"), "--out is an option of the smoke run, got it without --smoke: add --smoke."),
        (("--out", "folder", "run"), "got it without --smoke: an option of 'run' goes behind its name."),
        (("--processes", "2"), "--processes is an option of the smoke run"),
        (("data", "king_james"), "Did you mean 'king-james'?"),
        (("run", "--family", "sdg"), "Did you mean 'sgd'?"),
        (("status", "--family", "sdg"), "Did you mean 'sgd'?"),
        (("run", "--device", "gpu"), "--device must be cpu, cuda, cuda:N or mps, got 'gpu'."),
        (("run", "--device", "meta"), "--device must be cpu, cuda, cuda:N or mps, got 'meta'."),
        (("run", "--device", "cuda:99"), "--device must be on this machine, got 'cuda:99'"),
        (("report", "--plugin", "no_such_plugin"), "A plugin must be an importable module, got 'no_such_plugin'."),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(arguments: tuple[str, ...], said: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr and result.stderr.count("\n") == 1
    assert not list(Path().iterdir()), "nothing is made before the question is understood"


def test_two_benches_on_one_file_are_told_apart_at_once() -> None:
    with locked(Path("r.jsonl")):
        result = call("run", *FAKE, "--records", "r.jsonl")
    assert result.exit_code == 2
    assert "one bench at a time, got r.jsonl" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"schema": 0, "run": "x"}\n', "got schema 0 in place of 1 in line 1 of r.jsonl. Move that file away"),
        ("not json\n", "got r.jsonl, which begins with 'not json': it is no file of records. Name another file"),
        (
            '{"my": "notes"}\n',
            "written, got something else in line 1 of r.jsonl. Move that file away",
        ),
        ('{"schema": 1, "run": "abc"}\n', "got a record without task, method"),
        ('{"schema": 1, "run": "tor', "it is no file of records"),
        ("my notes", "it is no file of records"),
        ("my notes\n".encode("utf-16").decode("latin-1"), "it is no file of records"),
    ],
    ids=["other form", "damaged", "other JSON", "fields", "torn", "notes", "utf-16"],
)
@pytest.mark.parametrize("what", ["run", "status"])
def test_a_file_of_something_else_is_refused_and_left_alone(what: str, content: str, said: str) -> None:
    Path("r.jsonl").write_bytes(content.encode("latin-1"))
    result = call(what, *FAKE, "--suite", "sanity", "--method", "linear", "--records", "r.jsonl")
    assert result.exit_code == 2 and said in result.stderr and result.stderr.count("\n") == 1
    assert Path("r.jsonl").read_bytes() == content.encode("latin-1")
    assert [path.name for path in Path().iterdir()] == ["r.jsonl"]


def test_a_torn_last_line_is_told_by_all_and_moved_away_by_the_one_that_writes() -> None:
    asked = (*FAKE, "--suite", "sanity", "--method", "linear", "--records", "r.jsonl")
    assert call("run", *asked).exit_code == 0
    whole = Path("r.jsonl").read_bytes()
    Path("r.jsonl").write_bytes(whole + b'{"schema": 1, "ru')

    told = "The last line of r.jsonl is half done (17 bytes)"
    assert told in call("status", *asked).stderr
    assert told in call("report", "--plugin", "fake_bench", "--records", "r.jsonl").stderr
    assert told in call("run", *asked).stderr
    assert Path("r.jsonl").read_bytes() == whole + b'{"schema": 1, "ru', "nothing was missing, nothing is written"

    result = call("run", *asked[:-2], "--records", "r.jsonl", "--suite", "methods", "--seeds", "5", "--json")
    assert json.loads(result.stdout)["done"] == 1 and told in result.stderr
    assert Path("r.jsonl.torn").read_bytes() == b'{"schema": 1, "ru\n'
    assert len(read_records(Path("r.jsonl"))) == 3 and Path("r.jsonl").read_bytes().startswith(whole)


def test_nothing_that_could_be_run_is_a_failure_with_each_reason_once() -> None:
    asked = (*FAKE, "--suite", "methods", "--method", "fake_sgd_only", "--records", "r.jsonl")
    result = call("run", *asked)
    assert result.exit_code == 1 and result.stderr.count("trains with ['sgd']") == 1
    result = call("run", *asked, "--json")
    assert result.exit_code == 1 and len(json.loads(result.stdout)["not_run"]) == 3
    assert call("status", *asked).exit_code == 0


def test_a_reason_that_was_found_out_while_running_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Inline, timeout: float) -> list[Outcome]:
        return [Outcome(self.jobs.pop(), reason="It rains.")]

    monkeypatch.setattr(Inline, "collect", refuse)
    result = call("run", *FAKE, "--suite", "methods", "--method", "fake_plain", "--records", "r.jsonl")
    assert result.exit_code == 1 and result.stderr.count("It rains.") == 1
    assert "not run (3): fake_plain on fake: as said above" in result.stderr


def test_a_family_is_run_and_counted_where_the_task_has_it() -> None:
    asked = ("--task", "fashion_bn", "--task", "digits", "--suite", "sanity", "--records", "r.jsonl")
    assert document("run", *asked, "--family", "sgd")["done"] == 2
    assert {record["family"] for record in read_records(Path("r.jsonl"))} == {"sgd"}
    (row,) = document("status", *asked, "--family", "sgd")["suites"]
    assert (row["done"], row["left"], row["cannot_run"]) == (2, 0, 2)
    (row,) = document("status", *asked, "--family", "adamw")["suites"]
    assert (row["done"], row["left"]) == (0, 4)


def test_a_file_of_another_device_is_refused() -> None:
    record = fake_attempts.seeming_record(Job("digits", "linear"), "0" * 16, machine={"device": "cuda"})
    append_record(Path("r.jsonl"), record)
    result = call("run", *FAKE, "--suite", "sanity", "--records", "r.jsonl")
    assert result.exit_code == 2 and "got runs on cuda in r.jsonl and --device cpu" in result.stderr
    assert len(read_records(Path("r.jsonl"))) == 1


def test_seeds_as_people_write_them() -> None:
    assert (parse_seeds("3"), parse_seeds("0-4"), parse_seeds("7-7")) == ([3], [0, 1, 2, 3, 4], [7])
    for text in ("", "-1", "a", "1-", "1-b", "1.5", "2-1"):
        with pytest.raises(SettingError, match="--seeds must be"):
            parse_seeds(text)


# ---------------------------------------------------------------------- plugins


def test_a_plugins_entries_come_after_lrpilots_own_and_only_while_asked_for() -> None:
    assert "fake" not in tasks()
    use_plugins(["fake_bench"])
    assert plugins() == ("fake_bench",)
    assert list(tasks())[-1] == "fake_large" and next(iter(tasks())) == "digits"


def test_an_installed_plugin_needs_no_naming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "somebody-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[lrpilot_bench.plugins]\nmine = fake_bench\n")
    assert plugins() == ()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert plugins() == ("fake_bench",)
    assert "fake" in tasks()
    use_plugins(["fake_bench"])
    assert plugins() == ("fake_bench",), "named besides, it is there once"


def test_a_plugin_beside_the_records_is_found_and_must_not_take_a_name(tmp_path: Path) -> None:
    Path("my_tasks_of_this_test.py").write_text(
        "from dataclasses import replace\n"
        "from lrpilot_bench.tasks.registry import get_task\n"
        "TASKS = (replace(get_task('digits'), title='mine'),)\n"
    )
    result = call("list", "--plugin", "my_tasks_of_this_test")
    assert result.exit_code == 2
    assert "must be unique, got 'digits' twice" in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("typo_0", "x = 1\n\n\nMETHODS = (fly_hlaf,)\n", "NameError: name 'fly_hlaf' is not defined (line 4)."),
        ("typo_1", "import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package' (line 1)."),
        ("typo_2", "from lrpilot_bench.tasks.registry import get_task\nget_task(name=1, x=2)\n", "'x' (line 2)."),
        ("typo_3", "x = (\n", "SyntaxError: '(' was never closed (typo_3.py, line 1)."),
    ],
)
def test_an_error_inside_a_plugin_is_one_line_with_its_place(
    name: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    result = call("list", "--plugin", name)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert f"The plugin '{name}' cannot be imported: " in result.stderr and said in result.stderr


def test_an_error_inside_a_module_of_the_benchmarks_own_is_seen_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no plugin: a defect of ours is not put in a user's words."""
    (tmp_path / "broken_of_this_test.py").write_text("TASKS = (no_such_name,)\n")
    monkeypatch.setattr(lrpilot_bench, "__path__", [*lrpilot_bench.__path__, str(tmp_path)])
    with pytest.raises(NameError, match="no_such_name"):
        collected(["lrpilot_bench.broken_of_this_test"], "TASKS")


def test_a_method_of_an_unknown_group_is_one_line_with_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my_group_of_this_test.py").write_text(
        "from lrpilot_bench.methods.method import Method\n"
        "METHODS = (Method(name='half', title='half', fly=print, practice='mine', group='peers'),)\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    result = call("run", "--plugin", "my_group_of_this_test")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    said = (
        "The group of the method 'half' must be one of ablation, default, finder, lrpilot, peer, schedule, got 'peers'."
    )
    assert f"{said} Did you mean 'peer'?" in result.stderr
