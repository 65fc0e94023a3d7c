"""A timeline in Chrome's trace event format, which Perfetto reads: JSON, times in microseconds.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from ...trace import Arrow, Span, State, Timeline, Track
from ._layout import thread_name

_Event = dict[str, Any]

_BEYOND_TIDS = 1 << 22  # the kernel's PID_MAX_LIMIT
_SLACK = 10  # ns by which a span inside another is drawn shorter, because readers round


def write(timeline: Timeline, out: TextIO) -> None:
    """Writes the timeline, an event in a line."""
    out.write('{"displayTimeUnit": "ns", "otherData": ')
    json.dump(_about(timeline), out)
    out.write(', "traceEvents": [')
    between = "\n"
    for event in _events(timeline):
        out.write(between + json.dumps(event, separators=(",", ":")))
        between = ",\n"
    out.write("\n]}\n")


def _about(timeline: Timeline) -> dict[str, Any]:
    return {
        "program": timeline.program,
        "ended in order": timeline.finished,
        "began, ns since 1970": timeline.begin_unix,
        "records": timeline.records,
        "records overwritten": timeline.overwritten,
        "records lost": timeline.lost,
        "names lost": timeline.texts_lost,
        "damage": timeline.damage,
    }


def _events(timeline: Timeline) -> Iterator[_Event]:
    tids = _unique_tids(timeline.tracks)
    names = {track.number: f"{track.name or 'thread'} ({track.tid})" for track in timeline.tracks}

    def at(track: int, ns: int) -> _Event:
        return {"pid": timeline.pid, "tid": tids[track], "ts": _us(ns - timeline.begin)}

    def span(track: Track, found: Span) -> _Event:
        name, args = found.state.value, {}
        end = found.end
        if found.state is State.SEEN:
            name = f"{found.what} (seen)"
            end = max(end - _SLACK, found.begin)
        elif found.state is State.BLOCKED:
            name = f"blocked: {found.what}"
            args = {
                "made": found.made,
                "waits at": found.site,
                "outcome": found.outcome or "still blocked at the end of the record",
                "woken by": "" if found.woken_by is None else names[found.woken_by],
            }
        event = {"ph": "X", "name": name, "cat": found.state.name.lower(), **at(track.number, found.begin)}
        return event | {"dur": _us(end - found.begin), "args": {key: text for key, text in args.items() if text}}

    def ends(number: int, arrow: Arrow) -> Iterator[_Event]:
        flow = {"name": arrow.why, "cat": "arrow", "id": number}
        yield {"ph": "s", **flow, **at(arrow.source, arrow.at)}
        yield {"ph": "f", "bp": "e", **flow, **at(arrow.target, arrow.then)}

    process = {"ph": "M", "pid": timeline.pid}
    yield {**process, "tid": timeline.pid, "name": "process_name", "args": {"name": timeline.program}}
    for order, track in enumerate(timeline.tracks):
        thread = {**process, "tid": tids[track.number]}
        yield {**thread, "name": "thread_name", "args": {"name": thread_name(track)}}
        yield {**thread, "name": "thread_sort_index", "args": {"sort_index": order}}
    for track in timeline.tracks:
        life: dict[str, object] = {
            "tid": track.tid,
            "ended": track.ended,
            "its first records are lost": not track.whole,
        }
        if track.placement:
            life["placement"] = track.placement
        if track.group:
            life["group"] = track.group
        event = {"ph": "X", "name": "life", "cat": "life", **at(track.number, track.begin)}
        yield event | {"dur": _us(track.end - track.begin + _SLACK), "args": life}
        for found in sorted([*track.spans, *track.seen], key=lambda found: found.begin):
            yield span(track, found)
        for mark in track.marks:
            name = f"notify() of {mark.what} met no waiter"
            yield {"ph": "i", "s": "t", "name": name, "args": {"at": mark.site}, **at(track.number, mark.begin)}
    for count in timeline.counts:
        moment = {"ph": "C", "pid": timeline.pid, "ts": _us(count.at - timeline.begin)}
        yield {**moment, "name": "threads", "args": {"alive": count.alive}}
        yield {**moment, "name": "memory", "args": {"resident MiB": round(count.resident / (1 << 20), 3)}}
    for number, arrow in enumerate(timeline.arrows, 1):
        yield from ends(number, arrow)


def _unique_tids(tracks: list[Track]) -> dict[int, int]:
    """The kernel's tid for each track, or another number where the kernel has used the tid before."""
    taken: set[int] = set()
    tids = {}
    for track in tracks:
        tids[track.number] = _BEYOND_TIDS + track.number if track.tid in taken else track.tid
        taken.add(track.tid)
    return tids


def _us(ns: int) -> float:
    return round(ns / 1000, 3)
