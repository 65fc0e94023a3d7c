"""Has this process be asked from outside, by `lwp ps`, `lwp dump` and their like, and says where its socket lies.

Every program that calls install() loads this, so it loads little: the tools' C only once the process listens.
"""

from __future__ import annotations

import _socket
import atexit
import errno
import os
import sys
from contextlib import suppress

from ..reading.folders import own_folder

__all__ = ["listen"]

LISTEN = "LWP_LISTEN"  #: 1: install() calls listen(); 0: `lwp run` and `pytest --lwp` don't


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


def listen() -> None:
    """Has this process be asked by `lwp ps`, `lwp dump` and their like, as `lwp run` has it: for a service that calls
    install() itself.  The processes that it forks are asked, too.  Calling it twice is harmless.

    It makes a socket in a folder of the user's, and two threads that serve it, which are not the program's.
    OSError: there can be no more threads, or no folder for the socket.
    """
    if not _begin():
        return
    from .. import native

    os.register_at_fork(before=native.listen_pause, after_in_parent=native.listen_go_on, after_in_child=_begin_in_child)
    atexit.register(native.listen_end)


def listen_for_tool() -> None:
    """listen() for `lwp run` and its like, unless the user doesn't want it: LWP_LISTEN=0.  The program runs without
    what can't be."""
    if os.environ.get(LISTEN) == "0" and not sys.flags.ignore_environment:
        return
    with suppress(OSError):
        listen()


def _begin() -> bool:
    """False: this process listens already."""
    from .. import native

    if (path := _socket_path()) is None:
        raise FileNotFoundError(errno.ENOENT, "no folder for a socket can be used", "$XDG_RUNTIME_DIR")
    try:
        native.listen_begin(path, _answer)
    except OSError as error:
        if error.errno != errno.EALREADY:
            raise
        return False
    return True


def _begin_in_child() -> None:
    with suppress(OSError):
        _begin()
