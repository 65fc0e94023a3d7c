"""A recording that begins in the middle of a program, ends, and begins again; `lwp record`; `run --trace --last`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import environment, lwp, refusal
from conftest import Child, needs_gil, run_thread
from test_from_outside import Program, Run
from test_from_outside import run as run  # a fixture

from lwp.observe.commands.trace import write_timeline
from lwp.observe.timeline import Arrow, Span
from lwp.observe.trace import State, Timeline, Track, read
from runtime import Thread, scheduler
from runtime.sync import Event, Lock, Semaphore


def track(timeline: Timeline, name: str) -> Track:
    (found,) = [track for track in timeline.tracks if track.name == name]
    return found


def blocked(found: Track) -> list[str]:
    return [span.what for span in found.spans if span.state is State.BLOCKED]


def begins_in_the_middle(folder: str) -> None:
    """Three recordings, each begun by another thread, of threads that exist already."""
    import shutil

    from lwp.observe import trace

    file = f"{folder}/records"
    lock, never = Lock(), Event()

    def holds(count: int) -> None:
        for number in range(count):
            with lock:
                held[number].set()
                releases[number].wait()
            done[number].wait()

    def wants(count: int) -> None:
        for number in range(count):
            turns[number].wait()
            with lock:
                pass
            done[number].set()

    def stays() -> None:
        never.wait()

    held, releases, turns, done = ([Event() for _ in range(4)] for _ in range(4))
    holder = Thread(target=holds, args=(4,), name="holds")
    wanter = Thread(target=wants, args=(4,))
    stayer = Thread(target=stays, name="stays", daemon=True)
    for thread in holder, wanter, stayer:
        thread.start()

    while "stays" not in {one.name for one in scheduler.waiting().waits}:
        os.sched_yield()
    for number, name in enumerate(["unrecorded", "first", "second", "third"]):
        held[number].wait()
        turns[number].set()
        while {("holds", "event"), (wanter.name, "lock")} - {(one.name, one.kind) for one in scheduler.waiting().waits}:
            os.sched_yield()
        if name != "unrecorded":
            run_thread(Thread(target=trace.record, args=(file,), name=f"begins {name}"))
        releases[number].set()
        done[number].wait()
        if name != "unrecorded":
            run_thread(Thread(target=trace.stop))
            shutil.copy(file, f"{folder}/{name}")


def test_it_begins_in_the_middle_and_begins_again(child: Child, tmp_path: Path) -> None:
    child(begins_in_the_middle, str(tmp_path))
    for name in ("first", "second", "third"):
        found = read(tmp_path / name)
        assert found.finished
        assert not found.damage
        names = {one.name for one in found.tracks}
        assert names >= {"MainThread", "holds", "stays", "Thread-1 (wants)"}
        assert {one for one in names if one.startswith("begins")} == {f"begins {name}"}
        wants, holds, stays = (track(found, one) for one in ("Thread-1 (wants)", "holds", "stays"))
        assert [span.state for span in stays.spans] == [State.BLOCKED]
        assert stays.spans[0].site.endswith(" in stays")
        assert stays.end == found.end
        # blocked since before the recording, on what the program has; then on in the same row
        first, second = wants.spans[:2]
        assert (first.state, first.what, first.outcome) == (State.BLOCKED, "Lock lock", "woken")
        assert first.site.endswith(" in wants")
        assert first.woken_by == holds.number
        assert second.state is State.WANTS_GIL
        assert holds.spans[0].what.startswith("Event ")
        assert holds.spans[0].woken_by == track(found, "MainThread").number
        both = (holds.number, wants.number)
        assert [arrow.why for arrow in found.arrows if (arrow.source, arrow.target) == both] == ["wakes"]


def test_a_window_cuts_what_lasts_longer(child: Child, tmp_path: Path) -> None:
    child(begins_in_the_middle, str(tmp_path))
    whole = read(tmp_path / "second")
    wait = track(whole, "Thread-1 (wants)").spans[0]
    since, until = wait.begin + 1000, wait.end - 1000
    assert since < until
    found = read(tmp_path / "second", since)
    found.cut(since, until)
    assert (found.begin, found.end) == (since, until)
    assert found.begin_unix - whole.begin_unix == since - whole.begin
    (inside,) = track(found, "Thread-1 (wants)").spans
    assert (inside.begin, inside.end, inside.what) == (since, until, "Lock lock")
    assert not track(found, "Thread-1 (wants)").ended
    for one in found.tracks:
        assert since <= one.begin <= one.end <= until
        assert all(since <= span.begin <= span.end <= until for span in [*one.spans, *one.seen])
    # the main thread starts others later
    assert {one.name for one in found.tracks} < {one.name for one in whole.tracks}
    assert (inside.outcome, inside.woken_by) == ("", None)  # what ended it came later
    assert not [arrow for arrow in found.arrows if arrow.then > until or arrow.at < since]
    assert len(found.arrows) < len(whole.arrows)
    later = read(tmp_path / "second", wait.end + 1 - whole.end)
    assert (later.begin, later.end) == (wait.end + 1, whole.end)
    assert blocked(track(later, "Thread-1 (wants)")) == blocked(track(whole, "Thread-1 (wants)"))[1:]


@pytest.mark.parametrize(
    ("since", "until", "outcome", "woken_by"),
    [
        pytest.param(0, 30, "woken", 2, id="all"),
        pytest.param(21, 30, "woken", None, id="from when the thread that wakes has ended"),
        pytest.param(0, 10, "", None, id="to when that thread has not begun"),
    ],
)
def test_a_wait_is_not_ended_by_a_thread_outside_of_the_window(
    since: int, until: int, outcome: str, woken_by: int | None, tmp_path: Path
) -> None:
    """The wait ends a little after the wake-up, because its thread waits for the GIL or a processor."""
    wait = Span(State.BLOCKED, 5, 25, "Lock lock", outcome="woken", woken_by=2)
    tracks = [Track(1, 101, "waits", 0, 30, spans=[wait]), Track(2, 102, "wakes", 15, 20, ended=True)]
    found = Timeline(100, "program", 0, 30, 0, True, 0, 0, 0, 0, tracks=tracks, arrows=[Arrow("wakes", 2, 18, 1, 25)])
    found.cut(since, until)
    assert (wait.outcome, wait.woken_by) == (outcome, woken_by)
    for form in ("json", "html"):
        write_timeline(found, tmp_path / f"t.{form}")
    (said,) = [
        event for event in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if "Lock lock" in event["name"]
    ]
    assert said["args"].get("woken by") == (woken_by and "wakes (102)")


def test_what_ends_between_two_recordings_gives_its_room_back(child: Child, tmp_path: Path) -> None:
    def program(folder: str) -> None:
        from lwp.observe import trace

        for _ in range(12):  # each has 20 threads, of which each has one of 128 chunks
            go = Event()
            threads = [Thread(target=go.wait) for _ in range(20)]
            for thread in threads:
                thread.start()
            while len(scheduler.waiting().waits) < 20:
                os.sched_yield()
            trace.record(f"{folder}/records", size=64 << 10)
            trace.stop()
            go.set()
            for thread in threads:
                thread.join()

    child(program, str(tmp_path))
    found = read(tmp_path / "records")
    assert found.lost == found.overwritten == 0
    assert len(found.tracks) == 21
    assert sum(blocked(one) == ["Event go"] for one in found.tracks) == 20


def test_many_primitives_have_their_names(child: Child, tmp_path: Path) -> None:
    def program(folder: str) -> None:
        from lwp.observe import trace

        many = [[Event() for _ in range(100)] for _ in range(10)]
        trace.record(f"{folder}/records")
        for number in range(1000):
            many[number // 100][number % 100].wait(1e-9)
        trace.stop()

    child(program, str(tmp_path))
    names = set(blocked(track(read(tmp_path / "records"), "MainThread")))
    assert names >= {f"Event many[{row}][{column}]" for row in range(10) for column in range(100)}


def test_green_threads_that_exist_already(child: Child, tmp_path: Path) -> None:
    def program(folder: str) -> None:
        from lwp.observe import trace

        go = Event()
        on = scheduler.Scheduler()
        for number in range(3):
            Thread(target=go.wait, name=f"green {number}", scheduler=on).start()

        def records() -> None:
            trace.record(f"{folder}/records")
            go.set()

        Thread(target=records, name="records", scheduler=on).start()
        on.run()

    child(program, str(tmp_path))
    found = read(tmp_path / "records")
    for number in range(3):
        one = track(found, f"green {number}")
        assert blocked(one) == ["Event go"]
        assert one.spans[0].woken_by == track(found, "records").number
        assert one.ended


# ---- asked from outside ----------------------------------------------------------------------------------------------

#: Its threads wait until it is told to go on by a line.
SERVES = """
import threading
from lwp.observe import recording
audit, event = threading.Lock(), threading.Event()
def holds():
    with audit:
        held.set()
        event.wait()
def wants():
    with audit:
        pass
held = threading.Event()
threads = [threading.Thread(target=holds, name="holds"), threading.Thread(target=wants, name="wants")]
threads[0].start()
held.wait()
threads[1].start()
print("ready", flush=True)
for line in iter(input, "end"):
    if line == "wait":
        threading.Event().wait(0.001)
    else:  # how many are to want its recording
        while len(recording._until) != int(line): pass
    print("went on", flush=True)
event.set()
for thread in threads:
    thread.join()
"""


def waits_in(file: Path) -> dict[str, list[str]]:
    """What each thread was blocked on, by its name, in a timeline for Perfetto."""
    events = json.loads(file.read_text())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for event in events:
        if event["name"].startswith("blocked: "):
            found[names[event["tid"]]].append(event["name"].removeprefix("blocked: "))
    return found


def say(program: Program, line: str) -> None:
    program.process.stdin.write(f"{line}\n")
    program.process.stdin.flush()
    if line != "end":
        assert program.process.stdout.readline() == "went on\n"


BeginRecord = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin_record(run: Run, tmp_path: Path) -> Iterator[BeginRecord]:
    """begin_record(program, file): `lwp record`, which makes that file when Ctrl-C ends it."""
    begun = []

    def begin(program: Program, file: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "runtime", "record", str(program.pid), "--seconds", "1000", "-o", file]
        variables = environment(XDG_RUNTIME_DIR=str(tmp_path))
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True)
        begun.append(process)
        said = f"lwp: process {program.pid} records for 1000 s; Ctrl-C ends that\n"
        assert process.stderr.readline() == said
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def end_record(process: subprocess.Popen[str]) -> str:
    """What it has said."""
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    return said


def test_record_the_next_seconds(run: Run, begin_record: BeginRecord, tmp_path: Path) -> None:
    with run(SERVES) as program:
        say(program, "wait")
        process = begin_record(program, "x.json")
        say(program, "wait")
        assert end_record(process).startswith("x.json: 3 threads, ")
        say(program, "0")
        say(program, "end")
        assert program.process.wait() == 0
    found = waits_in(tmp_path / "x.json")
    assert found["holds"] == ["Event event"]
    assert found["wants"] == ["Lock audit"]
    assert found["MainThread"] == ["Event made at program.py:20"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lwp", "program.py", "x.json"]
    assert not list(Path(tmp_path, "lwp").iterdir())


@pytest.mark.parametrize("form", ["html", "json"])
def test_threads_that_exist_already_are_listed_from_the_oldest_on(run: Run, tmp_path: Path, form: str) -> None:
    source = """
import sys, threading, time
done = threading.Event()
def work(): done.wait()
for number in range(5):
    threading.Thread(target=work, name=f"worker {number}", daemon=True).start()
print("ready", flush=True)
while True: time.sleep(0.01)
"""
    with run(source) as program:
        program.ask("record", program.pid, "--seconds", "0.2", "-o", tmp_path / f"t.{form}")
    text = (tmp_path / f"t.{form}").read_text()
    named = r'"label":"([^"]*)"' if form == "html" else r'"thread_name","args":{"name":"([^"]*)"'
    assert re.findall(named, text) == ["MainThread", *(f"worker {number}" for number in range(5))]


def test_two_record_at_once(run: Run, begin_record: BeginRecord, tmp_path: Path) -> None:
    with run(SERVES) as program:
        one, other = begin_record(program, "one.json"), begin_record(program, "other.json")
        end_record(one)
        say(program, "wait")
        end_record(other)
        say(program, "0")
    assert waits_in(tmp_path / "one.json")["MainThread"] == []
    assert waits_in(tmp_path / "other.json")["MainThread"] == ["Event made at program.py:20"]


@pytest.mark.parametrize("killed", [False, True], ids=["ends", "is killed"])
def test_a_program_that_ends_while_it_is_recorded(
    run: Run, begin_record: BeginRecord, killed: bool, tmp_path: Path
) -> None:
    with run(SERVES) as program:
        process = begin_record(program, "x.json")
        say(program, "wait")
        if killed:
            program.process.kill()
        else:
            say(program, "end")
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
    assert ("the program did not end in order" in said) is killed
    assert "Event made at program.py:20" in waits_in(tmp_path / "x.json")["MainThread"]
    assert [path.suffix for path in Path(tmp_path, "lwp").glob("*.records")] == [".records"] * killed


def test_a_program_under_trace_is_recorded_too(run: Run, begin_record: BeginRecord, tmp_path: Path) -> None:
    with run(SERVES, "--trace", "t.json") as program:
        say(program, "wait")
        process = begin_record(program, "x.json")
        end_record(process)
        say(program, "wait")
        program.ask("record", program.pid, "--last", "1000", "-o", tmp_path / "last.json")
        say(program, "end")
        assert program.process.wait() == 0
    assert waits_in(tmp_path / "x.json")["wants"] == ["Lock audit"]
    assert waits_in(tmp_path / "x.json")["MainThread"] == []
    assert waits_in(tmp_path / "last.json")["MainThread"][-2:] == ["Event made at program.py:20"] * 2
    assert waits_in(tmp_path / "t.json")["MainThread"].count("Event made at program.py:20") == 2


def test_the_last_seconds(run: Run, tmp_path: Path) -> None:
    """In the file at the end; before that, and of a program that was killed, by what is in FILE.records."""
    with run(SERVES, "--trace", "t.json", "--last", "1000") as program:
        say(program, "wait")
        program.ask("record", program.pid, "--last", "1000", "-o", tmp_path / "x.json")
        say(program, "end")
        assert program.process.wait() == 0
    assert not (tmp_path / "t.json.records").exists()
    for file in "x.json", "t.json":
        found = waits_in(tmp_path / file)
        assert (found["holds"], found["wants"]) == (["Event event"], ["Lock audit"])
        assert "Event made at program.py:20" in found["MainThread"]
    sleeps = "import time\ntime.sleep(1)\nprint('ready', flush=True)\ninput()\n"
    with run(sleeps, "--trace", "t.json", "--last", "0.5") as one:
        one.process.communicate("\n")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert max(event["ts"] for event in events if "ts" in event) <= 500_000


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_program_that_a_signal_kills(run: Run, number: int, tmp_path: Path) -> None:
    with run(SERVES, "--trace", "t.json", "--last", "5") as program:
        say(program, "wait")
        records = tmp_path / "t.json.records"
        assert records.stat().st_mode & 0o777 == 0o400
        program.process.send_signal(number)
        assert program.process.wait() == -number
        assert not (tmp_path / "t.json").exists()
        done = program.ask("trace", "--last", "1000", records, tmp_path / "y.json")
        assert "the program did not end in order" in done.stderr
    assert waits_in(tmp_path / "y.json")["wants"] == ["Lock audit"]  # it had no time for names, and the line says it


@needs_gil("nothing keeps it")
def test_a_program_whose_gil_is_never_free(run: Run, tmp_path: Path) -> None:
    keeps = "import ctypes\nprint('ready', flush=True)\nctypes.PyDLL(None).pause()\n"
    with run(keeps, "--trace", "t.html", "--last", "30") as program:
        program.ask("record", program.pid, "--last", "1000", "-o", tmp_path / "x.json")
        assert "MainThread" in waits_in(tmp_path / "x.json")
        done = program.ask("record", program.pid, "--seconds", "1", "-o", tmp_path / "y.json", status=2)
        assert "can't begin to record, because " in refusal(done)


def test_only_the_latest_records_of_killed_programs_stay(run: Run, begin_record: BeginRecord, tmp_path: Path) -> None:
    """Of those that `lwp record` had them begin."""
    pids = []
    for _ in range(5):
        with run("print('ready', flush=True)\ninput()\n") as program:
            pids.append(program.pid)
            for process in begin_record(program, "x.json"), program.process:
                process.kill()
                process.wait()
    assert {path.stem for path in Path(tmp_path, "lwp").glob("*.records")} == {str(pid) for pid in pids[1:]}


def test_what_can_not_be_recorded(run: Run, tmp_path: Path) -> None:
    with run(SERVES) as program:
        done = program.ask("record", program.pid, "--last", "5", "-o", tmp_path / "x.json", status=2)
        assert "keeps no records: that begins with `lwp run --trace FILE`" in refusal(done)
        both, to = ("--last", "1", "--seconds", "1"), ("--last", "1", "-o")
        for options in (both, ("--seconds", "0"), ("-o", "missing/x.html"), (*to, "x.txt")):
            refusal(program.ask("record", program.pid, *options, status=2))
    gone = lwp("record", program.pid, "--last", "5", status=2, XDG_RUNTIME_DIR=str(tmp_path))
    assert "is in FILE.records, for `lwp trace`" in refusal(gone)


def test_names_outlast_the_ring(child: Child, tmp_path: Path) -> None:
    """Each half of the ring has the names of what threads were blocked on in it."""

    def program(folder: str) -> None:
        from lwp.observe import recording

        def rounds() -> None:
            for _ in range(20_000):
                given.acquire()
                taken.release()

        given, taken = Semaphore(0), Semaphore(0)
        recording.record(f"{folder}/records", size=64 << 10)
        other = Thread(target=rounds)
        other.start()
        for number in range(20_000):
            given.release()
            taken.acquire()
            if number == 1000:
                recording.look_back()  # which names them
        recording.look_back()
        recording.stop()
        other.join()

    child(program, str(tmp_path))
    found = read(tmp_path / "records")
    assert found.overwritten > 10_000
    assert {what for one in found.tracks for what in blocked(one)} == {"Semaphore given", "Semaphore taken"}
