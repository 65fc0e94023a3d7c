"""Accounts, and three ways to move money from one to another: docs/lwp/explore.md says what is wrong with two."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Account:
    name: str
    balance: int
    lock: threading.Lock = field(default_factory=threading.Lock)


def transfer(source: Account, target: Account, amount: int) -> None:
    if source.balance < amount:
        return
    with source.lock:
        source.balance -= amount
    with target.lock:
        target.balance += amount


def transfer_locked(source: Account, target: Account, amount: int) -> None:
    with source.lock, target.lock:
        if source.balance < amount:
            return
        source.balance -= amount
        target.balance += amount


def transfer_ordered(source: Account, target: Account, amount: int) -> None:
    first, second = sorted((source, target), key=lambda account: account.name)
    with first.lock, second.lock:
        if source.balance < amount:
            return
        source.balance -= amount
        target.balance += amount
