"""Where things lie in a thread's TLS: the same in every thread of this process.

Offsets count from the thread pointer, sizes are bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...core import facts, lib
from .. import structures
from ..structures import ffi


@dataclass(frozen=True)
class Module:
    """A loaded program or library that has thread-local storage."""

    id: int  #: its index in every DTV
    name: str  #: the path of its file
    offset: (
        int | None
    )  #: from the thread pointer to its static block; None: dynamic, allocated for each thread that asks
    size: int  #: of its block, bytes
    align: int  #: of its block, bytes
    image_size: int  #: bytes of the initialised part (.tdata); the rest of the block is zero (.tbss)
    initial: (
        bytes  #: what the block of a new thread holds: the image, as the dynamic linker has relocated it, and zeros
    )
    generation: int  #: the count of dlopen and dlclose calls that had changed the modules when this one came

    @property
    def static(self) -> bool:
        """Whether its block lies at the same offset in every thread."""
        return self.offset is not None

    @property
    def zero_size(self) -> int:
        """Bytes of the block that begin as zeros."""
        return self.size - self.image_size

    @property
    def short(self) -> str:
        """The name of its file without the folder."""
        return os.path.basename(self.name)


@dataclass(frozen=True)
class Segment:
    """A part of the block that every thread is made with."""

    kind: str  #: "module", "rseq", "padding", "surplus" (free for libraries that come later), "tcb" or "pthread"
    name: str  #: a module's short name, or the kind
    offset: int  #: from the thread pointer
    size: int  #: bytes
    module: Module | None = None  #: whose block it is


@dataclass(frozen=True)
class Layout:
    """Where things lie in a thread's static block, which is the same in every thread of this process."""

    modules: tuple[Module, ...]  #: all that are loaded now, by id
    low: int  #: offset of the block's begin ...
    high: int  #: ... and end
    align: int  #: of the thread pointer, bytes
    pthread: int  #: offset of struct pthread
    pthread_size: int  #: bytes
    rseq: int | None  #: offset of the area for restartable sequences; None: this glibc has none
    rseq_size: int  #: bytes, as the C library says; 0: not registered with the kernel
    errno: int  #: offset of errno
    variant: str  #: of the ELF TLS ABI: "I", modules above the thread pointer, or "II", below

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The whole block in parts, by offset, without gaps."""
        return tuple(_segments(self))

    @property
    def surplus(self) -> int:
        """Bytes that are left for libraries with static TLS that dlopen brings."""
        return sum(segment.size for segment in self.segments if segment.kind == "surplus")


def _segments(layout: Layout) -> Iterator[Segment]:
    parts = [
        Segment("module", module.short, module.offset, module.size, module)
        for module in layout.modules
        if module.offset is not None
    ]
    # Variant I's struct pthread begins with fields that belong to the TCB in variant II.
    tcb = [(field.offset, field.size) for field in tcb_places() if field.offset >= 0]
    tcb_low, tcb_high = min(offset for offset, _ in tcb), max(offset + size for offset, size in tcb)
    pthread_high = layout.pthread + layout.pthread_size
    parts.append(Segment("tcb", "TCB", tcb_low, tcb_high - tcb_low))
    if layout.pthread < tcb_low:  # variant I: the TCB follows
        parts.append(Segment("pthread", "struct pthread", layout.pthread, tcb_low - layout.pthread))
    else:
        parts.append(Segment("pthread", "struct pthread", tcb_high, pthread_high - tcb_high))
    if layout.rseq is not None and not layout.pthread <= layout.rseq < pthread_high:
        parts.append(Segment("rseq", "rseq", layout.rseq, rseq_area(layout.rseq_size)))
    at = layout.low
    for part in sorted(parts, key=lambda part: part.offset):
        if part.offset > at:
            kind = "surplus" if at == layout.low else "padding"
            yield Segment(kind, kind, at, part.offset - at)
        yield part
        at = part.offset + part.size
    if at < layout.high:
        yield Segment("surplus", "surplus", at, layout.high - at)


def rseq_area(size: int) -> int:
    """Bytes of the area, of which the C library says `size`."""
    return max(size, 32)  # the kernel takes no less (rseq(2), ORIG_RSEQ_SIZE)


def _places() -> Any:
    places = ffi.new("struct inspect_places *")
    structures.lib.inspect_places(places)
    return places


def layout() -> Layout:
    """The layout now: a dlopen or dlclose changes it."""
    room, pool = 64, 1 << 14
    while True:
        found = ffi.new("struct inspect_module[]", room)
        images, used = ffi.new("char[]", pool), ffi.new("size_t *", pool)
        count = structures.lib.inspect_modules(found, room, images, used)
        if count <= room and used[0] <= pool:
            break
        room, pool = count + 16, 2 * used[0] + 1
    modules = [
        Module(
            id=module.id,
            name=os.fsdecode(ffi.string(module.name)) or os.readlink("/proc/self/exe"),
            offset=module.offset or None,
            size=module.size,
            align=module.align,
            image_size=module.image_size,
            initial=bytes(ffi.buffer(images + module.image, module.image_size))
            + bytes(module.size - module.image_size),
            generation=module.generation,
        )
        for module in found[0:count]
    ]
    places, glibc = _places(), lib.glibc
    return Layout(
        modules=tuple(sorted(modules, key=lambda module: module.id)),
        low=places.block_low,
        high=places.block_high,
        align=glibc.static_align,
        pthread=places.pthread,
        pthread_size=glibc.pthread_size,
        rseq=glibc.rseq or None,
        rseq_size=glibc.rseq_size,
        errno=places.errno_at,
        variant="II" if places.pthread == 0 else "I",
    )


# Which code reads the fields of struct pthread, and what for (glibc's nptl/, 2.34 to 2.43).
_USERS = {
    "list": "setuid, dlopen, dlclose, fork and debuggers: they find all threads by it",
    "tid": "mutexes that know their owner, pthread_kill, debuggers",
    "robust_prev": "mutexes: the end of the robust list",
    "robust_head": "the kernel, when the thread ends: robust mutexes that it holds",
    "cleanup_jmp_buf": "pthread_exit and pthread_cancel: the frame to which they unwind",
    "cancelhandling": "pthread_cancel and setuid; a bit says that the thread is at its end",
    "flags": "pthread_getattr_np: with which attributes pthread_create made it",
    "specific_1stblock": "pthread_getspecific: the values of the first 32 keys",
    "specific": "pthread_getspecific: where the blocks of further keys are",
    "report_events": "debuggers that ask libthread_db for events",
    "user_stack": "the thread's end, and fork: not 0, the stack is not glibc's to recycle",
    "joinstate": "pthread_join and pthread_detach: 2, it runs and can be joined",
    "start_routine": "pthread_create's start of the thread, and debuggers",
    "arg": "pthread_create's start of the thread",
    "stackblock": "pthread_getattr_np, and glibc's own recycling of stacks",
    "stackblock_size": "pthread_getattr_np, and whether alloca may take much",
    "guardsize": "glibc's recycling of stacks",
    "reported_guardsize": "pthread_getattr_np",
    "sigmask": "pthread_create's start of the thread: the signal mask that it begins with",
}


@dataclass(frozen=True)
class Place:
    """Where a field lies; with its content in one thread it is an inspection.Field."""

    name: str
    offset: int  # from the thread pointer
    size: int
    users: str
    source: str
    check: str


def tcb_places() -> list[Place]:
    """What compiled code and the C library read at the thread pointer."""
    base = _places().pthread
    source, check = "ABI of the processor", "read back by a probe thread"
    return [
        Place(
            ffi.string(field.name).decode(),
            field.offset + (base if field.in_pthread else 0),
            field.size,
            ffi.string(field.users).decode(),
            source,
            check,
        )
        for field in (lib.arch_tcb_fields + at for at in range(lib.arch_tcb_field_count))
    ]


def pthread_places() -> list[Place]:
    """The fields of struct pthread that are known."""
    base = _places().pthread
    return [
        Place(name, base + fact.value, fact.size, _USERS[name], fact.source, fact.check)
        for fact in facts()
        if fact.size and (name := fact.name.removeprefix("pthread."))
    ]
