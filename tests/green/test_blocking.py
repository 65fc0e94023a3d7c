"""scheduler.blocking(): calls on helper LWPs, while other green threads run."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Child

import runtime
from runtime import native, scheduler, sync
from runtime.scheduler import blocking

pytestmark = pytest.mark.timeout(30)
libc = ctypes.CDLL(None)


def test_without_a_scheduler_it_is_a_plain_call() -> None:
    def look(number: int, *, more: int) -> tuple[int, int]:
        return threading.get_ident(), number + more

    started = scheduler.statistics().started
    assert blocking(look, 1, more=2) == (threading.get_ident(), 3)
    assert blocking(dict, function=1) == {"function": 1}
    with pytest.raises(ZeroDivisionError):
        blocking(divmod, 1, 0)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'function'"):
        blocking()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="not callable"):
        blocking(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_helper"):
        native.on_helper(int, [], None, True, None)  # type: ignore[arg-type]
    assert scheduler.statistics().started == started


@pytest.mark.parametrize("options", [(1, None), (3, None), (1, 0.005)], ids=["one LWP", "three LWPs", "time slice"])
def test_others_run_while_it_blocks(options: tuple[int, float | None], child: Child) -> None:
    def others_run(options: tuple[int, float | None]) -> None:
        green, turns = scheduler.Scheduler(*options), []
        read, write = os.pipe()
        helper: list[tuple[int, str]] = []

        def block() -> None:
            libc_read = ctypes.CDLL(None).read  # releases the GIL
            assert scheduler.blocking(libc_read, read, ctypes.create_string_buffer(1), 1) == 1
            helper.append(scheduler.blocking(look))
            turns.append("read")

        def look() -> tuple[int, str]:
            return threading.get_native_id(), Path("/proc/thread-self/comm").read_text().strip()

        def turn() -> None:
            for _ in range(1000):
                scheduler.yield_()
            turns.append("turned")
            os.write(write, b".")

        green.spawn(block)
        green.spawn(turn)
        green.run()
        assert turns == ["turned", "read"]
        ((tid, name),) = helper
        assert name == "lwp-helper"
        assert tid != threading.get_native_id()
        assert threading.enumerate() == [threading.main_thread()]
        assert runtime.native.running() == 0, "which _thread._count() adds"

    child(others_run, options)


def test_the_main_thread_of_install(child: Child) -> None:
    def main_blocks() -> None:
        runtime.install(green=True, time_slice=None)
        read, write = os.pipe()
        thread = threading.Thread(target=os.write, args=(write, b"."))
        thread.start()
        assert scheduler.blocking(ctypes.CDLL(None).read, read, ctypes.create_string_buffer(1), 1) == 1
        thread.join()

    child(main_blocks)


def test_at_most_32_at_a_time(child: Child) -> None:
    def many() -> None:
        green = scheduler.Scheduler()
        read, write = os.pipe()
        begun: list[int] = []
        order: list[int] = []

        def wait(number: int) -> None:
            begun.append(number)
            assert os.read(read, 1) == b"."

        def call(number: int) -> None:
            scheduler.blocking(wait, number)
            order.append(number)

        def let_go() -> None:
            while len(begun) < 32:
                scheduler.yield_()
            runtime.native.on_helper(lambda: None, (), None, False, None)  # not bounded: doesn't wait for its turn
            assert len(begun) == 32
            for count in range(100):
                os.write(write, b".")
                while len(order) <= count:
                    scheduler.yield_()
                assert len(begun) <= 33 + count
                assert len(os.listdir("/proc/self/task")) <= 1 + 32 + 1

        for number in range(100):
            green.spawn(call, number)
        green.spawn(let_go)
        green.run()
        assert begun[32:] == list(range(32, 100)), "in turn"
        assert sorted(order) == sorted(begun) == list(range(100))

    child(many)


def test_helpers_are_used_again_and_end(child: Child) -> None:
    def ends() -> None:
        green = scheduler.Scheduler()

        def call() -> None:
            for _ in range(100):
                scheduler.blocking(int)

        call()
        green.spawn(call)
        green.run()
        assert scheduler.statistics().started == 2, "the caller and one helper"
        while scheduler.statistics().alive or len(os.listdir("/proc/self/task")) > 1:  # else the test's time is up
            time.sleep(0.1)
        green.spawn(call)
        green.run()

    child(ends)


def test_exceptions(child: Child) -> None:
    def exceptions() -> None:
        green, seen = scheduler.Scheduler(), []

        def fail(error: BaseException) -> None:
            raise error

        def call(kind: type[BaseException]) -> None:
            error = kind("why")
            try:
                try:
                    raise KeyError("before")
                except KeyError:
                    scheduler.blocking(fail, error)
            except BaseException as caught:
                seen.append((kind, error, caught))

        kinds = [ValueError, SystemExit, KeyboardInterrupt]
        for kind in kinds:
            green.spawn(call, kind)
        green.run()
        assert {kind for kind, _, _ in seen} == set(kinds)
        for _, error, caught in seen:
            assert caught is error
            assert isinstance(caught.__context__, KeyError)
            frames = []
            traceback = caught.__traceback__
            while traceback:
                frames.append(traceback.tb_frame.f_code.co_name)
                traceback = traceback.tb_next
            assert frames == ["call", "fail"]

    child(exceptions)


def test_context_variables(child: Child) -> None:
    def context() -> None:
        import contextvars

        green = scheduler.Scheduler()
        variable = contextvars.ContextVar("variable", default=0)

        def look() -> int:
            found = variable.get()
            variable.set(-1)
            return found

        def call(number: int) -> None:
            variable.set(number)
            assert scheduler.blocking(look) == number
            assert variable.get() == number

        for number in range(1, 50):
            green.spawn(call, number)
        green.run()

    child(context)


def test_no_deadlock_while_a_helper_works(child: Child) -> None:
    def no_deadlock(lwps: int) -> None:
        green, lock = scheduler.Scheduler(lwps), sync.Lock()
        read, write = os.pipe()
        lock.acquire()

        def call() -> None:
            scheduler.blocking(os.read, read, 1)
            lock.release()

        def feed() -> None:
            while not any(wait.kind == "call" for wait in scheduler.waiting().waits):
                time.sleep(0.001)
            time.sleep(0.05)  # all green threads sleep, in vain it seems
            os.write(write, b".")

        green.spawn(call)
        green.spawn(lock.acquire)
        lwp = scheduler.spawn(feed)
        green.run()
        lwp.join()
        # A helper at rest wakes nobody.
        green.spawn(scheduler.blocking, int)
        green.spawn(lock.acquire)
        before, said = time.monotonic(), ""
        try:
            green.run()
        except scheduler.Deadlock as found:
            said = str(found)
        assert "waits for lock" in said
        assert time.monotonic() - before < 4, "noticed when the helper had ended, not when it rested"
        os._exit(7)  # the thread that waits would be waited for

    child(no_deadlock, 1, status=7)
    child(no_deadlock, 3, status=7)


def test_waiting_names_the_function(child: Child) -> None:
    def names() -> None:
        green = scheduler.Scheduler()
        read, write = os.pipe()

        def call() -> None:
            scheduler.blocking(os.read, read, 1)

        def look() -> None:
            (wait,) = scheduler.waiting().waits
            assert (wait.kind, wait.name) == ("call", "caller")
            assert "built-in function read" in str(wait)
            os.write(write, b".")

        green.spawn(call).name = "caller"
        green.spawn(look)
        green.run()

    child(names)


def test_a_handler_raises_in_the_wait(child: Child) -> None:
    """The wait ends; the call runs on, and what it returns is dropped, or it has not begun, and never does."""

    def handler_raises() -> None:
        import weakref

        runtime.install(green=True, time_slice=None)
        read, write = os.pipe()
        discarded, alive = [], []

        class Result:
            pass

        def wait() -> object:
            os.kill(os.getpid(), signal.SIGINT)
            stock_read(read, 1)
            result = Result()
            alive.append(weakref.ref(result))
            return result

        def discard(result: object) -> None:
            discarded.append(type(result).__name__)

        stock_read = os.read.__wrapped__  # type: ignore[attr-defined]
        try:
            runtime.native.on_helper(wait, (), None, True, discard)
        except KeyboardInterrupt:
            print("interrupted")
        assert not discarded
        os.write(write, b".")
        while not discarded or alive[0]() is not None:
            time.sleep(0.001)
        # All helpers are busy.
        begun: list[int] = []

        def hold() -> None:
            begun.append(1)
            stock_read(read, 1)

        threads = [threading.Thread(target=scheduler.blocking, args=(hold,)) for _ in range(32)]
        for thread in threads:
            thread.start()
        while len(begun) < 32:
            time.sleep(0.001)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        never = Result()
        reference = weakref.ref(never)
        try:
            scheduler.blocking(begun.append, never)
        except KeyboardInterrupt:
            print("interrupted")
        del never
        assert reference() is None, "it is in no queue any more"
        os.write(write, b"." * 32)
        for thread in threads:
            thread.join()
        assert len(begun) == 32

    assert child(handler_raises).stdout == "interrupted\n" * 2


@pytest.mark.parametrize("lent", [True, False])
def test_the_program_ends_while_a_helper_blocks(lent: bool, child: Child) -> None:
    def program_ends(lent: bool) -> None:
        runtime.install(green=True, time_slice=None if lent else 0.005)
        begun = threading.Event()

        def forever() -> None:
            begun.set()
            ctypes.CDLL(None).pause()

        threading.Thread(target=scheduler.blocking, args=(forever,), daemon=True).start()
        begun.wait()
        print("end")

    before = time.monotonic()
    assert child(program_ends, lent).stdout == "end\n"
    assert time.monotonic() - before < 15


def test_calls_at_the_end_of_the_program(child: Child) -> None:
    """Once the interpreter is being finalized no helper gets the GIL: the call is direct."""

    def late() -> None:
        runtime.install(green=True, time_slice=None)
        stock_write = os.write.__wrapped__  # type: ignore[attr-defined]
        assert scheduler.blocking(int) == 0, "a helper rests from here on"

        class Late:
            def __del__(self, blocking: Any = scheduler.blocking, write: Any = stock_write) -> None:
                blocking(write, 1, b"late\n")

        sys.late = Late()  # type: ignore[attr-defined]  # sys's dict goes last

    assert child(late).stdout == "late\n"


def test_forks(child: Child) -> None:
    def forks() -> None:
        green = scheduler.Scheduler()
        read, write = os.pipe()

        def call() -> None:
            for _ in range(10):
                assert scheduler.blocking(threading.get_native_id) != threading.get_native_id()

        def fork() -> None:
            call()
            if not (pid := os.fork()):
                before = scheduler.statistics().started
                call()
                assert scheduler.statistics().started == before + 1, "a helper of its own"
                os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
            os.write(write, b".")

        def fork_on_helper() -> None:
            """The child has the helper only, whose function ends there."""
            pid = scheduler.blocking(os.fork)
            assert pid > 0
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

        green.spawn(scheduler.blocking, os.read, read, 1)  # one helper blocks meanwhile
        green.spawn(fork)
        green.run()
        green.spawn(fork_on_helper)
        green.spawn(call)
        green.run()

    child(forks)


def test_a_handler_forks_in_the_wait(child: Child) -> None:
    """In the child the helper is lost: the caller's LWP does the call, as the kernel would begin it anew."""

    def handler_forks() -> None:
        runtime.install(green=True, time_slice=None)
        read, write = os.pipe()
        pids = []

        def fork(*_: object) -> None:
            pids.append(os.fork())
            os.write(write, b".")

        signal.signal(signal.SIGUSR1, fork)

        def wait() -> bytes:
            if not pids:
                os.kill(os.getpid(), signal.SIGUSR1)
            return stock_read(read, 1)

        stock_read = os.read.__wrapped__  # type: ignore[attr-defined]
        assert scheduler.blocking(wait) == b"."
        if not pids[0]:
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 5

    child(handler_forks)


def test_nothing_is_left(child: Child) -> None:
    def nothing_left() -> None:
        import contextlib
        import gc
        import tracemalloc
        import weakref

        green = scheduler.Scheduler()
        references = []

        class Argument:
            pass

        def fail(argument: object) -> None:
            raise ValueError

        def call(count: int) -> None:
            for _ in range(count):
                argument = Argument()
                assert scheduler.blocking(id, argument) == id(argument)
                with contextlib.suppress(ValueError):
                    scheduler.blocking(fail, argument)
                references.append(weakref.ref(argument))

        for count in (100, 1000):
            gc.collect()
            tracemalloc.start()
            for _ in range(8):
                green.spawn(call, count)
            green.run()
            assert not any(reference() for reference in references)
            references.clear()
            gc.collect()
            used = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
        assert used < 20_000, used

    child(nothing_left)


def test_where_no_lwp_can_be_made_the_call_is_direct(child: Child) -> None:
    def no_lwp() -> None:
        import resource

        green, found = scheduler.Scheduler(), []

        def call() -> None:
            found.append(scheduler.blocking(threading.get_native_id))

        green.spawn(call)
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        threading.stack_size(1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), most))
        green.run()
        assert found == [threading.get_native_id()]

    child(no_lwp)


@pytest.mark.loads
def test_explored_it_is_direct() -> None:
    def run() -> None:
        seen = []

        def look() -> None:
            assert blocking(threading.get_ident) == threading.get_ident()
            seen.append(1)

        threads = [runtime.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [1, 1]

    result = runtime.explore.explore(run, runs=20)
    result.check()
