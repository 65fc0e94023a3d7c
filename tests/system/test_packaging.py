"""What is built, and what it is built into."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TREE

import runtime
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


@pytest.mark.parametrize(
    ("elsewhere", "said"),
    [
        ("sys.platform = 'darwin'", "this is darwin"),
        ("platform.machine = lambda: 'riscv64'", "this Python is for riscv64, 64 bits"),
        ("sys.maxsize = (1 << 31) - 1", "32 bits"),
        ("def confstr(name): raise OSError(22, 'Invalid argument')\nos.confstr = confstr", "such as musl"),
        ("os.confstr = lambda name: None", "such as musl"),
        ("os.confstr = lambda name: 'glibc 2.33'", "this is glibc 2.33"),
        ("sys.implementation.name = 'pypy'", "this is pypy"),
    ],
)
def test_building_elsewhere_is_refused_in_a_sentence(elsewhere: str, said: str) -> None:
    build = Path(runtime.__file__).parent / "native" / "build.py"
    code = f"import os, platform, runpy, sys, sysconfig\n{elsewhere}\nrunpy.run_path({str(build)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("runtime can't be built here: it ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_files_are_as_editors_are_told_to_write_them() -> None:
    """.editorconfig, as far as no other tool looks after it."""
    folders = [TREE / name for name in ("docs", "examples", "runtime", "tests", "tools")]
    kinds = {".py", ".pyi", ".c", ".h", ".cpp", ".md", ".toml", ".in", ".txt"}
    files = [path for folder in folders for path in folder.rglob("*")] + list(TREE.glob("*.*"))
    wrong = []
    for path in files:
        if path.suffix not in kinds or not (text := path.read_bytes()):
            continue
        if b"\r" in text or not text.endswith(b"\n") or text.endswith(b"\n\n"):
            wrong.append(f"{path}: how its last line, or each, ends")
        for number, line in enumerate(text.splitlines(), 1):
            if line != line.rstrip() or line.startswith(b"\t"):
                wrong.append(f"{path}:{number}: white space")
    assert not wrong
