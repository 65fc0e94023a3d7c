"""`record`: a timeline of a running program, asked for from outside."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...terminal.options import seconds, timeline_file
from ._pid import pid_argument

if TYPE_CHECKING:
    from ..trace import Timeline


@contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that can be read when Ctrl-C or SIGTERM has come; neither does anything else."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield reader
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _wait(process: int, signals: int, timeout: float) -> None:
    """Returns when the time is up, the process has ended, or a signal has come."""
    poll = select.poll()
    for file in process, signals:
        poll.register(file, select.POLLIN)
    poll.poll(timeout * 1000)


def borrow(pid: int, length: float, opened: bool = False) -> dict[str, Any]:
    """Has the process record, by lwp.observe.recording.borrow().  Unanswered: it can't."""
    from ..asking import Unanswered, WithoutPython, ask

    try:
        return ask(pid, "borrow", seconds=length, opened=opened)
    except WithoutPython as error:
        raise Unanswered(f"process {pid} can't begin to record, because {error.why}") from None


def _next(pid: int, length: float) -> Timeline:
    """Of the next seconds."""
    from ..asking import Unanswered, ask
    from ..trace import read

    ended = None
    with _signals() as signals:
        begun = borrow(pid, length)
        click.echo(f"lwp: process {pid} records for {length:g} s; Ctrl-C ends that", err=True)
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            _wait(process, signals, length)
            os.close(process)
        with suppress(Unanswered):  # the process has ended
            ended = ask(pid, "give_back", borrower=begun["borrower"])
    timeline = read(begun["records"], begun["now"])
    if ended:
        timeline.cut(timeline.begin, ended.get("now", timeline.end))
    elif timeline.finished and begun["lent"]:
        Path(begun["records"]).unlink(missing_ok=True)  # the process keeps records that it has lent until they are read
    return timeline


def _file_left(pid: int) -> str:
    """What a process has in the folder of sockets, also if it has ended or doesn't answer; "": nothing."""
    from ...reading.folders import folders, is_private

    files = [os.path.join(folder, f"{pid}.records") for folder in folders() if is_private(folder)]
    return next(filter(os.path.exists, files), "")


def _latest(pid: int, length: float) -> Timeline:
    """Of the last seconds."""
    from ..asking import Unanswered, ask
    from ..following import records_of
    from ..trace import read

    try:
        records = ask(pid, "look_back")["records"]
    except Unanswered as error:
        records = records_of(pid) or _file_left(pid)
        if not records:
            trace = "what `lwp run --trace FILE` has recorded of a program that was killed"
            raise Unanswered(f"{error}; {trace} is in FILE.records, for `lwp trace`") from None
    if not records:
        raise Unanswered(f"process {pid} keeps no records: that begins with `lwp run --trace FILE`, or --seconds here")
    return read(records, -round(length * 1e9))


@click.command(short_help="A timeline of a running program.")
@pid_argument
@click.option("--seconds", "length", type=seconds(0.1, 3600), metavar="N", help="The next N seconds (default 10).")
@click.option("--last", type=seconds(0.1), metavar="N", help="The last N seconds, as it has recorded them already.")
@click.option(
    "-o",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=timeline_file,
    metavar="FILE",
    help="Where to (default lwp-PID.html): .html is a page, .json for Perfetto.",
)
def record(pid: int, length: float | None, last: float | None, file: Path | None) -> int:
    """Make a timeline of process PID, which must be one that `lwp ps` lists.

    It shows the next seconds, and Ctrl-C ends them earlier. --last is for a program under `lwp run --trace`, or one
    that records just now for another `lwp record`; also for one whose Python doesn't answer.
    """
    from .trace import write_timeline

    if length is not None and last is not None:
        raise click.UsageError("--seconds is for what comes, --last for what was: give one of them")
    try:
        timeline = _latest(pid, last) if last is not None else _next(pid, length or 10)
        write_timeline(timeline, file or Path(f"lwp-{pid}.html"))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    return 1 if timeline.damage else 0
