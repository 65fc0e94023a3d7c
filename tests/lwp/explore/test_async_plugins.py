"""Tests and fixtures of pytest-asyncio and anyio are explored, where these are installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from projects import outcomes, run, start

ORDER = """
    numbers = []
    async def append(number):
        await asyncio.sleep(0.01)
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
@pytest_asyncio.fixture
async def future():
    yield asyncio.get_running_loop().create_future()

@pytest.mark.asyncio
async def test_of_its_loop(future):
    await asyncio.gather(asyncio.sleep(0.01), asyncio.sleep(0.01))
    asyncio.get_running_loop().call_soon(future.set_result, 1)
    assert await future == 1

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


@pytest.mark.parametrize(("plugin", "tests", "passed"), [("pytest_asyncio", PYTEST_ASYNCIO, 2), ("anyio", ANYIO, 1)])
def test_they_are_explored(tmp_path: Path, plugin: str, tests: str, passed: int) -> None:
    pytest.importorskip(plugin)
    found = run(tmp_path, tests, "--lwp-explore=100")
    assert outcomes(found) == {"failed": 1, "passed": passed}
    token = re.search(r"pytest test_it.py::test_order --lwp-explore-replay (\S+)", found.stdout)
    assert token is not None
    assert outcomes(start(tmp_path, "test_it.py::test_order", "--lwp-explore-replay", token[1])) == {"failed": 1}
