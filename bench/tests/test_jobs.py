"""What identifies a run: the task's code, the method's settings and version, and the job's numbers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot_bench.methods import registry
from lrpilot_bench.protocol import jobs
from lrpilot_bench.protocol.jobs import Job, code_of, plan

JOB = Job("digits", "linear")


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, seed=1),
        replace(JOB, lr=0.01),
        replace(JOB, lr_factor=30.0),
        replace(JOB, horizon=0.25),
        replace(JOB, repeat=1),
        replace(JOB, method="cosine"),
    ],
    ids=str,
)
def test_everything_that_decides_a_run_is_part_of_its_identity(other: Job) -> None:
    assert plan(other).run != plan(JOB).run


def test_two_ways_to_say_the_same_are_one_run() -> None:
    assert plan(replace(JOB, lr=0.001, family="adamw")).run == plan(JOB).run
    assert plan(replace(JOB, lr=0.03)).run == plan(replace(JOB, lr_factor=30.0)).run


@pytest.mark.parametrize("change", [{"version": "2"}, {"settings": {"kind": "linear", "warmup": 0.1}}], ids=str)
def test_a_methods_version_and_settings_are_part_of_it(change, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan(JOB).run
    changed = replace(registry.get_method("linear"), **change)
    monkeypatch.setattr(registry, "get_method", lambda name: changed)
    assert plan(JOB).run != before


def test_a_methods_words_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan(JOB).run
    changed = replace(registry.get_method("linear"), title="another", practice="other words")
    monkeypatch.setattr(registry, "get_method", lambda name: changed)
    assert plan(JOB).run == before


def test_the_tasks_file_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan(JOB).run
    monkeypatch.setattr(jobs, "task_digest", lambda module, task: "another")
    assert plan(JOB).run != before


CODE = '''
"""A file."""
STEPS = 1000  # of a run


def model(width):
    """A model."""
    return [width, "text"]
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [("# of a run", "# steps"), ('"""A model."""', '"""Made anew."""'), ("\n\n", "\n"), ("(width)", "( width )")],
)
def test_comments_docstrings_and_formatting_do_not_matter(old: str, new: str) -> None:
    assert old in CODE
    assert code_of(CODE.replace(old, new), "a") == code_of(CODE, "a")


def test_what_only_readers_see_does_not_matter() -> None:
    old, new = (
        'TASKS = (Task(name="a", steps=1, title="old", remark="old", pretrained=True),)',
        'TASKS = (Task(name="a", steps=1, title="new"),)',
    )
    assert code_of(old, "a") == code_of(new, "a") != code_of(old.replace("1", "2"), "a")


def test_another_task_of_the_same_file_does_not_matter() -> None:
    one, both = 'TASKS = (Task(name="a", steps=1),)', 'TASKS = (Task(name="a", steps=1), Task(name="b", steps=2))'
    assert code_of(one, "a") == code_of(both, "a") != code_of(both, "b")


@pytest.mark.parametrize(("old", "new"), [("1000", "1001"), ('"text"', '"next"'), ("[width,", "[2 * width,")])
def test_code_does(old: str, new: str) -> None:
    assert old in CODE
    assert code_of(CODE.replace(old, new), "a") != code_of(CODE, "a")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (Job("digit", "linear"), "digits"),
        (Job("digits", "liner"), "linear"),
        (replace(JOB, family="sgd"), "one of adamw, got 'sgd'"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(job: Job, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        plan(job)


@given(st.integers(0, 10**6), st.floats(1e-6, 10), st.sampled_from([0.25, 1.0, 4.0]))
def test_identity_depends_on_the_job_alone(seed: int, lr: float, horizon: float) -> None:
    job = Job("digits", "cosine", seed=seed, lr=lr, horizon=horizon)
    assert plan(job).run == plan(replace(job)).run
    assert plan(job).steps == round(1000 * horizon)
