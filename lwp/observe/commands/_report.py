"""`run --report`: what the program's threads did and cost, on stderr at its end."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from ...terminal.ending import at_end, note_interrupt
from ..statistics import measure

_begun = 0.0
_PLACES = 5  # in C code, of those that blocked longest


def begin() -> None:
    """Counts from here on, and prints when the process ends."""
    global _begun
    _begun = time.monotonic()
    measure(True)
    at_end(_print_report)


def _add_process(table: Any) -> None:
    """Adds what can be compared with a run on other threads."""
    import resource

    from ...terminal.output import time as duration

    used = resource.getrusage(resource.RUSAGE_SELF)
    table.add_section()
    table.add_row("switches by the kernel", f"{used.ru_nvcsw + used.ru_nivcsw:,}")
    table.add_row("CPU time of the process", duration(1e9 * (used.ru_utime + used.ru_stime)))
    table.add_row("most memory", f"{used.ru_maxrss / 1024:,.1f} MiB")
    table.add_row("time", duration(1e9 * (time.monotonic() - _begun)))


def _add_groups(table: Any) -> None:
    """Adds what ended before its time, and why."""
    from ...core import members

    found = members.counts()
    if found.groups:
        table.add_row("groups", f"{found.groups:,}")
        table.add_row("their tasks", f"{found.tasks:,}")
        table.add_row("of them cancelled", f"{found.cancelled:,}")
    if found.calls:
        table.add_row("calls of executors that were cancelled", f"{found.calls:,}")
    for whom, why in members.latest.copy():  # copied at once, because threads that still run may cancel more
        table.add_row(f"cancelled: {whom}", why)


def _print_report() -> None:
    from rich.console import Console
    from rich.table import Table

    from ...core import native, placement, scheduler
    from ...terminal.output import time as duration

    found = scheduler.statistics()
    table = Table(title="Threads made by lwp", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("threads started", f"{found.started:,}")
    table.add_row("most alive at once", f"{found.peak:,}")
    green = scheduler.green_statistics()
    if green.started:
        table.add_row("of them green", f"{green.started:,}")
        table.add_row("switches from one to another", f"{green.switches:,}")
        table.add_row("times that none could go on", f"{green.sleeps:,}")
        table.add_row("handed over by one in C code", f"{green.hand_overs:,}")
        for where, times, seconds in sorted(native.blocked_in_c(), key=lambda place: -place[2])[:_PLACES]:
            table.add_row(f"blocked in {where}", f"{times:,} time{'s' * (times > 1)}, {duration(1e9 * seconds)}")
    if found.measured:
        table.add_row("start latency, p50", duration(1e9 * found.latency_p50))
        table.add_row("start latency, p99", duration(1e9 * found.latency_p99))
        table.add_row("CPU time of those that ended", duration(1e9 * found.cpu))
        table.add_row("voluntary switches", f"{found.voluntary:,}")
        table.add_row("involuntary switches", f"{found.involuntary:,}")
        table.add_row("stack used, deepest", f"{found.stack_used / 1024:,.1f} KiB")
    _add_groups(table)
    if births := placement.births():
        table.add_row("placed at their birth", births)
    _add_process(table)
    table.add_row("the main thread runs on", placement.described(os.getpid()))
    if found.alive:
        table.caption = f"{found.alive:,} still alive: only their start is counted"
    if sys.__stderr__ is not None:
        Console(file=sys.__stderr__).print(table)
    note_interrupt()
