"""What is built, and what it is built into."""

from __future__ import annotations

import importlib
import platform
import re
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest
from conftest import TREE, Environment, needs_mypy, python

from runtime.native import _core


def test_the_core_loads_on_the_oldest_supported_glibc() -> None:
    # Headers of a newer glibc lead some calls to newer symbols, which an older one doesn't have.
    gnuversions = pytest.importorskip("elftools.elf.gnuversions")
    elffile = pytest.importorskip("elftools.elf.elffile")
    with open(_core.__file__, "rb") as file:
        wanted = {
            auxiliary.name
            for section in elffile.ELFFile(file).iter_sections()
            if isinstance(section, gnuversions.GNUVerNeedSection)
            for _, auxiliaries in section.iter_versions()
            for auxiliary in auxiliaries
        }
    versions = [tuple(map(int, name.removeprefix("GLIBC_").split("."))) for name in wanted if name.startswith("GLIBC_")]
    assert versions
    assert max(versions) <= (2, 34)


def test_debuggers_find_the_names_of_functions() -> None:
    """Also in a wheel, which has no debug information."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    with open(_core.__file__, "rb") as file:
        symbols = elffile.ELFFile(file).get_section_by_name(".symtab")
        names = {symbol.name for symbol in symbols.iter_symbols()} if symbols else set()
    assert {"runtime_debug", "thread_main", f"runtime_clone_{platform.machine()}"} <= names


#: What another Python would say of itself, and what is said of it.
ELSEWHERE = {
    "sys.platform = 'darwin'": "this is darwin",
    "sys.implementation.name = 'pypy'": "this is pypy",
    "sys.implementation._multiarch = 'riscv64-linux-gnu'": "this Python is for riscv64-linux-gnu",
    "del sys.implementation._multiarch; name = os.uname_result([*'abcd', 's390x']); os.uname = lambda: name": (
        "this Python is for s390x-linux"
    ),
    "sys.implementation._multiarch = 'i386-linux-gnu'; sys.maxsize = (1 << 31) - 1": (
        "this Python is for i386-linux-gnu"
    ),
    "sys.implementation._multiarch = 'x86_64-linux-gnux32'; sys.maxsize = (1 << 31) - 1": (
        "this Python is for x86_64-linux-gnux32"
    ),
    "sys.implementation._multiarch = 'x86_64-linux-musl'; os.confstr = int": (
        "this Python is for x86_64-linux-musl, and uses another C library"
    ),
    "os.confstr = lambda name: None": "uses another C library",
    "os.confstr = lambda name: 'glibc 2.33'": "this is glibc 2.33",
}
SUPPORTED = "runtime works with CPython on Linux, x86-64 or aarch64 (64 bits), and glibc 2.34 or newer; "
COMPILER = str(sysconfig.get_config_var("CC")).split()[0]
BUILD = "build_backend.get_requires_for_build_wheel()"  # pip's first question


def wheels() -> ModuleType:
    """tools/wheels.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TREE / "tools")
        return importlib.import_module("wheels")


def said(code: str, **environment: str) -> str:
    """What is on standard error when the code ends with status 1."""
    # Read now, from a file that the pretended Python has not.
    read = "import os, sys, sysconfig\nsysconfig.get_config_vars()\n"
    done = python("-c", read + code, cwd=TREE, status=1, **environment)
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
def test_elsewhere_it_is_refused_in_a_sentence(elsewhere: str) -> None:
    """The same one by the build, before pip has fetched what that needs, and by the import."""
    built = said(f"sys.path.insert(0, 'tools')\nimport build_backend\n{elsewhere}\n{BUILD}")
    assert built.startswith(SUPPORTED)
    assert built.endswith(f"{ELSEWHERE[elsewhere]}\n")
    assert built.count("\n") == 1
    assert said(f"{elsewhere}\nimport runtime.native").splitlines()[-1] == f"ImportError: {built.strip()}"


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-gcc is not installed (Debian: musl-tools)")
def test_a_compiler_for_another_library_is_refused_in_a_sentence() -> None:
    built = said(f"sys.path.insert(0, 'tools')\nimport build_backend\n{BUILD}", CC="musl-gcc -static")
    assert built == f"{SUPPORTED}this C compiler, musl-gcc -static, is for another C library\n"


@needs_mypy
def test_a_type_checker_sees_what_is_c_in_the_installed_package(installed: Environment, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "from runtime import scheduler, sync\n"
        "reveal_type(scheduler.spawn(int).join())\n"
        "reveal_type(sync.Lock().locked())\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed.python), "program.py"]
    shown = installed.execute(*command, cwd=tmp_path).stdout
    assert re.findall(r'Revealed type is "(?:builtins\.)?(.*)"', shown) == ["bool", "bool"], shown


#: What is not there, by what the compiler sees, and what is said of it.
MISSING = {
    "os.environ['PATH'] = '/nowhere'": f"a C compiler is needed, and there is no {COMPILER}",
    "os.environ['CC'] = 'no-such-cc -O2'": "a C compiler is needed, and there is no no-such-cc",
    "os.environ['CFLAGS'] = '-nostdinc'": f"the C library's headers are needed, and {COMPILER} finds no stdio.h",
    "sysconfig.get_path = lambda name: '/nowhere'": (
        "this Python's headers are needed, and there is no Python.h in /nowhere"
    ),
}


@pytest.mark.parametrize("without", MISSING)
@pytest.mark.parametrize("build", ["pip", "setup.py"])
def test_a_missing_compiler_is_named_in_a_sentence(build: str, without: str) -> None:
    """Where pip asks, and by the other ways to the compiler."""
    how = {
        "pip": f"sys.path.insert(0, 'tools')\nimport build_backend\n{without}\n{BUILD}",
        "setup.py": f"{without}\nsys.argv = 'setup.py -q build_ext'.split()\nexec(open('setup.py').read())",
    }
    built = said(how[build])
    assert built == f"{MISSING[without]}: on Debian, apt-get install python3-dev gcc libc6-dev\n"


def test_a_cross_built_wheel_finds_debians_own_headers(tmp_path: Path) -> None:
    """There pyconfig.h includes <x86_64-linux-gnu/python3.13/pyconfig.h>, or that of another processor."""
    include, program = tmp_path / "include" / "python3.13", tmp_path / "python"
    for folder in include, include.parent / "x86_64-linux-gnu" / "python3.13":
        folder.mkdir(parents=True)
        (folder / "pyconfig.h").write_text(f"in {folder}")
    (include / "Python.h").touch()
    said = (3, 13), 0, [str(include), str(include)], "x86_64-linux-gnu"
    program.write_text(f"#!/bin/sh\necho {shlex.quote(repr(said))}\n")
    program.chmod(0o755)
    found = wheels().of_interpreter(str(program), tmp_path / "work")
    assert (found.digits, found.folders[0]) == ("313", str(include))
    for processor in ("x86_64", "aarch64"):
        (config,) = (path for folder in found.folders for path in Path(folder).glob(f"{processor}-*/python3.13/*"))
        assert config.read_text() == f"in {include.parent / 'x86_64-linux-gnu' / 'python3.13'}"


def test_files_are_as_editors_are_told_to_write_them() -> None:
    """.editorconfig, as far as no other tool looks after it."""
    folders = ("course", "docs", "examples", "found", "lwp", "runtime", "stress", "tests", "tools")
    kinds = {".py", ".pyi", ".c", ".h", ".cpp", ".md", ".toml", ".in", ".txt"}
    files = [*TREE.glob("*.*"), *(path for folder in folders for path in (TREE / folder).rglob("*"))]
    wrong = re.compile(rb"\r|[ \t\v\f]$|^\t|\n\n\Z|[^\n]\Z", re.MULTILINE)  # in a line, or at the end
    found = {path: wrong.search(path.read_bytes()) for path in files if path.suffix in kinds}
    assert {path: place for path, place in found.items() if place} == {}
