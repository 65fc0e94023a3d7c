"""One call fails, then all must be as it was: a program for test_faults.py, on a core that faults.c is linked into.

    fault_injection.py NAME ERRNO [--refused NAME ERRNO COUNT] [--library PATH ...] [--measured]

The first call of NAME fails with ERRNO, in a process forked for that, then the second in another, and so on until there
is no such call any more.  With --refused the first COUNT calls of another function fail too.  Each process runs the
same cycle of everything that the core does for a thread, once with the fault and once without, and compares what it
holds with what it held before.  Prints what was raised and what was wrong, as JSON: an object for no fault, and a list
with one for each.

With a negative ERRNO that signal ends the process instead, and the cycle has threads only.

With --measured a thread is measured, which needs the tools.

NAME "python" is any allocation of the interpreter's while a thread is made, started and joined.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import gc
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import runtime
from runtime import Clone, native, scheduler, sync
from runtime.lwp import processes
from runtime.native import structures

_core = ctypes.CDLL(native._core.__file__)
_core.faults_set.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_int]
_core.faults_failed.argtypes = [ctypes.c_char_p]
for _name in ("faults_failed", "faults_blocks", "faults_mapped"):
    getattr(_core, _name).restype = ctypes.c_long
_python = ctypes.pythonapi
for _name in ("PyInterpreterState_Get", "PyInterpreterState_ThreadHead", "PyThreadState_Next"):
    getattr(_python, _name).restype = ctypes.c_void_p
    getattr(_python, _name).argtypes = [ctypes.c_void_p] if _name != "PyInterpreterState_Get" else []

EVERY = 1 << 40
SECONDS = 30  # until a process counts as hung
PYTHON_ALLOCATIONS = 40  # more than a start and a join make

# ---- what could be left ----------------------------------------------------------------------------------------------


def _thread_states() -> int:
    count, state = 0, _python.PyInterpreterState_ThreadHead(_python.PyInterpreterState_Get())
    while state:
        count, state = count + 1, _python.PyThreadState_Next(state)
    return count


def _on_glibcs_list() -> int:
    head = next(fact.value for fact in structures.facts() if fact.name == "_dl_stack_user")
    count, at = 0, ctypes.c_size_t.from_address(head).value
    while at != head:
        count, at = count + 1, ctypes.c_size_t.from_address(at).value
    return count


def _blocks() -> int:
    """Of malloc and its kin, without the DTV that belongs to each context: as many as there are sizes of stacks."""
    made, _, _ = native.context_counts()
    return int(_core.faults_blocks() - made)


class Target:
    """No function: a free-threaded CPython makes functions immortal when the first thread starts (up to 3.13)."""

    def __call__(self, *numbers: int) -> int:
        return sum(numbers)


target = Target()


def holdings() -> dict[str, int]:
    """What must be the same before and after, whatever has failed."""
    gc.collect()
    native.lwp_reap()
    made, cached, size = native.context_counts()
    return {
        "tasks": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "children": len(Path("/proc/thread-self/children").read_text().split()),
        "PyThreadStates": _thread_states(),
        "threads on glibc's list": _on_glibcs_list(),
        "threads that glibc counts": ctypes.c_int.in_dll(ctypes.CDLL(None), "__nptl_nthreads").value,
        "threads that threading knows": threading.active_count(),
        "alive": native.lwp_alive(),
        "running": native.running(),
        "process-style LWPs kept": len(processes),
        "contexts that are not in the cache": made - cached,
        "bytes mapped for no context": _core.faults_mapped() - size,
        "references to the target": sys.getrefcount(target),
        "signals blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    }


# ---- the cycle -------------------------------------------------------------------------------------------------------


class Cycle:
    """Everything once.  What raises is noted, and the next step begun."""

    measured = False

    def __init__(self, libraries: list[str], only_threads: bool = False) -> None:
        self.libraries = libraries
        self.only_threads = only_threads
        self.errors: list[BaseException] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, MemoryError) as error:
            self.errors.append(error)

    def join(self, thread: runtime.Thread | scheduler.LWP) -> None:
        """A join that fails may be tried again."""
        with self.step():
            thread.join()
            return
        thread.join()

    def thread(self, function: Callable[..., object], *args: Any, size: int = 1 << 18) -> None:
        with self.step():
            thread = runtime.Thread(target=function, args=args, stack_size=size)
            started = native.lwp_started()
            thread.start()
            assert native.lwp_started() == started + 1
            self.join(thread)
            assert not thread.is_alive()

    def lwp(self, flags: int, exit_signal: int = 0, status: int | None = None) -> None:
        with self.step():
            lwp = scheduler.spawn(target, (3, 4), flags=flags, exit_signal=exit_signal, name="seven")
            self.join(lwp)
            assert lwp.exit_status == status, lwp.exit_status

    def run(self) -> list[BaseException]:
        self.thread(target, 1, 2)
        self.thread(target, 1, 2)  # on the same context
        self.thread(_deep, 150)
        self._waiting()
        if self.only_threads:
            return self.errors
        self.lwp(scheduler.THREAD_FLAGS)
        self.lwp(Clone.VM | Clone.FS, signal.SIGCHLD, 7)
        self.lwp(0, signal.SIGCHLD, 7)
        self.lwp(Clone.FILES, signal.SIGCHLD, 7)
        if self.measured:
            scheduler.measure(True)
        self.thread(target)
        if self.measured:
            scheduler.statistics()
            scheduler.measure(False)
        for path in self.libraries:
            ctypes.CDLL(path)
        self.thread(target)  # its DTV is too short now
        return self.errors

    def _waiting(self) -> None:
        lock, condition, event, barrier = sync.Lock(), sync.Condition(sync.Lock()), sync.Event(), sync.Barrier(2)
        told: list[int] = []

        def waiter() -> None:
            with lock:
                told.append(1)
            barrier.wait()
            with condition:
                while len(told) < 2:
                    condition.wait()
            event.set()

        with self.step():
            thread = runtime.Thread(target=waiter, stack_size=1 << 18)
            with lock:
                thread.start()
                thread.join(0.001)
            barrier.wait()
            event.wait(0.001)
            with condition:
                told.append(2)
                condition.notify()
            assert event.wait()
            self.join(thread)
            assert told == [1, 2], told


def _deep(levels: int) -> int:
    """More stack than a cached context may keep."""
    return max([levels], key=lambda _: _deep(levels - 1)) if levels else 0


# ---- a fault ---------------------------------------------------------------------------------------------------------


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _cycle(libraries: list[str], number: int = 0) -> tuple[list[list[str]], list[str]]:
    """What was raised, each with its causes, and what is wrong with that.  No exception stays: it keeps its thread."""
    errors = [list(causes(error)) for error in Cycle(libraries).run()]
    raised = [[f"{type(cause).__name__}: {cause}" for cause in chain] for chain in errors]
    wrong = [
        f"{raised[at]} does not name {errno.errorcode[number]}"
        for at, chain in enumerate(errors)
        if number and not any(isinstance(cause, OSError) and cause.errno == number for cause in chain)
    ]
    return raised, wrong


def _faulty(arguments: argparse.Namespace, nth: int) -> dict[str, Any]:
    before = holdings()
    if arguments.refused:
        _core.faults_set(arguments.refused[0].encode(), 0, int(arguments.refused[2]), int(arguments.refused[1]))
    name = arguments.name.encode()
    _core.faults_set(name, nth, 1, arguments.errno)
    raised, wrong = _cycle(arguments.library, arguments.errno)
    failed = _core.faults_failed(name)
    _core.faults_clear()
    wrong += [f"afterwards {error}" for error in _cycle(arguments.library)[0]]
    after = holdings()
    wrong += [f"{key}: {before[key]} before, {after[key]} after" for key in before if before[key] != after[key]]
    return {"failed": failed, "raised": raised, "wrong": wrong, "blocks": _blocks()}


def _killed(arguments: argparse.Namespace, nth: int) -> dict[str, Any]:
    """Whose process group has nobody left when its first has ended."""
    if (pid := os.fork()) == 0:
        os.setpgid(0, 0)
        _core.faults_set(arguments.name.encode(), nth, 1, arguments.errno)
        Cycle([], only_threads=True).run()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    wrong = []
    try:
        os.killpg(pid, 0)
        wrong.append("somebody is left in the process group")
    except ProcessLookupError:
        pass
    failed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == -arguments.errno
    if status and not failed:
        wrong.append(f"wait status {status}")
    return {"failed": failed, "raised": [], "wrong": wrong, "blocks": 0}


def _without_memory(nth: int) -> dict[str, Any]:
    import _testcapi

    runtime.Thread(target=target)  # imports what the first of all needs
    before = holdings()
    raised: list[list[str]] = []
    started, thread = False, None
    _testcapi.set_nomemory(nth, nth + 1)
    try:
        thread = runtime.Thread(target=target, args=(1, 2), stack_size=1 << 19)
        thread.start()
        started = True
        thread.join()
        _testcapi.remove_mem_hooks()
    except (MemoryError, RuntimeError) as error:
        _testcapi.remove_mem_hooks()
        raised.append([f"{type(cause).__name__}: {cause}" for cause in causes(error)])
    if thread:
        if not started:
            assert thread.ident is None, "start() has raised, and it runs"
            thread.start()
        thread.join()
    del thread
    after = holdings()
    wrong = [f"{key}: {before[key]} before, {after[key]} after" for key in before if before[key] != after[key]]
    return {"failed": 1, "raised": raised, "wrong": wrong, "blocks": 0}


def in_a_fork(function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the function gives in a forked process, which must end in time and with status 0."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        status = 1
        try:
            signal.alarm(SECONDS)
            with os.fdopen(writing, "w") as pipe:
                json.dump(function(), pipe)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        return {"failed": 1, "raised": [], "wrong": [f"the process ended with wait status {status}"], "blocks": 0}
    return json.loads(text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("errno", type=int)
    parser.add_argument("--refused", nargs=3)
    parser.add_argument("--library", action="append", default=[])
    parser.add_argument("--measured", action="store_true")
    arguments = parser.parse_args()
    Cycle.measured = arguments.measured
    if arguments.name == "python":
        faults = [in_a_fork(partial(_without_memory, nth)) for nth in range(PYTHON_ALLOCATIONS)]
        json.dump({"faultless": None, "faults": faults}, sys.stdout)
        return
    once = _killed if arguments.errno < 0 else _faulty
    faultless = in_a_fork(partial(once, arguments, EVERY))
    faults: list[dict[str, Any]] = []
    while (result := in_a_fork(partial(once, arguments, len(faults))))["failed"]:
        if result["blocks"] > faultless["blocks"]:
            result["wrong"].append(
                f"blocks of malloc: {faultless['blocks']} without a fault, {result['blocks']} with it"
            )
        faults.append(result)
    json.dump({"faultless": faultless, "faults": faults}, sys.stdout)


if __name__ == "__main__":
    main()
