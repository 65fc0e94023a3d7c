"""Controlled scheduling: finds, shrinks and replays interleavings that make a program fail; see docs/lwp/explore.md.

`runtime.explore(test, ...)` is explore() below: the module can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .explorer import explore, explored, replay
from .results import (
    CallbackRaised,
    DeadlockFound,
    DestroyedPending,
    Died,
    Find,
    Inconclusive,
    LeftBehind,
    Livelock,
    NeverRetrieved,
    Outcome,
    Progress,
    Result,
    Unwound,
)
from .tokens import BadToken
from .ways.targets import Target, TargetError

__all__ = [
    "BadToken",
    "CallbackRaised",
    "DeadlockFound",
    "DestroyedPending",
    "Died",
    "Find",
    "Inconclusive",
    "LeftBehind",
    "Livelock",
    "NeverRetrieved",
    "Outcome",
    "Progress",
    "Result",
    "Target",
    "TargetError",
    "Unwound",
    "explore",
    "explored",
    "replay",
]


class _Module(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Result:
        return explore(*args, **kwargs)


sys.modules[__name__].__class__ = _Module
