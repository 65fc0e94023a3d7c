"""`bench/`, which a checkout has beside the package that is tested: importing this makes it importable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from this_machine import TREE

sys.path.append(str(TREE))  # last: the package may be another one, that is installed


def run(*command: str, site: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command that finds bench/.  site: a folder whose sitecustomize.py each Python begins with."""
    path = os.pathsep.join(filter(None, [str(site or ""), *sys.path]))
    environment = {**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": path, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def bench(*args: str, site: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "bench", *args, site=site, **variables)
