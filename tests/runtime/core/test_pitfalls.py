"""What a hand-made thread gets wrong first, one test each: what crashed or corrupted simpler versions.

The number is that of the pitfall.  What would take the process down runs in a process of its own (`child`).  Some
have their tests elsewhere: a library that comes while threads live (2) in test_tls_block.py, daemons that the end stops
(4) in lwp/command/test_exits.py, malloc's caches (15) in test_core.py, a start that the kernel refuses (19) in
native/test_faults.py and test_limits.py, debuggers (20) in system/test_debuggers.py.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, NativeHelper, in_child, run_thread, run_threads, skip_test, wait_until_parked

import runtime
from runtime import native
from runtime.scheduler import spawn

libc = ctypes.CDLL(None)


@in_child(env={"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"})
def test_01_malloc_takes_its_locks_though_no_pthread_was_made(helper_path: str) -> None:
    """libc takes no short cut for a single thread: in one arena of four its lists would break at once."""
    lib = ctypes.CDLL(helper_path)
    assert os.listdir("/proc/self/task") == [str(os.getpid())]
    damaged: list[int] = []
    threads = [
        runtime.Thread(target=lambda seed: damaged.append(lib.hammer_malloc(300_000, seed)), args=(seed,))
        for seed in range(4)
    ]
    run_threads(threads)
    assert damaged == [0, 0, 0, 0]


@pytest.mark.root
@in_child
def test_02_glibc_knows_our_threads() -> None:
    """To the kernel an id is one thread's; that it holds for the process is glibc's doing, by its list."""
    end = os.pipe()

    def euid() -> int:
        status = Path(f"/proc/self/task/{lwp.tid}/status").read_text()
        return int(status.partition("Uid:")[2].split()[1])

    spawn(int).join()  # so that the next one runs on a context that was used before
    lwp = spawn(os.read, (end[0], 1))
    assert euid() == 0
    os.seteuid(65534)
    seen = euid()
    os.seteuid(0)
    again = euid()
    os.write(end[1], b".")
    lwp.join()
    assert (seen, again) == (65534, 0)


@in_child
def test_03_a_forked_child_leaves_our_stacks_alone(helper_path: str) -> None:
    """It is on the right one of glibc's lists: no pthread, in its child or in the child of that, is given its stack."""
    lib = ctypes.CDLL(helper_path)
    lib.fork_and_look.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    found: list[int] = []

    def fork_and_look() -> None:
        known.wait()
        found.append(lib.fork_and_look(lwp.context.guard[0], lwp.context.tls_block[1]))

    known = threading.Event()
    lwp = spawn(fork_and_look)
    known.set()
    lwp.join()
    assert found == [0]


@in_child
def test_04_pthread_exit_ends_the_thread() -> None:
    """pthread_exit unwinds to a frame that ends the thread; also from deep inside."""

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        libc.pthread_exit(None)

    lwps = [spawn(deep, (levels,)) for levels in (0, 1, 50)]
    assert all(lwp.join(30) for lwp in lwps)
    assert native.lwp_alive() == 0
    assert spawn(lambda: None).join(30)


@in_child(timeout=30)
def test_05_join_wakes_when_it_sleeps_before_the_end() -> None:
    """The kernel wakes a joiner that sleeps already: as a shared futex, whatever it sleeps on."""
    for _ in range(20):
        assert spawn(wait_until_parked, (os.getpid(),)).join()


@in_child
def test_06_memory_is_not_used_again_before_the_word_is_cleared(helper_path: str) -> None:
    """A thread has left user space for good but its word is not cleared: its memory is still its own."""
    lib = ctypes.CDLL(helper_path)
    go, said, end = os.pipe(), os.pipe(), os.pipe()
    lwp = spawn(os.read, (end[0], 1))
    tracer = lib.hold(lwp.tid, go[0], said[1])
    if os.read(said[0], 1) != b"s":
        skip_test("ptrace is not allowed here")
    os.write(end[1], b".")
    assert os.read(said[0], 1) == b"x"

    assert lwp.is_alive()
    assert not lwp.join(0.01)
    for _ in range(3):
        others = [spawn(lambda: None) for _ in range(10)]
        assert lwp.ident not in {other.ident for other in others}
        assert all(other.join() for other in others)
    assert lwp.is_alive()

    os.write(go[1], b".")
    assert lwp.join(30)
    assert os.waitpid(tracer, 0)[1] == 0
    assert spawn(lambda: None).ident == lwp.ident, "the context is used again once it is free, the last first"


@pytest.mark.root
@in_child
def test_07_setuid_does_not_hang_on_threads_that_start_and_end() -> None:
    """setegid and seteuid signal every thread on the list and wait for it; threads come and go meanwhile."""
    over = False
    ended = 0

    def start_and_join() -> None:
        nonlocal ended
        while not over:
            lwps = [spawn(lambda: None) for _ in range(4)]
            ended += sum(lwp.join() for lwp in lwps)

    starters = [threading.Thread(target=start_and_join), runtime.Thread(target=start_and_join)]
    for starter in starters:
        starter.start()
    calls = 0
    while calls < 200 or ended < 2000:
        os.setegid(65534)
        os.seteuid(65534)
        os.seteuid(0)
        os.setegid(0)
        calls += 1
        if calls % 20 == 0:
            time.sleep(0.001)  # without a pause setxid has the lock nearly always
    over = True
    for starter in starters:
        starter.join()


@in_child
def test_08_guards_of_pointers_are_the_same_in_all_threads() -> None:
    """A converter opened here, used there: its functions are pointers mangled with the pointer guard."""
    libc.iconv_open.restype = ctypes.c_void_p
    libc.iconv.argtypes = [ctypes.c_void_p] + [ctypes.c_void_p] * 4
    libc.iconv.restype = ctypes.c_size_t
    converter = libc.iconv_open(b"UTF-8", b"ISO-8859-15")
    if converter in (None, ctypes.c_void_p(-1).value):
        skip_test("this system has no gconv modules")

    def convert(text: bytes) -> str:
        source, left = ctypes.c_char_p(text), ctypes.c_size_t(len(text))
        room, free = ctypes.create_string_buffer(100), ctypes.c_size_t(100)
        places = source, left, ctypes.c_void_p(ctypes.addressof(room)), free
        assert libc.iconv(converter, *map(ctypes.byref, places)) != ctypes.c_size_t(-1).value
        return room.raw[: 100 - free.value].decode()

    assert convert(b"\xa4") == "\u20ac"
    found: list[str] = []
    spawn(lambda: found.append(convert(b"\xa4 99"))).join()
    assert found == ["\u20ac 99"]


def test_08_guards_of_stacks_are_the_same_in_all_threads(native_helper: NativeHelper) -> None:
    guards = [native_helper.lib.stack_guard()]
    assert spawn(lambda: guards.append(native_helper.lib.stack_guard())).join()
    assert guards[0] == guards[1]


def test_09_sched_getcpu_tells_the_cpu() -> None:
    """From the area that a thread registers by rseq(2)."""
    cpus = sorted(os.sched_getaffinity(0))
    if cpus == [0]:
        pytest.skip("0 is the only CPU, and what an unregistered area says")
    found: list[tuple[int, int]] = []

    def look() -> None:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            found.append((cpu, libc.sched_getcpu()))

    for _ in range(2):  # a new context, then one used before
        assert spawn(look).join()
    assert found == [(cpu, cpu) for cpu in cpus] * 2


@in_child
def test_10_the_dtv_grows_when_libraries_come(many_libraries: list[str]) -> None:
    """More modules than the DTV has room for, while a thread lives: the dynamic linker reallocates it."""
    go, came = os.pipe(), os.pipe()
    libraries: list[ctypes.CDLL] = []
    seen: list[list[int]] = []

    def use() -> None:
        for _ in many_libraries:
            os.write(came[1], b".")
            os.read(go[0], 1)
            libraries[-1].set(len(libraries))
        seen.append([library.get() for library in libraries])

    def fresh() -> None:
        seen.append([library.get() for library in libraries])

    lwp, used = spawn(use), spawn(int, stack_size=1 << 20)
    used.join()
    for path in many_libraries:
        os.read(came[0], 1)
        libraries.append(ctypes.CDLL(path))
        os.write(go[1], b".")
    lwp.join()
    # The same contexts: one with what the DTV grew to, and one with a DTV that was too short when it was left.
    for before, size in ((lwp, None), (lwp, None), (used, 1 << 20), (used, 1 << 20)):
        again = spawn(fresh, stack_size=size)
        again.join()
        assert again.ident == before.ident
    values = [n + 3000 * ((n + 128) % 256 - 128) for n in range(1, len(many_libraries) + 1)]
    assert seen == [values, *[[7] * len(many_libraries)] * 4]


@in_child
def test_11_tls_of_a_library_in_another_namespace(dynamic_library: str) -> None:
    """A library in a namespace of its own brings a second libc, whose TLS our threads need as well."""
    libc.dlmopen.restype = libc.dlsym.restype = ctypes.c_void_p
    libc.dlmopen.argtypes = [ctypes.c_long, ctypes.c_char_p, ctypes.c_int]
    libc.dlsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    go, came = os.pipe(), os.pipe()
    results: list[tuple[int, int, int, int]] = []

    def function(name: bytes, *arguments: Any) -> Any:
        return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(libc.dlsym(handle, name))

    def use(wait: bool) -> None:
        if wait:
            os.write(came[1], b".")
            os.read(go[0], 1)
        before, works = get(), libc_works()
        put(3)
        results.append((before, works, get(), libc_works()))

    early = spawn(use, (True,))
    os.read(came[0], 1)
    handle = libc.dlmopen(-1, dynamic_library.encode(), os.RTLD_NOW)
    assert handle, "dlmopen failed"
    get, libc_works, put = function(b"get"), function(b"libc_works"), function(b"set", ctypes.c_int)
    os.write(go[1], b".")
    assert early.join()
    for _ in range(3):
        assert spawn(use, (False,)).join()
    assert results == [(7, 1, 3 + 3000 * 3, 1)] * 4


def mutex(kind: int) -> ctypes.Array[ctypes.c_char]:
    """kind: PTHREAD_MUTEX_RECURSIVE or PTHREAD_MUTEX_ERRORCHECK."""
    attributes, made = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    assert libc.pthread_mutexattr_init(attributes) == libc.pthread_mutexattr_settype(attributes, kind) == 0
    assert libc.pthread_mutex_init(made, attributes) == 0
    return made


def test_12_locks_know_their_owner() -> None:
    """By the tid in struct pthread."""
    read_write, checking, recursive = ctypes.create_string_buffer(64), mutex(2), mutex(1)
    errors: list[int] = []
    locked, tried = threading.Event(), threading.Event()

    def own() -> None:
        errors.append(libc.pthread_rwlock_rdlock(read_write))
        errors.extend(libc.pthread_mutex_lock(one) for one in (checking, checking, recursive, recursive))
        errors.append(libc.pthread_mutex_trylock(recursive))
        locked.set()
        tried.wait()
        for one in (checking, *[recursive] * 3):
            libc.pthread_mutex_unlock(one)

    def want() -> None:  # the second thread is not taken for the owner
        locked.wait()
        errors.extend(libc.pthread_mutex_trylock(one) for one in (checking, recursive))
        tried.set()
        errors.extend(libc.pthread_mutex_lock(one) for one in (checking, recursive))

    for lwp in [spawn(own), spawn(want)]:
        assert lwp.join()
    assert errors[:6] == [0, 0, 35, 0, 0, 0], "only locking the checking mutex again is EDEADLK"
    assert errors[6:] == [16, 16, 0, 0], "EBUSY for the second thread, until the first has let go"


def test_13_isalpha_and_the_resolver_work_in_each_thread(native_helper: NativeHelper) -> None:
    letters: list[int] = []
    tables: list[int] = [native_helper.lib.ctype_table()]  # that of the locale which Python has set
    states: list[int] = [native_helper.lib.resolver_state()]
    both = threading.Barrier(2)

    def look() -> None:
        letters.append(native_helper.lib.count_letters())
        tables.append(native_helper.lib.ctype_table())
        states.append(native_helper.lib.resolver_state())
        both.wait()  # both live now: none has the other's context

    for _ in range(2):  # new contexts, for the size is seen nowhere else; then the same, used
        for lwp in [spawn(look, stack_size=5 << 20), spawn(look, stack_size=5 << 20)]:
            assert lwp.join()
        assert len(set(states)) == 3, "main and two threads: three states"
        del states[1:]
    assert letters == [52] * 4
    assert tables == [tables[0]] * 5


def test_14_pthread_getattr_np_tells_the_threads_own_stack(native_helper: NativeHelper) -> None:
    for size in (None, 64 << 10, 1 << 20):
        out = (ctypes.c_size_t * 3)()
        lwp = spawn(native_helper.lib.stack_range, (out,), stack_size=size)
        assert lwp.join()
        low, high, frame = out
        assert low == lwp.context.stack[0]
        assert low <= frame < lwp.context.stack[1] <= high
        # What lies above the stack in the range is the thread's own, as glibc counts its descriptor too.
        assert high - lwp.context.tls_block[1] < 8192


@in_child(prints="main is gone\n")
def test_16_the_process_lives_until_our_thread_has_ended() -> None:
    """main calls pthread_exit: the process lives until our thread has ended, and then ends well."""

    def outlive() -> None:
        while Path(f"/proc/self/task/{os.getpid()}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
            os.sched_yield()
        print("main is gone", flush=True)

    spawn(outlive)
    libc.pthread_exit(None)


def start_in_a_storm(helper: str, number: int) -> None:
    """Signals rain on the process; only a starter and its threads take them, often in their first steps."""
    lib = ctypes.CDLL(helper)
    cpu = max(os.sched_getaffinity(0)) or -1  # 0 is what an area that is not registered yet says
    assert lib.count_signals(number, cpu) == 0
    idents: list[tuple[int, int]] = []

    def child() -> None:
        idents.append((threading.get_ident(), threading.get_native_id()))

    def start() -> None:
        if cpu > 0:
            os.sched_setaffinity(0, {cpu})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        rounds = 0
        while rounds < 300 or lib.signals_handled() < 500:
            rounds += 1
            lwps = [spawn(child) for _ in range(4)]
            for lwp in lwps:
                lwp.join()
                assert (lwp.ident, lwp.tid) in idents
            idents.clear()

    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    starter = threading.Thread(target=start)
    storm = lib.storm_begin(number)
    run_thread(starter)
    assert lib.storm_end(storm)
    assert lib.signals_strange() == 0


def test_17_signals_do_not_hurt_a_half_made_thread(child: Child, native_helper: NativeHelper) -> None:
    child(start_in_a_storm, native_helper.path, int(signal.SIGUSR1))

    # The new thread has its creator's mask, and 32 and 33, glibc's own, are not left blocked.
    blocked = {signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMAX}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        masks = [native_helper.lib.signal_mask()]
        assert spawn(lambda: masks.append(native_helper.lib.signal_mask())).join()
        masks.append(native_helper.lib.signal_mask())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert masks == [masks[0]] * 3
    assert {number for number in range(1, 65) if masks[1] >> (number - 1) & 1} == before | blocked

    # Its TLS block is its own.
    places = []
    for run in (lambda look: look(), lambda look: spawn(look).join()):
        run(lambda: places.append((native_helper.lib.errno_address(), native_helper.lib.counter_address())))
    assert len({address for pair in places for address in pair}) == 4


def test_18_the_stack_is_aligned_and_unwinders_find_its_end(native_helper: NativeHelper) -> None:
    found: list[object] = []
    walk = (ctypes.c_size_t * 3)()

    def look() -> None:
        found.append(native_helper.lib.stack_misalignment())
        found.append(native_helper.lib.unwind_to_end(walk))
        found.append(native_helper.lib.backtrace_frames())

    for size in (None, 128 << 10):
        lwp = spawn(look, stack_size=size)
        assert lwp.join()
        misaligned, code, frames = found
        assert misaligned == 0
        assert code == 5, "_URC_END_OF_STACK"
        assert 10 < frames < 200
        assert 10 < walk[0] < 200
        assert lwp.context.stack[1] - 256 < walk[1] <= lwp.context.stack[1], "it ended at the top"
        assert walk[2] == 0, "because it was told so, not by what lay there by chance"
        found.clear()


def test_21_python_knows_the_thread_by_one_identity() -> None:
    libc.pthread_self.restype = ctypes.c_size_t
    seen: list[object] = []

    def look() -> None:
        seen.extend([threading.current_thread(), threading.get_ident(), libc.pthread_self()])
        seen.extend([threading.get_native_id(), threading.enumerate()])

    thread = runtime.Thread(target=look)
    thread.start()
    ident, native_id = thread.ident, thread.native_id
    thread.join()
    *own, everyone = seen
    assert own == [thread, ident, ident, native_id]
    assert thread in everyone
    assert not [other for other in everyone if isinstance(other, threading._DummyThread)]
    assert thread not in threading.enumerate()


def test_21_a_failure_in_the_excepthook_ends_one_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_type))

    def fail(thread: object) -> None:
        raise MemoryError

    thread: Any = runtime.Thread(target=int, args=("not a number",))
    thread._invoke_excepthook = fail
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert unraisable == [MemoryError]
    assert thread not in threading.enumerate()
