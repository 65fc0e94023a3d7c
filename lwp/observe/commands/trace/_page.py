"""A timeline as a page that zooms and pans: page.html with the timeline in it, which needs no network.

timeline.css and timeline.js are the live page's too (commands/page), as is what they are given: Flat, LOOK.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, TextIO

from ....look import SHEET
from ...trace import Arrow, Span, State, Timeline, Track
from ._layout import ARROWS, COLOURS, LEGEND, about, cut, label, rows, says, thread_names

STYLE, SCRIPT = (Path(__file__).with_name(name) for name in ("timeline.css", "timeline.js"))
_STATES = list(State)
_LONGEST = 1000  # letters of a text
_MOST_WAITS = 200  # rows
LOOK = {"legend": LEGEND, "colours": [COLOURS[state] for state in _STATES], "arrowColours": ARROWS}


class Flat:
    """Makes numbers of spans and arrows: one after the other, times in nanoseconds since the begin."""

    def __init__(self, begin: int, first: int = 0) -> None:
        self.begin = begin
        self.first = first  #: number of the first text
        self.texts: dict[str, int] = {}  #: the numbers of texts
        self._known: dict[tuple[State, str, str, str, str], int] = {}  # the numbers of what says() says of these

    def spans(self, spans: Iterable[Span]) -> list[int | None]:
        """Of each span its state, begin, end (None: it goes on), text, and the track that ended it, or 0."""
        found: list[int | None] = []
        for span in spans:
            end = span.end - self.begin if span.end else None
            found += (_STATES.index(span.state), span.begin - self.begin, end, self.text(span), span.woken_by or 0)
        return found

    def text(self, span: Span) -> int:
        """The number of what is said of it."""
        said = span.state, span.what, span.outcome, span.made, span.site
        if (text := self._known.get(said)) is None:
            text = self.texts.setdefault(cut(says(span), _LONGEST), self.first + len(self.texts))
            self._known[said] = text
        return text

    def arrows(self, arrows: Iterable[Arrow]) -> list[str | int]:
        """Of each arrow why, from which track, when, to which, when."""
        found: list[str | int] = []
        for arrow in arrows:
            found += (arrow.why, arrow.source, arrow.at - self.begin, arrow.target, arrow.then - self.begin)
        return found


def write(timeline: Timeline, out: TextIO) -> None:
    """Writes it."""
    page = Path(__file__).with_name("page.html").read_text("utf-8")
    page = page.replace("STYLE", SHEET.read_text("utf-8") + STYLE.read_text("utf-8"))
    page = page.replace("SCRIPT", SCRIPT.read_text("utf-8"))
    before, _, after = page.partition("DATA")
    out.write(before.replace("TITLE", escape(timeline.program)))
    # "<" occurs in texts only; written so, none of them can end the script element.
    out.write(json.dumps(_data(timeline), separators=(",", ":")).replace("<", "\\u003c"))
    out.write(after)


def _data(timeline: Timeline) -> dict[str, Any]:
    names = thread_names(timeline)
    flat = Flat(timeline.begin)
    drawn = rows(timeline)
    tracks = {
        track.number: {
            "name": names[track.number],
            "begin": track.begin - timeline.begin,
            "end": track.end - timeline.begin,
            "spans": flat.spans(track.spans),
            "seen": flat.spans(track.seen),
            "marks": flat.spans(track.marks),
        }
        for row in drawn
        for track in row.tracks
    }
    return {
        "title": f"{timeline.program}: {timeline.summary()}",
        "first": 0,
        "length": max(timeline.end - timeline.begin, 1),
        "rows": [
            {
                "label": (called := label(row, names)),
                "about": "\n".join([called] * (len(all_of) > 1) + _some(names, all_of)),
                "tracks": [track.number for track in row.tracks],
            }
            for row in drawn
            for all_of in [row.tracks + row.alike]
        ],
        "tracks": tracks,
        "waits": _waits(timeline, flat),
        "texts": list(flat.texts),
        "arrows": flat.arrows(arrow for arrow in timeline.arrows if {arrow.source, arrow.target} <= tracks.keys()),
        "memory": [(count.at - timeline.begin, count.resident) for count in timeline.counts],
        **LOOK,
    }


def _waits(timeline: Timeline, flat: Flat) -> dict[str, Any]:
    """A table of what threads waited for, the longest waits together first, and the numbers of these waits' texts."""
    lengths: dict[str, list[int]] = {}
    texts: dict[str, set[int]] = {}
    for span in (span for track in timeline.tracks for span in track.spans):
        if span.state in (State.BLOCKED, State.WANTS_GIL):
            name = _called(span)
            lengths.setdefault(name, []).append((span.end or timeline.end) - span.begin)
            texts.setdefault(name, set()).add(flat.text(span))
    rows = sorted(lengths, key=lambda name: -sum(lengths[name]))
    return {
        "columns": ["waited for", "total ms", "waits", "longest ms", "p50 ms", "p99 ms"],
        "rows": [_wait(name, sorted(lengths[name])) for name in rows[:_MOST_WAITS]],
        "left": max(0, len(rows) - _MOST_WAITS),
        "texts": {name: sorted(texts[name]) for name in rows[:_MOST_WAITS]},
    }


def _called(span: Span) -> str:
    """What it waits for, in the table.  All beginnings of threads are one row."""
    if span.state is not State.BLOCKED:
        return "the GIL"
    return "begin of a thread" if span.what.startswith("begin of thread ") else cut(span.what, 200)


def _wait(name: str, lengths: list[int]) -> list[str | int | float]:
    """A row; lengths: ns, in their order."""
    half, most = (lengths[min(len(lengths) - 1, len(lengths) * part // 100)] for part in (50, 99))
    ms = [round(ns / 1e6, 3) for ns in (sum(lengths), lengths[-1], half, most)]
    return [name, ms[0], len(lengths), *ms[1:]]


def _some(names: dict[int, str], tracks: list[Track], most: int = 12) -> list[str]:
    """What the threads of a row are, with their tids and groups."""
    said = [about(track, names) for track in tracks[:most]]
    return [*said, f"and {len(tracks) - most} more"] if len(tracks) > most else said
