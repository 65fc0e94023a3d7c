"""A producer fails: the consumer, which waits for more, is cancelled, and the failure comes out."""

from runtime import Cancelled, Group
from runtime.sync import Condition

items: list[int] = []
changed = Condition()


def produce() -> None:
    for number in range(3):
        with changed:
            items.append(number)
            changed.notify()
            changed.wait_for(lambda: not items)
    raise ValueError("the source has run dry")


def consume() -> None:
    try:
        while True:
            with changed:
                changed.wait_for(lambda: items)
                items.clear()
                changed.notify()
    except Cancelled:
        print("the consumer is cancelled, and closes its file")
        raise


try:
    with Group() as group:
        consumer = group.spawn(consume)
        group.spawn(produce)
except* ValueError as failures:
    print(f"out of the block comes {failures.exceptions}")
print(consumer)
