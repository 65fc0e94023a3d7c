"""A value that is read, and written when another thread has written it too."""

from __future__ import annotations

from functools import partial
from itertools import count
from threading import Lock

from . import ASSERTION, GIL, OPCODE, SYNC, Atomic, lock_if, program, together


@program(ASSERTION, OPCODE, depth=2)
def unsafe_sequence(fixed: bool) -> None:
    """JCIP (Goetz et al., 2006), after listing 1.1, UnsafeSequence"""

    class Sequence:
        value = 0
        lock = lock_if(fixed)

        def next(self) -> None:
            with self.lock:
                self.value += 1  # window: between the load and the store

    sequence = Sequence()
    together(sequence.next, sequence.next)
    assert sequence.value == 2


@program(ASSERTION, OPCODE, depth=2)
def bubble_sort(fixed: bool) -> None:
    """bubble sort of the IBM contest benchmark, after it: threads swap neighbours in one array"""
    numbers = [3, 2, 1]
    lock = lock_if(fixed)

    def bubble() -> None:
        for left in (0, 1, 0):
            with lock:
                swap(left)

    def swap(left: int) -> None:
        if numbers[left] > numbers[left + 1]:
            numbers[left], numbers[left + 1] = numbers[left + 1], numbers[left]  # window: between loads and stores

    together(bubble, bubble)
    assert numbers == [1, 2, 3]


@program(ASSERTION, GIL, depth=2)
def lottery(fixed: bool) -> None:
    """lottery of the IBM contest benchmark, after it: the number drawn is read back from where all draw to"""

    class Machine:
        numbers = count(1)
        shown = 0

        def draw(self) -> int:
            number = self.shown = next(self.numbers)
            return number

    machine = Machine()
    tickets: dict[str, int] = {}

    def play(user: str) -> None:
        number = machine.draw()
        tickets[user] = number if fixed else machine.shown  # window: another has drawn by now

    together(partial(play, "ann"), partial(play, "bob"))
    assert sorted(tickets.values()) == [1, 2]


@program(ASSERTION, OPCODE, depth=2)
def append_of_the_last(fixed: bool) -> None:
    """Python FAQ, after 'What kinds of global value mutation are thread-safe?': L.append(L[-1]) is not"""
    numbers = [0]
    lock = lock_if(fixed)

    def grow() -> None:
        with lock:
            numbers.append(numbers[-1] + 1)  # window: between the last one's load and the call

    together(grow, grow)
    assert numbers == [0, 1, 2]


@program(ASSERTION, OPCODE, depth=2)
def random_gauss(fixed: bool) -> None:
    """Python documentation, after its note on random.gauss: two threads may receive the same value"""

    class Pairs:
        spare: int | None = 1
        following = count(2)
        lock = lock_if(fixed)

        def next(self) -> int:
            spare = self.spare
            self.spare = None  # window: another has loaded the same spare one
            return next(self.following) if spare is None else spare

    pairs = Pairs()
    drawn: list[int] = []

    def draw() -> None:
        with pairs.lock:
            drawn.append(pairs.next())

    together(draw, draw)
    assert sorted(drawn) == [1, 2]


@program(ASSERTION, OPCODE, depth=2)
def wrong_lock(fixed: bool) -> None:
    """SCTBench, after CS/wronglock: one variable, two locks"""
    right, wrong = Lock(), Lock()
    data = 0

    def increment(lock: Lock) -> None:
        nonlocal data
        with lock:
            data += 1  # window: between the load and the store, in the other's critical section too

    together(partial(increment, right), partial(increment, right if fixed else wrong))
    assert data == 2


@program(ASSERTION, GIL, depth=3)
def fib_bench(fixed: bool) -> None:
    """SV-COMP, after pthread/fib_bench: two threads add to each other's variable, and only one order of all additions
    reaches the bound"""
    lock = lock_if(fixed)
    i = j = 1

    def add_to_i() -> None:
        nonlocal i
        with lock:
            for _ in range(2):
                i += j  # window: j's thread adds once after each of these

    def add_to_j() -> None:
        nonlocal j
        with lock:
            for _ in range(2):
                j += i

    together(add_to_i, add_to_j)
    assert max(i, j) < 8


@program(ASSERTION, SYNC, depth=2)
def aba(fixed: bool) -> None:
    """Herlihy and Shavit, The Art of Multiprocessor Programming, after section 10.6, the ABA problem: a node leaves a
    stack and comes back between the look and the compare-and-set"""

    below = {"a": "b", "b": "c", "c": ""}
    top = Atomic(("a", 0))  # the first node and, what the repair needs, how often it was set
    popped: list[str] = []

    def pop() -> str:
        while True:
            node, stamp = top.get()
            following = below[node], stamp + fixed
            if top.replace((node, stamp), following):  # window: `node` is first again, the one below it is gone
                return node

    def push(node: str) -> None:
        while True:
            first, stamp = top.get()
            below[node] = first
            if top.replace((first, stamp), (node, stamp + fixed)):
                return

    def pop_two_and_push_one() -> None:
        first = pop()
        popped.append(pop())
        push(first)

    together(lambda: popped.append(pop()), pop_two_and_push_one)
    left: list[str] = []
    node, _ = top.get()
    while node:
        left.append(node)
        node = below[node]
    assert sorted(popped + left) == ["a", "b", "c"]


@program(ASSERTION, GIL, depth=2)
def log_buffer(fixed: bool) -> None:
    """Apache #25520, after it as told in the literature on atomicity violations: two requests write to one place of the
    log's buffer, then both move its end"""

    class Log:
        def __init__(self) -> None:
            self.lock = lock_if(fixed)
            self.buffer = [""] * 4
            self.end = 0

        def copy(self, line: str, place: int) -> None:
            self.buffer[place] = line

        def write(self, line: str) -> None:
            with self.lock:
                self.copy(line, self.end)
                self.end += 1  # window: between the copy and this

    log = Log()
    together(partial(log.write, "get"), partial(log.write, "post"))
    assert sorted(log.buffer) == ["", "", "get", "post"]
