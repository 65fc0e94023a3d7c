"""Which thread waits for what: `scheduler.waiting()`, `run --watchdog` and the rows of `lwp top`."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import watched
from conftest import in_child, lwp, needs_gil, python, refusal, run_thread, told
from sync_helpers import PATIENCE, until
from this_machine import FREE_THREADED

import runtime
from lwp.observe import rows
from lwp.observe.commands import top
from lwp.observe.watchdog import Watchdog
from runtime import Thread, scheduler, sync
from runtime.scheduler import Wait, Waiting


def wait_of(ident: int | None, kind: str | None = None) -> Wait:
    """The wait of a thread, once it has one, of that kind."""

    def look() -> Wait | None:
        found = [wait for wait in scheduler.waiting().waits if wait.ident == ident and kind in (None, wait.kind)]
        return found[0] if found else None

    return until(look)


@contextmanager
def all_running(threads: list[Thread]) -> Iterator[None]:
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


@contextmanager
def running(target: Callable[..., object], *args: Any, name: str | None = None) -> Iterator[Thread]:
    thread = Thread(target=target, args=args, name=name)
    with all_running([thread]):
        yield thread


# ---- what waits are told ---------------------------------------------------------------------------------------------

# For each kind: a primitive that makes a thread sleep, how it does, how it is let go.
SLEEPS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "event": (sync.Event, lambda event: event.wait(), lambda event: event.set()),
    "semaphore": (lambda: sync.Semaphore(0), lambda some: some.acquire(), lambda some: some.release()),
    "barrier": (lambda: sync.Barrier(2), lambda barrier: barrier.wait(), lambda barrier: barrier.wait()),
}


@pytest.mark.parametrize("kind", SLEEPS)
def test_releasing_a_free_lock(kind: str) -> None:
    make, sleep, let_go = SLEEPS[kind]
    thing = make()
    before = time.monotonic()
    with running(sleep, thing, name="sleeper") as thread:
        wait = wait_of(thread.ident)
        assert (wait.kind, wait.address, wait.name) == (kind, id(thing), "sleeper")
        assert (wait.tid, wait.holder, wait.holder_name, wait.deadline) == (thread.native_id, None, None, None)
        assert before <= wait.since <= time.monotonic()
        assert f"{id(thing):#x}" in wait.what
        let_go(thing)
    assert scheduler.waiting() == Waiting((), ())


@pytest.mark.parametrize(("make", "kind"), [(sync.Lock, "lock"), (sync.RLock, "rlock")])
def test_a_lock_has_a_holder(make: Callable[[], Any], kind: str) -> None:
    lock = make()
    with lock, running(lock.acquire, True, 1000.0) as thread:
        wait = wait_of(thread.ident)
        assert (wait.kind, wait.address, wait.what) == (kind, id(lock), repr(lock))
        assert (wait.holder, wait.holder_name) == (threading.get_ident(), threading.current_thread().name)
        assert wait.deadline is not None
        assert 999 < wait.deadline - wait.since < 1001
        if kind == "rlock":
            lock.release()
        else:
            with running(lock.release):  # by a thread that has not taken it
                pass
        thread.join()
        assert scheduler.waiting().waits == ()
        if kind == "lock":
            assert lock.locked()
        else:
            lock._at_fork_reinit()  # its owner has ended
            lock.acquire()


def test_a_lock_taken_after_a_sleep_has_a_holder() -> None:
    lock, done = sync.Lock(), sync.Event()

    def hold() -> None:
        with lock:
            done.wait()

    lock.acquire()
    with running(hold) as holder:
        wait_of(holder.ident, "lock")
        lock.release()
        wait_of(holder.ident, "event")
        with running(lambda: lock.acquire() and lock.release()) as thread:
            assert wait_of(thread.ident).holder == holder.ident
            done.set()


def test_join() -> None:
    done = sync.Event()
    with running(done.wait, name="joined") as joined, running(joined.join) as thread:
        wait = wait_of(thread.ident)
        assert (wait.kind, wait.holder, wait.holder_name) == ("join", joined.ident, "joined")
        assert wait.what == repr(joined)
        assert str(wait).endswith("waits for the end of 'joined'")
        done.set()


@needs_gil("a thread that goes to sleep again is seen awake")
def test_a_join_is_found_whenever_one_looks() -> None:
    """It wakes up by itself once, and after a signal; then it wants the GIL, which this thread has."""
    done, old = sync.Event(), signal.signal(signal.SIGUSR1, lambda *_: None)
    looks = missed = 0
    with running(done.wait) as joined, running(joined.join) as thread:
        wait = wait_of(thread.ident)
        while time.monotonic() < wait.since + 0.1:
            if looks % 1000 == 500:
                signal.pthread_kill(wait.ident, signal.SIGUSR1)
            missed += thread.ident not in [wait.ident for wait in scheduler.waiting().waits]
            looks += 1
        done.set()
    signal.signal(signal.SIGUSR1, old)
    assert missed == 0, f"not found by {missed} of {looks} looks"


def test_a_thread_without_a_thread_object() -> None:
    event = sync.Event()
    lwp = scheduler.spawn(event.wait)
    wait = wait_of(lwp.ident)
    assert (wait.name, wait.tid) == (f"LWP {lwp.tid}", lwp.tid)
    event.set()
    lwp.join()


@pytest.mark.parametrize("make", [sync.Lock, sync.RLock])
def test_condition(make: Callable[[], Any]) -> None:
    lock = make()
    condition = sync.Condition(lock)

    def sleep() -> None:
        with condition:
            condition.wait()

    with running(sleep) as thread:
        wait = wait_of(thread.ident, "condition")
        assert (wait.address, wait.holder) == (id(condition), None)
        with condition:
            condition.notify()
            # It is asleep for the lock now, without having run.
            wait = wait_of(thread.ident)
            assert (wait.address, wait.holder) == (id(lock), threading.get_ident())


@in_child
def test_a_condition_of_threadings_is_no_deadlock() -> None:
    """One made before install(), or of a derived class, takes a lock of its own twice, to be woken by its release."""
    stock, before = threading.Condition, threading.Condition()
    runtime.install()
    derived = [type("Derived", (cls,), {})() for cls in (stock, threading.Condition, sync.Condition)]
    for condition in (before, *derived):

        def sleep(condition: Any = condition) -> None:
            with condition:
                condition.wait()

        thread = threading.Thread(target=sleep)
        thread.start()
        while not condition._waiters or not (found := scheduler.waiting()).waits:
            time.sleep(0)
        (wait,) = found.waits
        assert (wait.kind, wait.address, wait.holder, found.cycles) == ("condition", id(condition), None, ()), found
        assert wait.what == repr(condition)
        with condition:
            condition.notify()
        thread.join()


@in_child
def test_pthreads_and_the_main_thread() -> None:
    lock = sync.Lock()
    lock.acquire()
    main = threading.main_thread()
    seen: list[Any] = []

    def look() -> None:
        while len(seen) < 2:
            seen[:] = scheduler.waiting().waits
        lock.release()

    threading.Thread(target=lambda: lock.acquire() and lock.release(), name="pthread").start()  # stock
    threading.Thread(target=look).start()
    lock.acquire()
    lock.release()  # perhaps before the other has had it
    assert sorted((w.name, w.tid == os.getpid(), w.holder_name) for w in seen) == [
        ("MainThread", True, "MainThread"),
        ("pthread", False, "MainThread"),
    ], seen
    assert main.ident == seen[0].holder


def test_a_raising_repr_or_name_does_no_harm() -> None:
    class Odd(sync.RLock):
        def __repr__(self) -> str:
            raise ValueError

    class Nameless(Thread):
        @property
        def name(self) -> str:
            raise ValueError

    odd = Odd()
    thread = Nameless(target=lambda: odd.acquire() and odd.release())
    with odd:
        thread.start()
        wait = wait_of(thread.ident)
        assert "Odd object at 0x" in wait.what
        assert wait.name == f"LWP {thread.native_id}"
    thread.join()


def test_more_waits_than_room() -> None:
    event = sync.Event()
    threads = [Thread(target=event.wait, stack_size=64 << 10) for _ in range(200)]
    with all_running(threads):
        until(lambda: len(scheduler.waiting().waits) == len(threads))
        assert {wait.ident for wait in scheduler.waiting().waits} == {thread.ident for thread in threads}
        event.set()


def test_what_is_waited_for_is_not_kept() -> None:
    event = sync.Event()
    with running(event.wait) as thread:
        wait_of(thread.ident)
        event.set()
    counts = [0]

    class Counted(sync.Event):
        def __del__(self) -> None:
            counts[0] += 1

    counted = Counted()
    with running(counted.wait) as thread:
        wait_of(thread.ident)
        counted.set()
    del counted, thread
    if sys.version_info < (3, 13):
        # A look at a frame's variables leaves a record of them with the frame, which the next look makes anew.
        assert "counted" not in sys._getframe().f_locals
    assert counts == [1]


def test_looking_while_all_come_and_go() -> None:
    """Many waits that begin and end while others look: no crash, and what is told is whole."""
    stop = [False]
    lock, some = sync.Lock(), sync.Semaphore(1)

    def work() -> None:
        while not stop[0]:
            for _ in range(20):  # who has slept for it takes it without the GIL, who had it before comes again
                with lock:
                    time.sleep(0)
                time.sleep(0)
            with lock, some:
                pass
            event = sync.Event()
            with running(event.set):
                event.wait()

    seen = 0
    deadline = time.monotonic() + PATIENCE
    with all_running([Thread(target=work) for _ in range(4)]):
        try:
            while seen < 1000 and time.monotonic() < deadline:
                found = scheduler.waiting()
                seen += len(found.waits)
                assert {wait.kind for wait in found.waits} <= {"lock", "semaphore", "event", "join"}
                assert found.cycles == ()
                os.sched_yield()
        finally:
            stop[0] = True
    assert seen


@in_child
def test_the_child_of_a_fork_waits_for_nothing() -> None:
    event = sync.Event()
    threads = [Thread(target=event.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(scheduler.waiting().waits) < 3:
        pass
    if (pid := os.fork()) == 0:
        os._exit(scheduler.waiting() != scheduler.Waiting((), ()))
    assert os.waitpid(pid, 0)[1] == 0
    event.set()


# ---- circles ---------------------------------------------------------------------------------------------------------


def test_circle_of_three_with_a_tail() -> None:
    lock, rlock, ready = sync.Lock(), sync.RLock(), sync.Barrier(3)

    def hold_rlock() -> None:
        with rlock:
            ready.wait()
            lock.acquire()

    def hold_lock(joined: Thread) -> None:
        lock.acquire()
        ready.wait()
        joined.join()

    def middle() -> None:
        ready.wait()
        with rlock:
            pass

    with (
        running(middle, name="middle") as m,
        running(hold_lock, m, name="lock") as a,
        running(hold_rlock, name="rlock"),
        running(a.join, name="tail") as tail,
    ):

        def look() -> tuple[tuple[Wait, ...], ...]:
            found = scheduler.waiting()
            return found.cycles if tail.ident in [wait.ident for wait in found.waits] else ()

        (cycle,) = until(look)
        assert {(w.name, w.kind, w.holder_name) for w in cycle} == {
            ("middle", "rlock", "rlock"),
            ("rlock", "lock", "lock"),
            ("lock", "join", "middle"),
        }
        lock.release()


# ---- where the holder took it ----------------------------------------------------------------------------------------


def line_of(text: str) -> int:
    """Number of the only line of this file that ends with the text as a comment."""
    (number,) = (n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith(f"  # {text}"))
    return number


class Holders:
    """A way to hold a lock for each way to take it."""

    __slots__ = ("__hidden", "lock", "rlock")

    def __init__(self) -> None:
        self.lock = self.__hidden = sync.Lock()
        self.rlock = sync.RLock()

    def attribute(self, stay: Callable[[], object]) -> None:
        with self.lock:  # attribute
            stay()

    def private(self, stay: Callable[[], object]) -> None:
        other = sync.Lock()
        with other, self.__hidden:  # private
            stay()

    def handler(self, stay: Callable[[], object]) -> None:
        with (
            self.lock as _,  # handler
            sync.Lock(),
        ):
            for _ in range(2):
                try:
                    raise ValueError
                except ValueError:
                    stay()
                    return

    def condition(self, stay: Callable[[], object]) -> None:
        changed = sync.Condition(self.lock)
        with changed:  # condition
            stay()

    def again(self, stay: Callable[[], object]) -> None:
        with self.rlock:  # again
            self.once_more(stay)

    def once_more(self, stay: Callable[[], object]) -> None:
        with self.rlock:
            stay()

    def acquire(self, stay: Callable[[], object]) -> None:
        self.lock.acquire()
        self.lock.release()
        if self.lock.acquire(timeout=1000):  # acquire
            stay()
            self.lock.release()

    def elsewhere(self, stay: Callable[[], object]) -> None:
        with self.lock:
            pass
        getattr(self.lock, "".join(["acq", "uire"]))()
        stay()
        self.lock.release()


@pytest.mark.parametrize("how", ["attribute", "private", "handler", "condition", "again", "acquire", "elsewhere"])
def test_where_the_holder_took_a_lock(how: str) -> None:
    holders, held, done = Holders(), sync.Event(), sync.Event()

    def stay() -> None:
        held.set()
        done.wait()

    lock = holders.rlock if how == "again" else holders.lock
    with running(getattr(holders, how), stay, name="holder"):
        held.wait()
        with running(lambda: lock.acquire() and lock.release()) as thread:
            wait = wait_of(thread.ident)
            done.set()
    where = "" if how == "elsewhere" else f"{Path(__file__).name}:{line_of(how)} in Holders.{how}"
    if how == "acquire":
        expected, shown = f"perhaps {where}", f"held by 'holder' (taken perhaps {where})"
    else:
        expected, shown = where, f"held by 'holder' (taken at {where})" if where else "held by 'holder'"
    assert (wait.holder_name, wait.taken) == ("holder", expected)
    assert str(wait).endswith(shown)


# ---- run --watchdog --------------------------------------------------------------------------------------------------

WATCHED = ("-m", "runtime", "run", "--watchdog", "0.2")


def test_watchdog_tells_threads_that_wait_alike_once(tmp_path: Path) -> None:
    source = (
        "import threading\nevent = threading.Event()\ndef leaks():\n    event.wait()\ndef other():\n    event.wait()\n"
        "for target in 100 * [leaks] + [other]:\n    threading.Thread(target=target, daemon=True).start()\nleaks()\n"
    )
    said = told(tmp_path, source, "in other", *WATCHED)
    first = r"\d+" if FREE_THREADED else 1  # without a GIL another thread may wait first
    alike = (
        rf"100 threads: wait for event event, the first for .* s: 'Thread-{first} \(leaks\)', .* and 97 more\n  File"
    )
    _, *paragraphs = said.split("\n\n")
    assert re.match(alike, paragraphs[0])
    assert len(paragraphs) == 3


def test_watchdog_tells_of_a_pool_beside_threads_that_go_on(tmp_path: Path) -> None:
    """Waits for alike things are one line, and frames of libraries that called the program's are only counted."""
    source = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
inside = threading.Barrier(5)
pool = ThreadPoolExecutor(5)
def region():
    inside.wait()
    return pool.submit(int).result()
for _ in range(5): pool.submit(region)
while True: time.sleep(0.01)
"""
    said = told(tmp_path, source, "time.sleep(0.01)", *WATCHED)
    head, pool, _, waits, *_ = said.splitlines()
    assert head == "lwp: deadlock for more than 0.2 s"
    assert pool.startswith("deadlock: all 5 threads of a pool wait for calls of the same pool, ")
    assert re.match(r"5 threads: wait for future .*, and 4 others like it, the first for ", waits)
    assert "frames of libraries)\n" in said
    assert "threading.py" not in said


BLOCK_THAT_NEVER_ENDS = """\
from runtime import Group, sync
def waits():
    sync.Event().wait()
with Group(limit=2) as group:
    group.spawn(waits)
    group.spawn(waits)
    group.spawn(waits)
"""
TASKS = "3 tasks: 'Thread-1 (waits)', 'Thread-2 (waits)', 1 that waits for a turn"


@pytest.mark.parametrize("options", [[], ["--green"]], ids=["LWPs", "green"])
def test_watchdog_speaks_where_a_block_waits_for_its_tasks(options: list[str], tmp_path: Path) -> None:
    """The main thread wakes up there to look for signals: nothing has moved by that."""
    (tmp_path / "program.py").write_text(watched(2, 7) + BLOCK_THAT_NEVER_ENDS)
    said = lwp("run", *options, "program.py", cwd=tmp_path, status=7).stderr
    assert said.startswith("lwp: no thread has gone on for 2 s; ")
    assert re.search(
        rf"^'MainThread'.*: waits for the end of group at program.py:4 {re.escape(f'({TASKS})')}, for ", said, re.M
    )
    assert re.search(
        r"^'Thread-1 \(waits\)'.*, 'Thread-2 \(waits\)'.* of group at program.py:4: wait for event ", said, re.M
    )


def test_on_one_lwp_a_block_that_never_ends_is_a_deadlock_also_beside_a_watchdog(tmp_path: Path) -> None:
    """The watchdog's thread is not the program's, and wakes nobody."""
    (tmp_path / "program.py").write_text(BLOCK_THAT_NEVER_ENDS)
    one = ["--green", "--time-slice", "0", "--watchdog", "60"]
    said = lwp("run", *one, "program.py", cwd=tmp_path, status=1).stderr
    assert "Deadlock: all green threads sleep" in said
    assert f"'MainThread' waits for the end of group at program.py:4 ({TASKS})" in said


def test_a_signal_handler_at_a_blocks_end_moves() -> None:
    source = (
        "import signal\nfrom runtime import Group, sync\nend, left = sync.Event(), [20]\n"
        "def handler(*_):\n    left[0] -= 1\n"
        "    if not left[0]:\n        signal.setitimer(signal.ITIMER_REAL, 0)\n        end.set()\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        "with Group() as group:\n    group.spawn(end.wait)\n    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)\n"
    )
    assert lwp("run", "-c", watched(0.8, 7) + source).stderr == ""


COMPUTES = """
import threading
done = []
threading.Thread(target=done.append, args=(1,)).start()
while not done:
    pass
"""

IN_C = """
import ctypes, os, threading, time
def wait_in_c():
    time.sleep(0.01)
    while others < 3:
        time.sleep(0.001)
    read, write = os.pipe()
    ctypes.CDLL(None).read(read, ctypes.create_string_buffer(1), 1)
def other():
    global others
    others += 1
    time.sleep(0.1)
others = 0
for target in (wait_in_c, other, other, other):
    threading.Thread(target=target).start()
"""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            COMPUTES,
            r"lwp: 'MainThread' has run for \d\.\d s while 1 green thread waits for its turn; with --time-slice",
        ),
        (
            IN_C,
            r"lwp: a call in C holds the LWP that [1-4] green threads? could run on, for \d\.\d s: "
            r"'Thread-1 \(wait_in_c\)' in wait_in_c\(\) at <string>:8 \(read\); with --time-slice the others would go",
        ),
    ],
    ids=["computes", "in C"],
)
def test_watchdog_names_the_thread_that_holds_the_lwp(program: str, expected: str) -> None:
    done = lwp("run", "--green", "--time-slice", "0", "-c", watched(0.3, 7) + program, status=7)
    assert re.search(expected, done.stderr), done.stderr
    lwp("run", "--green", "-c", watched(2, 7) + COMPUTES)


IN_C_WITHOUT_GIL = """
import ctypes, os, threading, time
libc, (reads, writes) = ctypes.CDLL(None), os.pipe()
def read():
    libc.read(reads, ctypes.create_string_buffer(1), 1)
def beat():
    while True:
        time.sleep(0.01)
def start(*targets):
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
IS_IN_C = (
    r"'Thread-\d \(read\)' \(tid \d+\): in _ctypes \(read\), for \d+\.\d s\n  File .*program.py\", line 5, in read\n"
)


@pytest.mark.parametrize("options", [(), ("--lwps", "3"), ("--lwps", "3", "--time-slice", "0")], ids=" ".join)
def test_watchdog_names_c_code_that_has_released_the_gil(options: tuple[str, ...], tmp_path: Path) -> None:
    command = (*WATCHED, "--green", *options)
    said = told(tmp_path, IN_C_WITHOUT_GIL + "start(beat, read)\n", "in read", *command)
    assert re.fullmatch(f"lwp: {IS_IN_C}", said), said
    said = told(tmp_path, IN_C_WITHOUT_GIL + "start(read)\n", "scheduler on tid", *command)
    report = said[said.index("lwp: no thread has gone on for 0.2 s\n\n'MainThread'") :]
    assert re.search(rf"^{IS_IN_C}", report, re.M), said


@in_child
def test_watchdog_tells_of_each_call_in_c_once() -> None:
    import re

    from lwp import native
    from lwp.observe.watchdog import Watchdog

    runtime.install(green=True)
    libc, (reads, writes), said = ctypes.CDLL(None), os.pipe(), list[str]()
    watchdog = Watchdog(0.01, said.append)

    all_back = threading.Barrier(5)

    def read() -> None:
        for _ in range(2):
            all_back.wait()
            libc.read(reads, ctypes.create_string_buffer(1), 1)

    def look(before: float) -> float:
        """Once all threads have been in calls that began after that for long enough."""
        since: list[float] = []
        while len(since) < 5 or min(since) <= before or time.monotonic() < max(since) + 0.01:
            since = [since for *_, since in native.in_c().values()]
        assert not watchdog.look(False)
        assert not watchdog.look(False)
        return max(since)

    threads = [threading.Thread(target=read, name=f"reader {i}") for i in range(5)]
    for thread in threads:
        thread.start()
    first = look(0)
    os.write(writes, bytes(5))
    look(first)
    os.write(writes, bytes(5))
    for thread in threads:
        thread.join()
    names = r"'reader \d', " * 2 + r"'reader \d' and 2 more"
    line = rf"lwp: 5 threads: in _ctypes \(read\), the first for \d\.\d s: {names}\n  File .*, line \d+, in read\n"
    assert [re.match(line, text) is not None for text in said] == [True, True], said


def test_watchdog_works_when_stderr_is_closed(tmp_path: Path) -> None:
    source = "import sys, os\nsys.stderr.close()\nsys.stderr = None\nsys.stdin.readline()\n"
    said = told(tmp_path, source, "sys.stdin.readline()", *WATCHED)
    assert "no thread has gone on" in said
    assert "deadlock" not in said


def test_watchdog_needs_standard_error() -> None:
    """It is closed from the beginning; the complaint goes where print() puts it then."""
    program = "import os, sys; os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = python("-c", program, *WATCHED, "-c", "print('ran')", status=2)
    assert done.stdout == "lwp: --watchdog reports on standard error, which is closed\n"


@in_child
def test_watchdog_speaks_once_for_each_standstill() -> None:
    from lwp import native

    looks: list[bool] = []

    def look(still: bool) -> bool:
        looks.append(still)
        return True

    native.watch_start(look, 0.005, 0.1)
    for n in (1, 2):
        sync.Event().wait(0.9)
        assert looks.count(True) == n, looks
    native.watch_stop()
    native.watch_stop()  # harmless
    native.watch_start(look, 0.01, 0.1)
    try:
        native.watch_start(look, 0.01, 0.1)
    except RuntimeError:
        native.watch_stop()
    else:
        raise AssertionError


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
@in_child
def test_watchdog_is_silent_while_a_thread_waits_for_a_processor() -> None:
    """Beside a process that computes there a thread of SCHED_IDLE has its processor for a moment now and then."""
    from lwp import native

    mine, its, *_ = os.sched_getaffinity(0)
    looks: list[bool] = []
    os.sched_setaffinity(0, {its})
    native.watch_start(lambda still: bool(looks.append(still)), 0.005, 0.02)
    os.sched_setaffinity(0, {mine})
    if (busy := os.fork()) == 0:
        while True:
            pass
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    end = time.monotonic() + 2
    while time.monotonic() < end:
        pass
    os.kill(busy, signal.SIGKILL)
    assert True not in looks, looks
    native.watch_stop()


@in_child
def test_watchdog_is_silent_while_a_lock_is_held_for_computing() -> None:
    from hashlib import pbkdf2_hmac

    from lwp import native
    from lwp.observe.watchdog import Watchdog, teller

    looks = [0]
    lock, taken = sync.Lock(), sync.Event()
    read, write = os.pipe()
    watchdog = Watchdog(0.1, teller(write))

    def look(still: bool) -> bool:
        looks[0] += 1
        return watchdog.look(still)

    def compute() -> None:
        with lock:
            taken.set()
            while looks[0] < 5:
                pass
            pbkdf2_hmac("sha256", b"", b"", 1_000_000)  # without the GIL, so that nobody makes it switch

    thread = Thread(target=compute)
    native.watch_start(look, 0.005, 0.01)
    thread.start()
    taken.wait()
    with lock:  # asleep until then
        pass
    native.watch_stop()
    thread.join()
    os.close(write)
    assert os.read(read, 1000) == b""


def test_a_thread_that_ends_under_the_watchdogs_eyes_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    watchdog = Watchdog(0.1, said.append)
    monkeypatch.setattr(os, "listdir", lambda path: [str(2**22)])  # PID_MAX_LIMIT: no task has this number
    assert not watchdog.look(True)
    assert said == []
    monkeypatch.setattr(os, "listdir", lambda path: [])
    assert watchdog.look(True)
    assert said[0].startswith("lwp: no thread has gone on for 0.1 s\n")


def test_watchdog_is_not_there_for_the_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import _thread, os, sys, threading, time\n"
        "from runtime import scheduler\n"
        "thread = threading.Thread(target=time.sleep, args=(0.5,))\n"
        "thread.start()\n"
        "thread.join()\n"
        "if (pid := os.fork()) == 0:\n"
        "    sys.exit(7)\n"
        "print(os.waitpid(pid, 0)[1])\n"
        "print(threading.active_count(), _thread._count(), len(sys._current_frames()))\n"
        "print(scheduler.statistics())\n"
    )
    plain, watched = (lwp("run", *options, "program.py", cwd=tmp_path) for options in ([], ["--watchdog", "0.1"]))
    assert plain.stdout == watched.stdout
    assert "no thread has gone on" in watched.stderr


@in_child
def test_the_watching_thread_gets_no_signals() -> None:
    from lwp import native

    seen: list[str] = []
    event = sync.Event()

    def look(still: bool) -> bool:
        seen.append(Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text())
        event.set()
        return True

    native.watch_start(look, 0.01, 0.02)
    event.wait()
    native.watch_stop()
    blocked = int(seen[0].partition("SigBlk:")[2].split()[0], 16)
    assert [n for n in range(1, 32) if not blocked >> (n - 1) & 1] == [9, 19]  # SIGKILL, SIGSTOP


WAYS_TO_STAND_STILL = {
    "main": "threading.Event().wait()",
    "not the main thread": "threading.Thread(target=threading.Event().wait).start()",
    "while flushing": "sys.stdout.flush = threading.Event().wait\nthreading.Event().wait()",
    "with the GIL": "ctypes.PyDLL(None).pause()",
    "in a circle, while another thread goes on": """
one, two, both = threading.Lock(), threading.Lock(), threading.Barrier(2)
def take(first, second):
    with first:
        both.wait()
        second.acquire()
for locks in (one, two), (two, one):
    threading.Thread(target=take, args=locks).start()
while True:
    time.sleep(0.01)
""",
    "and at the end": "atexit.register(print, 'never', flush=True)\nthreading.Event().wait()",
}


#: Those that the watching thread gives five seconds, to let go of the GIL or to flush.
PATIENTLY = ("while flushing", "with the GIL")


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.slow] * (way in PATIENTLY)) for way in WAYS_TO_STAND_STILL]
)
def test_watchdog_ends_the_process(way: str, tmp_path: Path) -> None:
    begin = f"{watched(0.2, 42)}import atexit, ctypes, sys, threading, time\nprint('before')\n"
    (tmp_path / "program.py").write_text(f"{begin}{WAYS_TO_STAND_STILL[way]}\n")
    done = lwp("run", "program.py", cwd=tmp_path, status=42, PYTHONUNBUFFERED="")
    assert done.stdout == ("" if way in PATIENTLY else "before\n")
    assert done.stderr.endswith("lwp: the process ends with status 42\n")
    begin, last = {
        "with the GIL": (
            "lwp: nothing moves, and a thread that sleeps in C code keeps the GIL: ",
            "there is no more to tell" if FREE_THREADED else "program.py:3 in <module>",
        ),
        "in a circle, while another thread goes on": ("lwp: deadlock for more than 0.2 s; ", "    time.sleep(0.01)"),
    }.get(way, ("lwp: no thread has gone on for 0.2 s; ", "in wait"))
    assert done.stderr.startswith(begin)
    assert way == "not the main thread" or last in done.stderr or "threading.Event().wait()" in done.stderr


def test_watchdog_leaves_a_program_that_ends_by_itself() -> None:
    assert lwp("run", "-c", f"{watched(0.1, 42)}raise SystemExit(3)", status=3).stderr == ""


@pytest.mark.slow
def test_a_long_computation_that_keeps_the_gil_is_no_standstill() -> None:
    """The watching thread does not get the GIL for longer than it waits for a sleeper's.  It says so."""
    source = (
        "import time\n"
        "begin = time.thread_time()\n"
        "sum(range(1_000_000))\n"
        "sum(range(int(7_000_000 / (time.thread_time() - begin))))  # 7 seconds in C, without a switch\n"
    )
    said = lwp("run", "-c", watched(0.1, 42) + source, timeout=100).stderr
    once = r"lwp: a thread that runs has not given up the GIL: LWP \d+, for \d+ s, at <string>:4 in <module>\n"
    assert re.fullmatch("" if FREE_THREADED else once, said), said


@pytest.mark.parametrize("patience", ["0 is not", "-1 is not", "nan is not", "inf is not", "'soon'"])
def test_wrong_patience_is_refused_in_a_line(patience: str) -> None:
    done = lwp("run", "--watchdog", patience.split()[0].strip("'"), "-c", "print('ran')", status=2)
    assert f"'--watchdog': {patience}" in refusal(done)


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_of_threads_that_do_not_fit_only_the_cpu_time_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, str]] = []
    read_file = rows.task_file
    monkeypatch.setattr(rows, "task_file", lambda tid, name: read.append((tid, name)) or read_file(tid, name))
    events = [sync.Event() for _ in range(100)]
    with all_running([Thread(target=event.wait) for event in events]):
        found, left = rows.rows(rows.busiest(), 20)
        for event in events:
            event.set()
    assert len(found) == 20
    assert left >= 80
    assert 20 * 2 <= len(read) <= 20 * 3


def test_the_table_counts_what_was_seen_at_one_look() -> None:
    """A thread that has ended meanwhile, or has just begun, isn't said not to fit."""
    run_thread(ended := Thread(target=int))
    event = sync.Event()
    assert ended.native_id
    with running(event.wait) as one, running(event.wait) as other:
        tids = [one.native_id or 0, other.native_id or 0]
        all_found = rows.rows([(0.0, tid) for tid in (ended.native_id, *tids)])
        found, left = rows.rows([(0.0, tid) for tid in tids], 1)
        event.set()
    assert ([row.tid for row in all_found[0]], all_found[1]) == (tids, 0)
    assert ([row.tid for row in found], left) == (tids[:1], 1)
    assert top.draw(found, left, 80, [0.0]).caption == "2 threads, 1 more than fit"


@in_child
def test_a_report_of_a_forked_child_has_its_main_threads_tid() -> None:
    """Up to CPython 3.12 `native_id` is the parent's there."""
    from lwp.observe.watchdog import report

    runtime.install()
    if (pid := os.fork()) == 0:
        said: list[str] = []
        threading.Thread(target=lambda: said.append(report(""))).start()
        while not said:
            pass
        os._exit(f"'MainThread' (tid {os.getpid()})" not in said[0])
    assert os.waitpid(pid, 0)[1] == 0
