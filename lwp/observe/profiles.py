"""Stacks at which threads have waited and held, for speedscope.app.

The format: jlfwong/speedscope's src/lib/file-format-spec.ts.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import Any


def speedscope(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The stacks of locks.facts() as two profiles, waits and holds; the innermost frame is what was waited for."""
    frames: dict[tuple[Any, ...], int] = defaultdict(count().__next__)  # each has the next number
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
