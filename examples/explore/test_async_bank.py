"""Two transfers at once, by tasks. Plain asyncio passes test_twice, run after run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from async_bank import Account, ask, transfer, transfer_locked, transfer_ordered, transfer_told

Transfer = Callable[[Account, Account, int], Coroutine[None, None, None]]


async def pay_twice(transfer: Transfer) -> None:
    alice, bob = Account("alice", 100), Account("bob", 0)

    async def by_card() -> None:
        await ask("card")
        await ask("limit")
        await transfer(alice, bob, 70)

    async with asyncio.TaskGroup() as payments:
        payments.create_task(transfer(alice, bob, 70), name="first")
        payments.create_task(by_card(), name="second")
    assert alice.balance >= 0


async def pay_each_other(transfer: Transfer) -> None:
    alice, bob = Account("alice", 100), Account("bob", 100)
    async with asyncio.TaskGroup() as payments:
        payments.create_task(transfer(alice, bob, 70), name="there")
        payments.create_task(transfer(bob, alice, 70), name="back")
    assert alice.balance + bob.balance == 200


async def test_twice() -> None:
    await pay_twice(transfer)


async def test_twice_locked() -> None:
    await pay_twice(transfer_locked)


async def test_each_other_locked() -> None:
    await pay_each_other(transfer_locked)


async def test_twice_ordered() -> None:
    await pay_twice(transfer_ordered)


async def test_each_other_ordered() -> None:
    await pay_each_other(transfer_ordered)


async def test_nothing_is_lost() -> None:
    alice, bob = Account("alice", 100), Account("bob", 0)
    async with asyncio.TaskGroup() as payments:
        payments.create_task(transfer_told(alice, bob, 70), name="payment")
    assert alice.balance + bob.balance == 100
