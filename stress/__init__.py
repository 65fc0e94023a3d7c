"""Seeded random mixes of everything that threads do, each in a watched process of its own: `python -m stress`.

A checkout has this, and the package has not.
A mix is a function decorated with `mix` in a module of THEMES.  _run.py is what it works with, _watch.py runs it.
"""

from __future__ import annotations

import random
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._run import Mix

TREE = Path(__file__).resolve().parent.parent
sys.path.append(str(TREE / "tests"))  # for holdings.py, with which each test looks at what it has left

THEMES = (
    "sync",
    "threads",
    "forks",
    "signals",
    "collect",
    "tasks",
    "groups",
    "makers",
    "memory",
    "ids",
    "libraries",
    "green",
    "endings",
)
BROKEN = "broken"  # mixes that fail, to see what that looks like; run only when named


def load() -> dict[str, Mix]:
    """All mixes by name, in the order of their themes."""
    from ._run import MIXES

    for theme in (*THEMES, BROKEN):
        import_module(f".{theme}", __name__)
    return MIXES


def round_seed(seed: int, number: int) -> int:
    """The seed of a round. Round 0 has the seed itself, so that a mix is run again by naming that seed."""
    return seed if number == 0 else random.Random(f"{seed}/{number}").getrandbits(32)
