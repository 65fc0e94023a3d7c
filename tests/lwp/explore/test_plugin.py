"""`pytest --lwp-explore` and `@pytest.mark.explore`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from counted import LOST, RIGHT
from projects import came_to, outcomes, replay_command, run, start, summary


def test_a_find_fails_the_test_with_its_report(tmp_path: Path) -> None:
    found = run(tmp_path, LOST + RIGHT, "--lwp-explore", "test_it.py")  # the file is not taken for RUNS
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


def test_a_mark_explores_one_test(tmp_path: Path) -> None:
    found = run(tmp_path, RIGHT + "@pytest.mark.explore(runs=2000, strategy='random')\n" + LOST, "--strict-markers")
    assert outcomes(found) == {"failed": 1, "passed": 1}
    assert summary(found)[0] == 1


@pytest.mark.slow
def test_marks_add_up_and_prevail_as_a_decorator_does(tmp_path: Path) -> None:
    tests = """
import runtime

@pytest.mark.explore(runs=7, granularity="sync")
class TestAll:
    @pytest.mark.explore(runs=9)
    def test_a(self):
        both()
    def test_b(self):
        both()

class TestDecorated:
    @runtime.explored(runs=40)
    def test_it(self):
        both()
"""
    assert summary(run(tmp_path, tests + RIGHT)) == (3, 7 + 9 + 40)
    assert summary(start(tmp_path, "--lwp-explore=30")) == (4, 7 + 9 + 40 + 30)
    assert summary(start(tmp_path, "--lwp-explore", "test_it.py")) == (4, 7 + 9 + 40 + 1000)


def test_a_replay_of_no_token_fails_the_test(tmp_path: Path) -> None:
    found = run(tmp_path, RIGHT, "--lwp-explore-replay=nonsense")
    assert outcomes(found) == {"failed": 1}
    assert "\n--lwp-explore-replay: 'nonsense' is no token" in found.stdout


# ---- what pytest does otherwise --------------------------------------------------------------------------------------

FIXTURES = """
made, used = [], []

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

@pytest.fixture
def wanted():
    used.clear()
    yield used
    assert used, "not used"

def test_fixture(number, once, tmp_path):
    assert (number, once) == (1, 3)
    (tmp_path / "x").mkdir()
    assert made.count(1) == made.count(2) + 1 and made.count(3) == 1  # each run has its own, except of a wider scope
    both()

def test_after():
    assert made.count(1) == made.count(2) > 10

def test_uses_it(wanted):
    wanted.append(1)
    both()

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
FIXTURES_COME_TO = {
    **dict.fromkeys(("test_fixture", "test_after", "test_uses_it", "test_each[1]"), "PASSED"),
    "test_each[2]": "FAILED - assert 1 >= 2",
    "test_expected": "XFAIL",
    "test_not_as_expected": "FAILED - assert 1 == 2",
    **dict.fromkeys(("test_skips", "test_skipped"), "SKIPPED"),
    **dict.fromkeys(("test_output", "test_log"), "PASSED"),
}

CASES = """
class TestCase(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def given(self):
        self.number = 7

    def setUp(self):
        assert not hasattr(self, "seen")  # each run has a case of its own
        assert self.number == 7
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
CASES_COME_TO = {
    "TestCase::test_right": "PASSED",
    "TestCase::test_lost": "FAILED - AssertionError: Lists differ: [1] != [2]",
    "TestCase::test_expected": "XFAIL",
    "TestCase::test_unexpected": "FAILED - Failed: Unexpected success",
    **dict.fromkeys(("TestCase::test_skipped", "TestCase::test_skips"), "SKIPPED"),
}

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

def test_tasks():  # of a loop that is not asyncio's own
    loop = asyncio.AbstractEventLoop()
    asyncio._set_running_loop(loop)
    asyncio._set_running_loop(None)
"""
ASYNC_COME_TO = {
    "TestAsync::test_case": "FAILED - AssertionError: 2 != 1",
    "test_function": "FAILED - assert 2 == 1",
    "test_tasks": "PASSED",
}

#: Those of a test's own fixtures are under control, those of wider ones if the test waits for them.
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
THREADS_COME_TO = {
    "test_ended_by_a_fixture": "PASSED",
    "TestClass::test_race_with_a_thread_of_a_fixture": "FAILED - assert 1 == 2",
    **dict.fromkeys(("Test0::test_waits", "Test1::test_waits_for_some_time", "Test3::test_right"), "PASSED"),
    "Test2::test_deadlock": "FAILED - lwp.explore.results.DeadlockFound: DEADLOCK: MainThread waits for lock",
}

#: Never a pass.
WRONG = """
kept = []

def test_keeps_state():
    both()
    kept.append(1)
    assert len(kept) < 2

@pytest.mark.explore(strategy="luck")
def test_luck():
    both()

@pytest.mark.explore(runs=-1)
def test_no_runs():
    both()
"""
WRONG_COME_TO = {
    "test_keeps_state": "FAILED - lwp.explore.results.Changing: the test passes when it is called first",
    "test_luck": "FAILED - Failed: @pytest.mark.explore: strategy 'luck' is not one of auto",
    "test_no_runs": "FAILED - Failed: @pytest.mark.explore: runs must be a whole number from 1 on, not -1",
}


def test_fixtures_marks_and_outcomes(tmp_path: Path) -> None:
    """As without exploring, in each run. One project has the tests of all kinds."""
    tests = FIXTURES + CASES + ASYNC + THREADS_OF_FIXTURES + WRONG
    wanted = FIXTURES_COME_TO | CASES_COME_TO | ASYNC_COME_TO | THREADS_COME_TO | WRONG_COME_TO
    found = run(tmp_path, tests, "--lwp-explore=200", "-v")
    came = came_to(found)
    assert {name: what[: len(wanted.get(name, what))] for name, what in came.items()} == wanted
    assert "INCONCLUSIVE: the test passes when it is called first, and fails when it is called again" in found.stdout
    assert "\n@pytest.mark.explore: strategy 'luck'" in found.stdout
    told = [line for line in found.stdout.splitlines() if line.startswith("not explored")]
    assert told == ["not explored: test_it.py::test_tasks as to the order of its tasks of asyncio"]
    for name in ("TestCase::test_lost", "TestAsync::test_case", "test_function"):
        token = re.search(rf"pytest test_it.py::{name} --lwp-explore-replay (\S+)", found.stdout)
        assert token is not None
        assert outcomes(start(tmp_path, f"test_it.py::{name}", "--lwp-explore-replay", token[1])) == {"failed": 1}
