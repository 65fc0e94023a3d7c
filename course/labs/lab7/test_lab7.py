"""Grades a work-stealing queue."""

from __future__ import annotations

from collections import Counter
from types import ModuleType

import pytest
import word
from conftest import in_every_order, together


def test_the_owner_has_the_last_and_thieves_the_first(yours: ModuleType) -> None:
    deque = yours.Deque(4)
    assert [deque.push(item) for item in (1, 2, 3, 4)] == [True] * 4
    assert (deque.pop(), deque.steal(), deque.pop(), deque.steal()) == (4, 1, 3, 2)
    assert (deque.pop(), deque.steal()) == (None, None)


def test_it_has_room_for_so_many_and_goes_on_in_a_circle(yours: ModuleType) -> None:
    deque = yours.Deque(2)
    for item in range(1, 10, 2):
        assert [deque.push(item), deque.push(item + 1), deque.push(99)] == [True, True, False]
        assert [deque.steal(), deque.pop(), deque.pop()] == [item, item + 1, None]


def test_the_last_item_goes_to_one(yours: ModuleType) -> None:
    def test() -> None:
        deque = yours.Deque(2)
        got: list[int | None] = []
        deque.push(1)
        together(lambda: got.append(deque.pop()), lambda: got.append(deque.steal()))
        assert sorted(got, key=bool) == [None, 1]

    in_every_order(test)


def test_each_item_goes_to_one(yours: ModuleType) -> None:
    """With the owner and two thieves, and nothing is left behind."""

    def test() -> None:
        deque = yours.Deque(4)
        got: list[int | None] = []

        def own() -> None:
            for item in (1, 2, 3):
                assert deque.push(item)
            got.extend([deque.pop(), deque.pop()])

        together(own, lambda: got.append(deque.steal()), lambda: got.append(deque.steal()))
        rest = [deque.pop() for _ in range(3)]
        assert sorted(filter(None, got + rest)) == [1, 2, 3]

    in_every_order(test, preemptions=1)


def test_a_cell_that_is_used_again_confuses_no_thief(yours: ModuleType) -> None:
    def test() -> None:
        deque = yours.Deque(1)
        got: list[int | None] = []
        deque.push(1)

        def own() -> None:
            for item in (2, 3):
                got.append(deque.pop())
                if not deque.push(item):
                    got.append(item)
            got.append(deque.pop())

        together(own, lambda: got.append(deque.steal()))
        assert sorted(filter(None, [*got, deque.pop()])) == [1, 2, 3]

    in_every_order(test)


def test_the_owner_is_quick(yours: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """No exchange, and no sleep, as long as there is another item for thieves."""
    costs = Counter[str]()

    class Counted(word.Word):
        def exchange(self, value: int) -> int:
            costs["exchange"] += 1
            return super().exchange(value)

        def store(self, value: int) -> None:
            super().exchange(value)

        def compare_exchange(self, expected: int, value: int) -> int:
            costs["compare_exchange"] += 1
            return super().compare_exchange(expected, value)

        def add(self, number: int) -> int:
            costs["add"] += 1
            return super().add(number)

        def wait(self, value: int) -> None:
            costs["wait"] += 1

    monkeypatch.setattr(yours, "Word", Counted)
    deque = yours.Deque(8)
    for item in range(1, 9):
        assert deque.push(item)
    assert [deque.pop() for _ in range(7)] == list(range(8, 1, -1))
    assert not costs
