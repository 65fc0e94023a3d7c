"""The core as its users see it: spawn, LWP, Context, flags, Thread, install."""

from __future__ import annotations

import _thread
import ctypes
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from conftest import Child, NativeHelper, in_child, resident, run_thread, run_threads, wait_until_parked

import runtime
from runtime import THREAD_FLAGS, Clone, native, scheduler, sync
from runtime.lwp import begin, reserve, stack_size_or_default
from runtime.scheduler import spawn

libc = ctypes.CDLL(None)

PROCESS = Clone.VM | Clone.FS | Clone.FILES | Clone.SIGHAND  # a process-style LWP that shares all it can


class Gate:
    """Threads wait at it, in a system call, until it is opened."""

    def __init__(self) -> None:
        self.ends = os.pipe()

    def wait(self) -> None:
        os.read(self.ends[0], 1)

    def open(self, count: int = 1) -> None:
        os.write(self.ends[1], b"." * count)


def make_gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    for end in made.ends:
        os.close(end)


gate, said = pytest.fixture(make_gate), pytest.fixture(make_gate)


# ---- flags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "exit_signal", "rule"),
    [
        (Clone.THREAD | Clone.VM, 0, "CLONE_THREAD needs CLONE_SIGHAND"),
        (Clone.THREAD, 0, "CLONE_THREAD needs CLONE_SIGHAND"),
        (Clone.SIGHAND, signal.SIGCHLD, "CLONE_SIGHAND needs CLONE_VM"),
        (Clone.THREAD | Clone.SIGHAND, 0, "CLONE_SIGHAND needs CLONE_VM"),
        (THREAD_FLAGS, signal.SIGCHLD, "exit_signal needs"),
        (PROCESS | Clone.NEWNS, signal.SIGCHLD, "CLONE_FS can't go with CLONE_NEWNS"),
        (PROCESS | Clone.NEWUSER, signal.SIGCHLD, "CLONE_FS can't go with .* CLONE_NEWUSER"),
        (Clone.VM | Clone.SYSVSEM | Clone.NEWIPC, 0, "CLONE_SYSVSEM can't go with CLONE_NEWIPC"),
        (THREAD_FLAGS | Clone.PIDFD, 0, "CLONE_PIDFD can't be used"),
        (THREAD_FLAGS | Clone.PARENT, 0, "CLONE_PARENT can't be used"),
        (Clone.VM | signal.SIGCHLD, 0, "exit signal 17 goes in exit_signal"),
        (1 << 40, 0, "not flags of clone"),
        (Clone.VM, 1000, "exit_signal must be"),
        (Clone.VM, -1, "exit_signal must be"),
    ],
)
def test_what_the_kernel_refuses_is_refused_by_rule(flags: int, exit_signal: int, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        spawn(pytest.fail, flags=flags, exit_signal=exit_signal)


def test_flags_of_a_thread() -> None:
    assert THREAD_FLAGS == 0x3D0F00, "what glibc gives to clone for a pthread, see pthread_create.c"
    assert all("\n" not in flag.meaning and flag.meaning for flag in Clone)
    assert len({flag.meaning for flag in Clone}) == len(Clone)
    always = Clone.VM | Clone.SETTLS | Clone.PARENT_SETTID | Clone.CHILD_CLEARTID
    for lwp, flags in ((spawn(int), THREAD_FLAGS), (spawn(int, flags=Clone.VM, exit_signal=signal.SIGCHLD), always)):
        assert lwp.flags == flags
        assert lwp.join()
    with pytest.raises(ValueError, match="needs CLONE_THREAD"):
        runtime.Thread(flags=PROCESS)
    for described in (Clone, runtime.Thread, spawn):  # which flags are always added
        assert "VM, SETTLS, PARENT_SETTID and CHILD_CLEARTID" in (described.__doc__ or "")
    # CHILD_SETTID writes the tid into the word that join waits on.
    assert spawn(int, flags=THREAD_FLAGS | Clone.CHILD_SETTID).join()


# ---- LWP and Context -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1, 2), {"three": 3}), (iter([1, 2]), MappingProxyType({"three": 3}))],
    ids=["tuple and dict", "any iterable and mapping"],
)
def test_an_lwp_and_its_context(args: Any, kwargs: Any, gate: Gate) -> None:
    seen: list[object] = []

    def look(*args: object, **kwargs: object) -> None:
        seen.extend([threading.get_ident(), threading.get_native_id(), args, kwargs])
        gate.wait()

    lwp = spawn(look, args, kwargs, name="a-thread")
    assert lwp.is_alive()
    assert lwp.tid in map(int, os.listdir("/proc/self/task"))
    assert f"tid={lwp.tid} alive" in repr(lwp)
    context = lwp.context
    (low, high), block = context.stack, context.tls_block
    assert context.guard[0] < context.guard[1] == low < high <= block[0]
    assert block[0] <= context.thread_pointer <= block[1]
    assert block[0] <= lwp.ident < block[1]  # struct pthread: at tp on x86-64, below it on aarch64
    with pytest.raises(AttributeError):
        context.stack = (0, 0)
    gate.open()
    assert lwp.join()
    assert seen == [lwp.ident, lwp.tid, (1, 2), {"three": 3}]
    assert lwp.exit_status is None
    assert not lwp.is_alive()
    assert "ended" in repr(lwp)
    assert lwp.context == context
    assert lwp.join(), "again, which is harmless"


def test_contexts_of_the_living_do_not_overlap(gate: Gate) -> None:
    lwps = [spawn(gate.wait) for _ in range(50)]
    contexts = sorted((lwp.context.guard[0], lwp.context.tls_block[1]) for lwp in lwps)
    assert all(high <= low for (_, high), (low, _) in itertools.pairwise(contexts))
    gate.open(50)
    assert all(lwp.join() for lwp in lwps)


@in_child(status=-signal.SIGSEGV)
def test_the_guard_is_no_memory() -> None:
    def touch() -> None:
        made.wait()
        ctypes.memset(lwp.context.guard[1] - 1, 0, 1)

    made = sync.Event()
    lwp = spawn(touch)
    made.set()
    lwp.join()


@pytest.mark.parametrize("name", ["short", "fifteen-letters", "more than fifteen letters", "\u00fcml\u00e4ut"])
def test_the_kernel_knows_the_name(name: str, said: Gate, gate: Gate) -> None:
    lwp = spawn(lambda: (said.open(), gate.wait()), name=name)
    said.wait()
    comm = Path(f"/proc/self/task/{lwp.tid}/comm").read_bytes()
    gate.open()
    assert lwp.join()
    assert comm == name.encode()[:15] + b"\n"


def test_wrong_types_are_refused_before_anything_is_made() -> None:
    made = native.lwp_started()
    for wrong, says in (
        (lambda: spawn(3), "target must be callable, not int"),  # type: ignore[arg-type]
        (lambda: spawn(print, 3), "args must be a tuple, .* not int"),  # type: ignore[arg-type]
        (lambda: spawn(print, "ab"), r"args must be a tuple: .* write \('ab',\)"),  # type: ignore[arg-type]
        (lambda: spawn(print, b"ab"), r"args must be a tuple: .* write \(b'ab',\)"),  # type: ignore[arg-type]
        (lambda: spawn(print, (), 3), "kwargs must be a mapping or None, not int"),  # type: ignore[arg-type]
        (lambda: spawn(print, flags="x"), "flags must be runtime.Clone's, not str"),  # type: ignore[arg-type]
        (lambda: runtime.Thread(flags="x"), "flags must be runtime.Clone's, not str"),  # type: ignore[arg-type]
        (lambda: spawn(int, name=5), "name must be a string or None, not int"),  # type: ignore[arg-type]
        (lambda: spawn(int, stack_size="1M"), "stack_size must be an integer or None, not str"),  # type: ignore[arg-type]
        (lambda: runtime.Thread(stack_size="1M"), "stack_size must be an integer or None, not str"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=says):
            wrong()
    assert native.lwp_started() == made


def test_errors_of_the_handle(gate: Gate) -> None:
    lwp = reserve()
    assert lwp.ident
    assert (lwp.tid, lwp.is_alive()) == (0, False)
    with pytest.raises(RuntimeError, match="not started"):
        lwp.join()
    begin(lwp, gate.wait)
    with pytest.raises(RuntimeError, match="only be started once"):
        begin(lwp, gate.wait)
    with pytest.raises(ValueError, match="NaN"):
        lwp.join(float("nan"))
    with pytest.raises(OverflowError):
        lwp.join(1e11)
    with pytest.raises(TypeError):
        lwp.join("soon")
    gate.open()
    assert lwp.join()

    caught: list[bool] = []

    def join_myself() -> None:
        gate.wait()
        with pytest.raises(RuntimeError, match="calling LWP"):
            myself.join()
        caught.append(True)

    myself = spawn(join_myself)
    gate.open()
    assert myself.join()
    assert caught
    reserve()  # dropped without a start: its context goes back


def test_stack_sizes(native_helper: NativeHelper) -> None:
    def size_of_stack(lwp: scheduler.LWP) -> int:
        assert lwp.join()
        low, high = lwp.context.stack
        return high - low

    least = (32 if sys.version_info < (3, 14) else 52) << 10  # as threading.stack_size()
    for size in (least, 100_000, 1 << 20, 8 << 20):
        lwp = spawn(native_helper.lib.stack_damage, (size - 20_000, 3), stack_size=size)
        assert size <= size_of_stack(lwp) <= size * 5 // 4 + 8192
    for refused in (0, 1, least - 1):
        for make in (spawn, runtime.Thread):
            with pytest.raises(ValueError, match=f"at least {least}"):
                make(target=int, stack_size=refused)
    before = threading.stack_size(512 << 10)
    try:
        lwp = spawn(int)
        run_thread(runtime.Thread(target=int))
    finally:
        threading.stack_size(before)
    assert 512 << 10 <= size_of_stack(lwp) < 700 << 10
    assert size_of_stack(spawn(int)) >= stack_size_or_default(None)


# ---- join, detach ----------------------------------------------------------------------------------------------------


def test_join_with_a_timeout(gate: Gate) -> None:
    thread = runtime.Thread(target=gate.wait)
    thread.start()
    lwp = spawn(gate.wait)
    assert not lwp.join(0)
    assert not lwp.join(-5)
    begin = time.monotonic()
    assert not lwp.join(0.05)
    assert time.monotonic() - begin >= 0.05
    thread.join(0.01)
    assert thread.is_alive()
    gate.open(2)
    assert lwp.join(60)
    assert lwp.join(0)
    thread.join(60)
    assert not thread.is_alive()


@in_child(timeout=30)
def test_a_signal_handler_runs_while_join_waits_and_may_end_it() -> None:
    class Interrupted(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        calls.append(number)
        again.release()
        if len(calls) == 2:
            raise Interrupted

    def disturb() -> None:
        for _ in range(2):
            wait_until_parked(os.getpid())
            # Not to the process: a thread that just begins, and unblocks its signals, could take the signal, and the
            # kernel would restart main's futex call.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            again.acquire()

    calls: list[int] = []
    again, end = threading.Semaphore(0), os.pipe()
    signal.signal(signal.SIGUSR1, handler)
    thread = runtime.Thread(target=os.read, args=(end[0], 1))
    thread.start()
    process = spawn(os.read, (end[0], 1), flags=Clone.VM, exit_signal=signal.SIGCHLD)
    for joinable in (thread, spawn(os.read, (end[0], 1)), process):
        calls.clear()
        disturber = spawn(disturb)
        try:
            joinable.join()
        except Interrupted:
            pass
        else:
            raise AssertionError("not interrupted")
        assert calls == [signal.SIGUSR1] * 2
        assert joinable.is_alive()
        assert disturber.join()
    os.write(end[1], b"...")
    for joinable in (thread, process):
        joinable.join()
        assert not joinable.is_alive()


def test_many_join_one(gate: Gate) -> None:
    lwp = spawn(gate.wait)
    joined: list[bool] = []
    joiners = [spawn(lambda: joined.append(lwp.join())) for _ in range(10)]
    gate.open()
    assert all(joiner.join() for joiner in joiners)
    assert joined == [True] * 10


def test_detached_and_dropped_threads_are_recycled(gate: Gate) -> None:
    lwp = spawn(gate.wait)
    lwp.detach()
    with pytest.raises(RuntimeError, match="detached"):
        lwp.join()
    with pytest.raises(RuntimeError, match="already"):
        lwp.detach()
    gate.open()
    for _ in range(1000):
        spawn(int).detach()
        spawn(int)  # the handle is dropped at once
    # That their contexts come back is the business of the check after each test.


# ---- what is shared --------------------------------------------------------------------------------------------------


def run_by_spawn(flags: Clone, work: Any) -> None:
    assert spawn(work, flags=flags).join()


def run_by_thread(flags: Clone, work: Any) -> None:
    run_thread(runtime.Thread(target=work, flags=flags))


by_each = pytest.mark.parametrize("run", [run_by_spawn, run_by_thread])


@by_each
def test_without_clone_files_a_descriptor_table_of_its_own(run: Any) -> None:
    read, write = os.pipe()
    run(THREAD_FLAGS & ~Clone.FILES, lambda: os.close(write))
    os.write(write, b"still open")
    run(THREAD_FLAGS, lambda: os.close(write))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(write, b"closed")
    os.close(read)


@by_each
def test_without_clone_fs_a_working_directory_and_umask_of_its_own(run: Any, tmp_path: Path) -> None:
    def move() -> None:
        os.chdir(tmp_path)
        os.umask(0o077)
        seen.append(os.getcwd())

    seen: list[str] = []
    here, mask = os.getcwd(), os.umask(0o022)
    try:
        run(THREAD_FLAGS & ~Clone.FS, move)
        assert os.getcwd() == here
        assert os.umask(0o022) == 0o022
        run(THREAD_FLAGS, move)
        assert os.getcwd() == str(tmp_path)
        assert os.umask(0o022) == 0o077
    finally:
        os.chdir(here)
        os.umask(mask)
    assert seen == [str(tmp_path)] * 2


def test_vfork_returns_when_the_child_has_ended() -> None:
    seen: list[int] = []
    lwp = spawn(lambda: seen.append(os.getpid()), flags=Clone.VM | Clone.VFORK, exit_signal=signal.SIGCHLD)
    assert seen == [lwp.tid]
    # The kernel lets the creator go on when the child has left our memory, and only then makes its status known.
    assert lwp.join()
    assert not lwp.is_alive()
    assert lwp.exit_status == 0
    thread = spawn(lambda: seen.append(0), flags=THREAD_FLAGS | Clone.VFORK)
    assert seen[1:] == [0]
    assert thread.join()


# ---- process-style ---------------------------------------------------------------------------------------------------


def leave(code: object) -> None:
    sys.exit(code)  # type: ignore[arg-type]


def fail() -> None:
    raise LookupError("meant to fail")


@pytest.mark.parametrize("flags", [PROCESS, Clone.VM, Clone(0)], ids=["shared", "vm", "copy"])
@pytest.mark.parametrize(
    ("target", "args", "status", "error"),
    [
        (int, ("7",), 7, ""),
        (int, ("300",), 300 & 0xFF, ""),
        (str, ("no int",), 0, ""),
        (leave, (9,), 9, ""),
        (leave, (None,), 0, ""),
        (leave, ("a message",), 1, "a message"),
        (fail, (), 1, "LookupError: meant to fail"),
    ],
)
def test_exit_status_of_a_process(
    flags: Clone, target: Any, args: tuple[Any, ...], status: int, error: str, capfd: pytest.CaptureFixture[str]
) -> None:
    lwp = spawn(target, args, flags=flags, exit_signal=signal.SIGCHLD)
    assert lwp.exit_status is None
    assert lwp.join()
    assert lwp.exit_status == status
    assert not lwp.is_alive()
    assert error in capfd.readouterr().err


def test_a_process_that_shares_memory(said: Gate, gate: Gate) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.extend([os.getpid(), threading.get_ident(), threading.get_native_id()])
        said.open()
        gate.wait()

    lwp = spawn(look, flags=PROCESS, exit_signal=signal.SIGCHLD, name="a-process")
    assert lwp.exit_signal == signal.SIGCHLD
    said.wait()
    assert not lwp.join(0.01)
    assert lwp.is_alive()
    assert Path(f"/proc/{lwp.tid}/comm").read_text() == "a-process\n"
    assert str(lwp.tid) not in os.listdir("/proc/self/task")
    gate.open()
    assert lwp.join()
    assert seen == [lwp.tid, lwp.ident, lwp.tid]
    assert lwp.tid != os.getpid()
    with pytest.raises(ChildProcessError):
        os.waitpid(lwp.tid, 0)


def test_a_process_on_a_copy_of_memory(said: Gate, gate: Gate) -> None:
    value = ["parent's"]
    forked: list[str] = []
    os.register_at_fork(after_in_child=lambda: forked.append("child"))
    others = [spawn(gate.wait) for _ in range(3)]

    def look() -> int:
        value[0] = "child's"
        said.open()
        gate.wait()
        alone = threading.enumerate() == [threading.current_thread()] and native.lwp_alive() == 0
        return 40 + alone + (forked == ["child"])

    lwp = spawn(look, flags=Clone(0), exit_signal=signal.SIGCHLD)
    said.wait()
    assert lwp.context is None
    assert lwp.is_alive()
    assert not lwp.join(0)
    assert not lwp.join(0.01)
    gate.open(4)
    assert lwp.join()
    assert lwp.exit_status == 42
    assert value == ["parent's"]
    assert all(other.join() for other in others)


def test_a_copy_shares_more_only_without_other_threads(child: Child, gate: Gate) -> None:
    lwp = spawn(gate.wait)
    with pytest.raises(RuntimeError, match=r"shares CLONE_FS \| CLONE_FILES can only be made"):
        spawn(int, flags=Clone.FILES | Clone.FS, exit_signal=signal.SIGCHLD)
    with pytest.raises(RuntimeError, match="with exit signal 10 and not SIGCHLD can only be made"):
        spawn(int, flags=Clone(0), exit_signal=signal.SIGUSR1)
    gate.open()
    assert lwp.join()

    def alone() -> None:
        (read, write), value = os.pipe(), [0]

        def close() -> int:
            value[0] = 1
            os.close(write)
            os.chdir("/")
            run_thread(runtime.Thread(target=value.append, args=(2,)))
            return sum(value)

        copy = spawn(close, flags=Clone.FILES | Clone.FS, exit_signal=signal.SIGCHLD)
        assert copy.join()
        assert copy.exit_status == 3, copy.exit_status
        assert value == [0]
        assert os.getcwd() == "/"
        try:
            os.write(write, b".")
        except OSError:
            pass
        else:
            raise AssertionError("the descriptor is still open")
        assert os.read(read, 1) == b""

    child(alone)


@in_child
def test_the_exit_signal_is_sent() -> None:
    # the only thread here: another might take the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    lwp = spawn(int, flags=Clone.VM, exit_signal=signal.SIGUSR1)
    assert signal.sigtimedwait([signal.SIGUSR1], 60).si_pid == lwp.tid
    assert lwp.join()


@pytest.mark.parametrize("flags", [int(PROCESS), int(Clone.VM), 0], ids=["shared", "vm", "copy"])
@in_child
def test_a_process_that_ends_in_the_kernel(flags: int) -> None:
    """Killed, or by _exit(2): it never came to the end of its function."""

    came = os.pipe()

    def be_killed() -> None:
        os.write(came[1], b".")
        os.read(os.pipe()[0], 1)

    def leave() -> None:
        os.write(came[1], b".")
        libc._exit(5)  # by ctypes, which lets go of the GIL: with it all would wait for the dead

    for target, status in ((be_killed, -signal.SIGKILL), (leave, 5)) * 3:
        lwp = spawn(target, flags=flags, exit_signal=signal.SIGCHLD)
        os.read(came[0], 1)
        if target is be_killed:
            while Path(f"/proc/{lwp.tid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "S":
                os.sched_yield()
            os.kill(lwp.tid, signal.SIGKILL)
        assert lwp.join(30)
        assert lwp.exit_status == status
        assert not lwp.is_alive()
    assert spawn(int).join()
    found = native.lwp_alive(), len(sys._current_frames()), native.running()
    assert found == (0, 1, 0), "the dead are counted out"


@pytest.mark.parametrize(
    "flags", [int(PROCESS), int(Clone.VM), int(Clone.VM | Clone.VFORK)], ids=["shared", "vm", "vfork"]
)
@in_child
def test_a_process_that_leaves_our_memory_by_exec(flags: int) -> None:
    """It lives on: the kernel clears its word at the exec."""
    said, go = os.pipe(), os.pipe()
    for end in (said[1], go[0]):
        os.set_inheritable(end, True)
    script = f"echo >&{said[1]}; read line <&{go[0]}; exit 7"
    args = (ctypes.c_char_p * 4)(b"sh", b"-c", script.encode(), None)
    lwp = spawn(libc.execv, (b"/bin/sh", args), flags=flags, exit_signal=signal.SIGCHLD)
    os.read(said[0], 1)
    assert lwp.is_alive()
    assert not lwp.join(0)
    assert not lwp.join(0.01)
    assert lwp.exit_status is None
    os.write(go[1], b"\n")
    assert lwp.join()
    assert lwp.exit_status == 7
    assert not lwp.is_alive()
    assert spawn(int).join()
    assert native.lwp_alive() == 0


@pytest.mark.parametrize("flags", [PROCESS, Clone(0)], ids=["shared", "copy"])
def test_a_process_reaped_by_somebody_else(flags: Clone) -> None:
    lwp = spawn(int, flags=flags, exit_signal=signal.SIGCHLD)
    assert os.waitpid(lwp.tid, 0) == (lwp.tid, 0)
    assert not lwp.is_alive()
    assert lwp.join()
    assert lwp.exit_status is None


@in_child(prints="main\nstill here\n")
def test_processes_not_joined_are_joined_at_the_end() -> None:
    def outlive() -> None:
        while threading.main_thread().is_alive():
            os.sched_yield()
        print("still here", flush=True)

    spawn(outlive, flags=Clone.VM, exit_signal=signal.SIGCHLD)
    print("main", flush=True)


# ---- the end of a thread ---------------------------------------------------------------------------------------------


def test_destructors_run_at_the_end(native_helper: NativeHelper) -> None:
    helper = native_helper.lib
    order = (ctypes.c_int * 2)()

    def use() -> None:
        assert helper.key_get() is None, "what the last thread on this context had set is gone"
        helper.key_set()
        helper.cxa_register()

    for again, rounds in ((0, 1), (1, 4)):  # PTHREAD_DESTRUCTOR_ITERATIONS
        assert helper.key_create(again) == 0
        for n in (1, 2):
            assert spawn(use).join()
            assert helper.key_rounds() == rounds * n
            helper.destructor_order(order)
            assert n > 1 or list(order) == [1, 2], "first thread_local objects, then keys, as in a pthread"
        assert helper.key_delete() == 0

    assert helper.key_create(0) == 0
    assert spawn(lambda: (helper.key_set(), helper.key_delete())).join()
    assert helper.key_rounds() == 0, "a key that is gone by then has no destructor"


def test_many_keys(native_helper: NativeHelper) -> None:
    """Beyond the first 32 keys glibc allocates their values' blocks, which are freed at the end."""
    key, keys = ctypes.c_uint(), []
    destroyed: list[int] = []
    destructor = ctypes.CFUNCTYPE(None, ctypes.c_size_t)(destroyed.append)
    for _ in range(200):
        assert libc.pthread_key_create(ctypes.byref(key), destructor) == 0
        keys.append(key.value)

    def use() -> None:
        for key in keys:
            assert libc.pthread_getspecific(key) == 0
            assert libc.pthread_setspecific(key, ctypes.c_void_p(key + 1)) == 0

    for _ in range(3):
        assert spawn(use).join()
        assert sorted(destroyed) == sorted(key + 1 for key in keys)
        destroyed.clear()
    for number in keys:
        assert libc.pthread_key_delete(number) == 0


@pytest.mark.loads
def test_cxx_thread_locals_are_destroyed(native_helper: NativeHelper) -> None:
    library = ctypes.CDLL(native_helper.cxx())
    seen: list[tuple[int, int]] = []
    for _ in range(3):
        assert spawn(lambda: seen.append((library.touch(), library.alive()))).join()
        assert library.alive() == 0
    assert seen == [(1, 1)] * 3, "a new object in each thread"


@in_child
def test_a_robust_mutex_of_a_dead_thread() -> None:
    attributes, mutex = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    assert libc.pthread_mutexattr_init(attributes) == libc.pthread_mutexattr_setrobust(attributes, 1) == 0
    assert libc.pthread_mutex_init(mutex, attributes) == 0
    for _ in range(2):
        assert spawn(libc.pthread_mutex_lock, (mutex,)).join()
        assert libc.pthread_mutex_lock(mutex) == 130, "EOWNERDEAD"
        assert libc.pthread_mutex_consistent(mutex) == libc.pthread_mutex_unlock(mutex) == 0


@in_child
def test_libc_state_is_reset_for_the_next_thread() -> None:
    """libc's part of the TLS block outlives a thread, for malloc's sake; what it says of the thread does not."""
    libc.newlocale.restype = libc.uselocale.restype = ctypes.c_void_p
    libc.uselocale.argtypes = [ctypes.c_void_p]
    libc.dlerror.restype = ctypes.c_char_p
    all_global = ctypes.c_void_p(-1).value
    mine = libc.newlocale(0x1FBF, b"C", None)
    end, came = os.pipe(), os.pipe()

    def use(wait: bool) -> None:
        found.append((libc.uselocale(None), libc.dlerror()))
        libc.uselocale(mine)
        libc.dlopen(b"/no/such/library", 1)
        if wait:
            os.write(came[1], b".")
            os.read(end[0], 1)

    found: list[object] = []
    first = spawn(use, (False,))
    first.join()
    second = spawn(use, (True,))
    os.read(came[0], 1)
    assert first.ident == second.ident

    # In a child of fork the thread is lost as it was; its context may have been in the middle of anything.
    pid = os.fork()
    if pid == 0:
        others: list[scheduler.LWP] = []
        while not others or others[-1].ident != second.ident:
            others.append(spawn(use, (False,)))
            assert len(others) < 10
        for other in others:
            other.join()
        assert set(found) == {(all_global, None)}, found
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    os.write(end[1], b".")
    second.join()
    assert found == [(all_global, None)] * 2, found


# ---- exceptions ------------------------------------------------------------------------------------------------------


def test_exceptions_end_a_thread_as_with_threading(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: hooked.append((args.exc_type, args.thread)))
    monkeypatch.setattr(sys, "unraisablehook", lambda args: hooked.append((args.exc_type, args.object)))
    thread = runtime.Thread(target=fail)
    run_thread(thread)
    assert hooked == [(LookupError, thread)]
    hooked.clear()
    assert spawn(fail).join()
    assert hooked == [(LookupError, fail if sys.version_info < (3, 13) else None)]  # the message names it from 3.13 on
    hooked.clear()
    assert spawn(leave, (3,)).join()
    assert not hooked


# ---- fork ------------------------------------------------------------------------------------------------------------


@in_child
def test_fork_in_a_thread() -> None:
    """The thread is the child's main one, and alone; the child ends when it returns, or by _exit()."""

    def fork(leave: bool) -> None:
        pid = os.fork()
        if pid:
            done.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            return
        assert threading.enumerate() == [threading.current_thread()]
        assert threading.current_thread() is threading.main_thread()
        assert os.listdir("/proc/self/task") == [str(os.getpid())] == [str(threading.get_native_id())]
        assert native.lwp_alive() == 1
        for other in others:
            assert not other.is_alive()
            other.join()
        seen: list[int] = []
        for start in (runtime.Thread, threading.Thread):
            run_threads(start(target=seen.append, args=(n,)) for n in range(20))
        assert len(seen) == 40
        if leave:
            os._exit(7)

    done: list[int] = []
    end = os.pipe()
    others: list[Any] = [runtime.Thread(target=os.read, args=(end[0], 1)) for _ in range(5)]
    for other in others:
        other.start()
    others += [spawn(os.read, (end[0], 1), flags=Clone.VM, exit_signal=signal.SIGCHLD)]
    for leave in (False, True):
        run_thread(runtime.Thread(target=fork, args=(leave,)))
    assert done == [0, 7]
    os.write(end[1], b"......")
    for other in others:
        other.join()


@in_child
def test_fork_while_a_thread_is_at_its_end(helper_path: str) -> None:
    """Whatever a thread was at when the process forked, in the child it has ended and can be joined."""
    lib = ctypes.CDLL(helper_path)
    go, said, end = os.pipe(), os.pipe(), os.pipe()
    thread = runtime.Thread(target=os.read, args=(end[0], 1))
    thread.start()
    lwp = spawn(os.read, (end[0], 1))
    tracers = [lib.hold(tid, go[0], said[1]) for tid in (thread.native_id, lwp.tid)]
    if {os.read(said[0], 1) for _ in tracers} != {b"s"}:
        os.kill(os.getpid(), signal.SIGKILL)
    os.write(end[1], b"..")
    assert [os.read(said[0], 1) for _ in tracers] == [b"x"] * 2
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # who hangs is ended
        thread.join()
        assert lwp.join()
        assert native.lwp_alive() == 0
        again = [spawn(int) for _ in range(5)]
        assert all(other.join() for other in again)
        sys.exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    os.write(go[1], b"..")
    thread.join()
    assert lwp.join()
    for tracer in tracers:
        os.waitpid(tracer, 0)


@in_child
def test_forks_while_threads_come_and_go() -> None:
    def churn() -> None:
        while not over:
            lwps.append(spawn(int))
            del lwps[:-40]

    sys.setswitchinterval(1e-4)
    lwps: list[scheduler.LWP] = []
    over = False
    churners = [runtime.Thread(target=churn) for _ in range(2)]
    for churner in churners:
        churner.start()
    for _ in range(300):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            for lwp in lwps:
                lwp.join()
            assert spawn(int).join()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    over = True
    for churner in churners:
        churner.join()


# ---- many ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["Python's objects", "malloc's caches", "blocks of keys", "dynamic TLS"])
@in_child
def test_memory_stays_over_thousands_of_threads(what: str, helper_path: str, dynamic_library: str) -> None:
    """What libc keeps for a thread the next one gets (malloc's tcache and arena), or its end frees it."""
    fill_tcache, library = ctypes.CDLL(helper_path).fill_tcache, ctypes.CDLL(dynamic_library)
    key, keys, seen = ctypes.c_uint(), [], []
    for _ in range(512):
        assert libc.pthread_key_create(ctypes.byref(key), None) == 0
        keys.append(key.value)

    def use_keys() -> None:
        for number in keys[64::32]:  # one in each block of half a KiB
            libc.pthread_setspecific(number, ctypes.c_void_p(1))

    def use_library() -> None:
        seen[:] = [library.get(), library.set(1)]  # allocates 3 KiB

    def run(count: int) -> None:
        for n in range(count):
            if what == "Python's objects":
                run_thread(runtime.Thread(target=sorted, args=([n, 1],)))
                continue
            spawn({"malloc's caches": fill_tcache, "blocks of keys": use_keys}.get(what, use_library)).join()
            assert not seen or seen[0] == 7

    run(1000)
    before = resident()
    run({"malloc's caches": 20_000, "dynamic TLS": 10_000}.get(what, 2000))
    assert resident() - before < (1 if what == "Python's objects" else 2) << 20, resident() - before
    assert len(threading.enumerate()) == 1


@in_child
def test_deep_stacks_are_given_back(helper_path: str) -> None:
    lib = ctypes.CDLL(helper_path)
    lib.stack_damage.argtypes = [ctypes.c_size_t, ctypes.c_int]

    def resident() -> int:
        """Counted by the page; what statm and status say may lag by 64 pages a thread before Linux 6.2."""
        rollup = Path("/proc/self/smaps_rollup").read_text()
        return int(rollup.partition("\nRss:")[2].split()[0]) << 10

    def dig() -> None:
        lib.stack_damage(2 << 20, 1)
        deep.wait()

    deep = threading.Barrier(101)
    before = resident()
    lwps = [spawn(dig) for _ in range(100)]
    deep.wait()
    assert resident() - before > 200 << 20
    assert all(lwp.join() for lwp in lwps)
    assert resident() - before < 20 << 20, resident() - before


@in_child(timeout=100)
def test_thousands_alive_at_once() -> None:
    release = os.pipe()
    release_all = threading.Event()
    threads = [runtime.Thread(target=release_all.wait) for _ in range(4000)]
    lwps = [spawn(os.read, (release[0], 1)) for _ in range(1000)]
    for thread in threads:
        thread.start()
    assert native.lwp_alive() == native.lwp_started() == 5000
    assert len(os.listdir("/proc/self/task")) == 5001
    assert len(threading.enumerate()) >= 4001
    assert len({thread.ident for thread in threads} | {lwp.ident for lwp in lwps}) == 5000
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 13):  # no guard is a mapping of its own
        assert len(Path("/proc/self/maps").read_text().splitlines()) < 5000, "contexts lie side by side"
    release_all.set()
    os.write(release[1], b"." * 1000)
    for thread in threads:
        thread.join()
    assert all(lwp.join() for lwp in lwps)
    assert native.lwp_alive() == 0


# ---- install ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="threading has no such lock")
@in_child(timeout=20)
def test_start_and_join_take_no_lock_of_threadings() -> None:
    with threading._shutdown_locks_lock:  # type: ignore[attr-defined]  # as threading, when a finalizer interrupts it
        run_thread(runtime.Thread(target=int))
        runtime.Thread(target=int).start()


#: How many threads may follow each other then: 3.12 starts none, in some of its releases.
CHAINS = [["ours", "stock", "ours", "stock"], ["stock", "ours", "stock", "ours"], ["stock", "ours", "ours"]]
if (3, 12) <= sys.version_info < (3, 13):
    CHAINS = [["ours"], ["stock"]]


@pytest.mark.parametrize("kinds", CHAINS, ids=" ".join)
def test_the_end_waits_for_threads_and_for_those_that_they_start(kinds: list[str], child: Child) -> None:
    def chain(kinds: list[str]) -> None:
        def link(left: list[str]) -> None:
            threading.main_thread().join()
            print(len(left), flush=True)
            if left:
                start(left)

        def start(kinds: list[str]) -> None:
            kind = {"ours": runtime.Thread, "stock": threading.Thread}[kinds[0]]
            kind(target=link, args=(kinds[1:],), daemon=False).start()

        start(kinds)

    assert child(chain, kinds).stdout == "".join(f"{count}\n" for count in range(len(kinds) - 1, -1, -1))


@in_child
def test_install_and_uninstall() -> None:
    def names() -> list[object]:
        return [
            threading.Thread.start,
            threading.Thread.join,
            _thread.start_new_thread,
            _thread._count,
            getattr(threading, "_start_new_thread", None),
        ]

    def run() -> None:
        thread = threading.Thread(target=int)
        run_thread(thread)
        assert not thread.is_alive()

    started, stock = native.lwp_started, names()
    runtime.uninstall()  # harmless
    run()
    assert started() == 0
    end = os.pipe()
    early = threading.Thread(target=os.read, args=(end[0], 1), daemon=True)
    early.start()

    def in_force() -> None:
        runtime.install()
        runtime.install()  # harmless
        assert names() != stock
        before = started()
        run()
        assert started() == before + 1
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda n: n * n, range(100))) == [n * n for n in range(100)]
        assert before + 2 <= started() <= before + 5
        came, done, end = threading.Event(), threading.Event(), os.pipe()

        def come_and_wait() -> None:
            came.set()
            done.wait()

        ident = _thread.start_new_thread(come_and_wait, ())
        assert isinstance(ident, int)
        came.wait()
        assert _thread._count() == 2, "early and this one"
        done.set()
        while _thread._count() > 1:
            os.sched_yield()
        late = threading.Thread(target=os.read, args=(end[0], 1), daemon=True)
        late.start()
        runtime.uninstall()
        runtime.uninstall()
        assert names() == stock
        os.write(end[1], b".")
        late.join()  # one of ours, by stock join
        assert not late.is_alive()
        before = started()
        run()
        assert started() == before

    in_force()
    in_force()
    os.write(end[1], b".")
    early.join()


def test_none_is_made_while_the_interpreter_ends(child: Child) -> None:
    """From 3.12 on, as threading and os.fork say it; 3.11 refuses nothing."""

    def try_at_the_end() -> None:
        class Last:
            def __del__(self, spawn: Any = spawn, flags: Any = (runtime.THREAD_FLAGS, 0)) -> None:
                for some in flags:
                    try:
                        spawn(int, flags=some)
                    except RuntimeError as error:
                        print(type(error).__name__, error)

        import __main__

        __main__.last = Last()  # type: ignore[attr-defined]

    said = child(try_at_the_end).stdout.splitlines()
    if sys.version_info >= (3, 12):
        error = "PythonFinalizationError: " if sys.version_info >= (3, 13) else "RuntimeError: "
        texts = ["can't create new thread at interpreter shutdown", "can't fork at interpreter shutdown"]
        assert said == [error.replace(":", "") + text for text in texts]
