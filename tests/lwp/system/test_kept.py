"""A program ends, forks, takes signals ... as on stock threads, whatever the runtime and its tools keep in its process.

docs/reliability.md has the table. What counts is what the program prints, and its exit status.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import environment

PRELUDE = """
import ctypes, os, signal, sys, threading, time
def ended(pid):  # one that lives on is killed, as stock's isn't
    late = time.monotonic() + 10
    while not (found := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > late:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    print(found[1], flush=True)
def forks(child=int):
    if pid := os.fork():
        ended(pid)
    else:
        child()
def waits():
    os.read(os.pipe()[0], 1)
def without_main(then, daemon=False):  # has a thread go on once the main thread has ended
    def begins():
        while open(f"/proc/self/task/{os.getpid()}/stat").read().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.001)
        then()
    threading.Thread(target=begins, daemon=daemon).start()
    libc.pthread_exit(None)
libc = ctypes.CDLL(None)
def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
def state():  # 32 and 33 are signals of the C library's own
    lines = dict(line.split(":\\t") for line in open("/proc/thread-self/status").read().splitlines())
    for name in ("SigBlk", "SigIgn", "SigCgt"):
        print(name, hex(int(lines[name], 16) & ~(3 << 31)), flush=True)
"""
STATE = """
import os, sys
lines = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
print(*(lines[name] for name in ("SigBlk", "SigIgn", "SigPnd", "Threads")))
print(os.listdir("/proc/self/fd")[:-1], sys.argv[1:])
"""

#: What the program does.
PROGRAMS = {
    "a thread's forked child returns": "in_thread(forks)",
    "a forked child ends": """
        in_thread(int)
        pid = os.fork()
        if not pid:
            in_thread(int)
            sys.exit(3)
        ended(pid)
        """,
    "forked children take signals": """
        def fork():
            reader, writer = os.pipe()
            pid = os.fork()
            if not pid:
                if number == signal.SIGALRM:
                    signal.setitimer(signal.ITIMER_REAL, 0.01)
                os.write(writer, b"x")
                threading.Event().wait()
            os.read(reader, 1)
            if number != signal.SIGALRM:
                os.kill(pid, number)
            ended(pid)
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGKILL):
            fork()
            in_thread(fork)
        """,
    "the main thread executes another program": """
        in_thread(int)
        os.execv(sys.executable, [sys.executable, "-c", STATE, "of main"])
        """,
    "a thread executes another program": """
        in_thread(lambda: os.execv(sys.executable, [sys.executable, "-c", STATE, "of a thread"]))
        """,
    "processes are started": """
        import subprocess
        def start():
            for options in ({}, {"close_fds": False}, {"start_new_session": True}):
                print(subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, **options))
        start()
        in_thread(start)
        """,
    "masks and handlers": """
        state()
        in_thread(state)
        """,
    "it is terminated": """
        threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        threading.Event().wait()
        """,
    "it is interrupted": """
        threading.Thread(target=lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGINT))).start()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("interrupted")
            raise
        """,
    "the main thread waits for a signal": """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
        print(signal.sigwait([signal.SIGUSR1]))
        """,
    "a daemon thread is left": """
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        sys.exit(5)
        """,
    "the main thread waits for the others": """
        threading.Thread(target=lambda: (time.sleep(0.05), print("after main"))).start()
        """,
    "a thread ends the process": """
        threading.Thread(target=os._exit, args=(4,)).start()
        threading.Event().wait()
        """,
    "it becomes another user": """
        if os.geteuid() == 0:
            os.chdir("/")
            os.setresuid(65534, 65534, 65534)
        in_thread(lambda: print("goes on"))
        """,
    "its files and sockets are its user's": """
        def private(path):
            seen = os.lstat(path)
            return not seen.st_mode & 0o077 and seen.st_uid == os.geteuid()
        for folder in (os.getcwd(), os.environ["XDG_RUNTIME_DIR"]):
            for base, folders, files in os.walk(folder):
                open_to_all = [name for name in folders + files if not private(os.path.join(base, name))]
                print(*sorted({*open_to_all} - {"program.py"}))
                folders[:] = {*folders} & {*open_to_all}
        links = set()
        for task in os.listdir("/proc/self/task"):  # a reader may have a table of descriptors of its own
            folder = f"/proc/self/task/{task}/fd"
            for number in os.listdir(folder):
                try:
                    links.add(os.readlink(f"{folder}/{number}"))
                except FileNotFoundError:
                    pass
        for line in open("/proc/net/unix").read().splitlines()[1:]:
            number, path = (line.split(maxsplit=7) + [""])[6:8]
            if f"socket:[{number}]" in links and path.startswith("@"):
                print("any user reaches", path)
        """,
    "a subinterpreter": """
        try:
            import _interpreters as api
        except ImportError:
            import _xxsubinterpreters as api
        def there():
            interpreter = api.create()
            api.run_string(interpreter, "import threading, time\\nwith threading.Lock(): time.sleep(0.001)")
            api.destroy(interpreter)
        there()
        in_thread(there)
        """,
}
#: The same, of the ends of forked children and of the main thread.
ENDS = {
    "a forked child of the main thread returns": "forks()",
    "a forked child's threads return": """
        in_thread(lambda: threading.Thread(target=waits, daemon=True).start())
        in_thread(lambda: forks(lambda: in_thread(lambda: time.sleep(0.1))))
        """,
    "a forked child's other thread returns last": """
        in_thread(lambda: forks(lambda: threading.Thread(target=time.sleep, args=(0.1,)).start()))
        """,
    "a forked child of a foreign thread returns": """
        begins = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: forks())
        pthread = ctypes.c_ulong()
        libc.pthread_create(ctypes.byref(pthread), None, begins, None)
        libc.pthread_join(pthread, None)
        """,
    "a forked child leaves": "in_thread(lambda: forks(lambda: os._exit(3)))",
    "a forked child is another program": "in_thread(lambda: forks(lambda: os.execv('/bin/true', ['true'])))",
    "the only thread ends itself": "libc.pthread_exit(None)",
    "the last thread ends itself": "in_thread(int); libc.pthread_exit(None)",
    "the last thread returns": "without_main(lambda: print('goes on', flush=True))",
    "the last thread returns, a daemon": "without_main(lambda: print('goes on', flush=True), daemon=True)",
    "SIGTERM without a main thread": "without_main(lambda: (os.kill(os.getpid(), signal.SIGTERM), waits()))",
    "SIGALRM without a main thread": "without_main(lambda: (signal.setitimer(signal.ITIMER_REAL, 0.05), waits()))",
}
#: How it is run: what stands before it in its own text, in the environment, and after `lwp run`.
WAYS: dict[str, tuple[str, dict[str, str], list[str] | None]] = {
    "installed": ("import runtime; runtime.install()", {}, None),
    "listens": ("import runtime; runtime.install()", {"LWP_LISTEN": "1"}, None),
    "run": ("", {}, []),
    "green": ("", {}, ["--green"]),
}
TOOLS = {
    "report": ["--report"],
    "watchdog": ["--watchdog", "60", "--stuck", "60"],
    "locks": ["--locks"],
    "lock order": ["--lock-order"],
    "chaos": ["--chaos", "7"],
    "trace": ["--trace", "trace.html"],
    "last": ["--trace", "trace.html", "--last", "30"],
    "green watchdog": ["--green", "--watchdog", "60", "--stuck", "60"],
}
SLOW_WAYS = {name: ("", dict[str, str](), options) for name, options in TOOLS.items()}


def outcome(command: list[str], folder: Path, **variables: str) -> tuple[str, int]:
    env = environment(XDG_RUNTIME_DIR=str(folder / "run"), **variables)
    done = subprocess.run(
        command, cwd=folder, env=env, umask=0, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )
    assert "Fatal" not in done.stderr, done.stderr
    return done.stdout, done.returncode


def program(does: str, folder: Path, first: str = "") -> str:
    path = folder / "program.py"
    does = (PROGRAMS | ENDS)[does]
    path.write_text(f"{first}\n{PRELUDE}\n{STATE=}\n" + (f"if 1:\n{does}" if "\n" in does else does))
    return str(path)


@functools.cache
def on_stock(does: str) -> tuple[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "run").mkdir(0o700)
        return outcome([sys.executable, program(does, Path(folder))], Path(folder))


def is_slow(way: str, does: str) -> bool:
    return way not in (WAYS if does in PROGRAMS else ("run", "green"))


@pytest.mark.parametrize(
    ("way", "does"),
    [
        pytest.param(way, does, marks=[pytest.mark.slow] * is_slow(way, does))
        for way in WAYS | SLOW_WAYS
        for does in PROGRAMS | ENDS
    ],
)
def test_it_is_as_on_stock_threads(way: str, does: str, tmp_path: Path) -> None:
    first, variables, options = (WAYS | SLOW_WAYS)[way]
    (tmp_path / "run").mkdir(0o700)
    launcher = [] if options is None else ["-m", "runtime", "run", *options]
    ours = outcome([sys.executable, *launcher, program(does, tmp_path, first)], tmp_path, **variables)
    assert ours == on_stock(does)
