"""Has this process record what its threads do into a file, for runtime.trace to read.

Apart from that module, whose classes take longer to make than most programs take to record.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["DEFAULT_SIZE", "record", "stop"]

DEFAULT_SIZE = 16 << 20  #: bytes of records, of 32 each


def record(path: Path, size: int, arguments: Sequence[str]) -> None:
    """Has this process record from now on, once in its life.  size: bytes for records.

    OSError: the file can't be made, or the disk has no room for it.
    """
    from .. import native

    library = os.path.dirname(os.__file__)
    inner = [os.path.join(library, name) for name in ("threading.py", "queue.py", "concurrent/futures/")]
    inner.append(os.path.dirname(os.path.dirname(__file__)) + os.sep)
    program = " ".join(arguments)[:1000].encode(errors="replace")
    native.trace_begin(path, size, program, tuple(inner))


def stop() -> None:
    """Ends the record."""
    from .. import native

    native.trace_end()
