"""Has this process record what its threads do into a file, for runtime.trace to read.

Apart from that module, whose classes take longer to make than most programs take to record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["DEFAULT_SIZE", "record", "stop"]

DEFAULT_SIZE = 16 << 20  #: bytes of records, of 32 each


def record(path: Path, size: int, arguments: Sequence[str]) -> None:
    """Has this process record from now on, once in its life.  size: bytes for records.

    OSError: the file can't be made, or the disk has no room for it.
    """
    from .. import native
    from .places import inner

    program = " ".join(arguments)[:1000].encode(errors="replace")
    native.trace_begin(path, size, program, inner())


def stop() -> None:
    """Ends the record."""
    from .. import native

    native.trace_end()
