"""The protocols of docs/runtime/memory_order.md as litmus tests: herd7 tries all executions that the model allows.

litmus/*.litmus each has a few accesses of the core, and after `exists` an outcome that must not be. The comment at the
head says which accesses they are:

    source: FILE FUNCTION: TEXT ... TEXT  these stand in that function, in this order
    weaker: TEXT -> TEXT                  with this change the outcome comes: the order is needed, and the test can fail
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TREE

NATIVE = TREE / "runtime" / "native"
TESTS = sorted(Path(__file__).with_name("litmus").glob("*.litmus"))
MODELS = {
    # RC11 has no store before an earlier load, so that no value comes out of thin air; ARMv8 and compilers have.
    "C": ["-model", "rc11.cat", "-skipcheck", "no-thin-air", "-macros", "c11.def"],
    "AArch64": ["-model", "aarch64.cat"],
}


def said(test: Path, what: str) -> list[str]:
    """The head's lines of that kind; one that is indented goes on with the line before."""
    head = re.sub(r"\n \* {2,}", " ", test.read_text().partition("*)")[0])
    return [line.strip() for line in re.findall(rf"^ \* {what}: (.*)", head, re.MULTILINE)]


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


def function(source: str, name: str) -> str:
    found = re.search(rf"^[a-z_][^;{{}}]*\b{name}\([^;{{}}]*\)\n\{{\n.*?^\}}", source, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def complaint(line: str, source: str) -> str | None:
    where, _, texts = line.partition(": ")
    name = where.partition(" ")[2]
    rest = bare(function(source, name) if name else source)
    for text in texts.split(" ... "):
        _, found, rest = rest.partition(bare(text))
        if not found:
            return f"{where}: no {text}, or not in this order"
    return None


def complaints(test: Path) -> Iterator[str]:
    for line in said(test, "source"):
        file = re.split("[ :]", line)[0]
        if file.startswith("lwp/") and not (TREE / "lwp").is_dir():  # of a tool, where there are none
            continue
        found = complaint(line, ((TREE if file.startswith("lwp/") else NATIVE) / file).read_text())
        if found:
            yield found


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.stem)
def test_the_source_has_these_accesses(test: Path) -> None:
    assert said(test, "source")
    assert list(complaints(test)) == []


def test_a_changed_order_is_found() -> None:
    source = (NATIVE / "kernel" / "lock" / "lock.h").read_text()
    line = "kernel/lock/lock.h sync_lock_try: SYNC_HELD, memory_order_acquire"
    assert complaint(line, source) is None
    assert complaint(line, source.replace("memory_order_acquire", "memory_order_relaxed")) == (
        "kernel/lock/lock.h sync_lock_try: no SYNC_HELD, memory_order_acquire, or not in this order"
    )
    source = (NATIVE / "kernel" / "lock" / "lock.c").read_text()
    defer, word = (
        "kernel/lock/lock.c sync_lock_defer_wake",
        "atomic_compare_exchange_strong(&lock->word, &seen, SYNC_OWING)",
    )
    assert complaint(f"{defer}: atomic_load(&lock->deferred) ... {word}", source) is None
    assert "not in this order" in str(complaint(f"{defer}: {word} ... atomic_load(&lock->deferred)", source))


def variants(test: Path) -> Iterator[str]:
    """The program itself, and with each of its weaker orders; each with a name of its own, as herd7 wants it."""
    program = re.sub(r"\(\*.*?\*\)\n", "", test.read_text(), flags=re.DOTALL)
    yield program
    for number, line in enumerate(said(test, "weaker"), 1):
        old, new = line.split(" -> ")
        changed, count = re.subn(re.escape(old).replace(r"\ ", r"\s+"), new, program)
        assert count, f"nothing to weaken: {old}"
        yield changed.replace(test.stem, f"{test.stem}_weaker_{number}", 1)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.stem)
def test_the_outcome_never_comes_and_with_a_weaker_order_does(test: Path, tmp_path: Path) -> None:
    herd = shutil.which("herd7")
    if herd is None:
        pytest.skip("there is no herd7 (Debian's package herdtools7)")
    files = []
    for number, program in enumerate(variants(test)):
        files.append(tmp_path / f"{number}.litmus")
        files[-1].write_text(program)
    model = MODELS[test.read_text().split()[0]]
    done = subprocess.run([herd, *model, *files], capture_output=True, text=True, timeout=110, check=False)
    assert done.stderr == ""
    as_it_is, *weaker = re.findall(r"^Test .*?^Hash", done.stdout, re.MULTILINE | re.DOTALL)
    assert f"Observation {test.stem} Never " in as_it_is, as_it_is
    assert "*undef*" not in as_it_is, "a data race: C11 says nothing about what then happens"
    orders = said(test, "weaker")
    assert orders
    assert [order for order, found in zip(orders, weaker, strict=True) if " Sometimes " not in found] == []
