"""Tasks of asyncio, explored."""
