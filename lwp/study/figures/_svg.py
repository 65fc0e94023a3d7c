"""Shapes of SVG.  Their classes are coloured by figure.css, for light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import NamedTuple

from ...look import SHEET

FIGURE_CSS = Path(__file__).with_name("figure.css")

#: The colours of a thread's memory, in a terminal too; black is read on each, except on the guard's.
PARTS = {
    "guard": "#a83232",
    "used": "#d9b343",
    "rseq": "#b58bc2",
    "module": "#6fb2c9",
    "tcb": "#e08e45",
    "pthread": "#9fb84d",
}


class Figure(NamedTuple):
    """What is drawn, and what it shows for those who don't see it."""

    title: str
    width: int
    height: int
    body: str

    def svg(self, more: str = ">") -> str:
        """The element, for a page that has its style already."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.title)}"{more}\n{self.body}</svg>\n'
        )

    def file(self, about: str) -> str:
        """A file of its own: with its style, which is read in the sheets, on one line, and with paper below."""
        style = re.sub(r"/\*.*?\*/|\n *", "", SHEET.read_text("utf-8") + FIGURE_CSS.read_text("utf-8"))
        return self.svg(
            f' width="{self.width}" height="{self.height}">\n<title>{escape(self.title)}</title>\n'
            f'<desc>{escape(about)}</desc>\n<style>{style}</style>\n<rect class="paper" width="100%" height="100%"/>'
        )


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "") -> str:
    """anchor: "middle" or "end", if x is that of the text."""
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:g}" y="{y:g}"{where}{_class(kind)}>{escape(said)}</text>\n'


def rect(x: float, y: float, width: float, height: float, kind: str = "", colour: str = "") -> str:
    fill = f' style="--of:{colour}"' if colour else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{_class(kind)}{fill}/>\n'


def line(x: float, y: float, to_x: float, to_y: float, kind: str = "") -> str:
    return f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}"{_class(kind)}/>\n'


def arrow(x: float, y: float, to_x: float) -> str:
    """A horizontal line with a tip."""
    back = 5 if to_x < x else -5
    return f'<path d="M{x:g} {y:g}H{to_x:g}m{back} -3l{-back} 3l{back} 3" class="arrow"/>\n'


def group(parts: Iterable[str], kind: str = "", **data: object) -> str:
    """One line.  data: what the page's script knows it by."""
    named = "".join(f' data-{name}="{escape(str(value))}"' for name, value in data.items())
    inside = "".join(parts).replace("\n", "")
    return f"<g{_class(kind)}{named}>{inside}</g>\n"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
