"""`lwp explore`: what it says, how it ends, and that what it has found is found again by the command that it gives."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from commands import completed, on_terminal
from conftest import environment, lwp, refusal
from counted import IMPORT, LOST, RIGHT


def explore(
    folder: Path, *args: str, status: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return lwp("explore", *args, cwd=folder, status=status, COLUMNS="120", **environment)


def replayed(folder: Path, stdout: str) -> subprocess.CompletedProcess[str]:
    """The command that it gives, run: it fails again."""
    command = shlex.split(re.search(r"lwp explore (.*--replay.*)", stdout)[1])  # type: ignore[index]
    return explore(folder, *command, status=1)


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(IMPORT + LOST + RIGHT)
    return tmp_path


# ---- a function ------------------------------------------------------------------------------------------------------


def test_a_find_comes_with_the_command_that_repeats_it(lost: Path) -> None:
    found = explore(lost, "test_it.py::test_lost", status=1)
    assert found.stderr == ""
    assert "FOUND" in found.stdout
    assert "counted 1" in found.stdout
    assert len(re.findall("(?m)^  counted", found.stdout)) == 1  # of the run that is told of
    assert "counted 1" in replayed(lost, found.stdout).stdout


def test_a_test_imports_what_is_beside_it_as_under_pytest(lost: Path) -> None:
    (lost / "test_beside.py").write_text("from test_it import both\n\ndef test_both():\n    both()\n")
    for safe in ("", "1"):
        found = explore(lost, "test_beside.py::test_both", "--runs", "5", PYTHONSAFEPATH=safe, status=0)
        assert found.stderr == ""


def test_a_file_of_tests_is_no_script(lost: Path) -> None:
    found = explore(lost, "test_it.py", "--runs", "5", status=2)
    assert found.stdout == ""
    assert "::test_lost, ::test_right" in found.stderr


def test_without_threads_there_is_nothing_to_explore(lost: Path) -> None:
    (lost / "test_alone.py").write_text("def test_alone():\n    pass\n")
    for options in ([], ["--strategy", "pct"]):
        found = explore(lost, *options, "--runs", "50", "test_alone.py::test_alone", status=0)
        assert found.stderr == ""
        assert "no thread was started" in found.stdout


def test_nothing_found(lost: Path) -> None:
    found = explore(lost, "test_it.py::test_right", "--runs", "50", status=0)
    assert found.stderr == ""
    assert "BUDGET SPENT: 50 runs" in found.stdout
    assert "counted" not in found.stdout


def test_the_seed_decides(lost: Path) -> None:
    first, second = (json.loads(explore(lost, "--json", "--seed=7", "test_it.py::test_lost").stdout) for _ in range(2))
    assert first["seed"] == 7
    for key in ("token", "runs", "distinct", "found_by"):
        assert first[key] == second[key]


def test_json(lost: Path) -> None:
    facts = json.loads(explore(lost, "test_it.py::test_lost", "--json").stdout)
    assert (facts["outcome"], facts["error"]["type"], facts["replays"]) == ("FOUND", "AssertionError", 10)
    assert facts["output"] == "counted 1\n"
    assert facts["token"] in facts["command"]
    assert facts["seed"] is not None
    assert facts["asyncio_tasks"] is False
    assert [(use["thread"], use["access"], use["name"]) for use in facts["why"]][1:2] == [
        ("Thread-2", "writes", "Counter.n")
    ]
    facts = json.loads(explore(lost, "test_it.py::test_right", "--json", "--runs=20").stdout)
    assert (facts["outcome"], facts["token"], facts["runs"], facts["error"]) == ("BUDGET_SPENT", None, 20, None)


def test_what_unwound_threads_print_is_dropped(lost: Path) -> None:
    (lost / "test_prints.py").write_text("""
import threading, traceback

def work(begun):
    print("begins")
    begun.set()
    try:
        threading.Event().wait()
    except BaseException:
        traceback.print_exc()
        print("ends")

def test_it():
    begun = threading.Event()
    threading.Thread(target=work, args=(begun,)).start()
    begun.wait()
    raise ValueError
""")
    facts = json.loads(explore(lost, "test_prints.py::test_it", "--json").stdout)
    assert (facts["outcome"], facts["output"]) == ("FOUND", "begins\n")


def test_json_tells_of_tasks_of_asyncio(lost: Path) -> None:
    (lost / "test_tasks.py").write_text("""
import asyncio

def test_it():
    asyncio._set_running_loop(asyncio.AbstractEventLoop())
    asyncio._set_running_loop(None)
""")
    facts = json.loads(explore(lost, "test_tasks.py::test_it", "--json", "--runs=20").stdout)
    assert (facts["outcome"], facts["asyncio_tasks"]) == ("BUDGET_SPENT", True)


def test_races(lost: Path) -> None:
    found = explore(lost, "test_it.py::test_right", "--races", "--runs=20", status=0)
    assert "\nRaces: none in the runs that were made\n" in found.stdout  # each use is under the lock
    facts = json.loads(explore(lost, "test_it.py::test_right", "--races", "--runs=20", "--json").stdout)
    assert facts["races"] == []
    found = explore(lost, "test_it.py::test_right", "--races", "--workers=2", status=2)
    assert "can't go with --workers" in found.stderr


def test_a_replay_that_goes_another_way_is_inconclusive(lost: Path) -> None:
    token = json.loads(explore(lost, "test_it.py::test_lost", "--json").stdout)["token"]
    (lost / "test_it.py").write_text("def test_lost():\n    pass\n")
    found = explore(lost, "test_it.py::test_lost", "--replay", token)
    assert (found.returncode, found.stdout.partition(":")[0]) == (3, "INCONCLUSIVE")


CLASSES = """
import threading, unittest

class TestPlain:
    def setup_method(self):
        self.n = []

    def test_one(self):
        thread = threading.Thread(target=self.n.append, args=(1,))
        thread.start()
        thread.join()
        assert self.n == [1]

    @staticmethod
    def test_static():
        pass

def setUpModule():
    TestCase.made.append(0)

class TestCase(unittest.TestCase):
    made = []

    @classmethod
    def setUpClass(cls):
        cls.made.append(1)

    def setUp(self):
        self.n = []

    def tearDown(self):
        assert self.n == ["test"]

    def test_two(self):
        self.assertEqual((self.n, self.made), ([], [0, 1]))
        self.n.append("test")

    @unittest.skip("not today")
    def test_skipped(self):
        pass

    def test_wrong(self):
        self.n.append("test")
        self.assertEqual(1, 2)
"""


@pytest.mark.parametrize(
    ("name", "status"),
    [("TestPlain::test_one", 0), ("TestPlain::test_static", 0), ("TestCase::test_two", 0), ("TestCase::test_wrong", 1)],
)
def test_methods(name: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(CLASSES)
    found = explore(tmp_path, f"test_it.py::{name}", "--runs=20")
    assert (found.returncode, found.stderr) == (status, ""), found.stdout


def test_a_test_that_skips_itself_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(CLASSES)
    found = explore(tmp_path, "test_it.py::TestCase::test_skipped", status=3)
    assert found.stderr == "lwp: the test skips itself: not today\n"


def test_a_test_in_a_package_imports_its_neighbours(tmp_path: Path) -> None:
    package = tmp_path / "outer" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "helper.py").write_text("n = 1\n")
    (package / "test_it.py").write_text(
        "from .helper import n\ndef test():\n    assert __name__ == 'outer.inner.test_it'\n"
    )
    explore(tmp_path, "outer/inner/test_it.py::test", "--runs=5", status=0)


def test_imports_in_the_test_change_no_token(tmp_path: Path) -> None:
    """An import takes steps, of its locks, in the first run only."""
    lazy = IMPORT + LOST.replace("lost():", "lost():\n    import wave, sched, json.tool")
    (tmp_path / "test_it.py").write_text(lazy)
    replayed(tmp_path, explore(tmp_path, "test_it.py::test_lost").stdout)


def test_decorated_tests(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        f"import runtime\n{IMPORT}{LOST}\ntest_lost = runtime.explored(runs=3)(test_lost)\n"
    )
    explore(tmp_path, "test_it.py::test_lost", status=1)


# ---- wrong usage -----------------------------------------------------------------------------------------------------

WRONG = """
async def test_async(): yield
def test_generator(): yield
def test_fixture(tmp_path, other=1): pass
class TestClass:
    def test_method(self, capsys): pass
value = 1
"""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "what is to be explored? Give FILE.py::TEST, FILE.py, or -m MODULE"),
        (["missing.py::test"], "no file missing.py"),
        (["::test"], "::test of which file? Give FILE.py::test"),
        (["missing.py"], "can't open file '{}/missing.py': No such file or directory"),
        (["-m", "no_such_module"], "No module named no_such_module"),
        (["test_it.py::test_fixtur"], "test_it.py has no test_fixtur: did you mean test_fixture?"),
        (["test_it.py::other"], "test_it.py has no other: it has test_async, test_generator, test_fixture"),
        (["test_it.py::"], "test_it.py:: what? Name a function of the file, or Class::method"),
        (["test_it.py::test_async"], "test_it.py::test_async is a generator: a call does not run it"),
        (["test_it.py::test_generator"], "test_it.py::test_generator is a generator: a call does not run it"),
        (
            ["test_it.py::test_fixture"],
            "test_it.py::test_fixture needs arguments (tmp_path): "
            "pytest --lwp-explore test_it.py::test_fixture gives it its fixtures",
        ),
        (
            ["test_it.py::TestClass::test_method"],
            "test_it.py::TestClass::test_method needs arguments (capsys): "
            "pytest --lwp-explore test_it.py::TestClass::test_method gives it its fixtures",
        ),
        (["test_it.py::TestClass"], "test_it.py::TestClass is a class: name one of its methods"),
        (["test_it.py::value"], "test_it.py::value is no function"),
        (["test_it.py::test_fixture", "--", "x"], "test_it.py::test_fixture is a function, and takes no arguments: x"),
        (
            ["--replay", "s-1-9999999.1", "good.py::test"],
            "is no token: a step or a thread has a number above 1z141z3.sf",
        ),
        (["--replay", "nonsense", "good.py::test"], "'nonsense' is no token: one looks like s-1a3f-9.1-12.0"),
        (["--strategy", "luck", "good.py::test"], "'luck'"),
        (["--granularity", "fine", "good.py::test"], "'fine' is not one of 'auto', 'sync', 'gil', 'opcode'"),
        (["--runs", "0", "good.py::test"], "0 is not in the range x>=1"),
        (["--seconds", "0", "good.py::test"], "0 is not a number of seconds"),
        (["--html", "no/where.html", "good.py::test"], "--html: no folder no"),
        (["syntax.py"], "syntax.py is no Python: "),
    ],
)
def test_wrong_usage_is_one_line(args: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(WRONG)
    (tmp_path / "good.py").write_text("def test(): pass\n")
    (tmp_path / "syntax.py").write_text("def (\n")
    said = refusal(explore(tmp_path, *args))
    assert said.startswith("lwp: ")
    assert message.format(tmp_path) in said


def test_a_file_that_can_not_be_imported(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def f():\n    1 / 0\nf()\n")
    found = explore(tmp_path, "test_it.py::test", status=2)
    assert found.stderr.startswith("Traceback")
    assert "lwp/explore" not in found.stderr
    assert found.stderr.endswith("lwp: test_it.py can't be imported: ZeroDivisionError: division by zero\n")


# ---- a whole program -------------------------------------------------------------------------------------------------

SCRIPT = """
import atexit, sys, threading, helper
from concurrent.futures import ThreadPoolExecutor

lock = threading.Lock()
pool = ThreadPoolExecutor(2)  # which nothing shuts down

def bump(_):
    with lock:
        seen = helper.n
    with lock:
        helper.n = seen + 1

assert helper.n == 0  # a new one in each run
list(pool.map(bump, range(2)))
atexit.register(lambda: print("at exit", helper.n))
print(__name__, sys.argv[1:], helper.n)
sys.argv.append("changed")
if sys.argv[1:2] == ["--strict"]:
    sys.exit(0 if helper.n == 2 else 4)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("n = 0\n")
    (tmp_path / "program.py").write_text(SCRIPT)
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(SCRIPT)
    return tmp_path


@pytest.mark.parametrize("how", [["program.py"], ["-m", "program"], ["-mpackage"], ["package"]])
def test_a_program_is_as_new_in_each_run(how: list[str], script: Path) -> None:
    if how == ["package"]:  # then that folder is on sys.path
        (script / "helper.py").rename(script / "package" / "helper.py")
    found = explore(script, "--runs=100", *how, status=0)
    assert found.stderr == ""
    assert "100 runs" in found.stdout
    assert "__main__" not in found.stdout


@pytest.mark.parametrize("how", [["program.py"], ["-m", "program"]])
def test_an_exit_status_is_a_find(how: list[str], script: Path) -> None:
    found = explore(script, *how, "--strict", "--runs", "x")  # options behind it are its own
    assert (found.returncode, found.stderr) == (1, "")
    assert "SystemExit: 4" in found.stdout or "exit status 4" in found.stdout
    assert "  __main__ ['--strict', '--runs', 'x'] 1\n" in found.stdout
    assert "at exit" not in found.stdout  # it fails before
    assert found.stdout.count("__main__ [") == 1
    again = replayed(script, found.stdout)
    assert "  __main__ ['--strict', '--runs', 'x'] 1\n" in again.stdout


def test_threads_of_a_program_are_waited_for_at_its_end(tmp_path: Path) -> None:
    source = """
import atexit, threading, time
done = []
def work():
    time.sleep(1)
    done.append(1)
threading.Thread(target=work).start()
threading.Thread(target=threading.Event().wait, daemon=True).start()
@atexit.register
def check():
    assert done == [1]
    print("checked")
    assert {0}
"""
    (tmp_path / "right.py").write_text(source.format(1))
    (tmp_path / "wrong.py").write_text(source.format(0))
    explore(tmp_path, "--runs=100", "right.py", status=0)
    found = explore(tmp_path, "--runs=100", "wrong.py", status=1)
    assert "  checked\n" in found.stdout


def test_an_exception_of_a_thread_of_a_program(tmp_path: Path) -> None:
    (tmp_path / "it.py").write_text("import threading\nthreading.Thread(target=lambda: 1 / 0).start()\n")
    found = explore(tmp_path, "it.py", status=1)
    assert "ZeroDivisionError" in found.stdout
    assert found.stderr == ""


def test_workers_on_a_program(script: Path) -> None:
    found = explore(script, "--workers=2", "program.py", "--strict", status=1)
    assert "  __main__ ['--strict'] 1\n" in found.stdout
    replayed(script, found.stdout)


# ---- what it shows ---------------------------------------------------------------------------------------------------


def test_html(lost: Path) -> None:
    explore(lost, "--html=out.html", "--runs=5", "test_it.py::test_right", status=0)
    assert not (lost / "out.html").exists()  # nothing was found
    explore(lost, "--html=out.html", "test_it.py::test_lost", status=1)
    assert (lost / "out.html").exists()


def test_progress_on_a_terminal_only(lost: Path) -> None:
    options = ("explore", "--seconds=1", "--runs=100000000", "test_it.py::test_right")
    said, _ = on_terminal(*options, cwd=lost, env=environment(), stdout=subprocess.DEVNULL)
    assert re.search(r"\r\x1b\[K[\d,]+ runs, [\d,]+ runs/s, [\d,]+ distinct schedules", said)
    assert said.endswith("\r\x1b[K")  # the line is cleared
    found = explore(lost, "--seconds=1", "--runs=100000000", "test_it.py::test_right", status=0)
    assert found.stderr == ""


def test_help() -> None:
    few, every = (lwp("explore", option).stdout for option in ("--help", "--help-all"))
    for option in ["runs", "seconds", "seed", "workers", "json", "help-all"]:
        assert f"  --{option}" in few
    for option in ["strategy", "granularity", "max-steps", "include", "races"]:
        assert f"  --{option}" not in few
        assert f"  --{option}" in every
    assert len(re.findall(r"^  -", few, re.MULTILINE)) <= 13  # with --help's own
    assert "3  inconclusive" in few


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["--strategy", "p"], ["plain,pct", "plain,pos"]),
        (["test_it.py::test_l"], ["plain,test_it.py::test_lost"]),
        (["--runs", "5", "test_it.py", "::", "test_l"], ["plain,test_lost"]),  # as bash splits it
        (["test_it.py", "::"], ["plain,::test_lost", "plain,::test_right", "plain,::TestIt::test_method"]),
        (["test_it.py::TestIt::"], ["plain,test_it.py::TestIt::test_method"]),
        (["wrong.py::"], []),
        (["none.py::"], []),
        (["te"], ["file,te"]),
    ],
)
def test_the_shell_completes(words: list[str], offered: list[str], lost: Path) -> None:
    with (lost / "test_it.py").open("a") as file:
        file.write("\n\nclass TestIt:\n    def test_method(self):\n        pass\n")
    (lost / "wrong.py").write_text("def\n")
    assert completed("explore", *words, cwd=lost) == offered
