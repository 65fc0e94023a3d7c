"""What a deadlock finder is given."""

from __future__ import annotations

from typing import NamedTuple


class Wait(NamedTuple):
    """A thread that sleeps.  A thread without a Wait runs."""

    thread: str
    #: Each of these threads alone can end the wait: it holds the lock, or one of several things of which one is enough.
    #: Empty: nobody knows which thread can.
    holders: frozenset[str]
    timeout: bool = False  #: the wait ends by itself some time
