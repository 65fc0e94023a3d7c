"""Which C file calls which, as the linker sees it: each may call only files before it in build.py's SOURCES.

The core's files come first, runtime/native/build.py, then those of the tools, lwp/native/build.py: so no file of the
core calls one of the tools.

    python tools/layers.py [--calls FILE]

Compiles every file and reads the symbols of the objects, so that a call is found whatever header declares it.  A call
through a function pointer is not found: those are what a floor offers to a higher one.  Then it counts the lines of
each room.  Exit status 1: a file calls upwards, api.h's mark is on a name that no tool uses, tools use more names of
the core than before, a room has more lines than pyproject.toml allows, a folder holds too many files, or too many
static functions have a name of one word.
"""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

TREE = Path(__file__).resolve().parent.parent
NATIVE = TREE / "runtime" / "native"  # an installed runtime has no C files
FOLDERS = [NATIVE, TREE / "lwp" / "native"]
_BUILDS = [runpy.run_path(str(folder / "build.py")) for folder in FOLDERS]
CORE: list[str] = _BUILDS[0]["SOURCES"]  #: named from runtime/native/
TOOLS: list[str] = [f"lwp/native/{source}" for source in _BUILDS[1]["SOURCES"]]  #: named from the tree
SOURCES = CORE + TOOLS

KINDS = {".py", ".pyi", ".c", ".h", ".md", ".html", ".css", ".js"}  #: of files, whose lines count
MOST_NAMES = 118  # of the core that tools use
#: Names that tools use in builds of CPython without a GIL alone.  The symbols may be those of a build with one.
WITHOUT_GIL = {"boot_keeps", "chunks_end", "context_put", "context_take", "heaps_clear_state"}
MOST_FILES = 12  # in a folder
MOST_BARE_NAMES = 5  # static functions whose name is one word, which seldom says what the function does

Calls = dict[tuple[str, str], set[str]]  #: (caller, called): names


class Symbols(NamedTuple):
    """Names of one file."""

    defined: set[str]  #: for others
    exported: set[str]  #: of those, for the other shared object too: marked by api.h
    needed: set[str]


def _path(source: str) -> Path:
    return TREE / source if source in TOOLS else NATIVE / source


def _symbols(source: str, folder: str) -> Symbols:
    target = Path(folder, source.replace("/", "_") + ".o")
    extension = _BUILDS[source in TOOLS]["EXTENSION"]
    include = [f"-I{TREE / path}" for path in extension.include_dirs] + [f"-I{sysconfig.get_path('include')}"]
    # Without optimisation, so that an inlined function still is a call.
    options = [*extension.extra_compile_args, "-O0", "-fPIC", "-w", "-D_GNU_SOURCE", *include]
    subprocess.run(["cc", *options, "-c", str(_path(source)), "-o", str(target)], check=True)
    found = Symbols(set(), set(), set())
    with target.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        for symbol in table.iter_symbols():
            if symbol["st_info"]["bind"] not in ("STB_GLOBAL", "STB_WEAK") or not symbol.name:
                continue
            if symbol["st_shndx"] == "SHN_UNDEF":
                found.needed.add(symbol.name)
                continue
            found.defined.add(symbol.name)
            if symbol["st_other"]["visibility"] == "STV_DEFAULT" and not symbol.name.startswith("PyInit_"):
                found.exported.add(symbol.name)
    return found


def symbols() -> dict[str, Symbols]:
    """Of each file."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        return dict(zip(SOURCES, pool.map(lambda source: _symbols(source, folder), SOURCES), strict=True))


def calls(found: dict[str, Symbols]) -> Calls:
    home = {name: source for source, file in found.items() for name in file.defined}
    result: Calls = defaultdict(set)
    for source, file in found.items():
        for name in file.needed & home.keys():
            result[source, home[name]].add(name)
    return dict(result)


def bare_names() -> Iterator[str]:
    """Static functions whose name is one word: file and name."""
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*.[ch]")):
            for name in re.findall(r"^static [^=;(]*[ *]([a-z]+)\(", path.read_text(), re.MULTILINE):
                yield f"{path.relative_to(folder)}:{name}"


class Room(NamedTuple):
    """All lines below some folders, except those of a room that has a folder further in."""

    name: str
    lines: int
    most: int


def rooms() -> list[Room]:
    """pyproject.toml's, and how many lines they have."""
    asked = tomllib.loads((TREE / "pyproject.toml").read_text())["tool"]["rooms"]
    homes = {place: name for name, room in asked.items() for place in room["of"]}
    lines = dict.fromkeys(asked, 0)
    for top in sorted({place.partition("/")[0] for place in homes}):
        for path in (TREE / top).rglob("*"):
            if path.suffix in KINDS:
                inside = [str(part) for part in (path.relative_to(TREE), *path.relative_to(TREE).parents)]
                lines[next(homes[place] for place in inside if place in homes)] += path.read_bytes().count(b"\n")
    return [Room(name, lines[name], asked[name]["most"]) for name in asked]


def used_by_tools(found: Calls) -> set[str]:
    """The names of the core that tools use, without types, macros and inline functions of headers."""
    return {name for (caller, called), names in found.items() if caller in TOOLS and called in CORE for name in names}


def complaints(found: Calls, marked: set[str]) -> Iterator[str]:
    """marked: the names of the core that api.h marks."""
    floor = {source: at for at, source in enumerate(SOURCES)}
    for (caller, called), names in sorted(found.items()):
        if floor[called] >= floor[caller]:
            yield f"{caller} calls {called}, which stands above it: {', '.join(sorted(names))}"
    used = used_by_tools(found)
    if unused := marked - used - WITHOUT_GIL - {"runtime_debug"}:  # that is for debuggers
        yield f"no tool uses what API marks: {', '.join(sorted(unused))}"
    if len(used) > MOST_NAMES:
        yield f"tools use {len(used)} names of the core, more than {MOST_NAMES}"
    for place, count in Counter(str(Path(source).parent) for source in SOURCES).items():
        if count > MOST_FILES:
            yield f"{place}/ holds {count} files, more than {MOST_FILES}"
    bare = list(bare_names())
    if len(bare) > MOST_BARE_NAMES:
        yield f"{len(bare)} static functions have a name of one word, more than {MOST_BARE_NAMES}: {', '.join(bare)}"
    for room in rooms():
        if room.lines > room.most:
            yield f"{room.name} has {room.lines:,} lines, more than {room.most:,}: pyproject.toml, [tool.rooms]"
    known = {_path(source) for source in SOURCES}
    for folder in FOLDERS:
        for path in sorted({*folder.rglob("*.c")} - known):
            yield f"{path.relative_to(TREE)} is not in SOURCES"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", metavar="FILE", help="what a file calls, and what calls it: green/switch.c")
    options = parser.parse_args()
    files = symbols()
    found = calls(files)
    if options.calls:
        for (caller, called), names in sorted(found.items()):
            if options.calls in (caller, called):
                print(f"{caller} -> {called}: {', '.join(sorted(names))}")
        return 0
    wrong = list(complaints(found, {name for source in CORE for name in files[source].exported}))
    for line in wrong:
        print(line)
    for room in rooms():
        print(f"{room.name:8} {room.lines:7,} lines of {room.most:,}")
    up = sum(caller in CORE and called in TOOLS for caller, called in found)
    print(f"{len(SOURCES)} files, {len(found)} arrows, {len(wrong)} complaints")
    print(f"{up} arrows from the core to tools, which use {len(used_by_tools(found))} names of the core")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
