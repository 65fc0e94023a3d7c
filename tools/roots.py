"""A Debian in a directory, made by debootstrap: what tools/other_systems.py runs the tests in; and its packages."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
PACKAGES = ("gcc", "g++", "libc6-dev", "libffi-dev", "gdb", "strace", "procps")  # libffi: for cffi
#: What localhost is, and how pip is configured here, as far as the environment doesn't say it.
CONFIGURATION = ("/etc/hosts", "/etc/pip.conf", "/etc/xdg/pip", "/etc/ssl/certs/ca-certificates.crt")
MAKE_TIME, INSTALL_TIME = 3600, 3600  # seconds that each may take
DEBIAN_NAMES = {"aarch64": "arm64", "x86_64": "amd64"}

#: What runs in mount and pid namespaces of its own, as PID 1.  The mounts are seen there only and end with it, and so
#: does every process.
MAKE = """
mount -t proc proc /proc
"$@" || exit
exit 0
"""

#: The shell waits for its command (something follows it, or the shell would become it) and so reaps orphans, as an
#: init does: tests look for zombies.  Not in the background, where a command ignores SIGINT.
ENTER = """
cd "$1"; shift
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
chroot . "$@" || exit
exit 0
"""

#: Comes before: the kernel starts programs of the processor under qemu.  It forgets that with the last mount of its
#: list.  P: argv[0] as it was given, a virtual environment is found by it.  F: qemu is opened here and now.
EMULATE = """
list=/proc/sys/fs/binfmt_misc
[ -e $list/register ] || mount -t binfmt_misc binfmt_misc $list
[ -e $list/qemu-{processor} ] || [ -e $list/lwp-{processor} ] ||
    printf %s ':lwp-{processor}:M::{magic}:{mask}:{qemu}:PF' >$list/register
"""

#: By apt, not by debootstrap, which doesn't know that a package may provide another.
ADD = """
apt-get --quiet update
apt-get --quiet install --yes --no-install-recommends "$0" "$@"
"""

BUILD = """
rm -rf /opt/venv /opt/wheels
"$0" -m venv /opt/venv
cd /tmp
/opt/venv/bin/pip wheel --quiet --no-deps --wheel-dir /opt/wheels /src
set -- /opt/wheels/*.whl
/opt/venv/bin/pip install --quiet "$1[test]"
"""

#: A compiler would be called in vain.
INSTALL = """
rm -rf /opt/venv
"$0" -m venv /opt/venv
cd /tmp
CC=false /opt/venv/bin/pip install --quiet --find-links /wheels --only-binary lwp-runtime 'lwp-runtime[test]'
"""

#: How the kernel knows a program for the processor: the head of its ELF file, and which bits of that count.
BINFMT = {
    "aarch64": (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    ),
    "riscv64": (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    ),
}


class Failed(Exception):
    """A step that went wrong; its output was shown."""


class Impossible(Exception):
    """What is missing here, and how to get it."""


@dataclass(frozen=True)
class Root:
    """A Debian with a Python."""

    suite: str
    python: str = "python3"  #: the command, and the Debian package
    processor: str = platform.machine()  #: as the kernel names it
    refused: str = ""  #: the runtime doesn't work there, and names it so

    @property
    def foreign(self) -> bool:
        return self.processor != platform.machine()

    @property
    def emulated(self) -> bool:
        return self.foreign and (self.processor, platform.machine()) != ("i386", "x86_64")


def isolated(root: Root, script: str, *arguments: str) -> list[str]:
    """Runs the script, in namespaces of its own.  When unshare is killed, all in them are."""
    if root.emulated:
        qemu = shutil.which(f"qemu-{root.processor}-static") or shutil.which(f"qemu-{root.processor}")
        if not qemu:
            raise Impossible(f"no qemu-{root.processor}: apt-get install qemu-user-static, or qemu-user-binfmt")
        if "binfmt_misc" not in Path("/proc/filesystems").read_text():
            raise Impossible(f"this kernel can't start programs under {qemu}: it has no binfmt_misc")
        magic, mask = BINFMT[root.processor]
        script = EMULATE.format(processor=root.processor, magic=magic, mask=mask, qemu=qemu) + script
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script, "init", *arguments]


def inside(folder: Path, root: Root, script: str, *arguments: str) -> list[str]:
    """Runs the script in the root."""
    return isolated(root, ENTER, str(folder), "sh", "-euc", script, *arguments)


def run(command: list[str], log: Path, timeout: float, may_fail: bool = False) -> None:
    """Runs it with its output in the log, whose end is shown if it fails."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "LWP_"))
    }
    environment |= {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TMPDIR": "/tmp"}
    environment |= {"DEBIAN_FRONTEND": "noninteractive", "PIP_ROOT_USER_ACTION": "ignore"}
    with log.open("ab") as output:
        output.write(f"$ {shlex.join(command)}\n".encode())
        output.flush()
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=timeout,
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
    if status != 0 and not (may_fail and status is not None):
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:]))
        raise Failed(f"not at its end after {timeout:.0f} s" if status is None else f"exit status {status}, see {log}")


def call(*command: str | Path, cwd: Path | None = None) -> str:
    """What it prints.  Failed: its exit status is not 0."""
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        said = " ".join(map(str, command))[:300]
        raise Failed(f"{said}\nexit status {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


def mirror() -> str:
    """Where apt gets Debian from here."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    if not found:
        raise Impossible("apt has no index of Debian: apt-get update")
    return found[0]


def apt_of(suite: str, processors: list[str], work: Path) -> list[str]:
    """What apt's commands are told so that they know that suite's packages for these processors, and install none."""
    for folder in ("lists/partial", "cache/archives/partial", "packages"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    sources = work / "sources.list"
    sources.write_text(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.pgp] {mirror()} {suite} main\n")
    apt = ["-o", f"APT::Architecture={DEBIAN_NAMES[processors[0]]}"]
    for processor in processors:
        apt += ["-o", f"APT::Architectures::={DEBIAN_NAMES[processor]}"]
    apt += ["-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User=root"]
    apt += ["-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::State::status={work}/status"]
    apt += ["-o", f"Dir::Cache={work}/cache", "-o", "Acquire::Check-Valid-Until=false"]  # an old suite's has ended
    call("apt-get", "-qq", *apt, "update")
    return apt


def make(folder: Path, root: Root, log: Path) -> None:
    """A root with what builds and runs the tests; whole, or not at all."""
    if folder.exists():
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    debian = ["--arch", DEBIAN_NAMES.get(root.processor, root.processor)] if root.foreign else []
    what = ["debootstrap", "--variant=minbase", *debian, root.suite, str(partial), mirror()]
    run(isolated(root, MAKE, *what), log, MAKE_TIME)
    configure(partial)
    packages = [root.python, f"{root.python}-venv", "ca-certificates"]
    if not root.refused:  # there nothing is compiled
        packages += [*PACKAGES, f"{root.python}-dev"]
    run(inside(partial, root, ADD, *packages), log, MAKE_TIME)
    partial.rename(folder)


def configure(folder: Path) -> None:
    """The network and pip as here; apt takes a mirror that is weeks old, as a copy may be."""
    (folder / "etc/apt/apt.conf.d/any-age").write_text('Acquire::Check-Valid-Until "false";\n')
    for name in filter(os.path.exists, CONFIGURATION):
        target = folder / name[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(name):
            shutil.copytree(name, target, dirs_exist_ok=True)
        else:
            shutil.copy(name, target)


def copy_tree(target: Path) -> list[str]:
    """The files that git has or would take, in target; their names."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TREE, capture_output=True, text=True, timeout=60, check=True).stdout
    names = [name for name in listed.split("\0") if name and (TREE / name).is_file()]  # not deleted
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, target / name)
    return names


def fill(folder: Path, wheels: Path | None) -> None:
    """The sources, or the tests and the wheels, and the configuration in the root, anew."""
    for name in ("src", "wheels"):
        shutil.rmtree(folder / name, ignore_errors=True)
    if wheels:
        shutil.copytree(wheels, folder / "wheels")
    copy_tree(folder / "src")
    configure(folder)


def install(folder: Path, root: Root, wheels: Path | None, log: Path) -> None:
    """The runtime in /opt/venv of the root: built there from its sources, or one of the wheels."""
    run(inside(folder, root, INSTALL if wheels else BUILD, root.python), log, INSTALL_TIME)
