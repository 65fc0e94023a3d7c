"""Has this process be asked from outside, by `lwp ps`, `lwp dump` and their like, and says where its socket lies.

Every program loads this, so it loads little.
"""

from __future__ import annotations

import _socket
import atexit
import os
import stat
import sys
from contextlib import suppress

from .. import native

__all__ = ["LISTEN", "begin", "folders", "is_private", "numbers", "own_folder"]

LISTEN = "LWP_LISTEN"  #: 0: the process is not to be asked


# ---- where -----------------------------------------------------------------------------------------------------------


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


def numbers(folder: str) -> list[int]:
    """The pids that have a socket in a folder, perhaps one that a process has left there."""
    with suppress(OSError):
        return [int(name) for name in os.listdir(folder) if name.isascii() and name.isdigit()]
    return []


def own_folder() -> str | None:
    """The folder for this process's files, which it makes; None: there is none that is private."""
    for folder in folders():
        with suppress(OSError):  # it exists, or can't be made
            os.mkdir(folder, 0o700)
        if is_private(folder) and os.access(folder, os.W_OK):
            return folder
    return None


def _socket_path() -> str | None:
    if (folder := own_folder()) is None:
        return None
    _sweep(folder)
    return os.path.join(folder, str(os.getpid()))


def _sweep(folder: str) -> None:
    """Removes the sockets of processes that ended without doing so.

    A process that is not seen may be in another container that shares the folder: then somebody listens.
    """
    for pid in numbers(folder):
        if os.path.exists(f"/proc/{pid}"):
            continue
        client, path = _socket.socket(_socket.AF_UNIX), os.path.join(folder, str(pid))
        try:
            client.connect(path)
        except ConnectionRefusedError:
            with suppress(OSError):
                os.unlink(path)
        except OSError:
            pass
        finally:
            client.close()


# ---- this process ----------------------------------------------------------------------------------------------------


def _answer(question: str) -> str:
    from .asked import answer  # it loads much, which a program that nobody asks doesn't need

    return answer(question)


def begin() -> None:
    """Makes the socket and the two threads that serve it, unless LWP_LISTEN=0 says otherwise or no folder can be used.

    A forked child gets its own.
    """
    if os.environ.get(LISTEN) == "0" and not sys.flags.ignore_environment:
        return
    if _listen():
        os.register_at_fork(before=native.listen_pause, after_in_parent=native.listen_go_on, after_in_child=_listen)
        atexit.register(native.listen_end)


def _listen() -> bool:
    try:
        if (path := _socket_path()) is not None:
            native.listen_begin(path, _answer)
    except OSError:  # no more threads, no room, a path that is too long: then nobody can ask
        return False
    return path is not None
