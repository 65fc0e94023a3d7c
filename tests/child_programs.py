"""Programs in a process of their own: functions of tests, run by a new interpreter."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from lwp_tasks import tasks
from seccomp import filter_program, refuse
from this_machine import ROOT, SLOW
from without_pytest import run_thread, run_threads, together

PRELUDE = """
from __future__ import annotations
import ctypes, os, signal, struct, sys, threading, time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PosixPath
from typing import Any
import runtime
from runtime import Clone, Thread, native, scheduler, sync
from runtime.scheduler import spawn
from runtime.sync import Barrier, Condition, Event, Lock, RLock, Semaphore
libc = ctypes.CDLL(None)
"""


def wait_until_parked(tid: int, private: bool = False) -> tuple[int, int]:
    """Returns when the thread sleeps as a join does: in a futex call that is shared.

    A thread that waits for the GIL, hands it over, or waits for a lock sleeps in a private one.
    private: as in one of our primitives, with bits of its own, or without a timeout.  A thread that waits for the GIL
    has a timeout, and all bits.  One that hands it over, or waits for a lock of stock's, has none but names a clock
    (FUTEX_CLOCK_REALTIME).
    The address of the futex, and its bits.
    """
    futex = ("202", "98")  # on x86-64 and aarch64; under qemu-user it is the kernel's own
    operation = 9 | 128 if private else 9  # FUTEX_WAIT_BITSET, FUTEX_PRIVATE_FLAG
    while True:
        call = Path(f"/proc/self/task/{tid}/syscall").read_text().split()
        if call[0] in futex and int(call[2], 16) == operation:
            address, timeout, bits = (int(call[number], 16) for number in (1, 4, 6))
            if not private or not timeout or bits != 0xFFFFFFFF:
                return address, bits
        os.sched_yield()


def until_alone() -> None:
    """Until no other task of this process is left: the kernel is not done when it has cleared a thread's word."""
    while len(os.listdir("/proc/self/task")) > 1:
        os.sched_yield()


def resident() -> int:
    """Bytes; of each thread 64 pages may be missing before Linux 6.2."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def skip_test(why: str) -> NoReturn:
    """Ends the program, and its test is skipped."""
    os.write(2, why.encode())
    os._exit(77)


def in_forked_child(check: Callable[[], object]) -> int:
    """Calls check in a forked child and gives the child's wait status: 0, if nothing was raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:  # os._exit() would end it without a word
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def learn_that_it_blocks(call: Callable[[], object]) -> None:
    """Makes the call, which blocks in C code of others, beside a thread that could go on."""
    begun = threading.Event()
    together(begun.wait, lambda: (begun.set(), call()))


def ctrl_c_at_any_moment(
    block: Callable[[int], object], check: Callable[[int], object], rounds: int, step: float
) -> None:
    """Calls block() and then check() with the number of each round.  Ctrl-C comes after 1 to 100 steps, in seconds,
    unless block() has returned by then.
    """
    armed = [False]

    def interrupt(*_: object) -> None:
        if armed[0]:
            armed[0] = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    caught = 0
    for number in range(rounds):
        try:
            armed[0] = True
            signal.setitimer(signal.ITIMER_REAL, step * (1 + number % 100))
            block(number)
            armed[0] = False
        except KeyboardInterrupt:
            caught += 1
        check(number)
    signal.setitimer(signal.ITIMER_REAL, 0)  # at the end of the interpreter its handler would be gone
    assert caught > 30, caught


#: What programs may call.
PROVIDED = (
    *(wait_until_parked, until_alone, resident, run_thread, run_threads, together, skip_test, in_forked_child),
    *(filter_program, refuse, learn_that_it_blocks, ctrl_c_at_any_moment, tasks),
)

Program = Callable[..., object]


def bound_by(imported: ast.alias) -> str:
    return imported.asname or imported.name.partition(".")[0]


def imports_for(program: Callable[..., object], text: str) -> list[str]:
    """What the program's file imports of the standard library and of the runtime, if the text names it.

    What the text imports itself is left to that: it may matter when.
    """
    file = Path(inspect.getsourcefile(program) or "")
    tree = ast.parse(text)
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named -= {
        bound_by(one) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) for one in node.names
    }
    found = []
    for one in ast.parse(file.read_text()).body:
        if isinstance(one, ast.Import | ast.ImportFrom):
            one.names = [name for name in one.names if bound_by(name) in named]
            module = (one.names and one.names[0].name) if isinstance(one, ast.Import) else one.module
            if one.names and module and module.partition(".")[0] in {*sys.stdlib_module_names, "runtime"}:
                found.append(ast.unparse(one))
    return found


Child = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """child(program, *args, status=0, timeout=60, env={}): runs the function's text in a new interpreter.

    The text sees what PRELUDE imports, PROVIDED, what imports_for() finds, and nothing else of its test.  Another exit
    status than `status` fails the test.
    """

    def run(
        program: Program, *args: object, status: int = 0, timeout: float = 60, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        text = textwrap.dedent(inspect.getsource(program))
        text = text[re.search(r"^def ", text, re.MULTILINE).start() :]  # type: ignore[union-attr]  # without decorators
        script = tmp_path / f"{program.__name__}.py"
        call = f"{program.__name__}({', '.join(map(repr, args))})\n"
        needs = imports_for(program, text)
        script.write_text("\n".join([PRELUDE, *needs, *map(inspect.getsource, PROVIDED), text, call]))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", str(script)]
        # A session of its own, so that what it leaves running can be ended with it.
        process = subprocess.Popen(
            command,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
            start_new_session=True,
        )
        hung = ""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            hung = f" after {SLOW * timeout} s (killed: it hung)"
            process.send_signal(6)  # SIGABRT: faulthandler says where the threads are
            try:
                out, err = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                out, err = process.communicate()
        except BaseException:  # the test is being ended: its program must not go on without it
            os.killpg(process.pid, 9)
            process.communicate()
            raise
        if process.returncode == 77:  # see skip_test()
            pytest.skip(err)
        if hung or process.returncode != status:
            pytest.fail(
                f"{program.__name__} ended with {process.returncode}{hung}, expected {status}\n"
                f"--- stdout\n{out[-4000:]}\n--- stderr\n{err[-8000:]}",
                pytrace=False,
            )
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return run


def in_child(program: Program | None = None, *, prints: str | None = None, says: str = "", **options: Any) -> Any:
    """Makes a test of a function whose text is to run in a new interpreter: see `child`, which has the options.

    The program is given the values of its parameters and fixtures, as repr() writes them.
    prints: all that it must write to its standard output.  says: what must be in its output or its errors.
    """
    if program is None:
        return functools.partial(in_child, prints=prints, says=says, **options)
    parameters = inspect.signature(program).parameters

    @functools.wraps(program)
    def test(child: Child, **values: object) -> None:
        result = child(program, *(values[name] for name in parameters), **options)
        assert prints in (None, result.stdout)
        assert says in result.stdout + result.stderr

    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("child", *parameters)]
    test.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return test
