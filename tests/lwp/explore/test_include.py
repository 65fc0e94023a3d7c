"""Which code is switched between bytecodes: include, exclude, pyproject.toml, the project under test."""

from __future__ import annotations

import importlib
import json
import random
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT, lwp, python, refusal, run_threads

from lwp.explore import Outcome, Result, Target, explore, replay
from lwp.explore.settings import SettingsError
from lwp.reading.files import is_program

#: Loses an addition if threads are switched between the read and the write, at a call: `gil` stops there.
COUNTER = """
class Counter:
    n = 0

    def one(self):
        return 1

    def add(self):
        self.n = self.n + self.one()
"""
TEST = """
import threading
from {module} import Counter

def test_both():
    counter = Counter()
    threads = [threading.Thread(target=counter.add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.n == 2
"""
LEFT_OUT = "ran without switches between bytecodes"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages, which has a module, and a package with another one."""
    folder = tmp_path / "lib" / "site-packages"
    (folder / "counters").mkdir(parents=True)
    (folder / "counters" / "__init__.py").touch()
    (folder / "counters" / "inner.py").write_text(COUNTER)
    (folder / "counting.py").write_text(COUNTER)
    return folder


@pytest.fixture
def load(site: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module from there, for this test."""
    monkeypatch.syspath_prepend(site)
    for name in ("counters", "counters.inner", "counting"):
        monkeypatch.delitem(importlib.sys.modules, name, raising=False)  # type: ignore[attr-defined]
    return importlib.import_module


def count_twice(module: ModuleType) -> None:
    counter = module.Counter()
    run_threads(threading.Thread(target=counter.add) for _ in range(2))
    assert counter.n == 2


def explored(
    module: ModuleType, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), **options: int
) -> Result:
    test = partial(count_twice, module)
    return explore(test, granularity="gil", runs=300, seed=1, include=include, exclude=exclude, **options)


# ---- in Python -------------------------------------------------------------------------------------------------------


def test_an_installed_module_is_named_and_can_be_included(load: Callable[[str], ModuleType]) -> None:
    counting = load("counting")
    file = str(counting.__file__)
    without = explored(counting)
    assert without.outcome is Outcome.BUDGET_SPENT
    assert f"{LEFT_OUT}, so nothing is claimed about their code:\n    counting\n" in without.report()
    found = explored(counting, ("counting",))
    assert found.outcome is Outcome.FOUND
    assert "counting.py:9" in found.report()
    assert "self.n = self.n + self.one()" in found.report()
    assert not is_program(file)


def test_a_later_choice_sees_no_maps_of_an_earlier_one(load: Callable[[str], ModuleType]) -> None:
    counting = load("counting")
    for _ in range(2):
        assert explored(counting).outcome is Outcome.BUDGET_SPENT
        assert explored(counting, ("counting",)).outcome is Outcome.FOUND
        assert explored(counting, ("counting",), ("counting",)).outcome is Outcome.BUDGET_SPENT


def test_a_token_is_replayed_with_the_same_include(load: Callable[[str], ModuleType]) -> None:
    counting = load("counting")
    test = partial(count_twice, counting)
    token = explored(counting, ("counting",)).token
    assert replay(test, token, include=("counting",)).outcome is Outcome.FOUND
    assert replay(test, token).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("include", "exclude", "outcome"),
    [
        (("counters",), (), Outcome.FOUND),
        (("counters.inner",), (), Outcome.FOUND),
        (("counters",), ("counters.inner",), Outcome.BUDGET_SPENT),
        (("counters.inner",), ("counters",), Outcome.FOUND),
        (("counting",), (), Outcome.BUDGET_SPENT),
    ],
)
def test_the_nearest_name_decides(
    load: Callable[[str], ModuleType], include: tuple[str, ...], exclude: tuple[str, ...], outcome: Outcome
) -> None:
    found = explored(load("counters.inner"), include, exclude)
    assert found.outcome is outcome
    assert (LEFT_OUT in found.report()) == (include == ("counting",))  # what was excluded is no news


def test_a_path_is_a_name_too(load: Callable[[str], ModuleType], site: Path) -> None:
    assert explored(load("counting"), (str(site / "counting.py"),)).outcome is Outcome.FOUND
    assert explored(load("counters.inner"), (f"{site}/",)).outcome is Outcome.FOUND


def test_the_programs_own_code_can_be_excluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_counter.py").write_text(COUNTER)
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("own_counter")
    assert explored(own).outcome is Outcome.FOUND
    spent = explored(own, exclude=("own_counter",))
    assert spent.outcome is Outcome.BUDGET_SPENT
    assert LEFT_OUT not in spent.report()


def test_modules_of_python_can_be_included() -> None:
    """Two threads may get the same number from one Random (its documentation warns of that)."""

    def gauss_in_two_threads() -> None:
        source = random.Random(1)
        source.gauss()
        found: list[float] = []
        run_threads(threading.Thread(target=lambda: found.append(source.gauss())) for _ in range(2))
        assert found[0] != found[1]

    without = explore(gauss_in_two_threads, granularity="opcode", runs=1000, seed=1)
    assert without.outcome is Outcome.BUDGET_SPENT
    assert re.search(rf"{LEFT_OUT}.*\n    random\n", without.report())
    included = explore(gauss_in_two_threads, granularity="opcode", runs=1000, seed=1, include=["random"])
    assert included.outcome is Outcome.FOUND


def test_at_sync_nothing_is_claimed_and_nothing_named(load: Callable[[str], ModuleType]) -> None:
    spent = explore(partial(count_twice, load("counting")), granularity="sync", strategy="random", runs=50)
    assert spent.outcome is Outcome.BUDGET_SPENT
    assert LEFT_OUT not in spent.report()


LOCKED = """
import threading

class Account:
    def __init__(self):
        self._lock = threading.Lock()
        self._open = True

    def close(self):
        with self._lock:
            self._open = False

    def pay(self):
        with self._lock:
            is_open = self._open
        with self._lock:
            assert is_open == self._open, "closed meanwhile"
"""


def test_the_data_of_code_that_is_not_switched_is_told(site: Path, load: Callable[[str], ModuleType]) -> None:
    (site / "counting.py").write_text(LOCKED)
    module = load("counting")

    def test() -> None:
        account = module.Account()
        thread = threading.Thread(target=account.close)
        thread.start()
        account.pay()
        thread.join()

    result = explore(test, granularity="sync", seed=1)
    assert result.outcome is Outcome.FOUND
    told = [(one["thread"], one["access"], one["name"], one["function"]) for one in result.why]
    assert told[:2] == [
        ("MainThread", "reads", "account._open", "pay()"),
        ("Thread-1", "writes", "account._open", "close()"),
    ]
    assert "\n  counting.py:17" in result.report()  # of the traceback: where it is installed says nothing
    assert not is_program(module.__file__ or "")
    assert explore(test, granularity="sync", seed=1, runs=50, known=[result.name or ""]).known[result.name or ""]


def test_all_schedules_are_claimed_without_that_code(load: Callable[[str], ModuleType]) -> None:
    tried = explore(partial(count_twice, load("counting")), granularity="gil", strategy="dfs:1", runs=5000)
    assert tried.outcome is Outcome.EXHAUSTED
    assert LEFT_OUT in tried.report()


def test_many_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    for number in range(9):
        (site / f"many{number}.py").write_text("def call(): pass\n")
    modules = [importlib.import_module(f"many{number}") for number in range(9)]

    def test() -> None:
        thread = threading.Thread(target=lambda: [module.call() for module in modules])
        thread.start()
        json.dumps([1], indent=1)
        thread.join()

    assert (
        "    many0, many1, many2, many3, many4, many5 and 4 more\n" in explore(test, granularity="gil", runs=9).report()
    )


def test_workers_name_it_too(load: Callable[[str], ModuleType]) -> None:
    spent = explored(load("counting"), workers=2)
    assert spent.outcome is Outcome.BUDGET_SPENT
    assert "    counting\n" in spent.report()
    assert explored(load("counting"), ("counting",), workers=2).outcome is Outcome.FOUND


def test_a_package_in_a_namespace_that_nobody_has_imported_can_be_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "company" / "team" / "tool").mkdir(parents=True)
    (tmp_path / "company" / "team" / "tool" / "__init__.py").touch()
    assert explore(lambda: None, include=["company.team.tool"], runs=1).outcome is Outcome.EXHAUSTED
    assert "company" not in sys.modules


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuchmodule", "no module nosuchmodule can be found"),
        ("json.nosuch", "no module json.nosuch can be found"),
        ("json.decoder.nosuch", "no module json.decoder.nosuch can be found"),
        ("", "no module  can be found"),
        ("./nosuch.py", "there is no file or folder"),
        ("time", "time is not written in Python"),
        ("zipimport", "zipimport is frozen into the interpreter"),
        ("runtime.queue", "runtime.queue is the runtime's own"),
    ],
)
def test_a_name_that_can_not_be_included(name: str, said: str) -> None:
    for option in ("include", "exclude"):
        with pytest.raises(ValueError, match=f"^{option}: {re.escape(said)}"):
            explore(lambda: None, **{option: [name]})
        with pytest.raises(SettingsError):
            replay(lambda: None, "s-1a3f", **{option: [name]})
    with pytest.raises(TypeError, match="include must be names"):
        explore(lambda: None, include="json")


# ---- the project under test ------------------------------------------------------------------------------------------


def install(site: Path, name: str, *files: str) -> None:
    """Has the files count as those of a distribution."""
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "RECORD").write_text("".join(f"{file},,\n" for file in (*files, "../../bin/tool.py")))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_it.py").write_text(TEST.format(module="counting"))
    (folder / "tests" / "test_inner.py").write_text(TEST.format(module="counters.inner"))
    return folder


def command(project: Path, site: Path, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    options = ("--granularity", "gil", "--runs", "300", "--seed", "1")
    return lwp("explore", *options, *args, cwd=project, status=status, PYTHONPATH=f"{ROOT}:{site}")


@pytest.mark.parametrize("file", ["test_it.py", "test_inner.py"])
def test_what_is_installed_of_the_tests_project_counts_as_the_program(project: Path, site: Path, file: str) -> None:
    test = f"tests/{file}::test_both"
    (project / "pyproject.toml").write_text("[project]\nname = 'My.Counters'\n")
    assert LEFT_OUT in command(project, site, test).stdout
    install(site, "my-counters", "counting.py", "counters/__init__.py", "counters/inner.py")
    found = command(project, site, test, status=1)
    assert "FOUND" in found.stdout
    again = shlex.split(found.stdout.rstrip().rpartition("\n")[2])[1:]
    assert "--include" not in again
    assert "replays 10/10" in lwp(*again, cwd=project, status=1, PYTHONPATH=f"{ROOT}:{site}").stdout
    assert LEFT_OUT not in command(project, site, "--exclude", "counters", "--exclude", "counting", test).stdout


def test_the_project_is_known_by_setup_cfg(project: Path, site: Path) -> None:
    (project / "setup.cfg").write_text("[metadata]\nname = my_counters\n")
    install(site, "my-counters", "counting.py")
    command(project, site, "tests/test_it.py::test_both", status=1)


@pytest.mark.parametrize("source", ["counters", "src/counters"])
def test_the_project_is_known_by_its_packages(project: Path, site: Path, source: str) -> None:
    (project / "setup.py").touch()
    command(project, site, "tests/test_inner.py::test_both", status=0)
    (project / source).mkdir(parents=True)
    (project / source / "__init__.py").touch()
    command(project, site, "tests/test_inner.py::test_both", status=1)


def test_a_test_that_is_installed_is_part_of_the_program(site: Path) -> None:
    (site / "counters" / "test_it.py").write_text(COUNTER + TEST.replace("from {module} import Counter", ""))
    command(site, site, "counters/test_it.py::test_both", status=1)


# ---- pyproject.toml --------------------------------------------------------------------------------------------------


def test_pyproject_includes_and_excludes(project: Path, site: Path) -> None:
    test = "tests/test_it.py::test_both"
    settings = project / "pyproject.toml"
    settings.write_text("[tool.lwp.explore]\ninclude = ['counting']\n")
    assert "FOUND" in command(project, site, test, status=1).stdout
    command(project, site, "--exclude", "counting", test, status=0)
    settings.write_text("[tool.lwp.explore]\ninclude = ['counting']\nexclude = ['../lib/site-packages/counting.py']\n")
    command(project / "tests", site, "test_it.py::test_both", status=0)  # its paths are from its folder on
    found = command(project, site, "--include", "counting", test, status=1).stdout
    assert "--include counting" in found
    assert (
        "replays 10/10"
        in lwp(*shlex.split(found.splitlines()[-1])[1:], cwd=project, status=1, PYTHONPATH=f"{ROOT}:{site}").stdout
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.lwp.explore]\nincluded = ['json']\n", "[tool.lwp.explore] has no key included: its keys are include,"),
        ("[tool.lwp.explore]\ninclude = 'json'\n", "[tool.lwp.explore] include must be a list of names, not 'json'"),
        ("[tool.lwp.explore]\nexclude = [1]\n", "[tool.lwp.explore] exclude must be a list of names, not [1]"),
        ("[tool.lwp.explore]\ninclude = ['nosuch']\n", "[tool.lwp.explore] include: no module nosuch can be found"),
        ("[tool.lwp\n", "pyproject.toml: "),
    ],
)
def test_a_wrong_pyproject(project: Path, site: Path, text: str, said: str) -> None:
    (project / "pyproject.toml").write_text(text)
    told = refusal(command(project, site, "tests/test_it.py::test_both", status=2))
    assert told.startswith(f"lwp: {project}/pyproject.toml: ")
    assert said in told


def test_a_wrong_name_is_wrong_usage(project: Path, site: Path) -> None:
    told = refusal(command(project, site, "--include", "nosuch", "tests/test_it.py::test_both", status=2))
    assert told == "lwp: include: no module nosuch can be found\n"


# ---- in other ways ---------------------------------------------------------------------------------------------------


def pytest_on(project: Path, site: Path, *args: str) -> str:
    run = python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", *args),
        cwd=project,
        status=None,
        PYTHONPATH=f"{ROOT}:{site}",
        PYTEST_ADDOPTS="",
    )
    return run.stdout


@pytest.mark.slow
def test_in_pytest(project: Path, site: Path) -> None:
    marked = (
        "\nimport pytest\n@pytest.mark.explore(runs=300, granularity='gil', seed=1{})\ndef test_marked(): test_both()"
    )
    file = project / "tests" / "test_it.py"
    text = TEST.format(module="counting")
    file.write_text(text + marked.format(""))
    only = f"{file}::test_marked"
    passed = pytest_on(project, site, only)
    assert "1 passed" in passed
    assert f"{LEFT_OUT}, so nothing is claimed about their code:\n    counting\n" in passed
    file.write_text(text + marked.format(", include=['counting']"))
    found = pytest_on(project, site, only)
    assert "FOUND" in found
    match = re.search(r"pytest (.*--lwp-explore-replay \S+)", found)
    assert match is not None, found
    assert "replays 10/10" in pytest_on(project, site, *shlex.split(match[1]))
    file.write_text(text + marked.format(", include=['nosuch']"))
    assert "include: no module nosuch can be found" in pytest_on(project, site, only)
    file.write_text(text)
    (project / "pyproject.toml").write_text("[project]\nname = 'my-counters'\n")
    install(site, "my-counters", "counting.py")
    assert "1 failed" in pytest_on(project, site, "--lwp-explore", str(file))


def test_a_program_has_included_packages_switched_and_not_new_each_time(project: Path, site: Path) -> None:
    (site / "counting.py").write_text(f"{COUNTER}\nprint('imported')\n")
    (project / "program.py").write_text(f"{TEST.format(module='counting')}\ntest_both()\n")
    assert LEFT_OUT in command(project, site, "program.py").stdout
    found = command(project, site, "--include", "counting", "program.py", status=1).stdout
    assert "FOUND" in found
    assert "imported" not in found  # by the run that is told of


def test_a_targets_file() -> None:
    assert Target.of("test_it.py::test").file == str(Path("test_it.py").absolute())
    assert Target("module", "json").file == str(Path.cwd())


def test_where_an_included_module_made_its_locks_is_told(site: Path, load: Callable[[str], ModuleType]) -> None:
    (site / "counting.py").write_text(
        "import threading\n"
        "first = threading.Lock()\n"
        "second = threading.Lock()\n"
        "def take(one, other):\n"
        "    with one, other:\n"
        "        pass\n"
    )
    counting = load("counting")

    def test() -> None:
        locks = counting.first, counting.second
        for pair in (locks, locks[::-1]):
            threading.Thread(target=counting.take, args=pair).start()

    found = explore(test, granularity="sync", seed=1, include=["counting"])
    assert "  first was made at " in found.report()
    assert "first was made" not in explore(test, granularity="sync", seed=1).report()
