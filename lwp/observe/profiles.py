"""Stacks at which threads have waited and held, in the formats of other tools: pprof and speedscope.

The formats: google/pprof's proto/profile.proto, and jlfwong/speedscope's src/lib/file-format-spec.ts.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterable
from typing import Any

# ---- pprof -----------------------------------------------------------------------------------------------------------

#: Go's names for the first two (runtime/pprof's block and mutex profiles); a sample has one value for each.
_VALUES = (("contentions", "count"), ("delay", "nanoseconds"), ("holds", "count"), ("held", "nanoseconds"))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _numbers(field: int, values: Iterable[int]) -> bytes:
    return _bytes(field, b"".join(map(_varint, values)))


class _Numbers(dict[Any, int]):
    """Gives each new key the next number."""

    def __missing__(self, key: Any) -> int:
        self[key] = number = len(self)
        return number


def pprof(facts: dict[str, Any]) -> bytes:
    """The stacks of locks.facts() as a gzipped profile, whose samples have what was waited for as the label "lock"."""
    texts, functions, places = _Numbers({"": 0}), _Numbers({None: 0}), _Numbers({None: 0})  # numbers from 1 on
    samples = []
    for stack in facts["stacks"]:
        values = [round(stack["count"]), round(stack["seconds"] * 1e9)]
        where = [places[line["file"], line["line"], line["function"]] for line in stack["lines"]]
        label = _number(1, texts["lock"]) + _number(2, texts[stack["name"]])
        values = [*values, 0, 0] if stack["of"] == "waits" else [0, 0, *values]
        samples.append(_numbers(1, where) + _numbers(2, values) + _bytes(3, label))
    body = [_bytes(1, _number(1, texts[kind]) + _number(2, texts[unit])) for kind, unit in _VALUES]
    body += [_bytes(2, sample) for sample in samples]
    for place, number in places.items():
        if place is not None:
            file, line, function = place
            at = _number(1, functions[file, function]) + _number(2, line)
            body.append(_bytes(4, _number(1, number) + _bytes(4, at)))
    for key, number in functions.items():
        if key is not None:
            file, name = key
            said = _number(2, texts[name]) + _number(3, texts[name]) + _number(4, texts[file])
            body.append(_bytes(5, _number(1, number) + said))
    body.append(_number(9, time.time_ns()) + _number(10, round(facts["seconds"] * 1e9)))
    body.append(_number(14, texts["delay"]))
    body += [_bytes(6, text.encode(errors="replace")) for text in texts]
    return gzip.compress(b"".join(body))


# ---- speedscope ------------------------------------------------------------------------------------------------------


def speedscope(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The stacks of locks.facts() as two profiles, waits and holds; the innermost frame is what was waited for."""
    frames: dict[tuple[Any, ...], int] = _Numbers()
    profiles = []
    for of in ("waits", "holds"):
        stacks = [stack for stack in facts["stacks"] if stack["of"] == of]
        weights = [round(stack["seconds"] * 1e9) for stack in stacks]
        samples = [
            [
                *(frames[line["function"], line["file"], line["line"]] for line in reversed(stack["lines"])),
                frames[stack["name"], None, None],
            ]
            for stack in stacks
        ]
        profiles.append(
            {
                "type": "sampled",
                "name": of,
                "unit": "nanoseconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        )
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "exporter": "lwp",
        "activeProfileIndex": 0,
        "shared": {
            "frames": [
                {"name": function} if file is None else {"name": function, "file": file, "line": line}
                for function, file, line in frames
            ]
        },
        "profiles": profiles,
    }
