"""`run --trace`: records the program's threads, and makes a timeline at its end."""

from __future__ import annotations

import sys
from pathlib import Path

from ...core import printable
from ...terminal.ending import at_end, note_interrupt
from .. import recording


def record(file: Path, size: int | None, arguments: tuple[str, ...]) -> None:
    """Records from here on; the timeline is made when the process ends."""
    file = file.absolute()
    records = file.with_name(file.name + ".records")
    try:
        recording.record(records, size or recording.DEFAULT_SIZE, arguments)
    except OSError as error:
        print(f"lwp: can't record to {printable(str(records))}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    at_end(lambda: _make_timeline(records, file))


def _make_timeline(records: Path, file: Path) -> None:
    from ...terminal.aside import run_aside

    lent = recording.finish()
    if not recording.is_there():
        print(f"lwp: {printable(str(records))}: the program's records were removed meanwhile", file=sys.stderr)
    elif run_aside("trace", records, file) == 0 and not lent:
        recording.remove()
    note_interrupt()
