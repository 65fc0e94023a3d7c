"""`pytest --lwp-explore` and `@pytest.mark.explore`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from counted import LOST, RIGHT
from projects import outcomes, replay_command, run, start, summary


def test_a_find_fails_the_test_with_its_report(tmp_path: Path) -> None:
    found = run(tmp_path, LOST + RIGHT, "--lwp-explore")
    assert outcomes(found) == {"failed": 1, "passed": 1}
    failure = found.stdout.partition("FAILURES")[2]
    assert "FOUND" in failure
    assert "explorer.py" not in failure  # no frames of the explorer's
    assert "exploration.py" not in failure
    assert "session.py" not in failure
    assert failure.count("counted 1") == 1  # what the run printed that is told of, and no other
    assert "counted 2" not in failure
    assert "FAILED test_it.py::test_lost - assert 1 == 2" in found.stdout
    tests, runs = summary(found)
    assert tests == 2
    assert 1000 < runs < 2000


def test_an_early_timeout_fails_only_if_it_was_asked_for(tmp_path: Path) -> None:
    tests = """
import asyncio
def test_it():
    async def main():
        async with asyncio.timeout(1):
            await asyncio.sleep(0.9)
    asyncio.run(main())
"""
    for _ in range(2):  # nothing is kept that would fail the next time
        found = run(tmp_path, tests, "--lwp-explore")
        assert outcomes(found) == {"passed": 1}
        assert "early timeout: TimeoutError test_it.py:" in found.stdout
    asked = run(tmp_path, tests, "--lwp-explore", "--lwp-explore-early-timeouts")
    assert outcomes(asked) == {"failed": 1}


@pytest.mark.slow
def test_the_command_that_it_gives_finds_it_again(tmp_path: Path) -> None:
    """From the folder in which pytest was started, whatever the root is."""
    (tmp_path / "pytest.ini").touch()
    folder = tmp_path / "sub folder"
    folder.mkdir()
    parametrized = "@pytest.mark.parametrize('least', ['a b', 2])\ndef test_it(least):\n    assert both() == 2\n"
    command = replay_command(run(folder, parametrized, "--lwp-explore", "-x"))
    again = start(folder, *command)
    assert outcomes(again) == {"failed": 1}
    assert "counted 1" in again.stdout
    assert replay_command(again) == command


@pytest.mark.slow
def test_a_replay_of_a_test_that_was_mended_is_no_find(tmp_path: Path) -> None:
    command = replay_command(run(tmp_path, LOST, "--lwp-explore"))
    again = run(tmp_path, "def test_lost():\n    pass\n", *command)
    assert outcomes(again) == {"failed": 1}
    assert "INCONCLUSIVE" in again.stdout


@pytest.mark.slow
def test_runs(tmp_path: Path) -> None:
    assert summary(run(tmp_path, RIGHT, "--lwp-explore=30")) == (1, 30)
    assert summary(run(tmp_path, RIGHT, "--lwp-explore", "test_it.py")) == (1, 1000)  # the file is not taken for RUNS
    marked = "@pytest.mark.explore(runs=20)\n"
    assert summary(run(tmp_path, marked + RIGHT, "--lwp-explore=30")) == (1, 20)


def test_a_mark_explores_one_test(tmp_path: Path) -> None:
    found = run(tmp_path, RIGHT + "@pytest.mark.explore(runs=2000, strategy='random')\n" + LOST, "--strict-markers")
    assert outcomes(found) == {"failed": 1, "passed": 1}
    assert summary(found)[0] == 1


@pytest.mark.slow
def test_marks_of_a_class_and_a_function_add_up(tmp_path: Path) -> None:
    tests = """
@pytest.mark.explore(runs=7, granularity="sync")
class TestAll:
    @pytest.mark.explore(runs=9)
    def test_a(self):
        both()
    def test_b(self):
        both()
"""
    assert summary(run(tmp_path, tests)) == (2, 16)


def test_without_either_nothing_is_explored_or_loaded(tmp_path: Path) -> None:
    tests = "import sys\ndef test():\n    assert not [m for m in sys.modules if m.startswith(('runtime', 'lwp.'))]\n"
    found = run(tmp_path, tests)
    assert outcomes(found) == {"passed": 1}
    assert "explored" not in found.stdout


@pytest.mark.parametrize(
    ("mark", "options", "message"),
    [
        ("runs=5, depth=3", [], "@pytest.mark.explore has no option depth: its options are strategy, runs, seconds, "),
        ("5", [], "@pytest.mark.explore has no option 5: its options are strategy, runs"),
        ("", ["--lwp-explore=many"], "--lwp-explore=many: RUNS is a whole number from 1 on"),
        ("", ["--lwp-explore=0"], "--lwp-explore=0: RUNS is a whole number from 1 on"),
        ("", ["--lwp-explore-replay=s-1"], "--lwp-explore-replay is for one test, and 2 are selected"),
    ],
)
def test_wrong_usage(mark: str, options: list[str], message: str, tmp_path: Path) -> None:
    found = run(tmp_path, f"@pytest.mark.explore({mark})\n" + RIGHT + LOST, *options)
    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in found.stdout + found.stderr


@pytest.mark.parametrize(
    ("mark", "options", "message"),
    [
        ("@pytest.mark.explore(strategy='luck')\n", [], "@pytest.mark.explore: .*'luck'"),
        ("@pytest.mark.explore(runs=-1)\n", [], "@pytest.mark.explore: runs must be a whole number from 1 on, not -1"),
        ("", ["--lwp-explore-replay=nonsense"], "--lwp-explore-replay: 'nonsense' is no token"),
    ],
)
def test_options_out_of_bounds_fail_the_test(mark: str, options: list[str], message: str, tmp_path: Path) -> None:
    found = run(tmp_path, mark + RIGHT, *options)
    assert outcomes(found) == {"failed": 1}
    assert re.search(f"^{message}", found.stdout, re.MULTILINE), found.stdout


# ---- what pytest does otherwise --------------------------------------------------------------------------------------


def test_fixtures_marks_and_outcomes(tmp_path: Path) -> None:
    tests = """
made = []

@pytest.fixture
def number(tmp_path):
    made.append(1)
    yield 1
    made.append(2)

@pytest.fixture(scope="module")
def once():
    made.append(3)
    yield 3
    made.append(4)

def test_fixture(number, once, tmp_path):
    assert (number, once) == (1, 3)
    (tmp_path / "x").mkdir()
    assert made.count(1) == made.count(2) + 1 and made.count(3) == 1  # each run has its own, except of a wider scope
    both()

def test_after():
    assert made.count(1) == made.count(2) > 10

@pytest.mark.parametrize("least", [1, 2])
def test_each(least):
    assert both() >= least

@pytest.mark.xfail(raises=AssertionError, strict=True)
def test_expected():
    assert both() == 2

@pytest.mark.xfail(raises=ValueError)
def test_not_as_expected():
    assert both() == 2

def test_skips():
    pytest.skip("not here")

@pytest.mark.skip
def test_skipped():
    raise AssertionError

def test_output(capsys):
    print("said")
    assert capsys.readouterr().out == "said\\n"

def test_log(caplog):
    logging.warning("said")
    assert caplog.messages == ["said"]
"""
    found = run(tmp_path, tests, "--lwp-explore=300")
    assert outcomes(found) == {"failed": 2, "passed": 5, "skipped": 2, "xfailed": 1}
    assert "FAILED test_it.py::test_each[2] - assert 1 >= 2" in found.stdout
    assert "FAILED test_it.py::test_not_as_expected - assert 1 == 2" in found.stdout


CASES = """
class TestCase(unittest.TestCase):
    def setUp(self):
        self.seen = []

    def tearDown(self):
        self.assertEqual(len(self.seen), 1)

    def test_right(self):
        self.seen.append(both())

    def test_lost(self):
        self.seen.append(both())
        self.assertEqual(self.seen, [2])

    @unittest.expectedFailure
    def test_expected(self):
        self.seen.append(both())
        self.assertEqual(self.seen, [2])

    @unittest.expectedFailure
    def test_unexpected(self):
        self.seen.append(both())

    @unittest.skip("not today")
    def test_skipped(self):
        raise AssertionError

    def test_skips(self):
        self.skipTest("not here")
"""


@pytest.mark.slow
def test_methods_of_a_test_case_are_set_up_in_each_run(tmp_path: Path) -> None:
    found = run(tmp_path, CASES, "--lwp-explore=300")
    assert outcomes(found) == {"failed": 2, "passed": 1, "skipped": 2, "xfailed": 1}
    assert re.search(
        r"FAILED test_it.py::TestCase::test_lost - AssertionError: Lists differ: \[1\] != \[2\]", found.stdout
    )
    assert "FAILED test_it.py::TestCase::test_unexpected - Failed: Unexpected success" in found.stdout
    assert outcomes(start(tmp_path, *replay_command(found))) == {"failed": 1}


ASYNC = """
async def append(numbers, number):
    await asyncio.sleep(0.01)
    numbers.append(number)

async def one_first():
    numbers = []
    await asyncio.gather(append(numbers, 1), append(numbers, 2))
    assert numbers[0] == 1

class TestAsync(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.numbers = []
    async def test_case(self):
        await asyncio.gather(append(self.numbers, 1), append(self.numbers, 2))
        self.assertEqual(self.numbers[0], 1)

async def test_function():
    await one_first()
"""


@pytest.mark.slow
def test_async_tests_are_explored(tmp_path: Path) -> None:
    found = run(tmp_path, ASYNC, "--lwp-explore=50")
    assert outcomes(found) == {"failed": 2}
    for name in ("test_it.py::TestAsync::test_case", "test_it.py::test_function"):
        token = re.search(rf"pytest {name} --lwp-explore-replay (\S+)", found.stdout)
        assert token is not None
        assert outcomes(start(tmp_path, name, "--lwp-explore-replay", token[1])) == {"failed": 1}


def test_tests_whose_loops_are_not_asyncios_own_are_listed(tmp_path: Path) -> None:
    test = """
def test_tasks():
    loop = asyncio.AbstractEventLoop()
    asyncio._set_running_loop(loop)
    asyncio._set_running_loop(None)
"""
    found = run(tmp_path, test + RIGHT, "--lwp-explore=10")
    assert outcomes(found) == {"passed": 2}
    assert "\n1 test starts no thread\n" in found.stdout
    told = [line for line in found.stdout.splitlines() if line.startswith("not explored")]
    assert told == ["not explored: test_it.py::test_tasks as to the order of its tasks of asyncio"]


@pytest.mark.slow
def test_decorated_tests_are_explored_once(tmp_path: Path) -> None:
    tests = "import runtime\nclass TestIt:\n    @runtime.explored(runs=40)\n    def test_right(self):\n        both()\n"
    assert summary(run(tmp_path, tests)) == (1, 40)
    assert summary(run(tmp_path, tests, "--lwp-explore=10")) == (1, 40)


@pytest.mark.slow
def test_workers_of_xdist(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    found = run(tmp_path, LOST + RIGHT, "--lwp-explore=100", "-n", "2")
    assert outcomes(found) == {"failed": 1, "passed": 1}
    assert summary(found)[0] == 2
    assert "FAILED test_it.py::test_lost - assert 1 == 2" in found.stdout
    assert outcomes(start(tmp_path, *replay_command(found))) == {"failed": 1}


def test_on_installed_threads(tmp_path: Path) -> None:
    found = run(tmp_path, LOST + RIGHT, "--lwp", "--lwp-explore=100")
    assert outcomes(found) == {"failed": 1, "passed": 1}


# ---- never a pass ----------------------------------------------------------------------------------------------------


def test_state_kept_from_run_to_run_fails(tmp_path: Path) -> None:
    tests = "kept = []\ndef test_it():\n    both()\n    kept.append(1)\n    assert len(kept) < 2\n"
    found = run(tmp_path, tests, "--lwp-explore")
    assert outcomes(found) == {"failed": 1}
    assert "INCONCLUSIVE: the test passes when it is called first, and fails when it is called again" in found.stdout


OUTSIDE = """
@pytest.fixture(scope="class")
def server():
    asked, answers = queue.Queue(), queue.Queue()

    def work():
        while (what := asked.get()) is not None:
            time.sleep(0.01)
            answers.put(what + 1)

    thread = threading.Thread(target=work, name="server of the fixture")
    thread.start()
    yield asked, answers
    asked.put(None)
    thread.join()

class Test0:
    def test_waits(self, server):
        asked, answers = server
        asked.put(1)
        assert answers.get() == 2

class Test1:
    def test_waits_for_some_time(self, server):
        asked, answers = server
        asked.put(1)
        assert answers.get(timeout=1000) == 2

class Test2:
    def test_deadlock(self, server):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

class Test3:
    def test_right(self, server):
        both()
"""


THREADS_OF_FIXTURES = """
@pytest.fixture
def threads():
    threads = []
    yield threads
    for thread in threads:
        thread.go_on.set()
        thread.join()

@pytest.fixture
def waiting(threads):
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.go_on = go_on
    thread.start()
    threads.append(thread)
    return thread

def test_ended_by_a_fixture(waiting):
    assert waiting.is_alive()

class TestClass:
    def setup_method(self):
        self.lock, self.count = threading.Lock(), 0

    def test_race_with_a_thread_of_a_fixture(self, threads):
        def add():
            with self.lock:
                seen = self.count
            with self.lock:
                self.count = seen + 1

        thread = threading.Thread(target=add)
        thread.go_on = threading.Event()
        threads.append(thread)
        thread.start()
        add()
        thread.join()
        assert self.count == 2
"""


def test_threads_of_a_test_s_own_fixtures_are_under_control(tmp_path: Path) -> None:
    found = run(tmp_path, THREADS_OF_FIXTURES, "--lwp-explore=200")
    assert outcomes(found) == {"failed": 1, "passed": 1}
    assert "FAILED test_it.py::TestClass::test_race_with_a_thread_of_a_fixture" in found.stdout
    assert "self.count == 2" in found.stdout


def test_threads_of_wider_fixtures_are_under_control_if_the_test_waits_for_them(tmp_path: Path) -> None:
    found = run(tmp_path, OUTSIDE, "--lwp-explore=50")
    assert outcomes(found) == {"failed": 1, "passed": 3}
    assert "FAILED test_it.py::Test2::test_deadlock - " in found.stdout
    assert "DeadlockFound" in found.stdout


UNUSED = """
used = []

@pytest.fixture
def wanted():
    used.clear()
    yield used
    assert used, "not used"

def test_uses_it(wanted):
    wanted.append(1)
    both()
"""


def test_a_fixture_that_must_be_used(tmp_path: Path) -> None:
    assert outcomes(run(tmp_path, UNUSED, "--lwp-explore=20")) == {"passed": 1}


CASE_ONCE = """
import unittest

class TestOnce(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def given(self):
        self.number = 7

    def setUp(self):
        assert not hasattr(self, "is_set_up")
        self.is_set_up = True

    def test_it(self):
        assert self.number == 7
        both()
"""


def test_a_case_is_made_for_each_run(tmp_path: Path) -> None:
    assert outcomes(run(tmp_path, CASE_ONCE, "--lwp-explore=20")) == {"passed": 1}
