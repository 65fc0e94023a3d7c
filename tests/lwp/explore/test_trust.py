"""A find is a bug: a clock that goes on and a test that is long raise no alarm, and explore() comes back in time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
from conftest import SLOW, in_child, run_thread
from corpus import together
from explored import PASSES, comes_to, passes, passing

from lwp.explore import DeadlockFound, Outcome, explore, replay


def two_adds(lock: threading.Lock, count: list[int]) -> Callable[[], None]:
    """Loses an addition if two threads do it at once."""

    def add() -> None:
        with lock:
            seen = count[0]
        with lock:
            count[0] = seen + 1

    return add


def takes(lock: threading.Lock, times: int) -> Callable[[], None]:
    """Takes the lock so many times, one after the other."""

    def work() -> None:
        for _ in range(times):
            with lock:
                pass

    return work


# ---- timeouts that fire early ----------------------------------------------------------------------------------------


def safe(with_race: bool) -> None:
    """All its waits have a limit that turns a hang into a failure."""
    lock, count, done = threading.Lock(), [0], threading.Semaphore(0)
    barrier = threading.Barrier(2, timeout=10)
    add = two_adds(lock, count)

    def work() -> None:
        barrier.wait()
        add()
        done.release()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        assert done.acquire(timeout=10)
        thread.join(timeout=5)
        assert not thread.is_alive()
    assert count[0] in ((2,) if with_race else (1, 2))


@passing(runs=500)
def test_a_safety_timeout_does_not_fire() -> None:
    safe(with_race=False)


def test_early_timeouts_are_tried_last_and_are_an_outcome_of_their_own() -> None:
    result = explore(lambda: safe(with_race=False), runs=400, seed=1, early_timeouts=True)
    assert result.outcome is Outcome.EARLY_TIMEOUT
    assert result.runs > 300
    assert replay(lambda: safe(with_race=False), result.token).outcome is Outcome.EARLY_TIMEOUT
    with pytest.raises((AssertionError, threading.BrokenBarrierError)):
        result.check()
    result = explore(lambda: safe(with_race=True), runs=4000, seed=1, early_timeouts=True)
    assert result.outcome is Outcome.FOUND


# ---- the clock goes on -----------------------------------------------------------------------------------------------


def poll_the_clock() -> None:
    end = time.monotonic() + 0.01
    while time.monotonic() < end:
        pass


def poll_and_yield() -> None:
    end = time.perf_counter() + 0.01
    while time.perf_counter() < end:
        time.sleep(0)


def poll_under_a_lock() -> None:
    end, lock = time.time() + 1, threading.Lock()
    while time.time() < end:
        with lock:
            pass


@pytest.mark.parametrize("poll", [poll_the_clock, poll_and_yield, poll_under_a_lock])
def test_a_loop_until_a_time_ends(poll: Callable[[], None]) -> None:
    passes(lambda: together(poll, poll), runs=20)


@passing(runs=20)
def test_a_loop_that_sleeps_until_a_time_takes_that_time() -> None:
    """A look at the clock takes longer than the one before only in a loop that does nothing else."""

    def pace() -> None:
        begin = time.monotonic()
        while time.monotonic() < begin + 3:
            time.sleep(0.1)
        assert time.monotonic() < begin + 3.2

    together(pace, pace)


@passing(runs=20)
def test_looks_at_the_clock_between_work_that_is_not_seen_take_little_time() -> None:
    def stamps() -> None:
        begin = time.monotonic()
        for number in range(150):
            name = f"{number}-{time.monotonic()}"
            os.stat("/" if name else ".")
        assert time.monotonic() < begin + 1

    together(stamps, stamps)


@passing()
def test_a_thread_that_polls_sees_what_others_do_meanwhile() -> None:
    done: list[int] = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    end = time.monotonic() + 60
    while time.monotonic() < end and not done:
        pass
    assert done
    thread.join()


@passing(runs=20)
def test_a_sleep_ends_beside_a_thread_that_polls() -> None:
    lock, done = threading.Lock(), threading.Event()

    def slow() -> None:
        for _ in range(5):
            time.sleep(0.01)
        done.set()

    def poll() -> None:
        while not done.is_set():
            with lock:
                pass

    together(slow, poll)


@passing(runs=10)
def test_a_sleep_lasts_beside_a_thread_that_sleeps_now_and_then() -> None:
    lock, sent = threading.Lock(), []

    def sends() -> None:
        for number in range(100):
            takes(lock, 30)()
            sent.append(number)
            time.sleep(0.01)

    thread = threading.Thread(target=sends, daemon=True)
    thread.start()
    time.sleep(2)
    assert len(sent) == 100


def works_for_less_than_5_seconds(times: int) -> None:
    worker = threading.Thread(target=takes(threading.Lock(), times))
    worker.start()
    worker.join(timeout=5)
    assert not worker.is_alive()


@passing(runs=6)
def test_a_limit_of_time_holds_beside_a_heartbeat_and_work() -> None:
    """A sleep that ends does not take the clock beyond a timeout that is later."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.is_set():
            time.sleep(1)

    heart = threading.Thread(target=beat)
    heart.start()
    works_for_less_than_5_seconds(4000)
    stop.set()
    heart.join()


@passing(runs=4, says="from step 20,000 on threads took turns only")
def test_a_limit_of_time_holds_beside_work_of_more_steps_than_usual() -> None:
    works_for_less_than_5_seconds(25_000)


@passing(says="    at sync: ")  # a thread that comes to no point is not explored there
def test_a_loop_that_asks_a_socket_without_waiting_lets_others_go_first() -> None:
    here, there = socket.socketpair()
    here.setblocking(False)
    answers: list[bytes] = []

    def asks() -> None:
        while not answers:
            with contextlib.suppress(BlockingIOError):
                answers.append(here.recv(10))

    together(asks, lambda: there.send(b"x"))
    here.close()
    there.close()
    assert answers == [b"x"]


def test_data_that_comes_later_than_others_can_wait_is_waited_for() -> None:
    """A thread that is not explored answers when its time has come, which is not the run's."""
    here, there = socket.socketpair()

    def answers() -> None:
        while there.recv(1):
            time.sleep(0.02)
            with contextlib.suppress(BrokenPipeError):  # no run waits any more
                there.send(b"x")

    server = threading.Thread(target=answers)
    server.start()

    def asks() -> None:
        here.settimeout(5)
        here.send(b"x")
        assert here.recv(1) == b"x"

    try:
        passes(lambda: together(asks), runs=5)
    finally:
        here.close()
        server.join()
        there.close()


@passing(runs=20)
def test_polling_a_pipe_within_the_program() -> None:
    from multiprocessing import Pipe

    reading, writing = Pipe(duplex=False)
    thread = threading.Thread(target=writing.send, args=("x",))
    thread.start()
    while not reading.poll(0):
        time.sleep(0.001)
    assert reading.recv() == "x"
    thread.join()
    reading.close()
    writing.close()


@passing(runs=5)
def test_a_process_takes_time_in_earnest() -> None:
    def run() -> None:
        done = subprocess.run(["/bin/echo", "x"], stdout=subprocess.PIPE, timeout=10, check=True)
        assert done.stdout == b"x\n"
        subprocess.run(["/bin/sleep", "0.02"], timeout=10, check=True)

    together(run, run)


def test_a_run_that_takes_much_longer_than_those_before_is_given_up() -> None:
    """Otherwise a test that polls for a process would go on for hours: each of its sleeps lasts some time."""
    child = subprocess.Popen(["/bin/sleep", "1000"])
    calls = [0]

    def test() -> None:
        calls[0] += 1
        together(int)
        while calls[0] > 1 and child.poll() is None:
            time.sleep(0.05)

    try:
        result = explore(test, runs=20, seed=1)
    finally:
        child.kill()
        child.wait()
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "what an earlier call of the test has changed" in result.report()


@passing(runs=6)
def test_a_process_has_the_same_time_as_the_test() -> None:
    def ask() -> None:
        done = subprocess.run(["/bin/sh", "-c", "sleep 0.3; date +%s.%N"], stdout=subprocess.PIPE, check=True)
        assert abs(float(done.stdout) - time.time()) < 1

    together(ask)


# ---- livelocks -------------------------------------------------------------------------------------------------------


def test_a_long_test_is_no_livelock() -> None:
    def test() -> None:
        together(*[takes(threading.Lock(), 300)] * 2)

    result = explore(test, runs=20, seed=1, granularity="sync", max_steps=500)
    assert result.outcome is Outcome.BUDGET_SPENT
    assert "from step 500 on threads took turns only: --max-steps" in result.report()
    assert "chance, at most" not in result.report()
    assert "took turns" not in passes(test, runs=20).report()


def test_a_find_at_the_end_of_a_long_test() -> None:
    def test() -> None:
        lock, count = threading.Lock(), [0]
        together(*[takes(lock, 300)] * 2, *[two_adds(lock, count)] * 2)
        assert count[0] == 2

    result = explore(test, runs=200, seed=1, granularity="sync", max_steps=500)
    assert result.outcome is Outcome.FOUND
    assert result.replays == 10
    assert result.token
    assert replay(test, result.token, max_steps=500).outcome is Outcome.FOUND


def test_turns_in_a_long_test_end_only_where_a_gil_could_switch() -> None:
    """Neither the turns past the limit nor the end of a long turn before it are deviations of the plan."""

    class Counter:
        value = 0

    for begun in (0, 300):

        def test(begun: int = begun) -> None:
            lock, counter = threading.Lock(), Counter()

            def add() -> None:
                takes(lock, begun)()
                for _ in range(3000):
                    counter.value += 1

            together(add, add)
            assert counter.value == 6000

        result = explore(test, runs=30, seed=1, granularity="opcode", strategy="pct:1", max_steps=500)
        assert result.outcome in PASSES, result.report()


@comes_to(Outcome.INCONCLUSIVE, says="--max-steps", runs=20, seed=1, max_steps=500)
def test_a_loop_that_counts_is_no_livelock() -> None:
    together(*[takes(threading.Lock(), 1_000_000)] * 2)


CUT = "the last run had not ended after 10,000 steps: --max-steps is for a longer test"


@comes_to(Outcome.BUDGET_SPENT, says=CUT, runs=20, seed=1, max_steps=500, strategy="random", granularity="sync")
def test_a_run_that_is_cut_is_told_and_the_runs_before_count() -> None:
    lock, done = threading.Lock(), []
    together(lambda: done.append(1), lambda: takes(lock, 1 if done else 20_000)())


def test_what_the_collector_has_of_the_runs_before_is_given_back_when_it_lacks() -> None:
    def test() -> None:
        together(int)
        keeps: list[object] = [open(os.devnull, "rb")]  # noqa: SIM115
        keeps.append(keeps)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 200), hard))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            assert passes(test, runs=400).runs == 400
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@comes_to(Outcome.BUDGET_SPENT, runs=10, seed=1, max_steps=500)
def test_a_thread_that_is_alone_goes_on() -> None:
    lock, count = threading.Lock(), [0]
    for _ in range(60_000):
        abs(1)
    for _ in range(2000):
        with lock:
            count[0] += 1
    together(*[two_adds(lock, count)] * 2)
    assert count[0] >= 2001


# ---- deadlocks beside threads that go on -----------------------------------------------------------------------------


def take_both(first: threading.Lock, second: threading.Lock) -> None:
    with first, second:
        pass


def test_a_circle_is_found_in_the_step_that_closes_it() -> None:
    def test() -> None:
        one, other, stop = threading.Lock(), threading.Lock(), threading.Event()

        def beat() -> None:
            while not stop.wait(0.01):
                pass

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        together(lambda: take_both(one, other), lambda: take_both(other, one))
        stop.set()
        heart.join()

    result = explore(test, runs=2000, seed=1)
    assert isinstance(result.error, DeadlockFound)
    assert "2 of 4 threads wait for each other" in result.report()
    assert result.replays == 10


@passing()
def test_a_lock_that_is_a_signal_makes_no_circle() -> None:
    """Two threads wait for what the other has, until a third one gives both."""
    one, other = threading.Lock(), threading.Lock()
    have = threading.Barrier(3)

    def take(mine: threading.Lock, yours: threading.Lock) -> None:
        mine.acquire()
        have.wait()
        yours.acquire()

    threads = [threading.Thread(target=take, args=pair) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    have.wait()
    time.sleep(1)
    one.release()
    other.release()
    for thread in threads:
        thread.join()


# ---- it comes back ---------------------------------------------------------------------------------------------------


def heartbeat() -> None:
    active = threading.Event()

    def beat() -> None:
        active.set()
        while True:
            time.sleep(0.001)

    threading.Thread(target=beat, daemon=True).start()
    active.wait(10)
    assert active.is_set()


def end_a_pool() -> None:
    pool = ThreadPool(1)
    pool.apply(int, ("3",))
    pool.terminate()


def loops() -> None:
    def loop() -> None:
        while True:
            pass

    together(loop)


@pytest.mark.parametrize("test", [heartbeat, end_a_pool, loops])
def test_it_is_back_in_time(test: Callable[[], None]) -> None:
    began = time.monotonic()
    explore(test, seconds=1, runs=1_000_000, seed=1)
    assert time.monotonic() - began < 3 * SLOW


@pytest.mark.parametrize("slow", [SLOW])
@in_child
def test_it_is_back_in_time_though_threads_do_not_end(slow: float) -> None:  # each of them stays, with its stack
    import contextlib

    from lwp.explore import explore

    def catches_all() -> None:
        def stay() -> None:
            while True:
                with contextlib.suppress(BaseException):
                    time.sleep(1)

        threading.Thread(target=stay, daemon=True).start()

    def blocks_in_c() -> None:
        run_thread(threading.Thread(target=lambda: ctypes.CDLL(None).sleep(1000)))

    for test in (catches_all, blocks_in_c):
        began = time.monotonic()
        explore(test, seconds=1, runs=1_000_000, seed=1)
        assert time.monotonic() - began < 3 * slow, test


@in_child
def test_a_thread_that_comes_to_no_point_is_told_by_what_it_does() -> None:
    """The LWP still sleeps when the next run would begin, which would take it for one from before the test."""
    import hashlib

    from lwp.explore import explore
    from runtime.scheduler import spawn

    sleep = ctypes.CDLL(None).sleep

    def waits_for_a_call() -> None:
        run_thread(threading.Thread(target=sleep, args=(3,)))

    def waits_for_an_lwp() -> None:
        run_thread(threading.Thread(target=lambda: spawn(sleep, (3,)).join()))

    def computes() -> None:
        run_thread(threading.Thread(target=lambda: hashlib.pbkdf2_hmac("sha1", b"", b"", 10**8)))

    blocked, spins = "a thread is blocked in a call", "a thread spins or computes"
    for test, told in (waits_for_a_call, blocked), (waits_for_an_lwp, blocked), (computes, spins):
        report = explore(test, runs=3, seed=1, early_timeouts=False).report()
        assert report.startswith(f"INCONCLUSIVE: {told}"), report


def test_a_daemon_that_sleeps_for_ever_ends_with_its_run() -> None:
    began = time.monotonic()
    result = explore(heartbeat, runs=500, seed=1, early_timeouts=True)
    assert result.outcome is Outcome.EARLY_TIMEOUT
    assert time.monotonic() - began < 10 * SLOW  # not two seconds for each of its runs


def test_ctrl_c_ends_a_run_that_does_not_end(tmp_path: Path) -> None:
    (tmp_path / "it.py").write_text("def test():\n    print('begun', file=open('begun', 'w'))\n    while True: pass\n")
    command = [sys.executable, "-m", "runtime", "explore", "it.py::test"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, 2)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
