"""The options that several commands have, --json and --plot, what is done about each, and what others take."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..reading.folders import private

F = TypeVar("F", bound=Callable[..., Any])

LOOPBACK = "127.0.0.1"
PICTURES = (".png", ".svg", ".pdf", ".jpg", ".webp")


def seconds(least: float, most: float = 1e6, zero: bool = False) -> Callable[[str], float]:
    """The type of an option: a number of seconds from the least to the most; zero: or 0."""
    wanted = f"{'0 or ' * zero}a number of seconds from {least:g} to {most:g}".replace("e+0", "e")

    def checked(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not {wanted}") from None
        if not (least <= found <= most or (zero and found == 0)):  # NaN is in no range
            raise click.BadParameter(f"{found:g} is not {wanted}")
        return found

    return checked


def address(value: str) -> tuple[str, int]:
    """The type of an option: where a server listens."""
    host, colon, port = value.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16) or (colon and not host):
        raise click.BadParameter(f"{value!r} is not ADDRESS:PORT or PORT, such as 127.0.0.1:8080; 0 is any free port")
    return host.strip("[]") or LOOPBACK, int(port)


def timeline_file(ctx: click.Context, param: click.Parameter, file: Path | None) -> Path | None:
    """The callback of an option: check_timeline()."""
    return file and check_timeline(file)


def check_timeline(file: Path) -> Path:
    """Whether its name says what it is to be, and there is a folder for it."""
    if file.suffix not in (".json", ".html"):
        raise click.BadParameter(f"{file}: what is it to be? Name it .html (a page) or .json (for Perfetto)")
    if not file.parent.is_dir():
        raise click.BadParameter(f"{file}: there is no folder {file.parent}")
    return file


# ---- other files ----------------------------------------------------------------------------------------------------


def check_writable(path: Path) -> None:
    """Makes the file at once: that it can't be made is not to be found out after the program has run."""
    try:
        open(path, "ab", opener=private).close()
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from None


def can_write(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        check_writable(path)
    return path


def file_option(name: str, parameter: str, help: str) -> Callable[[F], F]:
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, parameter, type=kind, callback=can_write, metavar="FILE", help=help)


html_option = click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it as a web page."
)


def write_file(path: Path, text: str, option: str = "") -> None:
    """Writes it; that the file can't be written is the command's error, which names the option."""
    try:
        with open(path, "w", encoding="utf-8", opener=private) as out:
            out.write(text)
    except OSError as error:
        raise click.ClickException(f"{option}{path}: {error.strerror}") from None


speedscope_option = file_option("--speedscope", "speedscope", "Write the stacks of waits and holds for speedscope.app.")


# ---- --json ----------------------------------------------------------------------------------------------------------


class Json:
    """Where --json wants the facts: "-" is standard output, with nothing else there; a file comes in addition."""

    def __init__(self, path: str) -> None:
        self.alone = path == "-"
        self._path = path
        if not self.alone:
            try:  # here, before anything is measured
                self._file = open(path, "w", encoding="utf-8", opener=private)  # noqa: SIM115
            except OSError as error:
                raise click.BadParameter(f"{path}: {error.strerror}") from None

    def take(self, facts: Any) -> bool:
        """Writes the facts. Returns whether nothing else is to be printed."""
        import json

        text = json.dumps(facts, indent=2)
        if self.alone:
            click.echo(text)
            return True
        try:
            with self._file:
                self._file.write(text + "\n")
        except OSError as error:
            raise click.ClickException(f"{self._path}: {error.strerror}") from None
        return False


def _json(ctx: click.Context, param: click.Parameter, value: str | None) -> Json | None:
    if value is None:
        return None
    if value != "-" and "." not in value and "/" not in value:  # `bench --json lock` means an operation
        raise click.BadParameter(f"for a file of that name write ./{value}, for standard output write --json last")
    return Json(value)


def json_option(function: F) -> F:
    """The option --json [FILE], as the parameter json_to."""
    return click.option(
        "--json",
        "json_to",
        is_flag=False,
        flag_value="-",
        callback=_json,
        metavar="[FILE]",
        help="Print the facts as JSON and nothing else, or write it to FILE, and print as usual.",
    )(function)


# ---- --plot ----------------------------------------------------------------------------------------------------------


def plot_option(function: F) -> F:
    """The option --plot, as the parameter plot_file."""
    return click.option(
        "--plot",
        "plot_file",
        type=click.Path(dir_okay=False, writable=True),
        metavar="FILE",
        help=f"Draw a picture too: {', '.join(PICTURES)}.",
    )(function)


def check_plot(path: str) -> None:
    """Refuses, before anything is measured, if the picture can't be made."""
    if Path(path).suffix.lower() not in PICTURES:
        raise click.ClickException(f"--plot: {path}: what is it to be? Its name must end in {', '.join(PICTURES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise click.ClickException("--plot needs matplotlib: pip install 'lwp-runtime[plot]'")
    if not os.access(os.path.dirname(path) or ".", os.W_OK):
        raise click.ClickException(f"--plot: can't write to {os.path.dirname(path) or '.'}")


def save_plot(figure: Any, path: str) -> None:
    try:
        with open(path, "wb", opener=private) as file:
            figure.savefig(file, format=Path(path).suffix[1:].lower(), dpi=150)
    except OSError as error:
        raise click.ClickException(f"--plot: {path}: {error.strerror}") from None
