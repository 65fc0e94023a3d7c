"""Takes the samples: ours, theirs, and theirs again, in turns, in processes of their own.

Each operation has a process, so that it doesn't find what another operation has left, and a crash loses one row.  The
process is told what to do as JSON, and prints a line for each round.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .operations import Figures, Operation, Unavailable, WrongResult, operations

__all__ = [
    "GREEN",
    "OURS",
    "PATIENCE",
    "Failed",
    "Result",
    "answer",
    "ask",
    "compare",
    "machine",
    "quartiles",
    "rounds",
]

OURS = "..core:threading"
GREEN = ".green"
CHILD = "import lwp_runtime; lwp_runtime.load('lwp.bench.measure').child()"
PATIENCE = 120  # seconds for a round


class Failed(Exception):
    """An operation that gave no figures, or wrong results."""


@dataclass(frozen=True)
class Result:
    """A row of the table.  Quartiles and median are those of the rounds; a ratio is one of the same round."""

    operation: str
    text: str
    unit: str  #: of ours and other: ns, bytes, calls
    vs: str  #: the module
    rounds: int
    ours: float  #: median
    other: float  #: median
    ratio: float  #: ours to other, median
    spread: tuple[float, float]  #: quartiles of the ratio
    noise: tuple[float, float]  #: quartiles of the ratio of other to other: a ratio this far from 1 means nothing


def rounds(operation: Operation, quick: bool) -> int:
    return (3 if quick else 5) if operation.alone else (20 if quick else 60)


def compare(
    operation: Operation, ours: str, vs: str, quick: bool, core: int | None, advance: Callable[[], object]
) -> list[Result]:
    """Measures one operation of OURS or GREEN and of the module `vs`, a Result for each of its rows.

    core: where it runs, None for anywhere.  advance: called after each round.
    Unavailable: it can't be measured here.  Failed: it raised, crashed, or did not do what it should.
    """
    number = rounds(operation, quick)
    modules = [ours, vs, vs]
    taken: list[list[Figures]] = []  # for each round the figures of each module
    if operation.alone:
        for order in orders(number, len(modules)):
            found = {slot: _run(operation, [modules[slot]], 1, quick, core)[0][0] for slot in order}
            taken.append([found[slot] for slot in range(len(modules))])
            advance()
    else:
        taken = _run(operation, modules, number, quick, core, advance)
    results = []
    for at, row in enumerate(operation.rows):
        mine, theirs, again = ([figures[slot][at] for figures in taken] for slot in range(len(modules)))
        if min(theirs + again) <= 0:  # threads that are not the kernel's need no system calls, stacks, ...
            raise Unavailable(f"{vs}: {row.text}: {min(theirs + again):g}, no base for a ratio")
        low, ratio, high = quartiles([one / two for one, two in zip(mine, theirs, strict=True)])
        noise_low, _, noise_high = quartiles([second / first for second, first in zip(again, theirs, strict=True)])
        medians = statistics.median(mine), statistics.median(theirs)
        spreads = (low, high), (noise_low, noise_high)
        results.append(Result(row.name, row.text, row.unit, vs, number, *medians, ratio, *spreads))
    return results


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def orders(number: int, slots: int) -> list[list[int]]:
    """Which module comes when, in each round, so that none always comes after the same other."""
    shuffled = random.Random(1)
    return [shuffled.sample(range(slots), slots) for _ in range(number)]


def machine() -> dict[str, str]:
    """What the figures depend on."""
    processor = platform.machine()
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "python": f"{platform.python_version()}, {platform.python_compiler()}, {'with' if optimized else 'no'} PGO",
        "processor": f"{processor}, {len(os.sched_getaffinity(0))} cores",
        "system": f"Linux {platform.release()}, {' '.join(platform.libc_ver())}",
        "load": f"{os.getloadavg()[0]:.2f} when it began",
    }


# ---- the process that does it ----------------------------------------------------------------------------------------


def _run(
    operation: Operation,
    modules: list[str],
    number: int,
    quick: bool,
    core: int | None,
    advance: Callable[[], object] = lambda: None,
) -> list[list[Figures]]:
    name = operation.rows[0].name
    task = {"operation": name, "modules": modules, "rounds": number, "quick": quick, "core": core}
    told = ask(CHILD, task, number, ", ".join(dict.fromkeys(modules)), advance)
    return [one["figures"] for one in told]


def ask(
    program: str,
    task: dict[str, Any],
    number: int,
    who: str,
    advance: Callable[[], object] = lambda: None,
    before: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Runs a Python program that calls answer(), in a process of its own, and yields what it prints, a line for each
    sample.

    who: for messages.  before: a command that runs another command, and may write about that on standard error.
    """
    # Our sys.path, without the working directory before it (-P).
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*before, sys.executable, "-P", "-c", program, json.dumps(task)]
    taken: list[dict[str, Any]] = []
    errors = subprocess.DEVNULL if before else None
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
    ) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                told = json.loads(line)
                if "unavailable" in told:
                    raise Unavailable(told["unavailable"])
                if "failed" in told:
                    raise Failed(told["failed"])
                taken.append(told)
                advance()
        except BaseException:  # KeyboardInterrupt too, because its threads may wait for each other for ever
            process.kill()
            raise
    if process.returncode or len(taken) < number:
        reason = f"exit status {process.returncode}"
        if process.returncode < 0:
            reason = signal.Signals(-process.returncode).name
            if process.returncode == -signal.SIGALRM:
                reason = f"a round did not end within {PATIENCE} s"
        raise Failed(f"{who}: {reason}, after {len(taken)} of {number} rounds")
    return taken


def _kind(name: str) -> Any:
    module, _, attribute = name.partition(":")
    found = import_module(module, __package__)
    return getattr(found, attribute) if attribute else found


def _do(task: dict[str, Any]) -> None:
    if task["core"] is not None:
        os.sched_setaffinity(0, {task["core"]})
    kinds = list(map(_kind, task["modules"]))
    operation = next(known for known in operations(task["quick"]) if known.rows[0].name == task["operation"])

    def sample(kind: Any) -> Figures:
        try:
            return operation.sample(kind)
        except Unavailable:
            raise
        except WrongResult as error:
            raise Failed(f"{kind.__name__}: {error}") from None
        except Exception as error:
            raise Failed(f"{kind.__name__}: {type(error).__name__}: {error}") from error

    gc.disable()
    signal.alarm(PATIENCE)  # it has no handler, so it ends threads that wait for each other for ever
    if not operation.alone:
        for kind in kinds[:2]:
            sample(kind)  # warms caches, makes the first stacks
    for order in orders(task["rounds"], len(kinds)):
        signal.alarm(PATIENCE)
        gc.collect()
        found = {slot: sample(kinds[slot]) for slot in order}
        print(json.dumps({"figures": [found[slot] for slot in range(len(kinds))]}), flush=True)


def answer(do: Callable[[dict[str, Any]], object]) -> None:
    """The main program of a process that ask() has started."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C is told once, by our parent
    try:
        do(json.loads(sys.argv[1]))
    except Unavailable as error:
        told = {"unavailable": str(error)}
    except Failed as error:
        told = {"failed": str(error)}
    else:
        return
    print(json.dumps(told), flush=True)
    os._exit(1)  # not sys.exit(), which would wait for the partners of a thread that has failed


def child() -> None:
    answer(_do)
