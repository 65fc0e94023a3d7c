"""Options that were taken away, each with the sentence that says what serves instead, for one release."""

from __future__ import annotations

#: Of each command, and of pytest's plugin.
GONE = {
    "explore": {
        "--dask": "--dask is gone: --workers N shares the runs among processes, and another --seed on each machine "
        "shares them among machines",
    },
}


def why_gone(command: str | None, option: str) -> str | None:
    """The sentence, if that option was taken away."""
    return GONE.get(command or "", {}).get(option)
