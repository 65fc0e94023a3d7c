"""What all tests share: a look at what a test has left, programs in processes of their own, C helpers."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib.metadata
import importlib.util
import inspect
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import textwrap
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import runtime
import runtime.native.structures  # cffi's memory is none that a test leaves behind
from runtime import scheduler
from runtime.native import context_counts, lwp_reap

TREE = Path(__file__).resolve().parent.parent  # that these tests belong to
HELPERS = TREE / "tests" / "helpers"
ROOT = Path(runtime.__file__).parent.parent  # of the runtime that is tested: the source tree or site-packages

#: How many times slower this machine is than those that time limits were chosen for: an emulated one, for example.
SLOW = int(os.environ.get("LWP_SLOW", "1"))
if SLOW > 1:  # whoever waits for a process, subprocess.run() too, does so in the machine's time

    def _communicate_slowly(
        process: subprocess.Popen[Any],
        input: Any = None,
        timeout: float | None = None,
        communicate: Callable[..., Any] = subprocess.Popen.communicate,
    ) -> Any:
        return communicate(process, input, timeout and SLOW * timeout)

    subprocess.Popen.communicate = _communicate_slowly  # type: ignore[method-assign]

# A shell's `&`, nohup and some CI start pytest with SIGINT ignored: each program of a test would inherit that, and no
# Ctrl-C would reach it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()


def needs_gil(why: str) -> pytest.MarkDecorator:
    """why: what a GIL gives, and its absence takes."""
    return pytest.mark.skipif(FREE_THREADED, reason=f"without a GIL {why}")


#: runtime/native/python/wake.c: a thread defers wake-ups, and dozes, after turns of 50 microseconds at most.
needs_fast_turns = pytest.mark.skipif(SLOW > 1, reason="a turn takes longer than a wake-up is deferred for")


# ---- what runs, and where --------------------------------------------------------------------------------------------

#: What takes seconds to make: a test that needs it is slow.
SLOW_FIXTURES = {"checked", "counted", "faulty", "installed", "sanitized"}
_left_out = pytest.StashKey[int]()  # how many slow tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="Run the slow tests as well.")


def _chosen(config: pytest.Config) -> bool:
    """Whether the command names files, tests or words of theirs, and not folders."""
    option = config.option
    return bool(option.keyword or getattr(option, "lf", False)) or not all(map(os.path.isdir, config.args))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist's
def pytest_cmdline_main(config: pytest.Config) -> None:
    """As many workers as processors, but not for what is chosen: they take seconds to start, and have no terminal."""
    option = config.option
    if getattr(option, "numprocesses", 0) is None and not (hasattr(config, "workerinput") or _chosen(config)):
        option.numprocesses, option.dist = "auto", "worksteal"


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    for item in items:
        if SLOW > 1:
            own = item.get_closest_marker("timeout")
            seconds = own.args[0] if own else float(config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(SLOW * seconds), append=False)
        if not SLOW_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker("slow")
    if config.option.slow or config.option.markexpr or _chosen(config):
        return
    slow, items[:] = (
        [item for item in items if bool(item.get_closest_marker("slow")) is wanted] for wanted in (True, False)
    )
    config.hook.pytest_deselected(items=slow)
    config.stash[_left_out] = len(slow)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = len(slow)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended; each has collected all tests."""
    if number := getattr(node, "workeroutput", {}).get("left_out"):
        node.config.stash[_left_out] = number


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if number := config.stash.get(_left_out, 0):
        terminalreporter.write_line(
            f"{number} slow tests were left out (of more than two seconds, or of programs to install):"
            " pytest --slow runs them too"
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() != 0 and item.get_closest_marker("root"):
        pytest.skip("needs root")


# ---- what a test has left --------------------------------------------------------------------------------------------

_SETTLE = SLOW * 10  # seconds until it counts as left: the kernel is not done when it has cleared a thread's word
_NOISE = 24 << 20  # bytes that Python, pytest and malloc may keep from one test
#: Where the pools of a free-threaded CPython's allocator lie, and no mapping whose place the kernel chooses
#: (Objects/mimalloc/os.c, MI_HINT_BASE, MI_HINT_MAX).  What a thread allocates and another frees after its end stays
#: there until a thread takes it over: 70 MiB after three of threading's with 150,000 tuples each.  So what is given out
#: of the pools is counted, in place of their pages.
_POOLS = range(2 << 40, 30 << 40) if sysconfig.get_config_var("Py_GIL_DISABLED") else range(0)
_BLOCK = 64  # bytes that one of Python's objects takes, about
_STOCK_STACKS = (
    40 << 20
)  # glibc keeps that much of the stacks of its own threads (nptl/allocatestack.c, stack_cache_maxsize)
_PER_CONTEXT = 128 << 10  # resident bytes that a cached context may keep: 64 KiB of stack, TLS, tcache, arena
_PER_THREAD = 4 << 10  # bytes that Python's allocator may keep for each thread that was alive with the others


@dataclass(frozen=True)
class Holdings:
    """What this process holds that a thread could have left."""

    tasks: int
    alive: int  # LWPs of ours
    borrowed: int  # contexts that are not in the cache
    contexts: int  # made so far
    descriptors: int
    children: frozenset[str]  # pids, zombies' too
    files: frozenset[str]  # mapped
    writable: int  # bytes of private writable memory, without contexts' own
    resident: int  # bytes, anonymous, without those of pools

    @classmethod
    def now(cls) -> Holdings:
        lwp_reap()
        made, cached, size = context_counts()
        tasks = os.listdir("/proc/self/task")
        writable, files = 0, set()
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, protection, _, device, _, *name = line.split(maxsplit=5)
            if name and name[0].startswith("/"):
                if "/lib-dynload/" not in name[0]:  # parts of the standard library come when first needed
                    files.add(name[0])
            elif protection == "rw-p" and device == "00:00":  # not what malloc reserves for arenas
                low, high = (int(end, 16) for end in span.split("-"))
                if low not in _POOLS:
                    writable += high - low
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return cls(
            tasks=len(tasks),
            alive=scheduler.statistics().alive,
            borrowed=made - cached,
            contexts=made,
            descriptors=len(os.listdir("/proc/self/fd")),
            children=frozenset(pid for tid in tasks for pid in _children_of(tid)),
            files=frozenset(files),
            writable=writable - size,
            resident=(int(found[1]) << 10) - _resident_in_pools(),
        )

    def left(self, after: Holdings, may_load: bool, stock_stacks: int) -> list[str]:
        """What `after` has more than this, each in a line."""
        new = after.contexts - self.contexts
        found = [
            f"{name}: {getattr(self, name)} before, {getattr(after, name)} after"
            for name in ("tasks", "alive", "borrowed", "descriptors")
            if getattr(after, name) > getattr(self, name)
        ]
        if children := after.children - self.children:
            found.append(f"child processes, or zombies of such: {', '.join(children)}")
        if not may_load and (files := after.files - self.files):
            found.append(f"mapped files: {', '.join(sorted(files))} (is the test marked `loads`?)")
        if (more := after.writable - self.writable) > _NOISE + new * _PER_THREAD + stock_stacks:
            found.append(f"mapped memory that belongs to no context: {more >> 10} KiB more")
        if (more := after.resident - self.resident) > _NOISE + new * _PER_CONTEXT:
            found.append(f"resident memory: {more >> 10} KiB more with {new} new contexts")
        return found


def _resident_in_pools() -> int:
    if not _POOLS:
        return 0
    mappings = re.findall(r"^([0-9a-f]+)-.*?^Anonymous: +(\d+) kB", Path("/proc/self/smaps").read_text(), re.M | re.S)
    return sum(int(size) << 10 for low, size in mappings if int(low, 16) in _POOLS)


def _blocks_from_pools() -> int:
    """Only for who has seen that no thread is left: those of all threads are counted, without a lock."""
    return sys.getallocatedblocks() if _POOLS else 0


def _children_of(tid: str) -> list[str]:
    try:
        return Path(f"/proc/self/task/{tid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # the task has just ended
        return []


def pytest_collection_finish() -> None:
    """Each gc.collect() from now on looks only at what tests have made: else that is nine tenths of a short test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, native_helper: NativeHelper) -> Iterator[None]:
    """After each test: no thread, mapping, memory, descriptor or child process that was not there before."""
    gc.collect()
    before, blocks = Holdings.now(), _blocks_from_pools()
    yield
    may_load = request.node.get_closest_marker("loads") is not None
    stock_stacks = _STOCK_STACKS if request.node.get_closest_marker("stock_threads") else 0
    deadline = time.monotonic() + _SETTLE
    while True:
        gc.collect()
        left = before.left(Holdings.now(), may_load, stock_stacks)
        if not left and (more := _blocks_from_pools() - blocks) > _NOISE // _BLOCK:
            left = [f"blocks of Python's allocator: {more} more"]
        if not left:
            return
        if time.monotonic() > deadline:
            pytest.fail("left behind by the test:\n  " + "\n  ".join(left))
        time.sleep(0.01)


# ---- programs in a process of their own ------------------------------------------------------------------------------

PRELUDE = """
from __future__ import annotations
import ctypes, os, signal, struct, sys, threading, time
from functools import partial
from pathlib import Path
from typing import Any
import runtime
from runtime import Clone, scheduler, sync
from runtime.scheduler import spawn
libc = ctypes.CDLL(None)
"""


def wait_until_parked(tid: int, private: bool = False) -> tuple[int, int]:
    """Returns when the thread sleeps as a join without a timeout does: in a futex call that is shared and has none.

    Who waits for the GIL, or hands it over, or waits for a lock, sleeps in a private one.
    private: as in one of our primitives.  Who waits for the GIL has a timeout there; who hands it over, or waits for a
    lock of stock's, names a clock all the same (FUTEX_CLOCK_REALTIME).
    The address of the futex, and its bits.
    """
    futex = ("202", "98")  # on x86-64 and aarch64; under qemu-user it is the kernel's own
    operation = 9 | 128 if private else 9  # FUTEX_WAIT_BITSET, FUTEX_PRIVATE_FLAG
    while True:
        call = Path(f"/proc/self/task/{tid}/syscall").read_text().split()
        if call[0] in futex and int(call[2], 16) == operation and int(call[4], 16) == 0:
            return int(call[1], 16), int(call[6], 16)
        os.sched_yield()


def until_alone() -> None:
    """Until no other task of this process is left: the kernel is not done when it has cleared a thread's word."""
    while len(os.listdir("/proc/self/task")) > 1:
        os.sched_yield()


def filter_program(*steps: tuple[int, int, int, int]) -> ctypes.Array[ctypes.c_char]:
    """A struct sock_fprog, and the steps of BPF that it points at behind it: for seccomp(2)."""
    text = b"".join(struct.pack("HBBI", *step) for step in steps)
    program = ctypes.create_string_buffer(16 + len(text))
    struct.pack_into(f"HxxxxxxP{len(text)}s", program, 0, len(steps), ctypes.addressof(program) + 16, text)
    return program


def refuse(system_call: int, error: int) -> bool:
    """From now on the system call fails with the error in the calling thread and those that it starts: seccomp(2).

    Whether there are filters.
    """
    # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET; SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, system_call), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]
    program = filter_program(*steps)
    prctl = ctypes.CDLL(None).prctl
    prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    return bool(prctl(22, 2, program) == 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def in_forked_child(check: Callable[[], object]) -> int:
    """Calls check in a forked child and gives the child's wait status: 0, if nothing was raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


Program = Callable[..., object]
Child = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """child(program, *args, status=0, timeout=60, env={}): runs the function's text in a new interpreter.

    The text sees what PRELUDE imports and nothing else of its test.  Another exit status than `status` fails
    the test.
    """

    def run(
        program: Program,
        *args: object,
        status: int = 0,
        timeout: float = 60,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        text = textwrap.dedent(inspect.getsource(program))
        script = tmp_path / f"{program.__name__}.py"
        call = f"{program.__name__}({', '.join(map(repr, args))})\n"
        ours = [
            inspect.getsource(function)
            for function in (wait_until_parked, until_alone, filter_program, refuse, in_forked_child)
        ]
        script.write_text("\n".join([PRELUDE, *ours, text, call]))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", str(script)]
        # A session of its own, so that what it leaves running can be ended with it.
        process = subprocess.Popen(
            command,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
            start_new_session=True,
        )
        hung = ""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            hung = f" after {SLOW * timeout} s (killed: it hung)"
            process.send_signal(6)  # SIGABRT: faulthandler says where the threads are
            try:
                out, err = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                out, err = process.communicate()
        except BaseException:  # the test is being ended: its program must not go on without it
            os.killpg(process.pid, 9)
            process.communicate()
            raise
        if hung or process.returncode != status:
            pytest.fail(
                f"{program.__name__} ended with {process.returncode}{hung}, expected {status}\n"
                f"--- stdout\n{out[-4000:]}\n--- stderr\n{err[-8000:]}",
                pytrace=False,
            )
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return run


# ---- C helpers -------------------------------------------------------------------------------------------------------


class TlsModule(ctypes.Structure):
    """struct tls_module of helper.c: a loaded module with thread-local storage."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("id", "image", "image_size", "size", "align", "here")]

    id: int
    image: int
    image_size: int
    size: int
    align: int
    here: int


class NativeHelper:
    """tests/helpers, compiled: helper.c loaded as `lib`, the others by path for who wants to dlopen them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(self._compile("helper.c"))
        self.initial_exec = str(self._compile("tls_initial_exec.c"))
        self.dynamic = str(self._compile("tls_dynamic.c"))
        self.variables = str(self._compile("tls_variables.c"))
        self.thread_states = str(self._compile("thread_states.c"))
        self.lib: Any = ctypes.CDLL(self.path)
        for name in ("thread_pointer", "key_get", "resolver_state", "ctype_table", "counter_address", "errno_address"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.signal_mask.restype = self.lib.stack_guard.restype = ctypes.c_uint64
        self.lib.hammer_malloc.restype = ctypes.c_long
        self.lib.hammer_malloc.argtypes = [ctypes.c_long, ctypes.c_uint]
        self.lib.fork_and_look.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self.lib.stack_damage.argtypes = [ctypes.c_size_t, ctypes.c_int]
        # The first call of each would load a library or make something that stays.
        self.lib.backtrace_frames()
        self.lib.unwind_to_end((ctypes.c_size_t * 3)())

    def _compile(self, source: str, compiler: str = "cc") -> Path:
        target = self.folder / Path(source).with_suffix(".so").name
        command = [
            compiler,
            "-O2",
            "-Wall",
            "-Wextra",
            "-fPIC",
            "-shared",
            "-o",
            str(target),
            str(HELPERS / source),
        ]
        subprocess.run(command, check=True)
        return target

    def copies(self, library: str, count: int) -> list[str]:
        """Copies of a library: to the dynamic linker each is another module."""
        paths = []
        for number in range(count):
            path = self.folder / f"{Path(library).stem}_{number}.so"
            if not path.exists():
                shutil.copy(library, path)
            paths.append(str(path))
        return paths

    def cxx(self, source: str = "tls_destructor.cpp") -> str:
        """A C++ library; the test is skipped when there is no C++ compiler."""
        if not (compiler := shutil.which("c++") or shutil.which("g++")):
            pytest.skip("no C++ compiler")
        return str(self._compile(source, compiler=compiler))

    def modules(self) -> dict[int, TlsModule]:
        """Every loaded module with thread-local storage, by module id."""
        found = (TlsModule * 256)()
        return {module.id: module for module in found[: self.lib.tls_modules(found, 256)]}


@pytest.fixture(scope="session")
def native_helper(tmp_path_factory: pytest.TempPathFactory) -> NativeHelper:
    """The compiled helpers."""
    return NativeHelper(tmp_path_factory.mktemp("helpers"))


# ---- system calls ----------------------------------------------------------------------------------------------------


def under_strace(trace: Path, *options: str) -> list[str]:
    """The words before a command that have strace write the calls of all its threads to a file; the test is skipped
    where strace is not installed."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    return ["strace", "-f", "-qq", "-o", str(trace), *options]


def lines_between_marks(trace: Path) -> str:
    """What was traced between the calls that name "/begin" and "/end"."""
    found = re.search(r'"/begin".*?\n(.*)\n.*"/end"', trace.read_text(errors="replace"), re.DOTALL)
    assert found
    return found[1]


def count_calls(lines: str) -> Counter[str]:
    return Counter(re.findall(r"^\d+ +(\w+)\(", lines, re.MULTILINE))


# ---- what takes long to make -----------------------------------------------------------------------------------------


def folder_of_the_run(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base  # that is a worker's own


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` has filled, one for all of xdist's workers: one makes it, who needs it meanwhile waits."""
    base = folder_of_the_run(factory)
    folder, made = base / name, base / f"{name}.made"
    with Path(base, f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # another worker's, which has failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For a test of 10,000 threads: of all workers' such tests one runs at a time, as pid_max may be 32,768.

    xdist_group, which would put them on one worker, is nothing to pytest-xdist 3.8 under pytest 9.2.
    """
    with (folder_of_the_run(tmp_path_factory) / "crowd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# ---- an environment where the package is installed -------------------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """A virtual environment that finds the packages of this one, but for ours."""

    python: Path

    @classmethod
    def make(cls, folder: Path) -> Environment:
        venv.create(folder, symlinks=True)
        site = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
        # Last of all, as the system's packages are after a user's; their own .pth files are not looked at.
        Path(site, "zz_outer.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
        return cls(folder / "bin" / "python")

    def run(self, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Its python with these arguments; of the variables that change what Python does, only those given."""
        return self.execute(str(self.python), *arguments, cwd=cwd, **variables)

    def execute(self, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "LWP_"))}
        return subprocess.run(
            command, cwd=cwd, env={**clean, **variables}, capture_output=True, text=True, timeout=100, check=False
        )


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One that has our package from a wheel, LWP_WHEEL or one that is built here; nothing is downloaded."""
    for needed in ("pip", "setuptools"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"without {needed} no wheel can be built")
    if int(importlib.metadata.version("setuptools").partition(".")[0]) < 77:
        pytest.skip("setuptools older than 77 can't build a wheel alone")
    return Environment(made_once(tmp_path_factory, "installed", _install) / "venv" / "bin" / "python")


def _install(folder: Path) -> None:
    environment = Environment.make(folder / "venv")
    wheel = os.environ.get("LWP_WHEEL") or _build(folder)
    # ignore-installed: the environment finds this one's packages, and pip would be content with ours among them.
    install = ["--python", str(environment.python), "install", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*PIP, *install, wheel], check=True, timeout=100)


def _build(folder: Path) -> str:
    source, wheels = folder / "source", folder / "wheels"
    (source / "tools").mkdir(parents=True)
    names = ("pyproject.toml", "setup.py", "tools/build_backend.py", "README.md", "LICENSE", "lwp_pytest.py")
    for name in (*names, "lwp_runtime.py"):
        shutil.copy(TREE / name, source / name)
    shutil.copytree(TREE / "runtime", source / "runtime", ignore=shutil.ignore_patterns("*.so", "*.o", "__pycache__"))
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(wheels), str(source)]
    subprocess.run([*PIP, *wheel], check=True, timeout=100)
    return str(next(wheels.iterdir()))


@pytest.fixture
def pem(tmp_path: Path) -> str:
    """A key and its certificate for localhost."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    file = tmp_path / "both.pem"
    make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        ["openssl", *make.split(), "-keyout", str(file), "-out", f"{file}.cert"], check=True, capture_output=True
    )
    file.write_text(file.read_text() + Path(f"{file}.cert").read_text())
    return str(file)
