"""Tests and fixtures of pytest-asyncio and anyio are explored, where these are installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from projects import outcomes, run, start

ORDER = """
    numbers = []
    async def append(number):
        await asyncio.sleep(0)
        numbers.append(number)
    await asyncio.gather(append(1), append(2))
    assert (counter, numbers[0]) == (7, 1)
"""

PYTEST_ASYNCIO = f"""
import pytest_asyncio

@pytest_asyncio.fixture
async def counter():
    await asyncio.sleep(0)
    yield 7
    await asyncio.sleep(0)

@pytest.mark.asyncio
async def test_order(counter):{ORDER}
@pytest.mark.asyncio
async def test_right(counter):
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)) == [1, 2]
"""

ANYIO = f"""
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def counter():
    await asyncio.sleep(0)
    return 7

async def test_order(counter):{ORDER}
async def test_right(counter):
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)) == [1, 2]
"""


@pytest.mark.parametrize(("plugin", "tests"), [("pytest_asyncio", PYTEST_ASYNCIO), ("anyio", ANYIO)])
def test_they_are_explored(tmp_path: Path, plugin: str, tests: str) -> None:
    pytest.importorskip(plugin)
    found = run(tmp_path, tests, "--lwp-explore=100")
    assert outcomes(found) == {"failed": 1, "passed": 1}
    token = re.search(r"pytest test_it.py::test_order --lwp-explore-replay (\S+)", found.stdout)
    assert token is not None
    assert outcomes(start(tmp_path, "test_it.py::test_order", "--lwp-explore-replay", token[1])) == {"failed": 1}
