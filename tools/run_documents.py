"""Runs the commands that README.md and the documents in docs/, course/ and found/ show, and writes what they print.

    python tools/run_documents.py [FILE ...]            all of these, or these files
    python tools/run_documents.py --check [FILE ...]    changes nothing; exit status 1 when a document is out of date
    python tools/run_documents.py --measure [FILE ...]  the measurements too, which take minutes
    python tools/run_documents.py --measure --only TEXT [FILE ...]  of these, the commands that contain the text

A command stands in a document like this; the second block is written by this program:

    <!-- shown below -->
    ```sh
    lwp demo createthread | sed -n '/creator: clone/,/^ *$/p'
    ```

    ```text
    ...
    ```

A command that is to fail stands below <!-- shown below, exit status 1 -->.

One that a reader types in an empty folder, with a file of this tree, stands below
<!-- shown below, in a folder with course/steps/1_stack.c -->: all such commands of a document
run in one new folder.

Where a line of the output is only "...", lines are left out: a writer takes lines away and writes "..." once, and this
program then renews the lines that are shown.  It fails when one of them is not printed any more, or a line is printed
between two that follow each other here.

Below <!-- run --> stands a command that installs the package and then uses it.  Only what follows its last "&&" is run
here, with this Python.

Between the two blocks the opening of a <details> may stand, which hides the output until the reader asks for it.

What comes before the first " | " is run once for a document, so that several excerpts tell of one and the same thread.
`lwp` and `python` are those of the Python that runs this.  The line after <!-- machine --> says where the commands ran.

Addresses, tids and times are never the same twice, and where a line is wrapped depends on their length.  So --check
compares which words, those with digits left out, a command prints.  Another processor, C library or kernel may need
other words: there --check only looks whether each command works.  A document without a machine's line has what is the
same on all.

Below <!-- measured below with CPython 3.13 --> stands a measurement, made by that Python with --measure and left alone
otherwise.  The machine is then named in the block itself.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import runtime

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("docs", "course", "found")

MARK = re.compile(
    r"(?P<head><!-- (?:(?:(?P<installs>run)|shown below)(?:, in a folder with (?P<file>[\w./-]+))?"
    r"(?:, exit status (?P<status>\d+))?"
    r"|measured below with CPython (?P<python>[\d.]+)) -->\n"
    r"```sh\n(?P<command>.*?)```\n(?:\n<details><summary>[^\n]*</summary>\n)?)(?:\n```text\n(?P<output>.*?)```\n)?",
    re.DOTALL,
)
MACHINE = re.compile(r"(?<=<!-- machine -->\n).*\n")
UNITS = {"B", "KiB", "MiB", "GiB", "ns", "µs", "ms", "s"}  # which one depends on the number before it


LEFT_OUT = "..."  # a line for those that a document doesn't show


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


BINARIES, LIBRARIES, VERSION = map(sysconfig.get_config_var, ("BINDIR", "LIBDIR", "LDVERSION"))
CONFIG = f"{BINARIES}/python{VERSION}-config"  # how a program is compiled that runs this Python in itself

# What a reader at a terminal has not set: with the first two pytest cuts no long line short.
NOT_A_READERS = ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "FORCE_COLOR", "PY_COLORS", "CLICOLOR_FORCE")


def prepared(script: str, tree: Path) -> tuple[list[str], dict[str, str]]:
    """The bash that prints into 80 columns and without colours, and its environment.

    tree: where `lwp` and `python` find the runtime.
    """
    functions = 'lwp() { python -m runtime "$@"; }\npython() { "$PYTHON" "$@"; }\nset -o pipefail\n'
    functions += 'gdb() { env -u PYTHON_GIL gdb "$@"; }\n'  # which gdb's own Python may refuse
    functions += f'python3-config() {{ "{CONFIG}" "$@"; }}\n'
    settings = {
        "PYTHON": sys.executable,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # `timeout 10 python` calls no function
        "PYTHONPATH": str(tree),
        "PYTHONSAFEPATH": "1",  # the runtime is the one that is installed, also when another lies in the directory
        "LD_RUN_PATH": LIBRARIES,  # where such a program finds this Python
        "COLUMNS": "80",
        "LC_ALL": "C.UTF-8",
    }
    kept = {name: value for name, value in os.environ.items() if name not in NOT_A_READERS}
    return ["bash", "-c", functions + script], kept | settings


def shell(script: str, given: str | None = None, status: int = 0, folder: Path = ROOT) -> str:
    """What bash prints if its exit status is the given one."""
    command, environment = prepared(script, Path(runtime.__file__).parent.parent)
    done = subprocess.run(
        command, input=given or "", capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    if done.returncode != status or not done.stdout.strip():
        why = done.stderr.strip() or "it printed nothing"
        raise Failed(f"{script.strip()}\n  exit status {done.returncode}: {why}")
    return done.stdout


class Commands:
    """Runs a document's commands, what several have before their first pipe only once."""

    def __init__(self) -> None:
        self._printed: dict[str, str] = {}
        self._readers_folder = tempfile.TemporaryDirectory()

    def run(self, command: str, status: str | None, file: str | None = None) -> str:
        source, pipe, filters = command.partition(" | ")
        folder = Path(self._readers_folder.name) if file else ROOT
        if file:
            shutil.copy(ROOT / file, folder)
        if source not in self._printed:
            self._printed[source] = shell(source, status=int(status or 0), folder=folder)
        text = self._printed[source]
        if pipe:
            text = shell(filters, text)
        return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def words(text: str) -> set[str]:
    """Those that stay the same from run to run."""
    text = re.sub(r"(?m)^ *[0-9a-f]+:", "", text)  # an address of objdump's may be all letters
    found = {word.strip(".,:;()") for word in text.split()}
    numbers = UNITS | {word for word in found if re.fullmatch(r"[a-f]{4,}", word)}  # hexadecimal, without a digit
    return {word for word in found if re.fullmatch(r"[^\W\d]\D*", word) and "…" not in word} - numbers


def used(found: re.Match[str]) -> str:
    """The command, without those before it that install the package."""
    return (
        found["command"].rpartition("&&")[2].strip().removeprefix(".venv/bin/")
        if found["installs"]
        else found["command"]
    )


def shortened(before: str, printed: str) -> str:
    """What is printed now, without the lines that the document leaves out."""
    blocks: list[list[str]] = [[]]
    for line in before.splitlines():
        if line == LEFT_OUT:
            blocks.append([])
        else:
            blocks[-1].append(line)
    if len(blocks) == 1:
        return printed
    lines, kept, at = printed.splitlines(), list[str](), 0
    for number, block in enumerate(blocks):
        places = range(at, len(lines) - len(block) + 1)
        if number == 0:
            places = places[:1]
        elif number == len(blocks) - 1:
            places = places[-1:]
        same = [words(line) for line in block]
        found = next((place for place in places if same == list(map(words, lines[place : place + len(block)]))), None)
        if found is None:
            raise Failed("out of date: it no longer prints, line below line:\n  " + "\n  ".join(block))
        at = found + len(block)
        kept += [LEFT_OUT] * bool(number) + lines[found:at]
    return "\n".join(kept) + "\n"


def written(text: str, measure: bool, only: str) -> str:
    """The document with what its commands print now.

    only: a text that a command must contain to be measured.
    """
    commands = Commands()

    def block(found: re.Match[str]) -> str:
        if not found["python"]:
            output = shortened(found["output"] or "", commands.run(used(found), found["status"], found["file"]))
        elif measure and only in found["command"] and found["python"] == ".".join(platform.python_version_tuple()[:2]):
            before = (found["output"] or "").partition("\n\n")[2]  # behind the machine's line
            output = machine() + "\n" + shortened(before, commands.run(found["command"], None))
        else:
            return found[0]
        return f"{found['head']}\n```text\n{output}```\n"

    return MARK.sub(block, MACHINE.sub(lambda _: machine(), text))


def complaints(text: str) -> list[str]:
    """What is out of date in the document."""
    commands = Commands()
    line = MACHINE.search(text)
    here = line is None or system(line[0]) == system(machine())
    found = []
    for mark in MARK.finditer(text):
        if mark["python"]:
            continue
        printed = commands.run(used(mark), mark["status"], mark["file"])
        if not here:
            continue
        now, before = words(shortened(mark["output"] or "", printed)), words(mark["output"] or "")
        if now != before:
            found.append(f"{mark['command'].strip()}\n  new: {sorted(now - before)}, gone: {sorted(before - now)}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the commands that documents show and writes what they print.")
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 when a document is out of date")
    parser.add_argument("--measure", action="store_true", help="measure too, with this Python: takes minutes")
    parser.add_argument("--only", default="", metavar="TEXT", help="measure only commands that contain it")
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="default: README.md and all of docs/, course/, found/"
    )
    options = parser.parse_args()
    if options.check and options.measure:
        parser.error("--check measures nothing")
    stale = False
    documents = [ROOT / "README.md", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    for path in options.files or documents:
        text = path.read_text()
        try:
            if not options.check:
                path.write_text(written(text, options.measure, options.only))
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
