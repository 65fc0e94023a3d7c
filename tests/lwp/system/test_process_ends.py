"""A process ends when stock's would, and takes the signals that stock's would, whatever LWPs of tools are in it."""

from __future__ import annotations

import signal
import textwrap
from pathlib import Path

import pytest
from commands import python
from this_machine import SLOW

#: The program waits for a child that `forks` has made and prints how that has ended.  A child that lives on is a
#: failure: it gets SIGTERM, then SIGKILL.
FORKS = """
import ctypes, os, signal, threading, time, warnings
warnings.simplefilter("ignore")
libc = ctypes.CDLL(None)
def ends(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (found := os.waitpid(pid, os.WNOHANG))[0]:
            return found[1]
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return f"lives on, and then {os.waitpid(pid, 0)[1]}"
def waits():
    read, write = os.pipe()
    os.read(read, 1)
"""
FOREIGN = """
@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def begins(_):
    if (pid := os.fork()):
        print(ends(pid))
pthread = ctypes.c_ulong()
libc.pthread_create(ctypes.byref(pthread), None, begins, None)
libc.pthread_join(pthread, None)
"""
IN_THREAD = """
def begins():
    if (pid := os.fork()):
        print(ends(pid))
    else:
        {child}
thread = threading.Thread(target=begins)
thread.start()
thread.join()
"""
SIGNALLED = """
def begins():
    read, write = os.pipe()
    if (pid := os.fork()):
        os.read(read, 1)
        {signals}
        print(ends(pid))
    else:
        {child}
        os.write(write, b".")
        waits()
thread = threading.Thread(target=begins)
thread.start()
thread.join()
"""
#: Starts a thread, ends the main thread, and has the thread go on when that has ended.
WITHOUT_MAIN = """
def begins():
    while open(f"/proc/self/task/{{os.getpid()}}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.001)
    {then}
threading.Thread(target=begins{how}).start()
libc.pthread_exit(None)
"""
THREAD = "t = threading.Thread(target={target})\nt.start()\nt.join()\n"

#: What the program is and how it ends: its exit status (minus the signal), and what it prints.
ENDS = {
    "a forked child's thread returns": (IN_THREAD.format(child="pass"), 0, "0\n"),
    "a forked child's threads return": (
        "def f(): threading.Thread(target=waits, daemon=True).start()\n"
        + THREAD.format(target="f")
        + IN_THREAD.format(child="t = threading.Thread(target=time.sleep, args=(0.1,)); t.start(); t.join()"),
        0,
        "0\n",
    ),
    "a forked child's other thread returns last": (
        IN_THREAD.format(child="threading.Thread(target=time.sleep, args=(0.1,)).start()"),
        0,
        "0\n",
    ),
    "a forked child of a foreign thread returns": (FOREIGN, 0, "0\n"),
    "a forked child of the main thread returns": ("if (pid := os.fork()): print(ends(pid))", 0, "0\n"),
    "a forked child leaves": (IN_THREAD.format(child="os._exit(3)"), 0, f"{3 << 8}\n"),
    "a forked child is another program": (IN_THREAD.format(child="os.execv('/bin/true', ['true'])"), 0, "0\n"),
    "a forked child gets SIGTERM": (
        SIGNALLED.format(child="pass", signals="os.kill(pid, signal.SIGTERM)"),
        0,
        f"{signal.SIGTERM.value}\n",
    ),
    "a forked child gets SIGALRM": (
        SIGNALLED.format(child="signal.setitimer(signal.ITIMER_REAL, 0.05)", signals="pass"),
        0,
        f"{signal.SIGALRM.value}\n",
    ),
    "the only thread ends itself": ("libc.pthread_exit(None)", 0, ""),
    "the last thread ends itself": (THREAD.format(target="int") + "libc.pthread_exit(None)", 0, ""),
    "the last thread returns": (WITHOUT_MAIN.format(then="print('goes on', flush=True)", how=""), 0, "goes on\n"),
    "the last thread returns, a daemon": (
        WITHOUT_MAIN.format(then="print('goes on', flush=True)", how=", daemon=True"),
        0,
        "goes on\n",
    ),
    "SIGTERM without a main thread": (
        WITHOUT_MAIN.format(then="os.kill(os.getpid(), signal.SIGTERM); waits()", how=""),
        -signal.SIGTERM,
        "",
    ),
    "SIGALRM without a main thread": (
        WITHOUT_MAIN.format(then="signal.setitimer(signal.ITIMER_REAL, 0.05); waits()", how=""),
        -signal.SIGALRM,
        "",
    ),
    "SIGTERM": ("threading.Thread(target=waits).start()\nos.kill(os.getpid(), signal.SIGTERM)\nwaits()", -15, ""),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT)\nwaits()", -2, ""),
    "a daemon is left": ("threading.Thread(target=waits, daemon=True).start()", 0, ""),
    "os._exit() in a thread": ("threading.Thread(target=os._exit, args=(3,)).start()\nwaits()", 3, ""),
    "another program in a thread": (
        "threading.Thread(target=os.execv, args=('/bin/sh', ['sh', '-c', 'exit 3'])).start()\nwaits()",
        3,
        "",
    ),
}

WAYS = {
    "stock": (),
    "run": ("-m", "runtime", "run"),
    "green": ("-m", "runtime", "run", "--green"),
    "watched": ("-m", "runtime", "run", "--watchdog", "100", "--trace", "trace.html"),
}
WATCHED = ("watched", "a forked child's thread returns")  # the quick one of that way


@pytest.mark.parametrize(
    ("name", "way"),
    [
        pytest.param(name, way, marks=() if way in ("run", "green") or (way, name) == WATCHED else pytest.mark.slow)
        for name in ENDS
        for way in WAYS
    ],
)
def test_a_process_ends_as_on_stock(name: str, way: str, tmp_path: Path) -> None:
    source, status, printed = ENDS[name]
    (tmp_path / "program.py").write_text(FORKS + textwrap.dedent(source))
    done = python(*WAYS[way], "program.py", cwd=tmp_path, status=None, timeout=30 * SLOW, XDG_RUNTIME_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (status, printed), done.stderr
