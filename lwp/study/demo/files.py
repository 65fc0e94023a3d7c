"""`demo files`: what CLONE_FILES shares."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from typing import Any

import click
from rich.console import Console

from ...core import Clone, spawn
from ...terminal.output import flag_names, flags_line, table
from ._shown import shows

TEXT = b"written by the parent\n"


def is_open(fd: int) -> bool:
    """Asks the kernel, for the calling process, without opening a descriptor."""
    return os.path.lexists(f"/proc/self/fd/{fd}")


PRIVATE = Clone.VM | Clone.FS | Clone.SIGHAND
SHARED = PRIVATE | Clone.FILES


def run(private: bool) -> dict[str, Any]:
    """Opens a file, lets a child close the descriptor, and writes."""
    flags = PRIVATE if private else SHARED
    fd, path = tempfile.mkstemp(prefix="lwp-demo-")
    child_sees: list[bool] = []  # one memory: no pipe needed

    def child() -> int:
        child_sees.append(is_open(fd))
        os.close(fd)
        child_sees.append(is_open(fd))
        return 0

    try:
        lwp = spawn(child, flags=flags, exit_signal=signal.SIGCHLD)
        lwp.join()  # waitpid
        failure = None
        try:
            os.write(fd, TEXT)
        except OSError as error:
            failure = error.errno
        open_after = is_open(fd)
        if open_after:
            os.close(fd)
        with open(path, "rb") as file:
            content = file.read()
    finally:
        os.unlink(path)
    return {
        "private": private,
        "parent": os.getpid(),
        "child": lwp.tid,
        "flags": flag_names(lwp.flags),
        "exit_signal": "SIGCHLD",
        "path": path,
        "fd": fd,
        "open_in_child_before_close": child_sees[0],
        "open_in_child_after_close": child_sees[1],
        "exit_status": lwp.exit_status,
        "open_in_parent_after_join": open_after,
        "write_error": None if failure is None else errno.errorcode[failure],
        "file_content": content.decode(),
    }


@shows(run, click.option("--private", is_flag=True, help="Without CLONE_FILES: a descriptor table for each."))
def command(out: Console, facts: dict[str, Any]) -> None:
    """A child closes its parent's file descriptor.

    Parent and child are processes with one memory. With CLONE_FILES they also share the table of file
    descriptors: after the child's close(fd) the parent's write(fd) fails with EBADF.
    """
    private, fd = facts["private"], facts["fd"]
    parent, child = f"parent {facts['parent']}", f"child {facts['child']}"
    out.print(flags_line(PRIVATE if private else SHARED))
    out.print()
    story = table("who", "does", "result", fixed=("who", "does"))
    story.add_row(parent, "open", f"descriptor {fd}: {facts['path']}")
    story.add_row(parent, "clone", child)
    story.add_row(child, f"close({fd})", f"/proc/self/fd/{fd} {_there(facts['open_in_child_after_close'])}")
    story.add_row(parent, "waitpid", f"{child} has ended, exit status {facts['exit_status']}")
    error = facts["write_error"]
    result = f"fails: {error}, {os.strerror(getattr(errno, error))}" if error else f"{len(TEXT)} bytes"
    story.add_row(parent, f"write({fd}, ...)", result)
    story.add_row("", "", f"/proc/self/fd/{fd} {_there(facts['open_in_parent_after_join'])}")
    out.print(story)
    if private:
        out.print(
            "\nWithout CLONE_FILES the child got a copy of the descriptor table, as after fork: it closed "
            "its own descriptor, the parent's stayed open. They still have one memory (CLONE_VM): what is "
            "shared is chosen flag by flag. Without --private the write fails."
        )
    else:
        out.print(
            "\nCLONE_FILES makes one descriptor table for both, though they are two processes with two "
            "pids: a close in one is a close in the other. Threads are made with this flag, a child of fork "
            "is not. With --private the flag is left out and the write succeeds."
        )


def _there(is_there: bool) -> str:
    return "is open" if is_there else "is gone"
