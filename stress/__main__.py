"""`python -m stress`."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lwp.terminal.names import unknown
from lwp.terminal.options import Json, json_option
from lwp.terminal.options import seconds as seconds_from

from . import BROKEN, load, round_seed

if TYPE_CHECKING:
    from ._run import Mix
    from ._watch import Failure

_ROUND = 5  # seconds that a mix runs in one process when there is time for several


def _chosen(only: str | None) -> list[Mix]:
    mixes = load()
    if only is None:
        return [mix for mix in mixes.values() if mix.theme != BROKEN]
    found = []
    for name in only.replace(",", " ").split():
        named = [mix for mix in mixes.values() if name in (mix.name, mix.theme)]
        if not named:
            names = {name for mix in mixes.values() for name in (mix.name, mix.theme)}
            raise click.UsageError(unknown("mix or theme", name, names, "--list shows them"))
        found += [mix for mix in named if mix not in found]
    if not found:
        raise click.UsageError("--only names no mix; --list shows them")
    return found


def _list() -> None:
    from lwp.terminal.output import console, table

    rows = table("theme", "mix", "what", fixed=("theme", "mix"))
    last = ""
    for mix in load().values():
        rows.add_row(mix.theme if mix.theme != last else "", mix.name, mix.line)
        last = mix.theme
    out = console()
    out.print(rows)
    out.print(f'\n--only takes names of mixes and themes. Those of "{BROKEN}" fail, to show what that looks like.')


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds",
    type=seconds_from(0.1, 1e9),
    default=60,
    show_default=True,
    metavar="N",
    help="For all mixes together; starting and ending each comes on top.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="S", help="For the random numbers; without it another one each time."
)
@click.option("--only", metavar="NAMES", help="Only these mixes or themes, separated by commas.")
@json_option
@click.option(
    "--patience",
    type=seconds_from(1, 1e9),
    default=60,
    show_default=True,
    metavar="N",
    help="Seconds that one operation may take; longer is a hang.",
)
@click.option("--list", "as_list", is_flag=True, help="List the mixes.")
def stress(
    seconds: float, seed: int | None, only: str | None, json_to: Json | None, patience: float, as_list: bool
) -> int:
    """Try to break the runtime: random mixes of everything that threads do.

    Each mix runs in a process of its own, oversubscribed, with invariants checked all the time and a watchdog. A
    failure is shown with its seed, the last operations, the stacks of all threads, and how to run it again. The seed
    decides what each worker does, not how the kernel schedules them: a race may need several tries.

    Ctrl-C ends it; what was done until then is shown. What a limit of the machine forbids is left out.

    Exit status 0: no failure; 1: failures; 130: Ctrl-C.

    \b
    Examples:
      python -m stress                             a minute of everything
      python -m stress --only sync --seconds 600   ten minutes of the primitives
      python -m stress --only lock --seed 7        one mix, as it was before
    """
    if as_list:
        _list()
        return 0
    chosen = _chosen(only)
    seed = random.SystemRandom().getrandbits(31) if seed is None else seed
    results = _Results(seed, chosen)
    try:
        _all(chosen, seed, seconds, patience, results, quiet=json_to is not None and json_to.alone)
    except KeyboardInterrupt:
        results.stopped = True
    finally:
        if json_to:
            json_to.take(results.facts())
    if not (json_to and json_to.alone):
        click.echo(results.line())
    return 130 if results.stopped else 1 if results.failed else 0


class _Results:
    def __init__(self, seed: int, chosen: list[Mix]) -> None:
        self.seed = seed
        self.mixes = dict.fromkeys((mix.name for mix in chosen), 0)  # operations, by mix
        self.seconds = dict.fromkeys((mix.name for mix in chosen), 0.0)
        self.left_out: dict[str, str] = {}
        self.failed: list[Failure] = []
        self.ended: set[str] = set()  # mixes that have had a turn
        self.stopped = False  # by Ctrl-C

    def line(self) -> str:
        """The result so far in one line."""
        line = f"{sum(self.mixes.values()):,} operations, {len(self.failed)} failures, seed {self.seed}"
        return f"stopped: {len(self.ended)} of {len(self.mixes)} mixes, {line}" if self.stopped else line

    def facts(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "python": sys.version.split()[0],
            "operations": sum(self.mixes.values()),
            "failures": len(self.failed),
            "stopped": self.stopped,
            "mixes": self.mixes,
            "seconds": {name: round(spent, 1) for name, spent in self.seconds.items()},
            "left_out": self.left_out,
            "failed": [asdict(failure) for failure in self.failed],
        }


def _all(chosen: list[Mix], seed: int, seconds: float, patience: float, results: _Results, quiet: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from ._watch import watch

    console = Console(highlight=False, markup=False, emoji=False, quiet=quiet)
    rounds = max(1, round(seconds / len(chosen) / _ROUND))
    slice_ = seconds / len(chosen) / rounds
    mixes = "1 mix" if len(chosen) == 1 else f"{len(chosen)} mixes"
    console.print(f"seed {seed}, {mixes}, {slice_:.1f} s each{f', {rounds} times' if rounds > 1 else ''}")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        whole = progress.add_task("all", total=len(chosen) * rounds)
        for number in range(rounds):
            for mix in chosen:
                task = progress.add_task(mix.name, total=slice_)

                def look(gone: float, operations: int, task: Any = task, name: str = mix.name) -> None:
                    progress.update(task, completed=gone, description=f"{name}: {operations:,} operations")

                begin = time.monotonic()
                outcome = watch(mix, round_seed(seed, number), slice_, patience, look)
                spent = time.monotonic() - begin
                progress.remove_task(task)
                progress.advance(whole)
                results.mixes[mix.name] += outcome.operations
                results.seconds[mix.name] += spent
                results.ended.add(mix.name)
                if outcome.left_out is not None:
                    results.left_out[mix.name] = outcome.left_out
                how = f"left out: {outcome.left_out}" if outcome.left_out is not None else "ok"
                if outcome.failure is not None:
                    results.failed.append(outcome.failure)
                    how = f"FAILED: {outcome.failure.what}"
                console.print(
                    f"{mix.name:16} {spent:7.1f} s {outcome.operations:12,} operations   {how}", soft_wrap=True
                )
                if outcome.failure is not None:
                    _show(console, outcome.failure)


def _show(console: Any, failure: Failure) -> None:
    lines = [
        f"\n==== {failure.mix} {failure.what}",
        f"seed {failure.seed}, Python {failure.python}",
        f"run it again: {failure.again}",
        "the last operations:",
        *failure.operations,
        "what it said:",
        failure.output,
        "====",
    ]
    console.print("\n".join(lines), soft_wrap=True)


try:
    sys.exit(stress.main(sys.argv[1:], "python -m stress", standalone_mode=False))
except click.Abort:
    sys.exit(130)  # Ctrl-C, as a shell tells it
except click.ClickException as error:
    print("stress:", " ".join(error.format_message().split()).rstrip("."), file=sys.stderr)
    sys.exit(2)
