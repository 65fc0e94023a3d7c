"""The rooms of the C core call downwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import layers


@pytest.fixture(scope="module")
def calls() -> layers.Calls:
    return layers.calls()


def test_each_file_calls_only_files_below_it(calls: layers.Calls) -> None:
    assert len(calls) > len(layers.SOURCES)
    assert list(layers.complaints(calls)) == []


def test_a_call_upwards_is_found(calls: layers.Calls) -> None:
    found = {**calls, ("base/park.c", "green/switch.c"): {"green_switch"}}
    assert list(layers.complaints(found)) == [
        "base/park.c calls green/switch.c, which stands above it: green_switch",
    ]


def test_no_room_below_python_knows_python() -> None:
    for path in layers.NATIVE.rglob("*.[ch]"):
        if path.name != "_core.c" and path.parent.name not in ("python", "primitives", "observe"):
            assert "#include <Python.h>" not in path.read_text(), path
