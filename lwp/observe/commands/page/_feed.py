"""What the live page is told of a program: its records, as they come, as JSON.  Each text has a bounded length."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from ...asking import command
from ...following import Change, Follower
from ...trace import Track
from ..trace._layout import about, cut, thread_name
from ..trace._page import LOOK, Flat

_LONGEST = 200  # letters of a name
_MOST_TEXTS = 20_000  # that are remembered: a text that comes again later is told again


class Feed:
    """One page's view of a file of records.  OSError, ValueError: as Follower."""

    def __init__(self, pid: int, records: Path) -> None:
        self._pid = pid
        self._follower = Follower(records)
        self._flat = Flat(self._follower.timeline.begin)
        self._told = 0  # texts
        self._names: dict[int, str] = {}  # of the tracks that were told
        self.ended = False  #: the recording has ended, and all of it was told

    def hello(self) -> dict[str, Any]:
        """What the page needs to know at first."""
        program = cut(command(self._pid), _LONGEST)
        return {"program": program, "pid": self._pid, "most": self._follower.capacity, **LOOK}

    def news(self, last: bool = False) -> dict[str, Any]:
        """What has happened since the last news; last: the program has ended."""
        batch, flat = self._follower.take(last), self._flat
        self.ended = batch.ended
        told: dict[str, Any] = {
            "now": batch.until - flat.begin,
            "tracks": {change.track.number: self._track(change) for change in batch.changes},
            "arrows": flat.arrows(batch.arrows),
            "memory": [(count.at - flat.begin, count.resident) for count in batch.counts],
            "missed": batch.missed,
        }
        texts = itertools.islice(flat.texts, self._told, None)
        told["texts"] = dict(zip(itertools.count(flat.first + self._told), texts, strict=False))
        self._told = len(flat.texts)
        if self._told > _MOST_TEXTS:
            self._flat, self._told = Flat(flat.begin, flat.first + self._told), 0
        return told

    def name(self, dump: dict[str, Any]) -> None:
        """Has later news call primitives what the program calls them, as a dump says; the records say it only late."""
        for wait in filter(None, (crowd["wait"] for crowd in dump["crowds"])):
            if wait["called"]:
                self._follower.name(wait["address"], wait["called"])

    def _track(self, change: Change) -> dict[str, Any]:
        track = change.track
        told: dict[str, Any] = {"spans": self._flat.spans(change.spans), "seen": self._flat.spans(change.seen)}
        told |= {"marks": self._flat.spans(change.marks), **self._named(track)}
        if track.ended:
            told["end"] = track.end - self._flat.begin
            self._names.pop(track.number)
        return told

    def _named(self, track: Track) -> dict[str, Any]:
        """What the thread is, when that is told for the first time or has changed."""
        said = about(track, {track.number: (name := cut(thread_name(track), _LONGEST))})
        if self._names.get(track.number) == said:
            return {}
        self._names[track.number] = said
        facts = {"tid": track.tid, "pointer": track.pointer, "begin": track.begin - self._flat.begin}
        return {"name": name, "about": cut(said, 2 * _LONGEST), **facts}
