"""The rooms of the C core call downwards, those of the package import downwards."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import TREE, python

sys.path.insert(0, str(TREE / "tools"))
import layers

from lwp import core


@pytest.fixture(scope="module")
def symbols() -> dict[str, layers.Symbols]:
    return layers.symbols()


@pytest.fixture(scope="module")
def calls(symbols: dict[str, layers.Symbols]) -> layers.Calls:
    return layers.calls(symbols)


@pytest.fixture(scope="module")
def marked(symbols: dict[str, layers.Symbols]) -> set[str]:
    return {name for source in layers.CORE for name in symbols[source].exported}


def test_each_file_calls_only_files_below_it(calls: layers.Calls, marked: set[str]) -> None:
    assert len(calls) > len(layers.SOURCES)
    assert list(layers.complaints(calls, marked)) == []


def test_a_call_upwards_is_found(calls: layers.Calls, marked: set[str]) -> None:
    found = {**calls, ("kernel/base/park.c", "green/switch.c"): {"green_switch"}}
    (said,) = layers.complaints(found, marked)
    assert said == "kernel/base/park.c calls green/switch.c, which stands above it: green_switch"


def test_a_call_from_the_core_to_a_tool_is_found(calls: layers.Calls, marked: set[str]) -> None:
    found = {**calls, ("python/module.c", "lwp/native/observe/trace.c"): {"trace_open"}}
    (said,) = layers.complaints(found, marked)
    assert said == "python/module.c calls lwp/native/observe/trace.c, which stands above it: trace_open"
    assert layers.used_by_tools(found) == layers.used_by_tools(calls)


def test_what_tools_may_use_is_what_they_use(calls: layers.Calls, marked: set[str]) -> None:
    assert marked - {"runtime_debug"} - layers.WITHOUT_GIL == layers.used_by_tools(calls) - layers.WITHOUT_GIL
    assert "park_wait" in marked
    assert list(layers.complaints(calls, marked | {"park_poll"})) == ["no tool uses what API marks: park_poll"]
    pair = (layers.TOOLS[0], layers.CORE[0])
    more = {f"name_{number}" for number in range(layers.MOST_NAMES)} | calls.get(pair, set())
    (said,) = layers.complaints({**calls, pair: more}, marked)
    assert said.endswith(f"names of the core, more than {layers.MOST_NAMES}")


def _code(file: Path) -> str:
    """Without comments and texts."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', "", file.read_text(), flags=re.DOTALL)


def test_no_tool_names_what_the_core_hides() -> None:
    """Also in the lines for builds without a GIL, which this Python's compiler doesn't see."""
    declared = r"(?m)^(?!API|static|typedef|struct \w+;|#| )[\w* ]*?\b(\w+)(?:\(.*|\[.*\])?;$"
    hidden = {name for file in (TREE / "runtime/native").rglob("*.h") for name in re.findall(declared, _code(file))}
    assert {"arch_swap", "boot_start"} < hidden
    assert "park_wait" not in hidden
    for file in (TREE / "lwp/native").rglob("*.[ch]"):
        code = _code(file)
        own = set(re.findall(r"(?m)^static [\w* ]*?\b(\w+)(?: =|\(|\[|;)", code))
        assert set(re.findall(r"(?<![.>])\b[a-z]\w+\b", code)) & hidden - own == set(), file


def test_a_room_with_too_many_lines_is_found(
    calls: layers.Calls, marked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = layers.rooms()
    assert sum(room.lines for room in found) > 50_000
    assert {"kernel", "explore"} <= {room.name for room in found}
    monkeypatch.setattr(layers, "rooms", lambda: [*found, layers.Room("some", 1_001, 1_000)])
    (said,) = layers.complaints(calls, marked)
    assert said == "some has 1,001 lines, more than 1,000: pyproject.toml, [tool.rooms]"


def test_one_bare_name_too_many_is_found(
    calls: layers.Calls, marked: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(layers, "MOST_BARE_NAMES", 1)
    monkeypatch.setattr(layers, "FOLDERS", [tmp_path])
    header = tmp_path / "some.h"
    header.write_text("static inline void *look(void)\n{\n}\nstatic int look_at(void)\n{\n}\nstatic int take;\n")
    assert list(layers.complaints(calls, marked)) == []
    header.write_text("static inline void *look(void)\n{\n}\nstatic int take(int a)\n{\n}\n")
    (said,) = layers.complaints(calls, marked)
    assert said == "2 static functions have a name of one word, more than 1: some.h:look, some.h:take"


def test_no_room_below_python_knows_python() -> None:
    for folder in layers.FOLDERS:
        for path in folder.rglob("*.[ch]"):
            if path.relative_to(folder).parts[0] != "python":
                assert "#include <Python.h>" not in path.read_text(), path


def test_only_compat_asks_which_cpython_it_is_compiled_for() -> None:
    asks = re.compile("PY_VERSION_HEX|Py_GIL_DISABLED")
    files = [path for folder in layers.FOLDERS for path in folder.rglob("*.[ch]")]
    asking = {path.name for path in files if asks.search(path.read_text())}
    assert asking == {"compat.h"}


def test_the_kernel_has_as_few_lines_as_its_readme_says() -> None:
    kernel = layers.NATIVE / "kernel"
    said = re.search(r"C without Python, ([\d,]+) lines", (kernel / "README.md").read_text())
    assert said
    assert sum(len(path.read_text().splitlines()) for path in kernel.rglob("*.[ch]")) <= int(said[1].replace(",", ""))


# ---- Python: the order of the floors is in pyproject.toml ------------------------------------------------------------

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
CIRCLES = """
import graphlib, grimp
graph = grimp.build_graph("runtime", "lwp", cache_dir=None)
# `from . import _core` counts as the package's import of itself: the core is no module of Python.
imports = {module: graph.find_modules_directly_imported_by(module) - {module} for module in graph.modules}
graphlib.TopologicalSorter(imports).prepare()  # CycleError names the circle
print(len(imports), sum(map(len, imports.values())))
"""

CORE, TOOLS, DOOR = "The core's floors", "The tools' floors", "The tools know the core by their door"


def lint(tree: Path, status: int = 0) -> str:
    """In a process of its own: grimp's threads stay."""
    return python("-c", LINT, "--no-cache", "--no-logo", cwd=tree, status=status, PYTHONPATH="").stdout


def copy(tree: Path, module: str, added: str) -> Path:
    """Of the packages, with a line more in a module."""
    for package in ("lwp", "runtime"):
        shutil.copytree(TREE / package, tree / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(TREE / "pyproject.toml", tree)
    with (tree / module).open("a") as file:
        file.write(f"\n{added}\n")
    return tree


def test_each_module_imports_only_modules_below_it() -> None:
    lint(TREE)


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules, imports = map(int, python("-c", CIRCLES, cwd=TREE, PYTHONPATH="").stdout.split())
    assert modules == sum(len(list((TREE / package).rglob("*.py"))) for package in ("lwp", "runtime"))
    assert imports > modules


def test_type_checkers_are_told_the_names_of_the_door_to_the_core() -> None:
    stub = ast.parse((TREE / "lwp" / "core.pyi").read_text())
    told = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == {*core._MODULES, *core._HOMES}
    assert all(getattr(core, str(name)) is not None for name in told)


def test_a_circle_is_found(tmp_path: Path) -> None:
    """Also between a package and what is in it, which import-linter takes for one."""
    tree = copy(tmp_path, "lwp/command/run.py", "def late(): from . import main")
    said = python("-c", CIRCLES, cwd=tree, status=1, PYTHONPATH="").stderr
    assert "CycleError" in said
    assert "'lwp.command.run'" in said


@pytest.mark.parametrize(
    ("module", "added", "broken", "says"),
    [
        ("runtime/lwp.py", "def late(): from .thread import Thread", CORE, "runtime.lwp -> runtime.thread"),
        ("runtime/sync.py", "from . import scheduler", CORE, "runtime.sync -> runtime.scheduler"),
        ("runtime/__init__.py", "def late(): from lwp import observe", "The core knows no tool", "runtime -> lwp"),
        ("runtime/groups/task.py", "if TYPE_CHECKING: import lwp.chaos", "The core knows no tool", "lwp.chaos"),
        ("runtime/new.py", "", CORE, "runtime.new"),
        ("lwp/observe/waits.py", "from ..explore import replay", TOOLS, "lwp.observe.waits -> lwp.explore"),
        ("lwp/study/steps.py", "def late(): from runtime import Thread", DOOR, "lwp.study.steps -> runtime"),
        ("lwp/observe/crowds.py", "from . import waits", "No circles", "observe"),
    ],
)
def test_a_wrong_import_is_found(module: str, added: str, broken: str, says: str, tmp_path: Path) -> None:
    said = lint(copy(tmp_path, module, added), status=1)
    assert f"{broken} BROKEN" in said
    assert says in said
