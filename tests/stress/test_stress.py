"""The stress program: a short run of every mix, and that failures are found and told."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import checkout
import pytest
from commands import environment, interrupted, lwp, python, refusal
from conftest import Child

from runtime import limits
from stress._run import FAILED


def done(*arguments: str, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "stress", *arguments, status=status, timeout=110, **checkout.environment() | variables)


def stress(*arguments: str, status: int) -> str:
    shown = done(*arguments, status=status)
    assert shown.stderr == ""
    return shown.stdout


@pytest.mark.slow
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


@pytest.mark.slow
def test_stress_of_the_primitives() -> None:
    assert " 0 failures, " in stress("--only", "sync", "--seconds", "10", "--seed", "1", status=0)


def test_a_lock_that_excludes_nobody_is_found() -> None:
    shown = stress("--seconds", "2", "--seed", "11", "--only", "broken-lock", "--json", "-", status=1)
    found = json.loads(shown)
    assert found["failures"] == 1
    (failure,) = found["failed"]
    assert re.search(r"worker \d+ (is in with|was joined by) worker|counted|two threads in one lock", failure["what"])
    assert failure["mix"] == "broken-lock"
    assert failure["seed"] == 11
    assert failure["signal"] is None
    assert failure["again"] == "python -m stress --only broken-lock --seed 11 --seconds 2"
    assert "in section" in failure["output"] or "in contend" in failure["output"]  # that: in a forked child
    assert any("acquire" in line or "with" in line for line in failure["operations"])


def test_a_hang_is_found() -> None:
    shown = stress("--seconds", "0.1", "--seed", "12", "--only", "broken-hang", "--patience", "1", status=1)
    assert re.search(r"^broken-hang .* FAILED: hung: worker [01] has been at its operation for \d+ s$", shown, re.M)
    assert "run it again: python -m stress --only broken-hang --seed 12" in shown
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


@pytest.mark.skipif(not hasattr(threading, "_DeleteDummyThreadOnDel"), reason="this Python has no such finalizer")
def test_a_finalizer_of_threadings_that_fails_is_no_failure(child: Child) -> None:
    """When the interpreter ends."""

    def program(whose: str) -> None:
        import codecs
        import threading

        from stress._run import Run

        class Journal:
            note = begin = rest = lambda *_: None

        class Ours:
            def __del__(self) -> None:
                raise TypeError("'NoneType' object does not support the context manager protocol")

        theirs = threading._DeleteDummyThreadOnDel(threading.current_thread())
        threading._kept = Ours() if whose == "ours" else theirs
        # The registry keeps the module, which is then not dropped but cleared, name by name.
        codecs.register(lambda name, module=threading: None)
        Run("x", 1, 1, 1, Journal()).execute(lambda run: None)

    assert child(program, "theirs", env=checkout.environment()).stderr == ""
    child(program, "ours", env=checkout.environment(), status=FAILED)  # so late that nothing can be told of it


# ---- limits of the machine -------------------------------------------------------------------------------------------


def limited(which: int, number: int, *arguments: str, user: tuple[str, ...] = ()) -> str:
    """What stress prints under a limit; user: the command that makes another user of it."""
    shown = subprocess.run(
        [*user, sys.executable, "-m", "stress", *arguments],
        env=environment(**checkout.environment()),
        preexec_fn=lambda: resource.setrlimit(which, (number, number)),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout + shown.stderr
    return shown.stdout


def test_a_limit_on_descriptors_leaves_mixes_out() -> None:
    shown = limited(resource.RLIMIT_NOFILE, 14, "--only", "subprocesses,timers", "--seconds", "2", "--json")
    found = json.loads(shown)
    assert found["failures"] == 0
    assert found["left_out"] == {"subprocesses": "RLIMIT_NOFILE (ulimit -n) allows 14"}


def test_a_limit_on_tasks_leaves_mixes_out() -> None:
    user, in_use = (), limits.tasks().user or 0
    if os.geteuid() == 0:  # whom RLIMIT_NPROC doesn't hold; the other one shall read what root's Python is made of
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed")
        user, in_use = ("setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"), 0
        user += ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    number = in_use + 40
    shown = limited(resource.RLIMIT_NPROC, number, "--only", "crowd", "--seconds", "1", user=user)
    says = rf"^crowd .* left out: RLIMIT_NPROC \(ulimit -u\) allows {number}$"
    assert re.search(says, shown, re.MULTILINE)
    assert " 0 failures, " in shown


@pytest.mark.parametrize(
    ("said", "soft", "found"),
    [
        ("OSError: [Errno 24] Too many open files", 100, "RLIMIT_NOFILE (ulimit -n) allows 100"),
        ("OSError: [Errno 24] Too many open files", 1024, None),  # enough for each mix: they leak
        ("AssertionError", 100, None),
    ],
)
def test_only_a_low_limit_excuses(monkeypatch: pytest.MonkeyPatch, said: str, soft: int, found: str | None) -> None:
    from stress import _limits

    monkeypatch.setattr(_limits.resource, "getrlimit", lambda which: (soft, soft))
    assert _limits.limit_hit(said) == found


@pytest.mark.parametrize(("used", "found"), [(900, "pids.max allows 1000"), (1, None)])
def test_only_a_machine_with_few_tasks_left_excuses(
    monkeypatch: pytest.MonkeyPatch, used: int, found: str | None
) -> None:
    from stress import _limits

    known = [
        limits.Limit("pids.max", 1000 if found else 2000, used, "tasks", "cgroup /"),
        limits.Limit("RLIMIT_NPROC (ulimit -u)", 10, 10, "tasks", "user 0", applies=False),
        limits.Limit("RLIMIT_AS (ulimit -v)", 10, 10, "bytes", "process"),
    ]
    monkeypatch.setattr(_limits.limits, "limits", lambda: known)
    assert _limits.limit_hit("RuntimeError: can't start new thread") == found


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_done_so_far(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = ("stress", "--only", "lock,timers,rlock", "--seed", "5", "--seconds", "12", "--json", report)
    first, lock, last = interrupted("stdout", "lock ", *command, **checkout.environment())
    assert first.startswith("seed 5, 3 mixes, 4.0 s each")
    assert lock.startswith("lock ")
    assert re.fullmatch(r"stopped: 1 of 3 mixes, [\d,]+ operations, 0 failures, seed 5", last)
    found = json.loads(report.read_text())
    assert found["stopped"] is True
    assert found["mixes"]["lock"] > 0 == found["mixes"]["timers"]


def test_a_lock_of_the_interpreters_is_told_from_ours(child: Child) -> None:
    """In the children of a free-threaded 3.13 it may stay locked, and that is not the runtime's failure."""

    def program() -> None:
        import _thread

        from runtime import sync
        from stress._limits import sleeps_in_semaphore

        for lock, expected in (_thread.allocate_lock(), True), (sync.Lock(), False):
            lock.acquire()
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                lock.acquire()
            while not Path(f"/proc/{pid}/syscall").read_text().startswith(("202 ", "98 ")):
                pass
            assert sleeps_in_semaphore(pid) is expected, lock
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            assert not sleeps_in_semaphore(pid)

    child(program, env=checkout.environment())


def test_leftovers_are_found() -> None:
    found = json.loads(stress("--seconds", "0.1", "--only", "broken-leak", "--patience", "4", "--json", "-", status=1))
    assert "left behind: descriptors" in found["failed"][0]["what"]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--only", "nonsense", "--list"),
        ("--only", "timres", "no mix or theme 'timres': did you mean timers?"),
        ("--only", "forsk", "did you mean forks?"),
        ("--only", "lock,nonsense", "--list"),
        ("--only", ",", "--list"),
        ("--seconds", "nan", "nan is not a number of seconds"),
        ("--patience", "inf", "inf is not a number of seconds"),
        ("--json", "no/such/folder", "No such file"),
    ],
)
def test_a_test_that_cannot_run_is_refused_first(option: str, value: str, says: str) -> None:
    assert says in refusal(done("--only", "lock", "--seconds", "0.1", option, value, status=2))


@pytest.mark.parametrize("option", ["--help", "--list"])
def test_its_lines_fit_in_80_columns(option: str) -> None:
    assert max(map(len, done(option, COLUMNS="80").stdout.splitlines())) <= 80


def test_the_command_of_the_last_release_says_where_it_is() -> None:
    assert refusal(lwp("stress", "--list", status=2)) == (
        "lwp: stress is `python -m stress` now, in a checkout of the sources\n"
    )
