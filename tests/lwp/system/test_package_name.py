"""The packages under whatever names they are loaded: a program may have a `runtime` or an `lwp` of its own."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from conftest import Environment

import lwp
import runtime

THEIRS = """\
import threading
def hello():
    return f'theirs, {__name__}, {threading.Thread.start.__globals__["Thread"].__module__}'
"""
HELLO = "import runtime\nprint(runtime.hello())\n"
PLAIN = "theirs, runtime, threading\n"
PATCHED = "theirs, runtime, runtime.patch.installation\n"
PRIVATE = "theirs, runtime, _lwp_runtime.patch.installation\n"  # ours could not be loaded by the name `runtime`


def test_the_packages_import_themselves_relatively_and_each_other_by_no_name() -> None:
    wrong = []
    for path in (path for package in (lwp, runtime) for path in Path(package.__path__[0]).rglob("*.py")):  # not .pyi
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            wrong += [f"{path}:{node.lineno}" for name in names if name.partition(".")[0] in ("lwp", "runtime")]
    assert not wrong


@pytest.fixture(params=["module", "package"])
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A working directory with a `runtime`, and a program that uses it."""
    if request.param == "module":
        (tmp_path / "runtime.py").write_text(THEIRS)
    else:
        (tmp_path / "runtime").mkdir()
        (tmp_path / "runtime" / "inner.py").write_text(THEIRS)
        (tmp_path / "runtime" / "__init__.py").write_text(
            "def hello():\n    from runtime import inner\n    return inner.hello().replace('.inner', '')\n"
        )
    (tmp_path / "program.py").write_text(HELLO)
    return tmp_path


def said(found: subprocess.CompletedProcess[str]) -> str:
    assert (found.returncode, found.stderr) == (0, "")
    return found.stdout


def run_lwp(python: Environment, cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python.execute(str(python.python.with_name("lwp")), *arguments, cwd=cwd, **environment)


@pytest.mark.parametrize(
    "options",
    [["program.py"], ["-m", "program"], ["-c", HELLO], ["--green", "program.py"], ["--watchdog", "50", "program.py"]],
    ids=" ".join,
)
def test_run_beside_a_runtime(options: list[str], theirs: Path, installed: Environment) -> None:
    assert said(run_lwp(installed, theirs, "run", *options)) == PATCHED
    assert said(run_lwp(installed, theirs, "run", *options, PYTHONPATH=".")) == PRIVATE


def test_what_is_loaded_after_a_program_with_a_runtime(theirs: Path, installed: Environment) -> None:
    for options, says in (["--report"], "threads started"), (["--trace", "t.json"], "t.json: 1 thread"):
        found = run_lwp(installed, theirs, "run", *options, "program.py")
        assert (found.stdout, found.returncode) == (PATCHED, 0)
        assert says in found.stderr


def test_children_beside_a_runtime(theirs: Path, installed: Environment) -> None:
    starts = (
        "import subprocess, sys\nprint(subprocess.check_output([sys.executable, 'program.py'], text=True), end='')\n"
    )
    (theirs / "starts.py").write_text(starts)
    assert said(run_lwp(installed, theirs, "run", "--children", "starts.py")) == PATCHED
    assert said(run_lwp(installed, theirs, "run", "--children", "starts.py", PYTHONPATH=".")) == PRIVATE


def test_commands_beside_a_runtime(theirs: Path, installed: Environment) -> None:
    for path in {}, {"PYTHONPATH": "."}:
        assert "start + join" in said(run_lwp(installed, theirs, "bench", "--list", **path))
        assert run_lwp(installed, theirs, "tls", **path).returncode == 0
        assert run_lwp(installed, theirs, "bench", "--quick", "lock-pair", **path).returncode == 0


@pytest.mark.parametrize("command", ["import pytest", "import sys, pytest; sys.path.pop(0)"], ids=["-m", "script"])
def test_pytest_of_a_project_with_a_runtime(command: str, theirs: Path, installed: Environment) -> None:
    """python -m pytest has the working directory on sys.path from the beginning, the script has not."""
    tests = "import runtime\n\ndef test_it():\n    print(runtime.hello())\n"
    (theirs / "test_it.py").write_text(tests)
    for options, hello in ([], PLAIN), (["--lwp"], PATCHED if "pop" in command else PRIVATE):
        program = f"{command}\nraise SystemExit(pytest.main({['-p', 'no:cacheprovider', '-s', *options]}))"
        found = said(installed.run("-c", program, cwd=theirs))
        assert hello in found
        assert "1 passed" in found


def test_a_runtime_whose_folder_the_program_adds_later(theirs: Path, installed: Environment) -> None:
    (theirs / "elsewhere").mkdir()
    add = f"import sys\nsys.path.insert(0, {str(theirs)!r})\n"
    (theirs / "elsewhere" / "late.py").write_text(add + HELLO)
    assert said(run_lwp(installed, theirs, "run", "elsewhere/late.py")) == PATCHED


# ---- a program with an `lwp` ----------------------------------------------------------------------------------------

SAYS = """\
import lwp, sys, threading
print("theirs" if lwp.__file__.startswith({folder!r}) else lwp, threading.Thread.start.__globals__["Thread"].__module__)
"""


@pytest.fixture(params=["module", "package"])
def tools_name(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A working directory with an `lwp`, and a program that uses it."""
    if request.param == "module":
        (tmp_path / "lwp.py").touch()
    else:
        (tmp_path / "lwp").mkdir()
        (tmp_path / "lwp" / "__init__.py").write_text("from lwp import observe\n")
        (tmp_path / "lwp" / "observe.py").touch()
    (tmp_path / "program.py").write_text(SAYS.format(folder=str(tmp_path)))
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--report"], ["--green", "--watchdog", "50"], ["--trace", "t.json"]], ids=str)
def test_run_beside_an_lwp(options: list[str], tools_name: Path, installed: Environment) -> None:
    for path in {}, {"PYTHONPATH": "."}:
        for found in (
            run_lwp(installed, tools_name, "run", *options, "program.py", **path),
            installed.run("-m", "runtime", "run", *options, "program.py", cwd=tools_name, **path),
            installed.run("-m", "runtime", "run", *options, "-m", "program", cwd=tools_name, **path),
        ):
            assert found.returncode == 0, found
            assert re.fullmatch(r"theirs (_lwp_)?runtime\.patch\.installation\n", found.stdout), found


def test_children_beside_an_lwp(tools_name: Path, installed: Environment) -> None:
    starts = "import subprocess, sys\nsubprocess.run([sys.executable, 'program.py'], check=True)\n"
    (tools_name / "starts.py").write_text(starts)
    found = run_lwp(installed, tools_name, "run", "--children", "starts.py", PYTHONPATH=".")
    assert said(found) == "theirs runtime.patch.installation\n"


def test_a_program_with_an_lwp_asks_for_tools(tools_name: Path, installed: Environment) -> None:
    """By their names in `runtime`, which is ours."""
    program = "import runtime, lwp\nprint(runtime.observe.trace.__name__, hasattr(lwp, 'explore'))\n"
    (tools_name / "asks.py").write_text(program + "print(runtime.explore(int, runs=1).runs)\n")
    for found in (
        installed.run("asks.py", cwd=tools_name),
        run_lwp(installed, tools_name, "run", "asks.py"),
        run_lwp(installed, tools_name, "run", "asks.py", PYTHONPATH="."),
    ):
        assert said(found) == "_lwp_lwp.observe.trace False\n1\n"


@pytest.mark.parametrize("command", ["import pytest", "import sys, pytest; sys.path.pop(0)"], ids=["-m", "script"])
@pytest.mark.parametrize("option", [None, "--lwp", "--lwp-explore", "--lwp-chaos"])
def test_pytest_of_a_project_with_an_lwp(
    option: str | None, command: str, tools_name: Path, installed: Environment
) -> None:
    tests = f"def test_it():\n    import lwp\n    assert lwp.__file__.startswith({str(tools_name)!r})\n"
    (tools_name / "test_it.py").write_text(tests)
    options = ["-p", "no:cacheprovider", *[option] * bool(option)]
    found = said(installed.run("-c", f"{command}\nraise SystemExit(pytest.main({options}))", cwd=tools_name))
    assert "1 passed" in found


# ---- a program that uses ours ----------------------------------------------------------------------------------------

USES_OURS = """
import sys, threading

def import_all():
    import lwp.observe.trace

threads = [threading.Thread(target=import_all) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()

import runtime.sync
from lwp.observe import trace
assert runtime.observe.trace is trace
assert runtime.__spec__.name == runtime.__name__ == runtime.__package__ == "runtime", runtime.__spec__
assert runtime.sync.__spec__.parent == runtime.sync.__package__ == "runtime"
assert threading.Event is runtime.sync.Event
assert not [name for name in sys.modules if name.startswith("_lwp_")]
assert not [finder for finder in sys.meta_path if type(finder).__module__ == "lwp_runtime"]
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
assert len([file for file in files if file.endswith("/runtime/patch/installation.py")]) == 1
print(sys.modules["runtime.patch"].is_installed())
"""


def test_a_program_that_uses_the_package_itself(tmp_path: Path, installed: Environment) -> None:
    """It gets the one that is loaded, under its own name."""
    (tmp_path / "program.py").write_text(USES_OURS)
    assert said(run_lwp(installed, tmp_path, "run", "program.py")) == "True\n"
    for command in "runtime", "lwp":
        assert said(installed.run("-W", "error", "-m", command, "run", "program.py", cwd=tmp_path)) == "True\n"
    assert said(installed.run("program.py", cwd=tmp_path, LWP_CHILDREN="1")) == "True\n"
