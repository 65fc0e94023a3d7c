"""`ps`: the running programs that can be asked."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

import click

from ...terminal.options import Json, json_option
from ...terminal.output import console, duration, table

_LOOK = 0.2  # seconds in which a program that is not asleep does something


def _activity(pid: int) -> dict[str, str]:
    """How often each task has been switched to, as the kernel has it."""
    found = {}
    with suppress(OSError):
        for tid in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{tid}/schedstat") as file:
                found[tid] = file.read()
    return found


def _facts(pid: int) -> dict[str, Any]:
    from ..asking import Unanswered, WithoutPython, age, ask, command

    about = {"pid": pid, "command": command(pid), "seconds": age(pid), "threads": None}
    try:
        found = ask(pid, "who")
    except WithoutPython as error:
        return {**about, "threads": len(error.seen["threads"]), "state": "stuck", "why": error.seen["without"]}
    except Unanswered as error:
        return {**about, "state": "stopped" if "stopped" in str(error) else "no answer", "why": str(error)}
    if found["deadlocks"]:
        return {**about, "threads": found["threads"], "state": "deadlock", "why": found["deadlocks"][0]}
    return {**about, "threads": found["threads"], "state": "", "why": ""}


@click.command(short_help="The running programs that can be asked.")
@json_option
def ps(json_to: Json | None) -> int:
    """List your running programs under `lwp run` or `pytest --lwp`, and those that have called
    runtime.observe.listen(), the oldest first. These are the programs that dump, top, locks, record and watch can ask.

    The state is "runs" (a thread had a turn within 0.2 s, if only for a moment), "asleep" (none had: it waits for the
    network, for input, or for ever), "deadlock" (threads wait for each other in a circle, or all of a pool for calls
    of that pool), "stuck" (Python does not answer: C code keeps the GIL), "stopped" (by a signal), or "no answer" (it
    begins, ends, or has not answered for 15 s). `lwp dump PID` says more.
    """
    from ..asking import programs

    found = [_facts(pid) for pid in programs()]
    quiet = [one for one in found if not one["state"]]
    before = {one["pid"]: _activity(one["pid"]) for one in quiet}
    if quiet:
        time.sleep(_LOOK)
    for one in quiet:
        one["state"] = "asleep" if _activity(one["pid"]) == before[one["pid"]] else "runs"
    if json_to and json_to.take(found):
        return 0
    if not found:
        click.echo(
            "lwp: none of your programs runs under `lwp run` or `pytest --lwp`, or has called runtime.observe.listen()",
            err=True,
        )
        return 1
    numbers = ("pid", "threads", "since")
    drawn = table(*numbers, "state", "command", right=numbers, fixed=(*numbers, "state"))
    drawn.columns[-1].no_wrap, drawn.columns[-1].overflow = True, "ellipsis"
    for one in found:
        threads = "" if one["threads"] is None else f"{one['threads']:,}"
        drawn.add_row(str(one["pid"]), threads, duration(one["seconds"]), one["state"], one["command"])
    console().print(drawn)
    return 0
