"""scheduler.keep_warm(): threads on LWPs that had others before, and what of those they must not find."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import Child, NativeHelper, in_forked_child
from strace import calls_of_turns

import runtime
from runtime import Clone, Thread, scheduler, sync
from runtime.scheduler import spawn

libc = ctypes.CDLL(None, use_errno=False)

KCMP = {"x86_64": 312, "aarch64": 272}[os.uname().machine]
pytestmark = pytest.mark.skipif(
    not re.search(r"^Seccomp:\t0$", Path("/proc/self/status").read_text(), re.MULTILINE)
    or libc.syscall(KCMP, os.getpid(), os.getpid(), 2, 0, 0) != 0,  # KCMP_FILES
    reason="where there is a seccomp filter, or no kcmp(2), no LWP is kept",
)


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    scheduler.keep_warm(1)
    yield
    scheduler.keep_warm(0)


def in_thread(function: Callable[[], object]) -> tuple[int, object]:
    """The native id of a new thread, and what the function gave there."""
    results: list[object] = []
    lwp = spawn(lambda: results.append(function()))
    lwp.join()
    return lwp.tid, results[0] if results else None


def exists(tid: int) -> bool:
    return Path(f"/proc/self/task/{tid}").exists()


# ---- how many ------------------------------------------------------------------------------------------------------


def test_the_next_thread_has_the_same_native_id() -> None:
    tids = set()
    for _ in range(5):
        thread = Thread(target=int)
        thread.start()
        thread.join()
        assert not thread.is_alive()
        tids.add(thread.native_id)
    assert len(tids) == 1
    assert exists(tids.pop() or 0)
    assert scheduler.statistics().warm == 1
    assert scheduler.statistics().alive == 0
    assert threading.enumerate() == [threading.current_thread()]


def test_no_more_are_kept_than_was_asked_for_and_none_at_the_end() -> None:
    scheduler.keep_warm(3)
    gate = sync.Event()
    threads = [spawn(gate.wait) for _ in range(10)]
    tids = [thread.tid for thread in threads]
    gate.set()
    for thread in threads:
        thread.join()
    assert scheduler.statistics().warm == 3
    again = [spawn(int, stack_size=64 << 10) for _ in range(3)]  # another size: none of the sleepers is fit for that
    assert not {thread.tid for thread in again} & set(tids)
    for thread in again:
        thread.join()
    assert scheduler.statistics().warm == 3
    scheduler.keep_warm(1)
    assert scheduler.statistics().warm == 1
    scheduler.keep_warm(0)
    assert scheduler.statistics().warm == 0
    assert not [tid for tid in tids if exists(tid)], "they end before keep_warm() returns"


def test_off_until_it_is_asked_for(child: Child) -> None:
    def program() -> None:
        for _ in range(2):
            lwp = spawn(int)
            lwp.join()
            assert scheduler.statistics().warm == 0

    child(program)


def test_a_negative_number_is_refused_and_a_huge_one_is_not() -> None:
    with pytest.raises(ValueError, match=r"^n must not be negative, not -1$"):
        scheduler.keep_warm(-1)
    scheduler.keep_warm(2**70)
    assert in_thread(int)[0] == in_thread(int)[0]


def test_keep_warm_0_while_threads_end(child: Child) -> None:
    def program() -> None:
        def come_and_go() -> None:
            while not over:
                for lwp in [spawn(int) for _ in range(4)]:
                    lwp.join()

        over: list[int] = []
        threads = [runtime.Thread(target=come_and_go) for _ in range(3)]
        for thread in threads:
            thread.start()
        for n in range(300):
            scheduler.keep_warm(n % 5)
        over.append(1)
        for thread in threads:
            thread.join()
        scheduler.keep_warm(0)
        assert scheduler.statistics().warm == 0
        assert os.listdir("/proc/self/task") == [str(os.getpid())]

    child(program)


# ---- what the thread before has changed for itself -------------------------------------------------------------------


def name() -> str:
    return Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip()


def set_name() -> None:
    libc.prctl(15, b"changed", 0, 0, 0)  # PR_SET_NAME


def mask() -> set[int]:
    return set(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))


def set_mask() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGRTMIN})


def rounding() -> int:
    return int(libc.fegetround())


def set_rounding() -> None:
    assert libc.fesetround(0x400 if os.uname().machine == "x86_64" else 0x800000) == 0  # FE_DOWNWARD


class SignalStack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def signal_stack() -> tuple[object, int]:
    now = SignalStack()
    assert libc.sigaltstack(None, ctypes.byref(now)) == 0
    return now.sp, now.flags


def set_signal_stack() -> None:
    assert libc.sigaltstack(ctypes.byref(SignalStack(ctypes.addressof(room), 0, len(room))), None) == 0


room = ctypes.create_string_buffer(64 << 10)


def errno() -> int:
    return ctypes.c_int.from_address(ctypes.cast(libc.__errno_location, ctypes.CFUNCTYPE(ctypes.c_void_p))()).value


def set_errno() -> None:
    libc.close(-1)


def affinity() -> set[int]:
    return os.sched_getaffinity(0)


def set_affinity() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def policy() -> int:
    return os.sched_getscheduler(0)


def set_policy() -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def set_nice() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, nice() + 1)


def slack() -> int:
    return int(libc.prctl(30))  # PR_GET_TIMERSLACK


def set_slack() -> None:
    assert libc.prctl(29, 12345) == 0


IOPRIO = {"x86_64": (252, 251), "aarch64": (31, 30)}[os.uname().machine]


def io_priority() -> int:
    return int(libc.syscall(IOPRIO[0], 1, 0))


def set_io_priority() -> None:
    assert libc.syscall(IOPRIO[1], 1, 0, 2 << 13 | 7) == 0  # best effort, the lowest


def directory() -> str:
    return os.getcwd()


def set_directory() -> None:
    assert libc.unshare(0x200) == 0  # CLONE_FS
    os.chdir("/proc")


def descriptors() -> list[str]:
    return os.listdir(f"/proc/self/task/{threading.get_native_id()}/fd")


def set_descriptors() -> None:
    assert libc.unshare(0x400) == 0  # CLONE_FILES
    os.open("/", os.O_RDONLY)


def no_new_privileges() -> int:
    return int(libc.prctl(39, 0, 0, 0, 0))


def set_no_new_privileges() -> None:
    assert libc.prctl(38, 1, 0, 0, 0) == 0


# Whether the LWP goes on, with what was changed put right, or is replaced.
CHANGES = [
    *[(set_name, name, True), (set_mask, mask, True), (set_rounding, rounding, True), (set_errno, errno, True)],
    (set_signal_stack, signal_stack, True),
    *[(set_affinity, affinity, False), (set_policy, policy, False), (set_nice, nice, False), (set_slack, slack, False)],
    *[(set_io_priority, io_priority, False), (set_directory, directory, False)],
    *[(set_descriptors, descriptors, False), (set_no_new_privileges, no_new_privileges, False)],
]


@pytest.mark.parametrize(("change", "look", "goes_on"), CHANGES, ids=[look.__name__ for _, look, _ in CHANGES])
def test_what_a_thread_has_changed_the_next_one_does_not_find(
    change: Callable[[], None], look: Callable[[], object], goes_on: bool
) -> None:
    if change is set_affinity and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    first, begins_with = in_thread(look)
    changer, found = in_thread(lambda: change() or look())  # type: ignore[func-returns-value]
    assert changer == first
    assert found != begins_with, "the change is none"
    after, found = in_thread(look)
    assert found == begins_with
    assert (after == first) == goes_on


@pytest.mark.parametrize(
    ("change", "look"),
    [(change, look) for change, look, _ in CHANGES[:2] + CHANGES[5:]],
    ids=lambda each: each.__name__,
)
def test_a_thread_finds_what_its_creator_has(change: Callable[[], None], look: Callable[[], object]) -> None:
    if change is set_affinity and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    scheduler.keep_warm(2)
    gate = sync.Event()
    others = [spawn(gate.wait) for _ in range(2)]
    gate.set()
    for other in others:
        other.join()
    found: list[object] = []

    def creator() -> None:
        change()
        found.extend((in_thread(look)[1], look()))

    tid, _ = in_thread(creator)
    assert tid in [other.tid for other in others]
    inherited, own = found
    assert inherited == own


def test_the_name_that_is_asked_for() -> None:
    first = in_thread(set_name)[0]
    names: list[str] = []
    lwp = spawn(lambda: names.append(name()), name="asked for")
    lwp.join()
    assert (lwp.tid, names) == (first, ["asked for"])


def test_pending_signals_end_with_their_thread() -> None:
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))

    def leave_one() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    try:
        first = in_thread(leave_one)[0]
        assert in_thread(int)[0] != first
        assert not handled
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_robust_mutex_tells_of_its_dead_owner(child: Child, native_helper: NativeHelper) -> None:
    def program(path: str) -> None:
        helper = ctypes.CDLL(path)
        scheduler.keep_warm(2)
        assert helper.robust_init() == 0
        for _ in range(3):
            assert spawn(int).join()
            assert spawn(helper.robust_lock).join()
            assert helper.robust_lock() == 130, "EOWNERDEAD"
            assert helper.robust_recover() == 0

    child(program, native_helper.path)


@pytest.mark.parametrize("way", ["raises", "pthread_exit", "flags"])
def test_ends_that_are_kept_and_ends_that_are_not(way: str, child: Child) -> None:
    def program(way: str) -> None:
        sys.unraisablehook = lambda unraisable: None
        libgcc = ctypes.CDLL("libgcc_s.so.1")  # noqa: F841  pthread_exit needs it
        scheduler.keep_warm(1)
        if way == "raises":
            first = spawn(lambda: 1 / 0)
        elif way == "pthread_exit":
            # As the interpreter ends a daemon thread: the GIL is not held.
            first = spawn(ctypes.CDLL(None).pthread_exit, (0,))
        else:
            first = spawn(int, flags=runtime.THREAD_FLAGS & ~Clone.SYSVSEM)
        first.join()
        second = spawn(int)
        second.join()
        assert (first.tid == second.tid) == (way == "raises")
        os._exit(0)  # a PyThreadState is left of pthread_exit's

    child(program, way)


# ---- thread-local storage ------------------------------------------------------------------------------------------


@pytest.mark.loads
def test_thread_local_variables_begin_anew(native_helper: NativeHelper) -> None:
    library = ctypes.CDLL(native_helper.dynamic)
    mine = threading.local()

    def look() -> tuple[int, int, bool]:
        found = library.get(), native_helper.lib.count_up(), hasattr(mine, "value")
        library.set(5)
        mine.value = 1
        return found

    (first, one), (second, two) = in_thread(look), in_thread(look)
    assert first == second
    assert one == two
    assert not one[2]  # type: ignore[index]


@pytest.mark.loads
def test_destructors_run_at_each_threads_end(native_helper: NativeHelper) -> None:
    helper, library = native_helper.lib, ctypes.CDLL(native_helper.cxx())
    assert helper.key_create(0) == 0

    def use() -> tuple[int, object, int]:
        found = library.touch(), helper.key_get(), library.alive()
        helper.key_set()
        return found

    tids = set()
    for n in range(1, 4):
        tid, found = in_thread(use)
        tids.add(tid)
        assert found == (1, None, 1)
        assert library.alive() == 0
        assert helper.key_rounds() == n
    assert len(tids) == 1
    assert helper.key_delete() == 0


@pytest.mark.loads
def test_a_library_that_comes_while_the_lwp_sleeps(child: Child, native_helper: NativeHelper) -> None:
    def program(libraries: dict[str, int]) -> None:
        scheduler.keep_warm(1)
        tids = set()
        for path, begins_with in libraries.items():
            for _ in range(2):
                lwp = spawn(int)
                lwp.join()
                tids.add(lwp.tid)
            library = ctypes.CDLL(path)
            found: list[int] = []
            for _ in range(2):
                lwp = spawn(lambda: found.append((library.get(), library.set(5))[0]))  # noqa: B023
                lwp.join()
                tids.add(lwp.tid)
            assert found == [begins_with] * 2, path
        assert len(tids) == 1

    child(program, {native_helper.initial_exec: 42, native_helper.dynamic: 7})


def test_variables_of_a_library_that_was_there_from_the_start(child: Child, native_helper: NativeHelper) -> None:
    """They lie on the other side of libc's, which are not written anew."""

    def program(path: str) -> None:
        library = ctypes.CDLL(path)
        scheduler.keep_warm(1)
        found, tids = [], set()
        for _ in range(3):
            lwp = spawn(lambda: found.append((library.get(), library.set(5))[0]))
            lwp.join()
            tids.add(lwp.tid)
        assert found == [42] * 3
        assert len(tids) == 1

    child(program, native_helper.initial_exec, env={"LD_PRELOAD": native_helper.initial_exec})


def test_what_a_deep_thread_has_touched_is_given_back(native_helper: NativeHelper) -> None:
    def resident() -> int:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return int(found[1]) << 10

    before = resident()
    scheduler.keep_warm(20)
    gate = sync.Event()
    threads = [spawn(lambda: (native_helper.lib.stack_damage(1 << 20, 1), gate.wait())) for _ in range(20)]
    gate.set()
    for thread in threads:
        thread.join()
    assert scheduler.statistics().warm == 20
    assert resident() - before < 20 * (160 << 10)


# ---- processes -----------------------------------------------------------------------------------------------------


def test_a_forked_child_has_none_of_them_and_makes_its_own(child: Child) -> None:
    def program() -> None:
        def turns() -> None:
            tids = set()
            for _ in range(3):
                lwp = spawn(int)
                lwp.join()
                tids.add(lwp.tid)
            assert len(tids) == 1
            assert scheduler.statistics().warm >= 1

        def in_child(threads: int) -> None:
            assert scheduler.statistics().warm == 0
            assert len(os.listdir("/proc/self/task")) == 1 == threads
            reserved.join(0) if reserved.tid else scheduler.begin(reserved, ran.append, (1,))
            reserved.join()
            assert ran == [1]
            turns()
            scheduler.keep_warm(0)
            assert os.listdir("/proc/self/task") == [str(os.getpid())]

        def forks() -> None:
            assert in_forked_child(partial(in_child, 1)) == 0

        ran: list[int] = []
        scheduler.keep_warm(2)
        gate = sync.Event()
        several = [spawn(gate.wait) for _ in range(2)]
        gate.set()
        for lwp in several:
            lwp.join()
        reserved = scheduler.reserve()  # on one that sleeps
        forks()
        assert spawn(forks).join()
        copy = spawn(lambda: in_child(1), flags=Clone(0), exit_signal=signal.SIGCHLD)
        copy.join()
        assert copy.exit_status == 0
        scheduler.begin(reserved, ran.append, (1,))
        reserved.join()
        assert ran == [1]
        assert reserved.tid in [lwp.tid for lwp in several]
        turns()

    child(program)


def test_the_first_lwp_of_a_forked_child_is_not_kept(child: Child) -> None:
    def program() -> None:
        def fork() -> None:
            pid = os.fork()
            if pid == 0:
                spawn(go_on)  # when this one has ended, the process has
            else:
                statuses.append(os.waitpid(pid, 0)[1])

        def go_on() -> None:
            forker[0].join()
            tids = []
            for _ in range(2):
                lwp = spawn(int)
                lwp.join()
                tids.append(lwp.tid)
            os._exit(os.getpid() in tids)

        scheduler.keep_warm(2)
        spawn(int).join()
        forker, statuses = [scheduler.reserve()], list[int]()
        scheduler.begin(forker[0], fork)
        forker[0].join()
        assert statuses == [0]

    child(program)


def test_a_process_in_our_memory_neither_takes_nor_leaves_one(child: Child) -> None:
    def program() -> None:
        def inside() -> int:
            lwp = spawn(int)
            lwp.join()
            return lwp.tid == first.tid

        scheduler.keep_warm(1)
        first = spawn(int)
        first.join()
        process = spawn(inside, flags=Clone.VM | Clone.FILES | Clone.FS | Clone.SIGHAND)
        process.join()
        assert process.exit_status == 0
        second, third = spawn(int), None
        second.join()
        third = spawn(int)
        third.join()
        assert second.tid == third.tid != process.tid
        assert scheduler.statistics().warm == 1

    child(program)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_setuid_reaches_those_asleep(child: Child) -> None:
    def program() -> None:
        def ids(tid: int) -> list[str]:
            lines = Path(f"/proc/self/task/{tid}/status").read_text().splitlines()
            return [line for line in lines if line.startswith(("Uid", "Gid", "CapEff"))]

        scheduler.keep_warm(1)
        first = spawn(int)
        first.join()
        os.setegid(12345)
        os.seteuid(54321)
        assert ids(first.tid) == ids(os.getpid())
        found: list[list[str]] = []
        lwp = spawn(lambda: found.append(ids(threading.get_native_id())))
        lwp.join()
        assert found == [ids(os.getpid())]
        os.seteuid(0)
        assert ids(lwp.tid) == ids(os.getpid())

    child(program)


@pytest.mark.parametrize("ends", ["returns", "raises", "pthread_exit"])
def test_the_program_ends_with_lwps_asleep(ends: str, child: Child) -> None:
    def program(ends: str) -> None:
        import atexit

        ctypes.CDLL("libgcc_s.so.1")
        scheduler.keep_warm(5)
        gate = sync.Event()
        threads = [runtime.Thread(target=gate.wait) for _ in range(5)]
        for thread in threads:
            thread.start()
        gate.set()
        for thread in threads:
            thread.join()
        runtime.Thread(target=time.sleep, args=(0.01,)).start()  # ends when the interpreter waits for it
        runtime.Thread(target=time.sleep, args=(100,), daemon=True).start()
        atexit.register(lambda: print("over", scheduler.statistics().warm, flush=True))
        if ends == "raises":
            raise SystemExit(3)
        if ends == "pthread_exit":
            os._exit(0) if os.fork() else libc.pthread_exit(0)

    shown = child(program, ends, status=3 if ends == "raises" else 0).stdout
    if ends != "pthread_exit":
        assert re.fullmatch(r"over [45]\n", shown)


# ---- green threads ---------------------------------------------------------------------------------------------------


def test_green_threads_and_kept_lwps(child: Child) -> None:
    def program() -> None:
        def green() -> None:
            for _ in range(5):
                lwp = spawn(tids.append, (1,))
                lwp.join()
                tids.append(lwp.tid)

        tids: list[int] = []
        scheduler.keep_warm(2)
        gate = sync.Event()
        others = [spawn(gate.wait) for _ in range(2)]
        gate.set()
        for other in others:
            other.join()
        # Without LWPs of their own, but on the stacks of those that sleep.
        many = scheduler.Scheduler()
        threads = [many.spawn(green) for _ in range(3)]
        assert len({thread.ident for thread in threads} & {other.ident for other in others}) == 2
        assert scheduler.statistics().warm == 0
        many.run()
        assert len(tids) == 30
        assert scheduler.statistics().warm >= 1

        def lend() -> None:
            many.spawn(green)
            many.run()

        for _ in range(2):  # it leaves the LWP as it was
            thread = runtime.Thread(target=lend)
            thread.start()
            thread.join()
        assert len(tids) == 50
        scheduler.keep_warm(0)
        assert os.listdir("/proc/self/task") == [str(os.getpid())]

    child(program)


# ---- what it costs ---------------------------------------------------------------------------------------------------


def test_neither_clone_nor_exit_and_which_calls_instead(tmp_path: Path) -> None:
    """What each is for stands in docs/performance.md."""
    turns = 300
    calls = calls_of_turns(turns, tmp_path, first="scheduler.keep_warm(1)")
    # The creator and the thread: their settings.  kcmp only in the thread, for the creator is the process's first.
    for both in ("sched_getaffinity", "sched_getattr", "capget", "ioprio_get", "setfsuid", "setfsgid"):
        assert calls.pop(both) == 2 * turns, both
    assert calls.pop("kcmp") == 2 * turns
    # Three settings each, and the name; timer slack besides, when a sleep is short.
    assert (2 * 3 + 2) * turns <= calls.pop("prctl") < 10 * turns
    assert calls.pop("rt_sigprocmask") == 3 * turns, "asked for, set, and all blocked at the end"
    assert calls.pop("sigaltstack") == calls.pop("gettid", turns) == turns
    # Two sleeps and two wake-ups; more when the GIL passes from hand to hand in another way.
    assert 3 * turns <= calls.pop("futex") < 10 * turns
    assert not calls


def test_what_an_lwp_used_before_is_not_counted_again() -> None:
    tid, _ = in_thread(lambda: sum(range(3_000_000)))
    scheduler.measure(True)
    try:
        for _ in range(5):
            assert in_thread(int)[0] == tid
        found = scheduler.statistics()
        _, lwp_has_used = in_thread(time.thread_time)
    finally:
        scheduler.measure(False)
    assert found.measured == 5
    assert 0 < found.cpu < float(lwp_has_used) / 2  # type: ignore[arg-type]


def test_the_steps_of_a_thread_on_a_kept_lwp() -> None:
    tid, _ = in_thread(int)
    with scheduler.record_steps() as steps:
        lwp = spawn(int)
        lwp.join()
    assert lwp.tid == tid
    its = [step.name for step in steps if step.tid == tid]
    assert its == ["resumed", "python", "target", "returned", "destructors", "parked"]
    names = [step.name for step in steps if step.tid == threading.get_native_id()]
    assert "clone" not in names
    assert names.index("tcb") < names.index("tls") < names.index("woken") < names.index("join") < names.index("cleared")


# ---- all at once -----------------------------------------------------------------------------------------------------


def test_threads_forks_and_ids_while_the_number_kept_changes(child: Child) -> None:
    def program(root: bool) -> None:
        import random

        chance = random.Random(1)
        over: list[int] = []
        sys.setswitchinterval(1e-5)

        def come_and_go() -> None:
            while not over:
                lwps = [spawn(time.sleep, (0,)) for _ in range(3)]
                for lwp in lwps:
                    lwp.join()

        def change() -> None:
            while not over:
                scheduler.keep_warm(chance.randrange(6))
                if root:
                    assert libc.seteuid(1000) == 0 == libc.seteuid(0)
                time.sleep(1e-4)

        def in_child() -> None:
            assert scheduler.statistics().warm == 0
            for _ in range(2):
                lwps = [spawn(int) for _ in range(3)]
                for lwp in lwps:
                    lwp.join()
            scheduler.keep_warm(0)
            assert os.listdir("/proc/self/task") == [str(os.getpid())]

        threads = [runtime.Thread(target=target) for target in (come_and_go, come_and_go, change)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert in_forked_child(in_child) == 0
        over.append(1)
        for thread in threads:
            thread.join()
        scheduler.keep_warm(0)
        assert os.listdir("/proc/self/task") == [str(os.getpid())]

    child(program, os.geteuid() == 0)
