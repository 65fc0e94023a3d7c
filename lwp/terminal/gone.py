"""Options that are gone, by command, and what serves instead: told for one release."""

from __future__ import annotations

_SAVE = "lwp dump PID and lwp record PID --last SECONDS save what the page saved"
_LAST = "--trace FILE --last SECONDS keeps the latest records, and leaves FILE.records when the program is killed"

GONE = {
    "explore": {
        "--dask": "--workers N shares the runs among processes, and another --seed on each machine among machines",
        "--from": "lwp explore FILE.py::TEST looks for a failing order by itself, and prints its token",
    },
    "pytest": {"--lwp-chaos-record": "--lwp-explore looks for a failing order, and prints its token"},
    "run": {
        "--chaos-record": "lwp explore FILE.py looks for a failing order, and prints its token",
        "--live": "lwp top PID shows the threads of a running program",
        "--page": "lwp watch PID serves the page of a running program",
        "--page-control": _SAVE,
        "--pprof": "--locks FILE.speedscope.json writes the same stacks for speedscope.app",
        "--speedscope": "--locks FILE.speedscope.json writes the stacks",
        "--locks-json": "--locks FILE.json writes all rows",
        "--recorder": _LAST,
        "--recorder-on": _LAST,
        "--recorder-to": _LAST,
        "--recorder-size": _LAST,
        "--trace-size": "the latest half a million records are kept, with --last SECONDS a million",
        "--watchdog-exit": "timeout 60 lwp run --watchdog 10 ends a program, or runtime.watchdog(10, exit=1) in it",
        "--lock-order-exit": "--lock-order ends with status 1 in place of 0",
    },
    "locks": {"--pprof": "--speedscope FILE writes the same stacks for speedscope.app"},
    "watch": {"--page-control": _SAVE},
}


def gone(command: str, option: str) -> str:
    """A sentence about an option that the command had; "": it had none of that name."""
    serves = GONE.get(command, {}).get(option)
    return f"{option} is gone: {serves}" if serves else ""
