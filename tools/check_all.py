"""Everything that must hold, on the CPythons 3.11 to 3.15 of this machine.

    bash .ci/run [--all] [VERSION ...]     for example 3.13, or 3.13.5; without any, all that are found

The sdist is made first.  Each Python has a folder of its own, where it is unpacked, and a wheel is made from it and
installed.  The oldest runs all tests, as the README's commands set them up; the others run those that `selections`
names, as do the last lines, against the wheel.  --all, before a release: everything on each.

With LWP_OTHER_SYSTEMS="debian12 linux-5.10 arm64", for example, the tests run there as well: see other_systems.py.
LWP_OTHER_SYSTEMS_DIR: where the roots stay for the next time.

Every step is run, also after one has failed.  The last line adds up the tests and, as one each, the other steps; the
exit status is 1 if any failed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import roots
from roots import TREE

BOOKS = ("course", "found")  # each with its own tests; not in the sdist
SKIPPED = 77  # the exit status of a step that had nothing to do
PATIENCE = 2400  # seconds for a step: what stands still is named, and the steps after it run
VERSIONS = range(11, 16)  # of CPython 3

#: Tests whose subject is the same under every Python: the core without it, the protocols, the layers, how wide a line
#: is, what /proc says, the way out of a call that fails, what the course asks for, a page in a browser.
ONCE = (
    *(f"runtime/native/test_{what}.py" for what in ("native", "litmus", "faults")),
    *("../course/test_course.py", "lwp/observe/test_watch.py"),
    *(f"lwp/system/test_{what}.py" for what in ("layers", "c_of_tools", "deletable", "gunicorn")),
    *("lwp/explore/test_plugin.py", "lwp/explore/test_project.py"),  # what pytest and its workers do, and no Python
    *("runtime/sync/test_*_model.py", "lwp/explore/test_*_explored.py"),
    *("lwp/command/test_columns.py", "lwp/study/test_parsers.py"),
    "lwp/bench/test_bench_io.py",  # beside its peers, which the first Python has
    "lwp/system/test_docs.py",  # with the debug information that a wheel doesn't have
    "runtime/core/test_instructions.py",  # threading's own are fewer in a Python that profiles have optimised: Debian's
)
#: The C of the protocols, explored: a copy of the core, whose answers are the same until one of them is edited.  The
#: default orders run once; the deeper ones take minutes, and run after an edit of them, and before a release.
EXPLORED = tuple(f"lwp/explore/test_{what}_explored.py" for what in ("lock", "queue", "cancel", "several", "end"))
#: Tests of tools whose subject reaches a line of the C or of the Python that asks which Python this is (PY_VERSION_HEX,
#: sys.version_info): how a program ends, what the interpreter lets a tool see.
OF_THE_PYTHON = (
    *(f"lwp/command/test_{what}.py" for what in ("run", "exits", "children")),
    *(f"lwp/explore/test_{what}.py" for what in ("explore", "outcomes", "state_left")),
    "lwp/observe/test_seen.py",
    *("lwp/study/test_gdb_threads.py", "lwp/system/test_subinterpreters_beside.py"),
)
#: Tests of commands and documents, which without a GIL are the same.
ONCE_EACH = (
    *("lwp/bench/test_bench.py", "lwp/bench/test_bench_explore.py", "lwp/study/test_demo.py"),
    *(f"lwp/explore/test_{what}.py" for what in ("corpus", "explore_command", "report", "systematic", "workers")),
)

TOOLS = {
    "gcc": ("gcc", "libc6-dev"),
    "ccache": ("ccache",),
    "gdb": ("gdb",),
    "strace": ("strace",),
    "valgrind": ("valgrind",),
    "cppcheck": ("cppcheck",),
    "chromedriver": ("chromium", "chromium-driver"),
}

ABOUT = """
import os, platform, sys, sysconfig
free_threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
print(platform.python_implementation(), platform.python_version() + free_threaded, os.path.realpath(sys.executable))"""
USABLE = """
import ensurepip, os, sysconfig
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")): raise SystemExit("no Python.h")"""


class Debian:
    """Installs packages where it may; what is missing after all shows where it is used."""

    updated = False

    def install(self, *packages: str) -> None:
        if os.getuid() != 0 or not shutil.which("apt-get"):
            return
        if not self.updated:
            subprocess.run(["apt-get", "update", "-qq"], check=False)
            self.updated = True
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        if subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False).returncode:
            print("not installed:", *packages)


# ---- which Pythons ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Python:
    version: str
    path: str

    @property
    def free_threaded(self) -> bool:
        return self.version.endswith("t")

    @property
    def minor(self) -> str:
        return self.version.rpartition(".")[0]

    @property
    def is_debians(self) -> bool:
        return self.path.startswith("/usr/bin/")

    @property
    def age(self) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", self.version)]


@dataclass(frozen=True)
class Selection:
    """What runs on a Python."""

    name: str
    paths: tuple[str, ...] = ()  #: of tests/; none: all, and the books'
    left_out: tuple[str, ...] = ()  #: of tests/, with wildcards
    slow: bool = False
    first: bool = False  #: has what no Python matters for


EVERYTHING = Selection("everything", slow=True)
FIRST = Selection("everything except the explored C", left_out=EXPLORED, slow=True, first=True)
NEWEST = Selection("all except slow tests and what is the same under every Python", left_out=ONCE)
#: What a thread, a lock and a task are to the interpreter, the runtime's tests say where it is alone, see check().
BETWEEN = Selection("what depends on the Python, except slow tests, and the core alone", OF_THE_PYTHON, ONCE)
#: For a second Python of the newest minor version.  Its C is the same; pyenv's libpython, however, is a library, and
#: Debian's part of the program, and pyenv's comes with CPython's own tests, some of which are run by ours.
BUILD = Selection(
    "what depends on how a Python is built",
    ("runtime/core", "runtime/system/test_packaging.py", "runtime/sync/test_sync.py", "runtime/groups/test_pool.py"),
    ONCE,
    slow=True,  # as CPython's own tests are, and those of a wheel
)
NO_GIL = Selection("all except slow tests, commands and documents", left_out=ONCE + ONCE_EACH)
NOTHING = Selection("nothing, as there are others of its minor version")


def selections(pythons: list[Python]) -> dict[Python, Selection]:
    """What takes longest first."""
    ordered = sorted(pythons, key=lambda python: (python.free_threaded, python.age))
    newest_of = {python.minor: python for python in ordered if not python.free_threaded}
    oldest, *others = newest_of.values() or ordered[:1]
    found = {oldest: FIRST}
    found |= {python: BETWEEN if number else NEWEST for number, python in enumerate(reversed(others))}
    newest = next(reversed(newest_of), "")
    for python in ordered:
        found.setdefault(python, NO_GIL if python.free_threaded else BUILD if python.minor == newest else NOTHING)
    return found


def ask(path: str, program: str) -> tuple[int, str]:
    done = subprocess.run([path, "-c", program], capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def find_pythons(wanted: list[str], debian: Debian) -> list[Python]:
    pyenv = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    names = ["python3", *(f"python3.{minor}{kind}" for minor in VERSIONS for kind in ("", "t"))]
    candidates = chain(
        sorted(glob.glob(f"{pyenv}/versions/*/bin/python3")),
        (f"{folder}/{name}" for folder in ("/usr/bin", "/usr/local/bin") for name in names),
    )
    found: dict[str, Python] = {}
    for candidate in filter(os.path.exists, candidates):
        status, answer = ask(candidate, ABOUT)
        if status or not re.match(rf"CPython 3\.({'|'.join(map(str, VERSIONS))})\.\S+ ", answer):
            continue
        _, version, path = answer.split(maxsplit=2)
        if path in found or (wanted and not any(f"{version}.".startswith(f"{one}.") for one in wanted)):
            continue
        python = Python(version, path)
        status, why = ask(path, USABLE)
        if status and python.is_debians:
            debian.install(f"python{python.minor}-dev", f"python{python.minor}-venv")
            status, why = ask(path, USABLE)
        print(f"found CPython {version}: {path}" + (f", left out: {why.splitlines()[-1]}" if status else ""))
        if status == 0:
            found[path] = python
    return list(found.values())


# ---- steps and what came of them -------------------------------------------------------------------------------------

printing = threading.Lock()
running = set[subprocess.Popen[bytes]]()
interrupted = threading.Event()  #: no further step begins


@dataclass
class Results:
    """What the steps of one Python, or of several, came to."""

    passed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    times: list[tuple[str, float]] = field(default_factory=list)  #: each step's seconds

    def add(self, other: Results) -> None:
        self.passed += other.passed
        self.skipped += other.skipped
        self.failures += other.failures
        self.times += other.times

    def add_tests(self, report: Path, name: str) -> None:
        """What pytest has counted."""
        root = xml.parse(report).getroot()
        for case in root.iter("testcase"):
            wrong = [*case.iter("failure"), *case.iter("error")]
            if wrong:
                first = wrong[0].get("message", "").split("\n")[0]
                self.failures.append(f"{name}: {case.get('classname')} {case.get('name')} {first}")
            elif case.find("skipped") is not None:
                self.skipped += 1
            else:
                self.passed += 1


#: At most one step of each kind runs at a time: tests, with their workers, and beside them one of the others.
of_tests, other = threading.Lock(), threading.Lock()


@dataclass
class Runner:
    """Runs steps in one folder, with one environment."""

    folder: Path
    environment: dict[str, str]
    results: Results = field(default_factory=Results)

    def step(self, name: str, text: str, turn: threading.Lock = other, **more: str) -> bool:
        """Runs lines of the shell; exit status 77 says that there was nothing to do.  Whether it did not fail."""
        with turn, tempfile.TemporaryFile() as log:
            if interrupted.is_set():
                raise KeyboardInterrupt
            begin = time.monotonic()
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=self.folder,
                env={**self.environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a hang is ended with all its processes
            )
            running.add(process)
            try:
                ended = f"exit status {process.wait(PATIENCE)}"
            except subprocess.TimeoutExpired:
                end_group(process)
                ended = f"stood still for {PATIENCE} s"
            running.discard(process)
            seconds = time.monotonic() - begin
            log.seek(0)
            printed = log.read().decode(errors="replace")
        self.results.times.append((name, seconds))
        with printing:
            print(f"\n--- {name}\n$ {text}\n{printed}--- {name}: {ended}, {seconds:.0f} s", flush=True)
        if process.returncode == SKIPPED:
            self.results.skipped += 1
        elif process.returncode:
            self.results.failures.append(f"{name}: {ended}")
        else:
            self.results.passed += 1
        return process.returncode in (0, SKIPPED)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGABRT first: pytest says then where each thread is."""
    for number in (signal.SIGABRT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def readme_command(mark: str) -> str:
    """The code block after the line `<!-- mark -->` of the README."""
    found = re.search(
        rf"^<!-- {mark} -->\n```sh\n(.*?)^```", (TREE / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    if not found:
        raise SystemExit(f"the README has no command after <!-- {mark} -->")
    return found[1].strip()


# The sdist has all files that git has, except the books.
SDIST = """\
python3 -m venv .venv
.venv/bin/pip install -q $(sed -n 's/^requires = \\[\\(.*\\)\\].*/\\1/p' tree/pyproject.toml | tr -d '",')
(cd tree && ../.venv/bin/python -c 'from setuptools.build_meta import build_sdist; build_sdist("..")') >sdist.log
mkdir unpacked
tar --extract --file ./*.tar.gz --directory unpacked --strip-components=1
made='^(PKG-INFO|setup.cfg|lwp_runtime.egg-info/.*)$'
left_out='^(\\.git|course/|found/)'
diff <(grep -vE "$left_out" files | sort) <(cd unpacked && find . -type f -printf '%P\\n' | grep -vE "$made" | sort)
"""

# In an environment that has only what is needed to run.
WHEEL = """\
python3 -m venv venv
venv/bin/pip wheel -q --no-deps --wheel-dir wheel ../*.tar.gz
venv/bin/pip install -q wheel/*.whl
lwp=$PWD/venv/bin/lwp example=$PWD/tree/examples/httpserver.py
(cd / && "$lwp" --version && "$lwp" run "$example" --requests 200)
"""

# Tests that drive other programs are skipped where these are not installed.
PROGRAMS = """\
{venv}/bin/python -c '
import tomllib
extras = tomllib.load(open("tree/pyproject.toml", "rb"))["project"]["optional-dependencies"]
print(*(one for name in ("lint", "programs", "peers", "found") for one in extras[name]), sep="\\n")' >programs.txt
{venv}/bin/pip install -q -r programs.txt"""

# A threaded program prints the same on the runtime, except its last line, the time that it took.
EXAMPLES = """\
cd tree
../venv/bin/python examples/wordcount.py >../stock.out
../venv/bin/lwp run examples/wordcount.py >../ours.out
cat ../ours.out
diff <(sed '$d' ../stock.out) <(sed '$d' ../ours.out)
../venv/bin/lwp run --report examples/httpserver.py
../venv/bin/python examples/private_cwd.py"""

# The wheel that is given out, for this Python and processor; installed where calling a compiler would fail.
MANYLINUX = """\
mkdir manylinux
cd manylinux
python3 -m venv tools
needed=$(sed -n 's/^wheels = \\[\\(.*\\)\\].*/\\1/p' ../tree/pyproject.toml | tr -d '",')
tools/bin/pip install -q cffi setuptools $needed
tools/bin/python ../tree/tools/wheels.py --output wheels --processor "$(uname -m)" tools/bin/python
python3 -m venv venv
CC=false venv/bin/pip install -q "$(echo wheels/*.whl)[test]"
venv/bin/pytest -q ../tree/tests/runtime/core/test_core.py"""

# The runtime where neither the tools nor what they need is installed.
CORE_ALONE = """\
mkdir -p alone/away
cp -r tree alone/tree
cd alone
rm -rf tree/{lwp,stress,bench,course,found} tree/tests/{lwp,stress}
python3 -m venv venv
venv/bin/pip install -q cffi hypothesis pyelftools pytest pytest-timeout pytest-xdist setuptools
venv/bin/pip install -q --no-deps --no-build-isolation ./tree
cd away
for name in click rich lwp.observe; do (! ../venv/bin/python -c "import $name" 2>/dev/null); done
../venv/bin/pytest -q -n 1 ../tree/tests/runtime"""

LINT = """\
cd tree
.venv/bin/ruff check .
.venv/bin/ruff format --check .
find bench lwp runtime tests -name '*.[ch]' -exec .venv/bin/clang-format -n -Werror {} +
.venv/bin/mypy --strict --package lwp --package runtime
.venv/bin/mypy --strict bench course examples found/known_races.py stress tools lwp_*.py setup.py"""


# Every link leads somewhere, also to a heading and to a file of the tree.
SITE = """\
python3 -m venv site
site/bin/pip install -q $(sed -n 's/^docs = \\[\\(.*\\)\\].*/\\1/p' tree/pyproject.toml | tr -d '",')
cd tree
../site/bin/mkdocs build"""


def check(run: Runner, python: Python, selection: Selection, everything: bool) -> None:
    version = python.version
    if not run.step(f"{version}: wheel", WHEEL, CFLAGS="-Werror"):
        return
    if selection.first:  # tests what the README's commands have built among the sources
        venv, some = "tree/.venv", "-n 1 tests/runtime/core/test_core.py"
        found = f"{{ {readme_command('run, exit status 1')}; }} | tee ../found || true\ngrep -q ^FOUND ../found"
        # Without the cache, whose objects may name another folder: test_docs.py has gdb read these sources.
        run.step("README, run", f"cd tree\n{found}", CFLAGS="-Werror", CCACHE_DISABLE="1")
        run.step("README, test", f"cd tree\n{readme_command('test')}", PYTEST_ADDOPTS=some)
    else:
        venv = "venv"
        run.step(f"{version}: what tests need", 'venv/bin/pip install -q "$(echo wheel/*.whl)[test]"')
    if selection.first or (everything and not python.free_threaded):
        run.step(f"{version}: programs", PROGRAMS.format(venv=venv))
    with ThreadPoolExecutor(1) as beside:
        tests = beside.submit(run_tests, run, version, venv, selection)
        run.step(f"{version}: examples", EXAMPLES)
        run.step(f"{version}: CPython's own tests", "venv/bin/python tree/tools/cpython_suite.py --if-needed")
        if (selection.first or everything) and not python.is_debians:  # whose headers lie in two folders
            run.step(f"{version}: manylinux wheel", MANYLINUX)
        if selection is BETWEEN or everything:
            options = shlex.join(f"--ignore-glob=../tree/tests/{name}" for name in ONCE)
            run.step(f"{version}: the core alone", CORE_ALONE, PYTEST_ADDOPTS=options)
        if selection.first:
            run.step("lint", LINT)
            run.step("site", SITE)
        if selection is FIRST:
            explored = shlex.join(["../tree/tests/" + name for name in EXPLORED])
            run.step("explored C", f"mkdir -p away\ncd away\n../{venv}/bin/pytest -q -n 1 -m 'not slow' {explored}")
        if everything:
            run.step(f"{version}: bench", f"{venv}/bin/lwp bench --quick")
        tests.result()


def run_tests(run: Runner, version: str, venv: str, selection: Selection) -> None:
    """In a folder without sources, so that what is installed is imported."""
    tests, report = Path("../tree/tests"), run.folder / "report.xml"
    options = ["-q", "-n", "auto", "--durations=20", f"--junit-xml={report}", *["--slow"] * selection.slow]
    options += [f"--ignore-glob={tests / name}" for name in selection.left_out]
    paths = [str(tests / name) for name in selection.paths or ["", *(f"../{book}" for book in BOOKS)]]
    command = f"mkdir -p away\ncd away\n../{venv}/bin/pytest {shlex.join([*options, *paths])}"
    wheel = next((run.folder / "wheel").iterdir())
    run.step(f"{version}: tests", command, of_tests, LWP_WHEEL=str(wheel))
    if report.exists():
        run.results.add_tests(report, version)


# ---- all of it -------------------------------------------------------------------------------------------------------


def copy_and_list(target: Path) -> None:
    """The files of the tree in target; the file `files` beside it names them."""
    (target.parent / "files").write_text("".join(f"{name}\n" for name in roots.copy_tree(target)))


def clean_environment() -> dict[str, str]:
    """Bytecode is kept: otherwise each process of a test compiles what it imports, a fifth of the processor time."""
    left_out = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "CFLAGS")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def environment(folder: Path, python: Python) -> dict[str, str]:
    """In which python3, as the README has it, is this one, and a compiler keeps what it makes for the folders beside
    this one: the same C is compiled some eighteen times."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    (commands / "python3").write_text(f'#!/bin/sh\nexec "{python.path}" "$@"\n')
    (commands / "python3").chmod(0o755)
    path = os.pathsep.join([str(commands), *glob.glob("/usr/lib*/ccache"), os.environ["PATH"]])
    cache = {
        "CCACHE_DIR": str(folder.parent / "ccache"),
        "CCACHE_BASEDIR": tempfile.gettempdir(),  # below which a folder's name makes no difference
        "CCACHE_NOHASHDIR": "1",
    }
    return {**clean_environment(), **cache, "PATH": path}


def check_in_folder(python: Python, selection: Selection, everything: bool, work: Path) -> Results:
    folder = work / python.version
    runner = Runner(folder, environment(folder, python))
    try:
        shutil.copytree(work / "unpacked", folder / "tree")
        for book in BOOKS:
            shutil.copytree(work / "tree" / book, folder / "tree" / book)
        check(runner, python, selection, everything)
    except Exception as error:
        runner.results.failures.append(f"{python.version}: did not come to its end: {error!r}")
    shutil.rmtree(folder, ignore_errors=True)
    return runner.results


def check_other_systems(python: Python, debian: Debian) -> Results:
    systems = os.environ.get("LWP_OTHER_SYSTEMS", "").split()
    keep = [word for folder in [os.environ.get("LWP_OTHER_SYSTEMS_DIR")] if folder for word in ("--keep", folder)]
    if systems and not shutil.which("debootstrap"):
        debian.install("debootstrap")
    if any("arm64" in system for system in systems) and not shutil.which("qemu-aarch64-static"):
        debian.install("qemu-user-static")
    if any(system.startswith("linux-") for system in systems) and not shutil.which("qemu-system-aarch64"):
        debian.install("qemu-system-x86", "qemu-system-arm", "e2fsprogs", "kmod", "cpio")
    runner = Runner(TREE, clean_environment())
    for system in systems:
        runner.step(system, shlex.join([python.path, "tools/other_systems.py", *keep, system]))
    return runner.results


def main() -> int:
    begin, debian = time.monotonic(), Debian()
    # A shell's `&`, and nohup, ignore these, and each program of a test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for command, packages in TOOLS.items():
        if not shutil.which(command) or (command == "gcc" and not Path("/usr/include/stdio.h").exists()):
            debian.install(*packages)
    everything, wanted = "--all" in sys.argv[1:], [word for word in sys.argv[1:] if word != "--all"]
    pythons = find_pythons(wanted, debian)
    if not pythons:
        print("no usable CPython 3.11 to 3.15", *(["among", *wanted] if wanted else []))
        return 1
    chosen = selections(pythons)
    if everything:
        chosen = {python: replace(EVERYTHING, first=one.first) for python, one in chosen.items()}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(len(chosen)) as pool:
        work, first = Path(name), next(iter(chosen))
        copy_and_list(work / "tree")
        sdist = Runner(work, environment(work / "sdist", first))
        results = sdist.results
        try:
            if sdist.step("sdist", SDIST):
                jobs = [
                    pool.submit(check_in_folder, python, selection, everything, work)
                    for python, selection in chosen.items()
                    if selection is not NOTHING
                ]
                for job in jobs:
                    results.add(job.result())
        except KeyboardInterrupt:  # which has not reached the other sessions
            interrupted.set()
            for process in list(running):
                os.killpg(process.pid, signal.SIGKILL)
            shutil.rmtree(work, ignore_errors=True)
            os._exit(130)
    results.add(check_other_systems(pythons[-1], debian))
    print()
    for python, selection in chosen.items():
        print(f"CPython {python.version} {python.path}: {selection.name}")
    if not everything:
        print("left out: the other tests on these Pythons, and lwp bench --quick; bash .ci/run --all runs them")
    for name, seconds in results.times:
        print(f"{seconds:5.0f} s  {name}")
    print(f"{time.monotonic() - begin:5.0f} s  all of it")
    for failure in results.failures:
        print(f"FAILED: {failure}")
    print(f"{results.passed} passed, {len(results.failures)} failed, {results.skipped} skipped")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
