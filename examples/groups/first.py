"""One thread waits for news, the end of its workers and a permit, whichever comes first, and loses none."""

import asyncio

from runtime import ALL_COMPLETED, Thread, aio, wait
from runtime.scheduler import sleep, waiting
from runtime.sync import Event, Semaphore

news, permits, handled = Event(), Semaphore(0), Semaphore(0)
gates = [Event(), Event()]
workers = {Thread(target=gate.wait): f"worker {number}" for number, gate in enumerate(gates)}


def world() -> None:
    for happens in (news.set, gates[1].set, permits.release, gates[0].set):
        while not any(one.kind == "wait" for one in waiting().waits):
            sleep(0.001)
        happens()
        handled.acquire()


outside = Thread(target=world)
for thread in [*workers, outside]:
    thread.start()
left = dict(workers)
while left:
    for thing in wait([news, permits, *left]):
        if isinstance(thing, Thread):
            print(f"the end of {left.pop(thing)}, alive: {thing.is_alive()}")
        elif thing is permits:
            print(f"a permit, and {permits._value} are left")
        else:
            print("the news")
            news.clear()
        handled.release()
print("all:", len(wait([*workers, outside, gates[0]], return_when=ALL_COMPLETED)))


async def main() -> None:
    await aio.ended(outside)
    print("asyncio: the end of a thread")


asyncio.run(main())
