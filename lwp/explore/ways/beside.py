"""A process beside the one that explores: it tells of the run that has ended that process."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

from ..run.hand import Hand, forked, how_it_ended

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def watched(hand: Hand, fd: int, tell: Callable[[], object]) -> None:
    """From now on a process watches this one, and calls tell() if a run ends it. fd: what tell() needs stays open."""
    try:
        me = os.pidfd_open(os.getpid())
    except OSError:  # Linux before 5.3, or a filter of system calls
        return
    hand.hold(with_parent=False)
    child = forked()
    if child:
        os.waitpid(child, 0)
        os.close(me)
        return
    try:
        if os.fork() == 0:  # no child of the one that is watched, which may wait for all its children
            os.setsid()
            first, last = sorted((me, fd))
            for begin, end in ((0, first), (first + 1, last), (last + 1, 1 << 20)):
                os.closerange(begin, end)
            select.select([me], [], [])
            if hand.plan is not None:
                tell()
    finally:
        os._exit(0)


def in_child(hand: Hand) -> str:
    """Goes on in a child process, and there returns "".  When the child ends, this process ends in the same way.

    But if a run has ended the child it returns how that was, in this process, such as `by SIGSEGV`.
    """
    told = {signal.SIGCHLD, *_PASSED_ON}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, told)
    child = forked()
    if child == 0:
        hand.hold()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return ""
    asked = False  # to end
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        said = signal.sigwaitinfo(told)
        asked |= said.si_signo in (signal.SIGTERM, signal.SIGHUP)
        if said.si_signo != signal.SIGCHLD and said.si_code <= 0:  # the terminal has told the child, too
            os.kill(child, said.si_signo)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = os.waitstatus_to_exitcode(ended[1])
    if hand.plan is not None and not asked:
        return how_it_ended(code)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
