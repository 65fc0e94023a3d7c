"""Programs that run, asked from another process: `lwp ps`, `lwp dump`, `lwp top`."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import platform
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyte
import pytest
from commands import completed, environment, lwp, python, ready, refusal
from conftest import in_child
from this_machine import FREE_THREADED, needs_gil

from lwp.observe import asking
from lwp.observe.asking import WithoutPython, ask

DEADLOCK = """\
import threading
class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
ledger, audit, both = Ledger(), threading.Lock(), threading.Barrier(2)
def pay():
    with ledger.lock:
        both.wait()
        with audit:
            pass
def check():
    with audit:
        both.wait()
        with ledger.lock:
            pass
def want():
    with audit:
        pass
for name in ("payer", "checker"):
    threading.Thread(target=pay if name == "payer" else check, name=name, daemon=True).start()
while not (ledger.lock.locked() and audit.locked()):
    pass
for _ in range(40):
    threading.Thread(target=want, daemon=True).start()
"""


class Program:
    """A process that has said "ready", and its folder for the socket."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.pid, self.folder = process, process.pid, folder

    def ask(self, *arguments: object, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        return lwp(*arguments, status=status, XDG_RUNTIME_DIR=str(self.folder))

    def top(self, columns: int) -> str:
        return lwp("top", self.pid, "--once", XDG_RUNTIME_DIR=str(self.folder), COLUMNS=str(columns)).stdout

    def listed(self) -> Any:
        """What `lwp ps` says of it."""
        return next(one for one in json.loads(self.ask("ps", "--json").stdout) if one["pid"] == self.pid)

    def dump(self, pid: int | None = None, status: int | None = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("dump", pid or self.pid, "--json", status=status).stdout)
        return found

    def dump_when(self, holds: Callable[[dict[str, Any]], object], pid: int | None = None) -> dict[str, Any]:
        """The first dump of which that holds."""
        while not holds(found := self.dump(pid, status=None)):
            pass
        return found


Run = Callable[..., Any]


@contextmanager
def running(
    folder: Path, source: str, *options: str, command: tuple[str, ...] = (), **variables: str
) -> Iterator[Program]:
    """A program under `lwp run`, during a `with`.  One that says nothing of "ready" says it last, and waits."""
    command = command or ("-m", "runtime", "run", *options, "program.py")
    if source and "ready" not in source:
        source += "print('ready', flush=True)\nthreading.Event().wait()\n"
    with ready(folder, source, *command, XDG_RUNTIME_DIR=str(folder), **variables) as process:
        yield Program(process, folder)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return partial(running, tmp_path)


@pytest.fixture(scope="module")
def stuck(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """DEADLOCK under `lwp run`, once all its threads wait: for several tests.  Its parameter: options."""
    with running(tmp_path_factory.mktemp("stuck"), DEADLOCK, *getattr(request, "param", ())) as program:
        program.dump_when(both_wait)
        yield program


def crowd(found: dict[str, Any], name: str) -> Any:
    """The crowd that a thread of that name is in."""
    return next(one for one in found["crowds"] if name in (thread["name"] for thread in one["threads"]))


def lines(of: dict[str, Any]) -> list[str]:
    return [f"{os.path.basename(file)}:{line} {function}" for file, line, function in of["stack"]]


# ---- what is told ----------------------------------------------------------------------------------------------------


def both_wait(found: dict[str, Any]) -> bool:
    return bool(found["circles"]) and found["threads"] == 43 and len(found["crowds"]) == 4


LWPS_OR_GREEN = {"argvalues": [(), ("--green",)], "ids": ["LWPs", "green"]}


@pytest.mark.parametrize("stuck", **LWPS_OR_GREEN, indirect=True)
def test_dump_tells_a_deadlock_and_groups_threads(stuck: Program) -> None:
    found = stuck.dump(status=1)
    text = stuck.ask("dump", stuck.pid, status=1).stdout
    (circle,) = found["circles"]
    assert circle["deadlock"]
    assert sorted(circle["threads"]) == ["checker", "payer"]
    assert "'payer' waits for lock audit held by 'checker' (taken at program.py:12 in check)" in circle["text"]
    assert "'checker' waits for lock ledger.lock held by 'payer' (taken at program.py:7 in pay)" in circle["text"]
    assert sorted(len(one["threads"]) for one in found["crowds"]) == [1, 1, 1, 40]
    assert crowd(found, "payer")["wait"]["holder"] == "checker"
    assert lines(crowd(found, "checker"))[0] == "program.py:14 check"
    first, second, *rest = text.splitlines()
    assert first.startswith(f"process {stuck.pid}, since ")
    assert "43 threads" in first
    assert second == f"deadlock: {circle['text']}"
    many = next(line for line in rest if line.startswith("40 threads"))
    waits = (
        r"40 threads: wait for lock audit held by 'checker' .*, the first for [\d.]+ s: '.+', '.+', '.+' and 37 more"
    )
    assert re.fullmatch(waits, many), many
    assert "    with ledger.lock:" in rest


OF_ITSELF = (
    "all 2 threads of a pool wait for calls of the same pool, which has no thread left for the 2 calls in its queue"
)
SAID = {
    **dict.fromkeys(("result", "first", "exception", "as_completed", "with another", "runtime.wait"), OF_ITSELF),
    "wait": OF_ITSELF.replace("2 calls", "4 calls"),
    "P": "all 2 threads of pool 'P' and the only thread of pool 'Q' wait for calls of each other, which have no thread "
    "left for the 3 calls in their queues: 'P_0', 'P_1', 'Q_0'",
    "through": "all 2 threads of a pool wait for calls of the same pool or for threads that do so, which has no ",
    "turns": "all 2 threads of group at program.py:25 wait for tasks of the same group, which has no turn left ",
}


@pytest.mark.parametrize("options", **LWPS_OR_GREEN)
@pytest.mark.parametrize("pool", ["cf.ThreadPoolExecutor", "runtime.pool.Executor"])
def test_dump_tells_pools_and_groups_that_wait_for_themselves(run: Run, pool: str, options: tuple[str, ...]) -> None:
    """And no pool whose threads wait for something that can come."""
    # Many pools and a group at once; a pool's threads are called as what they wait for.
    source = """
import concurrent.futures as cf, runtime, runtime.pool, threading
from runtime import Group
by_hand, begun, never = cf.Future(), threading.Event(), threading.Event()
Q, busy = POOL(1, "Q"), POOL(1, "busy")
def both(name, wait):
    pool, inside = POOL(2, name), threading.Barrier(2)
    def task():
        inside.wait()
        wait(pool)
    for _ in range(2):
        pool.submit(task)
    return pool
def result(pool):
    month = pool.submit(int)
    return month.result()
def through(pool):
    with Group() as group:
        group.spawn(lambda: pool.submit(int).result())
def turns():
    inside = threading.Barrier(2)
    def task():
        inside.wait()
        group.spawn(int).result()
    with Group(limit=2) as group:
        for _ in range(2):
            group.spawn(task)
def each_other(pool):
    begun.wait()
    Q.submit(int).result()
def other(pool):
    begun.set()
    pool.submit(int).result()
def can_end(name, wait):
    def wait_here(pool):
        wait(pool)
    both("can end: " + name, wait_here)
both("result", result)
both("wait", lambda pool: cf.wait([pool.submit(int), pool.submit(int)]))
both("first", lambda pool: cf.wait([pool.submit(int)], return_when=cf.FIRST_COMPLETED))
both("exception", lambda pool: cf.wait([pool.submit(int)], return_when=cf.FIRST_EXCEPTION))
both("as_completed", lambda pool: [*cf.as_completed([pool.submit(int)])])
both("with another", lambda pool: cf.wait([pool.submit(int), by_hand]))
if POOL is runtime.pool.Executor:
    both("runtime.wait", lambda pool: runtime.wait([pool.submit(int)]))
Q.submit(other, both("P", each_other))
both("through", through)
threading.Thread(target=turns).start()
if POOL is cf.ThreadPoolExecutor:
    busy.submit(never.wait)
    can_end("result", lambda pool: pool.submit(int).result(3600))
    can_end("wait", lambda pool: cf.wait([pool.submit(int)], timeout=3600))
    can_end("as_completed", lambda pool: [*cf.as_completed([pool.submit(int)], timeout=3600)])
    can_end("first", lambda pool: cf.wait([pool.submit(int), by_hand], return_when=cf.FIRST_COMPLETED))
    can_end("exception", lambda pool: cf.wait([pool.submit(int), by_hand], return_when=cf.FIRST_EXCEPTION))
    can_end("another", lambda pool: [*cf.as_completed([pool.submit(int), by_hand])])
    can_end("busy", lambda pool: cf.wait([pool.submit(int), busy.submit(int)], return_when=cf.FIRST_COMPLETED))
"""
    stock = pool.startswith("cf.")
    expected = {name: said for name, said in SAID.items() if not stock or name != "runtime.wait"}

    def all_wait(found: dict[str, Any]) -> bool:
        crowds = [crowd for crowd in found["crowds"] if crowd["wait"] and any("wait_here" in at for at in lines(crowd))]
        return sum(len(one["threads"]) for one in crowds) == 14 * stock and len(found["pools"]) >= len(expected)

    with run(source.replace("POOL", pool), *options) as program:
        pools = program.dump_when(all_wait)["pools"]
        listed = program.listed()
        text = program.ask("dump", program.pid, status=1).stdout
    told = {min(one["threads"]).rpartition("_")[0] or "turns": one["text"] for one in pools}
    assert {name: said[: len(SAID.get(name, said))] for name, said in told.items()} == expected
    assert sorted(next(one["threads"] for one in pools if one["text"] == told["result"])) == ["result_0", "result_1"]
    assert (listed["state"], listed["why"]) == ("deadlock", pools[0]["text"])
    assert [line for line in text.splitlines() if "deadlock: " in line] == [f"deadlock: {one['text']}" for one in pools]
    assert re.search(r"'result_0'.*, 'result_1'.*: wait for future month, and 1 other like it, ", text), text


TASKS = """
import asyncio
async def take(one, other):
    async with one:
        await both.wait()
        async with other:
            pass
async def main():
    global both
    both, first, second = asyncio.Barrier(2), asyncio.Lock(), asyncio.Lock()
    print("ready", flush=True)
    await asyncio.gather(take(first, second), take(second, first), *[asyncio.sleep(3600) for _ in range(1000)])
asyncio.run(main())
"""


@pytest.mark.parametrize("options", **LWPS_OR_GREEN)
@needs_gil("tasks are not shown without a GIL")
def test_dump_tells_a_circle_of_tasks_below_many_others(run: Run, options: tuple[str, ...]) -> None:
    with run(TASKS, *options) as program:
        found = program.dump_when(lambda found: found["circles"])
        text = program.ask("dump", program.pid, status=1).stdout
        assert (program.listed()["state"], program.listed()["why"]) == ("deadlock", found["circles"][0]["text"])
    assert sorted(found["circles"][0]["tasks"]) == ["Task-2 (take)", "Task-3 (take)"]
    assert text.splitlines()[1] == f"deadlock: {found['circles'][0]['text']}"
    assert "tasks of the loop of 'MainThread': 1,003" in text
    assert re.search(
        r"^  1,000 tasks: wait for sleep of 3600 s, [\d.]+ s to the first's end, at .*: 'Task-4 ", text, re.M
    )


@pytest.mark.slow
@needs_gil("threads run on while their frames are read")
def test_a_stack_and_its_name_are_of_one_moment(run: Run) -> None:
    """Though the look at thousands of threads takes long, and others begin, run and end meanwhile."""
    source = """
import threading
done = threading.Event()
for _ in range(3000):
    threading.Thread(target=done.wait, daemon=True, name="idle").start()
def first(left=20_000):
    while left: left -= 1
def second(left=20_000):
    while left: left -= 1
def outer():
    for _ in range(10):
        first()
        second()
def go():
    while True:
        thread = threading.Thread(target=outer, name="short")
        thread.start()
        outer()
        thread.join()
for _ in range(4):
    threading.Thread(target=go, daemon=True, name="go").start()
"""
    called_at = {("first", 12), ("second", 13), ("outer", 18)}
    with run(source) as program:
        found = [(one, crowd) for _ in range(10) for crowd in program.dump()["crowds"] for one in crowd["threads"]]
    pairs, seen = set(), set()
    for thread, crowd in found:
        frames = [(function, line) for file, line, function in crowd["stack"] if file.endswith("program.py")]
        pairs |= {(inner, line) for (inner, _), (outer, line) in itertools.pairwise(frames) if outer != "<module>"}
        seen.add((thread["name"], frames[-1][0] if frames else ""))
    assert pairs <= called_at
    assert pairs & {("first", 12), ("second", 13)}
    assert {one for one in seen if one[1]} <= {("MainThread", "<module>"), ("go", "go"), ("short", "outer")}


def test_frames_of_libraries_that_called_the_program_are_left_out(run: Run) -> None:
    source = """
import concurrent.futures, threading
def works(): print('ready', flush=True); threading.Event().wait()
concurrent.futures.ThreadPoolExecutor(1).submit(works).result()
"""
    with run(source) as program:
        program.dump_when(lambda found: any("works" in str(one["stack"]) and one["wait"] for one in found["crowds"]))
        short = program.ask("dump", program.pid).stdout
        whole = program.ask("dump", program.pid, "--all-frames").stdout
    assert re.search(r"\n  \(\d frames? of libraries\)\n.*, in works\n", short), short
    assert "in _worker" not in short
    assert "in Future.result" in short  # where the main thread is
    assert "in _worker" in whole
    assert "of libraries" not in whole


def test_idle_workers_are_told_as_waiting_for_work(run: Run) -> None:
    source = """
import queue, threading
from concurrent.futures import ThreadPoolExecutor
jobs = queue.SimpleQueue()
class Desk:
    def __init__(self): self.orders = queue.SimpleQueue()
    def serve(self): self.orders.get()
def main():
    pool, ready = ThreadPoolExecutor(8, "bakers"), threading.Barrier(9)
    for _ in range(8): pool.submit(ready.wait)
    ready.wait()
    threading.Thread(target=Desk().serve, name="clerk").start()
    print("ready", flush=True)
    jobs.get(timeout=1000)
main()
"""

    def is_idle(found: dict[str, Any]) -> bool:
        return len(found["crowds"]) == 3 and all(one["state"].startswith("waits for work") for one in found["crowds"])

    with run(source) as program:
        found = program.dump_when(is_idle)
        text = program.ask("dump", program.pid).stdout
        rows = program.ask("top", program.pid, "--once").stdout
        counted = json.loads(program.ask("locks", program.pid, "--seconds", 0.2, "--json").stdout)
    states = [crowd(found, name)["state"] for name in ("bakers_0", "clerk", "MainThread")]
    assert states == [f"waits for work in {what}" for what in ("the queue of bakers", "Desk.orders", "jobs")]
    assert "8 threads: wait for work in the queue of bakers: 'bakers_0', " in text
    assert "'clerk' (tid " in text
    assert re.search(r"8 x bakers_0 .*work in the queue of bakers", rows)
    waits = {row["name"]: row["waits"] for row in counted["locks"] if row["kind"] == "queue"}
    assert {name: (one["count"], one["now"]) for name, one in waits.items()} == {
        "pool._work_queue": (8, 8),
        "Desk.orders": (1, 1),
        "jobs": (1, 1),
    }


def test_what_is_the_tools_own_is_not_told_as_the_programs(run: Run) -> None:
    source = """
import sys, threading
sys.setswitchinterval(1000)  # whoever runs keeps the GIL
def join(thread): thread.join()
worker = threading.Thread(target=threading.Event().wait, name="worker")
worker.start()
threading.Thread(target=join, args=(worker,), name="joins").start()
"""
    with run(source, "--watchdog", "1000", "--trace", "t.json") as program:
        found = program.dump_when(lambda found: [one["state"] for one in found["crowds"]] == ["waits"] * 3)
        text = program.ask("dump", program.pid).stdout
        rows = program.ask("top", program.pid, "--once", "--every", "0.1").stdout
    assert found["without_python"] == []
    assert re.search(
        r"^'joins' \(tid \d+\): waits for the end of 'worker', for .*\n  File .*program.py", text, re.MULTILINE
    )
    assert "thread.py" not in text
    assert sorted(line.split()[0] for line in rows.splitlines()[3:-1]) == ["MainThread", "joins", "worker"]


@in_child
def test_a_thread_that_has_not_begun_yet_is_not_told_as_without_python() -> None:
    import threading

    import runtime
    from lwp.observe import moment

    runtime.install()
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, daemon=True) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert moment._without_python([]) == []  # there are no crowds, as if no thread had come to its first line
    done.set()
    for thread in threads:
        thread.join()


def test_dump_of_an_import_that_waits_for_a_lock_whose_holder_imports(run: Run, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("import __main__\n__main__.inside.set()\nwith __main__.lock: pass\n")
    source = """
import threading
lock, inside = threading.Lock(), threading.Event()
def holds():
    with lock:
        inside.wait()
        import module
def imports():
    import module
threading.Thread(target=holds, name="holds", daemon=True).start()
while not lock.locked():
    pass
threading.Thread(target=imports, name="imports", daemon=True).start()
"""
    with run(source) as program:
        found = program.dump_when(lambda found: found["circles"])
    assert found["circles"][0]["deadlock"]
    assert "'holds' waits for import of module 'module' held by 'imports'" in found["circles"][0]["text"]


def test_threads_that_wait_each_for_its_own_are_told_together_by_the_lines_name(run: Run) -> None:
    """What an object alone leads to has no name from variables: the line at which its thread waits names it."""
    source = """
import threading
class Order:
    def __init__(self):
        self.packed = threading.Event()
    def wait(self):
        self.packed.wait()
for _ in range(20):
    threading.Thread(target=lambda: Order().wait(), daemon=True).start()
"""
    with run(source) as program:
        found = program.dump_when(lambda found: len(found["crowds"]) == 2)
        text = program.ask("dump", program.pid).stdout
    assert len(found["crowds"][0]["threads"]) == found["crowds"][0]["wait"]["things"] == 20
    assert "20 threads: wait for event Order.packed, and 19 others like it, the first for " in text


def test_dump_names_the_c_code_that_a_green_thread_is_in(run: Run) -> None:
    source = """
import ctypes, os, threading
libc, (reads, writes) = ctypes.CDLL(None), os.pipe()
def read():
    libc.read(reads, ctypes.create_string_buffer(1), 1)
threading.Thread(target=read, name="reader").start()
print("ready", flush=True)
"""
    with run(source, "--green") as program:
        # Another LWP waits for threads that could go on, and runs none.
        found = program.dump_when(lambda found: crowd(found, "reader")["since"] and not found["schedulers"][0]["runs"])
        text = program.ask("dump", program.pid).stdout
    assert 0 < crowd(found, "reader")["since"] < found["now"]
    assert crowd(found, "reader")["state"] == "in _ctypes (read)"
    assert re.search(
        r"^'reader' \(tid \d+\): in _ctypes \(read\), for \d+\.\d s\n.* line 5, in read\n", text, re.MULTILINE
    )
    assert re.search(r"^scheduler on tid \d+: idle, 0 ready, ", text, re.MULTILINE)


@needs_gil("Python answers all the same")
def test_dump_without_the_gil_knows_the_lwp_that_a_green_thread_has_moved_to(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    source = """
import ctypes, threading
libc = ctypes.PyDLL(None)  # a call that gives up the GIL may come back on another LWP
first, moved, kept = [], [], threading.Event()
def moves():
    first.append(libc.gettid())
    kept.wait()
    moved.append(1)
    libc.dprintf(2, b"%d\\n", libc.gettid())
    libc.pause()
def computes():
    if libc.gettid() in first:
        kept.set()
        while not moved:
            pass
print("ready", flush=True)
threading.Thread(target=moves).start()
while not moved:
    thread = threading.Thread(target=computes)
    thread.start()
    thread.join()
"""
    with run(source, "--green") as program:
        found = program.dump_when(lambda found: "without" in found)
    tid = int(capfd.readouterr().err)
    keeper = next(one for one in found["crowds"] if "has the GIL" in one["state"])
    assert [thread["tid"] for thread in keeper["threads"]] == [tid]
    assert keeper["state"].startswith("in pause, ")
    assert lines(keeper)[0] == "program.py:10 moves"


GIL = """
import ctypes, threading
lock = threading.Lock()
def wants():
    with lock:
        pass
def keeps():
    ctypes.PyDLL(None).pause()
lock.acquire()
threads = [threading.Thread(target=wants, daemon=True) for _ in range(5)]
for thread in threads:
    thread.start()
from runtime import scheduler
while len(scheduler.waiting().waits) < 5:
    pass
print("ready", flush=True)
keeps()
"""


def test_dump_where_the_gil_is_never_free(run: Run) -> None:
    with run(GIL) as program:
        found = program.dump_when(lambda found: "without" in found)
        text = program.ask("dump", program.pid).stdout
        listed = program.listed()
    # Without a GIL Python stops all threads for a look at their frames, and one that keeps its state is waited for.
    why = "the thread that answers with Python has come to no end" if FREE_THREADED else "the GIL is not free"
    assert found["without"] == why
    many = next(one for one in found["crowds"] if one["wait"])
    assert len(many["threads"]) == 5
    assert many["wait"]["holder"] == "MainThread"
    assert lines(many)[0] == "program.py:5 wants"
    main = crowd(found, "MainThread")
    assert main["state"].endswith("has the GIL or had it last") or FREE_THREADED
    assert lines(main) == ["program.py:8 keeps", "program.py:17 <module>"]
    assert f"Python does not answer, because {why}" in text
    assert listed["state"] == "stuck"


@needs_gil("there is none")
def test_a_question_waits_while_the_gil_goes_round(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread keeps it for less than the second after which it is said not to be free."""
    source = """
import ctypes, sys, threading
import lwp.observe.asked
usleep, go = ctypes.PyDLL(None).usleep, threading.Event()
def keeps():
    go.wait()
    usleep(600_000)
threads = [threading.Thread(target=keeps) for _ in range(5)]
for thread in threads:
    thread.start()
print("ready", flush=True)
while sys.stdin.readline():
    go.set()
"""
    with run(source) as program:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(program.folder))
        program.process.stdin.write("go\n")
        program.process.stdin.flush()
        assert ask(program.pid, "who")["threads"]


def refused(pid: int) -> str:
    """Why Python doesn't answer; "": it does."""
    try:
        ask(pid, "who")
    except WithoutPython as error:
        return str(error)
    return ""


@needs_gil("there is none")
def test_a_second_try_is_answered_once_the_gil_is_free(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # It keeps the GIL from before "kept" until it has read a line.
    source = """
import ctypes, os
import lwp.observe.asked
print("ready", flush=True)
ctypes.PyDLL(None).system(b"echo kept; read line")
os.read(0, 1)
"""
    with run(source) as program:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(program.folder))
        assert program.process.stdout.readline() == "kept\n"
        said = refused(program.pid)
        assert f"the GIL is not free: try again, or see what it does by lwp dump {program.pid}" in said
        program.process.stdin.write("a line\n")
        program.process.stdin.flush()
        while refused(program.pid):
            pass


def test_a_program_that_has_been_stopped(stuck: Program) -> None:
    os.kill(stuck.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, stuck.pid, os.WSTOPPED | os.WNOWAIT)
    assert "is stopped by a signal" in stuck.ask("dump", stuck.pid, status=2).stderr
    assert stuck.listed()["state"] == "stopped"
    os.kill(stuck.pid, signal.SIGCONT)
    assert stuck.dump(status=1)["circles"]


def test_ps_lists_programs(stuck: Program) -> None:
    listed = stuck.listed()
    text = stuck.ask("ps").stdout
    assert (listed["pid"], listed["threads"], listed["state"]) == (stuck.pid, 43, "deadlock")
    assert listed["command"].endswith("runtime run program.py")
    assert re.search(rf"{stuck.pid} +43 .* deadlock +python", text), text


def test_a_stack_names_the_class_of_a_method(run: Run) -> None:
    source = """
import threading
class Desk:
    def pack(self):
        threading.Event().wait()
def main():
    def serve():
        Desk().pack()
    serve()
threading.Thread(target=main, name="clerk", daemon=True).start()
"""
    with run(source) as program:
        program.dump_when(lambda found: crowd(found, "clerk")["wait"])
        text = program.ask("dump", program.pid).stdout
    assert re.findall(r"line \d+, in (.*)", text.partition("'clerk'")[2])[:3] == ["main", "serve", "Desk.pack"]


@pytest.mark.parametrize("stuck", **LWPS_OR_GREEN, indirect=True)
def test_top_shows_rows_of_many(stuck: Program, request: pytest.FixtureRequest) -> None:
    text = stuck.ask("top", stuck.pid, "--once", "--every", "0.1", "--sort", "threads").stdout
    head, columns, _, first, *_ = text.splitlines()
    told = re.fullmatch(rf"process {stuck.pid}: (\d+) threads, \d+% of a CPU", head)
    assert told, head
    count = int(told[1])
    green = request.node.callspec.params["stuck"]
    assert count >= 45 if green else count == 43  # a green thread that kept its LWP has made the scheduler a third
    assert columns.split()[:6] == ["thread", "tid", "state", "waits", "for", "CPU"]
    assert first.startswith("40 x Thread-1 (want)")
    assert text.splitlines()[-1].strip() == f"{count} threads"


LAST_TID = "/proc/sys/kernel/ns_last_pid"


@pytest.mark.root
@pytest.mark.skipif(not os.access(LAST_TID, os.W_OK), reason="the kernel doesn't say which tid is next")
def test_top_names_the_first_of_many_by_when_it_began(run: Run) -> None:
    """Tids start again above pid_max, as they do every few minutes where many processes are started."""
    source = f"""
import threading
done = threading.Event()
for name in "first", "second", "third", "fourth":
    threading.Thread(target=done.wait, name=name, daemon=True).start()
    with open({LAST_TID!r}, "w") as file:
        file.write("299")
"""
    with run(source) as program:
        program.dump_when(lambda found: len(crowd(found, "first")["threads"]) == 4)
        text = program.top(columns=80)
    assert re.search(r"\n4 x first +asleep ", text), text


def test_top_counts_one_thread(run: Run) -> None:
    with run("import threading\n") as program:
        head, *_, last = program.top(columns=80).splitlines()
    assert head.startswith(f"process {program.pid}: 1 thread, ")
    assert last.strip() == "1 thread"


HELD = """
import threading
lock, rlock, event, held = threading.Lock(), threading.RLock(), threading.Event(), threading.Event()
def hold():
    with rlock, held.set() or lock:
        event.wait()
def want():
    with rlock:
        pass
threading.Thread(target=hold, name="holder", daemon=True).start()
held.wait()
threading.Thread(target=want, name="wanter", daemon=True).start()
print("ready", flush=True)
input()
"""


@pytest.mark.parametrize("columns", [160, 80])
def test_top_shows_names_and_what_is_waited_for(run: Run, columns: int) -> None:
    long = "holder-with-a-name-that-is-much-too-long"
    with run(HELD if columns == 160 else HELD.replace("holder", long)) as program:
        program.dump_when(lambda found: crowd(found, "wanter")["wait"])
        text = program.top(columns=columns)
    if columns == 160:
        row = r" +\d+ +asleep +{} +\d%"
        assert re.search("\nholder" + row.format("event event at program.py:6"), text), text
        assert re.search("\nwanter" + row.format("rlock rlock of holder at program.py:8"), text), text
        assert re.search(rf"\nMainThread +{program.pid} +asleep +at program.py:14 ", text), text
    else:
        assert re.search(r"\nthread +tid +state +waits for +CPU *\n", text), text
        assert re.search(r"\nholder-with-a-name-… +\d+ +asleep +event event at program.py:6 +\d%", text), text
        assert re.search(r"\nwanter +\d+ +asleep +rlock rlock of holder-with-a-nam.*… +\d%", text), text


@pytest.mark.parametrize("columns", [160, 80])
def test_top_shows_where_a_thread_is_placed(run: Run, columns: int) -> None:
    """If it is placed otherwise than the main thread, and where there is room."""
    source = """
import threading
from runtime import Thread
Thread(target=threading.Event().wait, name="placed beside the others", nice=7, daemon=True).start()
"""
    with run(source) as program:
        text = program.top(columns=columns)
    there = columns == 160
    assert bool(re.search(r"thread +tid .* CPU +placed", text)) == there, text
    assert bool(re.search(r"\nplaced .* +\d+% +CPUs [0-9,-]+, nice 7 ", text)) == there, text
    main = re.search(r"\nMainThread .* \d+%(.*)\n", text)
    assert main, text
    assert "CPUs" not in main[1]


@pytest.mark.parametrize("options", [(), ("--time-slice", "0")], ids=["a time slice", "one LWP"])
def test_top_shows_green_threads(run: Run, options: tuple[str, ...]) -> None:
    source = """\
import threading, time
event = threading.Event()
def waits():
    event.wait()
def sleeps():
    time.sleep(1000)
threads = [threading.Thread(target=target, name=target.__name__) for target in (waits, sleeps)]
for thread in threads:
    thread.start()
print("ready", flush=True)
threads[0].join()
"""
    with run(source, "--green", *options) as program:
        program.dump_when(lambda found: crowd(found, "MainThread")["wait"])
        text = program.top(columns=160)
    assert re.search(r"\nMainThread +\d+ +asleep +the end of 'waits' at program.py:11 .* \d+% ", text), text
    assert re.search(r"\nwaits +asleep +event event at program.py:4 ", text), text
    assert re.search(r"\nsleeps +asleep +at program.py:6 ", text), text
    assert f"{3 + (0 if options else 2)} threads" in text


def test_top_on_a_terminal_shows_a_table_until_ctrl_c(run: Run) -> None:
    terminal, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    stream = pyte.Stream(screen := pyte.Screen(160, 40))
    with run(HELD) as program:
        command = [sys.executable, "-m", "runtime", "top", "--every", "0.1", str(program.pid)]
        variables = environment(XDG_RUNTIME_DIR=str(program.folder), TERM="xterm", COLUMNS="160", LINES="40")
        with subprocess.Popen(command, env=variables, stdin=slave, stdout=slave, stderr=slave) as process:
            os.close(slave)
            for _ in range(2):  # it is drawn again
                screen.erase_in_display(2)
                while not any("wanter" in line for line in screen.display):
                    stream.feed(os.read(terminal, 65536).decode(errors="replace"))
            process.send_signal(signal.SIGINT)
            with suppress(OSError):  # EIO: nobody has its other end open
                while os.read(terminal, 65536):
                    pass
            assert process.wait() == 0
    os.close(terminal)


# ---- many that ask ---------------------------------------------------------------------------------------------------


def fill_queue(program: Program) -> list[socket.socket]:
    """Clients that ask nothing, so many that no other can connect at once."""
    (path,) = program.folder.glob(f"**/{program.pid}")
    clients = []
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        clients.append(client)
        try:
            client.connect(str(path))
        except BlockingIOError:
            return clients


def test_a_question_waits_its_turn_or_says_so(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with run(HELD) as program:
        before: list[socket.socket] = []

        def refused() -> str:
            before.extend(fill_queue(program))  # the program gives one of them up each second
            with pytest.raises(asking.Unanswered) as error:
                ask(program.pid, "who")
            return str(error.value)

        with monkeypatch.context() as less:
            less.setattr(asking, "PATIENCE", 0.2)
            says = f"process {program.pid} has had others to answer for 0.2 s: try again"
            assert any(refused() == says for _ in range(10))
        with ThreadPoolExecutor() as pool:
            asks = [pool.submit(ask, program.pid, "who") for _ in range(8)]
            for client in before:
                client.close()
            assert {found.result()["threads"] for found in asks} == {asks[0].result()["threads"]}


def test_the_shell_completes_pids(run: Run) -> None:
    with run(HELD) as running:
        for command in ("dump", "top", "locks", "record", "watch"):
            assert f"plain,{running.pid}" in completed(command, "", XDG_RUNTIME_DIR=str(running.folder))


# ---- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_another_user_is_refused(run: Run) -> None:
    with run(DEADLOCK) as program:
        path = program.folder / "lwp" / str(program.pid)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        for folder in list(path.parents)[:-2]:
            os.chmod(folder, 0o755)  # only what the kernel says of the client is left
        os.chmod(path, 0o777)
        done = python(
            "-c",
            f"""
import os, socket
os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
client.connect({str(path)!r})
client.sendall(b'{{"ask": "who"}}\\n')
print(client.recv(1000))
""",
        )
        assert "only the user who runs this process may ask" in done.stdout


@pytest.mark.parametrize("user", [pytest.param(65534, marks=pytest.mark.root), None], ids=["nobody", "ours"])
@pytest.mark.parametrize("command", ["dump", "watch"])
def test_a_process_that_is_not_ours_or_gone(command: str, user: int | None, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], user=user) as process:
        try:
            said = refusal(lwp(command, process.pid, status=2, XDG_RUNTIME_DIR=str(tmp_path)))
        finally:
            process.kill()
    if user is None:
        assert f"process {process.pid} (sleep 1000) can't be asked: neither `lwp run`" in said
        assert f"py-spy dump --pid {process.pid}" in said
    else:
        assert "belongs to user nobody" in said
    said = refusal(lwp(command, process.pid, status=2, XDG_RUNTIME_DIR=str(tmp_path)))
    assert said == f"lwp: there is no process {process.pid}\n"


def test_a_program_is_asked_if_it_wants_to_be(run: Run) -> None:
    """install() alone starts no thread, opens no socket and makes no file."""
    source = """
import os, sys, threading
import runtime
runtime.install()
if "LWP_LISTEN" not in os.environ:
    assert os.listdir("/proc/self/task") == [str(os.getpid())]
if "listen" in sys.argv:
    runtime.observe.listen()
    runtime.observe.listen()
"""
    service, lwp_run = ("program.py",), ("-m", "runtime", "run", "program.py")
    for command, variable in (service, {}), (lwp_run, {"LWP_LISTEN": "0"}):
        with run(source, command=command, **variable) as program:
            assert not (program.folder / "lwp").exists()
            said = program.ask("dump", program.pid, status=2).stderr
            assert "LWP_LISTEN=0 is set, and it has not called runtime.observe.listen()" in said
    for command, variable in ((*service, "listen"), {}), (service, {"LWP_LISTEN": "1"}):
        with run(source, command=command, **variable) as program:
            assert program.dump()["threads"] == 1


def test_listen_says_what_is_in_the_way(tmp_path: Path) -> None:
    source = """
import os, runtime
folder = os.path.join(os.environ["XDG_RUNTIME_DIR"], "x" * 100)
os.mkdir(folder)
os.environ["XDG_RUNTIME_DIR"] = folder
try:
    runtime.observe.listen()
except OSError as error:
    print(error.strerror)
os.environ["XDG_RUNTIME_DIR"] = os.path.dirname(folder)
runtime.observe.listen()
"""
    assert python("-c", source, XDG_RUNTIME_DIR=str(tmp_path)).stdout == "File name too long\n"


def test_no_socket_is_reached_by_other_users(stuck: Program) -> None:
    """An abstract socket (unix(7)) has no owner: any process could send to it, and keep the program awake."""
    inodes, addresses = set(), set()
    for task in Path(f"/proc/{stuck.pid}/task").iterdir():
        inodes |= {os.readlink(one).strip("socket:[]") for one in (task / "fd").iterdir()}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        *_, inode, address = f"{line} -".split()[:8]
        if inode in inodes:
            addresses.add(address)
    assert addresses == {str(stuck.folder / "lwp" / str(stuck.pid))}


def test_a_folder_that_others_can_write_is_not_used(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lwp").mkdir()
    (tmp_path / "lwp").chmod(0o777)
    with run(DEADLOCK) as program:
        assert not list((tmp_path / "lwp").iterdir())
        os.unlink(f"/tmp/lwp-{os.geteuid()}/{program.pid}")


def test_what_has_ended_is_not_listed_before_its_parent_asks(run: Run) -> None:
    with run(DEADLOCK) as program:
        program.process.kill()
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        listed = json.loads(program.ask("ps", "--json", status=None).stdout)
    assert program.pid not in [one["pid"] for one in listed]


def test_no_number(run: Run) -> None:
    wrong = [("dump", "x"), ("dump", "0"), ("dump", "-1"), ("dump", "1.5"), ("top", "x"), ("locks", "x")]
    for command, number in [*wrong, ("record", "x"), ("watch", "x")]:
        assert f"{number!r} is not a process number" in refusal(lwp(command, "--", number, status=2))


# ---- what a program notices ------------------------------------------------------------------------------------------


def test_sockets_are_removed(run: Run) -> None:
    with run("print('ready', flush=True)\ninput()", PYTHONUNBUFFERED="1") as program:
        folder = program.folder / "lwp"
        assert [path.name for path in folder.iterdir()] == [str(program.pid)]
        program.process.kill()
        program.process.wait()
    assert [path.name for path in folder.iterdir()] == [str(program.pid)]  # it could not
    lwp("run", "-c", "pass", XDG_RUNTIME_DIR=str(folder.parent))
    assert not list(folder.iterdir())


def test_the_programs_descriptors_are_as_without(tmp_path: Path) -> None:
    source = "import os; print(sorted(os.listdir('/proc/self/fd')), os.open('/dev/null', 0))"
    on = lwp("run", "-c", source, XDG_RUNTIME_DIR=str(tmp_path)).stdout
    assert on == lwp("run", "-c", source, LWP_LISTEN="0").stdout


def test_forks_of_a_program_with_one_thread(run: Run) -> None:
    """CPython warns of a fork if other threads are there; the forked processes are asked as their parent."""
    source = """
import os, threading, warnings
warnings.simplefilter("error")
def fork():
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.read(read, 1)
        os._exit(0)
    return pid
print("ready", flush=True)
pids = [fork() for _ in range(3)]
print(*pids, flush=True)
threading.Event().wait()
"""
    with run(source) as program:
        pids = [int(pid) for pid in program.process.stdout.readline().split()]
        assert len(pids) == 3
        try:
            for pid in pids:
                found = program.dump_when(lambda found: found["crowds"][0]["state"] == "in read", pid)
                (thread,) = found["crowds"][0]["threads"]
                assert (thread["name"], thread["tid"]) == ("MainThread", pid)
                rows = program.ask("top", pid, "--once", "--every", "0.1").stdout
                assert re.search(rf"^MainThread +{pid} ", rows, re.MULTILINE), rows
            assert program.dump_when(lambda found: found["crowds"][0]["wait"])["threads"] == 1
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)


def test_a_client_that_says_nothing_keeps_no_other_waiting_for_long(stuck: Program) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(stuck.folder / "lwp" / str(stuck.pid)))
        assert stuck.dump_when(both_wait)


def test_questions_that_are_none(stuck: Program) -> None:
    for question in (b"\n", b"x\n", b'{"ask": "nothing"}\n', b'{"ask": "who", "more": 1}\n', b"x" * 10000):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(stuck.folder / "lwp" / str(stuck.pid)))
            client.sendall(question)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(ConnectionResetError):  # it did not read all
                answer = asking._receive(client)
            assert answer == b"" or b'"error"' in answer
    assert stuck.dump_when(both_wait)


def test_a_program_that_has_ended_python_is_asked_without(run: Run) -> None:
    """The thread that answers must not come to an interpreter that has ended: that would end the process by SIGABRT."""
    source = """
import ctypes
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.getchar, None, None)
print("ready", flush=True)
input()
"""
    with run(source) as program:
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.connect(str(program.folder / "lwp" / str(program.pid)))
        program.process.stdin.write("\n")
        program.process.stdin.flush()
        while (program.folder / "lwp" / str(program.pid)).exists():  # the interpreter is about to end
            os.sched_yield()
        reads = "63 0x0 " if platform.machine() == "aarch64" else "0 0x0 "
        while not Path(f"/proc/{program.pid}/syscall").read_text().startswith(reads):
            os.sched_yield()
        for client in clients:
            client.sendall(b'{"ask": "who"}\n')
        assert all(b"the program is ending" in asking._receive(client) for client in clients)
        program.process.stdin.close()
        assert program.process.wait() == 0
