"""Habits of language that make a reader go back, as far as a regular expression sees them (CONTRIBUTING.md, Sentences).

python tests/runtime/system/test_words.py    all places, as FILE:LINE: text
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]
KINDS = {".py", ".c", ".h", ".cpp", ".md"}
PLACES = [
    *("lwp", "runtime", "tests", "docs", "course", "found", "tools", "bench", "stress"),
    *("README.md", "CONTRIBUTING.md"),
]

#: What is refused, and what says the same at first reading.
HABITS = {
    r"\bbut for\b": "except, apart from",
    r"\bElse\b|[:;] else\b": "Otherwise, or name the case: If it isn't",
    r"\bNor\b": "a sentence of its own with not, neither ... nor",
    r"\bSo that\b": "Therefore, or join it to the sentence before",
    r"\b[Ww]hoever\b": "the thread that, any caller that",
    r"(?:^|[.:] +)Who\b(?![^.]*\?)": "The thread that; of a question: Which thread",
    r"\b(?:as|because|before|but|by|for|from|if|of|on|than|to|unless|wake|what|which|while|with|without) who\b": (
        "the thread that, the caller that"
    ),
    r", for (?:it|there|they)\b": "because",
    r"\b(?:by|for|from|in|lets|of|on|or|than|then|though|to|until|with) that one\b|\bthat one(?:'s\b|[^\w\s']|$)": (
        "the noun again"
    ),
    r"\b([a-z]+(?: [a-z]+)?) \1 \1\b": "the words once",
}

Line = tuple[int, str]


def prose(path: Path) -> Iterator[list[Line]]:
    """Comments, docstrings, names of functions and paragraphs: their lines, numbered."""
    text = path.read_text()
    if path.suffix == ".py":
        comments = [
            (token.start, token.string.lstrip("#: "))
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        ]
        # One comment: lines that follow each other and begin in one column.
        together = itertools.groupby(enumerate(comments), lambda item: (item[1][0][0] - item[0], item[1][0][1]))
        yield from ([(start[0], said) for _, (start, said) in group] for _, group in together)
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.FunctionDef():
                    yield [(node.lineno, node.name.replace("_", " "))]
                case ast.Expr(ast.Constant(str(said))):
                    yield from paragraphs(node.lineno, said)
    elif path.suffix != ".md":
        for found in re.finditer(r'"(?:\\.|[^"\\])*"|/\*(.*?)\*/|//([^\n]*)', text, re.DOTALL):
            yield from paragraphs(text.count("\n", 0, found.start()) + 1, found[1] or found[2] or "")
    else:
        yield from paragraphs(1, re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL))


def paragraphs(first: int, text: str) -> Iterator[list[Line]]:
    """first: the number of the text's first line."""
    lines = [(number, line.strip(" *")) for number, line in enumerate(text.splitlines(), first)]
    for full, group in itertools.groupby(lines, lambda line: bool(line[1])):
        if full:
            yield list(group)


def habits(lines: list[Line]) -> Iterator[tuple[int, str, str]]:
    """What is refused there: its line's number, the words, and what to say in their place."""
    text = " ".join(line for _, line in lines)
    text = re.sub(r'`[^`]+`|"[^"]+"', lambda quoted: "_" * len(quoted[0]), text)
    ends = list(itertools.accumulate(len(line) + 1 for _, line in lines))
    for habit, better in HABITS.items():
        for found in re.finditer(habit, text):
            yield lines[next(n for n, end in enumerate(ends) if found.end() <= end)][0], found[0].strip(" .:,"), better


def complaints() -> Iterator[str]:
    for path in sorted(file for place in PLACES for file in [TREE / place, *(TREE / place).rglob("*")]):
        if path.suffix in KINDS:
            lines = path.read_text().splitlines()
            for number, words, better in sorted(found for block in prose(path) for found in habits(block)):
                yield f'{path.relative_to(TREE)}:{number}: {lines[number - 1].strip()}\n    "{words}": {better}'


def test_each_sentence_is_understood_at_first_reading() -> None:
    found = list(complaints())
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# all\n# but\n# for one", "but for"),
        ("f()  # Else it hangs", "Else"),
        ("f()  # it ends: else\n", "else"),
        ("def nothing_but_for_you(): ...", "but for"),
        ('"""It waits.\n\nNor does it spin."""', "Nor"),
        ("# So that it ends", "So that"),
        ("# for whoever asks", "whoever"),
        ("# It sleeps.  Who wakes it frees it", "Who"),
        ("# freed by who wakes it", "by who"),
        ("# none, for it is gone", "for it"),
        ("# the lock of that one", "of that one"),
        ("# Who wakes it?  Those who hold a lock that one thread has, by a look at who waits", ""),
        ('# not "but for", nor `Else`', ""),
        ("say('Else')", ""),
    ],
)
def test_a_habit_is_found_where_a_reader_meets_it(tmp_path: Path, text: str, words: str) -> None:
    (file := tmp_path / "some.py").write_text(text)
    assert [found for block in prose(file) for _, found, _ in habits(block)] == [words] * bool(words)


if __name__ == "__main__":
    sys.exit("\n".join(complaints()) or None)
