"""`demo vm`: what CLONE_VM shares."""

from __future__ import annotations

import ctypes
import json
import os
import signal
from typing import Any

import click
from rich.console import Console

from ...core import Clone, spawn
from ...terminal.output import flag_names, flags_line, table
from ._shown import shows

BEFORE, AFTER = b"hello from parent", b"hello from child"
STATUS = 7  # any: to be found again as the exit status


def run(share: bool) -> dict[str, Any]:
    """Lets a child overwrite a buffer and looks at it from both sides."""
    buffer = ctypes.create_string_buffer(BEFORE, 32)
    ours, theirs = os.pipe()  # what the child saw must reach us also when memory is not shared

    def look() -> dict[str, Any]:
        return {"pid": os.getpid(), "address": ctypes.addressof(buffer), "buffer": buffer.value.decode()}

    def child() -> int:
        buffer.value = AFTER
        os.write(theirs, json.dumps(look()).encode())
        return STATUS

    try:
        lwp = spawn(child, flags=Clone.VM if share else Clone(0), exit_signal=signal.SIGCHLD)
        lwp.join()  # waitpid
        seen_by_child = json.loads(os.read(ours, 4096))  # less than a pipe holds, so nobody waits
    finally:
        os.close(ours)
        os.close(theirs)
    return {
        "share": share,
        "flags": flag_names(lwp.flags),
        "exit_signal": "SIGCHLD",
        "exit_status": lwp.exit_status,
        "before": BEFORE.decode(),
        "child": seen_by_child,
        "parent": look(),
    }


@shows(run, click.option("--share", is_flag=True, help="With CLONE_VM: parent and child have one memory."))
def command(out: Console, facts: dict[str, Any]) -> None:
    """A child writes into its parent's memory or a copy.

    The child overwrites a buffer. Without CLONE_VM it has a copy of the parent's memory, as after fork, and
    the parent sees nothing of it; with CLONE_VM both have one memory.
    """
    share, child, parent = facts["share"], facts["child"], facts["parent"]
    out.print(flags_line(Clone.VM if share else Clone(0)))
    out.print()
    story = table("who", "does", "buffer's address", "buffer", fixed=("who", "buffer's address"))
    where = f"{parent['address']:#x}"
    story.add_row(f"parent {parent['pid']}", "fills the buffer", where, facts["before"])
    story.add_row(f"child {child['pid']}", "overwrites it", f"{child['address']:#x}", child["buffer"])
    waited = f"waitpid: exit status {facts['exit_status']}"
    story.add_row(f"parent {parent['pid']}", waited, where, parent["buffer"])
    out.print(story)
    out.print()
    if share:
        out.print(
            "CLONE_VM: one memory for two processes. The child wrote at the same address into the same "
            "page, so the parent sees it. What the child's function returned came back as its exit status, "
            "through waitpid. Without --share the child gets a copy."
        )
    else:
        out.print(
            "Without CLONE_VM the same address means another page: the kernel copied the parent's page "
            "tables, and the page itself when the child wrote to it (copy on write). The parent's buffer is "
            "untouched; only the exit status came back, through waitpid. With --share both have one memory."
        )
