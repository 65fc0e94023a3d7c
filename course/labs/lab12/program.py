"""A bakery with three faults, elsewhere for each seed: `lwp run program.py SEED`.  It ends when its input does."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from runtime import scheduler


class Shelf:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class Book:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.slow = ""  # the method that writes to the disk while it has the lock

    def add(self) -> None:
        with self.lock:
            self.work("add")

    def sum_up(self) -> None:
        with self.lock:
            self.work("sum_up")

    def print_out(self) -> None:
        with self.lock:
            self.work("print_out")

    def work(self, method: str) -> None:
        time.sleep(0.03 if method == self.slow else 0.001)


flour, sugar, eggs, milk = Shelf(), Shelf(), Shelf(), Shelf()
sales, stock, staff = Book(), Book(), Book()
oven, truck, bell = threading.Event(), threading.Event(), threading.Event()

NAMES = ("ann", "ben", "cem", "dora", "eva", "finn", "gita", "hans")
SHELVES = ("flour", "sugar", "eggs", "milk")
BOOKS = ("sales", "stock", "staff")
METHODS = ("add", "sum_up", "print_out")
EVENTS = ("oven", "truck", "bell")


class Faults(NamedTuple):
    circle: list[str]  # shelves: the baker that has one wants the next
    bakers: list[str]  # of the circle; then two that wait for it, and one with a timeout
    book: str
    method: str
    events: list[str]  # nobody sets the first; of the second nobody waits for ever; the third is set all the time
    waiters: int


def faults(seed: int) -> Faults:
    chance = random.Random(seed)
    circle = chance.sample(SHELVES, chance.choice((2, 3)))
    bakers = chance.sample(NAMES, len(circle) + 3)
    return Faults(
        circle,
        bakers,
        chance.choice(BOOKS),
        chance.choice(METHODS),
        chance.sample(EVENTS, 3),
        chance.randrange(3, 9),
    )


def take_both(one: Shelf, other: Shelf, all_have_one: threading.Barrier) -> None:
    with one.lock:
        all_have_one.wait()
        with other.lock:
            pass


def take(shelf: Shelf, timeout: float) -> None:
    if shelf.lock.acquire(timeout=timeout):
        shelf.lock.release()


def keep(book: Book) -> None:
    while True:
        for method in (book.add, book.sum_up, book.print_out):
            method()
            time.sleep(0.001)


def wait_again_and_again(event: threading.Event) -> None:
    while True:
        event.wait()


def ring(event: threading.Event) -> None:
    while True:
        time.sleep(0.02)
        event.set()
        event.clear()


def main(seed: int) -> None:
    found, named = faults(seed), globals().__getitem__
    asleep: list[threading.Thread] = []  # for good

    def start(target: Callable[..., object], *args: object, name: str | None = None) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        thread.start()
        return thread

    all_have_one = threading.Barrier(len(found.circle) + 1)
    shelves = [named(name) for name in found.circle]
    for at, name in enumerate(found.bakers[: len(shelves)]):
        asleep.append(start(take_both, shelves[at - 1], shelves[at], all_have_one, name=name))
    all_have_one.wait()
    wants, joins, gives_up = found.bakers[len(shelves) :]
    asleep.append(start(take, shelves[0], -1, name=wants))
    asleep.append(start(asleep[-1].join, name=joins))
    asleep.append(start(take, shelves[0], 3600, name=gives_up))

    forgotten, with_timeout, often = map(named, found.events)
    for _ in range(found.waiters):
        asleep.append(start(forgotten.wait))
        asleep.append(start(with_timeout.wait, 3600))
        start(wait_again_and_again, often)
    start(ring, often)

    named(found.book).slow = found.method
    for name in BOOKS:
        for _ in range(3):
            start(keep, named(name))

    def all_sleep() -> bool:
        waits = {wait.name for wait in scheduler.waiting().waits if wait.kind != "barrier"}
        return waits >= {thread.name for thread in asleep}

    while not all_sleep():
        time.sleep(0.01)
    print("open", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
