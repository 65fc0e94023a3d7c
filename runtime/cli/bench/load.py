"""The process that asks a server of `bench --io`: C, in a process of its own, so that no Python takes the processor."""

from __future__ import annotations

import json
import signal
from typing import Any

from ...native import load_run
from .measure import PATIENCE, Failed, answer

__all__ = ["child"]


def _do(task: dict[str, Any]) -> None:
    signal.alarm(PATIENCE + int(task["seconds"]))  # nobody handles it: for a server that accepts nothing
    result = load_run(**task)
    if isinstance(result, str):
        raise Failed(result)
    print(json.dumps(result), flush=True)


def child() -> None:
    answer(_do)
