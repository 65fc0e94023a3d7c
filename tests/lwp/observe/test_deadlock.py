"""What a Deadlock says."""

from __future__ import annotations

from typing import Any

from conftest import Child

import runtime
from runtime import scheduler, sync


def test_deadlock_names_each_wait(child: Child) -> None:
    def deadlock() -> None:
        green = scheduler.Scheduler()
        first, second = sync.Lock(), sync.Lock()

        def take(mine: Any, other: Any) -> None:
            mine.acquire()
            scheduler.yield_()
            other.acquire()
            other.release()

        threads = [
            runtime.Thread(target=take, args=pair, name=name, scheduler=green)
            for name, pair in (("left", (first, second)), ("right", (second, first)))
        ]
        for thread in threads:
            thread.start()
        try:
            green.run()
        except scheduler.Deadlock as found:
            print(found)
        first.release()
        second.release()
        green.run()
        assert not any(thread.is_alive() for thread in threads)

    said = child(deadlock).stdout
    assert "'left' waits for lock" in said
    assert "held by 'right'" in said
    assert "cycle: " in said
