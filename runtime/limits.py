"""What limits the number of threads on this machine (filled in with doctor)."""

from __future__ import annotations

import os


def explain(error: OSError, stack_size: int = 0) -> str:
    """What the kernel's refusal to make a thread means here."""
    return os.strerror(error.errno or 0)
