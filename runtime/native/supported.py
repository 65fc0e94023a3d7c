"""Where the runtime can work.

The build asks before it compiles, and the import asks before it looks for the core, which was made for one kind of
Python.  So a user reads a sentence, and not what a compiler or the dynamic linker would say.
"""

from __future__ import annotations

import os
import sys

SUPPORTED = "runtime works with CPython on Linux, x86-64 or aarch64 (64 bits), and glibc 2.34 or newer"


def obstacle() -> str | None:
    """The sentence that says why this Python can't run it, or None."""
    different = _difference()
    return different and f"{SUPPORTED}; {different}"


def _difference() -> str | None:
    if not sys.platform.startswith("linux"):
        return f"this is {sys.platform}"
    if sys.implementation.name != "cpython":
        return f"this is {sys.implementation.name}"
    # What this Python was compiled for.  The kernel's processor may differ: an i386 system often runs on x86_64.
    target = getattr(sys.implementation, "_multiarch", "") or f"{os.uname().machine}-linux"
    if target.partition("-")[0] not in ("x86_64", "aarch64") or sys.maxsize < 1 << 32:  # x86_64-linux-gnux32: 32 bits
        return f"this Python is for {target}"
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # ValueError: musl has no such name
        libc = ""
    if not libc.startswith("glibc "):
        return f"this Python is for {target}, and uses another C library"
    if tuple(map(int, libc.split()[1].split(".")[:2])) < (2, 34):
        return f"this is {libc}"
    return None
