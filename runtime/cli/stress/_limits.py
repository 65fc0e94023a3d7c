"""The machine's limits on threads and descriptors: a mix that fails for one of them says nothing about the runtime."""

from __future__ import annotations

import errno
import os
import resource

from ...observe import limits

__all__ = ["limit_hit"]

#: What the machine must allow for a failure to be the runtime's: more than any mix needs.
_TASKS, _DESCRIPTORS = 1000, 256

_NO_TASK = ("can't start new thread", os.strerror(errno.EAGAIN))
_NO_DESCRIPTOR = os.strerror(errno.EMFILE)


def limit_hit(said: str) -> str | None:
    """The limit that a failed mix complains of in what it has said, if the machine allows less than mixes need."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if _NO_DESCRIPTOR in said and descriptors < _DESCRIPTORS:
        return f"RLIMIT_NOFILE (ulimit -n) allows {descriptors}"
    if any(text in said for text in _NO_TASK):
        free = [(limit.free, limit) for limit in limits.limits() if limit.unit == "tasks" and limit.free is not None]
        least, limit = min(free, key=lambda pair: pair[0])
        if least < _TASKS:
            return f"{limit.name} allows {limit.value}"
    return None
