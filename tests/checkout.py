"""bench/ and stress/, which a checkout has beside the package that is tested: importing this makes them importable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from commands import python, python_path
from this_machine import TREE

sys.path.append(str(TREE))  # last: the package may be another one, that is installed


def environment(site: Path | None = None) -> dict[str, str]:
    """Where a command finds them.  site: a folder whose sitecustomize.py each Python begins with."""
    path = os.pathsep.join(filter(None, [str(site or ""), python_path(TREE)]))
    return {"COLUMNS": "200", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": path}


def bench(
    *args: str, site: Path | None = None, status: int | None = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """If it succeeds it says nothing on standard error."""
    done = python("-m", "bench", *args, status=status, timeout=100, **environment(site), **variables)
    assert status != 0 or done.stderr == "", done.stderr
    return done


def with_site(folder: Path, code: str, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """`bench` where each Python begins with that code."""
    (folder / "sitecustomize.py").write_text(code)
    return bench(*args, site=folder, status=status)


def hiding(*modules: str) -> str:
    """Code with which no package with one of these modules is installed."""
    return (
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name in {modules} else find(name, *rest)\n"
    )
