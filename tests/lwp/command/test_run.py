"""`run` against plain python: the same program, started by either, must say and return the same."""

from __future__ import annotations

import os
import py_compile
import re
import subprocess
import sys
import zipfile
from ast import literal_eval
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from this_machine import needs_gil
from wake_order import check_order

from runtime.lwp import MIN_STACK

RUN = [sys.executable, "-m", "runtime", "run"]


def execute(command: list[str], cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    # The tests' own sys.path, so that `runtime` is found as it is here, installed or not.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(command, cwd=cwd, input=stdin, env=env, capture_output=True, text=True, timeout=60)


@dataclass
class Case:
    """A program, how to call it, and what plain python must make of it, lest the comparison prove nothing."""

    source: str
    status: int = 0
    out: str = ""  # a part of stdout
    err: str = ""  # a part of stderr
    command: tuple[str, ...] = ("program.py",)
    stdin: str = ""
    files: dict[str, str] = field(default_factory=dict)


SEES = """
import sys
print(sys.argv, sys.path[:2], __name__, sorted(globals()))
print(globals().get("__file__"), __package__, type(__loader__), __spec__ and __spec__.name)
print(__builtins__, __doc__)
print(__import__("__main__") is sys.modules["__main__"], vars(sys.modules["__main__"]) is globals())
"""

FRAMES = """
import inspect, logging, sys, traceback, warnings
print([(record.function, record.code_context) for record in inspect.stack()])
traceback.print_stack()
for level in range(1, 9):
    warnings.warn(f"level {level}", stacklevel=level)
def depth(n=1):
    try:
        return depth(n + 1)
    except RecursionError:
        return n
print(depth(), logging.getLogger().findCaller(stacklevel=9)[2])
sys.setrecursionlimit(500)
print(depth(), sys._getframe().f_back and sys._getframe().f_back.f_globals["__name__"])
try:
    print([sys._getframe(level).f_code.co_name for level in range(9)])
except ValueError as error:
    print(error)
raise SystemExit(3)
"""

SPAWN = """
import multiprocessing

def square(n):
    return n * n

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    with multiprocessing.Pool(2) as pool:
        print(pool.map(square, range(5)), __spec__ and __spec__.name)
"""

NO_NEW_THREAD = "can't create new thread at interpreter shutdown"
AT_THE_END = f"atexit RuntimeError {NO_NEW_THREAD}\n" if sys.version_info[:2] == (3, 12) else "atexit runs\n"
IN_A_FINALIZER = f"Error {NO_NEW_THREAD}\n" if sys.version_info >= (3, 12) else ""
IN_THE_KERNEL = "Thread-1 (f)\n" if sys.version_info >= (3, 14) else "python"  # of a Thread it is told
IN_A_CONTEXT = "unset\nmain\nthread\nmain\n" if sys.version_info >= (3, 14) else "unset\nunset\nunset\nmain\n"

#: Programs, each under its name and what else makes a Case of it.
PROGRAMS = r"""
#### pickle: out="True b'"
import pickle, __main__
class C: pass
print(type(pickle.loads(pickle.dumps(C()))) is C is __main__.C, pickle.dumps(C))
#### raise-chained: status=1, err='direct cause'
try:
    1/0
except ZeroDivisionError as e:
    raise ValueError('so') from e
#### caught: err='line 3, in <module>'
import traceback
try:
    1/0
except ZeroDivisionError:
    traceback.print_exc()
#### excepthook: status=1, out='division by zero 1\nTrue\nTrue'
import sys, traceback
def hook(kind, value, tb):
    print('hook', kind, value, len(traceback.extract_tb(tb)))
    print(value.__traceback__ is tb is sys.last_traceback)
    print(sys.excepthook is hook)
sys.excepthook = hook
1/0
#### interrupt-after-all: status=-2, out='end'
import atexit, signal
atexit.register(print, 'end')
signal.raise_signal(signal.SIGINT)
#### interrupt-in-join: status=6, out='interrupted\nthread ends\n'
import os, signal, sys, threading
go = threading.Event()
def f():
    os.kill(os.getpid(), signal.SIGINT)
    go.wait()
    print('thread ends')
t = threading.Thread(target=f)
try:
    t.start()
    t.join()
except KeyboardInterrupt:
    print('interrupted')
    go.set()
sys.exit(6)
#### thread-raises: out='goes on', err='Exception in thread worker:'
import threading
def f(): 1/0
t = threading.Thread(target=f, name='worker')
t.start()
t.join()
print('goes on')
#### thread-raises-raw: err='in thread started by'
import _thread
done = _thread.allocate_lock()
done.acquire()
class Last:
    def __del__(self): done.release()
def f():
    last = Last()  # its own: without a GIL the main thread would have to free it
    1/0
_thread.start_new_thread(f, ())
done.acquire()
#### thread-excepthook: out='division by zero worker'
import threading
threading.excepthook = lambda args: print(args.exc_type, args.exc_value, args.thread.name)
t = threading.Thread(target=lambda: 1/0, name='worker')
t.start()
t.join()
#### thread-exits: out='goes on'
import sys, threading
t = threading.Thread(target=sys.exit, args=(3,))
t.start()
t.join()
print('goes on')
#### main-raises-thread-goes-on: status=1, out='thread ends', err='ZeroDivisionError'
import threading
def f():
    threading.main_thread().join()
    print('thread ends')
threading.Thread(target=f).start()
1/0
#### order-at-end: out='main\nthread\natexit 2\natexit 1\n'
import atexit, threading
atexit.register(print, 'atexit 1')
atexit.register(print, 'atexit 2')
def f():
    threading.main_thread().join()
    print('thread')
threading.Thread(target=f).start()
print('main')
#### start-at-end: out=AT_THE_END
import _thread, atexit, threading
def attempt(stage):
    try:
        t = threading.Thread(target=print, args=(stage, "runs"))
        t.start()
        t.join()
    except RuntimeError as error:
        print(stage, type(error).__name__, error)
        try:
            _thread.start_new_thread(print, (stage, "runs"))
        except RuntimeError as again:
            print(stage, type(again).__name__, again)
def late():
    threading.main_thread().join()
    attempt("thread")
threading._register_atexit(attempt, "threading's atexit")
atexit.register(attempt, "atexit")
threading.Thread(target=late).start()
#### start-in-finalizer: out=IN_A_FINALIZER
import sys, threading
class Last:
    def __del__(self, Thread=threading.Thread, RuntimeError=RuntimeError, print=print):
        try:
            Thread(target=print).start()
        except RuntimeError as error:
            print(type(error).__name__, error)
last = Last() if sys.version_info >= (3, 12) else None  # before, it is made, and waits for ever
#### daemon: out='end'
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
print('end')
#### daemon-busy: status=5
import sys, threading
up = threading.Event()
def f():
    up.set()
    while True: pass
threading.Thread(target=f, daemon=True).start()
up.wait()
sys.exit(5)
#### daemon-by-its-class: out='True\nTrue\n'
import atexit, threading
class Saver(threading.Thread):
    daemon = True
    def __init__(self):
        super().__init__()
        self.stop = threading.Event()
        atexit.register(self.stop.set)  # after the end of threads that are no daemons
    def run(self):
        print(threading.Thread().daemon, flush=True)
        up.release()
        self.stop.wait()
class Asked(Saver):
    daemon = property(lambda self: True)
up = threading.Semaphore(0)
for kind in (Saver, Asked):
    kind().start()
    up.acquire()
#### names: out='Thread-2 (f) True 2'
import threading
def f():
    me = threading.current_thread()
    print(me.name, me.daemon, threading.active_count())
for k in range(3):
    t = threading.Thread(target=f, daemon=k == 1)
    t.start()
    t.join()
print(t, threading.main_thread().name, threading.enumerate())
#### outermost-frames: out='overridden\ntrace call run', err='in _bootstrap_inner'
import sys, threading, traceback

class Overrides(threading.Thread):
    def _bootstrap_inner(self):
        print("overridden")
        super()._bootstrap_inner()

def f(fails):
    here = sys._getframe()
    while here.f_back:
        here = here.f_back
        print(here.f_code.co_qualname, here.f_lineno, here.f_globals["__name__"], here.f_locals.get("self"))
    traceback.print_stack()
    if fails:
        raise ValueError

def trace(frame, event, arg):
    if frame.f_code.co_name in ("_bootstrap", "_bootstrap_inner", "run", "f"):
        print("trace", event, frame.f_code.co_name)

threading.settrace(trace)
for kind in (threading.Thread, Overrides):
    for fails in (False, True):
        t = kind(target=f, args=(fails,))
        t.start()
        t.join()
#### names-in-the-kernel: out=IN_THE_KERNEL
import threading
def f():
    print(open(f'/proc/self/task/{threading.get_native_id()}/comm').read())
    threading.current_thread().name = 'a new name of it'
    print(open(f'/proc/self/task/{threading.get_native_id()}/comm').read())
for name in (None, 'N\u00e4me with more than fifteen bytes', ' '):
    t = threading.Thread(target=f, name=name)
    t.start()
    t.join()
#### context: out=IN_A_CONTEXT
import contextvars, sys, threading
v = contextvars.ContextVar('v', default='unset')
v.set('main')
here = {'context': contextvars.copy_context()} if sys.version_info >= (3, 14) else {}
for options in ({}, here, here):
    t = threading.Thread(target=lambda: (print(v.get()), v.set('thread')), **options)
    t.start()
    t.join()
print(v.get())
#### pool: out='40425\nValueError(50)'
from concurrent.futures import ThreadPoolExecutor
def f(n):
    if n == 50: raise ValueError(n)
    return n * n
with ThreadPoolExecutor(8, thread_name_prefix='p') as pool:
    print(sum(pool.map(f, range(50))))
    print(repr(pool.submit(f, 50).exception()))
#### queue: out='39800 True'
import queue, threading
todo, done = queue.Queue(4), queue.Queue()
def f():
    while (n := todo.get()) is not None:
        done.put(n * 2)
        todo.task_done()
ts = [threading.Thread(target=f) for _ in range(4)]
for t in ts: t.start()
for n in range(200): todo.put(n)
todo.join()
for t in ts: todo.put(None)
for t in ts: t.join()
print(sum(done.get() for _ in range(200)), done.empty())
#### socketserver: out="b'THREE\\n'"
import socket, socketserver, threading

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())

with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
    t = threading.Thread(target=server.serve_forever)
    t.start()
    for word in (b"one", b"two", b"three"):
        with socket.create_connection(server.server_address) as client:
            client.sendall(word + b"\n")
            print(client.makefile("rb").readline())
    server.shutdown()
    t.join()
#### logging: err='worker program f 3 hello\nMainThread program <module> 7 from main\n'
import logging, threading
logging.basicConfig(format='%(threadName)s %(module)s %(funcName)s %(lineno)d %(message)s')
def f(): logging.warning('hello')
t = threading.Thread(target=f, name='worker')
t.start()
t.join()
logging.getLogger().error('from main')
#### asyncio: out='[False, False, False, False, False]'
import asyncio, threading
def there(): return threading.current_thread() is threading.main_thread()
async def main():
    names = await asyncio.gather(*(asyncio.to_thread(there) for _ in range(5)))
    print(names)
asyncio.run(main())
"""


def case(facts: str, source: str) -> Case:
    made: Case = eval(f"Case(source, {facts})", {**globals(), "source": source})
    return made


ARGUMENTS = ("program.py", "-m", "--report", "--", "x")
PACKAGE = {"package/__init__.py": ""}
RELATIVE = {"package/a.py": "x = 7\n", "package/inner.py": "from . import a\nprint('sibling', a.x)\n"}
OWN_CLICK = {"own/program.py": "import click\nprint(click.x)\n", "own/click.py": "x = 7\n"}
CASES = {
    "argv": Case(SEES, out="['program.py', '-m', '--report', '--', 'x']", command=ARGUMENTS),
    "argv-relative": Case(SEES, out="./program.py", command=("./program.py", "--help")),
    "path-of-symlink": Case(SEES, out="link.py", command=("link.py",)),
    "compiled": Case(SEES, out="['program.pyc']", command=("program.pyc",)),
    "code": Case("", out="['-c', '-c', '--stack-size'] ['', ", command=("-c", SEES, "-c", "--stack-size")),
    "code-joined": Case("", out="joined", command=("-cprint('joined')",)),
    "code-raises": Case("", 1, err="ZeroDivisionError", command=("-c", "def f():\n    1/0\nf()")),
    "code-exits": Case("", 4, command=("-c", "raise SystemExit(4)")),
    "code-syntax": Case("", 1, err="SyntaxError", command=("-c", "def f(:")),
    "module": Case(SEES, out="program.py', '-x', '--help']", command=("-m", "program", "-x", "--help")),
    "module-joined": Case(SEES, out="program.py', '-c']", command=("-mprogram", "-c")),
    "module-raises": Case("def f():\n    1/0\nf()\n", 1, err="runpy", command=("-m", "program")),
    "module-missing": Case("", 1, err="No module named", command=("-m", "no_such_module")),
    "module-interrupted": Case("import signal\nsignal.raise_signal(2)\n", -2, command=("-m", "program")),
    "package": Case("", out="package", command=("-m", "package", "a"), files={**PACKAGE, "package/__main__.py": SEES}),
    "package-relative": Case("", out="sibling 7", command=("-m", "package.inner"), files={**PACKAGE, **RELATIVE}),
    "package-no-main": Case("", 1, err="cannot be directly executed", command=("-m", "package"), files=PACKAGE),
    "directory": Case(
        "", out="['directory', 'a'] ['/", command=("directory", "a"), files={"directory/__main__.py": SEES}
    ),
    "directory-empty": Case(
        "", 1, err="can't find '__main__' module", command=("directory",), files={"directory/x": ""}
    ),
    "zip": Case(SEES, out="program.zip", command=("program.zip", "a")),
    "stdin": Case("", out="['-', 'a'] ['', ", command=("-", "a"), stdin=SEES),
    "stdin-raises": Case("", 1, err="ZeroDivisionError", command=("-",), stdin="1/0\n"),
    "sibling": Case("import sibling\nprint(sibling.x)\n", out="7", files={"sibling.py": "x = 7\n"}),
    "own-click": Case("", out="7", command=("own/program.py",), files=OWN_CLICK),
    "spawn": Case(SPAWN, out="[0, 1, 4, 9, 16] None"),
    "spawn-from-module": Case(SPAWN, out="[0, 1, 4, 9, 16] program", command=("-m", "program")),
    "exit-0": Case("import sys; sys.exit()\n"),
    "exit-3": Case("import sys; sys.exit(3)\n", 3),
    "exit-text": Case("import sys; sys.exit('text')\n", 1, err="text\n"),
    "exit-huge": Case("raise SystemExit(256 + 9)\n", 9),
    "raise": Case("def f():\n    raise ValueError('so')\nf()\n", 1, err="ValueError: so"),
    "raise-group": Case("raise ExceptionGroup('some', [ValueError(1), KeyError(2)])\n", 1, err="ExceptionGroup"),
    "syntax": Case("x = 1\ndef f(:\n", 1, err="SyntaxError"),
    "syntax-in-import": Case("import sibling\n", 1, err="SyntaxError", files={"sibling.py": "def f(:\n"}),
    "encoding": Case("# -*- coding: latin-1 -*-\nprint(ascii('\u00e9'))\n", out="\\xc3\\xa9"),
    "interrupt": Case("import signal\nsignal.raise_signal(signal.SIGINT)\n", -2, err="KeyboardInterrupt"),
    "input": Case("print(input() + input())\n", out="ab", stdin="a\nb\n"),
    "closed-stdout": Case("import os\nos.close(1)\nprint('lost')\n", 120, err="Bad file descriptor"),
    "timer": Case("import threading\nt = threading.Timer(0, print, ('timed',))\nt.start()\nt.join()\n", out="timed"),
    **{name: case(*more) for name, *more in re.findall(r"(?ms)^#### ([\w-]+): (.*?)\n(.*?)(?=^####|\Z)", PROGRAMS)},
}
if sys.version_info < (3, 15):
    CASES |= {
        "the-programs-frames": Case(FRAMES, 3, out="call stack is not deep enough", err="level 8"),
        "the-programs-frames-c": Case("", 3, out="not deep enough", command=("-c", FRAMES)),
        "the-programs-frames-m": Case(FRAMES, 3, out="_run_module_as_main", command=("-m", "program")),
        "the-programs-frames-stdin": Case("", 3, out="not deep enough", command=("-",), stdin=FRAMES),
    }


def said(text: str) -> str:
    """What a program wrote, without what differs in every run."""
    return re.sub(r"\b\d{12,}\b", "IDENT", re.sub(r"0x[0-9a-f]+", "0x", text))


def check_as_plain(case: Case, folder: Path, launcher: list[str]) -> None:
    """In whichever form the command names the program."""
    (folder / "real").mkdir()
    (folder / "real" / "link.py").write_text(case.source)
    (folder / "link.py").symlink_to("real/link.py")
    (folder / "program.py").write_text(case.source)
    if "program.pyc" in case.command:
        py_compile.compile(str(folder / "program.py"), cfile=str(folder / "program.pyc"))
    with zipfile.ZipFile(folder / "program.zip", "w") as archive:
        archive.writestr("__main__.py", case.source)
    for name, text in case.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    plain = execute([sys.executable, *case.command], folder, case.stdin)
    assert plain.returncode == case.status
    assert case.out in plain.stdout
    assert case.err in plain.stderr
    ours = execute([*launcher, *case.command], folder, case.stdin)
    assert said(ours.stdout) == said(plain.stdout)
    assert said(ours.stderr) == said(plain.stderr)
    assert ours.returncode == plain.returncode


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_as_plain_python(case: Case, tmp_path: Path) -> None:
    check_as_plain(case, tmp_path, RUN)


#: What pip's script `lwp` has.
SCRIPT = "import sys\nfrom lwp_runtime import main\nsys.exit(main())\n"


@pytest.mark.parametrize("name", ["exit-3", "exit-text", "raise", "interrupt-after-all", "daemon", "argv"])
def test_console_script(name: str, tmp_path: Path) -> None:
    """`lwp run` as `python -m runtime run`: pip's script comes in by another door of the interpreter."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lwp").write_text(SCRIPT)
    check_as_plain(CASES[name], tmp_path, [sys.executable, "bin/lwp", "run"])


def test_console_script_whose_program_has_no_frame_in_the_traceback(tmp_path: Path) -> None:
    """The interpreter only borrows the names of the script's `__main__`: -X dev finds the use of freed memory."""
    (tmp_path / "lwp").write_text(SCRIPT)
    (tmp_path / "program.py").write_text("def f(:")
    shown = execute([sys.executable, "-X", "dev", "lwp", "run", "program.py"], tmp_path)
    assert (shown.returncode, shown.stdout) == (1, ""), shown.stderr
    assert shown.stderr.endswith("SyntaxError: invalid syntax\n")


def test_itself(tmp_path: Path) -> None:
    shown = execute([*RUN, "-m", "runtime", "demo", "nonsense"], tmp_path)
    assert (shown.stderr, shown.returncode) == ("lwp: no demo 'nonsense': lwp demo lists them\n", 2)


def test_safe_path(tmp_path: Path) -> None:
    """With python -P nothing is put in front of sys.path, so nothing may be replaced there."""
    (tmp_path / "directory").mkdir()
    for name in ("program.py", "directory/__main__.py"):
        (tmp_path / name).write_text("import sys\nprint(sys.path)\n")
    for name, within in (("program.py", False), ("directory", True)):
        plain = execute([sys.executable, "-P", name], tmp_path)
        ours = execute([sys.executable, "-P", *RUN[1:], name], tmp_path)
        assert ours.stdout == plain.stdout
        ours_or_above = {tmp_path, tmp_path / "directory"}
        assert any(Path(entry).resolve() in ours_or_above for entry in literal_eval(plain.stdout)) == within


@pytest.mark.parametrize("name", ["pool", "queue", "socketserver", "logging", "timer", "asyncio", "thread-raises-raw"])
def test_threads_are_ours(name: str, tmp_path: Path) -> None:
    least = {"pool": 2, "queue": 4, "socketserver": 4, "asyncio": 2}.get(name, 1)
    counts = "\nimport runtime.scheduler, threading\nprint('started', runtime.scheduler.statistics().started)\n"
    (tmp_path / "program.py").write_text(CASES[name].source + counts)
    ours = execute([*RUN, "program.py"], tmp_path)
    assert int(ours.stdout.rpartition("started ")[2]) >= least


def test_stack_size(tmp_path: Path) -> None:
    program = """
import threading, runtime.scheduler
low, high = runtime.scheduler.spawn(int).context.stack
print(threading.stack_size(), high - low)
"""
    for text, size in (("256K", 256 << 10), ("1M", 1 << 20), ("140000", 140000)):
        shown, real = map(int, execute([*RUN, "--stack-size", text, "-c", program], tmp_path).stdout.split())
        assert shown == size
        assert size <= real < size * 1.3 + 8192


def test_the_least_stack_size_is_that_of_threading(tmp_path: Path) -> None:
    program = "import threading; print(threading.stack_size())"
    least = max(MIN_STACK, os.sysconf("SC_THREAD_STACK_MIN"))
    assert execute([*RUN, "--stack-size", str(least), "-c", program], tmp_path).stdout == f"{least}\n"
    refused = execute([*RUN, "--stack-size", str(least - 1), "-c", program], tmp_path)
    assert refused.returncode == 2
    assert f"a stack has at least {least >> 10}K" in refused.stderr


# ---- --report --------------------------------------------------------------------------------------------------------


def reported(stderr: str) -> dict[str, str]:
    return {
        cells[0].strip(): cells[1].strip()
        for line in stderr.splitlines()
        if len(cells := line.strip("│").split("│")) == 2
    }


REPORTING = """
import atexit, sys, threading
together = threading.Barrier(7)
def f():
    together.wait()
    threading.main_thread().join()
    sys.stderr.write("thread ends\\n")
atexit.register(print, "atexit", file=sys.stderr)
for _ in range(7):
    threading.Thread(target=f).start()
"""


@pytest.mark.parametrize(
    ("end", "status"), [("", 0), ("sys.exit(5)", 5), ("1/0", 1), ("import signal; signal.raise_signal(2)", -2)]
)
def test_report(end: str, status: int, tmp_path: Path) -> None:
    ours = execute([*RUN, "--report", "-c", REPORTING + end], tmp_path)
    assert ours.returncode == status
    assert ours.stdout == ""
    before, _, table = ours.stderr.partition("Threads made by lwp")
    assert before.count("thread ends\n") == 7
    assert before.endswith("atexit\n")
    found = reported(table)
    assert found["threads started"] == found["most alive at once"] == "7"
    assert int(found["voluntary switches"].replace(",", "")) >= 1  # the first has waited for the others
    assert re.fullmatch(r"[\d.]+ (µs|ms)", found["start latency, p50"])
    assert re.fullmatch(r"[\d.]+ (µs|ms)", found["start latency, p99"])
    assert float(found["stack used, deepest"].split()[0].replace(",", "")) > 1
    assert re.fullmatch(r"[\d.]+ (µs|ms)", found["CPU time of those that ended"])


def test_report_counts_cpu_and_stack(tmp_path: Path) -> None:
    program = """
import threading, time
def f():
    while time.thread_time() < 0.2: pass
t = threading.Thread(target=f); t.start(); t.join()
"""
    found = reported(execute([*RUN, "--report", "-c", program], tmp_path).stderr)
    number, unit = found["CPU time of those that ended"].split()
    assert unit == "ms"
    assert 200 <= float(number) < 400


def test_report_without_threads(tmp_path: Path) -> None:
    assert reported(execute([*RUN, "--report", "-c", ""], tmp_path).stderr)["threads started"] == "0"


def test_report_is_not_for_forked_children(tmp_path: Path) -> None:
    program = "import os\nif pid := os.fork(): os.waitpid(pid, 0)\n"
    assert execute([*RUN, "--report", "-c", program], tmp_path).stderr.count("Threads made by lwp") == 1


def test_no_report_unasked(tmp_path: Path) -> None:
    program = "import sys\nprint([m for m in sys.modules if m.partition('.')[0] in ('rich', 'click')])\n"
    ours = execute([*RUN, "-c", program], tmp_path)
    assert (ours.stdout, ours.stderr) == ("[]\n", "")


@needs_gil("the woken thread runs at once")
def test_the_wakers_next_line_runs_before_the_woken_thread(tmp_path: Path) -> None:
    """The switch interval is long: the GIL passes only when its holder blocks."""
    check_order(tmp_path, "run", "-m", "runtime", "run")
