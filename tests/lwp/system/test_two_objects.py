"""The core's shared object, and that of the tools, which is linked against it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from commands import python

import lwp.native
import runtime.native
from runtime.native import _core

ROOT = Path(runtime.__path__[0]).parent
MAPPED = """
import runtime
def mapped(): return ["/_core." in maps and "/_tools." in maps for maps in [open("/proc/self/maps").read()]][0]
"""


def test_a_program_that_only_makes_threads_has_no_c_of_tools() -> None:
    program = f"""{MAPPED}
import threading
runtime.install()
thread = threading.Thread(target=int); thread.start(); thread.join()
print(mapped())
runtime.scheduler.statistics()
print(mapped())
"""
    assert python("-c", program).stdout == "False\nTrue\n"


def test_the_core_takes_few_bytes_of_each_threads_static_tls() -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    with open(_core.__file__, "rb") as file:
        sizes = [part["p_memsz"] for part in elffile.ELFFile(file).iter_segments() if part["p_type"] == "PT_TLS"]
    assert len(sizes) == 1
    assert sizes[0] <= 192


def test_what_the_tools_bring_is_theirs_alone() -> None:
    core, tools = (
        {name for name, value in vars(module).items() if name[0] not in "_@" and not isinstance(value, ModuleType)}
        for module in (runtime.native, lwp.native)
    )
    assert {"LWP", "RLock"} <= core
    assert {"trace_open", "explore_begin"} <= tools
    assert core & tools <= {"attach"}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with both packages."""
    for name in ("runtime", "lwp"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.c", "__pycache__"))
    shutil.copy(ROOT / "lwp_runtime.py", tmp_path)
    return tmp_path


ASK = """
import sys
sys.path.insert(0, sys.argv[1])
import runtime.native
assert runtime.__path__[0].startswith(sys.argv[1])
thread = runtime.Thread(target=int); thread.start(); thread.join()
import lwp.native
"""


def test_objects_of_one_build_work_wherever_they_lie(copied: Path) -> None:
    python("-c", ASK, copied)


def test_objects_of_two_builds_are_refused_in_a_sentence(copied: Path) -> None:
    """The core works on, and importing the tools' C says what is wrong."""
    core = copied / "runtime" / "native" / Path(_core.__file__).name
    contents = core.read_bytes()
    (number,) = set(re.findall(rb"\0([0-9a-f]{16})\0", contents))
    core.write_bytes(contents.replace(number, b"0" * 16))
    said = python("-c", ASK, copied, status=1).stderr.splitlines()[-1]
    assert said.startswith(f"ImportError: the tools' C has not been built with this core, {core}: `")
    assert said.endswith(f"builds both (the core has the build number {'0' * 16}, and the tools {number.decode()})")


def test_an_older_core_that_lacks_what_the_tools_use(copied: Path) -> None:
    core = copied / "runtime" / "native" / Path(_core.__file__).name
    core.write_bytes(core.read_bytes().replace(b"\0scheduler_attach\0", b"\0scheduler_attack\0"))
    said = python("-c", ASK, copied, status=1).stderr.splitlines()[-1]
    assert said.startswith(f"ImportError: the tools' C has not been built with this core, {core}: `")
    assert "undefined symbol: scheduler_attach" in said
