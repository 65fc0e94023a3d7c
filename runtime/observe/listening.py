"""Has this process be asked from outside, by `lwp ps`, `lwp dump` and their like, and says where its socket lies.

Every program loads this, so it loads little.
"""

from __future__ import annotations

import _socket
import atexit
import os
import sys
from contextlib import suppress

from .. import native
from .folders import own_folder

LISTEN = "LWP_LISTEN"  #: 0: the process is not to be asked


# ---- where -----------------------------------------------------------------------------------------------------------


def numbers(folder: str) -> list[int]:
    """The pids that have a socket in a folder, perhaps one that a process has left there."""
    with suppress(OSError):
        return [int(name) for name in os.listdir(folder) if name.isascii() and name.isdigit()]
    return []


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
