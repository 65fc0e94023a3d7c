"""The report's Why: it names the data whose order made the test fail, and claims only what a run has shown."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest
from explored import in_the_tree  # noqa: F401 - all tests run there

import runtime
from lwp.explore import Outcome, Result
from lwp.explore.run.plans import Plan
from lwp.explore.run.session import Session
from lwp.explore.telling.recorder import Recorder
from lwp.explore.tokens import read_token

pytestmark = pytest.mark.loads

HERE = Path(__file__).name
GRANULARITIES = ["sync", "gil", "opcode"]


def found(test: Callable[[], object], granularity: str = "sync", seed: int = 1) -> Result:
    result = runtime.explore(test, seed=seed, runs=5000, granularity=granularity)
    assert result.outcome is Outcome.FOUND, result.report()
    return result


def why(result: Result) -> list[tuple[str, str, str, str]]:
    return [(fact["thread"], fact["access"], fact["name"], fact["value"]) for fact in result.why]


def claims(result: Result) -> list[str]:
    return [line.strip() for line in result.report().splitlines() if line.endswith(" the test passes")]


def line_of(text: str) -> int:
    """The number of the only line of this file that has the text."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if text in line and "line_of(" not in line)
    return number


def in_threads(**bodies: Callable[[], object]) -> None:
    threads = [threading.Thread(target=body, name=name) for name, body in bodies.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ---- which data ------------------------------------------------------------------------------------------------------


class Account:
    def __init__(self, balance: int) -> None:
        self.lock = threading.Lock()
        self.balance = balance

    def pay(self, amount: int) -> None:
        if self.balance < amount:  # paying
            return
        with self.lock:
            self.balance -= amount  # paid


def pay_twice() -> None:
    alice = Account(100)
    in_threads(first=lambda: alice.pay(70), second=lambda: alice.pay(70))
    assert alice.balance >= 0


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_check_and_what_was_done_between_it_and_its_act(granularity: str) -> None:
    result = found(pay_twice, granularity)
    one, other, _ = (fact["thread"] for fact in result.why)
    assert {one, other} == {"first", "second"}
    assert why(result) == [
        (one, "reads", "alice.balance", "100"),
        (other, "writes", "alice.balance", "100 → 30"),
        (one, "writes", "alice.balance", "30 → -40"),
    ]
    paying, paid = (f"{HERE}:{line_of(mark)}" for mark in ("# paying", "# paid"))
    assert [fact["place"] for fact in result.why] == [paying, paid, paid]
    assert {fact["function"] for fact in result.why} == {"pay()"}
    assert [fact["note"] for fact in result.why] == ["", "between these two", ""]
    assert claims(result) == [f"with {other}'s write before {one}'s read the test passes"]


def test_the_report_the_page_and_the_facts_say_the_same() -> None:
    result = found(pay_twice)
    report, page = result.report(), result.page()
    head, _, rest = report.partition("\nWhy\n")
    assert head
    assert f"  second  writes  alice.balance  100 → 30  {HERE}:{line_of('# paid')}" in rest
    assert "<h2>Why</h2>" in page
    assert "<code>alice.balance</code></td><td><code>100 → 30</code>" in page
    assert "with second&#x27;s write before first&#x27;s read the test passes" in page


def test_data_that_is_nearer_to_the_switch_but_does_not_matter_is_not_told() -> None:
    def program() -> None:
        seen: list[str] = []
        alice = Account(100)

        def pay() -> None:
            if alice.balance >= 70:
                seen.append("enough")  # nearer, and both threads do it
                with alice.lock:
                    alice.balance -= 70

        in_threads(first=pay, second=pay)
        assert alice.balance >= 0

    assert {name for _, _, name, _ in why(found(program))} == {"alice.balance"}


def test_data_in_sections_of_a_lock() -> None:
    def program() -> None:
        alice = Account(0)

        def deposit() -> None:
            with alice.lock:
                before = alice.balance
            with alice.lock:
                alice.balance = before + 1

        in_threads(first=deposit, second=deposit)
        assert alice.balance == 2

    result = found(program)
    assert why(result) == [
        ("first", "reads", "alice.balance", "0"),
        ("second", "writes", "alice.balance", "0 → 1"),
        ("first", "writes", "alice.balance", "1 → 1"),
    ]
    assert claims(result) == ["with second's write before first's read the test passes"]


def test_what_was_still_to_be_done() -> None:
    def program() -> None:
        settings: dict[str, int] = {}
        done = threading.Event()

        def load() -> None:
            done.set()
            settings["port"] = 80

        def serve() -> None:
            done.wait()
            settings["port"] += 1

        in_threads(loader=load, server=serve)

    result = found(program, "gil")
    assert why(result)[:1] == [("server", "reads", "settings['port']", "absent")]
    assert ("loader", "writes", "settings['port']", "") in why(result)
    assert "only later" in result.report()
    assert claims(result) == ["with loader's write before server's read the test passes"]


def test_a_test_that_fails_without_a_switch() -> None:
    def program() -> None:
        results: list[int] = []
        threading.Thread(target=lambda: results.append(1), name="worker").start()
        assert results

    result = found(program)
    assert result.deviations == 0
    assert why(result) == [("MainThread", "reads", "results", "[]"), ("worker", "writes", "results", "")]
    assert claims(result) == ["with worker's write before MainThread's read the test passes"]


def test_a_deadlock_of_locks_has_no_data() -> None:
    def program() -> None:
        east, west, seen = threading.Lock(), threading.Lock(), []

        def cross(one: threading.Lock, other: threading.Lock) -> None:
            with one:
                seen.append("one")
                with other:
                    seen.append("other")

        in_threads(first=lambda: cross(east, west), second=lambda: cross(west, east))

    result = found(program)
    assert result.why == []
    assert "Why" not in result.report().splitlines()


def test_a_line_that_is_no_point_is_in_the_report() -> None:
    def program() -> None:
        names = {1: "a", 2: "b"}

        def size(name: str) -> int:
            return len(name)

        def count() -> None:
            for name in names.values():
                size(name)

        def add() -> None:
            names[3] = "c"  # changes it

        in_threads(counts=count, adds=add)

    result = found(program, "gil")
    assert "dictionary changed size" in result.report()
    assert why(result)[:2] == [
        ("counts", "reads", "names", "dict of 2"),
        ("adds", "writes", "names[3]", "absent → 'c'"),
    ]
    assert f"{line_of('# changes it')}" in result.report().partition("━━▶")[2]


def test_calls_of_queues_stand_for_their_data() -> None:
    def program() -> None:
        orders: Queue[str] = Queue()
        in_threads(soup=lambda: orders.put("soup"), bread=lambda: orders.put("bread"))
        assert [orders.get(), orders.get()] == ["soup", "bread"]

    result = found(program)
    assert ("soup", "calls", "orders.put()", "") in why(result)
    assert claims(result) == ["with soup's orders.put() before bread's orders.put() the test passes"]


def test_a_wake_up_that_came_too_early() -> None:
    def program() -> None:
        ready = threading.Condition()

        def wait() -> None:
            with ready:
                ready.wait()

        def notify() -> None:
            with ready:
                ready.notify()  # the last of its with

        in_threads(waits=wait, notifies=notify)

    result = found(program)
    assert claims(result) == ["with waits's ready.wait() before notifies's ready.notify() the test passes"]
    notifies = next(fact for fact in result.why if fact["name"] == "ready.notify()")
    assert notifies["place"] == f"{HERE}:{line_of('ready.notify()  # the last of its with')}"


def test_the_position_of_a_file_is_data() -> None:
    def program() -> None:
        data = io.BytesIO(b"ab")

        def read(at: int, wanted: bytes) -> None:
            data.seek(at)
            assert data.read(1) == wanted

        in_threads(first=lambda: read(0, b"a"), second=lambda: read(1, b"b"))

    result = found(program, "gil")
    assert {name for _, _, name, _ in why(result)} <= {"data.seek()", "data.read()"}
    assert len(claims(result)) == 1


def test_the_failing_use_is_traced_to_what_made_it_fail() -> None:
    def program() -> None:
        alice = Account(100)
        coins = [1]

        def pay() -> None:
            if alice.balance == 100:
                with alice.lock:
                    alice.balance = 0
                coins.pop()

        in_threads(first=pay, second=pay)

    result = found(program)
    assert result.report().startswith("IndexError")
    assert [fact for fact in why(result) if fact[2] == "coins"] == [
        ("second", "deletes", "coins", "[1] → []"),
        ("first", "deletes", "coins", "[]"),
    ]


def test_what_was_loaded_before_a_switch_is_told_from_what_has_the_name_now() -> None:
    class Box:
        def __init__(self) -> None:
            self.items: list[int] = []

        def one(self) -> int:
            return 1

        def add(self) -> None:
            self.items.append(self.one())  # the list is loaded, then another thread replaces it

        def swap(self) -> list[int]:
            before, self.items = self.items, []
            self.items.append(2)
            return before

    def program() -> None:
        box = Box()
        swapped: list[int] = []
        in_threads(adds=box.add, swaps=lambda: swapped.extend(box.swap()))
        assert sorted(swapped + box.items) == [1, 2]

    result = found(program, "gil")
    assert {name for _, _, name, _ in why(result)} == {"box.items"}
    assert ("adds", "reads", "box.items", "[]") in why(result)
    assert claims(result) == ["with swaps's write before adds's read the test passes"]
    assert result.token
    with Session() as session:
        plan = read_token(result.token).plan
        session.run(program, plan)
        recorder = Recorder(looks=True)
        session.run(program, plan, recorder.note, recorder.look)
    changes = [one for one in recorder.accesses.found if one.writes and one.key is None]
    owners = {one.place.function: (one.owner, one.before) for one in changes}
    assert owners["add"][1] == "?"  # the list that was taken: what the new one has is not its value
    assert owners["add"][0] is not owners["swap"][0]


def test_a_key_whose_code_runs_is_told_by_what_the_dict_then_has() -> None:
    class Key:
        def __hash__(self) -> int:
            return hash("key")

        def __eq__(self, other: object) -> bool:
            return True

    def program() -> None:
        known: dict[Key, int] = {}
        made: list[int] = []
        lock = threading.Lock()

        def make() -> None:
            if Key() not in known:
                with lock:
                    known[Key()] = 1
                made.append(1)

        in_threads(first=make, second=make)
        assert made == [1]

    assert ("second", "writes", "known", "dict of 0 → dict of 1") in why(found(program))


# ---- looking changes nothing -----------------------------------------------------------------------------------------


class Peculiar:
    """Whatever asks it for anything leaves a trace."""

    asked: list[str] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.value = 0

    def __getattr__(self, name: str) -> object:
        self.asked.append(f"attribute {name}")
        raise AttributeError(name)

    @property
    def __class__(self) -> type:  # type: ignore[override]
        self.asked.append("__class__")
        return Peculiar

    def __repr__(self) -> str:
        self.asked.append("__repr__")
        return "peculiar"

    def __eq__(self, other: object) -> bool:
        self.asked.append("__eq__")
        return self is other

    def __hash__(self) -> int:
        self.asked.append("__hash__")
        return 1

    def __len__(self) -> int:
        self.asked.append("__len__")
        return 1

    @property
    def computed(self) -> int:
        self.asked.append("computed")
        return 1


def test_no_code_of_the_program_is_run_to_look_at_data() -> None:
    counts: list[list[str]] = []

    def program() -> None:
        Peculiar.asked.clear()
        one = Peculiar()
        kept = [one]
        known = {one: one, 1: one}

        def work() -> None:
            seen = kept[0].value
            known[one].value = known[1].value
            assert one.computed
            kept[0].value = seen + 1

        in_threads(first=work, second=work)
        counts.append(list(Peculiar.asked))
        assert one.value == 2

    result = found(program, "gil")
    assert result.why
    assert {tuple(sorted(one)) for one in counts} == {tuple(sorted(counts[0]))}
    assert "__repr__" not in counts[0]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_run_that_is_looked_at_takes_the_same_steps(granularity: str) -> None:
    clock: list[float] = []

    def program() -> None:
        clock.clear()
        alice = Account(100)

        def work() -> None:
            time.sleep(0.5)
            alice.pay(10)
            clock.append(time.monotonic())

        in_threads(first=work, second=work)

    with Session() as session:
        plan = Plan(granularity=granularity)
        session.run(program, plan)
        plain, *seen = session.run(program, plan), *clock
        recorder = Recorder(looks=True)
        looked, *seen_looked = session.run(program, plan, recorder.note, recorder.look), *clock
    assert recorder.accesses.found
    assert not plain.failed
    assert (plain.hash, plain.steps, seen) == (looked.hash, looked.steps, seen_looked)


# ---- exceptions ------------------------------------------------------------------------------------------------------


def test_an_exception_that_a_thread_catches_is_marked() -> None:
    def program() -> None:
        coins, errors = [1], []

        def size() -> int:
            return len(coins)

        def take() -> None:
            try:
                if size():
                    coins.pop()
            except IndexError as error:  # caught here
                errors.append(error)

        in_threads(first=take, second=take)
        assert not errors

    report = found(program, "gil").report()
    assert f"raises IndexError, caught at {HERE}:{line_of('# caught here')}" in report


def test_causes_are_told_under_the_traceback() -> None:
    def program() -> None:
        try:
            try:
                [].pop()  # the cause
            except IndexError as error:
                raise LookupError("nothing is left") from error
        finally:
            threading.Thread(target=int).start()

    def handling() -> None:
        try:
            {}["key"]  # the context
        except KeyError:
            raise LookupError("nothing is left")  # noqa: B904

    here = f"raised at tests/lwp/explore/{HERE}:"
    assert f"caused by IndexError: pop from empty list, {here}" in found(program).report()
    told = f"  while handling KeyError: 'key', {here}{line_of('# the context')} in handling()"
    assert told in found(handling).report().splitlines()


def test_a_futures_exception_is_told_in_the_thread_that_raised_it() -> None:
    def program() -> None:
        with ThreadPoolExecutor(1, "worker") as pool:
            pool.submit(pop_nothing).result()  # raised again

    def pop_nothing() -> None:
        [].pop()  # raised first

    result = found(program)
    lines = result.report().splitlines()
    assert f"{line_of('# raised first')} in pop_nothing(), worker_0, and again in MainThread" in " ".join(lines[:2])
    (row,) = (line for line in lines if "raises IndexError, caught in" in line)
    assert "[].pop()" in row
    told = lines[lines.index("Traceback of MainThread:") :]
    assert f":{line_of('# raised again')} " in told[1]
    assert told[2] == "It was raised in worker_0:"
    assert f":{line_of('# raised first')} " in told[3]


# ---- functions -------------------------------------------------------------------------------------------------------


def test_rows_and_switches_name_functions() -> None:
    class Stack:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.items: list[int] = []

        def push(self, item: int) -> None:
            with self.lock:
                before = list(self.items)
            with self.lock:
                self.items = [*before, item]

    def program() -> None:
        stack = Stack()

        def work() -> None:
            stack.push(1)

        in_threads(first=work, second=work)
        assert len(stack.items) == 2

    report = found(program).report()
    assert "takes stack.lock, in push()" in report
    assert re.search("\n━━▶.*\n    first in push[(][)] < work[(][)]; second in push[(][)] < work[(][)]\n", report)


def test_lines_that_matter_are_kept_among_many_steps() -> None:
    def program() -> None:
        lock, alice = threading.Lock(), Account(0)

        def work() -> None:
            for _ in range(40):
                with lock:
                    pass
            before = alice.balance  # far from the end
            for _ in range(40):
                with lock:
                    pass
            alice.balance = before + 1

        in_threads(first=work, second=work)
        assert alice.balance == 2

    report = found(program).report()
    assert f" {line_of('# far from the end')}  " in report
    assert "reads alice.balance: 0" in report
    assert "alice.balance = before + 1" in report


def test_code_that_another_thread_runs_first_takes_no_point_from_a_run() -> None:
    """Which of its instructions are points is found out in that thread, while explored threads go on."""
    ends = threading.Event()

    def runs_new_code() -> None:
        while not ends.is_set():
            exec(compile("def new():\n    return 1\nnew()", "new.py", "exec"), {})

    def program() -> None:
        alice = Account(200)
        in_threads(first=lambda: alice.pay(70), second=lambda: alice.pay(70))
        assert alice.balance == 60

    beside = threading.Thread(target=runs_new_code)
    beside.start()
    try:
        result = runtime.explore(program, seed=1, runs=300, granularity="gil", strategy="random")
    finally:
        ends.set()
        beside.join()
    assert result.outcome is Outcome.BUDGET_SPENT, result.report()
