"""`pytest --lwp-explore` on a whole suite: what it costs, its options, what it keeps, and what it says at the end."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import python
from counted import LOST, RIGHT
from projects import IMPORTS, came_to, outcomes, run, start, summary

ALONE = "def test_alone():\n    with open('runs', 'a') as out:\n        out.write('.')\n"


# Fails under the explorer's clock, which a sleep moves alone.
CLOCK = """
def uptime():
    return float(pathlib.Path("/proc/uptime").read_text().split()[0])

def test_clock():
    began = uptime()
    time.sleep(0.05)
    assert uptime() - began > 0.02
"""


def settings(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.lwp.explore]\n{text}\n")


# ---- what it costs ---------------------------------------------------------------------------------------------------


def test_a_test_without_threads_is_run_once_and_called_plainly_if_it_raises(tmp_path: Path) -> None:
    """A clock that is not the system's, for one, is no reason to fail."""
    wrong = """
@pytest.fixture
def numbers():
    numbers = [1]
    yield numbers
    numbers.clear()

def test_wrong(numbers):
    print("said")
    assert numbers.pop() == 2
"""
    found = run(tmp_path, ALONE + RIGHT + CLOCK + wrong, "--lwp-explore=20", "-v")
    assert came_to(found) == {
        **dict.fromkeys(("test_alone", "test_right", "test_clock"), "PASSED"),
        "test_wrong": "FAILED - assert 1 == 2",  # the fixture was made anew
    }
    assert (tmp_path / "runs").read_text() == "."
    assert summary(found) == (1, 20)
    assert "\n3 tests start no thread\n" in found.stdout
    assert "FOUND" not in found.stdout
    assert "\n>       assert numbers.pop() == 2\n" in found.stdout  # pytest's own traceback
    assert found.stdout.count("said\n") == 1
    assert not (tmp_path / ".lwp").exists()


@pytest.mark.slow
def test_the_time_that_is_left_is_shared_by_the_tests_still_to_come(tmp_path: Path) -> None:
    tests = "@pytest.mark.parametrize('n', range(4))\n" + RIGHT.replace("()", "(n)", 1)
    options = ("--lwp-explore=100000000", "--lwp-explore-strategy=random", "--lwp-explore-total=2")
    found = run(tmp_path, tests, *options, "--lwp-explore-json=out.json")
    assert outcomes(found) == {"passed": 4}
    seconds = [test["seconds"] for test in json.loads((tmp_path / "out.json").read_text())]
    assert min(seconds) > 0.1
    assert "4 budget spent" in found.stdout


LONG = """
def test_long():
    thread = threading.Thread(target=sum, args=(range(10_000),))
    thread.start()
    for _ in range(300):  # a run that is cut off ends at a point
        sum(range(10_000))
        threading.Lock().acquire()
    thread.join()
"""


def test_the_first_run_of_a_test_may_take_longer_than_its_time(tmp_path: Path) -> None:
    found = run(tmp_path, LONG, "--lwp-explore", "--lwp-explore-seconds=0.001")
    assert outcomes(found) == {"passed": 1}
    assert summary(found) == (1, 1)


def test_a_test_that_comes_after_the_time_for_all_runs_once_and_is_listed(tmp_path: Path) -> None:
    """The first test takes all of it."""
    found = run(tmp_path, LONG + LOST + RIGHT + ALONE, "--lwp-explore", "--lwp-explore-total=0.001")
    assert outcomes(found) == {"passed": 4}
    assert summary(found) == (3, 3)
    assert "\nout of time: test_it.py::test_lost\nout of time: test_it.py::test_right\n" in found.stdout


# ---- options ---------------------------------------------------------------------------------------------------------


def test_options_reach_the_exploration_and_a_mark_prevails(tmp_path: Path) -> None:
    marked = "@pytest.mark.explore(granularity='opcode', seed=5)\n" + LOST.replace("lost", "marked")
    options = ("--lwp-explore=500", "--lwp-explore-seed=9", "--lwp-explore-strategy=random", "--lwp-explore-no-keep")
    found = run(tmp_path, LOST + marked, *options, "--lwp-explore-granularity=gil", "--lwp-explore-json=out.json")
    assert outcomes(found) == {"failed": 2}
    assert not (tmp_path / ".lwp").exists()
    assert "lwp explore: seed 9, runs 500, strategy random, granularity gil\n" in found.stdout
    plain, marked = json.loads((tmp_path / "out.json").read_text())
    assert "FOUND by random, gil" in plain["report"]
    assert "FOUND by random, opcode" in marked["report"]
    assert (plain["seed"], marked["seed"]) == (9, 5)


def test_pyproject_has_each_option_and_the_command_line_prevails(tmp_path: Path) -> None:
    settings(tmp_path, 'runs = 30\nseconds = 60\nseed = "daily"\nstrategy = "pct"\ngranularity = "sync"\nworkers = 1')
    found = run(tmp_path, RIGHT, "--lwp-explore")
    today = f"{datetime.now(UTC):%Y%m%d}"
    assert f"seed {today}, runs 30, seconds 60.0, strategy pct, granularity sync, workers 1\n" in found.stdout
    assert summary(found) == (1, 30)
    assert summary(run(tmp_path, RIGHT, "--lwp-explore=12")) == (1, 12)
    unloaded = "def test():\n    assert not [m for m in sys.modules if m.startswith(('runtime', 'lwp.'))]\n"
    plain = run(tmp_path, RIGHT + "import sys\n" + unloaded)
    assert outcomes(plain) == {"passed": 2}
    assert "explored" not in plain.stdout


@pytest.mark.slow
def test_the_seed_is_printed_and_makes_the_same_runs_again(tmp_path: Path) -> None:
    options = ("--lwp-explore", "--lwp-explore-strategy=random", "--lwp-explore-no-keep")
    found = run(tmp_path, LOST, *options)
    (seed,) = set(re.findall(r"seed (\d+)", found.stdout))
    again = run(tmp_path, LOST, *options, f"--lwp-explore-seed={seed}")
    assert summary(again) == summary(found)


HALF = """
import asyncio

def test_half():
    done = []

    async def work():
        done.append(1)
        await asyncio.sleep(0)
        done.append(2)

    async def main():
        await asyncio.wait([asyncio.create_task(work())])
        assert len(done) != 1

    asyncio.run(main())
"""


def test_cancellations_are_tried_if_asked_for_and_have_an_outcome_of_their_own(tmp_path: Path) -> None:
    assert outcomes(run(tmp_path, HALF, "--lwp-explore")) == {"passed": 1}
    found = run(tmp_path, HALF, "--lwp-explore", "--lwp-explore-cancel")
    assert outcomes(found) == {"failed": 1}
    assert "\ncancellation: AssertionError test_it.py:main test_it.py:test_half\n" in found.stdout
    settings(tmp_path, "cancel = true")
    assert outcomes(run(tmp_path, HALF, "--lwp-explore")) == {"failed": 1}


#: By its message, a use that is wrong: options, the table of pyproject.toml, and the mark of a test.
WRONG = {
    "--lwp-explore=many: RUNS is a whole number from 1 on": ("--lwp-explore=many", "", ""),
    "--lwp-explore=0: RUNS is a whole number from 1 on": ("--lwp-explore=0", "", ""),
    "--lwp-explore-replay is for one test, and 2 are selected": ("--lwp-explore-replay=s-1", "", ""),
    "--lwp-explore-seconds=many: SECONDS is a number of seconds above 0": ("--lwp-explore-seconds=many", "", ""),
    "--lwp-explore-seed is for --lwp-explore, or for tests that are marked: none is": ("--lwp-explore-seed=1", "", ""),
    "--lwp-explore-total is for --lwp-explore, or for tests that are marked": ("--lwp-explore-total=1", "", ""),
    "--lwp-explore-total=-1: TOTAL is a number of seconds above 0": ("--lwp-explore-total=-1", "", ""),
    "--lwp-explore-seed=today: SEED is a whole number, or daily": ("--lwp-explore-seed=today", "", ""),
    "--lwp-explore-strategy=luck: strategy 'luck' is not one of auto, ": ("--lwp-explore-strategy=luck", "", ""),
    "--lwp-explore-granularity=line: GRANULARITY is auto, sync, gil, opc": ("--lwp-explore-granularity=line", "", ""),
    "--lwp-explore-workers=0: WORKERS is a whole number from 1 on": ("--lwp-explore-workers=0", "", ""),
    "--lwp-explore-json=no/such/file: JSON is a file in a folder that": ("--lwp-explore-json=no/such/file", "", ""),
    "pyproject.toml: [tool.lwp.explore] runs=1.5: RUNS is a whole number from": ("--lwp-explore", "runs = 1.5", ""),
    "pyproject.toml: [tool.lwp.explore] known=[1]: KNOWN is a table with": ("--lwp-explore", "known = [1]", ""),
    "pyproject.toml: [tool.lwp.explore] keep=1: KEEP is true or false": ("--lwp-explore", "keep = 1", ""),
    "pyproject.toml: [tool.lwp.explore] has no key sedes: its keys are ": ("--lwp-explore", "sedes = 3", ""),
    "pyproject.toml: Invalid value": ("--lwp-explore", "runs = ", ""),
    "@pytest.mark.explore has no option depth: its options are strategy, runs, seconds, ": ("", "", "runs=5, depth=3"),
    "@pytest.mark.explore has no option 5: its options are strategy, runs": ("", "", "5"),
}
#: pytest in each folder, one after the other.
IN_EACH_FOLDER = """
import os, sys
import pytest

os.dup2(1, 2)
for folder in sorted(os.listdir()):
    os.chdir(folder)
    sys.modules.pop("test_it", None)
    with open("options") as file:
        print("\\n----", folder, pytest.main(["-p", "no:cacheprovider", *file.read().split()]).name, flush=True)
    os.chdir("..")
"""


def test_wrong_usage(tmp_path: Path) -> None:
    for number, (options, table, mark) in enumerate(WRONG.values()):
        folder = tmp_path / f"{number:02}"
        folder.mkdir()
        settings(folder, table)
        (folder / "options").write_text(options)
        marked = f"@pytest.mark.explore({mark})\n" if mark else ""
        (folder / "test_it.py").write_text(IMPORTS + marked + RIGHT + LOST)
    program = python("-c", IN_EACH_FOLDER, cwd=tmp_path, PYTEST_ADDOPTS="", COLUMNS="200")
    told = re.split(r"\n---- (\d\d \w+)\n", program.stdout)
    assert told[1::2] == [f"{number:02} USAGE_ERROR" for number in range(len(WRONG))]
    for message, text in zip(WRONG, told[::2], strict=False):
        assert message in text
        assert text.count("ERROR") == 1


# ---- what is told ----------------------------------------------------------------------------------------------------

ASYNC = "class TestAsync(unittest.IsolatedAsyncioTestCase):\n    async def test_it(self):\n        pass\n"
DOCTEST = "def documented():\n    '''Says so.\n\n    >>> 1\n    1\n    '''\n"


@pytest.mark.parametrize(
    "options", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow), ("--lwp",)], ids=["", "workers", "lwp"]
)
def test_summary_json_and_junit(options: tuple[str, ...], tmp_path: Path) -> None:
    if "-n" in options:
        pytest.importorskip("xdist")
    files = ("--lwp-explore-json=out.json", "--junitxml=out.xml", "--lwp-explore-html=pages")
    tests_of_all_kinds = LOST + RIGHT + ALONE + ASYNC + DOCTEST
    explored = ("--lwp-explore=200", "--lwp-explore-seed=3", "--doctest-modules")
    found = run(tmp_path, tests_of_all_kinds, *explored, *files, *options)
    tests = {test["nodeid"]: test for test in json.loads((tmp_path / "out.json").read_text())}
    names = ("test_lost", "test_right", "test_alone", "TestAsync::test_it", "test_it.documented")
    lost, right, *others = (tests[f"test_it.py::{name}"] for name in names)
    assert [test["outcome"] for test in (lost, right, *others)] == [
        *("found", "budget spent", "no thread", "no thread", "not explored")
    ]
    assert lost["report"].startswith("AssertionError: assert 1 == 2")
    assert lost["command"] == f"pytest test_it.py::test_lost --lwp-explore-replay {lost['token']}"
    assert (right["runs"], right["token"], right["seed"]) == (200, None, 3)
    assert summary(found) == (2, lost["runs"] + 200)
    assert 1 < right["distinct"] <= 200
    assert f"\nfound: AssertionError test_it.py:test_lost\n  {lost['command']}\n" in found.stdout
    assert "1 budget spent, 1 found; seed 3" in found.stdout

    cases = ElementTree.parse(tmp_path / "out.xml").iter("testcase")
    told = {case.get("name"): {one.get("name"): one.get("value") for one in case.iter("property")} for case in cases}
    begin = {"lwp_explore_outcome": "found", "lwp_explore_token": lost["token"]}
    assert told["test_lost"] == {**begin, "lwp_explore_runs": str(lost["runs"]), "lwp_explore_seed": "3"}
    assert told["test_alone"]["lwp_explore_outcome"] == "no thread"

    assert [page.name for page in (tmp_path / "pages").iterdir()] == ["test_it.py-test_lost.html"]
    assert "<html" in (tmp_path / "pages" / "test_it.py-test_lost.html").read_text()


def test_a_mark_alone_is_summarized_too(tmp_path: Path) -> None:
    settings(tmp_path, 'runs = 40\nraces = true\njson = "out.json"')
    found = run(tmp_path, "@pytest.mark.explore\n" + RIGHT + LOST)
    assert outcomes(found) == {"passed": 2}
    assert summary(found) == (1, 40)
    assert [test["runs"] for test in json.loads((tmp_path / "out.json").read_text())] == [40]
    assert start(tmp_path, "-k", "lost").returncode == 0


# ---- what failed is kept ---------------------------------------------------------------------------------------------


def kept(folder: Path) -> list[dict[str, str]]:
    return [json.loads(file.read_text()) for file in (folder / ".lwp" / "explore").glob("*.json")]


def test_what_failed_is_replayed_first_and_forgotten_once_it_passes(tmp_path: Path) -> None:
    first = run(tmp_path, LOST + RIGHT, "--lwp-explore=300", "--tb=short")
    (found,) = kept(tmp_path)
    assert found["test"] == "test_it.py::test_lost"
    assert f"Token {found['token']}\n" in first.stdout
    assert (tmp_path / ".lwp" / "explore" / ".gitignore").read_text().endswith("\n*\n")

    again = run(tmp_path, LOST + RIGHT, "--lwp-explore=300")
    assert outcomes(again) == {"failed": 1, "passed": 1}
    assert "FOUND by a kept token, sync after 1 run, " in again.stdout
    assert f"--lwp-explore-replay {found['token']}  (kept from an earlier run)\n" in again.stdout
    assert kept(tmp_path) == [found]

    mended = LOST.replace("== 2", "in (1, 2)") + RIGHT
    assert summary(run(tmp_path, mended, "--lwp-explore=300")) == (2, 600)
    assert kept(tmp_path) == []


@pytest.mark.slow
def test_a_kept_file_that_is_damaged_is_ignored(tmp_path: Path) -> None:
    damaged = ("", "[]", '{"token": 3}', '{"token": "s-nonsense"}', '{"token": "g11-0"}')
    tests = f"@pytest.mark.parametrize('n', range({len(damaged)}))\n" + LOST.replace("()", "(n)", 1)
    run(tmp_path, tests, "--lwp-explore")
    for file, text in zip((tmp_path / ".lwp" / "explore").glob("*.json"), damaged, strict=True):
        file.write_text(text)
    found = start(tmp_path, "--lwp-explore")
    assert outcomes(found) == {"failed": len(damaged)}
    assert found.stdout.count(" - assert 1 == 2\n") == len(damaged)  # each was explored
    assert "kept from" not in found.stdout
    assert len(kept(tmp_path)) == len(damaged)


@pytest.mark.slow
def test_workers_of_xdist_have_one_seed_keep_and_replay(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    tests = "@pytest.mark.parametrize('n', range(6))\n" + LOST.replace("()", "(n)", 1)
    first = run(tmp_path, tests, "--lwp-explore", "-n", "2")
    assert len(set(re.findall(r"seed (\d+)", first.stdout))) == 1
    assert "6 found; seed" in first.stdout  # all workers have the one that is printed
    again = start(tmp_path, "--lwp-explore", "-n", "2")
    for found in (first, again):
        assert outcomes(found) == {"failed": 6}
        assert found.stdout.count("\nfound: AssertionError test_it.py:test_lost\n") == 1
    assert len(kept(tmp_path)) == 6
    assert again.stdout.count("  (kept from an earlier run)\n") == 6


# ---- what is known ---------------------------------------------------------------------------------------------------

TWO = """
a, b = threading.Lock(), threading.Lock()
class Box: n = 0

def there():
    seen = Box.n
    with a, b:
        Box.n = seen + 1

def back():
    seen = Box.n
    with b, a:
        Box.n = seen + 1

def test_two():
    Box.n = 0
    run_threads(threading.Thread(target=work) for work in (there, back))
    assert Box.n == 2
"""
LOST_ADD, DEADLOCK = "AssertionError test_it.py:test_two", "DeadlockFound test_it.py:back test_it.py:there"


def test_the_search_goes_on_behind_a_known_find(tmp_path: Path) -> None:
    settings(tmp_path, f'known = {{"{LOST_ADD}" = "to be mended"}}\ngranularity = "sync"\nkeep = false')
    found = run(tmp_path, TWO, "--lwp-explore", "--lwp-explore-strategy=dfs")
    assert outcomes(found) == {"failed": 1}
    assert not (tmp_path / ".lwp").exists()
    assert f"\nName {DEADLOCK}\n" in found.stdout
    assert re.search(rf"\nknown: {LOST_ADD}: to be mended\n  test_it.py::test_two, in [\d,]+ runs?\n", found.stdout)


@pytest.mark.parametrize("options", [(), ("--lwp-explore-workers=2",)], ids=["", "workers"])
def test_known_finds_alone_do_not_fail_the_test_and_are_listed(options: tuple[str, ...], tmp_path: Path) -> None:
    settings(tmp_path, f'known = {{"{DEADLOCK}" = "to be mended"}}')
    mark = f'@pytest.mark.explore(known=["{LOST_ADD}"])\n'
    tests = TWO.replace("def test_two", mark + "def test_two")
    files = ("--lwp-explore-json=out.json", "--junitxml=out.xml")
    found = run(tmp_path, tests, "--lwp-explore=400", *files, *options)
    assert outcomes(found) == {"passed": 1}
    assert summary(found) == (1, 400)
    assert re.search(rf"\nknown: {LOST_ADD}\n  test_it.py::test_two, in \d+ runs\n", found.stdout)
    assert re.search(rf"\nknown: {DEADLOCK}: to be mended\n  test_it.py::test_two, in \d+ runs\n", found.stdout)
    (test,) = json.loads((tmp_path / "out.json").read_text())
    assert set(test["known"]) == {LOST_ADD, DEADLOCK}
    assert "no failure except known ones:" in test["report"]
    assert 'name="lwp_explore_outcome" value="known"' in (tmp_path / "out.xml").read_text()
    assert kept(tmp_path) == []


def test_a_find_that_was_kept_and_is_known_now_is_not_replayed_again(tmp_path: Path) -> None:
    first = run(tmp_path, TWO, "--lwp-explore", "--lwp-explore-seed=1")
    (name,) = re.findall(r"\nName (.*)\n", first.stdout)
    settings(tmp_path, f'known = {{"{name}" = "to be mended"}}')
    second = run(tmp_path, TWO, "--lwp-explore", "--lwp-explore-seed=1")
    (other,) = re.findall(r"\nName (.*)\n", second.stdout)
    assert {name, other} == {LOST_ADD, DEADLOCK}


# ---- a project's own fixtures and limits -----------------------------------------------------------------------------


POOL = """
from concurrent.futures import ThreadPoolExecutor

@pytest.fixture(scope="session")
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool

def test_pool(pool):
    assert list(pool.map(abs, (1, -2))) == [1, 2]

def test_again(pool):
    assert pool.submit(abs, -3).result() == 3
"""


CHANGED = """
class Kept:
    calls = 0

@pytest.fixture(scope="module")
def kept():
    return Kept

def test_it(kept):
    both()
    kept.calls += 1
    assert kept.calls == 1
"""


RAISES = """
def test_raises():
    run_threads([threading.Thread(target=int, args=("x",))])
"""


def test_fixtures_for_all_tests_and_threads_that_may_raise(tmp_path: Path) -> None:
    """The first run ends with the threads that it has started: the pool has none in the second, and is made anew.

    New fixtures make no find of a test that keeps something. Threads may raise where the test filters that warning.
    """
    ignored = '\n@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")'
    tests = POOL + CHANGED + RAISES + ignored + RAISES.replace("raises", "may_raise")
    found = run(tmp_path, tests, "--lwp-explore=20", "-v", "--lwp-explore-json=out.json")
    came = came_to(found)
    names = ("test_pool", "test_again", "test_may_raise")
    assert {name for name, what in came.items() if what == "PASSED"} == set(names)
    told = {test["nodeid"].rpartition("::")[2]: test for test in json.loads((tmp_path / "out.json").read_text())}
    assert [told[name]["runs"] for name in names] == [20, 20, 20]
    assert "INCONCLUSIVE: the test passes when it is called first" in told["test_it"]["report"]
    assert came["test_raises"].startswith("FAILED - ValueError")


def test_a_limit_of_pytest_timeout_is_the_limit_of_the_exploration_and_not_of_all_its_runs(tmp_path: Path) -> None:
    sleeps = """
@pytest.mark.timeout(1)
def test_slow():
    run_threads([threading.Thread(target=abs, args=(1,))])
    end = os.times().elapsed + 0.05
    while os.times().elapsed < end:
        pass
"""
    found = run(tmp_path, sleeps, "--lwp-explore")
    assert outcomes(found) == {"passed": 1}
    assert 1 < summary(found)[1] < 1000


UNWOUND = """
class Box: value = 1

@pytest.fixture(scope="session")
def wider():
    yield

@pytest.fixture
def ends_late():
    yield
    threading.Lock().acquire()  # where a run that is over is unwound

def test_first(wider, monkeypatch, ends_late):
    monkeypatch.setattr(Box, "value", 2)

    async def main():
        def fail():
            raise ValueError

        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(5)

    asyncio.run(main())

def test_second():
    assert Box.value == 1
"""


def test_a_run_that_is_unwound_ends_each_fixture(tmp_path: Path) -> None:
    found = run(tmp_path, UNWOUND, "-q", "--lwp-explore=3", "--lwp-explore-seed=1")
    assert outcomes(found) == {"passed": 2}, found.stdout
