"""Two tasks of asyncio that take two locks in both orders, so each waits for the other: `lwp run --watchdog 1`."""

import asyncio


async def move(one: asyncio.Lock, other: asyncio.Lock, both: asyncio.Barrier) -> None:
    async with one:
        await both.wait()
        async with other:
            print("never printed")


async def main() -> None:
    savings, wages, both = asyncio.Lock(), asyncio.Lock(), asyncio.Barrier(2)
    await asyncio.gather(move(savings, wages, both), move(wages, savings, both))


asyncio.run(main())
