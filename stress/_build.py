"""C and C++ for the mixes that need it, compiled into the working directory of the mix."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ._run import LeftOut


def build(name: str, source: str, language: str = "c") -> Path:
    """A shared library from the source text, in the working directory; LeftOut if there is no compiler."""
    compiler = shutil.which("cc" if language == "c" else "c++")
    if compiler is None:
        raise LeftOut(f"no {'C' if language == 'c' else 'C++'} compiler")
    target = Path(f"{name}.so").resolve()
    command = [compiler, "-x", language, "-O2", "-fPIC", "-shared", "-pthread", "-o", str(target), "-"]
    subprocess.run(command, input=source, text=True, check=True)
    return target
