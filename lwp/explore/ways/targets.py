"""What is to be explored when it is named by a text: `FILE.py::test`, a script, a module; and what it prints."""

from __future__ import annotations

import ast
import atexit
import builtins
import functools
import importlib.util
import inspect
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.machinery import BuiltinImporter, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from ... import native
from ...reading.files import is_library, is_program
from ..tasks.loops import plain

Test = Callable[[], object]


class TargetError(ValueError):
    """There is no such test, or it can't be called."""


@dataclass(frozen=True)
class Target:
    """A test or a program, by its name."""

    kind: str  #: "function", "script" or "module"
    what: str  #: the path of a file, or the name of a module
    name: str = ""  #: of the function: "test", or "Class::method"
    args: tuple[str, ...] = ()  #: a program's

    @classmethod
    def of(cls, text: str, args: tuple[str, ...] = ()) -> Target:
        """From `FILE.py::TEST` or `FILE.py`."""
        path, colons, name = text.partition("::")
        return cls("function", path, name) if colons else cls("script", path, args=args)

    def words(self) -> tuple[str, ...]:
        """As they stand in a command."""
        if self.kind == "function":
            return (f"{self.what}::{self.name}",)
        return (*(("-m",) if self.kind == "module" else ()), self.what, *self.args)

    @property
    def file(self) -> str:
        """Where the project is looked for that it belongs to."""
        return os.path.abspath(self.what) if self.kind != "module" else os.getcwd()

    def tests(self) -> list[str]:
        """The test functions of a script, and methods of its classes.  Running the script doesn't call them."""
        if self.kind != "script" or not os.path.isfile(self.what):
            return []
        return [*_tests_in(ast.parse(Path(self.what).read_bytes()))]

    def load(self) -> Test:
        """What a run calls.  Only for a process that does nothing else, because sys.path and sys.argv become the
        target's.

        TargetError: why it can't be explored.
        """
        if self.kind == "function":
            return _load_function(self.what, self.name)
        return _load_program(self)


def _tests_in(block: ast.Module | ast.ClassDef, owner: str = "") -> Iterator[str]:
    for one in block.body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name.startswith("test"):
            yield owner + one.name
        elif isinstance(one, ast.ClassDef) and "Test" in one.name:
            yield from _tests_in(one, f"{owner}{one.name}::")


# ---- a function ------------------------------------------------------------------------------------------------------


def options_of(function: Any) -> tuple[Any, dict[str, Any]]:
    """The function that `@explored` has decorated, and its options; other functions as they are, with none."""
    found: tuple[Any, dict[str, Any]] = getattr(function, "_lwp_explored", (function, {}))
    return found


def why_not(function: Any) -> str | None:
    """Why calling the function would not run it."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "is a generator: a call does not run it"
    return None


def _import(path: Path) -> ModuleType:
    """Imports it as pytest does: by its name below the first folder upwards that is no package."""
    full = path.resolve()
    top, parts = full.parent, [full.stem]
    while (top / "__init__.py").is_file():
        parts.insert(0, top.name)
        top = top.parent
    if sys.flags.safe_path:  # then there is no entry to be replaced
        sys.path.insert(0, str(top))
    else:
        sys.path[0] = str(top)
    if parts[-1] == "__init__":
        parts.pop()
    name = ".".join(parts)
    if len(parts) > 1:
        module = importlib.import_module(name)
        if getattr(module, "__file__", None) and Path(str(module.__file__)).resolve() == full:
            return module
    if name in sys.modules:  # such as queue.py: the standard library's queue stays in use
        name = f"explored_{full.stem}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _imported(path: Path) -> ModuleType:
    if not path.is_file():
        raise TargetError(f"no file {path}")
    try:
        return _import(path)
    except TargetError:
        raise
    except (Exception, SystemExit) as error:
        lines = traceback.format_exception(type(error), error, of_program(error.__traceback__))
        print("".join(lines), end="", file=sys.stderr)
        raise TargetError(f"{path} can't be imported: {lines[-1].strip()}") from error


def of_program(traceback: TracebackType | None) -> TracebackType | None:
    """From the program's first frame on; None: it has none."""
    while traceback is not None and not is_program(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return traceback


def _attribute(owner: Any, name: str, where: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        names = [one for one, value in vars(owner).items() if callable(value) and not one.startswith("__")]
        near = get_close_matches(name, names, 3)
        tests = [one for one in names if one.startswith("test")]
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        elif tests:
            hint = f"it has {', '.join(tests[:6])}{', ...' if len(tests) > 6 else ''}"
        else:
            hint = "and no test either"
        raise TargetError(f"{where} has no {name}: {hint}") from None


def _load_function(path: str, name: str) -> Test:
    if not path:
        raise TargetError(f"::{name} of which file? Give FILE.py::{name}")
    module = _imported(Path(path))
    owner: Any = module
    found, where = module, path
    for part in name.split("::"):
        if not part:
            raise TargetError(f"{path}:: what? Name a function of the file, or Class::method")
        owner, found = found, _attribute(found, part, where)
        where = f"{where}::{part}"
    if isinstance(found, type):
        raise TargetError(f"{where} is a {'TestCase' if _is_case(found) else 'class'}: name one of its methods")
    if not callable(found):
        raise TargetError(f"{where} is no function")
    function, _ = options_of(found)
    function = plain(function)
    if (reason := why_not(function)) is not None:
        raise TargetError(f"{where} {reason}")
    if isinstance(owner, type):
        return _of_class(owner, function, where)
    _needs_nothing(function, where)
    return function


def _needs_nothing(function: Any, where: str, given: int = 0) -> None:
    try:
        wanted = inspect.signature(function)
    except (TypeError, ValueError):  # built-in
        return
    try:
        wanted.bind(*range(given))
    except TypeError:
        needed = [
            name
            for name, parameter in list(wanted.parameters.items())[given:]
            if parameter.default is parameter.empty and parameter.kind not in (parameter.VAR_KEYWORD,)
        ]
        raise TargetError(
            f"{where} needs arguments ({', '.join(needed)}): pytest --lwp-explore {where} gives it its fixtures"
        ) from None


def _is_case(cls: type) -> bool:
    case = sys.modules.get("unittest.case")  # to load it takes 4 ms, and without it there is no such class
    return case is not None and issubclass(cls, case.TestCase)


def _of_class(cls: type, function: Any, where: str) -> Test:
    """Each run has an instance of its own."""
    name = where.rpartition("::")[2]
    if _is_case(cls):
        import unittest

        assert issubclass(cls, unittest.TestCase)
        module = sys.modules[cls.__module__]
        for owner, what in ((module, "Module"), (cls, "Class")):
            getattr(owner, f"setUp{what}", bool)()
            atexit.register(getattr(owner, f"tearDown{what}", bool))
        return lambda: cls(name).debug()
    static = isinstance(inspect.getattr_static(cls, name), (staticmethod, classmethod))
    _needs_nothing(function, where, 0 if static else 1)
    begin, end = getattr(cls, "setup_method", None), getattr(cls, "teardown_method", None)
    for hook in filter(None, (begin, end)):
        _needs_nothing(hook, f"{where.rpartition('::')[0]}::{hook.__name__}", 1)
    if static:
        return function  # type: ignore[no-any-return]

    def call() -> None:
        instance = cls()
        if begin is not None:
            begin(instance)
        try:
            function(instance)
        finally:
            if end is not None:
                end(instance)

    return call


# ---- a whole program -------------------------------------------------------------------------------------------------


def _load_program(target: Target) -> Test:
    import runpy

    names: dict[str, object] = {"__builtins__": builtins}
    code: CodeType
    if target.kind == "module" or os.path.isdir(target.what):
        try:
            if target.kind == "module":
                _put_first(os.getcwd())
                _, spec, code = runpy._get_module_details(target.what)  # type: ignore[attr-defined]
            else:
                _put_first(os.path.realpath(target.what))
                _, spec, code = runpy._get_main_module_details()  # type: ignore[attr-defined]
        except ImportError as error:
            raise TargetError(str(error)) from error
        names |= {
            "__spec__": spec,
            "__file__": spec.origin,
            "__loader__": spec.loader,
            "__package__": spec.parent,
            "__cached__": spec.cached,
        }
        program = spec.origin if target.kind == "module" else target.what
    else:
        full = os.path.join(os.getcwd(), target.what)
        try:
            code = compile(Path(full).read_bytes(), full, "exec", dont_inherit=True)
        except OSError as error:
            raise TargetError(f"can't open file {full!r}: {error.strerror}") from error
        except (SyntaxError, ValueError) as error:
            raise TargetError(f"{target.what} is no Python: {error}") from error
        _put_first(os.path.dirname(os.path.realpath(full)))
        names |= {"__file__": full, "__loader__": SourceFileLoader("__main__", full), "__cached__": None}
        program = target.what
    sys.argv[:] = [str(program), *target.args]
    _keep_code()
    return _Program(code, names)


def _put_first(folder: str) -> None:
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _keep_code() -> None:
    """Keeps the code of modules, so that each run imports a module anew, but reads it once."""
    loader: Any = SourceFileLoader
    get_code = loader.get_code
    cached = functools.cache(lambda path, name: get_code(SourceFileLoader(name, path), name))
    loader.get_code = lambda self, name: cached(self.path, name)


class _Program:
    """Runs the program as `__main__`: its own modules, sys.argv and atexit functions are new each time."""

    def __init__(self, code: CodeType, names: dict[str, object]) -> None:
        self._code = code
        self._names = {"__loader__": BuiltinImporter, **names}
        self._before = set(sys.modules)
        self._argv = list(sys.argv)
        self._path = list(sys.path)
        self._folder = os.getcwd()
        self._at_exit: list[Callable[[], object]] = []
        register: Any = atexit.register

        def of_run(function: Any, /, *args: Any, **kwargs: Any) -> Any:
            if is_library(sys._getframe(1).f_code.co_filename):
                return register(function, *args, **kwargs)
            self._at_exit.append(functools.partial(function, *args, **kwargs))
            return function

        atexit.register = of_run

    def _begin(self) -> ModuleType:
        for name in [name for name in sys.modules if name not in self._before]:
            if not is_library(str(getattr(sys.modules[name], "__file__", None) or "<frozen")):
                del sys.modules[name]
            else:
                self._before.add(name)
        sys.argv[:] = self._argv
        sys.path[:] = self._path
        os.chdir(self._folder)
        self._at_exit.clear()
        if _pools():  # takes back what _python_exit() has done
            _pools()._shutdown = False
        main = ModuleType("__main__")
        vars(main).update(self._names)
        sys.modules["__main__"] = main
        return main

    def __call__(self) -> None:
        main = self._begin()
        try:
            exec(self._code, vars(main))
        except SystemExit as error:
            if error.code not in (None, 0):
                raise
        self._end()

    def _end(self) -> None:
        """Ends as the interpreter does: ends the pools, waits for the threads, and calls what was registered."""
        if _pools() and _pools()._threads_queues:
            _pools()._python_exit()
        if self._at_exit:
            for thread in threading.enumerate():
                if thread is not threading.current_thread() and not thread.daemon:
                    thread.join()
        while self._at_exit:
            self._at_exit.pop()()


def _pools() -> Any:
    return sys.modules.get("concurrent.futures.thread")


# ---- what it prints --------------------------------------------------------------------------------------------------


class _Bytes(io.BytesIO):
    def close(self) -> None:
        """Does nothing: a program may close its standard output, and what it has printed is kept."""


class _Text(io.TextIOWrapper):
    def __init__(self, below: _Bytes) -> None:
        super().__init__(below, "utf-8", "backslashreplace", write_through=True)

    def write(self, text: str, /) -> int:
        """Drops what a thread prints that is unwound: its run is over."""
        return len(text) if native.explore_unwinding() else super().write(text)


class Output:
    """Stands for standard output and error within a `with`; begin() forgets what was printed before."""

    def __init__(self) -> None:
        self._bytes = _Bytes()

    def __enter__(self) -> Output:
        self._before = sys.stdout, sys.stderr
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self._before

    def of_last_run(self, test: Test, file: str | None = None) -> Test:
        """The test, before each call of which what was printed is forgotten. file: the test's."""

        @functools.wraps(test, assigned=(), updated=())
        def run() -> object:
            self.begin()
            return test()

        run.explored_file = file  # type: ignore[attr-defined]  # choice.py asks for it
        return run

    def begin(self) -> None:
        self._bytes = _Bytes()
        sys.stdout, sys.stderr = _Text(self._bytes), _Text(self._bytes)

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode(errors="replace")
