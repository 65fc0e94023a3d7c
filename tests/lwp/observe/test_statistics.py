"""What is counted of threads, and the steps of their lives."""

from __future__ import annotations

import errno
import os
import threading

from conftest import in_child
from faulty import Faulty

import runtime
from runtime import scheduler
from runtime.native.structures import lib
from runtime.scheduler import spawn


def test_statistics_and_steps() -> None:
    before = scheduler.statistics()
    with scheduler.record_steps() as steps:
        lwp = spawn(int)
        assert lwp.join()
    after = scheduler.statistics()
    assert after.started == before.started + 1
    child = [step.name for step in steps if step.tid == lwp.tid and step.name != "unmask"]
    assert child == [
        *("born", "glibc", "robust", *(["rseq"] if lib.glibc.rseq_size else []), "python", "target", "returned"),
        *("destructors", "unlist", "exit"),
    ]
    names = [step.name for step in steps if step.tid == threading.get_native_id()]
    assert names.index("tcb") < names.index("list") < names.index("tls") < names.index("clone")
    assert names.index("clone") < names.index("cloned") < names.index("join") < names.index("cleared")
    assert names[-1] == "recycled"
    assert [step.ns for step in steps] == sorted(step.ns for step in steps)

    scheduler.measure(True)
    try:
        for _ in range(20):
            assert spawn(sum, (range(100_000),)).join()
        found = scheduler.statistics()
    finally:
        scheduler.measure(False)
    assert found.measured == 20
    assert 0 < found.latency_p50 <= found.latency_p99 < 10
    assert 0 < found.cpu < 60
    assert 1000 < found.stack_used < 8 << 20


def test_signals_are_blocked_only_for_a_block_that_never_served() -> None:
    size = 32 * 1024 * 37  # of no other thread here
    seen = []
    for _ in range(2):
        with scheduler.record_steps() as steps:
            assert spawn(int, stack_size=size).join()
        seen.append([step.name for step in steps if step.name in ("map", "reuse", "mask", "unmask")])
    assert sorted(seen[0]) == ["map", "mask", "mask", "unmask"]
    assert seen[1] == ["reuse"]


@in_child
def test_the_most_at_once_are_counted() -> None:
    gate = os.pipe()
    lwps = [spawn(os.read, (gate[0], 1)) for _ in range(10)]
    os.write(gate[1], b"." * 10)
    assert all(lwp.join() for lwp in lwps)
    assert spawn(int).join()
    found = scheduler.statistics()
    assert (found.alive, found.peak, found.started) == (0, 10, 11), found


@in_child
def test_forks_while_a_thread_reads_the_statistics() -> None:
    def read() -> None:
        while not over:
            scheduler.statistics()

    over = False
    reader = runtime.Thread(target=read)
    reader.start()
    for _ in range(300):
        pid = os.fork()
        if pid == 0:  # its first look at them was in the fork handlers
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    over = True
    reader.join()


def test_a_stack_that_the_kernel_does_not_tell_of_is_measured_without(faulty: Faulty) -> None:
    faults = faulty.inject("mincore", errno.EAGAIN, "--measured")
    assert len(faults) >= 1
    assert [fault["raised"] for fault in faults] == [[]] * len(faults)


def test_a_failed_clone_leaves_the_next_thread_its_blocked_signals(faulty: Faulty) -> None:
    """The context was loaded, but no thread has set its ctype tables: a signal handler would read through null."""
    program = """
from runtime import scheduler
from runtime.scheduler import spawn
size = 32 * 1024 * 37  # of no other thread here
try:
    spawn(int, stack_size=size)
except RuntimeError:
    print("refused")
with scheduler.record_steps() as steps:
    assert spawn(int, stack_size=size).join()
print(*sorted(step.name for step in steps if step.name in ("map", "reuse", "mask", "unmask")))
"""
    done = faulty.run("-P", "-c", program, RUNTIME_FAULT=f"clone 0 {errno.EAGAIN}")
    assert done.stdout == "refused\nmask mask reuse unmask\n"
