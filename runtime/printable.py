"""How a text of the program's is shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """A name or another text of the program's for a line of a report: what can't be printed is escaped as by repr().

    Otherwise a name that has an ESC, or the end of a line, would command the terminal, or make a line that a reader
    takes for the report's.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
