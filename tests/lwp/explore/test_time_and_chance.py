"""What a run sees of time and chance is the run's own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import python, run_thread
from corpus import together
from explored import passes, passing

from lwp.explore import Outcome, explore

RUNS = 20


def of_each_run(look: Callable[[], Any], runs: int = RUNS) -> list[Any]:
    """What look() returns in each run, called by a thread of the test."""
    seen: list[Any] = []

    def test() -> None:
        run_thread(threading.Thread(target=lambda: seen.append(look())))

    result = passes(test, runs, granularity="sync")
    assert len(seen) == result.runs > 1
    return seen


# ---- the order in which sleeps end -----------------------------------------------------------------------------------


def sleepers_in_order() -> None:
    woken: list[int] = []

    async def sleep(number: int) -> None:
        await asyncio.sleep(number / 10)
        woken.append(number)

    async def main() -> None:
        await asyncio.gather(sleep(1), sleep(2))

    asyncio.run(main())
    assert woken == [1, 2]


def test_when_all_else_was_tried_sleeps_end_in_any_order_unasked() -> None:
    result = explore(sleepers_in_order, seed=1)
    assert result.outcome is Outcome.EARLY_TIMEOUT, result.report()
    assert result.runs < 300
    result.check()
    with pytest.raises(AssertionError):
        explore(sleepers_in_order, seed=1, early_timeouts=True).check()


def test_a_right_test_is_exhausted_all_the_same_and_says_what_was_tried() -> None:
    async def main() -> None:
        await asyncio.gather(asyncio.sleep(1), asyncio.sleep(2))

    result = explore(main, seed=1)
    assert result.outcome is Outcome.EXHAUSTED
    assert re.fullmatch(
        "EXHAUSTED: 1 run, no failure\n  no thread was started: its tasks have one order, asyncio's\n"
        "  sleeps and timeouts ended in any order in [0-9]+ runs",
        result.report(),
    )


@pytest.mark.parametrize(("strategy", "outcome"), [("dpor", Outcome.EXHAUSTED), ("auto", Outcome.BUDGET_SPENT)])
def test_it_is_said_that_sleeps_ended_in_order_of_time(strategy: str, outcome: Outcome) -> None:
    def test() -> None:
        together(lambda: time.sleep(0.1), lambda: time.sleep(0.2))

    result = explore(test, runs=100, seed=1, strategy=strategy)
    assert result.outcome is outcome
    assert result.report().endswith("\n  sleeps and timeouts ended in order of time: --early-timeouts tries others")
    assert "sleeps" not in explore(lambda: together(int, int), runs=100, seed=1, strategy=strategy).report()


# ---- time ------------------------------------------------------------------------------------------------------------


class Day(date):
    """A class of a program's own."""


class Moment(datetime):
    @classmethod
    def fromtimestamp(cls, *_: object) -> Moment:  # type: ignore[override]
        raise AssertionError("now() doesn't call it")


AN_HOUR_AHEAD = timezone(timedelta(hours=1))


def in_microseconds(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
@pytest.mark.parametrize("cls", [datetime, Moment])
def test_datetime_is_on_the_clock_of_the_run(cls: type[datetime]) -> None:
    def look() -> None:
        time.sleep(10**6)
        before = time.time_ns() // 1000
        utc = cls.utcnow()
        told = [cls.now(), cls.now(None), cls.now(UTC), cls.now(tz=AN_HOUR_AHEAD), utc]
        after = time.time_ns() // 1000
        assert {type(one) for one in told} == {cls}
        assert [one.utcoffset() for one in told] == [None, None, timedelta(), timedelta(hours=1), None]
        for one in (*told[:4], utc.replace(tzinfo=UTC)):
            assert before <= in_microseconds(one.astimezone(UTC)) <= after

    of_each_run(look)


def test_the_day_and_the_calendar_are_on_the_clock_of_the_run() -> None:
    looks: list[Callable[[], tuple[int, ...]]] = [
        lambda: datetime.today().timetuple()[:6],
        lambda: time.localtime()[:6],
        lambda: time.localtime(None)[:6],
        lambda: time.strptime(time.ctime())[:6],
        lambda: time.strptime(time.ctime(None))[:6],
        lambda: time.strptime(time.asctime())[:6],
        lambda: tuple(map(int, time.strftime("%Y %m %d %H %M %S").split())),
    ]

    def look() -> None:
        time.sleep(10**8)
        before = datetime.fromtimestamp(int(time.time()))
        local = [datetime(*one()) for one in looks]  # type: ignore[arg-type]
        utc, day = datetime(*time.gmtime()[:6]), Day.today()
        after = datetime.fromtimestamp(time.time())
        assert all(before <= one <= after for one in local)
        assert before <= utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None) <= after
        assert before.date() <= day <= after.date()
        assert type(day) is Day
        assert time.gmtime(0)[0] == 1970 == int(time.strftime("%Y", time.gmtime(0)))

    of_each_run(look)


@pytest.mark.parametrize(
    "name", [name for name in dir(time) if name.startswith("CLOCK_") and "CPUTIME" not in name and name != "CLOCK_PROF"]
)
def test_clocks_by_their_numbers_are_the_clock_of_the_run(name: str) -> None:
    clock = getattr(time, name)

    def look() -> tuple[float, int]:
        before = time.clock_gettime(clock), time.clock_gettime_ns(clock)
        time.sleep(1000)
        return time.clock_gettime(clock) - before[0], time.clock_gettime_ns(clock) - before[1]

    for seconds, nanoseconds in of_each_run(look):
        assert 999.99 < seconds < 1001
        assert 999.99e9 < nanoseconds < 1001e9


def test_arguments_that_these_functions_refuse_are_refused() -> None:
    wrong: list[Callable[[], object]] = [
        lambda: datetime.now(1),  # type: ignore[arg-type]
        lambda: datetime.now(None, None),  # type: ignore[call-arg]
        lambda: datetime.now(zone=None),  # type: ignore[call-arg]
        lambda: time.localtime("x"),  # type: ignore[arg-type]
        lambda: time.asctime(None),  # type: ignore[arg-type]
        lambda: time.strftime("%Y", None),  # type: ignore[arg-type]
        lambda: time.strftime(),  # type: ignore[call-arg]
        lambda: time.clock_gettime("x"),  # type: ignore[arg-type]
        lambda: time.clock_gettime(),  # type: ignore[call-arg]
    ]

    def look() -> None:
        for call in wrong:
            with pytest.raises(TypeError):
                call()
        with pytest.raises(OSError, match="Invalid argument"):
            time.clock_gettime(999)

    of_each_run(look, runs=2)


def test_a_time_zone_is_asked_once() -> None:
    class Zone(tzinfo):
        def fromutc(self, when: datetime, /) -> datetime:
            asked.append(when)
            return when

    asked: list[datetime] = []
    zone = Zone()
    assert len(of_each_run(lambda: datetime.now(zone))) == len(asked)


@passing()
def test_a_scheduler_by_the_time_of_day_comes_to_its_job() -> None:
    """It computes its waits from datetime.now(), so its waits and that clock must go on together."""
    wake, due = threading.Event(), datetime.now() + timedelta(seconds=5)
    ran: list[bool] = []

    def loop() -> None:
        while (left := (due - datetime.now()).total_seconds()) > 0:
            wake.wait(left)
        ran.append(True)

    run_thread(threading.Thread(target=loop))
    assert ran


def test_other_threads_see_the_real_clock() -> None:
    told: list[tuple[datetime, float]] = []

    def test() -> None:
        time.sleep(10**6)
        ask.set()
        answered.wait()

    def outside() -> None:
        ask.wait()
        told.append((datetime.now(), time.clock_gettime(time.CLOCK_REALTIME)))
        answered.set()

    ask, answered = threading.Event(), threading.Event()
    thread = threading.Thread(target=outside)
    thread.start()
    explore(test, runs=1)
    thread.join()
    for seen in (told[0][0].timestamp(), told[0][1]):
        assert abs(seen - time.time()) < 600


# ---- chance ----------------------------------------------------------------------------------------------------------

DRAWS: dict[str, Callable[[], object]] = {
    "random": random.random,
    "getrandbits": lambda: random.getrandbits(64),
    "gauss": lambda: random.gauss(0, 1),
    "getstate": random.getstate,
    "seed": lambda: (random.seed(), random.random()),
    "Random": lambda: random.Random().random(),
    "Random(None)": lambda: random.Random(None).random(),
    "SystemRandom": lambda: random.SystemRandom().random(),
    "secrets": lambda: secrets.token_hex(9),
    "uuid4": uuid.uuid4,
    "urandom": lambda: os.urandom(13),
    "getrandom": lambda: os.getrandom(13),
}


@pytest.mark.parametrize("name", DRAWS)
def test_chance_is_the_same_in_each_run(name: str) -> None:
    draw = DRAWS[name]
    assert len(set(of_each_run(draw))) == 1
    assert len({draw() for _ in range(20)}) == 20 or name == "getstate"  # afterwards there is chance again


@pytest.mark.parametrize("name", [name for name in DRAWS if name != "getstate"])
def test_chance_differs_within_a_run(name: str) -> None:
    draw = DRAWS[name]

    def look() -> int:
        drawn = [draw() for _ in range(5)]
        run_thread(threading.Thread(target=lambda: drawn.extend(draw() for _ in range(5))))
        return len(set(drawn))

    assert set(of_each_run(look)) == {10}


def test_a_run_that_draws_late_has_the_same_numbers() -> None:
    runs = 0

    def look() -> float:
        nonlocal runs
        runs += 1
        return random.random() if runs > 10 else 0

    assert len(set(of_each_run(look))) == 2


def test_what_a_thread_draws_does_not_depend_on_the_others() -> None:
    drawn: set[tuple[str, uuid.UUID]] = set()
    orders: set[str] = set()

    def test() -> None:
        order: list[str] = []

        def draw(name: str) -> None:
            with lock:
                order.append(name)
            drawn.add((name, uuid.uuid4()))

        lock = threading.Lock()
        together(lambda: draw("a"), lambda: draw("b"), lambda: draw("c"))
        orders.add("".join(order))

    explore(test, runs=200, seed=1, granularity="sync")
    assert len(orders) == 6
    assert len(drawn) == 3


def test_chance_is_the_same_in_each_process() -> None:
    program = """
import random, uuid
from lwp.explore import explore
seen = set()
explore(lambda: seen.add((uuid.uuid4(), random.random(), random.Random().random())), runs=5)
print(seen)
"""
    first, second = (python("-c", program).stdout for _ in range(2))
    assert first == second
    assert first.count("UUID") == 1


def test_a_seed_of_the_program_is_kept() -> None:
    wanted = random.Random(5)
    assert set(of_each_run(lambda: random.Random(5).random())) == {wanted.random()}

    def look() -> float:
        random.seed(5)
        state = random.getstate()
        drawn = random.random()
        random.setstate(state)
        assert random.random() == drawn
        return drawn

    assert set(of_each_run(look)) == {random.Random(5).random()}


@pytest.mark.parametrize("made", ["threads", "futures"])
def test_a_set_has_the_same_order_in_each_run(made: str) -> None:
    kept: list[object] = []  # so that no run's objects have the addresses of another's

    def order() -> list[int]:
        things = [threading.Thread() if made == "threads" else Future[None]() for _ in range(20)]
        kept.extend(things)
        numbers = {id(thing): number for number, thing in enumerate(things)}
        return [numbers[id(thing)] for thing in set(things)]

    first, *others = of_each_run(order)
    assert all(other == first for other in others)


def test_wait_takes_the_locks_of_its_futures_in_the_same_order_in_each_run() -> None:
    kept: list[object] = []

    def waits() -> list[int]:
        order: list[int] = []
        futures = [Future[None]() for _ in range(20)]
        kept.extend(futures)
        for number, future in enumerate(futures):
            future.set_result(None)
            noting = SimpleNamespace(acquire=partial(order.append, number), release=int)
            future._condition = noting  # type: ignore[attr-defined]
        concurrent.futures.wait(futures)
        return order

    first, *others = of_each_run(waits)
    assert sorted(first) == list(range(20))
    assert all(other == first for other in others)


def test_the_state_of_random_is_as_before_afterwards() -> None:
    random.seed(7)
    of_each_run(random.random)
    assert random.random() == random.Random(7).random()


def test_sizes_that_urandom_refuses_are_refused() -> None:
    def look() -> int:
        for size, error in ((-1, ValueError), ("x", TypeError)):
            with pytest.raises(error):
                os.urandom(size)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            os.getrandom()  # type: ignore[call-arg]
        return len(os.urandom(0) + os.urandom(7) + os.urandom(8) + os.getrandom(3, os.GRND_NONBLOCK))

    assert set(of_each_run(look)) == {18}
