"""Which object a thread's line means: where it took a lock, what it waits for, what its `with` statements are for."""

from __future__ import annotations

import ast
import contextlib
import functools
import gc
import inspect
import linecache
from collections.abc import Iterator
from itertools import pairwise
from types import AsyncGeneratorType, BuiltinMethodType, CodeType, CoroutineType, FrameType, FunctionType, MethodType
from typing import Any, NamedTuple

from ..core import native
from .names import all_attributes
from .source import (
    at,
    expression_of,
    instructions_of,
    is_inner,
    object_in,
    outwards,
    passed_on,
    place_at,
    positions_of,
    segment_of,
    variables,
    with_class,
)

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
    for outer in outwards(frame):
        for takings in (_entered(outer), _acquired(outer)):
            taking = next((one for one in takings if _is_lock(_value(one.expression, outer), lock)), None)
            if taking:
                place = at(outer, taking.line)
                found, guess = (place, guess) if taking.sure else (found, place)
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
    here, now = positions_of(frame.f_code)[frame.f_lasti // 2][0], frame.f_lasti
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
    instructions = list(instructions_of(code).values())
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
        one.offset
        for one in instructions_of(code).values()
        if one.argval == "acquire" and one.opname.startswith("LOAD")
    ]
    return [taking for at in loads if (taking := _taking(code, at, sure=False))]


def _taking(code: CodeType, at: int, sure: bool) -> _Taking | None:
    """The taking that the text says; None without a text, or if the text is more than names."""
    expression = expression_of(segment_of(code, code.co_filename, at))
    if not sure:
        called = expression.func if isinstance(expression, ast.Call) else expression
        expression = called.value if isinstance(called, ast.Attribute) else None
    line = positions_of(code)[at // 2][0]
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


# ---- coroutines that don't run ---------------------------------------------------------------------------------------
#
# The collector tells what is on a coroutine's stack, and may be asked at any moment, whatever the coroutine's thread is
# doing: the `__aexit__` of each `async with` in whose body the coroutine is, in their order.

_EXITS = ("__exit__", "__aexit__")
#: What drives a coroutine or a generator, and has no attribute that leads to it.
_DRIVERS = ("coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable")


#: Of asyncio and anyio.  In a method of the others a task waits for the object, or holds it.
_OF_TASKS = ("Task", "Lock", "Event", "Condition", "Semaphore", "Barrier", "Queue", "CapacityLimiter", "TaskGroup")


def kind_of_tasks(thing: object) -> str:
    """Which of these it is, in small letters, as Wait.kind has it; "": none."""
    cls: Any = type(thing)
    return _kind_of_tasks(cls)


@functools.lru_cache(maxsize=1024)
def _kind_of_tasks(cls: Any) -> str:
    bases = (base for base in cls.__mro__ if str(base.__module__).startswith(("asyncio.", "_asyncio", "anyio.")))
    return next((base.__name__.lower() for base in bases if base.__name__ in _OF_TASKS), "")


@functools.lru_cache(maxsize=64)
def _attributes(cls: Any) -> tuple[str, str] | None:
    """Of a type of coroutines or generators, also another package's: its frame, and what it awaits."""
    known = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))
    return next((both for both in known if hasattr(cls, both[0])), None)


def chain(awaited: Any) -> Iterator[tuple[Any, FrameType]]:
    """A coroutine or generator that doesn't run, the one that it awaits, and so on, each with its frame."""
    while awaited is not None:
        cls: Any = type(awaited)
        if known := _attributes(cls):
            if (frame := getattr(awaited, known[0])) is not None:
                yield awaited, frame
            awaited = getattr(awaited, known[1])
        else:
            inner = gc.get_referents(awaited) if type(awaited).__name__ in _DRIVERS else ()
            driven = (one for one in inner if type(one) in (CoroutineType, AsyncGeneratorType))
            awaited = next(driven, next((one for one in inner if type(one).__name__ in _DRIVERS), None))


def _left_by(*holders: Any) -> list[Any]:
    """The context managers whose exit methods these refer to; of a coroutine in the order of its `with` statements."""
    found = []
    for one in gc.get_referents(*holders):
        if type(one) is MethodType or type(one) is BuiltinMethodType:
            function = getattr(one, "__func__", one)
            if type(function) in (FunctionType, BuiltinMethodType) and function.__name__ in _EXITS:
                found.append(one.__self__)
    return found


def managers(holder: Any, frame: FrameType) -> Iterator[tuple[Any, str]]:
    """The context managers in whose bodies a coroutine is, and where each body begins, "" if that isn't known.  Those
    inside of contextlib's come with them."""
    cls: Any = type(holder)
    known = _attributes(cls)
    enters = known is not None and getattr(getattr(holder, known[1]), "__name__", "") == "__aenter__"
    if not (found := _left_by(holder)[: -1 if enters else None]):
        return
    lines = [taking.line for taking in _entered(frame)]
    for number, owner in enumerate(found):
        yield owner, at(frame, lines[number]) if len(lines) == len(found) else ""
        if type(owner).__module__ == "contextlib":
            yield from ((one, "") for one in _left_by(*(attribute_of(owner, "_exit_callbacks") or ())))
            yield from (one for inner in [*chain(attribute_of(owner, "gen"))][:1] for one in managers(*inner))


@functools.lru_cache(maxsize=1024)
def called_at(site: str) -> str:
    """What the line at "FILE:LINE in FUNCTION" calls the primitive that it takes, waits for or notifies.

    "": only code of the program knows which, or the line does more.
    """
    place, _, function = site.rpartition(" in ")
    file, _, line = place.rpartition(":")
    text = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
    try:
        nodes = [*ast.walk(ast.parse(f"{text} pass" if text.endswith(":") else text))]
    except (SyntaxError, ValueError):
        return ""
    found = [ast.unparse(item.context_expr) for node in nodes if isinstance(node, ast.With) for item in node.items]
    calls = [node.func for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    # Another name may be a module's, as in futures.wait().
    waits = [ast.unparse(call.value) for call in calls if call.attr in ("acquire", "wait", "wait_for")]
    found += [text for text in waits if text.startswith("self.")]
    found += [ast.unparse(call.value) for call in calls if call.attr in ("notify", "notify_all")]
    is_plain = len(found) == 1 and all(part.isidentifier() for part in found[0].split("."))
    return with_class(found[0], function) if is_plain else ""


def awaited_as(thing: object, frame: FrameType | None) -> str:
    """What the line at which a thread waits calls the primitive, such as Desk.came for `self.came.wait()` there.

    The program's line, if that names it, otherwise that of the library by which it synchronises.  "": neither does.
    """
    last, found = passed_on(frame), ""
    for outer in outwards(frame):
        if not is_inner(outer):
            found = _named_by(outer, thing) or found
        if outer is last:
            break
    return found


def receiver(frame: FrameType, method: str) -> object:
    """The object whose method of that name the innermost line calls; None: it calls none, or that is not known."""
    node = expression_of(place_at(frame, True, None).segment)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != method:
        return None
    with contextlib.suppress(Exception):  # it reads the program's own things
        value = _value(node.func.value, frame)
        return None if value is _UNKNOWN else value
    return None


def expression_text(frame: FrameType) -> str:
    """What the line calls the object whose method it calls, such as Desk.orders."""
    return place_at(frame, True, None).object_text


def attribute_of(owner: object, name: str) -> Any:
    """Looked up without running code of the program; None: there is none."""
    value = _attribute(owner, name)
    return None if value is _UNKNOWN else value


def _named_by(frame: FrameType, thing: object) -> str:
    place = place_at(frame, True, None)
    node = object_in(place.segment)
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
    own = (value for attribute, value in all_attributes(owner) if attribute == name)
    return next(own, inspect.getattr_static(owner, name, _UNKNOWN))
