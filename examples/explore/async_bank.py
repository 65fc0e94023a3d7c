"""Accounts as in bank.py, between which tasks of asyncio move money: an await is where other tasks go on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Account:
    name: str
    balance: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


ANSWERS = {"audit": 0.002, "card": 0.001, "limit": 0.001}  # seconds


async def ask(service: str) -> None:
    """Stands for a request."""
    await asyncio.sleep(ANSWERS[service])


async def transfer(source: Account, target: Account, amount: int) -> None:
    if source.balance < amount:
        return
    await ask("audit")
    source.balance -= amount
    target.balance += amount


async def transfer_locked(source: Account, target: Account, amount: int) -> None:
    async with source.lock:
        if source.balance < amount:
            return
        await ask("audit")
        async with target.lock:
            source.balance -= amount
            target.balance += amount


async def transfer_ordered(source: Account, target: Account, amount: int) -> None:
    first, second = sorted((source, target), key=lambda account: account.name)
    async with first.lock, second.lock:
        if source.balance < amount:
            return
        await ask("audit")
        source.balance -= amount
        target.balance += amount


async def transfer_told(source: Account, target: Account, amount: int) -> None:
    if source.balance < amount:
        return
    source.balance -= amount
    await ask("audit")
    target.balance += amount
