"""`run --children`: the runtime under the Python processes that a program starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import lwp_tasks
import pytest
from commands import lwp
from conftest import ROOT, Environment

CHILD = """
import sys, threading
def count():
    t = threading.Thread(target=int)
    t.start()
    t.join()
    found = sys.modules.get("_lwp_runtime")
    return found.native.lwp_started() if found else 0
"""

SUBPROCESS = """
import subprocess, sys
command = [sys.executable, *{options}, "child.py"]
print(subprocess.check_output(command, text=True, {keywords}), end="")
"""

MULTIPROCESSING = """
import multiprocessing, child
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print(pool.apply(child.count))
"""


def starts(*options: str, keywords: str = "") -> str:
    return SUBPROCESS.format(options=list(options), keywords=keywords)


@pytest.fixture
def children(tmp_path: Path) -> Path:
    """A working directory with a child.py that prints how many threads the runtime made for it, of one."""
    (tmp_path / "child.py").write_text(CHILD + "if __name__ == '__main__':\n    print(count())\n")
    return tmp_path


def run(
    python: Environment, program: str, cwd: Path, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    (cwd / "program.py").write_text(program)
    return python.run("-m", "runtime", "run", *options, "program.py", cwd=cwd, **environment)


@pytest.mark.parametrize(
    ("program", "count"),
    [
        pytest.param(starts(), 1, id="subprocess"),
        pytest.param(starts("-I"), 0, id="isolated"),
        pytest.param(starts("-E"), 0, id="ignores-environment"),
        pytest.param(starts("-s", "-P", "-B"), 1, id="options"),
        pytest.param(starts("-S"), 0, id="without-site"),
        pytest.param(starts(keywords="env={}"), 0, id="without-environment"),
        pytest.param(MULTIPROCESSING.format(method="spawn"), 1, id="spawn"),
        pytest.param(MULTIPROCESSING.format(method="forkserver"), 1, id="forkserver"),
        # the parent's threads are counted, too, as its memory is copied: some run its pool
        pytest.param("import subprocess, sys\n" + "subprocess.run([sys.executable, 'program2.py'])", 1, id="nested"),
    ],
)
def test_children(program: str, count: int, children: Path, installed: Environment) -> None:
    (children / "program2.py").write_text(starts())
    ours = run(installed, program, children, "--children")
    assert (ours.stdout, ours.stderr, ours.returncode) == (f"{count}\n", "", 0)
    plain = run(installed, program, children)
    assert (plain.stdout, plain.stderr, plain.returncode) == ("0\n", "", 0)


def test_stack_size(children: Path, installed: Environment) -> None:
    (children / "child.py").write_text("import threading\nprint(threading.stack_size())\n")
    assert run(installed, starts("-P"), children, "--children", "--stack-size", "300K").stdout == f"{300 << 10}\n"
    assert run(installed, starts("-P"), children, "--children").stdout == "0\n"


GREEN_CHILD = f"""{Path(lwp_tasks.__file__).read_text()}
import threading
def look():
    own = []
    t = threading.Thread(target=lambda: own.append(threading.get_native_id()))
    t.start()
    t.join()
    scheduler = threading.Thread._lwp_scheduler
    return scheduler is not None, own == [threading.get_native_id()], tasks()
if __name__ == "__main__":
    print(*look())
"""


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param(("--time-slice", "0"), ["True True 1"], id="one LWP"),
        pytest.param(("--time-slice", "0", "--lwps", "3"), ["True False 4"], id="three LWPs"),
        pytest.param((), ["True False 3", "True False 4"], id="default"),
        pytest.param(("--time-slice", "5"), ["True False 3", "True False 4"], id="time slice"),
    ],
)
def test_green_children(options: tuple[str, ...], found: list[str], children: Path, installed: Environment) -> None:
    (children / "child.py").write_text(GREEN_CHILD)
    ours = run(installed, starts("-P"), children, "--green", *options, "--children")
    assert (ours.stderr, ours.returncode) == ("", 0)
    assert ours.stdout.strip() in found


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("options", [(), ("--time-slice", "0")], ids=["time slice", "one LWP"])
def test_green_multiprocessing(method: str, options: tuple[str, ...], children: Path, installed: Environment) -> None:
    program = MULTIPROCESSING.format(method=method)
    (children / "child.py").write_text(GREEN_CHILD.replace("def look", "def count"))
    ours = run(installed, program, children, "--green", *options, "--children")
    assert ours.stdout.startswith("(True, "), ours
    assert (ours.stderr, ours.returncode) == ("", 0)


def test_a_token_in_the_environment_is_not_for_a_python_that_ignores_it(children: Path, installed: Environment) -> None:
    program = "import runtime\nruntime.explored(runs=1)(int)()\n"
    assert "'?' is no token" in installed.run("-c", program, cwd=children, LWP_EXPLORE_REPLAY="?").stderr
    found = installed.run("-E", "-c", program, cwd=children, LWP_EXPLORE_REPLAY="?")
    assert (found.stderr, found.returncode) == ("", 0)


def test_not_installed(tmp_path: Path) -> None:
    found = Environment.make(tmp_path / "venv").run(
        "-m", "runtime", "run", "--children", "-c", "1", cwd=tmp_path, PYTHONPATH=str(ROOT)
    )
    assert found.stderr.startswith("lwp: --children needs the package installed")
    assert found.stderr.count("\n") == 1
    assert (found.stdout, found.returncode) == ("", 2)


BARRIER = """
import multiprocessing, sys

def come(barrier, queue):
    queue.put(barrier.wait(30))

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    barrier, queue = context.Barrier(3), context.Queue()
    processes = [context.Process(target=come, args=(barrier, queue)) for _ in range(2)]
    for process in processes: process.start()
    indices = [barrier.wait(30), queue.get(timeout=30), queue.get(timeout=30)]
    for process in processes: process.join(30)
    print(sorted(indices), [process.exitcode for process in processes])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("children", ["0", "1"], ids=["plain children", "children"])
def test_a_barrier_of_processes(method: str, children: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(BARRIER.format(method=method))
    done = lwp("run", *["--children"] * int(children), program, timeout=100, PYTHONPATH=str(ROOT))
    assert done.stdout == "[0, 1, 2] [0, 0]\n"
