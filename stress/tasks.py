"""asyncio and executors on our threads."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress

from runtime import Cancelled, checkpoint, installed, sync
from runtime.pool import Executor

from ._run import Run, Worker, check, mix, turns


@mix
def to_thread(run: Run) -> None:
    """asyncio.to_thread in several loops at once: results, exceptions, timeouts, cancellation."""

    async def rounds(worker: Worker) -> None:
        chance = worker.random
        for _ in worker:
            worker.note("gather")
            results = await asyncio.gather(*(asyncio.to_thread(divmod, number, 7) for number in range(12)))
            check(results == [divmod(number, 7) for number in range(12)], f"results {results}")
            try:
                await asyncio.to_thread(divmod, 1, 0)
                check(False, "no exception")
            except ZeroDivisionError:
                pass
            worker.note("wait_for")
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(time.sleep, chance.random() * 1e-3), chance.random() * 1e-3)
            future = asyncio.get_running_loop().create_future()
            loop = asyncio.get_running_loop()
            await asyncio.to_thread(loop.call_soon_threadsafe, future.set_result, 5)
            check(await future == 5, "another result")
            worker.note("cancel")
            task = asyncio.create_task(asyncio.to_thread(time.sleep, 1e-3))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

    def body(worker: Worker) -> None:
        asyncio.run(rounds(worker))

    with installed():
        run.crowd((1, 4), body, interval=1e-5)


@mix
def executors(run: Run) -> None:
    """ThreadPoolExecutor: every future is done once, shutdown() ends all threads, also with work cancelled."""

    @turns
    def body(worker: Worker) -> None:
        chance = worker.random
        gate = sync.Event()

        def job(number: int) -> int:
            if number % 5 == 0:
                gate.wait()
            return number * number

        worker.note("executor")
        executor = ThreadPoolExecutor(chance.randrange(1, 12))
        futures: list[Future[int]] = [executor.submit(job, number) for number in range(chance.randrange(1, 60))]
        cancel = chance.randrange(4) == 0
        gate.set()
        executor.shutdown(wait=chance.randrange(2) == 0, cancel_futures=cancel)
        for number, future in enumerate(futures):
            worker.note("result")
            check((cancel and future.cancelled()) or future.result() == number * number, f"future {number}")
        executor.shutdown()

    with installed():
        run.crowd((1, 4), body, interval=1e-5)


@mix
def pools(run: Run) -> None:
    """runtime.pool: every call ends, and is cancelled only if that was asked for; shutdown() ends all threads."""

    @turns
    def body(worker: Worker) -> None:
        chance = worker.random
        gate = sync.Event()
        tidied: list[int] = []

        def job(number: int) -> int:
            try:
                checkpoint()
                if number % 3 == 0:
                    gate.wait()
            except Cancelled:
                tidied.append(number)
                raise
            return number * number

        worker.note("pool")
        executor = Executor(chance.randrange(1, 12))
        calls = [executor.submit(job, number) for number in range(chance.randrange(1, 60))]
        asked = set(chance.sample(range(len(calls)), len(calls) // 3))
        for number in asked:
            calls[number].cancel(running=True)
        cancel = chance.randrange(4) == 0
        gate.set()
        executor.shutdown(wait=chance.randrange(2) == 0, cancel_running=cancel)
        for number, call in enumerate(calls):
            worker.note("result")
            if not call.cancelled():
                with suppress(CancelledError):  # just now, as shutdown() need not wait
                    check(call.result() == number * number, f"call {number}")
            check(not call.cancelled() or cancel or number in asked, f"call {number} is cancelled")
        executor.shutdown()
        check(all(calls[number].cancelled() for number in tidied), "Cancelled came out, and the call is not cancelled")

    run.crowd((1, 4), body, interval=1e-5)
