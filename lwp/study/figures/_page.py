"""A page of figures, through which one goes step by step, and of what a terminal would show, as HTML."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...look import SHEET
from ._svg import FIGURE_CSS, Figure

_HERE = Path(__file__).parent


class Steps(NamedTuple):
    """Figures, and what is said and shown of them at each step."""

    figure: Figure
    steps: list[dict[str, Any]]  #: what, why, more, states: see figures.js
    about: dict[str, str]  #: what each part is
    small: Figure | None = None  #: which stays in sight beside the figure

    def html(self) -> str:
        small = self.small.svg() if self.small else ""
        return (_HERE / "stepper.html").read_text("utf-8").replace("SMALL", small).replace("FIGURE", self.figure.svg())

    def data(self) -> str:
        # "<" occurs in texts only; written so, none of them can end the script element.
        return json.dumps({"steps": self.steps, "about": self.about}, separators=(",", ":")).replace("<", "\\u003c")


def page(title: str, parts: Iterable[RenderableType | Steps]) -> str:
    """One page.  Its first part is its heading; at most one part is Steps."""
    style = "".join(path.read_text("utf-8") for path in (SHEET, FIGURE_CSS, _HERE / "page.css"))
    body, script = [], ""
    for part in parts:
        if isinstance(part, Steps):
            body.append(part.html())
            run = (_HERE / "figures.js").read_text("utf-8")
            script = f'<script type="application/json" id="steps">{part.data()}</script>\n<script>\n{run}</script>\n'
        else:
            body.append(_html(part))
    body[0] = body[0].replace("h2>", "h1>")
    whole = (_HERE / "page.html").read_text("utf-8").replace("STYLE", style).replace("TITLE", escape(title))
    return whole.replace("BODY", "\n".join(body)) + script


# ---- what a terminal would show --------------------------------------------------------------------------------------


_LINES = Console(file=io.StringIO(), width=10_000, color_system="truecolor", force_terminal=True)


def _html(shown: RenderableType) -> str:
    if isinstance(shown, Table):
        return _table(shown)
    if isinstance(shown, Group):
        return "\n".join(map(_html, shown.renderables))
    text = shown if isinstance(shown, Text) else Text(str(shown))
    if not text.plain.strip():
        return ""
    first = text.get_style_at_offset(_LINES, len(text.plain) - len(text.plain.lstrip()))
    tag = "h2" if first.bold else "p"
    return f"<{tag}>{_marked(text, plain=tag == 'h2')}</{tag}>"


def _marked(text: Text, plain: bool = False) -> str:
    """plain: what is bold is not marked, because all is."""
    text = text.copy()
    text.end = ""
    found = []
    for said, style, _ in text.render(_LINES):
        marked = escape(said)
        if style and style.dim:
            marked = f"<small>{marked}</small>"
        if style and style.bold and not plain:
            marked = f"<b>{marked}</b>"
        if style and style.italic:
            marked = f"<i>{marked}</i>"
        found.append(marked)
    return "".join(found).strip("\n")


def _table(table: Table) -> str:
    columns = [list(column.cells) for column in table.columns]
    kinds = [
        f' class="{kind}"'
        if (kind := " ".join(["right"] * (column.justify == "right") + ["value"] * column.no_wrap))
        else ""
        for column in table.columns
    ]
    rows = [
        "".join(f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        for row in zip(*columns, strict=True)
    ]
    heads = "".join(f"<th{kind}>{_cell(column.header)}</th>" for kind, column in zip(kinds, table.columns, strict=True))
    head = f"<tr>{heads}</tr>" if table.show_header else ""
    return f'<div class="wide"><table>{head}{"".join(f"<tr>{row}</tr>" for row in rows)}</table></div>'


def _cell(cell: RenderableType) -> str:
    return _marked(cell) if isinstance(cell, Text) else escape(str(cell))
