"""`bench io`: requests a second of servers that do the same on threads, green threads and event loops.

The server has one core, the load another.  Each round of each way is a server and a load, processes of their own, in
turns that are shuffled.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import select
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from lwp.bench.measure import PATIENCE, Failed, orders, quartiles

from .load import run as run_load

SERVERS = Path(__file__).with_name("servers.py")
PROGRAMS = SERVERS.with_name("programs.py")
KINDS = ("echo", "http", "select")
BASE = "threading"  #: the way that the others are compared with
_RUN = ("-c", "import lwp_runtime; lwp_runtime.main()", "run")  # not -m: the program may have a `runtime` of its own
_SPARE = 100  # descriptors that a process needs beside those of the connections


@dataclass(frozen=True)
class Way:
    """A column: how a server is run."""

    name: str
    text: str
    before: tuple[str, ...] = ()  #: what Python runs that runs the server
    options: tuple[str, ...] = ()  #: of servers.py
    library: str = ""  #: that must be installed
    kinds: tuple[str, ...] = KINDS
    python: str = ""  #: another one than this, with a runtime of its own
    script: Path = SERVERS

    @property
    def peer(self) -> bool:
        """Another library's, for which servers.py has an option."""
        return bool(self.options)

    def is_meant(self, by: str) -> bool:
        """Its name, or what comes before a dash of it."""
        return by in (self.name, self.name.partition("-")[0])

    @property
    def there(self) -> bool:
        return not self.library or importlib.util.find_spec(self.library) is not None


WAYS = [
    Way("threading", "threading"),
    Way("run", "run", _RUN),
    Way("green", "run --green", (*_RUN, "--green")),
    Way("gevent", "gevent", (), ("gevent",), "gevent"),
    Way("asyncio-streams", "asyncio streams", (), ("streams",), "", ("echo",)),
    Way("asyncio-protocol", "asyncio protocol", (), ("protocol",), "", ("echo",)),
    Way("uvloop-streams", "uvloop streams", (), ("uvloop", "streams"), "uvloop", ("echo",)),
    Way("uvloop-protocol", "uvloop protocol", (), ("uvloop", "protocol"), "uvloop", ("echo",)),
]


#: gunicorn's workers, each with an application of Flask.
WORKERS = [
    Way(f"gunicorn -k {name}", f"gunicorn -k {name}", (), (f"worker={name}",), library, ("compute", "sleep"))
    for name, library in (("gthread", "flask"), ("gevent", "gevent"), ("lwp_gunicorn.Worker", "flask"))
]

#: Servers of other packages, by what must be installed: the programs of programs.py.
PACKAGES = (
    *("flask", "bottle", "cherrypy", "waitress", "django", "fastapi"),
    *("grpc", "psycopg", "zmq", "sqlite3", "ctypes", "websockets", "celery"),
)
STOCK_AND_OURS = [replace(way, kinds=PACKAGES, script=PROGRAMS) for way in WAYS[:3]]

#: What it costs to be watched.
WATCHED = [
    *WAYS[:2],
    Way("trace", "run --trace --last", (*_RUN, "--trace", f"{tempfile.gettempdir()}/lwp-bench.html", "--last", "30")),
    Way("locks", "run --locks", (*_RUN, "--locks")),
]


@dataclass(frozen=True)
class Row:
    """What all ways are asked for."""

    kind: str  #: a server of servers.py
    connections: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.connections}"

    @property
    def text(self) -> str:
        return f"{self.kind}, 64 bytes, {self.connections:,} connections"


def rows(ways: list[Way], connections: tuple[int, ...]) -> list[Row]:
    """All that these ways serve, in the tables' order."""
    return [Row(kind, number) for kind in ways[0].kinds for number in connections]


@dataclass(frozen=True)
class Load:
    seconds: float  #: of a sample
    rounds: int
    idle: int  #: connections more, which ask nothing after their first answer


@dataclass(frozen=True)
class Cores:
    """Where they run, None for anywhere."""

    server: int | None
    load: int | None

    @property
    def text(self) -> str:
        if self.server is None:
            return "all cores, server and load"
        if self.server == self.load:
            return f"core {self.server} alone, which server and load share: compare the ways, not with other machines"
        return f"core {self.server} the server, core {self.load} the load"


def cores(pin: bool) -> Cores:
    if not pin:
        return Cores(None, None)
    there = os.sched_getaffinity(0)
    return Cores(max(there), min(there))  # the lowest often serves the interrupts


@dataclass(frozen=True)
class Figures:
    """What a way did."""

    rate: float  #: requests a second, median of the rounds
    spread: tuple[float, float]  #: its quartiles
    ratio: float | None  #: rate to the first way's in the same round, median
    ratio_spread: tuple[float, float] | None
    cost_us: float  #: processor time of the server for a request, median
    load_busy: float  #: the part of the time that the load was busy, median: near 1 it is what limits the rate
    kib: float  #: resident memory of the server's own for a connection, idle ones too, median


@dataclass(frozen=True)
class Served:
    """A row of the table."""

    name: str
    kind: str
    connections: int
    rounds: int
    ways: dict[str, Figures] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    rate: float
    cost_us: float
    load_busy: float
    kib: float


def compare(
    row: Row, ways: list[Way], load: Load, cores: Cores, advance: Callable[[], object]
) -> tuple[Served, dict[str, str]]:
    """Measures one row: its figures beside the first way's, and why some ways have none, by their names."""
    taken: dict[str, list[Sample]] = {way.name: [] for way in ways}
    failed: dict[str, str] = {}
    for order in orders(load.rounds, len(ways)):
        for way in (ways[slot] for slot in order):
            if way.name not in failed:
                try:
                    taken[way.name].append(_sample(row, way, load, cores))
                except Failed as error:
                    failed[way.name] = str(error)
            advance()
    base = taken[ways[0].name] if ways[0].name not in failed else []
    figures = {name: _figures(samples, base) for name, samples in taken.items() if name not in failed}
    return Served(row.name, row.kind, row.connections, load.rounds, figures), failed


def _figures(samples: list[Sample], base: list[Sample]) -> Figures:
    low, rate, high = quartiles([sample.rate for sample in samples])
    ratio, ratio_spread = None, None
    if base:
        least, ratio, most = quartiles([one.rate / two.rate for one, two in zip(samples, base, strict=True)])
        ratio_spread = (least, most)
    names = ("cost_us", "load_busy", "kib")
    cost, busy, kib = (statistics.median(getattr(sample, name) for sample in samples) for name in names)
    return Figures(rate, (low, high), ratio, ratio_spread, cost, busy, kib)


def _sample(row: Row, way: Way, load: Load, cores: Cores) -> Sample:
    with served(row.kind, way, cores.server) as (port, pid):
        told = ask_load(row, load, cores.load, port, pid)
    cost_us = told["server_cpu"] / told["answers"] * 1e6
    kib = told["server_grew"] / 1024 / (row.connections + load.idle)
    return Sample(told["answers"] / told["seconds"], cost_us, told["own_cpu"] / told["seconds"], kib)


def ask_load(row: Row, load: Load, core: int | None, port: int, server: int) -> dict[str, float]:
    """What load.c finds.  Failed: a wrong answer, or none."""
    with _on(core):
        return run_load(port, server, row.kind not in ("echo", "select"), row.connections, load.idle, load.seconds)


def descriptors(needed: int) -> str | None:
    """Lets the processes that we start have as many connections.  Why they can't: a sentence."""
    needed += _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        return f"that needs {needed:,} descriptors, and the limit of this process is {hard:,} (ulimit -Hn)"
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return None


# ---- a server --------------------------------------------------------------------------------------------------------


@contextmanager
def _on(core: int | None) -> Iterator[None]:
    """What is started meanwhile runs on that core."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def served(kind: str, way: Way, core: int | None) -> Iterator[tuple[int, int]]:
    """A server that runs: its port, and the process that serves.  Failed: it didn't begin or has died; what it said is
    told."""
    environment = dict(os.environ)
    environment.pop("LWP_CHILDREN", None)  # BASE is stock threading
    if not way.python:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [way.python or sys.executable, "-P", *way.before, str(way.script), kind, *way.options]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        with _on(core):
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        try:
            yield _begun(process)
        except Failed as error:
            raise Failed(f"{error}; {_end(process, said)}") from None
        finally:
            with suppress(ProcessLookupError):  # it has ended
                os.killpg(process.pid, signal.SIGKILL)  # gunicorn's workers, too
            process.communicate()


def _begun(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Waits for its port, and the process that serves."""
    assert process.stdout
    if not select.select([process.stdout], [], [], PATIENCE)[0]:
        raise Failed(f"no server within {PATIENCE} s")
    line = process.stdout.readline()
    if not line:
        raise Failed("no server")
    port, pid = map(int, line.split())
    return port, pid


def _end(process: subprocess.Popen[str], said: IO[str]) -> str:
    """How the server has ended, if it has, and the last that it has written to standard error."""
    try:
        status = process.wait(1)  # its connections are closed before it is gone
    except subprocess.TimeoutExpired:
        how = "the server still runs"
    else:
        how = f"the server ended with {signal.Signals(-status).name if status < 0 else f'exit status {status}'}"
    said.seek(0)
    lines = said.read().splitlines()[-20:]
    return how + (", and said:\n  " + "\n  ".join(lines) if lines else "")
