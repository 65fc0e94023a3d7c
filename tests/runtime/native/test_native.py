"""The C core without Python: under the sanitizers, under valgrind, and read by cppcheck.

tests/runtime/native/core.c has the programs: each makes threads and ends with nothing left.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from native_programs import FLAGS, LEAKS, MEMCHECK, NATIVE, SANITIZED, build, check_by_cppcheck, check_well, run
from shared_by_workers import made_once

from runtime.native.build import SOURCES

HERE = Path(__file__).parent
PROGRAMS = [
    *("threads", "crowd", "refused", "forks", "processes", "lock", "queue", "signals"),
    *("condition", "timers", "greens", "slot"),
]


def test_the_kernel_alone_makes_joins_and_locks(tmp_path: Path) -> None:
    """Linked with kernel/ only: no green thread, no queue, no reader of events."""
    kernel = [str(NATIVE / source) for source in SOURCES if source.startswith("kernel/")]
    program = tmp_path / "kernel"
    command = ["cc", *FLAGS, "-O2", f"-I{NATIVE}", "-o", str(program), str(HERE / "kernel.c"), *kernel]
    assert run(*command).stderr == ""
    done = run(str(program))
    check_well(done)
    assert done.stdout.splitlines()[1:] == [
        "8 threads are made",
        "they have ended; each has added 100000, one at a time: 800000",
        "this thread's own word is 1 still",
    ]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "sanitized", lambda folder: build(folder / "core", *SANITIZED)) / "core"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "plain", lambda folder: build(folder / "core", "-O2")) / "core"


# ---- sanitizers ------------------------------------------------------------------------------------------------------

#: Neither follows a thread pointer that changes.
NOT_WITH_TOOLS = {"greens"}


@pytest.mark.parametrize("program", sorted(set(PROGRAMS) - NOT_WITH_TOOLS))
def test_the_sanitizers_find_nothing(program: str, sanitized: Path) -> None:
    done = run(str(sanitized), program, "1", **LEAKS)
    check_well(done)


@pytest.mark.parametrize(
    ("program", "says"), [("damage", "overflow|insufficient space"), ("undefined", "shift exponent")]
)
def test_the_sanitizers_see_our_threads(program: str, says: str, sanitized: Path) -> None:
    done = run(str(sanitized), program, "1", **LEAKS)
    assert done.returncode != 0
    assert re.search(says, done.stderr)  # GCC's UBSan, from 16 on, is quicker than ASan to see the damage


def follow(folder: Path, *options: str) -> dict[str, str]:
    """What ThreadSanitizer says of the programs of sync.  It crashes in threads that pthread_create has not made: these
    run on pthreads."""
    core = build(folder / "followed", "-O1", "-fno-omit-frame-pointer", *options, "-fsanitize=thread")
    end_at_first = {"TSAN_OPTIONS": "halt_on_error=1"}  # of thousands
    says = {program: run(str(core), program, "1", **end_at_first).stderr for program in ("lock", "queue", "condition")}
    if "unexpected memory mapping" in says["lock"]:
        pytest.skip("this compiler's thread sanitizer can't run where the kernel puts programs at so many places")
    return says


@pytest.mark.slow
def test_the_thread_sanitizer_finds_nothing(tmp_path: Path) -> None:
    assert set(follow(tmp_path).values()) == {""}


@pytest.mark.slow
@pytest.mark.parametrize("order", ["ACQUIRE", "RELEASE"])
def test_the_thread_sanitizer_finds_weaker_orders(order: str, tmp_path: Path) -> None:
    """All of one kind are relaxed."""
    says = follow(tmp_path, f"-U__ATOMIC_{order}", f"-D__ATOMIC_{order}=__ATOMIC_RELAXED")
    assert ["data race" in found for found in says.values()] == [True] * 3


# ---- valgrind --------------------------------------------------------------------------------------------------------

#: It knows no other clone(2) than a thread's: "Unsupported clone() flags".
NOT_UNDER_VALGRIND = {"refused", "processes"}


@pytest.fixture(scope="module")
def checked(plain: Path) -> Path:
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    return plain


@pytest.mark.parametrize("program", sorted(set(PROGRAMS) - NOT_UNDER_VALGRIND - NOT_WITH_TOOLS))
def test_memcheck_finds_nothing(program: str, checked: Path) -> None:
    done = run(*MEMCHECK, str(checked), program, "20")
    check_well(done)


def test_memcheck_sees_our_threads(checked: Path) -> None:
    done = run(*MEMCHECK, str(checked), "damage", "1")
    assert done.returncode == 9
    assert "Invalid write of size 1" in done.stderr
    assert "write_behind" in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_tools(program: str, plain: Path) -> None:
    done = run(str(plain), program, "1")
    check_well(done)


@pytest.mark.parametrize(("linker", "says"), [("lazy", "writable"), ("relro,-z,now", "read-only")])
def test_a_call_is_replaced_where_the_linker_binds_it(linker: str, says: str, tmp_path: Path) -> None:
    done = run(str(build(tmp_path / "core", f"-Wl,-z,{linker}")), "slot", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, says + "\n", "")


# ---- cppcheck --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cppcheck_finds_nothing() -> None:
    check_by_cppcheck(NATIVE)


# ---- the switch from one context to another --------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_switch_keeps_what_a_function_preserves(machine: str, tmp_path: Path) -> None:
    """Each processor's, the other one's by a cross compiler and qemu where they are installed."""
    program, here = str(tmp_path / "swap"), os.uname().machine == machine
    compiler = "cc" if here else f"{machine}-linux-gnu-gcc"
    emulator = [] if here else [f"qemu-{machine}"]
    if not all(map(shutil.which, [compiler, *emulator])):
        pytest.skip(f"{' or '.join([compiler, *emulator])} is not installed")
    sources = [str(HERE / "swap.c"), *map(str, sorted((NATIVE / "kernel" / "arch").glob("*.c")))]
    command = [compiler, *FLAGS, "-O2", *([] if here else ["-static"]), f"-I{NATIVE}", "-o", program, *sources, "-lm"]
    subprocess.run(command, check=True, timeout=100)
    done = run(*emulator, program)
    check_well(done)
    assert done.stdout == "right\n" or done.stdout.startswith("refused: ")
