"""Runs a mix in a process of its own and watches it: what it did, how it failed, where it hung."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.patch.children import python_path

from . import TREE
from ._journal import Journal
from ._limits import child_hit, limit_hit
from ._run import FAILED, LEFT_OUT, Mix

_LAST = 40  # operations that a report shows
_OUTPUT = 60_000  # bytes of the process's output that a report shows, at most


@dataclass(frozen=True)
class Failure:
    """What there is to know of a failed mix."""

    mix: str
    seed: int
    what: str  #: killed by which signal, hung where, or its exit status
    signal: str | None  #: the signal's name
    again: str  #: the command that runs it again
    python: str
    operations: list[str]  #: the last ones, oldest first
    output: str  #: what the process has written, stacks of all threads among it


@dataclass(frozen=True)
class Outcome:
    operations: int
    left_out: str | None  #: why it could not run here
    failure: Failure | None


def watch(
    mix: Mix, seed: int, seconds: float, patience: float, look: Callable[[float, int], object] = lambda *_: None
) -> Outcome:
    """Runs a mix for so many seconds.

    patience: seconds that one operation of one worker may take; longer is a hang.
    look: called now and then with the seconds gone by and the operations so far.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="lwp-stress-") as folder:
            output = Path(folder, "output")
            journal = Journal(Path(folder, "journal"), fresh=True)
            try:
                return _Watch(mix, seed, seconds, patience, journal, output).run(look)
            finally:
                journal.close()
    except OSError as error:  # there is no process or descriptor left even for that
        if (limit := limit_hit(str(error))) is None:
            raise
        return Outcome(0, limit, None)


class _Watch:
    def __init__(self, mix: Mix, seed: int, seconds: float, patience: float, journal: Journal, output: Path) -> None:
        self.mix, self.seed, self.seconds, self.patience = mix, seed, seconds, patience
        self.journal, self.output = journal, output
        command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-m", "stress._child"]
        folder = output.parent
        with output.open("ab") as file:
            self.process = subprocess.Popen(
                [*command, mix.name, str(seed), str(seconds), str(patience), str(folder / "journal")],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([python_path(), str(TREE)])},
                start_new_session=True,  # so that what it leaves can be found
            )

    def run(self, look: Callable[[float, int], object]) -> Outcome:
        begin = time.monotonic()
        hung, limit = None, None
        try:
            while self.process.poll() is None and hung is None:
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(0.1)
                standings = self.journal.standings()
                look(time.monotonic() - begin, sum(standing.operations for standing in standings))
                slowest = max(range(len(standings)), key=lambda number: standings[number].busy_for)
                if standings[slowest].busy_for > self.patience and self.process.poll() is None:
                    hung = f"hung: worker {slowest} has been at its operation for {standings[slowest].busy_for:.0f} s"
                elif time.monotonic() - begin > self.seconds + 4 * self.patience and self.process.poll() is None:
                    hung = f"hung: it should have ended {4 * self.patience:.0f} s ago"
            if hung and (limit := child_hit(self._others())) is None:
                self._show_stacks()
            left = self._others()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            status = self.process.wait()
        operations = sum(standing.operations for standing in self.journal.standings())
        if hung is None and status == LEFT_OUT:
            return Outcome(operations, self.output.read_text().strip(), None)
        if hung is None and status == 0 and not left:
            return Outcome(operations, None, None)
        if hung is None and status > 0:
            limit = limit_hit(self._said())
        if limit is not None:
            return Outcome(operations, limit, None)
        killer = signal.Signals(-status).name if status < 0 and hung is None else None
        if status == FAILED and hung is None:
            said = re.search(r"^FAILED in (.*)", self.output.read_text(errors="replace"), re.MULTILINE)
            hung = said[1] if said else None
        what = hung or (f"killed by {killer}" if killer else f"exit status {status}" if status else f"left {left}")
        return Outcome(operations, None, self._failure(what, killer))

    def _processes(self) -> list[int]:
        """The process and what it has started and left, by its session."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):
                    # pid (name) state ppid pgrp session; a zombie is no longer running
                    state, _, _, session = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[:4]
                    if int(session) == self.process.pid and state != "Z":
                        found.append(int(entry))
        return sorted(found)

    def _others(self) -> list[int]:
        return [pid for pid in self._processes() if pid != self.process.pid]

    def _show_stacks(self) -> None:
        """Has every process say where its threads are: faulthandler's for Python, gdb's for C if there is one."""
        gdb = shutil.which("gdb")
        processes = self._processes()
        for pid in processes[:4]:
            self._say(f"\n==== process {pid}{' (the mix)' if pid == self.process.pid else ''}: Python stacks\n")
            before = self.output.stat().st_size
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
            deadline = time.monotonic() + 2
            while self.output.stat().st_size == before and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.2)
        for pid in processes[:4] if gdb else ():
            self._say(f"\n==== process {pid}: C stacks\n")
            with self.output.open("ab") as file, suppress(subprocess.TimeoutExpired):
                command = [str(gdb), "-p", str(pid), "-batch", "-nx", "-ex", "thread apply all bt 16"]
                subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=60, check=False)

    def _say(self, text: str) -> None:
        with self.output.open("ab") as file:
            file.write(text.encode())

    def _said(self) -> str:
        """What it has written, and its last notes, because of several workers that fail at once one ends the process
        first."""
        return self.output.read_text(errors="replace") + "".join(entry.text for entry in self.journal.last(_LAST))

    def _failure(self, what: str, killer: str | None) -> Failure:
        last = self.journal.last(_LAST)
        end = last[-1].ns if last else 0
        output = self.output.read_bytes()
        if len(output) > _OUTPUT:
            output = output[: _OUTPUT // 2] + b"\n...\n" + output[-_OUTPUT // 2 :]
        return Failure(
            mix=self.mix.name,
            seed=self.seed,
            what=what,
            signal=killer,
            again=f"python -m stress --only {self.mix.name} --seed {self.seed} --seconds {self.seconds:g}",
            python=sys.version.split()[0],
            operations=[
                f"{(entry.ns - end) / 1e6:10.3f} ms  pid {entry.pid}  worker {entry.worker:3}  {entry.text}"
                for entry in last
            ],
            output=output.decode(errors="replace"),
        )
