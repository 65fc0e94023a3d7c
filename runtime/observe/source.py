"""The one reader of the program's source: where a thread is, what the program calls an object, where it was made.

A line's text says what is done there, and to what.  It is read from frames and code, and no code of the program runs.
The same names and places are in what the explorer, `--trace`, `--watchdog`, `--live` and `--lock-order` print.
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
import types
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeGuard, TypeVar

from .. import native
from .files import RUNTIME, is_program, short
from .sites import SYNCHRONISING

__all__ = [
    "Names",
    "Origin",
    "Place",
    "at",
    "attribute_of",
    "awaited_as",
    "expression_at",
    "expression_text",
    "forget",
    "instruction_at",
    "instruction_before",
    "kept",
    "kind_of",
    "made",
    "made_at",
    "made_by",
    "named",
    "named_at",
    "place_in",
    "place_of",
    "program_frames",
    "receiver",
    "taken_as",
    "taken_at",
    "variables",
]

T = TypeVar("T")

_LONGEST_CALL = 30


# ---- places ----------------------------------------------------------------------------------------------------------


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
        return linecache.getline(self.file, self.line).strip()

    @property
    def segment(self) -> str:
        """The expression that the instruction stands for, "" if it is longer than a line or not known."""
        return _segment(self.code, self.file, self.offset)

    @property
    def about_to(self) -> str:
        """What the instruction does, such as `write counter`; "" if there is nothing to say."""
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
        if called == "__aenter__":  # the line says it
            return ""
        fits = len(segment) <= _LONGEST_CALL and f"{called}(" in segment and segment.endswith(")")
        return segment if fits else f"{self.via}()" if self.via else ""

    @property
    def object_text(self) -> str:
        """What the source calls the object that the operation is done to, "" if it is not that simple."""
        text = "" if self.via else _object_text(self.segment)
        return _with_class(text, self.code.co_qualname)


@functools.lru_cache(maxsize=256)
def _instructions(code: CodeType) -> dict[int, dis.Instruction]:
    return {instruction.offset: instruction for instruction in dis.get_instructions(code)}


def instruction_at(code: CodeType, offset: int) -> dis.Instruction | None:
    return _instructions(code).get(offset)


def instruction_before(code: CodeType, offset: int) -> dis.Instruction | None:
    return next((one for at, one in reversed(_instructions(code).items()) if at < offset), None)


@functools.lru_cache(maxsize=1024)
def _positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    """Positions for each two bytes, because a call that goes on in another frame stands at its cache, behind the
    instruction."""
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


@functools.lru_cache(maxsize=64)
def _expressions(file: str) -> dict[tuple[object, ...], ast.expr]:
    """By where they begin and end; calls and attributes also by their kind and end."""
    tree = _tree(file)
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
    positions = _positions(code)
    first, last, begin, end = positions[offset // 2] if 0 <= offset // 2 < len(positions) else (None,) * 4
    known = _expressions(code.co_filename)
    if (found := known.get((first, begin, last, end))) is not None:
        return found
    # The begin of a call in a chain that is longer than a line is its method's name.  Up to 3.12 the instructions of a
    # `with` stand for the whole statement, which may end with a call, but begins before that.
    name = _instructions(code)[offset].opname if offset in _instructions(code) else ""
    kind = ast.Call if name.startswith("CALL") else ast.Attribute if "ATTR" in name or "METHOD" in name else None
    found = known.get((kind, last, end)) if kind is not None else None
    return found if found is not None and (found.lineno, found.col_offset) <= (first, begin) else None


@functools.lru_cache(maxsize=1024)
def _expression(segment: str) -> ast.expr | None:
    if segment.startswith("with "):  # Python 3.11: the whole statement
        segment = segment[len("with ") :].partition(":")[0].partition(" as ")[0]
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


def _object(segment: str) -> ast.expr | None:
    """Whose method is called, or what a `with` takes."""
    node = _expression(segment)
    return node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else node


def _object_text(segment: str) -> str:
    node = _object(segment)
    return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) else ""


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
    if not frame.f_code.co_flags & _MAY_BE_GONE or frame in _kept or frame in _outwards(sys._getframe(1)):
        return frame.f_locals
    return {}


def program_frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        if is_program(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def place_of(frame: FrameType | None) -> Place | None:
    """The innermost line of the program; for a thread that runs none, the innermost line of a library."""
    return place_in(_outwards(frame))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def place_in(frames: Iterable[FrameType]) -> Place | None:
    """The same of frames, the innermost first, that need not be on a stack."""
    found: list[FrameType] = []
    for frame in frames:
        if is_program(frame.f_code.co_filename):
            called = next((one for one in reversed(found) if not _is_inner(one)), None)
            return _place(frame, True, called)
        found.append(frame)
    inner = (passed_on(found[0]) or found[0]) if found else None
    return _place(inner, False, None) if inner is not None else None


def _is_inner(frame: FrameType) -> bool:
    """Whether the frame is the runtime's."""
    return frame.f_code.co_filename.startswith(RUNTIME)


def _place(frame: FrameType, of_program: bool, library: FrameType | None) -> Place:
    code = frame.f_code
    via = library.f_code.co_qualname if library is not None else ""
    line = frame.f_lineno or _line_before(code, frame.f_lasti)
    return Place(code.co_filename, line, code.co_name, of_program, via, code, frame.f_lasti)


def _line_before(code: CodeType, offset: int) -> int:
    """Of an instruction without a line, as those that clean up after a handler: the line that ended with it."""
    lines = [line for begin, _, line in code.co_lines() if begin <= offset and line is not None]
    return lines[-1] if lines else code.co_firstlineno


# ---- where the holder of a lock took it ------------------------------------------------------------------------------
#
# It is found from the stack that the holder has now, because an acquire records nothing for this.  The exception table
# of a frame's code shows that it is inside of `with lock:`, because what is raised there goes to that `with`.  The text
# of the `with` says which lock it is, if that is a name or attributes of one.  For an `acquire()` only the order of the
# lines speaks, so that is a guess.

_UNKNOWN = object()


#: Between BEFORE_ASYNC_WITH and the body.
_AWAITING = (
    *("GET_AWAITABLE", "LOAD_CONST", "SEND", "YIELD_VALUE", "RESUME", "JUMP_BACKWARD_NO_INTERRUPT", "END_SEND"),
    *("CLEANUP_THROW", "POP_TOP", "STORE_FAST", "STORE_DEREF", "STORE_NAME", "STORE_GLOBAL"),
)


class _Taking(NamedTuple):
    """A place in a function that may take a lock."""

    at: int  #: offset of the instruction
    line: int
    expression: ast.expr  #: of the lock
    sure: bool  #: a `with`, whose body the frame is in


def taken_at(lock: object, frame: FrameType | None) -> str:
    """Where the thread with this stack took the lock: "FILE:LINE in FUNCTION", or "perhaps" and that, or "".

    frame: the innermost.  Of several `with` the outermost counts, because an RLock is taken there first.
    """
    found = guess = ""
    while frame is not None:
        for takings in (_entered(frame), _acquired(frame)):
            taking = next((one for one in takings if _is_lock(_value(one.expression, frame), lock)), None)
            if taking:
                place = at(frame, taking.line)
                found, guess = (place, guess) if taking.sure else (found, place)
        frame = frame.f_back
    return found or (guess and f"perhaps {guess}")


def entered(frame: FrameType) -> Iterator[tuple[object, int]]:
    """The objects, with their lines, of the `with` and `async with` statements in whose bodies the frame is."""
    for taking in _entered(frame):
        if (value := _value(taking.expression, frame)) is not _UNKNOWN:
            yield value, taking.line


def _is_lock(value: object, lock: object) -> bool:
    return value is lock or (isinstance(value, native.ConditionBase) and getattr(value, "_lock", None) is lock)


def _entered(frame: FrameType) -> list[_Taking]:
    """The `with` statements in whose bodies the frame is, the outermost first."""
    code = frame.f_code
    table, at = _table(code), frame.f_lasti
    # the handler of an exception raised there, then the handler of one raised in that handler, ...
    handlers: list[int] = []
    while (handler := next((entry.target for entry in table if entry.start <= at < entry.end), None)) is not None:
        if handler in handlers:
            break
        handlers.append(at := handler)
    return [taking for handler in reversed(handlers) if (taking := _withs(code).get(handler))]


def _acquired(frame: FrameType) -> list[_Taking]:
    """The calls of acquire() before the frame's line, latest first, without the call that it is in."""
    here, now = _positions(frame.f_code)[frame.f_lasti // 2][0], frame.f_lasti
    return [taking for taking in reversed(_acquires(frame.f_code)) if taking.at < now and here != taking.line]


class _Entry(NamedTuple):
    """An entry of the exception table: exceptions from start to end (excluded) go to target; offsets of
    instructions."""

    start: int
    end: int
    target: int


@functools.lru_cache(maxsize=1024)
def _table(code: CodeType) -> list[_Entry]:
    """Reads the format of CPython's InternalDocs/exception_handling.md: numbers of six bits to a byte, marked if more
    follow."""
    numbers: list[int] = []
    more = False
    for byte in code.co_exceptiontable:
        value = byte & 63
        numbers.append(numbers.pop() << 6 | value if more else value)
        more = bool(byte & 64)
    entries = zip(numbers[0::4], numbers[1::4], numbers[2::4], strict=True)
    return [_Entry(2 * start, 2 * (start + length), 2 * target) for start, length, target in entries]


@functools.lru_cache(maxsize=1024)
def _withs(code: CodeType) -> dict[int, _Taking]:
    """The `with` statements, by the handler of their exceptions."""
    instructions = list(_instructions(code).values())
    handlers = {
        before.offset
        for before, after in pairwise(instructions)
        if (before.opname, after.opname) == ("PUSH_EXC_INFO", "WITH_EXCEPT_START")
    }
    found = {}
    for handler in handlers:
        begin = min((entry.start for entry in _table(code) if entry.target == handler), default=0)
        # __enter__ is called right before the body.  Up to 3.13 BEFORE_WITH calls it.  Up to 3.12 its place in the text
        # is the whole statement, and the instruction before it has the place of the lock. So it is with __aenter__, and
        # BEFORE_ASYNC_WITH, behind which it is awaited.
        earlier = [one for one in instructions if one.offset < begin]
        awaited = max((one.offset for one in earlier if one.opname == "BEFORE_ASYNC_WITH"), default=begin)
        if all(one.opname in _AWAITING for one in earlier if one.offset > awaited):
            earlier = [one for one in earlier if one.offset < awaited]
        entering = max((one.offset for one in earlier if one.opname != "BEFORE_WITH"), default=0)
        if taking := _taking(code, entering, sure=True):
            found[handler] = taking
    return found


@functools.lru_cache(maxsize=1024)
def _acquires(code: CodeType) -> list[_Taking]:
    if "acquire" not in code.co_names:
        return []
    loads = [
        one.offset for one in _instructions(code).values() if one.argval == "acquire" and one.opname.startswith("LOAD")
    ]
    return [taking for at in loads if (taking := _taking(code, at, sure=False))]


def _taking(code: CodeType, at: int, sure: bool) -> _Taking | None:
    """The taking that the text says; None without a text, or if the text is more than names."""
    expression = _expression(_segment(code, code.co_filename, at))
    if not sure:
        called = expression.func if isinstance(expression, ast.Call) else expression
        expression = called.value if isinstance(called, ast.Attribute) else None
    line = _positions(code)[at // 2][0]
    return _Taking(at, line, expression, sure) if line and expression is not None else None


def _value(expression: ast.expr, frame: FrameType) -> object:
    """What a name, or attributes of one, mean in the frame; looked up without running code of the program."""
    if isinstance(expression, ast.Name):
        for names in (variables(frame), frame.f_globals):
            if expression.id in names:
                return names[expression.id]
    elif isinstance(expression, ast.Attribute):
        owner = _value(expression.value, frame)
        if owner is not _UNKNOWN:
            return _attribute(owner, _mangled(expression.attr, frame))
    return _UNKNOWN


def _with_class(text: str, function: str) -> str:
    """Queue.mutex for `self.mutex` in Queue.get."""
    owner = function.rpartition(".")[0].rpartition(".")[2]
    return owner + text.removeprefix("self") if text.startswith("self.") and owner.isidentifier() else text


def taken_as(site: str) -> str:
    """What the `with` at "FILE:LINE in FUNCTION" calls the lock that it takes; "": it is none, or takes several."""
    place, _, function = site.rpartition(" in ")
    file, _, line = place.rpartition(":")
    text = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
    return _with_class(_object_text(text), function) if text.startswith("with ") else ""


def awaited_as(thing: object, frame: FrameType | None) -> str:
    """What the line at which a thread waits calls the primitive, such as Desk.came for `self.came.wait()` there.

    The program's line, if that names it, otherwise that of the library by which it synchronises.  "": neither does.
    """
    last, found = passed_on(frame), ""
    while frame is not None:
        if not _is_inner(frame):
            found = _named_by(frame, thing) or found
        if frame is last:
            break
        frame = frame.f_back
    return found


def receiver(frame: FrameType, method: str) -> object:
    """The object whose method of that name the innermost line calls; None: it calls none, or that is not known."""
    node = _expression(_place(frame, True, None).segment)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != method:
        return None
    with contextlib.suppress(Exception):  # it reads the program's own things
        value = _value(node.func.value, frame)
        return None if value is _UNKNOWN else value
    return None


def expression_text(frame: FrameType) -> str:
    """What the line calls the object whose method it calls, such as Desk.orders."""
    return _place(frame, True, None).object_text


def attribute_of(owner: object, name: str) -> object:
    """Looked up without running code of the program; None: there is none."""
    value = _attribute(owner, name)
    return None if value is _UNKNOWN else value


def _named_by(frame: FrameType, thing: object) -> str:
    place = _place(frame, True, None)
    node = _object(place.segment)
    with contextlib.suppress(Exception):  # it reads the program's own things
        value: Any = _UNKNOWN if node is None else _value(node, frame)
        if value is thing or _attribute(value, "_lock") is thing:  # a Condition's
            return place.object_text
    return ""


def _mangled(name: str, frame: FrameType) -> str:
    """The name that the code has for a private name of a class, which methods see mangled."""
    if not name.startswith("__") or name.endswith("__"):
        return name
    return next((known for known in frame.f_code.co_names if known.endswith(name) and known.startswith("_")), name)


def _attribute(owner: Any, name: str) -> object:
    own = (value for attribute, value in _attributes(owner) if attribute == name)
    return next(own, inspect.getattr_static(owner, name, _UNKNOWN))


# ---- names of objects ------------------------------------------------------------------------------------------------


class Origin(NamedTuple):
    """Where a name is bound: in which file, and there in a function, a class, or neither (the module)."""

    file: str
    scope: str  #: a class's name; ""
    line: int  #: of the function; 0
    name: str


_Space = tuple[dict[str, Any], Origin]
_Part = tuple[str, Any, Origin]

_MOST_VALUES = 3000
_LEAF = (type(None), bool, int, float, str, bytes, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


class Names:
    """Finds what the program calls an object: a variable, an attribute, an item.

    test: frames whose names are the best, outermost first: a test's own, or the main thread's.
    theirs: also variables of the other frames' functions; they mean something to their own thread only.
    """

    def __init__(self, test: list[FrameType], frames: list[FrameType], theirs: bool = True) -> None:
        self._known: dict[int, tuple[object, str, Origin]] = {}  # with the object, so that no other object gets its id
        self._walk = _everything(test, [frame for frame in frames if frame not in test], theirs)

    def find(self, wanted: object) -> tuple[str, Origin] | None:
        return self.find_at(id(wanted), type(wanted))

    def find_at(self, address: int, kind: type) -> tuple[str, Origin] | None:
        """Of the object of that type with that id(), if it is still there."""
        while address not in self._known:
            if (found := next(self._walk, None)) is None:
                return None
            name, value, origin = found
            self._known.setdefault(id(value), (value, name, origin))
        return self._known[address][1:] if type(self._known[address][0]) is kind else None


def _everything(test: list[FrameType], others: list[FrameType], theirs: bool) -> Iterator[_Part]:
    """Names that are found first are better."""
    shared, own = [*_globals_of([*test, *others])], [*_locals_of(test)]
    rest = [*_locals_of(others)] if theirs else []
    values = iter(range(_MOST_VALUES))
    yield from _direct(shared)
    yield from _direct(own)
    yield from _deep(own, values)
    yield from _deep(shared, values)
    yield from _direct(rest)
    yield from _deep(rest, values)


def _deep(spaces: list[_Space], values: Iterator[int]) -> Iterator[_Part]:
    """Looks inside what the names stand for, and inside what is in that."""
    level = [part for part in _direct(spaces) if part[0] != "self"]
    for _ in range(2):
        inner = []
        for name, value, origin in level:
            if issubclass(type(value), _LEAF):
                continue
            for part in _parts(name, value, origin):
                yield part
                inner.append(part)
                if next(values, None) is None:
                    return
        level = inner


def _direct(spaces: list[_Space]) -> Iterator[_Part]:
    for names, origin in spaces:
        for name, value in names.items():
            if not name.startswith("__"):
                yield name, value, origin._replace(name=name)


def _globals_of(frames: list[FrameType]) -> Iterator[_Space]:
    """The globals of the frames' modules, and of __main__, which has no frame any more when a program ends."""
    main = sys.modules["__main__"]
    modules = [(frame.f_globals, frame.f_code.co_filename) for frame in frames]
    seen = set()
    for names, file in [*modules, (vars(main), getattr(main, "__file__", "<string>") or "<string>")]:
        if id(names) not in seen and is_program(file):
            seen.add(id(names))
            yield dict(names), Origin(file, "", 0, "")


def _locals_of(frames: list[FrameType]) -> Iterator[_Space]:
    for frame in frames:
        if frame.f_code.co_name != "<module>":
            yield dict(variables(frame)), Origin(frame.f_code.co_filename, "", frame.f_code.co_firstlineno, "")


def _parts(name: str, value: Any, origin: Origin) -> Iterator[_Part]:
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
        if is_program(_file_of(value)):
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
        if type(names) is types.GetSetDescriptorType:  # otherwise it is the program's own
            yield from list(names.__get__(value).items())
            break
    for cls in type(value).__mro__:
        for attribute, descriptor in list(vars(cls).items()):
            if type(descriptor) is types.MemberDescriptorType and is_program(_file_of(cls)):
                with contextlib.suppress(AttributeError):
                    yield attribute, descriptor.__get__(value)


def _file_of(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return getattr(module, "__file__", None) or "<frozen>"


def named(things: Iterable[object], theirs: bool = True) -> list[str]:
    """What the program calls each of these primitives just now, such as "ledger.lock"; otherwise "made at FILE:LINE",
    or "".

    The stacks of all threads say that, the main thread's first; without `theirs` the other threads' variables don't.
    It never raises, because a report may lack a name.
    """
    names = _names_of_all(sys._getframe(), theirs)
    return [_named(names, thing) for thing in things]


def named_at(things: Iterable[tuple[int, type]]) -> list[str]:
    """The variables alone, of objects by their id() and type, some of which may be gone; "" for these."""
    names = _names_of_all(sys._getframe())
    found = []
    for address, kind in things:
        found.append("")
        with contextlib.suppress(Exception):
            if variable := names.find_at(address, kind):
                found[-1] = variable[0]
    return found


def _names_of_all(caller: FrameType, theirs: bool = True) -> Names:
    stacks: dict[int, FrameType | None] = dict(sys._current_frames())
    stacks[threading.get_ident()] = caller.f_back  # a frame that refers to itself would keep all that it knows
    main = [*program_frames(stacks.pop(threading.main_thread().ident or 0, None))][::-1]
    return Names(main, [one for frame in stacks.values() for one in [*program_frames(frame)][::-1]], theirs)


def _named(names: Names, thing: object) -> str:
    with contextlib.suppress(Exception):  # it reads the program's own things
        if found := names.find(thing):
            return found[0]
        return made_by(thing)
    return ""


def kind_of(thing: object) -> str:
    """What a report calls its type: `lock` and `_RLock`, as CPython has them, go by their public names."""
    name = type(thing).__name__
    return {"lock": "Lock", "_RLock": "RLock"}.get(name, name)


def made_by(thing: object) -> str:
    """ "made at FILE:LINE", if that was noted."""
    return made(native.made_at(thing))


def made(site: str) -> str:
    """The same for the native module's "FILE:LINE in FUNCTION"."""
    return f"made at {short(site).partition(' in ')[0]}" if site else ""


def forget() -> None:
    """Gives back what is known of the instructions and the text of code: for large libraries that is tens of MiB."""
    for known in (_instructions, _positions, _segment, _expression, _expressions, _tree):
        known.cache_clear()


@functools.lru_cache(maxsize=64)
def _tree(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


def made_at(origin: Origin) -> int | None:
    """The only line that binds that name; None if there are several, or if it is bound in another kind of place."""
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
