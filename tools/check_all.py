"""Everything that must hold, on every CPython 3.11 to 3.15 of this machine, free-threaded ones too, each in a fresh
copy of the tree with a virtual environment of its own.

    bash .ci/run [VERSION ...]     for example 3.13, or 3.13.5; without any, all that are found

With LWP_OTHER_SYSTEMS="debian12 linux-5.10 arm64", for example, the tests run there too: see other_systems.py.
LWP_OTHER_SYSTEMS_DIR: where the roots stay for the next time.

The commands that set up, run the example and test are the README's own, read from it.  Every step is run, also after
one has failed.  The last line adds up the tests and, as one each, the other steps; the exit status is 1 if any failed.
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
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TextIO

TREE = Path(__file__).resolve().parent.parent
SKIPPED = 77  # the exit status of a step that had nothing to do
PATIENCE = 2400  # seconds for a step: what stands still is named, and the steps after it run
VERSIONS = range(11, 16)  # of CPython 3

#: Tests whose subject is the same under every Python: the core without it, the models, the layers, how wide a line is,
#: what /proc says.
ONCE = (
    *("native/test_native.py", "native/test_layers.py"),
    *(f"sync/test_{what}_model.py" for what in ("sync", "wait", "all", "end", "cancel")),
    *("explore/test_corpus_on_stock.py", "cli/test_columns.py", "tls/test_parsers.py"),
    "cli/test_bench_io.py",  # beside its peers, which the first Python has
)
#: Tests of commands and documents, for the first Python of each 3.x; a further one (3.13.5 beside 3.13.0) has those
#: that are neither among these nor slow.
ONCE_EACH = (
    *("system/test_docs.py", "cli/test_bench.py", "cli/test_bench_explore.py", "cli/test_demo.py"),
    *(f"explore/test_{what}.py" for what in ("corpus", "explore_command", "plugin", "report", "systematic", "workers")),
)
#: The tests that run against the wheel made from the sdist.
OF_SDIST = ("core/test_thread_object.py", "sync/test_sync.py", "cli/test_cli.py", "system/test_packaging.py")

TOOLS = {
    "gcc": ("gcc", "libc6-dev"),
    "gdb": ("gdb",),
    "strace": ("strace",),
    "valgrind": ("valgrind",),
    "cppcheck": ("cppcheck",),
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
        if status and path.startswith("/usr/bin/"):
            debian.install(f"python{python.minor}-dev", f"python{python.minor}-venv")
            status, why = ask(path, USABLE)
        print(f"found CPython {version}: {path}" + (f", left out: {why.splitlines()[-1]}" if status else ""))
        if status == 0:
            found[path] = python
    return list(found.values())


# ---- steps and what came of them -------------------------------------------------------------------------------------

printing = threading.Lock()
running = set[subprocess.Popen[bytes]]()


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


@dataclass
class Runner:
    """Runs steps in one folder, with one environment, and writes what they print to one log."""

    folder: Path
    environment: dict[str, str]
    log: TextIO
    results: Results = field(default_factory=Results)

    def step(self, name: str, text: str, **more: str) -> None:
        """Runs lines of the shell; exit status 77 says that there was nothing to do."""
        print(f"\n--- {name}\n$ {text}", file=self.log, flush=True)
        begin = time.monotonic()
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
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
        self.results.times.append((name, seconds))
        print(f"--- {name}: {ended}, {seconds:.0f} s", file=self.log)
        with printing:
            print(f"{name}: {ended}, {seconds:.0f} s", flush=True)
        if process.returncode == SKIPPED:
            self.results.skipped += 1
        elif process.returncode:
            self.results.failures.append(f"{name}: {ended}")
        else:
            self.results.passed += 1


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


# A threaded program prints the same on the runtime, but for the last line, the time that it took.
SAME_OUTPUT = """\
.venv/bin/python examples/wordcount.py >stock.out
.venv/bin/python -m runtime run examples/wordcount.py >ours.out
cat ours.out
diff <(sed '$d' stock.out) <(sed '$d' ours.out)"""

# Away from the sources.
INSTALLED_WHEEL = """\
lwp=$PWD/wheel-venv/bin/lwp example=$PWD/examples/httpserver.py
python3 -m venv wheel-venv
wheel-venv/bin/pip install -q dist/*.whl
cd /
"$lwp" --version
"$lwp" run "$example" --requests 200"""

# The wheel that is given out, for this Python and processor; installed where a compiler would be called in vain.
MANYLINUX = """\
.venv/bin/pip install -q $(sed -n 's/^wheels = \\[\\(.*\\)\\].*/\\1/p' pyproject.toml | tr -d '",')
.venv/bin/python tools/wheels.py --processor "$(uname -m)" .venv/bin/python
mkdir installed
cd installed
python3 -m venv venv
CC=false venv/bin/pip install -q "$(echo ../wheels/*.whl)[test]"
venv/bin/pytest -q ../tests/core/test_core.py"""

# What a distributor does: the sdist has all files, a wheel can be made from it, and some of its tests pass elsewhere.
SDIST_ELSEWHERE = """\
mkdir elsewhere elsewhere/source
.venv/bin/python -c 'from setuptools.build_meta import build_sdist; build_sdist("elsewhere")' >elsewhere/log
cd elsewhere
tar --extract --file ./*.tar.gz --directory source --strip-components=1
diff <(grep -v '^\\.git' ../../files | sort) \\
    <(cd source && find . -type f -printf '%P\\n' | grep -vE '^(PKG-INFO|setup.cfg|lwp_runtime.egg-info/.*)$' | sort)
python3 -m venv venv
venv/bin/pip wheel -q --no-deps --wheel-dir . ./source
venv/bin/pip install -q "$(echo ./*.whl)[test]"
venv/bin/pytest -q """ + " ".join(f"source/tests/{name}" for name in OF_SDIST)


def check(run: Runner, version: str, which: str) -> None:
    """which: the first Python of all ("all"), the first of its 3.x ("first"), or neither ("again")."""
    report = run.folder / "report.xml"
    left_out = {"all": (), "first": ONCE, "again": ONCE + ONCE_EACH}[which]
    # Two workers: half of a test's time is a wait, for a thread or a program.  loadgroup: one of them has all tests of
    # 10,000 threads (`crowd`), as the kernel's pid_max may be 32,768.
    options = ["-n 2 --dist loadgroup", "--durations 20", f"--junit-xml={report}"]
    options += [f"--ignore=tests/{name}" for name in left_out]
    if which == "again":
        options.append("-m 'not slow'")
    run.step(f"{version}: README, run", readme_command("run"))
    if which == "all":  # tests that drive other programs are skipped where these are not installed
        run.step(f"{version}: programs", ".venv/bin/pip install -q -e '.[programs,dask,peers]'")
    run.step(f"{version}: README, test", readme_command("test"), PYTEST_ADDOPTS=" ".join(options))
    if report.exists():
        run.results.add_tests(report, version)
    run.step(f"{version}: wordcount", SAME_OUTPUT)
    run.step(f"{version}: httpserver", ".venv/bin/python -m runtime run --report examples/httpserver.py")
    run.step(f"{version}: private_cwd", ".venv/bin/python examples/private_cwd.py")
    if which == "again":
        return
    run.step(f"{version}: CPython's own tests", ".venv/bin/python tools/cpython_suite.py --if-needed")
    run.step(f"{version}: bench", ".venv/bin/python -m runtime bench --quick")
    run.step(f"{version}: wheel, no warnings", ".venv/bin/pip wheel -q --no-deps --wheel-dir dist .", CFLAGS="-Werror")
    run.step(f"{version}: wheel, installed", INSTALLED_WHEEL)
    run.step(f"{version}: manylinux wheel", MANYLINUX)
    if which == "all":  # what does not depend on the Python that it runs on
        run.step("ruff", ".venv/bin/ruff check . && .venv/bin/ruff format --check .")
        run.step("clang-format", "find runtime tests tools -name '*.[ch]' -exec .venv/bin/clang-format -n -Werror {} +")
        run.step(
            "mypy",
            ".venv/bin/mypy --strict --package runtime && .venv/bin/mypy --strict examples tools lwp_*.py setup.py",
        )
        run.step(f"{version}: sdist, elsewhere", SDIST_ELSEWHERE)


# ---- all of it -------------------------------------------------------------------------------------------------------


def copy_tree(target: Path) -> None:
    """The files that git has or would take, in target; the file `files` beside it names them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=True).stdout.splitlines()
    names = [name for name in listed if (TREE / name).exists()]
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, target / name)
    (target.parent / "files").write_text("".join(f"{name}\n" for name in names))


def clean_environment() -> dict[str, str]:
    left_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CFLAGS")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def check_in_copy(python: Python, which: str, work: Path) -> Results:
    """Each step's end is told at once; what the steps print comes in one piece when the last has ended."""
    folder = work / python.version
    tree, commands, log = folder / "tree", folder / "bin", folder / "log"
    tree.mkdir(parents=True)
    commands.mkdir()
    copy_tree(tree)
    # The README says python3: here that is this one.
    (commands / "python3").write_text(f'#!/bin/sh\nexec "{python.path}" "$@"\n')
    (commands / "python3").chmod(0o755)
    with log.open("w") as out:
        print(f"\n======== CPython {python.version}, {python.path}", file=out)
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        runner = Runner(tree, {**clean_environment(), "PATH": path}, out)
        try:
            check(runner, python.version, which)
        except Exception as error:
            runner.results.failures.append(f"{python.version}: did not come to its end: {error!r}")
    with printing:
        print(log.read_text(errors="replace"), end="", flush=True)
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
    runner = Runner(TREE, clean_environment(), sys.stdout)
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
    pythons = find_pythons(sys.argv[1:], debian)
    if not pythons:
        print("no usable CPython 3.11 to 3.15", *(["among", *sys.argv[1:]] if sys.argv[1:] else []))
        return 1
    results, minors = Results(), set[str]()
    at_a_time = min(2, os.cpu_count() or 1, len(pythons))
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(at_a_time) as pool:
        jobs = []
        for number, python in enumerate(pythons):
            which = "again" if python.minor in minors or python.free_threaded else "first" if number else "all"
            if not python.free_threaded:
                minors.add(python.minor)
            jobs.append(pool.submit(check_in_copy, python, which, Path(work)))
        try:
            for job in jobs:
                results.add(job.result())
        except KeyboardInterrupt:  # which has not reached the other sessions
            for process in list(running):
                os.killpg(process.pid, signal.SIGKILL)
            shutil.rmtree(work, ignore_errors=True)
            os._exit(130)
    results.add(check_other_systems(pythons[-1], debian))
    print()
    for python in pythons:
        print(f"ran on CPython {python.version} {python.path}")
    for name, seconds in results.times:
        print(f"{seconds:5.0f} s  {name}")
    print(f"{time.monotonic() - begin:5.0f} s  all, {at_a_time} Python{'s' * (at_a_time > 1)} at a time")
    for failure in results.failures:
        print(f"FAILED: {failure}")
    print(f"{results.passed} passed, {len(results.failures)} failed, {results.skipped} skipped")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
