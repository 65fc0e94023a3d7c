"""Debuggers and profilers from outside: what they see of our threads is what they see of threading's.

They come with `pip install -e '.[programs]'`; each test names the one that it needs.
"""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import distributions
from pathlib import Path

import pytest
from conftest import environment, needs_gil
from dap import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 90  # seconds: a limit for hangs
RUN = ["-m", "runtime", "run"]


def needs(package: str) -> pytest.MarkDecorator:
    missing = not list(distributions(name=package))
    return pytest.mark.skipif(missing, reason=f"not installed: {package}")


@contextmanager
def running(program: str, command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python with pipes, in the folder, where the program is program.py; at the end nothing of it is left."""
    (folder / "program.py").write_text(program)
    words, env = [sys.executable, *command], environment(PYTHONUNBUFFERED="1")
    process = subprocess.Popen(words, cwd=folder, env=env, text=True, stdin=-1, stdout=-1, stderr=-1)  # -1: a pipe
    try:
        yield process
    finally:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)  # a debugger's helper that inherits the pipes ends a little later


# ---- profilers -------------------------------------------------------------------------------------------------------

SLEEPERS = """
import threading

def sleeps():
    up.release()
    done.wait()

up, done = threading.Semaphore(0), threading.Event()
threads = [threading.Thread(target=sleeps, name=name) for name in (None, "sleeper")]
for thread in threads:
    thread.start()
    up.acquire()
print("ready")
input()
done.set()
"""


def names_in_dump(python: list[str], folder: Path) -> list[str]:
    with running(SLEEPERS, [*python, "program.py"], folder) as process:
        assert process.stdout.readline() == "ready\n"
        tool = Path(sys.executable).with_name("py-spy")
        dump = subprocess.run(
            [tool, "dump", "--pid", str(process.pid)], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if dump.returncode and not python:
            pytest.skip(f"py-spy can't look into a process here: {dump.stderr.strip()}")
        return sorted(re.findall(r'^Thread .*: "(.*)"$', dump.stdout, re.MULTILINE))


@needs("py-spy")
@needs_gil("py-spy 0.4.3 names no thread")
def test_py_spy_names_all_threads(tmp_path: Path) -> None:
    """It reads `_name` in the thread's dict, and on 3.13 a list of weak references that is not empty."""
    assert names_in_dump([], tmp_path) == ["MainThread", "Thread-1 (sleeps)", "sleeper"]
    assert names_in_dump(RUN, tmp_path) == ["MainThread", "Thread-1 (sleeps)", "sleeper"]


TRACKED = """
import threading, memray

def allocates():
    kept.append(bytes(3 << 20))

kept = []
with memray.Tracker("records"):
    threads = [threading.Thread(target=allocates, name="allocates"), threading.Thread(target=allocates)]
    for thread in threads:
        thread.start()
        thread.join()
for record in memray.FileReader("records").get_high_watermark_allocation_records(merge_threads=False):
    if 3 << 20 < record.size < 4 << 20:  # and not a stack
        print(record.thread_name)
"""


@needs("memray")
@pytest.mark.parametrize("python", [[], RUN], ids=["stock", "runtime"])
def test_memray_knows_which_thread_allocates(python: list[str], tmp_path: Path) -> None:
    """Its Tracker puts descriptors at Thread's `_name` and `_ident`, where the class may have nothing."""
    with running(TRACKED, [*python, "program.py"], tmp_path) as process:
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    assert sorted(out.splitlines()) == ["Thread-1 (allocates)", "allocates"]


# ---- debuggers -------------------------------------------------------------------------------------------------------

DEBUGGED = """
import sys
{imports}

def work():
    stop = True
    return stop

def waits():
    go.acquire()
    work()

go = threading.Semaphore(0)
earlier = {Thread}(target=waits, name="earlier")
earlier.start()
print("ready")
input()
later = {Thread}(target=work, name="later")
later.start()
later.join()
go.release()
earlier.join()
print("end")
"""
KINDS = {
    "run": "import threading",
    "install": "import threading, runtime; runtime.install()",
    "Thread": "import threading, runtime",
}


def free_port() -> int:
    """Below the range that the kernel takes ports from: nobody's connection gets it before the debugger listens."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(1024, low), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError(f"none of 100 ports below {low} is free")


@contextmanager
def told(process: subprocess.Popen[str]) -> Iterator[None]:
    """What the process wrote is part of the error, if its debugger goes away."""
    try:
        yield
    except ConnectionError as error:
        out, err = process.communicate(timeout=PATIENCE)
        error.add_note(f"exit status {process.returncode}\n{out}\n{err}")
        raise


def breakpoints_are_hit(
    folder: Path, kind: str, command: Callable[[int, str], list[str]], attach: Callable[[int, int], None] | None = None
) -> None:
    text = DEBUGGED.format(imports=KINDS[kind], Thread="runtime.Thread" if kind == "Thread" else "threading.Thread")
    program, port = folder / "program.py", free_port()
    line = text.splitlines().index("    stop = True") + 1
    with running(text, command(port, str(program)), folder) as process:
        if attach:
            assert process.stdout.readline() == "ready\n"
            attach(port, process.pid)
        with told(process), closing(Client(port, PATIENCE)) as client:
            client.begin(str(program), line)
            process.stdin.write("\n")
            process.stdin.flush()
            for name, stack in (("later", ["work", "run"]), ("earlier", ["work", "waits", "run"])):
                if name == "earlier":
                    client.go_on()
                stopped, frames = client.stopped()
                assert (stopped, [frame.rpartition(".")[2] for frame in frames[: len(stack)]]) == (name, stack)
            client.end()
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out.splitlines()[-1]) == (0, "end"), err


def listening(port: int) -> list[str]:
    """The words before a program that waits for its debugger."""
    return ["-m", "debugpy", "--listen", str(port), "--wait-for-client"]


@needs("debugpy")
@pytest.mark.parametrize("kind", KINDS)
def test_breakpoints_of_a_debugger_that_came_first(kind: str, tmp_path: Path) -> None:
    """It has replaced threading's starter when the runtime is imported: the threads are left to it."""
    run = RUN if kind == "run" else []
    breakpoints_are_hit(tmp_path, kind, lambda port, program: [*listening(port), *run, program])


@needs("debugpy")
def test_breakpoints_of_a_debugger_that_the_runtime_runs(tmp_path: Path) -> None:
    breakpoints_are_hit(tmp_path, "run", lambda port, program: [*RUN, *listening(port), program])


@needs("debugpy")
@pytest.mark.skipif(not shutil.which("gdb"), reason="gdb is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_breakpoints_of_a_debugger_that_attaches(kind: str, tmp_path: Path) -> None:
    """pydevd gives a thread up whose stack does not end in threading's frames."""

    def attach(port: int, pid: int) -> None:
        command = [sys.executable, "-m", "debugpy", "--listen", str(port), "--pid", str(pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if "ptrace" in done.stderr:
            pytest.skip(f"gdb can't attach to a process here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr

    breakpoints_are_hit(tmp_path, kind, lambda port, program: [*(RUN if kind == "run" else []), program], attach)
