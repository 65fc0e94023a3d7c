"""What a green thread has of its own, and what belongs to the LWP that it shares: the table of docs/runtime/green.md.

C code of others may set something of its LWP, release the GIL, and come back on another LWP.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, NativeHelper, in_child, together
from seccomp import refuse

import runtime
from runtime import scheduler

pytestmark = pytest.mark.timeout(60)
libc = ctypes.CDLL(None)


@pytest.fixture
def in_c(native_helper: NativeHelper) -> str:
    """tests/helpers/in_c.c, compiled."""
    return native_helper.in_c


# ---- signal masks ----------------------------------------------------------------------------------------------------

OPTIONS = pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="a time slice"),
        pytest.param({"lwps": 3, "time_slice": None}, id="three LWPs"),
        pytest.param({"time_slice": None}, id="one LWP"),
    ],
)


@OPTIONS
@in_child
def test_c_code_that_blocks_signals_round_a_call_leaves_no_lwp_with_them_blocked(
    options: dict[str, Any], in_c: str
) -> None:
    runtime.install(green=True, **options)
    c = ctypes.PyDLL(in_c)
    strange: list[object] = []

    def look() -> None:
        if mask := signal.pthread_sigmask(signal.SIG_BLOCK, []):
            strange.append(mask)

    def block(polls: int) -> None:
        for _ in range(150):
            look()
            if not c.sleep_with_signals_blocked(polls):
                strange.append("open while they were to be blocked")
            look()
            time.sleep(0)

    def begin() -> None:
        for _ in range(10):
            mask = subprocess.check_output(["grep", "SigBlk", "/proc/self/status"], text=True).split()[1]
            if int(mask, 16):
                strange.append(mask)

    together(*(partial(block, polls) for polls in (0, 0, 1, 1)), begin, begin)
    assert strange == []


@OPTIONS
@in_child(prints="True True 66\n")
def test_a_mask_is_a_threads_own_and_its_creators_at_first(options: dict[str, Any]) -> None:
    runtime.install(green=True, **options)

    def blocked() -> set[int]:
        return set(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))

    def keep(number: int) -> None:
        inherited = blocked()
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        child = threading.Thread(target=lambda: said.append(blocked() == inherited | {number}))
        for _ in range(20):
            time.sleep(0.0001)
            said.append(blocked() == inherited | {number})
            time.sleep(0)
        child.start()
        child.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        time.sleep(0.001)
        said.append(not blocked())

    said: list[bool] = []
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    together(*(partial(keep, number) for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)))
    print(blocked() == {signal.SIGHUP}, all(said), len(said))


@OPTIONS
@pytest.mark.parametrize("helper", [False, True], ids=["", "beside a helper"])
@in_child(prints=f"{int(signal.SIGUSR1)}\n" * 2)
def test_no_lwp_without_a_thread_takes_a_signal_that_all_threads_block(options: dict[str, Any], helper: bool) -> None:
    runtime.install(green=True, **options)
    together(*(partial(time.sleep, 0.001) for _ in range(3)))
    if helper:
        together(lambda: scheduler.blocking(int))
    # From here on all threads of the program block it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.kill(os.getpid(), signal.SIGUSR1)
    together(lambda: print(int(signal.sigwait([signal.SIGUSR1]))))
    os.kill(os.getpid(), signal.SIGUSR1)
    print(int(signal.sigwait([signal.SIGUSR1])))


@OPTIONS
@in_child(prints=f"{int(signal.SIGUSR1)}\n")
def test_a_thread_that_has_ended_leaves_its_mask_to_no_lwp(options: dict[str, Any]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    runtime.install(green=True, **options)
    event = threading.Event()
    sleeper = threading.Thread(target=event.wait)
    sleeper.start()
    together(lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1]))
    os.kill(os.getpid(), signal.SIGUSR1)
    print(int(signal.sigwait([signal.SIGUSR1])))
    event.set()
    sleeper.join()


@in_child(prints="True\n" * 3)
def test_a_helpers_call_has_its_callers_mask() -> None:
    runtime.install(green=True)

    def blocked() -> list[int]:
        return sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))

    def ask(*numbers: int) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, numbers)
        print(scheduler.blocking(blocked) == list(numbers))

    together(partial(ask, signal.SIGUSR1))
    together(partial(ask, signal.SIGUSR2))
    together(ask)


# ---- errno, pointers and locks ---------------------------------------------------------------------------------------


def calls_in_c(green: bool, options: dict[str, Any], library: str) -> None:
    if green:
        runtime.install(green=True, **options)
    c = ctypes.PyDLL(library)
    for name in ("no_call", "errno_after_save", "sleep_briefly", "poll_files", "sleep_for"):
        getattr(c, name).restype = ctypes.c_long
    reads, _ = os.pipe()
    page = mmap.mmap(-1, mmap.PAGESIZE)
    nowhere = ctypes.addressof(ctypes.c_char.from_buffer(page))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(nowhere), mmap.PAGESIZE, 0) == 0
    page_ = ctypes.c_void_p(nowhere)
    bad: list[Any] = [None, page_, ctypes.c_void_p(1 << 63), ctypes.c_void_p((1 << 64) - 8)]

    class Time(ctypes.Structure):
        _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]

    class File(ctypes.Structure):
        _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]

    def poll(timeout: int, *fds: int) -> int:
        return c.poll_files((File * len(fds))(*(File(fd, 1) for fd in fds)), ctypes.c_ulong(len(fds)), timeout)

    def run() -> None:
        found = [c.no_call(), c.errno_after_save(), c.sleep_briefly()]
        found += [poll(2, reads), poll(2, -1, reads), poll(2), poll(0, reads), poll(2, 12345)]
        found += [c.poll_files(at, ctypes.c_ulong(1), 2) for at in bad]
        found += [c.poll_files(page_, ctypes.c_ulong(0), 2), c.poll_files(page_, ctypes.c_ulong(1 << 40), 2)]
        found += [c.sleep_for(ctypes.byref(Time(*time)), None) for time in ((0, 2_000_000), (0, 0), (-1, 0), (0, -1))]
        found += [c.sleep_for(ctypes.byref(Time(0, 1_000_000_000)), None), c.sleep_for(ctypes.byref(Time(0, 9)), page_)]
        found += [c.sleep_for(at, None) for at in bad]
        all_found.append(found)

    all_found: list[list[int]] = []
    together(*[run] * 4)
    print(*all_found, sep="\n")


@OPTIONS
def test_errno_and_bad_pointers_are_as_with_stock_threads(options: dict[str, Any], in_c: str, child: Child) -> None:
    assert child(calls_in_c, True, options, in_c).stdout == child(calls_in_c, False, options, in_c).stdout


@OPTIONS
@in_child
def test_a_lock_that_c_code_keeps_while_it_sleeps_comes_free(options: dict[str, Any], in_c: str) -> None:
    runtime.install(green=True, **options)
    c = ctypes.PyDLL(in_c)
    together(*(partial(c.sleep_with_mutex, 10, number % 2) for number in range(7)))


# ---- what is the LWP's -----------------------------------------------------------------------------------------------

#: What sets it, and what shows it.
SHARED = {
    "nice": ("os.setpriority(os.PRIO_PROCESS, 0, 3)", "os.getpriority(os.PRIO_PROCESS, 0)"),
    "affinity": ("os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})", "os.sched_getaffinity(0)"),
    "policy": ("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))", "os.sched_getscheduler(0)"),
    "name": ("libc.prctl(15, b'changed', 0, 0, 0)", "Path('/proc/thread-self/comm').read_text()"),
    "timer slack": ("libc.prctl(29, 12345, 0, 0, 0)", "libc.prctl(30, 0, 0, 0, 0)"),
    "no_new_privs": ("libc.prctl(38, 1, 0, 0, 0)", "libc.prctl(39, 0, 0, 0, 0)"),
    "seccomp filter": (
        "refuse(1 << 20, 1)",  # no system call's number
        "Path('/proc/thread-self/status').read_text().partition('Seccomp_filters:')[2].split()[0]",
    ),
    "signal stack": ("libc.sigaltstack(stack, None)", "(libc.sigaltstack(None, found), bytes(found)[:8])[1]"),
    "umask of its own": (
        "(libc.unshare(0x200), os.umask(0o31))",
        "Path('/proc/thread-self/status').read_text().partition('Umask:')[2].split()[0]",
    ),
    "file system's user": ("libc.setfsuid(65534)", "libc.setfsuid(-1)"),
}


def shared(sets: str, shows: str) -> None:
    memory = ctypes.create_string_buffer(65536)
    stack = (ctypes.c_size_t * 3)(ctypes.addressof(memory), 0, len(memory))
    names = {"os": os, "libc": libc, "Path": Path, "refuse": refuse, "stack": stack, "found": (ctypes.c_size_t * 3)()}
    seen = [eval(shows, names)]
    threads = scheduler.Scheduler()
    threads.spawn(eval, sets, names)
    threads.spawn(lambda: seen.append(eval(shows, names)))
    threads.run()
    seen.append(eval(shows, names))
    print(seen[0] != seen[1], seen[1] == seen[2])


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.root) for name in SHARED])
def test_what_belongs_to_the_lwp_is_all_its_threads(name: str, child: Child) -> None:
    if name == "affinity" and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one processor")
    assert child(shared, *SHARED[name]).stdout == "True True\n"
