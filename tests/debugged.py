"""A process with threads of each kind, and what gdb says of it.

No register is named and no system call's number, so that it says the same on every processor.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from commands import environment

PATIENCE = 120  # seconds: a limit for hangs

#: Where the stack of an LWP of ours ends, and that of a green thread: runtime/native/kernel/arch/.
CLONED, SWAPPED = (f"runtime_{name}_{platform.machine()}" for name in ("clone", "swap_begin"))

#: Two threads named for the kernel, a Thread, a stock one, an LWP in a green thread and a green thread that sleeps.
#: It says who they are when each is where it waits for the end, and then does what its argument says.
WAITING = """
import json, os, resource, sys, threading
from runtime import Thread, scheduler, sync
from runtime.scheduler import Scheduler, spawn

resource.setrlimit(resource.RLIMIT_CORE, (0, 0) if len(sys.argv) < 2 else (resource.RLIM_INFINITY,) * 2)
end = os.pipe()
there = sync.Semaphore(0)
seen = {}

def wait(name):
    seen[name] = [threading.get_ident(), threading.get_native_id()]
    there.release()
    os.read(end[0], 1)

def sleep():
    seen["asleep"] = [threading.get_ident(), 0]
    scheduler.sleep(1000)

def green():
    runs = Scheduler()
    runs.spawn(sleep)
    runs.spawn(wait, "green")
    runs.run()

for n in range(2):
    spawn(wait, (f"named-{n}",), name=f"named-{n}")
for kind, name in ((Thread, "a-thread"), (threading.Thread, "stock")):
    kind(target=wait, args=(name,), name=name).start()
Thread(target=green).start()
for _ in range(5):
    there.acquire()
seen["main"] = [threading.get_ident(), os.getpid()]
print(json.dumps(seen), flush=True)
if len(sys.argv) > 1:
    os.abort()
sys.stdin.read()
os._exit(0)
"""

Seen = dict[str, list[int]]  #: who: ident, tid


@dataclass(frozen=True)
class Thread:
    """What gdb says of one."""

    ident: int | None  #: None: libthread_db doesn't know it
    name: str | None
    functions: list[str]  #: of its frames, the innermost first
    says: str  #: all of it


@contextmanager
def waiting() -> Iterator[tuple[int, Seen]]:
    command, env = [sys.executable, "-c", WAITING], environment(PYTHONFAULTHANDLER="")
    process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    try:
        yield process.pid, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def ask_gdb(*arguments: str) -> str:
    if not (gdb := shutil.which("gdb")):
        pytest.skip("gdb is not installed")
    command = [gdb, "-batch", "-nx", "-ex", "set debuginfod enabled off", "-ex", "set width 0", *arguments]
    own = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}  # which gdb's Python may refuse
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, errors="replace", check=False, env=own
    )
    if "ptrace" in done.stderr or "Could not attach" in done.stderr:
        pytest.skip(f"gdb can't attach here: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout + done.stderr


BACKTRACES = ("-ex", "info threads", "-ex", "thread apply all backtrace")


def threads(says: str) -> dict[int, Thread]:
    """By tid.  As BACKTRACES print them."""
    listed = r"^[* ] +\d+ +(?:Thread (0x[0-9a-f]+) \()?LWP (\d+)\)?(?: \"([^\"]*)\")?"
    who = {
        int(tid): (int(ident, 16) if ident else None, name or None)
        for ident, tid, name in re.findall(listed, says, re.MULTILINE)
    }
    found = {}
    for text in re.split(r"^Thread \d+ \(", says, flags=re.MULTILINE)[1:]:
        tid = re.match(r"(?:Thread 0x[0-9a-f]+ \()?LWP (\d+)", text)
        assert tid, text
        functions = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+)", text, re.MULTILINE)
        found[int(tid[1])] = Thread(*who[int(tid[1])], functions, text)
    return found


def check_stacks(found: dict[int, Thread], seen: Seen) -> None:
    """Each is known by its pthread_self(), and its stack leads to its beginning and no further."""
    for name, (ident, tid) in seen.items():
        if name == "asleep":  # no LWP is in it
            continue
        thread = found[tid]
        assert "corrupt stack" not in thread.says, thread
        assert "previous frame" not in thread.says, thread
        assert "not enough registers" not in thread.says, thread
        assert len(thread.functions) < 100, thread
        if name == "green":
            assert thread.functions[-1] == SWAPPED, thread
            continue
        assert thread.ident == ident, thread
        if name not in ("stock", "main"):
            assert thread.functions[-1] == CLONED, thread
