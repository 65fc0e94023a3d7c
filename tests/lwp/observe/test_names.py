"""One program, and what each output calls its locks and its places: everywhere the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from commands import watched
from conftest import lwp
from test_from_outside import Run
from test_from_outside import run as run  # a fixture

#: Two threads that wait for each other's locks: one is an attribute of what a local variable refers to; to the other no
#: name leads.  The main thread waits in queue.py, whose lines are no places of the program.
PROGRAM = """\
import queue, sys, threading
class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
def test(timeout=-1):
    ledger, audits, items = Ledger(), {(): threading.Lock()}, queue.Queue()
    together = threading.Barrier(2)
    def pay():
        with ledger.lock:
            together.wait()
            audits[()].acquire(timeout=timeout) and audits[()].release()
        items.put(None)
    def check():
        with audits[()]:
            together.wait()
            ledger.lock.acquire(timeout=timeout) and ledger.lock.release()
        items.put(None)
    threads = [threading.Thread(target=target, name=target.__name__, daemon=True) for target in (pay, check)]
    for thread in threads:
        thread.start()
    items.get()
    for thread in threads:
        thread.join()
if __name__ == "__main__":
    if sys.argv[1:] == ["ready"]:
        print(sys.argv.pop(), flush=True)
    test(*map(float, sys.argv[1:]))
"""
LOCKS = {"pay": "made at x.py:6", "check": "ledger.lock"}
PLACES = {"pay": "x.py:11", "check": "x.py:16", "MainThread": "x.py:21"}


def said_by(folder: Path, *command: str, status: int = 0) -> str:
    done = lwp(*command, cwd=folder, status=status)
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.py").write_text(PROGRAM)
    return tmp_path


def test_watchdog(folder: Path) -> None:
    (folder / "x.py").write_text(watched(0.2, 3) + PROGRAM)
    said = said_by(folder, "run", "x.py", status=3)
    found = dict(re.findall(r"^'(pay|check)' \(tid \d+\): waits for lock (.*?) held by", said, re.MULTILINE))
    assert found == LOCKS
    circle, check = (
        said.splitlines()[1],
        r"'check'.*waits for lock ledger.lock held by 'pay' \(taken at x.py:9 in pay\)",
    )
    assert circle.startswith("deadlock: ")
    assert re.search(check, circle)
    assert re.search(rf"^{check}, .*\n  File .*, line 16, in check\n    ledger.lock.acquire\(timeout", said, re.M)
    assert "lwp/command/" not in said


def test_top(folder: Path, run: Run) -> None:
    with run("", command=("-m", "runtime", "run", "--stuck", "1000", "x.py", "ready")) as program:
        found: dict[str, tuple[str, str]] = {}
        while len(found) < 2:
            text = program.top(columns=160)
            rows = re.findall(r"(pay|check) .* lock (.*?) of \w+ at (\S+)", text)
            found = {name: (lock, place) for name, lock, place in rows}
    assert found == {name: (lock, PLACES[name]) for name, lock in LOCKS.items()}
    assert f"at {PLACES['MainThread']} " in text


def test_trace(folder: Path) -> None:
    said_by(folder, "run", "--trace", "t.json", "x.py", "0.1")
    events = json.loads((folder / "t.json").read_text())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    spans = [event for event in events if event["name"].startswith("blocked: ")]
    spans.sort(key=lambda one: float(one["dur"]))  # without a GIL they may meet at that of items too
    locks = {
        names[one["tid"]]: (one["name"].removeprefix("blocked: Lock "), one["args"]["waits at"].partition(" in ")[0])
        for one in spans
        if one["name"].startswith("blocked: Lock") and names[one["tid"]] != "MainThread"
    }
    assert locks == {name: (lock, PLACES[name]) for name, lock in LOCKS.items()}
    assert PLACES["MainThread"] in {one["args"]["waits at"].partition(" in ")[0] for one in spans}


def test_explore(folder: Path) -> None:
    said = said_by(folder, "explore", "x.py::test", status=1)
    found = re.findall(r"^ *(pay|check) +waits at (\S+) for (?:Lock )?(.*?), held by", said, re.MULTILINE)
    assert {name: (lock, place) for name, place, lock in found} == {
        name: (lock, PLACES[name]) for name, lock in LOCKS.items()
    }


def test_lock_order(folder: Path) -> None:
    program = PROGRAM.replace("(timeout=timeout)", "()").replace("together.wait()", "pass")
    program = program.replace("thread.start()", "thread.start(), items.get()")  # one after the other
    (folder / "x.py").write_text(program.replace("    items.get()\n    for", "    for"))
    said = said_by(folder, "run", "--lock-order", "x.py", status=1)
    assert re.match(r"lwp: lock order: ledger.lock \(made at x.py:4\) and Lock made at x.py:6, in both orders\n", said)
    assert f"'pay' took Lock made at x.py:6 at {PLACES['pay']} in pay, holding ledger.lock since x.py:9" in said


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        (
            ("--watchdog", "0.5"),
            (r"'clerk' \(tid \d+\), 'other' .*: wait for condition {}.came, ", "waits for the end of 'clerk'"),
        ),
        (
            ("--locks",),
            (r"(?m)^{}.came \(x.py:4\) +\d", r"(?m)^{}.lock \(x.py:4\) +\d", r"(?m)^join at "),
        ),
        (("--trace", "t.json"), (r"blocked: Condition {}.came\"", r"blocked: end of thread clerk\"")),
    ],
)
def test_what_only_methods_know_goes_by_the_name_in_their_lines(
    tmp_path: Path, options: tuple[str, ...], shapes: tuple[str, ...]
) -> None:
    # No variable leads to what a Desk has, except `self` in its methods.
    source = """\
import threading, time
class Desk:
    def __init__(self):
        self.lock, self.came = threading.Lock(), threading.Condition()
    def serve(self):
        with self.came:
            self.came.wait(2)
        with self.lock:
            time.sleep(0.1)
    def open(self):
        for name in ("clerk", "other"):
            threading.Thread(target=self.serve, name=name).start()
def leave(): Desk().open()
thread = threading.Thread(target=leave)
thread.start()
thread.join()  # at its end the interpreter begins no more threads
"""
    (tmp_path / "x.py").write_text(source)
    said = said_by(tmp_path, "run", *options, "x.py")
    said += (tmp_path / "t.json").read_text() if "--trace" in options else ""
    for shape in shapes:
        assert re.search(shape.format("Desk"), said), shape
