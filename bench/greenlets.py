"""greenlet, which has no threads, only the switch from one stack to another."""

from __future__ import annotations

from typing import Any

import greenlet

from lwp.bench.operations import Unavailable

__all__ = ["take_turns"]


def take_turns(number: int) -> None:
    """Makes this number of switches, between two greenlets that go to each other."""
    here = greenlet.getcurrent()

    def turn() -> None:
        switch = here.switch
        for _ in range(number // 2):
            switch()

    there = greenlet.greenlet(turn)
    switch = there.switch
    for _ in range(number // 2):
        switch()


def __getattr__(name: str) -> Any:
    raise Unavailable(f"greenlet has no {name}")
