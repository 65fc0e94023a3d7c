"""gdb, core files, perf and strace: each thread is there with its name, and its stack ends where it began.

No register is named and no system call's number, so that it says the same on every processor.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import environment, python
from debugged import BACKTRACES, CLONED, PATIENCE, ask_gdb, check_stacks, threads, waiting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    own = environment(PYTHONFAULTHANDLER="")
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=PATIENCE, check=False)


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


def test_a_core_of_a_process_that_goes_on(tmp_path: Path) -> None:
    core = tmp_path / "core"
    with waiting() as (pid, seen):
        said = ask_gdb("-p", str(pid), "-ex", f"generate-core-file {core}")
        assert Path(f"/proc/{pid}").exists()
    # https://gnu.googlesource.com/binutils-gdb c1da0139: from 18 on it leaves out the page that can't be read.
    version = re.search(r"\b(\d+)\.\d+", run("gdb", "--version").stdout)
    if int(version[1]) < 18 and (lost := re.search(r"Memory read failed for corefile section, \d{6,} bytes", said)):
        pytest.skip(f"this gdb, {version[0]}, leaves out a mapping from its first guard region on: {lost[0]}")
    check_stacks(threads(ask_gdb(*BACKTRACES, sys.executable, str(core))), seen)


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
    data = str(tmp_path / "data")
    # A clock of the kernel's own: virtual machines often have no counters.
    record = ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", "500", "-o", data]
    done = run(*record, "--", sys.executable, "-c", BUSY)
    if done.returncode:
        pytest.skip(f"perf can't record here: {' '.join(done.stderr.split())[:200]}")
    names = {tid: f"busy-{n}" for n, tid in enumerate(done.stdout.split())}
    assert len(names) == 2
    samples: Counter[tuple[str, str]] = Counter()
    for line in run("perf", "script", "-i", data, "-F", "comm,tid").stdout.splitlines():
        name, tid = line.split()
        samples[name, tid] += 1
    report = run("perf", "report", "-i", data, "--stdio", "--sort", "comm,pid").stdout
    for tid, name in names.items():
        assert samples[name, tid] > 50, samples  # of 150
        assert re.search(rf"% +{name} +{tid}:{name}\b", report), report


def test_system_calls_by_thread(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    done = run("strace", "-ff", "-o", str(tmp_path / "calls"), sys.executable, "-c", BUSY)
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
    if not os.path.isabs(library := run(compiler, "-print-file-name=libasan.so").stdout.strip()):
        pytest.skip("gcc has no sanitizers")
    own = {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONFAULTHANDLER": ""}
    done = python("-c", TOO_FAR, timeout=PATIENCE, status=None, **own)
    assert done.stdout == "100\n", done.stderr
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert "WRITE of size 17" in done.stderr
    assert CLONED in done.stderr
