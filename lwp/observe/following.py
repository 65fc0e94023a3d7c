"""The records of a program that runs, as they come: what trace.read() makes of the whole file, a batch at a time.

A thread's record may become visible after a later record of another thread.  So effects of one thread on another are
put together one look later, and each batch says until when it is complete.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from .records import CHUNK, FULL, MAGIC, Life, Part, Records
from .timeline import Arrow, Count, Span, Track
from .trace import OBJECT_HEAD, Reader

_KEPT = 10**10  # ns: what a thread has done to others is forgotten after that
_LATE = 2 * 10**8  # ns: so late may a record become visible, for the first batch


@dataclass(frozen=True, slots=True)
class Change:
    """What is new of a thread.  The spans replace those told before that don't begin earlier than the first of them."""

    track: Track
    spans: list[Span]  #: the last one may have no end yet: 0
    seen: list[Span]  #: SEEN
    marks: list[Span]  #: UNHEARD, none of which was told before


@dataclass(frozen=True, slots=True)
class Batch:
    """What has happened since the batch before."""

    until: int  #: ns: the batch is complete until then
    changes: list[Change]  #: of each thread that has done anything
    arrows: list[Arrow]
    counts: list[Count]
    missed: int  #: records that were overwritten before they could be read, and that had no room, so far
    ended: bool  #: the recording has ended, and another may have begun: no further batch comes


class _Growing(Records):
    """The parts of a file that threads write into."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.timeline.running = True  # so that a record which is half written is not called damage
        self.hand = 0  # chunks that had been given to threads at the last look
        # by place of a chunk that has or will have new records: whose it was before; None: not known
        self.given: dict[int, tuple[int, int] | None] = {}
        self.missed = 0
        self.count = max(0, self.size - self.chunks) // self.chunk_size

    def load(self, file: FileIO) -> int:
        self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        return os.fstat(self._file).st_size

    def part(self, at: int, size: int) -> bytes:
        """It isn't mapped, because a look at what was cut off would be a SIGBUS.  That reads as 0: nothing recorded."""
        return os.pread(self._file, size, at).ljust(size, b"\0")

    def places(self) -> list[int]:
        hand, count = self.header().hand, self.count
        self.missed += max(0, hand - self.hand - count) * self.most if self.hand else 0
        for nth in range(max(self.hand, hand - count), hand):
            at = self.chunks + nth % count * self.chunk_size
            self.given[at] = self.taken.get(at, (0, 0, 0))[:2] if self.hand else None
        self.hand = hand
        return list(self.given)

    def take_chunk(self, at: int) -> Part | None:
        before = self.taken.get(at)
        part = super().take_chunk(at)
        taken = self.taken.get(at)
        state, used, _, number, *_ = CHUNK.unpack(self.part(at, CHUNK.size))
        owner = state & ~FULL, number
        if part and taken and (owner != taken[:2] or used < taken[2]):  # meanwhile another thread has it
            del self.taken[at]
            if before:
                self.taken[at] = before
            return None
        # A chunk that is just being given to a thread still looks as its former one has left it.
        earlier = owner[0] < self.first_track and self.given[at] is None
        if state & FULL and (earlier or (owner != self.given[at] and taken == (*owner, used))):
            del self.given[at]
        return part


class Follower:
    """Reads the file of records of a program that runs.  OSError, ValueError: as trace.read()."""

    def __init__(self, path: Path) -> None:
        self._records = _Growing(path)
        self._reader = Reader(self._records)
        self._looked = time.monotonic_ns() - _LATE
        self._forgotten = self._looked
        self._seen: dict[int, int] = defaultdict(int)  # by number of a track: how many of its `seen` were told for good
        self._renamed = False  # primitives, since the last look
        self._unsettled: set[int] = set()  # tracks with spans that were told and may change without a new record
        self.capacity = self._records.most * self._records.count  #: records that the file has room for
        self.timeline = self._reader.timeline  #: when it began, and what program it is; its lists are not filled

    def take(self, last: bool = False) -> Batch:
        """All that is new; last: nothing more will be written, because the program has ended."""
        now = time.monotonic_ns()
        header = self._records.header()
        ended = last or bool(header.finished) or header.first_track != self._records.first_track
        until, self._looked = (now, now) if ended else (self._looked, now)
        reader, lives = self._reader, self._records.lives
        touched = self._unsettled | {life.track.number for life in reader.take()}
        touched |= {number for number, looks in reader.looks.items() if looks and number in lives}
        reader.settle(until)
        for wait in reader.waits:
            if self._renamed or not wait.span.what:
                wait.span.what = reader.awaited(wait)
                touched.add(wait.track)
        self._renamed = False
        self._unsettled = set()
        changed = (lives[number] for number in sorted(touched) if number in lives)
        changes = [self._change(life, until) for life in changed if life.known]
        batch = Batch(
            until, changes, reader.timeline.arrows, reader.timeline.counts, self._records.missed + header.lost, ended
        )
        reader.timeline.arrows, reader.timeline.counts = [], []
        if until - self._forgotten > _KEPT:
            self._forget(until)
        return batch

    def name(self, address: int, called: str) -> None:
        """The program calls the primitive at this address so, now."""
        names = self._reader.names[address + OBJECT_HEAD]
        if not names or names[-1][1] != called:
            names.append((time.monotonic_ns(), called))
            self._renamed = True

    def _change(self, life: Life, until: int) -> Change:
        """The spans that were not told for good, of those that have begun until then."""
        track, spans = life.track, life.track.spans
        begun = bisect_right(spans, until, key=lambda span: span.begin)
        named = bisect_right(track.marks, until, key=lambda mark: mark.begin)
        marks, track.marks = track.marks[:named], track.marks[named:]
        change = Change(track, spans[life.settled : begun], track.seen[self._seen[track.number] :], marks)
        while life.settled < begun and 0 < spans[life.settled].end <= until:
            life.settled += 1
        lasts = life.settled == begun - 1 and not spans[life.settled].end
        if begun < len(spans) or track.marks or not (lasts or life.settled == begun):
            self._unsettled.add(track.number)
        self._seen[track.number] = max(0, len(track.seen) - 1)
        return change

    def _forget(self, until: int) -> None:
        """Keeps what is needed to go on; three spans, because an interrupted wait may go on."""
        self._forgotten = until
        before = until - _KEPT
        for number, life in list(self._records.lives.items()):
            if life.track.ended and life.track.end < before:
                del self._records.lives[number]
                self._seen.pop(number, None)
                self._reader.looks.pop(number, None)
                continue
            cut = max(0, life.settled - 3)
            del life.track.spans[:cut]
            life.settled -= cut
            cut = max(0, self._seen[number] - 1)
            del life.track.seen[:cut]
            self._seen[number] -= cut
        self._reader.forget(before)


def records_of(pid: int) -> Path | None:
    """The file of records that a process writes into; None: it records nothing, or can't be looked at."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            _, access, _, _, _, *path = line.split(maxsplit=5)
            file = Path(f"/proc/{pid}/root{''.join(path)}")
            if access == "rw-s" and file.is_file() and file.open("rb").read(len(MAGIC)) == MAGIC:
                return file
    return None
