"""A recorded trace as data: when each thread ran, wanted the GIL or waited, for what, and which thread let it go on.

`read` makes a Timeline of a file of records (native/observe/trace.h: layout and meaning), as `lwp run --trace` has it
written, also of one whose program was killed.  All times are nanoseconds on the monotonic clock.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from io import FileIO
from mmap import mmap
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from .files import short
from .recording import record, stop

__all__ = ["Arrow", "Count", "Span", "State", "Timeline", "Track", "read", "record", "stop"]

T = TypeVar("T")

_HEADER = struct.Struct("=8sIIIIQqqiiqIIQQQQII")
MAGIC, _VERSION, _HEADER_SIZE, _LONGEST_TEXT = b"lwptrace", 6, 4096, 4096
CHUNK = struct.Struct("=IIiIIIQ")
_RECORD = struct.Struct("=qHHIQQ")


class State(Enum):
    """What a thread does; the value is its name in pictures."""

    STARTING = "starting"  #: born, and not yet in the interpreter
    RUNNING = "running Python"  #: it has the GIL: it said so, has not slept since, and no other thread had it meanwhile
    OUTSIDE = "not in one of our waits"  #: it had the GIL at first; it runs, is in a system call, or wants the GIL
    WANTS_GIL = "waiting for the GIL"  #: has asked for it, and not got it yet
    BLOCKED = "blocked"  #: in one of the runtime's primitives, in join() or sleep(), or for a file in a green thread
    ENDING = "ending"  #: has left the interpreter
    SEEN = "seen"  #: when the sampler looked, it was in a system call that it has not recorded


@dataclass(slots=True)
class Span:
    """What a thread did from begin to end."""

    state: State  #: what it did
    begin: int  #: ns
    end: int  #: ns
    #: BLOCKED: "Lock ledger.lock", "Event made at FILE:LINE", "end of thread NAME", "sleep", "socket"; SEEN: the system
    #: call, or the GIL
    what: str = ""
    made: str = ""  #: BLOCKED: "FILE:LINE in FUNCTION" where the primitive was made, if that is known
    site: str = ""  #: BLOCKED: where the program waits for it
    outcome: str = ""  #: BLOCKED: "woken", "timed out", "cancelled: ..." or what else ended it; "" if it went on
    woken_by: int | None = None  #: BLOCKED: number of the track of the thread that let it go on, if that is known


@dataclass(slots=True)
class Track:
    """One thread."""

    number: int  #: unique in the trace, which a tid need not be
    tid: int  #: the kernel's number
    name: str = ""  #: threading's; "" if unknown
    begin: int = 0  #: ns: time of its first record
    end: int = 0  #: ns: its end, or the end of the record
    group: str = ""  #: the first group that it was in; "" if none
    whole: bool = True  #: False: its first records have been overwritten
    placement: str = ""  #: what it asked for at its birth: "CPUs 0-1, nice 5"; "" if nothing
    pointer: int = 0  #: the thread pointer: of threads that are alive no two have the same, also if they share an LWP
    ended: bool = False  #: False: it was alive when the record ended, or another library made it
    spans: list[Span] = field(default_factory=list)  #: one after the other
    seen: list[Span] = field(default_factory=list)  #: SEEN spans, each within a span that is RUNNING or OUTSIDE


@dataclass(frozen=True, slots=True)
class Arrow:
    """One thread had an effect on another."""

    why: str  #: "starts", "wakes", "ends", "cancels"
    source: int  #: number of a track
    at: int  #: ns: when the first acted
    target: int  #: number of the other's track
    then: int  #: ns: when the other began or went on


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted at one moment."""

    at: int  #: ns
    resident: int  #: bytes of memory (VmRSS)
    alive: int  #: threads of the runtime's making


@dataclass(slots=True)
class Timeline:
    """A trace."""

    pid: int  #: of the process
    program: str  #: its command line, at most 1000 letters
    begin: int  #: ns: when the recording began
    end: int  #: ns: when it was ended, now if it still runs, or of the last record
    begin_unix: int  #: `begin` on the wall's clock, in ns since 1970
    finished: bool  #: False: the program was killed, or ended by os._exit() or exec, or it still runs
    records: int  #: that the file holds
    overwritten: int  #: records that later ones have replaced, because the file has a fixed size
    lost: int  #: records lost because all of the file was in use by more threads than it has chunks
    texts_lost: int  #: names and lines that didn't fit
    running: bool = False  #: the program still runs: this is the record so far
    damage: str = ""  #: the first place in the file that was damaged; what it concerns is left out
    tracks: list[Track] = field(default_factory=list)  #: the threads
    arrows: list[Arrow] = field(default_factory=list)  #: from one of them to another
    counts: list[Count] = field(default_factory=list)  #: in the order of time

    def cut(self, since: int, until: int) -> None:
        """Leaves what is between these times, in ns.  What began before or ends after is cut, not lost."""

        def inside(spans: list[Span]) -> list[Span]:
            found = [span for span in spans if span.begin <= until and span.end >= since]
            for span in found:
                span.begin, span.end = max(span.begin, since), min(span.end, until)
            return found

        since = min(max(since, self.begin), self.end)
        until = max(min(until, self.end), since)
        for track in self.tracks:
            track.spans, track.seen = inside(track.spans), inside(track.seen)
            track.ended = track.ended and track.end <= until
            track.begin, track.end = max(track.begin, since), min(track.end, until)
        self.tracks = [track for track in self.tracks if track.begin <= track.end]
        self.arrows = [arrow for arrow in self.arrows if since <= arrow.at and arrow.then <= until]
        self.counts = [count for count in self.counts if since <= count.at <= until]
        self.begin_unix += since - self.begin
        self.begin, self.end = since, until

    def summary(self) -> str:
        """What the trace holds and what is missing, in a line."""
        threads = "1 thread" if len(self.tracks) == 1 else f"{len(self.tracks):,} threads"
        parts = [f"{threads}, {self.records:,} records"]
        if self.running:
            parts.append(f"still runs (pid {self.pid})")
        elif not self.finished:
            parts.append("the program did not end in order")
        if self.overwritten:
            parts.append(f"{self.overwritten:,} earlier records overwritten (--trace-size)")
        if self.lost:
            parts.append(f"{self.lost:,} records lost: more threads at once than there was room for (--trace-size)")
        if self.texts_lost:
            parts.append(f"{self.texts_lost:,} names lost")
        if self.damage:
            parts.append(f"damaged, and only partly read: {self.damage}")
        return "; ".join(parts)


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Kind(IntEnum):
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
    texts_used: int
    tracks: int
    hand: int
    overwritten: int
    lost: int
    texts_lost: int
    arguments: int
    first_track: int


_Record = tuple[int, int, int, int, int, int]  # ns, kind, what, site, a, b
# ns, track, and the ticket below which a queue's sleepers may go on, or the text that says why
_Effect = tuple[int, int, int]
Part = tuple[int, int, bytes, int, str, int]  # of a chunk: number, place of its records, these, tid, name, pointer
_Look = tuple[int, str, int]  # ns, at what, ns between two rounds

_AWAKE = 0x8000  # in a kind: TRACE_AWAKE
#: What is of use long after it was recorded.
_LASTING = {_Kind.BORN, _Kind.THERE, _Kind.NAMED, _Kind.GROUP, _Kind.PLACED}
FULL, OPENS = 1 << 31, 1 << 30  # in a chunk's state
_KINDS = frozenset(_Kind)
_LAST_ERROR = 4095  # of the kernel's: MAX_ERRNO
_HAVE_GIL = {_Kind.RUNS, _Kind.BLOCKED, _Kind.JOINS, _Kind.AWAITS, _Kind.LEAVES}  # when they are recorded
_STATES = {
    _Kind.BORN: State.STARTING,
    _Kind.THERE: State.OUTSIDE,
    _Kind.WANTS_GIL: State.WANTS_GIL,
    _Kind.RUNS: State.OUTSIDE,
    _Kind.BLOCKED: State.BLOCKED,
    _Kind.JOINS: State.BLOCKED,
    _Kind.AWAITS: State.BLOCKED,
    _Kind.LEAVES: State.ENDING,
}
_EFFECTS = {_Kind.BORN, _Kind.STARTS, _Kind.GRANTS, _Kind.RELEASES, _Kind.ENDS, _Kind.CANCELS}
_OUTCOMES = {
    0: "woken",
    errno.ETIMEDOUT: "timed out",
    errno.EINTR: "interrupted by a signal",
    errno.ECANCELED: "cancelled",
    errno.EAGAIN: "broken off to look for signals",
}
_CANCELLED = "cancelled: "
OBJECT_HEAD = 16  # a primitive's lock or queue comes right behind PyObject_HEAD
_BREAK = 100_000  # ns: a wait that goes on this soon after an interruption, such as a signal, is one wait


def _name(text: str, nth: int) -> str:
    """The name of a thread, as threading makes it from the number and the function's name."""
    return text if not nth else f"Thread-{nth} ({text})" if text else f"Thread-{nth}"


@dataclass(slots=True)
class _Wait:
    """A BLOCKED span, and what is needed to find out what ended it."""

    track: int
    span: Span
    kind: int
    key: int
    ticket: int
    type: str = ""  # of the primitive
    open: bool = True  # what ended it is not known yet
    why: int = 0  # the text, if it was cancelled


@dataclass(slots=True)
class Life:
    """A track, and what is needed to go on with its records."""

    track: Track
    chunks: int = 0  #: how many it has filled, and the one that was read last
    wait: _Wait | None = None  #: the last one
    known: bool = False  #: it is a thread of the program's
    elsewhere: bool = False  #: another library made it
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


def _fault(record: _Record, since: int) -> str:
    """What is impossible in a record; "" if nothing is. since: the time of the record before it."""
    ns, kind, _, _, a, _ = record
    if kind & ~_AWAKE not in _KINDS:
        return f"a record of the unknown kind {kind}"
    if ns < since:
        return f"a record that is {since - ns:,} ns earlier than what stands before it"
    if kind & ~_AWAKE == _Kind.WANTS_GIL and a > _LAST_ERROR:
        return f"a record of a wait that ended with error {a}"
    return ""


class Records:
    """The file's parts.  A part that is damaged is noted in the timeline, and left out."""

    def __init__(self, path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            head = file.read(_HEADER_SIZE)
            if obstacle := _obstacle(head):
                raise ValueError(f"{path} {obstacle}")
            file.seek(0)
            self.data = self.load(file)
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
        if self.end != len(self.data):
            self.note_damage(len(self.data), f"is its end, which by its header is at byte {self.end:,}")
        if finished and header.ended_ns < header.begun_ns:
            self.note_damage(56, "the end is before the begin")
            self.timeline.finished = False
        self.timeline.program = self.text(header.arguments)

    def header(self) -> _Header:
        return _Header(*_HEADER.unpack_from(self.data))

    def load(self, file: FileIO) -> bytes | mmap:
        return file.read()  # as one object, because joining the head and the rest would hold the whole twice

    def note_damage(self, at: int, what: str) -> None:
        if not self.timeline.running:  # a record that is read while a thread writes it is not damaged
            self.timeline.damage = self.timeline.damage or f"at byte {at:,} {what}"

    def text(self, number: int) -> str:
        if number not in self.known_texts:
            at = _HEADER_SIZE + number * 8
            room = min(self.chunks, len(self.data)) - (at + 4)
            (length,) = struct.unpack_from("=I", self.data, at) if room >= 0 else (0,)
            if length > min(room, _LONGEST_TEXT):
                self.note_damage(at, "is no text, which a record names")
                length = 0
            self.known_texts[number] = self.data[at + 4 : at + 4 + length].decode(errors="replace")
        return self.known_texts[number]

    def places(self) -> Iterable[int]:
        """Of the chunks that may have records which were not taken."""
        return range(self.chunks, min(self.end, len(self.data)) - self.chunk_size + 1, self.chunk_size)

    def head(self, at: int) -> tuple[int, int, int, int, int, int, int] | None:
        """A chunk's used, track, tid, number, name, nth and thread pointer; None: nothing of this recording."""
        state, used, *rest = CHUNK.unpack_from(self.data, at)
        track = state & ~FULL
        if used > self.most:
            self.note_damage(at, f"is a chunk of {used:,} records, and there is room for {self.most}")
        elif used and not track & OPENS and track >= self.first_track:
            return used, track, *rest
        return None

    def time_of(self, at: int) -> int:
        ns: int
        (ns,) = struct.unpack_from("=q", self.data, at)
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

    def take(self, since: int = 0) -> Iterator[tuple[Life, list[_Record]]]:
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
            records: list[_Record] = []
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
        begin, end = (at + CHUNK.size + each * _RECORD.size for each in (first, used))
        self.taken[at] = track, number, used
        return number, begin, self.data[begin:end], tid, _name(self.text(name), nth), pointer

    def are_sound(self, records: list[_Record], at: int, since: int) -> bool:
        """Whether all records of a chunk are sound.  If not, it drops the first that isn't, and all after it."""
        for number, each in enumerate(records):
            if fault := _fault(each, since):
                self.note_damage(at + number * _RECORD.size, f"is {fault}")
                del records[number:]
                return False
            since = each[0]
        return True


class Reader:
    """Puts the records together."""

    def __init__(self, records: Records, since: int | None = None) -> None:
        self.file = records
        self.timeline = records.timeline
        self.since = since if since is None or since >= 0 else records.end_of_record + since
        self.waits: list[_Wait] = []
        self.awake: list[Span] = []  # OUTSIDE, in which the thread has not slept
        self.gil: list[tuple[int, int]] = []  # when each track had the GIL
        self.looks: dict[int, list[_Look]] = defaultdict(list)  # by track
        self.tracks: dict[int, list[_Effect]] = defaultdict(list)  # by thread pointer: since when, and the track
        # by key: the name since when; "" from when it is another thing's key
        self.names: dict[int, list[tuple[int, str]]] = defaultdict(list)
        # effects on other threads, by kind and by the address that they share
        self.effects: dict[int, dict[int, list[_Effect]]] = {kind: defaultdict(list) for kind in _EFFECTS}
        self.births: list[tuple[int, int, int]] = []  # pointer, when, track: whose starter is not known yet

    def read(self) -> Timeline:
        timeline = self.timeline
        lives = self.take()
        timeline.tracks = [life.track for life in lives]
        if not timeline.finished:
            timeline.end = self.file.end_of_record
        for life in lives:
            track = life.track
            if not track.ended and not life.elsewhere:
                # of a thread made by another library all we know is its last record
                track.end = max(track.end, timeline.end)
            if track.spans and not track.spans[-1].end:
                track.spans[-1].end = track.end
        self.settle(timeline.end)
        if self.since is not None:
            timeline.cut(self.since, timeline.end)
        return timeline

    def take(self) -> list[Life]:
        """Makes spans of the new records; the threads that have some."""
        lives = []
        for life, records in self.file.take(self.since or 0):
            self.timeline.records += len(records)
            kinds = {record[1] & ~_AWAKE for record in records}
            if kinds <= {_Kind.COUNTS, _Kind.SEEN}:
                self.take_samples(records)
                continue
            self.follow(life, records)
            if life.track.name or not kinds <= {_Kind.NAMED, _Kind.WANTS_GIL, _Kind.RUNS}:  # a thread of the program's
                if not life.known:
                    life.known = True
                    life.elsewhere = life.track.whole and records[0][1] not in (_Kind.BORN, _Kind.THERE)
                    self.tracks[life.track.pointer].append((life.track.begin, life.track.number, 0))
                lives.append(life)
        return lives

    def settle(self, until: int) -> None:
        """Finds out what one thread's records say of another's spans, of those that have ended until then."""
        for number, looks in self.looks.items():
            if looks and number in self.file.lives:
                self.place_looks(self.file.lives[number], looks, until)
        self.find_running(until)
        for by_key in (*self.effects.values(), self.tracks):
            for effects in by_key.values():
                effects.sort()
        for names in self.names.values():
            names.sort()
        self.find_starters(until)
        self.find_causes(until)

    def take_samples(self, records: list[_Record]) -> None:
        for ns, kind, _, site, a, b in records:
            if kind == _Kind.COUNTS:
                self.timeline.counts.append(Count(ns, a, b))
            elif kind == _Kind.SEEN:
                self.looks[a].append((ns, self.file.text(site), b))

    def place_looks(self, life: Life, looks: list[_Look], until: int) -> None:
        """Takes a call that was seen twice in a row as going on in between, and half a round before and after."""
        spans, seen = life.track.spans, life.track.seen
        count = bisect_right(looks, until, key=_when)
        for ns, what, period in looks[:count]:
            at = bisect_right(spans, ns, key=_begin) - 1
            span = spans[at] if at >= 0 else None
            # without `what` the thread was on a processor, or ready for one
            if not what or not span or span.state is not State.OUTSIDE or 0 < span.end <= ns:
                life.look = None
                continue
            end = min(ns + period // 2, span.end) if span.end else ns
            if life.look and life.look.what == what and life.look.begin >= span.begin:
                life.look.end = end
            else:
                begin = max(ns - period // 2, seen[-1].end if seen else 0, span.begin)
                seen.append(look := Span(State.SEEN, begin, end, what))
                life.look = look
        del looks[:count]

    def follow(self, life: Life, records: list[_Record]) -> None:
        """Finds the track's spans; the last one has no end yet."""
        track, wait = life.track, life.wait
        for ns, noted, what, site, a, b in records:
            kind = noted & ~_AWAKE
            if kind in _EFFECTS:
                self.effects[kind][a].append((ns, track.number, site if kind == _Kind.CANCELS else b & 0xFFFFFFFF))
            if kind == _Kind.BORN:
                self.births.append((a, ns, track.number))
            if kind == _Kind.NAMED:
                self.names[a].append((ns, self.file.text(site)))
            if kind == _Kind.GROUP:
                track.group = track.group or self.file.text(site)
            elif kind == _Kind.CANCELLED and wait and wait.span.outcome == _OUTCOMES[errno.ECANCELED]:
                wait.span.outcome, wait.why = _CANCELLED + self.file.text(site), site
            if kind in _HAVE_GIL:
                self.gil.append((ns, track.number))
            if kind == _Kind.PLACED:
                track.placement = self.file.text(site)
            if kind != _Kind.ENDS and kind not in _STATES:
                continue
            if kind == _Kind.RUNS and track.spans and track.spans[-1].state is State.OUTSIDE:
                continue  # the thread that has begun the recording: it ran before
            if track.spans and not track.ended:
                last = track.spans[-1]
                last.end = ns
                if noted & _AWAKE and last.state is State.OUTSIDE:
                    self.awake.append(last)
                if last.state is State.BLOCKED and kind == _Kind.WANTS_GIL:
                    last.outcome = _OUTCOMES.get(a) or os.strerror(a)
            if kind == _Kind.ENDS:
                track.end, track.ended = ns, True
                continue
            state = _STATES[_Kind(kind)]
            if state is State.BLOCKED and track.spans and track.spans[-1].begin == ns:
                track.spans.pop()  # what TRACE_THERE begins is this wait
            if state is not State.BLOCKED:
                track.spans.append(Span(state, ns, 0))
            elif wait and wait.kind == kind and wait.key == a and self.goes_on(track.spans, wait.span):
                wait.ticket = b & 0xFFFFFFFF
                life.settled = min(life.settled, len(track.spans) - 1)
                if not wait.open:
                    wait.open = True
                    self.waits.append(wait)
            else:
                span = Span(State.BLOCKED, ns, 0, made=short(self.file.text(b >> 32)), site=short(self.file.text(site)))
                track.spans.append(span)
                type = self.file.text(what) or "primitive"
                wait = life.wait = _Wait(track.number, span, kind, a, b & 0xFFFFFFFF, type)
                self.waits.append(wait)

    def find_running(self, until: int) -> None:
        """A thread that has not slept has kept the GIL, unless C code gave the GIL up to compute and another thread had
        it."""
        self.gil.sort()
        ended, self.awake = _parted(self.awake, lambda span: span.end <= until)
        for span in ended:
            first = bisect_right(self.gil, (span.begin, 1 << 32))
            after = bisect_left(self.gil, (span.end, 0))
            if first >= after:
                span.state = State.RUNNING

    @staticmethod
    def goes_on(spans: list[Span], blocked: Span) -> bool:
        """Whether the wait was only interrupted to look for signals; if so, the two spans become one again."""
        broken = (
            len(spans) > 2
            and spans[-3] is blocked
            and blocked.outcome not in ("", "woken", "ended")
            and not blocked.outcome.startswith(_CANCELLED)
        )
        sure = blocked.outcome == _OUTCOMES[errno.EAGAIN]
        if not broken or not (sure or spans[-1].end - blocked.end <= _BREAK):
            return False
        del spans[-2:]
        blocked.end, blocked.outcome = 0, ""
        return True

    def latest(self, kind: _Kind, key: int, since: int, until: int) -> _Effect | None:
        return self.latest_of(self.effects[kind].get(key, []), since, until)

    @staticmethod
    def latest_of(effects: list[_Effect], since: int, until: int) -> _Effect | None:
        at = bisect_right(effects, until, key=_when)
        return effects[at - 1] if at and effects[at - 1][0] >= since else None

    def find_starters(self, until: int) -> None:
        births, self.births = _parted(self.births, lambda birth: birth[1] <= until)
        for pointer, then, track in births:
            if cause := self.latest(_Kind.STARTS, pointer, 0, then):
                self.timeline.arrows.append(Arrow("starts", cause[1], cause[0], track, then))

    def find_causes(self, until: int) -> None:
        ended, self.waits = _parted(self.waits, lambda wait: 0 < wait.span.end <= until)
        for wait in ended:
            span, wait.open = wait.span, False
            span.what = self.awaited(wait)
            if wait.why:
                track = self.file.lives[wait.track].track
                self.find_canceller(wait, track.pointer, track.begin)
            if wait.kind == _Kind.BLOCKED and not wait.key:
                cause = None
                span.outcome = "ended" if span.outcome == "woken" else span.outcome
            elif wait.kind == _Kind.BLOCKED:
                cause = self.granted(wait) or self.latest(_Kind.RELEASES, wait.key, span.begin, span.end)
            elif wait.kind == _Kind.JOINS:
                cause = self.latest(_Kind.ENDS, wait.key, span.begin, span.end)
            else:
                cause = self.latest(_Kind.BORN, wait.key, span.begin, span.end)
            if cause and span.outcome == "woken":
                span.woken_by = cause[1]
                why = {_Kind.BLOCKED: "wakes", _Kind.JOINS: "ends"}.get(_Kind(wait.kind))
                if why:
                    self.timeline.arrows.append(Arrow(why, cause[1], cause[0], wait.track, span.end))

    def awaited(self, wait: _Wait) -> str:
        """What it waits for, in words."""
        begin, end = wait.span.begin, wait.span.end or wait.span.begin
        if wait.kind != _Kind.BLOCKED:
            which = self.latest_of(self.tracks.get(wait.key, []), 0, end)
            life = self.file.lives.get(which[1]) if which else None
            verb = "end" if wait.kind == _Kind.JOINS else "begin"
            return f"{verb} of thread {(life.track.name or life.track.tid) if life else '?'}"
        if not wait.key:
            return wait.type
        made = wait.span.made.partition(" in ")[0]
        unnamed = f"made at {made}" if made else f"at {wait.key - OBJECT_HEAD:#x}"
        return f"{wait.type} {self.name_of(wait.key, begin) or unnamed}"

    def forget(self, before: int) -> None:
        """Drops effects and names that came before; of those that a later wait may need, the last one stays."""
        del self.gil[: max(0, bisect_left(self.gil, (before, 0)) - 1)]
        for kind, by_key in self.effects.items():
            last = kind in (_Kind.BORN, _Kind.STARTS)
            for key, effects in list(by_key.items()):
                del effects[: max(0, bisect_left(effects, before, key=_when) - last)]
                if not effects:
                    del by_key[key]
        for births in self.tracks.values():
            del births[: max(0, bisect_left(births, before, key=_when) - 1)]
        for names in self.names.values():
            del names[: max(0, bisect_left(names, before, key=_when) - 2)]

    def name_of(self, key: int, ns: int) -> str:
        """What the program calls the primitive that had this key at that time.  The name was recorded later."""
        if not (names := self.names.get(key)):
            return ""
        at = bisect_right(names, ns, key=_when)
        first = next((place + 1 for place in reversed(range(at)) if not names[place][1]), 0)
        after = next((place for place in range(at, len(names)) if not names[place][1]), len(names))
        return next((name for _, name in names[first:after]), "")

    def find_canceller(self, wait: _Wait, pointer: int, since: int) -> None:
        """Finds the last cancellation with that reason before the wait's end; it may have come before the wait."""
        effects = self.effects[_Kind.CANCELS].get(pointer, ())
        for at, track, why in reversed(effects[: bisect_right(effects, wait.span.end, key=_when)]):
            if at >= since and why == wait.why:
                wait.span.woken_by = track
                self.timeline.arrows.append(Arrow("cancels", track, at, wait.track, wait.span.end))
                return

    def granted(self, wait: _Wait) -> _Effect | None:
        """The first grant that reached the wait's ticket; tickets are counted modulo 2**32."""
        grants = self.effects[_Kind.GRANTS].get(wait.key, [])
        for at in range(bisect_left(grants, wait.span.begin, key=_when), len(grants)):
            if grants[at][0] > wait.span.end:
                return None
            if 0 < (grants[at][2] - wait.ticket) & 0xFFFFFFFF < 1 << 31:
                return grants[at]
        return None


def _when(effect: tuple[Any, ...]) -> Any:
    return effect[0]


def _begin(span: Span) -> int:
    return span.begin


def _parted(things: list[T], chosen: Callable[[T], bool]) -> tuple[list[T], list[T]]:
    """Those that are chosen, and the others."""
    parts: tuple[list[T], list[T]] = [], []
    for thing in things:
        parts[not chosen(thing)].append(thing)
    return parts


def read(path: str | os.PathLike[str], since: int | None = None) -> Timeline:
    """The trace in a file of records.

    since: only what comes from that time on, in ns on the monotonic clock, or, if negative, before the end; what began
    earlier is cut.  None: all.
    From a damaged or truncated file it makes what could be read; Timeline.damage says where the first damage is.
    OSError: it can't be read.  ValueError: it is something else, or was recorded by another version.
    """
    return Reader(Records(Path(path)), since).read()
