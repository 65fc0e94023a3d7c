"""What the program's source says at a line: where a thread is, what is done there, and to what.

It is read from frames and code, and no code of the program runs.  The same places are in what the explorer, `--trace`,
`--watchdog` and `--lock-order` print.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import functools
import inspect
import linecache
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, NamedTuple

from .. import native
from ..core import printable
from . import RUNTIME, TOOLS
from .files import is_program, short
from .sites import SYNCHRONISING

_LONGEST_CALL = 30


def passed_on(frame: FrameType | None) -> FrameType | None:
    """The innermost frame, from this one outwards, that is not SYNCHRONISING; None: there is none."""
    while frame is not None and frame.f_code.co_filename.startswith(SYNCHRONISING):
        frame = frame.f_back
    return frame


def at(frame: FrameType, line: int | None = None) -> str:
    """Where the thread with this innermost frame is, or was at that line: FILE:LINE in FUNCTION."""
    outer = passed_on(frame) or frame
    if outer is not frame or line is None:
        line = outer.f_lineno
    return short(f"{outer.f_code.co_filename}:{line} in {outer.f_code.co_qualname}")


class Place(NamedTuple):
    """A line, and what is about to be done there."""

    file: str
    line: int
    function: str
    of_program: bool  #: if not, it is a library's, and no line of the program led there
    via: str  #: the library's function that the line called, such as Queue.get; otherwise ""
    code: CodeType
    offset: int  #: of the instruction

    @property
    def short(self) -> str:
        """file:line, with the file's last part alone."""
        return f"{short(self.file)}:{self.line}"

    @property
    def text(self) -> str:
        return printable(linecache.getline(self.file, self.line).strip())

    @property
    def segment(self) -> str:
        """The expression that the instruction stands for, "" if it is longer than a line or not known."""
        return segment_of(self.code, self.file, self.offset)

    @property
    def about_to(self) -> str:
        """What the instruction does, such as `write counter`; "" if there is nothing to say."""
        later = (one for offset, one in instructions_of(self.code).items() if offset >= self.offset)
        instruction = next((one for one in later if not one.opname.startswith(_SILENT)), None)
        if instruction is None:
            return ""
        what = segment_of(self.code, self.file, instruction.offset)
        return _deed(instruction.opname, what or (instruction.argval if isinstance(instruction.argval, str) else ""))

    @property
    def call(self) -> str:
        """The library's function that the line called: as the line has it, if that is short."""
        segment = self.segment
        called = self.via.rpartition(".")[2]
        if called == "__aenter__":  # the line says it
            return ""
        fits = len(segment) <= _LONGEST_CALL and f"{called}(" in segment and segment.endswith(")")
        return segment if fits else f"{self.via}()" if self.via else ""

    @property
    def object_text(self) -> str:
        """What the source calls the object that the operation is done to, "" if it is not that simple."""
        text = "" if self.via else object_text_in(self.segment)
        return with_class(text, self.code.co_qualname)


@functools.lru_cache(maxsize=256)
def instructions_of(code: CodeType) -> dict[int, dis.Instruction]:
    return {instruction.offset: instruction for instruction in dis.get_instructions(code)}


def instruction_at(code: CodeType, offset: int) -> dis.Instruction | None:
    return instructions_of(code).get(offset)


def instruction_before(code: CodeType, offset: int) -> dis.Instruction | None:
    return next((one for at, one in reversed(instructions_of(code).items()) if at < offset), None)


@functools.lru_cache(maxsize=1024)
def positions_of(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    """Positions for each two bytes, because a call that goes on in another frame stands at its cache, behind the
    instruction."""
    return list(code.co_positions())


@functools.lru_cache(maxsize=1024)
def segment_of(code: CodeType, file: str, offset: int) -> str:
    positions = positions_of(code)
    first, last, begin, end = positions[offset // 2] if 0 <= offset // 2 < len(positions) else (None,) * 4
    if first is None:
        return ""
    line = linecache.getline(file, first).encode()
    if first != last:
        return line.decode().strip() if line.lstrip().startswith((b"with ", b"async with ")) else ""
    return line[begin:end].decode(errors="replace")


@functools.lru_cache(maxsize=64)
def tree_of(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def _expressions(file: str) -> dict[tuple[object, ...], ast.expr]:
    """By where they begin and end; calls and attributes also by their kind and end."""
    tree = tree_of(file)
    found: dict[tuple[object, ...], ast.expr] = {}
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.expr):
            end = node.end_lineno, node.end_col_offset
            found[node.lineno, node.col_offset, *end] = node
            if isinstance(node, (ast.Call, ast.Attribute)):
                found[type(node), *end] = node
    return found


def expression_at(code: CodeType, offset: int) -> ast.expr | None:
    """The expression that the instruction there belongs to; None if there is no source, or it stands for more."""
    positions = positions_of(code)
    first, last, begin, end = positions[offset // 2] if 0 <= offset // 2 < len(positions) else (None,) * 4
    known = _expressions(code.co_filename)
    if (found := known.get((first, begin, last, end))) is not None:
        return found
    # The begin of a call in a chain that is longer than a line is its method's name.  Up to 3.12 the instructions of a
    # `with` stand for the whole statement, which may end with a call, but begins before that.
    name = instructions_of(code)[offset].opname if offset in instructions_of(code) else ""
    kind = ast.Call if name.startswith("CALL") else ast.Attribute if "ATTR" in name or "METHOD" in name else None
    found = known.get((kind, last, end)) if kind is not None else None
    return found if found is not None and (found.lineno, found.col_offset) <= (first, begin) else None


@functools.lru_cache(maxsize=1024)
def expression_of(segment: str) -> ast.expr | None:
    if segment.startswith(("with ", "async with ")):  # up to Python 3.12: the whole statement
        segment = segment.partition("with ")[2].partition(":")[0].partition(" as ")[0]
    try:
        return ast.parse(segment, mode="eval").body
    except (SyntaxError, ValueError):
        return None


#: Instructions that say nothing, because the next one does.
_SILENT = (
    *(
        "LOAD_FAST",
        "LOAD_CONST",
        "BINARY_OP",
        "LOAD_SMALL_INT",
        "PUSH_NULL",
        "POP_TOP",
        "COPY",
        "SWAP",
        "NOP",
        "NOT_TAKEN",
    ),
    *("CACHE", "PRECALL", "KW_NAMES", "EXTENDED_ARG", "RESUME", "MAKE_CELL", "COPY_FREE_VARS", "TO_BOOL", "GET_ITER"),
)
_DEEDS = {
    "STORE_SUBSCR": "writes",
    "STORE_": "writes",
    "DELETE_": "deletes",
    "LOAD_GLOBAL": "reads",
    "LOAD_NAME": "reads",
    "LOAD_DEREF": "reads",
    "LOAD_CLASSDEREF": "reads",
    "LOAD_FROM_DICT": "reads",
    "LOAD_ATTR": "reads",
    "LOAD_METHOD": "reads",
    "LOAD_SUPER_ATTR": "reads",
    "BINARY_SUBSCR": "reads",
    "BINARY_SLICE": "reads",
    "CALL": "calls",
    "PRECALL": "calls",
    "COMPARE_OP": "compares",
    "CONTAINS_OP": "compares",
    "FOR_ITER": "takes the next of",
    "SEND": "sends into",
}


def _deed(opcode: str, what: str) -> str:
    if opcode.startswith("JUMP_BACKWARD"):
        return "goes round its loop again"
    if opcode.startswith("RETURN"):
        return "returns"
    if not what:
        return ""
    for begin, deed in _DEEDS.items():
        if opcode.startswith(begin):
            return f"{deed} {what}"
    return f"does {what}"


def object_in(segment: str) -> ast.expr | None:
    """Whose method is called, or what a `with` takes."""
    node = expression_of(segment)
    node = node.value if isinstance(node, ast.Await) else node
    return node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else node


def object_text_in(segment: str) -> str:
    node = object_in(segment)
    return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) else ""


def with_class(text: str, function: str) -> str:
    """Queue.mutex for `self.mutex` in Queue.get."""
    owner = class_of(function)
    return owner + text.removeprefix("self") if text.startswith("self.") and owner else text


def class_of(function: str) -> str:
    """The name of the class that has the method with that qualified name; "": it is none."""
    owner = function.rpartition(".")[0].rpartition(".")[2]
    return owner if owner.isidentifier() else ""


#: CPython 3.13.0 to 3.13.5 frees the variables of a generator that ends or is dropped, though its frame lives on
#: (gh-125723): reading them would end the process.
_MAY_BE_GONE = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    if (3, 13, 0) <= sys.version_info[:3] <= (3, 13, 5)
    else 0
)


_kept: list[FrameType] = []


@contextlib.contextmanager
def kept(frames: list[FrameType]) -> Iterator[None]:
    """Meanwhile these frames, which can't be gone, have their variables read, as those of the calling thread have."""
    before, _kept[:] = _kept[:], frames
    try:
        yield
    finally:
        _kept[:] = before


def variables(frame: FrameType) -> Mapping[str, Any]:
    """The frame's variables.  Its thread may go on meanwhile."""
    if not frame.f_code.co_flags & _MAY_BE_GONE or frame in _kept or frame in outwards(sys._getframe(1)):
        return frame.f_locals
    return {}


def others_frames() -> dict[int, FrameType]:
    """By ident, the innermost frame of each thread that runs Python, except the calling one."""
    frames = native.current_frames()
    frames.pop(threading.get_ident(), None)  # a frame that refers to itself would keep all that it knows
    return frames


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """This frame, its caller's, and so on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def program_frames(frame: FrameType | None) -> Iterator[FrameType]:
    return (one for one in outwards(frame) if is_program(one.f_code.co_filename))


def place_of(frame: FrameType | None) -> Place | None:
    """The innermost line of the program; for a thread that runs none, the innermost line of a library."""
    return place_in(outwards(frame))


def place_in(frames: Iterable[FrameType]) -> Place | None:
    """The same of frames, the innermost first, that need not be on a stack."""
    found: list[FrameType] = []
    for frame in frames:
        if is_program(frame.f_code.co_filename):
            called = next((one for one in reversed(found) if not is_inner(one)), None)
            return place_at(frame, True, called)
        found.append(frame)
    inner = (passed_on(found[0]) or found[0]) if found else None
    return place_at(inner, False, None) if inner is not None else None


def is_inner(frame: FrameType) -> bool:
    """Whether the frame is the runtime's."""
    return frame.f_code.co_filename.startswith((RUNTIME, TOOLS))


def place_at(frame: FrameType, of_program: bool, library: FrameType | None) -> Place:
    code = frame.f_code
    via = printable(library.f_code.co_qualname) if library is not None else ""
    line = frame.f_lineno or _line_before(code, frame.f_lasti)
    return Place(code.co_filename, line, printable(code.co_name), of_program, via, code, frame.f_lasti)


def _line_before(code: CodeType, offset: int) -> int:
    """Of an instruction without a line, as those that clean up after a handler: the line that ended with it."""
    lines = [line for begin, _, line in code.co_lines() if begin <= offset and line is not None]
    return lines[-1] if lines else code.co_firstlineno


def forget() -> None:
    """Gives back what is known of the instructions and the text of code: for large libraries that is tens of MiB."""
    for known in (instructions_of, positions_of, segment_of, expression_of, _expressions, tree_of):
        known.cache_clear()
