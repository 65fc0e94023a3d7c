"""Subinterpreters beside the runtime: it can't be imported there, and what it does to the process leaves them alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import environment, in_child, lwp, run_thread, run_threads

import runtime
from runtime import scheduler, sync
from runtime.scheduler import spawn

#: With it a child program finds subinterpreters.py, which lies beside this file.
BESIDE = {"PYTHONPATH": environment()["PYTHONPATH"]}


@pytest.mark.parametrize("own_gil", [False, True])
@pytest.mark.parametrize("first", ["main", "another"])
@in_child(env=BESIDE)
def test_it_is_refused_there_and_the_main_interpreter_goes_on(first: str, own_gil: bool) -> None:
    """A program that uses the runtime in the main interpreter and tries to in others."""
    from subinterpreters import PROGRAM, creator, execute

    if first == "main":
        runtime.install()
    for _ in range(3):
        interpreter = creator(own_gil)()
        execute(interpreter, PROGRAM)
        if first != "main":
            runtime.install()
        seen: list[int] = []
        for n in range(10):
            run_thread(threading.Thread(target=seen.append, args=(n,)))
        assert seen == list(range(10))
    assert scheduler.statistics().started == 30


@pytest.mark.parametrize("own_gil", [False, True])
@pytest.mark.parametrize("kind", ["ours", "installed", "green"])
@in_child(env=BESIDE)
def test_a_thread_goes_into_another_interpreter_and_comes_back(kind: str, own_gil: bool) -> None:
    """A thread makes an interpreter, runs in it and ends it; meanwhile others do the same, and some compute."""
    from subinterpreters import PROGRAM, api, creator, execute

    def work() -> None:
        for _ in range(2):
            interpreter = creator(own_gil)()
            execute(interpreter, PROGRAM)
            assert threading.current_thread().is_alive()
            assert threading.get_native_id() == threading.current_thread().native_id
            with lock:  # ours, after the thread has been in another interpreter
                done.append(threading.current_thread())
            api.destroy(interpreter)

    def deep(n: int) -> int:
        return n and deep(n - 1)

    def compute() -> None:
        while len(done) < 6 and not failed:
            deep(300)

    failed: list[Any] = []
    threading.excepthook = failed.append
    runtime.install(green=kind == "green")
    lock, done = threading.Lock(), []
    make: Any = runtime.Thread if kind == "ours" else threading.Thread
    workers = [make(target=work) for _ in range(3)]
    run_threads(workers + [make(target=compute) for _ in range(2 if kind != "green" else 0)])
    assert not failed, failed
    assert {done.count(thread) for thread in workers} == {2}


@pytest.mark.parametrize("own_gil", [False, True])
@in_child(env=BESIDE)
def test_an_interpreter_outlives_the_thread_that_has_made_it(own_gil: bool) -> None:
    """Its first frames are those of the interpreter that it makes: called from C, it has none of its own before."""
    import itertools

    from subinterpreters import api, creator, execute

    def deep(n: int) -> int:
        return n and deep(n - 1)

    def compute() -> None:
        begun.release()
        while not over:
            deep(100)

    before = set(map(str, api.list_all()))
    made: list[Any] = []
    spawn(made.extend, (itertools.starmap(creator(own_gil), [()]),)).join()
    assert len(made) == 1
    assert str(made[0]) not in before

    sys.setswitchinterval(1e-5)
    over, begun = False, sync.Semaphore(0)
    threads = [runtime.Thread(target=compute) for _ in range(4)]
    for thread in threads:  # one of them has the memory of the thread that has ended
        thread.start()
    for _ in threads:
        begun.acquire()
    for _ in range(50):
        execute(made[0], "def deep(n):\n    return n and deep(n - 1)\nfor _ in range(20):\n    deep(100)")
    over = True
    for thread in threads:
        thread.join()
    api.destroy(made[0])


@in_child
def test_imported_again_it_is_the_same() -> None:
    """Dropped from sys.modules and imported again: types and functions are the same, and both copies work."""
    runtime.install()
    threads: list[Any] = [threading.Thread, runtime.Thread]
    for _ in range(3):
        for name in [name for name in sys.modules if name.partition(".")[0] == "runtime"]:
            del sys.modules[name]
        import runtime as new

        threads.append(new.Thread)
    assert len(set(threads)) == 5
    seen: list[bytes] = []
    for _ in range(50):
        for cls in threads:
            run_thread(cls(target=lambda: seen.append(bytes(100))))
    assert len(seen) == 250
    from runtime.native import LWP

    assert issubclass(scheduler.LWP, LWP)


# ---- beside a reader -------------------------------------------------------------------------------------------------

#: Interpreters run in that many threads, with 0 in the main thread.  If it is asked, it goes on until a line comes.
PROGRAM_BESIDE = """
import select, sys, threading
from subinterpreters import live
def work():
    for _ in range(2):
        live(own_gil)
        with lock:
            done.append(1)
own_gil, count, asked = (int(argument) for argument in sys.argv[1:])
lock, done = threading.Lock(), []
if asked:
    print("ready", flush=True)
while True:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    if not count:
        work()
    for thread in threads:
        thread.join()
    if not asked or select.select([sys.stdin], [], [], 0)[0]:
        break
print(len(done) % (2 * (count or 1)))
"""

beside = pytest.mark.parametrize("count", [0, 4], ids=["main thread", "4 threads"])
gils = pytest.mark.parametrize("own_gil", [False, True], ids=["shared GIL", "own GIL"])


@beside
@gils
@pytest.mark.parametrize(
    "option",
    [
        "--locks",
        "--lock-order",
        "--chaos",
        "--watchdog 0.1",
        "--stuck 0.1",
        "--trace t.html",
        "--recorder",
        "--report",
    ],
)
def test_a_reader_passes_subinterpreters_by(option: str, own_gil: bool, count: int, tmp_path: Path) -> None:
    """The program goes on as without a reader, and nothing that is told is of a subinterpreter, except what has kept
    a GIL that is the main interpreter's too."""
    (tmp_path / "program.py").write_text(PROGRAM_BESIDE)
    arguments = ("program.py", int(own_gil), count, 0)
    done = lwp("run", *option.split(), *arguments, cwd=tmp_path, **BESIDE)
    assert done.stdout == "0\n", done.stderr
    assert "of_a_subinterpreter" not in done.stderr or (option == "--locks" and not own_gil)
    assert option != "--locks" or "Waits of" in done.stderr


@pytest.mark.slow
@beside
@gils
@pytest.mark.parametrize("options", [(), ("--green",)])
def test_a_program_with_subinterpreters_is_asked_from_outside(
    options: tuple[str, ...], own_gil: bool, count: int, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM_BESIDE)
    folder = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "runtime", "run", *options, "program.py", str(int(own_gil)), str(count), "1"],
        cwd=tmp_path,
        env=environment(**folder, **BESIDE),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            said = [
                lwp(*question, process.pid, *rest, cwd=tmp_path, **folder).stdout
                for question, *rest in (
                    *2 * [(("dump",),)],
                    (("top", "--once", "--every", "0.1"),),
                    (("locks", "--seconds", "0.3"),),
                    (("record", "--seconds", "0.3"), "-o", "t.json"),
                )
            ]
            out, _ = process.communicate("\n", timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "0\n")
    assert not [text for text in (said if own_gil else said[:3]) if "of_a_subinterpreter" in text]
    assert "MainThread" in said[0]
    assert "of_a_subinterpreter" not in (tmp_path / "t.json").read_text()


@beside
@gils
@in_child(env=BESIDE)
def test_explored_threads_pass_through_subinterpreters(own_gil: bool, count: int) -> None:
    """What they do there is no step of the run, and a lock there is CPython's."""
    from subinterpreters import live

    from runtime.explore import Outcome, explore

    def test() -> None:
        done = []

        def work() -> None:
            live(own_gil)
            done.append(1)

        if count:
            run_threads([threading.Thread(target=work) for _ in range(count)])
        else:
            work()
        assert len(done) == (count or 1)

    result = explore(test, runs=3, seed=1)
    assert result.outcome is (Outcome.BUDGET_SPENT if count else Outcome.EXHAUSTED), result.report()


@in_child(env=BESIDE)
def test_frames_are_those_of_the_main_interpreter() -> None:
    """Of a thread that is in another one, the frame that has called it."""
    from subinterpreters import creator, execute

    from runtime import native

    def work() -> None:
        execute(interpreter, f"import os\nos.write({writes}, b'.')\nos.read({held}, 1)")

    interpreter = creator(own_gil=True)()
    reads, writes = os.pipe()
    held, go_on = os.pipe()
    thread = threading.Thread(target=work)
    thread.start()
    os.read(reads, 1)
    frame = native.current_frames()[thread.ident or 0]
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    os.write(go_on, b".")
    thread.join()
    assert names[:2] == ["execute", "work"]
    assert names[-1] == "_bootstrap"
