"""The tests on other systems: another C library, another Python, another processor.

    python tools/other_systems.py [--keep DIR] [--wheels DIR | --cpython] [--all | debian12 unstable ...]
                                  [-- PYTEST ARGUMENT ...]

Each system is a root made by debootstrap from the Debian mirror that apt uses here.  A wheel is built in it and
installed with what the tests need, by pip, configured as here; then the tests run on what was installed, away from
the sources.  With --wheels, what tools/wheels.py has made in DIR is installed instead, without a compiler.
Where the runtime does not work (i386, riscv64) it must say so in a sentence, to pip and at import.
What comes after `--` is for pytest: `debian12 -- -k clone -x`.  With --cpython, CPython's own tests of threads run
instead, by tools/cpython_suite.py --all, from Debian's package of them.

Needs root, debootstrap and, for another processor, a static qemu-user; docs/platforms.md says what can't work under it.
A root takes 1 GiB.  With --keep it stays in DIR for the next time, and beside it the log of the last run.

Exit status 0: all is well on each.  1: not so.  77: no root can be made here, and it says what is missing.
"""

from __future__ import annotations

import argparse
import os
import platform
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

TREE = Path(__file__).resolve().parent.parent
IMPOSSIBLE = 77
PACKAGES = ("gcc", "g++", "libc6-dev", "libffi-dev", "gdb", "strace", "procps")  # libffi: for cffi
#: Who localhost is, and how pip is configured here, as far as the environment doesn't say it.
CONFIGURATION = ("/etc/hosts", "/etc/pip.conf", "/etc/xdg/pip", "/etc/ssl/certs/ca-certificates.crt")
MAKE_TIME, INSTALL_TIME, TEST_TIME = 3600, 3600, 7200  # seconds that each may take


@dataclass(frozen=True)
class System:
    """A Debian."""

    suite: str
    python: str = "python3"  #: the command, and the Debian package
    processor: str = platform.machine()  #: as the kernel names it
    tests: tuple[str, ...] = ("/src/tests",)  #: unless the command line says which
    refused: str = ""  #: the runtime doesn't work there, and names it so

    @property
    def foreign(self) -> bool:
        return self.processor != platform.machine()

    @property
    def emulated(self) -> bool:
        return self.foreign and (self.processor, platform.machine()) != ("i386", "x86_64")


SYSTEMS = {
    "debian12": System("bookworm"),
    "unstable": System("sid"),
    "unstable-3.13": System("sid", "python3.13"),
    "unstable-3.15": System("sid", "python3.15"),
    "arm64": System(
        "trixie",
        processor="aarch64",
        tests=tuple(
            f"/src/tests/{name}.py"
            for name in (
                "core/test_core",
                "core/test_thread_object",
                "tls/test_tls",
                "tls/test_tls_block",
                "sync/test_sync",
                "sync/test_sync_races",
                "green/test_green",
            )
        ),
    ),
    "i386": System("trixie", processor="i386", refused="i386-linux-gnu"),
    "riscv64": System("trixie", processor="riscv64", refused="riscv64-linux-gnu"),
}
#: What qemu-user can't do, and the tests that want it.
CANNOT = {
    "clone(2) with fewer flags than a thread of pthread_create has: EINVAL": """
        test_flags_of_a_thread test_without_clone_files test_without_clone_fs test_detached_and_dropped
        test_vfork_returns test_exit_status_of_a_process test_a_process_that test_a_copy_shares_more
        test_the_exit_signal_is_sent test_a_process_reaped_by_somebody_else test_processes_that_nobody_joined
        test_a_signal_handler_runs_while_join_waits test_fork_in_a_thread
        test_what_is_no_thread_is_an_error""",
    "ptrace(2): ENOSYS": "test_fork_while_a_thread_is_at_its_end",
    "robust lists: set_robust_list(2) is ENOSYS, nobody is told that the owner of a mutex has died": """
        test_a_robust_mutex_of_a_dead_thread test_the_robust_list_is_the_kernels""",
    "time: ten thousand threads take it minutes": "test_ten_thousand_sleepers",
    "memory: what /proc/self/status counts is the emulator's too": """
        test_blocks_of_keys_are_freed test_deep_stacks_are_given_back test_memory_stays_over_thousands
        test_dynamic_tls_is_freed test_thousands_alive_at_once""",
}
DEBIAN_NAMES = {"aarch64": "arm64"}

#: What runs in mount and pid namespaces of its own, as PID 1.  The mounts are seen there only and end with it, and so
#: does every process.
MAKE = """
mount -t proc proc /proc
"$@" || exit
exit 0
"""

#: The shell waits for its command (something follows it, else the shell would become it) and so reaps orphans, as an
#: init does: tests look for zombies.  Not in the background, where a command ignores SIGINT.
ENTER = """
cd "$1"; shift
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
chroot . "$@" || exit
exit 0
"""

#: Comes before: the kernel starts programs of the processor under qemu.  It forgets that with the last mount of its
#: list.  P: argv[0] as it was given, a virtual environment is found by it.  F: qemu is opened here and now.
EMULATE = """
list=/proc/sys/fs/binfmt_misc
[ -e $list/register ] || mount -t binfmt_misc binfmt_misc $list
[ -e $list/qemu-{processor} ] || [ -e $list/lwp-{processor} ] ||
    printf %s ':lwp-{processor}:M::{magic}:{mask}:{qemu}:PF' >$list/register
"""

#: By apt, not by debootstrap, which doesn't know that a package may provide another.
ADD = """
apt-get --quiet update
apt-get --quiet install --yes --no-install-recommends "$0" "$@"
"""

BUILD = """
rm -rf /opt/venv /opt/wheels
"$0" -m venv /opt/venv
cd /tmp
/opt/venv/bin/pip wheel --quiet --no-deps --wheel-dir /opt/wheels /src
set -- /opt/wheels/*.whl
/opt/venv/bin/pip install --quiet "$1[test]"
"""

#: A compiler would be called in vain.
INSTALL = """
rm -rf /opt/venv
"$0" -m venv /opt/venv
cd /tmp
CC=false /opt/venv/bin/pip install --quiet --find-links /wheels --only-binary lwp-runtime 'lwp-runtime[test]'
"""

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

ABOUT = """
import platform, runtime
print(f"CPython {platform.python_version()}, {' '.join(platform.libc_ver())}, {platform.machine()}")
"""

#: How the kernel knows a program for the processor: the head of its ELF file, and which bits of that count.
BINFMT = {
    "aarch64": (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    ),
    "riscv64": (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    ),
}


class Failed(Exception):
    """A step that went wrong; its output was shown."""


class Impossible(Exception):
    """What is missing here."""


# ---- a root ----------------------------------------------------------------------------------------------------------


def isolated(system: System, script: str, *arguments: str) -> list[str]:
    """Runs the script, in namespaces of its own.  When unshare is killed, all in them are."""
    if system.emulated:
        qemu = shutil.which(f"qemu-{system.processor}-static") or shutil.which(f"qemu-{system.processor}")
        if not qemu:
            raise Impossible(f"no qemu-{system.processor}: apt-get install qemu-user-static, or qemu-user-binfmt")
        if "binfmt_misc" not in Path("/proc/filesystems").read_text():
            raise Impossible(f"this kernel can't start programs under {qemu}: it has no binfmt_misc")
        magic, mask = BINFMT[system.processor]
        script = EMULATE.format(processor=system.processor, magic=magic, mask=mask, qemu=qemu) + script
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script, "init", *arguments]


def inside(root: Path, system: System, script: str, *arguments: str) -> list[str]:
    """Runs the script in the root."""
    return isolated(system, ENTER, str(root), "sh", "-euc", script, *arguments)


def run(command: list[str], log: Path, timeout: float, may_fail: bool = False) -> None:
    """Runs it with its output in the log, whose end is shown if it fails."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "LWP_"))
    }
    environment |= {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TMPDIR": "/tmp"}
    environment |= {"DEBIAN_FRONTEND": "noninteractive", "PIP_ROOT_USER_ACTION": "ignore"}
    with log.open("ab") as output:
        output.write(f"$ {shlex.join(command)}\n".encode())
        output.flush()
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=timeout,
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
    if status != 0 and not (may_fail and status is not None):
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:]))
        raise Failed(f"not at its end after {timeout:.0f} s" if status is None else f"exit status {status}, see {log}")


def mirror() -> str:
    """Where apt gets Debian from here."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    if not found:
        raise Impossible("apt has no index of Debian: apt-get update")
    return found[0]


def make(root: Path, system: System, log: Path) -> None:
    """A root with what builds and runs the tests; whole, or not at all."""
    if root.exists():
        return
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    debian = ["--arch", DEBIAN_NAMES.get(system.processor, system.processor)] if system.foreign else []
    what = ["debootstrap", "--variant=minbase", *debian, system.suite, str(partial), mirror()]
    run(isolated(system, MAKE, *what), log, MAKE_TIME)
    configure(partial)
    packages = [system.python, f"{system.python}-venv", "ca-certificates"]
    if not system.refused:  # there nothing is compiled
        packages += [*PACKAGES, f"{system.python}-dev"]
    run(inside(partial, system, ADD, *packages), log, MAKE_TIME)
    partial.rename(root)


def configure(root: Path) -> None:
    """The network and pip as here."""
    for name in filter(os.path.exists, CONFIGURATION):
        target = root / name[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(name):
            shutil.copytree(name, target, dirs_exist_ok=True)
        else:
            shutil.copy(name, target)


def fill(root: Path, wheels: Path | None) -> None:
    """The sources, or the tests and the wheels, and the configuration in the root, anew."""
    for name in ("src", "wheels"):
        shutil.rmtree(root / name, ignore_errors=True)
    if wheels:
        shutil.copytree(wheels, root / "wheels")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TREE, capture_output=True, timeout=60, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (TREE / name).is_file():  # not deleted
            (root / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / name, root / "src" / name)
    configure(root)


# ---- the tests in it -------------------------------------------------------------------------------------------------


def counts(report: Path) -> tuple[str, bool]:
    """What pytest counted, and whether all is well."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    tests, failures, errors, skips = (int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped"))
    for case in suite.iter("testcase"):
        for wrong in case.iter():
            if wrong.tag in ("failure", "error"):
                print(
                    f"{wrong.tag}: {case.attrib['classname']}::{case.attrib['name']}: {wrong.attrib['message'][:200]}"
                )
    passed = tests - failures - errors - skips
    return f"{passed} passed, {failures + errors} failed, {skips} skipped", not failures + errors and passed > 0


def refusal(root: Path, system: System, log: Path) -> tuple[str, bool]:
    """Whether the runtime says in a sentence that it doesn't work there, each time."""
    (root / "wheels").mkdir()
    make = "from setuptools.build_meta import *; build_sdist('/wheels'); print(build_wheel('/wheels'))"
    made = subprocess.run(
        [sys.executable, "-c", make.replace("/wheels", str(root / "wheels"))],
        cwd=root / "src",
        capture_output=True,
        text=True,
        timeout=INSTALL_TIME,
        check=True,
    )
    shutil.unpack_archive(root / "wheels" / made.stdout.split()[-1], root / "wheels", "zip")
    run(inside(root, system, REFUSE, system.python), log, INSTALL_TIME)
    said = log.read_text(errors="replace")
    sentence = re.search(rf"runtime works with .*; this Python is for {system.refused}$", said, re.MULTILINE)
    if not sentence:
        return f"no word of {system.refused}, see {log}", False
    times = [said.count(f"{before}{sentence[0]}\n") for before in ("[1 lines of output]\n      ", "\nImportError: ")]
    return f"{times[0]} refusals by pip, {times[1]} by the import: {sentence[0]}", times == [2, 1]


def examine(root: Path, system: System, arguments: list[str], cpython: bool, wheels: Path | None) -> tuple[str, bool]:
    """Makes the root if need be, installs, tests.  What came of it in a line, and whether all is well."""
    log = root.with_name(root.name + ".log")
    log.unlink(missing_ok=True)
    begin = time.monotonic()
    make(root, system, log)
    fill(root, wheels)
    if system.refused:
        return refusal(root, system, log)
    run(inside(root, system, INSTALL if wheels else BUILD, system.python), log, INSTALL_TIME)
    about = root.with_name(root.name + ".about")
    about.unlink(missing_ok=True)
    run(inside(root, system, IN_TMP, "/opt/venv/bin/python", "-c", ABOUT), about, 600)
    version = about.read_text().splitlines()[-1]
    print(version, flush=True)
    if cpython:
        run(inside(root, system, CPYTHON), log, INSTALL_TIME + TEST_TIME)
        last = log.read_text(errors="replace").splitlines()[-1]
        return f"{version}: {last}, in {time.monotonic() - begin:.0f} s", True
    report = root / "tmp" / "report.xml"
    report.unlink(missing_ok=True)
    test = ["/opt/venv/bin/python", "-m", "pytest", "-rs", "-p", "no:cacheprovider", "--junit-xml=/tmp/report.xml"]
    if system.foreign:
        names = " or ".join(name for names in CANNOT.values() for name in names.split())
        test += ["-o", "timeout=600", "-k", f"not ({names})"]
    test += arguments or system.tests
    run(inside(root, system, IN_TMP, *test), log, TEST_TIME, may_fail=True)
    if not report.exists():
        raise Failed(f"pytest wrote no report, see {log}")
    text, well = counts(report)
    return f"{version}: {text} in {time.monotonic() - begin:.0f} s", well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="where roots are looked for, and left for the next time"
    )
    parser.add_argument("--all", action="store_true", help="every system")
    parser.add_argument("--cpython", action="store_true", help="CPython's own tests of threads instead of ours")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install from DIR, and compile nothing")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=", ".join(SYSTEMS))
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    names = list(SYSTEMS) if options.all else options.systems
    if not names:
        parser.error("which system? " + ", ".join(SYSTEMS))
    if unknown := set(names) - set(SYSTEMS):
        parser.error(f"no such system: {', '.join(sorted(unknown))}")
    if missing := [name for name in ("debootstrap", "unshare", "chroot", "apt-get", "git") if not shutil.which(name)]:
        print(f"no root can be made here without {', '.join(missing)}: apt-get install debootstrap util-linux git")
        return IMPOSSIBLE
    if options.wheels and not any(options.wheels.glob("*.whl")):
        parser.error(f"no wheel in {options.wheels}: tools/wheels.py makes them")
    if os.geteuid() != 0:
        print("only root can make a root")
        return IMPOSSIBLE
    outcomes = []
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # in the background they are ignored, and so in tests
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it has begun is ended too
    with ExitStack() as stack:
        # Not in /tmp, which may be in memory, or forbid programs and devices.
        keep = options.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="lwp-systems-", dir="/var/tmp"))
        )
        keep.mkdir(parents=True, exist_ok=True)
        for name in names:
            print(f"--- {name}", flush=True)
            try:
                root = keep.resolve() / name
                text, well = examine(root, SYSTEMS[name], words[end + 1 :], options.cpython, options.wheels)
            except Impossible as error:
                print(f"{name}: {error}")
                return IMPOSSIBLE
            except (OSError, subprocess.SubprocessError, Failed) as error:
                text, well = str(error), False
            outcomes.append((name, text, well))
    for name, text, well in outcomes:
        print(f"{name}: {'' if well else 'FAILED: '}{text}")
    return int(not all(well for _, _, well in outcomes))


if __name__ == "__main__":
    sys.exit(main())
