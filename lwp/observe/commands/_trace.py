"""`run --trace`: records the program's threads, and makes a timeline at its end, with --last of its last seconds."""

from __future__ import annotations

import sys
from pathlib import Path

from ...core import printable
from ...terminal.ending import at_end, note_interrupt
from .. import recording

_LAST_SIZE = 32 << 20  # bytes, so that they reach back for long in a busy program


def record(file: Path, last: float | None, arguments: tuple[str, ...]) -> None:
    """Records from here on; the timeline is made when the process ends.  last: of so many seconds before."""
    file = file.absolute()
    records = file.with_name(file.name + ".records")
    try:
        recording.record(records, recording.DEFAULT_SIZE if last is None else _LAST_SIZE, arguments)
    except OSError as error:
        print(f"lwp: can't record to {printable(str(records))}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    at_end(lambda: _make_timeline(records, file, () if last is None else ("--last", str(last))))


def _make_timeline(records: Path, file: Path, options: tuple[str, ...]) -> None:
    from ...terminal.aside import run_aside

    lent = recording.finish()
    if not recording.is_there():
        print(f"lwp: {printable(str(records))}: the program's records were removed meanwhile", file=sys.stderr)
    elif run_aside("trace", *options, records, file) == 0 and not lent:
        recording.remove()
    note_interrupt()
