"""What a thread's TLS is made of, read from its live memory: layout() and inspect().

Addresses are absolute, offsets count from the thread pointer, sizes are bytes.  A thread that runs goes on writing
while it is read: each word is what it held at some moment, and different words may be of different moments.  The thread
can't end meanwhile: see lwp/native/reading/inspect.h.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import LWP, members, placement
from ..structures import ffi, lib
from .layout import Layout, Module, Place, Segment, layout, pthread_places, rseq_area, tcb_places

__all__ = [
    "Dtv",
    "DtvEntry",
    "Field",
    "Inspection",
    "Layout",
    "Module",
    "RobustList",
    "Rseq",
    "Segment",
    "Stack",
    "inspect",
    "layout",
]

_WORD = ffi.sizeof("void *")
_UNALLOCATED = (1 << 8 * _WORD) - 1  # glibc's mark for "not there yet" (TLS_DTV_UNALLOCATED)


@dataclass(frozen=True)
class Field:
    """A field of the TCB or of struct pthread in one thread."""

    name: str  #: as glibc calls it
    offset: int  #: from the thread pointer
    size: int  #: bytes
    content: bytes  #: as they lie in memory
    users: str  #: which code reads it, and what for
    source: str  #: how its place was found
    check: str  #: what confirmed that

    @property
    def value(self) -> int:
        """The content as an unsigned number."""
        return int.from_bytes(self.content, sys.byteorder)


@dataclass(frozen=True)
class DtvEntry:
    """What a thread's dynamic thread vector says about one module."""

    module: int  #: module id, the index
    #: "static"; "dynamic", allocated; "unallocated", until the thread looks here, which it needn't for a static block;
    #: "stale", from before the module came; "free", no module has this id
    state: str
    address: int | None  #: of the module's block; None where there is none
    content: int  #: the word itself
    to_free: int  #: what free() gets at the end; 0: nothing


@dataclass(frozen=True)
class Dtv:
    """A thread's dynamic thread vector: where the block of each module is."""

    address: int  #: of entry 0
    length: int  #: entries after entry 0 that there is room for
    generation: int  #: of the modules that it knows; a module with a newer one makes its entry stale
    entries: tuple[DtvEntry, ...]  #: from module id 1 on


@dataclass(frozen=True)
class Stack:
    """A thread's stack, which grows from high to low."""

    low: int  #: the main thread's is extended as far as this, by RLIMIT_STACK
    high: int  #: where it began; excluded
    used: int  #: bytes from high to the lowest page that was ever written, by earlier threads on it too
    guard: (
        tuple[int, int] | None
    )  #: where touching it is SIGSEGV; None: not known, or the kernel's gap of the main thread

    @property
    def size(self) -> int:
        """Bytes from low to high."""
        return self.high - self.low


@dataclass(frozen=True)
class Rseq:
    """The area for restartable sequences, rseq(2): the kernel writes there on which CPU the thread runs."""

    offset: int  #: from the thread pointer
    size: int  #: bytes
    cpu_id_start: int  #: the CPU, 0 also when it isn't registered
    cpu_id: int  #: negative: not registered
    rseq_cs: int  #: address of the sequence that is being run, 0 for none
    flags: int  #: rseq(2); 0 nowadays

    @property
    def registered(self) -> bool:
        """Whether the kernel keeps it up to date."""
        return self.cpu_id >= 0


@dataclass(frozen=True)
class RobustList:
    """The robust mutexes that a thread holds: when it ends the kernel marks them and wakes their waiters.

    As set_robust_list(2) registers it.
    """

    offset: int  #: of the list's head, from the thread pointer
    first: int  #: address of the first entry; the head's own when there is none
    empty: bool  #: whether it holds none
    futex_offset: int  #: from an entry to the futex word of its mutex
    pending: int  #: address of an entry that is being taken or given back right now, 0 for none


@dataclass(frozen=True)
class Inspection:
    """One thread's TLS and stack, as they were when it was read."""

    name: str | None  #: of its Thread or LWP, if it was given as such
    kind: str  #: "main", "lwp" (made by this runtime) or "pthread"
    tid: int  #: the kernel's number, gettid(2)
    ident: int  #: pthread_self(), threading.get_ident() in the thread
    placement: str  #: where and how urgently its LWP runs: "CPUs 0-1, nice 5"; "" if it has just ended
    group: str  #: the innermost that it is in, as "group at FILE:LINE"; "" if none
    thread_pointer: int  #: an address; offsets count from it
    layout: Layout  #: as it was then
    stack: Stack  #: with what was used of it so far
    memory: bytes  #: the static block, from layout.low to layout.high
    tcb: tuple[Field, ...]  #: what compiled code and the C library read at the thread pointer
    pthread: tuple[Field, ...]  #: the fields of struct pthread that are known
    dtv: Dtv  #: where the modules' blocks are
    rseq: Rseq | None  #: None: this glibc has no such area
    robust: RobustList  #: which robust mutexes it held
    dynamic: dict[int, bytes]  #: the dynamic blocks that the thread has, by module id

    @property
    def block(self) -> tuple[int, int]:
        """Address of the static block's begin and end."""
        return self.thread_pointer + self.layout.low, self.thread_pointer + self.layout.high

    def at(self, offset: int, size: int) -> bytes:
        """`size` bytes of the static block from `offset` on; IndexError outside of it."""
        begin = offset - self.layout.low
        if begin < 0 or size < 0 or begin + size > len(self.memory):
            raise IndexError(f"{size} bytes at {offset:+d} are not inside the static block")
        return self.memory[begin : begin + size]

    def address_of(self, module: Module) -> int | None:
        """Where the module's block is in this thread; None: not there until the thread asks for it."""
        if module.offset is not None:
            return self.thread_pointer + module.offset
        return next((entry.address for entry in self.dtv.entries if entry.module == module.id), None)

    def block_of(self, module: Module) -> bytes | None:
        """The content of the module's block in this thread; None: not there, or freed as it was read."""
        return self.at(module.offset, module.size) if module.offset is not None else self.dynamic.get(module.id)


def _identify(thread: threading.Thread | LWP | int | None) -> tuple[int, int | None, str | None]:
    """ident, tid if it is known, name; ProcessLookupError if it is known not to be alive."""
    if thread is None:
        thread = threading.get_ident()
    if isinstance(thread, int):
        if not 0 <= thread < 1 << 8 * _WORD:
            raise ProcessLookupError(errno.ESRCH, f"no living thread has the ident {thread:#x}")
        return thread, None, None
    if isinstance(thread, LWP):
        ident, tid, alive = thread.ident, thread.tid, thread.is_alive()
        if tid and not ident:
            raise ValueError(f"{thread!r} runs on a copy of memory: its own is out of reach")
    elif isinstance(thread, threading.Thread):
        ident, tid, alive = thread.ident or 0, thread.native_id or 0, thread.is_alive()
    else:
        raise TypeError(f"inspect() takes a Thread, an LWP or an ident, not {type(thread).__name__}")
    if ident == threading.get_ident():
        return ident, None, thread.name  # after a fork its tid is another than it has noted
    if not alive:
        raise ProcessLookupError(errno.ESRCH, f"{thread!r} {'has ended' if tid else 'was not started'}")
    return ident, tid or None, thread.name  # a tid that isn't noted yet is not compared


def inspect(thread: threading.Thread | LWP | int | None = None) -> Inspection:
    """Reads a living thread of this process: ours, a pthread, or the main thread.

    thread: a threading.Thread (runtime.Thread too), an LWP, or the ident of a thread that Python doesn't know, as
    threading.get_ident() and pthread_self() give it; None: the calling thread.

    ProcessLookupError: it was not started, has ended, or is at its very end.  ValueError: an LWP on a copy of memory.
    OSError: neither process_vm_readv(2) nor /proc/self/mem can be used.  RuntimeError: libraries come and go too fast.
    """
    ident, tid, name = _identify(thread)
    for _ in range(100):
        before = layout()
        found, memory, vector, dynamic = _copy(ident, before, thread)
        if layout() == before:
            break
    else:
        raise RuntimeError("the loaded modules change faster than they can be read")
    if tid not in (None, found.tid):
        raise ProcessLookupError(errno.ESRCH, f"{thread!r} has ended: its memory is another thread's")

    low = before.low

    def field(place: Place) -> Field:
        begin = place.offset - low
        content = memory[begin : begin + place.size]
        return Field(place.name, place.offset, place.size, content, place.users, place.source, place.check)

    pthread = tuple(field(place) for place in pthread_places())
    robust = next(one for one in pthread if one.name == "robust_head")
    head = found.tp + robust.offset
    first, futex_offset, pending = (
        int.from_bytes(robust.content[at : at + _WORD], sys.byteorder, signed=at == _WORD)
        for at in range(0, 3 * _WORD, _WORD)
    )
    entries = tuple(_entries(before, found.tp, vector))
    return Inspection(
        name=name,
        kind="lwp" if found.ours else "main" if found.tid == os.getpid() else "pthread",
        tid=found.tid,
        ident=ident,
        placement=placement.described(found.tid),
        group=members.described(ident)[0],
        thread_pointer=found.tp,
        layout=before,
        stack=_stack(found),
        memory=memory,
        tcb=tuple(field(place) for place in tcb_places()),
        pthread=pthread,
        dtv=Dtv(found.dtv, found.dtv_length, vector[1].counter, entries),
        rseq=_rseq(before, memory),
        robust=RobustList(robust.offset, first, first == head, futex_offset, pending),
        dynamic={entry.module: dynamic[entry.module] for entry in entries if entry.state == "dynamic" and dynamic},
    )


def _copy(ident: int, shape: Layout, thread: object) -> tuple[Any, bytes, Any, dict[int, bytes]]:
    wanted = [module for module in shape.modules if not module.static]
    blocks = ffi.new("struct inspect_block[]", len(wanted) + 1)
    buffers = [ffi.new("char[]", max(module.size, 1)) for module in wanted]
    for block, module, buffer in zip(blocks, wanted, buffers, strict=False):
        block.id, block.size, block.into = module.id, module.size, buffer
    found, memory = ffi.new("struct inspect_thread *"), ffi.new("char[]", shape.high - shape.low)
    room = max(module.id for module in shape.modules) + 64
    while True:
        vector = ffi.new("union glibc_dtv[]", room)
        error = lib.inspect_copy(ident, found, memory, vector, room, blocks, len(wanted))
        if error != errno.EOVERFLOW:
            break
        room = found.dtv_length + 16
    if error == errno.ESRCH:
        raise ProcessLookupError(
            error, f"no living thread has the ident {ident:#x}" if isinstance(thread, int) else f"{thread!r} has ended"
        )
    if error:
        raise OSError(error, f"/proc/self/mem: {os.strerror(error)}")
    copied = {
        module.id: bytes(ffi.buffer(buffer, module.size))
        for block, module, buffer in zip(blocks, wanted, buffers, strict=False)
        if block.copied
    }
    return found, bytes(ffi.buffer(memory)), vector, copied


def _entries(shape: Layout, thread_pointer: int, vector: Any) -> Iterator[DtvEntry]:
    modules = {module.id: module for module in shape.modules}
    generation = vector[1].counter
    for number in range(1, vector[0].counter + 1):
        block = vector[number + 1].block
        value, to_free = int(ffi.cast("uintptr_t", block.value)), int(ffi.cast("uintptr_t", block.to_free))
        module = modules.get(number)
        if module is None:
            state = "free"
        elif module.generation > generation:
            state = "stale"  # from before the module was loaded: __tls_get_addr compares, and looks anew
        elif value in (0, _UNALLOCATED):
            state = "unallocated"
        elif module.offset is not None and value == thread_pointer + module.offset:
            state = "static"
        else:
            state = "dynamic"
        yield DtvEntry(number, state, value if state in ("static", "dynamic") else None, value, to_free)


def _stack(found: Any) -> Stack:
    if found.stack_low:
        guard = (found.guard_low, found.stack_low) if 0 < found.guard_low < found.stack_low else None
        return Stack(found.stack_low, found.stack_high, found.stack_used, guard)
    # The main thread's stack is the kernel's: glibc keeps no place for it, and pthread_getattr_np looks here too.
    mapped = re.search(r"^([0-9a-f]+)-([0-9a-f]+) .*\[stack\]$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    if not mapped:
        raise OSError(errno.ENOENT, "/proc/self/maps shows no [stack]")
    low, high = int(mapped[1], 16), int(mapped[2], 16)
    limit = resource.getrlimit(resource.RLIMIT_STACK)[0]
    lowest = low if limit == resource.RLIM_INFINITY else min(low, high - limit)
    return Stack(lowest, high, lib.inspect_stack_used(low, high), None)


def _rseq(shape: Layout, memory: bytes) -> Rseq | None:
    if shape.rseq is None:
        return None
    area = memory[shape.rseq - shape.low :]

    def number(at: int, size: int, signed: bool = False) -> int:
        return int.from_bytes(area[at : at + size], sys.byteorder, signed=signed)

    # struct rseq (linux/rseq.h): cpu_id_start, cpu_id, rseq_cs, flags, ...
    return Rseq(shape.rseq, rseq_area(shape.rseq_size), number(0, 4), number(4, 4, True), number(8, 8), number(16, 4))
