"""A timeline as a page that zooms and pans: page.html with the timeline in it, which needs no network."""

from __future__ import annotations

import json
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from ...observe.trace import Span, State, Timeline, Track
from ._layout import ARROWS, COLOURS, LEGEND, about, label, rows, says, thread_names

__all__ = ["write"]

_STATES = list(State)


def write(timeline: Timeline, out: TextIO) -> None:
    """Writes it."""
    before, _, after = Path(__file__).with_name("page.html").read_text(encoding="utf-8").partition("DATA")
    out.write(before.replace("TITLE", escape(timeline.program)))
    # "<" occurs in texts only; written so, none of them can end the script element.
    out.write(json.dumps(_data(timeline), separators=(",", ":")).replace("<", "\\u003c"))
    out.write(after)


def _data(timeline: Timeline) -> dict[str, Any]:
    """All times are nanoseconds since the begin.

    spans, seen: state, begin, end and number of a text, one span after the other; arrows: why, source, when, target,
    when.
    """
    names = thread_names(timeline)
    index = {track.number: at for at, track in enumerate(timeline.tracks)}
    texts: dict[str, int] = {}

    def flat(spans: list[Span]) -> list[int]:
        return list(
            chain.from_iterable(
                (
                    _STATES.index(span.state),
                    span.begin - timeline.begin,
                    span.end - timeline.begin,
                    texts.setdefault(says(span, names), len(texts)),
                )
                for span in spans
            )
        )

    tracks = [
        {
            "name": names[track.number],
            "begin": track.begin - timeline.begin,
            "end": track.end - timeline.begin,
            "spans": flat(track.spans),
            "seen": flat(track.seen),
        }
        for track in timeline.tracks
    ]
    return {
        "title": f"{timeline.program}: {timeline.summary()}",
        "length": max(timeline.end - timeline.begin, 1),
        "legend": LEGEND,
        "colours": [COLOURS[state] for state in _STATES],
        "rows": [
            {
                "label": (called := label(row, names)),
                "about": "\n".join(filter(None, [called if len(row.tracks) > 1 else "", *_some(names, row.tracks)])),
                "tracks": [index[track.number] for track in row.tracks],
            }
            for row in rows(timeline)
        ],
        "tracks": tracks,
        "texts": list(texts),
        "arrows": list(
            chain.from_iterable(
                (
                    arrow.why,
                    index[arrow.source],
                    arrow.at - timeline.begin,
                    index[arrow.target],
                    arrow.then - timeline.begin,
                )
                for arrow in timeline.arrows
                if arrow.source in index and arrow.target in index
            )
        ),
        "arrowColours": ARROWS,
        "memory": [(count.at - timeline.begin, count.resident) for count in timeline.counts],
    }


def _some(names: dict[int, str], tracks: list[Track], most: int = 12) -> list[str]:
    """What the threads of a row are, with their tids and groups."""
    said = [about(track, names) for track in tracks[:most]]
    return [*said, f"and {len(tracks) - most} more"] if len(tracks) > most else said
