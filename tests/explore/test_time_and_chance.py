"""What a run sees of time and chance is the run's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from runtime.explore import Outcome, explore

RUNS = 20


def of_each_run(look: Callable[[], Any], runs: int = RUNS) -> list[Any]:
    """What look() returns in each run, called by a thread of the test."""
    seen: list[Any] = []

    def test() -> None:
        thread = threading.Thread(target=lambda: seen.append(look()))
        thread.start()
        thread.join()

    result = explore(test, runs=runs, seed=1, granularity="sync")
    assert result.outcome in (Outcome.BUDGET_SPENT, Outcome.EXHAUSTED), result.report()
    assert len(seen) == result.runs > 1
    return seen


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


def test_a_scheduler_by_the_time_of_day_comes_to_its_job() -> None:
    """It computes its waits from datetime.now(), so its waits and that clock must go on together."""

    def test() -> None:
        wake, due = threading.Event(), datetime.now() + timedelta(seconds=5)
        ran: list[bool] = []

        def loop() -> None:
            while (left := (due - datetime.now()).total_seconds()) > 0:
                wake.wait(left)
            ran.append(True)

        thread = threading.Thread(target=loop)
        thread.start()
        thread.join()
        assert ran

    result = explore(test, runs=100, seed=1)
    assert result.outcome in (Outcome.BUDGET_SPENT, Outcome.EXHAUSTED), result.report()


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
