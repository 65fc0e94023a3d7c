"""`--lock-order`: locks that are taken in both orders are told, and what can't be a deadlock is not."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import Environment, in_child, lwp, run_thread

import runtime

PRELUDE = """
import queue, sys, threading
from concurrent.futures import ThreadPoolExecutor
import runtime

class Ledger:
    def __init__(self):
        self.lock = threading.Lock()

ledger, other = Ledger(), Ledger()
a, b = threading.Lock(), threading.RLock()
c = threading.Condition()
gate = threading.Lock()

def take(*locks):
    for lock in locks:
        lock.acquire()
    for lock in reversed(locks):
        lock.release()

def in_turns(*calls):
    '''In threads that are alive at the same time, one after the other.'''
    done = [threading.Event() for _ in calls]
    def call(at):
        if at:
            done[at - 1].wait()
        calls[at]()
        done[at].set()
        done[-1].wait()
    threads = [threading.Thread(target=call, args=(at,), name=f"T{at}") for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""

#: Programs; before each stands its name, and the locks of the circle that is told.
CASES = """
==== two orders: a and b
in_turns(lambda: take(a, b), lambda: take(b, a))
==== one order: nothing
in_turns(lambda: take(a, b), lambda: take(a, b))
==== of an attribute: a and ledger.lock
in_turns(lambda: take(a, ledger.lock), lambda: take(ledger.lock, a))
==== with: a and b
def one():
    with a, b: pass
def two():
    with b:
        with a: pass
in_turns(one, two)
==== by the condition: a and c
def one():
    with a, c: pass
def two():
    with c, a: pass
in_turns(one, two)
==== taken back after a wait: a and c
def waits():
    with c:
        with a:
            c.wait(0.001)  # takes c back while it holds a
def takes():
    take(c, a)
in_turns(waits, takes)
==== given up for a wait: nothing
def waits():
    with c:
        c.wait_for(lambda: True)
        c.wait(0.001)
    with a: pass
def takes():
    with a, c: c.notify()
in_turns(waits, takes)
==== three: a and b and gate
in_turns(lambda: take(a, b), lambda: take(b, gate), lambda: take(gate, a))
==== four: a and b and c and gate
in_turns(lambda: take(a, b), lambda: take(b, gate), lambda: take(gate, c), lambda: take(c, a))
==== three, by two threads: nothing
in_turns(lambda: (take(a, b), take(b, gate)), lambda: take(gate, a))
==== a lock guards both: nothing
in_turns(lambda: take(gate, a, b), lambda: take(gate, b, a))
==== a lock guards one: a and b
in_turns(lambda: take(gate, a, b), lambda: take(b, a))
==== a lock guards both, not always: a and b
in_turns(lambda: (take(gate, a, b), take(a, b)), lambda: (take(gate, b, a), take(b, a)))
==== it only tries: nothing
def tries():
    with b:
        for how in [dict(blocking=False), dict(timeout=1)]:
            if a.acquire(**how): a.release()
in_turns(lambda: take(a, b), tries)
==== it has waited in vain: a and b
def tries():
    with b:
        assert not a.acquire(timeout=0.01)
def holds():
    with a:
        in_turns(tries)
in_turns(lambda: take(a, b), holds)
==== it has tried, and then waits: a and b
def tries():
    assert b.acquire(False)
    take(a)
    b.release()
in_turns(lambda: take(a, b), tries)
==== taken again: nothing
in_turns(lambda: take(b, a, b), lambda: take(b, a))
==== taken again, and held: a and b
def one():
    b.acquire(); b.acquire(); b.release()
    take(a)
    b.release()
in_turns(one, lambda: take(a, b))
==== one thread: nothing
in_turns(lambda: (take(a, b), take(b, a)), lambda: take(a))
==== before the start: nothing
take(a, b)
in_turns(lambda: take(b, a))
==== after the join: nothing
in_turns(lambda: take(b, a))
take(a, b)
==== one joined before the other starts: nothing
in_turns(lambda: take(b, a))
in_turns(lambda: take(a, b))
==== beside a thread that was joined: a and b
go = threading.Event()
early = threading.Thread(target=lambda: (go.wait(), take(a, b)))
early.start()
in_turns(lambda: take(b, a))
go.set()
early.join()
==== while the other goes on: a and b
go = threading.Event()
thread = threading.Thread(target=lambda: (go.wait(), take(b, a)))
thread.start()
take(a, b)
go.set()
thread.join()
==== released by another thread: nothing
taken = threading.Event()
def one():
    with b:
        a.acquire()
    taken.set()
def two():
    taken.wait()
    a.release()
    with a, b: pass
in_turns(one, two)
==== after a release that was not seen: nothing
# of a lock of CPython's own
from runtime.patch.installation import _STOCK_LOCK
stock = _STOCK_LOCK()
def one():
    stock.acquire()
    stock._at_fork_reinit()
    with stock: pass
    take(a)
def two():
    with a, stock: pass
in_turns(one, two)
==== after a release by another thread: a and b
# the first thread does not hold `gate` any more
def one():
    gate.acquire()
    release.set(); released.wait()
    take(a, b)
release, released = threading.Event(), threading.Event()
def two():
    release.wait()
    gate.release()
    released.set()
def three():
    with gate: take(b, a)
threads = [threading.Thread(target=target) for target in (one, two, lambda: (released.wait(), three()))]
for thread in threads: thread.start()
for thread in threads: thread.join()
==== of the same kind: a and locks made at x.py:8
in_turns(lambda: take(a, ledger.lock), lambda: take(other.lock, a))
==== of the same kind, in one order: nothing
in_turns(lambda: take(ledger.lock, other.lock), lambda: take(other.lock, Ledger().lock))
==== of the same kind, in two orders: ledger.lock and other.lock
in_turns(lambda: take(ledger.lock, other.lock), lambda: take(other.lock, ledger.lock))
==== a queue and a pool: nothing
items = queue.Queue()
def fill():
    with a: items.put(1)
def drain():
    with a: items.get()
in_turns(fill, drain)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda n: take(a, b), range(20)))
==== of a derived condition: nothing
# whose waiters sleep in locks that others release
class Own(threading.Condition): pass
own = Own()
waiting = threading.Event()
def waits():
    with a, own:
        waiting.set()
        own.wait()
def notifies():
    waiting.wait()
    with own: own.notify()
threads = [threading.Thread(target=target) for target in (waits, notifies)]
for thread in threads: thread.start()
for thread in threads: thread.join()
==== CPython's own: a and logs
import logging
logs = logging._lock
in_turns(lambda: take(a, logs), lambda: take(logs, a))
"""


def cases() -> dict[str, tuple[str, list[set[str]]]]:
    found = {}
    for case in CASES.split("==== ")[1:]:
        head, _, program = case.partition("\n")
        name, _, locks = head.partition(": ")
        found[name] = program, [] if locks == "nothing" else [set(locks.split(" and "))]
    return found


def run(tmp_path: Path, program: str, *options: str, status: int | None = None) -> subprocess.CompletedProcess[str]:
    """status: None: 1 if something is told, otherwise 0."""
    (tmp_path / "x.py").write_text(program)
    done = lwp("run", "--lock-order", *options, "x.py", cwd=tmp_path, status=status)
    told = any(f"lwp: {what}: " in done.stderr for what in ("lock order", "deadlock"))
    assert status is not None or done.returncode == told, done.stderr
    return done


def told(text: str) -> list[set[str]]:
    """The locks of each circle, by their names."""
    heads = re.findall(r"^lwp: lock order: (.*), in (?:both orders|a circle)", text, re.MULTILINE)
    return [{re.sub(r" \(made at .*?\)", "", name) for name in re.split(", then | and ", head)} for head in heads]


@pytest.mark.parametrize(("program", "expected"), cases().values(), ids=cases())
def test_reports(program: str, expected: list[set[str]], tmp_path: Path) -> None:
    done = run(tmp_path, f"{PRELUDE}\n{program}")
    assert (told(done.stderr), bool(done.stderr)) == (expected, bool(expected)), done.stderr


@pytest.mark.parametrize("kind", ["released elsewhere", "taken", "forgotten"])
@in_child
def test_a_report_while_threads_go_on(kind: str) -> None:
    import queue

    from lwp.observe.lock_order import LockOrder
    from runtime import thread

    runtime.install()
    sys.setswitchinterval(1e-5)
    order = LockOrder()
    taken: queue.SimpleQueue[threading.Lock | None] = queue.SimpleQueue()
    released: queue.SimpleQueue[None] = queue.SimpleQueue()

    def hand_over() -> None:
        for _ in range(10_000):
            lock = threading.Lock()
            lock.acquire()
            taken.put(lock)
            released.get()
        taken.put(None)

    def release() -> None:
        while (lock := taken.get()) is not None:
            lock.release()
            released.put(None)

    def nest() -> None:
        with threading.Lock(), threading.Lock():
            pass

    def start_others() -> None:
        for _ in range(700):
            run_thread(threading.Thread(target=nest))

    order.begin((threading.Thread, thread.Thread))
    bodies = [hand_over, release] if kind == "released elsewhere" else [start_others]
    threads = [threading.Thread(target=body) for body in bodies]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        assert order.report() == []
        if kind == "forgotten":
            order.forget()
    order.end()


@pytest.mark.parametrize("options", [(), ("--green",)], ids=["threads", "green"])
def test_both_places_and_both_threads(options: tuple[str, ...], tmp_path: Path) -> None:
    program = """\
import threading
class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
    def pay(self, other):
        with self.lock:
            with other:
                pass
def check(ledger, audit):
    audit.acquire()
    with ledger.lock:
        paid.set()
    audit.release()
def main():
    ledger, audit = Ledger(), threading.RLock()
    threads = [threading.Thread(target=check, args=(ledger, audit), name="checker")]
    threads[0].start()
    paid.wait()
    threads.append(threading.Thread(target=ledger.pay, args=(audit,), name="payer"))
    threads[1].start()
    ended.set()
    for thread in threads:
        thread.join()
paid, ended = threading.Event(), threading.Event()
main()
"""
    done = run(tmp_path, program, *options)
    assert done.stdout == ""
    assert done.stderr == (
        "lwp: lock order: audit (made at x.py:15) and ledger.lock (made at x.py:4), in both orders\n"
        "  'checker' took ledger.lock at x.py:11 in check, holding audit since x.py:10 in check\n"
        "  'payer' took audit at x.py:7 in Ledger.pay, holding ledger.lock since x.py:6 in Ledger.pay\n"
    )


BOTH_ORDERS = f"{PRELUDE}\nin_turns(lambda: take(a, b), lambda: take(b, a))\nprint('at the end')\n"


@pytest.mark.parametrize(
    ("program", "status"),
    [
        (BOTH_ORDERS, 1),
        (BOTH_ORDERS + "sys.exit(0)\n", 1),
        (BOTH_ORDERS + "sys.exit(3)\n", 3),
        (BOTH_ORDERS + "raise ValueError\n", 1),
        (f"{PRELUDE}\nprint('at the end')\n", 0),
    ],
    ids=["returns", "exits", "fails", "raises", "is in order"],
)
def test_exit_status(program: str, status: int, tmp_path: Path) -> None:
    assert run(tmp_path, program, status=status).stdout == "at the end\n"


def test_a_deadlock_that_is_there_at_the_end_is_told(tmp_path: Path) -> None:
    source = """
both = threading.Barrier(2)
def run(first, second, how):
    with first:
        both.wait()
        if second.acquire(**how): second.release()
for name, locks in (("one", (a, b)), ("two", (b, a))):
    threading.Thread(target=run, args=(*locks, how), name=name, daemon=True).start()
"""
    program = f"""{PRELUDE}
how = {{}}
{source}
from runtime.scheduler import waiting
while not waiting().cycles: pass
"""
    done = run(tmp_path, program)
    assert told(done.stderr) == [{"a", "b"}]
    (deadlock,) = (line for line in done.stderr.splitlines() if line.startswith("lwp: deadlock: "))
    assert "'one' waits for rlock b held by 'two' (taken at x.py:" in deadlock
    assert "'two' waits for lock a held by 'one' (taken at x.py:" in deadlock
    does = re.findall(r"^  '(\w+)' waits for (\w+) at x.py:\d+ in run, holding (\w+) ", done.stderr, re.MULTILINE)
    assert sorted(does) == [("one", "b", "a"), ("two", "a", "b")]


def test_what_others_say_at_the_end_is_said_first(tmp_path: Path) -> None:
    said = run(tmp_path, BOTH_ORDERS, "--report", "--locks", "--trace", "t.html", status=1).stderr
    for text in ("lwp: lock order: ", "Threads made by lwp", "Waits of ", "t.html: "):
        assert text in said, text


@in_child
def test_adopted_threads_stay_as_they_are() -> None:
    """Python goes through it while threads record more."""

    from lwp import native
    from runtime import Thread
    from runtime.sync import Lock

    lock = Lock()

    def released_by_another() -> None:
        lock.acquire()
        run_thread(Thread(target=lock.release))

    native.sites_begin(())
    native.lock_order_begin(lambda thread: None)
    released_by_another()
    _, first, _ = native.lock_order_take()
    assert list(first.values()) == [lock]
    lock = Lock()
    released_by_another()
    assert lock not in first.values()
    _, second, _ = native.lock_order_take()
    assert list(second.values()) == [lock]


@pytest.mark.parametrize("error", [False, True], ids=["told", "an error"])
def test_pytest(error: bool, tmp_path: Path, installed: Environment) -> None:
    source = f"""{PRELUDE}
def test_both_orders():
    in_turns(lambda: take(a, b), lambda: take(b, a))

def test_one_order():
    in_turns(lambda: take(a, b), lambda: take(a, b))

def test_the_other_order():  # not in the same test
    in_turns(lambda: take(b, a), lambda: take(b, a))
"""
    (tmp_path / "test_it.py").write_text(source)
    options = ["--lwp", "--lock-order", *(["--lock-order-error"] if error else [])]
    done = installed.run("-m", "pytest", "-p", "no:cacheprovider", *options, cwd=tmp_path)
    assert done.returncode == error
    said = done.stdout.partition("- locks taken in both orders -")[2]
    assert said.partition("short test summary")[0].count("in both orders") == 1
    assert done.stdout.count("locks were taken in both orders:") >= error
    assert re.search(
        r"-\n+test_it.py::test_both_orders:\n"
        r"a \(made at test_it.py:11\) and b \(made at test_it.py:11\), in both orders\n"
        r"  'T0' took b at test_it.py:17 in take, holding a since test_it.py:17 in take\n",
        said,
    ), done.stdout


def test_pytest_needs_lwp(tmp_path: Path, installed: Environment) -> None:
    (tmp_path / "test_it.py").write_text("def test(): pass\n")
    for options, said in [
        (["--lock-order"], "ERROR: --lock-order is for --lwp"),
        (["--lwp", "--lock-order-error"], "ERROR: --lock-order-error is for --lock-order"),
    ]:
        done = installed.run("-m", "pytest", "-p", "no:cacheprovider", *options, cwd=tmp_path)
        assert (done.returncode, done.stderr.rstrip()) == (4, said)
