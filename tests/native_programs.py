"""The C below Python with the programs of core.c, compiled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from this_machine import TREE

from runtime.native.build import CORE, OPTIONS

NATIVE = TREE / "runtime" / "native"
CORE_C = TREE / "tests" / "runtime" / "native" / "core.c"
FLAGS = [*(option for option in OPTIONS if option != "-O2"), "-g", "-D_GNU_SOURCE", "-Werror"]
SANITIZED = ("-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-fsanitize=address,undefined")
# No leaks: blocks that only a context refers to would count as such, the sanitizer doesn't look into our mappings.
LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}
MEMCHECK = ("valgrind", "--quiet", "--error-exitcode=9", "--fair-sched=yes")


def build(target: Path, *options: str, source: Path = CORE_C, beside: Sequence[str] = ()) -> Path:
    """beside: more of the sources."""
    sources = [source, *(NATIVE / name for name in [*CORE, *beside] if not name.startswith("python"))]
    folders = [f"-I{NATIVE}", f"-I{CORE_C.parent}"]
    command = ["cc", *FLAGS, *options, *folders, "-o", str(target), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    if "cannot find" in done.stderr and options[-1].startswith("-fsanitize"):
        pytest.skip("this compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return target


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env={**os.environ, **variables}, check=False
    )


def check_well(done: subprocess.CompletedProcess[str]) -> None:
    """It has ended well, and nobody complained; if one did, the test shows the whole."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
