"""A timeline as data: when each thread ran, wanted the GIL or waited, for what, and which thread let it go on.

All times are nanoseconds on the monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """What a thread does; the value is its name in pictures."""

    STARTING = "starting"  #: born, and not yet in the interpreter
    RUNNING = "running Python"  #: it has the GIL: it said so, has not slept since, and no other thread had it meanwhile
    OUTSIDE = "in no wait that lwp sees"  #: it had the GIL at first; it runs, is in a system call, or wants the GIL
    WANTS_GIL = "waiting for the GIL"  #: has asked for it, and not got it yet
    BLOCKED = "blocked"  #: in one of the runtime's primitives, in join() or sleep(), or for a file in a green thread
    ENDING = "ending"  #: has left the interpreter
    UNHEARD = "unheard"  #: at that moment a notify() of its has met no waiter
    SEEN = "seen"  #: when the sampler looked, it was in a system call that it has not recorded


@dataclass(slots=True)
class Span:
    """What a thread did from begin to end."""

    state: State  #: what it did
    begin: int  #: ns
    end: int  #: ns
    #: BLOCKED: "Lock ledger.lock", "Event made at FILE:LINE", "end of thread NAME", "sleep", "socket"; UNHEARD:
    #: "Condition desk.came"; SEEN: the system call, or the GIL
    what: str = ""
    made: str = ""  #: BLOCKED: "FILE:LINE in FUNCTION" where the primitive was made, if that is known
    site: str = ""  #: BLOCKED, UNHEARD: where the program waits for it, or calls notify()
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
    marks: list[Span] = field(default_factory=list)  #: UNHEARD spans, which have no length


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
                if span.end > until:  # what ended it came later, perhaps from a thread that is not here
                    span.outcome, span.woken_by = "", None
                span.begin, span.end = max(span.begin, since), min(span.end, until)
            return found

        since = min(max(since, self.begin), self.end)
        until = max(min(until, self.end), since)
        for track in self.tracks:
            track.spans, track.seen = inside(track.spans), inside(track.seen)
            track.marks = inside(track.marks)
            track.ended = track.ended and track.end <= until
            track.begin, track.end = max(track.begin, since), min(track.end, until)
        self.tracks = [track for track in self.tracks if track.begin <= track.end]
        here = {track.number for track in self.tracks}
        for span in (span for track in self.tracks for span in track.spans):
            if span.woken_by not in here:  # a thread that had ended before `since`
                span.woken_by = None
        self.arrows = [arrow for arrow in self.arrows if since <= arrow.at and arrow.then <= until]
        self.counts = [count for count in self.counts if since <= count.at <= until]
        self.begin_unix += since - self.begin
        self.begin, self.end = since, until

    def summary(self) -> str:
        """What the trace holds and what is missing, in a line."""
        threads = "1 thread" if len(self.tracks) == 1 else f"{len(self.tracks):,} threads"
        said = {
            f"{threads}, {self.records:,} records": True,
            f"still runs (pid {self.pid})": self.running,
            "the program did not end in order": not (self.running or self.finished),
            f"{self.overwritten:,} earlier records overwritten": self.overwritten,
            f"{self.lost:,} records lost: more threads at once than there was room for": self.lost,
            f"{self.texts_lost:,} names lost": self.texts_lost,
            f"damaged, and only partly read: {self.damage}": self.damage,
        }
        return "; ".join(text for text, is_so in said.items() if is_so)
