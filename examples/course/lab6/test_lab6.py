"""Grades green threads; the tests are in grader.c."""

from __future__ import annotations

from collections.abc import Callable


def test_turns(graded: Callable[[str], None]) -> None:
    graded("turns")


def test_variables(graded: Callable[[str], None]) -> None:
    graded("variables")


def test_a_join_sleeps(graded: Callable[[str], None]) -> None:
    graded("a_join_sleeps")


def test_a_wait_sleeps(graded: Callable[[str], None]) -> None:
    graded("a_wait_sleeps")


def test_the_first_is_woken_first(graded: Callable[[str], None]) -> None:
    graded("the_first_is_woken_first")


def test_a_deadlock_is_told(graded: Callable[[str], None]) -> None:
    graded("a_deadlock_is_told")


def test_memory_is_given_back(graded: Callable[[str], None]) -> None:
    graded("memory_is_given_back")


def test_a_stack_has_a_guard(graded: Callable[[str], None]) -> None:
    graded("a_stack_has_a_guard")
