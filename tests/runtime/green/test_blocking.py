"""scheduler.blocking(): calls on helper LWPs, while other green threads run."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import errno
import gc
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
import tracemalloc
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import in_child, skip_test, together, wait_until_parked

import runtime
from runtime import native, scheduler, sync
from runtime.scheduler import blocking

pytestmark = pytest.mark.timeout(30)
libc = ctypes.CDLL(None)


def test_without_a_scheduler_it_is_a_plain_call() -> None:
    def look(number: int, *, more: int) -> tuple[int, int]:
        return threading.get_ident(), number + more

    started = native.lwp_started()
    assert blocking(look, 1, more=2) == (threading.get_ident(), 3)
    assert blocking(dict, function=1) == {"function": 1}
    with pytest.raises(ZeroDivisionError):
        blocking(divmod, 1, 0)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'function'"):
        blocking()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="not callable"):
        blocking(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_helper"):
        native.on_helper(int, [], None, None)  # type: ignore[arg-type]
    assert native.lwp_started() == started


@pytest.mark.parametrize("options", [(1, None), (3, None), (1, 0.005)], ids=["one LWP", "three LWPs", "time slice"])
@in_child
def test_others_run_while_it_blocks(options: tuple[int, float | None]) -> None:
    green, turns = scheduler.Scheduler(*options), []
    read, write = os.pipe()
    helper: list[tuple[int, str]] = []

    def block() -> None:
        libc_read = ctypes.CDLL(None).read  # releases the GIL
        assert scheduler.blocking(libc_read, read, ctypes.create_string_buffer(1), 1) == 1
        helper.append(scheduler.blocking(look))
        turns.append("read")

    def look() -> tuple[int, str]:
        assert isinstance(threading.current_thread(), threading._DummyThread)  # type: ignore[attr-defined]
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
    for _ in range(3):
        assert threading.enumerate() == [threading.main_thread()], "the helper rests, and has no Thread"
        assert native.running() == 0, "which _thread._count() adds"
        green.spawn(scheduler.blocking, look)
        green.run()


@in_child
def test_the_main_thread_of_install() -> None:
    runtime.install(green=True, time_slice=None)
    read, write = os.pipe()
    threading.Thread(target=os.write, args=(write, b".")).start()
    assert scheduler.blocking(ctypes.CDLL(None).read, read, ctypes.create_string_buffer(1), 1) == 1


@in_child
def test_at_most_32_at_a_time() -> None:
    green = scheduler.Scheduler()
    read, write = os.pipe()
    begun, order = list[int](), list[int]()

    def wait(number: int) -> None:
        begun.append(number)
        assert os.read(read, 1) == b"."

    def call(number: int) -> None:
        scheduler.blocking(wait, number)
        order.append(number)

    def let_go() -> None:
        while len(begun) < 32:
            scheduler.yield_()
        native.on_helper(lambda: None, (), None, None)  # not bounded: doesn't wait for its turn
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


@in_child
def test_helpers_are_used_again_and_end() -> None:
    green = scheduler.Scheduler()

    def call() -> None:
        for _ in range(100):
            scheduler.blocking(int)

    call()
    green.spawn(call)
    green.run()
    assert native.lwp_started() == 2, "the caller and one helper"
    while native.lwp_alive() or len(os.listdir("/proc/self/task")) > 1:  # else the test's time is up
        time.sleep(0.1)
    green.spawn(call)
    green.run()


@in_child
def test_exceptions() -> None:
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
        assert [frame.name for frame in traceback.extract_tb(caught.__traceback__)] == ["call", "fail"]


@in_child
def test_context_variables() -> None:
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


@pytest.mark.parametrize("lwps", [1, 3])
@in_child(status=7)
def test_no_deadlock_while_a_helper_works(lwps: int) -> None:
    green, lock, begun = scheduler.Scheduler(lwps), sync.Lock(), sync.Event()
    read, write = os.pipe()
    lock.acquire()

    def call() -> None:
        scheduler.blocking(lambda: (begun.set(), os.read(read, 1)))
        lock.release()

    def feed() -> None:
        begun.wait()
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
    before, found = time.monotonic(), []
    try:
        green.run()
    except scheduler.Deadlock as deadlock:
        found.append(deadlock)
    assert found
    assert time.monotonic() - before < 4, "noticed when the helper had ended, not when it rested"
    os._exit(7)  # the thread that waits would be waited for


@in_child(prints="interrupted\n" * 2)
def test_a_handler_raises_in_the_wait() -> None:
    """The wait ends; the call runs on, and what it returns is dropped, or it has not begun, and never does."""
    stock_read = os.read
    runtime.install(green=True, time_slice=None)
    read, write = os.pipe()
    discarded, alive = list[str](), list[Any]()

    class Result:
        pass

    def wait() -> object:
        wait_until_parked(os.getpid(), private=True)  # a signal just before the sleep would not end it
        os.kill(os.getpid(), signal.SIGINT)
        stock_read(read, 1)
        result = Result()
        alive.append(weakref.ref(result))
        return result

    def discard(result: object) -> None:
        discarded.append(type(result).__name__)

    try:
        native.on_helper(wait, (), None, discard)
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
        scheduler.blocking(begun.append, never)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        print("interrupted")
    del never
    assert reference() is None, "it is in no queue any more"
    os.write(write, b"." * 32)
    for thread in threads:
        thread.join()
    assert len(begun) == 32


@pytest.mark.parametrize("lent", [True, False])
@in_child(prints="end\n", timeout=15)
def test_the_program_ends_while_a_helper_blocks(lent: bool) -> None:
    runtime.install(green=True, time_slice=None if lent else 0.005)
    begun = threading.Event()

    def forever() -> None:
        begun.set()
        ctypes.CDLL(None).pause()

    threading.Thread(target=scheduler.blocking, args=(forever,), daemon=True).start()
    begun.wait()
    print("end")


@in_child(prints="late\n")
def test_calls_at_the_end_of_the_program() -> None:
    """Once the interpreter is being finalized no helper gets the GIL: the call is direct."""
    stock_write = os.write
    runtime.install(green=True, time_slice=None)
    assert scheduler.blocking(int) == 0, "a helper rests from here on"

    class Late:
        def __del__(self, blocking: Any = scheduler.blocking, write: Any = stock_write) -> None:
            blocking(write, 1, b"late\n")

    sys.late = Late()  # type: ignore[attr-defined]  # sys's dict goes last


@in_child
def test_forks() -> None:
    green = scheduler.Scheduler()
    read, write = os.pipe()

    def call() -> None:
        for _ in range(10):
            assert scheduler.blocking(threading.get_native_id) != threading.get_native_id()

    def fork() -> None:
        call()
        if not (pid := os.fork()):
            before = native.lwp_started()
            call()
            assert native.lwp_started() == before + 1, "a helper of its own"
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


@in_child
def test_a_handler_forks_in_the_wait() -> None:
    """In the child the helper is lost: the caller's LWP does the call, as the kernel would begin it anew."""
    stock_read = os.read
    runtime.install(green=True, time_slice=None)
    read, write = os.pipe()
    pids = []

    def fork(*_: object) -> None:
        pids.append(os.fork())
        os.write(write, b".")

    signal.signal(signal.SIGUSR1, fork)

    def wait() -> bytes:
        if not pids:
            wait_until_parked(os.getpid(), private=True)
            os.kill(os.getpid(), signal.SIGUSR1)
        return stock_read(read, 1)

    assert scheduler.blocking(wait) == b"."
    if not pids[0]:
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 5


@in_child
def test_nothing_is_left() -> None:
    free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
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
        gc.collect()  # without a GIL what another thread has given up may wait until now
        assert not any(reference() for reference in references)
        references.clear()
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert used < (1_000_000 if free_threaded else 20_000), used  # without a GIL more waits to be freed


@in_child
def test_where_no_lwp_can_be_made_the_call_is_direct() -> None:
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


# ---- calls of the standard library, with install(green=True) ---------------------------------------------------------


BY_A_HELPER = {
    "fsync": "os.fsync(file)",
    "fdatasync": "os.fdatasync(fd)",
    "sync": "os.sync()",
    "posix_fallocate": "os.posix_fallocate(fd, 0, 10)",
    "copy_file_range": "assert os.copy_file_range(fd, other, 4096, 0, 0) == 4096",
    "sendfile": "assert os.sendfile(other, fd, 0, 4096) == 4096",
    "a large write": "assert os.write(other, bytes(1 << 20)) == 1 << 20",
    "a large pwrite": "assert os.pwrite(other, bytearray(1 << 20), 5) == 1 << 20",
    "a large read": "large(); assert len(os.read(fd, 2 << 20)) == 2 << 20",
    "a large readv": "large(); assert os.readv(fd, [bytearray(2 << 20)]) == 2 << 20",
    # Over and over: what is asked for may come before the second look.
    "what is on the disk": "while cold(): assert os.read(fd, 4096) == bytes(4096)",
    "readv": "while cold(): assert os.readv(fd, [bytearray(4096)]) == 4096",
    "pread": "while cold(): assert os.pread(fd, 10, 4096) == bytes(10); assert os.lseek(fd, 0, 1) == 0",
    "preadv": "while cold(): assert os.preadv(fd, [bytearray(10)], 0) == 10",
    "O_DIRECT": "direct = os.open(name, os.O_DIRECT); assert os.preadv(direct, [mmap.mmap(-1, 4096)], 0) == 4096",
    "os.system": "assert os.system('exit 3') == 3 << 8",
    "getaddrinfo": "socket.getaddrinfo('localhost', 80)",
    "a named pipe": "os.close(os.open(fifo, os.O_RDONLY))",
}
BY_THE_CALLER = {
    "what is in the page cache": "os.lseek(fd, 0, 0); assert os.read(fd, 4096) == bytes(4096)",
    "the file's end": "cold(); os.lseek(fd, 0, 2); assert os.read(fd, 4096) == b''",
    "a long read of a short file": "os.lseek(fd, 0, 0); assert len(os.read(fd, 4 << 20)) == 65536",
    "no wait wanted": "cold()\ntry: os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)\nexcept BlockingIOError: pass",
    "a write": "assert os.write(fd, bytes(4096)) == 4096",
    "a directory": "os.close(os.open('/', os.O_RDONLY))",
    "a file": "open(name).close()",
    "a pipe with data": "read, write = os.pipe(); os.write(write, b'.'); assert os.read(read, 5) == b'.'",
    "a named pipe without waiting": "os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))",
    "an address": "socket.getaddrinfo('127.0.0.1', 80)",
}


@pytest.mark.parametrize(
    ("text", "helpers"),
    [(text, 1) for text in BY_A_HELPER.values()] + [(text, 0) for text in BY_THE_CALLER.values()],
    ids=[*BY_A_HELPER, *BY_THE_CALLER],
)
@in_child
def test_which_thread_makes_the_call(text: str, helpers: int, tmp_path: Path) -> None:
    name, fifo = str(tmp_path / "file"), str(tmp_path / "fifo")
    os.mkfifo(fifo)
    file = open(name, "wb+", buffering=0)  # noqa: SIM115
    fd, other = file.fileno(), os.open(name + "2", os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(65536))
    os.fsync(fd)
    os.lseek(fd, 0, os.SEEK_SET)

    # A disk that a hypervisor has in its memory answers before the kernel looks whether a read would wait: on a busy
    # machine for many reads in succession.  So each is tried for a tenth of a second or longer.
    def slow() -> bool:
        """Whether who begins to read the disk ever has to wait for it: an emulated processor may not."""
        waits = 0
        for _ in range(2000):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            try:
                os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
            except OSError as error:
                waits += error.errno == errno.EAGAIN  # else the file system doesn't say
            if waits > 10:
                return True
        return False

    if "cold()" in text and not slow():
        skip_test("the file system can't say what is in memory, or reads at once what is not")

    times = iter(range(2000))

    def cold() -> bool:
        """Whether to read once more: no helper has been made for it yet."""
        os.lseek(fd, 0, os.SEEK_SET)
        # The file is not asked here whether it is cold: that begins to read it.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return native.lwp_started() == before + 1 and next(times, None) is not None

    def large() -> None:
        os.ftruncate(fd, 4 << 20)

    names = {**globals(), **locals(), "mmap": mmap, "socket": socket}
    stock_open = os.open
    runtime.install(green=True, time_slice=None)
    if "fifo" in text and helpers:
        scheduler.spawn(stock_open, (fifo, os.O_WRONLY))  # from a thread on an LWP of its own
    before = native.lwp_started()
    together(partial(exec, text, names))
    assert native.lwp_started() - before == 1 + helpers


@in_child
def test_two_ends_of_many_named_pipes(tmp_path: Path) -> None:
    """More opens wait for each other than blocking() has helpers."""
    runtime.install(green=True, time_slice=None)
    paths = [tmp_path / str(number) for number in range(50)]
    for path in paths:
        os.mkfifo(path)
    read: list[str] = []
    reads = [lambda path=path: read.append(path.read_text()) for path in paths]
    together(*reads, *(partial(path.write_text, path.name) for path in paths))
    assert sorted(map(int, read)) == list(range(50))


@in_child(prints="interrupted\n" * 3)
def test_an_open_that_is_interrupted_leaves_no_descriptor(tmp_path: Path) -> None:
    runtime.install(green=True, time_slice=None)
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    before = sorted(os.listdir("/proc/self/fd"))
    for call in (partial(os.open, fifo, os.O_RDONLY), partial(open, fifo), Path(fifo).read_bytes):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            call()
        except KeyboardInterrupt:
            print("interrupted")
        began = time.monotonic()
        # Until the helper has opened its end; then it closes that.  If it had not begun, it never will.
        while time.monotonic() - began < 5:
            try:
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
                break
            except OSError:
                time.sleep(0.001)
        while sorted(os.listdir("/proc/self/fd")) != before:
            time.sleep(0.001)
