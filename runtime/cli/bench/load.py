"""The process that asks a server of `bench --io`: C, in a process of its own, so that no Python takes the processor."""

from __future__ import annotations

import json
import signal
from typing import Any

from ...native.structures import ffi, lib
from .measure import PATIENCE, Failed, answer

__all__ = ["child"]


def _do(task: dict[str, Any]) -> None:
    signal.alarm(PATIENCE + int(task["seconds"]))  # nobody handles it: for a server that accepts nothing
    result = ffi.new("struct load_result *")
    if lib.load_run(ffi.new("struct load *", task), result) != 0:
        raise Failed(ffi.string(result.why).decode())
    names = ("answers", "seconds", "server_cpu", "own_cpu", "server_grew")
    print(json.dumps({name: getattr(result, name) for name in names}), flush=True)


def child() -> None:
    answer(_do)
