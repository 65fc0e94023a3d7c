"""What fails is told and leaves nothing: each call of the core made to fail in turn, and what the kernel does to us.

`pytest tests/test_faults.py -rP` shows how many faults each test has injected.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import NativeHelper

NATIVE = Path(__file__).parent / "native"
INJECTION = Path(__file__).parent / "fault_injection.py"

# ---- injected -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faulty:
    """The runtime, with faults.c linked into its core."""

    root: Path
    libraries: Sequence[str]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-X", "faulthandler", *command],
            env={**os.environ, "PYTHONPATH": str(self.root), **variables},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def inject(self, name: str, number: int, *options: str) -> list[dict[str, Any]]:
        """A list of what came of each fault; the test fails if anything was wrong."""
        libraries = [word for path in self.libraries for word in ("--library", path)]
        done = self.run(str(INJECTION), name, str(number), *options, *libraries)
        assert done.returncode == 0, done.stderr[-4000:]
        found = json.loads(done.stdout)
        if found["faultless"]:
            assert (found["faultless"]["wrong"], found["faultless"]["raised"]) == ([], [])
        wrong = {f"fault {at}": fault["wrong"] for at, fault in enumerate(found["faults"]) if fault["wrong"]}
        assert not wrong, f"{wrong}\n{done.stderr[-4000:]}"
        print(f"faults injected: {len(found['faults'])}")
        return list(found["faults"])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, native_helper: NativeHelper) -> Faulty:
    root = tmp_path_factory.mktemp("faulty")
    sources = Path(__file__).resolve().parent.parent / "runtime"
    shutil.copytree(sources, root / "runtime", ignore=shutil.ignore_patterns("*.so", "*.o", "__pycache__"))
    made = root / "faults.o"
    options = ["-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(["cc", *options, "-D_GNU_SOURCE", "-c", str(NATIVE / "faults.c"), "-o", str(made)], check=True)
    symbols = subprocess.run(["nm", str(made)], check=True, capture_output=True, text=True).stdout.split()
    wrap = [f"-Wl,--wrap={name.removeprefix('__wrap_')}" for name in symbols if name.startswith("__wrap_")]
    built = subprocess.run(
        [sys.executable, str(root / "runtime" / "native" / "build.py")],
        env={**os.environ, "LDFLAGS": " ".join([str(made), *wrap])},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    return Faulty(root, native_helper.copies(native_helper.dynamic, 20))


# Which call fails, with what errno, and how often the cycle of fault_injection.py makes it at least.
RAISED = [
    ("mmap", errno.ENOMEM, 2),
    ("mmap", errno.EAGAIN, 2),  # RLIMIT_MEMLOCK after mlockall(MCL_FUTURE)
    ("malloc", errno.ENOMEM, 0),
    ("calloc", errno.ENOMEM, 10),
    ("realloc", errno.ENOMEM, 1),
    ("PyThreadState_New", errno.ENOMEM, 7),
    ("PyMem_RawMalloc", errno.ENOMEM, 7),
    ("clone", errno.EAGAIN, 7),
    ("clone", errno.ENOMEM, 7),
    ("clone", errno.EPERM, 7),
    ("clone", errno.ENOSYS, 7),
    ("fork", errno.EAGAIN, 1),
    ("fork", errno.ENOMEM, 1),
    ("clone_copy", errno.EAGAIN, 1),
    ("clone_copy", errno.EPERM, 1),
    ("pidfd_open", errno.EMFILE, 2),
    ("pidfd_open", errno.ENFILE, 2),
    ("pidfd_open", errno.ENOSYS, 2),
    ("ppoll", errno.ENOMEM, 2),
]
ABSORBED = [
    ("madvise", errno.EINVAL, 4),  # the guard by mprotect instead, as before Linux 6.13
    ("madvise", errno.ENOMEM, 4),
    ("madvise", errno.EAGAIN, 4),
    ("mincore", errno.EAGAIN, 1),
    ("prctl", errno.EINVAL, 3),
    ("prctl", errno.EPERM, 3),
    ("set_robust_list", errno.ENOSYS, 7),
    ("rseq", errno.ENOSYS, 1),
    ("rseq", errno.EPERM, 1),
    ("waitpid", errno.EINTR, 2),
    ("ppoll", errno.EINTR, 2),
    ("futex_wait", errno.EINTR, 7),
    ("futex_wait", errno.EAGAIN, 7),
    ("futex_wait", errno.ENOMEM, 7),
    ("futex_wait", errno.ENOSYS, 7),
    ("futex_requeue", errno.EAGAIN, 1),
    ("futex_requeue", errno.ENOMEM, 1),
    ("futex_requeue", errno.ENOSYS, 1),
]


def _label(value: object) -> str:
    return errno.errorcode[value] if isinstance(value, int) else str(value)


def _labels(rows: list[tuple[str, int, int]]) -> list[str]:
    return [f"{name}-{_label(number)}" for name, number, _ in rows]


@pytest.mark.parametrize(("name", "number", "least"), RAISED, ids=_labels(RAISED))
def test_what_fails_is_raised_and_leaves_nothing(name: str, number: int, least: int, faulty: Faulty) -> None:
    """Each fault: one error, which names the kernel's reason; then nothing more is held than before, and all works."""
    faults = faulty.inject(name, number)
    assert len(faults) >= least
    for fault in faults:
        ((*_, cause),) = fault["raised"]
        assert f"[Errno {number}] {os.strerror(number)}" in cause
        if name not in ("pidfd_open", "ppoll"):  # which are a join's
            assert fault["raised"][0][0] == "RuntimeError: can't start new thread"


@pytest.mark.parametrize(("name", "number", "least"), ABSORBED, ids=_labels(ABSORBED))
def test_what_can_be_done_without_is(name: str, number: int, least: int, faulty: Faulty) -> None:
    """Each fault: nothing is raised, everything has worked, and nothing is left."""
    faults = faulty.inject(name, number)
    assert len(faults) >= least
    assert [fault["raised"] for fault in faults] == [[]] * len(faults)


def test_a_guard_that_cannot_be_made_leaves_no_mapping(faulty: Faulty) -> None:
    faults = faulty.inject("mprotect", errno.ENOMEM, "--refused", "madvise", str(errno.EINVAL), "1")
    assert len(faults) == 2  # a kernel that knows no guard regions is not asked again
    for fault in faults:
        assert fault["raised"][0][0] == "RuntimeError: can't start new thread"


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN], ids=_label)
def test_a_guard_region_refused_for_lack_of_memory_is_asked_for_again(number: int, faulty: Faulty) -> None:
    assert len(faulty.inject("mprotect", errno.ENOMEM, "--refused", "madvise", str(number), "1")) == 1


def test_without_any_sleep_all_waits_end(faulty: Faulty) -> None:
    """Every futex wait is refused: locks still exclude, joins still wait for the end, timeouts still come."""
    refused = ("--refused", "futex_wait", str(errno.ENOSYS), str(1 << 40))
    (fault,) = faulty.inject("realloc", errno.ENOMEM, *refused)
    assert len(fault["raised"]) == 1


def test_memory_that_the_interpreter_does_not_get(faulty: Faulty) -> None:
    pytest.importorskip("_testcapi")
    faults = faulty.inject("python", errno.ENOMEM)
    raised = [error for fault in faults for error in fault["raised"]]
    assert len(raised) >= 5
    assert {error[0].partition(":")[0] for error in raised} <= {"MemoryError", "RuntimeError"}


@pytest.mark.parametrize(
    ("name", "number"),
    [("mmap", errno.ENOMEM), ("malloc", errno.ENOMEM), ("calloc", errno.ENOMEM), ("pthread_create", errno.EAGAIN)],
    ids=_label,
)
def test_an_import_that_fails_says_why(name: str, number: int, faulty: Faulty) -> None:
    """The first, second ... call that the import makes, until there is none."""
    program = """
import os
tasks = os.listdir("/proc/self/task")
try:
    import runtime.native
    print("imported")
except ImportError as error:
    print(error)
assert os.listdir("/proc/self/task") == tasks
"""
    count = 0
    while True:
        done = faulty.run("-P", "-c", program, RUNTIME_FAULT=f"{name} {count} {number}")
        assert done.returncode == 0, done.stderr
        if done.stdout == "imported\n":
            break
        assert done.stdout.startswith("runtime can't work with this C library: glibc "), done.stdout
        assert ("memory" in done.stdout) or os.strerror(number) in done.stdout
        count += 1
    assert count >= 1
    print(f"faults injected: {count}")
