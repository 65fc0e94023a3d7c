"""Runs the commands that docs/*.md show and writes what they print below them.

    python tools/run_documents.py [FILE ...]            all of docs/, or these
    python tools/run_documents.py --check [FILE ...]    changes nothing; exit status 1 when a document is out of date

A command stands in a document like this; the second block is written by this program:

    <!-- shown below -->
    ```sh
    lwp demo createthread | sed -n '/creator: clone/,/^ *$/p'
    ```

    ```text
    ...
    ```

What comes before the first " | " is run once for a document, so that several excerpts tell of one and the same thread.
`lwp` and `python` are those of the Python that runs this.  The line after <!-- machine --> says where the commands ran.

Addresses, tids and times are never the same twice, and where a line is wrapped depends on their length.  So --check
compares which words, those with digits left out, a command prints.  Another processor, C library or kernel may need
other words: there --check only looks whether each command works.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MARK = re.compile(
    r"(?P<head><!-- shown below -->\n```sh\n(?P<command>.*?)```\n)(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL
)
MACHINE = re.compile(r"(?<=<!-- machine -->\n).*\n")
UNITS = {"B", "KiB", "MiB", "GiB", "ns", "µs", "ms", "s"}  # which one depends on the number before it


class Failed(Exception):
    """A command of a document failed, or printed nothing."""


def machine() -> str:
    """The line that says where the commands ran."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    linux = ".".join(platform.release().split(".")[:2])
    processor = f"{platform.machine()} ({cpu[1] if cpu else 'unknown'}, {os.cpu_count()} cores)"
    glibc, python = platform.libc_ver()[1], platform.python_version()
    return f"Run on {processor}, Linux {linux}, glibc {glibc}, CPython {python}.\n"


def system(line: str) -> list[str]:
    """Processor, kernel and C library of such a line."""
    return re.findall(r"Run on \w+|Linux [\d.]*\d|glibc [\d.]*\d", line)


def shell(script: str, given: str | None = None) -> str:
    """What bash prints, into 100 columns and without colours."""
    functions = 'lwp() { "$PYTHON" -m runtime "$@"; }\npython() { "$PYTHON" "$@"; }\nset -o pipefail\n'
    settings = {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", functions + script],
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **settings},
        timeout=100,
    )
    if done.returncode or not done.stdout.strip():
        why = done.stderr.strip() or "it printed nothing"
        raise Failed(f"{script.strip()}\n  exit status {done.returncode}: {why}")
    return done.stdout


class Commands:
    """Runs a document's commands, what several have before their first pipe only once."""

    def __init__(self) -> None:
        self._printed: dict[str, str] = {}

    def run(self, command: str) -> str:
        source, pipe, filters = command.partition(" | ")
        if source not in self._printed:
            self._printed[source] = shell(source)
        text = self._printed[source]
        if pipe:
            text = shell(filters, text)
        return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def words(text: str) -> set[str]:
    """Those that stay the same from run to run."""
    found = {word.strip(".,:;()") for word in text.split()}
    return {word for word in found if re.fullmatch(r"[^\W\d]\D*", word) and "…" not in word} - UNITS


def written(text: str) -> str:
    """The document with what its commands print now."""
    commands = Commands()
    text = MACHINE.sub(lambda _: machine(), text)
    return MARK.sub(lambda found: f"{found['head']}\n```text\n{commands.run(found['command'])}```\n", text)


def complaints(text: str) -> list[str]:
    """What is out of date in the document."""
    commands = Commands()
    line = MACHINE.search(text)
    here = line is not None and system(line[0]) == system(machine())
    found = []
    for mark in MARK.finditer(text):
        now = words(commands.run(mark["command"]))
        before = words(mark["output"] or "")
        if here and now != before:
            found.append(f"{mark['command'].strip()}\n  new: {sorted(now - before)}, gone: {sorted(before - now)}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the commands that documents show and writes what they print.")
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 when a document is out of date")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: all of docs/")
    options = parser.parse_args()
    stale = False
    for path in options.files or sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text()
        try:
            if not options.check:
                path.write_text(written(text))
                continue
            found = complaints(text)
        except Failed as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 1
        for complaint in found:
            print(f"{path}: out of date: {complaint}")
        stale = stale or bool(found)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
