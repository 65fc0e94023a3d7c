"""Where programs have what others of the same user open: their sockets, each named by its pid, and PID.records; and
how a file is made for its user alone.

Every program loads this, so it loads little.
"""

from __future__ import annotations

import errno
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


def private(path: str, flags: int) -> int:
    """An opener for open(): makes the file anew, and only its owner may read it, because it may hold the program's
    data.  A file that was there and could be written to is removed; if it was this user's, the new one has its mode.

    Another user may have made the file that is there, and have it open, or a link to a file of this user's.  Only a
    device, or a link or pipe of this user's or of root's, is opened as it is: /dev/stdout is such a link.
    """
    mode = 0o600
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        is_own, is_file = found.st_uid == os.geteuid(), stat.S_ISREG(found.st_mode)
        is_device = stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)
        if is_device or ((is_own or found.st_uid == 0) and not is_file):
            return os.open(path, flags, mode)
        if is_file and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        if is_own:
            mode = found.st_mode & 0o777
        os.unlink(path)
    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    os.fchmod(fd, mode)
    return fd


def own_folder() -> str | None:
    """The folder for this process's files, which it makes; None: there is none that is private."""
    for folder in folders():
        with suppress(OSError):  # it exists, or can't be made
            os.mkdir(folder, 0o700)
        if is_private(folder) and os.access(folder, os.W_OK):
            return folder
    return None
