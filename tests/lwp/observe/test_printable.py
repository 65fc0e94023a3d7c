"""Names that a program has chosen come to the terminal, but nothing that would command it, and no lines of theirs."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
from commands import environment, lwp, python, watched
from test_from_outside import Run
from test_from_outside import run as run  # a fixture

from lwp.reading.files import printable_lines
from runtime.printable import printable

EVIL = "\x1b[2J\nFORGED\x7f\x9b<script>"
#: Two threads in a deadlock, whose names, functions, files and locks' names are EVIL; main() gets their locks.
NAMES = f"""
import os, sys, threading, types
EVIL = {EVIL!r}
class Holder:
    pass
holder, ready, done = Holder(), threading.Barrier(2), threading.Event()
setattr(holder, "one" + EVIL, threading.Lock())
setattr(holder, "two" + EVIL, threading.RLock())
one, two = vars(holder).values()
def take(first, second):
    with first:
        ready.wait()
        with second:
            pass
def evil(function, **more):
    code = function.__code__.replace(co_name="in" + EVIL, co_qualname="in" + EVIL, co_filename="of" + EVIL + ".py")
    return types.FunctionType(code, globals(), "named" + EVIL)
take = evil(take)
both = [[one, two], [two, one]]
del one, two
threads = [threading.Thread(target=take, args=pair, name="thread" + EVIL, daemon=True) for pair in both]
"""
STARTS = f"""{NAMES}
for thread in threads:
    thread.start()
def wait_for_circle():
    from runtime.scheduler import waiting
    while not waiting().cycles:
        pass
"""
#: The same, one after the other, and again.
ORDER = f"""{NAMES}
ready = threading.Event()
ready.set()
def takes(pair, begin, end):
    begin.wait()
    for _ in range(100):
        take(*pair)
    end.set()
turns = [(threading.Event(), threading.Event()) for _ in both]
for pair, thread, turn in zip(both, threads, turns):
    threading.Thread(target=takes, args=(pair, *turn), name=thread.name, daemon=True).start()
for begin, end in turns:
    begin.set()
    end.wait()
"""


def check(*texts: str) -> str:
    """That they command no terminal, and that no line of them is the program's."""
    for text in texts:
        assert not [letter for letter in text if not letter.isprintable() and letter not in "\n\t"], repr(text)
        assert not [line for line in text.splitlines() if line.startswith("FORGED")], text
    return "".join(texts)


def check_names(done: subprocess.CompletedProcess[str]) -> str:
    """And that they have the names all the same."""
    said = check(done.stdout, done.stderr)
    assert r"\x1b[2J\nFORGED" in said.replace("\\\\", "\\"), said
    return said


def test_what_is_escaped() -> None:
    for text in ("", "naïve 名前 🧵 `x\\n`", "a b", "C:\\new"):
        assert printable(text) == text
    for letter in map(chr, [*range(32), *range(127, 160), 0x200B, 0x202E, 0xD800]):
        assert printable(f"a{letter}b") == f"a{repr(letter)[1:-1]}b"
    assert printable_lines("a\tb\nc\x1b\r\n") == "a\tb\nc\\x1b\\r\n"


# ---- from outside ----------------------------------------------------------------------------------------------------


def test_what_is_asked_from_outside(run: Run, tmp_path: Path) -> None:
    name = f"program{EVIL.replace('/', '')}.py"
    (tmp_path / name).write_text(f"{STARTS}\nprint('ready', flush=True)\ndone.wait()\n")
    with run("", command=("-m", "runtime", "run", name)) as program:
        program.dump_when(lambda found: found["circles"])
        said = check_names(program.ask("dump", program.pid, status=1))
        assert said.count("deadlock: ") == 1
        check_names(program.ask("dump", program.pid, "--all-frames", status=1))
        assert "\\x1b" in check(program.ask("ps").stdout)  # the name, which may be cut to the width of the terminal
        check_names(program.ask("top", program.pid, "--once", "--every", "0.1"))
        check(program.ask("locks", program.pid, "--seconds", "0.2").stdout)
        for kind in ("json", "html"):
            done = program.ask("record", program.pid, "--seconds", "0.2", "-o", tmp_path / f"t.{kind}")
            check(done.stdout, done.stderr)
            written = (tmp_path / f"t.{kind}").read_text()
            check(written)
            assert "thread" in written
        json.loads((tmp_path / "t.json").read_text())
        assert "FORGED\\\\x7f\\\\x9b<script>" not in (tmp_path / "t.html").read_text()  # it ends no script


# ---- in the program --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "program", "status"),
    [
        ([], f"{watched(0.3, 3)}{STARTS}done.wait()", 3),
        (["--lock-order"], ORDER, 1),
        (["--locks"], f"{STARTS}wait_for_circle()", 0),
    ],
    ids=lambda value: "".join(value[:1]) if isinstance(value, list) else "",
)
def test_what_is_reported_of_the_own_process(options: list[str], program: str, status: int, tmp_path: Path) -> None:
    check_names(lwp("run", *options, "-c", program, cwd=tmp_path, status=status))


def test_a_thread_that_is_stuck(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runtime", "run", "--stuck", "0.3", "-c", f"{STARTS}done.wait()"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        said = "".join(takewhile(lambda line: "  File " not in line, process.stderr))
        process.kill()
    check_names(subprocess.CompletedProcess(command, 0, "", said))


def test_what_chaos_has_done(tmp_path: Path) -> None:
    done = lwp("run", "--chaos", "7", "-c", f"{ORDER}sys.exit(1)", cwd=tmp_path, status=1)
    check(done.stdout, done.stderr)  # it depends on the machine which threads were held last


def test_the_figures_at_the_end(tmp_path: Path) -> None:
    source = f"""
import threading, types
from runtime.groups import Group
EVIL = {EVIL!r}
class Fails(Exception):
    pass
Fails.__name__ = Fails.__qualname__ = "Fails" + EVIL
def fails():
    raise Fails
def block():
    with Group() as group:
        group.spawn(threading.Event().wait)
        group.spawn(fails)
block = types.FunctionType(block.__code__.replace(co_filename="of" + EVIL + ".py"), globals())
try:
    block()
except* Fails:
    pass
"""
    check_names(lwp("run", "--report", "-c", source, cwd=tmp_path))


def test_rows_of_a_table() -> None:
    program = f"{STARTS}\nfrom lwp.observe.rows import busiest, rows\nwait_for_circle()\n"
    program += "for row in rows(busiest())[0]: print(row.name, row.waits)\n"
    check_names(python("-c", f"import runtime; runtime.install()\n{program}"))


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["trace", f"no{EVIL}", "x.html"],
        ["run", "--trace", f"no{EVIL}", "x.py"],
        ["run", f"no{EVIL}.py"],
        [f"no{EVIL}"],
        ["explore", f"no{EVIL}.py::test"],
        ["demo", f"no{EVIL}"],
        ["bench", f"no{EVIL}"],
        ["run", "--trace", f"{EVIL}/x.html", "x.py"],
        ["tls", "--html", f"no/{EVIL}.html"],
    ],
    ids=lambda command: " ".join(word for word in command if EVIL not in word),
)
def test_errors(command: list[str], tmp_path: Path) -> None:
    done = lwp(*command, cwd=tmp_path, status=None)
    assert done.returncode != 0
    check(done.stdout, done.stderr)


# ---- tests of others -------------------------------------------------------------------------------------------------

EXPLORED = f"""{NAMES}
def test():
    global ready
    ready = threading.Event()
    ready.set()
    again = [threading.Thread(target=take, args=pair, name=thread.name) for pair, thread in zip(both, threads)]
    for thread in again:
        thread.start()
    for thread in again:
        thread.join()
def test_left():
    threading.Thread(target=evil(lambda: done.wait()), name="left" + EVIL, daemon=True).start()
"""
#: The threads one after the other: at once they could stand still, and only the explorer would end them.
IN_TURN = EXPLORED.replace("thread.start()\n    for", "thread.start()\n        thread.join()\n    for", 1)


def test_explore(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(EXPLORED)
    done = lwp("explore", "--html", "x.html", "test_x.py::test", cwd=tmp_path, status=1)
    assert "FOUND" in check_names(done)
    page = (tmp_path / "x.html").read_text()
    check(page)
    assert "FORGED" in page
    assert page.count("<script>") == 1
    found = json.loads(lwp("explore", "--json", "test_x.py::test", cwd=tmp_path, status=1).stdout)
    check(found["report"], found["name"])


@pytest.mark.parametrize(
    ("options", "text"),
    [(["--lwp", "--lock-order"], IN_TURN), (["--lwp-explore"], EXPLORED), (["--lwp-chaos=7"], IN_TURN)],
    ids=["lock order", "explored", "chaos"],
)
def test_the_plugin(options: list[str], text: str, tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(text)
    command = ("-m", "pytest", "-p", "no:cacheprovider", *options, "test_x.py")
    done = python(*command, cwd=tmp_path, status=None, timeout=100)
    assert done.returncode in (0, 1), done.stdout
    check(done.stdout, done.stderr)
    if "--lwp-chaos=7" not in options:
        check_names(done)
