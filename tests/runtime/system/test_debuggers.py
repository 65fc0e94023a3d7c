"""gdb, core files, perf and strace: each thread is there with its name, and its stack ends where it began.

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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import environment, python

import runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

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
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(PYTHONFAULTHANDLER=""),
    )
    try:
        assert process.stdout
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


def test_a_debugger_sees_names_and_whole_stacks() -> None:
    with waiting() as (pid, seen):
        found = threads(ask_gdb("-p", str(pid), *BACKTRACES))
    check_stacks(found, seen)
    for n in range(2):
        assert found[seen[f"named-{n}"][1]].name == f"named-{n}"
    # Before 3.14 CPython doesn't tell the kernel a Thread's name, and so it has its creator's.
    told = sys.version_info >= (3, 14)
    for name in ("a-thread", "stock"):
        assert found[seen[name][1]].name == (name if told else found[seen["main"][1]].name)
    # While an LWP is in a green thread, it has the ident of that.
    assert found[seen["green"][1]].ident == seen["green"][0]


def test_a_core_that_the_kernel_writes(tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not re.fullmatch(r"[\w.]+", pattern):
        pytest.skip(f"the kernel writes no core to the working directory: kernel.core_pattern is {pattern!r}")
    done = python("-c", WAITING, "core", cwd=tmp_path, timeout=PATIENCE, status=-6, PYTHONFAULTHANDLER="")
    if not (cores := list(tmp_path.glob(f"{pattern}*"))):
        pytest.skip("no core was written: a hard limit (ulimit -Hc)")
    check_script(ask_gdb(*ALL, sys.executable, str(cores[0])), json.loads(done.stdout))


def test_a_core_of_a_process_that_goes_on(tmp_path: Path) -> None:
    core = tmp_path / "core"
    with waiting() as (pid, seen):
        said = ask_gdb("-p", str(pid), "-ex", f"generate-core-file {core}")
        assert Path(f"/proc/{pid}").exists()
    # https://gnu.googlesource.com/binutils-gdb c1da0139: from 18 on it leaves out the page that can't be read.
    version = re.search(r"\b(\d+)\.\d+", subprocess.run(["gdb", "--version"], capture_output=True, text=True).stdout)
    assert version
    if int(version[1]) < 18 and (lost := re.search(r"Memory read failed for corefile section, \d{6,} bytes", said)):
        pytest.skip(f"this gdb, {version[0]}, leaves out a mapping from its first guard region on: {lost[0]}")
    check_stacks(threads(ask_gdb(*BACKTRACES, sys.executable, str(core))), seen)


#: In gdb: names and green threads, by what the runtime itself knows of them.
SCRIPT = ("-x", str(Path(runtime.__file__).parent / "native" / "gdb_threads.py"))


def check_script(says: str, seen: Seen) -> None:
    found = threads(says)
    for name in ("named-0", "named-1", "a-thread"):
        assert found[seen[name][1]].name == name
    (asleep, _), (green, tid) = seen["asleep"], seen["green"]
    assert f'{asleep:#x} "Thread-2 (sleep)" no LWP is in it\n' in says
    assert f'{green:#x} "Thread-3 (wait)" LWP {tid} is in it\n' in says
    stack = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+)", says.rpartition(f"{asleep:#x}")[2], re.MULTILINE)
    assert "green_switch" in stack[0]
    assert "scheduler_sleep" in stack
    assert stack[-1] == SWAPPED
    check_stacks(found, seen)


ALL = (*SCRIPT, *BACKTRACES, "-ex", "info greens", "-ex", "green")


def test_names_and_green_threads_by_the_script() -> None:
    with waiting() as (pid, seen):
        check_script(ask_gdb("-p", str(pid), *ALL), seen)


#: Two threads that compute; it says their tids.
BUSY = """
import sys, time
from runtime.scheduler import spawn

def work():
    end = time.thread_time() + 0.3
    while time.thread_time() < end:
        sum(range(1000))

both = [spawn(work, name=f"busy-{n}") for n in range(2)]
print(*(lwp.tid for lwp in both), flush=True)
for lwp in both:
    lwp.join()
"""


def test_a_profile_by_thread(tmp_path: Path) -> None:
    if not shutil.which("perf"):
        pytest.skip("perf is not installed")
    # A clock of the kernel's own: virtual machines often have no counters.
    record = ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", "500", "-o", "data"]

    def run(*command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    done = run(*record, "--", sys.executable, "-c", BUSY, environment=environment(PYTHONFAULTHANDLER=""))
    if done.returncode:
        pytest.skip(f"perf can't record here: {' '.join(done.stderr.split())[:200]}")
    names = {tid: f"busy-{n}" for n, tid in enumerate(done.stdout.split())}
    assert len(names) == 2
    samples: Counter[tuple[str, str]] = Counter()
    for line in run("perf", "script", "-i", "data", "-F", "comm,tid").stdout.splitlines():
        name, tid = line.split()
        samples[name, tid] += 1
    report = run("perf", "report", "-i", "data", "--stdio", "--sort", "comm,pid").stdout
    for tid, name in names.items():
        assert samples[name, tid] > 50, samples  # of 150
        assert re.search(rf"% +{name} +{tid}:{name}\b", report), report


def test_system_calls_by_thread(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    done = subprocess.run(
        ["strace", "-ff", "-o", str(tmp_path / "calls"), sys.executable, "-c", BUSY],
        capture_output=True,
        text=True,
        env=environment(PYTHONFAULTHANDLER=""),
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"strace can't trace here: {done.stderr.strip()[:200]}")
    made = "".join(path.read_text(errors="replace") for path in tmp_path.glob("calls.*"))
    for n, tid in enumerate(done.stdout.split()):
        assert re.search(rf"\bclone\(.*CLONE_THREAD.*CLONE_SETTLS.*\) = {tid}\b", made)
        calls = (tmp_path / f"calls.{tid}").read_text(errors="replace").splitlines()
        assert any(f'prctl(PR_SET_NAME, "busy-{n}")' in line for line in calls), calls
        assert re.fullmatch(r"exit\(0\) += \?", calls[-2]), calls[-2:]
        assert calls[-1] == "+++ exited with 0 +++"


# ---- AddressSanitizer ------------------------------------------------------------------------------------------------

TOO_FAR = """
import ctypes, runtime
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
done = []
def too_far():
    libc.memset(ctypes.c_void_p(libc.malloc(16)), 0, 17)
for function in [lambda: done.append(1)] * 100 + [lambda: print(len(done), flush=True), too_far]:
    thread = runtime.Thread(target=function)
    thread.start()
    thread.join()
"""


def test_the_address_sanitizer_sees_what_a_thread_does() -> None:
    if not (compiler := shutil.which("gcc")):
        pytest.skip("gcc is not installed")
    where = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    if not os.path.isabs(library := where.strip()):
        pytest.skip("gcc has no sanitizers")
    own = {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONFAULTHANDLER": ""}
    done = python("-c", TOO_FAR, timeout=PATIENCE, status=None, **own)
    assert done.stdout == "100\n", done.stderr
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert "WRITE of size 17" in done.stderr
    assert CLONED in done.stderr
