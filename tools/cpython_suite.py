"""Runs CPython's own tests of threads twice, as they are and on the runtime, and compares test by test.

    python tools/cpython_suite.py [--green] [--all | test_threading test_thread ...]

Exit status 0: no test fares worse on the runtime, apart from those listed with their reasons in
tests/runtime/system/cpython_differences.txt, which are not run there.  1: one does, or a listed name is no test of
this Python.  77: this Python ships no test.test_threading (Debian's does not).

A test that fares worse is run again by stock alone, up to 10 times.  If it fails there too, its result is left to
chance on this machine, and is no difference.  On the runtime no test gets a second try.

Both runs are regrtest in one process (`python -m test`), so the runtime is installed before the tests are
imported.  On the runtime the Pythons that the tests start have it too, and listen for `lwp dump`, as a program under
`lwp run` does: they belong to an environment whose sitecustomize installs it.  (`lwp run --children` tells them by a
variable, which most of them don't read: tests start them with -I.)  A run that stands still has failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from venv import EnvBuilder
from xml.etree import ElementTree

LIST = Path(__file__).resolve().parent.parent / "tests" / "runtime" / "system" / "cpython_differences.txt"
MODULES = [
    "test_threading",
    "test_thread",
    "test_threading_local",
    "test_threadsignals",
    "test_threadedtempfile",
    "test_queue",
    "test_sched",
    "test_contextlib",
    "test_fork1",
]
#: What --all adds: minutes, not seconds.
SLOW = [
    "test_concurrent_futures",
    "test_socketserver",
    "test_logging",
    "test_asyncio",
    "test_importlib",
    "test_signal",
    "test_io",
    "test_faulthandler",
    "test_multiprocessing_fork",
    "test_multiprocessing_forkserver",
    "test_multiprocessing_spawn",
]
#: With --green: tests of what waits for descriptors.
GREEN = [
    "test_socket",
    "test_ssl",
    "test_httplib",
    "test_socketserver",
    "test_urllib2_localnet",
    "test_select",
    "test_poll",
    "test_epoll",
    "test_selectors",
    "test_asyncio.test_selector_events",
    "test_subprocess",
    "test_tempfile",
]
#: What each Python of the environment runs when it starts, except the one that `lwp run` starts.
SITECUSTOMIZE = """\
import sys

if sys.orig_argv[1:4] != ["-m", "runtime", "run"]:
    from lwp_runtime import load

    if load("runtime.interpreters").in_main():
        load("runtime.patch").install({green})
        load("lwp.observe.listening").listen_for_tool()
"""
NO_TESTS = 77
STOCK_TRIES = 10

#: "passed", "skipped" or "failed" for each test id
Results = dict[str, str]


class RunFailed(Exception):
    """A run that did not get to its end."""


@contextmanager
def installing(green: bool) -> Iterator[str]:
    """A Python that has the runtime in each of its processes, and the packages that this one has."""
    with tempfile.TemporaryDirectory() as folder:
        EnvBuilder(symlinks=True).create(folder)
        (packages,) = Path(folder, "lib").glob("python*/site-packages")
        lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
        (packages / "packages.pth").write_text("".join(lines))
        (packages / "sitecustomize.py").write_text(SITECUSTOMIZE.format(green=f"{green=}"))
        yield str(Path(folder, "bin", "python"))


def run(
    launcher: list[str], modules: list[str], leave_out: list[str], timeout: float, show: bool, only: Iterable[str] = ()
) -> Results:
    """Runs the modules, or only some of their tests, under `launcher` and reads what came of each test."""
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder, "report.xml"), Path(folder, "log")
        choice = [argument for name in leave_out for argument in ("--ignore", name)]
        choice += [argument for name in only for argument in ("--match", name)]
        command = [*launcher, "-m", "test", "-v", "--junit-xml", str(report), *choice, *modules]
        print("$ python", *launcher[1:], "-m test", *modules, f"({len(leave_out)} left out)", flush=True)
        begin = time.monotonic()
        try:
            with log.open("wb") as output:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    timeout=timeout,
                )
            wrong = "" if report.exists() else f"no report was written; exit status {done.returncode}"
        except subprocess.TimeoutExpired:
            wrong = f"not at its end after {timeout:.0f} s"
        if show or wrong:
            print(log.read_text(errors="replace"))
        if wrong:
            raise RunFailed(wrong)
        results = {case.attrib["name"]: outcome(case) for case in ElementTree.parse(report).iter("testcase")}
        counts = ", ".join(f"{[*results.values()].count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
        print(f"{counts} in {time.monotonic() - begin:.0f} s", flush=True)
        return results


def fail_in_stock(suspects: list[str], modules: list[str], timeout: float, show: bool) -> set[str]:
    """Those of the tests that fail when stock runs them again."""
    found: set[str] = set()
    for _ in range(STOCK_TRIES):
        if not (left := [name for name in suspects if name not in found]):
            break
        again = [module for module in modules if any(is_of(module, name) for name in left)]
        results = run([sys.executable], again, [], timeout, show, left)
        found |= {name for name in left if results.get(name) == "failed"}
    return found


def is_of(module: str, name: str) -> bool:
    return name.startswith(f"test.{module}.")


def outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"


def shipped(name: str) -> bool:
    """Whether this Python has the test module, and not just an empty folder of its name."""
    try:
        spec = importlib.util.find_spec(f"test.{name}")
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin is not None


def listed(green: bool) -> list[str]:
    """The ids of the tests that are known to differ on this Python: lines of `versions id reason`."""
    here = "{}.{}".format(*sys.version_info) + "-green" * green
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    fields = [line.split(maxsplit=2) for line in lines]
    return [name for versions, name, _reason in fields if here in versions.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--green", action="store_true", help="run --green; without modules: " + ", ".join(GREEN))
    parser.add_argument("--all", action="store_true", help="the slow ones too: " + ", ".join(SLOW))
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="ID",
        help="a test that neither runs: one that hangs in stock too",
    )
    parser.add_argument("--if-needed", action="store_true", help="run stock only if a test fails on the runtime")
    parser.add_argument("--timeout", type=float, help="seconds for each run (default: 900; with --all 3600)")
    parser.add_argument("--show", action="store_true", help="print what the tests print")
    options = parser.parse_args()
    print(f"CPython {sys.version.split()[0]}", flush=True)
    if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_threading") is None:
        print("this Python ships no test.test_threading: nothing to compare")
        return NO_TESTS

    timeout = options.timeout or (3600 if options.all else 900)
    modules = options.modules or (GREEN if options.green else MODULES)
    modules = [name for name in dict.fromkeys(modules + (SLOW if options.all else [])) if shipped(name)]
    leave_out = listed(options.green)
    try:
        with installing(options.green) as python:
            launcher = [python, "-m", "runtime", "run", *["--green"] * options.green]
            ours = run(launcher, modules, leave_out + options.without, timeout, options.show)
        if options.if_needed and "failed" not in ours.values():
            print(f"{len(ours)} tests on the runtime, none failed: nothing to compare")
            return 0
        stock = run([sys.executable], modules, options.without, timeout, options.show)
        # What fails in stock too is no difference of ours.
        worse = [
            name for name, was in stock.items() if was != "failed" and ours.get(name) != was and name not in leave_out
        ]
        by_chance = fail_in_stock(worse, modules, timeout, options.show)
    except RunFailed as error:
        print(f"failed: {error}")
        return 1
    unknown = [
        name
        for name in leave_out
        if any(is_of(module, name) for module in modules) and name not in (*stock, *options.without)
    ]
    for name in unknown:
        print(f"{LIST.name} lists {name}, which is no test of this Python")
    for name in sorted(name for name, was in stock.items() if was == ours.get(name) == "failed"):
        print(f"in both: {name} fails")
    for name in sorted(by_chance):
        print(f"by chance: {name}: fails in stock too, when it is run again")
    worse = [name for name in worse if name not in by_chance]
    worse += [name for name, is_now in ours.items() if name not in stock and is_now == "failed"]
    for name in worse:
        print(f"DIFFERS: {name}: {stock.get(name, 'missing')} in stock, {ours.get(name, 'missing')} on the runtime")
    print(f"{len(stock)} tests in stock, {len(ours)} on the runtime, {len(worse)} differ, {len(by_chance)} by chance")
    return 1 if worse or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
