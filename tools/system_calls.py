"""The system calls of a thread's start and join, here and in threading, as strace sees them.

    python tools/system_calls.py [--turns N]

Threads that do nothing are started and joined one after another, on one core.  When nothing new is needed for the next,
each call is counted.  It prints what one turn was, call by call, and how many of each there are in a turn on average.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass

from lwp.study.demo._beside import Untraced, is_mark, traced
from lwp.terminal.output import console, table

BEFORE = 100  # turns that are not counted

#: os.access() of a file that doesn't exist: a mark among the other calls.
PROGRAM = f"""
import os, sys
from {{module}} import Thread
os.sched_setaffinity(0, {{{{min(os.sched_getaffinity(0))}}}})
for turn in range({BEFORE} + {{turns}} + 1):
    if turn >= {BEFORE}:
        os.access("/turn", 0)
    thread = Thread(target=int)
    thread.start()
    thread.join()
"""

MEANINGS = {
    "gettid": "a PyThreadState notes the tid of who makes it; threading's thread asks again for its own",
    "clone": "makes the thread",
    "clone3": "makes the thread: clone in a newer form",
    "set_robust_list": "where the kernel finds the thread's robust mutexes, should it die",
    "rseq": "where the kernel keeps the number of the thread's CPU",
    "futex": "join; in threading also: the thread has begun, it has ended, the GIL",
    "exit": "ends the thread; the kernel clears its word and wakes the joiner",
    "rt_sigprocmask": "no signal while the thread is half made, or half gone",
    "mmap": "16 KiB for the frames of its Python functions",
    "munmap": "and back",
    "madvise": "gives back what its stack has touched",
}


@dataclass(frozen=True)
class Call:
    """One system call."""

    by_creator: bool
    name: str
    text: str  #: with its arguments


def turns(module: str, many: int) -> list[list[Call]]:
    """The calls of each turn with the module's Thread.  Untraced: strace is missing, or can't trace here."""
    found: list[list[Call]] = []
    for task, call in traced(PROGRAM.format(module=module, turns=many)):
        if is_mark(call):
            found.append([])
        elif found:
            text = call if call.endswith(")") else f"{call}...)"
            found[-1].append(Call(task == "creator", call.partition("(")[0], text))
    return found[:-1]  # after the last one the program ends


def usual(found: list[list[Call]]) -> list[Call]:
    """A turn that has the same calls as most."""

    def kind(turn: list[Call]) -> frozenset[tuple[tuple[bool, str], int]]:
        return frozenset(Counter((call.by_creator, call.name) for call in turn).items())

    most = Counter(kind(turn) for turn in found).most_common(1)[0][0]
    return next(turn for turn in found if kind(turn) == most)


def show(found: dict[str, list[list[Call]]]) -> None:
    out = console()
    for kind, its in found.items():
        out.print(f"A start and a join of {kind}\n")
        for call in usual(its):
            line = f"{'creator' if call.by_creator else 'thread ':8} {call.text}"
            out.print(line if len(line) <= out.width else line[: out.width - 1] + "…")
        out.print()
    each = {
        kind: {name: n / len(its) for name, n in Counter(call.name for turn in its for call in turn).items()}
        for kind, its in found.items()
    }
    rows = table("call", *found, "what for", right=tuple(found), fixed=("call", *found))
    seen = {name for calls in each.values() for name in calls}
    for name in sorted(seen, key=lambda name: [*MEANINGS, name].index(name)):
        numbers = [calls.get(name, 0) for calls in each.values()]
        if max(numbers) >= 0.05:  # not malloc's, now and then
            rows.add_row(name, *(f"{n:.1f}" if n else "-" for n in numbers), MEANINGS.get(name, ""))
    rows.add_row()
    rows.add_row("all", *(f"{sum(calls.values()):.1f}" for calls in each.values()), "")
    out.print(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="The system calls of a thread's start and join, by strace.")
    parser.add_argument("--turns", type=int, default=200, metavar="N", help="threads to average over (default: 200)")
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns must be at least 1")
    try:
        show({f"{module}.Thread": turns(module, options.turns) for module in ("runtime", "threading")})
    except Untraced as error:
        print(f"system_calls.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
