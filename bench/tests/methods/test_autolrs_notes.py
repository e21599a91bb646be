"""What the record of an AutoLRS run says of its stages."""

import json

import pytest

from lrpilot.policies.autolrs import StageCode
from lrpilot_bench.methods.autolrs import stage_notes
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run.execute import execute


@pytest.mark.parametrize("name", ["autolrs", "autolrs_raw", "autolrs_paper", "autolrs_paper_free"])
def test_notes_say_what_each_stage_was(name: str) -> None:
    record = execute(Job("digits", name, horizon=0.6))
    stages = record["notes"]["stages"]
    assert stages and [stage["begin"] for stage in stages] == [
        sum(one["steps"] for one in stages[:i]) for i in range(len(stages))
    ]
    assert stages[-1]["begin"] + stages[-1]["steps"] == record["kept_steps"]
    assert {stage["code"] for stage in stages} <= {code.name for code in StageCode}
    assert all(stage["lr"] > 0 and stage["rewinds"] >= 0 for stage in stages) and stages[0]["trials"] > 0
    assert len(json.dumps(record["notes"], separators=(",", ":"))) < 500


def test_a_run_with_nothing_left_to_train_has_none() -> None:
    assert stage_notes(None) == {}
