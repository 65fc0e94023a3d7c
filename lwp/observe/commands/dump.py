"""`dump`: what all threads of a running program do, asked from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from ...reading.files import printable_lines
from ...terminal.options import Json, json_option
from ...terminal.output import duration
from ..stacks import stack_lines
from ._pid import pid_argument


def dump_facts(pid: int) -> dict[str, Any]:
    """The dump of a process, also if its Python doesn't answer; Unanswered: it can't be asked."""
    from ..asking import WithoutPython, age, ask, command
    from ..glimpse import dump_of

    try:
        found = ask(pid, "dump")
    except WithoutPython as error:
        found = dump_of(error.seen, pid)
    return {**found, "command": command(pid), "seconds": age(pid)}


def _waits(wait: dict[str, Any], now: float, many: bool) -> str:
    from ..crowds import left, like_it

    times = f"{'the first ' * many}for {now - wait['since']:.1f} s{left(wait['deadline'], now)}"
    return f"wait{'' if many else 's'} for {wait['for']}{like_it(wait['things'])}, {times}"


def _head(crowd: dict[str, Any], now: float) -> str:
    from ..crowds import FEW, some

    threads = crowd["threads"]
    many = len(threads) > 1
    about = f" of {crowd['group']}" if crowd["group"] else ""
    about += f" (cancelled: {crowd['cancelled']})" if crowd["cancelled"] else ""
    state = crowd["state"].replace("waits", "wait" if many else "waits", 1)
    lasts = "" if crowd["since"] is None else f", {'the first ' * many}for {now - crowd['since']:.1f} s"
    does = _waits(crowd["wait"], now, many) if crowd["wait"] else state + lasts
    if len(threads) > FEW:
        return f"{len(threads):,} threads{about}: {does}: {some(threads, lambda one: repr(one['name']))}"
    return ", ".join(_with_tid(one) for one in threads) + f"{about}: {does}"


def _with_tid(thread: dict[str, Any]) -> str:
    return repr(thread["name"]) + (f" (tid {thread['tid']})" if thread["tid"] else "")


def _at_top(found: dict[str, Any]) -> str:
    threads = f"{found['threads']:,} thread{'s' * (found['threads'] != 1)}"
    threads += f", {found['green']:,} of them green" if found["green"] else ""
    return f"process {found['pid']}, since {duration(found['seconds'])}: {threads}: {found['command']}"


def dump_text(found: dict[str, Any], all_frames: bool = False) -> Iterator[str]:
    """The dump, in lines: deadlocks first, then the threads, those of a deadlock and the largest crowds first."""
    from ..crowds import task_lines
    from ..waits import circle_line

    now = found["now"]
    yield _at_top(found)
    if "without" in found:
        yield f"Python does not answer, because {found['without']}; this was read without it, so names are missing"
    for circle in found["circles"]:
        yield circle_line(circle["deadlock"], circle["text"])
    for pool in found["pools"]:
        yield circle_line(True, pool["text"])
    for lock in found["lost"]:
        yield lock["text"]
    in_circles = {name for circle in found["circles"] + found["pools"] + found["lost"] for name in circle["threads"]}
    crowds = sorted(found["crowds"], key=lambda crowd: crowd["threads"][0]["name"] not in in_circles)
    for crowd in crowds:
        yield ""
        yield _head(crowd, now)
        yield from stack_lines(crowd["stack"], all_frames)
    if found["tasks"] or found["why_no_tasks"]:
        yield ""
        yield from task_lines(found["tasks"], found["why_no_tasks"], now)
    yield from _besides(found)


def _besides(found: dict[str, Any]) -> Iterator[str]:
    if any(found[name] for name in ("without_python", "schedulers", "cancellations")):
        yield ""
    for (name, state), count in Counter((one["name"], one["state"]) for one in found["without_python"]).items():
        yield f"no Python: {f'{count:,} x ' * (count > 1)}{name}, {state}"
    for one in found["schedulers"]:
        does = f"runs {one['runs']!r}" if one["runs"] else "idle"
        yield f"scheduler on tid {one['tid']}: {does}, {one['ready']} ready, {one['switches']:,} switches"
    for one in found["cancellations"]:
        yield f"cancelled: {one['whom']}: {one['why']}"


@click.command(short_help="What all threads of a running program do.")
@pid_argument
@click.option("--all-frames", is_flag=True, help="Also those of libraries that called the program's code.")
@json_option
def dump(pid: int, all_frames: bool, json_to: Json | None) -> int:
    """Show what each thread of process PID does: what it waits for, since when, which thread holds that and took it
    where, and its stack.

    Threads with the same stack and the same wait are one paragraph. Circles of threads, or of tasks of asyncio, that
    wait for each other come first, and pools whose threads all wait for calls of the same pool, and locks whose holders
    have ended; if one is a deadlock, the exit status is 1. Tasks come below the threads, and LWPs of C code last, as
    "no Python". The process must be one that `lwp ps` lists. It goes on meanwhile. If C code keeps the GIL, so that
    Python can't answer, stacks and waits are read without Python.
    """
    from ..asking import Unanswered

    try:
        found = dump_facts(pid)
    except Unanswered as error:
        raise click.ClickException(str(error)) from None
    if not (json_to and json_to.take(found)):
        click.echo(printable_lines("\n".join(dump_text(found, all_frames))))
    return 1 if found["pools"] or any(one["deadlock"] for one in found["circles"] + found["lost"]) else 0
