"""Semaphores and turnstiles: a token too few, a token too many, a token taken by the wrong one."""

from __future__ import annotations

import time
from functools import partial
from threading import Barrier, Condition, Lock, Semaphore

from . import ASSERTION, DEADLOCK, SYNC, Atomic, program, together


@program(DEADLOCK, SYNC, depth=1)
def slot_lost_by_an_exception(fixed: bool) -> None:
    """folklore of connection pools: an exception between acquire() and release() keeps the slot"""
    slots = Semaphore(1)
    connected = Atomic(True)
    answers: list[str] = []

    def send() -> None:
        if not connected.get():
            raise ConnectionError

    def client() -> None:
        try:
            if fixed:
                with slots:
                    send()
            else:
                slots.acquire()
                send()  # window: disconnected by now
                slots.release()
            answers.append("sent")
        except ConnectionError:
            answers.append("failed")

    together(client, client, partial(connected.set, False))
    assert len(answers) == 2


@program(ASSERTION, SYNC, depth=2)
def slot_given_back_twice(fixed: bool) -> None:
    """folklore of error handling: the slot is given back where the error is handled, and once more in `finally`"""
    slots = Semaphore(1)
    inside = 0

    def work(fails: bool) -> None:
        nonlocal inside
        slots.acquire()
        try:
            inside += 1
            time.sleep(0)  # window: two are inside, with the token too many
            assert inside == 1
            inside -= 1
            if fails:
                raise ConnectionError
        except ConnectionError:
            if not fixed:
                slots.release()
        finally:
            slots.release()

    together(partial(work, True), partial(work, False), partial(work, False))


@program(ASSERTION, SYNC, depth=2)
def second_reader_walks_in(fixed: bool) -> None:
    """Downey, The Little Book of Semaphores, after the readers-writers problem (Courtois, Heymans and Parnas, 1971):
    the first reader waits for the room outside of the readers' mutex"""
    mutex, room = Lock(), Semaphore(1)
    readers = 0
    state = [0, 0]

    def read() -> None:
        nonlocal readers
        with mutex:
            readers += 1
            first = readers == 1
            if fixed and first:
                room.acquire()
        if not fixed and first:
            room.acquire()  # window: the writer is inside; the second reader does not wait for it
        before = state[0]
        time.sleep(0)
        assert before == state[1]
        with mutex:
            readers -= 1
            if readers == 0:
                room.release()

    def write() -> None:
        with room:
            state[0] += 1
            time.sleep(0)
            state[1] += 1

    together(write, read, read)


@program(ASSERTION, SYNC, depth=2)
def barrier_with_one_turnstile(fixed: bool) -> None:
    """Downey, The Little Book of Semaphores, after the second non-solution of its reusable barrier: one turnstile lets
    a thread through twice"""
    mutex, turnstile = Lock(), Semaphore(0)
    barrier = Barrier(2)
    inside = 0
    arrived: list[list[str]] = [[], []]

    def wait() -> None:
        nonlocal inside
        with mutex:
            inside += 1
            if inside == 2:
                turnstile.release()
        turnstile.acquire()
        turnstile.release()
        with mutex:  # window: we are through, and around, before the other has come here
            inside -= 1
            if inside == 0:
                turnstile.acquire()

    def work(name: str) -> None:
        for lap in arrived:
            lap.append(name)
            if fixed:
                barrier.wait()
            else:
                wait()
            assert sorted(lap) == ["ann", "bob"]

    together(partial(work, "ann"), partial(work, "bob"))


@program(DEADLOCK, SYNC, depth=2)
def permits_one_by_one(fixed: bool) -> None:
    """Dijkstra, Cooperating Sequential Processes (EWD 123, 1965), after the banker's problem: two customers get what
    they need one by one"""
    florins = Semaphore(2)
    counter = Lock()
    built: list[str] = []

    def build(name: str) -> None:
        if fixed:
            with counter:
                florins.acquire()
                florins.acquire()
        else:
            florins.acquire()
            florins.acquire()  # window: each has one
        built.append(name)
        florins.release(2)

    together(partial(build, "ann"), partial(build, "bob"))
    assert len(built) == 2


@program(DEADLOCK, SYNC, depth=1)
def wait_with_the_mutex(fixed: bool) -> None:
    """Downey, The Little Book of Semaphores, after Deadlock #4 of its producers and consumers: waits for an item with
    the mutex held"""
    mutex, items = Lock(), Semaphore(0)
    buffer: list[str] = []
    taken: list[str] = []

    def produce() -> None:
        with mutex:
            buffer.append("item")
        items.release()

    def consume() -> None:
        if fixed:
            items.acquire()
        with mutex:
            if not fixed:
                items.acquire()  # window: nothing there yet, and the producer needs the mutex
            taken.append(buffer.pop())

    together(produce, consume)
    assert taken == ["item"]


@program(DEADLOCK, SYNC, depth=1)
def cigarette_smokers(fixed: bool) -> None:
    """Patil's cigarette smokers (1971), after The Little Book of Semaphores: who needs another second ingredient takes
    the first"""
    semaphores = {ingredient: Semaphore(0) for ingredient in ("tobacco", "paper", "match")}
    table = Condition()
    offered: list[str] = []
    smoked = Semaphore(0)

    def agent() -> None:
        for pair in (("tobacco", "paper"), ("tobacco", "match")):
            if fixed:
                with table:
                    offered.extend(pair)
                    table.notify_all()
            else:
                for ingredient in pair:
                    semaphores[ingredient].release()
            smoked.acquire()

    def smoker(first: str, second: str) -> None:
        if fixed:  # takes both or none
            with table:
                table.wait_for(lambda: {first, second} <= set(offered))
                offered.clear()
        else:
            semaphores[first].acquire()  # window: what the other smoker needs now
            semaphores[second].acquire()
        smoked.release()

    together(agent, partial(smoker, "tobacco", "paper"), partial(smoker, "tobacco", "match"))
