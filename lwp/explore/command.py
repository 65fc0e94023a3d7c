"""`explore`: a test, or a whole program, under many schedules until one makes it fail."""

from __future__ import annotations

import functools
import json
import shlex
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from ..core import printable
from ..terminal.options import seconds, write_file
from ..terminal.program import end_options_after, forget_click, options_before

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from . import Progress, Result, Target

_STATUS = {"found": 1, "exhausted": 0, "budget spent": 0, "inconclusive": 3, "early timeout": 4, "cancellation": 5}
_RUNS, _STEPS = 1000, 20_000
_FUNCTION = "lwp.explore.function"  # in click's context: FILE.py::TEST


class _Line:
    """A line on the terminal that says how far the exploration is."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._began = time.monotonic()
        self.last: Progress | None = None

    def tell(self, progress: Progress) -> None:
        self.last = progress
        if self._stream is None:
            return
        rate = progress.runs / progress.seconds if progress.seconds else 0
        text = f"{progress.runs:,} runs, {rate:,.0f} runs/s, {progress.distinct:,} distinct schedules"
        if progress.failed:
            text += "; one fails, and is made simpler"
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()

    def clear(self) -> None:
        if self._stream is not None and self.last is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def so_far(self) -> str:
        if self.last is None:
            return f"interrupted after {time.monotonic() - self._began:.1f} s"
        return (
            f"interrupted after {self.last.runs:,} runs, {self.last.seconds:.1f} s, "
            f"{self.last.distinct:,} distinct schedules: "
            + ("one fails, which was not made simpler yet" if self.last.failed else "none fails")
        )


def _print(result: Result, output: str) -> None:
    print(result.report().rstrip())
    if output:
        print("\nWhat that run printed:")
        print("".join(f"  {line}\n" for line in output.splitlines()), end="")


def _explore(
    target: Target,
    wanted: dict[str, Any],
    token: str | None,
    debugged: bool,
    html: Path | None,
    as_json: bool,
) -> int:
    import lwp_runtime

    from ..core import patch
    from . import BadToken, TargetError, explore, replay
    from .explorer import options_of_replay, survived
    from .results import facts_of
    from .run.hand import Hand
    from .settings import SettingsError
    from .ways.beside import in_child
    from .ways.debugger import debug, without_breakpoints
    from .ways.targets import Output

    hand = Hand(wanted["max_steps"])
    how = in_child(hand)
    forget_click()
    patch.install()
    lwp_runtime.give_way()
    line = _Line(sys.stderr)
    output = Output()
    try:
        test = target.load()
        run = output.of_last_run(test, target.file)
        with output, without_breakpoints() if debugged else nullcontext():
            if how:
                result = survived(run, token or hand, how, **options_of_replay(wanted))
            elif token is not None:
                result = replay(run, token, **options_of_replay(wanted))
            else:
                result = explore(run, **wanted, progress=line.tell)
    except (BadToken, SettingsError, TargetError) as error:
        raise click.UsageError(str(error)) from None
    except KeyboardInterrupt:
        line.clear()
        print("lwp:", line.so_far(), file=sys.stderr)
        return 130
    except BaseException as error:
        if type(error).__name__ not in ("SkipTest", "Skipped"):
            raise
        line.clear()
        print("lwp: the test skips itself:", printable(str(error)), file=sys.stderr)
        return 3
    line.clear()
    if result.error is None and not result._tried.varies and (tests := target.tests()):
        raise click.UsageError(
            f"{target.what} starts no thread when it is run. It has tests, of which one can be named: "
            f"{target.what}::{', ::'.join(tests[:6])}{', ...' * (len(tests) > 6)}"
        )
    if result.token is not None:
        options = [] if wanted["max_steps"] == _STEPS else ["--max-steps", str(wanted["max_steps"])]
        for option in ("include", "exclude"):
            options += [word for name in wanted[option] for word in (f"--{option}", name)]
        result.command = shlex.join(["lwp", "explore", "--replay", result.token, *options, *target.words()])
    printed = output.text if result.error is not None else ""
    if html is not None and result.token is not None:
        write_file(html, result.page(), "--html: ")
    if as_json:
        facts = {"target": shlex.join(target.words()), **facts_of(result), "output": printed}
        print(json.dumps(facts, indent=2))
    else:
        _print(result, printed)
    if debugged and token is not None and result.token is not None:
        again = functools.partial(test)  # with the terminal as it is
        again.explored_file = target.file  # type: ignore[attr-defined]
        debug(again, token, **options_of_replay(wanted))
    return _STATUS[result.outcome.value]


# ---- the command -----------------------------------------------------------------------------------------------------


class _Explore(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """FILE.py::test may also stand before options; what follows a script or a module belongs to it."""
        for at in options_before(self, args):
            if args[at].startswith("-m"):
                args = end_options_after(args, at)
            elif "::" in args[at] and not args[at].startswith("-"):
                ctx.meta[_FUNCTION] = args[at]
                args = [*args[:at], *args[at + 1 :]]
        return super().parse_args(ctx, args)


def _strategy(value: str) -> str:
    from .search.strategies import check_strategy

    try:
        check_strategy(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _complete_strategy(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from .search.strategies import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def _complete_test(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of files, and behind `::` those of tests. bash takes `FILE.py::TEST` for three words."""
    from click.shell_completion import CompletionItem

    from . import Target

    before = "".join(ctx.params.get("args") or ()) + ctx.meta.get(_FUNCTION, "")
    path, colons, _ = f"{before}{incomplete}".partition("::")
    if not colons:
        return [CompletionItem(incomplete, type="file")]
    try:
        tests = [f"{path}::{name}" for name in Target.of(path).tests()]
    except SyntaxError:
        return []
    return [CompletionItem(test[len(before) :]) for test in tests if test.startswith(before + incomplete)]


def _show_all(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        for option in ctx.command.params:
            if isinstance(option, click.Option):
                option.hidden = False
        click.echo(ctx.get_help())
        ctx.exit()


_hidden = functools.partial(click.option, hidden=True)  # until --help-all


@click.command(
    cls=_Explore,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    short_help="Find the schedule that makes a test fail.",
)
@click.option("--runs", type=click.IntRange(1), default=_RUNS, metavar="N", help=f"Make at most N runs ({_RUNS}).")
@click.option("--seconds", type=seconds(1e-9, 1e9), metavar="S", help="Explore for at most S seconds.")
@click.option("--seed", type=int, metavar="N", help="Try the same schedules each time. Without a seed they differ.")
@click.option(
    "--early-timeouts",
    is_flag=True,
    help="In the last quarter of the runs, let timeouts fire though other threads could go on.",
)
@click.option(
    "--cancel", is_flag=True, help="In the last quarter of the runs, cancel a task of asyncio at any of its awaits."
)
@click.option(
    "--workers", type=click.IntRange(1, 1024), default=1, metavar="N", help="Share the runs among N processes."
)
@click.option("--replay", "token", metavar="TOKEN", help="Run only the schedule that this token stands for.")
@click.option(
    "--pdb",
    "debugged",
    is_flag=True,
    help="With --replay: once more, with prompts of pdb before the last switch, at breakpoints and at the failure.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what was found as a web page, with a picture of the schedule.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("-m", "module", metavar="MODULE", help="Explore a module, run as a program.")
@click.option(
    "--help-all", is_flag=True, is_eager=True, expose_value=False, callback=_show_all, help="Show all options and exit."
)
@_hidden(
    "--strategy",
    default="auto",
    type=_strategy,
    shell_complete=_complete_strategy,
    metavar="NAME",
    help="How to choose: auto, chance, random, pct (pct:3), pos, dpor or dfs (dfs:2): docs/lwp/explore-reference.md.",
)
@_hidden(
    "--granularity",
    type=click.Choice(["auto", "sync", "gil", "opcode"]),
    default="auto",
    help="Where threads may be switched: sync, gil, opcode, or auto: each in turn.",
)
@_hidden(
    "--max-steps",
    type=click.IntRange(1, 10_000_000),
    default=_STEPS,
    metavar="N",
    help="From step N of a run on, all threads take turns (20000).",
)
@_hidden(
    "--include",
    multiple=True,
    metavar="NAME",
    help="Also switch threads between the bytecodes of this module or package.",
)
@_hidden(
    "--exclude",
    multiple=True,
    metavar="NAME",
    help="Don't switch threads between the bytecodes of this module or package.",
)
@_hidden("--races", is_flag=True, help="Also list uses of the same data that no primitive orders. Runs take longer.")
@click.argument(
    "args", nargs=-1, type=click.UNPROCESSED, shell_complete=_complete_test, metavar="FILE.py::TEST | FILE.py [ARGS]"
)
def explore(
    token: str | None,
    debugged: bool,
    html: Path | None,
    as_json: bool,
    module: str | None,
    args: tuple[str, ...],
    **wanted: Any,
) -> int:
    """Run a test under many schedules of its threads, until one makes it fail.

    FILE.py::TEST is a function without arguments, FILE.py::Class::method a method.  A script or a module is run as
    a whole each time, anew, and fails by an exception or an exit status other than 0.  Its code needs no change: its
    threads and locks may be those of threading.

    A schedule that fails is made simpler, replayed ten times, and reported with a token that stands for it.

    \b
    Exit status:
      0  nothing was found            1  found
      2  wrong usage                  3  inconclusive: why is said
      4  only with --early-timeouts: a timeout that fires early makes it fail
      5  only with --cancel: a task that is cancelled makes it fail
      130  Ctrl-C: what was done until then is said

    \b
    Examples:
      lwp explore test_bank.py::test_transfer
      lwp explore --runs 100000 --workers 4 test_bank.py::TestBank::test_transfer
      lwp explore --replay s-x7em-6.2 test_bank.py::test_transfer
      lwp explore --seconds 60 simulation.py --size 3
    """
    from . import Target

    function = click.get_current_context().meta.get(_FUNCTION)
    if function is not None:
        if args:
            raise click.UsageError(f"{function} is a function, and takes no arguments: {shlex.join(args)}")
        target = Target.of(function)
    elif module is not None:
        target = Target("module", module, args=args)
    elif args:
        target = Target.of(args[0], args[1:])
    else:
        raise click.UsageError("what is to be explored? Give FILE.py::TEST, FILE.py, or -m MODULE")
    if wanted["races"] and wanted["workers"] > 1:
        raise click.UsageError("--races lists what one process has seen: it can't go with --workers")
    if html is not None and not html.absolute().parent.is_dir():
        raise click.UsageError(f"--html: no folder {html.parent}")
    if debugged and (token is None or as_json):
        raise click.UsageError("--pdb is for --replay" + ", and prints no JSON" * as_json)
    return _explore(target, wanted, token, debugged, html, as_json)
