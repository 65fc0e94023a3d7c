"""The C of tools without Python, under the sanitizers and under valgrind; all of it, read by cppcheck."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from native_programs import LEAKS, MEMCHECK, NATIVE, SANITIZED, build, check_by_cppcheck, check_well, run
from shared_by_workers import made_once
from this_machine import TREE

from lwp.native.build import SOURCES

TOOLS = TREE / "lwp" / "native"

each = pytest.mark.parametrize("program", ["forks_beside_a_reader", "looked_at"])


def made(folder: Path, *options: str) -> None:
    beside = [TOOLS / name for name in SOURCES if not name.startswith(("python", "module"))]
    build(folder / "tools", f"-I{TOOLS}", *options, source=Path(__file__).with_name("tools.c"), beside=beside)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "sanitized tools", lambda folder: made(folder, *SANITIZED)) / "tools"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "plain tools", lambda folder: made(folder, "-O2")) / "tools"


@each
def test_the_sanitizers_find_nothing(program: str, sanitized: Path) -> None:
    check_well(run(str(sanitized), program, "1", **LEAKS))


@each
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_memcheck_finds_nothing(program: str, plain: Path) -> None:
    check_well(run(*MEMCHECK, str(plain), program, "20"))


@each
def test_without_valgrind(program: str, plain: Path) -> None:
    check_well(run(str(plain), program, "1"))


@pytest.mark.slow
def test_cppcheck_finds_nothing() -> None:
    check_by_cppcheck(NATIVE, TOOLS)
