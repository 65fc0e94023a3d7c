"""In a terminal of 80 columns, as most are, nothing is cut off, wider than the terminal, or broken inside of a word."""

from __future__ import annotations

import os
import re

import pytest
from commands import on_terminal, python_path

HELP = [[], ["run"], ["trace"], ["demo"], ["tls"], ["bench"], ["doctor"]]
HELP += [["demo", name] for name in ("createthread", "files", "vm", "tasks", "models", "cow", "tls")]
OUTPUTS = [["demo"], ["demo", "createthread"], ["demo", "vm"], ["demo", "tasks"], ["demo", "models"], ["demo", "tls"]]
OUTPUTS += [["tls"], ["tls", "--threads", "3"], ["tls", "--variables"], ["tls", "--diff"]]
OUTPUTS += [["bench", "--list"], ["doctor"], ["doctor", "--all"]]


def shown(command: list[str], columns: int) -> str:
    """What it prints on a terminal that is so wide, without colours."""
    environment = {name: os.environ[name] for name in os.environ if name not in ("COLUMNS", "LINES")}
    text, status = on_terminal(
        *command,
        columns=columns,
        env={**environment, "PYTHONPATH": python_path(), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
        # `tls --diff` says so if its two threads are on different processors.
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )
    assert status == 0, text
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n")


def words(text: str) -> set[str]:
    """Those that are the same in each run: addresses, numbers, the units of times and the lines of tables are not."""
    found = set()
    for word in text.split():
        word = re.sub(r"/tmp/\S+", "/tmp/", word)
        word = re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{6,}\b", "0x", word)
        found.add(re.sub(r"[0-9][0-9.,]*", "0", word))
    return {word for word in found if not re.fullmatch("[─═]+|[nµm]?s", word)}


@pytest.mark.parametrize("command", [*([*of, "--help"] for of in HELP), *OUTPUTS], ids=" ".join)
def test_80_columns(command: list[str]) -> None:
    narrow = shown(command, 80)
    assert not [line for line in narrow.splitlines() if len(line) > 80]
    wide = shown(command, 400)
    cut = [line for line in narrow.splitlines() if "…" in line]
    assert not cut or "…" in wide  # what is cut at any width is so on purpose
    broken = words(narrow) - words(wide)
    # A column may be left out, or a note moved to the next line, but no part of a word stands alone.
    assert not broken, broken


def test_a_word_that_is_too_wide_goes_on_behind_a_dot() -> None:
    from rich.console import Console

    from lwp.terminal.output import table

    drawn = table("name", "number", right=("number",), fixed=("number",))
    drawn.add_row("Service.stop_flag of Service", "1" * 20)
    console = Console(width=36, color_system=None)
    with console.capture() as said:
        console.print(drawn)
    assert [line.split()[0] for line in said.get().splitlines()[2:]] == ["Service.", "stop_flag", "Service"]
