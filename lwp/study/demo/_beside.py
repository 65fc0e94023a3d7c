"""`demo createthread --beside pthread`: what strace sees of two first threads, side by side."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from ...terminal.output import table

#: os.access() of a file that doesn't exist: a mark among the other calls.
_PROGRAM = """
import os
from {module} import Thread
thread = Thread(target=int)
os.access("/turn", 0)
thread.start()
thread.join()
os.access("/turn", 0)
"""

#: What calls are for: a title, how "TASK CALL" begins, and what differs.
_PURPOSES: tuple[tuple[str, str, str], ...] = (
    (
        "its memory",
        r"creator (mmap|mprotect|madvise|uname|nanosleep)",
        "glibc maps without access and opens all above the guard. Here the guard is a mark inside of one mapping. The "
        "nanosleep reads from it and must fail, otherwise the mark has no effect. The pages of TLS and TCB are made at "
        "once.",
    ),
    (
        "signals off, and on",
        r"\w+ rt_sig",
        "Both block all signals until the thread is complete. glibc's thread blocks them once more at its end, before "
        "it gives its stack back. The first pthread of a process also has a handler installed, for setuid.",
    ),
    ("the thread", r"creator clone", "The flags are the same. clone3 takes them in a structure, clone in registers."),
    (
        "its first lines",
        r"\w+ (set_robust_list|rseq|gettid)",
        "A new task has neither a robust list nor restartable sequences, so both threads ask for them. gettid is "
        "Python's.",
    ),
    (
        "memory of malloc and of Python",
        r"thread (mmap|munmap|mprotect|brk)",
        "An arena of malloc for the thread, and room for the frames of its Python functions. Here the frames have room "
        "in the first mapping.",
    ),
    (
        "waits and wake-ups",
        r"\w+ (futex|sched_getaffinity)",
        "threading waits for the begin, for the GIL, and for a lock that the thread releases at its end. Here join() "
        "sleeps on the word that the kernel clears, and the GIL is handed over in another order on one processor.",
    ),
    (
        "its end",
        "",
        "glibc's thread gives its stack back itself. Here its joiner has the stack, whole, for the next thread.",
    ),
)


class Untraced(Exception):
    """strace is missing, or can't trace here."""


def traced(program: str) -> Iterator[tuple[str, str]]:
    """The system calls between a program's marks, which are os.access("/turn", 0): "creator" or "thread", and the call.

    A mark is a call as well.  What another task interrupts has no ")" at its end.
    """
    if not (strace := shutil.which("strace")):
        raise Untraced("strace is not installed")
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory, "trace")
        command = [strace, "-f", "-qq", "-o", str(trace), sys.executable, "-P", "-c", program]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Untraced((done.stderr.strip().splitlines() or [f"strace: exit status {done.returncode}"])[-1])
        lines = trace.read_text(errors="replace").splitlines()
    creator = lines[0].split()[0]
    for line in lines:
        # What another task interrupts is in two lines, "name(a <unfinished ...>" and "<... name resumed>": one call.
        if match := re.match(r"(\d+) +(\w+\(.*?)(?: <unfinished \.\.\.>| += .*)?$", line):
            yield ("creator" if match[1] == creator else "thread"), match[2]


def is_mark(call: str) -> bool:
    return '"/turn"' in call and call.startswith(("access(", "faccessat"))  # aarch64 has no access(2)


def _calls(module: str) -> Iterator[tuple[str, str]]:
    """The system calls of a first thread, each with the task."""
    marks = 0
    for task, call in traced(_PROGRAM.format(module=module)):
        marks += is_mark(call)
        if marks == 1 and not is_mark(call):
            yield task, call.removesuffix(")") + ")"


def calls_of_both() -> list[dict[str, Any]]:
    """By purpose: the calls that pthread_create leads to, as threading uses it, and those of a thread made here."""
    try:
        both = {module: list(_calls(module)) for module in ("threading", "runtime")}
    except Untraced as error:
        raise click.ClickException(str(error)) from None
    found = []
    for title, begins, differs in _PURPOSES:
        row: dict[str, Any] = {"what": title, "differs": differs}
        for module, calls in both.items():
            mine = [call for call in calls if re.match(begins, " ".join(call))]
            row[module] = [{"task": task, "call": text} for task, text in mine]
            calls[:] = [call for call in calls if call not in mine]
        found.append(row)
    return found


def _short(call: dict[str, str], width: int) -> str:
    text = re.sub(r"CLONE_|MAP_|PROT_|FUTEX_|MADV_", "", call["call"])
    text = f"{call['task']:8}{text}"
    return text if len(text) <= width else f"{text[: width - 1]}…"


def show_calls(out: Console, rows: list[dict[str, Any]]) -> None:
    """A table, and below each purpose what differs."""
    width = (out.width - 3) // 2
    counts = {module: sum(len(row[module]) for row in rows) for module in ("threading", "runtime")}
    drawn = table(f"pthread_create, {counts['threading']} calls", f"by hand, {counts['runtime']} calls")
    for row in rows:
        pairs = [[_short(call, width) for call in row[module]] for module in ("threading", "runtime")]
        drawn.add_row(Text(row["what"], style="bold"), "")
        for at in range(max(map(len, pairs))):
            drawn.add_row(*(calls[at] if at < len(calls) else "" for calls in pairs))
    out.print(drawn)
    out.print()
    for row in rows:
        out.print(Text.assemble((row["what"], "bold"), f": {row['differs']}"))
