"""Locks whose holders have ended, or were left in another process."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from typing import Any

import pytest
from conftest import in_child, run_thread

import runtime
from runtime import scheduler


@pytest.mark.parametrize("green", [False, True])
@pytest.mark.parametrize("kind", ["Lock", "RLock", "Condition"])
@in_child
def test_a_holder_that_has_ended_is_told_though_another_thread_has_its_ident(kind: Any, green: bool) -> None:
    from lwp.observe import moment, rows, watchdog

    runtime.install(green=green)
    runtime.watchdog(stuck=1000)
    threading.excepthook = lambda args: None
    lock, done, begun = getattr(threading, kind)(), threading.Event(), threading.Event()

    def importer() -> None:
        lock.acquire()
        raise ValueError

    def start(target: Any, name: str) -> Any:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    first = start(importer, "importer")
    first.join()
    ident = first.ident
    del first
    innocent = start(lambda: (begun.set(), done.wait(30)), "metrics")
    begun.wait()
    assert innocent.ident == ident
    start(lock.acquire, "worker")
    while not (waits := [wait for wait in scheduler.waiting().waits if wait.name == "worker"]):
        time.sleep(0)
    place = r"( \(taken at \S+:\d+ in .*importer\))" + "?" * (not getattr(sys, "_is_gil_enabled", lambda: True)())
    thing = "lock" if kind == "Lock" else "rlock"
    said = rf"'worker' waits for {thing} lock held by 'importer', which has ended{place}"
    assert re.fullmatch(said, str(waits[0])), waits[0]
    found = moment.facts()
    assert (waits[0].holder, scheduler.waiting().cycles, found["circles"]) == (None, (), [])
    [lost] = found["lost"]
    end = "; only another thread can release it" if kind == "Lock" else "; no thread can release it"
    head = "lost lock: " if kind == "Lock" else "deadlock: "
    assert re.fullmatch(head + said + end, lost["text"]), lost
    assert lost["deadlock"] == (kind != "Lock")
    assert watchdog.report("why").splitlines()[:3] == ["lwp: why", lost["text"], ""]
    assert [row.waits for row in rows.rows(rows.busiest())[0] if "lock of importer, which has ended" in row.waits]
    os._exit(0)


@in_child
def test_a_call_that_has_lost_a_lock_in_a_pool_is_not_taken_for_one_of_the_next_pool() -> None:
    from concurrent import futures

    runtime.install()
    lock = threading.Lock()
    with futures.ThreadPoolExecutor(1, thread_name_prefix="old") as pool:
        pool.submit(lock.acquire)
    pool = futures.ThreadPoolExecutor(1, thread_name_prefix="new")
    pool.submit(lock.acquire)
    while not (waits := [wait for wait in scheduler.waiting().waits if wait.kind == "lock"]):
        time.sleep(0)
    assert str(waits[0]) == "'new_0' waits for lock lock held by 'old_0', which has ended"
    lock.release()
    pool.shutdown()


@in_child
def test_a_wait_with_a_timeout_for_a_lost_lock_makes_no_circle_and_no_line() -> None:
    from lwp.observe import waits

    runtime.install()
    first, second = threading.Lock(), threading.Lock()
    threading.Thread(target=first.acquire, name="dies").start()

    def one() -> None:
        second.acquire()
        first.acquire(timeout=50)

    threads = [threading.Thread(target=target) for target in (one, lambda: second.acquire(timeout=50))]
    for thread in threads:
        thread.start()
        while len(scheduler.waiting().waits) < threads.index(thread) + 1:
            time.sleep(0)
    found = scheduler.waiting()
    assert (found.cycles, waits.lost(found), waits.deadlocks(found)) == ((), [], [])
    assert {wait.holder_name: wait.gone for wait in found.waits} == {"dies": "has ended", threads[0].name: ""}
    os._exit(0)


@in_child
def test_a_lock_that_is_released_and_taken_again_has_its_new_holder() -> None:
    """Locks that one thread takes and another one releases: a thread's own count of them goes below 0."""
    runtime.install()
    lock, done = threading.Lock(), threading.Event()
    for _ in range(3):
        run_thread(threading.Thread(target=lock.acquire))
        lock.release()
    holder = threading.Thread(target=lambda: lock.acquire() and done.wait() and lock.release(), name="holder")
    holder.start()
    while not scheduler.waiting().waits:
        time.sleep(0)
    worker = threading.Thread(target=lambda: lock.acquire() and lock.release(), name="worker")
    worker.start()
    while len(waits := scheduler.waiting().waits) < 2:
        time.sleep(0)
    assert [(wait.holder_name, wait.gone) for wait in waits if wait.name == "worker"] == [("holder", "")]
    done.set()
    holder.join()
    worker.join()


@in_child
def test_a_holder_that_a_fork_has_left_in_the_parent_is_told_as_such() -> None:
    runtime.install()
    lock, lost, taken, done = threading.Lock(), threading.Lock(), threading.Event(), threading.Event()
    run_thread(threading.Thread(target=lost.acquire, name="dies"))
    keeper = threading.Thread(target=lambda: (lock.acquire(), taken.set(), done.wait()), name="keeper")
    keeper.start()
    taken.wait()
    if not (pid := os.fork()):
        for one in (lock, lost):
            threading.Thread(target=one.acquire, daemon=True).start()
        while len(waits := scheduler.waiting().waits) < 2:
            time.sleep(0)
        told = {wait.address: wait.thing for wait in waits}
        right = (
            told[id(lock)] == "lock lock held by a thread that belongs to the parent process"
            and told[id(lost)] == "lock lost held by 'dies', which has ended"
        )
        os.write(2, repr(told).encode())
        os._exit(not right)
    assert os.waitpid(pid, 0)[1] == 0
    done.set()
    keeper.join()


@in_child
def test_an_rlock_is_not_owned_by_the_next_thread_with_its_owners_ident() -> None:
    runtime.install()
    lock = threading.RLock()
    run_thread(first := threading.Thread(target=lock.acquire))
    ident = first.ident
    del first
    seen: list[object] = []

    def look() -> None:
        seen[:] = threading.get_ident(), lock._is_owned(), lock.acquire(blocking=False), repr(lock)  # type: ignore[attr-defined]

    run_thread(threading.Thread(target=look))
    assert seen[:3] == [ident, False, False]
    assert re.match("<locked .* owner=0 count=1 at ", str(seen[3])), seen
