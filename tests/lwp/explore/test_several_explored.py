"""waits/any.h under the explorer: runtime.wait() for semaphores and events."""

from __future__ import annotations

from collections import Counter
from functools import partial

from explored_core import Change, Core, Scenario, in_orders

ANY, QUEUE = "waits/any.h", "waits/queue.c"
LONG = 100.0


def semaphores(waiters: tuple[str, ...], *gives: str, timeouts: int = 0, cancelled: int = 0) -> Scenario:
    """A waiter with several letters waits for the first of these, one with a letter takes that; givers give letters.

    The first waiters give up, or are cancelled.
    """

    def run(core: Core) -> None:
        permits, got = {name: core.semaphore() for name in "AB"}, Counter[str]()

        def take(me: int) -> None:
            names = waiters[me]
            if len(names) == 1:
                permits[names].acquire()
                got[names] += 1
                return
            ready = core.wait(*map(permits.get, names), timeout=LONG if me < timeouts else None)
            got.update(name for name in names if permits[name] in ready)

        def give(names: str) -> None:
            for name in names:
                permits[name].release()

        takes = [partial(take, me) for me in range(len(waiters))]
        core.threads(*core.cancelled(takes[:cancelled]), *takes[cancelled:], *[partial(give, names) for names in gives])
        for name, semaphore in permits.items():
            assert got[name] + semaphore._of._value == "".join(gives).count(name)

    return run


def permit_or_event(waiters: int, users: int, is_set: bool, timeouts: int = 0, rounds: int = 1) -> Scenario:
    """Waits for the one permit or the event so often, and users of the permit: no two have it."""

    def run(core: Core) -> None:
        permit, event, inside = core.semaphore(), core.event(), []
        permit.release()

        def use() -> None:
            inside.append(1)
            assert len(inside) == 1
            inside.clear()
            permit.release()

        def wait(me: int) -> None:
            for _ in range(rounds):
                if permit in core.wait(permit, event, timeout=LONG if me < timeouts else None):
                    use()

        def take() -> None:
            permit.acquire()
            use()

        core.threads(*[take] * users, *[partial(wait, me) for me in range(waiters)], *[event.set] * is_set)
        assert permit._of._value == 1

    return run


CASES = {
    "semaphores": (semaphores(("AB",), "A", "B"), "dfs:2"),
    "semaphores, two waiters": (semaphores(("AB", "BA"), "A", "B"), "dfs:1"),
    "semaphores, another taker": (semaphores(("AB", "A"), "A", "A"), "dfs:1"),
    "semaphores, one too late": (semaphores(("AB", "A"), "B", "AA"), "dfs:1"),
    "semaphores, a timeout": (semaphores(("AB",), "A", "B", timeouts=1), "dfs:2"),
    "semaphores, a taker, a timeout": (semaphores(("AB", "A"), "AA", timeouts=1), "dfs:1"),
    "semaphores, cancelled": (semaphores(("AB",), "A", "B", cancelled=1), "dfs:1"),
    "semaphores, a taker, cancelled": (semaphores(("AB", "A"), "AA", cancelled=1), "dfs:1"),
    "permit": (permit_or_event(1, 1, False), "dfs:3"),
    "permit or event": (permit_or_event(1, 1, True), "dfs:2"),
    "permit, two waiters": (permit_or_event(2, 1, False), "dfs:2"),
    "permit, two users": (permit_or_event(1, 2, False), "dfs:2"),
    "permit, twice": (permit_or_event(1, 1, False, rounds=2), "dfs:3"),
    "permit or event, a timeout": (permit_or_event(1, 1, True, timeouts=1), "dfs:2"),
}


CLAIM = "int sync_any_claim(struct sync_any *any)\n{\n    return atomic_exchange(&any->open, 0);"
GRANT = "? grant_any(queue, place) : 1"
FAULTS = {
    "a claim that comes too late": (
        "semaphores",
        Change(ANY, CLAIM, CLAIM.replace("return atomic", "(void)atomic") + "\n    return 1;"),
    ),
    "a grant to no one": ("semaphores, one too late", Change(QUEUE, GRANT, GRANT.replace(" :", " | 1 :"))),
}
test_no_waiter_sleeps_on_and_no_grant_is_lost, test_a_fault_is_found = in_orders(CASES, FAULTS)
