"""A timeline as a picture in SVG, which needs nothing else.  A tooltip says what a bar is."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TextIO

from ...trace import State, Timeline, Track
from ._layout import ARROWS, COLOURS, LEGEND, about, cut, label, rows, says, thread_names, ticks

_LEFT, _WIDTH, _TOP, _ROW, _BAR = 210, 1400, 88, 22, 14  # px
_MARK = 2  # px: of a mark's width
_MOST_ROWS, _MOST_ARROWS = 300, 50
_NARROW = 0.4  # px: a bar that ends this near to the last drawn one is left out, so that no picture grows without end


def write(timeline: Timeline, out: TextIO) -> None:
    """Writes it."""
    out.writelines(_svg(timeline))


def _svg(timeline: Timeline) -> Iterator[str]:
    all_rows = rows(timeline)
    drawn = all_rows[:_MOST_ROWS]
    length = max(timeline.end - timeline.begin, 1)
    top_of = {track.number: _TOP + _ROW * at for at, row in enumerate(drawn) for track in row.tracks}
    height = _TOP + _ROW * (len(drawn) + 1) + 70

    def x(ns: int) -> float:
        return _LEFT + _WIDTH * (ns - timeline.begin) / length

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
    )
    title = f"{timeline.program}: {timeline.summary()}"
    if left_out := sum(len(row.tracks) for row in all_rows) - len(top_of):
        title += f"; {left_out:,} threads are not drawn"
    arrows = [arrow for arrow in timeline.arrows if arrow.source in top_of and arrow.target in top_of]
    if len(arrows) > _MOST_ARROWS:
        title += f"; the {len(arrows):,} arrows from thread to thread are in the page: --trace FILE.html"
        arrows = []
    yield f'<text x="8" y="18" font-size="14">{escape(title)}</text>\n'
    yield from _legend()
    yield from _axis(length, height)
    names = thread_names(timeline)
    yield '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
    yield '<path d="M0 1L8 4L0 7z" fill="context-stroke"/></marker></defs>\n'
    for arrow in arrows:  # below the bars
        source, target = top_of[arrow.source] + _ROW / 2, top_of[arrow.target] + _ROW / 2
        yield (
            f'<path d="M{x(arrow.at):.2f} {source:g}L{x(arrow.then):.2f} {target:g}" stroke="{ARROWS[arrow.why]}" '
            f'stroke-width="0.6" marker-end="url(#tip)"><title>{escape(names[arrow.source])} {arrow.why} '
            f"{escape(names[arrow.target])}</title></path>\n"
        )
    for row in drawn:
        y = top_of[row.tracks[0].number] + (_ROW - _BAR) // 2
        said = label(row, names)
        told = about(row.tracks[0], names) if said == names[row.tracks[0].number] else said
        yield f'<text x="8" y="{y + 11}">{escape(cut(said, 30))}<title>{escape(told)}</title></text>\n'
        for track in row.tracks:
            yield from _bars(timeline, track, names, y)
    yield from _memory(timeline, height - 70, x(timeline.begin))
    yield "</svg>\n"


def _legend() -> Iterator[str]:
    left, top = 8, 30
    for text, colour in LEGEND:
        wide = 40 + 6 * len(text)
        if left + wide > _LEFT + _WIDTH:
            left, top = 8, top + 18
        yield f'<rect x="{left}" y="{top}" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{left + 17}" y="{top + 10}">{escape(text)}</text>\n'
        left += wide


def _axis(length: int, height: int) -> Iterator[str]:
    for at, text in ticks(length):
        left = _LEFT + _WIDTH * at / length
        # The last tick may stand at the very edge.
        anchor = "end" if at > length * 0.97 else "middle"
        yield f'<path d="M{left:.1f} {_TOP - 8}V{height - 20}" stroke="#e4e4e4"/>'
        yield f'<text x="{left:.1f}" y="{_TOP - 12}" text-anchor="{anchor}" fill="#666">{text}</text>\n'


def _bars(timeline: Timeline, track: Track, names: dict[int, str], y: int) -> Iterator[str]:
    scale = _WIDTH / max(timeline.end - timeline.begin, 1)
    kinds = (
        (track.spans, y, _BAR, _NARROW),
        (track.seen, y + 4, _BAR - 8, _NARROW),
        (track.marks, y - 2, _BAR + 4, _MARK),
    )
    for spans, top, high, least in kinds:
        drawn = 0.0
        for span in spans:
            begin, end = (_LEFT + scale * (ns - timeline.begin) for ns in (span.begin, span.end))
            begin = max(begin, drawn)
            if end - drawn < _NARROW:
                continue
            drawn = end
            by = f"\nby {names[span.woken_by]}" if span.woken_by in names else ""
            ms = "" if span.state is State.UNHEARD else f"\n{(span.end - span.begin) / 1e6:,.3f} ms"
            said = f"{names[track.number]}{says(span)}{by}{ms}"
            yield (
                f'<rect x="{begin:.2f}" y="{top}" width="{max(end - begin, least):.2f}" height="{high}" '
                f'fill="{COLOURS[span.state]}"><title>{escape(said)}</title></rect>\n'
            )


def _memory(timeline: Timeline, top: int, left: float) -> Iterator[str]:
    if not timeline.counts:
        return
    length = max(timeline.end - timeline.begin, 1)
    most = max(count.resident for count in timeline.counts) or 1
    step = len(timeline.counts) // _WIDTH + 1
    points = " ".join(
        f"{left + _WIDTH * (count.at - timeline.begin) / length:.1f},{top + 44 - 40 * count.resident / most:.1f}"
        for count in timeline.counts[::step]
    )
    yield f'<text x="8" y="{top + 28}">memory, at most {most / (1 << 20):.1f} MiB</text>'
    yield f'<polyline points="{points}" fill="none" stroke="#4c72b0"/>\n'
