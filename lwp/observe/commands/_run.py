"""What this room adds to `lwp run`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ...terminal.options import check_writable, seconds, timeline_file
from ...terminal.running import DRAW, WATCH, Options, RunOption, Tool

TABLE = "-"  # the value of --locks without a file


def _locks_file(value: str) -> str:
    if value != TABLE and not value.endswith(".json"):
        raise click.BadParameter(f"{value}: what is it to be? Name it .json (all rows) or .speedscope.json (stacks)")
    if value != TABLE:
        check_writable(Path(value))
    return value


OPTIONS = (
    RunOption(
        "--watchdog",
        heading=WATCH,
        reports=True,
        type=seconds(0.1),
        metavar="SECONDS",
        help="When it stands still for so long, say on stderr what each thread waits for, and all stacks. It goes on.",
    ),
    RunOption(
        "--stuck",
        heading=WATCH,
        reports=True,
        type=seconds(0.1),
        metavar="SECONDS",
        help="When threads wait for one lock for so long, say on stderr which thread holds it since which line.",
    ),
    RunOption(
        "--lock-order",
        heading=WATCH,
        reports=True,
        is_flag=True,
        help="At the end, say on stderr which locks were taken both ways round, so that threads may deadlock. If there "
        "are such, exit status 1 in place of 0.",
    ),
    RunOption("--report", heading=DRAW, is_flag=True, help="At the end, say on stderr what the threads did and cost."),
    RunOption(
        "--locks",
        heading=DRAW,
        reports=True,
        fits=lambda word: word.endswith(".json"),
        alone=TABLE,
        type=_locks_file,
        metavar="[FILE]",
        help="At the end, say on stderr for which locks and the like threads have waited how long. FILE.json has all "
        "rows, FILE.speedscope.json the stacks, for speedscope.app.",
    ),
    RunOption(
        "--trace",
        heading=DRAW,
        type=click.Path(dir_okay=False, path_type=Path),
        callback=timeline_file,
        metavar="FILE",
        help="At the end, write a timeline: .html is a page, .json for Perfetto.",
    ),
    RunOption(
        "--last",
        heading=DRAW,
        needs="--trace",
        type=seconds(0.1),
        metavar="SECONDS",
        help="Only of the last seconds; for a program that runs for long.",
    ),
)


def _prepare(options: Options) -> None:
    from .. import environment

    if options["lock_order"]:
        from ._lock_order import end_with_status

        end_with_status()
    watches = (environment.WATCHDOG, environment.STUCK) if options["watchdog"] or options["stuck"] else ()
    records = () if options["trace"] is None else (environment.TRACE,)
    try:
        environment.begin(*watches, *records)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"lwp: {error}", file=sys.stderr)
        sys.exit(2)
    if options["report"]:
        from ._report import begin

        begin()


def _begin(options: Options, command: tuple[str, ...]) -> None:
    from ..listening import listen_for_tool

    listen_for_tool()
    if options["watchdog"] or options["stuck"]:
        from ..watchdog import watch

        watch(options["watchdog"], options["stuck"])
    if options["locks"]:
        from ._locks import begin

        begin(None if options["locks"] == TABLE else Path(options["locks"]), command[0])
    if options["lock_order"]:
        from ._lock_order import watch_order

        watch_order()
    if options["trace"]:
        from ._trace import record

        record(options["trace"], options["last"], command)


TOOL = Tool(OPTIONS, _begin, _prepare)
