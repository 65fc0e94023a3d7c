"""A copy of the C core in which protocols are explored: each atomic operation and futex call of theirs is a point.

The copy has all files of the core, and is a module of its own beside runtime.native, whose explorer runs it.  The files
in EXPLORED are compiled with tests/lwp/explore/points/ in front of the C library: see points.c there.

To add a protocol:

1. Put its files into EXPLORED, and into Core what makes its objects.
2. Write a scenario: a function of a Core that makes them, starts threads that use them, and asserts what is true at the
   end.  A thread that sleeps on is found without an assertion.
3. Give it a strategy: dpor if that ends in seconds, dfs:N otherwise, and perhaps a deeper one for the slow set.
4. Leave out each line of the C that has a reason, and see that the scenario finds it: a fault.  A variant is the C with
   a change that is no fault, as a shorter time.
5. in_orders() makes the file's two tests of these.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pickle
import signal
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from child_programs import in_forked_child
from shared_by_workers import made_once
from this_machine import SLOW, TREE

import lwp.native  # noqa: F401 - points.c finds explore_points there
import runtime
from runtime.native.build import COMPILER, OPTIONS, SOURCES, entries_option

NATIVE = TREE / "runtime" / "native"
POINTS = Path(__file__).with_name("points")
EXPLORED = [
    "kernel/base/fork.c",
    "kernel/base/park.c",
    "kernel/lock/lock.c",
    "kernel/lwp/join.c",
    "kernel/lwp/start.c",
    "kernel/lwp/thread_main.c",
    "waits/cancel.c",
    "waits/queue.c",
    "waits/watch.c",
    "python/sync/event.c",
    "python/sync/lock.c",
    "python/sync/semaphore.c",
    "python/threads/wake.c",
    "python/groups/things.c",
    "python/groups/wait.c",
]
_PATIENCE = 100  # seconds
_BY_CHANCE = 20_000  # runs
_MOST_STEPS = 2000  # of a run: from then on a spin is a livelock
NAMES = ["syscall", "prctl", "clock_gettime", "arch_exit"]  #: that points.c has others for


class Change(NamedTuple):
    """Of the source: the text must be there once."""

    file: str
    text: str
    becomes: str


def _compile(source: Path, target: Path, explored: bool, *includes: Path) -> None:
    flags = [option for option in OPTIONS if not option.startswith(("-O", "-W"))]
    flags += ["-O1" if explored else "-O0", "-w", "-fPIC", "-MMD", "-D_GNU_SOURCE"]
    flags.append(f"-I{sysconfig.get_path('include')}")
    if explored:
        flags += [f"-I{POINTS}", *(f"-D{name}=point_{name}" for name in NAMES)]
    if source.name == "module.c":
        flags += [entries_option(SOURCES, NATIVE), '-DCORE_BUILD="explored"']
    if source.name == "spin.c":
        flags.append("-Dsched_getcpu=point_sched_getcpu")
    if source.name == "queue.c":
        flags.append("-Dfork_handle=point_fork_handle")
    folders = [f"-I{folder}" for folder in (*includes, NATIVE, TREE / "lwp" / "native")]
    command = [*COMPILER, *flags, *folders, "-c", "-o", str(target), str(source)]
    subprocess.run(command, check=True, timeout=100)


def _link(target: Path, objects: list[Path]) -> None:
    command = [*COMPILER, "-shared", "-o", str(target), *map(str, objects), "-lm"]
    subprocess.run(command, check=True, timeout=100)


def _object(folder: Path, source: str) -> Path:
    return folder / f"{source.replace('/', '_')}.o"


def build(folder: Path) -> None:
    """Compiles the copy into an empty folder, as _core.so."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(
            lambda source: _compile(NATIVE / source, _object(folder, source), source in EXPLORED), SOURCES
        ):
            pass
    _compile(POINTS / "points.c", _object(folder, "points"), False, POINTS)
    _link(folder / "_core.so", [_object(folder, source) for source in (*SOURCES, "points")])


def plant(changes: Sequence[Change], built: Path, folder: Path) -> None:
    """The same with changes: the objects of build(), except for those of sources that the changes reach."""
    for file, text, becomes in changes:
        changed = folder / file
        source = (changed if changed.exists() else NATIVE / file).read_text()
        assert source.count(text) == 1, f"{source.count(text)} times in {file}: {text}"
        changed.parent.mkdir(parents=True, exist_ok=True)
        changed.write_text(source.replace(text, becomes))
    objects = {path.name: path for path in built.glob("*.o")}
    ends = tuple(f"/{change.file}" for change in changes)
    reached = {
        source
        for source in {*EXPLORED, *(change.file for change in changes if change.file in SOURCES)}
        for path in _object(built, source).with_suffix(".d").read_text().split()
        if path.endswith(ends)
    }
    assert reached
    for source in reached:
        target = _object(folder, source)
        objects[target.name] = target
        path = folder / source if (folder / source).exists() else NATIVE / source
        _compile(path, target, source in EXPLORED, folder)
    _link(folder / "_core.so", [*objects.values()])


# ---- exploring it ----------------------------------------------------------------------------------------------------


class Object:
    """An object of the copy, whose methods have points inside."""

    def __init__(self, call: Callable[..., Any], of: object) -> None:
        self._call, self._of = call, of

    def __getattr__(self, name: str) -> partial[Any]:
        return partial(self._call, None, getattr(self._of, name))


class Cancelled(Exception):
    """Is raised in a thread that was cancelled."""


def _raise_cancelled(record: Any) -> None:
    record._clear()
    raise Cancelled


class Core:
    """The copy, in a run.  Its types make Objects."""

    def __init__(self, path: Path) -> None:
        self.native = ModuleType("explored")
        _load("_core", path).attach(self.native)
        self.points = _load("points", path)
        self.native.cancel_set_raise(_raise_cancelled)
        self._event_type = type("Event", (self.native.EventBase,), {})  # which an Event must be derived from

    def lock(self) -> Any:
        return self.made_by("allocate_lock" if hasattr(self.native, "allocate_lock") else "lock")

    def event(self) -> Any:
        return Object(self.points.call, self._event_type())

    def barrier(self, parties: int) -> Any:
        made = self.made_by("BarrierBase")
        made._of._begin(parties, None, None, threading.BrokenBarrierError)
        return made

    def rlock(self) -> Any:
        return self.made_by("RLock")

    def semaphore(self) -> Any:
        made = self.made_by("SemaphoreBase")
        made._of._begin(0, False)
        return made

    def condition(self, lock: Any) -> Any:
        made = self.made_by("ConditionBase")
        made._of._begin(lock._of)
        return made

    def lwp(self, kind: str) -> Any:
        """One that runs until a thread calls end(); kind: "lwp", or "green", or "explored", which is green too."""
        made = self.native.LWP(0x10000)
        self.points.begin_lwp(made, kind != "lwp", kind == "explored")
        return Object(self.points.call, made)

    def end(self, lwp: Any) -> None:
        """The caller is that LWP at its end, and then the kernel."""
        self.points.call(None, self.points.end_lwp, lwp._of)

    def await_begun(self, lwp: Any) -> None:
        """The caller is its creator."""
        self.points.call(None, self.points.await_begun, lwp._of)

    def say_begun(self, lwp: Any) -> None:
        """The caller is that LWP, and goes on with the GIL."""
        self.points.call(None, self.points.say_begun, lwp._of)

    def give_up_gil(self) -> None:
        self.points.call(None, self.points.give_up_gil)

    def wait(self, *things: Any, timeout: float | None = None) -> list[Any]:
        """runtime.wait()."""
        ready = self.points.call(None, self.native.wait_things, tuple(thing._of for thing in things), timeout, False)
        return [thing for thing in things if thing._of in ready]

    def made_by(self, name: str) -> Any:
        return Object(self.points.call, getattr(self.native, name)())

    def handling(self, handler: Callable[[], object], method: partial[Any], *args: object) -> Any:
        """Calls a method; the handler is what a signal that wakes the thread meanwhile calls."""
        return self.points.call(handler, method.args[1], *args)

    def interrupt(self) -> None:
        """A signal, for the first thread that the run has started."""
        self.points.interrupt(1)

    def fork(self, may: Callable[[], bool] = lambda: True) -> bool:
        """From here on the run is the child's, if it may: other threads are lost, except for the run's first."""
        return bool(self.points.fork_if(may))

    def cancelled(self, functions: Sequence[Callable[[], object]]) -> list[Callable[[], object]]:
        """The functions, in threads that are cancelled, and what cancels them, one after the other; for none, none."""
        records = [self.native.CancelBase() for _ in functions]

        def run(record: Any, function: Callable[[], object]) -> None:
            record._attach()
            with suppress(Cancelled):
                function()
            record._detach()

        def cancel() -> None:
            for record in records:
                self.points.call(None, record._interrupt, None)

        return [*map(partial, [run] * len(records), records, functions), *[cancel] * bool(records)]

    def first_word(self, made: Any) -> int:
        """Of the C structure."""
        return ctypes.c_int.from_address(id(made._of) + object.__basicsize__).value

    def begin_threads(self, *functions: Callable[[], object], daemon: bool = False) -> list[threading.Thread]:
        threads = [threading.Thread(target=function, daemon=daemon) for function in functions]
        for thread in threads:
            thread.start()
        return threads

    def threads(self, *functions: Callable[[], object]) -> None:
        """Returns when all have ended."""
        for thread in self.begin_threads(*functions):
            thread.join()


def use_lock(lock: Any, inside: list[int]) -> None:
    """By the thread that has the lock, which it frees: while it has it no other is inside."""
    inside.append(1)
    assert lock.locked()
    assert len(inside) == 1
    inside.clear()
    lock.release()


class Items:
    """Threads wait for the first one with a condition, and leave it to the others."""

    def __init__(self, core: Core, lock: Any) -> None:
        self.lock, self.changed, self.there = lock, core.condition(lock), list[int]()

    def wait(self, wait: Callable[[], object] | None = None, tells: bool = False) -> None:
        """wait: in place of the condition's.  tells: the next one."""
        self.lock.acquire()
        try:
            while not self.there:
                (wait or self.changed.wait)()
            if tells:
                self.changed.notify()
        finally:
            self.lock.release()

    def add(self, notifies: int = 1) -> None:
        self.lock.acquire()
        self.there.append(1)
        for _ in range(notifies):
            self.changed.notify()
        self.lock.release()


#: Called in each run, by its first thread.
Scenario = Callable[[Core], object]


def _steps(points: Any) -> str:
    return "".join(
        f"\n  Thread-{thread}  {does} {text}  {os.path.basename(where)}" for thread, does, where, text in points.steps()
    )


def explore(path: Path, scenario: Scenario, strategy: str) -> tuple[str, int, str]:
    """In a process of its own, which has this copy only: the outcome, runs, the report with the steps of a find."""

    def explore_there() -> None:
        signal.alarm(int(SLOW * _PATIENCE))
        core = Core(path)

        def run() -> None:
            core.points.begin()
            scenario(core)

        runs = 2_000_000 if strategy.startswith("d") else _BY_CHANCE
        options = {"granularity": "sync", "seed": 1, "max_steps": _MOST_STEPS, "early_timeouts": True}
        result = runtime.explore(run, strategy=strategy, runs=runs, **options)  # type: ignore[arg-type]
        report = result.report() + (_steps(core.points) if result.token is not None else "")
        os.write(write, pickle.dumps((result.outcome.name, result.runs, report[:60_000])))

    read, write = os.pipe()
    status = in_forked_child(explore_there)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        assert status == 0, f"the explorer has ended with {status}"
        return pickle.loads(answer.read())  # type: ignore[no-any-return]


def _load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _test(parameters: Iterable[Any], finds: bool) -> Callable[..., None]:
    """Of a scenario, a strategy and changes of the C."""

    @pytest.mark.orders
    @pytest.mark.parametrize(("scenario", "strategy", "changes"), parameters)
    def explored(
        scenario: Scenario, strategy: str, changes: Sequence[Change], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        built = made_once(tmp_path_factory, "explored", build)
        if changes:
            name = sha256(repr(changes).encode()).hexdigest()[:16]
            built = made_once(tmp_path_factory, f"explored-{name}", partial(plant, changes, built))
        outcome, runs, report = explore(built / "_core.so", scenario, strategy)
        print(f"{runs:,} runs, {report}")
        passed = "EXHAUSTED" if strategy.startswith("d") else "BUDGET_SPENT"
        assert outcome in (("FOUND", "EARLY_TIMEOUT") if finds else (passed,)), report

    return explored


def in_orders(
    cases: Mapping[str, tuple[Scenario, str] | tuple[Scenario, str, str]],
    faults: Mapping[str, tuple[str, *tuple[Change, ...]]],
    variants: Mapping[str, tuple[Sequence[Change], Sequence[str]]] | None = None,
) -> list[Callable[..., None]]:
    """Two tests: each case passes, and some with one preemption in variants; each fault is found.

    cases: a scenario, a strategy, and perhaps one that takes minutes, which is slow.  So are 20,000 runs by chance
    ("pos"), unless all orders are tried.  faults: the case that finds it, the variant that it is planted in, if any,
    and it.
    """
    ways = {case: (scenario, strategy) for case, (scenario, strategy, *_) in cases.items()}
    deeper = {
        f"{case}, {strategy}": (scenario, strategy)
        for case, (scenario, usual, *more) in cases.items()
        for strategy in (*more, *["pos"] * (usual != "dpor"))
    }
    passes = [
        *(pytest.param(*way, [], id=case) for case, way in ways.items()),
        *(pytest.param(*way, [], id=case, marks=pytest.mark.slow) for case, way in deeper.items()),
        *(
            pytest.param(ways[case][0], "dfs:1", changes, id=f"{case}, {variant}")
            for variant, (changes, some) in (variants or {}).items()
            for case in some
        ),
    ]
    found = [pytest.param(*(ways | deeper)[case], changes, id=fault) for fault, (case, *changes) in faults.items()]
    return [_test(passes, finds=False), _test(found, finds=True)]
