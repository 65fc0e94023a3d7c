"""The program as `__main__`: what Modules/main.c and runpy do.

sys.argv, sys.path, `__main__`, exit status and tracebacks are as they make them.  A program can still tell the
difference: sys.orig_argv names us, and there are two modules `__main__`; from Python 3.15 on sys._getframe() finds our
frames below the program's first frame.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable
from types import CodeType, ModuleType, TracebackType

from ..terminal import ending

# An interpreter that runs a file only borrows the names of its `__main__`, and writes there when it has printed the
# traceback (_PyRun_SimpleFileObject).
_first_main = sys.modules["__main__"]


def run_main(kind: str, what: str, args: tuple[str, ...]) -> None:
    """Becomes the program (run.Program).  Its exceptions, SystemExit among them, pass through to the interpreter."""
    try:
        if kind == "module":
            _begin(("-m", *args), os.getcwd())
            _run_module(what)
        elif kind == "code":
            _run_source(what, "<string>", ("-c", *args))
        elif what == "-":
            _run_source(sys.stdin.buffer.read(), "<stdin>", ("-", *args))
        else:
            _run_script(what, args)
    except BaseException as error:
        _hide_frames(error)
        raise


def _new_main(**names: object) -> ModuleType:
    """A fresh sys.modules["__main__"] with what is in it before the first line of a program."""
    main = ModuleType("__main__")
    if "__annotations__" in vars(sys.modules["__main__"]):  # older interpreters have it in their own
        main.__annotations__ = {}
    vars(main).update(__builtins__=builtins, **names)
    sys.modules["__main__"] = main
    return main


def _begin(argv: tuple[str, ...], path0: str) -> None:
    sys.argv[:] = argv
    if not sys.flags.safe_path:  # otherwise there is no such entry
        sys.path[0] = path0


def _call_outermost(function: Callable[..., object], *args: object) -> None:
    from ..core import call_outermost  # refused where the runtime can't work; main() says why in a sentence

    call_outermost(function, *args)


def _run_source(source: str | bytes, filename: str, argv: tuple[str, ...]) -> None:
    from importlib.machinery import BuiltinImporter

    _begin(argv, "")
    main = _new_main(__loader__=BuiltinImporter)
    if isinstance(source, bytes):
        vars(main).update(__file__=filename, __cached__=None)
    code = compile(source, filename, "exec", dont_inherit=True)
    if isinstance(source, str) and sys.version_info >= (3, 13):  # tracebacks show the lines of -c
        import linecache

        # It is filed by code object, in 3.13.0 by name.
        key = code if hasattr(linecache, "_interactive_cache") else filename
        linecache._register_code(key, source, filename)  # type: ignore[attr-defined]
    _call_outermost(exec, code, vars(main))


def _run_script(path: str, args: tuple[str, ...]) -> None:
    from importlib.machinery import SourceFileLoader, SourcelessFileLoader
    from pkgutil import get_importer, read_code

    full = os.path.join(os.getcwd(), path)
    if get_importer(full) is not None:  # a directory or a zip file: its __main__.py
        _begin((path, *args), full)
        if sys.flags.safe_path:
            sys.path.insert(0, full)
        return _run_module("__main__", alter_argv=False)
    code: CodeType | None
    try:
        with open(path, "rb") as file:
            code = read_code(file)  # a .pyc file
            file.seek(0)
            source = b"" if code else file.read()
    except OSError as error:
        print(f"lwp: can't open file {full!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        sys.exit(2)
    _begin((path, *args), os.path.dirname(os.path.realpath(path)))
    loader = SourcelessFileLoader if code else SourceFileLoader
    main = _new_main(__loader__=loader("__main__", full), __file__=full, __cached__=None)
    _call_outermost(exec, code or compile(source, full, "exec", dont_inherit=True), vars(main))


def _run_module(name: str, alter_argv: bool = True) -> None:
    import runpy
    from importlib.machinery import BuiltinImporter

    _new_main(__loader__=BuiltinImporter)
    _call_outermost(runpy._run_module_as_main, name, alter_argv)  # type: ignore[attr-defined]


def _hide_frames(error: BaseException) -> None:
    """Makes the traceback of the program's exception begin in the program.

    The exception goes on to the interpreter, which handles it as usual: SystemExit has its statuses, and
    KeyboardInterrupt ends the process by SIGINT after everything else.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    hook = getattr(sys, "excepthook", sys.__excepthook__)  # the program's, if it has set one

    def excepthook(kind: type[BaseException], value: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = hook
        sys.last_traceback = traceback
        hook(kind, value.with_traceback(traceback), traceback)

    if not isinstance(error, SystemExit):
        sys.excepthook = excepthook
    ending.note(error)
