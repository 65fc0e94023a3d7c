"""The stress program: a short run of every mix, and that failures are found and told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def stress(*arguments: str, status: int) -> str:
    path = os.pathsep.join(filter(None, sys.path))
    shown = subprocess.run(
        [sys.executable, "-m", "runtime", "stress", *arguments],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert shown.returncode == status, shown.stdout + shown.stderr
    assert shown.stderr == ""
    return shown.stdout


def test_every_mix_for_a_moment(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    shown = stress("--seconds", "2", "--seed", "1", "--json", str(report), status=0)
    found: dict[str, Any] = json.loads(report.read_text())
    listed = stress("--list", status=0)
    assert all(f" {name} " in listed for name in found["mixes"])
    assert listed.count("\n") >= len(found["mixes"]) >= 30
    assert found["seed"] == 1
    assert found["failures"] == 0
    assert found["failed"] == []
    assert found["operations"] == sum(found["mixes"].values())
    for name, operations in found["mixes"].items():
        assert operations > 0 or name in found["left_out"], f"{name} did nothing"
        assert re.search(rf"^{name} .*(ok|left out: .*)$", shown, re.MULTILINE)
    assert shown.endswith(" operations, 0 failures, seed 1\n")


def test_a_lock_that_excludes_nobody_is_found() -> None:
    shown = stress("--seconds", "2", "--seed", "11", "--only", "broken-lock", "--json", "-", status=1)
    found = json.loads(shown)
    assert found["failures"] == 1
    (failure,) = found["failed"]
    assert re.search(r"worker \d+ (is in with|was joined by) worker|counted|two threads in one lock", failure["what"])
    assert failure["mix"] == "broken-lock"
    assert failure["seed"] == 11
    assert failure["signal"] is None
    assert failure["again"] == "python -m runtime stress --only broken-lock --seed 11 --seconds 2"
    assert "in section" in failure["output"] or "in contend" in failure["output"]  # that: in a forked child
    assert any("acquire" in line or "with" in line for line in failure["operations"])


def test_a_hang_is_found() -> None:
    shown = stress("--seconds", "0.1", "--seed", "12", "--only", "broken-hang", "--patience", "1", status=1)
    assert re.search(r"^broken-hang .* FAILED: hung: worker [01] has been at its operation for \d+ s$", shown, re.M)
    assert "run it again: python -m runtime stress --only broken-hang --seed 12" in shown
    assert "worker   1  wait for an event that nobody sets" in shown
    assert "Python stacks" in shown
    assert re.search(r'File ".*broken\.py", line \d+ in body', shown)
    assert "1 failures, seed 12" in shown


def test_a_crash_is_found() -> None:
    found = json.loads(stress("--seconds", "0.1", "--seed", "13", "--only", "broken-crash", "--json", "-", status=1))
    (failure,) = found["failed"]
    assert (failure["what"], failure["signal"], failure["seed"]) == ("killed by SIGSEGV", "SIGSEGV", 13)
    assert failure["operations"][-1].endswith("read address 0")
    assert "string_at" in failure["output"]


def test_what_is_left_is_found() -> None:
    found = json.loads(stress("--seconds", "0.1", "--only", "broken-leak", "--patience", "1", "--json", "-", status=1))
    assert "left behind: descriptors" in found["failed"][0]["what"]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--only", "nonsense", "--list"),
        ("--only", "lock,nonsense", "--list"),
        ("--only", ",", "--list"),
        ("--seconds", "nan", "nan is not a number of seconds"),
        ("--patience", "inf", "inf is not a number of seconds"),
        ("--json", "no/such/folder", "No such file"),
    ],
)
def test_what_cannot_be_run_is_told_before(option: str, value: str, says: str) -> None:
    command = [sys.executable, "-m", "runtime", "stress", "--only", "lock", "--seconds", "0.1", option, value]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert says in shown.stderr
    assert shown.stderr.count("\n") == 1
