"""What objects hold, read without running code of the program: no property, `__getattr__`, `__eq__`, `__hash__` or
`__repr__` of its own.

Attributes are looked up in the dicts of the instance and of its classes, items in builtin containers alone.  Even
isinstance() may run code, because it asks for `__class__`; issubclass() of a type() does not.
"""

from __future__ import annotations

import collections
import enum
import threading
import types
from typing import Any


class _Sign:
    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


ABSENT = _Sign("absent")  #: nothing is stored there
UNKNOWN = _Sign("?")  #: only code of the program could tell

#: The containers whose methods are CPython's.
_CONTAINERS = (
    *(list, dict, set, collections.deque, collections.OrderedDict, collections.defaultdict, collections.Counter),
    *(bytearray,),
)
_NUMBERS = (bool, int, float)
_PLAIN = (*_NUMBERS, str, bytes, type(None))
_CONSTANT = (
    *(type(None), tuple, frozenset, type(Ellipsis), type(NotImplemented), _Sign, types.ModuleType, types.FunctionType),
    *(types.BuiltinFunctionType, types.MethodType, types.CodeType),
)
_LONGEST = 20  # characters of a value
_FEW = 3  # items that are told one by one
_MOST_KEYS = 2000  # of a dict that is searched
_MOST_TOLD = 100  # keys whose coming and going is told

_mro = type.__dict__["__mro__"].__get__
_names = type.__dict__["__dict__"].__get__
_class_name = type.__dict__["__name__"].__get__
_module = type.__dict__["__module__"].__get__
_of_module: Any = types.ModuleType.__dict__
_module_names = _of_module["__dict__"].__get__


def class_name(cls: type) -> str:
    name: str = _class_name(cls)
    return name


def module_of(cls: type) -> str:
    name = _module(cls)
    return name if type(name) is str else ""


def _in_classes(classes: tuple[type, ...], name: str) -> tuple[type, Any] | None:
    return next(((cls, _names(cls)[name]) for cls in classes if name in _names(cls)), None)


def _dict_of(owner: object) -> dict[str, Any] | None:
    for cls in _mro(type(owner)):
        found = _names(cls).get("__dict__")
        if type(found) is types.GetSetDescriptorType:
            names = found.__get__(owner)
            return names if issubclass(type(names), dict) else None
        if found is not None:
            return None  # the program's own
    return None


def attribute(owner: object, name: str) -> tuple[object, object] | None:
    """(what holds the attribute, its value or ABSENT); None if it is a method, or code tells it."""
    if type(owner) is types.ModuleType:
        of_module = _module_names(owner)
        return of_module, of_module.get(name, ABSENT)
    if issubclass(type(owner), type):
        found = _in_classes(_mro(owner), name)
        if found is None:
            return owner, ABSENT
        return None if _in_classes(_mro(type(found[1])), "__get__") else found
    found = _in_classes(_mro(type(owner)), name)
    if found is not None:
        if type(found[1]) is types.MemberDescriptorType:
            try:
                return owner, found[1].__get__(owner)
            except AttributeError:
                return owner, ABSENT
        if _in_classes(_mro(type(found[1])), "__set__"):
            return None
    names = None if issubclass(type(owner), threading.local) else _dict_of(owner)
    if names is None:
        return None
    if dict.__contains__(names, name):
        return owner, dict.__getitem__(names, name)
    if found is None:
        return owner, ABSENT
    return None if _in_classes(_mro(type(found[1])), "__get__") else found


def container(value: object, method: str = "__len__") -> type | None:
    """The builtin container that the value is, if that method is the builtin one."""
    classes = _mro(type(value))
    base = next((cls for cls in classes if cls in _CONTAINERS), None)
    found = _in_classes(classes, method) if base is not None else None
    return base if found is not None and found[0] in _CONTAINERS else None


def is_shareable(value: object) -> bool:
    """Whether it may have data of its own that changes."""
    kind = type(value)
    return container(value) is not None or not (kind in _CONSTANT or issubclass(kind, (type, *_PLAIN[:-1])))


def size(value: Any) -> int:
    """Of a container()."""
    base: Any = container(value)
    length: int = base.__len__(value)
    return length


def token(key: Any) -> object:
    """Stands for a key or an index: equal for keys that are the same one; UNKNOWN if only code of the program could
    tell."""
    kind = type(key)
    if kind in _PLAIN:
        return key if kind in _NUMBERS else (kind, key)
    if issubclass(kind, tuple):
        parts = tuple(map(token, tuple.__iter__(key)))
        return UNKNOWN if any(part is UNKNOWN for part in parts) else parts
    if issubclass(kind, str):
        return str, str.__str__(key)
    found = _in_classes(_mro(kind), "__eq__")
    return id(key) if found is not None and found[0] is object else UNKNOWN


def item(value: Any, key: object) -> object:
    """What a container, or a tuple, has for that key; ABSENT or UNKNOWN."""
    base = tuple if type(value) is tuple else container(value, "__getitem__")
    if base in (list, tuple, collections.deque, bytearray):
        if type(key) is not int:
            return UNKNOWN
        return base.__getitem__(value, key) if -len(value) <= key < len(value) else ABSENT
    if base is None or not issubclass(base, dict) or dict.__len__(value) > _MOST_KEYS:
        return UNKNOWN
    wanted = token(key)
    if wanted is UNKNOWN:
        return UNKNOWN
    return next((one for known, one in dict.items(value) if token(known) == wanted), ABSENT)


def keys_of(value: Any) -> dict[object, str] | None:
    """What a small dict or set has for keys, as it tells them; None for others."""
    base = container(value)
    if base is None or not issubclass(base, (dict, set)) or size(value) > _MOST_TOLD:
        return None
    found = {token(key): shown(key) for key in base.__iter__(value)}
    found.pop(UNKNOWN, None)
    return found


def changed(before: dict[object, str] | None, after: dict[object, str] | None) -> str:
    """The keys that have come and gone, if these are few."""
    if before is None or after is None:
        return ""
    found = [f"+{text}" for key, text in after.items() if key not in before]
    found += [f"-{text}" for key, text in before.items() if key not in after]
    return " ".join(found) if len(found) <= _FEW else ""


def shown(value: Any) -> str:
    """A few words for a value."""
    kind = type(value)
    if kind is _Sign:
        return repr(value)
    if kind is int and value.bit_length() > 64:
        return f"int of {value.bit_length()} bits"
    if kind in (str, bytes) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]!r}…"
    if kind in _PLAIN:
        return repr(value)
    if kind in (list, tuple) and len(value) <= _FEW and all(type(one) in _PLAIN for one in value):
        text = repr(value)
        if len(text) <= _LONGEST:
            return text
    if kind is tuple:
        return f"tuple of {len(value)}"
    if container(value):
        return f"{class_name(kind)} of {size(value)}"
    if issubclass(type(kind), enum.EnumMeta):
        name = (_dict_of(value) or {}).get("_name_")
        return f"{class_name(kind)}.{name}" if type(name) is str else class_name(kind)
    if issubclass(kind, type):
        return f"class {class_name(value)}"
    if kind in (types.FunctionType, types.BuiltinFunctionType):
        return f"{value.__name__}()"
    return f"{class_name(kind)} object"
