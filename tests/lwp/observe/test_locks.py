"""`--locks` and `lwp locks`: for what threads have waited, for how long, and which line has held it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import environment
from conftest import lwp, python, refusal
from test_from_outside import Run
from test_from_outside import run as run  # a fixture
from this_machine import FREE_THREADED

PRELUDE = """
import _queue, _thread, ctypes, os, queue, sys, threading
from concurrent.futures import ThreadPoolExecutor
from runtime.pool import Executor
from runtime.scheduler import waiting

def when_waiting(count, then):
    '''Calls it once so many threads wait.'''
    while len(waiting().waits) < count:
        pass
    then()

def start(*targets):
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    return threads

def join(threads):
    for thread in threads:
        thread.join()
"""


def rows(tmp_path: Path, program: str, *options: str) -> dict[str, Any]:
    """Of a program, by their names."""
    (tmp_path / "x.py").write_text(PRELUDE + program)
    lwp("run", *options, "--locks", "facts.json", "x.py", cwd=tmp_path)
    return {row["name"]: row for row in json.loads((tmp_path / "facts.json").read_text())["locks"]}


Alone = Callable[[str], None]


@pytest.fixture
def alone(tmp_path: Path) -> Alone:
    """Runs a program that begins to count itself, later than at its start: a file, whose lines say what is awaited."""

    def run(program: str) -> None:
        (tmp_path / "x.py").write_text(f"import runtime; runtime.install()\n{PRELUDE}{ROW}{program}")
        python(tmp_path / "x.py")

    return run


ROW = """
from lwp.observe import locks
def row(name):
    (found,) = (one for one in locks.facts()["locks"] if one["name"] == name)
    return found
"""


def line(text: str, program: str) -> str:
    """Of the program's line with that text: FILE:LINE."""
    return f"x.py:{(PRELUDE + program).splitlines().index(text) + 1}"


THREADS_OR_GREEN = pytest.mark.parametrize("options", [(), ("--green",)], ids=["threads", "green"])


CONVOY = """
hot = threading.Lock()
def take():
    with hot:
        pass
with hot:  # for long
    threads = start(take, take, take, take)
    when_waiting(4, lambda: None)
join(threads)
"""
HELD_FOR_LONG = f"{line('with hot:  # for long', CONVOY)} in <module>"


@THREADS_OR_GREEN
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_hot_lock(kind: str, options: tuple[str, ...], tmp_path: Path) -> None:
    program = CONVOY.replace("Lock", kind)
    hot = rows(tmp_path, program, *options)["hot"]
    assert (hot["kind"], hot["made"], hot["objects"]) == (kind.lower(), line(f"hot = threading.{kind}()", program), 1)
    assert (hot["taken"], hot["waits"]["count"], hot["waits"]["most_at_once"], hot["waits"]["now"]) == (5, 4, 4, 0)
    assert hot["waits"]["p50"] <= hot["waits"]["p99"] <= hot["waits"]["longest"] <= hot["waits"]["seconds"]
    assert hot["holds"]["count"] == 5
    assert hot["holds"]["longest_since"] == HELD_FOR_LONG


#: What threads wait for, how, and how they are given it; then the row's name, kind and waits.
WAITS = {
    "condition": ("threading.Condition()", "with it: it.wait()", "with it: it.notify_all()", ("it", "condition", 2)),
    "event": ("threading.Event()", "it.wait()", "it.set()", ("it", "event", 1)),
    "semaphore": ("threading.Semaphore(0)", "it.acquire()", "it.release()", ("it", "semaphore", 1)),
    "barrier": ("threading.Barrier(2)", "it.wait()", "it.wait()", ("it", "barrier", 1)),
    "queue": ("queue.Queue()", "it.get()", "it.put(1)", ("it.not_empty", "condition", 1)),
    "full queue": ("queue.Queue(1); it.put(1)", "it.put(1)", "it.get()", ("it.not_full", "condition", 1)),
    "lock": ("threading.Lock()", "it.acquire(); it.acquire()", "it.release()", ("it", "lock", 1)),
    "notified": (
        "threading.Condition()",
        "with it: it.wait()",
        "with it: it.notify()",
        ("it", "condition", 1),
    ),
}


@THREADS_OR_GREEN
@pytest.mark.parametrize(("make", "wait", "give", "row"), WAITS.values(), ids=WAITS)
def test_what_threads_wait_for(
    make: str, wait: str, give: str, row: tuple[str, str, int], options: tuple[str, ...], tmp_path: Path
) -> None:
    name, kind, waits = row
    program = f"""
it = {make}
def wait():
    {wait}
def give():
    {give}
threads = start(*{waits} * [wait])
when_waiting({waits}, give)
join(threads)
"""
    found = rows(tmp_path, program, *options)[name]
    assert (found["kind"], found["waits"]["count"]) == (kind, waits)


@pytest.mark.skipif(FREE_THREADED, reason="the main thread does not wait for a GIL")
@pytest.mark.parametrize("what", ["notified", "event", "semaphore", "lock"])
def test_what_is_given_while_the_main_thread_looks_for_signals_counts_once(what: str, tmp_path: Path) -> None:
    """It looks after 10 ms, and waits for the GIL meanwhile."""
    make, wait, give, _ = WAITS[what]
    program = f"""
import time
sys.setswitchinterval(100)
it = {make}
def give():
    while not waiting().waits: time.sleep(0.001)
    late = time.monotonic() + 0.1
    while time.monotonic() < late: pass
    {give}
threads = start(give)
{wait}
join(threads)
"""
    assert rows(tmp_path, program)["it"]["waits"]["count"] == 1


def test_many_of_one_line_are_one_row_and_what_has_gone_counts(tmp_path: Path) -> None:
    program = """
accounts = [threading.Lock() for _ in range(64)]
for account in accounts:
    with account: pass
for _ in range(1000):
    with threading.Lock(): pass
"""
    found = rows(tmp_path, program)
    many = found[f"64 locks made at {line('accounts = [threading.Lock() for _ in range(64)]', program)}"]
    assert (many["objects"], many["taken"]) == (64, 64)
    gone = [row for row in found.values() if row["made"] == line("    with threading.Lock(): pass", program)]
    assert [(row["objects"], row["taken"]) for row in gone] == [(1000, 1000)]


def test_holds(tmp_path: Path) -> None:
    """An RLock taken again is one hold; a Condition's wait gives its lock up; nobody holds a lock that another thread
    releases; a thread that ends takes its hold along."""
    program = """
again, signal, left, guard = threading.RLock(), threading.Lock(), threading.Lock(), threading.Lock()
c = threading.Condition(guard)
def take_again():
    with again, again: pass
def wait():
    with c: c.wait()
def wake():
    with c: c.notify()
def keep(): left.acquire()
signal.acquire()
join(start(take_again, signal.release, keep))
threads = start(wait)
when_waiting(1, wake)
join(threads)
"""
    found = rows(tmp_path, program)
    assert (found["again"]["taken"], found["again"]["holds"]["count"]) == (1, 1)
    assert (found["guard"]["taken"], found["guard"]["holds"]["count"]) == (3, 3)
    assert (found["signal"]["taken"], found["signal"]["holds"]) == (1, None)
    assert (found["left"]["taken"], found["left"]["holds"]) == (1, None)


def test_notifications_that_met_no_waiter(tmp_path: Path) -> None:
    """The program's own, and not those of a queue, whose threads look at it before they wait."""
    program = """
items, gone = queue.Queue(), threading.Condition()
came = threading.Condition()
def wait():
    with came: came.wait()
def wake():
    with came: came.notify()
def lose():
    with came:
        came.notify()  # too early
        came.notify_all()  # the last
lose()
items.put(1)
threads = start(wait)
when_waiting(1, wake)
join(threads)
with gone: gone.notify(0)
"""
    found = rows(tmp_path, program)
    last = line("        came.notify_all()  # the last", program)
    assert found["came"]["unheard"] == {"count": 2, "last": f"{last} in lose"}
    assert not any(row["unheard"] for name, row in found.items() if name != "came")
    table = lwp("run", "--locks", "x.py", cwd=tmp_path).stderr.partition("notify() met no waiter")[2]
    assert re.search(r"came \(x\.py:\d+\) +2 +x\.py:\d+ in lose", table), table


def test_a_lock_that_no_variable_leads_to_has_the_name_of_the_line_that_takes_it(tmp_path: Path) -> None:
    program = """
class Audit:
    def __init__(self):
        self.lock = threading.Lock()
    def write(self):
        with self.lock:
            pass
def main():
    Audit().write()
main()
"""
    assert rows(tmp_path, program)["Audit.lock"]["taken"] == 1


def test_a_wait_that_a_signal_interrupts_is_one_wait(tmp_path: Path) -> None:
    program = """
import signal
handled, done = threading.Event(), threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: handled.set())
def interrupt():
    when_waiting(1, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1))
    while not handled.is_set(): pass
    when_waiting(1, done.set)
threads = start(interrupt)
done.wait()
join(threads)
"""
    waits = rows(tmp_path, program)["done"]["waits"]
    assert (waits["count"], waits["now"]) == (1, 0)
    assert waits["seconds"] == waits["longest"]


def test_a_wait_of_the_main_thread_that_looks_for_signals_is_one_wait(alone: Alone) -> None:
    alone("""
done, seen = threading.Event(), []
def watch():
    when_waiting(1, locks.begin)
    while len(seen) < 3:
        waits = row("done")["waits"]
        if waits["seconds"] > 0.03 * (1 + len(seen)):  # the first looks come after 10, 20 and 40 ms
            seen.append(waits)
    done.set()
threads = start(watch)
done.wait()
join(threads)
assert [(one["count"], one["now"], one["most_at_once"]) for one in seen] == [(1, 1, 1)] * 3, seen
assert all(one["seconds"] == one["longest"] for one in seen), seen
waits = row("done")["waits"]
assert (waits["count"], waits["now"], waits["most_at_once"]) == (1, 0, 1), waits
""")


def test_locks_and_queues_of_cpython(tmp_path: Path) -> None:
    program = """
from runtime.patch.installation import _STAND_INS
stock = next(stock for stock, _ in _STAND_INS if stock.__name__ == "RLock")()
items = _queue.SimpleQueue()
inside, done = threading.Event(), threading.Event()
def take():
    inside.set()
    with stock: pass
def hold():
    with stock:
        threads = start(take)
        inside.wait()
        while not _blocked(threads[0]): pass
    join(threads)
def _blocked(thread):
    with open(f"/proc/self/task/{thread.native_id}/syscall") as file:
        return file.read().startswith("202 ")  # futex
hold()
for _ in range(5): items.put(1)
for _ in range(5): items.get()
"""
    found = rows(tmp_path, program)
    assert (found["stock"]["kind"], found["stock"]["taken"], found["stock"]["waits"]["count"]) == ("rlock", 2, 1)
    waited = found["items of items"]
    assert (waited["kind"], waited["taken"]) == ("items", 5)
    assert (waited["waits"]["count"], waited["waits"]["most_at_once"]) == (5, 5)


def test_what_waits_that_were_there_at_the_beginning_take_counts_as_taken(alone: Alone) -> None:
    alone("""
lock, again, places, guard = threading.Lock(), threading.RLock(), threading.Semaphore(0), threading.Lock()
came = threading.Condition(guard)
def take():
    for thing in (lock, again, places):
        with thing: pass
def wait():
    with came: came.wait()
lock.acquire()
again.acquire()
threads = start(take, take, wait, wait)
when_waiting(4, locks.begin)
lock.release()
while sum(wait.address == id(again) for wait in waiting().waits) < 2: pass
again.release()
places.release(2)
with came: came.notify_all()
join(threads)
for name in ("lock", "again"):
    assert (row(name)["waits"]["count"], row(name)["taken"]) == (2, 2), row(name)
assert row("places")["taken"] == 2
assert row("guard")["waits"]["count"] <= row("guard")["taken"]
""")


def test_items_taken_by_threads_that_waited_before_the_beginning_do_not_wait_any_more(alone: Alone) -> None:
    alone("""
from lwp.observe import stock_queues
q, gate = _queue.SimpleQueue(), threading.Event()
def take():
    q.get()
    gate.wait()
threads = start(take, take, take)
for thread in threads:
    while not stock_queues.awaited(sys._current_frames()[thread.ident], thread.native_id): pass
locks.begin()
assert (row("q")["waits"]["count"], row("q")["waits"]["now"]) == (3, 3)
for item in range(3): q.put(item)
gate.set()
join(threads)
items = row("items of q")
assert (items["taken"], items["waits"]["now"]) == (3, 0), items
""")


@pytest.mark.parametrize("pool", ["ThreadPoolExecutor", "Executor"])
def test_a_pool_that_is_too_small_is_the_first_row(pool: str, tmp_path: Path) -> None:
    program = f"""
gate = threading.Event()
with {pool}(1) as pool:
    calls = [pool.submit(gate.wait) for _ in range(20)]
    when_waiting(1, gate.set)
"""
    first, *_ = rows(tmp_path, program).values()
    assert first["kind"] == "items"
    assert first["waits"]["count"] in (20, 21)  # the last item of CPython's pool says that the pool ends
    assert first["waits"]["most_at_once"] >= 19


@pytest.mark.skipif(FREE_THREADED, reason="there is no GIL")
def test_the_gil_and_which_line_keeps_it(tmp_path: Path) -> None:
    program = """
libc = ctypes.PyDLL(None)  # its calls keep the GIL
ended = threading.Event()
def want():
    while not ended.wait(0.001): pass
def keep():
    for _ in range(3):
        libc.usleep(300_000)
    ended.set()
join(start(want, keep))
"""
    gil = rows(tmp_path, program)["the GIL"]
    assert gil["waits"]["count"] >= 1
    assert gil["holds"]["longest"] > 0.1
    # A thread that was asked for the GIL waits until another has it, and says there where it is; if the other has been
    # quicker, it doesn't wait.
    assert gil["holds"]["longest_since"] in (None, f"{line('        libc.usleep(300_000)', program)} in keep")


@pytest.mark.skipif(FREE_THREADED, reason="there is no GIL")
def test_a_thread_that_has_kept_the_gil_is_not_taken_for_the_next_with_its_ident(tmp_path: Path) -> None:
    program = """
libc = ctypes.PyDLL(None)
ended = threading.Event()
def want():
    while not ended.wait(0.001): pass
wants = start(want)
keeper = threading.Thread(target=libc.usleep, args=(300_000,), name="keeper")
keeper.start(); keeper.join()
ended.set(); join(wants)
innocent = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(4)]
for one in innocent: one.start()
assert keeper.ident in [one.ident for one in innocent]
"""
    gil = rows(tmp_path, program)["the GIL"]
    assert gil["holds"]["longest"] > 0.1
    assert gil["holds"]["longest_by"] == "a thread that has ended"


def test_a_forked_child_is_not_counted_and_sound(tmp_path: Path) -> None:
    program = """
lock, other = threading.Lock(), threading.Lock()
with lock:
    pid = os.fork()
    if not pid:
        with other:
            join(start(lambda: None))
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""
    found = rows(tmp_path, program)
    assert found["lock"]["taken"] == 1
    assert not any(row["name"] == "other" and row["taken"] for row in found.values())


def test_it_begins_and_ends_again_while_threads_wait(alone: Alone) -> None:
    """A wait that is longer than the time of counting counts as far as it falls into that time."""
    alone("""
gate, lock = threading.Event(), threading.Lock()
threads = start(gate.wait)
when_waiting(1, lambda: None)
for _ in range(3):
    locks.begin()
    for _ in range(10):
        with lock: pass
    assert row("lock")["taken"] == 10
    waits = row("gate")["waits"]
    assert (waits["count"], waits["now"]) == (1, 1), waits
    assert waits["longest"] <= locks.facts()["seconds"]
    locks.end()
    with lock: pass
    assert row("lock")["taken"] == 10
locks.begin()
gate.set()
join(threads)
assert (row("gate")["waits"]["count"], row("gate")["waits"]["now"]) == (1, 0)
""")


def test_a_new_thread_with_the_ident_of_one_that_has_waited_has_not_waited(alone: Alone) -> None:
    alone("""
lock = threading.Lock()
lock.acquire()
waiter, = start(lock.acquire)
when_waiting(1, locks.begin)
lock.release()
waiter.join()
others = [threading.Thread(target=int) for _ in range(20)]
for other in others:
    other.start(); other.join()
assert len({thread.ident for thread in (waiter, *others)}) < 21  # they are used again
assert row("lock")["waits"]["count"] == 1
""")


def test_what_nobody_ends_ends_by_itself(alone: Alone) -> None:
    alone("""
locks.begin(0.05)
refused = 0
while True:
    try:
        locks.begin()
        break
    except RuntimeError as error:
        assert "already" in str(error)
        refused += 1
    threading.Event().wait(0.01)
assert refused
""")


# ---- what is shown and written ---------------------------------------------------------------------------------------


def test_the_table(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(PRELUDE + CONVOY)
    said = lwp("run", "--locks", "x.py", cwd=tmp_path).stderr.splitlines()
    assert max(map(len, said)) <= 80
    assert said[1].split() == ["waited", "for", "total", "waits", "taken", "longest", "p50", "p99", "peak"]
    assert any(one.startswith(f"hot ({line('hot = threading.Lock()', CONVOY)}) ") for one in said)
    assert any(one.startswith("hot ") and HELD_FOR_LONG in one for one in said)


def test_speedscope(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(PRELUDE + CONVOY)
    lwp("run", "--locks", "s.speedscope.json", "x.py", cwd=tmp_path)
    told = json.loads((tmp_path / "s.speedscope.json").read_text())
    frames = told["shared"]["frames"]
    assert [profile["name"] for profile in told["profiles"]] == ["waits", "holds"]
    for profile in told["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"])
        assert profile["endValue"] == sum(profile["weights"])
    stacks = [[frames[at]["name"] for at in sample] for sample in told["profiles"][0]["samples"]]
    assert any(stack[-2:] == ["take", "hot"] for stack in stacks)


def test_a_file_that_cannot_be_made_is_refused_before_the_program_runs(tmp_path: Path) -> None:
    said = refusal(lwp("run", "--locks", "/no/such/folder/p.json", "-c", "print('ran')", status=2))
    assert "/no/such/folder/p.json: No such file or directory" in said


def test_a_running_program_is_asked(run: Run, tmp_path: Path) -> None:
    source = f"""{PRELUDE}
lock = threading.Lock()
def work():
    while True:
        with lock: libc.usleep(1000)
libc = ctypes.CDLL(None)
start(work, work, work)
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""
    with run(source) as program:
        for _ in range(2):
            facts = json.loads(program.ask("locks", program.pid, "--seconds", 0.3, "--json").stdout)
            lock = next(row for row in facts["locks"] if row["name"] == "lock")
            assert lock["waits"]["most_at_once"] in (2, 3)
            assert facts["seconds"] >= 0.3
        profile = tmp_path / "s.json"
        asked = program.ask("locks", program.pid, "--seconds", 0.3, "--speedscope", profile)
        assert "lock" in asked.stdout
        assert "work" in profile.read_text()
        command = [sys.executable, "-m", "runtime", "locks", str(program.pid), "--seconds", "1000"]
        variables, pipe = environment(XDG_RUNTIME_DIR=str(tmp_path)), subprocess.PIPE
        counts = subprocess.Popen(command, env=variables, stdout=pipe, stderr=pipe, text=True)
        assert counts.stderr.readline() == f"lwp: process {program.pid} counts for 1000 s; Ctrl-C ends that\n"
        assert "counts already" in program.ask("locks", program.pid, status=None).stderr
        counts.send_signal(signal.SIGINT)
        assert "Waits of" in counts.communicate()[0]
        assert counts.returncode == 0
