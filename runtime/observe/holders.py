"""Where the holder of a lock took it, by the stack that the holder has now: an acquire records nothing for this.

A frame inside of `with lock:` shows that in the exception table of its code: what is raised there goes to that `with`.
The text of the `with` says which lock, if that is a name or attributes of one.  For an `acquire()` only the order of
the lines speaks, so such a place is called a guess.
"""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
import os
from functools import lru_cache
from itertools import pairwise
from types import CodeType, FrameType, MemberDescriptorType
from typing import Any, NamedTuple

from .. import native

__all__ = ["taken_at"]

_UNKNOWN = object()


class _Taking(NamedTuple):
    """A place in a function that may take a lock."""

    at: int  #: offset of the instruction
    line: int
    expression: ast.expr  #: of the lock
    sure: bool  #: a `with`, whose body the frame is in


def taken_at(lock: object, frame: FrameType | None) -> str:
    """Where the thread with this stack took the lock: "FILE:LINE in FUNCTION", or "perhaps" and that, or "".

    frame: the innermost.  Of several `with` the outermost counts: an RLock is taken there first.
    """
    found = guess = ""
    while frame is not None:
        for takings in (_entered(frame), _acquired(frame)):
            taking = next((one for one in takings if _is_lock(_value(one.expression, frame), lock)), None)
            if taking:
                code = frame.f_code
                place = f"{os.path.basename(code.co_filename)}:{taking.line} in {code.co_name}"
                found, guess = (place, guess) if taking.sure else (found, place)
        frame = frame.f_back
    return found or (guess and f"perhaps {guess}")


def _is_lock(value: object, lock: object) -> bool:
    return value is lock or (isinstance(value, native.ConditionBase) and getattr(value, "_lock", None) is lock)


# ---- which places are on the way to where a frame is -----------------------------------------------------------------


def _entered(frame: FrameType) -> list[_Taking]:
    """The `with` statements in whose bodies it is, the outermost first."""
    code = frame.f_code
    table, at = _table(code), frame.f_lasti
    handlers: list[int] = []  # the handler of an exception raised there, then of one raised in that handler, ...
    while (handler := next((entry.target for entry in table if entry.start <= at < entry.end), None)) is not None:
        if handler in handlers:
            break
        handlers.append(at := handler)
    return [taking for handler in reversed(handlers) if (taking := _withs(code).get(handler))]


def _acquired(frame: FrameType) -> list[_Taking]:
    """The calls of acquire() before it, the last one first; not the one that it is in."""
    here = _position(frame.f_code, frame.f_lasti)[:1]
    return [
        taking for taking in reversed(_acquires(frame.f_code)) if taking.at < frame.f_lasti and here != (taking.line,)
    ]


class _Entry(NamedTuple):
    """Of the exception table: exceptions from start to end (excluded) go to target; offsets of instructions."""

    start: int
    end: int
    target: int


@lru_cache(1000)
def _table(code: CodeType) -> list[_Entry]:
    """As CPython's InternalDocs/exception_handling.md has it: numbers of six bits to a byte, marked if more follow."""
    numbers: list[int] = []
    more = False
    for byte in code.co_exceptiontable:
        value = byte & 63
        numbers.append(numbers.pop() << 6 | value if more else value)
        more = bool(byte & 64)
    entries = zip(numbers[0::4], numbers[1::4], numbers[2::4], strict=True)
    return [_Entry(2 * start, 2 * (start + length), 2 * target) for start, length, target in entries]


@lru_cache(1000)
def _withs(code: CodeType) -> dict[int, _Taking]:
    """The `with` statements, by the handler of their exceptions."""
    instructions = list(dis.get_instructions(code))
    handlers = {
        before.offset
        for before, after in pairwise(instructions)
        if (before.opname, after.opname) == ("PUSH_EXC_INFO", "WITH_EXCEPT_START")
    }
    found = {}
    for handler in handlers:
        begin = min((entry.start for entry in _table(code) if entry.target == handler), default=0)
        # __enter__ is called right before the body.  Up to 3.13 BEFORE_WITH calls it, whose place in the text is, up to
        # 3.12, the whole statement; the instruction before that has the place of the lock.
        before = (one.offset for one in instructions if one.offset < begin and one.opname != "BEFORE_WITH")
        entering = max(before, default=0)
        if taking := _taking(code, entering, sure=True):
            found[handler] = taking
    return found


@lru_cache(1000)
def _acquires(code: CodeType) -> list[_Taking]:
    if "acquire" not in code.co_names:
        return []
    loads = [
        one.offset for one in dis.get_instructions(code) if one.argval == "acquire" and one.opname.startswith("LOAD")
    ]
    return [taking for at in loads if (taking := _taking(code, at, sure=False))]


# ---- which lock that is ----------------------------------------------------------------------------------------------


@lru_cache(1000)
def _positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    return list(code.co_positions())


def _position(code: CodeType, at: int) -> tuple[int, int, int, int] | tuple[()]:
    """First line, last line, first column, last column of an instruction; () without."""
    line, end_line, column, end_column = _positions(code)[at // 2]
    if line is None or end_line is None or column is None or end_column is None:
        return ()
    return line, end_line, column, end_column


def _taking(code: CodeType, at: int, sure: bool) -> _Taking | None:
    """What the text says there; None without a text, or if it is more than names."""
    if not (position := _position(code, at)):
        return None
    line, end_line, column, end_column = position
    if line != end_line:
        return None
    text = linecache.getline(code.co_filename, line).encode()[column:end_column].decode(errors="replace")
    try:
        expression = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    if not sure and isinstance(expression, ast.Call):
        expression = expression.func
    if not sure:
        if not isinstance(expression, ast.Attribute):
            return None
        expression = expression.value
    return _Taking(at, line, expression, sure)


def _value(expression: ast.expr, frame: FrameType) -> object:
    """What a name, or attributes of one, mean in the frame; looked up without running anything of the program."""
    if isinstance(expression, ast.Name):
        for names in (frame.f_locals, frame.f_globals):
            if expression.id in names:
                return names[expression.id]
    elif isinstance(expression, ast.Attribute):
        owner = _value(expression.value, frame)
        if owner is not _UNKNOWN:
            return _attribute(owner, _mangled(expression.attr, frame))
    return _UNKNOWN


def _mangled(name: str, frame: FrameType) -> str:
    """The name that the code has for a private name of a class, which methods see mangled."""
    if not name.startswith("__") or name.endswith("__"):
        return name
    return next((known for known in frame.f_code.co_names if known.endswith(name) and known.startswith("_")), name)


def _attribute(owner: Any, name: str) -> object:
    try:
        found = inspect.getattr_static(owner, name)
    except AttributeError:
        return _UNKNOWN
    if isinstance(found, MemberDescriptorType):  # of __slots__
        try:
            return found.__get__(owner)
        except AttributeError:
            return _UNKNOWN
    return found
