"""Finds the known races of older releases in found/known again: `python found/known_races.py [NAME ...]`.

The second line of each file names a CPython, and either the release that has the race and what that release needs, or
modules of Python to include.  Files for other CPythons than the one that runs this are passed by.  The release counts
as the program's own code, and its needs as installed packages.  Status 1: a race was not found.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = ["--seconds", "20", "--runs", "1000000", "--seed", "2"]


def explore(test: Path, *words: str) -> str:
    """Its line FOUND and its token, or what the report begins with."""
    given, packages = (words, ()) if words[:1] == ("--include",) else ((), words)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/release", f"{folder}/site-packages"]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target"]
        if packages:
            subprocess.run([*pip, paths[0], "--no-deps", packages[0]], check=True, stderr=subprocess.DEVNULL)
        if packages[1:]:
            subprocess.run([*pip, paths[1], *packages[1:]], check=True, stderr=subprocess.DEVNULL)
        done = subprocess.run(
            [sys.executable, "-m", "runtime", "explore", *OPTIONS, *given, f"{test}::test"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    found = [line for line in done.stdout.splitlines() if line.startswith(("FOUND", "Token"))]
    return " ".join(found) or (done.stdout + done.stderr).splitlines()[0]


def main() -> int:
    status, wanted = 0, sys.argv[1:]
    for test in sorted((ROOT / "found" / "known").glob("test_*.py")):
        about, needs = test.read_text().splitlines()[:2]
        _, version, *words = needs.split()
        if version != platform.python_version() or (wanted and test.stem.removeprefix("test_") not in wanted):
            continue
        told = explore(test, *words)
        status |= not told.startswith("FOUND")
        print(about.strip('"'), told, sep="\n    ", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
