"""Primitives that the program calls alike, told in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import lwp

PROGRAM = """
import os, threading, time
from dataclasses import dataclass, field
from runtime.scheduler import waiting

@dataclass
class Account:
    lock: threading.Lock = field(default_factory=threading.Lock)

class Bank:
    def __init__(self):
        self.accounts = {"ann": Account(), "bob": Account()}

    def pay(self, one, other, own, both):
        with one.lock:
            both.wait()
            with other.lock:
                pass

def pay(one, other, own, both):
    with one.lock:
        both.wait()
        with other.lock:
            pass

def begin(function, first, second):
    both = threading.Barrier(2)
    for pair in (first, second), (second, first):
        threading.Thread(target=function, args=(*pair, None, both), daemon=True).start()

def run():
    BEGIN

run()
while not (found := waiting()).cycles:
    time.sleep(0)
print(str(found).splitlines()[-1], flush=True)
LAST
"""

OWN = "bank = Bank(); globals().update(ledger=bank); begin(pay, *bank.accounts.values())"
METHOD = "bank = Bank(); begin(bank.pay, *bank.accounts.values())"


@pytest.mark.parametrize(
    ("begin", "names"),
    [
        (OWN, ["ledger.accounts['ann'].lock", "ledger.accounts['bob'].lock"]),
        (METHOD, ["Bank.accounts['ann'].lock", "Bank.accounts['bob'].lock"]),
        ("begin(pay, Account(), Account())", ["other.lock #1", "other.lock #2"]),
    ],
)
def test_locks_of_a_circle_that_are_called_alike(begin: str, names: list[str], tmp_path: Path) -> None:
    script = tmp_path / "bank.py"
    script.write_text(PROGRAM.replace("BEGIN", begin).replace("LAST", "os._exit(0)"))
    told = lwp("run", script).stdout
    assert sorted(re.findall(r"waits for lock (.+?) held by", told)) == names


SLOTS = "@dataclass(slots=True, kw_only=True)\nclass Account"
FROZEN = "@dataclass(frozen=True)\nclass Account"
INHERITED = """@dataclass
class Base:
    lock: threading.Lock = field(default_factory=threading.Lock)
class Account(Base): pass
"""


@pytest.mark.parametrize("cls", ["@dataclass\nclass Account", SLOTS, FROZEN, INHERITED])
def test_a_lock_of_a_dataclass_is_made_at_its_class(cls: str, tmp_path: Path) -> None:
    """By the line that makes the object, which tells it from others."""
    script = tmp_path / "bank.py"
    program = PROGRAM.replace("BEGIN", "begin(pay, Account(),\n          Account())").replace("LAST", "")
    old = "@dataclass\nclass Account"
    program = program.replace(old, cls + (old.replace("Account", "Other") if cls is INHERITED else ""))
    script.write_text(program)
    lines = program.splitlines()
    line, first = lines.index("    begin(pay, Account(),") + 1, lines.index(cls.partition("\n")[0]) + 1
    told = lwp("run", "--lock-order", script, status=None).stderr
    assert f"(made at bank.py:{first} by bank.py:{line})" in told, told
    assert f"(made at bank.py:{first} by bank.py:{line + 1})" in told, told
    assert "<string>" not in told
    assert re.search(r"lock other\.lock made at bank\.py:\d+ by bank\.py:\d+ held by", told), told


def test_a_lock_of_a_class_without_source_is_made_where_its_object_is(tmp_path: Path) -> None:
    script = tmp_path / "bank.py"
    program = PROGRAM.replace("BEGIN", "begin(pay, Account(), Account())").replace("LAST", "")
    program = program.replace("@dataclass\nclass Account:", "source = '''\n@dataclass\nclass Account:")
    program = program.replace("\nclass Bank", "'''\nexec(source)\nclass Bank")
    script.write_text(program)
    told = lwp("run", "--lock-order", script, status=None).stderr
    assert re.search(r"\(made at bank\.py:\d+\)", told), told
    assert "<string>" not in told


def test_a_trace_tells_where_the_lock_of_a_dataclass_was_made(tmp_path: Path) -> None:
    script = tmp_path / "bank.py"
    script.write_text(PROGRAM.replace("BEGIN", "begin(pay, Account(), Account())").replace("LAST", ""))
    lwp("run", "--trace", tmp_path / "t.json", script, status=None)
    text = (tmp_path / "t.json").read_text()
    lines = script.read_text().splitlines()
    first, line = lines.index("@dataclass") + 1, next(n for n, one in enumerate(lines, 1) if "begin(pay, Acc" in one)
    assert f"bank.py:{first} by bank.py:{line} in run" in text
