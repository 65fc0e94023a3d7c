"""`demo createthread`: one thread's life, as recorded while it happened."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ...core import Context, ffi, spawn, thread_pointer
from ...native import steps_read
from ...terminal.output import size, table
from ..steps import STEP_NAMES, Step, record_steps
from ._beside import calls_of_both, show_calls
from ._shown import shows

#: Bytes.  No other thread of this program has that size, so none is in the cache, and the mapping is made in sight.
STACK = 320 * 1024

#: By group, of each step what was done and why, in 34 and 32 columns; native/kernel/base/events.h: what a and b are.
STEPS = {
    "memory": {
        "map": ("mmap: {size} at {a:#x}", "guard, stack, TLS and TCB in one"),
        "guard": ("guard: {size} at {a:#x}", "a stack overflow is SIGSEGV here"),
        "reuse": ("block of {a:#x} from the cache", "an ended thread's: no mmap"),
        "tcb": ("TCB at {a:#x}", "in struct pthread of {b} bytes"),
        "list": ("linked on glibc's _dl_stack_user", "for setuid, dlopen and fork"),
        "tls": ("TLS block at {a:#x}", "initial values of {b} modules"),
    },
    "clone": {
        "mask": ("all signals blocked", "no handler on a half-made thread"),
        "clone": ("clone({a:#x}, {b:#x})", "flags (below), top of its stack"),
        "cloned": ("clone has returned tid {a}", "struct pthread has it already"),
    },
    "first lines": {
        "born": ("first line, sp {a:#x}", "thread pointer {b:#x}"),
        "glibc": ("__ctype_init()", "isalpha finds the locale's table"),
        "robust": ("set_robust_list({a:#x})", "its robust mutexes, if it dies"),
        "rseq": ("rseq({a:#x})", "the kernel keeps its CPU there"),
        "unmask": ("signal mask {a:#x}, its creator's", "signals may arrive from here on"),
    },
    "Python": {
        "python": ("PyThreadState at {a:#x}", "complete; now it wants the GIL"),
        "target": ("the GIL is taken", "the function is called"),
        "returned": ("the function has raised", "PyThreadState goes, then the GIL"),
    },
    "end": {
        "destructors": ("destructors have run", "of thread_local and pthread keys"),
        "unlist": ("off glibc's list", "setuid no longer waits for it"),
        "exit": ("exit({a}), the system call", "ends this LWP, not the process"),
    },
    "join": {
        "join": ("futex wait on {a:#x}", "sleeps while the word there is {b}"),
        "cleared": ("the word at {a:#x} is {b}", "the kernel wrote it and woke us"),
        "recycled": ("block of {a:#x} cached", "for the next of this size"),
    },
}
#: Of the steps that depend on a number, which it is, and what was done where that is 0.
ZERO = {
    "mask": ("a", "signal mask as before", "the thread is made"),
    "returned": ("a", "the function has returned", "PyThreadState goes, then the GIL"),
    "rseq": ("b", "no rseq at {a:#x}", "kernel or C library do without"),
    "join": ("b", "the word at {a:#x} is 0", "it has ended already"),
}


def describe(step: Step) -> tuple[str, str, str]:
    """Its group, what was done, with its numbers, and why."""
    group, (what, why) = next((group, steps[step.name]) for group, steps in STEPS.items() if step.name in steps)
    if step.name in ZERO and getattr(step, ZERO[step.name][0]) == 0:
        _, what, why = ZERO[step.name]
    numbers = {"a": step.a, "b": step.b, "size": size(step.b)}
    return group, what.format(**numbers), why.format(**numbers)


def tcb_fields(tp: int, creator: int) -> list[dict[str, Any]]:
    """The live words at the calling thread's thread pointer; the stack guard, a secret, is only compared."""

    def word(address: int, kind: str = "uintptr_t") -> int:
        return int(ffi.cast(f"{kind} *", address)[0])

    def field(where: str, name: str, value: int | None, meaning: str) -> dict[str, Any]:
        return {"where": where, "name": name, "value": value, "meaning": meaning}

    if platform.machine() != "x86_64":  # aarch64: two words, and struct pthread below
        return [field("tp+0", "dtv", word(tp), "where each module's TLS block lies, by module id")]
    same = word(tp + 0x28) == word(creator + 0x28)
    return [
        field("fs:0x00", "tcb", word(tp), "its own address: code reads the thread pointer here"),
        field("fs:0x08", "dtv", word(tp + 8), "where each module's TLS block lies, by module id"),
        field("fs:0x10", "self", word(tp + 0x10), "struct pthread, pthread_self()"),
        field("fs:0x18", "multiple_threads", word(tp + 0x18, "int"), "1: no short cuts for a single thread"),
        {
            **field("fs:0x28", "stack_guard", None, "the canary that GCC puts before return addresses"),
            "equals_creators": same,
        },
    ]


def status(*names: str) -> dict[str, str]:
    """Lines of /proc/thread-self/status: the kernel's view of the calling thread."""
    lines = dict(line.split(":", 1) for line in Path("/proc/thread-self/status").read_text().splitlines())
    return {name: lines[name].strip() for name in names}


def guard_has_no_access(context: Context) -> bool:
    """True when the kernel lists the guard as a mapping of its own without access (mprotect)."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        places, access = line.split()[:2]
        low, high = (int(place, 16) for place in places.split("-"))
        if low <= context.guard[0] < high:
            return access.startswith("---")
    return False


def creator_joins() -> bool:
    """Whether the record says that a thread has begun to wait for another's end."""
    return any(STEP_NAMES[kind] == "join" for _, _, kind, _, _ in steps_read())


def run(beside: str | None) -> dict[str, Any]:
    """Makes one thread, with everything recorded, and joins it."""
    if beside:
        return {"calls": calls_of_both()}
    creator = thread_pointer()
    seen: dict[str, Any] = {}

    def target() -> None:
        seen.update(
            ident=threading.get_ident(),
            tcb=tcb_fields(thread_pointer(), creator),
            kernel=status("Name", "Tgid", "Pid", "SigBlk"),
        )
        while not creator_joins():  # otherwise there may be nothing to wait for
            os.sched_yield()

    with record_steps() as steps:
        lwp = spawn(target, stack_size=STACK, name="createthread")
        lwp.join()
    context = lwp.context
    assert context is not None
    word = next(step.a for step in steps if step.name == "cleared")
    steps.sort(key=lambda step: step.ns)  # two at once write the record
    # A join of the main thread looks for signals after 10 ms, and then every so often: one wait all the same.
    first = next(step for step in steps if step.name == "join")
    steps = [step for step in steps if step.name != "join" or step is first]
    return {
        "steps": numbered([_step(step, steps[0].ns, lwp.tid) for step in steps]),
        "flags": [{"name": f"CLONE_{flag.name}", "meaning": flag.meaning} for flag in lwp.flags],
        "tid": lwp.tid,
        "creator_tid": threading.get_native_id(),
        "kernel": seen["kernel"],
        "ident": seen["ident"],
        "tcb": seen["tcb"],
        "context": {
            "guard": context.guard,
            "guard_by": "mprotect" if guard_has_no_access(context) else "MADV_GUARD_INSTALL",
            "stack": context.stack,
            "tls_block": context.tls_block,
            "thread_pointer": context.thread_pointer,
        },
        # Read now, from memory that is still the handle's.
        "word": {"address": word, "value": int(ffi.cast("int *", word)[0])},
    }


def _step(step: Step, first_ns: int, tid: int) -> dict[str, Any]:
    group, what, why = describe(step)
    who, us = "thread" if step.tid == tid else "creator", (step.ns - first_ns) / 1000
    return {"us": us, "who": who, "group": group, "name": step.name, "what": what, "why": why, "a": step.a, "b": step.b}


def numbered(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds the line that each step has in the output: by group, and by time in a group."""
    groups = list(STEPS)
    for line, step in enumerate(sorted(steps, key=lambda step: groups.index(step["group"])), 1):
        step["line"] = line
    return steps


def page(facts: dict[str, Any]) -> str:
    if "calls" in facts:
        raise click.UsageError("--html shows a thread made here: leave --beside out")
    from ..figures._page import page
    from ._life import steps_of

    title = Text("A thread's life", style="bold")
    return page(title.plain, [title, _BEGIN.format(**facts), steps_of(facts), *_below(facts)])


@shows(
    run,
    click.option(
        "--beside",
        type=click.Choice(["pthread"]),
        help="The system calls of a first thread made by pthread_create, and of one made here, as strace sees them.",
    ),
    page=page,
)
def command(out: Console, facts: dict[str, Any]) -> None:
    """One thread's life, step by step as it happened.

    Each step is recorded where it is done, by the thread that does it, while one thread is made, runs a function,
    ends and is joined.
    """
    if "calls" in facts:
        show_calls(out, facts["calls"])
        return
    out.print(f"{_BEGIN.format(**facts)}\n")
    out.print(life(facts["steps"]))
    out.print("\nIts memory, high addresses first\n")
    for line in picture(facts["context"]):
        out.print(line)
    for part in _below(facts):
        out.print()
        out.print(part)


_BEGIN = (
    "Thread {tid}, made by {creator_tid}. Times in µs from the first step. From the clone on both run at the same time."
)


def _below(facts: dict[str, Any]) -> Iterator[RenderableType]:
    """What stands below the pictures."""
    if facts["context"]["guard_by"] == "mprotect":
        yield "The guard is a mapping without access (mprotect)."
    else:
        yield (
            "The guard is pages marked inside the mapping (MADV_GUARD_INSTALL): /proc/self/maps shows one "
            "area, and many stacks side by side stay one."
        )
    yield Text("The TCB, read by the thread at its thread pointer", style="bold")
    yield tcb(facts["tcb"])
    yield Text("The flags given to clone, and why", style="bold")
    flags = table("flag", "what it does", fixed=("flag",))
    for flag in facts["flags"]:
        flags.add_row(flag["name"], flag["meaning"])
    yield flags
    kernel = facts["kernel"]
    yield (
        f"/proc/thread-self/status in the thread said: Pid {kernel['Pid']} (its tid), Tgid "
        f"{kernel['Tgid']} (the process), Name {kernel['Name']}. The word at {facts['word']['address']:#x} "
        f"is {facts['word']['value']} now."
    )


def life(steps: list[dict[str, Any]]) -> Table:
    rows = table("line", "µs", "what", "why", right=("line", "µs"), fixed=("line", "µs"))
    group = None
    for step in sorted(steps, key=lambda step: int(step["line"])):
        if step["group"] != group:
            group = step["group"]
            rows.add_row("", "", Text(f"{step['who']}: {group}", style="bold"), "")
        us = step["us"]
        rows.add_row(str(step["line"]), f"{us:.{us < 10_000:d}f}", step["what"], step["why"])  # six columns
    return rows


def tcb(fields: list[dict[str, Any]]) -> Table:
    rows = table("where", "field", "value", "what it is for", fixed=("where", "field", "value"))
    for field in fields:
        value = field["value"]
        if value is None:
            text = "as its creator's" if field["equals_creators"] else "not its creator's"
        else:
            text = f"{value:#x}" if value > 9 else str(value)
        rows.add_row(field["where"], field["name"], text, field["meaning"])
    return rows


def picture(context: dict[str, Any]) -> list[str]:
    """The context from high to low addresses: a line for an address, then a line for what lies below it."""
    low, high = context["tls_block"]
    tp = context["thread_pointer"]
    # Where the thread pointer cuts the block depends on the architecture: see native/kernel/arch/arch.h.
    above, below = "TCB, struct pthread", "static TLS of the modules"
    if platform.machine() != "x86_64":
        above, below = "TCB, static TLS of the modules", "struct pthread"
    parts = [
        (tp, high, above, "<- thread pointer"),
        (low, tp, below, ""),
        (*context["stack"], "stack, grows down", ""),
        (*context["guard"], "guard", ""),
    ]
    edge = "+" + "-" * 40 + "+"
    lines = [f"{high:#14x} {edge}"]
    for part_low, part_high, name, mark in parts:
        lines.append(f"{'':14} | {name:<27} {size(part_high - part_low):>10} |")
        lines.append(f"{part_low:#14x} {edge} {mark}".rstrip())
    return lines
