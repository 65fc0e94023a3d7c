"""The `__thread` variables of each module, as one thread has them."""

from __future__ import annotations

import string
import threading
from collections.abc import Iterator
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from ...terminal.output import table
from ..tlsmap.inspection import Inspection, inspect
from ..tlsmap.variables import ModuleVariables, variables
from .map import signed


def listing(thread: threading.Thread, module: str | None) -> tuple[dict[str, Any], list[RenderableType]]:
    """All modules' variables, or those of one, as data and as tables."""
    seen = inspect(thread)
    try:
        found = variables(seen, module)
    except (ImportError, LookupError) as error:
        raise click.ClickException(str(error.args[0])) from None
    title = Text(f"__thread variables in thread {seen.tid}, one of ours\n", style="bold")
    return {"modules": found}, [title, *(part for one in found for part in _module(seen, one))]


def _module(seen: Inspection, one: ModuleVariables) -> Iterator[RenderableType]:
    module = one.module
    place = f"static, at {signed(module.offset)} from tp" if module.offset is not None else "dynamic"
    if seen.address_of(module) is None:
        place += ", not allocated: the thread hasn't asked for it"
    yield Text.assemble((module.short, "bold"), (f"  module {module.id}, {module.size} bytes, {place}", "dim"))
    if one.problem:
        yield Text(f"{one.problem}\n", style="yellow")
        return
    if one.variables:
        made = table("offset", "size", "name", "address", "bytes", "", right=("offset", "size"), fixed=("address",))
        for variable in one.variables:
            content = variable.initial if variable.content is None else variable.content
            made.add_row(
                f"+{variable.offset}",
                str(variable.size),
                variable.name,
                "-" if variable.address is None else f"{variable.address:#x}",
                _bytes(content),
                "initial" if variable.content is None else "" if content == variable.initial else "changed",
            )
        yield made
    if one.unnamed:
        why = "padding" if one.complete else "padding, or their names were stripped"
        yield Text(f"{one.unnamed} bytes that no symbol covers: {why}", style="dim")
    yield Text()


def _bytes(content: bytes) -> str:
    """A number if it has a number's size, otherwise text or hexadecimal."""
    if len(content) in (1, 2, 4, 8):
        value = int.from_bytes(content, "little")
        return f"{value:,}" if value < 1 << 16 else f"{value:#x}"
    text = content.rstrip(b"\0")
    if len(text) > 2 and all(chr(byte) in string.printable for byte in text):
        return repr(text.decode())
    return f"{content[:16].hex(' ', 4)}{' …' if len(content) > 16 else ''}" if any(content) else "zeros"
