"""The tests on other systems: another C library, another Python, another processor, another kernel.

    python tools/other_systems.py [--keep DIR] [--wheels DIR] [--glibc DIR] [--cpython | --steps STEP,...]
                                  [--all | debian12 linux-6.1 ...] [-- PYTEST ARGUMENT ...]

Each system is a root made by debootstrap from the Debian mirror that apt uses here.  A wheel is built in it and
installed with what the tests need, by pip, configured as here; then the tests run on what was installed, away from
the sources.  With --wheels, what tools/wheels.py has made in DIR is installed instead, without a compiler.
Where the runtime does not work (i386, riscv64) it must say so in a sentence, to pip and at import.
What comes after `--` is for pytest: `debian12 -- -k clone -x`.  With --cpython, CPython's own tests of threads run
instead, by tools/cpython_suite.py --all, from Debian's package of them.

A system whose name begins with glibc- has that glibc, compiled from its release, which lies unpacked in the DIR of
--glibc, and a CPython 3.11 compiled there.  --all leaves these out without --glibc.

A system whose name begins with linux- is a whole machine, which qemu emulates: Debian's kernel boots with the root, and
runs one step after another: test files, `lwp doctor`, `python -m stress`.  How fast it is is measured first, and
LWP_SLOW tells the tests, whose time limits then are for hangs only.  --steps: only these, or any other file of tests/.

Needs root, debootstrap and, for another processor, a static qemu-user; docs/platforms.md says what can't work under it.
Machines need qemu-system-x86 or -arm, e2fsprogs, kmod, cpio.  A root takes 1 GiB, a machine 2 GiB more while it runs.
With --keep a root stays in DIR for the next time, and beside it the log of the last run and its results.  The last line
for a system has the results of each step; docs/platforms.md has the sums.

Exit status 0: all is well on each.  1: something failed.  77: no root can be made here, and it says what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import glibcs
from kernels import SPEED, Step, run_steps
from roots import INSTALL_TIME, Failed, Impossible, Root, fill, inside, install, make, run

IMPOSSIBLE = 77
TEST_TIME = 7200  # seconds that the tests may take


@dataclass(frozen=True)
class System(Root):
    """A Debian, and what runs there."""

    tests: tuple[str, ...] = ()  #: files of tests/; none: all, or a machine's
    kernel: str = ""  #: the suite whose kernel boots; none: the root is one of this kernel
    root: str = ""  #: the name of the root, if another system has it too
    lacks: tuple[str, ...] = ()  #: of the features that `lwp doctor` lists
    glibc: str = ""  #: the version to compile; none: Debian's


#: What was tried in order: one file stands on the other's.
IN_ORDER = (
    *(f"runtime/{name}" for name in ("core/test_core", "core/test_thread_object", "sync/test_sync")),
    *("runtime/sync/test_sync_races", "lwp/study/test_tls", "runtime/core/test_tls_block", "runtime/green/test_green"),
)
OLD = ("private futex hash", "guard regions")
OLDER = (*OLD, "pidfd for threads")
SYSTEMS = {
    "debian12": System("bookworm"),
    "unstable": System("sid"),
    "unstable-3.13": System("sid", "python3.13"),
    "unstable-3.15": System("sid", "python3.15"),
    "arm64": System("trixie", processor="aarch64", tests=IN_ORDER),
    **{
        f"glibc-{version}": System("bullseye", glibcs.PYTHON, tests=IN_ORDER, glibc=version)
        for version in ("2.34", "2.35", "2.37", "2.38", "2.39", "2.40")  # Debian has the others
    },
    "i386": System("trixie", processor="i386", refused="i386-linux-gnu"),
    "riscv64": System("trixie", processor="riscv64", refused="riscv64-linux-gnu"),
    "linux-5.10": System("bookworm", kernel="bullseye", root="debian12", lacks=(*OLDER, "futex_waitv")),
    "linux-6.1": System("bookworm", kernel="bookworm", root="debian12", lacks=OLDER),
    "linux-6.12": System("trixie", kernel="trixie", root="debian13", lacks=OLD),
    "linux-newest": System("trixie", kernel="sid", root="debian13"),
    "linux-6.12-arm64": System("trixie", processor="aarch64", kernel="trixie", root="arm64", lacks=OLD),
    "linux-newest-arm64": System("trixie", processor="aarch64", kernel="sid", root="arm64"),
}
#: What qemu-user can't do, and the tests that want it.
CANNOT = {
    "clone(2) with fewer flags than a thread of pthread_create has: EINVAL": """
        test_flags_of_a_thread test_without_clone_files test_without_clone_fs test_detached_and_dropped
        test_vfork_returns test_exit_status_of_a_process test_a_process_that test_a_copy_shares_more
        test_the_exit_signal_is_sent test_a_process_reaped_by_somebody_else test_processes_that_nobody_joined
        test_a_signal_handler_runs_while_join_waits test_fork_in_a_thread
        test_inspecting_no_thread_is_an_error""",
    "ptrace(2): ENOSYS": "test_fork_while_a_thread_is_at_its_end",
    "robust lists: set_robust_list(2) is ENOSYS, nobody is told that the owner of a mutex has died": """
        test_a_robust_mutex_of_a_dead_thread test_the_robust_list_is_the_kernels""",
    "time: ten thousand threads take it minutes": "test_ten_thousand_sleepers",
    "memory: what /proc/self/status counts is the emulator's too": """
        test_blocks_of_keys_are_freed test_deep_stacks_are_given_back test_memory_stays_over_thousands
        test_dynamic_tls_is_freed test_thousands_alive_at_once""",
}

#: Away from the sources, and what is installed is found first.
IN_TMP = """
cd /tmp
PATH=/opt/venv/bin:$PATH
exec "$0" "$@"
"""

#: As for a processor that it works on: from the sources, from an sdist, and by a look at what was installed elsewhere.
REFUSE = """
rm -rf /opt/venv
"$0" -m venv /opt/venv
cd /wheels
! /opt/venv/bin/pip install /src || exit
! /opt/venv/bin/pip install *.tar.gz || exit
! /opt/venv/bin/python -c 'import runtime.thread' || exit
"""

CPYTHON = """
package=lib$(/opt/venv/bin/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')-testsuite
dpkg --status $package >/dev/null 2>&1 || {
    apt-get --quiet update
    apt-get --quiet install --yes --no-install-recommends $package
}
cd /tmp
exec /opt/venv/bin/python /src/tools/cpython_suite.py --all
"""

#: In one line: it is also a line of a machine's list.
ABOUT = (
    "import platform as p, runtime, time; "
    "print(f'CPython {p.python_version()}', ' '.join(p.libc_ver()), p.machine(), f'Linux {p.release()}', "
    "time.strftime('%F'), sep=', ')"
)

NAMES_OF_DEMOS = "python -c 'from lwp.study.demo import DEMOS; print(*DEMOS)'"
#: Of the sources; the runtime, however, is the one that is installed.
STRESS = "PYTHONPATH=$(python -c 'import runtime; print(*runtime.__path__)')/..:/src python -m stress"
PYTEST = ("python", "-m", "pytest", "-n0", "--slow", "-rfEs", "-p", "no:cacheprovider")
WITH_TESTS = ["/src/tests", "/src/course", "/src/found"]
FILES = (  #: that a machine runs, each a step
    *(f"runtime/{name}" for name in ("system/test_kernel", "core/test_core", "core/test_thread_object")),
    *("runtime/sync/test_sync", "runtime/sync/test_sync_races", "lwp/study/test_tls"),
    *(f"runtime/{name}" for name in ("core/test_tls_block", "green/test_green")),
    *(f"runtime/groups/test_{what}" for what in ("awaiting", "cancellation", "wait")),
    *(f"runtime/core/test_{what}" for what in ("limits", "pitfalls", "costs")),
    *("runtime/system/test_debuggers", "lwp/study/test_gdb_threads"),
)


def all_files() -> list[str]:
    """Of tests/, as FILES has them: those first that others stand on."""
    tests = Path(__file__).parents[1] / "tests"
    found = [str(path.relative_to(tests).with_suffix("")) for path in sorted(tests.rglob("test_*.py"))]
    return [*FILES, *(name for name in found if name not in FILES)]


def pytest(name: str, arguments: list[str]) -> Step:
    return Step(1800, shlex.join([*PYTEST, f"--junit-xml=/vm/results/{name}.xml", *arguments]))


def steps_of(system: System, only: list[str], arguments: list[str]) -> dict[str, Step]:
    """What a machine runs."""
    if arguments:
        steps = {"tests": pytest("tests", arguments)}
    else:
        steps = {"doctor": Step(60, "lwp doctor --all && lwp doctor --json /vm/results/doctor.json")}
        files = [name for name in all_files() if name in FILES or name.rpartition("/")[2] in only]
        steps |= {name.rpartition("/")[2]: pytest(name.rpartition("/")[2], [f"/src/tests/{name}.py"]) for name in files}
        steps |= {
            "tls": Step(120, "lwp tls --diff"),
            "demos": Step(300, f"for name in $({NAMES_OF_DEMOS}); do lwp demo $name || exit; done"),
            "stress": Step(1800, f"{STRESS} --seconds 600 --patience $((60 * LWP_SLOW))"),
        }
        if unknown := set(only) - set(steps):
            raise Failed(
                f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(steps)}, and all files of tests/"
            )
        steps = {name: step for name, step in steps.items() if not only or name in only}
    return {"about": Step(60, shlex.join(["python", "-c", ABOUT])), **steps}


# ---- what has come of it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Of one step: its exit status, and what pytest counted."""

    status: int
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def well(self) -> bool:
        return self.status == 0 and not self.failed

    def __str__(self) -> str:
        if not self.passed + self.failed:
            return "passed" if self.well else f"**exit status {self.status}**"
        failed = f", **{self.failed} failed**" if self.failed else "" if self.well else ", **not at its end**"
        return f"{self.passed} passed{failed}" + (f", {self.skipped} skipped" if self.skipped else "")


def outcomes(results: Path) -> dict[str, Outcome]:
    """Of each step, in the order that they ran in."""
    found = {}
    for file in sorted(results.glob("*.status"), key=lambda file: file.stat().st_mtime):
        status, report = int(file.read_text()), file.with_suffix(".xml")
        found[file.stem] = Outcome(status, *counts(report)) if report.exists() else Outcome(status)
    return found


def counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    tests, failures, errors, skips = (int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped"))
    return tests - failures - errors - skips, failures + errors, skips


def tell_failures(report: Path) -> None:
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        for wrong in case.iter():
            if wrong.tag in ("failure", "error"):
                print(
                    f"{wrong.tag}: {case.attrib['classname']}::{case.attrib['name']}: {wrong.attrib['message'][:200]}"
                )


# ---- running ---------------------------------------------------------------------------------------------------------


def in_root(folder: Path, system: System, arguments: list[str], results: Path, log: Path) -> None:
    """The tests in the root, on the kernel that runs here."""
    report = folder / "tmp" / "report.xml"
    report.unlink(missing_ok=True)
    slow = results / "slow.log"
    run(inside(folder, system, IN_TMP, "python", "-c", SPEED), slow, 600)
    test = ["env", f"LWP_SLOW={slow.read_text().split()[-1]}", *PYTEST, "--junit-xml=/tmp/report.xml"]
    if system.foreign:
        names = " or ".join(name for names in CANNOT.values() for name in names.split())
        test += ["-k", f"not ({names})"]
    test += arguments or [f"/src/tests/{name}.py" for name in system.tests] or WITH_TESTS
    run(inside(folder, system, IN_TMP, *test), log, TEST_TIME, may_fail=True)
    if not report.exists():
        raise Failed(f"pytest wrote no report, see {log}")
    shutil.copy(report, results / "tests.xml")
    passed, failed, _ = counts(report)
    (results / "tests.status").write_text(str(int(bool(failed) or not passed)))


def in_machine(folder: Path, system: System, steps: dict[str, Step], keep: Path, results: Path) -> None:
    """The steps in a machine; and that its kernel lacks what it is said to lack."""
    run_steps(folder, system.kernel, system.processor, steps, keep, results)
    doctor = results / "doctor.json"
    if "doctor" in steps and doctor.exists():
        features = json.loads(doctor.read_text())["features"]
        lacks = {feature["name"] for feature in features if not feature["works"]}
        if lacks != set(system.lacks):
            raise Failed(f"lwp doctor finds no {', '.join(sorted(lacks))}; expected: {', '.join(sorted(system.lacks))}")


def refusal(folder: Path, system: System, log: Path) -> tuple[str, bool]:
    """Whether the runtime says in a sentence that it doesn't work there, each time."""
    (folder / "wheels").mkdir()
    make = "from setuptools.build_meta import *; build_sdist('/wheels'); print(build_wheel('/wheels'))"
    made = subprocess.run(
        [sys.executable, "-c", make.replace("/wheels", str(folder / "wheels"))],
        cwd=folder / "src",
        capture_output=True,
        text=True,
        timeout=INSTALL_TIME,
        check=True,
    )
    shutil.unpack_archive(folder / "wheels" / made.stdout.split()[-1], folder / "wheels", "zip")
    run(inside(folder, system, REFUSE, system.python), log, INSTALL_TIME)
    said = log.read_text(errors="replace")
    sentence = re.search(rf"runtime works with .*; this Python is for {system.refused}$", said, re.MULTILINE)
    if not sentence:
        return f"no word of {system.refused}, see {log}", False
    times = [said.count(f"{before}{sentence[0]}\n") for before in ("[1 lines of output]\n      ", "\nImportError: ")]
    return f"{times[0]} refusals by pip, {times[1]} by the import: {sentence[0]}", times == [2, 1]


def examine(name: str, keep: Path, arguments: list[str], options: argparse.Namespace) -> tuple[str, bool]:
    """Makes the root if need be, installs, tests.  What came of it in a line, and whether all is well."""
    system = SYSTEMS[name]
    folder, log, results = keep / (system.root or name), keep / f"{name}.log", keep / f"{name}.results"
    steps = steps_of(system, options.steps.split(",") if options.steps else [], arguments) if system.kernel else {}
    log.unlink(missing_ok=True)
    if not options.steps:
        shutil.rmtree(results, ignore_errors=True)
    results.mkdir(exist_ok=True)
    begin = time.monotonic()
    if system.glibc:
        glibcs.make_with(folder, system.glibc, options.glibc, keep, log)
    else:
        make(folder, system, log)
    fill(folder, options.wheels)
    if system.refused:
        return refusal(folder, system, log)
    if not options.installed:
        install(folder, system, options.wheels, log)
    if options.cpython:
        run(inside(folder, system, CPYTHON), log, INSTALL_TIME + TEST_TIME)
        last = log.read_text(errors="replace").splitlines()[-1]
        return f"{last}, in {time.monotonic() - begin:.0f} s", True
    if system.kernel:
        in_machine(folder, system, steps, keep, results)
    else:
        run(inside(folder, system, IN_TMP, "python", "-c", ABOUT), results / "about.log", 600)
        in_root(folder, system, arguments, results, log)
    print((results / "about.log").read_text().splitlines()[-1])
    found = {step: outcome for step, outcome in outcomes(results).items() if step in steps or not steps}
    for report in [results / f"{step}.xml" for step in found]:
        if report.exists():
            tell_failures(report)
    missing = [f"{step}: did not run" for step in steps if step not in found]
    text = "; ".join([f"{step}: {outcome}" for step, outcome in found.items() if step != "about"] + missing)
    well = all(outcome.well for outcome in found.values()) and not missing
    return f"{text}; in {time.monotonic() - begin:.0f} s", well


def stop(*_: object) -> None:
    """What has been begun is ended too, and once: who kills a group may send two signals."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="where roots are looked for, and left for the next time"
    )
    parser.add_argument("--all", action="store_true", help="every system")
    parser.add_argument("--cpython", action="store_true", help="CPython's own tests of threads instead of ours")
    parser.add_argument("--steps", metavar="STEP,...", help="in a machine, only these; earlier results of others stay")
    parser.add_argument("--installed", action="store_true", help="the runtime that a kept root has; new are the tests")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install from DIR, and compile nothing")
    parser.add_argument("--glibc", type=Path, metavar="DIR", help="the unpacked sources: DIR/glibc-2.34 and so on")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=", ".join(SYSTEMS))
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    names = [name for name in SYSTEMS if options.glibc or not SYSTEMS[name].glibc] if options.all else options.systems
    if not names:
        parser.error("which system? " + ", ".join(SYSTEMS))
    if unknown := set(names) - set(SYSTEMS):
        parser.error(f"no such system: {', '.join(sorted(unknown))}")
    if machines := [name for name in names if SYSTEMS[name].kernel and options.cpython]:
        parser.error(f"--cpython runs in roots, not in machines: {', '.join(machines)}")
    if missing := [name for name in ("debootstrap", "unshare", "chroot", "apt-get", "git") if not shutil.which(name)]:
        print(f"no root can be made here without {', '.join(missing)}: apt-get install debootstrap util-linux git")
        return IMPOSSIBLE
    if not options.glibc and any(SYSTEMS[name].glibc for name in names):
        parser.error("glibc-... is compiled from its release: where does it lie unpacked? --glibc DIR")
    if options.wheels and not any(options.wheels.glob("*.whl")):
        parser.error(f"no wheel in {options.wheels}: tools/wheels.py makes them")
    if os.geteuid() != 0:
        print("only root can make a root")
        return IMPOSSIBLE
    told = []
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # in the background they are ignored, and so in tests
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, stop)
    with ExitStack() as stack:
        # Not in /tmp, which may be in memory, or forbid programs and devices.
        keep = options.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="lwp-systems-", dir="/var/tmp"))
        )
        keep.mkdir(parents=True, exist_ok=True)
        for name in names:
            print(f"--- {name}", flush=True)
            try:
                text, well = examine(name, keep.resolve(), words[end + 1 :], options)
            except Impossible as error:
                print(f"{name}: {error}")
                return IMPOSSIBLE
            except (OSError, subprocess.SubprocessError, Failed) as error:
                text, well = str(error), False
            told.append((name, text, well))
    for name, text, well in told:
        print(f"{name}: {'' if well else 'FAILED: '}{text}")
    return int(not all(well for _, _, well in told))


if __name__ == "__main__":
    sys.exit(main())
