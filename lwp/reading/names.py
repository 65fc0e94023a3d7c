"""What the program calls an object, and where it was made.

It is read from frames and classes, and no code of the program runs.  The names are in what the explorer, `--trace`,
`--watchdog`, `--locks` and `--lock-order` print, and in what is told from outside.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, NamedTuple, TypeGuard, TypeVar

from .. import native
from ..core import printable
from .files import is_program, short
from .source import class_of, program_frames, tree_of, variables

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
_FAR = 4  # steps from a name to what only a longer name tells from others
_LEAF = (type(None), bool, int, float, str, bytes, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


class Names:
    """Finds what the program calls an object: a variable, an attribute, an item.

    test: frames whose names are the best, outermost first: a test's own, or the main thread's.
    """

    def __init__(self, test: list[FrameType], frames: list[FrameType]) -> None:
        # With the object, so that no other object gets its id.
        self._known: dict[int, tuple[object, str, Origin]] = {}
        self._theirs: dict[int, tuple[object, str, Origin]] = {}
        values = iter(range(_MOST_VALUES))
        others = [frame for frame in frames if frame not in test]
        self._walks = (_of_all(test, others, values), self._known), (_of_others(test, others, values), self._theirs)
        self._frames = test, [*test, *others]

    def find(self, wanted: object) -> tuple[str, Origin] | None:
        return self.find_at(id(wanted), type(wanted)) or self.find_at(id(wanted), type(wanted), theirs=True)

    def find_at(self, address: int, kind: type, theirs: bool = False) -> tuple[str, Origin] | None:
        """Of the object of that type with that id(), if it is still there.

        theirs: by a variable of the other frames' functions, which means something to its own thread only.
        """
        walk, known = self._walks[theirs]
        while address not in known:
            if (found := next(walk, None)) is None:
                return None
            name, value, origin = found
            known.setdefault(id(value), (value, name, origin))
        thing, name, origin = known[address]
        return (printable(name), origin) if type(thing) is kind else None

    def far(self, objects: Mapping[int, type]) -> dict[int, str]:
        """The names of those of these objects, by id(), to which more steps lead from what all threads know, or from an
        object whose method runs, such as `ledger.accounts['ann'].lock` or `Bank.customer.lock`."""
        test, frames = self._frames
        left, found = dict(objects), {}
        for name, value, _ in _of_far([*_globals_of(frames), *_locals_of(test)], [*_owners_of(frames)]):
            if left.get(id(value)) is type(value):
                found[id(value)] = name
                del left[id(value)]
                if not left:
                    break
        names = list(found.values())
        return {address: name for address, name in found.items() if names.count(name) == 1}


def _of_far(shared: list[_Space], owners: list[_Space]) -> Iterator[_Part]:
    yield from _direct(shared)
    for spaces in (shared, owners):
        yield from _deep(spaces, iter(range(_MOST_VALUES)), steps=_FAR, private=False)


def _of_all(test: list[FrameType], others: list[FrameType], values: Iterator[int]) -> Iterator[_Part]:
    """Names that are found first are better."""
    shared, own = [*_globals_of([*test, *others])], [*_locals_of(test)]
    yield from _direct(shared)
    yield from _direct(own)
    yield from _deep(own, values)
    yield from _deep(shared, values)


def _of_others(test: list[FrameType], others: list[FrameType], values: Iterator[int]) -> Iterator[_Part]:
    rest = [*_locals_of(others)]
    yield from _direct(rest)
    yield from _deep(rest, values)
    yield from _deep([*_owners_of([*test, *others])], iter(range(_MOST_VALUES)))


def _deep(spaces: list[_Space], values: Iterator[int], steps: int = 2, private: bool = True) -> Iterator[_Part]:
    """Looks inside what the names stand for, and inside what is in that, and so on for so many steps.

    private: also by private attributes of other classes than the program's, such as a Thread's _args.
    """
    level = [part for part in _direct(spaces) if part[0] != "self"]
    for _ in range(steps):
        inner = []
        for name, value, origin in level:
            if issubclass(type(value), _LEAF):
                continue
            for part in _parts(name, value, origin):
                if not private and part[2].name.startswith("_") and not is_program(part[2].file):
                    continue
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


def _owners_of(frames: list[FrameType]) -> Iterator[_Space]:
    """The objects whose methods are called, by the names of the classes that have these methods."""
    for frame in frames:
        if (owner := class_of(frame.f_code.co_qualname)) and "self" in (names := variables(frame)):
            yield {owner: names["self"]}, Origin(frame.f_code.co_filename, "", frame.f_code.co_firstlineno, "")


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
    elif kind.__name__ == "Condition" and kind.__module__ in ("threading", "runtime.sync", "asyncio.locks"):
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


class Named(NamedTuple):
    """An object that is told."""

    address: int
    kind: type
    name: str
    made: str  #: "made at FILE:LINE"; "": not known


class Called:
    """What the program calls its primitives, just now: everything that is told of them has these names.

    The stacks of all threads say that, the main thread's first.  It never raises, because a report may lack a name.
    """

    def __init__(self) -> None:
        stacks: dict[int, FrameType | None] = dict(native.current_frames())
        stacks[threading.get_ident()] = sys._getframe().f_back  # a frame that refers to itself would keep what it knows
        main = [*program_frames(stacks.pop(threading.main_thread().ident or 0, None))][::-1]
        self._names = Names(main, [one for frame in stacks.values() for one in [*program_frames(frame)][::-1]])

    def by(self, thing: object, line: Callable[[], str] = str) -> str:
        """As by_address(); otherwise "made at FILE:LINE", if that was noted."""
        return self.by_address(id(thing), type(thing), line) or made_by(thing)

    def by_address(self, address: int, kind: type, line: Callable[[], str] = str) -> str:
        """A name that all threads know; otherwise what a line calls it that waits for it or takes it; otherwise what
        another thread does; "": none of these.  The object with that id() and type may be gone."""
        with contextlib.suppress(Exception):  # it reads the program's own things
            known = self._names.find_at(address, kind)
            if text := known[0] if known else line():
                return text
            known = self._names.find_at(address, kind, theirs=True)
            return known[0] if known else ""
        return ""

    def apart(self, told: Iterable[Named]) -> dict[tuple[int, str], str]:
        """For objects that are told together and are called alike, by id() and that name, one that tells them apart: a
        longer name that all threads know, otherwise with the line where each was made, otherwise with a number."""
        alike: dict[str, dict[int, Named]] = {}
        for one in told:
            alike.setdefault(one.name, {})[one.address] = one
        found: dict[tuple[int, str], str] = {}
        for name, objects in alike.items():
            if len(objects) > 1 and name:
                found |= {(address, name): text for address, text in self._apart(name, objects).items()}
        return found

    def _apart(self, name: str, objects: dict[int, Named]) -> dict[int, str]:
        far: dict[int, str] = {}
        with contextlib.suppress(Exception):  # it reads the program's own things
            far = self._names.far({address: one.kind for address, one in objects.items()})
        rest = sorted(objects.keys() - far.keys())
        made = [objects[address].made for address in rest]
        if not all(made) or len(set(made)) < len(made) or name in made:
            made = [f"#{number}" for number in range(1, len(rest) + 1)]
        return far | {address: f"{name} {how}" for address, how in zip(rest, made, strict=True)}


def kind_of(thing: object) -> str:
    """What a report calls its type: `lock` and `_RLock`, as CPython has them, go by their public names."""
    name = type(thing).__name__
    return {"lock": "Lock", "_RLock": "RLock"}.get(name, name)


def made_by(thing: object) -> str:
    """ "made at FILE:LINE", if that was noted."""
    return made(native.made_at(thing))


_GENERATED = re.compile(r"(.+) \| ([^|]+) \| (.+)", re.DOTALL)  # as native/python/reading/sites.h has it


def made(site: str) -> str:
    """The same for the native module's "FILE:LINE in FUNCTION"."""
    return f"made at {made_place(site).partition(' in ')[0]}" if site else ""


def made_place(site: str) -> str:
    """FILE:LINE in FUNCTION, for a reader; for what a generated `__init__` has made the line of its class, and by which
    line the object was made."""
    if (generated := _GENERATED.fullmatch(site)) is None:
        return short(site)
    file, name, caller = generated.groups()
    line = _line_of_class(file, name)
    return f"{short(f'{file}:{line}')} by {short(caller)}" if line else short(caller)


@functools.lru_cache(maxsize=1024)
def _line_of_class(file: str, name: str) -> int:
    """The first line of a class with that qualified name, with its decorators; 0: it is not known."""
    scope: ast.AST | None = tree_of(file)
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for part in name.replace(".<locals>", "").split("."):
        if scope is not None:
            scope = _only(one for one in ast.walk(scope) if isinstance(one, kinds) and one.name == part)
    if not isinstance(scope, ast.ClassDef):
        return 0
    return _first_line(scope)


def _first_line(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def made_at(origin: Origin) -> int | None:
    """The only line that binds that name; None if there are several, or if it is bound in another kind of place."""
    tree = tree_of(origin.file)
    if tree is None:
        return None
    scope: ast.AST | None = tree
    if origin.scope:
        scope = _only(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == origin.scope)
    elif origin.line:
        functions = (one for one in ast.walk(tree) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)))
        scope = _only(function for function in functions if _first_line(function) == origin.line)
    if scope is None:
        return None
    nodes: Iterator[ast.AST] = ast.walk(scope) if origin.scope or origin.line else ast.iter_child_nodes(scope)
    return _only({node.lineno for node in nodes if _binds(node, origin.name)})


def _only(found: Iterable[T]) -> T | None:
    some = list(found)
    return some[0] if len(some) == 1 else None


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


def thread_name(text: str, nth: int) -> str:
    """The name of a thread, as threading makes it from the number and the function's name."""
    return text if not nth else f"Thread-{nth} ({text})" if text else f"Thread-{nth}"
