"""What a tool says while the program runs, and at its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from ..reading.files import printable_lines


def teller(fd: int) -> Callable[[str], None]:
    """Writes on a file descriptor, and not through sys.stderr, because a thread that sleeps may hold the stream's
    lock."""

    def tell(text: str) -> None:
        left = printable_lines(text).encode(errors="backslashreplace")
        with suppress(OSError):  # a pipe without a reader
            while left:
                left = left[os.write(fd, left) :]

    return tell
