"""The runtime with a core whose calls can be made to fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import python
from native_helper import NativeHelper
from native_programs import leave_unoptimised
from shared_by_workers import made_once
from this_machine import TREE

#: What the core makes a PyThreadState with.
NEW_THREAD_STATE = "PyThreadState_New" if sys.version_info >= (3, 12) else "_PyThreadState_Prealloc"
HERE = TREE / "tests" / "runtime" / "native"
INJECTION = HERE / "fault_injection.py"


@dataclass(frozen=True)
class Faulty:
    """The runtime, with faults.c linked into its core."""

    root: Path
    libraries: Sequence[str]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"PYTHONPATH": str(self.root), "PYTHONFAULTHANDLER": ""}
        return python(*command, timeout=100, **{**own, **variables})

    def inject(self, name: str, number: int, *options: str, **variables: str) -> list[dict[str, Any]]:
        """A list of what came of each fault; the test fails if anything was wrong."""
        libraries = [word for path in self.libraries for word in ("--library", path)]
        done = self.run(str(INJECTION), name, str(number), *options, *libraries, **variables)
        found = json.loads(done.stdout)
        if found["faultless"]:
            assert (found["faultless"]["wrong"], found["faultless"]["raised"]) == ([], [])
        wrong = {f"fault {at}": fault["wrong"] for at, fault in enumerate(found["faults"]) if fault["wrong"]}
        assert not wrong, f"{wrong}\n{done.stderr[-4000:]}"
        print(f"faults injected: {len(found['faults'])}")
        return list(found["faults"])


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory, native_helper: NativeHelper) -> Faulty:
    root = made_once(tmp_path_factory, "faulty", build)
    return Faulty(root, native_helper.copies(native_helper.dynamic, 20))


def build(root: Path) -> None:
    """The core with faults.c in it; then the tools, if they are here, whose calls go to the core's faults.c too."""
    made = root / "faults.o"
    options = ["-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-fPIC"]
    defined = ["-D_GNU_SOURCE", f"-DNEW_THREAD_STATE={NEW_THREAD_STATE}"]
    subprocess.run(["cc", *options, *defined, "-c", str(HERE / "faults.c"), "-o", str(made)], check=True)
    symbols = subprocess.run(["nm", str(made)], check=True, capture_output=True, text=True).stdout.split()
    wrap = [f"-Wl,--wrap={name.removeprefix('__wrap_')}" for name in symbols if name.startswith("__wrap_")]
    for name in ("setup.py", "lwp_runtime.py"):
        shutil.copy(TREE / name, root)
    for name, linked in ("runtime", [str(made), *wrap]), ("lwp", wrap):
        if (TREE / name / "native").is_dir():
            shutil.copytree(TREE / name, root / name, ignore=shutil.ignore_patterns("*.so", "*.o", "__pycache__"))
            if name == "runtime":
                leave_unoptimised(root)
            command = ("setup.py", "-q", "build_ext", "--inplace")
            python(*command, cwd=root, timeout=110, PYTHONPATH="", LDFLAGS=" ".join(linked))
