"""What the program calls an object, and where it was made.

It is read from frames and classes, and no code of the program runs.  The names are in what the explorer, `--trace`,
`--watchdog`, `--live`, `--locks` and `--lock-order` print, and in what is told from outside.
"""

from __future__ import annotations

import ast
import contextlib
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple, TypeGuard, TypeVar

from .. import native
from .files import is_program, short
from .source import program_frames, tree_of, variables

__all__ = ["Names", "Origin", "all_attributes", "kind_of", "made", "made_at", "made_by", "named", "named_at"]

T = TypeVar("T")


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
        for attribute, item in all_attributes(value):
            yield f"{name}.{attribute}", item, Origin(_file_of(kind), kind.__name__, 0, attribute)


def all_attributes(value: Any) -> Iterator[tuple[str, object]]:
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


def made_at(origin: Origin) -> int | None:
    """The only line that binds that name; None if there are several, or if it is bound in another kind of place."""
    tree = tree_of(origin.file)
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
