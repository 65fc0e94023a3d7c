"""Where programs have what others of the same user open: their sockets, each named by its pid, and PID.records.

Every program loads this, so it loads little.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress


def folders() -> list[str]:
    """Where programs of this user have their sockets, each named by its pid; the preferred folder first."""
    found = [f"/tmp/lwp-{os.geteuid()}"]
    if (own := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        found.insert(0, os.path.join(own, "lwp"))
    return found


def is_private(folder: str) -> bool:
    """Whether nobody except this user can have put something there."""
    with suppress(OSError):
        found = os.lstat(folder)
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return False


def own_folder() -> str | None:
    """The folder for this process's files, which it makes; None: there is none that is private."""
    for folder in folders():
        with suppress(OSError):  # it exists, or can't be made
            os.mkdir(folder, 0o700)
        if is_private(folder) and os.access(folder, os.W_OK):
            return folder
    return None
