"""A root with a glibc that no Debian has: glibc-2.34 and the like of tools/other_systems.py.

Debian 11's programs want glibc 2.31 at most, so they run with each newer one.  A CPython 3.11 is compiled there from
Debian 12's source package, and glibc from its release; its files then take the place of Debian's.  For x86-64.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from roots import INSTALL_TIME, Failed, Root, inside, make, mirror, run

BASE = Root("bullseye")
PYTHON = "/usr/local/bin/python3.11"  #: of such a root
LIBRARIES = "usr/lib/x86_64-linux-gnu"
#: Where each lies once it is compiled.
FILES = {
    "ld-linux-x86-64.so.2": "elf/ld.so",
    "libc.so.6": "libc.so",
    "libm.so.6": "math/libm.so",
    "libmvec.so.1": "mathvec/libmvec.so",
    "libpthread.so.0": "nptl/libpthread.so",
    "libthread_db.so.1": "nptl_db/libthread_db.so",
    "libdl.so.2": "dlfcn/libdl.so",
    "librt.so.1": "rt/librt.so",
    "libutil.so.1": "login/libutil.so",
    "libresolv.so.2": "resolv/libresolv.so",
    "libanl.so.1": "resolv/libanl.so",
}

COMPILE_PYTHON = """
echo "deb-src $0 bookworm main" >/etc/apt/sources.list.d/bookworm-source.list
apt-get --quiet update
apt-get --quiet install --yes --no-install-recommends make bison gawk \\
    libssl-dev zlib1g-dev libbz2-dev liblzma-dev libsqlite3-dev
mkdir /tmp/python
cd /tmp/python
apt-get --quiet source --download-only python3.11
tar xf python3.11_*.orig.tar.* --strip-components=1
./configure --quiet --without-static-libpython
make --silent -j2
make --silent install
rm -rf /tmp/python
"""

COMPILE_GLIBC = """
mkdir /tmp/glibc/build
cd /tmp/glibc/build
../configure --quiet --prefix=/usr --disable-werror --disable-profile --disable-nscd CFLAGS=-O2
make --silent -j2
"""


def make_base(folder: Path, log: Path) -> None:
    """Debian 11 with a CPython 3.11; whole, or not at all."""
    if folder.exists():
        return
    partial = folder.with_name(folder.name + ".compiling")
    shutil.rmtree(partial, ignore_errors=True)
    make(partial, BASE, log)
    run(inside(partial, BASE, COMPILE_PYTHON, mirror()), log, INSTALL_TIME)
    partial.rename(folder)


def make_with(folder: Path, version: str, sources: Path, keep: Path, log: Path) -> None:
    """The same with this glibc, of sources/glibc-VERSION."""
    if folder.exists():
        return
    source = sources / f"glibc-{version}"
    if not (source / "configure").exists():
        raise Failed(f"{source}: no sources of glibc; unpack its release there")
    make_base(keep / "debian11", log)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    run(["cp", "--archive", str(keep / "debian11"), str(partial)], log, INSTALL_TIME)  # devices as devices
    shutil.copytree(source, partial / "tmp/glibc", symlinks=True)
    run(inside(partial, BASE, COMPILE_GLIBC), log, INSTALL_TIME)
    for name, built in FILES.items():
        target = partial / LIBRARIES / name
        target.unlink(missing_ok=True)  # a link to a file that bears the old version
        shutil.copy(partial / "tmp/glibc/build" / built, target)
    loader = partial / "usr/lib64/ld-linux-x86-64.so.2"
    loader.unlink()
    loader.symlink_to(f"/{LIBRARIES}/ld-linux-x86-64.so.2")
    shutil.rmtree(partial / "tmp/glibc")
    partial.rename(folder)
