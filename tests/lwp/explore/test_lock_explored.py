"""kernel/lock/lock.c under the explorer: its atomic operations and futex calls in every order.

With two threads these are all orders that matter (dpor), with three those with so many preemptions or timeouts (dfs).
"""

from __future__ import annotations

import time
from functools import partial

from explored_core import Change, Core, Scenario, in_orders, use_lock

LOCK = "kernel/lock/lock.c"
FREE, HANDED = 0, 3


def users(*rounds: int, timeouts: int = 0, waits_long: bool = False) -> Scenario:
    """Threads that use a lock so often; the first ones give up when their time is up.

    waits_long: at some moment they have waited so long that they starve.
    """

    def run(core: Core) -> None:
        lock, inside = core.lock(), []

        def use(me: int) -> None:
            for _ in range(rounds[me]):
                if lock.acquire(True, 1 if me < timeouts else -1):
                    use_lock(lock, inside)

        beside = [lambda: time.sleep(0.002)] if waits_long else []
        core.threads(*(partial(use, me) for me in range(len(rounds))), *beside)
        assert not lock.locked()

    return run


def handed_over(timeout: float = -1, forks: bool = False) -> Scenario:
    """The owner frees it twice, the second time, perhaps, for a thread that starves.

    timeout: when that thread gives up.  forks: the thread is lost just then, and the child's take the lock.
    """

    def run(core: Core) -> None:
        lock = core.lock()

        def use() -> None:
            if lock.acquire(True, timeout):
                lock.release()

        def release_twice() -> None:
            time.sleep(0.002)
            lock.release()
            if lock.acquire(False):
                lock.release()
            if forks:
                core.fork()

        lock.acquire()
        (waiter,) = core.begin_threads(use, daemon=forks)
        core.threads(release_twice)
        if not forks:
            waiter.join()
            assert not lock.locked()
        elif core.first_word(lock) in (FREE, HANDED):  # otherwise the thread that has it is lost
            core.threads(use, use)

    return run


CASES = {
    "two": (users(1, 1), "dpor"),
    "two, twice": (users(2, 2), "dfs:3"),
    "two that give up": (users(1, 1, timeouts=2), "dpor"),
    "two that may starve": (users(1, 1, waits_long=True), "dpor"),
    "three": (users(1, 1, 1), "dfs:2", "dfs:3"),
    "one that starves": (handed_over(), "dpor"),
    "one that starves and gives up": (handed_over(timeout=1), "dfs:3"),
    "one that starves and is lost by a fork": (handed_over(forks=True), "dfs:3"),
}


TELLS = """            if (!atomic_compare_exchange_strong(&lock->word, &seen, SYNC_CONTENDED))
                continue;
            seen = SYNC_CONTENDED;
"""
TAKES = "return atomic_compare_exchange_strong(&lock->word, &free, SYNC_CONTENDED)\n"
LOOKS = "return (atomic_load(&lock->word) == SYNC_FREE && (atomic_store(&lock->word, SYNC_CONTENDED), 1))\n"
FREES = "if (starving_count(lock) == 0 &&"


FAULTS = {
    "a sleeper that does not say so": ("two", Change(LOCK, TELLS, "")),
    "it stays handed over": ("one that starves and gives up", Change(LOCK, FREES, "if (0 &&")),
    "it stays handed over in a child": ("one that starves and is lost by a fork", Change(LOCK, FREES, "if (0 &&")),
    # It takes three preemptions, which chance comes to sooner than dfs:3.
    "a look and then a store": ("three, pos", Change(LOCK, TAKES, LOOKS)),
}
test_one_at_a_time_is_inside_and_none_sleeps_on, test_a_fault_is_found = in_orders(CASES, FAULTS)
