"""aiohttp 3.14.5: a request waits for good for a connection, though all places are free."""

import asyncio
from unittest.mock import Mock

from aiohttp import BaseConnector, ClientTimeout

CANCELLED = ("second", "aiohttp/connector.py", "await fut")


class Connector(BaseConnector):
    async def _create_connection(self, req, traces, timeout):
        await asyncio.sleep(0)
        return Mock()


async def test():
    connector = Connector(limit=1, force_close=True)
    request = Mock(proxy=None, connection_key=Mock(is_ssl=False))

    async def fetch():
        connection = await connector.connect(request, [], ClientTimeout())
        await asyncio.sleep(0)
        connection.release()

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second", "third"):
            group.create_task(fetch(), name=name)
