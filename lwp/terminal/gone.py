"""Options that are gone, by command, and what serves instead: told for one release."""

from __future__ import annotations

GONE = {
    "explore": {
        "--dask": "--workers N shares the runs among processes, and another --seed on each machine among machines",
        "--from": "lwp explore FILE.py::TEST looks for a failing order by itself, and prints its token",
    },
    "pytest": {"--lwp-chaos-record": "--lwp-explore looks for a failing order, and prints its token"},
    "run": {
        "--chaos-record": "lwp explore FILE.py looks for a failing order, and prints its token",
    },
}


def gone(command: str, option: str) -> str:
    """A sentence about an option that the command had; "": it had none of that name."""
    serves = GONE.get(command, {}).get(option)
    return f"{option} is gone: {serves}" if serves else ""
