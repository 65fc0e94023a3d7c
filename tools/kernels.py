"""A machine of qemu's that boots a kernel of Debian's with a root of roots.py, and runs steps in it.

The kernel is taken from its package, which isn't installed.  An initramfs of busybox and a few modules finds the disk:
an ext4 image that mke2fs makes of the root.  PID 1 is a shell script that measures how fast the machine is, runs one
step after another, each for as long as it may take on such a machine, and powers off.  What the steps have left is read
from the image by debugfs; nothing is mounted.

TCG, not KVM: in a virtual machine /dev/kvm is often missing, or slower than TCG.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from roots import DEBIAN_NAMES, Failed, Impossible, apt_of, call

PROGRAMS = ("apt-get", "apt-cache", "dpkg-deb", "depmod", "cpio", "mke2fs", "debugfs")
MODULES = ("virtio_pci", "virtio_blk", "virtio_rng", "crc32c_generic", "ext4")  #: or built in
BOOT_TIME = 900  #: seconds until the first step
#: la57: CPython's and the tests' view of a process is one of 47 bits.  pauth-impdef: the processor's own way to sign
#: pointers takes an emulator half of its time.
QEMU = {
    "x86_64": ("-machine", "q35", "-cpu", "max,la57=off"),
    "aarch64": ("-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on"),
}
CONSOLE = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
#: The clock is to be the processor's, not a device's: each look at one takes an emulator 10 microseconds.
LINUX = "root=/dev/vda rw panic=-1 quiet loglevel=4 mitigations=off clocksource=tsc tsc=reliable console="

FIRST = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /root
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod /lib/$module || echo "insmod $module: $?"; done
for turn in $(/bin/busybox seq 300); do [ -b /dev/vda ] && break; /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root || { echo "lwp: no root"; /bin/busybox poweroff -f; }
/bin/busybox umount /proc
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /bin/sh /vm/init
"""

#: How many times slower the machine is than those that the tests' limits are for, where an interpreter starts and
#: imports asyncio in a tenth of a second; and twice that, because it may become slower.  The first start reads files.
SPEED = """
import subprocess, sys, time
def once():
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import asyncio"], check=True)
    return time.monotonic() - begin
print(1 + int(2 * min(once() for _ in range(4)) / 0.1))
"""

#: A step's file says for how many seconds it may run, and then what; its status is written beside its log.  Waiting for
#: its command, the shell reaps orphans: tests look for zombies.
INIT = """
PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root LC_ALL=C.UTF-8 TMPDIR=/tmp TERM=dumb COLUMNS=120
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ln -sf /proc/self/fd /dev/fd; ln -sf fd/0 /dev/stdin; ln -sf fd/1 /dev/stdout; ln -sf fd/2 /dev/stderr
/vm/busybox ifconfig lo 127.0.0.1 up
/vm/busybox hostname vm
cd /tmp
export LWP_SLOW=$(python /vm/speed.py)
echo "lwp: slow $LWP_SLOW $(uname -r)"
while read -r name limit command <&3; do
    echo "lwp: begin $name"
    timeout --kill-after=20 $((limit * LWP_SLOW)) sh -c "$command" >/vm/results/$name.log 2>&1 </dev/null 3<&-
    status=$?
    echo $status >/vm/results/$name.status
    sync
    grep -E '^(FAILED|ERROR)' /vm/results/$name.log | cut -c1-250 | sed 's/^/lwp:   /' | head -n 30
    echo "lwp: end $name, exit status $status: $(tail -n 1 /vm/results/$name.log | cut -c1-200)"
done 3</vm/steps
dmesg >/vm/results/dmesg
sync
mount -o remount,ro /
echo "lwp: done"
/vm/busybox poweroff -f
"""


@dataclass(frozen=True)
class Kernel:
    """What qemu boots, and busybox for that processor."""

    image: Path
    initramfs: Path
    busybox: Path


@dataclass(frozen=True)
class Step:
    seconds: int  #: that it may take, on a machine that is not slow
    command: str


# ---- the kernel ------------------------------------------------------------------------------------------------------


def unpack_packages(suite: str, processor: str, names: list[str], work: Path) -> Path:
    """The files of Debian's packages, and of the parts of a kernel that they depend on."""
    apt = apt_of(suite, [processor], work)
    for name in (names := list(names)):  # which grows: a package for the newest kernel depends on that kernel's own
        depends = call("apt-cache", *apt, "depends", "--important", name).split()
        names += [word for word in depends if re.match(r"linux-(image|binary|modules)-\d", word) and word not in names]
    call("apt-get", "-qq", *apt, "download", *names, cwd=work / "packages")
    for package in (work / "packages").iterdir():
        call("dpkg-deb", "--extract", package, work / "files")
    return work / "files"


def needed_modules(modules: Path) -> list[Path]:
    """In the order that they are to be loaded in."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    order: list[str] = []
    for wanted in MODULES:
        for path, before in needs.items():
            if Path(path).name.split(".")[0].replace("-", "_") == wanted:
                order += [*reversed(before), path]
    return [modules / path for path in dict.fromkeys(order)]


def make_initramfs(files: Path, busybox: Path, modules: list[Path], target: Path) -> None:
    for name in ("bin", "lib"):
        (files / name).mkdir(parents=True)
    shutil.copy(busybox, files / "bin/busybox")
    names = []
    for path in modules:
        content, name = path.read_bytes(), path.name
        if name.endswith(".xz"):
            content, name = lzma.decompress(content), name.removesuffix(".xz")
        elif not name.endswith(".ko"):
            raise Impossible(f"{path}: a module packed in a way that is not known here")
        (files / "lib" / name).write_bytes(content)
        names.append(name)
    (files / "modules").write_text("\n".join(names))
    (files / "init").write_text(FIRST)
    (files / "init").chmod(0o755)
    listed = "\n".join(str(path.relative_to(files)) for path in sorted(files.rglob("*")))
    with target.open("wb") as output:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=files, input=listed.encode(), stdout=output, check=True
        )


def kernel(suite: str, processor: str, keep: Path) -> Kernel:
    """The suite's newest kernel for machines in clouds; whole, or not at all."""
    folder = keep / f"kernel-{suite}-{processor}"
    made = Kernel(folder / "vmlinuz", folder / "initramfs", folder / "busybox")
    if folder.exists():
        return made
    work = folder.with_name(folder.name + ".partial")
    shutil.rmtree(work, ignore_errors=True)
    names = [f"linux-image-cloud-{DEBIAN_NAMES[processor]}", "busybox-static"]
    files = unpack_packages(suite, processor, names, work)
    (image,) = files.rglob("vmlinuz*")  # in boot, or beside the modules
    base = files / "usr" if (files / "usr/lib/modules").exists() else files
    (version,) = os.listdir(base / "lib/modules")
    call("depmod", "-b", base, version)
    (busybox,) = [path for path in (files / "bin/busybox", files / "usr/bin/busybox") if path.exists()]
    content = image.read_bytes()
    finished = work / "finished"
    finished.mkdir()
    # The file for arm64 may be packed, and qemu wants it as the processor runs it.
    (finished / "vmlinuz").write_bytes(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)
    shutil.copy(busybox, finished / "busybox")
    make_initramfs(work / "initramfs", busybox, needed_modules(base / "lib/modules" / version), finished / "initramfs")
    finished.rename(folder)
    shutil.rmtree(work)
    return made


# ---- the machine -----------------------------------------------------------------------------------------------------


def make_image(root: Path, image: Path, busybox: Path, steps: dict[str, Step]) -> None:
    vm = root / "vm"
    shutil.rmtree(vm, ignore_errors=True)
    (vm / "results").mkdir(parents=True)
    shutil.copy(busybox, vm / "busybox")
    (vm / "init").write_text(INIT)
    (vm / "speed.py").write_text(SPEED)
    (vm / "steps").write_text("".join(f"{name} {step.seconds} {step.command}\n" for name, step in steps.items()))
    image.unlink(missing_ok=True)
    call("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, image, "6G")  # sparse


def boot(processor: str, image: Path, linux: Kernel, steps: dict[str, Step], console: Path) -> None:
    """Runs the machine until it powers off."""
    command = [f"qemu-system-{processor}", "-accel", "tcg,thread=multi,tb-size=512", *QEMU[processor]]
    command += ["-smp", "2", "-m", "4096", "-nographic", "-nodefaults", "-no-reboot", "-serial", "stdio"]
    command += ["-kernel", str(linux.image), "-initrd", str(linux.initramfs), "-append", LINUX + CONSOLE[processor]]
    command += [
        "-drive",
        f"file={image},if=none,id=disk,format=raw,cache=unsafe",
        "-device",
        "virtio-blk-pci,drive=disk",
    ]
    command += ["-device", "virtio-rng-pci"]
    late, done = threading.Event(), False
    with (
        console.open("w") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(BOOT_TIME, end)
        timer.start()
        try:
            for line in process.stdout:
                log.write(line)
                log.flush()
                _, found, text = line.rstrip().partition("lwp: ")
                if not found:
                    continue
                print(f"    {text}", flush=True)
                done = text == "done"
                if text.startswith("slow "):
                    timer.cancel()
                    slow = int(text.split()[1])
                    timer = threading.Timer(BOOT_TIME + slow * sum(step.seconds for step in steps.values()), end)
                    timer.start()
        finally:
            timer.cancel()
            process.kill()
    if not done:
        how = "was not at its end in time" if late.is_set() else f"has ended, exit status {process.returncode}"
        print(console.read_text(errors="replace")[-2000:])
        raise Failed(f"the machine {how}, see {console}")


def read_results(image: Path, into: Path) -> None:
    call("debugfs", "-R", f"rdump /vm/results {into}", image)
    for path in (into / "results").iterdir():
        path.replace(into / path.name)
    (into / "results").rmdir()


def run_steps(root: Path, suite: str, processor: str, steps: dict[str, Step], keep: Path, into: Path) -> None:
    """Boots the suite's kernel with the root.  Into the folder: each step's log and status, and what it has written."""
    missing = [name for name in (*PROGRAMS, f"qemu-system-{processor}") if not shutil.which(name)]
    if missing:
        where = "qemu-system-x86 qemu-system-arm e2fsprogs kmod cpio"
        raise Impossible(f"no machine can be made here without {', '.join(missing)}: apt-get install {where}")
    linux = kernel(suite, processor, keep)
    image = keep / f"{into.name}.{os.getpid()}.img"
    try:
        make_image(root, image, linux.busybox, steps)
        try:
            boot(processor, image, linux, steps, into / "console")
        finally:
            read_results(image, into)
    finally:
        image.unlink(missing_ok=True)
