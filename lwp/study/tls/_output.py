"""What the views of `tls` share: threads to look at, and where the result goes."""

from __future__ import annotations

import dataclasses
import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.terminal_theme import SVG_EXPORT_THEME

from ...core import Thread
from ...terminal.options import Json, write_file
from ...terminal.output import console
from ..structures import lib

WIDTH = 110  # columns of a picture in a file


@contextmanager
def parked(count: int, make: Callable[..., threading.Thread] | None = None) -> Iterator[list[threading.Thread]]:
    """This number of threads, which sleep while they are looked at: ours, or what `make` makes."""
    go = threading.Event()
    begun = threading.Semaphore(0)

    def body() -> None:
        lib.tlsdemo_variable()  # a variable in a library that came by dlopen: the thread gets a dynamic block for it
        begun.release()
        go.wait()

    threads: list[threading.Thread] = []
    try:
        for number in range(1, count + 1):
            thread = (make or Thread)(target=body, name=f"thread {number}")
            thread.start()
            threads.append(thread)
        for _ in threads:
            begun.acquire()
        for thread in threads:
            while _state(thread) != "S":
                os.sched_yield()
        yield threads
    except OSError as error:  # inspect() says why
        raise click.ClickException(error.strerror or str(error)) from None
    except RuntimeError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise click.ClickException(f"{error}: {error.__cause__}") from None  # "can't start new thread"
    finally:
        go.set()
        for thread in threads:
            thread.join()


def _state(thread: threading.Thread) -> str:
    # The name stands in brackets and may hold anything (proc(5)).
    return Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(") ")[2][0]


def as_data(value: Any) -> Any:
    """The value in JSON's terms: dataclasses as dicts, bytes as hexadecimal."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    return value


def show(
    facts: Any, pictures: Iterable[RenderableType], json_to: Json | None, svg: Path | None, html: Path | None
) -> None:
    """Writes the pictures that are asked for, or prints them; and gives --json the facts."""
    for path, export in ((svg, _svg), (html, _html)):
        if path:
            write_file(path, export(pictures))
    if json_to and json_to.take(as_data(facts)):
        return
    if not (svg or html):
        shown = console()
        for picture in pictures:
            shown.print(picture)


def _recorded(pictures: Iterable[RenderableType]) -> Console:
    made = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True, color_system="truecolor")
    for picture in pictures:
        made.print(picture)
    return made


# rich's own template loads a font from the network; a picture of a thread should need nothing else.
_SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
    white-space: pre;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def _svg(pictures: Iterable[RenderableType]) -> str:
    recorded = _recorded(pictures)
    return recorded.export_svg(title="python -m runtime tls", theme=SVG_EXPORT_THEME, code_format=_SVG)


def _html(pictures: Iterable[RenderableType]) -> str:
    from ..figures._page import page
    from .figure import steps_of
    from .map import Picture

    return page("A thread", (steps_of(shown.seen) if isinstance(shown, Picture) else shown for shown in pictures))
