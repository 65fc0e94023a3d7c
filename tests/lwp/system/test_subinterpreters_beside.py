"""Subinterpreters beside tools: a reader passes them by, and explored threads go through them."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from commands import ready
from conftest import environment, in_child, lwp, run_threads

#: With it a child program finds subinterpreters.py of tests/.
BESIDE = {"PYTHONPATH": environment()["PYTHONPATH"]}

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


def shares_the_gil(own_gil: bool) -> bool:
    """With the main interpreter, whose locks' profile tells what has kept it; 3.11 has one GIL for all."""
    return not own_gil or sys.version_info < (3, 12)


@pytest.mark.parametrize(
    ("own_gil", "count"),
    [
        pytest.param(False, 4, id="shared GIL-4 threads"),
        pytest.param(True, 0, id="own GIL-main thread"),
        pytest.param(False, 0, id="shared GIL-main thread", marks=pytest.mark.slow),
        pytest.param(True, 4, id="own GIL-4 threads", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "option", ["--locks", "--lock-order", "--chaos", "--watchdog 0.1", "--stuck 0.1", "--trace t.html", "--report"]
)
def test_a_reader_passes_subinterpreters_by(option: str, own_gil: bool, count: int, tmp_path: Path) -> None:
    """The program goes on as without a reader, and nothing that is told is of a subinterpreter, except what has kept
    a GIL that is the main interpreter's too."""
    (tmp_path / "program.py").write_text(PROGRAM_BESIDE)
    arguments = ("program.py", int(own_gil), count, 0)
    done = lwp("run", *option.split(), *arguments, cwd=tmp_path, **BESIDE)
    assert done.stdout == "0\n", done.stderr
    assert "of_a_subinterpreter" not in done.stderr or (option == "--locks" and shares_the_gil(own_gil))
    assert option != "--locks" or "Waits of" in done.stderr


@pytest.mark.slow
@beside
@gils
@pytest.mark.parametrize("options", [(), ("--green",)])
def test_a_program_with_subinterpreters_is_asked_from_outside(
    options: tuple[str, ...], own_gil: bool, count: int, tmp_path: Path
) -> None:
    folder = {"XDG_RUNTIME_DIR": str(tmp_path)}
    command = ("-m", "runtime", "run", *options, "program.py", str(int(own_gil)), str(count), "1")
    with ready(tmp_path, PROGRAM_BESIDE, *command, **folder, **BESIDE) as process:
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
    assert (process.returncode, out) == (0, "0\n")
    of_main = said[:3] if shares_the_gil(own_gil) else said
    assert not [text for text in of_main if "of_a_subinterpreter" in text]
    assert "MainThread" in said[0]
    assert "of_a_subinterpreter" not in (tmp_path / "t.json").read_text()


@beside
@gils
@in_child(env=BESIDE)
def test_explored_threads_pass_through_subinterpreters(own_gil: bool, count: int) -> None:
    """What they do there is no step of the run, and a lock there is CPython's."""
    from subinterpreters import live

    from lwp.explore import Outcome, explore

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

    from lwp import native

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
