"""A timeline as a picture: SVG, alone or in a web page.  What a span is says its tooltip."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TextIO

from ...trace import Span, State, Timeline, Track

__all__ = ["write_html", "write_svg"]

_LEFT, _WIDTH, _TOP, _ROW, _BAR = 210, 1400, 64, 22, 14  # px
_MOST_TRACKS, _MOST_ARROWS = 300, 3000
_NARROW = 0.4  # px: what ends so near to the last that was drawn is left out, so that a picture of anything has an end

_COLOURS = {
    State.RUNNING: "#4c9f70",
    State.WANTS_GIL: "#e0a030",
    State.BLOCKED: "#c44e52",
    State.WAKING: "#8172b3",
    State.STARTING: "#9bb7d4",
    State.ENDING: "#9bb7d4",
    State.SEEN: "#00000055",
}
_LEGEND = {state.value: colour for state, colour in _COLOURS.items() if state not in (State.ENDING, State.SEEN)}
_LEGEND |= {State.ENDING.value: _COLOURS[State.ENDING], "seen in a system call": _COLOURS[State.SEEN]}
_ARROWS = {"wakes": "#222", "starts": "#7aa6d8", "ends": "#999"}


def write_svg(timeline: Timeline, out: TextIO) -> None:
    """Writes it as a picture that needs nothing else."""
    out.writelines(_svg(timeline))


def write_html(timeline: Timeline, out: TextIO) -> None:
    """Writes it as a page that scrolls."""
    title = escape(timeline.program)
    out.write(f'<!DOCTYPE html>\n<meta charset="utf-8"><title>{title}</title>\n<body style="overflow:auto">\n')
    out.writelines(_svg(timeline))
    out.write("</body>\n")


def _svg(timeline: Timeline) -> Iterator[str]:
    tracks = timeline.tracks[:_MOST_TRACKS]
    length = max(timeline.end - timeline.begin, 1)
    rows = {track.number: _TOP + _ROW * row for row, track in enumerate(tracks)}
    height = _TOP + _ROW * (len(tracks) + 1) + 70

    def x(ns: int) -> float:
        return _LEFT + _WIDTH * (ns - timeline.begin) / length

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
    )
    left_out = f"; {len(timeline.tracks) - len(tracks):,} threads are not drawn" if tracks != timeline.tracks else ""
    title = escape(f"{timeline.program}: {timeline.summary()}{left_out}")
    yield f'<text x="8" y="18" font-size="14">{title}</text>\n'
    for place, (name, colour) in enumerate(_LEGEND.items()):
        yield f'<rect x="{8 + place * 190}" y="28" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{24 + place * 190}" y="38">{name}</text>\n'
    for tenth in range(11):
        at = x(timeline.begin + length * tenth // 10)
        yield f'<path d="M{at:.1f} 50V{height - 20}" stroke="#ddd"/>'
        yield f'<text x="{at:.1f}" y="56" text-anchor="middle" fill="#777">{length * tenth / 10 / 1e6:,.4g} ms</text>\n'
    names = {track.number: track.name or f"thread {track.tid}" for track in timeline.tracks}
    for track in tracks:
        y = rows[track.number] + 2
        yield f'<text x="8" y="{y + 12}">{escape(names[track.number][:30])}</text>\n'
        for spans, top, bar in ((track.spans, y, _BAR), (track.seen, y + 4, _BAR - 8)):
            drawn = 0.0
            for span in spans:
                begin, end = max(x(span.begin), drawn), x(span.end)
                if end - drawn < _NARROW:
                    continue
                drawn = end
                yield (
                    f'<rect x="{begin:.2f}" y="{top}" width="{max(end - begin, _NARROW):.2f}" height="{bar}" '
                    f'fill="{_COLOURS[span.state]}"><title>{escape(_says(track, span, names))}</title></rect>\n'
                )
    yield '<defs><marker id="tip" markerWidth="6" markerHeight="6" refX="5" refY="3" orient="auto">'
    yield '<path d="M0 0L6 3L0 6z"/></marker></defs>\n'
    drawn_arrows = [arrow for arrow in timeline.arrows if arrow.source in rows and arrow.target in rows]
    for arrow in drawn_arrows[:_MOST_ARROWS]:
        source, target = rows[arrow.source] + 9, rows[arrow.target] + 9
        yield (
            f'<path d="M{x(arrow.at):.2f} {source}L{x(arrow.then):.2f} {target}" stroke="{_ARROWS[arrow.why]}" '
            f'marker-end="url(#tip)"><title>{escape(names[arrow.source])} {arrow.why} '
            f"{escape(names[arrow.target])}</title></path>\n"
        )
    yield from _memory(timeline, height - 70, x(timeline.begin))
    yield "</svg>\n"


def _says(track: Track, span: Span, names: dict[int, str]) -> str:
    parts = [f"{names[track.number]}: {span.what if span.state is State.SEEN else span.state.value}"]
    if span.state is State.BLOCKED:
        parts = [f"{names[track.number]} blocked: {span.what}", span.outcome]
        parts += [f"made at {span.made}" if span.made else "", f"waits at {span.site}" if span.site else ""]
        parts.append(f"by {names[span.woken_by]}" if span.woken_by is not None else "")
    parts.append(f"{(span.end - span.begin) / 1e6:,.3f} ms")
    return "\n".join(filter(None, parts))


def _memory(timeline: Timeline, top: int, left: float) -> Iterator[str]:
    if not timeline.counts:
        return
    length = max(timeline.end - timeline.begin, 1)
    most = max(count.resident for count in timeline.counts)
    step = len(timeline.counts) // _WIDTH + 1
    points = " ".join(
        f"{left + _WIDTH * (count.at - timeline.begin) / length:.1f},{top + 44 - 40 * count.resident / most:.1f}"
        for count in timeline.counts[::step]
    )
    yield f'<text x="8" y="{top + 28}">memory, at most {most / (1 << 20):.1f} MiB</text>'
    yield f'<polyline points="{points}" fill="none" stroke="#4c72b0"/>\n'
