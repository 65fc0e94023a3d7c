"""`demo models`: the same work on kernel threads and on green ones."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console

from ...core import Barrier, Event, Scheduler, Thread, scheduler
from ...terminal.output import table
from ...terminal.output import time as duration
from ._shown import shows, threads_option

TURNS = 2_000  # for the cost of one
BLOCKED = 0.1  # seconds

#: Name, and how many LWPs carry green threads; 0: each thread has its own.
MODELS = {"1:1": 0, "green, 1 LWP": 1, "green, 2 LWPs": 2}


def together(lwps: int, *targets: Callable[[], object]) -> list[Thread]:
    """Runs each target in a thread of the model until all have ended."""
    green = Scheduler(lwps) if lwps else None
    threads = [Thread(target=target, scheduler=green) for target in targets]
    for thread in threads:
        thread.start()
    if green:
        green.run()
    for thread in threads:
        thread.join()
    return threads


def who(lwps: int, count: int) -> dict[str, Any]:
    """What CPython and the kernel call the threads while all are alive."""
    all_alive, tids = Barrier(count), [0] * count
    tasks: list[int] = []

    def body(number: int) -> None:
        tids[number] = threading.get_native_id()
        if all_alive.wait() == 0:
            # Without a GIL the first carrier may have come this far before the second is there.
            while len(found := os.listdir("/proc/self/task")) <= lwps > 1:
                scheduler.yield_()
            tasks.extend(sorted(map(int, found)))
        all_alive.wait()

    threads = together(lwps, *(partial(body, number) for number in range(count)))
    return {"idents": [thread.ident for thread in threads], "tids": tids, "tasks": tasks}


def turn_ns(lwps: int) -> float:
    """Nanoseconds for a turn of two threads that wake each other."""
    mine, yours = Event(), Event()

    def turn(wait: Event, wake: Event) -> None:
        for _ in range(TURNS):
            wait.wait()
            wait.clear()
            wake.set()

    mine.set()
    begun = time.perf_counter_ns()
    together(lwps, lambda: turn(mine, yours), lambda: turn(yours, mine))
    return (time.perf_counter_ns() - begun) / (2 * TURNS)


def turns_while_blocked(lwps: int) -> int:
    """How many turns a thread that sleeps a millisecond at a time has while another is in a call that blocks its
    LWP."""
    turns: list[float] = []
    over: list[tuple[float, float]] = []

    def block() -> None:
        begun = time.monotonic()
        time.sleep(BLOCKED)
        over.append((begun, time.monotonic()))

    def turn() -> None:
        while not over:
            turns.append(time.monotonic())
            scheduler.sleep(0.001)

    together(lwps, turn, block)
    begun, ended = over[0]
    return sum(begun < turn < ended for turn in turns)


def run(count: int) -> dict[str, Any]:
    """The facts of each model."""
    return {
        "pid": os.getpid(),
        "threads": count,
        "blocked_seconds": BLOCKED,
        "models": {
            name: {
                **who(lwps, count),
                "turn_ns": min(turn_ns(lwps) for _ in range(5)),
                "turns_while_one_blocks": turns_while_blocked(lwps),
            }
            for name, lwps in MODELS.items()
        },
    }


@shows(run, threads_option(4, 2, 100))
def command(out: Console, facts: dict[str, Any]) -> None:
    """The same work on kernel threads and on green ones.

    Starts N threads with an LWP each, N green ones on this LWP, and N on two others; asks CPython and the kernel what
    they are called, lets two take turns, and lets one block.
    """
    models, count = facts["models"], facts["threads"]
    rows = table("", *models, right=tuple(models))
    rows.add_row("threads, idents", *(f"{count}, {len(set(model['idents']))}" for model in models.values()))
    rows.add_row("tids", *(str(len(set(model["tids"]))) for model in models.values()))
    rows.add_row("/proc/self/task", *(str(len(model["tasks"])) for model in models.values()))
    rows.add_row("one wakes another", *(duration(model["turn_ns"]) for model in models.values()))
    rows.add_row("turns while one blocks", *(str(model["turns_while_one_blocks"]) for model in models.values()))
    out.print(rows)
    out.print(
        "\nTo CPython all are threads, each with an ident of its own: a stack, a TLS block and a thread pointer make a "
        f"thread. The kernel knows LWPs: {count} and the main thread's when each thread has one, this one alone when "
        "it carries green threads, and it knows nothing of them."
    )
    out.print(
        "\nA green thread that wakes another and waits leaves it the LWP in user space; the kernel has to do it "
        "between LWPs. The figure is the best of five, with whatever else runs on this machine."
    )
    out.print(
        f"\nBut a call that blocks, here {duration(BLOCKED * 1e9)} in a stock time.sleep(), blocks the LWP, and all "
        "that are on it have no turn meanwhile. With two LWPs the other one takes over after 2 ms."
    )
