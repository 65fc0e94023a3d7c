"""The picture of a find: an HTML page that needs nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape

from ..results import Result
from ..run.plans import Ending, Kind
from .events import RAISE, Event, Holding, Thing, Wait
from .lines import Line, lines_of
from .report import chosen, closing, left_out, notes_of, rated
from .story import Story
from .words import at, deviation, failed_at, headline, waiting

__all__ = ["page"]

_MOST_ROWS = 400
_CHARACTER, _BOLD, _SMALL, _BAND_TEXT = 7.25, 7.6, 6.1, 6.6  # widths of a character in pixels: see the style
_MINIMUM, _SCREEN = 130, 1100  # widths
_ROW, _NOTE, _BAND, _GAP = 24, 15, 42, 22  # heights
_COLOURS = 8  # of locks: --lock-0 ... in the style
_HEAD = 34
_DEEP, _DEEPER, _MOST_ARROWS = 30, 22, 40  # arrows below the columns


def page(story: Story, result: Result) -> str:
    what = headline(story)
    where = failed_at(story)
    found = closing(result)
    parts = [
        f"<h1>{escape(what)}</h1>",
        f'<p class="where">{escape(where)}</p>' if where else "",
        _waits(story),
        _traceback(story),
        f'<div class="picture">{_Picture(story).svg(what)}</div>',
        _legend(story),
        f"<p>{escape(found[0])}</p>",
        _copied("Token", result.token or ""),
        _copied("Again", result.command) if result.command else "",
    ]
    body = "\n".join(part for part in parts if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(what)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _waits(story: Story) -> str:
    waits = [*story.ring, *(wait for wait in story.waits if wait not in story.ring)]
    rows = [
        f"<tr><th>{escape(story.name(wait.thread))}</th><td>{_unbroken(waiting(story, wait))}</td></tr>"
        for wait in waits
    ]
    return f'<div class="wide"><table>{"".join(rows)}</table></div>' if rows else ""


def _unbroken(text: str) -> str:
    """Names, as Thread-1, stay on a line."""
    return re.sub(r"\S*-\S*", r"<b>\g<0></b>", escape(text))


def _traceback(story: Story) -> str:
    places = story.raised_at if story.ending == Ending.FAILED else []
    rows = [
        f"<tr><th>{escape(at(place))}</th><td>{escape(place.function)}()</td><td><code>{escape(place.text)}</code></td></tr>"
        for place in places
    ]
    return f'<div class="wide"><table>{"".join(rows)}</table></div>' if rows else ""


def _held_things(story: Story) -> list[Thing]:
    return list(dict.fromkeys(holding.thing for holding in story.holdings))


def _legend(story: Story) -> str:
    """Which colour is which lock."""
    items = []
    for number, thing in enumerate(_held_things(story)[:40]):
        kind = f"{thing.kind}, made at {thing.made}" if thing.made else thing.kind
        colour = f'<i class="lock-{number % _COLOURS}"></i>'
        items.append(f"<li>{colour}{escape(thing.name)} <small>{escape(kind)}</small></li>")
    items.append('<li><i class="hatched"></i>cannot go on</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _copied(name: str, text: str) -> str:
    button = '<button type="button" hidden>Copy</button>'
    return f'<p class="copied"><span>{name}</span> <code>{escape(text)}</code> {button}</p>'


# ---- the picture -----------------------------------------------------------------------------------------------------


@dataclass
class _Row:
    line: Line | None  #: None: steps that are left out
    top: float
    height: float
    band: str = ""  #: of a deviation, above the row
    left_out: list[Line] = field(default_factory=list)

    @property
    def box_top(self) -> float:
        return self.top + (_BAND if self.band else 0)

    @property
    def bottom(self) -> float:
        return self.top + self.height


@dataclass
class _Picture:
    """Columns are threads, time goes down."""

    story: Story
    rows: list[_Row] = field(default_factory=list)
    lanes: dict[int, int] = field(default_factory=dict)
    bottom: float = _HEAD
    row_of: dict[int, _Row] = field(default_factory=dict)  #: by the id of an event
    cycle_top: float = 0.0
    gutter: int = 0
    columns: dict[int, tuple[int, int]] = field(default_factory=dict)  #: of each thread: from where, how wide
    width: int = 0  #: of all columns

    def __post_init__(self) -> None:
        story = self.story
        repeated = story.repeated
        told = [event for event in story.told if event.at < repeated[0].at] if repeated else story.told
        lines = lines_of(told)
        kept = chosen([1] * len(lines), rated(story, lines), _MOST_ROWS)
        shown = [line for number, line in enumerate(lines) if number in kept]
        threads = {line.thread for line in [*shown, *lines_of(repeated)]} | {wait.thread for wait in story.ring}
        self.lanes = {thread: lane for lane, thread in enumerate(sorted(threads))}
        most = 280 if len(threads) <= 3 else 220 if len(threads) <= 5 else 180
        left = 0
        for thread in self.lanes:
            own = [line for line in [*shown, *lines_of(repeated)] if line.thread == thread]
            self.columns[thread] = left, min(max([_MINIMUM, self._head_width(thread), *map(self._needed, own)]), most)
            left += self.columns[thread][1]
        self.width = left
        longest = max((len(line.place.short) for line in shown if line.place is not None), default=0)
        self.gutter = int(min(longest, 24) * 6.7) + 34
        for number, line in enumerate(lines):
            self._add(line if number in kept else None, line)
        if repeated:
            self.cycle_top = self.bottom
            self.bottom += _GAP
            for line in lines_of(repeated):
                self._add(line, line)
        self.bottom += 12

    def _add(self, shown: Line | None, line: Line) -> None:
        last = self.rows[-1] if self.rows else None
        if shown is None and last is not None and last.line is None:
            row = last
        else:
            band = deviation(self.story, line.events[0]) if shown is not None else ""
            notes = self._texts(line)[1] if shown is not None else ""
            height = _GAP if shown is None else _ROW + (_NOTE if notes else 0) + (_BAND if band else 0) + 4
            row = _Row(shown, self.bottom, height, band)
            self.rows.append(row)
            self.bottom += height
        if shown is None:
            row.left_out.append(line)
        for event in line.events:
            self.row_of[id(event)] = row

    # ---- places ------------------------------------------------------------------------------------------------------

    def _head_width(self, thread: int) -> int:
        return int(len(self.story.name(thread)) * _BOLD) + 30

    def _needed(self, line: Line) -> int:
        text, notes = self._texts(line)
        return int(max(len(text) * _CHARACTER, len(notes) * _SMALL)) + 38

    def _texts(self, line: Line) -> tuple[str, str]:
        """In the box of a line, and below it there."""
        notes = notes_of(self.story, line)
        if line.place is None or not line.place.text:
            return f"({notes or 'goes on'})", ""
        return f"{'… ' if line.resumed else ''}{line.place.text.partition('  # ')[0]}", notes

    def _left(self, thread: int) -> float:
        return self.gutter + self.columns[thread][0]

    def _middle(self, thread: int) -> float:
        return self._left(thread) + self.columns[thread][1] / 2

    def _wide(self, thread: int) -> int:
        return self.columns[thread][1]

    def _top_of(self, event: Event) -> float | None:
        row = self.row_of.get(id(event))
        return row.box_top if row is not None else None

    # ---- drawing -----------------------------------------------------------------------------------------------------

    def svg(self, title: str) -> str:
        body = [
            *self._heads(),
            *self._lifelines(),
            *self._blocked(),
            *(part for row in self.rows for part in self._band(row)),
            *self._bars(),
            *(part for row in self.rows for part in self._band_text(row)),
            *self._repeated(),
            *(part for row in self.rows for part in self._row(row)),
        ]
        arrows = self._arrows()
        height = self.bottom + (_DEEP + _DEEPER * len(arrows) if arrows else 0)
        width = self.gutter + self.width + 12
        size = f'width="{width}" height="{height:.0f}" viewBox="0 0 {width} {height:.0f}"'
        return f'<svg {size} role="img" aria-label="{escape(title)}">{_DEFINITIONS}{"".join(body + arrows)}</svg>'

    def _heads(self) -> list[str]:
        return [
            f'<text class="head" x="{self._left(thread) + 14:.0f}" y="20">'
            f"{escape(_cut(self.story.name(thread), int((self._wide(thread) - 20) / _BOLD)))}"
            f"<title>{escape(self.story.name(thread))}</title></text>"
            for thread in self.lanes
        ]

    def _lifelines(self) -> list[str]:
        ends = {}
        for event in self.story.events:
            if event.kind == Kind.END and (row := self.row_of.get(id(event))) is not None:
                ends[event.thread] = row.bottom
        return [
            f'<path class="life" d="M{self._left(thread) + 6:.0f} {_HEAD - 6}V{ends.get(thread, self.bottom):.0f}"/>'
            for thread in self.lanes
        ]

    def _blocked(self) -> list[str]:
        """Hatched: from where a thread came to wait until it went on."""
        begun: dict[int, float] = {}
        spans = []
        for event in self.story.told:
            top = self._top_of(event)
            if event.thread in begun and not event.waits and top is not None:
                spans.append((event.thread, begun.pop(event.thread), top))
            row = self.row_of.get(id(event))
            if (event.waits or event.sleeps) and row is not None:
                begun[event.thread] = row.bottom - 4
        spans += [(thread, top, self.bottom - 6) for thread, top in begun.items()]
        return [
            f'<rect class="blocked" x="{self._left(thread) + 10:.0f}" y="{top:.0f}" width="{self._wide(thread) - 20}" '
            f'height="{bottom - top:.0f}"><title>{escape(self.story.name(thread))} cannot go on</title></rect>'
            for thread, top, bottom in spans
            if thread in self.lanes and bottom > top
        ]

    def _bars(self) -> list[str]:
        """Coloured: from where a thread took a lock until it released it."""
        numbers = {thing: number for number, thing in enumerate(_held_things(self.story))}
        busy: list[Holding] = []
        bars = []
        for holding in self.story.holdings:
            top = self._top_of(holding.since)
            if top is None or holding.thread not in self.lanes:
                continue
            end = self.row_of.get(id(holding.until)) if holding.until is not None else None
            if end is not None and end.line is None and end is self.row_of.get(id(holding.since)):
                continue  # in steps that are left out
            bottom = end.box_top + _ROW / 2 if end is not None else self.bottom - 6
            busy = [one for one in busy if one.until is None or one.until.at > holding.since.at]
            beside = sum(one.thread == holding.thread for one in busy)
            busy.append(holding)
            name = f"{self.story.name(holding.thread)} holds {holding.thing.name}"
            bars.append(
                f'<rect class="bar lock-{numbers[holding.thing] % _COLOURS}" '
                f'x="{self._left(holding.thread) + 4 - 5 * beside:.0f}" y="{top + 2:.0f}" '
                f'width="4" height="{max(bottom - top - 2, 8):.0f}" rx="2"><title>{escape(name)}</title></rect>'
            )
        return bars

    def _row(self, row: _Row) -> list[str]:
        line = row.line
        if line is None:
            return [f'<text class="gap" x="{self.gutter + 14}" y="{row.top + 15:.0f}">{left_out(row.left_out)}</text>']
        place, top, left, width = line.place, row.box_top, self._left(line.thread) + 10, self._wide(line.thread)
        text, notes = self._texts(line)
        tip = "\n".join(part for part in (f"{self.story.name(line.thread)}, {at(place)}", text, notes) if part)
        kind = "box waits" if line.events[-1].waits else "box broken" if line.stopped else "box"
        if line.events[-1].kind == RAISE:
            kind = "box raises"
        height = _ROW + (_NOTE if notes else 0) - 2
        parts = [
            f'<text class="where" x="{self.gutter - 12}" y="{top + 16:.0f}">'
            f"{escape(_cut_left(place.short if place is not None else '', 24))}</text>",
            f'<g><title>{escape(tip)}</title><rect class="{kind}" x="{left:.0f}" y="{top + 1:.0f}" '
            f'width="{width - 20}" height="{height}" rx="4"/>',
            f'<text class="code" x="{left + 7:.0f}" y="{top + 16:.0f}">'
            f"{escape(_cut(text, int((width - 34) / _CHARACTER)))}</text>",
        ]
        if notes:
            note = _cut(notes, int((width - 34) / _SMALL))
            parts.append(f'<text class="note" x="{left + 7:.0f}" y="{top + 31:.0f}">{escape(note)}</text>')
        return [*parts, "</g>"]

    def _band(self, row: _Row) -> list[str]:
        """Of a deviation: who goes on instead of whom."""
        if not row.band or row.line is None:
            return []
        size = f'width="{self.width}" height="22"'
        parts = [f'<rect class="band" x="{self.gutter}" y="{row.top + 3:.0f}" {size} rx="4"/>']
        source = row.line.events[0].instead_of
        if source is not None and source in self.lanes and source != row.line.thread:
            path = f"M{self._middle(source):.0f} {row.top + 25:.0f}v7H{self._middle(row.line.thread):.0f}v8"
            parts.append(f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>')
        return parts

    def _band_text(self, row: _Row) -> list[str]:
        if not row.band:
            return []
        y = row.top + 18
        text = _cut(row.band, int(self.width / _BAND_TEXT))
        x = self.gutter + 14.0
        if row.line is not None and self.width > _SCREEN:  # else the text would be out of sight
            threads = [row.line.thread, *(one for one in [row.line.events[0].instead_of] if one in self.lanes)]
            near = min(self._left(thread) for thread in threads if thread is not None) + 14
            x = max(min(near, self.gutter + self.width - len(text) * _BAND_TEXT), x)
        return [
            f'<text class="switch" x="{self.gutter - 12}" y="{y:.0f}">switch</text>',
            f'<text class="band" x="{x:.0f}" y="{y:.0f}">{escape(text)}<title>{escape(row.band)}</title></text>',
        ]

    def _repeated(self) -> list[str]:
        cycle = self.story.cycle
        if not self.cycle_top or cycle is None:
            return []
        width = self.width + 8
        return [
            f'<rect class="cycle" x="{self.gutter - 4}" y="{self.cycle_top + 2:.0f}" width="{width}" '
            f'height="{self.bottom - self.cycle_top - 8:.0f}" rx="6"/>',
            f'<text class="band" x="{self.gutter + 14}" y="{self.cycle_top + 17:.0f}">'
            f"without end; {cycle.times:,} times so far</text>",
        ]

    def _arrows(self) -> list[str]:
        """From those who wait to those for whom they wait."""
        waits = [*self.story.ring, *(wait for wait in self.story.waits if wait not in self.story.ring)]
        shown = [wait for wait in waits if wait.on in self.lanes and wait.thread in self.lanes]
        return [self._arrow(wait, number) for number, wait in enumerate(shown[:_MOST_ARROWS])]

    def _arrow(self, wait: Wait, number: int) -> str:
        assert wait.on is not None
        depth = _DEEP + _DEEPER * number
        a, b = self._middle(wait.thread) - 16, self._middle(wait.on) + 16 + 7 * min(number, 9)
        kind = "ring" if wait in self.story.ring else "to"
        top = self.bottom
        what = wait.holder.thing.name if wait.holder is not None else f"the end of {self.story.short_name(wait.on)}"
        text = f"{self.story.short_name(wait.thread)} waits for {what}"
        return (
            f'<path class="{kind}" d="M{a:.0f} {top - 2:.0f}V{top + depth:.0f}H{b:.0f}V{top + 3:.0f}" '
            f'marker-end="url(#{kind})"/>'
            f'<text class="{kind} halo" x="{(a + b) / 2:.0f}" y="{top + depth - 5:.0f}">{escape(text)}</text>'
        )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _cut_left(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


def _tip(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path class="tip-{name}" d="M0 0L8 4L0 8z"/></marker>'
    )


_DEFINITIONS = (
    "<defs>"
    '<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="hatch" d="M0 0V7"/></pattern>'
    f"{_tip('tip')}{_tip('ring')}{_tip('to')}</defs>"
)

_STYLE = """
:root {
  --page: #fff; --text: #1c2024; --faint: #626a73; --line: #d5dae0; --box: #f4f6f8; --edge: #c3cad2;
  --switch: #c2410c; --band: #fff1e6; --ring: #be123c; --hatch: #b8c0c9;
  --lock-0: #2563eb; --lock-1: #059669; --lock-2: #a855f7; --lock-3: #d97706;
  --lock-4: #0891b2; --lock-5: #db2777; --lock-6: #65a30d; --lock-7: #7c5cff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --text: #e4e7ea; --faint: #98a1ab; --line: #343a41; --box: #1f2429; --edge: #434b54;
    --switch: #fb923c; --band: #33231a; --ring: #fb7185; --hatch: #4b545e;
    --lock-0: #60a5fa; --lock-1: #34d399; --lock-2: #c084fc; --lock-3: #fbbf24;
    --lock-4: #22d3ee; --lock-5: #f472b6; --lock-6: #a3e635; --lock-7: #a78bfa;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { padding: 20px 16px 40px; }
h1 { font-size: 20px; line-height: 1.35; margin: 0 0 4px; overflow-wrap: anywhere; }
p { margin: 6px 0; }
p.where, small { color: var(--faint); }
code, th, .where { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.wide, .picture { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; }
th, td { text-align: left; vertical-align: baseline; padding: 2px 18px 2px 0; }
th { font-weight: 600; white-space: nowrap; }
.picture { margin: 14px 0 8px; border: 1px solid var(--line); border-radius: 8px; padding: 6px 8px; }
svg { display: block; }
svg text { fill: var(--text); font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
svg text { white-space: pre; }
svg text.halo { text-anchor: middle; stroke: var(--page); stroke-width: 4; paint-order: stroke; }
svg .head { font-weight: 700; }
svg .where { fill: var(--faint); text-anchor: end; font-size: 11px; }
svg .note, svg .gap { fill: var(--faint); font-size: 10.5px; }
svg .note { font-family: system-ui, sans-serif; font-size: 11px; }
svg .life { stroke: var(--line); fill: none; }
svg .box { fill: var(--box); stroke: var(--edge); }
svg .box.waits { fill: var(--page); stroke-dasharray: 4 3; }
svg .box.broken { stroke: var(--switch); }
svg .box.raises { stroke: var(--ring); stroke-width: 2; }
svg .blocked { fill: url(#hatch); }
svg .hatch { stroke: var(--hatch); stroke-width: 1.6; }
svg rect.band { fill: var(--band); }
svg text.band { font: 600 12px system-ui, sans-serif; fill: var(--switch); }
svg text.band { stroke: var(--band); stroke-width: 4; paint-order: stroke; }
svg .switch { fill: var(--switch); text-anchor: end; font-weight: 700; font-size: 11px; }
svg .arrow { fill: none; stroke: var(--switch); stroke-width: 2; }
svg .tip-tip { fill: var(--switch); }
svg .cycle { fill: none; stroke: var(--switch); stroke-dasharray: 6 4; }
svg path.ring, svg path.to { fill: none; stroke-width: 2; stroke: var(--ring); }
svg path.to { stroke: var(--faint); stroke-width: 1.3; }
svg text.ring, svg text.to { font: 600 11.5px system-ui, sans-serif; fill: var(--ring); }
svg text.to { fill: var(--faint); font-weight: 400; }
svg .tip-ring { fill: var(--ring); }
svg .tip-to { fill: var(--faint); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 20px; padding: 0; margin: 4px 0 12px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; }
.legend i { margin-right: 7px; vertical-align: -1px; }
.legend .hatched { background: repeating-linear-gradient(45deg, var(--hatch) 0 2px, transparent 2px 5px); }
LOCKS
td code, td b { white-space: nowrap; font-weight: inherit; }
.copied { display: flex; align-items: baseline; gap: 10px; flex-wrap: wrap; }
.copied span { min-width: 48px; color: var(--faint); }
.copied code, button { background: var(--box); border: 1px solid var(--edge); border-radius: 5px; padding: 2px 8px; }
.copied code { overflow-wrap: anywhere; }
button { font: inherit; font-size: 13px; color: inherit; cursor: pointer; }
button:hover { border-color: var(--text); }
""".replace(
    "LOCKS",
    "\n".join(f".lock-{n} {{ fill: var(--lock-{n}); background: var(--lock-{n}); }}" for n in range(_COLOURS)),
)

_SCRIPT = """
for (const button of document.querySelectorAll(".copied button")) {
  const code = button.previousElementSibling;
  button.hidden = false;
  button.onclick = async () => {
    getSelection().selectAllChildren(code);
    try { await navigator.clipboard.writeText(code.textContent); } catch { document.execCommand("copy"); }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
}
"""
