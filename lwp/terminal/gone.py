"""Options that are gone, by command, and what serves instead: told for one release."""

from __future__ import annotations

_SPEEDSCOPE = "--speedscope FILE writes the same stacks for speedscope.app"

GONE = {
    "run": {
        "--pprof": _SPEEDSCOPE,
        "--live": "lwp top PID shows the threads of a running program",
        "--page": "lwp watch PID serves the page of a running program",
        "--page-control": "lwp dump PID and lwp record PID --last SECONDS do what the page did",
    },
    "locks": {"--pprof": _SPEEDSCOPE},
    "watch": {"--page-control": "lwp dump PID and lwp record PID --last SECONDS do what the page did"},
}


def gone(command: str, option: str) -> str:
    """A sentence about an option that the command had; "": it had none of that name."""
    serves = GONE.get(command, {}).get(option)
    return f"{option} is gone: {serves}" if serves else ""
