"""What a demo is: facts that --json prints as they are, and a text that is made of them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ...terminal.options import Json, html_option, json_option, write_file
from ...terminal.output import console

_TREE = Path(__file__).parents[3]
_CORE, _TOOLS = "runtime/native", "lwp/native"
_STORY = "docs/runtime/how-a-thread-is-made.md"

#: Where a demo's subject is explained, and the files of C that do what it shows.
_MORE: dict[str, tuple[str, tuple[str, ...]]] = {
    "files": (f"{_STORY}#8-clone-lines-6-to-9", (f"{_CORE}/kernel/lwp/process.c",)),
    "vm": (f"{_STORY}#8-clone-lines-6-to-9", (f"{_CORE}/kernel/lwp/process.c",)),
    "tasks": (f"{_STORY}#1-three-things-make-a-python-thread", (f"{_CORE}/kernel/lwp/start.c",)),
    "models": (
        "docs/runtime/green.md#a-thread-without-an-lwp",
        (f"{_CORE}/green/switch.c", f"{_CORE}/green/scheduler.c"),
    ),
    "cow": ("docs/runtime/fork.md#page-tables", (f"{_TOOLS}/study/cost.c",)),
    "createthread": (
        f"{_STORY}#the-whole-life",
        tuple(f"{_CORE}/kernel/lwp/{name}.c" for name in ("start", "thread_main", "join")),
    ),
    "tls": (f"{_STORY}#3-thread-local-storage-line-5", (f"{_TOOLS}/study/tlsdemo.c",)),
}


def shows(
    run: Callable[..., Any], *options: Callable[[Any], Any], page: Callable[[Any], str] | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """Decorator: a command with these options, which are run()'s parameters.

    The function shows the facts that run() returns: function(console, facts).  It is named as its module.  page makes
    a web page of them, and gives the command --html.
    """

    def decorate(show: Callable[..., None]) -> click.Command:
        name = show.__module__.rpartition(".")[2]

        def command(json_to: Json | None, html: Path | None = None, **asked: Any) -> None:
            facts = run(**asked)
            if html and page:
                write_file(html, page(facts))
            if not (json_to and json_to.take(facts)) and not html:
                show(console(), facts)
                print_more(console(), name)

        for option in (json_option, *[html_option] * bool(page), *reversed(options)):
            command = option(command)
        return click.command(name, help=show.__doc__)(command)

    return decorate


def print_more(out: Console, name: str) -> None:
    """Where the demo of that name is explained, and its code shown."""
    out.print(f"\nmore: {_MORE[name][0]}\ncode: lwp demo --code {name}", soft_wrap=True)


def print_code(name: str) -> None:
    """What the demo of that name does, without the text that it prints."""
    path = Path(__file__).with_name(f"{name}.py")
    text = path.read_text()
    nodes = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "command"]
    end = nodes[0].decorator_list[0].lineno - 1
    section, files = _MORE[name]
    in_c = [file for name in files if (file := _TREE / name).exists()]  # a wheel has none
    parts = [(path, text.splitlines()[:end]), *((file, file.read_text().splitlines()) for file in in_c)]
    for path, lines in parts:
        click.secho(f"{path.relative_to(_TREE)}\n", bold=True)
        for number, line in enumerate(lines, 1):
            click.echo(f"{number:4}  {line}")
        click.echo()
    click.echo(f"more: {section}")


def threads_option(default: int, least: int = 1, most: int | None = None) -> Callable[[Any], Any]:
    """The option --threads, as the parameter count."""
    between = click.IntRange(least, most)
    return click.option(
        "--threads", "count", type=between, default=default, show_default=True, metavar="N", help="How many."
    )
