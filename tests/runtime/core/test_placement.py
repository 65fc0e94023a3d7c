"""Where and how urgently a thread runs: in force from its birth on, changed while it lives, refused as a whole."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import FREE_THREADED, in_child, refuse, run_thread, run_threads, until_alone
from strace import calls_of_turns

import runtime
from runtime import Clone, native, scheduler, sync
from runtime.placement import Placement, cpu_list, parse_cpus
from runtime.scheduler import spawn

CPUS = sorted(os.sched_getaffinity(0))
LAST = CPUS[-1]
NICE = os.getpriority(os.PRIO_PROCESS, 0)
NICER = min(NICE + 3, 19)  # what anybody may ask for


def seen() -> dict[str, Any]:
    """The calling thread's, asked of the kernel by Python's own functions."""
    return {
        "affinity": os.sched_getaffinity(0),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "policy": os.sched_getscheduler(0),
        "priority": os.sched_getparam(0).sched_priority,
    }


def may_be_real_time() -> bool:
    may = []

    def look() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            may.append(True)
        except PermissionError:
            pass

    spawn(look).join()
    return bool(may)


real_time = pytest.mark.skipif(not may_be_real_time(), reason="no real-time policies here")

PLACINGS: list[Any] = [
    pytest.param({"affinity": {LAST}}, {"affinity": {LAST}}, id="affinity"),
    pytest.param({"affinity": iter(CPUS)}, {"affinity": set(CPUS)}, id="all CPUs"),
    pytest.param({"nice": NICER}, {"nice": NICER}, id="nice"),
    pytest.param({"policy": "batch", "nice": NICER}, {"policy": os.SCHED_BATCH, "nice": NICER}, id="batch"),
    pytest.param({"policy": "idle"}, {"policy": os.SCHED_IDLE}, id="idle"),
    pytest.param(
        {"policy": "fifo", "priority": 10, "affinity": {LAST}},
        {"policy": os.SCHED_FIFO, "priority": 10, "affinity": {LAST}},
        id="fifo",
        marks=real_time,
    ),
    pytest.param({"policy": "rr", "priority": 1}, {"policy": os.SCHED_RR, "priority": 1}, id="rr", marks=real_time),
    pytest.param({"nice": None, "affinity": None}, {}, id="nothing"),
]


# ---- at birth --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("placing", "expected"), PLACINGS)
def test_it_is_in_force_before_the_first_python_function(placing: Any, expected: dict[str, Any]) -> None:
    first: list[dict[str, Any]] = []

    class Thread(runtime.Thread):
        def _bootstrap(self) -> None:  # what the interpreter calls in a new thread
            first.append(seen())
            super()._bootstrap()  # type: ignore[misc]

        def run(self) -> None:
            first.append(seen())

    before = seen()
    run_thread(Thread(**placing))
    assert first == [{**before, **expected}] * 2
    assert seen() == before, "the creator stays where it is"


def test_it_is_in_force_when_a_profile_function_is_called_first() -> None:
    first: list[dict[str, Any]] = []
    threading.setprofile(lambda *event: None if first else first.append(seen()))
    try:
        run_thread(runtime.Thread(target=int, nice=NICER, affinity={LAST}))
    finally:
        threading.setprofile(None)
    assert (first[0]["nice"], first[0]["affinity"]) == (NICER, {LAST})


def test_threads_of_all_kinds_are_placed() -> None:
    """Those of spawn(), those that a placed thread starts, and tasks of a group, of a limited one too."""
    found: list[dict[str, Any]] = []
    note, placed = lambda: found.append(seen()), {"affinity": [LAST], "nice": NICER}
    spawn(note, **placed).join()
    spawn(note, flags=runtime.THREAD_FLAGS & ~Clone.FS, **placed).join()
    run_thread(runtime.Thread(target=run_thread, args=(runtime.Thread(target=note),), **placed))
    for limit in (None, 2):
        with runtime.Group(limit=limit, **placed) as group:
            for _ in range(5):
                group.spawn(note)
    assert [(one["affinity"], one["nice"]) for one in found] == [({LAST}, NICER)] * 13


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"affinity": set()}, ValueError, "affinity must have a CPU"),
    ({"affinity": 3}, TypeError, "affinity must be the numbers of CPUs, such as {0, 1}, not int"),
    ({"affinity": "0"}, TypeError, "affinity must be the numbers of CPUs, such as {0, 1}, not str"),
    ({"affinity": {-1}}, ValueError, "a CPU in affinity must be from 0 to"),
    ({"affinity": {0, 1 << 20}}, ValueError, "a CPU in affinity must be from 0 to"),
    ({"affinity": {0.5}}, TypeError, "a CPU in affinity must be an integer, not float"),
    ({"nice": 20}, ValueError, "nice must be from -20 to 19, not 20"),
    ({"nice": -21}, ValueError, "nice must be from -20 to 19, not -21"),
    ({"nice": "5"}, TypeError, "nice must be an integer, not str"),
    (
        {"policy": "deadline"},
        ValueError,
        "policy must be one of 'other', 'batch', 'idle', 'fifo', 'rr', not 'deadline'",
    ),
    ({"policy": os.SCHED_FIFO}, TypeError, "policy must be a string, not int"),
    ({"policy": "fifo"}, ValueError, "policy 'fifo' needs a priority, from 1 to 99"),
    ({"policy": "rr", "priority": 0}, ValueError, "priority must be from 1 to 99, not 0"),
    ({"policy": "rr", "priority": 100}, ValueError, "priority must be from 1 to 99, not 100"),
    ({"policy": "batch", "priority": 1}, ValueError, "priority goes with policy 'fifo' or 'rr'"),
    ({"priority": 1}, ValueError, "priority goes with policy 'fifo' or 'rr'"),
    ({"afinity": {0}}, TypeError, "got an unexpected keyword argument 'afinity'"),
]


@pytest.mark.parametrize(("placing", "kind", "text"), WRONG, ids=[str(wrong[0]) for wrong in WRONG])
def test_a_wrong_value_is_refused_before_anything_is_made(placing: Any, kind: type[Exception], text: str) -> None:
    alive = runtime.Thread(target=sync.Event().wait)  # not started: to ask its placement of
    for call in (runtime.Thread, lambda **asked: spawn(int, **asked), alive.placement.update):
        with pytest.raises(kind) as error:
            call(**placing)
        assert text in str(error.value)


def test_a_process_asks_for_itself() -> None:
    with pytest.raises(ValueError, match="a placement at birth needs CLONE_THREAD"):
        spawn(int, flags=Clone.VM, nice=5)


def test_a_green_thread_has_none() -> None:
    on = scheduler.Scheduler()
    with pytest.raises(ValueError, match=r"a green thread shares its LWP with others.*call.* its scheduler's run"):
        runtime.Thread(target=int, scheduler=on, nice=5)

    class Green(runtime.Thread):
        _lwp_scheduler = on

    thread = Green(target=int, nice=5)
    with pytest.raises(ValueError, match="a green thread shares its LWP"):
        thread.start()
    assert thread.ident is None
    told = []
    on.spawn(lambda: told.append(repr(runtime.thread.current_thread().placement)))
    on.run()
    assert "a green thread has no placement of its own: it shares an LWP" in told[0]


def test_it_costs_a_call_for_each_thing(tmp_path: Path) -> None:
    turns = 100
    first = f"from functools import partial; Thread = partial(Thread, affinity={{{LAST}}}, nice={NICER})"
    calls = calls_of_turns(turns, tmp_path, first)
    plain = calls_of_turns(turns, tmp_path)
    assert calls.pop("sched_setaffinity") == calls.pop("setpriority") == turns
    assert "sched_setaffinity" not in plain
    # Waits; and, where there is no GIL, what CPython's allocator and its locks do by the clock.
    for name in ("futex", *(("madvise", "sched_yield") if FREE_THREADED else ())):
        calls.pop(name, 0), plain.pop(name, 0)
    assert calls == plain


# ---- refused by the kernel -------------------------------------------------------------------------------------------

CALLS = {
    "x86_64": {"affinity": 203, "policy": 144, "nice": 141},
    "aarch64": {"affinity": 122, "policy": 119, "nice": 140},
}[platform.machine()]
ASKED: dict[str, dict[str, Any]] = {
    "affinity": {"affinity": {LAST}},
    "policy": {"policy": "batch"},
    "nice": {"nice": 5},
}


@pytest.mark.parametrize(("call", "asked"), [(CALLS[name], ASKED[name]) for name in CALLS], ids=CALLS)
@in_child(prints="")
def test_what_the_kernel_refuses_leaves_nothing(call: int, asked: dict[str, Any]) -> None:
    def holdings() -> list[Any]:
        until_alone()
        native.lwp_reap()
        made, cached, _ = native.context_counts()
        return [
            len(os.listdir("/proc/self/fd")),
            made - cached,
            native.lwp_started(),
            native.lwp_alive(),
            native.running(),
            threading.enumerate(),
            dict(threading._active),
        ]

    def refusal(start: Callable[[], object]) -> RuntimeError:
        try:
            start()
        except RuntimeError as error:
            return error
        raise AssertionError("it was not refused")

    spawn(int).join()  # what the first of all brings stays
    thread = runtime.Thread(target=print, args=("it ran",), **asked)
    before = holdings()
    assert refuse(call, 1)  # EPERM
    for _ in range(200):
        for start in (thread.start, partial(spawn, print, ("it ran",), **asked)):
            error = refusal(start)
            assert str(error) == "can't start new thread", error
            cause = error.__cause__
            assert isinstance(cause, PermissionError), cause
            assert cause.filename is None
            assert error.__notes__ == [cause.strerror], error.__notes__
            assert (thread.ident, thread.native_id, thread.is_alive()) == (None, None, False)
    assert "Operation not permitted: " in cause.strerror
    assert next(iter(asked)) in cause.strerror, cause.strerror
    after = holdings()
    assert after == before, (before, after)
    gone = weakref.ref(thread)
    del thread, start
    assert gone() is None

    sys.setswitchinterval(1000)
    ran: list[int] = []
    plain = runtime.Thread(target=ran.append, args=(1,))
    plain.start()
    assert "t" in sys.abiflags or not ran, "a start waits only while others are on their way to the GIL: none is left"
    plain.join()


FORBIDDEN = """\
Permission denied: nice -5 is more urgent than now: RLIMIT_NICE (ulimit -e) is 0 and must be 25 at least, {nice}
Operation not permitted: policy 'fifo' with priority 10: RLIMIT_RTPRIO (ulimit -r) is 0 and must be 10 at least, {nice}
Operation not permitted: policy 'rr' with priority 1: RLIMIT_RTPRIO (ulimit -r) is 0 and must be 1 at least, {nice}
True
Permission denied: nice -15 is more urgent than now: RLIMIT_NICE (ulimit -e) is 0 and must be 35 at least, {nice}
""".format(nice="or the thread needs CAP_SYS_NICE")


@pytest.mark.root
@in_child(prints=FORBIDDEN)
def test_the_limit_that_forbids_it_is_named() -> None:
    for limit in (resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO):
        with suppress(ValueError):  # it takes CAP_SYS_RESOURCE
            resource.setrlimit(limit, (0, 40))
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ran = []

    def refused(**asked: Any) -> runtime.Thread:
        thread = runtime.Thread(target=lambda: ran.append(asked), **asked)
        try:
            run_thread(thread)
        except RuntimeError as error:
            print(error.__notes__[0])
        else:
            raise AssertionError(f"{asked} was not refused")
        until_alone()
        assert threading.active_count() == 1
        return thread

    nice, fifo = refused(nice=-5), refused(policy="fifo", priority=10)
    refused(policy="rr", priority=1, affinity={0})
    assert not ran
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NICE, (25, 40))
        resource.setrlimit(resource.RLIMIT_RTPRIO, (10, 40))
        for thread in (nice, fifo):  # may be started again
            run_thread(thread)
        assert ran == [{"nice": -5}, {"policy": "fifo", "priority": 10}]
        resource.setrlimit(resource.RLIMIT_NICE, (0, 0))

    end = sync.Event()
    thread = runtime.Thread(target=end.wait)
    thread.start()
    print(thread.placement.affinity == os.sched_getaffinity(0))
    try:
        thread.placement.nice = -15
    except PermissionError as error:
        print(error.strerror)
    end.set()
    thread.join()


@pytest.mark.parametrize(("asked", "call"), [(ASKED["policy"], CALLS["policy"])], ids=["policy"])
@in_child
def test_the_interpreter_ends_while_threads_are_placed(asked: dict[str, Any], call: int) -> None:
    refuse(call, 1)
    begun = threading.Event()

    def start_all() -> None:
        while True:
            for placing in ({"nice": 1}, asked):
                with suppress(RuntimeError):
                    runtime.Thread(target=int, daemon=True, **placing).start()
            begun.set()

    for _ in range(3):
        runtime.Thread(target=start_all, daemon=True).start()
    begun.wait()


@pytest.mark.parametrize(("asked", "call"), [(ASKED["policy"], CALLS["policy"])], ids=["policy"])
@in_child
def test_many_start_and_are_refused_at_once(asked: dict[str, Any], call: int) -> None:
    refuse(call, 1)
    ran: list[int] = []
    refused: list[int] = []

    def note() -> None:
        ran.append(os.getpriority(os.PRIO_PROCESS, 0))

    def start_some(number: int) -> None:
        for turn in range(20):
            thread = runtime.Thread(target=note, nice=17 + number % 2)
            wrong = runtime.Thread(target=ran.append, args=(0,), **asked)
            thread.start()
            try:
                wrong.start()
            except RuntimeError:
                refused.append(turn)
            thread.join()

    run_threads([runtime.Thread(target=start_some, args=(number,)) for number in range(8)])
    assert sorted(ran) == [17] * 80 + [18] * 80, ran
    assert len(refused) == 160
    until_alone()
    assert threading.active_count() == 1


@in_child
def test_it_needs_no_file() -> None:
    """As in a program that has become another user, who can't read our files, before its first thread is placed."""
    ran = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    for asked in ({"affinity": os.sched_getaffinity(0)}, {"policy": "batch"}, {"nice": 5}):
        run_thread(runtime.Thread(target=ran.append, args=(1,), **asked))
    assert len(ran) == 3


# ---- of a thread that lives ------------------------------------------------------------------------------------------


@pytest.fixture
def waits() -> Iterator[runtime.Thread]:
    end = sync.Event()
    thread = runtime.Thread(target=end.wait)
    thread.start()
    yield thread
    end.set()
    thread.join()


def test_it_is_read_and_changed(waits: runtime.Thread) -> None:
    placement, tid = waits.placement, waits.native_id
    placement.affinity = {LAST}
    placement.nice = NICER
    placement.policy = "batch"
    assert (os.sched_getaffinity(tid), os.getpriority(os.PRIO_PROCESS, tid)) == ({LAST}, NICER)
    assert os.sched_getscheduler(tid) == os.SCHED_BATCH
    assert (placement.affinity, placement.nice, placement.policy, placement.priority) == ({LAST}, NICER, "batch", None)
    assert os.getpriority(os.PRIO_PROCESS, 0) == NICE
    assert f"CPUs {LAST}, nice {NICER}, batch>" in repr(placement)
    with pytest.raises(ValueError, match="policy 'fifo' needs a priority"):
        placement.policy = "fifo"
    with pytest.raises(ValueError, match="priority goes with policy"):
        placement.priority = 4


@real_time
def test_a_living_thread_becomes_real_time(waits: runtime.Thread) -> None:
    placement, tid = waits.placement, waits.native_id or 0
    placement.update(policy="fifo", priority=10)
    placement.priority = 11
    assert (os.sched_getscheduler(tid), os.sched_getparam(tid).sched_priority) == (os.SCHED_FIFO, 11)
    assert (placement.policy, placement.priority) == ("fifo", 11)
    placement.policy = "other"
    assert (placement.policy, placement.priority) == ("other", None)


def test_of_other_threads_and_of_an_lwp() -> None:
    assert Placement(threading.main_thread()).affinity == os.sched_getaffinity(0)
    end = threading.Event()
    stock = threading.Thread(target=end.wait)
    stock.start()
    Placement(stock).nice = NICER
    assert Placement(stock).nice == os.getpriority(os.PRIO_PROCESS, stock.native_id or 0) == NICER
    lwp = spawn(end.wait, nice=NICE)
    assert lwp.placement.nice == NICE
    lwp.placement.nice = NICER
    assert os.getpriority(os.PRIO_PROCESS, lwp.tid) == NICER
    end.set()
    stock.join()
    lwp.join()
    with pytest.raises(RuntimeError, match="the thread has ended"):
        _ = lwp.placement.nice
    with pytest.raises(TypeError, match="thread must be a Thread or an LWP, not int"):
        Placement(3)


def test_before_the_start_and_after_the_end() -> None:
    thread = runtime.Thread(target=int)
    for expected in ("the thread is not started: give Thread\\(\\) its placement", "the thread has ended"):
        for name in ("affinity", "nice", "policy", "priority"):
            with pytest.raises(RuntimeError, match=expected):
                getattr(thread.placement, name)
        with pytest.raises(RuntimeError, match=expected):
            thread.placement.nice = 1
        if thread.ident is None:
            run_thread(thread)


# ---- a cpuset --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cpuset() -> Iterator[str]:
    """The folder of a cgroup with the first CPU only."""
    mounts = Path("/proc/self/mountinfo").read_text()
    mounted = re.search(r"^(?:\S+ ){4}(\S+) .* - cgroup .*\bcpuset\b", mounts, re.MULTILINE)
    if len(CPUS) < 2 or mounted is None:
        pytest.skip("one CPU only, or no hierarchy of cpusets is mounted")
    path = Path(mounted[1], f"lwp_test_{os.getpid()}")
    with ExitStack() as stack:
        try:
            path.mkdir()
            stack.callback(path.rmdir)
            (path / "cpuset.mems").write_text("0")
            (path / "cpuset.cpus").write_text(str(CPUS[0]))
        except OSError as error:
            pytest.skip(f"no cgroup can be made here: {error}")
        yield str(path)


@pytest.mark.root
@in_child
def test_a_cpuset_without_that_cpu(cpuset: str) -> None:
    first, *_, last = sorted(os.sched_getaffinity(0))
    Path(cpuset, "cgroup.procs").write_text(str(os.getpid()))
    own = os.sched_getaffinity(0)
    thread, note = runtime.Thread(target=int, affinity={last}), ""
    try:
        thread.start()
    except RuntimeError as error:
        note = error.__notes__[0]
    expected = f"no CPU that may be used here: the cpuset, and those that are online, leave {first}"
    assert note.endswith(f"affinity {last} has {expected}"), note
    assert os.sched_getaffinity(0) == own == {first}
    Path(cpuset).parent.joinpath("cgroup.procs").write_text(str(os.getpid()))
    thread.start()  # as if nothing had been
    thread.join()


@in_child
def test_a_cpu_that_may_not_be_used_is_refused_with_those_that_may() -> None:
    """The kernel answers the same for a CPU outside of the cpuset and for one that is not there."""
    import pytest

    from runtime import placement

    os.sched_setaffinity(0, range(8192))
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    placement._most = 8191  # otherwise the number is refused before the kernel is asked
    expected = (
        "Invalid argument: affinity 8191 has no CPU that may be used here: the cpuset, and those that are online, "
        f"leave {cpu_list(usable)}"
    )
    with pytest.raises(RuntimeError) as refused:
        runtime.Thread(target=int, affinity={8191}).start()
    assert refused.value.__notes__ == [expected]
    with pytest.raises(OSError, match=expected):
        Placement(threading.main_thread()).affinity = {8191}
    assert os.sched_getaffinity(0) == {min(usable)}, "to find out the answer, all CPUs were asked for meanwhile"


# ---- lists of CPUs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "cpus"), [("0", {0}), ("0,2-3", {0, 2, 3}), ("0-1,3,5-7\n", {0, 1, 3, 5, 6, 7})])
def test_lists_of_cpus(text: str, cpus: set[int]) -> None:
    assert parse_cpus(text) == cpus
    assert cpu_list(cpus) == text.strip()


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-2", "1,,2", "1 2", "0-1:2"])
def test_a_bad_list_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match="is no list of CPUs such as 0,2-3"):
        parse_cpus(text)


# ---- groups ----------------------------------------------------------------------------------------------------------


def test_green_tasks_are_not_placed() -> None:
    with pytest.raises(ValueError, match="green threads share an LWP: a task has no placement"):
        runtime.Group(scheduler=scheduler.Scheduler(), nice=NICER)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'nicer'"):
        runtime.Group(nicer=1)
    told: list[str] = []

    def enter() -> None:
        try:
            with runtime.Group(nice=NICER):
                pass
        except ValueError as error:
            told.append(str(error))

    on = scheduler.Scheduler()
    on.spawn(enter)
    on.run()
    assert told == ["green threads share an LWP: a task has no placement of its own"]


@pytest.mark.parametrize(("asked", "call"), [(ASKED["nice"], CALLS["nice"])], ids=["nice"])
@in_child
def test_a_task_that_the_kernel_refuses_is_a_start_that_fails(asked: dict[str, Any], call: int) -> None:
    refuse(call, 1)
    said = ""
    with runtime.Group(**asked) as group:
        try:
            group.spawn(os._exit, 1)
        except RuntimeError as error:
            said = error.__notes__[0]
    assert said.startswith("Operation not permitted: nice 5"), said
    try:
        with runtime.Group(limit=1, **asked) as group:
            group.spawn(os._exit, 1)
    except (RuntimeError, ExceptionGroup):
        said = ""
    assert not said
    until_alone()
    assert threading.active_count() == 1
