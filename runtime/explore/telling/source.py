"""Where in its source a thread is, and what the source calls a lock: read from frames, and not from what they run."""

from __future__ import annotations

import ast
import contextlib
import dis
import functools
import linecache
import os
import sys
import types
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeGuard, TypeVar

from ..run.granularity import is_program

__all__ = ["Names", "Origin", "Place", "made_at", "name_of_file", "place_of", "program_frames"]

T = TypeVar("T")

_LONGEST_CALL = 30
_RUNTIME = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "")

is_of_program = functools.lru_cache(maxsize=4096)(is_program)


# ---- places ----------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A line, and what is about to be done there."""

    file: str
    line: int
    function: str
    of_program: bool  #: else it is a library's, and no line of the program led there
    via: str  #: the library's function that the line called, as Queue.get; else ""
    code: CodeType
    offset: int  #: of the instruction

    @property
    def short(self) -> str:
        """file:line, of the file its last part."""
        folder, name = os.path.split(self.file)
        return f"{os.path.join(os.path.basename(folder), name) if name == '__init__.py' else name}:{self.line}"

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.line).strip()

    @property
    def segment(self) -> str:
        """The expression that the instruction stands for, "" if it is longer than a line or not known."""
        return _segment(self.code, self.file, self.offset)

    @property
    def about_to(self) -> str:
        """What the instruction does, as `write counter`; "" if there is nothing to say."""
        later = (one for offset, one in _instructions(self.code).items() if offset >= self.offset)
        instruction = next((one for one in later if not one.opname.startswith(_SILENT)), None)
        if instruction is None:
            return ""
        what = _segment(self.code, self.file, instruction.offset)
        return _deed(instruction.opname, what or (instruction.argval if isinstance(instruction.argval, str) else ""))

    @property
    def call(self) -> str:
        """The library's function that the line called: as the line has it, if that is short."""
        segment = self.segment
        called = self.via.rpartition(".")[2]
        fits = len(segment) <= _LONGEST_CALL and f"{called}(" in segment and segment.endswith(")")
        return segment if fits else f"{self.via}()" if self.via else ""

    @property
    def object_text(self) -> str:
        """What the source calls the object that the operation is done to, "" if it is not that simple."""
        text = "" if self.via else _object_text(self.segment)
        if not self.of_program and text.startswith("self."):  # as Queue.mutex
            return self.code.co_qualname.rpartition(".")[0] + text.removeprefix("self")
        return text


@functools.lru_cache(maxsize=256)
def _instructions(code: CodeType) -> dict[int, dis.Instruction]:
    return {instruction.offset: instruction for instruction in dis.get_instructions(code)}


@functools.lru_cache(maxsize=256)
def _positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    """Of each two bytes: a call that goes on in another frame stands at its cache, behind the instruction."""
    return list(code.co_positions())


@functools.lru_cache(maxsize=1024)
def _segment(code: CodeType, file: str, offset: int) -> str:
    positions = _positions(code)
    first, last, begin, end = positions[offset // 2] if 0 <= offset // 2 < len(positions) else (None,) * 4
    if first is None:
        return ""
    line = linecache.getline(file, first).encode()
    if first != last:
        return line.decode().strip() if line.lstrip().startswith(b"with ") else ""
    return line[begin:end].decode(errors="replace")


#: Instructions that say nothing: what comes after them does.
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


def _object_text(segment: str) -> str:
    if segment.startswith("with "):  # Python 3.11: the whole statement
        segment = segment[len("with ") :].partition(":")[0].partition(" as ")[0]
    try:
        node = ast.parse(segment, mode="eval").body
    except (SyntaxError, ValueError):
        return ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    simple = (ast.Name, ast.Attribute, ast.Subscript)
    return ast.unparse(node) if isinstance(node, simple) else ""


def program_frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        if is_of_program(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def place_of(frame: FrameType | None) -> Place | None:
    """The innermost line of the program's own; of a thread that runs none, the innermost one of a library."""
    found: list[FrameType] = []
    while frame is not None:
        if is_of_program(frame.f_code.co_filename):
            called = next((one for one in reversed(found) if not _is_inner(one)), None)
            return _place(frame, True, called)
        found.append(frame)
        frame = frame.f_back
    inner = next((one for one in found if not _is_plumbing(one)), found[0] if found else None)
    return _place(inner, False, None) if inner is not None else None


def _is_inner(frame: FrameType) -> bool:
    """Whether it is the runtime's."""
    return frame.f_code.co_filename.startswith(_RUNTIME)


def _is_plumbing(frame: FrameType) -> bool:
    return _is_inner(frame) or frame.f_code.co_filename.endswith("/threading.py")


def _place(frame: FrameType, of_program: bool, library: FrameType | None) -> Place:
    code = frame.f_code
    via = library.f_code.co_qualname if library is not None else ""
    return Place(code.co_filename, frame.f_lineno or 0, code.co_name, of_program, via, code, frame.f_lasti)


@functools.lru_cache(maxsize=1024)
def name_of_file(path: str) -> str:
    """As one would type it from the current folder."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


# ---- names of objects ------------------------------------------------------------------------------------------------


class Origin(NamedTuple):
    """Where a name is bound: in which file, and there in a function, a class or nothing (the module)."""

    file: str
    scope: str  #: a class's name; ""
    line: int  #: of the function; 0
    name: str


_Space = tuple[dict[str, Any], Origin]

_MOST_VALUES = 3000
_LEAF = (type(None), bool, int, float, str, bytes, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


class Names:
    """Finds what the program calls an object: a variable, an attribute, an item."""

    def __init__(self, test: list[FrameType], frames: list[FrameType]) -> None:
        """test: frames of the test's own, outermost first: names there are better than those in other frames."""
        self._test = test
        self._others = [frame for frame in frames if frame not in test]
        self._left = _MOST_VALUES

    def find(self, wanted: object) -> tuple[str, Origin] | None:
        shared = [*_globals_of([*self._test, *self._others])]
        test = [*_locals_of(self._test)]
        others = [*_locals_of(self._others)]
        return (
            self._direct(shared, wanted)
            or self._direct(test, wanted)
            or self._deep(test, wanted)
            or self._deep(shared, wanted)
            or self._direct(others, wanted)
            or self._deep(others, wanted)
        )

    def _direct(self, spaces: list[_Space], wanted: object) -> tuple[str, Origin] | None:
        for names, origin in spaces:
            for name, value in names.items():
                if value is wanted and not name.startswith("__"):
                    return name, origin._replace(name=name)
        return None

    def _deep(self, spaces: list[_Space], wanted: object) -> tuple[str, Origin] | None:
        """In what the names stand for, and in what is in that."""
        level = [
            (name, value, origin._replace(name=name))
            for names, origin in spaces
            for name, value in names.items()
            if not name.startswith("__") and name != "self"
        ]
        for _ in range(2):
            inner = []
            for name, value, origin in level:
                if issubclass(type(value), _LEAF):
                    continue
                for part in _parts(name, value, origin):
                    if part[1] is wanted:
                        return part[0], part[2]
                    inner.append(part)
                    self._left -= 1
                if self._left < 0:
                    return None
            level = inner
        return None


def _globals_of(frames: list[FrameType]) -> Iterator[_Space]:
    seen = set()
    for frame in frames:
        if id(frame.f_globals) not in seen:
            seen.add(id(frame.f_globals))
            yield dict(frame.f_globals), Origin(frame.f_code.co_filename, "", 0, "")


def _locals_of(frames: list[FrameType]) -> Iterator[_Space]:
    for frame in frames:
        if frame.f_code.co_name != "<module>":
            yield dict(frame.f_locals), Origin(frame.f_code.co_filename, "", frame.f_code.co_firstlineno, "")


def _parts(name: str, value: Any, origin: Origin) -> Iterator[tuple[str, object, Origin]]:
    """What is in an object, without running code of the program's."""
    kind = type(value)
    if kind in (list, tuple):
        for number, item in enumerate(value[:100]):
            yield f"{name}[{number}]", item, origin
    elif kind is dict:
        for key, item in list(value.items())[:100]:
            if type(key) in (int, str):
                yield f"{name}[{key!r}]", item, origin
    elif issubclass(kind, type):
        if is_of_program(_file_of(value)):
            for attribute, item in list(vars(value).items()):
                if not attribute.startswith("__"):
                    yield f"{name}.{attribute}", item, Origin(_file_of(value), value.__name__, 0, attribute)
    elif kind.__name__ == "Condition" and kind.__module__ in ("threading", "runtime.sync"):
        yield name, value._lock, origin
    else:
        for attribute, item in _attributes(value):
            yield f"{name}.{attribute}", item, Origin(_file_of(kind), kind.__name__, 0, attribute)


def _attributes(value: Any) -> Iterator[tuple[str, object]]:
    for cls in type(value).__mro__:
        names = vars(cls).get("__dict__")
        if type(names) is types.GetSetDescriptorType:  # else it is the program's own
            yield from list(names.__get__(value).items())
            break
    for cls in type(value).__mro__:
        for attribute, descriptor in list(vars(cls).items()):
            if type(descriptor) is types.MemberDescriptorType and is_of_program(_file_of(cls)):
                with contextlib.suppress(AttributeError):
                    yield attribute, descriptor.__get__(value)


def _file_of(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return getattr(module, "__file__", None) or "<frozen>"


@functools.lru_cache(maxsize=64)
def _tree(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


def made_at(origin: Origin) -> int | None:
    """The only line that binds that name; None if there are several, or it is another kind of place."""
    tree = _tree(origin.file)
    if tree is None:
        return None
    scope: ast.AST | None = tree
    if origin.scope:
        scope = _only(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == origin.scope)
    elif origin.line:
        scope = _only(node for node in ast.walk(tree) if _begins_at(node, origin.line))
    if scope is None:
        return None
    nodes: Iterator[ast.AST] = ast.walk(scope) if origin.scope or origin.line else ast.iter_child_nodes(scope)
    return _only({node.lineno for node in nodes if _binds(node, origin.name)})


def _only(found: Iterable[T]) -> T | None:
    some = list(found)
    return some[0] if len(some) == 1 else None


def _begins_at(node: ast.AST, line: int) -> bool:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) == line


def _binds(node: ast.AST, name: str) -> TypeGuard[ast.Assign | ast.AnnAssign]:
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
        return False
    if isinstance(node.value, (ast.Name, ast.Attribute, ast.Constant)):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        for one in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
            if (isinstance(one, ast.Name) and one.id == name) or (
                isinstance(one, ast.Attribute) and one.attr == name and isinstance(one.value, ast.Name)
            ):
                return True
    return False
