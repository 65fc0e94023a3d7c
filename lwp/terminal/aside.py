"""Commands of lwp that a program under `run` has another process do.

There it doesn't matter what the program has made of its own process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def run_aside(command: str, *arguments: str | Path) -> int:
    """Has `lwp COMMAND` done; its exit status."""
    import subprocess

    from ..core import children

    environment = {name: os.environ[name] for name in os.environ if name != children.CHILDREN}
    environment["PYTHONPATH"] = children.python_path()
    whole = [sys.executable, "-P", "-m", "runtime", command, *map(str, arguments)]
    return subprocess.run(whole, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
