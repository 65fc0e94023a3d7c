"""Two transfers at once. Python's own threads pass all of these tests, run after run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bank import Account, transfer, transfer_locked, transfer_ordered

Transfer = Callable[[Account, Account, int], None]


def pay_twice(transfer: Transfer) -> None:
    alice, bob = Account("alice", 100), Account("bob", 0)
    payments = [threading.Thread(target=transfer, args=(alice, bob, 70), name=name) for name in ("first", "second")]
    for payment in payments:
        payment.start()
    for payment in payments:
        payment.join()
    assert alice.balance >= 0


def pay_each_other(transfer: Transfer) -> None:
    alice, bob = Account("alice", 100), Account("bob", 100)
    there = threading.Thread(target=transfer, args=(alice, bob, 70), name="there")
    back = threading.Thread(target=transfer, args=(bob, alice, 70), name="back")
    there.start()
    back.start()
    there.join()
    back.join()
    assert alice.balance + bob.balance == 200


def test_twice() -> None:
    pay_twice(transfer)


def test_twice_locked() -> None:
    pay_twice(transfer_locked)


def test_each_other_locked() -> None:
    pay_each_other(transfer_locked)


def test_twice_ordered() -> None:
    pay_twice(transfer_ordered)


def test_each_other_ordered() -> None:
    pay_each_other(transfer_ordered)
