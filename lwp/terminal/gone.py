"""Options that are gone, by command, and what serves instead: told for one release."""

from __future__ import annotations

GONE = {
    "explore": {
        "--dask": "--workers N shares the runs among processes, and another --seed on each machine among machines",
    },
    "run": {
        "--live": "lwp top PID shows the threads of a running program",
        "--trace-size": "the latest half a million records are kept, with --last SECONDS a million",
        "--watchdog-exit": "timeout 60 lwp run --watchdog 10 ends a program, or runtime.watchdog(10, exit=1) in it",
        "--lock-order-exit": "--lock-order ends with status 1 in place of 0",
    },
}


def gone(command: str, option: str) -> str:
    """A sentence about an option that the command had; "": it had none of that name."""
    serves = GONE.get(command, {}).get(option)
    return f"{option} is gone: {serves}" if serves else ""
