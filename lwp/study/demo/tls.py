"""`demo tls`: one name, as many places as threads."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.table import Table

from ...core import LWP, spawn, thread_pointer
from ...terminal.output import table
from ..structures import ffi, lib
from ._shown import shows, threads_option


def place(pointer: Any) -> dict[str, int]:
    address = int(ffi.cast("uintptr_t", pointer))
    return {"address": address, "offset": address - thread_pointer()}


def run(count: int) -> dict[str, Any]:
    """Has the main thread (row 0) and `count` others use the variable and errno, all alive at once."""
    rows: list[dict[str, Any]] = [{} for _ in range(count + 1)]
    step = threading.Barrier(count + 1)

    def body(number: int) -> None:
        variable = lib.tlsdemo_variable()
        first = variable[0]
        variable[0] = first + number
        step.wait()  # all have written
        error = lib.tlsdemo_fail(number)
        rows[number] = {
            "thread": number,
            "tid": threading.get_native_id(),
            "thread_pointer": thread_pointer(),
            "variable": {**place(variable), "first": first, "value": variable[0]},
            "errno": {**place(lib.tlsdemo_errno()), "value": error, "name": errno.errorcode[error]},
        }
        step.wait()  # all are alive until here: no address is used twice

    def thread(number: int) -> None:
        with suppress(threading.BrokenBarrierError):  # a thread could not be started
            body(number)

    lwps: list[LWP] = []
    try:
        lwps += (spawn(thread, (number,), name=f"tls {number}") for number in range(1, count + 1))
        body(0)
    except BaseException:
        step.abort()
        raise
    finally:
        for lwp in lwps:
            lwp.join()
    return {
        "threads": rows,
        "variable": {"tls": observed(lwps, rows, "variable"), "initial": rows[0]["variable"]["first"]},
        "errno": {"tls": observed(lwps, rows, "errno")},
    }


def observed(lwps: list[LWP], rows: list[dict[str, Any]], name: str) -> str:
    """Whether a variable lies in the static TLS block that the thread was made with."""
    inside = []
    for lwp, row in zip(lwps, rows[1:], strict=True):
        assert lwp.context is not None
        low, high = lwp.context.tls_block
        inside.append(low <= row[name]["address"] < high)
    return "static" if all(inside) else "dynamic"


def signed(offset: int) -> str:
    return f"{'-' if offset < 0 else '+'}{abs(offset):#x}"


def rows_of(facts: dict[str, Any], name: str, value: str) -> Table:
    made = table("thread", "thread pointer", f"&{name}", "offset from it", "value", right=("offset from it",))
    for row in facts["threads"]:
        what = row[name]
        made.add_row(
            str(row["thread"] or "main"),
            f"{row['thread_pointer']:#x}",
            f"{what['address']:#x}",
            signed(what["offset"]),
            str(what[value]),
        )
    return made


@shows(run, threads_option(4))
def command(out: Console, facts: dict[str, Any]) -> None:
    """One __thread variable, as many addresses as threads.

    errno is such a variable too. Every thread adds its number to ours and makes a system call that fails.
    """
    out.print(f"static __thread int variable = {facts['variable']['initial']};   thread n has added n\n")
    out.print(rows_of(facts, "variable", "value"))
    if facts["variable"]["tls"] == "static":
        out.print(
            "\nStatic TLS: the variable lies in the block that the thread was made with, at the same offset "
            "from the thread pointer in every thread. The function that returns its address doesn't use that: "
            "it calls __tls_get_addr, as a library does by default, which looks the block up in the thread's "
            "DTV."
        )
    else:
        out.print(
            "\nDynamic TLS: the variable lies outside the block that the thread was made with, at another "
            "offset in each. Its module came by dlopen, so its block is allocated by a thread's first "
            "__tls_get_addr, and entered into the thread's DTV, an array indexed by module."
        )
    initial = facts["variable"]["initial"]
    out.print(f"\nEvery thread found {initial} there, from the module's image, and changed only its own.\n")
    out.print("errno, after a system call that failed\n")
    out.print(rows_of(facts, "errno", "name"))
    if facts["errno"]["tls"] == "static":
        out.print(
            "\nStatic TLS: the C library's block is part of what a thread is made with. The offset is the "
            "same in every thread, so code finds errno relative to the thread pointer, and no thread sees "
            "another's error."
        )
