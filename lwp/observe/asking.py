"""Asks a running program from outside: which programs there are, and a question and its answer.

The program's side is listening.py, asked.py, and lwp/native/observe/listen.h.  A question is a line of JSON, the answer
a JSON object.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..core import printable
from ..reading.folders import folders, is_private
from .listening import numbers

PATIENCE = 20  # seconds that a program has for an answer, which is more than it takes for itself


class Unanswered(click.ClickException):
    """A process that can't be asked, and why, in a sentence, with which a command ends."""


class WithoutPython(Unanswered):
    """Python doesn't answer, as when a call in C keeps the GIL for a while; the next question may be answered.

    why: because of what, and what then helps.  seen: what could be read without it, for glimpse.dump_of().
    """

    def __init__(self, pid: int, seen: dict[str, Any]) -> None:
        self.why = f"{seen['without']}: try again, or see what it does by lwp dump {pid}"
        super().__init__(f"process {pid} does not answer, because {self.why}")
        self.seen = seen


# ---- processes -------------------------------------------------------------------------------------------------------


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _state(pid: int) -> str:
    """A letter of proc_pid_stat(5); "": it is gone."""
    return _read(pid, "stat").rpartition(")")[2].lstrip()[:1]


def _is_stopped(pid: int) -> bool:
    return _state(pid) in ("T", "t")


def command(pid: int) -> str:
    """The command line of a process, in one line, without the folders of Python and lwp; "": it is gone."""
    words = _read(pid, "cmdline").split("\0")
    words[:1] = [os.path.basename(words[0])]
    if len(words) > 1 and os.path.basename(words[1]) == "lwp":
        words[:2] = ["lwp"]
    return printable(" ".join(" ".join(words).split()))


def age(pid: int) -> float:
    """Seconds since the process was started; 0: it is gone."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    if not fields:
        return 0.0
    begun = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # starttime in proc_pid_stat(5)
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begun)


def programs() -> list[int]:
    """The pids of this user's processes that have a socket, the oldest first."""
    found = {pid for folder in folders() for pid in numbers(folder) if _state(pid) not in ("", "Z")}
    return sorted(found, key=lambda pid: (-age(pid), pid))


# ---- a question ------------------------------------------------------------------------------------------------------


def _path(pid: int) -> Path:
    for folder in folders():
        if is_private(folder) and Path(folder, str(pid)).is_socket():
            return Path(folder, str(pid))
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        raise Unanswered(f"there is no process {pid}") from None
    if owner != os.geteuid():
        with suppress(KeyError):
            name = pwd.getpwuid(owner).pw_name
            raise Unanswered(f"process {pid} belongs to user {name}, who alone can ask it: sudo -u {name} lwp ...")
        raise Unanswered(f"process {pid} belongs to the user with number {owner}, who alone can ask it")
    raise Unanswered(
        f"process {pid} ({command(pid)[:100] or 'it has ended'}) can't be asked: neither `lwp run` nor `pytest --lwp` "
        f"runs it, or LWP_LISTEN=0 is set, and it has not called runtime.observe.listen(). "
        f"If it is Python, py-spy shows its stacks: py-spy dump --pid {pid}"
    )


def _receive(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def ask(pid: int, question: str, **more: Any) -> dict[str, Any]:
    """The answer of that process.

    Unanswered: it can't be asked, or doesn't answer.  WithoutPython: its Python doesn't.
    """
    path = _path(pid)
    if _is_stopped(pid):
        raise Unanswered(f"process {pid} is stopped by a signal, and answers after: kill -CONT {pid}")
    with socket.socket(socket.AF_UNIX) as client:
        # The kernel's timeout has connect() wait its turn while the queue of questions is full.  With Python's timeout
        # connect() would fail at once.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *divmod(int(PATIENCE * 1e6), 10**6)))
        try:
            client.connect(str(path))
            client.settimeout(PATIENCE)
            client.sendall(json.dumps({"ask": question, **more}).encode() + b"\n")
            answer = _receive(client)
        except (ConnectionRefusedError, FileNotFoundError):
            raise Unanswered(f"process {pid} does not listen any more, or is about to begin") from None
        except BlockingIOError:
            raise Unanswered(f"process {pid} has had others to answer for {PATIENCE} s: try again") from None
        except TimeoutError:
            said = "was stopped by a signal meanwhile" if _is_stopped(pid) else f"has not answered for {PATIENCE} s"
            raise Unanswered(f"process {pid} {said}") from None
        except OSError as error:
            raise Unanswered(f"process {pid} can't be asked: {error.strerror}") from None
    try:
        found = json.loads(answer)
    except ValueError:
        said = "has sent half an answer" if answer else "has ended, or does not answer this user"
        raise Unanswered(f"process {pid} {said}") from None
    if "error" in found:
        raise Unanswered(f"process {pid} answers: {found['error']}")
    if "without" in found:
        raise WithoutPython(pid, found)
    assert isinstance(found, dict)
    return found
