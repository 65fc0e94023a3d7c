"""Which thread is in which group, and who has cancelled whom: `runtime.groups` writes it, for reports to read."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .. import native

__all__ = ["Cancellation", "Counts", "Member", "by", "counts", "described", "end_awaited", "latest", "members"]


class Member(Protocol):
    """A thread that is in groups."""

    def describe(self) -> tuple[str, str]:
        """Its innermost group, and why it is cancelled; each "" if there is none."""
        ...

    def end_awaited(self, thing: object) -> tuple[str, int]:
        """If it waits for that at a block's end: whose, its tasks, and the ident of one's thread; "" if not."""
        ...


class Cancellation(NamedTuple):
    """A request."""

    whom: str  #: as "group at x.py:9"
    why: str  #: as "ValueError in 'Thread-4 (work)'", "cancel() by 'MainThread'", "its deadline"


@dataclass(slots=True)
class Counts:
    """Since the process began.  Each is changed without a call, so that no other thread comes in between."""

    groups: int = 0  #: whose block has begun
    tasks: int = 0  #: spawned
    cancelled: int = 0  #: of these
    calls: int = 0  #: of executors, that were cancelled as they ran


#: By ident, of the threads that are in a group, or work in an executor.
members: dict[int, Member] = {}
counts = Counts()
#: The latest requests, the last one at the end.
latest: deque[Cancellation] = deque(maxlen=10)

os.register_at_fork(after_in_child=members.clear)  # the lone thread of a child is in no group


def described(ident: int) -> tuple[str, str]:
    """The group of the thread with this ident, and why it is cancelled; each "" if there is none."""
    member = members.get(ident)
    return ("", "") if member is None else member.describe()


def end_awaited(ident: int, thing: object) -> tuple[str, int]:
    """As Member.end_awaited(), of the thread with this ident."""
    member = members.get(ident)
    return ("", 0) if member is None else member.end_awaited(thing)


def by(what: str, how: str = "by") -> str:
    """A call that cancels, and the thread that makes it; or what was raised in it."""
    try:
        return f"{what} {how} {str(native.current_thread().name)!r}"
    except Exception:  # of a derived class
        return what
