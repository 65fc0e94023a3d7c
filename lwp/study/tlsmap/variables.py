"""`__thread` variables by module: names from the ELF symbol tables, bytes from a living thread.

Needs pyelftools (the extra `elf`).  A library without its symbol table (stripped, as distributions do) shows the names
that it exports, or all of them when the file with its debugging symbols is installed below /usr/lib/debug.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import LWP
from .inspection import Inspection, inspect
from .layout import Module

__all__ = ["ModuleVariables", "Variable", "variables"]

_DEBUG = Path("/usr/lib/debug/.build-id")  # gdb's default: a file for each build id


@dataclass(frozen=True)
class Variable:
    """A thread-local variable, as one thread has it."""

    name: str  #: as the symbol table has it
    module: str  #: the path of its module's file
    offset: int  #: bytes from the begin of the module's block
    size: int  #: bytes; 0: the symbol table doesn't say
    address: int | None  #: in this thread; None: the module's block is not allocated until the thread asks for it
    content: bytes | None  #: its bytes in this thread, or None likewise
    initial: bytes  #: what a new thread has there
    exported: bool  #: whether other modules can use it by its name


@dataclass(frozen=True)
class ModuleVariables:
    """The variables of one module with thread-local storage."""

    module: Module  #: the program or library
    variables: tuple[Variable, ...]  #: by offset
    unnamed: int  #: bytes of the module's block that no symbol covers
    tables: tuple[
        str, ...
    ]  #: where names were looked up: ".symtab", ".dynsym", the path of a file with debugging symbols
    problem: str  #: why the file's symbols can't be used; empty when they can

    @property
    def complete(self) -> bool:
        """Whether a table had the names that are not exported, too."""
        return any(table != ".dynsym" for table in self.tables)


def variables(
    thread: Inspection | threading.Thread | LWP | int | None = None, module: str | None = None
) -> tuple[ModuleVariables, ...]:
    """The thread-local variables of every module, or of one, with their addresses and bytes in a thread.

    thread: as inspect() takes it, or what inspect() gave.  module: its file's path or name ("libc.so.6"), or that
    without what follows the first dot ("libc").

    ImportError: pyelftools is missing.  LookupError: no module with thread-local storage has that name.  Besides these,
    what inspect() raises.
    """
    try:
        import elftools.elf.elffile  # noqa: F401
    except ImportError:
        raise ImportError("reading symbol tables needs pyelftools: pip install 'lwp-runtime[elf]'") from None
    seen = thread if isinstance(thread, Inspection) else inspect(thread)
    modules = seen.layout.modules
    if module is not None:
        modules = tuple(one for one in modules if module in (one.name, one.short, one.short.partition(".")[0]))
        if not modules:
            names = ", ".join(one.short for one in seen.layout.modules)
            raise LookupError(f"no module {module!r} has thread-local storage; these have: {names}")
    return tuple(_of_module(seen, one) for one in modules)


def _of_module(seen: Inspection, module: Module) -> ModuleVariables:
    from elftools.common.exceptions import ELFError

    try:
        symbols, tables = _symbols(module)
    except (OSError, ELFError, ValueError) as error:
        return ModuleVariables(module, (), module.size, (), str(error))
    block, address = seen.block_of(module), seen.address_of(module)
    image = module.initial
    found = tuple(
        Variable(
            name=name,
            module=module.name,
            offset=offset,
            size=size,
            address=None if address is None else address + offset,
            content=None if block is None else block[offset : offset + size],
            initial=image[offset : offset + size],
            exported=exported,
        )
        for (offset, name), (size, exported) in sorted(symbols.items())
    )
    named = {byte for one in found for byte in range(one.offset, one.offset + one.size)}
    return ModuleVariables(module, found, module.size - len(named), tuple(tables), "")


def _symbols(module: Module) -> tuple[dict[tuple[int, str], tuple[int, bool]], list[str]]:
    """(offset, name): (size, exported), and the tables that they are from."""
    from elftools.elf.elffile import ELFFile

    symbols: dict[tuple[int, str], tuple[int, bool]] = {}
    tables: list[str] = []
    with ExitStack() as files:
        elf = ELFFile(files.enter_context(open(module.name, "rb")))
        # A library may have been replaced since it was loaded: then the names would be of other bytes.
        for segment in elf.iter_segments("PT_TLS"):
            header = segment.header
            if (header.p_filesz, header.p_memsz) == (module.image_size, module.size) and segment.data() is not None:
                break
        else:
            raise ValueError(f"{module.name} is not the file that was loaded: its TLS segment is another")
        sources = [(elf, name, name) for name in (".symtab", ".dynsym")]
        if debug := _debug_file(elf):
            sources.append((ELFFile(files.enter_context(debug.open("rb"))), ".symtab", str(debug)))
        for file, name, label in sources:
            table = file.get_section_by_name(name)
            if table is None or table.header.sh_type == "SHT_NOBITS":
                continue
            tables.append(label)
            for key, size in _thread_local(table, module.size):
                symbols[key] = size, name == ".dynsym" or symbols.get(key, (0, False))[1]
    return symbols, tables


def _thread_local(table: Any, block_size: int) -> Iterator[tuple[tuple[int, str], int]]:
    # A table may have 20,000 symbols, and pyelftools takes a second to decode these.  So only symbols are decoded whose
    # type (the low half of st_info, byte 4 of an Elf64_Sym) is STT_TLS.
    types = table.data()[4 :: table.header.sh_entsize]
    for symbol in (table.get_symbol(at) for at, info in enumerate(types) if info & 0xF == 6):
        if symbol.entry.st_shndx == "SHN_UNDEF":
            continue
        name = symbol.name.partition("@")[0]  # in .symtab the version is a part of the name
        offset, size = symbol.entry.st_value, symbol.entry.st_size
        # The linker's for the block itself, and, on aarch64, the mark of where data begins (AAELF64, mapping symbols).
        if name not in ("_TLS_MODULE_BASE_", "$d") and offset + size <= block_size:
            yield (offset, name), size


def _debug_file(elf: Any) -> Path | None:
    for section in elf.iter_sections("SHT_NOTE"):
        for note in section.iter_notes():
            if note.n_type == "NT_GNU_BUILD_ID":
                path = _DEBUG / note.n_desc[:2] / f"{note.n_desc[2:]}.debug"
                return path if path.exists() else None
    return None
