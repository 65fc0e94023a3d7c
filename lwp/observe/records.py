"""The file of records that a trace is written into (native/observe/trace.h: layout and meaning), read part by part."""

from __future__ import annotations

import functools
import os
import struct
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from ..core import printable
from ..reading.names import thread_name
from .timeline import Span, Timeline, Track

_HEADER = struct.Struct("=8sIIIIQqqiiqQQQQII")
MAGIC, _VERSION, _HEADER_SIZE, _LONGEST_TEXT = b"lwptrace", 8, 4096, 4096
CHUNK = struct.Struct("=IIiIIIQ")
_RECORD = struct.Struct("=qHHIQQ")


class Kind(IntEnum):
    """enum trace_kind."""

    BORN = 1
    WANTS_GIL = 2
    RUNS = 3
    BLOCKED = 4
    JOINS = 5
    AWAITS = 6
    LEAVES = 7
    ENDS = 8
    STARTS = 9
    GRANTS = 10
    RELEASES = 11
    COUNTS = 12
    SEEN = 13
    PLACED = 14
    CANCELS = 15
    GROUP = 16
    CANCELLED = 17
    NAMED = 18
    THERE = 19
    UNHEARD = 20


class _Header(NamedTuple):
    """struct trace_file."""

    magic: bytes
    version: int
    chunk_size: int
    record_size: int
    texts_size: int
    chunks: int
    begun_ns: int
    begun_unix_ns: int
    pid: int
    finished: int
    ended_ns: int
    hand: int
    overwritten: int
    lost: int
    texts_lost: int
    arguments: int
    first_track: int


Record = tuple[int, int, int, int, int, int]  # ns, kind, what, site, a, b
Part = tuple[int, int, bytes, int, str, int]  # of a chunk: number, place of its records, these, tid, name, pointer

AWAKE = 0x8000  # in a kind: TRACE_AWAKE
#: What is of use long after it was recorded.
_LASTING = {Kind.BORN, Kind.THERE, Kind.NAMED, Kind.GROUP, Kind.PLACED}
FULL, OPENS = 1 << 31, 1 << 30  # in a chunk's state
_KINDS = frozenset(Kind)
_LAST_ERROR = 4095  # of the kernel's: MAX_ERRNO


@dataclass(slots=True)
class Blocked:
    """A BLOCKED span, or an UNHEARD one, and what is needed to find out what ended it."""

    track: int
    span: Span
    kind: int
    key: int
    ticket: int
    type: str = ""  # of the primitive
    line: str = ""  # at which it waits
    open: bool = True  # what ended it is not known yet
    why: int = 0  # the text, if it was cancelled


@dataclass(slots=True)
class Life:
    """A track, and what is needed to go on with its records."""

    track: Track
    chunks: int = 0  #: how many it has filled, and the one that was read last
    wait: Blocked | None = None  #: the last one
    known: bool = False  #: it is a thread of the program's
    elsewhere: bool = False  #: another library made it
    there: bool = False  #: it existed when the recording began
    settled: int = 0  #: of its spans, the first ones, will not change any more
    look: Span | None = None  #: SEEN: the next look at the thread may find it in the same call


def _is_mapped(path: Path, pid: int) -> bool:
    """Whether this process has the file mapped, because another process may have the number now."""
    try:
        inode = str(path.stat().st_ino)
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
        return any(line.split(maxsplit=5)[4] == inode for line in maps.splitlines())
    except OSError:  # there is no such process, or it is another user's
        return False


def _obstacle(head: bytes) -> str:
    """Why a file that begins so can't be read; "" if it can."""
    if not head:
        return "is not a file of trace records: it is empty"
    if head[:8] != MAGIC:
        return f"is not a file of trace records: at byte 0 stands {head[:8]!r}, not {MAGIC!r}"
    if len(head) < _HEADER_SIZE:
        return f"is not a whole file of trace records: at byte {len(head):,} it ends, within its header"
    _, version, chunk_size, record_size, *_ = _HEADER.unpack_from(head)
    if version != _VERSION:
        return f"was recorded by another version of the runtime: at byte 8 stands {version}, and here it is {_VERSION}"
    if record_size != _RECORD.size or chunk_size <= CHUNK.size or (chunk_size - CHUNK.size) % record_size:
        return f"is damaged: at byte 12 stands that chunks have {chunk_size:,} bytes, and records {record_size:,}"
    return ""


def _fault(record: Record, since: int) -> str:
    """What is impossible in a record; "" if nothing is. since: the time of the record before it."""
    ns, kind, _, _, a, _ = record
    if kind & ~AWAKE not in _KINDS:
        return f"a record of the unknown kind {kind}"
    if ns < since:
        return f"a record that is {since - ns:,} ns earlier than what stands before it"
    if kind & ~AWAKE == Kind.WANTS_GIL and a > _LAST_ERROR:
        return f"a record of a wait that ended with error {a}"
    return ""


class Records:
    """The file's parts.  A part that is damaged is noted in the timeline, and left out."""

    def __init__(self, path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            self.check(path, file.read(_HEADER_SIZE))
            file.seek(0)
            self.size = self.load(file)
        self.check(path, self.part(0, _HEADER_SIZE))  # it may have been cut meanwhile
        header = self.header()
        self.chunk_size, self.texts, finished = header.chunk_size, header.texts_size, bool(header.finished)
        self.most = (self.chunk_size - CHUNK.size) // _RECORD.size  # records of a chunk
        self.first_track = header.first_track
        self.known_texts = {0: ""}
        self.lives: dict[int, Life] = {}  # by number of the track
        self.taken: dict[int, tuple[int, int, int]] = {}  # by place of a chunk: its track, its number, its records
        self.timeline = Timeline(
            header.pid,
            "",
            header.begun_ns,
            header.ended_ns,
            header.begun_unix_ns,
            finished,
            0,
            header.overwritten,
            header.lost,
            header.texts_lost,
            not finished and _is_mapped(path, header.pid),
        )
        self.chunks = _HEADER_SIZE + self.texts
        self.end = self.chunks + header.chunks * self.chunk_size
        if self.end != self.size:
            self.note_damage(self.size, f"is its end, which by its header is at byte {self.end:,}")
        if finished and header.ended_ns < header.begun_ns:
            self.note_damage(56, "the end is before the begin")
            self.timeline.finished = False
        self.timeline.program = self.text(header.arguments)

    @staticmethod
    def check(path: Path, head: bytes) -> None:
        if obstacle := _obstacle(head):
            raise ValueError(f"{path} {obstacle}")

    def header(self) -> _Header:
        return _Header(*_HEADER.unpack(self.part(0, _HEADER.size)))

    def load(self, file: FileIO) -> int:
        """Returns how many bytes there are."""
        try:
            self.data = file.read()
        except MemoryError:
            size = os.fstat(file.fileno()).st_size
            raise ValueError(f"{file.name} can't be read: there is no memory for its {size:,} bytes") from None
        return len(self.data)

    def part(self, at: int, size: int) -> bytes:
        return self.data[at : at + size]

    def note_damage(self, at: int, what: str) -> None:
        if not self.timeline.running:  # a record that is read while a thread writes it is not damaged
            self.timeline.damage = self.timeline.damage or f"at byte {at:,} {what}"

    def text(self, number: int) -> str:
        if number not in self.known_texts:
            at = _HEADER_SIZE + number * 8
            room = min(self.chunks, self.size) - (at + 4)
            (length,) = struct.unpack("=I", self.part(at, 4)) if room >= 0 else (0,)
            if length > min(room, _LONGEST_TEXT):
                self.note_damage(at, "is no text, which a record names")
                length = 0
            self.known_texts[number] = printable(self.part(at + 4, length).decode(errors="replace"))
        return self.known_texts[number]

    def places(self) -> Iterable[int]:
        """Of the chunks that may have records which were not taken."""
        return range(self.chunks, min(self.end, self.size) - self.chunk_size + 1, self.chunk_size)

    def head(self, at: int) -> tuple[int, int, int, int, int, int, int] | None:
        """A chunk's used, track, tid, number, name, nth and thread pointer; None: nothing of this recording."""
        state, used, *rest = CHUNK.unpack(self.part(at, CHUNK.size))
        track = state & ~FULL
        if used > self.most:
            self.note_damage(at, f"is a chunk of {used:,} records, and there is room for {self.most}")
        elif used and not track & OPENS and track >= self.first_track:
            return used, track, *rest
        return None

    def time_of(self, at: int) -> int:
        ns: int
        (ns,) = struct.unpack("=q", self.part(at, 8))
        return ns

    @functools.cached_property
    def end_of_record(self) -> int:
        """When it was ended, now if it still runs, or the time of the last record."""
        if self.timeline.finished:
            return self.timeline.end
        if self.timeline.running:
            return time.monotonic_ns()
        heads = ((at, head[0]) for at in self.places() if (head := self.head(at)))
        ends = (self.time_of(at + CHUNK.size + (used - 1) * _RECORD.size) for at, used in heads)
        return max(ends, default=self.timeline.begin)

    def take(self, since: int = 0) -> Iterator[tuple[Life, list[Record]]]:
        """Each thread with its records that were not taken before, in the order of the threads' first records.

        Before `since` only what a later record may need.
        """
        parts: dict[int, list[Part]] = defaultdict(list)
        for at in self.places():
            if part := self.take_chunk(at):
                parts[self.taken[at][0]].append(part)
        for track, chunks in sorted(parts.items()):
            chunks.sort()
            life = self.lives.get(track) or Life(Track(track, chunks[0][3]))
            records: list[Record] = []
            early = max(bisect_right(chunks, since, key=lambda part: self.time_of(part[1])) - 1, 0)
            for nth, (number, at, data, _, name, pointer) in enumerate(chunks):
                added, sound = list(_RECORD.iter_unpack(data)), True
                if nth < early:
                    added = [record for record in added if record[1] in _LASTING]
                else:
                    before = life.track.end or self.timeline.begin
                    sound = self.are_sound(added, at, records[-1][0] if records else before)
                life.track.whole = sound and number in (life.chunks - 1, life.chunks) and life.track.whole
                life.chunks, life.track.name, life.track.pointer = number + 1, name, pointer
                records += added
            if records:
                life.track.begin, life.track.end = life.track.begin or records[0][0], records[-1][0]
                self.lives[track] = life
                yield life, records

    def take_chunk(self, at: int) -> Part | None:
        """What the chunk has that was not taken before."""
        if (head := self.head(at)) is None:
            return None
        used, track, tid, number, name, nth, pointer = head
        had = self.taken.get(at, (0, 0, 0))
        first = had[2] if had[:2] == (track, number) else 0
        if used <= first:
            return None
        begin = at + CHUNK.size + first * _RECORD.size
        self.taken[at] = track, number, used
        data = self.part(begin, (used - first) * _RECORD.size)
        return number, begin, data, tid, thread_name(self.text(name), nth), pointer

    def are_sound(self, records: list[Record], at: int, since: int) -> bool:
        """Whether all records of a chunk are sound.  If not, it drops the first that isn't, and all after it."""
        for number, each in enumerate(records):
            if fault := _fault(each, since):
                self.note_damage(at + number * _RECORD.size, f"is {fault}")
                del records[number:]
                return False
            since = each[0]
        return True
