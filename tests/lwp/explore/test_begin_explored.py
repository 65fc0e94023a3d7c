"""A creator that waits until its thread has begun, under the explorer: python/threads/wake.c.

An explored thread plays the one that begins.  Where it "waits" it doesn't end before its creator has gone on.
"""

from __future__ import annotations

import threading

from explored_core import Change, Core, Scenario, in_orders

WAKE = "python/threads/wake.c"
AWAITED, DOZED = 1, 2  # enum waker_begun


def begins(how: int, does: str, joiners: int = 0) -> Scenario:
    def run(core: Core) -> None:
        lwp = core.lwp("lwp")
        core.points.expect_begin(lwp._of, how)
        seen: list[str] = []
        went_on = threading.Event()

        def create() -> None:
            core.await_begun(lwp)
            assert seen
            went_on.set()

        def begin() -> None:
            for step in does.split(", "):
                seen.append(step)
                if step == "begins":
                    core.say_begun(lwp)
                elif step == "gives up the GIL":
                    core.give_up_gil()
                elif step == "waits":
                    went_on.wait()
            core.end(lwp)

        core.threads(create, begin, *[lwp.join] * joiners)
        assert core.points.is_left(lwp._of)

    return run


CASES = {
    "awaited": (begins(AWAITED, "begins, waits"), "dpor"),
    "awaited, and joined": (begins(AWAITED, "begins, waits", joiners=1), "dfs:2"),
    "awaited, it ends": (begins(AWAITED, "begins"), "dpor"),
    "awaited, it can't begin": (begins(AWAITED, "ends", joiners=1), "dfs:2"),
    "dozed": (begins(DOZED, "begins, gives up the GIL, waits"), "dpor"),
    "dozed, and joined": (begins(DOZED, "begins, gives up the GIL, waits", joiners=1), "dfs:2"),
    "dozed, it keeps the GIL": (begins(DOZED, "begins, waits"), "dpor"),
    "dozed, it ends": (begins(DOZED, "begins", joiners=1), "dfs:2"),
    "dozed, it can't begin": (begins(DOZED, "ends", joiners=1), "dfs:2"),
}


JOINS = "    atomic_fetch_add(&lwp->joiners, 1);\n"
AWAITS = "atomic_compare_exchange_strong(&lwp->begun, &begun, WAKER_AWAITED)"
BEGINS = "atomic_compare_exchange_strong(&me->alive, &alive, LWP_HAS_BEGUN)"
DOZED_BY_NOW = "WAKER_BEGUN, memory_order_release) == WAKER_DOZED"
FAULTS = {
    "alive stays": ("awaited", Change(WAKE, BEGINS, "1")),
    "it is never woken": ("awaited", Change(WAKE, DOZED_BY_NOW, "WAKER_BEGUN, 4)")),
    "a beginning is overwritten": (
        "dozed, it keeps the GIL",
        Change(WAKE, AWAITS, "atomic_store(&lwp->begun, WAKER_AWAITED)"),
    ),
    "it isn't counted as a joiner": (
        "dozed, it ends",
        Change(WAKE, JOINS, "    lwp->joiners++;\n    lwp->joiners--;\n"),
    ),
}
test_a_creator_goes_on, test_a_fault_is_found = in_orders(CASES, FAULTS)
