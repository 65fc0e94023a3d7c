"""`watch`: the live page of a program that runs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

__all__ = ["watch"]


@click.command(short_help="Serve a page that shows a running program's threads.")
@click.argument("pid", type=click.IntRange(1))
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
def watch(pid: int, opened: bool) -> int:
    """Serve a live page of the program with process number PID, until it ends.

    The page's address is printed; whoever has it, on this machine, may read what the page shows. The program must be
    recording: see `lwp run --trace`.
    """
    from ..observe.following import records_of
    from .page._server import Server

    try:
        records = records_of(pid)
    except FileNotFoundError:
        raise click.ClickException(f"there is no process {pid}") from None
    except OSError as error:
        raise click.ClickException(f"process {pid} can't be looked at: {error.strerror}") from None
    if records is None:
        raise click.ClickException(f"process {pid} doesn't record what its threads do: lwp run --trace FILE")
    # held open, because the program removes the file at its end
    with records.open("rb") as held, Server(pid, Path(f"/proc/self/fd/{held.fileno()}")) as server:
        click.echo(server.url)
        if opened:
            click.launch(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_until_end()
    return 0
