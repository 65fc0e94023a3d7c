"""What fails is told and leaves nothing: each call of the core made to fail in turn, and what the kernel does to us.

`pytest tests/runtime/native/test_faults.py -rP` shows how many faults each test has injected.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from child_programs import Child, in_child, in_forked_child, run_thread, run_threads, skip_test, wait_until_parked
from faulty import NEW_THREAD_STATE, Faulty
from seccomp import refuse
from sync_helpers import KERNEL_HAS
from this_machine import FREE_THREADED

import runtime
from runtime import Clone, native, sync
from runtime.scheduler import spawn

libc = ctypes.CDLL(None)
# ---- injected --------------------------------------------------------------------------------------------------------


# Which call fails, with what errno, and how often the cycle of fault_injection.py makes it at least.
RAISED = [
    ("mmap", errno.ENOMEM, 2),
    ("mmap", errno.EAGAIN, 2),  # RLIMIT_MEMLOCK after mlockall(MCL_FUTURE)
    ("calloc", errno.ENOMEM, 10),
    ("realloc", errno.ENOMEM, 1),
    (NEW_THREAD_STATE, errno.ENOMEM, 7),
    ("PyMem_RawMalloc", errno.ENOMEM, 7),
    ("clone", errno.EAGAIN, 7),
    ("clone", errno.ENOMEM, 7),
    ("clone", errno.EPERM, 7),
    ("clone", errno.ENOSYS, 7),
    ("fork", errno.EAGAIN, 1),
    ("fork", errno.ENOMEM, 1),
    ("clone_copy", errno.EAGAIN, 1),
    ("clone_copy", errno.EPERM, 1),
    ("pidfd_open", errno.EMFILE, 2),
    ("pidfd_open", errno.ENFILE, 2),
    ("pidfd_open", errno.ENOSYS, 2),
    ("ppoll", errno.ENOMEM, 2),
]
ABSORBED = [
    ("madvise", errno.EINVAL, 4),  # the guard by mprotect instead, as before Linux 6.13
    ("madvise", errno.ENOMEM, 4),
    ("madvise", errno.EAGAIN, 4),
    ("prctl", errno.EINVAL, 3),
    ("prctl", errno.EPERM, 3),
    ("set_robust_list", errno.ENOSYS, 7),
    ("rseq", errno.ENOSYS, 1),
    ("rseq", errno.EPERM, 1),
    ("waitpid", errno.EINTR, 2),
    ("ppoll", errno.EINTR, 2),
    ("futex_wait", errno.EINTR, 7),
    ("futex_wait", errno.EAGAIN, 7),
    ("futex_wait", errno.ENOMEM, 7),
    ("futex_wait", errno.ENOSYS, 7),
]


def _label(value: object) -> str:
    return errno.errorcode[value] if isinstance(value, int) else str(value)


def _labels(rows: list[tuple[str, int, int]]) -> list[str]:
    return [f"{name}-{_label(number)}" for name, number, _ in rows]


@pytest.mark.parametrize(("name", "number", "least"), RAISED, ids=_labels(RAISED))
def test_what_fails_is_raised_and_leaves_nothing(name: str, number: int, least: int, faulty: Faulty) -> None:
    """Each fault: one error, which names the kernel's reason; then nothing more is held than before, and all works."""
    faults = faulty.inject(name, number)
    # A process that shares our memory is joined without a descriptor if need be.  Without a GIL each thread makes its
    # own state, and a process, whose creator doesn't wait for that, tries it again.
    if name == "pidfd_open" or (name == NEW_THREAD_STATE and FREE_THREADED):
        faults = [fault for fault in faults if fault["raised"]]
    assert len(faults) >= least
    for fault in faults:
        ((*_, cause),) = fault["raised"]
        assert f"[Errno {number}] {os.strerror(number)}" in cause
        if name not in ("pidfd_open", "ppoll"):  # which are a join's
            assert fault["raised"][0][0] == "RuntimeError: can't start new thread"


@pytest.mark.parametrize(("name", "number", "least"), ABSORBED, ids=_labels(ABSORBED))
def test_optional_parts_may_be_missing(name: str, number: int, least: int, faulty: Faulty) -> None:
    """Each fault: nothing is raised, everything has worked, and nothing is left."""
    faults = faulty.inject(name, number)
    assert len(faults) >= least
    assert [fault["raised"] for fault in faults] == [[]] * len(faults)


def test_a_guard_that_cannot_be_made_leaves_no_mapping(faulty: Faulty) -> None:
    faults = faulty.inject("mprotect", errno.ENOMEM, "--refused", "madvise", str(errno.EINVAL), "1")
    assert len(faults) == 2  # a kernel that knows no guard regions is not asked again
    for fault in faults:
        assert fault["raised"][0][0] == "RuntimeError: can't start new thread"


@pytest.mark.skipif(not KERNEL_HAS["guard regions"], reason="this kernel has none")
@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN], ids=_label)
def test_a_guard_region_refused_for_memory_is_tried_again(number: int, faulty: Faulty) -> None:
    assert len(faulty.inject("mprotect", errno.ENOMEM, "--refused", "madvise", str(number), "1")) == 1


def test_without_memory_for_a_signal_stack_a_thread_has_none(faulty: Faulty) -> None:
    faults = faulty.inject("mmap", errno.ENOMEM, PYTHONFAULTHANDLER="1")
    assert sorted(len(fault["raised"]) for fault in faults) == [0, 0, 1, 1]  # two contexts were made


def test_without_any_sleep_all_waits_end(faulty: Faulty) -> None:
    """Every futex wait is refused: locks still exclude, joins still wait for the end, timeouts still come."""
    refused = ("--refused", "futex_wait", str(errno.ENOSYS), str(1 << 40))
    (fault,) = faulty.inject("realloc", errno.ENOMEM, *refused)
    assert len(fault["raised"]) == 1


def test_memory_that_the_interpreter_does_not_get(faulty: Faulty) -> None:
    pytest.importorskip("_testcapi")
    faults = faulty.inject("python", errno.ENOMEM)
    raised = [error for fault in faults for error in fault["raised"]]
    assert len(raised) >= 5
    assert {error[0].partition(":")[0] for error in raised} <= {"MemoryError", "RuntimeError"}


@pytest.mark.parametrize(
    ("name", "number"),
    [("mmap", errno.ENOMEM), ("malloc", errno.ENOMEM), ("calloc", errno.ENOMEM), ("pthread_create", errno.EAGAIN)],
    ids=_label,
)
def test_an_import_that_fails_says_why(name: str, number: int, faulty: Faulty) -> None:
    """The first, second ... call that the import makes, until there is none."""
    program = """
import os
tasks = os.listdir("/proc/self/task")
try:
    import runtime.native
    print("imported")
except ImportError as error:
    print(error)
assert os.listdir("/proc/self/task") == tasks
"""
    count = 0
    while True:
        done = faulty.run("-P", "-c", program, RUNTIME_FAULT=f"{name} {count} {number}")
        if done.stdout == "imported\n":
            break
        assert done.stdout.startswith("runtime can't work in this process: "), done.stdout
        assert os.strerror(number) in done.stdout
        count += 1
    assert count >= 1
    print(f"faults injected: {count}")


# ---- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "least"),
    [("mmap", 1), ("calloc", 5), ("madvise", 3), (NEW_THREAD_STATE, 4), ("clone", 4), ("futex_wait", 4), ("rseq", 1)],
)
def test_killed_at_each_step_nothing_is_left(name: str, least: int, faulty: Faulty) -> None:
    """SIGKILL when the core makes its first, second ... call: no task outlives the process."""
    assert len(faulty.inject(name, -signal.SIGKILL)) >= least


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A cgroup whose processes may use 64 MiB together."""
    for root, names in (("memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")), ("", ("memory.max",))):
        group = Path("/sys/fs/cgroup", root, f"test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / names[0]).exists():
                for name in names:
                    if (group / name).exists():
                        (group / name).write_text(str(64 << 20))
                with suppress(OSError):
                    (group / "memory.swap.max").write_text("0")
                yield group
                return
        finally:
            group.rmdir()  # EBUSY: a process is left in it
    pytest.skip("no cgroup with a memory controller can be made here")


def use_all_memory(group: str) -> None:
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
    lock = sync.Lock()
    lock.acquire()
    for _ in range(20):
        runtime.Thread(target=lock.acquire).start()
        runtime.Thread(target=time.sleep, args=(1e6,)).start()
    spawn(lock.acquire, flags=Clone.VM)
    print(native.lwp_alive(), flush=True)

    def start() -> None:
        while True:
            spawn(int).join()

    def take(kept: Any) -> None:
        while True:
            kept.append(bytearray(b"x" * (1 << 16)))

    for _ in range(3):
        runtime.Thread(target=start).start()
        runtime.Thread(target=take, args=([],)).start()


@pytest.mark.root
def test_killed_for_lack_of_memory_nothing_is_left(memory_group: Path, child: Child) -> None:
    """With threads asleep, being made and at work, and a process in the same memory: the kernel kills that one too."""
    assert child(use_all_memory, str(memory_group), status=-signal.SIGKILL).stdout == "41\n"
    ended = time.monotonic() + 10
    while (memory_group / "cgroup.procs").read_text():
        assert time.monotonic() < ended


@in_child
def test_without_memory_for_a_stack_it_is_said_and_nothing_is_lost() -> None:
    """Three threads at a time use up the address space that RLIMIT_AS allows, and again."""

    def mapped() -> int:
        return int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10

    def fill() -> None:
        threads, reserve = [], bytearray(1 << 20)
        together.wait()
        try:
            while True:
                thread = runtime.Thread(target=gate.wait, stack_size=4 << 20)
                thread.start()
                threads.append(thread)
        except (RuntimeError, MemoryError) as error:  # no stack, or nothing for Python's objects
            del reserve
            causes.append(error.__cause__ or error)
        full.wait()
        gate.set()
        for thread in threads:
            thread.join()

    resource.setrlimit(resource.RLIMIT_AS, (mapped() + (512 << 20), resource.RLIM_INFINITY))
    causes: list[Any] = []
    together, full = sync.Barrier(3), sync.Barrier(3)
    before, rounds = 0, 20
    for number in range(rounds):
        gate = sync.Event()
        run_threads([runtime.Thread(target=fill) for _ in range(3)])
        assert native.lwp_alive() == 0
        if number == rounds // 2:
            before = mapped()
    assert mapped() <= before + (1 << 20)
    refused = [cause for cause in causes if not isinstance(cause, MemoryError)]
    assert {cause.errno for cause in refused} == {errno.ENOMEM}
    # Finding out which limit it was needs memory too.
    assert any("RLIMIT_AS (ulimit -v) allows" in str(cause) for cause in refused), refused
    assert len(causes) == 3 * rounds
    assert len(refused) >= rounds


def shot(*_: object) -> None:
    began = sync.Event()

    def wait_for_ever() -> None:
        began.set()
        sync.Event().wait()

    thread = runtime.Thread(target=wait_for_ever)
    thread.start()
    began.wait()
    wait_until_parked(thread.native_id, private=True)
    signal.pthread_kill(thread.ident, signal.SIGSEGV)
    signal.pause()


def overflow(helper: str, earlier: int) -> None:
    native = ctypes.CDLL(helper)

    def too_deep() -> None:
        native.recurse_for_ever(0)

    for _ in range(earlier):
        run_thread(runtime.Thread(target=int))
    runtime.Thread(target=too_deep).start()
    signal.pause()


@pytest.mark.parametrize(
    ("program", "earlier", "where"),
    [(shot, 0, "wait_for_ever"), (overflow, 0, "too_deep"), (overflow, 1, "too_deep")],
    ids=["shot", "overflow on a new context", "overflow on a used context"],
)
def test_faulthandler_tells_where_a_thread_has_failed(
    program: Any, earlier: int, where: str, child: Child, helper_path: str
) -> None:
    """With stock's threads there is no report of an overflow: only the main thread has a stack for the handler."""
    said = child(program, helper_path, earlier, status=-signal.SIGSEGV).stderr
    assert "Fatal Python error: Segmentation fault" in said
    (frames,) = re.findall(r"^Current thread .*\n((?: .*\n)+)", said, re.MULTILINE)
    assert f"in {where}" in frames


# ---- the stack's end -------------------------------------------------------------------------------------------------


@in_child
def test_a_stack_overflow_ends_at_the_guard(helper_path: str) -> None:
    """In a process of its own in our memory, whose end we outlive: the memory of all others is as it was."""
    native = ctypes.CDLL(helper_path)
    go_on, began = sync.Event(), sync.Semaphore(0)

    def sleep() -> None:
        began.release()
        go_on.wait()

    def contents() -> list[bytes]:
        spans = [span for lwp in sleepers for span in (lwp.context.stack, lwp.context.tls_block)]
        return [ctypes.string_at(low, high - low) for low, high in spans]

    # Others lie below its context: the kernel maps downwards, and what one thread leaves the next one gets.
    left = sync.Event()
    highest = spawn(left.wait, stack_size=1 << 16)
    sleepers = [spawn(sleep, stack_size=1 << 16) for _ in range(20)]
    for _ in sleepers:
        began.acquire()
    for lwp in sleepers:
        wait_until_parked(lwp.tid, private=True)
    left.set()
    assert highest.join()
    before = contents()
    lost = spawn(native.recurse_for_ever, (0,), flags=Clone.VM, exit_signal=signal.SIGCHLD, stack_size=1 << 16)
    lost.join()
    assert lost.exit_status == -signal.SIGSEGV
    assert lost.ident == highest.ident
    assert contents() == before
    go_on.set()
    assert all(lwp.join() for lwp in sleepers)


# ---- forbidden -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EAGAIN], ids=_label)
@in_child
def test_a_filter_forbids_threads(number: int) -> None:
    """clone(2) is refused by a seccomp filter; what ran before goes on."""
    go_on, answers = sync.Event(), sync.Semaphore(0)

    def wait_and_answer() -> None:
        go_on.wait()
        answers.release()

    thread = runtime.Thread(target=wait_and_answer)
    thread.start()
    # The other thread began before, and has no filter.
    if not refuse({"x86_64": 56, "aarch64": 220}[os.uname().machine], number):
        skip_test("this kernel has no seccomp filters, or the sandbox forbids them")
    for _ in range(100):
        try:
            runtime.Thread(target=int).start()
        except RuntimeError as error:
            said, why = str(error), error.__cause__
        assert said == "can't start new thread"
        assert isinstance(why, OSError)
        assert why.errno == number
    assert f"[Errno {number}] {os.strerror(number)}: " in str(why)
    assert "seccomp filter" in str(why) or number == 11, why  # EAGAIN
    assert native.lwp_alive() == 1 == native.lwp_started()
    assert threading.active_count() == 2 == len(os.listdir("/proc/self/task"))
    go_on.set()
    answers.acquire()
    thread.join()


# ---- the clock is set ------------------------------------------------------------------------------------------------


@in_child
def test_deadlines_are_of_the_monotonic_clock() -> None:
    """Which nobody can set: settimeofday(2) moves no deadline."""
    # The kernel's own view of each sleeper: which clock its timeout is of, and what the timeout is.
    held, owned = sync.Lock(), sync.RLock()
    held.acquire()
    owned.acquire()
    condition = sync.Condition()

    def wait_in_condition() -> None:
        with condition:
            condition.wait(3600)

    sleeper = runtime.Thread(target=sync.Event().wait)
    sleeper.start()
    waits = [
        partial(held.acquire, timeout=3600),
        partial(owned.acquire, timeout=3600),
        partial(sync.Event().wait, 3600),
        partial(sync.Semaphore(0).acquire, timeout=3600),
        partial(sync.Barrier(2).wait, 3600),
        wait_in_condition,
        partial(sleeper.join, 3600),
    ]
    for wait in waits:
        thread = runtime.Thread(target=wait)
        begin = time.monotonic()
        thread.start()
        while True:
            call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
            # 9: FUTEX_WAIT_BITSET
            if call[0] in ("202", "98") and int(call[2], 16) & 0x7F == 9 and (until := int(call[4], 16)):
                seconds = ctypes.c_int64.from_address(until).value
                if begin + 3599 <= seconds <= time.monotonic() + 3601:  # else it waits for the GIL, or its first moment
                    break
            os.sched_yield()
        assert not int(call[2], 16) & 256, "FUTEX_CLOCK_REALTIME"
    os._exit(0)


@in_child
def test_deadlines_after_the_clock_has_jumped() -> None:
    """The monotonic clock of the forked child is eleven days ahead: time_namespaces(7)."""
    if libc.unshare(0x80) != 0:  # CLONE_NEWTIME
        skip_test("no time namespace can be made here")
    Path("/proc/self/timens_offsets").write_text("monotonic 1000000 0\n")
    before = time.monotonic()

    def check() -> None:
        assert time.monotonic() > before + 999_999
        sleeper = runtime.Thread(target=sync.Event().wait, daemon=True)
        sleeper.start()
        begin = time.monotonic()
        assert not sync.Event().wait(0.01)
        sleeper.join(0.01)
        assert sleeper.is_alive()
        assert begin + 0.02 <= time.monotonic() < begin + 60

    assert in_forked_child(check) == 0
