"""`dump`: what all threads of a running program do, asked from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ...reading.files import printable_lines
from ...terminal.options import Json, json_option
from ...terminal.output import duration
from ..telling import lines
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


def _at_top(found: dict[str, Any]) -> str:
    threads = f"{found['threads']:,} thread{'s' * (found['threads'] != 1)}"
    threads += f", {found['green']:,} of them green" if found["green"] else ""
    return f"process {found['pid']}, since {duration(found['seconds'])}: {threads}: {found['command']}"


def _text(found: dict[str, Any], all_frames: bool) -> Iterator[str]:
    yield _at_top(found)
    if "without" in found:
        yield f"Python does not answer, because {found['without']}; this was read without it, so names are missing"
    yield from lines(found, all_frames)


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
    found = dump_facts(pid)
    if not (json_to and json_to.take(found)):
        click.echo(printable_lines("\n".join(_text(found, all_frames))))
    return 1 if any(one["deadlock"] for one in found["circles"] + found["pools"] + found["lost"]) else 0
