"""`demo tasks`: threads as the kernel counts them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from ...core import Thread
from ...terminal.output import table
from ._shown import shows, threads_option

SHOWN = 20  # rows of the table; --json has all

mailbox: list[str] = []  # the global through which the threads talk


def status_of(tid: int) -> dict[str, str]:
    """/proc/self/task/TID/status, see proc_pid_status(5)."""
    lines = Path(f"/proc/self/task/{tid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def run(count: int) -> dict[str, Any]:
    """Starts the threads, looks at them while all are alive, and lets them end."""
    mailbox[:] = [""] * count
    heard = [""] * count
    seen_by_itself = [0] * count
    step = threading.Barrier(count + 1)  # the threads and we go on together

    def body(number: int) -> None:
        with suppress(threading.BrokenBarrierError):  # a thread could not be started
            mailbox[number] = f"hello from {number}"
            seen_by_itself[number] = threading.get_native_id()
            step.wait()  # all have written
            heard[number] = mailbox[number - 1]
            step.wait()  # all have read, all are alive
            step.wait()  # we have looked at them

    threads: list[Thread] = []
    try:
        for number in range(count):
            thread = Thread(target=body, args=(number,))
            thread.start()
            threads.append(thread)
        step.wait()
        step.wait()
        tasks = {int(name): status_of(int(name)) for name in os.listdir("/proc/self/task")}
        step.wait()
    except BaseException:
        step.abort()
        raise
    finally:
        for thread in threads:
            thread.join()
    return {
        "pid": os.getpid(),
        "tgids": sorted({int(status["Tgid"]) for status in tasks.values()}),
        "tasks": sorted(tasks),
        "threads": [
            {
                "number": number,
                "ident": thread.ident,
                "tid": thread.native_id,
                "tid_seen_by_itself": seen_by_itself[number],
                "in_proc_self_task": thread.native_id in tasks,
                "tgid": int(tasks[thread.native_id]["Tgid"]) if thread.native_id in tasks else None,
                "heard": heard[number],
            }
            for number, thread in enumerate(threads)
        ],
    }


@shows(run, threads_option(5, most=1 << 22))  # the kernel's PID_MAX_LIMIT
def command(out: Console, facts: dict[str, Any]) -> None:
    """Threads as the kernel counts them: a tid each, one tgid.

    Starts N threads, waits until all are alive, and reads /proc/self/task. They talk through a global list.
    """
    count = len(facts["threads"])
    rows = table("thread", "ident", "tid", "in /proc/self/task", "Tgid", "heard", right=("tid", "Tgid"))
    for row in facts["threads"][:SHOWN]:
        rows.add_row(
            str(row["number"]),
            f"{row['ident']:#x}",
            str(row["tid"]),
            "yes" if row["in_proc_self_task"] else "no",
            str(row["tgid"]),
            row["heard"],
        )
    out.print(rows)
    if count > SHOWN:
        out.print(f"... and {count - SHOWN} more (--json has all)")
    tgids = ", ".join(map(str, facts["tgids"]))
    out.print(
        f"\nThe kernel lists {len(facts['tasks'])} tasks: the main thread and {count} of ours. All have Tgid "
        f"{tgids}, which is what getpid() returns. What tells them apart is the tid: one for each Python "
        "thread, 1:1, and the kernel schedules each by itself. The ident is the thread pointer, an address "
        "in this process; the kernel knows threads by their tid."
    )
    out.print(
        "\nEach thread wrote its line into a global list and read its neighbour's: one memory. A barrier "
        "says when all have written."
    )
