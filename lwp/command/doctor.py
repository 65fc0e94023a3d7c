"""`doctor`: what the runtime has found out about this machine, and what it allows."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import click
from rich.table import Table
from rich.text import Text

from ..core import limits, scheduler, structures
from ..terminal.options import Json, json_option
from ..terminal.output import console, size, table
from ..terminal.version import version


@dataclass(frozen=True)
class Feature:
    """Something that not every kernel or container has; it is tried out here."""

    name: str
    works: bool
    found: str  #: what the try gave
    meaning: str  #: what it is good for
    since: str  #: the first Linux that has it


# ---- trying out ------------------------------------------------------------------------------------------------------
# A version number would not tell what a seccomp filter or a backport has changed.

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# These numbers are the same on all architectures, because the calls came after the numbers had been unified.
_SYS_IO_URING_SETUP, _SYS_PIDFD_OPEN, _SYS_CLONE3, _SYS_FUTEX_WAITV = 425, 434, 435, 449
_PIDFD_THREAD = os.O_EXCL
_MADV_GUARD_INSTALL = 102
_PR_FUTEX_HASH, _PR_FUTEX_HASH_GET_SLOTS = 78, 2


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(number: int, *args: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *args))


def _there(number: int) -> str:
    # Without arguments, because a kernel that has the call finds them too short before it does anything.
    try:
        _syscall(number, *[ctypes.c_size_t(0)] * 5)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return "there"


_clone3, _futex_waitv = partial(_there, _SYS_CLONE3), partial(_there, _SYS_FUTEX_WAITV)


def _in_thread(function: Callable[[], object]) -> object:
    """What function() gives, or raises, in a thread of ours."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(function())
        except OSError as error:
            found.append(error)

    scheduler.spawn(run).join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _pidfd_thread() -> str:
    def open_own() -> None:
        tid = ctypes.c_int(threading.get_native_id())
        os.close(_syscall(_SYS_PIDFD_OPEN, tid, ctypes.c_uint(_PIDFD_THREAD)))

    _in_thread(open_own)
    return "pidfd_open(tid, PIDFD_THREAD) gives a descriptor"


def _guard_regions() -> str:
    with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as page:
        page.madvise(_MADV_GUARD_INSTALL)
    return "madvise(MADV_GUARD_INSTALL) takes a page"


def _rseq() -> str:
    def cpu() -> int:
        offset = ctypes.c_ssize_t.in_dll(_libc, "__rseq_offset").value
        # struct rseq: cpu_id_start, cpu_id, ...  The kernel keeps cpu_id up to date; it starts below 0.
        return ctypes.c_int32.from_address(structures.thread_pointer() + offset + 4).value

    try:
        size = ctypes.c_uint.in_dll(_libc, "__rseq_size").value
    except ValueError:
        raise OSError(errno.ENOSYS, "glibc before 2.35 has none") from None
    if size == 0:
        raise OSError(errno.ENOSYS, "glibc has not registered it: the tunable glibc.pthread.rseq, or the kernel")
    inside = _in_thread(cpu)
    if not isinstance(inside, int) or inside < 0:
        raise OSError(errno.EINVAL, f"not registered in a thread of ours: cpu_id is {inside}")
    return "registered in a thread of ours"


def _futex_hash() -> str:
    zero = ctypes.c_ulong(0)
    slots = _checked(_libc.prctl(_PR_FUTEX_HASH, ctypes.c_ulong(_PR_FUTEX_HASH_GET_SLOTS), zero, zero, zero))
    return f"{slots} slots" if slots else "the process still uses the global one"


def _io_uring() -> str:
    params = ctypes.create_string_buffer(120)  # struct io_uring_params, zeros
    os.close(_syscall(_SYS_IO_URING_SETUP, ctypes.c_uint(1), params))
    return "io_uring_setup(1) gives a ring"


_PROBES: list[tuple[str, Callable[[], str], str, str]] = [
    ("clone3", _clone3, "the newer clone(2); the runtime needs only the older", "5.3"),
    ("futex_waitv", _futex_waitv, "cancelling a sleeper: else it looks every second or two", "5.16"),
    ("pidfd for threads", _pidfd_thread, "waiting for one thread by poll(2)", "6.9"),
    ("guard regions", _guard_regions, "stack guards that are no mappings: more threads fit", "6.13"),
    ("rseq", _rseq, "restartable sequences: sched_getcpu() without a system call", "4.18"),
    ("private futex hash", _futex_hash, "a process's sleepers in a table of its own", "6.16"),
    ("io_uring", _io_uring, "asynchronous input and output; the runtime needs none", "5.1"),
]


def features() -> list[Feature]:
    """Tries each kernel feature out."""

    def tried(name: str, probe: Callable[[], str], meaning: str, since: str) -> Feature:
        try:
            return Feature(name, True, probe(), meaning, since)
        except OSError as error:
            return Feature(name, False, error.strerror or str(error), meaning, since)

    return [tried(*probe) for probe in _PROBES]


# ---- the command -----------------------------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    return {
        "runtime": version(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "glibc": structures.glibc_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }


def _verdict(facts: list[structures.Fact], allowed: tuple[int, limits.Limit] | None) -> Iterator[str]:
    if allowed is None:
        yield "All checks passed; no limit on threads is known here."
    else:
        yield f"All checks passed; room for {allowed[0]:,} threads more."
        yield f"The first limit is {allowed[1].name} ({allowed[1].scope})."
    yield f"{len(facts)} facts about glibc were found out and confirmed: --all shows them."


def _facts(facts: list[structures.Fact]) -> Table:
    rows = table("about glibc", "value", "from: checked by", right=("value",), fixed=("about glibc", "value"))
    for fact in facts:
        value = f"{fact.value:,}" if abs(fact.value) < 1 << 32 else f"{fact.value:#x}"  # an address
        rows.add_row(fact.name, value, f"{fact.source}: {fact.check}")
    return rows


def _limits(found: list[limits.Limit]) -> Table:
    numbers = ("allows", "in use", "threads more")
    rows = table("limit", *numbers, "counts", right=numbers, fixed=("limit", *numbers))

    def shown(limit: limits.Limit, value: int | None, none: str = "-") -> str:
        if value is None:
            return none
        return size(value) if limit.unit == "bytes" else f"{value:,}"

    for limit in found:
        more = "-" if limit.more is None else f"{limit.more:,}"
        allows, used = shown(limit, limit.value, "any"), shown(limit, limit.used)
        rows.add_row(limit.name, allows, used, more, f"{limit.unit}, {limit.scope}")
    return rows


def _features(tried: list[Feature]) -> Table:
    rows = table("kernel feature", "here", "since", "good for", fixed=("kernel feature", "here", "since"))
    for feature in tried:
        here = Text("yes", style="green") if feature.works else Text("no", style="yellow")
        rows.add_row(feature.name, here, feature.since, feature.meaning)
    return rows


@click.command(short_help="Say what this machine offers and allows.")
@click.option("--all", "everything", is_flag=True, help="Also each fact about glibc, and the result of each try.")
@json_option
def doctor(everything: bool, json_to: Json | None) -> None:
    """Say what this machine offers, and how many threads it allows.

    What was found out about the C library and how each fact was checked; which kernel features are there,
    each of them tried out; the limits on threads and how much of each is in use.
    """
    versions, facts, tried = _versions(), structures.facts(), features()
    found, tasks = limits.limits(), limits.tasks()
    allowed = limits.allowed(found)
    if json_to:
        data = {
            "versions": versions,
            "facts": [fact._asdict() for fact in facts],
            "features": [asdict(feature) for feature in tried],
            "limits": [{**vars(limit), "more": limit.more} for limit in found],
            "tasks": vars(tasks),
            "allowed": allowed and {"more": allowed[0], "limit": allowed[1].name, "scope": allowed[1].scope},
        }
        if json_to.take(data):
            return

    out = console()
    for line in _verdict(facts, allowed):
        out.print(line)
    out.print("\nruntime {runtime}, {python}, glibc {glibc}, Linux {kernel}, {machine}\n".format_map(versions))
    out.print(_limits(found))
    for limit in found:
        if limit.note:
            out.print(f"{limit.name}: {limit.note}.")
    now = ["-" if count is None else f"{count:,}" for count in (tasks.process, tasks.user, tasks.machine)]
    out.print("Tasks now: {} in this process, {} of this user, {} on the machine.\n".format(*now))
    out.print(_features(tried))
    for feature in tried:
        if everything or not feature.works:
            out.print(f"{feature.name}: {feature.found}.")
    if everything:
        out.print()
        out.print(_facts(facts))
