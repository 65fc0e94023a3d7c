"""SQLite waits in C for a lock that another explored thread has; the other threads go on meanwhile."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import in_child, together
from explored import passes

from lwp.explore import Outcome, explore


@contextmanager
def connected(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        yield connection
    finally:
        connection.close()


def counted_by(count: Callable[[Path], None], file: Path) -> None:
    """Two threads count in one row, which has 2 then."""
    with connected(file) as connection:
        connection.executescript("create table if not exists t(x); delete from t; insert into t values (0)")
        together(lambda: count(file), lambda: count(file))
        assert connection.execute("select x from t").fetchone() == (2,)


def test_a_thread_that_waits_for_the_database_lets_its_writer_go_on(tmp_path: Path) -> None:
    def count(file: Path) -> None:
        with connected(file) as connection:
            connection.execute("begin immediate")
            (seen,) = connection.execute("select x from t").fetchone()
            connection.execute("update t set x = ?", (seen + 1,))
            connection.execute("commit")

    passes(lambda: counted_by(count, tmp_path / "db"))


def test_a_race_in_a_database_is_found(tmp_path: Path) -> None:
    def count(file: Path) -> None:
        with connected(file) as connection:
            (seen,) = connection.execute("select x from t").fetchone()
            connection.execute("update t set x = ?", (seen + 1,))

    result = explore(lambda: counted_by(count, tmp_path / "db"), runs=1000, seed=1)
    assert result.outcome is Outcome.FOUND


def test_the_time_to_wait_for_the_database_is_the_runs_own(tmp_path: Path) -> None:
    def test() -> None:
        with connected(tmp_path / "db") as writer, connected(tmp_path / "db") as waiter:
            writer.execute("begin exclusive")
            began = time.monotonic()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                waiter.execute("begin exclusive")
            assert 4 < time.monotonic() - began < 7
            writer.execute("commit")

    passes(test)


@pytest.mark.parametrize("subinterpreter", [False, True])
@in_child(timeout=60)
def test_threads_that_share_a_connection_whose_statement_waits(subinterpreter: bool) -> None:
    """The waiting statement holds the connection's mutex, which belongs to one thread though all are on one LWP.

    subinterpreter: there has been one, so CPython no longer says which threads have the GIL.
    """
    import sqlite3

    if subinterpreter:
        try:
            import _interpreters as api
        except ImportError:
            import _xxsubinterpreters as api
        api.destroy(api.create())

    from lwp.explore import Outcome, explore

    file = Path(__file__).with_name("db")

    def test() -> None:
        shared, other = (sqlite3.connect(file, isolation_level=None, check_same_thread=False) for _ in range(2))
        shared.executescript("create table if not exists t(x); delete from t; insert into t values (0)")

        def transact() -> None:
            for statement in ("begin immediate", "update t set x = x + 1", "commit"):
                other.execute(statement)

        together(transact, *2 * [lambda: shared.execute("update t set x = x + 1")])
        assert shared.execute("select x from t").fetchone() == (3,)
        shared.close()
        other.close()

    result = explore(test, runs=200, seed=1)
    assert result.outcome is Outcome.BUDGET_SPENT, result.report()


@in_child(timeout=60)
def test_sqlite_that_the_test_imports() -> None:
    from lwp.explore import Outcome, explore

    file = Path(__file__).with_name("db")
    assert "_sqlite3" not in sys.modules

    def test() -> None:
        import sqlite3

        connection = sqlite3.connect(file)
        connection.executescript("create table if not exists t(x); delete from t")
        connection.close()

        def add() -> None:
            connection = sqlite3.connect(file)
            with connection:
                connection.execute("begin immediate")
                connection.execute("insert into t values (1)")
            connection.close()

        together(add, add)

    result = explore(test, runs=100, seed=1)
    assert result.outcome is Outcome.BUDGET_SPENT, result.report()
