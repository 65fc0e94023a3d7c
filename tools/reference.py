"""For mkdocs.yml: what mkdocstrings finds of the public names in the sources; the C need not be built.

An extension of griffe, which reads the Python.  It adds what stands elsewhere: comments "#:", behind a constant or
field or above it; the docstrings in the C of what native/__init__.pyi declares; and what each flag of Clone means.
A docstring's paragraph whose lines begin with an argument's or exception's "name: " becomes a list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import griffe

TREE = Path(__file__).resolve().parent.parent
PAGE = TREE / "docs" / "reference.md"

_TEXT = r'(?:"(?:[^"\\\n]|\\.)*"\s*)+'
_TYPE = re.compile(r'TYPE_SPEC\(\w+, "[\w.]+\.(\w+)"')
_FIELD = re.compile(rf'\{{"(\w+)", \w+, \w+,\s*({_TEXT}),\s*NULL\}}')
_SIGNATURE = re.compile(r"(\w+)(\(.*?\))\n--\n\n(.*)", re.DOTALL)
_NAMED = re.compile(r"([a-z_]+|[A-Z]\w+Error): +(.*)")


def modules() -> list[str]:
    """Those that the page describes."""
    return re.findall(r"^::: (\S+)", PAGE.read_text(), re.MULTILINE)


# ---- what is said about a name ---------------------------------------------------------------------------------------


def _comment(attribute: griffe.Attribute, file: Path) -> str:
    """The comment "#:" above it, also above the `if` that it stands in, or behind it."""
    lines, at = attribute.lines_collection[file], (attribute.lineno or 1) - 1
    behind = "".join(line.partition("#:")[2] for line in lines[at : attribute.endlineno]).strip()
    if lines[at - 1].startswith("if "):
        at -= 1
    above: list[str] = []
    while at and lines[at - 1].lstrip().startswith("#:"):
        at -= 1
        above.insert(0, lines[at].lstrip()[2:].strip())
    return " ".join(above) or behind


def _from_c(folder: Path) -> Iterator[tuple[str, str]]:
    """What the C documents, declared in Python; before it the type that has the method or property, or ""."""
    for path in sorted(folder.rglob("*.c")):
        source = path.read_text()
        beside = [path.with_name(name) for name in re.findall(r'#include "[\w/]*?(\w+\.h)"', source)]
        source += "".join(one.read_text() for one in beside if one.exists())
        (of, *_) = [*_TYPE.findall(source), ""]
        source = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
        for text in map(_joined, re.findall(_TEXT, source)):
            if call := _SIGNATURE.fullmatch(text):
                name, arguments, said = call.groups()
                whose = of if "$self" in arguments else ""
                arguments = re.sub(r"\$module, /(, )?", "", arguments).replace("$", "")
                yield whose, f"def {name}{arguments}: {said!r}"
        for name, literal in _FIELD.findall(source):
            yield of, f"@property\ndef {name}(self): {_joined(literal)!r}"


def _joined(literal: str) -> str:
    """The text of string literals of C that follow each other."""
    return str(ast.literal_eval(f"({literal})"))


def _escaped(text: str) -> str:
    """What Markdown would take for its own, but not inside `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"[*<\[]|_(?=_)|(?<=_)_", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def _markdown(text: str) -> str:
    out = []
    text = re.sub(r"\(PYTEST_DONT_REWRITE:[^)]*\)", "", text)
    for paragraph in text.split("\n\n"):
        in_list = bool(_NAMED.match(paragraph))
        for line in map(str.strip, paragraph.splitlines()):
            begin = _NAMED.match(line) if in_list else None
            out.append(f"- `{begin[1]}`: {_escaped(begin[2])}" if begin else "  " * in_list + _escaped(line))
        out.append("")
    return "\n".join(out)


# ---- for griffe ------------------------------------------------------------------------------------------------------


class Reference(griffe.Extension):
    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        if attr.docstring is None and isinstance(attr.filepath, Path) and (said := _comment(attr, attr.filepath)):
            attr.docstring = griffe.Docstring(said, parent=attr)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        if "clone" in pkg.members:
            _describe_flags(pkg["clone"])
        if "native" in pkg.members:
            _describe_native(pkg["native"])
            _name_native(pkg)
        things = list(_all_in(pkg))
        for thing in things:
            if isinstance(thing, griffe.Class):
                _inherit(thing)
        for docstring in {id(thing.docstring): thing.docstring for thing in things if thing.docstring}.values():
            docstring.value = _markdown(docstring.value)


def _describe_flags(clone: griffe.Module) -> None:
    meanings = clone["_MEANINGS"].value
    for flag, meaning in zip(meanings.keys, meanings.values, strict=True):
        member = clone["Clone"][flag.last.name]
        member.docstring = griffe.Docstring(ast.literal_eval(meaning), parent=member)


def _describe_native(native: griffe.Module) -> None:
    assert isinstance(native.filepath, Path)
    for of, declared in _from_c(native.filepath.parent):
        ((name, member),) = griffe.visit("c", Path("c.py"), declared).members.items()
        owner = native.members.get(of) if of else native
        known = owner.members.get(name) if owner else None
        if known and known.is_class:
            known.docstring = member.docstring
        elif owner and (of or known):
            owner.set_member(name, member)


def _name_native(package: griffe.Module) -> None:
    """Gives `sleep = native.sleep` in a module the signature and docstring of the function, and a type its methods."""
    for module in [*_all_in(package)]:
        for name, known in list(module.members.items()):
            if not isinstance(known, griffe.Attribute):
                continue
            found = re.fullmatch(r"native\.(\w+)", str(known.value))
            if found and (meant := package["native"].members.get(found[1])) and not meant.is_attribute:
                meant = copy(meant)
                meant.name, meant.docstring = name, meant.docstring or known.docstring
                module.set_member(name, meant)


def _inherit(cls: griffe.Class) -> None:
    """A method that says nothing itself says what the method does that it replaces."""
    for name, method in cls.members.items():
        if not method.is_alias and method.is_function and not method.docstring and name != "__init__":
            replaced = [base.members[name] for base in cls.mro() if name in base.members]
            method.docstring = copy(replaced[0].docstring) if replaced else None


def _all_in(thing: griffe.Object) -> Iterator[griffe.Object]:
    yield thing
    for member in thing.members.values():
        if isinstance(member, griffe.Object):
            yield from _all_in(member)
