"""The ends of threads under the explorer: kernel/lwp/join.c, and waits/watch.c, by which runtime.wait() learns of them.

An explored thread plays the one that ends: it calls thread_exit(), and then is the kernel, which clears `alive` and
wakes one sleeper there.  Two threads go in all orders that matter (dpor), three in those with so many preemptions or
timeouts (dfs).
"""

from __future__ import annotations

from functools import partial

from explored_core import Change, Core, Scenario, in_orders

JOIN, WATCH, ANY, WAIT = "kernel/lwp/join.c", "waits/watch.c", "waits/any.h", "python/groups/wait.c"
LONG = 100.0


def ends(waits: str, *ended: str, timeouts: int = 0, interrupted: bool = False, cancelled: int = 0) -> Scenario:
    """Threads that wait, as the words say: "join A", or "first A", "first AB", "all AB", of runtime.wait().

    ended: what comes to the end, each in a thread: "lwp A", "green A", "explored A", or A only "counts" as ended.
    timeouts, cancelled: of the first ones so many.  interrupted: a signal ends the first one's sleep.
    """
    kinds = {name: kind for kind, name in map(str.split, ended) if kind != "counts"}

    def run(core: Core) -> None:
        lwps = {name: core.lwp(kinds.get(name, "lwp")) for name in "AB"}

        def wait(how: str, names: str, timeout: float | None) -> None:
            left = [lwps[name] for name in names]
            while left:
                came = (
                    core.wait(*left, timeout=timeout) if how != "join" else [lwp for lwp in left if lwp.join(timeout)]
                )
                assert came or timeout
                assert not any(lwp._of.is_alive() for lwp in came)
                left = [lwp for lwp in left if lwp not in came] if how == "all" and came else []

        def end(kind: str, name: str) -> None:
            if kind == "counts":
                lwps[name]._count_as_ended()
            else:
                core.end(lwps[name])

        waiters = [
            partial(wait, *words.split(), LONG if me < timeouts else None) for me, words in enumerate(waits.split(", "))
        ]
        waiters[:cancelled] = core.cancelled(waiters[:cancelled])
        core.threads(*waiters, *[partial(end, *words.split()) for words in ended], *[core.interrupt] * interrupted)
        for lwp in lwps.values():
            core.end(lwp)
            assert core.points.is_left(lwp._of)

    return run


CASES = {
    "a joiner": (ends("join A", "lwp A"), "dpor"),
    "a joiner that gives up": (ends("join A", "lwp A", timeouts=1), "dpor"),
    "a joiner, a green end": (ends("join A", "green A"), "dpor"),
    "two joiners": (ends("join A, join A", "lwp A"), "dfs:1", "dfs:2"),
    "two joiners, one gives up": (ends("join A, join A", "lwp A", timeouts=1), "dfs:1", "dfs:2"),
    "two joiners, a signal": (ends("join A, join A", "lwp A", interrupted=True), "dfs:1"),
    "two joiners, one is cancelled": (ends("join A, join A", "lwp A", cancelled=1), "dfs:1"),
    "two joiners, both are cancelled": (ends("join A, join A", "lwp A", cancelled=2), "dfs:1"),
    "a waiter": (ends("first A", "lwp A"), "dpor"),
    "a waiter, a green end": (ends("first A", "green A"), "dpor"),
    "a waiter is cancelled": (ends("first A", "lwp A", cancelled=1), "dfs:2"),
    "a waiter is cancelled, without an end": (ends("first A", cancelled=1), "dpor"),
    "two waiters": (ends("first A, first A", "lwp A"), "dfs:2"),
    "two waiters, a green end": (ends("first A, first A", "green A"), "dfs:2"),
    "two waiters, an explored end": (ends("first A, first A", "explored A"), "dfs:2"),
    "two waiters, it counts as ended": (ends("first A, first A", "counts A"), "dfs:2"),
    "two waiters, it counts and ends": (ends("first A, first A", "counts A", "lwp A"), "dfs:1"),
    "a waiter, a joiner": (ends("first A, join A", "lwp A"), "dfs:2"),
    "a waiter, a joiner, it counts and ends": (ends("first A, join A", "counts A", "lwp A"), "dfs:1"),
    "a waiter that gives up, a joiner": (ends("first A, join A", "lwp A", timeouts=1), "dfs:1", "dfs:2"),
    "a joiner that gives up, a waiter": (ends("join A, first A", "lwp A", timeouts=1), "dfs:1", "dfs:2"),
    "a waiter, a joiner, a signal": (ends("first A, join A", "lwp A", interrupted=True), "dfs:1"),
    "a joiner, a waiter, a signal": (ends("join A, first A", "lwp A", interrupted=True), "dfs:1"),
    "a waiter is cancelled, a joiner": (ends("first A, join A", "lwp A", cancelled=1), "dfs:1"),
    "a joiner is cancelled, a waiter": (ends("join A, first A", "lwp A", cancelled=1), "dfs:1"),
    "the first of two": (ends("first AB", "lwp A", "lwp B"), "dfs:2", "dfs:3"),
    "the first of two, twice": (ends("first AB, first BA", "lwp A"), "dfs:1", "dfs:2"),
    "the first of two, or gives up": (ends("first AB", "lwp A", "lwp B", timeouts=1), "dfs:1", "dfs:2"),
    "the first of two, a signal": (ends("first AB", "lwp A", "lwp B", interrupted=True), "dfs:1"),
    "the first of two, cancelled": (ends("first AB", "lwp A", "lwp B", cancelled=1), "dfs:1"),
    "all": (ends("all AB", "lwp A", "lwp B"), "dfs:2"),
    "all, a green end": (ends("all AB", "lwp B", "green A"), "dfs:2"),
    "all, or gives up": (ends("all AB", "lwp A", "lwp B", timeouts=1), "dfs:1", "dfs:2"),
    "all, a signal": (ends("all AB", "lwp A", "lwp B", interrupted=True), "dfs:1"),
    "all, cancelled": (ends("all AB", "lwp A", "lwp B", cancelled=1), "dfs:1"),
}

VARIANTS = {
    # They are woken, and then sleep at `alive`, as green threads and those that poll do.
    "waiters are not moved": (
        [Change(WAIT, "w->any.moves = !park_green;", "w->any.moves = 0;")],
        [case for case in CASES if "joiner" not in case],
    ),
}

MOVES = """    atomic_store(&any->word, SYNC_WOKEN);
    move_sleeper(&any->word, SYNC_WOKEN, &lwp->alive);
"""
MOVES_FIRST = """    move_sleeper(&any->word, SYNC_ASLEEP, &lwp->alive);
    atomic_store(&any->word, SYNC_WOKEN);
"""
CLAIMS = "sync_any_claim(struct sync_any *any)\n{\n    return atomic_exchange(&any->open, 0);\n"
CLAIMS_ALWAYS = "sync_any_claim(struct sync_any *any)\n{\n    atomic_store(&any->open, 0);\n    return 1;\n"


FAULTS = {
    "it doesn't look once more": ("a waiter", Change(WATCH, "    if (!atomic_load(&lwp->ending))\n", "")),
    "no other joiner is woken": (
        "a waiter, a joiner",
        Change(
            JOIN,
            "if (atomic_fetch_sub(&lwp->joiners, 1) > 1 && !word)",
            "if (atomic_fetch_sub(&lwp->joiners, 1) > 1 && 0)",
        ),
    ),
    "one that is moved isn't counted": (
        "two waiters",
        Change(WATCH, "    atomic_fetch_add(&lwp->joiners, 1);\n", ""),
    ),
    "one is moved before its word": ("a waiter", Change(WATCH, MOVES, MOVES_FIRST)),
    "one is moved to a cleared word": (
        "a waiter, a green end",
        Change(WATCH, "!any->moves || lwp_has_ended(atomic_load(&lwp->alive))", "!any->moves"),
    ),
    "the end isn't awaited": (
        "a waiter",
        Change(WATCH, "lwp_await_gone(lwp, counted)", "atomic_fetch_sub(&lwp->joiners, counted)"),
    ),
    "one of two is told": (
        "two waiters",
        Change(
            WATCH,
            "for (struct lwp_watch *watch; (watch = atomic_load(&lwp->watchers));) {",
            "for (struct lwp_watch *watch = NULL; !watch && (watch = atomic_load(&lwp->watchers));) {",
        ),
    ),
    "one that has given up is claimed": ("the first of two", Change(ANY, CLAIMS, CLAIMS_ALWAYS)),
    "no end is told": ("a waiter", Change("kernel/lwp/thread_main.c", "    lwp_tell_end(me);\n", "")),
    "a green end wakes no joiner": (
        "a joiner, a green end",
        Change("kernel/lwp/start.c", "if (atomic_load(&lwp->joiners))", "if (0)"),
    ),
}
test_none_sleeps_on_and_none_is_told_too_early, test_a_fault_is_found = in_orders(CASES, FAULTS, VARIANTS)
