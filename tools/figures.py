"""Draws the figures of the documents, docs/figures/*.svg, of what it sees here and now.

    python tools/figures.py            draws them anew
    python tools/figures.py --check    changes nothing; exit status 1 when a figure is out of date

Each figure is of living threads, so no two have the same addresses, times and tids.  --check compares what is drawn:
the shapes and their classes, and the words of the texts.  On another processor, kernel or C library, a figure is only
drawn, as run_documents.py does it with outputs.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from run_documents import ROOT, machine, system, words

from lwp.study.demo import createthread
from lwp.study.demo._life import life_figure, memory_figure
from lwp.study.figures._svg import PARTS, Figure, arrow, group, line, rect, text
from lwp.study.tlsmap.inspection import Inspection
from runtime import tls
from runtime.scheduler import Scheduler, yield_

WIDTH = 450

# ---- a life ----------------------------------------------------------------------------------------------------------


def life() -> Figure:
    return life_figure(createthread.run(None)["steps"])


def memory() -> Figure:
    """While the thread runs its function."""
    facts = createthread.run(None)
    return memory_figure(facts, [step["name"] for step in facts["steps"]].index("target"))


# ---- generations of a DTV --------------------------------------------------------------------------------------------


def dtv() -> Figure:
    """Two threads' DTVs while a library comes and goes, as examples/dtv_generations.py prints them."""
    program = [sys.executable, str(ROOT / "examples" / "dtv_generations.py")]
    printed = subprocess.run(program, capture_output=True, text=True, check=True, cwd=tempfile.gettempdir()).stdout
    rows = [re.split(r"  +", row.strip()) for row in printed.splitlines()[1:]]
    columns = {8: "what is done", 188: "main's DTV", 308: "sleeper's DTV"}  # px
    parts = [text(x, 18, said, "head") for x, said in columns.items()]
    y = 30
    for what, mains, sleepers, block in rows:
        parts.append(text(8, y + 27, what))
        library = "no block of it" if block == "-" else f"block {block}"
        for x, wide, generation, more in ((188, 112, mains, ""), (308, 154, sleepers, library)):
            box = [
                rect(x, y, wide, 44, colour=PARTS["module"]),
                text(x + 8, y + 18, f"generation {generation}", "head inside"),
                text(x + 8, y + 35, more, "inside"),
            ]
            parts.append(group(box, f"part {'there' if generation == mains else 'mapped'}"))
        y += 54
    parts.append(text(8, y + 12, "Not filled: older than glibc's count of libraries that came and went.", "dim"))
    return Figure("Two DTVs and their generations while a library comes and goes", 470, y + 24, "".join(parts))


# ---- a switch --------------------------------------------------------------------------------------------------------


def two_green_threads() -> tuple[Inspection, Inspection]:
    seen: list[Inspection] = []
    scheduler = Scheduler()

    def body() -> None:
        seen.append(tls.inspect())
        yield_()

    for _ in "ab":
        scheduler.spawn(body)
    scheduler.run()
    first, second = seen
    assert first.tid == second.tid
    return first, second


def switch() -> Figure:
    """What arch_swap() does, with two green threads of one LWP."""
    both = two_green_threads()
    top, left, wide = 34, (8, 306), 136
    pushed, used = top + 138, top + 68
    parts = []
    for name, x, seen in zip("AB", left, both, strict=True):
        box = [
            ("TCB, struct pthread", PARTS["pthread"], top, 34, "there"),
            ("TLS of the modules", PARTS["module"], top + 34, 34, "there"),
            ("stack: frames; of its functions", PARTS["used"], used, 70, "there"),
            ("registers, pushed", PARTS["tcb"], pushed, 26, "there" if name == "B" else "mapped"),
            ("", "", pushed + 26, 44, "mapped"),
        ]
        parts.append(text(x, 20, f"thread {name}", "head"))
        for said, colour, y, tall, state in box:
            first, _, second = said.partition("; ")
            drawn = [rect(x, y, wide, tall, colour=colour), text(x + 8, y + 18, first, "inside")]
            if second:
                drawn.append(text(x + 8, y + 36, second, "inside"))
            parts.append(group(drawn, f"part {state}"))
        parts.append(text(x, pushed + 88, f"tp {seen.thread_pointer:#x}", "mono dim"))
    lwp, middle = 172, 172 + 106
    parts.append(group([rect(lwp, top, 106, 196)], "part plain mapped"))
    parts.append(text(lwp + 53, top + 18, "the LWP", "head", "middle"))
    parts.append(text(lwp + 53, top + 186, f"tid {both[0].tid}", "mono dim", "middle"))
    for name, y in (("thread pointer", top + 34), ("stack pointer", pushed + 26)):
        parts.append(text(lwp + 53, y + (-6 if y > 100 else 16), name, "", "middle"))
        parts.append(line(lwp, y, left[0] + wide, y, "sleeps"))
        parts.append(arrow(middle, y, left[1] - 2))
    steps = [
        "1  push what a function preserves, on A's stack; keep A's stack pointer",
        "2  load B's thread pointer: from here on errno and pthread_self() are B's",
        "3  load B's stack pointer; pop what B pushed at its own switch",
        "4  return: B goes on after its own call of the same function",
    ]
    y = pushed + 118
    parts += [line(8, y - 18, 442, y - 18), *(text(8, y + 19 * at, step) for at, step in enumerate(steps))]
    parts.append(text(8, y + 76, "Dotted: before. Arrows: after. The PyThreadState is changed around it.", "dim"))
    return Figure("A switch from one green thread to another on one LWP", WIDTH, y + 90, "".join(parts))


# ---- all -------------------------------------------------------------------------------------------------------------

FIGURES: dict[str, Callable[[], Figure]] = {"life": life, "memory": memory, "dtv": dtv, "switch": switch}


def structure(svg: str) -> Counter[tuple[str, str, str]]:
    """How often each element stands in it: its tag, its class, and its words without what has digits in it."""
    found: Counter[tuple[str, str, str]] = Counter()
    for element in ET.fromstring(svg).iter():
        tag = element.tag.rpartition("}")[2]
        said = " ".join(sorted(words(element.text or ""))) if tag in ("text", "title") else ""
        found[tag, element.get("class", ""), said] += 1
    return found


def complaint(drawn: str, there: str) -> str:
    """Why what is there is out of date; "" if it isn't, or was drawn on another system."""
    if system(there) != system(drawn):
        return ""
    new, old = structure(drawn), structure(there)
    return "" if new == old else f"new: {sorted(new - old)}, gone: {sorted(old - new)}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Draws the figures of the documents.")
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 when a figure is out of date")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "figures", help="default: docs/figures")
    options = parser.parse_args()
    stale = False
    for name, draw in FIGURES.items():
        path, drawn = options.folder / f"{name}.svg", draw().file(machine().strip())
        if not options.check:
            path.write_text(drawn)
        elif why := complaint(drawn, path.read_text()):
            print(f"{path}: out of date: {why}")
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
