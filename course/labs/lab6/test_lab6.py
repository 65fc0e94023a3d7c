"""Grades green threads; the tests are in grader.c."""

from __future__ import annotations

from conftest import Graded


def test_turns(graded: Graded) -> None:
    graded("turns")


def test_variables(graded: Graded) -> None:
    graded("variables")


def test_a_join_sleeps(graded: Graded) -> None:
    graded("a_join_sleeps")


def test_a_wait_sleeps(graded: Graded) -> None:
    graded("a_wait_sleeps")


def test_the_first_is_woken_first(graded: Graded) -> None:
    graded("the_first_is_woken_first")


def test_a_deadlock_is_told(graded: Graded) -> None:
    graded("a_deadlock_is_told")


def test_memory_is_given_back(graded: Graded) -> None:
    graded("memory_is_given_back")


def test_a_stack_has_a_guard(graded: Graded) -> None:
    graded("a_stack_has_a_guard")
