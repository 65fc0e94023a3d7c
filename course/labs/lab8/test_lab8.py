"""Grades repairs of races: threads are switched between any two bytecodes, and at each lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import ModuleType

import pytest
from conftest import together

from lwp.explore import Outcome, explore


def in_many_orders(*tests: Callable[[], object]) -> None:
    """All orders with one interruption; then some hundred with more, by chance."""
    for test in tests:
        for strategy, runs in (("dfs:1", 20_000), ("pct", 300)):
            result = explore(test, strategy=strategy, granularity="opcode", runs=runs, seed=1)
            if result.outcome not in (Outcome.EXHAUSTED, Outcome.BUDGET_SPENT):
                pytest.fail(result.report(), pytrace=False)


def test_a_counter(yours: ModuleType) -> None:
    def each_report_counts() -> None:
        counter = yours.Counter()
        together(lambda: counter.report(lambda: 1), lambda: counter.report(lambda: 10))
        assert counter.total == 11

    def two_threads_weigh_at_once() -> None:
        counter, both = yours.Counter(), threading.Barrier(2)
        together(*[lambda: counter.report(both.wait)] * 2)
        assert counter.total == 1

    in_many_orders(each_report_counts, two_threads_weigh_at_once)


def test_a_cache(yours: ModuleType) -> None:
    def a_value_is_made_once() -> None:
        made: list[str] = []
        got: list[int] = []

        def make(key: str) -> int:
            made.append(key)
            return len(made)

        cache = yours.Cache(make)
        together(*[lambda: got.append(cache.get("key"))] * 2)
        assert (made, got) == (["key"], [1, 1])

    def two_values_are_made_at_once() -> None:
        both = threading.Barrier(2)
        cache = yours.Cache(lambda key: both.wait())
        together(lambda: cache.get("one"), lambda: cache.get("two"))

    in_many_orders(a_value_is_made_once, two_values_are_made_at_once)


def test_accounts(yours: ModuleType) -> None:
    def two_pay_each_other() -> None:
        alice, bob = yours.Account(100), yours.Account(100)
        together(lambda: alice.pay(bob, 70), lambda: bob.pay(alice, 50))
        assert (alice.balance, bob.balance) == (80, 120)

    def none_pays_more_than_it_has() -> None:
        alice, bob = yours.Account(100), yours.Account(100)
        done: list[bool] = []
        together(*[lambda: done.append(alice.pay(bob, 70))] * 2)
        assert sorted(done) == [False, True]
        assert (alice.balance, bob.balance) == (30, 170)

    def one_pays_itself() -> None:
        alice = yours.Account(100)
        together(lambda: alice.pay(alice, 70))
        assert alice.balance == 100

    def others_go_on() -> None:
        alice, bob, carol, dave = (yours.Account(100) for _ in range(4))
        with alice.lock:
            waits = threading.Thread(target=alice.pay, args=(bob, 70))
            waits.start()
            time.sleep(1)  # the explorer's clock goes on only when no thread can
            assert alice.balance == 100
            together(lambda: carol.pay(dave, 70))
        waits.join()
        assert [account.balance for account in (alice, bob, carol, dave)] == [30, 170, 30, 170]

    in_many_orders(two_pay_each_other, none_pays_more_than_it_has, one_pays_itself, others_go_on)


def test_a_bell(yours: ModuleType) -> None:
    def each_function_is_called() -> None:
        bell = yours.Bell()
        called: list[str] = []

        def first() -> None:
            called.append("first")

        bell.add(first)
        bell.add(lambda: called.append("second"))
        together(bell.ring, lambda: bell.remove(first))
        assert called.count("second") == 1

    def a_function_may_change_them() -> None:
        bell = yours.Bell()
        called: list[int] = []

        def again() -> None:
            called.append(1)
            bell.remove(again)
            bell.add(again)

        bell.add(again)
        together(bell.ring)
        assert called == [1]

    in_many_orders(each_function_is_called, a_function_may_change_them)


def test_a_gate(yours: ModuleType) -> None:
    def all_pass_an_open_gate() -> None:
        gate = yours.Gate()
        together(gate.pass_, gate.pass_, gate.open)

    def all_that_wait_pass() -> None:
        gate = yours.Gate()

        def open_and_close() -> None:
            time.sleep(1)  # until the two others wait
            gate.open()
            gate.close()

        together(gate.pass_, gate.pass_, open_and_close)

    def none_passes_a_closed_gate() -> None:
        gate = yours.Gate()
        passed: list[int] = []
        gate.open()
        gate.close()
        waits = threading.Thread(target=lambda: (gate.pass_(), passed.append(1)))
        waits.start()
        time.sleep(1)
        assert not passed
        gate.open()
        waits.join()

    in_many_orders(all_pass_an_open_gate, all_that_wait_pass, none_passes_a_closed_gate)
