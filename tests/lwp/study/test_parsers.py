"""What reads files that are not ours, /proc and ELF: whatever stands there, an answer or an error that was promised."""

from __future__ import annotations

import errno
import subprocess
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lwp.study.tlsmap import variables
from runtime import limits, tls

# 300 examples each, on a machine that may do much else.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SLOW = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

# ---- /proc -----------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    """
    VmSize: Threads: CapEff: Uid: kB 0 1 -1 4294967295 99999999999999999999999 max 0:: pids: cpu,pids / - cgroup cgroup2
    rw,pids CommitLimit: Committed_AS: 1/2 x
    """.split()  # noqa: SIM905
)
LINES = st.lists(st.lists(WORDS | st.text(max_size=8), max_size=12).map(" ".join), max_size=6).map("\n".join)
NAMES = """
    loadavg self/status thread-self/status self/maps self/uid_map self/cgroup self/mountinfo meminfo sys/kernel/pid_max
    sys/kernel/threads-max sys/vm/max_map_count sys/vm/overcommit_memory
"""
FILES = st.dictionaries(st.sampled_from(NAMES.split()).map("/proc/{}".format), LINES | st.text(max_size=60))


@pytest.fixture(scope="module", autouse=True)
def room_for_hypothesis() -> None:
    """A first run leaves the allocator with 20 MiB and more in pieces: before a test's memory is looked at."""
    SLOW(given(FILES)(lambda files: None))()


@SLOW
@given(FILES)
def test_limits_of_any_proc(files: dict[str, str]) -> None:
    with mock.patch.object(limits, "_read", files.get):
        found = limits.limits()
        limits.allowed(found)
        limits.tasks()
        for limit in found:
            assert limit.value is None or isinstance(limit.value, int)


@SLOW
@given(FILES, st.sampled_from([errno.EAGAIN, errno.ENOMEM, errno.EPERM, errno.EINVAL, 0]))
def test_a_failed_start_is_explained_whatever_proc_says(files: dict[str, str], number: int) -> None:
    with mock.patch.object(limits, "_read", files.get):
        assert isinstance(limits.explain(OSError(number, "as it was")), str)


# ---- ELF -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, tls.Module]:
    """A library with __thread variables, and what the linker would say of it; it is never loaded."""
    folder = tmp_path_factory.mktemp("elf")
    path = folder / "library.so"
    source = "__thread int one = 1; __thread char many[40]; int *get(void) { return &one; }"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-nostdlib", "-o", str(path), "-"]
    subprocess.run(command, input=source, text=True, check=True)
    with path.open("rb") as file:
        (header,) = [segment.header for segment in ELFFile(file).iter_segments("PT_TLS")]
    sizes = {"size": header.p_memsz, "image_size": header.p_filesz, "initial": bytes(header.p_memsz)}
    module = replace(tls.layout().modules[0], name=str(path), offset=None, **sizes)
    return path, path.read_bytes(), module


def test_the_library_is_read(library: tuple[Path, bytes, tls.Module]) -> None:
    path, content, module = library
    path.write_bytes(content)
    found = variables._of_module(tls.inspect(), module)
    assert not found.problem
    assert {one.name for one in found.variables} == {"one", "many"}


@SLOW
@given(
    cut=st.integers(0, 20_000),
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12),
    head=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
)
@example(cut=0, changes=[], head=[])
def test_a_damaged_library_is_a_problem_not_a_crash(
    cut: int, changes: list[tuple[int, int]], head: list[tuple[int, int]], library: tuple[Path, bytes, tls.Module]
) -> None:
    path, content, module = library
    damaged = bytearray(content[: len(content) - cut] if cut < len(content) else b"")
    for at, value in changes + head:
        if damaged:
            damaged[at % len(damaged)] = value
    path.write_bytes(damaged)
    found = variables._of_module(tls.inspect(), module)
    assert found.problem or all(one.offset + one.size <= module.size for one in found.variables)
