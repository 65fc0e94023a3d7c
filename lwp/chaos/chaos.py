"""Threads are held for a moment where it may matter: `lwp run --chaos`, `pytest --lwp-chaos`.

The program keeps its threads, network, processes and C.  native/python/chaos/ chooses who is held, where and for how
long; this module shows it the program's code, and tells what was done.
"""

from __future__ import annotations

import _queue
import random
import sys
import zlib
from types import CodeType
from typing import Any

from .. import native
from ..core import printable
from ..reading.files import is_program, name_of_file
from ..reading.names import thread_name

__all__ = ["Chaos", "any_seed"]

_TOLD = 8  # the latest acts that a report has
_monitoring: Any = getattr(sys, "monitoring", None)  # 3.12 on

#: chaos.h's kinds: where a thread was held.
_KINDS = ("", "before its first line", "before its end", "before", "before a turn of its loop")

#: What the program calls these operations.
_CALLED = {
    "__enter__": "acquire",
    "__exit__": "release",
    "thread_start": "start",
    "thread_join": "join",
    "thread_is_alive": "is_alive",
    "wait_things": "wait",
}


def any_seed() -> int:
    return random.SystemRandom().randrange(1, 10**6)


class Chaos:
    """Disturbs the threads of this process between begin() and end().

    seed: the same seed makes the same choices for a thread that comes to the same points.
    tasks: whether loops of asyncio run what is ready in any order; asyncio promises that of its coming.
    """

    def __init__(self, seed: int, tasks: bool = False) -> None:
        self.seed = seed
        self._tasks = random.Random(seed) if tasks else None
        self._loops: tuple[Any, Any] | None = None  # the class whose _run_once() leads here, and what that was
        self._tool = -1

    def begin(self) -> None:
        """Code that was loaded before is disturbed at its primitives only.

        RuntimeError: it has begun already, or all of sys.monitoring's tool numbers are taken.
        """
        is_program("")  # it imports, which must not lead to _found()
        if _monitoring is None:
            native.chaos_begin(self.seed, self._found, None, None, _queue.SimpleQueue)
        else:
            free = [tool for tool in (4, 3, 5, 2, 1, 0) if _monitoring.get_tool(tool) is None]
            if not free:
                raise RuntimeError("sys.monitoring has no tool number left: other tools (coverage, debuggers) use all")
            native.chaos_begin(
                self.seed, self._found, _monitoring.DISABLE, _monitoring.restart_events, _queue.SimpleQueue
            )
            self._tool = free[0]
            _monitoring.use_tool_id(self._tool, "lwp chaos")
            _monitoring.register_callback(self._tool, _monitoring.events.INSTRUCTION, native.chaos_instruction)
        self._look_for_loops()

    def begin_anew(self, what: str) -> None:
        """Makes the seed's choices for what is done next, whatever was done before, and forgets that."""
        native.chaos_begin_anew(self.seed << 32 | zlib.crc32(what.encode()))

    def end(self) -> None:
        native.chaos_end()
        if self._loops is not None:
            loop, stock = self._loops
            loop._run_once = stock
            self._loops = None
        if self._tool >= 0:
            _monitoring.free_tool_id(self._tool)
            self._tool = -1

    def _found(self, code: CodeType) -> bool:
        """Code is about to run; with sys.monitoring, a module's or a script's. Whether it is the program's."""
        self._look_for_loops()
        is_programs = is_program(code.co_filename)
        if is_programs and self._tool >= 0:
            self._stop_in(code)
        return is_programs

    def _stop_in(self, code: CodeType) -> None:
        _monitoring.set_local_events(self._tool, code, _monitoring.events.INSTRUCTION)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._stop_in(constant)

    def _look_for_loops(self) -> None:
        """Once asyncio is there, its loops come to a point at each turn. Another package's loops don't."""
        module = sys.modules.get("asyncio.base_events") if self._loops is None else None
        loop = getattr(module, "BaseEventLoop", None)
        if loop is None:
            return
        stock = loop._run_once

        def _run_once(this: Any) -> None:
            native.chaos_turn()
            if self._tasks is not None:
                _shuffle(this._ready, self._tasks)
            stock(this)

        self._loops = loop, stock
        loop._run_once = _run_once

    def held(self) -> int:
        """How often a thread was held."""
        return native.chaos_acts()[1]

    def report(self) -> list[str]:
        """Lines: the seed, and what was done to which thread just before, the latest last."""
        acts, count, spent = native.chaos_acts()
        lines = [f"seed {self.seed}; threads were held {count:,} times, for {spent / 1e9:.2f} s in all"]
        return [*lines, *(_told(*act) for act in acts[-_TOLD:])]


def _shuffle(ready: Any, chance: random.Random) -> None:
    """In place: another thread may append to it meanwhile, and only this one takes away."""
    for at in range(len(ready) - 1, 0, -1):
        other = chance.randrange(at + 1)
        ready[at], ready[other] = ready[other], ready[at]


def _told(
    ago: int,
    lasted: int,
    number: int,
    nth: int,
    kind: int,
    what: str,
    name: str | None,
    type_: type | None,
    stack: list[tuple[CodeType, int]] | None,
) -> str:
    who = printable(thread_name(name or "", nth)) or ("MainThread" if number == 0 else f"thread {number}")
    done = f"{_CALLED.get(what, what)}() of a {type_.__name__}" if type_ is not None else ""
    where = _place(stack or [])
    if kind:
        where = " ".join(filter(None, [_KINDS[kind], done, where and f"at {where}"]))
    held = f"held for {lasted / 1e6:.2f} ms" if lasted >= 0 else "held until now"
    return f"  {ago / 1e6:9.2f} ms ago  {who}  {held} {where if kind else f'at {where}'}"


def _place(stack: list[tuple[CodeType, int]]) -> str:
    """The program's innermost line, or the innermost of all."""
    ours = [one for one in stack if is_program(one[0].co_filename)]
    shown = (ours or stack)[:1]
    return "".join(f"{name_of_file(code.co_filename)}:{line} in {printable(code.co_name)}" for code, line in shown)
