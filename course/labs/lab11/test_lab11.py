"""Grades a barrier on a futex."""

from __future__ import annotations

from types import ModuleType

import pytest
from conftest import in_every_order, together


@pytest.mark.parametrize(("parties", "preemptions"), [(2, 2), (3, 1)])
def test_nobody_leaves_before_all_have_come(yours: ModuleType, parties: int, preemptions: int) -> None:
    def test() -> None:
        barrier, come = yours.Barrier(parties), []

        def work() -> None:
            come.append(1)
            barrier.wait()
            assert len(come) == parties

        together(*[work] * parties)

    in_every_order(test, preemptions)


def test_one_is_told(yours: ModuleType) -> None:
    def test() -> None:
        barrier, told = yours.Barrier(3), []
        together(*[lambda: told.append(barrier.wait())] * 3)
        assert sorted(told) == [False, False, True]

    in_every_order(test, preemptions=1)


@pytest.mark.parametrize(("parties", "rounds", "preemptions"), [(2, 3, 2), (3, 2, 1)])
def test_it_can_be_used_again_at_once(yours: ModuleType, parties: int, rounds: int, preemptions: int) -> None:
    def test() -> None:
        barrier, come, told = yours.Barrier(parties), [0] * rounds, [0] * rounds

        def work() -> None:
            for number in range(rounds):
                come[number] += 1
                last = barrier.wait()
                told[number] += last
                assert come[number] == parties

        together(*[work] * parties)
        assert told == [1] * rounds

    in_every_order(test, preemptions)


def test_a_wake_up_for_no_reason_lets_nobody_go(yours: ModuleType) -> None:
    def test() -> None:
        barrier, come = yours.Barrier(2), []
        for word in (barrier.count, barrier.round):
            word.spurious = 1

        def work() -> None:
            come.append(1)
            barrier.wait()
            assert len(come) == 2

        together(work, work)

    in_every_order(test)


def test_a_thread_that_waits_sleeps(yours: ModuleType) -> None:
    """And the thread that comes last wakes all with one call."""

    def test() -> None:
        barrier = yours.Barrier(3)
        together(*[barrier.wait] * 3)
        calls = barrier.count.calls + barrier.round.calls
        assert calls["wait"] <= 2, "the barrier asks again and again instead of sleeping"
        assert calls["wake"] == 1
        assert calls.total() <= 20

    in_every_order(test, preemptions=1)
