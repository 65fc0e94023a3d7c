"""What data an instruction uses: an attribute, an item, a variable, a container as a whole.

The operands are on the frame's stack, which Python can't read.  The expression that the instruction stands for says
what they are, and the frame's variables say it again without running code of the program.  What a call has returned
is not known.
"""

from __future__ import annotations

import ast
import dis
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, GeneratorType, ModuleType
from typing import Any, NamedTuple

from ...core import native
from ...reading.source import expression_at, instruction_at, instruction_before, variables
from ...reading.stored import ABSENT, UNKNOWN, attribute, class_name, container, item, module_of, shown, size, token

READS, WRITES, DELETES = "reads", "writes", "deletes"

#: Methods of builtin containers that only read; the others write.
_READING = frozenset(
    (
        *("get", "keys", "values", "items", "copy", "index", "count", "most_common", "elements", "find", "issubset"),
        *("issuperset", "isdisjoint", "union", "intersection", "difference", "__contains__", "__len__", "__iter__"),
        *("__getitem__", "decode", "hex", "startswith", "endswith", "symmetric_difference"),
    )
)
#: Methods of dicts that use one key.
_KEYED = frozenset(("get", "pop", "setdefault", "move_to_end", "__getitem__", "__setitem__", "__delitem__"))
_DELETING = frozenset(("pop", "popitem", "popleft", "remove", "discard", "clear", "__delitem__"))
#: Functions of C modules that change their first argument.
_CHANGING = ("heapq", "bisect")
#: What a report tells of an object of these types, in place of reads and writes: the methods that change it, and those
#: that only look.
_TOLD_BY_CALLS = {
    "Event": ("set clear", "is_set wait"),
    "Condition": ("notify notify_all", "wait wait_for"),
    "Queue": ("put put_nowait get get_nowait", "empty full qsize"),
    "SimpleQueue": ("put put_nowait get get_nowait", "empty qsize"),
    "Future": (
        "set_result set_exception cancel set_running_or_notify_cancel",
        "result exception done cancelled running",
    ),
    "Thread": ("start", "is_alive join"),
    "BytesIO": ("read read1 readinto readline readlines write writelines seek truncate close", "tell getvalue"),
    "StringIO": ("read readline readlines write writelines seek truncate close", "tell getvalue"),
    "_BufferedIOBase": ("read read1 readinto readline readlines write writelines seek truncate close flush", "tell"),
    "_TextIOBase": ("read readline readlines write writelines seek truncate close flush", "tell"),
    "generator": ("send throw close", ""),
}
_CALL = ("(",)  #: the part of an object that its calls use
_OURS = native.__name__.partition(".")[0]  # what `runtime` is called, see lwp_runtime
_THEIR_MODULES = ("threading", "queue", "_queue", "concurrent.futures", "_io", "builtins", _OURS)
_TESTS = ("TO_BOOL", "UNARY_NOT", "POP_JUMP", "JUMP_IF")
_ITERATING = ("GET_ITER", "FOR_ITER", "LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE", "DICT_MERGE", "UNPACK")
_OF_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


class Use(NamedTuple):
    """What an instruction uses, as its expression says it."""

    verb: str
    kind: str  #: global, cell, attribute, item, method, whole
    of: ast.expr | None = None  #: the object, or the container
    name: str = ""  #: of the variable, the attribute, the method
    keys: tuple[ast.expr, ...] = ()  #: of the item; arguments of the method
    loads: ast.expr | None = None  #: the expression whose value the instruction loads


class Data(NamedTuple):
    """What is used."""

    verb: str
    owner: Any  #: what has it; for a variable of a function, a tuple that stands for the variable
    key: object  #: which part of the owner; None: the whole
    label: str  #: of that part, behind the name of the owner
    text: str  #: what the source calls the owner
    value: Callable[[], object] | None  #: as it is then; None: there is none
    call: str = ""  #: the method that is called, if that says more than whether it reads or writes


# ---- which expression ------------------------------------------------------------------------------------------------


def _verb(opname: str) -> str:
    return WRITES if opname.startswith("STORE") else DELETES if opname.startswith("DELETE") else READS


def uses_of(code: CodeType, offset: int) -> tuple[Use, ...]:
    instruction = instruction_at(code, offset)
    return tuple(_uses(code, instruction)) if instruction is not None else ()


def _uses(code: CodeType, instruction: dis.Instruction) -> Iterator[Use]:
    name = instruction.opname
    node = expression_at(code, instruction.offset)
    if name.endswith(("_GLOBAL", "_NAME")):
        yield Use(_verb(name), "global", name=str(instruction.argval), loads=node)
    elif name.endswith(("_DEREF", "_DICT_OR_GLOBALS")):
        yield Use(_verb(name), "cell", name=str(instruction.argval), loads=node)
    elif isinstance(node, ast.Attribute) and name.endswith(("_ATTR", "_METHOD")):
        yield Use(_verb(name), "attribute", node.value, str(instruction.argval), loads=node)
    elif isinstance(node, ast.Subscript) and ("SUBSCR" in name or "SLICE" in name or name == "BINARY_OP"):
        yield Use(_verb(name), "item", node.value, keys=(node.slice,), loads=node)
    elif isinstance(node, ast.Call) and name.startswith("CALL") and "INTRINSIC" not in name:
        yield from _uses_of_call(node)
    elif isinstance(node, ast.Compare):
        yield from _uses_of_comparison(node, name)
    elif name.startswith((*_ITERATING, *_TESTS)) and (loaded := _loaded(code, instruction.offset)) is not None:
        yield Use(READS, "whole", _iterated(loaded))


def _loaded(code: CodeType, offset: int) -> ast.expr | None:
    """The expression right before; up to 3.12 the place of a test or a loop may be its whole statement."""
    before = instruction_before(code, offset)
    if before is not None and before.opname == "GET_ITER":
        before = instruction_before(code, before.offset)
    is_load = before is not None and before.opname.startswith(("LOAD", "BINARY", "CALL"))
    return expression_at(code, before.offset) if before is not None and is_load else None


def _uses_of_call(node: ast.Call) -> Iterator[Use]:
    if isinstance(node.func, ast.Attribute):
        yield Use(READS, "method", node.func.value, node.func.attr, tuple(node.args))
    elif isinstance(node.func, ast.Name) and node.func.id == "next" and node.args:
        yield Use(WRITES, "method", node.args[0], "__next__")
    elif isinstance(node.func, ast.Name) and node.args:  # a function of C may look at all of it
        yield Use(READS, "whole", _iterated(node.args[0]), node.func.id)


def _uses_of_comparison(node: ast.Compare, name: str) -> Iterator[Use]:
    if name == "CONTAINS_OP" and len(node.ops) == 1:
        yield Use(READS, "item", node.comparators[0], keys=(node.left,))
    elif name == "COMPARE_OP":
        for side in (node.left, *node.comparators):
            yield Use(READS, "whole", side)


def _iterated(node: ast.expr) -> ast.expr:
    """The container behind views of it."""
    while isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("items", "keys", "values"):
            node = node.func.value
        elif isinstance(node.func, ast.Name) and node.func.id in ("enumerate", "reversed", "iter") and node.args:
            node = node.args[0]
        else:
            break
    return node.value if isinstance(node, ast.Starred) else node


# ---- which object ----------------------------------------------------------------------------------------------------


def _variable(name: str, frame: FrameType | None) -> object:
    while frame is not None:
        names = variables(frame)
        if (frame.f_code.co_flags & inspect.CO_OPTIMIZED or type(names) is dict) and name in names:
            return names[name]
        if frame.f_code.co_name not in _OF_COMPREHENSIONS:  # whose iterable is the outer function's
            return frame.f_globals.get(name, UNKNOWN)
        frame = frame.f_back
    return UNKNOWN


def value_of(node: ast.expr | None, frame: FrameType) -> object:
    """What the expression means in the frame, or UNKNOWN."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return _variable(node.id, frame)
    if isinstance(node, ast.NamedExpr):
        return value_of(node.target, frame)
    if isinstance(node, ast.Attribute):
        owner = value_of(node.value, frame)
        found = None if owner is UNKNOWN else attribute(owner, mangled(node.attr, frame))
        return UNKNOWN if found is None or found[1] is ABSENT else found[1]
    if isinstance(node, ast.Subscript):
        owner, key = value_of(node.value, frame), value_of(node.slice, frame)
        found_item = UNKNOWN if owner is UNKNOWN or key is UNKNOWN else item(owner, key)
        return UNKNOWN if found_item is ABSENT else found_item
    if isinstance(node, ast.Tuple):
        parts = [value_of(part, frame) for part in node.elts]
        return UNKNOWN if any(part is UNKNOWN for part in parts) else tuple(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = value_of(node.operand, frame)
        return -number if type(number) is int else UNKNOWN
    return UNKNOWN


def mangled(name: str, frame: FrameType) -> str:
    """The name that the code has for a private name of a class, which methods see mangled."""
    if not name.startswith("__") or name.endswith("__"):
        return name
    return next((known for known in frame.f_code.co_names if known.endswith(name) and known.startswith("_")), name)


def _scope(code: CodeType, name: str) -> tuple[str, str, str]:
    """Stands for a variable that functions within one another share.  Its cell can't be seen from a frame."""
    return code.co_filename, code.co_qualname.partition(".<locals>")[0], name


def data_of(use: Use, frame: FrameType) -> list[Data]:
    """Empty: it is no data, or is not known."""
    if use.kind != "attribute":
        return [one for one in [_data(use, frame)] if one is not None]
    owner = value_of(use.of, frame)
    return [] if use.of is None or owner is UNKNOWN else _attributes(use, owner, _text(use.of, frame))


def _data(use: Use, frame: FrameType) -> Data | None:
    if use.kind == "global":
        names, name = frame.f_globals, use.name
        if use.verb == READS and name not in names:
            return None
        return Data(use.verb, names, (".", name), name, "", lambda: names.get(name, ABSENT))
    if use.kind == "cell":
        name = use.name
        return Data(use.verb, _scope(frame.f_code, name), None, name, "", lambda: variables(frame).get(name, ABSENT))
    owner = value_of(use.of, frame)
    if use.of is None or owner is UNKNOWN:
        return None
    text = _text(use.of, frame)
    if type(owner) is ModuleType and use.name and owner.__name__ in _CHANGING and use.keys:
        return _whole(WRITES, value_of(use.keys[0], frame), _text(use.keys[0], frame))
    method = use.name if use.kind == "method" else "__len__"
    base = container(owner, method)
    if base is None:
        return _call(use, owner, text) if use.kind == "method" else None
    if use.kind == "method":
        verb = READS if method in _READING else DELETES if method in _DELETING else WRITES
        if not (issubclass(base, dict) and method in _KEYED and use.keys):
            return _whole(verb, owner, text)
        use = use._replace(verb=verb)
    if use.keys:
        return _item(use.verb, owner, value_of(use.keys[0], frame), text)
    return _whole(use.verb, owner, text)


def _call(use: Use, owner: object, text: str) -> Data | None:
    if type(owner) is GeneratorType and use.name == "__next__":
        return Data(WRITES, owner, _CALL, "", text, None, "next()")
    for cls in type(owner).__mro__:
        writing, reading = _TOLD_BY_CALLS.get(class_name(cls), ("", ""))
        if use.name in (*writing.split(), *reading.split()) and module_of(cls).startswith(_THEIR_MODULES):
            return Data(WRITES if use.name in writing.split() else READS, owner, _CALL, "", text, None, f"{use.name}()")
    return None


def _text(node: ast.expr, frame: FrameType) -> str:
    """What the source calls it, with the class in place of self, and values in place of keys."""
    if isinstance(node, ast.Name):
        code = frame.f_code
        is_self = code.co_argcount > 0 and code.co_varnames[0] == node.id
        return class_name(type(variables(frame).get(node.id))) if is_self else node.id
    if isinstance(node, ast.Attribute):
        owner = _text(node.value, frame)
        return f"{owner}.{node.attr}" if owner else ""
    if isinstance(node, ast.Subscript):
        owner, key = _text(node.value, frame), value_of(node.slice, frame)
        return f"{owner}[{ast.unparse(node.slice) if key is UNKNOWN else shown(key)}]" if owner else ""
    return ""


def root_of(node: ast.expr | None, frame: FrameType) -> object:
    """The object that _text() begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return value_of(node, frame)


def _attributes(use: Use, owner: object, text: str) -> list[Data]:
    """Of the instance; and of its class, if that has it."""
    name = use.name
    found = attribute(owner, name)
    if found is None:
        return []

    def value() -> object:
        return (attribute(owner, name) or (owner, UNKNOWN))[1]

    holders = [found[0] if type(owner) is ModuleType else owner]
    if use.verb == READS and found[0] is not holders[0]:
        holders.append(found[0])
    label = f".{use.loads.attr}" if isinstance(use.loads, ast.Attribute) else f".{name}"
    return [Data(use.verb, holder, (".", name), label, text, value) for holder in holders]


def _item(verb: str, owner: Any, key: object, text: str) -> Data | None:
    base = container(owner, "__getitem__")
    if base is None or key is UNKNOWN or type(key) is slice:
        return _whole(verb, owner, text)
    if not issubclass(base, dict):
        if type(key) is not int:  # as `one in some_list`
            return _whole(verb, owner, text)
        place = key + len(owner) if key < 0 else key
        return Data(verb, owner, ("[", place), f"[{key}]", text, lambda: item(owner, place))
    sign = token(key)
    if sign is UNKNOWN:
        return _whole(verb, owner, text)
    return Data(verb, owner, ("[", sign), f"[{shown(key)}]", text, lambda: item(owner, key))


def _whole(verb: str, owner: object, text: str) -> Data | None:
    return Data(verb, owner, None, "", text, lambda: owner) if container(owner) and size(owner) >= 0 else None
