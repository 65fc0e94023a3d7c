"""`trace`: the timeline that `run --trace` has recorded, as a page or a file for Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ....core import printable
from ....reading.folders import private
from ....terminal.options import check_timeline, seconds

if TYPE_CHECKING:
    from ...trace import Timeline


def write_timeline(timeline: Timeline, file: Path) -> None:
    """Writes it as the file's name says, and on standard error what it holds."""
    from . import _page, _perfetto

    writers = {".json": _perfetto.write, ".html": _page.write}
    with open(file, "w", encoding="utf-8", opener=private) as out:
        writers[file.suffix](timeline, out)
    how = " (open it at ui.perfetto.dev)" if file.suffix == ".json" else ""
    click.echo(printable(f"{file}: {timeline.summary()}{how}"), err=True)


@click.command(short_help="Make a timeline of the records that a killed program has left.")
@click.argument("records", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--last", type=seconds(0.001), metavar="SECONDS", help="Only the last seconds of it.")
def trace(records: Path, file: Path, last: float | None) -> int:
    """Make FILE, a timeline, of RECORDS.

    While a program runs under `lwp run --trace FILE`, its records are in FILE.records. When it ends in order, they are
    made into FILE. If it was killed, this does it; while it still runs, this shows what it has done so far. The end of
    FILE's name says what it is to be:

    \b
      .json   Chrome's format, for ui.perfetto.dev and trace_processor
      .html   a page that zooms; it needs no network

    If RECORDS are damaged or cut off, FILE shows what can be read. Then the exit status is 1, and stderr says where the
    first damage is.
    """
    from ...trace import read

    check_timeline(file)
    try:
        timeline = read(records, None if last is None else -round(last * 1e9))
        write_timeline(timeline, file)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    return 1 if timeline.damage else 0
