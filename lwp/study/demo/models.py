"""`demo models`: the same work on kernel threads and on green ones."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from timeit import repeat
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


def by_fork(here: Callable[[], object], there: Callable[[], object]) -> None:
    """Runs there() in a child process meanwhile."""
    if (pid := os.fork()) == 0:
        try:
            there()
        finally:
            os._exit(0)
    here()
    os.waitpid(pid, 0)


def switch_ns(run_both: Callable[..., object]) -> float:
    """Nanoseconds for a switch between two that hand each other a byte through pipes, on one CPU."""
    (my_end, to_me), (your_end, to_you) = os.pipe(), os.pipe()
    times: list[int] = []

    def turn(read: int, write: int) -> None:
        begun = time.perf_counter_ns()
        for _ in range(TURNS):
            os.read(read, 1)
            os.write(write, b"x")
        times.append(time.perf_counter_ns() - begun)

    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    os.write(to_me, b"x")
    run_both(partial(turn, my_end, to_you), partial(turn, your_end, to_me))
    os.sched_setaffinity(0, cpus)
    for end in (my_end, to_me, your_end, to_you):
        os.close(end)
    return times[0] / (2 * TURNS)


def value_ns() -> dict[str, float]:
    """Nanoseconds to leave a byte and to take it, without a wait."""
    read, write = os.pipe()
    names = {"os": os, "shared": [b"x"], "read": read, "write": write}
    ways = {"variable": "shared[0] = b'x'; shared[0]", "pipe": "os.write(write, b'x'); os.read(read, 1)"}
    times = {name: min(repeat(way, number=TURNS, globals=names)) * 1e9 / TURNS for name, way in ways.items()}
    os.close(read)
    os.close(write)
    return times


def run(count: int) -> dict[str, Any]:
    """The facts of each model, and of processes beside threads."""
    both: dict[str, Callable[..., object]] = {"processes": by_fork, "threads": partial(together, 0)}
    return {
        "switch_ns": {name: min(switch_ns(run_both) for _ in range(5)) for name, run_both in both.items()},
        "value_ns": value_ns(),
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
    """The same work on kernel threads and on green ones, and what a process adds.

    Starts N threads with an LWP each, N green ones on this LWP, and N on two others; asks CPython and the kernel what
    they are called, lets two take turns, and lets one block. Two processes and two threads switch by a pipe.
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
    switch, value = ({name: duration(ns) for name, ns in facts[what].items()} for what in ("switch_ns", "value_ns"))
    out.print(
        f"\nThe kernel switches between two threads as between two processes: {switch['threads']} and "
        f"{switch['processes']}, by a pipe, on one CPU. But threads need no pipe, because they share their memory: to "
        f"leave a byte and take it costs {value['variable']} in a variable and {value['pipe']} in a pipe."
    )
