"""A pthread and one of the runtime's threads, word by word: what differs, and why.

Every byte of the static block (modules' TLS, TCB, struct pthread) and every entry of the DTV is in one of three lists.
A difference counts as explained only when both values are what the reason says that they must be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...core import _core, lib
from ...native import _tools
from .inspection import DtvEntry, Inspection
from .layout import Module

__all__ = ["Comparison", "Part", "compare"]

_WORD = 8
_OURS = (_core.__file__, _tools.__file__)


@dataclass(frozen=True)
class Part:
    """Bytes with one name, in both threads."""

    base: str  #: what the offset counts from: "tp", the thread pointer, or "dtv", entry 0 of the DTV
    offset: int  #: bytes
    size: int  #: bytes
    field: str  #: "tcb.NAME", "pthread.NAME", "dtv[ID]", "MODULE+OFFSET", "errno", "__resp", "rseq", "padding" ...
    pthread: bytes  #: what the thread made by pthread_create has there
    ours: bytes  #: what the thread made by this runtime has there
    reason: str  #: why they differ; empty when they are equal or no reason is known


@dataclass(frozen=True)
class Comparison:
    """All bytes of two threads' TLS, each in one of the lists; unexplained is empty when ours is what glibc's is."""

    equal: tuple[Part, ...]  #: the same bytes in both
    explained: tuple[Part, ...]  #: different, with the reason
    unexplained: tuple[Part, ...]  #: different, for no known reason


def compare(pthread: Inspection, ours: Inspection) -> Comparison:
    """Compares two living threads as they were read.

    pthread: made by pthread_create, as stock threads are.  ours: made by this runtime.  Both should sleep: what a
    running thread holds at some moment may have no explanation.

    ValueError: they are not one of each kind, or modules came or went between the two readings.
    """
    if (pthread.kind, ours.kind) != ("pthread", "lwp"):
        raise ValueError(f"a pthread and an LWP are compared, not {pthread.kind} and {ours.kind}")
    if pthread.layout != ours.layout:
        raise ValueError("the loaded modules have changed between the two readings")
    pair = _Pair(pthread, ours)
    lists: dict[str, list[Part]] = {"equal": [], "explained": [], "unexplained": []}
    for part in [*pair.block(), *pair.dtv()]:
        kind = "equal" if part.pthread == part.ours else "explained" if part.reason else "unexplained"
        found, last = lists[kind], lists[kind][-1] if lists[kind] else None
        goes_on = last and (last.field, last.base, last.offset + last.size) == (part.field, "tp", part.offset)
        if kind == "equal" and last and goes_on:
            size, both = last.size + part.size, last.ours + part.ours
            found[-1] = replace(last, size=size, pthread=both, ours=both)
        else:
            found.append(part)
    return Comparison(*map(tuple, lists.values()))


def _number(content: bytes) -> int:
    return int.from_bytes(content, sys.byteorder)


def _writable() -> list[tuple[int, int]]:
    """The mappings that hold data: malloc's and libraries'."""
    lines = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw-p ", Path("/proc/self/maps").read_text(), re.MULTILINE)
    return [(int(low, 16), int(high, 16)) for low, high in lines]


class _Pair:
    def __init__(self, pthread: Inspection, ours: Inspection) -> None:
        self.pthread, self.ours = pthread, ours
        self.writable = _writable()

    # ---- what the parts are ----------------------------------------------------------------------------------------

    def block(self) -> Iterator[Part]:
        layout = self.ours.layout
        named = {field.offset: (f"tcb.{field.name}", field.size) for field in self.ours.tcb}
        for field in self.ours.pthread:
            named[field.offset] = (f"pthread.{field.name}", field.size)
        # Variables of the C library whose places are known without its symbols.
        named[layout.errno] = ("errno", 4)
        named[lib.glibc.resp] = ("__resp", _WORD)
        if layout.rseq is not None:
            named[layout.rseq] = ("rseq", max(layout.rseq_size, 32))
        segments = [(segment.offset, segment.offset + segment.size, segment) for segment in layout.segments]
        at = layout.low
        while at < layout.high:
            if at in named:
                name, size = named[at]
                for begin in range(0, size, _WORD) if size > _WORD else [0]:
                    yield self.part(at + begin, min(_WORD, size - begin), name, name)
                at += size
                continue
            low, end, segment = next(one for one in segments if one[0] <= at < one[1])
            end = min([end, at - at % _WORD + _WORD, *(offset for offset in named if offset > at)])
            origin = layout.pthread if segment.kind == "pthread" else low
            label = segment.name if segment.kind in ("padding", "surplus") else f"{segment.name}+{at - origin:#x}"
            part = self.part(at, end - at, label, "")
            # Equal bytes without a name of their own are one range.
            yield part if part.pthread != part.ours else replace(part, field=segment.name)
            at = end

    def part(self, offset: int, size: int, label: str, name: str) -> Part:
        one, two = self.pthread.at(offset, size), self.ours.at(offset, size)
        reason = "" if one == two else self.reason(name, offset, _number(one), _number(two))
        return Part("tp", offset, size, label, one, two, reason)

    def dtv(self) -> Iterator[Part]:
        one, two = self.pthread.dtv, self.ours.dtv
        word: Callable[[int], bytes] = lambda value: value.to_bytes(_WORD, sys.byteorder)  # noqa: E731

        def part(offset: int, name: str, a: bytes, b: bytes, reason: str) -> Part:
            return Part("dtv", offset, len(a), name, a, b, "" if a == b else reason)

        yield part(
            -2 * _WORD, "dtv length", word(one.length), word(two.length), "room for modules to come, more or less of it"
        )
        yield part(
            0,
            "dtv generation",
            word(one.generation),
            word(two.generation),
            "a thread learns of new modules when it first needs one of them",
        )
        for a, b in zip(one.entries, two.entries, strict=False):
            content = word(a.content) + word(a.to_free), word(b.content) + word(b.to_free)
            yield part(2 * _WORD * a.module, f"dtv[{a.module}]", *content, self.entry_reason(a, b))

    def entry_reason(self, a: DtvEntry, b: DtvEntry) -> str:
        states = {a.state, b.state}
        if states == {"static"} and (a.to_free, b.to_free) == (0, 0):
            return "the same offset from each thread pointer"
        if states == {"free"}:
            return "no module has this id: we mark it as not allocated, glibc leaves zeros"
        if states == {"dynamic"}:
            return "a dynamic block, allocated for each thread"
        if states <= {"dynamic", "unallocated"}:
            return "a dynamic block, allocated when a thread first asks for it"
        if "stale" in states:
            return "one thread has not looked since the module came"
        return ""

    # ---- why they differ -------------------------------------------------------------------------------------------

    def reason(self, name: str, offset: int, a: int, b: int) -> str:
        """a: the pthread's value, b: ours; empty when there is no reason that fits both."""
        if name in _REASONS:
            fits, reason = _REASONS[name]
            if fits(self, a, b):
                return reason
        one, two = self.pthread, self.ours
        if a - one.thread_pointer == b - two.thread_pointer and two.block[0] <= b < two.block[1]:
            return "an address inside the thread's own block, at the same offset"
        low = two.layout.pthread
        inside = low <= offset < low + two.layout.pthread_size
        if inside and all(
            value == 0 or view.stack.low <= value < view.stack.high for value, view in ((a, one), (b, two))
        ):
            return "an address on the thread's own stack: a frame that is registered while it sleeps there"
        if inside and not name and (a, b) == (one.ident, 0):
            return "pthread_detach has left its mark, joinid; nobody joins or detaches ours through glibc"
        module = self.module_at(offset)
        if module and module.name in _OURS and offset >= (module.offset or 0) + module.image_size:  # it begins as zeros
            return "this runtime's own: which Thread runs there, what it waits for, what is recorded of it"
        if name == "pthread.specific_1stblock" or (not name and module):
            whose = "a value of pthread_setspecific" if name else "what malloc or the library has for each thread"
            if self.is_data(a) and self.is_data(b):
                return f"{whose}: addresses in writable memory"
        libc = lib.glibc.libc_block <= offset < lib.glibc.libc_block + lib.glibc.libc_block_size
        if libc and not name and all(self.is_zero_or_data(value) or value == self.initial(offset) for value in (a, b)):
            return "the C library's, set when first needed; malloc's stays in a block from one thread to the next"
        return ""

    def module_at(self, offset: int) -> Module | None:
        """The module whose variables are there."""
        for segment in self.ours.layout.segments:
            if segment.module and segment.offset <= offset < segment.offset + segment.size:
                return segment.module
        return None

    def initial(self, offset: int) -> int:
        """The word there in a new thread's block; 0 where no module is."""
        if (module := self.module_at(offset)) is None:
            return 0
        at = offset - (module.offset or 0)
        return _number(module.initial[at : at + _WORD])

    def is_zero_or_data(self, value: int) -> bool:
        return value == 0 or self.is_data(value)

    def is_data(self, address: int) -> bool:
        return address % _WORD == 0 and any(low <= address < high for low, high in self.writable)


def _both(pair: _Pair, a: int, b: int) -> bool:
    return a != 0 and b != 0


def _none_in_ours(pair: _Pair, a: int, b: int) -> bool:
    return b == 0


def _errors(pair: _Pair, a: int, b: int) -> bool:
    return a < 4096 and b < 4096  # the kernel's errors are smaller (MAX_ERRNO)


def _registered(pair: _Pair, a: int, b: int) -> bool:
    return all(view.rseq and view.rseq.registered for view in (pair.pthread, pair.ours))


def _guards(pair: _Pair, a: int, b: int) -> bool:
    guard = pair.pthread.stack.guard
    return b == 0 and guard is not None and guard[1] - guard[0] == a


def _guards_asked_for(pair: _Pair, a: int, b: int) -> bool:
    guard = pair.pthread.stack.guard  # on aarch64 of 64 KiB at least, whatever was asked for
    return b == 0 and guard is not None and 0 < a <= guard[1] - guard[0]


def _stacks(pair: _Pair, a: int, b: int) -> bool:
    low = pair.pthread.stack.guard[0] if pair.pthread.stack.guard else pair.pthread.stack.low
    return (a, b) == (low, pair.ours.stack.low)


def _stack_sizes(pair: _Pair, a: int, b: int) -> bool:
    """Each reaches from its stackblock to behind its struct pthread."""
    low = pair.pthread.stack.guard[0] if pair.pthread.stack.guard else pair.pthread.stack.low
    return low + a >= pair.pthread.block[1] and pair.ours.stack.low + b >= pair.ours.block[1]


def _resolvers(pair: _Pair, a: int, b: int) -> bool:
    low, high = pair.pthread.block
    return low <= a < high and 0 <= b - pair.ours.block[1] < 4096


_Fits = Callable[[_Pair, int, int], bool]

# For the fields that must differ, or may: what the two values must be, and the reason.
_REASONS: dict[str, tuple[_Fits, str]] = {
    "tcb.dtv": (_both, "each thread has a vector of its own"),
    "pthread.list": (_both, "its neighbours on glibc's lists of threads"),
    "pthread.tid": (lambda pair, a, b: (a, b) == (pair.pthread.tid, pair.ours.tid), "each has a tid"),
    "pthread.flags": (
        _none_in_ours,
        "attributes that pthread_create was given; only it and pthread_getattr_np read them",
    ),
    "pthread.user_stack": (lambda pair, a, b: a == 0 and b != 0, "glibc must not recycle this runtime's stack"),
    "pthread.start_routine": (_none_in_ours, "what pthread_create was given; this runtime begins in its own function"),
    "pthread.arg": (_none_in_ours, "what pthread_create was given; this runtime passes it on the stack"),
    "pthread.stackblock": (_stacks, "each has a stack of its own"),
    "pthread.stackblock_size": (
        _stack_sizes,
        "this runtime's record lies behind struct pthread; glibc counts its guard",
    ),
    "pthread.guardsize": (_guards, "glibc's guard is a part of its stackblock, this runtime's lies below"),
    "pthread.reported_guardsize": (
        _guards_asked_for,
        "glibc's guard is a part of its stackblock, this runtime's lies below",
    ),
    "pthread.sigmask": (
        _none_in_ours,
        "the signal mask to begin with, before 2.36 in a larger variable; this runtime has it in its record",
    ),
    "errno": (_errors, "the last error of each thread"),
    "__resp": (_resolvers, "the resolver's state: glibc's is in struct pthread, this runtime's behind it"),
    "rseq": (_registered, "the kernel writes there on which CPU each one runs"),
}
