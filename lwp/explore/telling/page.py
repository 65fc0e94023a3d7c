"""The picture of a find: an HTML page that needs nothing else."""

from __future__ import annotations

import itertools
import re
from html import escape
from pathlib import Path

from ...look import SHEET
from ..results import Result
from ..run.plans import Kind
from .events import RAISE, Holding, Line, Thing, Wait
from .report import chosen, closing, left_out, notes_of, rated
from .story import Story
from .told import Told
from .words import at, deviation, stacks

_MOST_ROWS = 400
_COLOURS = 8  # of locks: --lock-0 ... in page.css
_MOST_ARROWS = 40  # below the columns


def page(told: Told, story: Story, result: Result) -> str:
    what = told.what
    parts = [
        f"<h1>{escape(what)}</h1>",
        f'<p class="where">{escape(told.where)}</p>' if told.where else "",
        _waits(told),
        _why(told),
        _traceback(told),
        f'<div class="picture">{_Picture(story).html(what)}</div>',
        _legend(story),
        *(f"<p>{escape(line)}</p>" for line in (closing(result)[0], *(result._passes or ()))),
        _copied("Token", result.token or ""),
        _copied("Again", result.command) if result.command else "",
    ]
    body = "\n".join(part for part in parts if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(what)}</title>
<style>
{SHEET.read_text()}{Path(__file__).with_name("page.css").read_text()}</style>
</head>
<body>
<main>
{body}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _waits(told: Told) -> str:
    rows = [_row(escape(name), _unbroken(text)) for name, text in told.waits]
    return f'<div class="wide"><table>{"".join(rows)}</table></div>' if rows else ""


def _row(head: str, *cells: str) -> str:
    """Of a table. Both: markup."""
    return f"<tr><th>{head}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _unbroken(text: str) -> str:
    """Keeps names such as Thread-1 on one line."""
    return re.sub(r"\S*-\S*", r"<b>\g<0></b>", escape(text))


def _why(told: Told) -> str:
    rows = []
    for fact in told.why:
        calls = f"{fact.function} < {fact.called_by}" if fact.called_by else fact.function
        data, rest = map(_code, (fact.name, fact.value)), map(escape, (fact.place, calls, fact.note))
        rows.append(_row(_unbroken(fact.thread), escape(fact.access), *data, *rest))
    said = "".join(f"<p>{_unbroken(text)}</p>" for text in told.claims)
    return f'<div class="wide"><h2>Why</h2><table class="why">{"".join(rows)}</table>{said}</div>' if rows else ""


def _traceback(told: Told) -> str:
    parts = []
    for title, calls in told.calls:
        rows = [_row(escape(place), escape(function), _code(text)) for place, function, text in calls]
        parts.append(f"<h2>{escape(title)}</h2><table>{''.join(rows)}</table>")
    parts += [f"<p>{escape(text)}</p>" for text in told.causes]
    return f'<div class="wide">{"".join(parts)}</div>' if parts else ""


def _colours(story: Story) -> dict[Thing, str]:
    """The colour of each lock that is held."""
    things = dict.fromkeys(holding.thing for holding in story.holdings)
    return {thing: f"background:var(--lock-{number % _COLOURS})" for number, thing in enumerate(things)}


def _legend(story: Story) -> str:
    """Which colour is which lock."""
    items = []
    for thing, colour in list(_colours(story).items())[:40]:
        kind = f"{thing.kind}, made at {thing.made}" if thing.made else thing.kind
        items.append(f'<li><i style="{colour}"></i>{escape(thing.name)} <small>{escape(kind)}</small></li>')
    items.append('<li><i class="hatched"></i>cannot go on</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _copied(name: str, text: str) -> str:
    button = '<button type="button" hidden>Copy</button>'
    return f'<p class="copied"><span>{name}</span> {_code(text)} {button}</p>'


# ---- the picture -----------------------------------------------------------------------------------------------------


class _Picture:
    """A grid.  Time goes down.  A thread has two columns, its halves, because arrows lead from middle to middle."""

    def __init__(self, story: Story) -> None:
        self._story = story
        lines, repeated = story.lines()
        kept = chosen([1] * len(lines), rated(story, lines), _MOST_ROWS)
        shown = [*(line for number, line in enumerate(lines) if number in kept), *repeated]
        threads = sorted({line.thread for line in shown} | {wait.thread for wait in story.ring})
        self._columns = {thread: (2 + 2 * lane, 4 + 2 * lane) for lane, thread in enumerate(threads)}
        self._all = 2, 2 + 2 * len(threads)
        self._row = 1  #: the last
        self._row_of: dict[int, int] = {}  #: by the id of an event
        self._gaps: set[int] = set()  #: rows of steps that are left out
        self._bands: list[str] = []
        self._boxes: list[str] = []
        for is_kept, numbers in itertools.groupby(range(len(lines)), kept.__contains__):
            group = [lines[number] for number in numbers]
            if is_kept:
                for line in group:
                    self._add(line)
            else:
                self._boxes.append(_item("gap", self._next_row(), self._all, left_out(group)))
                self._gaps.add(self._row)
                self._row_of |= {id(event): self._row for line in group for event in line.events}
        if repeated and story.cycle is not None:
            first = self._next_row()
            for line in repeated:
                self._add(line)
            text = f"<b>without end; {story.cycle.times:,} times so far</b>"
            self._bands.append(_item("cycle", first, self._all, end=self._row + 1))
            self._bands.append(_item("again", first, self._all, text))
        self._end = self._next_row() + 1  # a little below the last line

    def html(self, title: str) -> str:
        count, name = len(self._columns), self._story.name
        half = 140 if count <= 3 else 110 if count <= 5 else 90
        size = f"grid-template-columns:max-content repeat({2 * count},fit-content({half}px))"
        heads = [_item("head", 1, both, escape(name(thread)), name(thread)) for thread, both in self._columns.items()]
        parts = [*heads, *self._lives(), *self._blocked(), *self._bands, *self._bars(), *self._boxes, *self._waits()]
        return f'<div class="grid" role="group" aria-label="{escape(title)}" style="{size}">{"".join(parts)}</div>'

    def _next_row(self) -> int:
        self._row += 1
        return self._row

    def _add(self, line: Line) -> None:
        self._add_switch(line)
        row, place, last = self._next_row(), line.place, line.events[-1]
        self._row_of |= {id(event): row for event in line.events}
        text, notes = "", notes_of(self._story, line)
        if place is not None:
            self._boxes.append(_item("where", row, _WHERE, escape(place.short)))
            text = place.text.partition("  # ")[0]
        if text:
            text = f"… {text}" if line.resumed else text
        else:
            text, notes = f"({notes or 'goes on'})", ""
        kind = "raises" if last.kind == RAISE else "waits" if last.waits else "broken" if line.stopped else ""
        if any(event.access for event in line.events):
            kind += " data"
        function = f" in {place.function}()" if place is not None else ""
        tip = "\n".join(filter(None, (f"{self._story.name(line.thread)}, {at(place)}{function}", text, notes)))
        said = _code(text) + (f"<small>{escape(notes)}</small>" if notes else "")
        self._boxes.append(_item(f"box {kind}", row, self._columns[line.thread], said, tip))

    def _add_switch(self, line: Line) -> None:
        """Shows a deviation: which thread goes on instead of which."""
        if not (text := deviation(self._story, line.events[0])):
            return
        row, source = self._next_row(), line.events[0].instead_of
        self._bands.append(_item("switch", row, _WHERE, "switch"))
        self._bands.append(_item("band", row, self._all, f"<b>{escape(text)}</b>", stacks(self._story, line.events[0])))
        if source in self._columns and source != line.thread:
            begin, end = (self._columns[thread][0] + 1 for thread in (source, line.thread))
            kind = "arrow" if begin < end else "arrow back"
            self._bands.append(_item(kind, self._next_row(), (min(begin, end), max(begin, end))))

    def _lives(self) -> list[str]:
        rows = ((event.thread, self._row_of.get(id(event))) for event in self._story.events if event.kind == Kind.END)
        ends = {thread: row + 1 for thread, row in rows if row is not None}
        return [_item("life", 2, both, end=ends.get(thread, self._end)) for thread, both in self._columns.items()]

    def _blocked(self) -> list[str]:
        """Hatched areas: from where a thread came to wait until it went on."""
        begun: dict[int, int] = {}
        spans = []
        for event in self._story.told:
            if (row := self._row_of.get(id(event))) is None:
                continue
            if event.thread in begun and not event.waits:
                spans.append((event.thread, begun.pop(event.thread), row))
            if event.waits or event.sleeps:
                begun[event.thread] = row + 1
        spans += [(thread, row, self._end) for thread, row in begun.items()]
        return [
            _item("blocked", row, self._columns[thread], tip=f"{self._story.name(thread)} cannot go on", end=end)
            for thread, row, end in spans
            if thread in self._columns and end > row
        ]

    def _bars(self) -> list[str]:
        """Coloured bars: from where a thread took a lock until it released it."""
        colours = _colours(self._story)
        busy: list[Holding] = []
        bars = []
        for holding in self._story.holdings:
            row = self._row_of.get(id(holding.since))
            if row is None or holding.thread not in self._columns:
                continue
            last = self._row_of.get(id(holding.until)) if holding.until is not None else None
            if last == row and last in self._gaps:
                continue
            busy = [one for one in busy if one.until is None or one.until.at > holding.since.at]
            beside = sum(one.thread == holding.thread for one in busy)
            busy.append(holding)
            kind, end = ("bar", self._end) if last is None else ("bar released", last + 1)
            tip = f"{self._story.name(holding.thread)} holds {holding.thing.name}"
            style = f"margin-left:{4 - 5 * beside}px;{colours[holding.thing]}"
            bars.append(_item(kind, row, self._columns[holding.thread], "", tip, end, style))
        return bars

    def _waits(self) -> list[str]:
        """Arrows from threads that wait to the threads that they wait for."""
        shown = [wait for wait in self._story.all_waits if wait.on in self._columns and wait.thread in self._columns]
        return [self._wait(wait, number) for number, wait in enumerate(shown[:_MOST_ARROWS])]

    def _wait(self, wait: Wait, number: int) -> str:
        assert wait.on is not None
        what = wait.holder.thing.name if wait.holder is not None else f"the end of {self._story.short_name(wait.on)}"
        text = f"<b>{escape(f'{self._story.short_name(wait.thread)} waits for {what}')}</b>"
        begin, end = self._columns[wait.thread][0] + 1, self._columns[wait.on][0] + 1
        columns = (min(begin, end), max(begin, end)) if begin != end else self._columns[wait.on]
        middle = "50%" if begin == end else "0px"
        near, far = -16, 16 + 7 * min(number, 9)  # pixels from the two middles
        left, right, back = (near, -far, "") if begin <= end else (far, -near, " back")
        kind = "ring" if wait in self._story.ring else "to"
        style = f"margin:4px calc({middle} + {right}px) 0 calc({middle} + {left}px);height:{22 * number + 30}px"
        return _item(f"{kind}{back}", self._end, columns, text, style=style)


_WHERE = 1, 2  # its column


def _item(
    kind: str, row: int, columns: tuple[int, int], text: str = "", tip: str = "", end: int = 0, style: str = ""
) -> str:
    """An item from that row to the end, excluded; 0: in that row alone. text: markup."""
    title = f' title="{escape(tip)}"' if tip else ""
    area = f"grid-area:{row}/{columns[0]}/{end or row + 1}/{columns[1]}"
    return f'<div class="{kind}"{title} style="{area};{style}">{text}</div>'


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
