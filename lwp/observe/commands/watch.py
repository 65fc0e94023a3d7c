"""`watch`: the live page of a program that runs."""

from __future__ import annotations

import contextlib

import click

from ...terminal.options import address
from ._pid import pid_argument


@click.command(short_help="Serve a page that shows a running program's threads.")
@pid_argument
@click.option("--at", "place", type=address, default="0", metavar="[ADDRESS:]PORT", help="Where (default 127.0.0.1).")
def watch(pid: int, place: tuple[str, int]) -> int:
    """Serve a live page of the program with process number PID, until it ends.

    The page's address is printed. It has a secret part, so a browser without the address can't read the page. PID must
    be a process that `lwp ps` lists. While a page is open the process records what its threads do, and is asked once a
    second what they wait for.
    """
    from .page._server import NoAddress, Server

    try:
        server = Server(pid, place)
    except NoAddress as error:
        raise click.ClickException(f"--at {place[0]}:{place[1]}: {error}") from None
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    with server:
        click.echo(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_until_end()
    return 0
