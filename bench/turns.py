"""`bench turns`: what threads that take turns cost, in time and processor time, alone and beside others."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib import import_module
from statistics import median
from typing import Any

import click

from lwp.bench.operations import operations, partners

PAIRS = ("lock-pingpong", "event-pingpong", "semaphore-pingpong", "condition-pingpong", "queue")
#: What runs beside the threads that take turns, in the order of the table.
BESIDE = {
    "nothing": "alone, on all processors",
    "pinned": "alone, on one processor",
    "busy": "a process that computes",
    "busy2": "two processes that compute",
    "computes": "a thread that computes under the GIL",
    "sleeper": "a thread that sleeps for 1 ms, again and again: how late it wakes",
}


def _slow(kind: Any, items: int = 100) -> tuple[float]:
    """A thread that waits for an item each half millisecond."""
    given, begun = kind.Semaphore(0), time.perf_counter_ns()

    def give() -> None:
        for _ in range(items):
            time.sleep(0.0005)
            given.release()

    with partners(kind, 1, give):
        for _ in range(items):
            given.acquire()
    return ((time.perf_counter_ns() - begun) / items,)


def _in_c(kind: Any, threads: int = 16) -> tuple[float]:
    """Threads that compute in C without the GIL."""
    text, begun = bytes(2_000_000), time.perf_counter_ns()

    def compute() -> None:
        for _ in range(300):
            hashlib.sha256(text)

    with partners(kind, threads, compute):
        pass
    return (time.perf_counter_ns() - begun,)


def _measure(name: str, beside: str, samples: int, kind: Any) -> dict[str, float]:
    """In a process of its own: medians of the samples; ns, processor time in ns and sleeps, all of one turn."""
    own = {"slow": _slow, "in-c": _in_c}.get(name)
    sample = own or next(one.sample for one in operations(True) if one.rows[0].name == name)
    late: list[int] = []
    ended: list[bool] = []

    def compute() -> None:
        while not ended:
            sum(range(1000))

    def doze() -> None:
        while not ended:
            due = time.perf_counter_ns() + 1_000_000
            time.sleep(0.001)
            late.append(time.perf_counter_ns() - due)

    with ExitStack() as stack:
        if beside == "pinned":
            os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        for _ in range({"busy": 1, "busy2": 2}.get(beside, 0)):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        if beside in ("computes", "sleeper"):
            stack.enter_context(partners(kind, 1, compute if beside == "computes" else doze))
            stack.callback(ended.append, True)
        figures: list[tuple[float, ...]] = []
        samples = 2 if beside == "computes" else samples  # there a turn takes milliseconds
        until = time.monotonic() + (2 if beside == "sleeper" else 0)
        while len(figures) < samples or time.monotonic() < until:
            before = resource.getrusage(resource.RUSAGE_SELF)
            begun = time.perf_counter_ns()
            (ns,) = sample(kind)
            turns = (time.perf_counter_ns() - begun) / ns
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e9
            figures.append((ns, cpu / turns, (after.ru_nvcsw - before.ru_nvcsw) / turns))
    result = dict(zip(("ns", "cpu", "sleeps"), map(median, zip(*figures, strict=True)), strict=True))
    if late:
        late.sort()
        result |= {"p99": late[len(late) * 99 // 100], "worst": late[-1]}
    return result


@click.command(short_help="What threads that take turns cost, alone and beside others.")
@click.argument("names", nargs=-1, metavar="[OPERATION]...")
@click.option("--beside", type=click.Choice(list(BESIDE)), multiple=True, help="Only these.  [all]")
@click.option("--rounds", type=click.IntRange(1), default=5, metavar="N", help="Processes of each.  [5]")
@click.option("--samples", type=click.IntRange(1), default=20, metavar="N", help="Of 1,000 turns, in each.  [20]")
def turns(names: tuple[str, ...], beside: tuple[str, ...], rounds: int, samples: int) -> None:
    """What threads that take turns cost, in time and processor time, alone and beside others.

    OPERATION is a name of `lwp bench --list`, `slow`: an item each half millisecond, or `in-c`: 16 threads that compute
    in C. runtime and threading in turns, each in processes of its own; medians.
    """
    for where in beside or tuple(BESIDE):
        click.echo(f"{BESIDE[where]}\n{'':20}{'us':>9}{'ratio':>7}{'cpu us':>9}{'ratio':>7}{'sleeps':>8}{'stock':>7}")
        for name in names or PAIRS:
            found: dict[str, list[dict[str, float]]] = {"runtime.threading": [], "threading": []}
            for _ in range(rounds):
                for kind, those in found.items():
                    command = [sys.executable, "-m", "bench.turns", kind, name, where, str(samples)]
                    those.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
            ours, stock = ({key: median(one[key] for one in those) for key in those[0]} for those in found.values())
            line = "".join(f"{ours[key] / 1000:9.2f}{ours[key] / stock[key]:7.2f}" for key in ("ns", "cpu"))
            line += f"{ours['sleeps']:8.2f}{stock['sleeps']:7.2f}"
            late = [key for key in ("p99", "worst") if key in ours]
            line += "".join(f"  {key} {ours[key] / 1000:.0f} us ({stock[key] / 1000:.0f})" for key in late)
            click.echo(f"{name:20}{line}")


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[2], sys.argv[3], int(sys.argv[4]), import_module(sys.argv[1]))))
