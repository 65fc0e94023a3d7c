"""What found/README.md says is so: it shows the tests as they are, and its commands find the races.

The releases come with `pip install -e '.[found]'`; a test is skipped where another one is installed.
"""

from __future__ import annotations

import re
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from commands import lwp
from native_helper import native_helper  # noqa: F401 - a fixture of the next one
from nothing_left import nothing_left  # noqa: F401 - looks after each test
from this_machine import TREE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DOCUMENT = (TREE / "found" / "README.md").read_text()
FOUND = sorted((TREE / "found" / "races").glob("test_*.py"))

each_find = pytest.mark.parametrize("file", FOUND, ids=lambda file: file.stem)


def needs_its_release(file: Path) -> None:
    name, release = file.read_text()[3:].split(":")[0].split()
    try:
        installed = version(name)
    except PackageNotFoundError:
        installed = "none"
    if installed != release:
        pytest.skip(f"{name} {release} is not installed, but {installed}")


def test_the_document_shows_each_file_as_it_is() -> None:
    assert [file.name for file in FOUND if f"```python\n{file.read_text()}```" not in DOCUMENT] == []


@each_find
def test_the_documents_command_finds_it(file: Path) -> None:
    needs_its_release(file)
    command = re.search(rf"^lwp (explore .*/{file.name}::test)$", DOCUMENT, re.MULTILINE)
    assert command is not None
    outcome, status = ("CANCELLATION found", 5) if "--cancel" in command[1] else ("FOUND", 1)
    told = lwp(*shlex.split(command[1]), cwd=TREE, timeout=280, status=status).stdout
    assert re.search(rf"^{outcome} .*; replays 10/10\.$", told, re.MULTILINE), told
