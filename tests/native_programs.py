"""The C below Python with the programs of core.c, compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from this_machine import TREE

from runtime.native.build import OPTIONS, SOURCES

NATIVE = TREE / "runtime" / "native"
CORE_C = TREE / "tests" / "runtime" / "native" / "core.c"
FLAGS = [*(option for option in OPTIONS if option != "-O2"), "-g", "-D_GNU_SOURCE", "-Werror"]
SANITIZED = ("-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-fsanitize=address,undefined")
# No leaks: blocks that only a context refers to would count as such, the sanitizer doesn't look into our mappings.
LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}
MEMCHECK = ("valgrind", "--quiet", "--error-exitcode=9", "--fair-sched=yes")


def build(target: Path, *options: str, source: Path = CORE_C, beside: Sequence[Path] = ()) -> Path:
    """beside: more files of C, from folders of their own."""
    sources = [source, *(NATIVE / name for name in SOURCES if not name.startswith("python")), *beside]
    command = ["cc", *FLAGS, *options, f"-I{NATIVE}", f"-I{CORE_C.parent}", "-o", str(target), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    if "cannot find" in done.stderr and options[-1].startswith("-fsanitize"):
        pytest.skip("this compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return target


def leave_unoptimised(tree: Path) -> None:
    """Has that tree's setup.py compile in half the time."""
    options = tree / "runtime" / "native" / "build.py"
    options.write_text(options.read_text().replace('"-O2"', '"-O0"'))


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env={**os.environ, **variables}, check=False
    )


def check_well(done: subprocess.CompletedProcess[str]) -> None:
    """It has ended well, and nobody complained; if one did, the test shows the whole."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def check_by_cppcheck(*folders: Path) -> None:
    """All C of the last folder, which includes headers of all of them."""
    if not shutil.which("cppcheck"):
        pytest.skip("cppcheck is not installed")
    for version in ("0x030b0000", "0x030d0000"):
        command = [
            *("cppcheck", "--quiet", "--std=c11", "--enable=warning,portability,performance", "--inline-suppr"),
            # Without Python.h, whose macros it knows from its own library.
            *(
                "--library=posix,gnu,python",
                "-DPyAPI_FUNC(type)=type",
                "-DElfW(type)=Elf64_##type",
                "-DENTRIES(of)=",
                '-DCORE_BUILD=""',
                f"-DPY_VERSION_HEX={version}",
            ),
            # It can't read aarch64.c: register variables in assembly are "syntax errors".
            *("-D__x86_64__=1", "-D__LP64__=1", "--suppress=normalCheckLevelMaxBranches"),
            *(f"-I{folder}" for folder in folders),
            *map(str, sorted(folders[-1].rglob("*.c"))),
        ]
        done = run(*command)
        assert done.stdout + done.stderr == ""
