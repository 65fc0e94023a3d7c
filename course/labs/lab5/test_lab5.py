"""Grades a deadlock finder."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import FrameType, ModuleType

import pytest
from waits import Wait


@pytest.fixture(autouse=True)
def ends_some_time() -> Iterator[None]:
    """A finder that goes round and round has failed: a second of the processor is more than it needs."""

    def over(number: int, frame: FrameType | None) -> None:
        pytest.fail("it does not end")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def waits(text: str) -> list[Wait]:
    """ "a>b c>d,e f>?" is: a waits for b, c for d or e, and f for nobody knows which; "a>b~" has a timeout."""
    found = []
    for word in text.split():
        thread, _, holders = word.rstrip("~").partition(">")
        found.append(Wait(thread, frozenset(holders.split(",")) - {"?"}, word.endswith("~")))
    return found


@pytest.mark.parametrize(
    ("text", "circles"),
    [
        ("", []),
        ("a>b b>c c>?", []),
        ("a>b b>a", ["ab"]),
        ("a>a", ["a"]),
        ("b>c a>b c>d d>b", ["bcd"]),
        ("a>b b>a c>d d>c e>a f>e", ["ab", "cd"]),
        ("a>b~ b>a", []),
        ("a>b,c b>a c>a", []),
    ],
)
def test_circles(yours: ModuleType, text: str, circles: list[str]) -> None:
    for order in itertools.permutations(waits(text)[:4]):
        assert set(yours.circles([*order, *waits(text)[4:]])) == set(map(frozenset, circles))


@pytest.mark.parametrize(
    ("text", "stuck"),
    [
        ("a>b b>c", ""),
        ("a>b b>?", ""),
        ("a>b b>a", "ab"),
        ("a>b b>a c>a d>c", "abcd"),
        ("a>b b>a c>a~ d>c", "ab"),
        ("a>b b>a c>a,x d>c", "ab"),
        ("a>b,c b>a c>a", "abc"),
        ("a>b,c b>a c>a~", ""),
        ("a>b,c b>a c>a d>a,e e>?", "abc"),
    ],
)
def test_stuck(yours: ModuleType, text: str, stuck: str) -> None:
    for order in itertools.permutations(waits(text)[:4]):
        assert set(yours.stuck([*order, *waits(text)[4:]])) == set(stuck)


def closed(some: Collection[str], all_waits: dict[str, Wait]) -> bool:
    """Whether nothing from outside ends a wait of these threads."""
    found = [all_waits[thread] for thread in some]
    return all(wait.holders and wait.holders <= set(some) and not wait.timeout for wait in found)


def test_by_the_words_of_the_sheet(yours: ModuleType) -> None:
    """On some hundred graphs of six threads, of which all sets are tried."""
    chance = random.Random(1)
    for _ in range(200):
        graph = {
            thread: Wait(
                thread, frozenset(chance.sample("abcdefx", chance.choice((0, 1, 1, 1, 2)))), chance.random() < 0.1
            )
            for thread in chance.sample("abcdef", 6)
        }
        single = {thread: wait for thread, wait in graph.items() if len(wait.holders) == 1}
        sets = [
            set(some)
            for size in range(1, len(graph) + 1)
            for some in itertools.combinations(graph, size)
            if closed(some, graph)
        ]
        assert set(yours.stuck(graph.values())) == set().union(*sets), graph
        circles = [some for some in sets if some <= single.keys() and not any(other < some for other in sets)]
        assert set(yours.circles(graph.values())) == set(map(frozenset, circles)), graph


def test_ten_thousand_threads(yours: ModuleType) -> None:
    line = [Wait(str(n), frozenset([str(n + 1)])) for n in range(10_000)]
    assert not yours.circles(line)
    assert not yours.stuck(line)
    line.append(Wait("10000", frozenset(["9999"])))
    assert set(yours.circles(line)) == {frozenset(["9999", "10000"])}
    assert len(yours.stuck(line)) == 10_001


def test_a_program(yours: ModuleType) -> None:
    program = Path(__file__).with_name("program.py")
    done = subprocess.run([sys.executable, program, yours.__file__], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "threads: ann, ben, has a timeout, waits for ann, waits for dinner, waits for main",
        "circles: ann and ben",
        "stuck: ann, ben, waits for ann",
    ]
