"""A program: one thread makes things, another takes them. It ends, except under one schedule of many."""

from __future__ import annotations

import threading

things: list[int] = []
changed = threading.Condition()


def make(number: int) -> None:
    with changed:
        things.append(number)
        changed.notify()


def take() -> int:
    if not things:
        with changed:
            changed.wait()
    return things.pop()


maker = threading.Thread(target=make, args=(42,))
maker.start()
print(take())
maker.join()
