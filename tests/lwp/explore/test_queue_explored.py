"""waits/queue.c under the explorer, with the semaphore and the condition that are made of it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from conftest import FREE_THREADED
from explored_core import Change, Core, Items, Scenario, in_orders, use_lock

LOCK, QUEUE = "kernel/lock/lock.c", "waits/queue.c"
SEMAPHORE, CONDITION = "python/sync/semaphore.c", "python/sync/condition.c"
FREE = 0
LONG = 100.0


def semaphore(takers: int, *gives: int, timeouts: int = 0, interrupted: bool = False) -> Scenario:
    """Threads that take one each, of which the first ones may give up, and threads that give so many, one by one.

    interrupted: a signal ends the first one's sleep.
    """

    def run(core: Core) -> None:
        permits, got = core.semaphore(), []

        def take(me: int) -> None:
            if permits.acquire(True, LONG if me < timeouts else None):
                got.append(me)

        def give(count: int) -> None:
            for _ in range(count):
                permits.release()

        takes = [partial(take, me) for me in range(takers)]
        core.threads(*takes, *[partial(give, count) for count in gives], *[core.interrupt] * interrupted)
        assert len(got) + permits._of._value == sum(gives)

    return run


def condition(waiters: int, notifies: int, timeouts: int = 0, interrupted: bool = False, users: int = 0) -> Scenario:
    """Threads that wait for an item, the first ones not for ever; one that gives them; others that use the lock.

    interrupted: a signal ends the first one's sleep.
    """

    def run(core: Core) -> None:
        lock = core.lock()
        changed, items, got, inside = core.condition(lock), [], [], []

        def wait(me: int) -> None:
            lock.acquire()
            while not items and changed.wait(LONG if me < timeouts else None):
                pass
            if items:
                got.append(items.pop())
            use_lock(lock, inside)

        def give() -> None:
            lock.acquire()
            for item in range(notifies):
                items.append(item)
                changed.notify()
            use_lock(lock, inside)

        def use() -> None:
            lock.acquire()
            use_lock(lock, inside)

        waits = [partial(wait, me) for me in range(waiters)]
        core.threads(*waits, give, *[use] * users, *[core.interrupt] * interrupted)
        assert len(got) + len(items) == notifies
        assert not lock.locked()

    return run


def stop() -> None:
    raise InterruptedError


def a_taker_is_stopped(core: Core) -> None:
    """By a signal handler, as it waits; a permit that it was granted stays."""
    permits, got = core.semaphore(), []

    def take() -> None:
        with suppress(InterruptedError):
            got.append(core.handling(stop, permits.acquire))

    core.threads(take, permits.release, core.interrupt)
    assert len(got) + permits._of._value == 1


def a_waiter_is_stopped(core: Core) -> None:
    """A notification that it was granted is another's."""
    items = Items(core, core.rlock())

    def wait_and_be_stopped() -> None:
        items.lock.acquire()
        with suppress(InterruptedError):
            if not items.there:
                core.handling(stop, items.changed.wait)
            items.changed.notify()
        items.lock.release()

    core.threads(wait_and_be_stopped, partial(items.wait, tells=True), items.add, core.interrupt)


def a_waiter_is_ended(core: Core) -> None:
    """By the end of the interpreter: it passes its baton."""
    items = Items(core, core.lock())

    def wait_and_be_ended() -> None:
        items.lock.acquire()
        core.points.call(None, core.points.wait_and_be_stopped, items.changed._of, items.lock._of)

    core.threads(wait_and_be_ended, items.wait, partial(items.add, notifies=2))
    assert not items.lock.locked()


def two_conditions(core: Core) -> None:
    """A lock has room for one deferred wake-up: the waiter of the other condition is woken at once."""
    lock, waiting = core.lock(), []
    conditions = [core.condition(lock) for _ in range(2)]

    def wait(me: int) -> None:
        lock.acquire()
        if not waiting:
            conditions[me].wait()
        lock.release()

    def notify() -> None:
        lock.acquire()
        waiting.append(False)
        for condition in conditions:
            condition.notify()
        lock.release()

    core.threads(partial(wait, 0), partial(wait, 1), notify)
    assert not lock.locked()


def another_releases(core: Core) -> None:
    """Any thread may release a Lock, also while its holder defers a wake-up to that."""
    lock, told = core.lock(), []
    changed = core.condition(lock)

    def wait() -> None:
        lock.acquire()
        if not told:
            changed.wait()
        lock.release()

    def notify() -> None:
        lock.acquire()
        told.append(1)
        release = core.begin_threads(lock.release)
        changed.notify()
        release[0].join()

    core.threads(wait, notify)


# ---- forks -----------------------------------------------------------------------------------------------------------


def giver_forks(core: Core) -> None:
    """Whatever the lost threads were at, the child's one release lets its one sleeper go on."""
    permits = core.semaphore()

    def fork_and_give() -> None:
        core.fork()
        core.begin_threads(permits.acquire)
        permits.release()

    core.begin_threads(permits.acquire, permits.release, daemon=True)
    core.threads(fork_and_give)


def taker_forks(core: Core) -> None:
    """In a signal handler, while it waits."""
    permits, forks = core.semaphore(), []

    def fork() -> None:
        if not forks:
            forks.append(1)
            core.fork()
            core.begin_threads(permits.release)

    (taker,) = core.begin_threads(lambda: core.handling(fork, permits.acquire))
    core.begin_threads(permits.acquire, lambda: permits.release(2), core.interrupt, daemon=True)
    taker.join()


def waiter_forks(core: Core) -> None:
    """In a signal handler, while it waits and no lost thread has the lock."""
    items, forks = Items(core, core.lock()), []

    def fork() -> None:
        if not forks and core.fork(lambda: core.first_word(items.lock) == FREE):
            forks.append(1)
            core.begin_threads(items.add)

    (waiter,) = core.begin_threads(lambda: items.wait(partial(core.handling, fork, items.changed.wait)))
    core.begin_threads(items.add, core.interrupt, daemon=True)
    waiter.join()


def notifier_forks(core: Core) -> None:
    """With the lock, to which the lost thread's wake-up is deferred."""
    items = Items(core, core.lock())

    def notify_and_fork() -> None:
        items.changed.notify()
        core.fork()
        items.lock.release()
        core.begin_threads(items.wait)
        items.add()

    core.begin_threads(items.wait, daemon=True)
    items.lock.acquire()
    core.threads(notify_and_fork)


# ---- what passes, and what is found ----------------------------------------------------------------------------------

CASES = {
    "semaphore": (semaphore(1, 1), "dpor"),
    "semaphore that gives up": (semaphore(1, 1, timeouts=1), "dfs:3"),
    "semaphore, a signal": (semaphore(1, 1, timeouts=1, interrupted=True), "dfs:2"),
    "semaphore, two takers": (semaphore(2, 2), "dfs:2", "dfs:3"),
    "semaphore, two givers": (semaphore(2, 1, 1), "dfs:1", "dfs:2"),
    "semaphore, two that give up": (semaphore(2, 2, timeouts=2), "dfs:1", "dfs:2"),
    "semaphore, three takers": (semaphore(3, 3), "dfs:1"),
    "condition": (condition(1, 1), "dfs:3", "dpor"),
    "condition that gives up": (condition(1, 1, timeouts=1), "dfs:3"),
    "condition, a signal": (condition(1, 1, interrupted=True), "dfs:2"),
    "condition, two waiters": (condition(2, 2), "dfs:2"),
    "condition, a user": (condition(1, 1, users=1), "dfs:2"),
    "a taker is stopped": (a_taker_is_stopped, "dfs:2"),
    "a waiter is stopped": (a_waiter_is_stopped, "dfs:1"),
    "a waiter is ended": (a_waiter_is_ended, "dfs:1", "dfs:2"),
    "two conditions": (two_conditions, "dfs:2"),
    "another thread releases the lock": (another_releases, "dfs:2"),
    "a giver forks": (giver_forks, "dfs:2"),
    "a taker forks": (taker_forks, "dfs:1"),
    "a waiter forks": (waiter_forks, "dfs:2"),
    "a notifier forks": (notifier_forks, "dfs:2"),
}


#: Every thread says that it looks before it sleeps; it looks no further, because its clock stands still.
LOOKING = [Change("python/threads/sleep.c", "    if (spin_may())\n", "    if (1)\n")]
#: Every thread dozes before it sleeps, and defers wake-ups of those that do.
DOZING = [Change("python/threads/wake.c", "SURE = 16,", "SURE = 0,")]
SOME = ["semaphore", "semaphore, two takers", "condition", "a giver forks", "a taker forks"]
VARIANTS = {"threads look": (LOOKING, SOME)}

FORGETS = "queue->waiting = queue->batons = queue->anys = 0"
ASKS = "             && !atomic_compare_exchange_weak"
CHECKS = "return !atomic_compare_exchange_strong(&lock->deferred, &deferred, 0)"
#: Sleeps whatever the word says.
SLEEPS = Change(QUEUE, "park_wait_some(&place->word, SYNC_ASLEEP,", "park_wait_some(&place->word, place->word,")
ENDS_LOOKING = "atomic_compare_exchange_strong(&place->word, &looking, SYNC_ASLEEP)"
FAULTS = {
    "a baton is kept": ("semaphore, two takers", Change(QUEUE, "        queue->batons--;", "        ;")),
    "a lost baton is kept": ("a giver forks", Change(QUEUE, FORGETS, "queue->waiting = queue->anys = 0")),
    "a sleeper doesn't ask": ("semaphore", Change(SEMAPHORE, ASKS, ASKS.replace("&&", "&& 0 &&"))),
    "a deferral is not checked": ("another thread releases the lock", Change(LOCK, CHECKS, "return 1")),
    "a permit is kept": ("a taker is stopped", Change(SEMAPHORE, "if (outcome == RAISED_ENTITLED)", "if (0)")),
    "a notification is kept": (
        "a waiter is stopped",
        Change(CONDITION, "if (outcome == RAISED_ENTITLED || (outcome", "if (0 && (outcome"),
    ),
    "a deferral is not done": (
        "condition",
        Change(LOCK, "    if (waiter)\n        sync_wake_waiter(waiter);\n", ""),
    ),
    "one that looks: it is not woken": (
        "semaphore",
        *LOOKING,
        Change(LOCK, "was != SYNC_LOOKING", "was != SYNC_ASLEEP"),
    ),
    "one that looks: a wake-up is overwritten": (
        "semaphore",
        *LOOKING,
        Change(QUEUE, ENDS_LOOKING, "atomic_store(&place->word, SYNC_ASLEEP)"),
    ),
    "one that sleeps is taken for one that looks": (
        "semaphore",
        *LOOKING,
        SLEEPS,
        Change(QUEUE, ENDS_LOOKING, "(void)looking"),
    ),
}
if not FREE_THREADED:  # where no thread dozes
    VARIANTS["threads doze"] = (DOZING, SOME)
    FAULTS["a doze that no thread ends"] = (
        "semaphore",
        *DOZING,
        Change("kernel/base/park.c", "expected, &length,", "expected, NULL,"),
    )
    FAULTS["a sleep after a doze that no thread ends"] = (
        "semaphore",
        *DOZING,
        SLEEPS,
        Change(QUEUE, "        atomic_compare_exchange_strong(&place->word, &dozing, SYNC_ASLEEP);\n", ""),
    )
test_no_wake_up_and_no_permit_is_lost, test_a_fault_is_found = in_orders(CASES, FAULTS, VARIANTS)
