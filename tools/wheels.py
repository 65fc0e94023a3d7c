"""Wheels for manylinux_2_34: for every CPython that is named, for both processors, compiled here.

    pip install -e '.[wheels]'
    python tools/wheels.py [--output DIR] [--processor x86_64 | aarch64] PYTHON ...

PYTHON is an interpreter's path, or a version that Debian's unstable has: its headers are downloaded by apt, and it
isn't run.  For example:

    python tools/wheels.py python3.11 python3.12 python3.13 3.14 3.15

The compiler is Zig's clang, from the package ziglang: it has the headers and the stubs of each glibc, so that the
wheel asks for no symbol newer than glibc 2.34's, whatever this system has.  auditwheel must say the same, or the
wheel is removed.  Only the two shared objects differ between wheels; the rest is what `pip wheel` packs.

CPython's headers are the same for both processors, except pyconfig.h, and there only what its own sources ask differs
(HAVE_GCC_ASM_FOR_X64, HAVE_GCC_ASM_FOR_X87, HAVE_USABLE_WCHAR_T, PY_SUPPORT_TIER in 3.13 to 3.15): so one set of
headers serves for both.

Exit status 0: all are made.  1: what the compiler or auditwheel complains of.  2: what is missing here, and where to
get it.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roots import DEBIAN_NAMES, TREE, Failed, Impossible, apt_of, call

PLACES = ("runtime/native", "lwp/native")  #: of the shared objects and their build.py; the second needs the first
GLIBC = "2.34"
TOOLS = (
    "ziglang",
    "auditwheel",
    "wheel",
    "cffi",
)  # not pip: to look for it switches setuptools' distutils off, to 3.11

ABOUT = """
import sys, sysconfig
print((sys.version_info[:2], sysconfig.get_config_var("Py_GIL_DISABLED") or 0,
       [sysconfig.get_path("include"), sysconfig.get_path("platinclude")],
       getattr(sys.implementation, "_multiarch", "none")))"""


@dataclass(frozen=True)
class Headers:
    """Of one CPython."""

    digits: str  #: 313, or 313t without a GIL
    folders: tuple[str, ...]

    @property
    def interpreter(self) -> str:
        return f"cp{self.digits.rstrip('t')}"


# ---- headers ---------------------------------------------------------------------------------------------------------


def of_interpreter(python: str, work: Path) -> Headers:
    if not shutil.which(python):
        raise Impossible(
            f"no {python} here: give an interpreter's path, or a version that Debian's unstable has, as 3.14"
        )
    (_, minor), without_gil, folders, processor = ast.literal_eval(call(python, "-c", ABOUT).strip())
    if not any((Path(folder) / "Python.h").exists() for folder in folders):
        raise Impossible(f"{python} has no Python.h in {folders[0]}: install its headers (Debian: python3-dev)")
    digits = f"3{minor}{'t' if without_gil else ''}"
    folders += beside(Path(folders[0]), processor, work / digits)
    return Headers(digits, tuple(dict.fromkeys(folders)))


def beside(include: Path, processor: str, folder: Path) -> list[str]:
    """Where Debian's pyconfig.h finds the other one that it includes, of its processor: for each the one that is here.

    /usr/include itself can't be searched for it, since this system's headers of glibc are there, too.
    """
    config = include.parent / processor / include.name / "pyconfig.h"
    if not config.exists():
        return []
    for name in DEBIAN_NAMES:
        target = folder / f"{name}-linux-gnu" / include.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(config, target)
    return [str(folder)]


def of_unstable(versions: list[str], processors: list[str], work: Path) -> Iterator[Headers]:
    """Downloads the packages with their headers, for each processor since pyconfig.h is; nothing is installed."""
    if not versions:
        return
    if not shutil.which("apt-get"):
        raise Impossible(f"headers of {', '.join(versions)} come from Debian's packages, and there is no apt-get here")
    apt = apt_of("sid", processors, work)
    for version in versions:
        names = [f"libpython{version}-dev:{DEBIAN_NAMES[processor]}" for processor in processors]
        try:
            call("apt-get", "-qq", *apt, "download", *names, cwd=work)
        except Failed as failed:
            raise Impossible(f"Debian's unstable has no CPython {version}: give the path of one\n{failed}") from None
        for package in work.glob(f"libpython{version}-dev_*.deb"):
            call("dpkg-deb", "--extract", package, work / version)
        include = work / version / "usr" / "include"
        yield Headers(version.replace(".", ""), (str(include / f"python{version}"), str(include)))


# ---- a wheel ---------------------------------------------------------------------------------------------------------


def compile_object(build: dict[str, Any], headers: Headers, processor: str, folder: Path, link: Sequence[str]) -> str:
    """The shared object of a build.py, in that folder, which has the C that cffi writes for it: its name."""
    extension = build["EXTENSION"]
    name = f"{extension.name.rpartition('.')[2]}.cpython-{headers.digits}-{processor}-linux-gnu.so"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{processor}-linux-gnu.{GLIBC}", "-shared", "-fPIC"]
    command += [*extension.extra_compile_args, "-Werror", "-DNDEBUG"]
    command += ["-Wno-macro-redefined"]  # pyconfig.h defines _POSIX_C_SOURCE after the command line has _GNU_SOURCE
    command += ["-g0"]  # as setup.py: function names stay, which zig's linker leaves out with --strip-debug
    command += ["-fno-sanitize=undefined"]  # which zig adds by itself
    command += [f"-D{name}" for name, _ in extension.define_macros]
    command += [f"-I{path}" for path in (*(TREE / include for include in extension.include_dirs), *headers.folders)]
    sources = [str(TREE / source) for source in extension.sources]
    sources += [f"../{name}.c" for name, *_ in build["MODULES"]]
    call(*command, *sources, "-o", name, "-lm", *extension.extra_link_args, *link, cwd=folder)
    return name


def compile_both(builds: list[dict[str, Any]], headers: Headers, processor: str, work: Path) -> list[Path]:
    """The core's shared object and that of the tools, as they lie in a wheel."""
    folder = work / f"{headers.digits}-{processor}"
    folder.mkdir()
    core, tools = builds
    first = compile_object(core, headers, processor, folder, [])
    # By its name alone, as the linker writes down what is needed; the folder is the run path's.
    second = compile_object(tools, headers, processor, folder, [first, f"-Wl,-rpath,{tools['RUN_PATH']}"])
    return [folder / first, folder / second]


def pack(unpacked: Path, objects: list[Path], headers: Headers, processor: str, output: Path) -> Path:
    """The unpacked wheel with other shared objects, under the name that says for whom it is."""
    for place, made in zip(PLACES, objects, strict=True):
        for old in (unpacked / place).glob("*.so"):
            old.unlink()
        shutil.copy(made, unpacked / place)
    (about,) = unpacked.glob("*.dist-info/WHEEL")
    platform_tag = f"manylinux_{GLIBC.replace('.', '_')}_{processor}"
    tag = f"{headers.interpreter}-cp{headers.digits}-{platform_tag}"
    about.write_text(re.sub(r"^Tag: .*$", f"Tag: {tag}", about.read_text(), flags=re.MULTILINE))
    call(sys.executable, "-m", "wheel", "pack", "--dest-dir", output, unpacked)
    (wheel,) = output.glob(f"*-{tag}.whl")
    said = call(sys.executable, "-m", "auditwheel", "show", wheel)
    if not re.search(rf'following\s+platform\s+tag:\s+"{platform_tag}"', said):
        wheel.unlink()
        raise Failed(f"auditwheel does not find {platform_tag} in {wheel.name}:\n{said}")
    return wheel


def unpack_plain(work: Path) -> Path:
    """What all wheels have in common, and shared objects that each replaces."""
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", work, TREE)
    (plain,) = work.glob("*.whl")
    call(sys.executable, "-m", "wheel", "unpack", "--dest", work / "unpacked", plain)
    (unpacked,) = (work / "unpacked").iterdir()
    return unpacked


def make(headers: list[Headers], processors: list[str], output: Path, work: Path) -> None:
    builds = [runpy.run_path(str(TREE / place / "build.py")) for place in PLACES]
    for module in (*builds[0]["MODULES"], *builds[1]["MODULES"]):
        builds[0]["write_module"](work, *module)
    with ThreadPoolExecutor(2) as pool:
        plain = pool.submit(unpack_plain, work)
        made = [
            (each, processor, pool.submit(compile_both, builds, each, processor, work))
            for each in headers
            for processor in processors
        ]
        for each, processor, objects in made:
            wheel = pack(plain.result(), objects.result(), each, processor, output)
            print(f"{wheel}  {wheel.stat().st_size / 1024:.0f} KiB", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("wheels"), metavar="DIR", help="default: wheels")
    parser.add_argument(
        "--processor", action="append", choices=list(DEBIAN_NAMES), help="default: both; may be repeated"
    )
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    options = parser.parse_args()
    missing = [name for name in TOOLS if not importlib.util.find_spec(name)]
    if missing:
        parser.exit(2, f"no {', '.join(missing)} for {sys.executable}: pip install '.[wheels]'\n")
    processors = options.processor or list(DEBIAN_NAMES)
    versions = [name for name in options.pythons if re.fullmatch(r"3\.\d+", name)]
    with tempfile.TemporaryDirectory(prefix="lwp-wheels-") as folder:
        work = Path(folder)
        try:
            headers = [of_interpreter(name, work / "beside") for name in options.pythons if name not in versions]
            headers += of_unstable(versions, processors, work / "headers")
            options.output.mkdir(parents=True, exist_ok=True)
            make(headers, processors, options.output, work)
        except Impossible as error:
            parser.exit(2, f"{error}\n")
        except Failed as error:
            parser.exit(1, f"{error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
