"""waits/cancel.c under the explorer: a thread that waits for a primitive is cancelled at any moment."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from threading import BrokenBarrierError

from explored_core import Change, Core, Items, Scenario, in_orders, use_lock

CANCEL, LOCK = "waits/cancel.c", "kernel/lock/lock.c"
BARRIER, SLEEP = "python/sync/barrier.c", "python/threads/sleep.c"


def locks(users: int, cancelled: int) -> Scenario:
    """All take the lock; one that is cancelled goes away without it, unless it has it."""

    def run(core: Core) -> None:
        lock, inside = core.lock(), []

        def use() -> None:
            lock.acquire()
            use_lock(lock, inside)

        core.threads(*[use] * users, *core.cancelled([use] * cancelled))
        assert core.first_word(lock) == 0

    return run


def a_wake_up_for_one_that_starves(core: Core) -> None:
    """The sleep of a thread that can be cancelled knows no bits: it may get that wake-up, and must pass it on."""
    lock = core.lock()

    def use() -> None:
        lock.acquire()
        lock.release()

    lock.acquire()
    (starves,) = core.begin_threads(use)
    time.sleep(0.002)
    (other,) = core.begin_threads(core.cancelled([use])[0])
    lock.release()
    if lock.acquire(False):
        lock.release()
    starves.join()
    other.join()


def semaphores(takers: int, cancelled: int, *gives: int) -> Scenario:
    """What was granted to a thread that is cancelled is another's, or stays."""

    def run(core: Core) -> None:
        permits, got = core.semaphore(), []

        def take() -> None:
            permits.acquire()
            got.append(1)

        def give(count: int) -> None:
            for _ in range(count):
                permits.release()

        core.threads(
            *[take] * (takers - cancelled),
            *core.cancelled([take] * cancelled),
            *[partial(give, count) for count in gives],
        )
        assert len(got) + permits._of._value == sum(gives)

    return run


def conditions(waiters: int, cancelled: int) -> Scenario:
    """There is an item, and each thread that goes tells the next: all that aren't cancelled go on."""

    def run(core: Core) -> None:
        items = Items(core, core.rlock())
        wait = partial(items.wait, tells=True)
        core.threads(*[wait] * (waiters - cancelled), *core.cancelled([wait] * cancelled), items.add)
        assert core.first_word(items.lock) == 0

    return run


def events(waiters: int, cancelled: int, is_set: bool = True) -> Scenario:
    def run(core: Core) -> None:
        event = core.event()
        waits, cancelled_waits = [event.wait] * (waiters - cancelled), core.cancelled([event.wait] * cancelled)
        core.threads(*waits, *cancelled_waits, *[event.set] * is_set)

    return run


def barriers(cancelled: int, parties: int = 2, reset: bool = False) -> Scenario:
    """Two come; the abort() lets go a thread that has not found enough others.  None is counted at the end."""

    def run(core: Core) -> None:
        barrier = core.barrier(parties)

        def wait(timeout: float | None = None) -> None:
            with suppress(BrokenBarrierError):
                barrier.wait(timeout)

        def end() -> None:
            if reset:
                barrier.reset()
            barrier.abort()

        core.threads(*[wait] * (2 - cancelled), *core.cancelled([wait] * cancelled), end)
        barrier.reset()
        core.threads(partial(wait, 1.0))  # which gets in

    return run


CASES = {
    "lock": (locks(1, 1), "dfs:2", "dfs:3"),
    "lock, two": (locks(0, 2), "dfs:2", "dfs:3"),
    "lock, two others": (locks(2, 1), "dfs:1"),
    "lock, one starves": (a_wake_up_for_one_that_starves, "dfs:2"),
    "semaphore": (semaphores(1, 1, 1), "dfs:2"),
    "semaphore, never": (semaphores(1, 1), "dfs:3"),
    "semaphore, another": (semaphores(2, 1, 2), "dfs:1"),
    "semaphore, two": (semaphores(2, 2, 1), "dfs:1"),
    "condition": (conditions(1, 1), "dfs:2"),
    "condition, another": (conditions(2, 1), "dfs:1"),
    "event": (events(1, 1), "dfs:2"),
    "event, another": (events(2, 1), "dfs:1"),
    "event, two": (events(2, 2), "dfs:1"),
    "event, never": (events(2, 2, is_set=False), "dfs:2"),
    "barrier": (barriers(1), "dfs:1"),
    "barrier, two": (barriers(2), "dfs:1"),
    "barrier, too few": (barriers(1, parties=3), "dfs:1"),
    "barrier, a reset": (barriers(1, reset=True), "dfs:1"),
}


VARIANTS = {
    "before Linux 5.16": ([Change(CANCEL, "SYS_WAITV = 449", "SYS_WAITV = 1")], ["lock", "semaphore"]),
}
KEEPS = "    if (to_pass)\n        sync_queue_pass_baton(queue);\n"
LEAVES = Change(
    LOCK,
    "while (!(taken = take_after_sleep(lock, starving)) && result == 0) {",
    "taken = 0;\n    while (result == 0 && !(taken = take_after_sleep(lock, starving))) {",
)
COUNTS = "open = generation == self->generation && --self->count == 0 &&"
WAITS = ": wait_lwp(cancel, word, expected, until, scope, bits);"
WAKES = "return !error ? (woken == 0 ? EINTR : 0)"
FAULTS = {
    "a starving one's wake-up is kept": (
        "lock, one starves",
        Change(LOCK, "if (park_cancel && !starving &&", "if (0 &&"),
    ),
    "a wake-up counts as the cancellation": (
        "lock, two others",
        LEAVES,
        Change(CANCEL, WAKES, "return !error ? (cancel->word ? EINTR : 0)"),
    ),
    "one look before the sleep": (
        "semaphore, never",
        Change(CANCEL, WAITS, ": futex_wait_some(word, expected, until, scope, bits);"),
    ),
    "a barrier counts one that has left": ("barrier", Change(BARRIER, COUNTS, "open = 0 &&")),
    "an event's baton is kept": ("event, another", Change(SLEEP, KEEPS, "")),
    "a barrier's": ("barrier, too few", Change(SLEEP, KEEPS, "")),
}
test_what_a_cancelled_thread_waits_for_is_not_lost, test_a_fault_is_found = in_orders(CASES, FAULTS, VARIANTS)
