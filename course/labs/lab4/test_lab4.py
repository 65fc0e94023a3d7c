"""Grades values of threads; the tests are in grader.c."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Graded, compiled, runs


def test_each_thread_has_its_own(graded: Graded) -> None:
    graded("each_thread_has_its_own")


def test_there_are_so_many(graded: Graded) -> None:
    graded("there_are_so_many")


def test_destructors_run_in_the_thread(graded: Graded) -> None:
    graded("destructors_run_in_the_thread")


def test_a_destructor_sets_a_value(graded: Graded) -> None:
    graded("a_destructor_sets_a_value")


def test_it_ends(graded: Graded) -> None:
    graded("it_ends")


def test_a_destructor_makes_a_key(graded: Graded) -> None:
    graded("a_destructor_makes_a_key")


def test_a_deleted_key_has_no_values(graded: Graded) -> None:
    graded("a_deleted_key_has_no_values")


def test_threads_make_keys(graded: Graded) -> None:
    graded("threads_make_keys")


def test_no_data_race(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """By the thread sanitizer, which sees what two threads use with nothing between them, also if it went well."""
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }")
    sanitized = ["cc", "-fsanitize=thread", tmp_path / "empty.c", "-o", tmp_path / "empty"]
    if subprocess.run(sanitized).returncode != 0 or subprocess.run([tmp_path / "empty"]).returncode != 0:
        pytest.skip("there is no thread sanitizer, or it can't run on this kernel")
    compiled(request, tmp_path / "grader", "-O1", "-fsanitize=thread", request.path.with_name("grader.c"))
    runs(tmp_path / "grader", "threads_make_keys")


def test_a_thread_that_pthread_create_has_not_made(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    compiled(request, library := tmp_path / "keys.so", "-O2", "-shared", "-fPIC")
    program = [sys.executable, request.path.with_name("program.py"), library]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["the thread", "the destructor", "main"]
