"""What each strategy tries: depth first each schedule once, partial orders all outcomes, the others by chance."""

from __future__ import annotations

import functools
import math
import queue
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import run_threads
from corpus import together
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runtime
from lwp.explore import Outcome, Result
from lwp.explore.run.plans import Ending, Kind, Made, Plan, Run, Strikes
from lwp.explore.run.session import Session
from lwp.explore.search import dpor
from lwp.explore.search.portfolio import Portfolio
from lwp.explore.search.strategies import strategy
from lwp.explore.search.tried import Coverage, chance_missed

pytestmark = pytest.mark.loads


def explored(test: Callable[[], object], strategy: str = "dfs", runs: int = 100_000, **options: object) -> Result:
    return runtime.explore(test, strategy=strategy, runs=runs, **{"granularity": "sync", "seed": 1, **options})


def tries(result: Result) -> int:
    """Its runs, without the two of the default schedule that each exploration begins with."""
    return result.runs - 2


def two_threads(steps: int) -> Callable[[], None]:
    """So many operations of the main thread, and as many of one that it has started; neither waits for the other."""

    def test() -> None:
        mine, others = threading.Lock(), threading.Lock()

        def body() -> None:
            for _ in range(steps):
                others.locked()

        threading.Thread(target=body).start()
        for _ in range(steps):
            mine.locked()

    return test


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_each_schedule_once(steps: int) -> None:
    result = explored(two_threads(steps))
    # One has its steps and its end, the other one also its begin: any of these may come in any order.
    assert tries(result) == result.distinct == math.comb(2 * steps + 3, steps + 1)
    assert result.outcome is Outcome.EXHAUSTED
    assert result.report().startswith("EXHAUSTED: all schedules that switch threads at operations of primitives")


def test_preemptions_are_bounded() -> None:
    # 4 steps of the main thread, then 5 of the other one.  A preemption cuts a thread's steps, and may leave none.
    # With two the main thread comes back: after 0..3 of its steps, and 1..4 of the other's.
    runs = [tries(explored(two_threads(3), f"dfs:{bound}")) for bound in range(3)]
    assert runs == [1, 1 + 4, 1 + 4 + 4 * 4]
    assert "at most 2 preemptions" in explored(two_threads(3), "dfs:2").report()


def test_without_preemptions_woken_threads_run_in_any_order() -> None:
    orders = set()

    def test() -> None:
        order: list[int] = []
        run_threads([threading.Thread(target=order.append, args=(i,)) for i in range(3)])
        orders.add(tuple(order))

    result = explored(test, "dfs:0")
    assert result.outcome is Outcome.EXHAUSTED
    assert len(orders) == 6
    # ... and where the main thread can go on, whether it does or not is no choice without a preemption.
    assert tries(result) <= 6 * 2 * 2


def test_a_thread_that_spins_lets_others_go_on() -> None:
    looks = set()

    def test() -> None:
        flag = threading.Event()
        count = 0

        def spin() -> None:
            nonlocal count
            while not flag.is_set():
                count += 1
                time.sleep(0)

        together(spin, flag.set)
        looks.add(count)

    result = explored(test)
    assert result.outcome is Outcome.EXHAUSTED
    assert {0, 1, 2} <= looks
    assert "spins" in result.report()


def test_threads_that_spin_on_each_other_end() -> None:
    def test() -> None:
        flags = [threading.Event(), threading.Event()]

        def spin(me: int) -> None:
            flags[me].set()
            while not flags[1 - me].is_set():
                pass

        together(lambda: spin(0), lambda: spin(1))

    assert explored(test, "dfs:1").outcome is Outcome.EXHAUSTED


def test_a_timeout_may_fire_early() -> None:
    seen = set()

    def test() -> None:
        event = threading.Event()
        together(event.set, lambda: seen.add(event.wait(10)))

    assert explored(test).outcome is Outcome.EXHAUSTED
    assert seen == {True}
    assert explored(test, early_timeouts=True).outcome is Outcome.EXHAUSTED
    assert seen == {True, False}


@pytest.mark.parametrize("name", ["", "none", "dfs:", "dfs:x", "dfs:-1", "pct:0", "pct:10", "random:2", "auto:1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="strategy"):
        explored(int, name)


@pytest.mark.parametrize("name", ["auto", "random", "pct", "pct:3", "pos", "dfs", "dfs:0", "dpor"])
def test_strategies_by_name(name: str) -> None:
    assert explored(two_threads(1), name, runs=20).outcome in {Outcome.EXHAUSTED, Outcome.BUDGET_SPENT}


# ---- partial orders --------------------------------------------------------------------------------------------------
# All outcomes of small programs: what each thread saw, in which order they got each lock, and whether they ended.

Operation = tuple[str, int]


class World:
    """What a program's threads share, and what is left to see of it at the end."""

    def __init__(self, tokens: int, parties: int) -> None:
        self.locks = [threading.Lock(), threading.Lock()]
        self.rlock = threading.RLock()
        self.tokens = threading.Semaphore(tokens)
        self.events = [threading.Event(), threading.Event()]
        self.changed = threading.Condition()
        self.barrier = threading.Barrier(parties)
        self.queue: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.seen: list[list[object]] = [[] for _ in range(4)]  # by each thread
        self.order: list[list[int]] = [[] for _ in range(4)]  # of threads, under each lock

    def do(self, me: int, what: str, which: int) -> None:
        """An operation, and what the thread has seen by it."""
        try:
            seen = OPERATIONS[what](self, me, which)
        except (RuntimeError, queue.Empty) as error:  # it was not locked, or another has released it
            seen = str(error)
        self.seen[me].append(seen)


def under(lock: Any, operation: Callable[[], object]) -> object:
    with lock:
        return operation()


#: Of a world, a thread's number, and which of two objects. What others could see without it is written where it orders
#: those who write.
OPERATIONS: dict[str, Callable[[World, int, int], object]] = {
    "with": lambda world, me, which: under(world.locks[which], lambda: world.order[which].append(me)),
    "twice": lambda world, me, _: under(world.rlock, lambda: under(world.rlock, lambda: world.order[2].append(me))),
    "acquire": lambda world, _, which: world.locks[which].acquire(),
    "try": lambda world, _, which: world.locks[which].acquire(blocking=False),
    "acquire, timed": lambda world, _, which: world.locks[which].acquire(timeout=1),
    "release": lambda world, _, which: world.locks[which].release(),
    "locked": lambda world, _, which: world.locks[which].locked(),
    "take": lambda world, *_: world.tokens.acquire(),
    "take, try": lambda world, *_: world.tokens.acquire(blocking=False),
    "give": lambda world, *_: world.tokens.release(),
    "set": lambda world, _, which: world.events[which].set(),
    "clear": lambda world, _, which: world.events[which].clear(),
    "is set": lambda world, _, which: world.events[which].is_set(),
    "wait": lambda world, _, which: world.events[which].wait(),
    "wait, timed": lambda world, _, which: world.events[which].wait(1),
    "sleep until notified": lambda world, me, _: under(
        world.changed, lambda: (world.changed.wait(), world.order[3].append(me))
    ),
    "sleep until notified, timed": lambda world, me, _: under(
        world.changed, lambda: (world.changed.wait(1), world.order[3].append(me))
    ),
    "notify": lambda world, me, _: under(world.changed, lambda: (world.changed.notify(), world.order[3].append(me))),
    "notify all": lambda world, *_: under(world.changed, world.changed.notify_all),
    "meet": lambda world, *_: world.barrier.wait(),
    "put": lambda world, me, _: world.queue.put(me),
    "get": lambda world, *_: world.queue.get(),
    "get, try": lambda world, *_: world.queue.get(block=False),
    "join": lambda world, me, which: me == 0 and world.threads[which % len(world.threads)].join(),
    "is alive": lambda world, me, which: me == 0 and world.threads[which % len(world.threads)].is_alive(),
    "sleep": lambda _, me, which: time.sleep(which),
}
FAMILIES = (
    ("with", "acquire", "try", "release", "locked"),
    ("with", "twice", "join", "is alive"),
    ("take", "take, try", "give"),
    ("set", "clear", "is set", "wait"),
    ("sleep until notified", "notify", "notify all", "with"),
    ("meet", "with", "set", "wait"),
    ("put", "get", "get, try"),
    ("with", "acquire, timed", "wait, timed", "set", "sleep until notified, timed", "notify", "sleep", "join"),
)


@dataclass(frozen=True)
class Small:
    """Up to three threads: what each does, the main thread first."""

    threads: tuple[tuple[Operation, ...], ...]
    tokens: int = 1
    parties: int = 2
    daemons: bool = False

    def run(self, world: World) -> None:
        def body(me: int) -> None:
            for what, which in self.threads[me]:
                world.do(me, what, which)

        count = len(self.threads)
        world.threads = [threading.Thread(target=body, args=(me,), daemon=self.daemons) for me in range(1, count)]
        for thread in world.threads:
            thread.start()
        body(0)
        for thread in [] if self.daemons else world.threads:
            thread.join()


@dataclass
class Tried:
    """All that a strategy has tried."""

    outcomes: set[object]
    runs: int
    schedules: int
    ended: bool


def tried(program: Small, name: str, most: int) -> Tried:
    outcomes: set[object] = set()
    schedules = set()
    with Session(patience=30) as session:  # a hang; a busy machine may take 2 s
        plans = strategy(name, "sync", 1, 1000, Strikes.EARLY)
        plan = next(plans)
        for runs in range(1, most + 1):
            world = World(program.tokens, program.parties)
            run = session.run(functools.partial(program.run, world), plan)
            assert run.ending in {Ending.FINISHED, Ending.DEADLOCK, Ending.LEFT_BEHIND}, run.error
            outcomes.add((run.ending, *map(tuple, world.seen), *map(tuple, world.order)))
            schedules.add(run.schedule)
            try:
                plan = plans.send(run)
            except StopIteration as end:
                return Tried(outcomes, runs, len(schedules), bool(end.value))
    return Tried(outcomes, most, len(schedules), False)


MOST = 5000  # runs of depth first; a program that needs more is compared as far as they go


def compared(program: Small) -> tuple[Tried, Tried]:
    everything, orders = tried(program, "dfs", MOST), tried(program, "dpor", 2 * MOST)
    assert everything.runs == everything.schedules
    assert everything.outcomes <= orders.outcomes or not orders.ended
    if everything.ended:
        assert orders.ended
        assert orders.outcomes == everything.outcomes
        assert orders.runs <= everything.runs + program.daemons * 2  # it begins anew when it meets a daemon
    return everything, orders


def operations(names: Sequence[str]) -> st.SearchStrategy[Operation]:
    return st.tuples(st.sampled_from(names), st.integers(0, 1))


@st.composite
def small(draw: st.DrawFn) -> Small:
    families = draw(st.lists(st.sampled_from(FAMILIES), min_size=1, max_size=2))
    one = st.lists(operations([name for family in families for name in family]), min_size=1, max_size=6)
    threads = draw(st.lists(one, min_size=2, max_size=3))
    return Small(
        tuple(map(tuple, threads)), draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(st.integers(0, 7)) == 7
    )


@pytest.mark.slow
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(small())
def test_partial_orders_have_all_outcomes(program: Small) -> None:
    compared(program)


def lines(*threads: str) -> tuple[tuple[Operation, ...], ...]:
    """From `with; with 1`: the operation, and which of its two objects."""

    def operation(text: str) -> Operation:
        what, _, which = text.rpartition(" ") if text[-1:].isdigit() else (text, "", "0")
        return what, int(which)

    return tuple(tuple(operation(one) for one in thread.split("; ")) for thread in threads)


#: A program, and in how many schedules all its orders are.
KNOWN = {
    "locks of their own": (Small(lines("with 0; with 0", "with 1; with 1")), 1),
    "one lock": (Small(lines("with", "with", "with")), 6),
    "one lock, twice": (Small(lines("with; with", "with; with")), 6),
    "locks in two orders": (Small(lines("acquire; acquire 1; release 1; release", "acquire 1; with; release 1")), 3),
    "a try": (Small(lines("acquire; release", "try")), 3),
    "a look": (Small(lines("acquire; release", "locked")), 3),
    "two looks": (Small(lines("is set", "is set")), 1),
    "an event": (Small(lines("set", "is set; is set")), 3),
    "tokens": (Small(lines("take; give", "take, try"), tokens=1), 3),
    "wake-ups": (Small(lines("sleep until notified", "notify")), 3),
    "a deadlock that is not reached": (Small(lines("acquire; acquire", "release")), 2),
    "a try, and a lock that only its failure leads to": (Small(lines("with 1", "try; with; with 1", "with")), 0),
    "queue": (Small(lines("put; put", "get, try")), 3),
    "daemon": (Small(lines("with", "with"), daemons=True), 10),
}


@pytest.mark.parametrize("name", KNOWN)
def test_orders_of_known_programs(name: str) -> None:
    program, wanted = KNOWN[name]
    everything, orders = compared(program)
    assert everything.ended
    assert not wanted or orders.runs == wanted, (orders, everything)


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        (Kind.ACQUIRE, "one lock"),
        (Kind.ACQUIRE, "locks in two orders"),
        (Kind.TRY, "a try"),
        (Kind.READ, "a look"),
        (Kind.SIGNAL, "an event"),
        (Kind.SIGNAL, "queue"),
        (Kind.RELEASE, "a deadlock that is not reached"),
    ],
)
def test_the_comparison_notices_an_order_that_is_ignored(
    kind: Kind, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = dpor._Search._what

    def forgets(self: Any, thread: int, done: int, *others: int) -> Any:
        return () if done == kind else what(self, thread, done, *others)

    monkeypatch.setattr(dpor._Search, "_what", forgets)
    with pytest.raises(AssertionError):
        compared(KNOWN[program][0])


def test_fewer_runs_by_factors() -> None:
    everything, orders = compared(Small(lines("is set; with; is set", "is set 1; with; is set 1")))
    assert everything.ended
    assert everything.runs > 50 * orders.runs


# ---- chance ----------------------------------------------------------------------------------------------------------


def tried_by(name: str, test: Callable[[], object], runs: int) -> Iterator[Run]:
    with Session() as session:
        plans = strategy(name, "sync", 1, 1000, Strikes.NOTHING)
        plan = next(plans)
        for _ in range(runs):
            yield (run := session.run(test, plan))
            plan = plans.send(run)


def in_the_order(wanted: str, *threads: str) -> Callable[[], None]:
    """Fails if the threads have written their letters in that order."""

    def test() -> None:
        written: list[str] = []
        point = threading.Lock()

        def write(letters: str) -> None:
            for letter in letters:
                point.locked()
                written.append(letter)

        run_threads(threading.Thread(target=write, args=(letters,)) for letters in threads)
        assert "".join(written) != wanted

    return test


@pytest.mark.parametrize(
    ("depth", "wanted", "threads"),
    [
        (1, "ba", ("a", "b")),
        (2, "acdb", ("ab", "cd")),
        # The thread that was changed later goes on first.
        pytest.param(3, "acefdb", ("ab", "cd", "ef"), marks=pytest.mark.slow),
    ],
)
def test_pct_finds_a_bug_of_its_depth_as_often_as_it_says(depth: int, wanted: str, threads: tuple[str, ...]) -> None:
    test = in_the_order(wanted, *threads)
    with Session() as session:
        run = session.run(test, Plan())
    bound = 1 / (run.threads * run.steps ** (depth - 1))
    runs = math.ceil(60 / bound)
    wanted_at_least = 60 - 2 * math.sqrt(60)
    assert sum(run.failed for run in tried_by(f"pct:{depth}", test, runs)) >= wanted_at_least


@pytest.mark.parametrize("name", ["random", "pos", "pct"])
def test_all_interleavings_are_reached(name: str) -> None:
    assert len({run.schedule for run in tried_by(name, two_threads(1), 20_000)}) == math.comb(5, 2)


# ---- all of them -----------------------------------------------------------------------------------------------------


def test_auto_gives_each_its_share() -> None:
    def test() -> None:
        def add() -> None:
            for number in range(30):
                numbers.append(number)

        numbers: list[int] = []
        together(add, add)

    shares: Counter[tuple[str, str]] = Counter()
    runs: Counter[str] = Counter()
    with Session() as session:
        plans = Portfolio("auto", "auto", 1, 1000).plans()
        name, plan = next(plans)
        for _ in range(3000):
            run = session.run(test, plan)
            if name not in {"default", "dfs", "dpor"}:
                shares[name, plan.granularity] += 100 + run.steps
                runs[plan.granularity] += 1
            name, plan = plans.send(run)
    assert len(shares) == 3 * 3
    assert max(shares.values()) < 2.5 * min(shares.values())  # a turn is twice as long as the one before
    assert runs["sync"] > 1.5 * runs["opcode"]


def test_auto_ends_when_all_schedules_were_tried() -> None:
    result = explored(two_threads(2), "auto")
    assert result.outcome is Outcome.EXHAUSTED
    assert "all schedules that switch threads at operations" in result.report()
    assert result.distinct == math.comb(7, 3)


def test_auto_claims_all_orders_when_the_budget_is_spent() -> None:
    def test() -> None:
        KNOWN["one lock"][0].run(World(1, 2))

    result = explored(test, "auto", runs=2000)
    assert (result.outcome, result.runs) == (Outcome.EXHAUSTED, 2000)
    assert "all orders of operations on primitives, not of what threads do to shared data" in result.report()
    assert explored(test, "auto", runs=2000, granularity="auto").outcome is Outcome.BUDGET_SPENT


@pytest.mark.parametrize("name", ["auto", "dfs", "dpor"])
def test_nothing_is_claimed_if_runs_differ(name: str) -> None:
    runs = 0

    def test() -> None:
        nonlocal runs
        runs += 1
        for _ in range(2 + runs % 2):
            threading.Thread(target=int).start()

    assert explored(test, name, runs=500).outcome is not Outcome.EXHAUSTED


def several_locks() -> None:
    Small(lines("with; with 1; set", "with; wait", "with 1; with")).run(World(1, 2))


@pytest.mark.parametrize("name", ["auto", "random", "pos", "pct", "dfs", "dpor"])
def test_the_same_seed_makes_the_same_runs(name: str) -> None:
    def hashes() -> list[int]:
        portfolio = Portfolio(name, "sync", 7, 1000).plans()
        found = []
        with Session() as session:
            _, plan = next(portfolio)
            for _ in range(300):
                run = session.run(several_locks, plan)
                found.append(run.hash)
                try:
                    _, plan = portfolio.send(run)
                except StopIteration:
                    break
        return found

    first = hashes()
    assert first == hashes()
    assert len(set(first)) > 1


def test_the_chance_of_a_missed_bug() -> None:
    assert chance_missed(0, 2, 10, 2) == 1
    assert chance_missed(20, 2, 10, 2) == pytest.approx((1 - 1 / 20) ** 20)
    assert chance_missed(1, 1, 10, 1) == 0


@pytest.mark.parametrize("name", ["random", "pct", "pos"])
def test_a_series_is_the_runs_that_its_plans_make_one_by_one(name: str) -> None:
    def schedules(most: int) -> list[int]:
        plans = strategy(name, "opcode", 7, 1000, Strikes.NOTHING)
        plan = next(plans)
        found: list[int] = []
        with Session() as session:
            while len(found) < 400:
                if plan.series is not None:
                    plan.series.share = 5000
                run = session.run(several_locks, plan, most=most, seconds=60)
                found += memoryview(run.made.schedules).cast("Q")
                plan = plans.send(run)
        return found[:400]

    assert schedules(100) == schedules(1)


def test_a_series_ends_with_its_share_and_with_a_run_that_fails() -> None:
    def test() -> None:
        nonlocal left
        left -= 1
        run_threads([threading.Thread(target=int) for _ in range(2)])
        assert left

    with Session() as session:
        plan = next(strategy("random", "sync", 7, 1000, Strikes.NOTHING))
        left = 1000
        plan.series.share = 500
        made = session.run(test, plan, most=100, seconds=60).made
        assert 500 <= 100 * made.runs + made.steps < 500 + 100 + made.longest
        plan.series.share = 10**6
        assert session.run(test, plan, most=3, seconds=60).made.runs == 3
        assert session.run(test, plan, most=3, seconds=0).made.runs == 1
        left = 5
        failed = session.run(test, plan, most=100, seconds=60)
        assert (failed.ending, failed.made.runs) == (Ending.FAILED, 5)


def covered(depth: int) -> Made:
    return Made(threads=3, longest=10, covered=struct.pack("10I", *(at == depth for at in range(10))))


def test_coverage_of_runs_that_ended_at_once() -> None:
    coverage = Coverage()
    coverage.add(Plan(strategy="pct", depth=1), covered(1)._replace(threads=1, longest=1))
    assert "at sync: 0, " in coverage.lines()[1]


def test_coverage_counts_only_runs_of_its_depth_and_granularity() -> None:
    coverage = Coverage()
    coverage.add(Plan(strategy="random"), covered(2))
    coverage.add(Plan(strategy="pct", strikes=Strikes.EARLY), covered(2))
    coverage.add(Plan(strategy="pct"), covered(3))
    coverage.add(Plan(strategy="pct", granularity="opcode"), covered(2))
    assert coverage.missed("sync", 2) == 1
    coverage.add(Plan(strategy="pct"), covered(2))
    assert coverage.missed("sync", 2) == pytest.approx(1 - 1 / 30)
    assert "at sync" in coverage.lines()[1]


def test_a_run_that_is_longer_than_expected_covers_nothing() -> None:
    def depths(length: int, max_steps: int = 20_000) -> list[int]:
        with Session(max_steps) as session:
            made = session.run(two_threads(9), Plan(strategy="pct", depth=2, length=length)).made
        steps.append(made.longest)
        return [depth for depth, runs in enumerate(memoryview(made.covered).cast("I")) if runs]

    steps: list[int] = []
    assert depths(0) == []
    assert depths(max(steps)) == [2]
    assert depths(max(steps) - 1) == []
    assert depths(max(steps), max_steps=9) == []
    assert steps[-1] > 9
