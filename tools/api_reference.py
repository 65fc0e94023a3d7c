"""Writes docs/api.md from the docstrings and signatures of the public names.

    python tools/api_reference.py            writes it
    python tools/api_reference.py --check    changes nothing; exit status 1 when it is out of date

Public is what stands in a module's __all__, and in a class what doesn't begin with an underscore.  Constants and fields
are described by comments "#:", behind them or above them.  A public name that nothing is said about is an error.

A name that several modules show is described once: in the module that defines it if that is among them, otherwise in
the last of them.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import enum
import importlib
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, is_typeddict

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "api.md"

#: In the order of the document.  What the program and the hook in child processes use among themselves isn't here.
MODULES = [
    "runtime",
    "runtime.thread",
    "runtime.sync",
    "runtime.tls",
    "runtime.aio",
    "runtime.pool",
    "runtime.scheduler",
    "lwp.explore",
    "runtime.patch",
    "runtime.placement",
    "runtime.limits",
    "lwp.observe.listening",
    "lwp.observe.waits",
    "lwp.study.tlsmap.inspection",
    "lwp.study.tlsmap.comparison",
    "lwp.study.tlsmap.variables",
    "lwp.observe.trace",
]

HEAD = """\
# Reference

Written by `tools/api_reference.py` from signatures and docstrings. `lwp COMMAND --help` describes the program.
"""


# ---- what is said about a name ---------------------------------------------------------------------------------------


def assigned(body: list[ast.stmt]) -> Iterator[tuple[str, int, bool]]:
    """Name, line, and whether it is annotated, of what the statements assign or declare."""
    for statement in body:
        if isinstance(statement, ast.If):  # what it is differs, with TYPE_CHECKING or the version: the note says it all
            yield from ((name, line, True) for name, line, _ in assigned(statement.body))
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, statement.lineno, True
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.lineno, False


class Notes:
    """The comments "#:" of a module or class.  One that stands alone is about the name below it."""

    def __init__(self, source: str) -> None:
        body = ast.parse(source).body
        if len(body) == 1 and isinstance(body[0], ast.ClassDef):
            body = body[0].body
        places = list(assigned(body))
        definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        inner = {
            line
            for statement in body
            if isinstance(statement, definitions)
            for line in range(statement.lineno, (statement.end_lineno or 0) + 1)
        }
        self.annotated = {name for name, _, annotated in places if annotated}
        self._said: dict[str, list[str]] = {}
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type != tokenize.COMMENT or not token.string.startswith("#:"):
                continue
            line, alone = token.start[0], not token.line[: token.start[1]].strip()
            if line in inner:
                continue
            names = [name for name, at, _ in places if (at > line if alone else at <= line)]
            if names:
                name = names[0] if alone else names[-1]
                self._said.setdefault(name, []).append(token.string[2:].strip())

    def __getitem__(self, name: str) -> str:
        return " ".join(self._said.get(name, []))


def defining_module(thing: Any, shown_in: str) -> str:
    """Of the modules in this package; for what C or another package defines, the one that shows it."""
    name = getattr(thing, "__module__", None) or ""
    return name if is_ours(name) and name != "runtime.native" else shown_in


def is_ours(module: str) -> bool:
    return module in MODULES or module.startswith(("lwp.", "runtime."))


def own_doc(thing: Any) -> str:
    """Its docstring, not one that it inherits."""
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    return inspect.cleandoc(text) if isinstance(text, str) else ""


def fields(cls: Any) -> dict[str, str]:
    """Of a dataclass, a NamedTuple or a TypedDict: its fields, with their annotations; other classes have none."""
    if dataclasses.is_dataclass(cls):
        return {field.name: str(field.type) for field in dataclasses.fields(cls)}
    annotations = cls.__annotations__ if hasattr(cls, "_fields") or is_typeddict(cls) else {}
    return {name: getattr(found, "__forward_arg__", found) for name, found in annotations.items()}


class Plain:
    """Shows itself as this text in a signature."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def signature(thing: Any) -> str:
    """The signature as in its source, without self; "" when it isn't known."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    constants = vars(sys.modules.get(getattr(thing, "__module__", None) or "", ast))

    def annotation(value: Any) -> Any:
        return Plain(value) if isinstance(value, str) else value

    def default(value: Any) -> Any:
        if isinstance(value, int) and abs(value) < 256:  # is any constant with that number
            return value
        names = [name for name, constant in constants.items() if constant is value and name.isupper()]
        return Plain(names[0]) if names else value

    parameters = [
        parameter.replace(annotation=annotation(parameter.annotation), default=default(parameter.default))
        for parameter in found.parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(parameters, return_annotation=annotation(found.return_annotation)))


# ---- how it is written -----------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """What Markdown would take for its own, but not inside `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"[*<\[]|_(?=_)|(?<=_)_", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def markdown(text: str, indent: str = "") -> str:
    """A docstring's paragraphs; one whose lines begin with an argument's or exception's "name: " becomes a list."""
    out = []
    named = re.compile(r"([a-z_]+|[A-Z]\w+Error): +(.*)")
    for paragraph in text.split("\n\n"):
        if not named.match(paragraph):
            out.append("\n".join(indent + escaped(line.strip()) for line in paragraph.splitlines()))
            continue
        for line in paragraph.splitlines():
            if begin := named.match(line):
                out.append(f"{indent}- `{begin[1]}`: {escaped(begin[2])}")
            else:
                out[-1] += f"\n{indent}  {escaped(line.strip())}"
    return re.sub(r"(?m)^( *- .*(?:\n +[^- ].*)*)\n\n(?= *- )", r"\1\n", "\n\n".join(out))


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower())


class Reference:
    """The document, and the names that nothing is said about."""

    def __init__(self) -> None:
        self.text = HEAD
        self.missing: list[str] = []
        self._notes: dict[str, Notes] = {}
        self._homes: dict[tuple[str, str], str] = {}  # (module that defines it, name): module that describes it
        for name in MODULES:
            module = importlib.import_module(name)
            for public in module.__all__:
                defines = defining_module(getattr(module, public), name)
                if self._homes.get((defines, public)) != defines:
                    self._homes[defines, public] = name
        for name in MODULES:
            self._module(name)

    def _add(self, text: str) -> None:
        self.text += f"\n{text}\n"

    def _said(self, name: str, *texts: str) -> str:
        said = "\n\n".join(text for text in texts if text)
        if not said:
            self.missing.append(name)
        return said

    def _notes_in(self, module: str) -> Notes:
        if module not in self._notes:
            self._notes[module] = Notes(inspect.getsource(sys.modules[module]))
        return self._notes[module]

    def _module(self, name: str) -> None:
        module = importlib.import_module(name)
        self._add(f"## {name}")
        self._add(markdown(self._said(name, own_doc(module))))
        elsewhere = []
        for public in sorted(module.__all__, key=str.lower):
            value = getattr(module, public)
            defines = defining_module(value, name)
            notes = self._notes_in(defines)
            if (home := self._homes[defines, public]) != name:
                elsewhere.append(f"[`{public}`](#{anchor(f'{home}.{public}')})")
                continue
            self._add(f"### {name}.{public}")
            if public in notes.annotated or not callable(value):
                self._add(markdown(self._said(f"{name}.{public}", notes[public])))
            elif inspect.isclass(value):
                self._class(f"{name}.{public}", value, notes[public])
            else:
                self._add(f"```python\n{public}{signature(value)}\n```")
                self._add(markdown(self._said(f"{name}.{public}", own_doc(value))))
        if elsewhere:
            self._add(f"Also {', '.join(elsewhere)}.")

    def _class(self, name: str, cls: type, note: str) -> None:
        data = fields(cls)
        called = not (data or note or issubclass(cls, enum.Enum))  # with a note it is another name for a type
        if called and (found := CONSTRUCTORS.get(name) or signature(cls)):
            self._add(f"```python\n{name.rpartition('.')[2]}{found.removesuffix(' -> None')}\n```")
        ours = is_ours(cls.__module__) or cls.__module__ == "_thread"  # as Lock and its like say
        self._add(markdown(self._said(name, note, own_doc(cls) if ours else "")))
        if issubclass(cls, enum.Enum):
            self._add("\n".join(["| | | |", "|---|---|---|", *self._enumerated(name, cls)]))
        members = list(self._fields(name, cls)) if data else []
        seen = {member.name for member in cls} if issubclass(cls, enum.Enum) else set()
        seen |= data.keys()
        for base in cls.__mro__ if ours else ():
            home = self._homes.get((base.__module__, base.__name__))
            if home and base is not cls:
                self._add(f"And what [`{base.__name__}`](#{anchor(f'{home}.{base.__name__}')}) has.")
                break
            if base.__module__.startswith(("lwp.", "runtime.")) or base is cls:
                members += self._members(name, base, seen)
        if members:
            self._add("**Members**\n\n" + "\n".join(members))

    def _enumerated(self, name: str, cls: type[enum.Enum]) -> Iterator[str]:
        notes = Notes(inspect.getsource(cls))
        for member in list[Any](cls):
            value = f"{member.value:#x}" if isinstance(member.value, int) else repr(member.value)
            said = getattr(member, "meaning", "") or self._said(f"{name}.{member.name}", notes[member.name])
            yield f"| `{member.name}` | `{value}` | {escaped(said)} |"

    def _fields(self, name: str, cls: type) -> Iterator[str]:
        notes = Notes(inspect.getsource(cls))
        for field, annotation in fields(cls).items():
            if field.startswith("_") or (is_typeddict(cls) and field not in notes.annotated):  # its base's
                continue
            said = self._said(f"{name}.{field}", notes[field])
            yield f"- `{field}: {annotation}`: {escaped(said)}"

    def _members(self, name: str, cls: type, seen: set[str]) -> Iterator[str]:
        for member, value in vars(cls).items():
            if member.startswith("_") or member in seen:
                continue
            seen.add(member)
            full, doc = f"{name}.{member}", own_doc(value)
            if isinstance(value, property) and value.fget:
                yield self._member(full, f"{member}: {inspect.signature(value.fget).return_annotation}", doc)
            elif callable(value):
                yield self._member(full, f"{member}{signature(value)}", doc)
            else:
                yield self._member(full, member, doc)

    def _member(self, name: str, line: str, doc: str) -> str:
        return f"- `{line}`: {markdown(self._said(name, doc), '  ').lstrip()}"


def constructors() -> dict[str, str]:
    """Of a class whose constructor is in C, and of Thread as from Python 3.14 on."""
    from runtime.thread import Thread

    thread = signature(Thread)
    if "context" not in thread:
        thread = thread.replace(", **options", ", context: Context | None = None, **options")
    return {"runtime.thread.Thread": thread, "runtime.tls.local": "()"}


CONSTRUCTORS = constructors()


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes docs/api.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 when it is out of date")
    options = parser.parse_args()
    reference = Reference()
    for name in reference.missing:
        print(f"{name}: nothing is said about it", file=sys.stderr)
    if reference.missing:
        return 1
    if not options.check:
        TARGET.write_text(reference.text)
    elif not TARGET.exists() or TARGET.read_text() != reference.text:
        print("docs/api.md is out of date: run tools/api_reference.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
