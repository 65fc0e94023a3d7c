"""The course: its programs, as a reader types them from the pages, and what the pages say of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import TREE

PAGES = sorted((TREE / "docs" / "course").glob("[1-6]_*.md"))
PROGRAMS = sorted((TREE / "examples" / "c").glob("*.c"))


def typed(page: Path) -> dict[str, str]:
    """What a reader has who types a page's pieces, a file for each "Step" at the head of a piece."""
    pieces = "\n\n".join(re.findall(r"```c\n(.*?)\n```", page.read_text(), re.DOTALL))
    programs = re.split(r"\n\n(?=/\* Step)", pieces)
    return {match[1]: text + "\n" for text in programs if (match := re.search(r"\bcc .*?(\w+\.c)\b", text))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pieces_of_a_page_are_its_programs(page: Path) -> None:
    for name, text in typed(page).items():
        program = (TREE / "examples" / "c" / name).read_text()
        assert re.sub(r"\n\n+", "\n\n", text) == re.sub(r"\n\n+", "\n\n", program)


def test_each_program_stands_on_a_page() -> None:
    assert sorted(name for page in PAGES for name in typed(page)) == [path.name for path in PROGRAMS]
