"""What a run did to data: looked at from within, before each instruction that uses some; and what it raised."""

from __future__ import annotations

import contextlib
import os
import re
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple

from ...reading.files import is_program
from ...reading.source import Place, instruction_at, place_of, program_frames
from ...reading.stored import ABSENT, UNKNOWN, changed, class_name, is_shareable, keys_of, shown
from ..results import Unwound
from .operands import DELETES, READS, WRITES, Data, Use, data_of, root_of, uses_of, value_of

_MOST_LOOKS = 400_000
_MOST_NAMED = 100  # owners
_TRIES = 3  # to find an owner's name
_NOT_TOLD = (StopIteration, StopAsyncIteration, GeneratorExit, Unwound)

#: Finds what the program calls an object, seen from a frame; "" if it doesn't.
Naming = Callable[[object, FrameType], str]


def stack_of(frame: FrameType) -> tuple[str, ...]:
    """The program's functions, innermost first."""
    return tuple(one.f_code.co_name for one in program_frames(frame))


def _depth(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        frame = frame.f_back
        depth += 1
    return depth


class Look(NamedTuple):
    step: int  #: steps begun before it
    depth: int  #: of the stack


@dataclass(eq=False, slots=True)
class Owner:
    """An object that has data."""

    same: Callable[[], object]  #: the object, unless it is gone and something else has its id
    name: str = ""
    threads: set[int] = field(default_factory=set)
    written: bool = False
    tries: int = 0


@dataclass(eq=False, slots=True)
class Access:
    """One use of data, by an instruction."""

    number: int  #: in the run
    look: int  #: of its thread: the number of the look at this instruction
    step: int  #: steps begun before it
    thread: int
    verb: str
    owner: Owner
    key: object
    label: str
    text: str
    place: Place
    stack: tuple[str, ...]  #: of stack_of()
    before: str
    after: str = ""
    call: str = ""  #: the method that is called, of what is told by its methods

    @property
    def writes(self) -> bool:
        return self.verb != READS

    @property
    def name(self) -> str:
        name = (self.owner.name or self.text) + self.label
        if self.call:
            return f"next({name})" if self.call == "next()" else f"{name}.{self.call}"
        return re.sub(r"\._[A-Za-z][A-Za-z0-9]*(__\w+)", r".\1", name)  # as the source has a private name

    @property
    def deed(self) -> str:
        if self.verb == DELETES and self.before == shown(ABSENT):
            return "would delete"
        return "calls" if self.call else self.verb

    @property
    def noun(self) -> str:
        return self.name if self.call else {READS: "read", WRITES: "write", DELETES: "deletion"}[self.verb]

    @property
    def value(self) -> str:
        if self.call:
            return ""
        changes = self.verb == WRITES or (self.verb == DELETES and self.after not in ("", self.before))
        return f"{self.before} → {self.after}" if changes else self.before

    def is_at(self, other: Access) -> bool:
        """Whether it is the same thread's, by the same instruction."""
        mine, its = self.place, other.place
        return (self.thread, mine.code, mine.offset) == (other.thread, its.code, its.offset)


def conflict(one: Access, other: Access) -> bool:
    """Whether their order matters."""
    return (
        one.owner is other.owner
        and one.thread != other.thread
        and (one.writes or other.writes)
        and (one.key == other.key or one.key is None or other.key is None)
    )


@dataclass(eq=False, slots=True)
class Raised:
    """An exception that came to code of the program."""

    thread: int
    step: int
    kind: str
    place: Place | None
    error: int  #: its id
    caught: str = ""  #: file:line of the handler, or the library's function; "": nowhere so far
    calls: int = 0  #: of its thread, in the traceback


class Accesses:
    """Looks at a run, from its threads.

    gap: (thread, number of its look) at which the thread comes to a point.
    """

    def __init__(self, naming: Naming, gap: tuple[int, int] | None = None) -> None:
        self.found: list[Access] = []
        self.raised: list[Raised] = []
        self.looks: defaultdict[int, list[Look]] = defaultdict(list)  #: at each thread
        self._naming = naming
        self._gap = gap
        self._owners: dict[object, Owner] = {}
        self._uses: dict[tuple[int, int], tuple[Use, ...]] = {}
        self._codes: list[CodeType] = []  # they stay alive, because their ids are keys
        self._loaded: dict[tuple[int, object], Owner] = {}  # what an expression was when a frame last loaded it
        self._last: tuple[Access, Callable[[], object], FrameType, dict[object, str] | None] | None = None
        self._total = self._named = 0
        self._raising: dict[int, Raised] = {}  # by the exception's id
        self._latest: dict[int, Raised] = {}  # by thread

    def look(
        self, frame: FrameType, thread: int, step: int, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        with contextlib.suppress(Exception):  # a report that lacks something is better than a program that fails
            self.settle(thread, frame)
            if error is not None:
                self._raise(frame, thread, step, error, traceback)
                return False
            if self._gap == (thread, len(self.looks[thread])):
                self._gap = None
                return True
            self.looks[thread].append(Look(step, _depth(frame)))
            self._total += 1
            if self._total < _MOST_LOOKS:
                self._look(frame, thread, step)
        return False

    def settle(self, thread: int = -1, frame: FrameType | None = None) -> None:
        """Sees what the last access has left, now that this thread is in this frame, or the run is over.

        An instruction that calls, as a key's `__hash__`, is not over while its frame waits.
        """
        if self._last is None:
            return
        access, value, inner, keys = self._last
        if thread == access.thread:
            while frame is not None and frame is not inner:
                frame = frame.f_back
                if frame is inner:
                    return
        self._last = None
        left = value()
        access.after = shown(left)
        if keys is not None and (change := changed(keys, keys_of(left))):
            access.after += f": {change}"

    def end(self) -> None:
        """The run is over: what was only needed to look at it is given back, since the collector is off."""
        self.settle()
        self._naming = lambda thing, frame: ""  # its owner has this object
        for known in (self._owners, self._uses, self._codes, self._loaded, self._raising, self._latest):
            known.clear()

    # ---- data --------------------------------------------------------------------------------------------------------

    def _look(self, frame: FrameType, thread: int, step: int) -> None:
        code, offset = frame.f_code, frame.f_lasti
        uses = self._uses.get((id(code), offset))
        if uses is None:
            self._codes.append(code)
            uses = self._uses[id(code), offset] = uses_of(code, offset)
            if (instruction := instruction_at(code, offset)) and instruction.opname == "PUSH_EXC_INFO":
                uses = self._uses[id(code), offset] = (Use(READS, "handler"),)
        for use in uses:
            if use.kind == "handler":
                self._catch(thread, code, offset)
                continue
            for data in data_of(use, frame):
                self._add(use, data, frame, thread, step)

    def _add(self, use: Use, data: Data, frame: FrameType, thread: int, step: int) -> None:
        owner = self._owner(data.owner)
        loaded = self._loaded.get((id(frame), use.of)) if use.of is not None else None
        is_other = loaded is not None and loaded is not self._owner(value_of(use.of, frame))
        if is_other and loaded is not None:  # the name was bound anew, after the instruction's operand was loaded
            owner = loaded
        place = place_of(frame)
        if place is None or not place.of_program:
            return
        value = UNKNOWN if is_other or data.value is None else data.value()
        before = "" if data.value is None else shown(value)
        if use.loads is not None and data.verb == READS and is_shareable(value):
            self._loaded[id(frame), use.loads] = self._owner(value)
        number, look = len(self.found), len(self.looks[thread]) - 1
        access = Access(
            *(number, look, step, thread, data.verb, owner, data.key, data.label, data.text, place),
            *(stack_of(frame), before),
            call=data.call,
        )
        self.found.append(access)
        self._share(access, data.owner, use, frame)
        if data.verb != READS and not is_other and data.value is not None:
            self._last = access, data.value, frame, keys_of(value) if data.key is None else None

    def _owner(self, thing: Any) -> Owner:
        key = thing if type(thing) is tuple else id(thing)
        known = self._owners.get(key)
        if known is None or (type(thing) is not tuple and known.same() is not thing):
            try:
                same: Callable[[], object] = weakref.ref(thing)
            except TypeError:
                same = lambda: thing  # noqa: E731  # kept alive, so that its id stays its own
            known = self._owners[key] = Owner(same)
        return known

    def _share(self, access: Access, thing: object, use: Use, frame: FrameType) -> None:
        """Finds the name of what two threads use."""
        owner = access.owner
        owner.threads.add(access.thread)
        owner.written = owner.written or access.writes
        if owner.name or not owner.written or len(owner.threads) < 2 or type(thing) is tuple or owner.tries >= _TRIES:
            return
        owner.tries += 1
        self._named += 1
        if self._named < _MOST_NAMED and thing is not frame.f_globals:
            owner.name = self._naming(thing, frame)
            root = root_of(use.of, frame)
            if not owner.name and root is not thing and root is not UNKNOWN and (name := self._naming(root, frame)):
                owner.name = re.sub(r"^[^.[]*", lambda _: name, access.text)

    # ---- exceptions --------------------------------------------------------------------------------------------------

    def _raise(
        self, frame: FrameType, thread: int, step: int, error: BaseException, traceback: TracebackType | None
    ) -> None:
        """An exception comes to a frame, the innermost first."""
        if issubclass(type(error), _NOT_TOLD):
            return
        if traceback is None or traceback.tb_next is None:
            self._raising.pop(id(error), None)  # of another exception, which is gone
        is_ours = is_program(frame.f_code.co_filename)
        known = self._raising.get(id(error))
        if known is None:
            if not is_ours:
                return
            known = self._raising[id(error)] = Raised(thread, step, class_name(type(error)), place_of(frame), id(error))
            self.raised.append(known)
        if thread == known.thread:
            known.calls += is_ours
            known.caught = "" if is_ours else f"{frame.f_code.co_qualname}()"
        self._latest[thread] = known

    def _catch(self, thread: int, code: CodeType, offset: int) -> None:
        known = self._latest.get(thread)
        if known is not None and known.thread == thread:
            lines = [line for begin, _, line in code.co_lines() if begin >= offset and line is not None]
            if lines:
                known.caught = f"{os.path.basename(code.co_filename)}:{lines[0]}"
