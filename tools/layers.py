"""Which C file calls which, as the linker sees it: each may call only files before it in build.py's SOURCES.

Those of CORE come first, so none of them calls one of TOOLS; and none may include a header of theirs.

    python tools/layers.py [--calls FILE]

Compiles every file and reads the symbols of the objects, so that a call is found whatever header declares it.  A call
through a function pointer is not found: those are what a floor offers to a higher one.  module.c's list of all entries
is no call either.  Exit status 1: a file calls upwards, a file of the core includes a header of tools, a folder holds
too many files, or too many static functions have a name of one word.
"""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

NATIVE = Path(__file__).resolve().parent.parent / "runtime" / "native"  # an installed runtime has no C files
_BUILD = runpy.run_path(str(NATIVE / "build.py"))
OPTIONS: list[str] = _BUILD["EXTENSION"].extra_compile_args
CORE: list[str] = _BUILD["CORE"]
TOOLS: list[str] = _BUILD["TOOLS"]
SOURCES: list[str] = _BUILD["SOURCES"]

MOST_FILES = 12  # in a folder
MOST_BARE_NAMES = 5  # static functions whose name is one word, which seldom says what the function does

Calls = dict[tuple[str, str], set[str]]  #: (caller, called): names


def _symbols(source: str, folder: str) -> tuple[set[str], set[str]]:
    """The names that a file defines for others, and those that it needs."""
    target = Path(folder, source.replace("/", "_") + ".o")
    include = [f"-I{NATIVE}", f"-I{sysconfig.get_path('include')}"]
    # Without optimisation, so that an inlined function still is a call.
    command = [
        "cc",
        *OPTIONS,
        "-O0",
        "-fPIC",
        "-w",
        "-D_GNU_SOURCE",
        *include,
        "-c",
        str(NATIVE / source),
        "-o",
        str(target),
    ]
    subprocess.run(command, check=True)
    defined: set[str] = set()
    needed: set[str] = set()
    with target.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        for symbol in table.iter_symbols():
            if symbol["st_info"]["bind"] in ("STB_GLOBAL", "STB_WEAK") and symbol.name:
                (needed if symbol["st_shndx"] == "SHN_UNDEF" else defined).add(symbol.name)
    return defined, needed


def calls() -> Calls:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        found = dict(zip(SOURCES, pool.map(lambda source: _symbols(source, folder), SOURCES), strict=True))
    home = {name: source for source, (defined, _) in found.items() for name in defined}
    result: Calls = defaultdict(set)
    for source, (_, needed) in found.items():
        for name in needed & home.keys():
            if not (source == "python/module.c" and name.startswith("entries_")):
                result[source, home[name]].add(name)
    return dict(result)


def bare_names() -> Iterator[str]:
    """Static functions whose name is one word: file and name."""
    for path in sorted(NATIVE.rglob("*.[ch]")):
        for name in re.findall(r"^static [^=;(]*[ *]([a-z]+)\(", path.read_text(), re.MULTILINE):
            yield f"{path.relative_to(NATIVE)}:{name}"


def is_tools(file: str) -> bool:
    """Whether a file belongs to the tools.  A header that has no C file of its name belongs where most of its folder
    does."""
    source = str(Path(file).with_suffix(".c"))
    if source in SOURCES:
        return source in TOOLS
    beside = [other in TOOLS for other in SOURCES if Path(other).parent == Path(file).parent]
    return 2 * sum(beside) > len(beside)


def headers_of_tools() -> Iterator[tuple[str, str]]:
    """Each file of the core that includes a header of tools, and that header."""
    for path in sorted(NATIVE.rglob("*.[ch]")):
        if not is_tools(file := str(path.relative_to(NATIVE))):
            headers = re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE)
            yield from ((file, header) for header in headers if is_tools(header))


def used_by_tools(found: Calls) -> set[str]:
    """The names of the core that tools use, without types, macros and inline functions of headers."""
    return {name for (caller, called), names in found.items() if caller in TOOLS and called in CORE for name in names}


def complaints(found: Calls) -> Iterator[str]:
    floor = {source: at for at, source in enumerate(SOURCES)}
    for file, header in headers_of_tools():
        yield f"{file} is of the core, and includes a header of tools: {header}"
    for (caller, called), names in sorted(found.items()):
        if floor[called] >= floor[caller]:
            yield f"{caller} calls {called}, which stands above it: {', '.join(sorted(names))}"
    for folder, count in Counter(str(Path(source).parent) for source in SOURCES).items():
        if count > MOST_FILES:
            yield f"{folder}/ holds {count} files, more than {MOST_FILES}"
    bare = list(bare_names())
    if len(bare) > MOST_BARE_NAMES:
        yield f"{len(bare)} static functions have a name of one word, more than {MOST_BARE_NAMES}: {', '.join(bare)}"
    for path in sorted(NATIVE.rglob("*.c")):
        if str(path.relative_to(NATIVE)) not in SOURCES:
            yield f"{path.relative_to(NATIVE)} is not in SOURCES"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", metavar="FILE", help="what a file calls, and what calls it: green/switch.c")
    options = parser.parse_args()
    found = calls()
    if options.calls:
        for (caller, called), names in sorted(found.items()):
            if options.calls in (caller, called):
                print(f"{caller} -> {called}: {', '.join(sorted(names))}")
        return 0
    wrong = list(complaints(found))
    for line in wrong:
        print(line)
    up = sum(caller in CORE and called in TOOLS for caller, called in found)
    print(f"{len(SOURCES)} files, {len(found)} arrows, {len(wrong)} complaints")
    print(f"{up} arrows from the core to tools, which use {len(used_by_tools(found))} names of the core")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
