"""The load of `bench io`: a program in C, so that no Python takes the processor; compiled when first asked for."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lwp.bench.measure import PATIENCE, Failed

SOURCE = Path(__file__).with_suffix(".c")


@cache
def compiled() -> TemporaryDirectory[str]:
    """A folder with the program `load`, until this program ends.  Failed: it can't be compiled."""
    folder = TemporaryDirectory(prefix="lwp-load-")
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-O2", "-Wall", "-Wextra", str(SOURCE)]
    try:
        subprocess.run([*command, "-o", f"{folder.name}/load"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"the load is written in C, and can't be compiled: {error}") from None
    return folder


def run(
    port: int, server: int, http: bool, connections: int, idle: int, seconds: float, patience: float = 30
) -> dict[str, Any]:
    """What load.c finds, which says what is what, in a process of its own.  Failed: a wrong answer, or none."""
    asked = map(str, (port, server, int(http), connections, idle, seconds, patience))
    command = [f"{compiled().name}/load", *asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE + int(seconds))
    except subprocess.TimeoutExpired:
        raise Failed(f"the load: a round did not end within {PATIENCE} s") from None
    if done.returncode:
        raise Failed(done.stderr.strip() or f"the load: exit status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
