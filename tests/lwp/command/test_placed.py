"""Where a thread runs: what `lwp run` is asked for, and where it is shown."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from commands import watched
from conftest import Child, lwp

import runtime
from runtime import sync
from runtime.placement import cpu_list

CPUS = sorted(os.sched_getaffinity(0))
LAST = CPUS[-1]
NICER = min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)  # what anybody may ask for

WHERE = """
import os, subprocess, sys, threading
def show(): print(sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0))
show()
thread = threading.Thread(target=show); thread.start(); thread.join()
sys.stdout.flush()
subprocess.run([sys.executable, "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"])
"""


@pytest.mark.parametrize("green", [(), ("--green",)])
def test_run_places_all_threads(green: tuple[str, ...]) -> None:
    ran = lwp("run", *green, "--affinity", str(LAST), "--nice", str(NICER), "-c", WHERE)
    assert ran.stdout == f"[{LAST}] {NICER}\n" * 2 + f"{NICER}\n", ran.stderr


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (("--affinity", "1-"), "'1-' is no list of CPUs such as 0,2-3"),
        (("--affinity", "100000"), "a CPU in affinity must be from 0 to"),
        (("--nice", "20"), "20 is not in the range -20<=x<=19"),
    ],
)
def test_run_refuses_a_bad_placement(option: tuple[str, str], text: str) -> None:
    ran = lwp("run", *option, "-c", "print(1)", status=2)
    assert ran.stdout == ""
    assert text in ran.stderr


def run_without_rights() -> None:
    import resource

    from lwp.command.run import run

    program = run.main(["--nice", "-5", "-c", "print(1)"], standalone_mode=False)
    resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
    program.prepare()


@pytest.mark.root
def test_run_names_the_limit(child: Child) -> None:
    ran = child(run_without_rights, status=2)
    assert ran.stdout == ""
    assert ran.stderr.startswith(
        "lwp: Permission denied: nice -5 is more urgent than now: RLIMIT_NICE (ulimit -e) is 0"
    )


PLACED = f"""
import runtime
for _ in range(3):
    thread = runtime.Thread(target=int, affinity={{{LAST}}}); thread.start(); thread.join()
"""


def test_the_report_counts_births() -> None:
    told = lwp("run", "--report", "--nice", str(NICER), "-c", PLACED).stderr
    assert "placed at their birth" in told
    assert "3 (3 affinity)" in told
    assert f"CPUs {cpu_list(CPUS)}, nice {NICER}" in told
    assert "placed at their birth" not in lwp("run", "--report", "-c", "").stderr


def test_the_watchdog_tells_which_threads_are_placed() -> None:
    program = f"""
import runtime, threading
lock = threading.Lock(); lock.acquire()
thread = runtime.Thread(target=lock.acquire, name="placed", policy="batch", nice={NICER}, daemon=True); thread.start()
threading.Thread(target=lock.acquire, name="plain", daemon=True).start()
thread.join()
"""
    told = lwp("run", "-c", watched(0.2, 3) + program, status=3).stderr
    assert re.search(rf"'placed' \(tid \d+, CPUs {cpu_list(CPUS)}, nice {NICER}, batch\)", told), told
    assert re.search(r"'plain' \(tid \d+\)", told)


def test_a_trace_shows_what_each_asked_for(tmp_path: Path) -> None:
    program = f"""
import runtime
for asked in {{"affinity": {{{LAST}}}, "nice": {NICER}}}, {{"policy": "batch", "timer_slack": 1}}, {{}}:
    thread = runtime.Thread(target=int, **asked); thread.start(); thread.join()
"""
    lwp("run", "--trace", tmp_path / "trace.json", "-c", program)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    found = [event["args"].get("placement") for event in events if event["name"] == "life"]
    assert found == [None, f"CPUs {LAST}, nice {NICER}", "batch, timer_slack", None]


def test_tls_shows_it() -> None:
    end = sync.Event()
    thread = runtime.Thread(target=end.wait, affinity={LAST}, nice=NICER)
    thread.start()
    assert runtime.tls.inspect(thread).placement == f"CPUs {LAST}, nice {NICER}"
    end.set()
    thread.join()
    assert re.search(f"^placement +CPUs {cpu_list(CPUS)}", lwp("tls").stdout, re.MULTILINE)
    assert f"CPUs {cpu_list(CPUS)}" in lwp("tls", "--threads", "2").stdout
