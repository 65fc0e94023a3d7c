"""`bench chaos`: in how many programs of the corpus a plain loop of so many seconds shows the bug."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "lwp" / "explore"
_STANDSTILL = 4.0  # seconds of one run: it hangs

#: How a program is run: arguments of python, and the switch interval.
WAYS = {
    "stock": ([], None),
    "1us": ([], 1e-6),
    "run": (["-m", "runtime", "run"], None),
    "chaos": (["-m", "runtime", "run", "--chaos", "{seed}", "--chaos-tasks"], None),
    "green-chaos": (["-m", "runtime", "run", "--green", "--chaos", "{seed}", "--chaos-tasks"], None),
}

#: What is run: a loop that ends at the first failure. It says at the beginning of its file how many runs it has begun.
LOOP = """
import os, sys, threading, time
sys.path.insert(0, {corpus!r})
import corpus
failed = []
threading.excepthook = lambda args: failed.append(args.exc_value)
if {interval!r} is not None:
    sys.setswitchinterval({interval!r})
program = next(one for one in corpus.PROGRAMS if one.name == {name!r})
until, runs = time.monotonic() + {seconds!r}, 0
while time.monotonic() < until and not failed:
    os.pwrite(1, b"%12d" % (runs := runs + 1), 0)
    try:
        program.run({fixed!r})
    except BaseException as error:
        failed.append(error)
    if program.find is corpus.Find.LEFT_BEHIND:
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.main_thread():
                thread.join(1)
                failed += [thread] * thread.is_alive()
os._exit(bool(failed))
"""


@dataclass
class Loop:
    runs: int
    seconds: float
    how: str  #: "fails", "hangs", or "": it passes


def looped(way: str, name: str, seconds: float, seed: int, fixed: bool) -> Loop:
    words, interval = WAYS[way]
    code = LOOP.format(corpus=str(CORPUS), interval=interval, name=name, seconds=seconds, fixed=fixed)
    began = changed = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "runs"), "w+b") as out:
        file = Path(folder, "loop.py")
        file.write_text(code)
        command = [sys.executable, *(word.format(seed=seed) for word in words), str(file)]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        runs = b""
        try:
            while process.poll() is None and time.monotonic() - changed < _STANDSTILL:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                if runs != (runs := Path(out.name).read_bytes()):
                    changed = time.monotonic()
            how = {None: "hangs", 0: ""}.get(process.poll(), "fails")
        finally:
            process.kill()
            process.wait()
        return Loop(int(Path(out.name).read_bytes() or 0), time.monotonic() - began, how)


def programs(names: tuple[str, ...]) -> Iterator[Any]:
    sys.path.insert(0, str(CORPUS))
    corpus = import_module("corpus").PROGRAMS
    if unknown := set(names) - {one.name for one in corpus}:
        raise click.BadParameter(f"no such program: {', '.join(sorted(unknown))}")
    return (one for one in corpus if not names or one.name in names)


@click.command(short_help="In how many programs a plain loop shows the bug.")
@click.argument("names", nargs=-1, metavar="[PROGRAM]...")
@click.option("--way", type=click.Choice(list(WAYS)), default="chaos", help="How it is run.  [chaos]")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10, metavar="S", help="Of each loop.  [10]")
@click.option("--seed", type=click.IntRange(1), default=1, metavar="N", help="Of the first program; then N + 1.  [1]")
@click.option("--fixed", is_flag=True, help="Run the repairs: what is found there is wrong.")
def chaos(names: tuple[str, ...], way: str, seconds: float, seed: int, fixed: bool) -> int:
    """In how many programs of tests/lwp/explore/corpus a plain loop of so many seconds shows the bug.

    One after the other, each in a process of its own, until the first failure or hang.

    Exit status 1: with --fixed, one was found.
    """
    count = of = 0
    for of, one in enumerate(programs(names), 1):
        loop = looped(way, one.name, seconds, seed + of - 1, fixed)
        count += bool(loop.how)
        needs = one.needs.name.lower() + ", early" * one.early
        click.echo(f"{one.name:34}{needs:14}{loop.runs:>9,} runs {loop.seconds:6.1f} s  {loop.how}")
    click.echo(f"{way}: {count} of {of}")
    return int(fixed and count > 0)
