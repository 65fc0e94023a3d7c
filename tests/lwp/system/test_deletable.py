"""A room is deleted by `git rm` of its folders and of the lines that name it in the lists, and the rest is green.

Rooms are deleted several at a time: each is in two of five sets, no two rooms in the same two.  So for any two rooms
there is a set with the one and without the other, where what the other needs of it is missing.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import TREE, python
from native_programs import leave_unoptimised

PACKAGES = ("lwp", "runtime")

#: What lists rooms and their files, a line for each; if it opens a bracket, the lines to its end are part of it.
LISTS = (
    "pyproject.toml",
    "runtime/__init__.py",
    "runtime/native/build.py",
    "runtime/patch/installation.py",
    "runtime/tools.pyi",
    "lwp/command/__init__.py",
    "lwp/command/run.py",
    "lwp/core.py",
    "lwp/core.pyi",
    "lwp/native/build.py",
)


class Room(NamedTuple):
    folders: tuple[str, ...]  #: and files
    named: str  #: in the lists, as a regular expression
    smoke: tuple[str, ...] = ()  #: tests of its own, which need no other room


def tool(name: str, *smoke: str) -> Room:
    folders = ("lwp", "lwp/native", "lwp/native/python", "tests/lwp")
    named = rf'\blwp[./]{name}\b|\.\.{name}\b|"(python/)?{name}/|"lwp/native/(python/)?{name}/|"{name}"'
    return Room(tuple(f"{folder}/{name}" for folder in folders), named, tuple(f"lwp/{name}/{test}" for test in smoke))


ROOMS = {
    "bench": tool("bench", "test_bench.py::test_list"),
    "chaos": tool("chaos", "test_chaos.py::test_a_race_shows_itself_and_the_thread_that_was_held_is_told"),
    "explore": tool("explore", "test_explore.py::test_a_deadlock", "test_explore.py::test_daemon_threads_may_be_left"),
    "observe": tool(
        "observe",
        "test_lost_locks.py::test_a_lock_that_is_released_and_taken_again_has_its_new_holder",
        "test_statistics.py::test_the_most_at_once_are_counted",
    ),
    "study": tool("study", "test_tls.py::test_an_lwp_is_taken_too", "test_tls.py::test_the_variables_of_one_module"),
    "groups": Room(
        ("runtime/groups", "runtime/aio.py", "runtime/pool.py", "runtime/queue.py", "runtime/native/python/groups"),
        r'^groups = |\.groups\b|"(aio|pool|queue)"|from (\.|runtime) import (aio|pool|queue)\b|#: for wait\(\)|'
        r'"python/groups/',
    ),
    "green I/O": Room(
        ("runtime/native/python/green/io", "runtime/patch/blocking", "runtime/patch/streams.py"),
        r'"\.blocking"|"python/green/io/',
    ),
    "foreign": Room(
        tuple(f"runtime/native/{file}" for file in ("green/foreign.c", "green/foreign.h", "python/green/foreign.c")),
        r'"(python/)?green/foreign\.c"',
    ),
}
_TWO = dict(zip(ROOMS, combinations(range(5), 2), strict=False))
SETS = [[name for name, two in _TWO.items() if number in two] for number in range(5)]
#: Tests of the ground that no room is.
SMOKE = (
    "runtime/core/test_local.py",
    "runtime/sync/test_derived_primitives.py",
    "runtime/green/test_lwp_state.py",
    "lwp/command/test_cli.py::test_version",
)


def copied(tree: Path) -> Path:
    """All files of the tree without what commands leave there, also where git is not, as in an unpacked sdist.  The
    shared objects are built again only if something has changed."""
    left = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "wheels", "*.o", "*.egg-info")
    return Path(shutil.copytree(TREE, tree / "copy", ignore=left))


def delete(tree: Path, room: Room) -> None:
    for folder in room.folders:
        shutil.rmtree(tree / folder) if (tree / folder).is_dir() else (tree / folder).unlink(missing_ok=True)
    for name in LISTS:
        kept, inside = "", None
        for line in (tree / name).read_text().splitlines(keepends=True):
            indent = line[: len(line) - len(line.lstrip())]
            if inside is not None:
                inside = None if indent == inside else inside
            elif re.search(room.named, line):
                inside = indent if line.rstrip().endswith(("(", "[", "{")) else None
            else:
                kept += line
        (tree / name).write_text(kept)


def modules(tree: Path) -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((tree / package).rglob("*.py")):
            parts = path.relative_to(tree).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def dangling(tree: Path) -> list[str]:
    """Imports, also inside of functions, and modules for load(), that are not there: where, and which."""
    known = dict(modules(tree))
    found = []
    for name, path in known.items():
        inside = (name if path.name == "__init__.py" else name.rpartition(".")[0]).split(".")
        for node in ast.walk(ast.parse(path.read_text())):
            wanted: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.level:
                home = ".".join([*inside[: len(inside) + 1 - node.level], *filter(None, [node.module])])
                if home not in known or known[home].name != "__init__.py":
                    wanted = [home]
                elif not (known[home].parent / "__init__.pyi").exists():  # as that of native, where names are of C
                    own = known[home].read_text()
                    wanted = [f"{home}.{alias.name}" for alias in node.names if alias.name not in own]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("load"):
                wanted = [
                    arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                ]
            missing = [one for one in wanted if one.partition(".")[0] in PACKAGES and one not in known]
            found += [f"{name}:{node.lineno}: {one}" for one in missing if not one.endswith(("._core", "._tools"))]
    return found


IMPORTS = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] in ("lwp", "runtime"):  # not of another package, as gdb's or dask's
            raise
"""
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def run_in(tree: Path, *args: str) -> str:
    return python(*args, cwd=tree, PYTHONPATH=str(tree), timeout=600).stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("deleted", SETS, ids=" and ".join)
def test_the_rest_is_green(deleted: list[str], tmp_path: Path) -> None:
    tree = copied(tmp_path)
    for name in deleted:
        delete(tree, ROOMS[name])
    assert dangling(tree) == []
    run_in(tree, "-c", LINT, "--no-cache", "--no-logo")
    leave_unoptimised(tree)
    run_in(tree, "setup.py", "-q", "build_ext", "--inplace")
    run_in(tree, "-c", IMPORTS, *(module for module, _ in modules(tree) if not module.endswith("__main__")))
    said = python("tools/layers.py", cwd=tree, status=None, timeout=600).stdout
    complaints = re.split(r"^\w+ +[\d,]+ lines of ", said, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    assert [line for line in complaints if not line.startswith("no tool uses what API marks")] == []
    others = [test for other, room in ROOMS.items() if other not in deleted for test in room.smoke]
    run_in(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in (*SMOKE, *others)))


def test_a_dangling_import_is_found(tmp_path: Path) -> None:
    tree = copied(tmp_path)
    assert dangling(tree) == []
    delete(tree, ROOMS["explore"])
    with (tree / "lwp" / "command" / "doctor.py").open("a") as file:
        file.write("\n\ndef late() -> None:\n    from ..explore import replay\n")
    assert [one.partition(": ")[2] for one in dangling(tree)] == ["lwp.explore"]
